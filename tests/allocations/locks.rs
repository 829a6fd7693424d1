//! A lock allocates nothing: not when it is made, taken, waited for (unless for long) or dropped. A thread allocates at
//! its first lock, and leaves nothing behind. Nobody allocates while the graph is locked.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::sync::{LockGuard, RLockGuard};
use bowline::{Lock, RLock};

use super::counting::{allocations_here, live_bytes, set_asking};
use crate::support::{
    LIMIT, alone, on_another_thread, spawn_named, until_asleep, until_parked, until_thread_where, wait_until,
};

static PROBE: Probe = Probe {
    asked: AtomicUsize::new(0),
    answered: AtomicUsize::new(0),
    late: AtomicUsize::new(0),
    over: AtomicBool::new(false),
};

/// Tells whether the graph is locked: a thread of its own looks at it whenever it is asked to.
struct Probe {
    asked: AtomicUsize,
    answered: AtomicUsize,
    /// How often the answer did not come.
    late: AtomicUsize,
    over: AtomicBool,
}

impl Probe {
    /// Waits for an answer: none comes if the caller has locked the graph.
    fn ask(&self) {
        let number = self.asked.fetch_add(1, SeqCst) + 1;
        let end = Instant::now() + LIMIT / 6;
        while self.answered.load(SeqCst) < number {
            if Instant::now() >= end {
                self.late.fetch_add(1, SeqCst);
                return;
            }
            thread::yield_now();
        }
    }

    /// Answers until it is over.
    fn answer(&self) {
        while !self.over.load(SeqCst) {
            let number = self.asked.load(SeqCst);
            if self.answered.load(SeqCst) < number {
                drop(bowline::deadlock::snapshot());
                self.answered.store(number, SeqCst);
            }
            thread::yield_now();
        }
    }
}

#[test]
fn what_allocates_is_counted() {
    alone(|| {
        assert_eq!(allocations_here(|| drop(Box::new(1))), 1);
        assert_eq!(allocations_here(|| drop(vec![1, 2, 3])), 1);
    });
}

#[test]
fn making_and_dropping_locks_allocates_nothing_even_on_a_new_thread() {
    alone(|| {
        let make_and_drop = || {
            for i in 0..100 {
                black_box((Lock::new(i), Lock::named("named", i), Lock::from(i), Lock::<i32>::default()));
                black_box((RLock::new(i), RLock::named("named", i), RLock::from(i), RLock::<i32>::default()));
                assert_eq!(Lock::new(i).into_inner() + *RLock::new(0).get_mut(), i);
            }
        };
        assert_eq!(on_another_thread(|| allocations_here(make_and_drop)), 0);
    });
}

#[test]
fn locking_allocates_nothing_on_a_thread_that_has_locked_before() {
    alone(|| {
        let (lock, again) = (Lock::new(1), RLock::new(1));
        let arc = std::sync::Arc::new(Lock::new(1));
        drop(lock.lock());
        let every_way = || {
            for _ in 0..100 {
                drop(lock.lock());
                drop(lock.acquire());
                drop(lock.try_lock());
                drop(lock.try_lock_for(Duration::MAX));
                drop(lock.try_lock_until(Instant::now()));
                drop((arc.lock_arc(), arc.try_lock_arc()));
                LockGuard::unlock_fair(lock.lock());
                drop(LockGuard::map(LockGuard::unlocked(lock.lock(), || {}), |value| value));
                drop((again.lock(), again.acquire(), again.try_lock(), again.try_lock_for(Duration::ZERO)));
                RLockGuard::unlock_fair(again.lock());
                drop(RLockGuard::map(again.lock(), |value| value));
                assert!(!lock.is_locked() && !again.is_owned() && again.depth() == 0);
            }
        };
        assert_eq!(allocations_here(every_way), 0);
    });
}

#[test]
fn a_lock_that_is_made_and_taken_for_the_first_time_allocates_nothing() {
    alone(|| {
        drop(Lock::new(()).lock());
        let fresh = || {
            for i in 0..100 {
                let lock = Lock::new(i);
                *lock.lock() += 1;
            }
        };
        assert_eq!(allocations_here(fresh), 0);
    });
}

