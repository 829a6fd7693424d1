//! Limits that are over.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bowline::Lock;

use super::calls::YIELDS;
use crate::support::{alone, on_another_thread};

#[test]
fn a_limit_that_is_over_is_looked_at_before_anybody_else_runs() {
    alone(|| {
        let lock = Lock::new(0);
        let held = lock.lock();
        let before = YIELDS.load(Relaxed);
        on_another_thread(|| {
            assert!(lock.try_lock_for(Duration::ZERO).is_none());
            assert!(lock.try_lock_until(std::time::Instant::now()).is_none());
        });
        assert_eq!(YIELDS.load(Relaxed), before, "it would have found it held as well without");
        drop(held);
    });
}
