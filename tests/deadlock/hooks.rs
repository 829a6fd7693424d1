//! What a hook may do while a deadlock is being reported: take locks, wait, deadlock by itself, panic, come and go.
//!
//! Each test runs alone: a hook runs for every deadlock of its process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;

use bowline::deadlock::{self, Deadlock, Hook, Kind, Report};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, Reports, close_ring, held_names, names, wanted};
use crate::support::{
    LIMIT, alone, find_thread, message, on_another_thread, spawn_named, until_parked, until_thread_where,
    until_waiting, wait_until, within,
};

/// Runs `hook` for the deadlocks that name a thread whose name begins so.
fn hook_about(prefix: &'static str, hook: impl Fn(&Report) + Send + Sync + 'static) -> Hook {
    deadlock::on_deadlock(move |report| {
        if names(report.threads()).iter().any(|name| name.starts_with(prefix)) {
            hook(report);
        }
    })
}

/// A relock on a thread of this name: returns what that thread was told.
fn relock(name: &str) -> Deadlock {
    let lock = Lock::named("own", ());
    thread::scope(|s| {
        let body = || {
            let _guard = lock.lock();
            lock.acquire().map(drop).unwrap_err()
        };
        spawn_named(s, name, body).join().unwrap()
    })
}

#[test]
fn hooks_run_in_the_order_in_which_they_came_until_they_are_dropped() {
    alone(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let push = |number: u32| {
            let order = Arc::clone(&order);
            hook_about("in order", move |_| order.lock().unwrap().push(number))
        };
        let mut hooks: Vec<_> = (0..4).map(push).collect();
        let run = || {
            relock("in order");
            std::mem::take(&mut *order.lock().unwrap())
        };
        assert_eq!(run(), [0, 1, 2, 3]);
        drop(hooks.remove(1));
        assert_eq!(run(), [0, 2, 3]);
        hooks.push(push(4));
        drop(hooks.remove(0));
        assert_eq!(run(), [2, 3, 4]);
        drop(hooks);
        assert_eq!(run(), [0_u32; 0]);
    });
}

#[test]
fn a_hook_that_is_kept_stays() {
    alone(|| {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        within(LIMIT, || {
            hook_about("kept", |_| {
                COUNT.fetch_add(1, SeqCst);
            })
            .keep();
            relock("kept");
            relock("kept");
            assert_eq!(COUNT.load(SeqCst), 2);
        });
    });
}

#[test]
fn a_hook_is_dropped_with_its_handle() {
    alone(|| {
        let witness = Arc::new(());
        let theirs = Arc::clone(&witness);
        let hook = deadlock::on_deadlock(move |_| assert!(Arc::strong_count(&theirs) > 0));
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(hook);
        // A thread that runs the hooks at this moment keeps them for that long.
        wait_until(|| Arc::strong_count(&witness) == 1);
    });
}

#[test]
fn a_hook_runs_on_the_victim_before_it_learns_of_the_deadlock_with_all_it_holds() {
    alone(|| {
        let ran_on = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&ran_on);
        let hook = hook_about("before it", move |report| {
            let me = thread::current().name().unwrap().to_owned();
            *theirs.lock().unwrap() = Some((me, report.threads()[0].name().unwrap().to_owned()));
        });
        let lock = Lock::named("own", ());
        thread::scope(|s| {
            spawn_named(s, "before it", || {
                let _guard = lock.lock();
                assert!(ran_on.lock().unwrap().is_none());
                let payload = catch_unwind(AssertUnwindSafe(|| drop(lock.lock()))).unwrap_err();
                assert!(message(&*payload).starts_with("deadlock: "));
                assert!(lock.is_locked());
                let victim = "before it".to_owned();
                assert_eq!(ran_on.lock().unwrap().take(), Some((victim.clone(), victim)));
            });
        });
        drop(hook);
    });
}

