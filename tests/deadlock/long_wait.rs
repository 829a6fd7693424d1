//! Waits that are longer than was expected, though they are no deadlock.
//!
//! Each test runs alone: a hook hears of every long wait of its process.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::Lock;
use bowline::deadlock::report::LongWait;
use bowline::deadlock::{self, Hook, Policy};

use crate::support::deadlocks::{Gate, Reports, held_names, the_only, wanted};
use crate::support::{LIMIT, alone, find_thread, spawn_named, until_parked, until_waiting, wait_until, within};

const SHORT: Duration = Duration::from_millis(2);

/// Sends the long waits of threads whose name begins so.
fn warn_about(prefix: &'static str, limit: Duration) -> (Hook, mpsc::Receiver<LongWait>) {
    let (tell, told) = mpsc::channel();
    let hook = deadlock::warn_after(limit, move |wait| {
        if wait.waiter().name().is_some_and(|name| name.starts_with(prefix)) {
            let _ = tell.send(wait.clone());
        }
    });
    (hook, told)
}

#[test]
fn a_long_wait_is_told_once_with_the_owner_and_both_lines_and_goes_on() {
    alone(|| {
        let (hook, told) = warn_about("impatient", SHORT);
        let (ledger, other) = (Lock::named("ledger", 0), Lock::named("other", ()));
        let (taken, is_taken) = mpsc::channel();
        let release = Gate::new();
        thread::scope(|s| {
            spawn_named(s, "dawdler", || {
                let _other = other.lock();
                let (_ledger, line) = (ledger.lock(), line!());
                taken.send(line).unwrap();
                release.pass();
            });
            let taken_at = is_taken.recv().unwrap();
            let waits_at = line!() + 1;
            let waiter = spawn_named(s, "impatient", || *ledger.lock() += 1);
            let wait = told.recv_timeout(LIMIT).unwrap();
            let waits = wait.waiter().waits_for().unwrap();
            let owner = wait.owner().unwrap();
            let facts = (
                (waits.resource().name(), waits.site().line(), waits.waited() >= SHORT),
                (owner.name(), held_names(owner), owner.waits_for().is_none(), owner.is_gone()),
            );
            let held = owner.holds().iter().find(|held| held.resource().is_same(waits.resource()));
            let held_at = held.map(|held| (held.site().file(), held.site().line()));
            // It waits on, for several times as long.
            until_parked("impatient");
            thread::sleep(5 * SHORT);
            let still_waits = find_thread("impatient").is_some_and(|thread| thread.waits_for().is_some());
            release.open();
            waiter.join().unwrap();

            assert_eq!(
                facts,
                ((Some("ledger"), waits_at, true), (Some("dawdler"), vec!["ledger", "other"], true, false))
            );
            assert_eq!(held_at, Some((file!(), taken_at)));
            assert!(still_waits && told.try_recv().is_err(), "once a wait");
            let text = wait.to_string();
            assert!(text.starts_with("long wait: thread 'impatient' has waited "), "{text}");
            assert!(text.contains(" for Lock<i32> 'ledger'") && text.contains("thread 'dawdler' holds it"), "{text}");
            assert!(text.contains(&format!("{}:{taken_at}:", file!())), "{text}");
            let json = serde_json::to_value(&wait).unwrap();
            assert_eq!(json["owner"]["name"], "dawdler");
            assert_eq!(json["waiter"]["waits_for"]["resource"]["name"], "ledger");
        });
        drop(hook);
        assert_eq!(ledger.into_inner(), 1);
    });
}

#[test]
fn each_wait_is_told_anew_and_timed_ones_too() {
    alone(|| {
        let (hook, told) = warn_about("each time", SHORT);
        let lock = Lock::named("ledger", ());
        let mut timed = Vec::new();
        for round in 0..4 {
            let guard = lock.lock();
            thread::scope(|s| {
                spawn_named(s, "each time", || match round % 2 {
                    0 => drop(lock.lock()),
                    _ => assert!(lock.try_lock_for(LIMIT * 2).is_some()),
                });
                timed.push(told.recv_timeout(LIMIT).unwrap().waiter().waits_for().unwrap().is_timed());
                drop(guard);
            });
        }
        assert_eq!(timed, [false, true, false, true]);
        assert!(told.try_recv().is_err());
        drop(hook);
    });
}

