//! The locks of a round, and the ways to ask for them: each wait is noted before and after.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::Deadlock;
use bowline::sync::{LockGuard, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use bowline::{Lock, RLock, RwLock};

use super::guards::{self, ArcGuard, Data, Guard, Holding, Kept};
use super::log::{Event, Failure, Hold, Limit, Outcome, What, note};
use super::script::{Keeper, Mode, Patience, Sort, UpgradeWay, Way};
use super::world::{Victim, World, fault};
use crate::support::message;

/// So many reads are enough for all that follow to show themselves, in a process of some hundred threads.
const MANY_READS: usize = 1 << 13;

pub(crate) enum AnyLock {
    Plain(Arc<Lock<Data>>),
    Again(Arc<RLock<Data>>),
    Shared(Arc<RwLock<Data>>),
}

/// Waits, and notes before and after. `None`: the time was over.
pub(crate) fn noted<R>(
    what: What,
    limit: Limit,
    failure: Failure,
    wait: impl FnOnce() -> Result<Option<R>, Deadlock>,
) -> Result<Option<R>, Victim> {
    note(Event::Waits(what, limit, failure));
    waited(catch_unwind(AssertUnwindSafe(wait)))
}

/// Notes how a wait ended.
fn waited<R>(ended: thread::Result<Result<Option<R>, Deadlock>>) -> Result<Option<R>, Victim> {
    match ended {
        Ok(Ok(granted)) => {
            note(Event::Waited(if granted.is_some() { Outcome::Granted } else { Outcome::TimedOut }));
            Ok(granted)
        }
        Ok(Err(_)) => {
            note(Event::Waited(Outcome::Deadlock));
            Err(Victim::Value)
        }
        Err(payload) if message(&*payload).starts_with("deadlock: ") => {
            note(Event::Waited(Outcome::Deadlock));
            Err(Victim::Panic(payload))
        }
        Err(payload) => {
            fault(format!("a wait panicked: {}", message(&*payload)));
            resume_unwind(payload)
        }
    }
}

impl Patience {
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::Endless => Limit::Never,
            Self::Longest => Limit::Beyond,
            Self::Micros(_) => Limit::Soon,
        }
    }

    pub(super) fn duration(self) -> Option<Duration> {
        match self {
            Self::Endless => None,
            Self::Longest => Some(Duration::MAX),
            Self::Micros(micros) => Some(Duration::from_micros(micros)),
        }
    }
}

impl Way {
    fn terms(self) -> (Limit, Failure) {
        match self {
            Self::Acquire => (Limit::Never, Failure::Value),
            Self::For(patience) => (patience.limit(), Failure::Unwind),
            Self::Until(_) => (Limit::Soon, Failure::Unwind),
            Self::Lock | Self::Try => (Limit::Never, Failure::Unwind),
        }
    }
}

fn after(micros: u64) -> Instant {
    Instant::now() + Duration::from_micros(micros)
}

impl AnyLock {
    pub(crate) fn new(sort: Sort, name: &'static str) -> Self {
        match sort {
            Sort::Plain => Self::Plain(Arc::new(Lock::named(name, Data::default()))),
            Sort::Again => Self::Again(Arc::new(RLock::named(name, Data::default()))),
            Sort::Shared { biased } => {
                let lock = RwLock::named(name, Data::default());
                (0..if biased { MANY_READS } else { 0 }).for_each(|_| drop(lock.read()));
                Self::Shared(Arc::new(lock))
            }
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        match self {
            Self::Plain(lock) => lock.is_locked(),
            Self::Again(lock) => lock.is_locked(),
            Self::Shared(lock) => lock.is_locked(),
        }
    }

    fn wait(&self, way: Way) -> Result<Option<Guard<'_>>, Deadlock> {
        Ok(match self {
            Self::Plain(lock) => match way {
                Way::Lock => Some(lock.lock()),
                Way::Acquire => Some(lock.acquire()?),
                Way::Try => lock.try_lock(),
                Way::For(patience) => lock.try_lock_for(patience.duration().unwrap_or(Duration::MAX)),
                Way::Until(micros) => lock.try_lock_until(after(micros)),
            }
            .map(Guard::plain),
            Self::Again(lock) => match way {
                Way::Lock => Some(lock.lock()),
                Way::Acquire => Some(lock.acquire()?),
                Way::Try => lock.try_lock(),
                Way::For(patience) => lock.try_lock_for(patience.duration().unwrap_or(Duration::MAX)),
                Way::Until(micros) => lock.try_lock_until(after(micros)),
            }
            .map(Guard::again),
            Self::Shared(_) => unreachable!("it is asked for in a mode"),
        })
    }
}

