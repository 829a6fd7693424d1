//! What is initialised once.

use std::panic::Location;

use super::{FAILURE, or_raise};
use crate::deadlock::door::Limit;
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::sync::identity::Anonymous;
use crate::sync::{Entered, Intent, OnceRequest, Progress, RawOnce as Raw};

/// A [`Once`](crate::Once)'s word and nothing else.
pub struct RawOnce {
    raw: Raw<Anonymous>,
}

impl RawOnce {
    /// Makes one that nobody has begun to initialise.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: Raw::of(Anonymous) }
    }

    /// Makes one that is complete.
    #[must_use]
    pub const fn new_completed() -> Self {
        Self { raw: Raw::complete_of(Anonymous) }
    }

    /// Returns what has become of it.
    #[inline]
    pub fn progress(&self) -> Progress {
        self.raw.progress()
    }

    /// Returns whether it is complete.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.raw.is_complete()
    }

    /// Runs the initialiser, unless it is complete; waits for one that runs. It is told whether one has panicked before. Returns
    /// `false` if one has, and this is not to run `anyway`.
    #[inline]
    #[track_caller]
    pub fn call(&self, anyway: bool, initialise: impl FnOnce(bool)) -> bool {
        self.raw.is_complete() || self.call_slow(anyway, initialise)
    }

    /// Waits until it is complete, and runs nothing. Returns `false` if an initialiser has panicked, and this is not to wait `anyway`
    /// for one that does not.
    #[inline]
    #[track_caller]
    pub fn wait(&self, anyway: bool) -> bool {
        self.raw.is_complete() || self.wait_slow(anyway)
    }

    #[cold]
    #[track_caller]
    fn wait_slow(&self, anyway: bool) -> bool {
        let site = Location::caller();
        let intent = if anyway { Intent::AwaitAnyway } else { Intent::Await };
        let request = OnceRequest { site, type_of: describe, intent };
        match or_raise(self.raw.wait(request, Limit::None, FAILURE)) {
            Entered::Complete => true,
            Entered::Poisoned(_) => false,
            Entered::Begun(_) => unreachable!("a wait begins nothing"),
        }
    }

    #[cold]
    #[track_caller]
    fn call_slow(&self, anyway: bool, initialise: impl FnOnce(bool)) -> bool {
        let site = Location::caller();
        let intent = if anyway { Intent::InitialiseAnyway } else { Intent::InitialiseOnce };
        let request = OnceRequest { site, type_of: describe, intent };
        match or_raise(self.raw.wait(request, Limit::None, FAILURE)) {
            Entered::Complete => true,
            Entered::Poisoned(_) => false,
            Entered::Begun(initialisation) => {
                initialise(initialisation.was_poisoned());
                initialisation.complete();
                true
            }
        }
    }
}

impl Default for RawOnce {
    fn default() -> Self {
        Self::new()
    }
}

fn describe() -> ResourceType {
    ResourceType { primitive: "Once", data: "", mode: HoldMode::Initialising, id_of: None }
}
