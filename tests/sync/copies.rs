//! Two copies of the crate in one process: each takes the other's threads for nobody it knows.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Arc;
use std::thread;

use bowline::{Lock, RLock};

use crate::support::gate::Gate;
use crate::support::library::{function, library};
use crate::support::{alone, on_another_thread};

#[track_caller]
fn in_two_copies(body: impl FnOnce(&Path)) {
    let Some(library) = library("second_copy") else { return };
    alone(|| body(&library));
}

#[test]
fn a_re_entrant_lock_that_one_copy_holds_lets_no_thread_of_another_in() {
    in_two_copies(|library| {
        // SAFETY:
        // - that is its type.
        let tries: unsafe extern "C" fn(*const RLock<u32>) -> bool =
            unsafe { std::mem::transmute(function(library, "copy_tries_rlock")) };
        // The first thread that locks here, and the first that locks there.
        let lock = RLock::new(1);
        let held = lock.lock();
        // SAFETY:
        // - it is a lock of this crate, and the library is built with the test.
        assert!(!on_another_thread(|| unsafe { tries(&raw const lock) }));
        drop(held);
        // SAFETY:
        // - as above.
        assert!(on_another_thread(|| unsafe { tries(&raw const lock) }));
    });
}

#[test]
fn a_lock_that_one_copy_holds_is_no_relock_in_another() {
    in_two_copies(|library| {
        // SAFETY:
        // - that is its type.
        let acquires: unsafe extern "C" fn(*const Lock<u32>) -> bool =
            unsafe { std::mem::transmute(function(library, "copy_acquires")) };
        let lock = Arc::new(Lock::new(1));
        let (held, release) = (Gate::default(), Gate::default());
        let holder = {
            let (lock, held, release) = (Arc::clone(&lock), held.clone(), release.clone());
            move || {
                let guard = lock.lock();
                held.open();
                release.pass();
                drop(guard);
            }
        };
        let holder = thread::spawn(holder);
        held.pass();
        let asks = thread::spawn({
            let lock = Arc::clone(&lock);
            // SAFETY:
            // - it is a lock of this crate, and the library is built with the test.
            move || unsafe { acquires(&raw const *lock) }
        });
        // It is told that it asks for what it holds at once, or never.
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!asks.is_finished());
        release.open();
        holder.join().unwrap();
    });
}
