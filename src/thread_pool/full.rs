//! What becomes of a submission to a full queue.

use super::pool::{Pool, WhenFull};
use crate::deadlock::resource::Site;
use crate::primitive::quiet::PoisonError;
use crate::primitive::yield_now;
use crate::task::panic;

/// A submission that found the queue full, as the [handler](super::ThreadPoolBuilder::on_full) sees it.
#[derive(Debug)]
pub struct FullQueue {
    name: Option<&'static str>,
    site: Site,
    capacity: usize,
}

impl FullQueue {
    /// Returns the name of the task that is submitted, if it has one.
    #[must_use]
    pub fn task_name(&self) -> Option<&'static str> {
        self.name
    }

    /// Returns the line that submits the task.
    #[must_use]
    pub fn submitted_at(&self) -> &'static std::panic::Location<'static> {
        self.site
    }

    /// Returns the [capacity](super::ThreadPoolBuilder::queue_capacity) of the queue.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// The handler of submissions to a full queue.
pub(super) type OnFull = Box<dyn Fn(&FullQueue) -> WhenFull + Send + Sync>;

impl Pool {
    /// Returns what a submission does that found the queue full. This may call the user's handler.
    pub(super) fn when_full(&self, name: Option<&'static str>, site: Site) -> WhenFull {
        let settings = self.settings();
        let Some(handler) = &settings.on_full else { return settings.when_full };
        let capacity = settings.capacity.map_or(usize::MAX, |capacity| capacity.get() as usize);
        let full = FullQueue { name, site, capacity };
        panic::catch(|| handler(&full)).unwrap_or(WhenFull::Reject)
    }

    /// Cancels the task that has been queued for longest.
    pub(super) fn discard_oldest(&self) {
        let pop = || {
            // Not while another thread has a part of the queue in hand, and not for longer: the closure of a cancelled task
            // has a destructor of the user's.
            let _clearing = self.clearing().lock().unwrap_or_else(PoisonError::into_inner);
            self.queue.pop()
        };
        let mut wake_ups = 0;
        loop {
            match pop() {
                Some(Some(task)) => {
                    // Not in hand while code of the user's runs: a worker may sleep that is one too many.
                    (0..std::mem::take(&mut wake_ups)).for_each(|_| self.queue.push(None));
                    // One that runs in place of its waiter has left this behind, and goes on.
                    let was_queued = task.cancel_pending();
                    self.uncount_tombstone();
                    if was_queued {
                        break;
                    }
                }
                Some(None) => wake_ups += 1,
                // The oldest is about to be pushed, or was taken.
                None => {
                    yield_now();
                    break;
                }
            }
        }
        (0..wake_ups).for_each(|_| self.queue.push(None));
    }
}
