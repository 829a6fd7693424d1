//! Declared ranks: a lock of the same or a lower rank than one that is held is told; what has no rank, or does not wait for
//! ever, is not; and a lock with a rank is a lock like any other.
//!
//! Every test has a process of its own: policy, hooks and what was told before are process-wide.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, HazardKind, HazardPolicy, Kind};
use bowline::sync::{ArcRwLockUpgradableReadGuard, LockGuard, RLockGuard, RwLockUpgradableReadGuard};
use bowline::{Condition, Lock, RLock, RwLock};

use crate::support::hazards::{
    Hazards, Held, NONE_YET, Rw, Way, kept, limited_reads, panic_of, recursive_reads, soon, untimed_reads, ways,
};
use crate::support::{LIMIT, alone, on_another_thread, within};

/// All ways to acquire one lock, with their names.
type Ways = Vec<(&'static str, Box<dyn FnOnce() -> Held>)>;

/// A lock of whatever type, with all ways to acquire it.
struct Any3 {
    primitive: &'static str,
    made: fn(&'static str, u16) -> &'static dyn Ranked,
}

trait Ranked: Sync {
    /// Acquires by each way that waits without a limit.
    fn untimed(&'static self) -> Ways;
    /// Acquires by each way that does not wait, or not for ever.
    fn limited(&'static self) -> Ways;
}

fn bound<L: Sync + Send>(lock: &'static Arc<L>, ways: impl IntoIterator<Item = Way<L>>) -> Ways {
    ways.into_iter().map(|(name, way)| (name, Box::new(move || way(lock)) as Box<dyn FnOnce() -> Held>)).collect()
}

impl Ranked for Arc<Lock<u32>> {
    fn untimed(&'static self) -> Ways {
        let mut ways = bound(self, ways![Lock<u32>: lock, acquire, lock_arc, acquire_arc]);
        let serialize = move || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Ways {
        let mut ways = bound(
            self,
            ways![Lock<u32>:
                try_lock, try_lock_arc, try_lock_for(NONE_YET), try_lock_until(soon()), try_lock_for(Duration::MAX),
                try_lock_arc_for(NONE_YET),
            ],
        );
        ways.push(("debug", Box::new(move || Box::new(format!("{self:?}")))));
        ways
    }
}

impl Ranked for Arc<RLock<u32>> {
    fn untimed(&'static self) -> Ways {
        let mut ways = bound(self, ways![RLock<u32>: lock, acquire]);
        let serialize = move || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Ways {
        let timed = ways![RLock<u32>: try_lock_for(NONE_YET), try_lock_until(soon()), try_lock_for(Duration::MAX)];
        let mut ways = bound(self, ways![RLock<u32>: try_lock].into_iter().chain(timed));
        ways.push(("debug", Box::new(move || Box::new(format!("{self:?}")))));
        ways
    }
}

impl Ranked for Arc<Rw> {
    fn untimed(&'static self) -> Ways {
        let writes = ways![Rw: write, acquire_write, write_arc, acquire_write_arc];
        let mut ways = bound(self, untimed_reads().into_iter().chain(recursive_reads()).chain(writes));
        let serialize = move || Box::new(serde_json::to_string(&**self)) as Held;
        ways.push(("serialize", Box::new(serialize)));
        ways
    }

    fn limited(&'static self) -> Ways {
        let writes = ways![Rw: try_write, try_write_arc, try_write_for(NONE_YET), try_write_until(soon())];
        let mut ways = bound(self, limited_reads().into_iter().chain(writes));
        ways.push(("debug", Box::new(move || Box::new(format!("{self:?}")))));
        ways
    }
}

const PRIMITIVES: [Any3; 3] = [
    Any3 { primitive: "Lock", made: |name, rank| kept(Lock::ranked(name, rank, 0)) },
    Any3 { primitive: "RLock", made: |name, rank| kept(RLock::ranked(name, rank, 0)) },
    Any3 { primitive: "RwLock", made: |name, rank| kept(RwLock::ranked(name, rank, 0)) },
];

#[test]
fn a_lock_of_the_same_or_a_lower_rank_is_told_and_one_of_a_higher_rank_is_not() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        for held in PRIMITIVES {
            for wanted in PRIMITIVES {
                let high = (held.made)("high", 20);
                for (taken, take) in high.untimed().into_iter().chain(high.limited()) {
                    // It lets go of the lock before it returns.
                    if ["serialize", "debug"].contains(&taken) {
                        continue;
                    }
                    let _held = take();
                    for rank in [0, 19, 20, 21, u16::MAX] {
                        let low = (wanted.made)("low", rank);
                        let what = format!("{} {rank} after {} by {taken}", wanted.primitive, held.primitive);
                        for (name, ask) in low.untimed() {
                            let told = panic_of(ask);
                            assert_eq!(told.is_some(), rank <= 20, "{name}: {what}: {told:?}");
                            let Some(told) = told else { continue };
                            let headline = format!("takes a lock of rank {rank} while it holds one of rank 20");
                            assert!(told.lines().next().unwrap().ends_with(&headline), "{told}");
                            let [hazard] = &hazards.take()[..] else { panic!("{what}") };
                            assert_eq!(hazard.kind(), HazardKind::Rank);
                            assert_eq!(
                                (hazard.wanted().rank(), hazard.held().resource().rank()),
                                (Some(rank), Some(20))
                            );
                            assert_eq!(hazard.wanted().primitive(), wanted.primitive);
                            assert_eq!(hazard.held().resource().primitive(), held.primitive);
                        }
                        for (name, ask) in low.limited() {
                            assert_eq!(panic_of(ask), None, "{name}: {what}");
                        }
                    }
                }
            }
        }
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn a_lock_without_a_rank_has_no_part_in_the_order() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (plain, named) = (Lock::new(0), RwLock::named("named", 0));
        let (low, high) = (Lock::ranked("low", 1, 0), RLock::ranked("high", 2, 0));
        {
            let _held = (high.lock(), plain.lock());
            drop(named.write());
        }
        {
            let _held = (plain.lock(), named.read());
            drop((low.lock(), high.lock()));
        }
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn the_highest_of_the_locks_that_are_held_is_told() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let locks: Vec<_> = (0..40).map(|rank| Lock::ranked("one of many", rank, ())).collect();
        // More than a context holds inline, in whatever order.
        let held: Vec<_> = locks.iter().skip(1).map(|lock| lock.try_lock().unwrap()).collect();
        drop(locks[0].lock());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.held().resource().rank(), Some(39));
        drop(held);
        drop(locks[0].lock());
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn the_owner_takes_an_rlock_again_whatever_it_holds() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (low, high) = (RLock::ranked("low", 1, 0), Lock::ranked("high", 2, 0));
        let first = low.lock();
        let _high = high.lock();
        let again = (low.lock(), low.acquire().unwrap(), low.try_lock().unwrap());
        let timed = (low.try_lock_for(NONE_YET).unwrap(), low.try_lock_until(soon()).unwrap());
        assert_eq!((low.depth(), low.is_owned(), low.is_locked()), (6, true, true));
        assert_eq!(on_another_thread(|| (low.depth(), low.is_owned(), low.try_lock().is_some())), (0, false, false));
        drop((first, timed));
        assert_eq!(low.depth(), 3);
        drop(again);
        assert_eq!((low.depth(), low.is_locked()), (0, false));
        assert_eq!(hazards.count(), 0);
        assert!(panic_of(|| low.lock()).is_some(), "it is free again, and so has to come first");
    });
}

#[test]
fn reading_a_lock_with_a_rank_twice_is_a_repeated_read_and_a_relock_is_a_deadlock() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock = RwLock::ranked("ranked", 1, 0);
        let reading = lock.read();
        drop(lock.read());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
        drop(lock.read_recursive());
        let relock = lock.acquire_write().unwrap_err();
        assert_eq!(relock.report().kind(), Kind::Relock);
        assert!(relock.to_string().contains("A = RwLock<i32> 'ranked', rank 1, made at "), "{relock}");
        drop(reading);
        let lock = Lock::ranked("own", 1, 0);
        let _guard = lock.lock();
        assert_eq!(lock.acquire().unwrap_err().report().kind(), Kind::Relock);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn an_upgrade_is_in_the_order_and_gives_nothing_up_but_by_a_panic() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let (low, high): (&'static Arc<Rw>, _) = (kept(RwLock::ranked("low", 1, 0)), Lock::ranked("high", 2, 0));
        drop(RwLockUpgradableReadGuard::upgrade(low.upgradable_read()));
        assert_eq!(hazards.count(), 0, "it holds nothing else");
        let upgradable = low.upgradable_read();
        let high_guard = high.lock();
        static OTHERS_READ: AtomicBool = AtomicBool::new(false);
        let others = deadlock::on_hazard(move |_| {
            OTHERS_READ.store(on_another_thread(|| low.try_read().is_some()), SeqCst);
        });
        let mut written = RwLockUpgradableReadGuard::upgrade(upgradable);
        *written += 1;
        drop((written, others));
        assert!(OTHERS_READ.load(SeqCst), "it is no writer yet");
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.kind(), hazard.wanted().name()), (HazardKind::Rank, Some("low")));
        let upgradable = low.upgradable_read_arc();
        drop((high_guard, hazards.take()));
        let high_guard = high.lock();
        let upgraded = ArcRwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap();
        drop(upgraded);
        assert_eq!(hazards.count(), 1);
        drop(high_guard);
        let upgradable = low.upgradable_read();
        let high_guard = high.lock();
        let written = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, NONE_YET).ok().unwrap();
        drop((written, high_guard));
        assert_eq!(hazards.count(), 0, "with a limit");
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        let upgradable = low.upgradable_read();
        let _high = high.lock();
        assert!(panic_of(|| RwLockUpgradableReadGuard::upgrade(upgradable)).is_some());
        assert!(low.try_write().is_some(), "the guard is gone with the panic, as after a deadlock");
    });
}