#[test]
fn a_hook_may_wait_for_locks_and_the_wait_is_in_the_graph_like_any_other() {
    alone(|| {
        static LOG: Lock<Vec<Kind>> = Lock::named("log", Vec::new());
        static AGAIN: RLock<()> = RLock::named("log's gate", ());
        let hook = hook_about("logs ", |report| {
            let _twice = (AGAIN.lock(), AGAIN.lock());
            LOG.lock().push(report.kind());
        });
        let [held, release] = [const { Gate::new() }; 2];
        thread::scope(|s| {
            spawn_named(s, "holds the log", || {
                let _log = LOG.lock();
                held.open();
                release.pass();
            });
            held.pass();
            let victim = spawn_named(s, "logs it", || {
                let lock = Lock::named("own", ());
                let _guard = lock.lock();
                lock.acquire().map(drop).unwrap_err()
            });
            // In the hook: it no longer waits for its own lock, as it did until that was judged.
            let waits = until_thread_where(|it| {
                it.name() == Some("logs it") && it.waits_for().is_some() && wanted(it).name() == Some("log")
            });
            assert_eq!(held_names(&waits), ["log's gate", "own"]);
            // Somebody else's deadlock is not in its way meanwhile.
            assert_eq!(relock("elsewhere").report().kind(), Kind::Relock);
            release.open();
            victim.join().unwrap();
        });
        assert_eq!(*LOG.lock(), [Kind::Relock]);
        drop(hook);
    });
}

#[test]
fn while_the_hook_waits_the_others_stay_registered_and_go_on_after_it() {
    alone(|| {
        static LOG: Lock<u32> = Lock::named("log of rings", 0);
        let hook = hook_about("watched ", |_| *LOG.lock() += 1);
        let log = LOG.lock();
        let outcomes = thread::scope(|s| {
            let ring = s.spawn(|| close_ring("watched", 3));
            let is_logging = |at: &usize| {
                let thread = find_thread(&format!("watched {at}"));
                thread.is_some_and(|it| it.waits_for().is_some_and(|wait| wait.resource().name().is_some()))
            };
            wait_until(|| (0..3).filter(is_logging).count() == 1);
            for at in 0..3 {
                until_parked(&format!("watched {at}"));
            }
            drop(log);
            ring.join().unwrap()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
        assert_eq!(*LOG.lock(), 1);
        drop(hook);
    });
}

#[test]
fn a_deadlock_inside_a_hook_is_found_and_runs_no_hooks() {
    alone(|| {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        static KINDS: Mutex<Vec<Kind>> = Mutex::new(Vec::new());
        let hook = hook_about("nests ", |_| {
            RUNS.fetch_add(1, SeqCst);
            let own = Lock::named("of the hook", ());
            let _guard = own.lock();
            let deadlock = own.acquire().map(drop).unwrap_err();
            KINDS.lock().unwrap().push(deadlock.report().kind());
        });
        let outer = relock("nests it");
        assert_eq!(outer.report().threads()[0].holds().len(), 1, "told before the hook took anything");
        assert_eq!((RUNS.load(SeqCst), &*KINDS.lock().unwrap()), (1, &vec![Kind::Relock]));
        // The next one runs them again.
        relock("nests again");
        assert_eq!(RUNS.load(SeqCst), 2);
        drop(hook);
    });
}

#[test]
fn a_hook_that_wants_what_a_member_holds_is_told_and_the_deadlock_is_still_broken() {
    alone(|| {
        static CALLS: Mutex<Vec<Option<Deadlock>>> = Mutex::new(Vec::new());
        static LOCKS: [Lock<()>; 2] = [Lock::named("a", ()), Lock::named("b", ())];
        let hook = hook_about("greedy ", |_| {
            CALLS.lock().unwrap().push(LOCKS[0].acquire().map(drop).err());
        });
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            spawn_named(s, "greedy first", || {
                let _a = LOCKS[0].lock();
                both_hold.wait();
                drop(LOCKS[1].acquire().expect("the other gives up"));
            });
            spawn_named(s, "greedy second", || {
                let _b = LOCKS[1].lock();
                both_hold.wait();
                until_waiting("greedy first");
                assert!(LOCKS[0].acquire().is_err());
            });
        });
        let calls = CALLS.lock().unwrap();
        let [Some(inner)] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!(names(inner.report().threads()), ["greedy first", "greedy second"]);
        drop(hook);
    });
}

