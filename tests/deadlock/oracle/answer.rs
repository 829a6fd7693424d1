//! What becomes of a step.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bowline::deadlock::Deadlock;

use crate::support::message;

/// What became of a step.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Granted,
    /// It is held, or was for too long; or the barrier is broken.
    Refused,
    /// By `acquire`.
    Value(Deadlock),
    /// By `lock`: the message of the panic.
    Panic(String),
    /// Nobody asked for anything.
    Done,
    /// The thread runs an initialiser now.
    Begun,
    /// An initialiser failed before.
    Poisoned,
}

impl Answer {
    pub(super) fn is_deadlock(&self) -> bool {
        matches!(self, Self::Value(_) | Self::Panic(_))
    }
}

/// Returns what a panic means.
pub(super) fn unwound(payload: &(dyn Any + Send)) -> Answer {
    let text = message(payload);
    if text.contains(" is poisoned: ") { Answer::Poisoned } else { Answer::Panic(text.to_owned()) }
}

pub(super) fn caught<T>(ask: impl FnOnce() -> Result<T, Answer>) -> Result<T, Answer> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|payload| Err(unwound(&*payload)))
}
