//! The `tracing` span that a thread was in when it began to wait.

use std::fmt;

/// The name of a span, and the number that the subscriber gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub(in crate::deadlock) struct SpanName {
    pub(in crate::deadlock) name: &'static str,
    pub(in crate::deadlock) id: u64,
}

/// Shows `request (id 7)`.
impl fmt::Display for SpanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (id {})", self.name, self.id)
    }
}