#[test]
fn a_wait_that_ends_by_its_own_limit_is_not_prolonged() {
    alone(|| {
        let (hook, told) = warn_about("short-lived", SHORT);
        let lock = Lock::named("ledger", ());
        // So long that the waiter runs in between, however busy the machine is.
        let limit = 500 * SHORT;
        let _guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "short-lived", || {
                let start = Instant::now();
                assert!(lock.try_lock_for(limit).is_none());
                assert!(start.elapsed() >= limit);
            });
        });
        assert_eq!(told.try_iter().count(), 1);
        drop(hook);
    });
}

#[test]
fn several_limits_are_told_in_their_order() {
    alone(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let push = |limit: Duration| {
            let order = Arc::clone(&order);
            deadlock::warn_after(limit, move |wait| {
                if wait.waiter().name() == Some("many limits") {
                    order.lock().unwrap().push((limit, wait.waiter().waits_for().unwrap().waited()));
                }
            })
        };
        let limits = [12 * SHORT, SHORT, 6 * SHORT];
        let hooks = limits.map(push);
        let lock = Lock::named("ledger", ());
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "many limits", || drop(lock.lock()));
            wait_until(|| order.lock().unwrap().len() == 3);
            drop(guard);
        });
        let order = order.lock().unwrap();
        let limits: Vec<_> = order.iter().map(|&(limit, _)| limit).collect();
        assert_eq!(limits, [SHORT, 6 * SHORT, 12 * SHORT]);
        assert!(order.iter().all(|(limit, waited)| waited >= limit), "{order:?}");
        drop(hooks);
    });
}

#[test]
fn a_wait_that_has_begun_counts_from_its_beginning() {
    let body = || {
        within(LIMIT / 2, || {
            let lock = Lock::named("ledger", ());
            let guard = lock.lock();
            thread::scope(|s| {
                spawn_named(s, "began before", || drop(lock.lock()));
                wait_until(|| until_waiting("began before").waits_for().unwrap().waited() >= 10 * SHORT);
                until_parked("began before");
                let (hook, told) = warn_about("began before", 5 * SHORT);
                let waited = told.recv_timeout(LIMIT / 4).map(|wait| wait.waiter().waits_for().unwrap().waited());
                drop((guard, hook));
                assert!(waited.is_ok_and(|waited| waited >= 10 * SHORT), "{waited:?}");
            });
        });
    };
    // In a process of its own: the hooks of other tests would wake this wait too.
    alone(body);
}

#[test]
fn a_hook_that_was_dropped_is_not_told_even_by_waits_that_knew_it() {
    alone(|| {
        let lock = Lock::named("ledger", ());
        let guard = lock.lock();
        let (hook, told) = warn_about("knew it", 40 * SHORT);
        let (longer, told_later) = warn_about("knew it", 45 * SHORT);
        thread::scope(|s| {
            spawn_named(s, "knew it", || drop(lock.lock()));
            until_parked("knew it");
            // Dropped in time, unless this thread was held up for as long as the limit.
            let waited = until_waiting("knew it").waits_for().unwrap().waited();
            drop(hook);
            assert!(told_later.recv_timeout(LIMIT).is_ok(), "the other one is told");
            drop(guard);
            assert!(told.try_recv().is_err() || waited > 20 * SHORT);
        });
        drop(longer);
    });
}

#[test]
fn a_shorter_wait_is_not_told() {
    alone(|| {
        let (hook, told) = warn_about("quick", LIMIT);
        let lock = Lock::named("ledger", ());
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "quick", || drop(lock.lock()));
            until_waiting("quick");
            drop(guard);
        });
        assert!(told.try_recv().is_err());
        drop(hook);
    });
}

