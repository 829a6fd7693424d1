//! A mutex is released by whoever releases it, and the lists of holds stay true.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bowline::ThreadPoolExecutor;
use bowline::facade::{RawMutex, Unowned};

use super::{Mutex, abort_if_one_is_accused, held, waits};
use crate::support::{LIMIT, alone, find_thread, on_another_thread, spawn_named, until_parked, within};

/// Unlocks.
fn unlock(mutex: &Mutex) {
    assert!(mutex.is_locked());
    // SAFETY:
    // - it is locked.
    unsafe { mutex.unlock() };
}

#[test]
fn every_way_to_lock_is_listed_and_every_release_ends_that() {
    within(LIMIT, || {
        let ways: [fn(&Mutex); 4] = [
            |mutex| mutex.lock(),
            |mutex| assert!(mutex.try_lock()),
            |mutex| assert!(mutex.try_lock_for(Duration::from_secs(1))),
            |mutex| assert!(mutex.try_lock_until(Instant::now())),
        ];
        // SAFETY:
        // - each is called while it is locked.
        let releases: [fn(&Mutex); 2] = [|mutex| unsafe { mutex.unlock() }, |mutex| unsafe { mutex.unlock_fair() }];
        for lock in ways {
            for release in releases {
                let mutex = Mutex::INIT;
                lock(&mutex);
                assert_eq!(held().len(), 1);
                assert!(!mutex.try_lock() && !mutex.try_lock_for(Duration::from_millis(1)) && mutex.is_locked());
                release(&mutex);
                assert!(held().is_empty() && !mutex.is_locked());
            }
        }
    });
}

#[test]
fn locks_are_released_in_any_order_however_many_are_held() {
    within(LIMIT, || {
        let mutexes = [const { Mutex::INIT }; 40];
        for step in [1, 3, 7, 39] {
            mutexes.iter().for_each(Mutex::lock);
            assert_eq!(held().len(), 40);
            for at in 0..40 {
                unlock(&mutexes[at * step % 40]);
                assert_eq!(held().len(), 39 - at);
            }
        }
    });
}

#[test]
fn a_release_by_another_thread_is_known_to_the_owner() {
    within(LIMIT, || {
        let (mutex, other) = (Mutex::INIT, Mutex::INIT);
        other.lock();
        mutex.lock();
        assert_eq!(held().len(), 2);
        on_another_thread(|| unlock(&mutex));
        assert_eq!(held().len(), 1, "the other one is held");
        // It is locked again, by the same thread and by another one.
        mutex.lock();
        assert_eq!(held().len(), 2);
        on_another_thread(|| unlock(&mutex));
        on_another_thread(|| {
            mutex.lock();
            assert_eq!(held().len(), 1);
            unlock(&mutex);
        });
        mutex.lock();
        unlock(&mutex);
        assert_eq!(held().len(), 1);
        unlock(&other);
        assert!(held().is_empty());
    });
}

#[test]
fn many_releases_by_another_thread_are_known_wherever_the_holds_are() {
    within(LIMIT, || {
        let mutexes = [const { Mutex::INIT }; 40];
        for round in 0..3 {
            mutexes.iter().for_each(Mutex::lock);
            let theirs = |at: &usize| at % 3 == round;
            on_another_thread(|| (0..40).filter(theirs).for_each(|at| unlock(&mutexes[at])));
            assert_eq!(held().len(), (0..40).filter(|at| !theirs(at)).count());
            // What they left is used again.
            (0..40).filter(theirs).for_each(|at| mutexes[at].lock());
            assert_eq!(held().len(), 40);
            mutexes.iter().for_each(unlock);
            assert!(held().is_empty());
        }
    });
}

#[test]
fn a_release_shows_at_once_in_a_snapshot_of_an_owner_that_waits() {
    within(LIMIT, || {
        let (mutex, wanted) = (Mutex::INIT, Mutex::INIT);
        wanted.lock();
        thread::scope(|s| {
            let waits = spawn_named(s, "holds and waits", || {
                mutex.lock();
                wanted.lock();
                unlock(&wanted);
                held().len()
            });
            until_parked("holds and waits");
            let holds = || find_thread("holds and waits").unwrap().holds().len();
            assert_eq!(holds(), 1);
            unlock(&mutex);
            assert_eq!(holds(), 0);
            unlock(&wanted);
            assert_eq!(waits.join().unwrap(), 0);
        });
    });
}

#[test]
fn a_lock_in_the_place_of_one_whose_guard_was_forgotten_is_released_as_a_whole() {
    within(LIMIT, || {
        let mut place = MaybeUninit::new(Mutex::INIT);
        // SAFETY:
        // - it is initialised.
        let forget = |place: &mut MaybeUninit<Mutex>| unsafe { place.assume_init_ref() }.lock();
        forget(&mut place);
        place.write(Mutex::INIT);
        forget(&mut place);
        // SAFETY:
        // - it is initialised.
        unlock(unsafe { place.assume_init_ref() });
        assert!(held().is_empty(), "a lock that is gone is not held");
    });
}

