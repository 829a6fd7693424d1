//! Joins, the ends of threads, scopes and timers.
//!
//! A thread that is spawned here ends as one of the system's does, with its last destructor; the models' own threads are
//! the joiners. Two threads suffice for each protocol: a join has one waiter and one thread that ends it, and a third
//! would meet each of them only at the graph's mutex, whose models are in `detector`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::{Watched, explore};
use crate::Timer;
use crate::deadlock::{Kind, Policy, set_policy};
use crate::primitive::{Ingredient, Mutex, events, join_threads, let_time_pass, remove, soon};
use crate::thread::{self, JoinHandle};

/// A value that loom watches, and whoever borrows it.
struct Borrowed(loom::cell::UnsafeCell<u32>);

// SAFETY:
// - loom checks the accesses.
unsafe impl Sync for Borrowed {}

impl Borrowed {
    fn new() -> Self {
        Self(loom::cell::UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY:
        // - if somebody else has access, loom fails here.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY:
        // - as above.
        self.0.with(|value| unsafe { *value })
    }
}

#[test]
fn what_a_thread_did_is_seen_by_whoever_joins_it() {
    explore(3, join_and_look);
}

/// Returns whether the joiner slept.
fn join_and_look() -> bool {
    let value = Arc::new(Borrowed::new());
    let theirs = Arc::clone(&value);
    let child = thread::spawn(move || {
        theirs.add();
        7
    });
    assert_eq!(child.join().unwrap(), 7);
    assert_eq!(value.get(), 1);
    join_threads();
    events().unparks > 0
}

#[test]
#[should_panic]
fn without_a_validated_announcement_a_join_sleeps_for_ever() {
    explore(3, || {
        remove(Ingredient::ValidatedAnnouncement);
        join_and_look()
    });
}

#[test]
fn what_the_threads_of_a_scope_borrow_is_used_only_until_it_ends() {
    explore(2, scope_of_two);
}

/// Returns whether the end of the scope slept.
fn scope_of_two() -> bool {
    let values = [Borrowed::new(), Borrowed::new()];
    thread::scope(|s| {
        for value in &values {
            drop(s.spawn(|| value.add()));
        }
    });
    values.iter().for_each(Borrowed::add);
    assert!(values.iter().all(|value| value.get() == 2));
    join_threads();
    events().unparks > 0
}

#[test]
#[should_panic]
fn without_an_end_of_its_closure_a_thread_outlives_its_scope() {
    explore(2, || {
        remove(Ingredient::DoneAfterClosure);
        scope_of_two()
    });
}

#[test]
fn a_thread_that_needs_a_lock_of_its_joiner_is_one_deadlock_and_is_joined_after_it() {
    explore(3, join_with_a_lock);
}

/// Holds a lock, and joins a thread that wants it. Returns whether that was a deadlock: it always is, unless the thread had the
/// lock first.
fn join_with_a_lock() -> bool {
    let lock = Watched::new();
    let theirs = Arc::clone(&lock);
    let child = thread::spawn(move || match theirs.acquire() {
        Ok(_guard) => false,
        Err(deadlock) => {
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
            true
        }
    });
    let guard = lock.lock();
    let victims = match child.acquire_join() {
        Ok(is_told) => {
            drop(guard);
            usize::from(is_told.unwrap())
        }
        Err(refused) => {
            assert_eq!(refused.deadlock().report().kind(), Kind::Cycle);
            drop(guard);
            let is_told = refused.into_handle().join().unwrap();
            1 + usize::from(is_told)
        }
    };
    assert!(victims <= 1, "told twice");
    join_threads();
    victims == 1
}

#[test]
#[should_panic]
fn without_the_threads_context_a_join_is_on_no_cycle_and_hangs() {
    explore(3, || {
        remove(Ingredient::ContextTold);
        join_with_a_lock()
    });
}

#[test]
fn two_threads_that_join_each_other_are_one_deadlock() {
    explore(2, || {
        let told = Arc::new(AtomicUsize::new(0));
        let handles: [Arc<Mutex<Option<JoinHandle<()>>>>; 2] = [(); 2].map(|()| Arc::new(Mutex::new(None)));
        let held = [&handles[0], &handles[1]].map(|place| place.lock());
        let spawned = [0, 1].map(|at| {
            let (other, told) = (Arc::clone(&handles[1 - at]), Arc::clone(&told));
            thread::spawn(move || {
                // Both are started before either goes on.
                let handle = other.lock().take().expect("it was put there");
                told.fetch_add(usize::from(handle.acquire_join().is_err()), Relaxed);
            })
        });
        for (mut place, handle) in held.into_iter().zip(spawned) {
            *place = Some(handle);
        }
        join_threads();
        assert_eq!(told.load(Relaxed), 1);
        events().unparks > 0
    });
}

#[test]
fn the_end_of_a_scope_and_a_thread_of_it_are_one_deadlock_whose_victim_is_the_thread() {
    explore(3, || {
        let lock = Watched::new();
        let guard = lock.lock();
        let told = Borrowed::new();
        thread::scope(|s| {
            drop(s.spawn(|| {
                if lock.acquire().is_err() {
                    told.add();
                }
            }));
        });
        drop(guard);
        assert_eq!(told.get(), 1);
        join_threads();
        events().unparks > 0
    });
}

#[test]
fn a_join_with_a_limit_is_part_of_no_verdict() {
    explore(2, || {
        let lock = Watched::new();
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let child = thread::spawn(move || drop(theirs.acquire().expect("a false alarm")));
        let clock = loom::thread::spawn(let_time_pass);
        let timed_out = child.join_until(soon());
        drop(guard);
        clock.join().unwrap();
        let is_over = timed_out.is_err();
        if let Err(child) = timed_out {
            child.join().unwrap();
        }
        join_threads();
        is_over && events().timeouts > 0
    });
}

#[test]
fn under_report_a_join_is_told_though_the_thread_closes_the_cycle() {
    explore(2, || {
        set_policy(Policy::Report);
        let lock = Watched::new();
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let child = thread::spawn(move || drop(theirs.lock()));
        let refused = child.acquire_join().expect_err("the thread waits for the guard");
        drop(guard);
        refused.into_handle().join().unwrap();
        join_threads();
        events().unparks > 0
    });
}

#[test]
fn a_timer_is_cancelled_or_fires_and_never_both() {
    explore(2, || {
        let fired = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&fired);
        let timer = Timer::at(soon(), move || theirs.store(true, Relaxed));
        let clock = loom::thread::spawn(let_time_pass);
        let is_cancelled = timer.cancel();
        clock.join().unwrap();
        timer.join().unwrap();
        assert_eq!(fired.load(Relaxed), !is_cancelled);
        join_threads();
        is_cancelled && events().unparks > 0
    });
}
