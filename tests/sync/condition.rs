//! Conditions: who is woken, what is held meanwhile, and what is told of those that wait.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Kind, report::LongWait};
use bowline::sync::{ArcLockGuard, LockGuard, RLockGuard, RLockWaitError};
use bowline::{Condition, Lock, RLock};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::support::deadlocks::{Gate, assert_is_a_proof, held_names, names, wanted};
use crate::support::{
    Dice, LIMIT, alone, find_thread, in_fresh_process, message, on_another_thread, spawn_named, stderr, until_parked,
    until_thread_where, until_waiting, wait_until, within,
};

assert_impl_all!(Condition: Send, Sync, UnwindSafe, RefUnwindSafe, Default);
assert_impl_all!(RLockWaitError: std::error::Error, Clone, Send, Sync);
assert_not_impl_any!(Condition: Copy, Clone);

/// Far longer than a wait in these tests lasts.
const LONG: Duration = Duration::from_secs(600);
/// Longer than the grace.
const SHORT: Duration = Duration::from_millis(2);

fn waiting(condition: &Condition) -> usize {
    let text = format!("{condition:?}");
    text.rsplit_once("waiting: ").unwrap().1.trim_end_matches(" }").parse().unwrap()
}

#[track_caller]
fn until_waiters(condition: &Condition, count: usize) {
    wait_until(|| waiting(condition) == count);
}

#[test]
fn a_wait_frees_the_lock_and_has_it_again_for_each_kind_of_guard() {
    static STARTED: Lock<u32> = Lock::new(0);
    static CHANGED: Condition = Condition::new();
    within(LIMIT, || {
        thread::scope(|s| {
            let mut guard = STARTED.lock();
            s.spawn(|| {
                *STARTED.lock() = 7;
                assert!(CHANGED.notify_one());
            });
            CHANGED.wait(&mut guard);
            assert_eq!(*guard, 7);
            on_another_thread(|| assert!(STARTED.try_lock().is_none()));
        });
        assert!(!STARTED.is_locked());

        let (counted, changed) = (Arc::new(Lock::new(1)), Condition::default());
        thread::scope(|s| {
            let mut guard: ArcLockGuard<_> = counted.lock_arc();
            s.spawn(|| {
                *counted.lock() += 1;
                assert_eq!(changed.notify_all(), 1);
            });
            changed.wait_while(&mut guard, |count| *count == 1);
            assert_eq!(*guard, 2);
            on_another_thread(|| assert!(counted.try_lock().is_none()));
        });
        assert!(!counted.is_locked());

        let (again, changed) = (RLock::new(Cell::new(1)), Condition::new());
        thread::scope(|s| {
            let mut guard: RLockGuard<'_, _> = again.lock();
            s.spawn(|| {
                again.lock().set(2);
                assert_eq!(changed.notify(5), 1);
            });
            changed.wait_while(&mut guard, |count| count.get() == 1);
            assert_eq!((guard.get(), again.depth()), (2, 1));
            on_another_thread(|| assert!(again.try_lock().is_none()));
            drop(again.lock());
            assert_eq!(again.depth(), 1);
        });
        assert!(!again.is_locked());
    });
}

#[test]
fn guards_by_value_come_back_with_the_lock_held() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let rlock = RLock::new(Cell::new(0));
        thread::scope(|s| {
            let (lock, rlock, changed) = (&lock, &rlock, &changed);
            let waiter = s.spawn(move || {
                let guard = changed.acquire_wait(lock.lock()).unwrap();
                let guard = changed.acquire_wait_while(guard, |value| *value < 2).unwrap();
                let (guard, result) = changed.acquire_wait_for(guard, Duration::ZERO).unwrap();
                assert!(result.timed_out() && lock.is_locked());
                let (guard, result) = changed.acquire_wait_until(guard, Instant::now()).unwrap();
                assert!(result.timed_out() && lock.is_locked());
                let (guard, result) = changed.acquire_wait_while_for(guard, |value| *value < 2, LONG).unwrap();
                assert!(!result.timed_out());
                let soon = Instant::now() + SHORT;
                let (guard, result) = changed.acquire_wait_while_until(guard, |value| *value < 3, soon).unwrap();
                assert!(result.timed_out());
                drop(guard);
                let guard = rlock.lock();
                changed.acquire_wait_while(guard, |value| value.get() < 2).unwrap().get()
            });
            for value in [1, 2] {
                until_waiters(changed, 1);
                *lock.lock() = value;
                assert!(changed.notify_one());
            }
            for value in [1, 2] {
                wait_until(|| rlock.try_lock().is_some_and(|_guard| waiting(changed) == 1));
                rlock.lock().set(value);
                assert!(changed.notify_one());
            }
            assert_eq!(waiter.join().unwrap(), 2);
        });
    });
}

