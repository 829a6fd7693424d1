//! The wait for room in a full queue.

use std::cell::Cell;
use std::panic::Location;

use super::core::Core;
use super::word::{CLOSED, SUBMITTERS};
use crate::deadlock::context::Context;
use crate::deadlock::door::{Failure, Limit, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::task::wait::one::{self, Ended};

/// Waits until there is room in the queue, or until the pool is closed.
///
/// Whoever comes first may take the room: the caller tries, and waits again if it was not first. A caller that does not
/// try after all has to [pass the wake-up on](Core::wake_submitter).
pub(super) fn wait_for_room(core: &Core, limit: Limit, site: Site) -> Result<(), Ended> {
    let terms = Terms { site, limit, failure: Failure::Value, relock: false };
    one::wait(registry::current(), &RoomWait { core, has_room: Cell::new(false) }, terms)
}

struct RoomWait<'c> {
    core: &'c Core,
    /// Whether there was room at the last look of a judge. Changed under the graph's mutex only.
    has_room: Cell<bool>,
}

fn pool_type() -> ResourceType {
    ResourceType { primitive: "ThreadPoolExecutor", data: "", mode: HoldMode::Permit }
}

/// A pool as what is waited for.
pub(super) fn facts(core: &Core, key: usize) -> ResourceFacts {
    let made_at: &'static Location<'static> = core.settings().made_at;
    ResourceFacts { key, origin: Origin::at(made_at, None), type_of: pool_type }
}

impl Blocker for RoomWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        facts(self.core, self.key())
    }

    fn need(&self) -> Need {
        Need::Any
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        // While there is room nobody has to do anything.
        if self.has_room.get() && visit(Provider::External).is_break() {
            return;
        }
        _ = visit(Provider::AnyOf(self.core.group().id()));
    }

    /// Whoever takes the last of the room that the judge counts on lets those who count on the pool be judged again.
    fn subscribe(&self) {
        self.has_room.set(self.core.subscribe_to_room());
    }
}

impl Park for RoomWait<'_> {
    fn key(&self) -> usize {
        self.core.room_key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.core.has_room()
    }

    fn has_queue(&self) -> bool {
        self.core.is_announced(SUBMITTERS)
    }

    fn announce(&self) -> bool {
        self.core.announce(SUBMITTERS, |word| word & CLOSED == 0 && self.core.is_full(word))
    }

    fn is_announced(&self) -> bool {
        self.core.is_announced(SUBMITTERS) && !self.core.has_room()
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.core.clear(SUBMITTERS);
        }
    }
}
