//! The wait for room in a full queue.

use std::cell::Cell;
use std::panic::Location;

use super::occupancy::Sleepers;
use super::pool::Pool;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};

/// Waits until there is room in the queue, or until the pool is closed.
///
/// The submitter that comes first takes the room: the caller tries, and waits again if it was not first. A caller that
/// does not try after all has to [pass the wake-up on](Pool::wake_submitter).
pub(super) fn wait_for_room(pool: &Pool, limit: Limit, site: Site) -> Result<(), WaitError> {
    let terms = Terms { site, limit, failure: Failure::Value, relock: false };
    door::wait(registry::current(), &RoomWait { pool, has_room: Cell::new(false) }, terms)
}

struct RoomWait<'p> {
    pool: &'p Pool,
    /// Whether there was room at the last look of a judge. Changed under the graph's mutex only.
    has_room: Cell<bool>,
}

/// Returns the type of a pool whose queue or end is waited for. A pool is never held: the mode tells reports what the wait is for.
fn pool_type() -> ResourceType {
    ResourceType { primitive: "ThreadPoolExecutor", data: "", mode: HoldMode::Permit, id_of: None }
}

/// Returns the type of a pool whose tasks are all waited for.
pub(super) fn tasks_type() -> ResourceType {
    ResourceType { mode: HoldMode::Exclusive, ..pool_type() }
}

/// Returns what reports say of a pool that is waited for.
pub(super) fn facts(pool: &Pool, key: usize) -> ResourceFacts {
    let made_at: &'static Location<'static> = pool.settings().made_at;
    ResourceFacts { key, origin: Origin::at(made_at, pool.settings().chosen_name), type_of: pool_type }
}

impl Blocker for RoomWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        facts(self.pool, self.key())
    }

    fn need(&self) -> Need {
        Need::Any
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        // While there is room nobody has to do anything.
        if self.has_room.get() && visit(Provider::External).is_break() {
            return;
        }
        _ = visit(Provider::AnyOf(self.pool.group().id()));
    }

    /// The submitter that takes the last of the room that a judge counts on has the waits that count on the pool re-checked.
    fn subscribe(&self) {
        self.has_room.set(self.pool.subscribe_to_room());
    }
}

impl Park for RoomWait<'_> {
    fn key(&self) -> usize {
        self.pool.room_key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.pool.has_room()
    }

    fn has_queue(&self) -> bool {
        self.pool.occupancy.peek().has(Sleepers::Submitters)
    }

    fn announce(&self) -> bool {
        self.pool.occupancy.announce(Sleepers::Submitters, |counts| !counts.has_room(self.pool.settings().capacity))
    }

    fn is_announced(&self) -> bool {
        let counts = self.pool.occupancy.peek();
        counts.has(Sleepers::Submitters) && !counts.has_room(self.pool.settings().capacity)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.pool.occupancy.clear(Sleepers::Submitters);
        }
    }
}