#[test]
fn a_wait_for_a_condition_is_in_the_order_before_it_begins() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let changed = Condition::new();
        let (low, again) = (Lock::ranked("low", 1, ()), RLock::ranked("low again", 1, ()));
        let (high, highest) = (Lock::ranked("high", 2, ()), RwLock::ranked("highest", 3, ()));
        let told = || hazards.take().iter().map(|hazard| hazard.site().line()).collect::<Vec<_>>();

        // Locking again is in order, whatever was taken before.
        let (_low, mut in_order) = (low.lock(), high.lock());
        assert!(changed.wait_for(&mut in_order, NONE_YET).timed_out());
        let (in_order, _) = changed.acquire_wait_for(in_order, NONE_YET).unwrap();
        assert!(told().is_empty());
        drop((in_order, _low));

        let (mut first, mut first_again) = (low.lock(), again.lock());
        let _highest = highest.read();
        told();
        let line = line!();
        _ = changed.wait_for(&mut first, NONE_YET);
        _ = changed.wait_while_for(&mut first_again, |()| true, NONE_YET);
        let (first, _) = changed.acquire_wait_for(first, NONE_YET).unwrap();
        let (mut first_again, _) = changed.acquire_wait_for(first_again, NONE_YET).unwrap();
        assert_eq!(told(), [line + 1, line + 2, line + 3, line + 4]);

        // A panic comes while the lock is held and nobody is counted as a waiter.
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        assert!(panic_of(|| changed.wait(&mut first_again)).unwrap().starts_with("hazard: "));
        assert!(again.is_owned() && !changed.notify_one());
        assert!(panic_of(|| changed.acquire_wait(first)).unwrap().starts_with("hazard: "));
        assert!(!low.is_locked() && !changed.notify_one());
    });
}

