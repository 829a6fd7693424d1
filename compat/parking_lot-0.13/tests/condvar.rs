//! What reports say of a mutex that a wait has locked again.
//!
//! Of guards that may be sent nobody knows the owner, so nothing is held.
#![cfg(not(feature = "send_guard"))]

mod watchdog;

use std::thread;

use bowline::deadlock::{self, Edge};
use parking_lot::{Condvar, Mutex};

use watchdog::watchdog;

#[test]
fn a_mutex_is_held_from_where_it_was_locked_also_after_a_wait() {
    let _watchdog = watchdog();
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    thread::scope(|scope| {
        let line = line!() + 1;
        let mut guard = mutex.lock();
        scope.spawn(|| {
            while !condvar.notify_one() {
                thread::yield_now();
            }
        });
        condvar.wait(&mut guard);
        let snapshot = deadlock::snapshot();
        let mut edges = snapshot.graph().edge_weights();
        assert!(
            edges.any(|edge| matches!(edge, Edge::Holds { site, .. } if (site.file(), site.line()) == (file!(), line))),
            "{snapshot}"
        );
    });
}
