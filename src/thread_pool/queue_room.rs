//! The wait for room in a full queue.

use std::panic::Location;

use super::occupancy::Sleepers;
use super::pool::Pool;
use crate::deadlock::context::{self, Context};
use crate::deadlock::graph::Graph;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::wait::{Failure, Limit, Terms};
use crate::deadlock::waitable::{Need, Provider, Visit, Waitable};
use crate::task::wait::{WaitError, one};

/// Waits until there is room in the queue, or until the pool is closed.
///
/// The submitter that comes first takes the room: the caller tries, and waits again if it was not first. A caller that
/// does not try after all has to [pass the wake-up on](Pool::wake_submitter).
pub(super) fn wait_for_room(pool: &Pool, limit: Limit, site: Site) -> Result<(), WaitError> {
    let terms = Terms { site, limit, failure: Failure::Value, relock: false };
    one::wait(context::current(), &RoomWait(pool), terms)
}

struct RoomWait<'c>(&'c Pool);

fn pool_type() -> ResourceType {
    ResourceType { primitive: "ThreadPoolExecutor", data: "", mode: HoldMode::Permit }
}

/// Returns what reports say of a pool that is waited for.
pub(super) fn facts(pool: &Pool, key: usize) -> ResourceFacts {
    let made_at: &'static Location<'static> = pool.settings().made_at;
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
        self.0.occupancy.peek().has(Sleepers::Submitters)
    }

    fn announce(&self) -> bool {
        self.0.occupancy.announce(Sleepers::Submitters, |counts| !counts.has_room(self.0.settings().capacity))
    }

    fn is_announced(&self) -> bool {
        {
            let counts = self.0.occupancy.peek();
            counts.has(Sleepers::Submitters) && !counts.has_room(self.0.settings().capacity)
        }
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.0.occupancy.clear(Sleepers::Submitters);
        }
    }
}
