//! How long a task may run, and what else it is submitted with.

use std::time::Duration;

use super::listener::Listener;
use crate::process_pool::wire::invocation::Invocation;
use crate::task::error::{Rejected, TerminationCause};

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

/// A submission that the pool did not take, with the reason.
pub(in crate::process_pool) struct Refused<F, A> {
    pub(in crate::process_pool) reason: Rejected,
    pub(in crate::process_pool) terms: TaskTerms,
    pub(in crate::process_pool) invocation: Invocation<F, A>,
}

/// Why a task is to end, and how long it may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) cause: TerminationCause,
    pub(super) grace: Duration,
}
