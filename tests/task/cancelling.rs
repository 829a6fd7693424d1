//! A task that is being cancelled belongs to its canceller until its closure is dropped: whoever waits for it waits for that.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use bowline::deadlock::{Deadlock, Kind};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, Lock, SharedFuture, TaskError, ThreadPoolExecutor};

use crate::support::deadlocks::{Reports, assert_is_a_proof, names, wanted};
use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, alone, spawn_named, until_parked, until_waiting, wait_until, within};

/// Wants a lock when it is dropped, and passes on what it is told.
struct Locks {
    lock: Arc<Lock<u32>>,
    told: mpsc::Sender<Option<Deadlock>>,
}

impl Drop for Locks {
    fn drop(&mut self) {
        let deadlock = self.lock.acquire().map(|mut count| *count += 1).err();
        let _ = self.told.send(deadlock);
    }
}

/// A task in the queue of a pool whose only worker is busy, whose closure wants the lock when it is dropped.
struct Queued {
    lock: Arc<Lock<u32>>,
    task: SharedFuture<()>,
    told: mpsc::Receiver<Option<Deadlock>>,
    pool: ThreadPoolExecutor,
    busy: Busy,
}

fn queued() -> Queued {
    let pool = ThreadPoolExecutor::new(1);
    let busy = Busy::keep(&pool, 1);
    let lock = Arc::new(Lock::named("wanted", 0));
    let (tell, told) = mpsc::channel();
    let locks = Locks { lock: Arc::clone(&lock), told: tell };
    let task = pool.submit_named("is cancelled", move || drop(locks)).shared();
    Queued { lock, task, told, pool, busy }
}

#[test]
fn who_waits_for_a_task_whose_canceller_wants_its_lock_is_told() {
    alone(|| {
        let reports = Reports::about("holds first");
        let Queued { lock, task, told, pool, busy } = queued();
        let (held, cancels) = (Gate::default(), Gate::default());
        thread::scope(|s| {
            let canceller = spawn_named(s, "cancels first", || {
                held.pass();
                cancels.open();
                task.cancel()
            });
            let holder = spawn_named(s, "holds first", || {
                let _guard = lock.lock();
                held.open();
                cancels.pass();
                until_parked("cancels first");
                task.result()
            });
            let result = holder.join().unwrap();
            assert!(matches!(result, Err(TaskError::Deadlock(_))), "{result:?}");
            assert!(canceller.join().unwrap());
        });
        assert!(told.recv().unwrap().is_none(), "the lock was released then");
        let [report] = &reports.take()[..] else { panic!("one report") };
        assert_is_a_proof(report);
        assert_eq!((report.kind(), names(report.threads())), (Kind::Cycle, vec!["cancels first", "holds first"]));
        assert_eq!(report.threads()[0].name(), Some("holds first"), "who closes it comes first");
        assert_eq!(wanted(&report.threads()[0]).name(), Some("is cancelled"));
        assert_eq!(wanted(&report.threads()[1]).name(), Some("wanted"));
        assert!(matches!(task.result(), Err(TaskError::Cancelled)));
        busy.release();
        assert_eq!((*lock.lock(), pool.completed()), (1, 1));
    });
}

#[test]
fn a_canceller_that_wants_the_lock_of_who_waits_for_the_task_is_told() {
    alone(|| {
        let reports = Reports::about("cancels later");
        let Queued { lock, task, told, pool, busy } = queued();
        thread::scope(|s| {
            let holder = spawn_named(s, "holds before", || {
                let _guard = lock.lock();
                task.result()
            });
            until_waiting("holds before");
            let canceller = spawn_named(s, "cancels later", || task.cancel());
            assert!(canceller.join().unwrap());
            let result = holder.join().unwrap();
            assert!(matches!(result, Err(TaskError::Cancelled)), "{result:?}");
        });
        assert!(told.recv().unwrap().is_some());
        let [report] = &reports.take()[..] else { panic!("one report") };
        assert_is_a_proof(report);
        assert_eq!((report.kind(), names(report.threads())), (Kind::Cycle, vec!["cancels later", "holds before"]));
        busy.release();
        assert_eq!((*lock.lock(), pool.completed()), (0, 1));
    });
}

