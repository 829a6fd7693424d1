use std::fmt::Debug;
use std::thread;

use super::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use super::{OnDrop, Unshowable, panic_of};
use crate::support::{LIMIT, watchdog};

/// Poisons a mutex.
fn poison<T>(mutex: &Mutex<T>) {
    assert_eq!(
        panic_of(|| {
            let _guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            panic!("under the guard")
        }),
        "under the guard"
    );
}

#[test]
fn threads_exclude_each_other() {
    let _watchdog = watchdog(LIMIT);
    static TOTAL: Mutex<u32> = Mutex::new(0);
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..100).for_each(|_| *TOTAL.lock().unwrap() += 1));
        }
    });
    assert_eq!(*TOTAL.lock().unwrap(), 400);
}

#[test]
fn a_panic_under_the_guard_poisons() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(1);
    assert!(!mutex.is_poisoned());
    poison(&mutex);
    assert!(mutex.is_poisoned());
    for _ in 0..2 {
        let mut poisoned = mutex.lock().unwrap_err();
        **poisoned.get_mut() += 1;
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)), "the error has the guard");
        let value = **poisoned.get_ref();
        assert_eq!(*poisoned.into_inner(), value);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    }
    mutex.clear_poison();
    assert!(!mutex.is_poisoned());
    assert_eq!(mutex.lock().map(|guard| *guard).unwrap(), 3);
    assert_eq!(mutex.try_lock().map(|guard| *guard).unwrap(), 3);
    poison(&mutex);
    assert!(mutex.is_poisoned(), "again");
}

#[test]
fn a_thread_that_ends_by_a_panic_poisons() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&mutex);
    let ended = thread::spawn(move || {
        let mut guard = theirs.lock().unwrap();
        *guard = 7;
        panic!("under the guard")
    });
    assert!(ended.join().is_err());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 7);
}

#[test]
fn a_guard_of_a_thread_that_panics_already_poisons_nothing() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(0);
    panic_of(|| {
        let _locks = OnDrop(|| *mutex.lock().unwrap() += 1);
        panic!("on purpose")
    });
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn a_guard_that_is_released_before_the_panic_or_kept_past_it_poisons_nothing() {
    let _watchdog = watchdog(LIMIT);
    let (released, kept) = (Mutex::new(0), Mutex::new(0));
    let guard = kept.lock().unwrap();
    panic_of(|| {
        drop(released.lock().unwrap());
        panic!("on purpose")
    });
    drop(guard);
    assert!(!released.is_poisoned() && !kept.is_poisoned());
}

#[test]
fn a_panic_while_a_guard_is_forgotten_leaves_it_locked_and_sound() {
    let _watchdog = watchdog(LIMIT);
    let mutex = &*Box::leak(Box::new(Mutex::new(0)));
    panic_of(|| {
        std::mem::forget(mutex.lock().unwrap());
        panic!("on purpose")
    });
    assert!(!mutex.is_poisoned());
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
}

#[test]
fn a_guard_poisons_once_its_own_thread_panics() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(0);
    let guard = mutex.lock().unwrap();
    thread::scope(|s| assert!(s.spawn(|| -> () { panic!("of another thread") }).join().is_err()));
    drop(guard);
    assert!(!mutex.is_poisoned());
}

#[test]
fn what_reaches_the_value_without_a_guard_tells_of_poison() {
    let _watchdog = watchdog(LIMIT);
    let mut mutex = Mutex::new("a".to_owned());
    mutex.get_mut().unwrap().push('b');
    poison(&mutex);
    let mut poisoned = mutex.get_mut().unwrap_err();
    poisoned.get_mut().push('c');
    assert_eq!(poisoned.into_inner(), "abc");
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), "abc");
    assert_eq!(Mutex::new(1).into_inner().unwrap(), 1);
}

#[test]
fn it_is_shown_with_its_value_and_its_poison() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(Some(1));
    assert_eq!(format!("{mutex:?}"), "Mutex { data: Some(1), poisoned: false, .. }");
    let guard = mutex.lock().unwrap();
    // Older versions of std have no quotes.
    assert_eq!(format!("{mutex:?}").replace('"', ""), "Mutex { data: <locked>, poisoned: false, .. }");
    assert_eq!(format!("{guard:?}"), "Some(1)");
    drop(guard);
    poison(&mutex);
    assert_eq!(format!("{mutex:?}"), "Mutex { data: Some(1), poisoned: true, .. }");
    assert_eq!(format!("{:5}|", Mutex::new(1).lock().unwrap()), "    1|");
}

#[test]
fn a_value_that_panics_as_it_is_shown_poisons() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(Unshowable);
    assert_eq!(panic_of(|| format!("{mutex:?}")), "not to be shown");
    assert!(mutex.is_poisoned());
}

#[test]
fn errors_read_the_same() {
    let _watchdog = watchdog(LIMIT);
    let mutex = Mutex::new(1);
    assert_eq!(mutex.lock().map(|guard| *guard).unwrap(), 1);
    let guard = mutex.lock().unwrap();
    let error = mutex.try_lock().unwrap_err();
    assert_eq!((format!("{error:?}"), error.to_string().contains("would block")), ("\"WouldBlock\"".to_owned(), true));
    drop(guard);
    poison(&mutex);
    let error = mutex.lock().unwrap_err();
    assert_eq!(format!("{error:?}"), "PoisonError { .. }");
    assert_eq!(error.to_string(), "poisoned lock: another task failed inside");
    drop(error);
    assert_eq!(format!("{:?}", mutex.try_lock().unwrap_err()), "\"Poisoned(..)\"");
    assert!(panic_of(|| *mutex.lock().unwrap()).contains("PoisonError"));
}

#[test]
fn it_is_made_of_a_value_and_coerces_to_an_unsized_one() {
    let _watchdog = watchdog(LIMIT);
    assert_eq!(Mutex::<u8>::default().into_inner().unwrap(), 0);
    assert_eq!(Mutex::from(1).into_inner().unwrap(), 1);
    let shown: Arc<Mutex<dyn Debug + Send>> = Arc::new(Mutex::new(1));
    assert_eq!(format!("{:?}", shown.lock().unwrap()), "1");
    let slice: &mut Mutex<[u8]> = &mut Mutex::new([1, 2]);
    slice.get_mut().unwrap()[0] = 7;
    let slice = &*slice;
    assert_eq!(slice.lock().unwrap()[..], [7, 2]);
}

#[test]
fn a_guard_lives_as_long_as_its_borrow_and_no_longer_than_its_value() {
    let _watchdog = watchdog(LIMIT);
    fn first<'a>(names: &'a Mutex<Vec<&'static str>>) -> MutexGuard<'a, Vec<&'static str>> {
        names.lock().unwrap()
    }
    let names = Mutex::new(vec!["bight"]);
    let name = first(&names)[0];
    drop(names);
    assert_eq!(name, "bight");
}