/// Asks for a lock of readers and writers.
fn wait_shared(lock: &RwLock<Data>, mode: Mode, way: Way) -> Result<Option<Guard<'_>>, Deadlock> {
    let forever = |patience: Patience| patience.duration().unwrap_or(Duration::MAX);
    Ok(match mode {
        Mode::Read => match way {
            Way::Lock => Some(lock.read()),
            Way::Acquire => Some(lock.acquire_read()?),
            Way::Try => lock.try_read(),
            Way::For(patience) => lock.try_read_for(forever(patience)),
            Way::Until(micros) => lock.try_read_until(after(micros)),
        }
        .map(Guard::read),
        Mode::Again => match way {
            Way::Lock => Some(lock.read_recursive()),
            Way::Acquire => Some(lock.acquire_read_recursive()?),
            Way::Try => lock.try_read_recursive(),
            Way::For(patience) => lock.try_read_recursive_for(forever(patience)),
            Way::Until(micros) => lock.try_read_recursive_until(after(micros)),
        }
        .map(Guard::read),
        Mode::Upgradable => match way {
            Way::Lock => Some(lock.upgradable_read()),
            Way::Acquire => Some(lock.acquire_upgradable_read()?),
            Way::Try => lock.try_upgradable_read(),
            Way::For(patience) => lock.try_upgradable_read_for(forever(patience)),
            Way::Until(micros) => lock.try_upgradable_read_until(after(micros)),
        }
        .map(Guard::upgradable),
        Mode::Write => match way {
            Way::Lock => Some(lock.write()),
            Way::Acquire => Some(lock.acquire_write()?),
            Way::Try => lock.try_write(),
            Way::For(patience) => lock.try_write_for(forever(patience)),
            Way::Until(micros) => lock.try_write_until(after(micros)),
        }
        .map(Guard::write),
    })
}

/// Asks for a lock by a guard that borrows nothing.
fn wait_to_keep(lock: &AnyLock, mode: Mode, way: Way) -> Result<Option<ArcGuard>, Deadlock> {
    let forever = |patience: Patience| patience.duration().unwrap_or(Duration::MAX);
    Ok(match (lock, mode) {
        (AnyLock::Again(_), _) => None,
        (AnyLock::Plain(lock), _) => match way {
            Way::Lock => Some(lock.lock_arc()),
            Way::Acquire => Some(lock.acquire_arc()?),
            Way::Try => lock.try_lock_arc(),
            Way::For(patience) => lock.try_lock_arc_for(forever(patience)),
            Way::Until(micros) => lock.try_lock_arc_until(after(micros)),
        }
        .map(ArcGuard::Plain),
        (AnyLock::Shared(lock), Mode::Read) => match way {
            Way::Lock => Some(lock.read_arc()),
            Way::Acquire => Some(lock.acquire_read_arc()?),
            Way::Try => lock.try_read_arc(),
            Way::For(patience) => lock.try_read_arc_for(forever(patience)),
            Way::Until(micros) => lock.try_read_arc_until(after(micros)),
        }
        .map(ArcGuard::Read),
        (AnyLock::Shared(lock), Mode::Again) => match way {
            Way::Lock => Some(lock.read_recursive_arc()),
            Way::Acquire => Some(lock.acquire_read_recursive_arc()?),
            Way::Try => lock.try_read_recursive_arc(),
            Way::For(patience) => lock.try_read_recursive_arc_for(forever(patience)),
            Way::Until(micros) => lock.try_read_recursive_arc_until(after(micros)),
        }
        .map(ArcGuard::Read),
        (AnyLock::Shared(lock), Mode::Upgradable) => match way {
            Way::Lock => Some(lock.upgradable_read_arc()),
            Way::Acquire => Some(lock.acquire_upgradable_read_arc()?),
            Way::Try => lock.try_upgradable_read_arc(),
            Way::For(patience) => lock.try_upgradable_read_arc_for(forever(patience)),
            Way::Until(micros) => lock.try_upgradable_read_arc_until(after(micros)),
        }
        .map(ArcGuard::Upgradable),
        (AnyLock::Shared(lock), Mode::Write) => match way {
            Way::Lock => Some(lock.write_arc()),
            Way::Acquire => Some(lock.acquire_write_arc()?),
            Way::Try => lock.try_write_arc(),
            Way::For(patience) => lock.try_write_arc_for(forever(patience)),
            Way::Until(micros) => lock.try_write_arc_until(after(micros)),
        }
        .map(ArcGuard::Write),
    })
}

/// Asks in this way, and notes that as what it is.
fn ask<R>(
    what: What,
    hold: Hold,
    lock: usize,
    way: Way,
    wait: impl FnOnce() -> Result<Option<R>, Deadlock>,
) -> Result<Option<R>, Victim> {
    if way == Way::Try {
        let granted = wait().expect("nobody waits");
        if granted.is_some() {
            note(Event::Took(lock, hold));
        }
        return Ok(granted);
    }
    let (limit, failure) = way.terms();
    noted(what, limit, failure, wait)
}

