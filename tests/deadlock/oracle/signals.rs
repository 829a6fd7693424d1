//! What only a signal ends the waits for: nobody knows who will give it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline::{Barrier, Condition, Event, Promise, Semaphore, SharedFuture, promise};

use super::answer::Answer;
use super::locks::AnyGuard;
use super::script::{Ask, Sort, THINGS, Way};

/// Any such thing.
pub(super) enum AnySignal {
    Event(Event),
    Loose(Semaphore),
    Barrier(Barrier),
    Promise(Mutex<Option<Promise<()>>>, SharedFuture<()>),
    Condition(Condition),
}

fn granted<'a>(is_there: bool) -> Result<Option<AnyGuard<'a>>, Answer> {
    if is_there { Ok(None) } else { Err(Answer::Refused) }
}

impl AnySignal {
    pub(super) fn new(at: usize, sort: Sort) -> Self {
        let name = THINGS[at];
        match sort {
            Sort::Event => Self::Event(Event::named(name)),
            Sort::Loose(permits) => Self::Loose(Semaphore::named(name, permits)),
            Sort::Barrier(parties) => Self::Barrier(Barrier::named(name, parties)),
            Sort::Promise => {
                let (promise, future) = promise();
                Self::Promise(Mutex::new(Some(promise)), future.shared())
            }
            Sort::Condition => Self::Condition(Condition::named(name)),
            other => unreachable!("{other:?} is no signal"),
        }
    }

    /// Waits for it; permits come with a guard. With a condition, nobody waits without a lock.
    pub(super) fn wait(&self, ask: Ask, patience: Duration) -> Result<Option<AnyGuard<'_>>, Answer> {
        match self {
            Self::Event(event) => match ask.way {
                Way::Lock | Way::Acquire => granted({
                    event.wait();
                    true
                }),
                Way::Try => granted(event.is_set()),
                Way::Timed => granted(event.wait_for(patience)),
            },
            Self::Loose(semaphore) => match ask.way {
                Way::Lock | Way::Acquire => Some(semaphore.acquire_many(ask.count)),
                Way::Try => semaphore.try_acquire_many(ask.count),
                Way::Timed => semaphore.try_acquire_many_for(ask.count, patience),
            }
            .map(|guard| Some(AnyGuard::Loose(guard)))
            .ok_or(Answer::Refused),
            Self::Barrier(barrier) => match ask.way {
                Way::Timed => granted(barrier.wait_for(patience).is_ok()),
                _ => granted(barrier.wait().is_ok()),
            },
            Self::Promise(_, future) => match ask.way {
                Way::Lock => granted(future.result().is_ok()),
                Way::Acquire => future.wait().map(|()| None).map_err(Answer::Value),
                Way::Try => granted(future.try_result().is_some()),
                Way::Timed => granted(future.wait_timeout(patience)),
            },
            Self::Condition(_) => Err(Answer::Done),
        }
    }

    /// Gives the signal. `all`: to all that wait on the condition; two permits; sets the event.
    pub(super) fn signal(&self, all: bool) {
        match self {
            Self::Event(event) if all => event.set(),
            Self::Event(event) => event.clear(),
            Self::Loose(semaphore) => semaphore.release(1 + usize::from(all)),
            Self::Barrier(barrier) => barrier.reset(),
            Self::Promise(promise, _) => {
                let promise = promise.lock().unwrap_or_else(PoisonError::into_inner).take();
                promise.into_iter().for_each(|promise| promise.set_result(()).expect("nobody cancels it"));
            }
            Self::Condition(condition) if all => _ = condition.notify_all(),
            Self::Condition(condition) => _ = condition.notify_one(),
        }
    }
}
