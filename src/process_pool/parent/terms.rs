//! How long a task may run, and what else it is submitted with.

use std::time::Duration;

use super::listener::Listener;
use crate::task::error::TerminationCause;

/// How long a task may run, and how long it may take to stop then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool) struct TimeLimit {
    pub(in crate::process_pool) timeout: Duration,
    pub(in crate::process_pool) grace: Duration,
}

/// What a task is submitted with, beside its call.
#[derive(Default)]
pub(in crate::process_pool) struct TaskTerms {
    pub(in crate::process_pool) limit: Option<TimeLimit>,
    /// How often it is run again after its worker was lost, if not as often as the pool says.
    pub(in crate::process_pool) retries: Option<u32>,
    /// The code that hears of its progress.
    pub(in crate::process_pool) listener: Option<Listener>,
}

/// Why a task is to end, and how long it may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) cause: TerminationCause,
    pub(super) grace: Duration,
}
