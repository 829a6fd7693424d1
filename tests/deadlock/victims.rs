//! Which member of a deadlock is told: one that can be, and whose failing frees the others.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use bowline::deadlock::Kind;
use bowline::{Lock, TaskError, ThreadPoolExecutor};

use crate::support::deadlocks::Reports;
use crate::support::gate::Gate;
use crate::support::{LIMIT, alone, spawn_named, until_parked, until_waiting, wait_until, within};

#[test]
fn a_starvation_that_one_wait_holds_up_costs_that_wait_alone() {
    alone(|| {
        let reports = Reports::about("holds up all");
        let pool =
            |name: &str, workers| ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name).build();
        let (one, two) = (pool("holds up all", 1), pool("waits by value", 2));
        let lock = Arc::new(Lock::named("held around a scope", ()));
        // Two tasks wait by value, each for one that is queued behind the only worker of a pool. The worker waits for a lock,
        // and its owner for both tasks: failing either of them would leave it waiting for the other.
        let (wanted, begun) = (Arc::clone(&lock), Gate::default());
        let begins = begun.clone();
        let worker = one.submit(move || {
            begins.pass();
            until_parked("ends a scope");
            until_parked("waits by value_0");
            until_parked("waits by value_1");
            drop(wanted.lock());
        });
        let answers = thread::scope(|s| {
            let ends = spawn_named(s, "ends a scope", || {
                let _held = lock.lock();
                begun.open();
                two.scope(|scope| {
                    [1, 2].map(|n| {
                        scope.submit({
                            let one = &one;
                            move || one.submit(move || n).result()
                        })
                    })
                })
            });
            ends.join().unwrap()
        });
        assert_eq!(answers.map(|answer| answer.result().unwrap().unwrap()), [1, 2]);
        let TaskError::Panicked(panic) = worker.result().unwrap_err() else { panic!("its failing frees all") };
        assert!(panic.message().starts_with("deadlock: "), "{}", panic.message());
        let reports = reports.take();
        assert_eq!((reports.len(), reports[0].kind()), (1, Kind::Starvation));
    });
}

/// Takes a lock when its thread's thread-locals are destroyed.
struct Late(RefCell<Option<Box<dyn FnOnce()>>>);

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

thread_local! {
    static LATE: Late = const { Late(RefCell::new(None)) };
}

fn at_the_end(run: impl FnOnce() + 'static) {
    LATE.with(|late| late.0.replace(Some(Box::new(run))));
}

static TOLD: AtomicUsize = AtomicUsize::new(0);

/// A thread-local's destructor holds one lock and closes a cycle by asking for another: `first` says whether the thread has
/// locked anything before.
fn a_destructor_closes_a_cycle(locked_before: bool) {
    let (a, b) = (Arc::new(Lock::named("a", 0)), Arc::new(Lock::named("b", 0)));
    let holds = Gate::default();
    thread::scope(|s| {
        let other = spawn_named(s, "can unwind", || {
            let held = b.lock();
            holds.pass();
            // The last to wait is the destructor: it finds the deadlock.
            let result = std::panic::catch_unwind(|| drop(a.lock()));
            drop(held);
            let message = result.expect_err("the one that can be told");
            assert!(crate::support::message(&*message).starts_with("deadlock: "));
            TOLD.fetch_add(1, SeqCst);
        });
        let (a, b, holds) = (Arc::clone(&a), Arc::clone(&b), holds.clone());
        spawn_named(s, "cannot unwind", move || {
            if locked_before {
                drop(a.lock());
            }
            at_the_end(move || {
                let held = a.lock();
                holds.open();
                until_parked("can unwind");
                *b.lock() += 1;
                drop(held);
            });
        });
        other.join().unwrap();
    });
    // The destructor goes on. (A scope does not wait for those of its threads.)
    wait_until(|| *b.lock() == 1);
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn a_destructor_of_a_thread_local_is_no_victim_where_another_member_can_be() {
    alone(|| {
        a_destructor_closes_a_cycle(true);
        a_destructor_closes_a_cycle(false);
        assert_eq!(TOLD.load(SeqCst), 2);
    });
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn a_destructor_of_a_thread_local_passes_on_what_another_one_found() {
    alone(|| {
        // A thread that unwinds already cannot fail, and hands the verdict on: first to the destructor, which hands it on, too.
        let (a, b, c) = (Arc::new(Lock::new(0)), Arc::new(Lock::new(0)), Arc::new(Lock::new(0)));
        let [first, second] = [(); 2].map(|()| Gate::default());
        thread::scope(|s| {
            let held = c.lock();
            let by_value = {
                let (b, c, second) = (Arc::clone(&b), Arc::clone(&c), second.clone());
                spawn_named(s, "by value", move || {
                    let held = b.lock();
                    second.open();
                    let told = c.acquire().is_err();
                    drop(held);
                    told
                })
            };
            let (late_a, late_b, late_first) = (Arc::clone(&a), Arc::clone(&b), first.clone());
            spawn_named(s, "destructor", move || {
                at_the_end(move || {
                    let held = late_a.lock();
                    late_first.open();
                    second.pass();
                    *late_b.lock() += 1;
                    drop(held);
                });
            });
            first.pass();
            until_waiting("by value");
            until_waiting("destructor");
            let last = Late(RefCell::new(Some(Box::new({
                let a = Arc::clone(&a);
                move || *a.lock() += 1
            }))));
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _last = last;
                std::panic::resume_unwind(Box::new("on its way"));
            }));
            assert!(unwound.is_err());
            drop(held);
            assert!(by_value.join().unwrap(), "the only one that can be told");
        });
        // A scope does not wait for the destructors of its threads.
        wait_until(|| (*a.lock(), *b.lock()) == (1, 1));
    });
}

#[test]
fn a_destructor_of_a_thread_local_unwinds_where_nobody_else_can_be_told() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(0));
        let (told, was_told) = std::sync::mpsc::channel();
        let late = Arc::clone(&lock);
        thread::spawn(move || {
            at_the_end(move || {
                let held = late.lock();
                let relock = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(late.lock())));
                drop(held);
                told.send(crate::support::message(&*relock.expect_err("it holds it")).to_owned()).unwrap();
            });
        });
        let message = was_told.recv().expect("the destructor catches it");
        assert!(message.starts_with("deadlock: "), "{message}");
        assert_eq!(*lock.lock(), 0);
    });
}
