//! The guards of a `Lock`: narrowing, letting go for a while, leaking, and keeping the lock alive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::Lock;
use bowline::deadlock::Kind;
use bowline::sync::{ArcLockGuard, LockGuard, MappedLockGuard};

use crate::support::{LIMIT, message, on_another_thread, spawn_named, until_parked, within};

#[test]
fn a_guard_looks_like_its_value() {
    let mut guard_of = (Lock::new(vec![1]), Arc::new(Lock::new(vec![1])));
    let (mut guard, mut arc_guard) = (guard_of.0.lock(), guard_of.1.lock_arc());
    guard.push(2);
    arc_guard.push(2);
    assert_eq!((guard.len(), arc_guard.len()), (2, 2));
    assert_eq!((format!("{guard:?}"), format!("{arc_guard:?}")), ("[1, 2]".to_owned(), "[1, 2]".to_owned()));
    let mapped = LockGuard::map(guard, |list| &mut list[1]);
    assert_eq!((format!("{mapped:?}"), format!("{mapped}")), ("2".to_owned(), "2".to_owned()));
    drop((mapped, arc_guard));
    assert_eq!(*guard_of.0.get_mut(), [1, 2]);

    let text = Arc::new(Lock::new("text"));
    assert_eq!(format!("{:?} {}", text.lock(), text.try_lock_arc().map_or("locked", |_| "free")), r#""text" locked"#);
    assert_eq!(format!("{}", text.lock()), "text");
    assert_eq!(format!("{}", text.lock_arc()), "text");
}

#[test]
fn a_guard_knows_its_lock() {
    let (lock, other) = (Lock::new(0), Lock::new(0));
    let guard = lock.lock();
    assert!(std::ptr::eq(LockGuard::lock(&guard), &raw const lock));
    assert!(!std::ptr::eq(LockGuard::lock(&guard), &raw const other));
    assert!(LockGuard::lock(&guard).is_locked());
    // The reference outlives the guard.
    let same = LockGuard::lock(&guard);
    drop(guard);
    assert!(!same.is_locked());
}

#[test]
fn a_mapped_guard_holds_the_lock_and_reaches_the_part() {
    let lock = Lock::new((1, [2, 3]));
    let pair = LockGuard::map(lock.lock(), |value| &mut value.1);
    let mut last = MappedLockGuard::map(pair, |pair| &mut pair[1]);
    *last += 10;
    assert!(lock.is_locked());
    on_another_thread(|| assert!(lock.try_lock().is_none()));
    drop(last);
    assert_eq!(*lock.try_lock().unwrap(), (1, [2, 13]));
}

#[test]
fn a_guard_comes_back_when_there_is_no_part_to_map_to() {
    let lock = Lock::new((None, Some([4, 5])));
    let guard = LockGuard::try_map(lock.lock(), |value: &mut (Option<u8>, _)| value.0.as_mut()).unwrap_err();
    assert!(lock.is_locked());
    let pair = LockGuard::try_map(guard, |value| value.1.as_mut()).unwrap();
    let pair = MappedLockGuard::try_map(pair, |pair| pair.get_mut(2)).unwrap_err();
    let mut last = MappedLockGuard::try_map(pair, |pair| pair.get_mut(1)).unwrap();
    *last += 10;
    assert!(lock.is_locked());
    drop(last);
    assert_eq!(lock.try_lock().unwrap().1, Some([4, 15]));
}

#[test]
fn a_lock_is_released_when_mapping_panics() {
    fn panics(_: &mut i32) -> &mut i32 {
        panic!("no part")
    }

    let lock = Lock::new(0);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(LockGuard::map(lock.lock(), panics)))).is_err());
    assert!(!lock.is_locked());
    let again = || drop(MappedLockGuard::map(LockGuard::map(lock.lock(), |value| value), panics));
    assert!(catch_unwind(AssertUnwindSafe(again)).is_err());
    assert!(!lock.is_locked());
}

#[test]
fn a_mapped_guard_hands_over() {
    within(LIMIT, || {
        let lock = Lock::new((0, 0));
        let part = LockGuard::map(lock.lock(), |value| &mut value.0);
        thread::scope(|s| {
            let (open, gate) = mpsc::channel::<()>();
            let lock = &lock;
            spawn_named(s, "heir of a part", move || {
                let _guard = lock.lock();
                gate.recv().unwrap();
            });
            until_parked("heir of a part");
            MappedLockGuard::unlock_fair(part);
            assert!(lock.try_lock().is_none(), "there is no moment at which the lock is free");
            open.send(()).unwrap();
        });
        MappedLockGuard::unlock_fair(LockGuard::map(lock.lock(), |value| &mut value.1));
        assert!(!lock.is_locked());
    });
}