#[test]
fn a_hook_that_panics_is_contained_and_the_next_one_runs() {
    alone(|| {
        let first = hook_about("brave", |_| panic!("on purpose"));
        let reports = Reports::about("brave");
        // Its own deadlock is such a panic too.
        let third = hook_about("brave", |_| {
            let own = Lock::named("of the hook", ());
            let _guard = own.lock();
            drop(own.lock());
        });
        let fourth = Reports::about("brave");
        assert_eq!(relock("brave").report().kind(), Kind::Relock);
        assert_eq!((reports.count(), fourth.count()), (1, 1));
        // The victim's own panic is the report, not a hook's.
        let lock = Lock::named("own", ());
        let payload = thread::scope(|s| {
            let body = || {
                let _guard = lock.lock();
                drop(lock.lock());
            };
            spawn_named(s, "brave too", body).join().unwrap_err()
        });
        assert!(message(&*payload).starts_with("deadlock: thread 'brave too' waits for a lock it holds itself"));
        drop((first, third));
    });
}

#[test]
fn a_hook_that_panics_while_its_thread_unwinds_is_contained() {
    alone(|| {
        struct AsksWhenDropped<'a>(&'a Lock<()>, &'a Cell<bool>);
        impl Drop for AsksWhenDropped<'_> {
            fn drop(&mut self) {
                self.1.set(self.0.acquire().is_err());
            }
        }

        within(LIMIT, || {
            let hook = hook_about("unwinds", |_| panic!("in the hook"));
            let lock = Lock::named("own", ());
            let payload = thread::scope(|s| {
                let body = || {
                    let was_told = Cell::new(false);
                    let unwound = catch_unwind(AssertUnwindSafe(|| {
                        let _guard = lock.lock();
                        let _asks = AsksWhenDropped(&lock, &was_told);
                        panic!("of the thread");
                    }));
                    assert!(was_told.get());
                    unwound.unwrap_err()
                };
                spawn_named(s, "unwinds", body).join().unwrap()
            });
            assert_eq!(message(&*payload), "of the thread");
            drop(hook);
        });
    });
}

#[test]
fn hooks_come_and_go_inside_hooks() {
    alone(|| {
        static MYSELF: OnceLock<Mutex<Option<Hook>>> = OnceLock::new();
        static ADDED: Mutex<Vec<Hook>> = Mutex::new(Vec::new());
        static RUNS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
        let hook = hook_about("changes", |_| {
            RUNS[0].fetch_add(1, SeqCst);
            let added = hook_about("changes", |_| {
                RUNS[1].fetch_add(1, SeqCst);
            });
            ADDED.lock().unwrap().push(added);
            drop(MYSELF.get().unwrap().lock().unwrap().take());
        });
        MYSELF.get_or_init(|| Mutex::new(Some(hook)));
        let runs = || [0, 1].map(|at: usize| RUNS[at].load(SeqCst));
        relock("changes");
        assert_eq!(runs(), [1, 0], "who comes meanwhile is for the next");
        relock("changes");
        assert_eq!(runs(), [1, 1], "who went is gone");
        ADDED.lock().unwrap().clear();
    });
}

#[test]
fn two_threads_may_be_in_hooks_at_once() {
    alone(|| {
        let both_inside = Arc::new(Barrier::new(2));
        let hook = hook_about("meets ", move |_| {
            both_inside.wait();
        });
        thread::scope(|s| {
            for name in ["meets 1", "meets 2"] {
                s.spawn(|| relock(name));
            }
        });
        drop(hook);
    });
}

#[test]
fn a_hook_may_look_at_the_graph() {
    alone(|| {
        static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let hook = hook_about("looks ", |report| {
            let mut seen = SEEN.lock().unwrap();
            seen.push(deadlock::snapshot().to_string());
            seen.push(report.to_string());
            deadlock::dump();
        });
        on_another_thread(|| relock("looks around"));
        let seen = SEEN.lock().unwrap();
        assert!(seen[0].contains("thread 'looks around' runs\n  holds Lock<()> 'own'"), "{}", seen[0]);
        assert!(seen[1].contains("thread 'looks around' waits for A 'own'"), "{}", seen[1]);
        drop(hook);
    });
}