#[test]
fn three_phases_wake_exactly_as_many_as_are_asked_for() {
    within(LIMIT, || {
        const WAITERS: usize = 10;
        let (lock, changed) = (Lock::new(0), Condition::new());
        let phase = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        thread::scope(|s| {
            for _ in 0..WAITERS {
                let tell = tell.clone();
                let (lock, changed, phase) = (&lock, &changed, &phase);
                s.spawn(move || {
                    let mut guard = lock.lock();
                    changed.wait(&mut guard);
                    tell.send(phase.load(Relaxed)).unwrap();
                    changed.wait(&mut guard);
                    tell.send(phase.load(Relaxed)).unwrap();
                });
            }
            until_waiters(&changed, WAITERS);
            // Under the lock, so that nobody waits again before the phase has changed.
            let woken =
                |count: usize| -> Vec<usize> { (0..count).map(|_| told.recv_timeout(LIMIT).unwrap()).collect() };
            {
                let _guard = lock.lock();
                phase.store(1, Relaxed);
                assert_eq!(changed.notify(3), 3);
            }
            assert_eq!(woken(3), [1; 3]);
            until_waiters(&changed, WAITERS);
            {
                let _guard = lock.lock();
                phase.store(2, Relaxed);
                assert_eq!(changed.notify(5), 5);
            }
            // Those that have waited for longest: five of the seven that were not woken, for the first time.
            assert_eq!(woken(5), [2; 5]);
            until_waiters(&changed, WAITERS);
            {
                let _guard = lock.lock();
                phase.store(3, Relaxed);
                assert_eq!(changed.notify_all(), WAITERS);
            }
            assert_eq!(woken(WAITERS), [3; WAITERS]);
            // Two of them, that were woken just now for the first time, wait once more.
            until_waiters(&changed, 2);
            assert!(told.try_recv().is_err(), "nobody was woken who was not counted");
            phase.store(4, Relaxed);
            assert_eq!((changed.notify_all(), changed.notify_all()), (2, 0));
            assert_eq!(woken(2), [4; 2]);
        });
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn more_waiters_than_are_woken_at_once_are_all_woken_and_counted() {
    within(LIMIT, || {
        const WAITERS: usize = 50;
        let (lock, changed) = (Lock::new(0), Condition::new());
        thread::scope(|s| {
            for _ in 0..WAITERS {
                s.spawn(|| changed.wait(&mut lock.lock()));
            }
            until_waiters(&changed, WAITERS);
            assert_eq!((changed.notify(0), changed.notify(33), changed.notify(16), changed.notify(9)), (0, 33, 16, 1));
        });
    });
}

#[test]
fn whoever_has_waited_for_longest_is_woken_first() {
    within(LIMIT, || {
        let (order, changed) = (Lock::new(Vec::new()), Condition::new());
        thread::scope(|s| {
            for at in 0..8 {
                let (order, changed) = (&order, &changed);
                s.spawn(move || {
                    let mut order = order.lock();
                    changed.wait(&mut order);
                    order.push(at);
                });
                until_waiters(changed, at + 1);
            }
            for at in 0..8 {
                assert!(changed.notify_one());
                wait_until(|| order.lock().len() == at + 1);
            }
        });
        assert_eq!(order.into_inner(), [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn each_waiter_is_counted_by_the_notifier_or_by_its_time_out() {
    within(LIMIT, || {
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        let (lock, changed) = (Lock::new(()), Condition::new());
        let [notified, counted, over] = [(); 3].map(|()| AtomicUsize::new(0));
        thread::scope(|s| {
            for seed in 0..4 {
                let (lock, changed, notified, over) = (&lock, &changed, &notified, &over);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    for _ in 0..rounds {
                        let timeout = Duration::from_micros(dice.below(200) as u64);
                        let result = changed.wait_for(&mut lock.lock(), timeout);
                        notified.fetch_add(usize::from(!result.timed_out()), Relaxed);
                    }
                    over.fetch_add(1, Relaxed);
                });
            }
            for seed in 10..12 {
                let (changed, counted, over) = (&changed, &counted, &over);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    while over.load(Relaxed) < 4 {
                        counted.fetch_add(changed.notify(dice.below(4)), Relaxed);
                        thread::sleep(Duration::from_micros(dice.below(100) as u64));
                    }
                });
            }
        });
        let (notified, counted) = (notified.into_inner(), counted.into_inner());
        assert_eq!(notified, counted);
        assert!(notified > 0 && notified < 4 * rounds, "{notified} of {}: one of the two never came first", 4 * rounds);
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn a_wait_with_a_limit_ends_by_it_and_a_predicate_decides_whether_it_timed_out() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let mut guard = lock.lock();
        assert!(changed.wait_for(&mut guard, SHORT).timed_out());
        assert!(changed.wait_for(&mut guard, Duration::ZERO).timed_out());
        assert!(changed.wait_until(&mut guard, Instant::now() + SHORT).timed_out());
        assert!(changed.wait_while_for(&mut guard, |_| true, SHORT).timed_out());
        assert!(!changed.wait_while_for(&mut guard, |_| false, SHORT).timed_out());
        let soon = Instant::now() + SHORT;
        assert!(!changed.wait_while_until(&mut guard, |_| Instant::now() < soon, soon).timed_out());
        assert!(changed.wait_while_until(&mut guard, |_| true, Instant::now()).timed_out());
        // It held the lock all the while that it did not wait.
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        thread::scope(|s| {
            s.spawn(|| {
                *lock.lock() = 1;
                changed.notify_one();
            });
            assert!(!changed.wait_while_for(&mut guard, |value| *value == 0, LONG).timed_out());
            s.spawn(|| {
                *lock.lock() = 2;
                changed.notify_one();
            });
            // Longer than the clock can tell.
            assert!(!changed.wait_while_for(&mut guard, |value| *value == 1, Duration::MAX).timed_out());
        });
    });
}

#[test]
fn a_notification_is_never_lost_between_two_threads_that_take_turns() {
    within(LIMIT, || {
        let turns = if cfg!(miri) { 20 } else { 5_000 };
        let (turn, changed) = (Lock::new(0), Condition::new());
        thread::scope(|s| {
            for me in 0..2 {
                let (turn, changed) = (&turn, &changed);
                s.spawn(move || {
                    for at in 0..turns {
                        let mut guard = turn.lock();
                        changed.wait_while(&mut guard, |turn| *turn != 2 * at + me);
                        *guard += 1;
                        // Under the lock and after it by turns.
                        if at % 2 == 0 {
                            drop(guard);
                        }
                        changed.notify_one();
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 2 * turns);
    });
}

#[test]
fn a_predicate_that_panics_leaves_the_guard_with_the_lock_held() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let mut guard = lock.lock();
        thread::scope(|s| {
            s.spawn(|| {
                *lock.lock() = 1;
                changed.notify_one();
            });
            let waits =
                || changed.wait_while(&mut guard, |value| if *value == 0 { true } else { panic!("as it should") });
            let panic = catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
            assert_eq!(message(&*panic), "as it should");
        });
        assert_eq!(*guard, 1);
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        drop(guard);
        assert!(!lock.is_locked());
        // By value, the guard goes with the panic.
        let guard = lock.lock();
        let waits = || changed.acquire_wait_while(guard, |_| panic!("as it should")).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(waits)).is_err());
        assert!(!lock.is_locked());
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn an_rlock_of_which_the_thread_has_other_guards_is_refused_and_left_as_it_is() {
    let (lock, changed) = (RLock::new((1, 2)), Condition::new());
    let part = RLockGuard::map(lock.lock(), |pair| &pair.0);
    let mut guard = lock.lock();
    let refused = catch_unwind(AssertUnwindSafe(|| changed.wait_for(&mut guard, SHORT))).unwrap_err();
    let text = message(&*refused);
    assert!(text.contains("holds an RLock 2 times") && text.contains("drop all guards but one"), "{text}");
    assert_eq!((*part, guard.1, lock.depth()), (1, 2, 2));
    let error = changed.acquire_wait_for(guard, SHORT).map(drop).unwrap_err();
    assert!(matches!(error, RLockWaitError::HeldAgain { depth: 2, .. }), "{error}");
    assert_eq!(error.to_string(), text);
    assert_eq!((*part, lock.depth()), (1, 1), "that guard is gone");
    drop(part);
    let mut guard = lock.lock();
    assert!(changed.wait_for(&mut guard, SHORT).timed_out());
    assert_eq!(lock.depth(), 1);
    // It need not be the guard of the first acquisition.
    let again = lock.lock();
    drop(guard);
    let (again, _) = changed.acquire_wait_for(again, SHORT).unwrap();
    assert_eq!((again.0, lock.depth()), (1, 1));
    drop(again);
    assert!(!lock.is_locked());
    assert_eq!(waiting(&changed), 0);
}

#[test]
fn waiters_with_different_locks_each_get_their_own_back() {
    within(LIMIT, || {
        let (number, text, changed) = (Lock::new(1), Lock::new("a"), Condition::new());
        thread::scope(|s| {
            s.spawn(|| {
                let mut guard = number.lock();
                changed.wait(&mut guard);
                *guard += 1;
                assert!(number.is_locked());
            });
            s.spawn(|| {
                let mut guard = text.lock();
                changed.wait(&mut guard);
                *guard = "b";
                assert!(text.is_locked());
            });
            until_waiters(&changed, 2);
            drop((number.lock(), text.lock()));
            assert_eq!(changed.notify_all(), 2);
        });
        assert_eq!((number.into_inner(), text.into_inner()), (2, "b"));
    });
}

#[test]
fn a_waiter_is_in_the_graph_without_its_lock_and_holds_it_again_from_the_line_of_the_wait() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::named("released", ()), Condition::named("changed"));
        let (tell, told) = mpsc::channel();
        let go_on = Gate::new();
        thread::scope(|s| {
            let (lock, changed, go_on) = (&lock, &changed, &go_on);
            spawn_named(s, "sleeps on it", move || {
                let mut guard = lock.lock();
                let line = line!() + 1;
                changed.wait(&mut guard);
                tell.send(line).unwrap();
                go_on.pass();
            });
            let waiter = until_waiting("sleeps on it");
            let wait = waiter.waits_for().unwrap();
            assert_eq!((wanted(&waiter).primitive(), wanted(&waiter).name()), ("Condition", Some("changed")));
            assert!(waiter.holds().is_empty() && !wait.is_timed() && waiter.suspicions().is_empty());
            assert_eq!(wait.site().file(), file!());
            let text = deadlock::snapshot().to_string();
            assert!(text.contains("thread 'sleeps on it' waits for "), "{text}");
            drop(lock.lock());
            changed.notify_one();
            let line = told.recv_timeout(LIMIT).unwrap();
            assert_eq!(wait.site().line(), line);
            let holder = find_thread("sleeps on it").unwrap();
            assert!(holder.waits_for().is_none());
            let [held] = holder.holds() else { panic!("{holder:?}") };
            assert_eq!((held.resource().name(), held.site().line()), (Some("released"), line));
            go_on.open();
        });
    });
}

/// A waiter that holds 'orders' and waits for a notification; a notifier that wants 'orders' first. Calls `look` with the
/// lines of the three, then ends it.
fn lost_notification(names: [&'static str; 2], look: impl FnOnce([u32; 3])) {
    let (orders, lock, arrived) = (Lock::named("orders", ()), Lock::new(false), Condition::named("arrived"));
    let (tell, told) = mpsc::channel();
    thread::scope(|s| {
        let (orders, lock, arrived) = (&orders, &lock, &arrived);
        let tell_line = tell.clone();
        spawn_named(s, names[0], move || {
            let (_orders, taken) = (orders.lock(), line!());
            let mut guard = lock.lock();
            tell_line.send([taken, line!() + 1]).unwrap();
            arrived.wait_while(&mut guard, |arrived| !*arrived);
        });
        let [taken, waits] = told.recv_timeout(LIMIT).unwrap();
        until_waiting(names[0]);
        spawn_named(s, names[1], move || {
            tell.send([line!() + 1, 0]).unwrap();
            let _orders = orders.lock();
            *lock.lock() = true;
            arrived.notify_one();
        });
        let [wants, _] = told.recv_timeout(LIMIT).unwrap();
        until_waiting(names[1]);
        look([taken, waits, wants]);
        *lock.lock() = true;
        assert!(arrived.notify_one(), "it waited until now");
    });
}

#[test]
fn a_waiter_that_holds_what_the_notifier_wants_is_told_as_a_suspicion_and_never_as_a_deadlock() {
    alone(|| {
        lost_notification(["consumer", "notifier"], |[taken, waits, wants]| {
            let waiter = find_thread("consumer").unwrap();
            assert_eq!(held_names(&waiter), ["orders"]);
            let [suspicion] = waiter.suspicions() else { panic!("{waiter:?}") };
            let (held, notifier) = (suspicion.held(), suspicion.waiter());
            assert_eq!((held.resource().name(), held.site().line()), (Some("orders"), taken));
            assert_eq!((notifier.name(), suspicion.others()), (Some("notifier"), 0));
            assert_eq!(notifier.waits_for().unwrap().site().line(), wants);
            assert_eq!(waiter.waits_for().unwrap().site().line(), waits);
            assert!(find_thread("notifier").unwrap().suspicions().is_empty());
            let text = format!("{:1000}", deadlock::snapshot());
            let [taken, wants] = [taken, wants].map(|line| format!("{}:{line}:", file!()));
            let told = text.lines().find(|line| line.trim_start().starts_with("suspicion: it holds ")).expect(&text);
            assert!(told.contains("'orders'") && told.contains("thread 'notifier' waits for"), "{told}");
            let at = [taken, wants].map(|place| told.find(&place).expect(told));
            assert!(at[0] < at[1] && told.ends_with(": a notification may have to come from there"), "{told}");
            let json = serde_json::to_value(deadlock::snapshot()).unwrap();
            let nodes = json["nodes"].as_array().unwrap();
            let node = nodes.iter().find(|node| node["name"] == "consumer").unwrap();
            assert_eq!(node["suspicions"][0]["waiter"]["name"], "notifier");
            assert_eq!(node["suspicions"][0]["held"]["resource"]["name"], "orders");
        });
    });
}

#[test]
fn a_long_wait_for_a_notification_tells_the_suspicion_with_both_lines() {
    alone(|| {
        lost_notification(["consumer", "notifier"], |[taken, waits, wants]| {
            let (tell, told) = mpsc::channel::<LongWait>();
            let _hook = deadlock::warn_after(SHORT, move |wait| tell.send(wait.clone()).unwrap());
            let wait = loop {
                let wait = told.recv_timeout(LIMIT).unwrap();
                if wait.waiter().name() == Some("consumer") {
                    break wait;
                }
                assert_eq!(wait.owner().unwrap().name(), Some("consumer"));
            };
            assert!(wait.owner().is_none(), "nobody in particular can end it");
            let [suspicion] = wait.waiter().suspicions() else { panic!("{wait:?}") };
            assert_eq!(suspicion.waiter().name(), Some("notifier"));
            let text = format!("{wait:1000}");
            for line in [taken, waits, wants] {
                assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
            }
            assert!(text.contains("which thread 'notifier' waits for"), "{text}");
        });
        // Without anything that others want, there is nothing to suspect.
        let (lock, changed) = (Lock::new(()), Condition::new());
        let (tell, told) = mpsc::channel::<LongWait>();
        let _hook = deadlock::warn_after(SHORT, move |wait| tell.send(wait.clone()).unwrap());
        thread::scope(|s| {
            s.spawn(|| changed.wait(&mut lock.lock()));
            let wait = told.recv_timeout(LIMIT).unwrap();
            assert!(wait.owner().is_none() && wait.waiter().suspicions().is_empty());
            assert!(wait.to_string().ends_with("\na notification may come from any thread"), "{wait}");
            changed.notify_one();
        });
    });
}

#[test]
fn a_dump_tells_the_suspicion() {
    let dumps = || lost_notification(["consumer", "notifier"], |_| deadlock::dump());
    let test = "a_dump_tells_the_suspicion";
    let Some(output) = in_fresh_process(test, &[], dumps) else { return };
    let text = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success() && text.contains("suspicion: it holds "), "{text}");
    assert!(text.contains("a notification may have to come from there") && text.contains("no deadlock"), "{text}");
}

#[test]
fn a_notification_that_comes_while_a_hook_runs_between_two_sleeps_is_not_lost() {
    alone(|| {
        let (in_hook, go_on) = (Arc::new(Gate::new()), Arc::new(Gate::new()));
        let (lock, changed) = (Lock::new(()), Condition::new());
        thread::scope(|s| {
            spawn_named(s, "hooked", || changed.wait(&mut lock.lock()));
            until_parked("hooked");
            let gates = (Arc::clone(&in_hook), Arc::clone(&go_on));
            let hook = deadlock::warn_after(SHORT, move |_| {
                gates.0.open();
                gates.1.pass();
            });
            in_hook.pass();
            // It neither sleeps nor is in the graph.
            assert!(find_thread("hooked").is_none());
            assert_eq!((changed.notify_all(), changed.notify_all()), (1, 0));
            go_on.open();
            drop(hook);
        });
    });
}

/// A waiter, which holds `held`, takes its lock again and closes a cycle, or is waited for: the owner of the lock wants
/// `held`. Returns what `waits` and the owner's wait returned.
fn cycle_through_the_lock<W: Send, O: Send>(
    [waiter, owner]: [&'static str; 2],
    owner_waits_first: bool,
    waits: impl FnOnce(&Condition, LockGuard<'_, ()>) -> W + Send,
    owner_waits: impl FnOnce(&Lock<()>) -> O + Send,
) -> (W, O) {
    let (held, lock, changed) = (Lock::named("held", ()), Lock::named("lock", ()), Condition::new());
    thread::scope(|s| {
        let (held, lock, changed) = (&held, &lock, &changed);
        let waiting_thread = spawn_named(s, waiter, move || {
            let _held = held.lock();
            waits(changed, lock.lock())
        });
        until_waiting(waiter);
        let owning_thread = spawn_named(s, owner, move || {
            let _lock = lock.lock();
            if owner_waits_first {
                return owner_waits(held);
            }
            assert!(changed.notify_one());
            until_thread_where(|thread| {
                thread.name() == Some(waiter)
                    && thread.waits_for().is_some_and(|wait| wait.resource().primitive() == "Lock")
            });
            owner_waits(held)
        });
        if owner_waits_first {
            until_parked(owner);
            assert!(changed.notify_one());
        }
        (waiting_thread.join().unwrap(), owning_thread.join().unwrap())
    })
}

#[test]
fn a_guard_by_reference_has_the_lock_again_whoever_closes_the_cycle() {
    within(LIMIT, || {
        for (names_of, owner_waits_first) in [(["&mut waits", "owner 1"], false), (["&mut closes", "owner 2"], true)] {
            let waits = |changed: &Condition, mut guard: LockGuard<'_, ()>| {
                changed.wait(&mut guard);
                LockGuard::lock(&guard).is_locked()
            };
            let owner_waits = |held: &Lock<()>| held.acquire().map(drop);
            let (is_locked, end) = cycle_through_the_lock(names_of, owner_waits_first, waits, owner_waits);
            let deadlock = end.expect_err("the waiter cannot be the victim");
            assert!(is_locked);
            let report = deadlock.report();
            assert_eq!(report.kind(), Kind::Cycle);
            assert_is_a_proof(report);
            let mut expected = names_of;
            expected.sort_unstable();
            assert_eq!(names(report.threads()), expected);
        }
    });
}

#[test]
fn a_guard_by_reference_has_the_lock_again_when_the_other_unwinds() {
    within(LIMIT, || {
        let waits = |changed: &Condition, mut guard: LockGuard<'_, ()>| changed.wait(&mut guard);
        let owner_waits = |held: &Lock<()>| {
            let panic = catch_unwind(AssertUnwindSafe(|| drop(held.lock()))).unwrap_err();
            message(&*panic).to_owned()
        };
        let ((), text) = cycle_through_the_lock(["stays", "unwinds"], true, waits, owner_waits);
        assert!(text.starts_with("deadlock: ") && text.contains("thread 'stays'"), "{text}");
    });
}

#[test]
fn a_guard_by_value_is_gone_when_locking_again_closes_a_cycle() {
    within(LIMIT, || {
        let waits = |changed: &Condition, guard: LockGuard<'_, ()>| {
            let lock = LockGuard::lock(&guard);
            let line = line!() + 1;
            let deadlock = changed.acquire_wait(guard).map(drop).expect_err("it closes the cycle");
            let report = deadlock.report();
            assert_is_a_proof(report);
            let me = &report.threads()[0];
            assert_eq!((me.name(), wanted(me).name(), held_names(me)), (Some("by value"), Some("lock"), vec!["held"]));
            assert_eq!(me.waits_for().unwrap().site().line(), line);
            assert!(lock.is_locked(), "by the other");
        };
        let ((), got) = cycle_through_the_lock(["by value", "gets it"], true, waits, |held| held.acquire().map(drop));
        got.expect("the waiter's lock is free by now");
    });
}

/// Another thread takes the lock that is to be taken again, notifies, and ends with it.
#[cfg(target_os = "linux")]
fn abandoned<'l>(lock: &'l Lock<()>, changed: &Condition, waits: impl FnOnce(LockGuard<'l, ()>)) {
    thread::scope(|s| {
        let guard = lock.lock();
        spawn_named(s, "leaves it locked", || {
            let guard = lock.lock();
            changed.notify_one();
            std::mem::forget(guard);
        });
        waits(guard);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_that_is_left_behind_meanwhile_is_an_error_by_value() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(()), Condition::new());
        abandoned(&lock, &changed, |guard| {
            let deadlock = changed.acquire_wait(guard).map(drop).unwrap_err();
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
        });
        let (rlock, changed) = (RLock::new(()), Condition::new());
        thread::scope(|s| {
            let guard = rlock.lock();
            s.spawn(|| {
                std::mem::forget(rlock.lock());
                changed.notify_one();
            });
            let error = changed.acquire_wait(guard).map(drop).unwrap_err();
            let RLockWaitError::Deadlock(deadlock) = &error else { panic!("{error}") };
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
            assert!(std::error::Error::source(&error).is_some());
        });
    });
}

#[test]
#[cfg(all(target_os = "linux", not(miri)))]
fn where_no_wait_can_fail_the_process_ends_with_the_report() {
    let test = "where_no_wait_can_fail_the_process_ends_with_the_report";
    let waits = || {
        let (lock, changed) = (Lock::named("left behind", ()), Condition::new());
        abandoned(&lock, &changed, |mut guard| changed.wait(&mut guard));
    };
    let Some(output) = in_fresh_process(test, &[], waits) else { return };
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("deadlock: ") && text.contains("'left behind'"), "{text}");
}