#[test]
fn a_forgotten_hold_of_the_same_address_is_not_taken_for_the_owners() {
    within(LIMIT, || {
        let mut place = Box::new(Mutex::INIT);
        place.lock();
        *place = Mutex::INIT;
        let mutex: &Mutex = &place;
        on_another_thread(|| mutex.lock());
        // This thread lists a lock at the same address, which is gone.
        unlock(mutex);
        assert!(!mutex.is_locked() && on_another_thread(|| mutex.try_lock()));
        unlock(mutex);
        assert!(!mutex.is_locked());
    });
}

#[test]
fn a_thread_that_ended_with_a_lock_leaves_nothing_behind_when_that_is_released() {
    alone(|| {
        let contexts = || bowline::deadlock::lasting_memory().0;
        let mutex = Mutex::INIT;
        let mut before = 0;
        for round in 0..200 {
            if round == 100 {
                before = contexts();
            }
            thread::scope(|s| _ = s.spawn(|| mutex.lock()).join());
            unlock(&mutex);
        }
        assert_eq!(contexts(), before, "the place of such a thread is used again");
    });
}

#[test]
fn a_task_in_place_releases_what_its_waiter_holds() {
    thread_local! { static HELD: Cell<Option<&'static Mutex>> = const { Cell::new(None) } }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let mutex: &'static Mutex = Box::leak(Box::new(Mutex::INIT));
            mutex.lock();
            HELD.set(Some(mutex));
            // Runs in place, in a context of its own.
            let inner = same.submit(|| {
                let mutex = HELD.take().expect("it is the same thread");
                unlock(mutex);
                mutex.lock();
                HELD.set(Some(mutex));
            });
            inner.result().unwrap();
            assert_eq!(held().len(), 1, "it was left behind by the inner task");
            unlock(HELD.take().unwrap());
            mutex.is_locked()
        });
        assert!(!outer.result().unwrap());
    });
}

#[test]
fn a_fair_release_hands_the_lock_to_the_first_waiter() {
    within(LIMIT, || {
        let mutex = Mutex::INIT;
        mutex.lock();
        thread::scope(|s| {
            let waits = spawn_named(s, "waits for the hand-over", || {
                mutex.lock();
                let listed = held().len();
                unlock(&mutex);
                listed
            });
            until_parked("waits for the hand-over");
            // SAFETY:
            // - it is locked.
            unsafe { mutex.unlock_fair() };
            // It is the waiter's, though that may not run yet.
            assert_eq!(waits.join().unwrap(), 1);
            assert!(!mutex.is_locked());
        });
    });
}

#[test]
fn a_bump_lets_a_waiter_in_and_locks_again() {
    within(LIMIT, || {
        let mutex = Mutex::INIT;
        mutex.lock();
        // SAFETY:
        // - it is locked, here and below.
        unsafe { mutex.bump() };
        assert!(mutex.is_locked(), "nobody waits");
        thread::scope(|s| {
            let waits = spawn_named(s, "waits for the bump", || {
                mutex.lock();
                unlock(&mutex);
            });
            until_parked("waits for the bump");
            // SAFETY:
            // - as above.
            unsafe { mutex.bump() };
            waits.join().unwrap();
            assert_eq!((mutex.is_locked(), held().len()), (true, 1));
        });
        unlock(&mutex);
    });
}

#[test]
fn guards_that_move_between_threads_are_nobodys_and_no_wait_for_them_is_a_deadlock() {
    alone(|| {
        abort_if_one_is_accused();
        let mutex = RawMutex::<Unowned>::INIT;
        mutex.lock();
        assert!(held().is_empty() && !mutex.try_lock() && mutex.is_locked());
        let all_wait = Barrier::new(2);
        thread::scope(|s| {
            // The owner itself waits for it: another thread can release it.
            let waits_for_itself = spawn_named(s, "waits for itself", || {
                let own = RawMutex::<Unowned>::INIT;
                own.lock();
                thread::scope(|s| {
                    _ = spawn_named(s, "releases", || {
                        until_parked("waits for itself");
                        all_wait.wait();
                        // SAFETY:
                        // - it is locked.
                        unsafe { own.unlock() };
                    });
                    own.lock();
                });
                own.is_locked()
            });
            all_wait.wait();
            assert!(waits("waits for itself") || waits_for_itself.is_finished());
            assert!(waits_for_itself.join().unwrap());
        });
        // SAFETY:
        // - it is locked.
        unsafe { mutex.unlock_fair() };
        assert!(!mutex.is_locked());
    });
}