#[test]
fn one_of_canceller_and_waiter_is_told_whoever_comes_first() {
    within(LIMIT, || {
        for _ in 0..if cfg!(miri) { 3 } else { 200 } {
            let Queued { lock, task, told, pool, busy } = queued();
            let held = Gate::default();
            let result = thread::scope(|s| {
                let holder = s.spawn(|| {
                    let _guard = lock.lock();
                    held.open();
                    task.result()
                });
                held.pass();
                assert!(task.cancel());
                holder.join().unwrap()
            });
            match (result, told.recv().unwrap()) {
                (Err(TaskError::Deadlock(_)), None) | (Err(TaskError::Cancelled), Some(_)) => {}
                other => panic!("{other:?}"),
            }
            busy.release();
            wait_until(|| pool.completed() == 1);
        }
    });
}

#[test]
fn a_canceller_that_has_to_wait_for_a_while_is_waited_for() {
    within(LIMIT, || {
        let Queued { lock, task, told, pool, busy } = queued();
        let guard = lock.lock();
        thread::scope(|s| {
            let canceller = spawn_named(s, "cancels slowly", || task.cancel());
            until_parked("cancels slowly");
            assert!(task.cancelled() && !task.done());
            assert!(task.cancel(), "it is cancelled, and this waits for nothing");
            let waiter = spawn_named(s, "waits for a canceller", || task.result());
            until_parked("waits for a canceller");
            drop(guard);
            assert!(canceller.join().unwrap());
            assert!(matches!(waiter.join().unwrap(), Err(TaskError::Cancelled)));
        });
        assert!(task.done() && told.recv().unwrap().is_none());
        busy.release();
        assert_eq!(pool.completed(), 1);
    });
}

/// Waits for its own task when it is dropped.
struct Awaits {
    own: Arc<OnceLock<SharedFuture<()>>>,
    told: mpsc::Sender<Result<(), TaskError>>,
}

impl Drop for Awaits {
    fn drop(&mut self) {
        let _ = self.told.send(self.own.wait().result());
    }
}

#[test]
fn a_canceller_that_waits_for_the_same_task_is_told() {
    alone(|| {
        let reports = Reports::about("waits for itself");
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let own = Arc::new(OnceLock::new());
        let (tell, told) = mpsc::channel();
        let awaits = Awaits { own: Arc::clone(&own), told: tell };
        let task = pool.submit(move || drop(awaits)).shared();
        assert!(own.set(task.clone()).is_ok());
        thread::scope(|s| {
            assert!(spawn_named(s, "waits for itself", || task.cancel()).join().unwrap());
        });
        let result = told.recv().unwrap();
        assert!(matches!(result, Err(TaskError::Deadlock(_))), "{result:?}");
        let [report] = &reports.take()[..] else { panic!("one report") };
        assert_is_a_proof(report);
        assert_eq!((report.kind(), names(report.threads())), (Kind::Relock, vec!["waits for itself"]));
        assert!(matches!(task.result(), Err(TaskError::Cancelled)));
        busy.release();
    });
}

#[test]
fn a_shutdown_that_cancels_misses_no_task_while_others_are_cancelled() {
    within(LIMIT, || {
        for _ in 0..200 {
            let pool = ThreadPoolExecutor::new(1);
            let busy = Busy::keep(&pool, 1);
            let wanted: Vec<_> = (0..100).map(|_| pool.submit(|| ())).collect();
            let others: Vec<_> = (0..200).map(|_| pool.submit(|| ())).collect();
            thread::scope(|s| {
                // Each that leaves its place in the queue may have the queue cleared.
                s.spawn(|| others.iter().filter(|other| other.cancel()).count());
                wait_until(|| others[20].cancelled());
                let _ = pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
                assert!(wanted.iter().all(Future::cancelled), "one is queued still, and would run");
            });
            busy.release();
        }
    });
}
