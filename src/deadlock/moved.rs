//! The names that version 0.1 had in this module. Each leads to the item where it is now.

/// Moved to [`report::Held`](super::report::Held).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::Held`")]
pub type Held = super::report::Held;

/// Moved to [`report::LongWait`](super::report::LongWait).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::LongWait`")]
pub type LongWait = super::report::LongWait;

/// Moved to [`report::Purpose`](super::report::Purpose).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::Purpose`")]
pub type Purpose = super::report::Purpose;

/// Moved to [`report::Resource`](super::report::Resource).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::Resource`")]
pub type Resource = super::report::Resource;

/// Moved to [`report::StuckThread`](super::report::StuckThread).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::StuckThread`")]
pub type StuckThread = super::report::StuckThread;

/// Moved to [`report::Task`](super::report::Task).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::Task`")]
pub type Task = super::report::Task;

/// Moved to [`report::Wait`](super::report::Wait).
#[deprecated(since = "0.2.0", note = "use `bowline::deadlock::report::Wait`")]
pub type Wait = super::report::Wait;