#[test]
fn unlocked_frees_the_lock_for_the_time_of_the_call() {
    within(LIMIT, || {
        let lock = Lock::new(1);
        let guard = LockGuard::unlocked(lock.lock(), || {
            on_another_thread(|| *lock.try_lock().expect("free meanwhile") += 1);
        });
        assert_eq!(*guard, 2);
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        let guard = LockGuard::acquire_unlocked(guard, || *lock.try_lock().expect("free meanwhile") += 1).unwrap();
        assert_eq!(*guard, 3);
        on_another_thread(|| assert!(lock.try_lock().is_none()));
    });
}

#[test]
fn unlocked_waits_on_the_way_back() {
    within(LIMIT, || {
        let lock = Lock::new(1);
        thread::scope(|s| {
            let lock = &lock;
            let taken_by_another = move |until: &'static str| {
                let (taken, is_taken) = mpsc::channel();
                s.spawn(move || {
                    let mut guard = lock.lock();
                    taken.send(()).unwrap();
                    until_parked(until);
                    *guard += 1;
                });
                is_taken.recv().unwrap();
            };
            let returns =
                spawn_named(s, "returns", move || *LockGuard::unlocked(lock.lock(), || taken_by_another("returns")));
            assert_eq!(returns.join().unwrap(), 2);
            let returns = spawn_named(s, "returns with a value", move || {
                *LockGuard::acquire_unlocked(lock.lock(), || taken_by_another("returns with a value")).unwrap()
            });
            assert_eq!(returns.join().unwrap(), 3);
        });
    });
}

#[test]
fn unlocked_stays_unlocked_when_the_call_panics() {
    let lock = Lock::new(());
    let panics = || drop(LockGuard::unlocked(lock.lock(), || panic!("meanwhile")));
    assert_eq!(message(&*catch_unwind(AssertUnwindSafe(panics)).unwrap_err()), "meanwhile");
    assert!(!lock.is_locked());
    let panics = || drop(LockGuard::acquire_unlocked(lock.lock(), || panic!("meanwhile")));
    assert_eq!(message(&*catch_unwind(AssertUnwindSafe(panics)).unwrap_err()), "meanwhile");
    assert!(!lock.is_locked());
}

#[test]
fn unlocked_reports_a_deadlock_on_the_way_back() {
    within(LIMIT, || {
        let lock = Lock::new(());
        let forgets = || std::mem::forget(lock.lock());
        let deadlock = LockGuard::acquire_unlocked(lock.lock(), forgets).map(drop).unwrap_err();
        assert_eq!(deadlock.report().kind(), Kind::Relock);

        let lock = Lock::new(());
        let forgets = || std::mem::forget(lock.lock());
        let panics = || drop(LockGuard::unlocked(lock.lock(), forgets));
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert!(message(&*payload).starts_with("deadlock: "));
    });
}

#[test]
fn the_way_back_is_reported_at_the_line_of_the_call() {
    let lock = Lock::new(());
    let forgets = || std::mem::forget(lock.lock());
    let guard = lock.lock();
    let deadlock = LockGuard::acquire_unlocked(guard, forgets).map(drop).unwrap_err();
    let line = line!() - 1;
    let site = deadlock.report().threads()[0].waits_for().unwrap().site();
    assert_eq!((site.file(), site.line()), (file!(), line));
}

#[test]
fn a_leaked_guard_leaves_the_value_to_its_thread_and_the_lock_held() {
    within(LIMIT, || {
        let lock = Lock::new(1);
        let value: &mut i32 = LockGuard::leak(lock.lock());
        *value += 1;
        assert!(lock.try_lock().is_none());
        on_another_thread(|| assert!(lock.try_lock_for(Duration::from_millis(5)).is_none()));
        *value += 1;
        assert_eq!(*value, 3);
        assert!(lock.is_locked());
        assert_eq!(lock.into_inner(), 3);
    });
}

#[test]
fn an_arc_guard_keeps_its_lock_alive() {
    let lock = Arc::new(Lock::new(1));
    let weak = Arc::downgrade(&lock);
    let mut guard = lock.lock_arc();
    drop(lock);
    *guard += 1;
    assert!(weak.upgrade().unwrap().is_locked());
    assert_eq!(*guard, 2);
    drop(guard);
    assert!(weak.upgrade().is_none());
}

#[test]
fn an_arc_guard_may_be_what_drops_the_lock_while_others_are_held() {
    let guards: Vec<_> = (0..40).map(|number| Arc::new(Lock::new(number)).lock_arc()).collect();
    assert!(guards.iter().map(|guard| **guard).eq(0..40));
    let weak: Vec<_> = guards.iter().map(|guard| Arc::downgrade(ArcLockGuard::lock(guard))).collect();
    drop(guards);
    assert!(weak.iter().all(|lock| lock.upgrade().is_none()));
}

