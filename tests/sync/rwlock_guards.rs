//! The guards of an `RwLock`: narrowing, letting go for a while, becoming another guard, and keeping the lock alive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bowline::RwLock;
use bowline::deadlock::Kind;
use bowline::sync::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};

use crate::support::readers::counted_and_shown;
use crate::support::{Dice, LIMIT, message, on_another_thread, spawn_named, until_parked, within};

#[test]
fn a_guard_looks_like_its_value() {
    let lock = Arc::new(RwLock::new(vec![1]));
    lock.write().push(2);
    lock.write_arc().push(3);
    let guards = (lock.read(), lock.read_arc(), lock.upgradable_read());
    assert_eq!((guards.0.len(), guards.1.len(), guards.2.len()), (3, 3, 3));
    assert_eq!(format!("{guards:?}"), "([1, 2, 3], [1, 2, 3], [1, 2, 3])");
    let mapped = RwLockReadGuard::map(guards.0, |list| &list[1]);
    assert_eq!(format!("{mapped:?} {mapped}"), "2 2");
    drop((mapped, guards.1, guards.2));
    assert_eq!(format!("{:?} {:?}", lock.upgradable_read_arc(), lock.read()), "[1, 2, 3] [1, 2, 3]");
    let mut mapped = RwLockWriteGuard::map(lock.write(), |list| &mut list[2]);
    *mapped += 10;
    assert_eq!(format!("{mapped:?} {mapped}"), "13 13");
    drop(mapped);
    assert_eq!(format!("{:?}", lock.write_arc()), "[1, 2, 13]");

    let text = RwLock::new("text");
    assert_eq!(format!("{} {}", text.read(), text.upgradable_read()), "text text");
    assert_eq!(format!("{}", text.write()), "text");
}

#[test]
fn a_guard_knows_its_lock() {
    let lock = Arc::new(RwLock::new(0));
    let same = |other: &RwLock<i32>| std::ptr::eq(other, &raw const *lock);
    let (read, upgradable) = (lock.read(), lock.upgradable_read());
    assert!(same(RwLockReadGuard::lock(&read)) && same(RwLockUpgradableReadGuard::lock(&upgradable)));
    // The reference outlives the guard.
    let outlives = RwLockReadGuard::lock(&read);
    drop((read, upgradable));
    assert!(!outlives.is_locked());
    let write = lock.write();
    assert!(same(RwLockWriteGuard::lock(&write)));
    drop(write);
    let (read, upgradable) = (lock.read_arc(), lock.upgradable_read_arc());
    assert!(same(ArcRwLockReadGuard::lock(&read)) && same(ArcRwLockUpgradableReadGuard::lock(&upgradable)));
    drop((read, upgradable));
    assert!(same(ArcRwLockWriteGuard::lock(&lock.write_arc())));
}

#[test]
fn a_mapped_guard_holds_the_lock_and_reaches_the_part() {
    within(LIMIT, || {
        counted_and_shown(
            || (1, [2, 3]),
            |lock| {
                let pair = RwLockReadGuard::map(lock.read(), |value| &value.1);
                let last = MappedRwLockReadGuard::map(pair, |pair| &pair[1]);
                assert_eq!(*last, 3);
                on_another_thread(|| assert!(lock.try_write().is_none() && lock.try_read().is_some()));
                drop(last);
                let pair = RwLockWriteGuard::map(lock.write(), |value| &mut value.1);
                let mut last = MappedRwLockWriteGuard::map(pair, |pair| &mut pair[1]);
                *last += 10;
                on_another_thread(|| assert!(lock.try_read_recursive().is_none()));
                drop(last);
                assert_eq!(*lock.try_write().unwrap(), (1, [2, 13]));
            },
        );
    });
}

#[test]
fn a_guard_comes_back_when_there_is_no_part_to_map_to() {
    let lock = RwLock::new((None::<u8>, Some([4, 5])));
    let guard = RwLockReadGuard::try_map(lock.read(), |value| value.0.as_ref()).unwrap_err();
    let pair = RwLockReadGuard::try_map(guard, |value| value.1.as_ref()).unwrap();
    let pair = MappedRwLockReadGuard::try_map(pair, |pair| pair.get(2)).unwrap_err();
    assert!(lock.try_write().is_none());
    let last = MappedRwLockReadGuard::try_map(pair, |pair| pair.get(1)).unwrap();
    assert_eq!(*last, 5);
    drop(last);

    let guard = RwLockWriteGuard::try_map(lock.write(), |value| value.0.as_mut()).unwrap_err();
    let pair = RwLockWriteGuard::try_map(guard, |value| value.1.as_mut()).unwrap();
    let pair = MappedRwLockWriteGuard::try_map(pair, |pair| pair.get_mut(2)).unwrap_err();
    let mut last = MappedRwLockWriteGuard::try_map(pair, |pair| pair.get_mut(1)).unwrap();
    *last += 10;
    assert!(lock.is_write_locked());
    drop(last);
    assert_eq!(lock.try_write().unwrap().1, Some([4, 15]));
}

