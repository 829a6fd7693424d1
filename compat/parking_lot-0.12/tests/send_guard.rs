//! Guards that move between threads: nobody knows who holds a lock, and nobody is accused of it.
#![cfg(feature = "send_guard")]

mod support;

use bowline::deadlock;
use parking_lot::{Mutex, RwLock};

use support::{held, in_fresh_process, keep, spawn, until_waiting};

#[test]
fn a_guard_that_was_sent_is_released_where_it_is_and_no_wait_for_it_is_a_deadlock() {
    let test = "a_guard_that_was_sent_is_released_where_it_is_and_no_wait_for_it_is_a_deadlock";
    let output = in_fresh_process(test, &[], || {
        let (mutex, lock): (&'static Mutex<u8>, &'static RwLock<u8>) = (keep(Mutex::new(0)), keep(RwLock::new(0)));
        let (guard, reading) = (mutex.lock(), lock.read());
        assert_eq!(held(), 0);
        deadlock::on_deadlock(|_| std::process::abort()).keep();
        let other = spawn("releases", move || {
            // The main thread waits for what it has locked itself.
            until_waiting("main waits");
            drop(guard);
            until_waiting("main writes");
            drop(reading);
        });
        let waits = spawn("main waits", || drop(mutex.lock()));
        waits.join().unwrap();
        spawn("main writes", || *lock.write() += 1).join().unwrap();
        other.join().unwrap();
        assert!(!mutex.is_locked() && !lock.is_locked());
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.matches("feature `send_guard`").count() == 1, "{text}");
}