#[test]
fn an_arc_guard_turns_back_into_the_free_lock() {
    let lock = Arc::new(Lock::new(1));
    let guard = lock.lock_arc();
    assert!(Arc::ptr_eq(&lock, ArcLockGuard::lock(&guard)));
    let same = ArcLockGuard::into_arc(guard);
    assert!(Arc::ptr_eq(&lock, &same));
    assert!(!lock.is_locked());
    assert_eq!(Arc::strong_count(&lock), 2);
    drop(same);
    assert_eq!(Arc::into_inner(lock).unwrap().into_inner(), 1);
}

#[test]
fn every_arc_acquisition_is_the_plain_one_with_another_guard() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(0));
        drop(lock.lock_arc());
        drop(lock.acquire_arc().unwrap());
        type TryLockArc = fn(&Arc<Lock<i32>>) -> Option<ArcLockGuard<i32>>;
        let tries: [TryLockArc; 3] = [
            |lock| lock.try_lock_arc(),
            |lock| lock.try_lock_arc_for(Duration::ZERO),
            |lock| lock.try_lock_arc_until(Instant::now()),
        ];
        for try_lock_arc in tries {
            drop(try_lock_arc(&lock).expect("a free lock"));
        }
        assert!(!lock.is_locked());

        let guard = lock.lock_arc();
        assert!(lock.try_lock_arc().is_none());
        assert_eq!(lock.acquire_arc().map(drop).unwrap_err().report().kind(), Kind::Relock);
        let relock = catch_unwind(AssertUnwindSafe(|| drop(lock.lock_arc())));
        assert!(message(&*relock.unwrap_err()).starts_with("deadlock: "));
        on_another_thread(|| {
            let start = Instant::now();
            let timeout = Duration::from_millis(5);
            assert!(lock.try_lock_arc_for(timeout).is_none());
            assert!(lock.try_lock_arc_until(start + 2 * timeout).is_none());
            assert!(start.elapsed() >= 2 * timeout);
        });
        // Nobody who failed kept the lock alive.
        drop(guard);
        assert_eq!(Arc::strong_count(&lock), 1);

        let guard = lock.lock_arc();
        thread::scope(|s| {
            let waiter = spawn_named(s, "waits with an Arc", || *lock.lock_arc() += 1);
            until_parked("waits with an Arc");
            drop(guard);
            waiter.join().unwrap();
        });
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn a_lock_may_protect_what_has_no_size() {
    let slice: Box<Lock<[u8]>> = Box::new(Lock::new([1, 2, 3]));
    slice.lock()[1] += 10;
    assert_eq!(format!("{slice:?}"), "Lock { data: [1, 12, 3] }");
    assert_eq!(*LockGuard::map(slice.lock(), |all| &mut all[1..]), [12, 3]);

    trait Counts: Send {
        fn count(&mut self) -> u32;
    }
    impl Counts for u32 {
        fn count(&mut self) -> u32 {
            *self += 1;
            *self
        }
    }
    let counter: Arc<Lock<dyn Counts>> = Arc::new(Lock::named("a trait object", 0_u32));
    assert_eq!(counter.lock().count(), 1);
    let sum: u32 = thread::scope(|s| {
        let threads = [s.spawn(|| counter.lock_arc().count()), s.spawn(|| counter.acquire().unwrap().count())];
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    assert_eq!(sum, 2 + 3);
    let mut guard = counter.lock_arc();
    assert_eq!(guard.count(), 4);
    let deadlock = counter.acquire().map(drop).unwrap_err();
    let resource = deadlock.report().threads()[0].waits_for().unwrap().resource().clone();
    assert_eq!((resource.name(), resource.primitive()), (Some("a trait object"), "Lock"));
    assert!(resource.data_type().contains("Counts"), "{}", resource.data_type());
}

#[test]
fn a_lock_serializes_as_its_value() {
    let lock = Lock::named("list", vec![1, 2]);
    let json = serde_json::to_string(&lock).unwrap();
    assert_eq!(json, "[1,2]");
    assert!(!lock.is_locked());
    let back: Lock<Vec<i32>> = serde_json::from_str(&json).unwrap();
    assert!(!back.is_locked());
    assert_eq!(back.into_inner(), [1, 2]);
    assert!(serde_json::from_str::<Lock<Vec<i32>>>("{}").is_err());
}

#[test]
fn a_lock_that_its_own_thread_holds_does_not_serialize() {
    within(LIMIT, || {
        let lock = Lock::new(1);
        let _guard = lock.lock();
        let error = serde_json::to_string(&lock).unwrap_err();
        assert!(error.to_string().starts_with("deadlock: "), "{error}");
    });
}