#[test]
fn a_lock_is_released_when_mapping_panics() {
    fn panics(_: &mut i32) -> &mut i32 {
        panic!("no part")
    }

    counted_and_shown(
        || 0,
        |lock| {
            let cases: [&dyn Fn(); 4] = [
                &|| drop(RwLockReadGuard::map(lock.read(), |_| -> &i32 { panic!("no part") })),
                &|| {
                    let whole = RwLockReadGuard::map(lock.read(), |value| value);
                    drop(MappedRwLockReadGuard::map(whole, |_| -> &i32 { panic!("no part") }));
                },
                &|| drop(RwLockWriteGuard::map(lock.write(), panics)),
                &|| drop(MappedRwLockWriteGuard::map(RwLockWriteGuard::map(lock.write(), |value| value), panics)),
            ];
            for case in cases {
                assert_eq!(message(&*catch_unwind(AssertUnwindSafe(case)).unwrap_err()), "no part");
                assert!(!lock.is_locked());
            }
        },
    );
}

#[test]
fn unlocked_frees_the_lock_for_the_time_of_the_call() {
    within(LIMIT, || {
        counted_and_shown(
            || 1,
            |lock| {
                let writes = || on_another_thread(|| *lock.try_write().expect("free meanwhile") += 1);
                let guard = RwLockReadGuard::unlocked(lock.read(), writes);
                assert_eq!(*guard, 2);
                on_another_thread(|| assert!(lock.try_write().is_none() && lock.try_read().is_some()));
                drop(guard);
                let guard = RwLockWriteGuard::unlocked(lock.write(), writes);
                assert_eq!(*guard, 3);
                on_another_thread(|| assert!(lock.try_read().is_none()));
            },
        );
    });
}

#[test]
fn unlocked_stays_unlocked_when_the_call_panics() {
    let lock = RwLock::new(());
    let panics = || drop(RwLockReadGuard::unlocked(lock.read(), || panic!("meanwhile")));
    assert_eq!(message(&*catch_unwind(AssertUnwindSafe(panics)).unwrap_err()), "meanwhile");
    assert!(!lock.is_locked());
    let panics = || drop(RwLockWriteGuard::unlocked(lock.write(), || panic!("meanwhile")));
    assert_eq!(message(&*catch_unwind(AssertUnwindSafe(panics)).unwrap_err()), "meanwhile");
    assert!(!lock.is_locked());
}

#[test]
fn unlocked_reports_a_deadlock_on_the_way_back() {
    within(LIMIT, || {
        let lock = RwLock::new(());
        let forgets = || std::mem::forget(lock.write());
        let panics = || drop(RwLockReadGuard::unlocked(lock.read(), forgets));
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert!(message(&*payload).starts_with("deadlock: "));

        let lock = RwLock::new(());
        let forgets = || std::mem::forget(lock.read());
        let panics = || drop(RwLockWriteGuard::unlocked(lock.write(), forgets));
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert!(message(&*payload).starts_with("deadlock: "));
    });
}

#[test]
fn a_leaked_guard_leaves_the_value_to_its_thread_and_the_lock_written() {
    within(LIMIT, || {
        let lock = RwLock::new(1);
        let value: &mut i32 = RwLockWriteGuard::leak(lock.write());
        *value += 1;
        on_another_thread(|| assert!(lock.try_read_for(Duration::from_millis(5)).is_none()));
        *value += 1;
        assert_eq!(*value, 3);
        assert!(lock.is_write_locked());
        assert_eq!(lock.into_inner(), 3);
    });
}

