//! A hook owns what the user put into it, and may go away on a thread that waits: a destructor that panics there ends no wait.
//!
//! Each test runs alone: every thread that waits has the hooks for as long, and the last one drops them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Hook};
use bowline::{Lock, TaskError, ThreadPoolExecutor};

use crate::support::gate::Gate;
use crate::support::{alone, spawn_named, until_parked};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3600);

/// Tells which thread drops it, opens a gate and panics.
struct Explosive {
    dropped_by: Arc<Mutex<Vec<String>>>,
    gate: Gate,
}

impl Explosive {
    /// One, and who has dropped it.
    fn new(gate: &Gate) -> (Self, Arc<Mutex<Vec<String>>>) {
        let dropped_by = Arc::default();
        (Self { dropped_by: Arc::clone(&dropped_by), gate: gate.clone() }, dropped_by)
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or("nameless").to_owned();
        self.dropped_by.lock().unwrap().push(name);
        self.gate.open();
        if !thread::panicking() {
            panic!("meant to, in a destructor");
        }
    }
}

/// Where a hook finds its own handle, to remove itself.
type Slot = Arc<Mutex<Option<Hook>>>;

/// A hook that owns `explosive`, and whose first run is its last: whoever runs it has the last reference.
fn once_after(limit: Duration, explosive: Explosive) {
    let slot = Slot::default();
    let own = Arc::clone(&slot);
    let mut installing = slot.lock().unwrap();
    *installing = Some(deadlock::warn_after(limit, move |_| {
        let _kept = &explosive;
        drop(own.lock().unwrap().take());
    }));
}

#[test]
fn a_wait_goes_on_though_the_hook_that_it_ran_explodes() {
    alone(|| {
        let gate = Gate::default();
        let (explosive, dropped_by) = Explosive::new(&gate);
        once_after(SHORT, explosive);
        let lock = Lock::new(0);
        let guard = lock.lock();
        thread::scope(|s| {
            let waiter = spawn_named(s, "waits on", || *lock.lock() += 1);
            gate.pass();
            until_parked("waits on");
            drop(guard);
            waiter.join().unwrap();
        });
        assert_eq!(*lock.try_lock().expect("nobody holds it"), 1);
        assert_eq!(*dropped_by.lock().unwrap(), ["waits on"]);
    });
}

#[test]
fn a_lock_is_the_waiters_though_a_hook_that_nobody_needs_explodes_as_the_wait_ends() {
    alone(|| {
        let (explosive, dropped_by) = Explosive::new(&Gate::default());
        let hook = deadlock::warn_after(LONG, move |_| {
            let _kept = &explosive;
        });
        let lock = Lock::new(0);
        let guard = lock.lock();
        thread::scope(|s| {
            let waiter = spawn_named(s, "waits a little", || *lock.lock() += 1);
            until_parked("waits a little");
            // The waiter has it still.
            drop(hook);
            assert!(dropped_by.lock().unwrap().is_empty());
            drop(guard);
            waiter.join().unwrap();
        });
        assert_eq!(*lock.try_lock().expect("nobody holds it"), 1);
        assert_eq!(*dropped_by.lock().unwrap(), ["waits a little"]);
    });
}

#[test]
fn a_scope_waits_for_its_tasks_though_a_hook_explodes_meanwhile() {
    alone(|| {
        let exploded = Gate::default();
        let (explosive, dropped_by) = Explosive::new(&exploded);
        once_after(SHORT, explosive);
        let pool = ThreadPoolExecutor::new(1);
        let ran = AtomicBool::new(false);
        thread::scope(|threads| {
            let owner = spawn_named(threads, "owns a scope", || {
                pool.scope(|s| {
                    drop(s.submit(|| {
                        exploded.pass();
                        // As long as the scope is waited for on and on.
                        until_parked("owns a scope");
                        ran.store(true, SeqCst);
                    }));
                });
                ran.load(SeqCst)
            });
            assert!(owner.join().unwrap());
        });
        assert_eq!(*dropped_by.lock().unwrap(), ["owns a scope"]);
    });
}

#[test]
fn a_result_comes_though_a_hook_explodes_while_a_task_is_waited_for() {
    alone(|| {
        let exploded = Gate::default();
        let (explosive, dropped_by) = Explosive::new(&exploded);
        once_after(SHORT, explosive);
        let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("worker").build();
        let own = pool.clone();
        // A worker's wait, which must cost the pool no worker.
        let task = pool.submit(move || {
            let running = Gate::default();
            let runs = running.clone();
            let inner = own.submit(move || {
                runs.open();
                exploded.pass();
                7
            });
            running.pass();
            (thread::current().name().unwrap().to_owned(), inner.result().unwrap())
        });
        // Without waiting for it, which would make this thread the one to be warned.
        crate::support::wait_until(|| task.done());
        let (waiter, result) = task.result().unwrap();
        assert_eq!((result, pool.panic_count(), pool.worker_count()), (7, 0, 2));
        assert_eq!(*dropped_by.lock().unwrap(), [waiter]);
    });
}

#[test]
fn a_deadlock_is_told_though_the_hook_that_was_told_before_explodes() {
    alone(|| {
        let (explosive, dropped_by) = Explosive::new(&Gate::default());
        let runs = Arc::new(AtomicUsize::new(0));
        let slot = Slot::default();
        let (own, counted) = (Arc::clone(&slot), Arc::clone(&runs));
        *slot.lock().unwrap() = Some(deadlock::on_deadlock(move |_| {
            let _kept = &explosive;
            counted.fetch_add(1, SeqCst);
            drop(own.lock().unwrap().take());
        }));
        let lock = Lock::new(());
        let pool = ThreadPoolExecutor::new(1);
        let task = || {
            let _guard = lock.lock();
            lock.acquire().map(drop).is_err()
        };
        let is_told = pool.scope(|s| [s.submit(task).result(), s.submit(task).result()]);
        assert!(is_told.iter().all(|told: &Result<bool, TaskError>| matches!(told, Ok(true))), "{is_told:?}");
        assert!(lock.try_lock().is_some());
        assert_eq!((runs.load(SeqCst), dropped_by.lock().unwrap().len()), (1, 1));
    });
}
