//! Threads whose end nobody tells of: the process has used up its thread-specific keys. And threads with more contexts
//! than the kernel looks after robust mutexes of one thread (2048).

#![cfg(target_os = "linux")]

use std::ffi::{c_int, c_uint};
use std::sync::Arc;
use std::thread;

use bowline::deadlock::Kind;
use bowline::{Lock, ThreadPoolExecutor};

use super::counting::live_bytes;
use crate::support::{LIMIT, alone, spawn_named, until_parked, within};

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, destructor: Option<extern "C" fn(*mut std::ffi::c_void)>) -> c_int;
}

/// Takes every key that is left, before this crate asks for its own.
fn use_up_the_keys() {
    let mut key = 0;
    // SAFETY:
    // - `key` is a place to write to.
    while unsafe { pthread_key_create(&raw mut key, None) } == 0 {}
}

#[track_caller]
fn without_keys(body: impl FnOnce()) {
    alone(|| {
        // std takes what it needs first.
        thread::spawn(|| ()).join().unwrap();
        use_up_the_keys();
        within(LIMIT, body);
    });
}

#[test]
fn whoever_waits_already_is_told_of_a_thread_that_ends_without_a_word() {
    without_keys(|| {
        let lock = Lock::named("forgotten", 0);
        let gate = crate::support::gate::Gate::default();
        let told = thread::scope(|s| {
            let (lock, pass) = (&lock, gate.clone());
            let forgetful = spawn_named(s, "forgetful", move || {
                std::mem::forget(lock.lock());
                pass.pass();
            });
            while !lock.is_locked() {
                thread::yield_now();
            }
            let waiter = spawn_named(s, "waiter", || lock.acquire().map(drop).expect_err("it is never released"));
            until_parked("waiter");
            gate.open();
            forgetful.join().unwrap();
            waiter.join().unwrap()
        });
        assert_eq!(told.report().kind(), Kind::Abandoned, "{told}");
    });
}

#[test]
fn a_thread_that_ends_without_a_word_is_joined_all_the_same() {
    without_keys(|| {
        let lock = Arc::new(Lock::new(0));
        let theirs = Arc::clone(&lock);
        let child = bowline::thread::spawn(move || *theirs.lock() += 1);
        child.acquire_join().expect("no false alarm").unwrap();
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let child = bowline::thread::Builder::new().name("ends without a word".to_owned());
        let child = child.spawn(move || *theirs.lock() += 1).unwrap();
        until_parked("ends without a word");
        let refused = child.acquire_join().unwrap_err();
        assert_eq!(refused.deadlock().report().kind(), Kind::Cycle);
        drop(guard);
        refused.into_handle().join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn threads_that_end_without_a_word_leave_no_memory_behind() {
    without_keys(|| {
        let lock = Lock::new(0);
        let some_threads = |count: usize| {
            for _ in 0..count {
                thread::scope(|s| s.spawn(|| *lock.lock() += 1).join().unwrap());
            }
        };
        some_threads(500);
        let before = live_bytes();
        some_threads(2000);
        let grown = live_bytes() - before;
        // A context is more than a kilobyte.
        assert!(grown < 400_000, "{grown} bytes more in use");
    });
}

#[test]
fn every_lock_that_thousands_of_tasks_in_place_left_behind_is_abandoned() {
    within(LIMIT, || {
        const TASKS: usize = 2500;
        let locks: Arc<Vec<Lock<()>>> = Arc::new((0..TASKS).map(|_| Lock::new(())).collect());
        let pool = ThreadPoolExecutor::new(1);
        let (own, all) = (pool.clone(), Arc::clone(&locks));
        let task = pool.submit(move || {
            for at in 0..TASKS {
                let all = Arc::clone(&all);
                own.submit(move || std::mem::forget(all[at].lock())).result().unwrap();
            }
        });
        task.result().unwrap();
        let _ = pool.shutdown();
        drop(pool);
        // Some of the first, and those beyond what the kernel would look after.
        for (at, lock) in locks.iter().enumerate().filter(|&(at, _)| at % 64 == 0 || at > TASKS - 100) {
            let told = lock.acquire().map(drop).expect_err("never released");
            assert_eq!(told.report().kind(), Kind::Abandoned, "lock {at}: {told}");
        }
    });
}