#[test]
fn with_upgraded_writes_for_the_time_of_the_call_and_reads_on() {
    within(LIMIT, || {
        counted_and_shown(
            || 1,
            |lock| {
                let (guard, was) = RwLockUpgradableReadGuard::with_upgraded(lock.upgradable_read(), |value| {
                    on_another_thread(|| assert!(lock.try_read_recursive().is_none()));
                    std::mem::replace(value, 2)
                });
                assert_eq!((was, *guard), (1, 2));
                on_another_thread(|| assert!(lock.try_read().is_some() && lock.try_upgradable_read().is_none()));
                let panics = || drop(RwLockUpgradableReadGuard::with_upgraded(guard, |_| panic!("while it writes")));
                assert_eq!(message(&*catch_unwind(AssertUnwindSafe(panics)).unwrap_err()), "while it writes");
                assert!(!lock.is_locked());
            },
        );
    });
}

#[test]
fn an_upgrade_that_is_a_deadlock_gives_the_guard_back() {
    within(LIMIT, || {
        counted_and_shown(
            || 1,
            |lock| {
                let (reader, guard) = (lock.read(), lock.upgradable_read());
                let error = RwLockUpgradableReadGuard::acquire_upgrade(guard).unwrap_err();
                assert_eq!(error.deadlock().report().kind(), Kind::Relock);
                let text = error.to_string();
                assert!(text.starts_with("deadlock: ") && text == error.deadlock().to_string(), "{text}");
                assert!(format!("{error:?}").starts_with("UpgradeError"), "{error:?}");
                let guard = error.into_guard();
                assert_eq!(*guard, 1);
                on_another_thread(|| assert!(lock.try_upgradable_read().is_none() && lock.try_read().is_some()));
                let deadlock = RwLockUpgradableReadGuard::acquire_upgrade(guard).unwrap_err().into_deadlock();
                assert_eq!(deadlock.report().kind(), Kind::Relock);
                on_another_thread(|| assert!(lock.try_upgradable_read().is_some()));

                // One that panics gives up the guard on its way.
                let guard = lock.upgradable_read();
                let payload = catch_unwind(AssertUnwindSafe(|| drop(RwLockUpgradableReadGuard::upgrade(guard))));
                assert!(message(&*payload.unwrap_err()).starts_with("deadlock: "));
                on_another_thread(|| assert!(lock.try_upgradable_read().is_some() && lock.try_write().is_none()));
                drop(reader);
                assert!(!lock.is_locked());
            },
        );
    });
}

#[test]
fn an_arc_guard_keeps_its_lock_alive() {
    counted_and_shown(
        || 1,
        |lock| {
            let lock = Arc::new(lock);
            let weak = Arc::downgrade(&lock);
            let guard = lock.read_arc();
            drop(lock);
            let lock = weak.upgrade().unwrap();
            assert!(lock.is_locked() && *guard == 1);
            drop(guard);
            let mut guard = lock.write_arc();
            drop(lock);
            *guard += 1;
            let guard = ArcRwLockWriteGuard::downgrade(guard);
            assert_eq!((*guard, weak.upgrade().unwrap().is_write_locked()), (2, false));
            drop(guard);
            assert!(weak.upgrade().is_none());
        },
    );
}

#[test]
fn an_arc_guard_may_be_what_drops_the_lock_while_others_are_held() {
    let guards: Vec<_> = (0..40).map(|number| Arc::new(RwLock::new(number)).read_arc()).collect();
    assert!(guards.iter().map(|guard| **guard).eq(0..40));
    let weak: Vec<_> = guards.iter().map(|guard| Arc::downgrade(ArcRwLockReadGuard::lock(guard))).collect();
    drop(guards);
    assert!(weak.iter().all(|lock| lock.upgrade().is_none()));
}

#[test]
fn an_arc_guard_turns_back_into_the_free_lock_or_into_another_guard() {
    let lock = Arc::new(RwLock::new(1));
    let upgradable = lock.upgradable_read_arc();
    let mut writer = ArcRwLockUpgradableReadGuard::upgrade(upgradable);
    *writer += 1;
    let upgradable = ArcRwLockWriteGuard::downgrade_to_upgradable(writer);
    let writer = ArcRwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap();
    let upgradable = ArcRwLockWriteGuard::downgrade_to_upgradable(writer);
    let writer = ArcRwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap();
    let upgradable = ArcRwLockWriteGuard::downgrade_to_upgradable(writer);
    let writer = ArcRwLockUpgradableReadGuard::try_upgrade_for(upgradable, Duration::ZERO).unwrap();
    let upgradable = ArcRwLockWriteGuard::downgrade_to_upgradable(writer);
    let other = lock.read();
    let upgradable = ArcRwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap_err();
    let limit = Duration::from_millis(1);
    let upgradable = ArcRwLockUpgradableReadGuard::try_upgrade_for(upgradable, limit).unwrap_err();
    let upgradable = ArcRwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap_err().into_guard();
    drop(other);
    let reader = ArcRwLockUpgradableReadGuard::downgrade(upgradable);
    assert!(lock.try_upgradable_read().is_some() && lock.try_write().is_none());
    let same = ArcRwLockReadGuard::into_arc(reader);
    assert!(Arc::ptr_eq(&lock, &same) && !lock.is_locked());
    drop(ArcRwLockUpgradableReadGuard::into_arc(same.upgradable_read_arc()));
    assert!(!lock.is_locked());
    drop(ArcRwLockWriteGuard::into_arc(same.write_arc()));
    assert!(!lock.is_locked());
    assert_eq!(Arc::strong_count(&lock), 2);
    drop(same);
    assert_eq!(Arc::into_inner(lock).unwrap().into_inner(), 2);
}