#[test]
fn a_threads_first_lock_allocates_little() {
    alone(|| {
        let first = || allocations_here(|| drop(Lock::new(()).lock()));
        // The thread's place in the graph, its name, and now and then a list that grows.
        assert!(on_another_thread(first) <= 4);
        thread::scope(|s| assert!(spawn_named(s, "a thread with a name", first).join().unwrap() <= 5));
    });
}

#[test]
fn only_the_seventeenth_lock_held_at_once_allocates_and_only_once() {
    // Alone: a thread may come by a place in the graph which another has left, with what was
    // allocated for it.
    alone(|| {
        let locks: [Lock<()>; 40] = std::array::from_fn(|_| Lock::new(()));
        let mut guards = Vec::with_capacity(40);
        drop(locks[0].lock());
        assert_eq!(allocations_here(|| guards.extend(locks[..16].iter().map(Lock::lock))), 0);
        assert_eq!(allocations_here(|| guards.push(locks[16].lock())), 1);
        assert_eq!(allocations_here(|| guards.extend(locks[17..32].iter().map(Lock::lock))), 0);
        assert_eq!(allocations_here(|| guards.clear()), 0);
        assert_eq!(allocations_here(|| guards.extend(locks[..32].iter().map(Lock::lock))), 0);
    });
}

type Way = (&'static str, fn(&Lock<()>));

/// Every way to wait for a lock, under the name of the thread that does.
const WAYS: [Way; 3] = [
    ("waits to lock", |lock| drop(lock.lock())),
    ("waits to acquire", |lock| drop(lock.acquire().unwrap())),
    ("waits for a while", |lock| drop(lock.try_lock_for(LIMIT * 2).unwrap())),
];

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells who is asleep")]
fn a_wait_within_the_grace_allocates_nothing_but_the_first_time() {
    alone(|| {
        bowline::deadlock::set_grace(Duration::from_secs(3600));
        for (name, wait) in WAYS {
            let (first, second, held) = (Lock::new(()), Lock::new(()), Lock::new(()));
            let (os_id, waits) = (AtomicU32::new(0), AtomicU32::new(0));
            thread::scope(|s| {
                let (first_guard, second_guard, _held) = (first.lock(), second.lock(), held.lock());
                let waiter = spawn_named(s, name, || {
                    os_id.store(crate::support::this_os_id(), SeqCst);
                    wait(&first);
                    let in_vain = || assert!(held.try_lock_for(Duration::from_millis(2)).is_none());
                    waits.store(1, SeqCst);
                    [allocations_here(|| wait(&second)), allocations_here(in_vain)]
                });
                wait_until(|| os_id.load(SeqCst) != 0);
                until_asleep(os_id.load(SeqCst));
                drop(first_guard);
                wait_until(|| waits.load(SeqCst) != 0);
                until_asleep(os_id.load(SeqCst));
                drop(second_guard);
                assert_eq!(waiter.join().unwrap(), [0, 0], "{name}");
            });
        }
    });
}

#[test]
fn a_long_wait_allocates_room_for_a_report_at_most() {
    alone(|| {
        for (name, wait) in WAYS {
            let (first, second, held) = (Lock::new(()), Lock::named("second", ()), Lock::new(()));
            thread::scope(|s| {
                let (first_guard, second_guard, _held) = (first.lock(), second.lock(), held.lock());
                let waiter = spawn_named(s, name, || {
                    wait(&first);
                    let in_vain = || assert!(held.try_lock_for(Duration::from_millis(2)).is_none());
                    [allocations_here(|| wait(&second)), allocations_here(in_vain)]
                });
                // Both waits are long enough to enter the graph.
                until_parked(name);
                drop(first_guard);
                until_thread_where(|thread| {
                    let wait = thread.waits_for().filter(|_| thread.name() == Some(name));
                    wait.is_some_and(|wait| wait.resource().name() == Some("second"))
                });
                until_parked(name);
                drop(second_guard);
                let counts = waiter.join().unwrap();
                assert!(counts.iter().all(|&count| count <= 2), "{name}: {counts:?}");
            });
        }
    });
}

#[test]
fn nothing_is_allocated_while_the_graph_is_locked() {
    alone(|| {
        let locks: [Lock<()>; 33] = std::array::from_fn(|_| Lock::new(()));
        let (first, second) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|s| {
            s.spawn(|| PROBE.answer());
            // Each of the two is granted by the door itself, and listed past what was allocated before.
            let awaited = [&locks[16], &locks[32]];
            let guards = awaited.map(Lock::lock);
            let waiter = spawn_named(s, "holds many", || {
                set_asking(Some(|| PROBE.ask()));
                let mut held = Vec::with_capacity(locks.len());
                for (at, lock) in locks.iter().enumerate() {
                    let before = PROBE.asked.load(SeqCst);
                    held.push(lock.lock());
                    let count = PROBE.asked.load(SeqCst) - before;
                    match at {
                        16 => first.store(count, SeqCst),
                        32 => second.store(count, SeqCst),
                        _ => {}
                    }
                }
                assert!(locks[0].acquire().is_err());
                drop(bowline::deadlock::snapshot());
                set_asking(None);
            });
            for guard in guards {
                until_parked("holds many");
                drop(guard);
                wait_until(|| first.load(SeqCst) != 0);
            }
            waiter.join().unwrap();
            PROBE.over.store(true, SeqCst);
        });
        assert!(first.load(SeqCst) > 0 && second.load(SeqCst) > 0);
        assert_eq!(PROBE.late.load(SeqCst), 0, "of {} allocations", PROBE.asked.load(SeqCst));
    });
}

