//! The fields of `tracing` events and spans, as text.

use std::fmt;

use tracing::field::{Field, Visit};

/// ` name=value` for each field that is recorded.
pub(crate) struct Text(pub(crate) String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}