#[test]
fn every_arc_acquisition_is_the_plain_one_with_another_guard() {
    type Ask = fn(&Arc<RwLock<i32>>) -> bool;
    const TRIES: [(Ask, bool); 12] = [
        (|lock| lock.try_read_arc().is_some(), true),
        (|lock| lock.try_read_arc_for(Duration::ZERO).is_some(), true),
        (|lock| lock.try_read_arc_until(Instant::now()).is_some(), true),
        (|lock| lock.try_read_recursive_arc().is_some(), true),
        (|lock| lock.try_read_recursive_arc_for(Duration::ZERO).is_some(), true),
        (|lock| lock.try_read_recursive_arc_until(Instant::now()).is_some(), true),
        (|lock| lock.try_upgradable_read_arc().is_some(), true),
        (|lock| lock.try_upgradable_read_arc_for(Duration::ZERO).is_some(), true),
        (|lock| lock.try_upgradable_read_arc_until(Instant::now()).is_some(), true),
        (|lock| lock.try_write_arc().is_some(), false),
        (|lock| lock.try_write_arc_for(Duration::ZERO).is_some(), false),
        (|lock| lock.try_write_arc_until(Instant::now()).is_some(), false),
    ];
    const ASKS: [(Ask, bool); 8] = [
        (|lock| lock.acquire_read_arc().is_ok(), true),
        (|lock| lock.acquire_read_recursive_arc().is_ok(), true),
        (|lock| lock.acquire_upgradable_read_arc().is_ok(), true),
        (|lock| lock.acquire_write_arc().is_ok(), false),
        (|lock| catch_unwind(AssertUnwindSafe(|| drop(lock.read_arc()))).is_ok(), true),
        (|lock| catch_unwind(AssertUnwindSafe(|| drop(lock.read_recursive_arc()))).is_ok(), true),
        (|lock| catch_unwind(AssertUnwindSafe(|| drop(lock.upgradable_read_arc()))).is_ok(), true),
        (|lock| catch_unwind(AssertUnwindSafe(|| drop(lock.write_arc()))).is_ok(), false),
    ];

    within(LIMIT, || {
        let lock = Arc::new(RwLock::new(0));
        let all = || TRIES.into_iter().chain(ASKS);
        for (ask, _) in all() {
            assert!(ask(&lock) && !lock.is_locked());
        }
        let guard = lock.read_arc();
        for (ask, gets_in) in all() {
            assert_eq!(ask(&lock), gets_in);
        }
        drop(guard);
        let guard = lock.write_arc();
        for (ask, _) in all() {
            assert!(!ask(&lock));
        }
        // Nobody who failed kept the lock alive.
        drop(guard);
        assert_eq!(Arc::strong_count(&lock), 1);

        let guard = lock.read_arc();
        thread::scope(|s| {
            let writer = spawn_named(s, "writes with an Arc", || *lock.write_arc() += 1);
            until_parked("writes with an Arc");
            let reader = spawn_named(s, "reads with an Arc", || *lock.read_arc());
            until_parked("reads with an Arc");
            drop(guard);
            writer.join().unwrap();
            assert_eq!(reader.join().unwrap(), 1);
        });
    });
}

#[test]
fn guards_of_one_lock_are_dropped_in_any_order() {
    // Up to 8 reads of a thread can show themselves, 16 holds are in its first list, and further ones in lists of 16.
    for count in [1, 2, 8, 9, 16, 17, 32, 33, 70] {
        within(LIMIT, || {
            counted_and_shown(
                || 0,
                |lock| {
                    let mut dice = Dice::new(count);
                    for round in 0..3 {
                        let read = |at| if (at + round) % 3 == 0 { lock.read_recursive() } else { lock.read() };
                        let mut guards: Vec<_> = (0..count).map(read).collect();
                        dice.shuffle(&mut guards);
                        while guards.pop().is_some() {
                            assert_eq!(lock.is_locked(), !guards.is_empty());
                            on_another_thread(|| assert_eq!(lock.try_write().is_none(), !guards.is_empty()));
                        }
                    }
                },
            );
        });
    }
}

