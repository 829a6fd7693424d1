//! What is checked before a thread waits without a limit: what it reads already, and the ranks of what it holds.

use super::RawRwLock;
use crate::deadlock::resource::SharedId;
use crate::deadlock::{hazard, registry};
use crate::primitive::Ordering::Relaxed;
use crate::sync::identity::Identity;
use crate::sync::request::Request;

impl<I: Identity> RawRwLock<I> {
    /// Tells of a hazard if the caller, who is about to read, reads already.
    #[track_caller]
    pub(crate) fn check_read(&self, request: Request) {
        if !hazard::are_looked_for() {
            return;
        }
        let me = registry::current();
        // Who has the turn waits for no other writer. And a lock that was never locked has no id.
        let id = SharedId::of_key(self.id.load(Relaxed)).filter(|_| self.owner() != Some(me.id()));
        if let Some(id) = id {
            hazard::check_read(me, id, self.facts_of(id, request.type_of), request.site);
        }
    }

    /// Tells of a hazard if the lock has a rank and the caller, who waits without a limit, holds one of no lower rank.
    #[track_caller]
    pub(super) fn check_rank(&self, request: Request) {
        if self.identity.is_ranked() {
            hazard::check_rank(registry::current(), self.facts(request.type_of), request.site);
        }
    }
}
