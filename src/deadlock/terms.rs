//! The terms of a wait: how long it may last, how it can end, and why it ended without what was waited for.

use std::time::{Duration, Instant};

use super::graph::record::Failure;
use super::graph::resource::Site;
use super::report::Deadlock;
use crate::primitive::now;

/// How long a wait may last, and how it can end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) site: Site,
    pub(crate) limit: Limit,
    /// How it can end when it is part of a deadlock.
    pub(crate) failure: Failure,
    /// Whether the waiter holds the resource already: then there is no grace, and the judge decides at once.
    pub(crate) relock: bool,
}

/// Why a wait ended without what was waited for.
#[derive(Debug)]
pub(crate) enum WaitError {
    /// The limit came first.
    TimedOut,
    /// The wait was part of a deadlock, and this thread is the victim.
    Deadlock(Deadlock),
}

impl WaitError {
    /// Returns the deadlock that ended a wait without a limit.
    pub(crate) fn deadlock(self) -> Deadlock {
        match self {
            Self::Deadlock(deadlock) => deadlock,
            Self::TimedOut => unreachable!("a wait without a limit does not time out"),
        }
    }
}

/// When a wait ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Never.
    None,
    /// At a time: it is no part of any deadlock.
    Until(Instant),
}

impl Limit {
    /// Returns the limit that is `timeout` from now; none, if that is past what the clock can tell.
    pub(crate) fn after(timeout: Duration) -> Self {
        now().checked_add(timeout).map_or(Self::None, Self::Until)
    }

    pub(in crate::deadlock) fn is_timed(self) -> bool {
        matches!(self, Self::Until(_))
    }

    pub(in crate::deadlock) fn instant(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Until(instant) => Some(instant),
        }
    }

    pub(in crate::deadlock) fn is_over(self) -> bool {
        self.instant().is_some_and(|limit| now() >= limit)
    }
}