#[test]
fn threads_that_come_and_go_leave_nothing_allocated() {
    const THREADS: usize = 1000;

    alone(|| {
        static LOCK: Lock<u32> = Lock::new(0);
        static AGAIN: RLock<u32> = RLock::new(0);
        fn visit() {
            let _guards = (LOCK.lock(), AGAIN.lock(), AGAIN.lock());
        }

        let named = || drop(thread::Builder::new().name("visitor".to_owned()).spawn(visit).unwrap().join());
        let nameless = || drop(thread::spawn(visit).join());
        let kinds: [&dyn Fn(); 3] = [&named, &nameless, &|| {
            #[cfg(unix)]
            crate::support::foreign::run(visit);
        }];
        for run in kinds {
            (0..10).for_each(|_| run());
            let before = live_bytes();
            (0..THREADS).for_each(|_| run());
            let left = live_bytes() - before;
            // Less than a name takes for each of them: what else runs in the process allocates now and then.
            assert!(left < 8 * THREADS.cast_signed(), "{left} bytes are left of {THREADS} threads");
        }
    });
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only there the last destructors of a thread are those of keys")]
fn threads_whose_only_lock_is_in_their_last_destructors_leave_nothing_allocated() {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::c_void;
        use std::sync::OnceLock;

        const THREADS: usize = 100;
        static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
        static LOCK: Lock<usize> = Lock::new(0);

        /// The rounds of destructors that are left, and a guard that one of them took.
        struct Left(usize, Option<LockGuard<'static, usize>>);

        /// Takes the lock in one round and drops it in the next, each time after what this crate does in that round.
        extern "C" fn destroy(value: *mut c_void) {
            // SAFETY:
            // - the key's values come from `set`, and each is destroyed once.
            let Left(rounds, guard) = *unsafe { Box::from_raw(value.cast::<Left>()) };
            let taken = guard.is_none().then(|| LOCK.lock());
            drop(guard);
            if rounds > 1 {
                set(Left(rounds - 1, taken));
            }
        }
        fn set(left: Left) {
            // SAFETY:
            // - the key was created and is never deleted.
            unsafe { libc::pthread_setspecific(*KEY.get().unwrap(), Box::into_raw(Box::new(left)).cast()) };
        }

        let body = || {
            // Makes the key of this crate, which comes before the one of this test.
            drop(LOCK.lock());
            let mut key = 0;
            // SAFETY:
            // - `key` is a place to write to.
            assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
            KEY.set(key).unwrap();
            for rounds in 1..=3 {
                let run = || crate::support::foreign::run(move || set(Left(rounds, None)));
                (0..10).for_each(|_| run());
                let before = live_bytes();
                (0..THREADS).for_each(|_| run());
                drop(LOCK.try_lock().expect("nobody holds it"));
                let left = live_bytes() - before;
                // A context takes more than a kilobyte; what the test's own process allocates meanwhile is less.
                assert!(
                    left < 8 * THREADS.cast_signed(),
                    "{left} bytes are left of {THREADS} threads, {rounds} rounds"
                );
            }
        };
        alone(body);
    }
}