#[test]
fn many_locks_are_held_in_every_way_and_released_in_any_order() {
    enum Any<'a> {
        Read(RwLockReadGuard<'a, usize>),
        Upgradable(RwLockUpgradableReadGuard<'a, usize>),
        Write(RwLockWriteGuard<'a, usize>),
    }

    for count in [1, 16, 17, 33, 120] {
        within(LIMIT, || {
            let locks: Vec<_> = (0..count).map(RwLock::new).collect();
            let mut dice = Dice::new(count as u64);
            for _ in 0..3 {
                let take = |lock, dice: &mut Dice| match dice.below(3) {
                    0 => Any::Read(RwLock::read(lock)),
                    1 => Any::Upgradable(lock.upgradable_read()),
                    _ => Any::Write(lock.write()),
                };
                let mut guards: Vec<_> = locks.iter().map(|lock| take(lock, &mut dice)).collect();
                dice.shuffle(&mut guards);
                while let Some(guard) = guards.pop() {
                    // Some become another guard first.
                    let guard = match (guard, dice.below(2)) {
                        (Any::Upgradable(guard), 0) => Any::Write(RwLockUpgradableReadGuard::upgrade(guard)),
                        (Any::Write(guard), 0) => Any::Read(RwLockWriteGuard::downgrade(guard)),
                        (guard, _) => guard,
                    };
                    let number = match &guard {
                        Any::Read(guard) => **guard,
                        Any::Upgradable(guard) => **guard,
                        Any::Write(guard) => **guard,
                    };
                    assert_eq!(locks[number].is_write_locked(), matches!(guard, Any::Write(_)));
                    drop(guard);
                    assert!(!locks[number].is_locked());
                    assert_eq!(locks.iter().filter(|lock| lock.is_locked()).count(), guards.len());
                }
            }
        });
    }
}

#[test]
fn a_lock_may_protect_what_has_no_size() {
    let slice: Box<RwLock<[u8]>> = Box::new(RwLock::new([1, 2, 3]));
    slice.write()[1] += 10;
    assert_eq!(format!("{slice:?}"), "RwLock { data: [1, 12, 3] }");
    assert_eq!(*RwLockReadGuard::map(slice.read(), |all| &all[1..]), [12, 3]);
    assert_eq!(RwLockUpgradableReadGuard::upgrade(slice.upgradable_read())[0], 1);

    let call: Arc<RwLock<dyn Fn(i32) -> i32 + Send + Sync>> = Arc::new(RwLock::named("a trait object", |n| n + 1));
    assert_eq!(call.read()(1), 2);
    assert_eq!(on_another_thread(|| call.acquire_read().unwrap()(2) + call.read_arc()(3)), 7);
    let guard = call.read();
    let deadlock = call.acquire_write().map(drop).unwrap_err();
    let resource = deadlock.report().threads()[0].waits_for().unwrap().resource().clone();
    assert_eq!((resource.name(), resource.primitive()), (Some("a trait object"), "RwLock"));
    assert!(resource.data_type().contains("Fn"), "{}", resource.data_type());
    drop(guard);
}

#[test]
fn a_lock_serializes_as_its_value_also_for_one_who_reads_it() {
    within(LIMIT, || {
        let lock = RwLock::named("list", vec![1, 2]);
        let json = serde_json::to_string(&lock).unwrap();
        assert_eq!(json, "[1,2]");
        assert!(!lock.is_locked());
        let back: RwLock<Vec<i32>> = serde_json::from_str(&json).unwrap();
        assert!(!back.is_locked());
        assert_eq!(back.into_inner(), [1, 2]);
        assert!(serde_json::from_str::<RwLock<Vec<i32>>>("{}").is_err());

        thread::scope(|s| {
            let guard = lock.read();
            spawn_named(s, "writes what is serialized", || lock.write().push(3));
            until_parked("writes what is serialized");
            assert_eq!(serde_json::to_string(&lock).unwrap(), "[1,2]");
            drop(guard);
        });
        let _guard = lock.write();
        let error = serde_json::to_string(&lock).unwrap_err();
        assert!(error.to_string().starts_with("deadlock: "), "{error}");
    });
}