#[test]
fn an_owner_that_waits_itself_is_told_with_its_wait() {
    alone(|| {
        let (a, b) = (Lock::named("a", ()), Lock::named("b", ()));
        let guard = b.lock();
        thread::scope(|s| {
            spawn_named(s, "waits itself", || {
                let _a = a.lock();
                drop(b.lock());
            });
            until_waiting("waits itself");
            let (hook, told) = warn_about("waits for a waiter", SHORT);
            spawn_named(s, "waits for a waiter", || drop(a.lock()));
            let wait = told.recv_timeout(LIMIT).unwrap();
            drop((guard, hook));
            let owner = wait.owner().unwrap();
            assert_eq!((owner.name(), wanted(owner).name()), (Some("waits itself"), Some("b")));
        });
    });
}

#[test]
fn a_hook_may_take_locks_and_panic_and_the_wait_goes_on() {
    alone(|| {
        static LOG: Lock<u32> = Lock::named("log", 0);
        let told = Arc::new(Gate::new());
        let brave = deadlock::warn_after(SHORT, |wait| {
            if wait.waiter().name() == Some("brave waiter") {
                *LOG.lock() += 1;
                panic!("on purpose");
            }
        });
        let theirs = Arc::clone(&told);
        let next = deadlock::warn_after(SHORT, move |wait| {
            if wait.waiter().name() == Some("brave waiter") {
                theirs.open();
            }
        });
        let lock = Lock::named("ledger", 0);
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "brave waiter", || *lock.acquire().unwrap() += 1);
            told.pass();
            until_parked("brave waiter");
            drop(guard);
        });
        assert_eq!((*LOG.lock(), lock.into_inner()), (1, 1));
        drop((brave, next));
    });
}

#[test]
fn a_deadlock_that_closes_while_the_hook_runs_is_found_after_it() {
    alone(|| {
        let reports = Reports::about("closed meanwhile");
        let (a, b) = (Lock::named("a", ()), Lock::named("b", ()));
        let [running, go_on] = [(); 2].map(|()| Arc::new(Gate::new()));
        let hook = deadlock::warn_after(SHORT, {
            let (running, go_on) = (Arc::clone(&running), Arc::clone(&go_on));
            move |wait| {
                if wait.waiter().name() == Some("closed meanwhile 1") {
                    running.open();
                    go_on.pass();
                }
            }
        });
        let both_hold = std::sync::Barrier::new(2);
        thread::scope(|s| {
            let first = spawn_named(s, "closed meanwhile 1", || {
                let _a = a.lock();
                both_hold.wait();
                b.acquire().is_err()
            });
            let second = spawn_named(s, "closed meanwhile 2", || {
                let _b = b.lock();
                both_hold.wait();
                running.pass();
                a.acquire().is_err()
            });
            until_parked("closed meanwhile 2");
            let found_early = reports.count();
            go_on.open();
            assert_eq!([first.join().unwrap(), second.join().unwrap()], [true, false]);
            assert_eq!(found_early, 0, "one of the two might have run");
        });
        assert_eq!(the_only(&reports).threads()[0].name(), Some("closed meanwhile 1"));
        drop(hook);
    });
}

#[test]
fn long_waits_are_told_under_every_policy() {
    let body = || {
        for policy in [Policy::Panic, Policy::Abort, Policy::Report, Policy::Off] {
            deadlock::set_policy(policy);
            let (hook, told) = warn_about("whatever", SHORT);
            let lock = Lock::named("ledger", ());
            let guard = lock.lock();
            thread::scope(|s| {
                spawn_named(s, "whatever", || drop(lock.lock()));
                told.recv_timeout(LIMIT).unwrap();
                drop(guard);
            });
            drop(hook);
        }
    };
    // For the policy, a process of its own.
    alone(body);
}
