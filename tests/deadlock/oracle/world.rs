//! The things of a program, and its threads as others join them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bowline::thread::JoinHandle;
use bowline::{BoundedSemaphore, Condition};

use super::answer::{Answer, caught};
use super::cells::AnyCell;
use super::locks::{AnyGuard, AnyLock};
use super::script::{Ask, Outcome, Sort, Step, THINGS, Way};
use super::signals::AnySignal;

pub(super) enum Thing {
    Lock(AnyLock),
    Permits(BoundedSemaphore),
    Cell(AnyCell),
    Signal(AnySignal),
}

impl Thing {
    fn new(at: usize, sort: Sort) -> Self {
        match sort {
            Sort::Permits(permits) => Self::Permits(BoundedSemaphore::named(THINGS[at], permits)),
            _ if sort.is_cell() => Self::Cell(AnyCell::new(at, sort)),
            _ if sort.is_signal() => Self::Signal(AnySignal::new(at, sort)),
            _ => Self::Lock(AnyLock::new(at, sort)),
        }
    }
}

pub(super) struct World {
    pub(super) sorts: Vec<Sort>,
    pub(super) things: Vec<Thing>,
    /// One for each thread, unless it is being joined or was.
    handles: Vec<Mutex<Option<JoinHandle<()>>>>,
}

impl World {
    pub(super) fn new(sorts: &[Sort], threads: usize) -> Self {
        Self {
            sorts: sorts.to_vec(),
            things: sorts.iter().enumerate().map(|(at, &sort)| Thing::new(at, sort)).collect(),
            handles: (0..threads).map(|_| Mutex::new(None)).collect(),
        }
    }

    pub(super) fn put_handle(&self, thread: usize, handle: JoinHandle<()>) {
        *self.handles[thread].lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    }

    /// Joins a thread, unless another one does or did.
    fn join(&self, way: Way, thread: usize, patience: Duration) -> Answer {
        let Some(handle) = self.handles[thread].lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Answer::Done;
        };
        let joined = caught(|| match way {
            Way::Lock => Ok(handle.join()),
            Way::Acquire => handle.acquire_join().map_err(|error| {
                let deadlock = error.deadlock().clone();
                self.put_handle(thread, error.into_handle());
                Answer::Value(deadlock)
            }),
            Way::Try | Way::Timed => handle.join_timeout(patience).map_err(|handle| {
                self.put_handle(thread, handle);
                Answer::Refused
            }),
        });
        match joined {
            Ok(result) => {
                result.expect("it does not panic");
                Answer::Granted
            }
            Err(answer) => answer,
        }
    }

    fn condition(&self, at: usize) -> &Condition {
        let Thing::Signal(AnySignal::Condition(condition)) = &self.things[at] else { unreachable!("a condition") };
        condition
    }

    /// Ends the waits that only a signal ends, or, of a cell, only a value.
    pub(super) fn signal(&self, thing: usize, all: bool) {
        match &self.things[thing] {
            Thing::Signal(signal) => signal.signal(all),
            Thing::Cell(cell) => cell.complete(),
            Thing::Lock(_) | Thing::Permits(_) => {}
        }
    }
}

/// A thread of a program, and what it holds.
pub(super) struct Actor<'w> {
    pub(super) world: &'w World,
    pub(super) guards: Vec<AnyGuard<'w>>,
}

fn take_permits(
    semaphore: &BoundedSemaphore,
    Ask { way, count, .. }: Ask,
    patience: Duration,
) -> Result<AnyGuard<'_>, Answer> {
    caught(|| {
        match way {
            Way::Lock => Ok(semaphore.lock_many(count)),
            Way::Acquire => semaphore.acquire_many(count).map_err(Answer::Value),
            Way::Try => semaphore.try_lock_many(count).ok_or(Answer::Refused),
            Way::Timed => semaphore.try_lock_many_for(count, patience).ok_or(Answer::Refused),
        }
        .map(AnyGuard::Permits)
    })
}

impl<'w> Actor<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world, guards: Vec::new() }
    }

    fn keep(&mut self, taken: Result<Option<AnyGuard<'w>>, Answer>) -> Answer {
        match taken {
            Ok(guard) => {
                self.guards.extend(guard);
                Answer::Granted
            }
            Err(answer) => answer,
        }
    }

    /// Does one thing. `initialise`: what the initialiser of a cell does, if this step runs one.
    pub(super) fn perform(
        &mut self,
        step: Step,
        patience: Duration,
        initialise: &mut dyn FnMut(&mut Self) -> Outcome,
    ) -> Answer {
        let world = self.world;
        match step {
            Step::Take(ask) => match &world.things[ask.thing] {
                Thing::Lock(lock) => self.keep(lock.take(ask.way, ask.mode, patience).map(Some)),
                Thing::Permits(semaphore) => self.keep(take_permits(semaphore, ask, patience).map(Some)),
                Thing::Cell(cell) => {
                    let intent = world.sorts[ask.thing].intent(ask);
                    cell.enter(ask.way, intent, patience, &mut || initialise(self))
                }
                Thing::Signal(signal) => self.keep(signal.wait(ask, patience)),
            },
            Step::Wait { way, condition, at } => {
                let condition = world.condition(condition);
                let (guard, answer) = self.guards.remove(at).wait_on(condition, way, patience);
                guard.into_iter().for_each(|guard| self.guards.insert(at, guard));
                answer
            }
            Step::Upgrade(way, at) => match self.guards.remove(at).upgrade(way, patience) {
                Ok(guard) => {
                    self.guards.insert(at, guard);
                    Answer::Granted
                }
                Err((guard, answer)) => {
                    guard.into_iter().for_each(|guard| self.guards.insert(at, guard));
                    answer
                }
            },
            Step::Downgrade(at, to_upgradable) => {
                let guard = self.guards.remove(at).downgrade(to_upgradable);
                self.guards.insert(at, guard);
                Answer::Done
            }
            Step::Signal(thing, all) => {
                world.signal(thing, all);
                Answer::Done
            }
            Step::Join(way, thread) => world.join(way, thread, patience),
            Step::Release(at) => {
                drop(self.guards.remove(at));
                Answer::Done
            }
            Step::ReleaseAll => {
                self.guards.clear();
                Answer::Done
            }
            Step::EndInitialiser(_) | Step::End => unreachable!("the caller ends them"),
        }
    }
}
