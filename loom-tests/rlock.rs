//! Re-entrance over the lock word.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::deadlock::resource::ResourceType;
use crate::primitive::events;
use crate::sync::RawRLock;

fn nothing() -> ResourceType {
    ResourceType::exclusive::<()>("RLock")
}

#[test]
fn the_owner_comes_in_again_and_nobody_else() {
    explore(2, || {
        let lock = Arc::new((RawRLock::new(None), loom::cell::UnsafeCell::new(0_u32)));
        assert!(!lock.0.is_locked());
        let twice = |lock: &(RawRLock, loom::cell::UnsafeCell<u32>)| {
            let outer = lock.0.lock(nothing);
            let inner = lock.0.lock(nothing);
            assert_eq!(lock.0.depth(), 2);
            // SAFETY:
            // - the lock is held: if it were not exclusive, loom would fail here.
            lock.1.with_mut(|value| unsafe { *value += 1 });
            // Out of order: the outer guard goes first.
            // SAFETY:
            // - both guards are of this lock.
            unsafe { lock.0.unlock(outer) };
            assert!(lock.0.is_owned());
            // SAFETY:
            // - as above.
            unsafe { lock.0.unlock(inner) };
            assert!(!lock.0.is_owned());
        };
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || twice(&lock)
        });
        twice(&lock);
        other.join().unwrap();
        twice(&lock);
        // SAFETY:
        // - the other thread is joined.
        lock.1.with(|value| assert_eq!(unsafe { *value }, 3));
        events().unparks > 0
    });
}