#[test]
fn a_hook_that_keeps_a_guard_before_a_wait_for_a_condition_makes_it_refused() {
    alone(|| {
        deadlock::set_hazard_policy(HazardPolicy::Warn);
        let (low, high, changed) =
            (Arc::new(RLock::ranked("low", 1, ())), Lock::ranked("high", 2, ()), Condition::new());
        let theirs = Arc::clone(&low);
        let _hook = deadlock::on_hazard(move |_| std::mem::forget(theirs.lock()));
        let mut guard = low.lock();
        let _high = high.lock();
        let message = panic_of(|| changed.wait_for(&mut guard, NONE_YET)).expect("the hook has another guard");
        assert!(message.contains("RLock"), "{message}");
        assert_eq!(low.depth(), 2);
        let error = changed.acquire_wait_for(guard, NONE_YET).map(drop).unwrap_err();
        assert!(error.to_string().contains("RLock"), "{error}");
    });
}

#[test]
fn locks_with_ranks_exclude_hand_over_and_wake_as_others_do() {
    alone(|| {
        within(LIMIT / 2, || {
            const ROUNDS: usize = 2_000;
            deadlock::set_hazard_policy(HazardPolicy::Panic);
            static INSIDE: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
            let (lock, again, shared) =
                (Lock::ranked("lock", 1, 0), RLock::ranked("again", 2, ()), RwLock::ranked("shared", 3, 0));
            let alone = |at: usize, body: &mut dyn FnMut()| {
                assert_eq!(INSIDE[at].fetch_add(1, SeqCst), 0, "two at once");
                body();
                INSIDE[at].fetch_sub(1, SeqCst);
            };
            thread::scope(|s| {
                for thread in 0..4 {
                    let (lock, again, shared) = (&lock, &again, &shared);
                    s.spawn(move || {
                        for round in 0..ROUNDS {
                            let mut first = lock.lock();
                            alone(0, &mut || *first += 1);
                            if round % 3 == 0 {
                                first = LockGuard::unlocked(first, thread::yield_now);
                            }
                            let second = (again.lock(), again.lock());
                            alone(1, &mut || assert_eq!(again.depth(), 2));
                            match (round + thread) % 2 {
                                0 => drop(first),
                                _ => LockGuard::unlock_fair(first),
                            }
                            drop(second.1);
                            if round % 2 == 0 {
                                drop(second.0)
                            } else {
                                RLockGuard::unlock_fair(second.0)
                            }
                            if round % 64 == thread {
                                let mut written = shared.write();
                                alone(2, &mut || *written += 1);
                            }
                            let _reading = shared.read();
                            assert_eq!(INSIDE[2].load(SeqCst), 0);
                        }
                    });
                }
            });
            assert_eq!(lock.into_inner(), 4 * ROUNDS);
            assert!(!again.is_locked() && !shared.is_locked());
            assert_eq!(shared.into_inner(), (0..4).map(|thread| (ROUNDS - thread).div_ceil(64)).sum::<usize>());
            assert_eq!(deadlock::snapshot().graph().node_count(), 0);
        });
    });
}

