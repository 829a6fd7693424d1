//! What a shutdown leaves that was told not to wait, or not for longer: nobody waits for that later either.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ThreadPoolExecutor};

use crate::support::gate::Gate;
use crate::support::{LIMIT, wait_until, within};

const NO_WAIT: ShutdownOptions = ShutdownOptions::new().wait(false);
const NOT_FOR_LONG: ShutdownOptions = ShutdownOptions::new().timeout(Duration::from_millis(1));

/// A pool whose only worker is at the gate, and what it is at.
fn busy(gate: &Gate) -> (ThreadPoolExecutor, Future<()>) {
    let (pool, waits) = (ThreadPoolExecutor::new(1), gate.clone());
    let running = pool.submit(move || waits.pass());
    wait_until(|| running.running());
    (pool, running)
}

#[test]
fn the_drop_of_a_pool_that_was_detached_does_not_wait_and_its_tasks_run() {
    within(LIMIT, || {
        for options in [NO_WAIT, NOT_FOR_LONG] {
            let gate = Gate::default();
            let (pool, running) = busy(&gate);
            let queued = pool.submit(|| 1);
            let report = pool.shutdown_with(options);
            assert_eq!((report.detached, report.workers, report.queued), (true, 1, 1));
            drop(pool);
            assert!(running.running() && !queued.done(), "the gate is shut");
            gate.open();
            running.result().unwrap();
            assert_eq!(queued.result().unwrap(), 1);
        }
    });
}

#[test]
fn a_shutdown_that_waits_does_so_after_one_that_did_not() {
    within(LIMIT, || {
        let gate = Gate::default();
        let (pool, running) = busy(&gate);
        assert!(pool.shutdown_with(NOT_FOR_LONG).detached);
        gate.open();
        let report = pool.shutdown();
        assert!(report.is_complete() && !report.detached && running.done());
        assert!(!pool.shutdown_with(NO_WAIT).detached, "nothing is left");
    });
}

#[test]
fn the_drop_after_a_shutdown_with_a_limit_waits_for_no_destructor_of_a_thread_local() {
    struct EndsLate(Gate, Arc<AtomicBool>);
    impl Drop for EndsLate {
        fn drop(&mut self) {
            self.0.pass();
            self.1.store(true, SeqCst);
        }
    }
    thread_local! {
        static LATE: RefCell<Option<EndsLate>> = const { RefCell::new(None) };
    }
    within(LIMIT, || {
        let (pool, gate, ended) = (ThreadPoolExecutor::new(1), Gate::default(), Arc::new(AtomicBool::new(false)));
        let late = EndsLate(gate.clone(), Arc::clone(&ended));
        pool.submit(move || LATE.set(Some(late))).result().unwrap();
        assert!(pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT)).is_complete());
        drop(pool);
        assert!(!ended.load(SeqCst));
        gate.open();
        wait_until(|| ended.load(SeqCst));
    });
}

#[test]
fn a_scope_waits_for_its_tasks_in_a_pool_that_was_detached() {
    within(LIMIT, || {
        let (pool, gate, ran) = (ThreadPoolExecutor::new(1), Gate::default(), AtomicBool::new(false));
        std::thread::scope(|s| {
            pool.scope(|scope| {
                drop(scope.submit(|| {
                    gate.pass();
                    ran.store(true, SeqCst);
                }));
                assert!(pool.shutdown_with(NO_WAIT).detached);
                s.spawn(|| gate.open());
            });
            assert!(ran.load(SeqCst));
        });
    });
}

#[test]
#[deny(unused_must_use)]
fn the_report_of_a_shutdown_that_waits_may_be_ignored() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        pool.shutdown();
        assert!(pool.is_shutdown());
    });
}

#[cfg(target_os = "linux")]
mod processes {
    use super::*;
    use crate::support::workers::{Held, echo, pool_of};

    #[test]
    fn the_drop_of_a_process_pool_that_was_detached_does_not_wait_and_its_tasks_run() {
        within(LIMIT, || {
            for options in [NO_WAIT, NOT_FOR_LONG] {
                let pool = pool_of(1);
                let held = Held::keep(&pool, 1);
                let queued = pool.submit(echo::<u64>, (1,));
                let report = pool.shutdown_with(options);
                assert_eq!((report.detached, report.workers), (true, 1));
                drop(pool);
                assert!(!queued.done(), "the worker is held up");
                held.release();
                assert_eq!(queued.result().unwrap(), 1);
            }
        });
    }

    #[test]
    #[deny(unused_must_use)]
    fn the_report_of_a_shutdown_of_processes_that_waits_may_be_ignored() {
        within(LIMIT, || {
            let pool = pool_of(1);
            pool.shutdown();
            assert!(!pool.shutdown_with(NO_WAIT).detached, "nothing is left");
        });
    }
}
