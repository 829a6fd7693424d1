//! The locks of a program, of every kind, and the guards of all things.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bowline::sync::{
    BoundedSemaphoreGuard, ConditionGuard, LockGuard, RLockGuard, RLockWaitError, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard, SemaphoreGuard,
};
use bowline::{Condition, Lock, RLock, RwLock};

use super::answer::{Answer, caught, unwound};
use super::script::{Mode, Sort, THINGS, Way};

/// So many reads are enough for all that follow to show themselves, in a process of a few threads.
const MANY_READS: usize = 1 << 12;

/// A lock of any kind.
pub(super) enum AnyLock {
    Plain(Lock<()>),
    Again(RLock<()>),
    Shared(RwLock<()>),
}

/// A guard of any kind.
#[expect(dead_code, reason = "guards are kept to be dropped")]
pub(super) enum AnyGuard<'a> {
    Plain(LockGuard<'a, ()>),
    Again(RLockGuard<'a, ()>),
    Read(RwLockReadGuard<'a, ()>),
    Upgradable(RwLockUpgradableReadGuard<'a, ()>),
    Write(RwLockWriteGuard<'a, ()>),
    Permits(BoundedSemaphoreGuard<'a>),
    Loose(SemaphoreGuard<'a>),
}

impl AnyLock {
    pub(super) fn new(at: usize, sort: Sort) -> Self {
        match sort {
            Sort::Plain => Self::Plain(Lock::named(THINGS[at], ())),
            Sort::Again => Self::Again(RLock::named(THINGS[at], ())),
            Sort::Shared | Sort::Shown => {
                let lock = RwLock::named(THINGS[at], ());
                (0..if sort == Sort::Shown { MANY_READS } else { 0 }).for_each(|_| drop(lock.read()));
                Self::Shared(lock)
            }
            other => unreachable!("{other:?} is no lock"),
        }
    }

    pub(super) fn take(&self, way: Way, mode: Mode, patience: Duration) -> Result<AnyGuard<'_>, Answer> {
        caught(|| match self {
            Self::Plain(lock) => match way {
                Way::Lock => Ok(lock.lock()),
                Way::Acquire => lock.acquire().map_err(Answer::Value),
                Way::Try => lock.try_lock().ok_or(Answer::Refused),
                Way::Timed => lock.try_lock_for(patience).ok_or(Answer::Refused),
            }
            .map(AnyGuard::Plain),
            Self::Again(lock) => match way {
                Way::Lock => Ok(lock.lock()),
                Way::Acquire => lock.acquire().map_err(Answer::Value),
                Way::Try => lock.try_lock().ok_or(Answer::Refused),
                Way::Timed => lock.try_lock_for(patience).ok_or(Answer::Refused),
            }
            .map(AnyGuard::Again),
            Self::Shared(lock) => take_shared(lock, way, mode, patience),
        })
    }
}

fn take_shared(lock: &RwLock<()>, way: Way, mode: Mode, patience: Duration) -> Result<AnyGuard<'_>, Answer> {
    match mode {
        Mode::Read => match way {
            Way::Lock => Ok(lock.read()),
            Way::Acquire => lock.acquire_read().map_err(Answer::Value),
            Way::Try => lock.try_read().ok_or(Answer::Refused),
            Way::Timed => lock.try_read_for(patience).ok_or(Answer::Refused),
        }
        .map(AnyGuard::Read),
        Mode::Again => match way {
            Way::Lock => Ok(lock.read_recursive()),
            Way::Acquire => lock.acquire_read_recursive().map_err(Answer::Value),
            Way::Try => lock.try_read_recursive().ok_or(Answer::Refused),
            Way::Timed => lock.try_read_recursive_for(patience).ok_or(Answer::Refused),
        }
        .map(AnyGuard::Read),
        Mode::Upgradable => match way {
            Way::Lock => Ok(lock.upgradable_read()),
            Way::Acquire => lock.acquire_upgradable_read().map_err(Answer::Value),
            Way::Try => lock.try_upgradable_read().ok_or(Answer::Refused),
            Way::Timed => lock.try_upgradable_read_for(patience).ok_or(Answer::Refused),
        }
        .map(AnyGuard::Upgradable),
        Mode::Write => match way {
            Way::Lock => Ok(lock.write()),
            Way::Acquire => lock.acquire_write().map_err(Answer::Value),
            Way::Try => lock.try_write().ok_or(Answer::Refused),
            Way::Timed => lock.try_write_for(patience).ok_or(Answer::Refused),
        }
        .map(AnyGuard::Write),
    }
}

impl<'a> AnyGuard<'a> {
    pub(super) fn is_upgradable(&self) -> bool {
        matches!(self, Self::Upgradable(_))
    }

    pub(super) fn can_downgrade(&self) -> bool {
        matches!(self, Self::Upgradable(_) | Self::Write(_))
    }

    /// The writer, or what is left of the guard and why. A panic drops it.
    pub(super) fn upgrade(self, way: Way, patience: Duration) -> Result<Self, (Option<Self>, Answer)> {
        let Self::Upgradable(guard) = self else { unreachable!("an upgradable reader") };
        let upgraded = catch_unwind(AssertUnwindSafe(|| match way {
            Way::Lock => Ok(RwLockUpgradableReadGuard::upgrade(guard)),
            Way::Acquire => RwLockUpgradableReadGuard::acquire_upgrade(guard).map_err(|error| {
                let deadlock = error.deadlock().clone();
                (error.into_guard(), Answer::Value(deadlock))
            }),
            Way::Try => RwLockUpgradableReadGuard::try_upgrade(guard).map_err(|guard| (guard, Answer::Refused)),
            Way::Timed => {
                let upgraded = RwLockUpgradableReadGuard::try_upgrade_for(guard, patience);
                upgraded.map_err(|guard| (guard, Answer::Refused))
            }
        }));
        match upgraded {
            Ok(Ok(guard)) => Ok(Self::Write(guard)),
            Ok(Err((guard, answer))) => Err((Some(Self::Upgradable(guard)), answer)),
            Err(payload) => Err((None, unwound(&*payload))),
        }
    }

    pub(super) fn downgrade(self, to_upgradable: bool) -> Self {
        match self {
            Self::Write(guard) if to_upgradable => Self::Upgradable(RwLockWriteGuard::downgrade_to_upgradable(guard)),
            Self::Write(guard) => Self::Read(RwLockWriteGuard::downgrade(guard)),
            Self::Upgradable(guard) => Self::Read(RwLockUpgradableReadGuard::downgrade(guard)),
            other => other,
        }
    }
    /// Whether it is that of a lock which a condition can release.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Again(guard) => RLockGuard::lock(guard).depth() == 1,
            _ => false,
        }
    }

    /// Waits on a condition. Returns the guard, unless locking again was a deadlock.
    pub(super) fn wait_on(self, condition: &Condition, way: Way, patience: Duration) -> (Option<Self>, Answer) {
        match self {
            Self::Plain(mut guard) => match way {
                Way::Acquire => match condition.acquire_wait(guard) {
                    Ok(guard) => (Some(Self::Plain(guard)), Answer::Granted),
                    Err(deadlock) => (None, Answer::Value(deadlock)),
                },
                _ => {
                    let answer = wait_on(condition, &mut guard, way, patience);
                    (Some(Self::Plain(guard)), answer)
                }
            },
            Self::Again(mut guard) => match way {
                Way::Acquire => match condition.acquire_wait(guard) {
                    Ok(guard) => (Some(Self::Again(guard)), Answer::Granted),
                    Err(RLockWaitError::Deadlock(deadlock)) => (None, Answer::Value(deadlock)),
                    Err(error) => panic!("{error}"),
                },
                _ => {
                    let answer = wait_on(condition, &mut guard, way, patience);
                    (Some(Self::Again(guard)), answer)
                }
            },
            _ => unreachable!("a lock that a condition can release"),
        }
    }
}

fn wait_on(condition: &Condition, guard: &mut impl ConditionGuard, way: Way, patience: Duration) -> Answer {
    if way != Way::Timed {
        condition.wait(guard);
    } else if condition.wait_for(guard, patience).timed_out() {
        return Answer::Refused;
    }
    Answer::Granted
}
