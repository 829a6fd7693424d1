//! Threads that std has no name for are called by the one that the system has, if it is their own.

#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use bowline::Lock;
use bowline::deadlock::Deadlock;
use bowline::deadlock::report::StuckThread;

use crate::support::{LIMIT, alone, find_thread_where, foreign, spawn_named, this_os_id, within};

/// Names the calling thread, as a C program does.
fn set_name(name: &str) {
    let name = CString::new(name).unwrap();
    // SAFETY:
    // - the thread is there, and the name ends with a NUL.
    assert_eq!(unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) }, 0);
}

fn relock() -> Deadlock {
    let lock = Lock::new(());
    let _guard = lock.lock();
    lock.acquire().map(drop).unwrap_err()
}

fn this_thread() -> Option<StuckThread> {
    let id = this_os_id();
    find_thread_where(|thread| thread.os_id() == id)
}

/// What `body` returns on a thread that Rust did not start.
fn foreign<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    foreign::run(move || sender.send(body()).unwrap());
    receiver.recv().unwrap()
}

fn name(deadlock: &Deadlock) -> Option<&str> {
    deadlock.report().threads()[0].name()
}

#[test]
fn a_thread_is_called_by_the_name_that_only_the_system_knows() {
    within(LIMIT, || {
        let named = || {
            set_name("io-uring");
            relock()
        };
        for deadlock in [foreign(named), thread::spawn(named).join().unwrap()] {
            assert_eq!(name(&deadlock), Some("io-uring"));
            let text = deadlock.to_string();
            assert!(text.starts_with("deadlock: thread 'io-uring' waits for a lock it holds itself\n"), "{text}");
        }
    });
}

#[test]
fn a_thread_that_is_renamed_is_called_by_its_name_of_now() {
    within(LIMIT, || {
        let deadlock = foreign(|| {
            set_name("before");
            drop(relock());
            set_name("now");
            relock()
        });
        assert_eq!(name(&deadlock), Some("now"));
    });
}

#[test]
fn a_name_that_std_knows_comes_first() {
    within(LIMIT, || {
        thread::scope(|s| {
            let body = || {
                set_name("otherwise");
                relock()
            };
            let deadlock = spawn_named(s, "as std knows it", body).join().unwrap();
            assert_eq!(name(&deadlock), Some("as std knows it"));
        });
    });
}

#[test]
fn threads_of_a_pool_that_has_one_name_for_all_are_told_apart_by_their_numbers() {
    within(LIMIT, || {
        let (all_hold, locks) = (Barrier::new(2), [Lock::named("left", ()), Lock::named("right", ())]);
        let errors = Mutex::new(Vec::new());
        thread::scope(|s| {
            for at in 0..2 {
                let (all_hold, locks, errors) = (&all_hold, &locks, &errors);
                s.spawn(move || {
                    set_name("c-pool");
                    let _guard = locks[at].lock();
                    all_hold.wait();
                    if let Err(deadlock) = locks[1 - at].acquire() {
                        errors.lock().unwrap().push(deadlock);
                    }
                });
            }
        });
        let [deadlock] = &errors.lock().unwrap()[..] else { panic!("one report") };
        let names: Vec<_> = deadlock.report().threads().iter().map(StuckThread::name).collect();
        assert_eq!(names, [Some("c-pool"); 2]);
        assert!(deadlock.to_string().contains("\nthread 'c-pool' (os id "), "{deadlock}");
    });
}

#[test]
fn a_name_from_the_thread_that_started_it_is_none() {
    within(LIMIT, || {
        thread::scope(|s| {
            // Whether that one is known to the graph or not.
            for locks in [false, true] {
                let body = move || {
                    let _known = locks.then(relock);
                    [foreign(relock), thread::spawn(relock).join().unwrap()]
                };
                for deadlock in spawn_named(s, "a parent", body).join().unwrap() {
                    assert_eq!(name(&deadlock), None);
                    assert!(deadlock.to_string().starts_with("deadlock: unnamed thread (os id "), "{deadlock}");
                }
            }
        });
    });
}

#[test]
fn the_name_of_the_process_is_the_name_of_no_thread() {
    alone(|| {
        let is_there = Arc::new(Barrier::new(2));
        // A thread that has the name that the process has got meanwhile.
        std::fs::write(format!("/proc/self/task/{}/comm", std::process::id()), "renamed").unwrap();
        let renamed = {
            let is_there = Arc::clone(&is_there);
            thread::spawn(move || {
                set_name("renamed");
                let lock = Lock::new(());
                let _guard = lock.lock();
                is_there.wait();
                this_thread().expect("it holds a lock").name().map(str::to_owned)
            })
        };
        is_there.wait();
        assert_eq!(renamed.join().unwrap(), None);
    });
}
