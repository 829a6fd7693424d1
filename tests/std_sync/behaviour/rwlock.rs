use std::fmt::Debug;
use std::thread;

use super::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use super::{OnDrop, Unshowable, panic_of};
use crate::support::{LIMIT, watchdog};

/// Poisons a lock.
fn poison<T>(lock: &RwLock<T>) {
    panic_of(|| {
        let _guard = lock.write().unwrap_or_else(PoisonError::into_inner);
        panic!("under the guard")
    });
}

#[test]
fn many_read_or_one_writes() {
    let _watchdog = watchdog(LIMIT);
    static SUM: RwLock<u32> = RwLock::new(0);
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..100).for_each(|_| *SUM.write().unwrap() += 1));
            s.spawn(|| (0..100).for_each(|_| assert!(*SUM.read().unwrap() <= 400)));
        }
    });
    assert_eq!(*SUM.read().unwrap(), 400);
}

#[test]
fn what_is_locked_would_block() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(1);
    let readers = (lock.try_read().unwrap(), lock.try_read().unwrap());
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(readers);
    let writer = lock.try_write().unwrap();
    assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(writer);
}

#[test]
fn a_writers_panic_poisons_for_all() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(1);
    poison(&lock);
    assert!(lock.is_poisoned());
    assert_eq!(**lock.read().unwrap_err().get_ref(), 1);
    **lock.write().unwrap_err().get_mut() += 1;
    assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
    lock.clear_poison();
    assert_eq!(lock.read().map(|guard| *guard).unwrap(), 2);
    assert_eq!(lock.write().map(|guard| *guard).unwrap(), 2);
}

#[test]
fn a_readers_panic_poisons_nothing() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(1);
    panic_of(|| {
        let _guard = lock.read().unwrap();
        panic!("under the guard")
    });
    assert!(!lock.is_poisoned() && lock.try_write().is_ok());
    poison(&lock);
    panic_of(|| lock.read().map(drop).unwrap());
    assert!(lock.is_poisoned() && lock.try_write().is_err());
}

#[test]
fn a_writer_of_a_thread_that_panics_already_poisons_nothing() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(0);
    panic_of(|| {
        let _writes = OnDrop(|| *lock.write().unwrap() += 1);
        panic!("on purpose")
    });
    assert_eq!(*lock.read().unwrap(), 1);
}

#[test]
fn a_writer_becomes_a_reader() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(1);
    let mut writer = lock.write().unwrap();
    *writer += 1;
    let reader = RwLockWriteGuard::downgrade(writer);
    assert_eq!((*reader, *lock.try_read().unwrap()), (2, 2));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(reader);
    assert!(lock.try_write().is_ok());
}

#[test]
fn a_writer_that_became_a_reader_poisons_nothing() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(1);
    panic_of(|| {
        let _guard = RwLockWriteGuard::downgrade(lock.write().unwrap());
        panic!("on purpose")
    });
    assert!(!lock.is_poisoned() && lock.try_write().is_ok());
    // As the thread unwinds.
    panic_of(|| {
        let mut writer = Some(lock.write().unwrap());
        let _downgrades = OnDrop(move || drop(writer.take().map(RwLockWriteGuard::downgrade)));
        panic!("on purpose")
    });
    assert!(!lock.is_poisoned() && lock.try_write().is_ok());
    poison(&lock);
    let reader: RwLockReadGuard<'_, _> = RwLockWriteGuard::downgrade(lock.write().unwrap_err().into_inner());
    assert_eq!(*reader, 1);
    assert!(lock.is_poisoned());
}

#[test]
fn what_reaches_the_value_without_a_guard_tells_of_poison() {
    let _watchdog = watchdog(LIMIT);
    let mut lock = RwLock::new("a".to_owned());
    lock.get_mut().unwrap().push('b');
    poison(&lock);
    lock.get_mut().unwrap_err().get_mut().push('c');
    assert_eq!(lock.into_inner().unwrap_err().into_inner(), "abc");
    assert_eq!(RwLock::new(1).into_inner().unwrap(), 1);
}

#[test]
fn it_is_shown_with_its_value_and_its_poison() {
    let _watchdog = watchdog(LIMIT);
    let lock = RwLock::new(Some(1));
    let reader = lock.read().unwrap();
    assert_eq!(format!("{lock:?} {reader:?}"), "RwLock { data: Some(1), poisoned: false, .. } Some(1)");
    drop(reader);
    let writer = lock.write().unwrap();
    let shown = format!("{lock:?} {writer:?}").replace('"', "");
    assert_eq!(shown, "RwLock { data: <locked>, poisoned: false, .. } Some(1)");
    drop(writer);
    poison(&lock);
    assert_eq!(format!("{lock:?}"), "RwLock { data: Some(1), poisoned: true, .. }");
    let number = RwLock::new(1);
    assert_eq!(format!("{:3}", number.read().unwrap()), "  1");
    assert_eq!(format!("{:3}", number.write().unwrap()), "  1");
    let unshowable = RwLock::new(Unshowable);
    panic_of(|| format!("{unshowable:?}"));
    assert!(!unshowable.is_poisoned(), "it is read");
}

#[test]
fn it_is_made_of_a_value_and_coerces_to_an_unsized_one() {
    let _watchdog = watchdog(LIMIT);
    assert_eq!(RwLock::<u8>::default().into_inner().unwrap(), 0);
    assert_eq!(RwLock::from(1).into_inner().unwrap(), 1);
    let shown: Arc<RwLock<dyn Debug + Send + Sync>> = Arc::new(RwLock::new(1));
    assert_eq!(format!("{:?}", shown.read().unwrap()), "1");
    let slice: &RwLock<[u8]> = &RwLock::new([1, 2]);
    slice.write().unwrap()[0] = 7;
    assert_eq!(slice.read().unwrap()[..], [7, 2]);
}
