//! The wait for room in a full queue.

use std::panic::Location;

use super::core::Core;
use super::word::{CLOSED, SUBMITTERS};
use crate::deadlock::context::{self, Context};
use crate::deadlock::graph::Graph;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::wait::{Failure, Limit, Terms};
use crate::deadlock::waitable::{Need, Provider, Visit, Waitable};
use crate::task::wait::{WaitError, one};

/// Waits until there is room in the queue, or until the pool is closed.
///
/// Whoever comes first may take the room: the caller tries, and waits again if it was not first. A caller that does not
/// try after all has to [pass the wake-up on](Core::wake_submitter).
pub(super) fn wait_for_room(core: &Core, limit: Limit, site: Site) -> Result<(), WaitError> {
    let terms = Terms { site, limit, failure: Failure::Value, relock: false };
    one::wait(context::current(), &RoomWait(core), terms)
}

struct RoomWait<'c>(&'c Core);

fn pool_type() -> ResourceType {
    ResourceType { primitive: "ThreadPoolExecutor", data: "", mode: HoldMode::Permit }
}

/// A pool as what is waited for.
pub(super) fn facts(core: &Core, key: usize) -> ResourceFacts {
    let made_at: &'static Location<'static> = core.settings().made_at;
    ResourceFacts { key, origin: Origin::at(made_at, None), type_of: pool_type }
}

impl Waitable for RoomWait<'_> {
    fn key(&self) -> usize {
        self.0.room_key()
    }

    fn facts(&self, _: usize) -> ResourceFacts {
        facts(self.0, self.key())
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(if self.0.has_room_for_judge() { Provider::External } else { Provider::AnyOf(self.0.group()) });
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.0.has_room()
    }

    fn accept(&self, _: &'static Context) {}

    fn has_queue(&self) -> bool {
        self.0.is_announced(SUBMITTERS)
    }

    fn announce(&self) -> bool {
        self.0.announce(SUBMITTERS, |word| word & CLOSED == 0 && self.0.is_full(word))
    }

    fn is_announced(&self) -> bool {
        self.0.is_announced(SUBMITTERS) && !self.0.has_room()
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.0.clear(SUBMITTERS);
        }
    }
}