#[test]
fn a_deadlock_of_locks_with_ranks_is_found_and_shows_them() {
    alone(|| {
        within(LIMIT / 2, || {
            deadlock::set_hazard_policy(HazardPolicy::Off);
            let (low, high) = (Lock::ranked("low", 7, ()), RwLock::ranked("high", 9, ()));
            let each_has_one = Barrier::new(2);
            let closed = AtomicBool::new(false);
            thread::scope(|s| {
                let first = s.spawn(|| {
                    let _low = low.lock();
                    each_has_one.wait();
                    high.acquire_read().map(drop).err()
                });
                let second = s.spawn(|| {
                    let _high = high.write();
                    each_has_one.wait();
                    low.acquire().map(drop).err()
                });
                let errors: Vec<_> = [first, second].into_iter().filter_map(|it| it.join().unwrap()).collect();
                let [deadlock] = &errors[..] else { panic!("{errors:?}") };
                assert_eq!(deadlock.report().kind(), Kind::Cycle);
                for part in ["Lock<()> 'low', rank 7, made at", "RwLock<()> 'high', rank 9, made at"] {
                    assert!(deadlock.to_string().replace("\n     ", "").contains(part), "{deadlock}");
                }
                closed.store(true, SeqCst);
            });
            assert!(closed.load(SeqCst));
            // The owner of a lock with a rank is known when it is gone, too.
            if cfg!(target_os = "linux") {
                on_another_thread(|| std::mem::forget(low.lock()));
                assert_eq!(low.acquire().unwrap_err().report().kind(), Kind::Abandoned);
            }
        });
    });
}
