//! Deadlocks for those who ask.
#![cfg(feature = "deadlock_detection")]

#[path = "../../parking_lot-0.12/tests/support/mod.rs"]
mod support;

use parking_lot::Mutex;
use parking_lot::deadlock::check_deadlock;

use support::{alone, keep, spawn, until};

#[test]
fn each_deadlock_is_told_once_with_the_ids_of_its_threads() {
    alone("each_deadlock_is_told_once_with_the_ids_of_its_threads", || {
        assert!(check_deadlock().is_empty());
        let [a, b] = [0, 1].map(|at| keep(Mutex::new(at)));
        let cross = [(a, b), (b, a)].map(|(first, second)| {
            spawn("crosses", move || {
                let _first = first.lock();
                until(|| second.is_locked());
                _ = second.lock();
            })
        });
        let mut found = Vec::new();
        until(|| {
            found = check_deadlock();
            !found.is_empty()
        });
        assert_eq!(found.len(), 1);
        let mut told: Vec<_> = found[0].iter().map(|thread| thread.thread_id()).collect();
        let mut expected = cross.map(|thread| thread.thread().id()).to_vec();
        [&mut told, &mut expected].into_iter().for_each(|ids| ids.sort_by_key(|id| format!("{id:?}")));
        assert_eq!(told, expected);
        assert!(found[0][0].backtrace().frames().is_empty() && check_deadlock().is_empty());
    });
}
