//! The room in a pool's queue, where that is limited.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::deadlock::door::Limit;
use crate::deadlock::resource::{Origin, Site};
use crate::sync::{ArcSemaphoreGuard, Semaphore};

/// More than there are threads: every one that waits when the pool is closed finds room, and then that it is closed.
const EVERYBODY: usize = 1 << 24;

/// The room in a pool's queue: a place for each task that no worker has begun. Who waits for one waits for an external event.
pub(super) struct Room(Option<Arc<Semaphore>>);

/// The place of one task, which is free when this is dropped. `None` where room is not limited.
pub(super) type Place = Option<ArcSemaphoreGuard>;

impl Room {
    /// The room in the queue of a pool that was made there.
    pub(super) fn new(capacity: Option<NonZeroUsize>, made_at: Site) -> Self {
        let origin = Origin::at(made_at, Some("room in the queue"));
        let permits = |capacity: NonZeroUsize| capacity.get().min(Semaphore::MAX_PERMITS / 2);
        Self(capacity.map(|capacity| Arc::new(Semaphore::at(origin, permits(capacity)))))
    }

    /// As much as anybody wants.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self(None)
    }

    /// Returns whether there is room.
    pub(super) fn is_free(&self) -> bool {
        self.0.as_ref().is_none_or(|places| places.available_permits() > 0)
    }

    /// Takes a place, if there is one before the limit. A submitter that comes first gets what is free first.
    pub(super) fn take(&self, limit: impl FnOnce() -> Limit, site: Site) -> Option<Place> {
        match &self.0 {
            None => Some(None),
            Some(places) => places.take_arc(limit, site).map(Some),
        }
    }

    /// Takes a place, if there is one.
    pub(super) fn try_take(&self) -> Option<Place> {
        match &self.0 {
            None => Some(None),
            Some(places) => places.try_acquire_arc().map(Some),
        }
    }

    /// Frees the place of a task that was cancelled, and whose [`Place`] lies in the queue still: that is
    /// [forgotten](forget).
    pub(super) fn free(&self) {
        self.0.iter().for_each(|places| places.release(1));
    }

    /// Lets everybody in, to find out that the pool is closed.
    pub(super) fn close(&self) {
        self.0.iter().for_each(|places| places.release(EVERYBODY));
    }
}

/// Forgets a place that was freed otherwise.
pub(super) fn forget(place: Place) {
    place.into_iter().for_each(ArcSemaphoreGuard::forget);
}