impl World {
    pub(super) fn take(&self, lock: usize, way: Way) -> Result<Option<Holding<'_>>, Victim> {
        let any = &self.locks[lock];
        let granted = ask(What::Lock(lock), Hold::Whole, lock, way, || any.wait(way))?;
        Ok(granted.map(|guard| Holding::new(lock, guard)))
    }

    pub(super) fn take_shared(&self, lock: usize, mode: Mode, way: Way) -> Result<Option<Holding<'_>>, Victim> {
        let AnyLock::Shared(shared) = &self.locks[lock] else { return Ok(None) };
        let what = What::Shared(lock, mode);
        let granted = ask(what, Hold::of(mode), lock, way, || wait_shared(shared, mode, way))?;
        Ok(granted.map(|guard| Holding::new(lock, guard)))
    }

    /// Takes a lock by a guard that the end of the thread drops.
    pub(super) fn keep(&self, lock: usize, mode: Mode, way: Way, keeper: Keeper) -> Result<(), Victim> {
        let any = &self.locks[lock];
        let (what, hold) = match any {
            AnyLock::Plain(_) => (What::Lock(lock), Hold::Whole),
            AnyLock::Shared(_) => (What::Shared(lock, mode), Hold::of(mode)),
            AnyLock::Again(_) => return Ok(()),
        };
        if let Some(guard) = ask(what, hold, lock, way, || wait_to_keep(any, mode, way))? {
            guards::keep(Kept::new(lock, guard), keeper);
        }
        Ok(())
    }
}

/// The place of one of the guards of which this holds, the first from some place on.
pub(super) fn next_where<'w>(is_it: impl Fn(&Holding<'w>) -> bool, at: usize, guards: &[Holding<'w>]) -> Option<usize> {
    (at..at + guards.len()).map(|at| at % guards.len()).find(|&at| is_it(&guards[at]))
}

/// Makes an upgradable reader the writer, or keeps it.
pub(super) fn upgrade<'w>(holding: Holding<'w>, way: UpgradeWay, guards: &mut Vec<Holding<'w>>) -> Result<(), Victim> {
    let (lock, guard) = holding.into_parts();
    let Guard::Upgradable(guard) = guard else { unreachable!("an upgradable reader") };
    let what = What::Upgrade(lock);
    match way {
        UpgradeWay::Try => match RwLockUpgradableReadGuard::try_upgrade(guard) {
            Ok(guard) => {
                note(Event::Upgraded(lock));
                guards.push(Holding::new(lock, Guard::write(guard)));
            }
            Err(guard) => guards.push(Holding::new(lock, Guard::upgradable(guard))),
        },
        UpgradeWay::For(micros) => {
            note(Event::Waits(what, Limit::Soon, Failure::Unwind));
            let upgraded = RwLockUpgradableReadGuard::try_upgrade_for(guard, Duration::from_micros(micros));
            note(Event::Waited(if upgraded.is_ok() { Outcome::Granted } else { Outcome::TimedOut }));
            let guard = upgraded.map_or_else(Guard::upgradable, Guard::write);
            guards.push(Holding::new(lock, guard));
        }
        UpgradeWay::Acquire => {
            note(Event::Waits(what, Limit::Never, Failure::Value));
            match RwLockUpgradableReadGuard::acquire_upgrade(guard) {
                Ok(guard) => {
                    note(Event::Waited(Outcome::Granted));
                    guards.push(Holding::new(lock, Guard::write(guard)));
                }
                Err(error) => {
                    note(Event::Waited(Outcome::Deadlock));
                    guards.push(Holding::new(lock, Guard::upgradable(error.into_guard())));
                    return Err(Victim::Value);
                }
            }
        }
    }
    Ok(())
}

/// Unlocks and locks again.
pub(super) fn unlocked(holding: Holding<'_>, by_value: bool) -> Result<Option<Holding<'_>>, Victim> {
    let (lock, guard) = holding.into_parts();
    let (hold, what) = match &guard {
        Guard::Plain(_) => (Hold::Whole, What::Lock(lock)),
        Guard::Read(_) => (Hold::Read, What::Shared(lock, Mode::Read)),
        _ => (Hold::Write, What::Shared(lock, Mode::Write)),
    };
    // Of readers and writers there is no other way.
    let by_value = by_value && hold == Hold::Whole;
    note(Event::Releases(lock, hold));
    let failure = if by_value { Failure::Value } else { Failure::Unwind };
    let comes_back = || note(Event::Waits(what, Limit::Never, failure));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        Ok(Some(match guard {
            Guard::Plain(guard) if by_value => Guard::plain(LockGuard::acquire_unlocked(guard, comes_back)?),
            Guard::Plain(guard) => Guard::plain(LockGuard::unlocked(guard, comes_back)),
            Guard::Read(guard) => Guard::read(RwLockReadGuard::unlocked(guard, comes_back)),
            Guard::Write(guard) => Guard::write(RwLockWriteGuard::unlocked(guard, comes_back)),
            _ => unreachable!("a whole guard"),
        }))
    }));
    Ok(waited(ended)?.map(|guard| Holding::new(lock, guard)))
}
