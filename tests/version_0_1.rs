//! A program that was written against version 0.1: whatever moved since, or has another name, is still there under the old one.
//!
//! It is compiled, and runs once through. New names have no place here.

#![allow(deprecated, reason = "that is what this is about")]

use std::collections::HashSet;
use std::time::Duration;

use bowline::deadlock::{
    self, Deadlock, Edge, Held, Hook, Kind, LongWait, Node, NodeKind, Policy, Purpose, Report, Resource, StuckThread,
    Task, Wait, WaitForGraph,
};
use bowline::{
    AnyFuture, ArcLockGuard, AsCompleted, DoneAndNotDone, Future, Initialized, InvalidState, Lock, LockGuard, Map,
    MappedLockGuard, MappedRLockGuard, PanicInfo, PanicLocation, Promise, RLock, RLockGuard, Rejected, ReturnWhen,
    Scope, SharedFuture, ShutdownOptions, ShutdownReport, Status, SubmitError, TaskError, ThreadPoolBuilder,
    ThreadPoolExecutor, Unfinished, WhenFull, as_completed, promise, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

fn locks() {
    static LOCK: Lock<u32> = Lock::named("static", 1);
    let guard: LockGuard<'_, u32> = LOCK.lock();
    let mapped: MappedLockGuard<'_, u32> = LockGuard::map(guard, |value| value);
    drop(mapped);
    assert!(LOCK.acquire().is_ok_and(|guard| *guard == 1) && LOCK.try_lock().is_some() && !LOCK.is_locked());
    let lock = std::sync::Arc::new(Lock::new(0));
    let guard: ArcLockGuard<u32> = lock.lock_arc();
    drop(guard);
    assert!(lock.try_lock_for(LIMIT).is_some());
    let again = RLock::new(2);
    let outer: RLockGuard<'_, u32> = again.lock();
    let mapped: MappedRLockGuard<'_, u32> = RLockGuard::map(again.lock(), |value| value);
    assert_eq!((*outer, *mapped, again.depth(), again.is_owned()), (2, 2, 2, true));
}

fn futures(pool: &ThreadPoolExecutor) -> Result<(), TaskError> {
    let mut future: Future<u32> = pool.submit(|| 1);
    assert!(future.wait().is_ok() && future.wait_timeout(LIMIT) && future.done() && !future.running());
    assert_eq!((future.status(), future.cancelled(), future.cancel()), (Status::Finished, false, false));
    assert!(future.exception().is_none() && future.exception_timeout(LIMIT)?.is_none());
    future.add_done_callback(|status: Status| assert_eq!(status, Status::Finished));
    assert_eq!(future.result_timeout(LIMIT)?, 1);
    assert!(matches!(future.try_result(), Some(Err(TaskError::Taken))));
    pool.submit_named("named", || ()).on_done(|result| assert!(result.is_ok()));
    let shared: SharedFuture<u32> = pool.submit(|| 2).shared();
    assert_eq!((shared.result()?, shared.clone().result_timeout(LIMIT)?), (2, 2));
    let refused: Result<Future<()>, SubmitError<fn()>> = pool.try_submit(|| {});
    assert!(refused.is_ok_and(|future| future.result().is_ok()));
    assert!(pool.submit_timeout(|| 3, LIMIT).map_err(|error| error.reason().clone()).is_ok());

    let (kept, given): (Promise<u32>, Future<u32>) = promise();
    assert!(kept.set_running() && !kept.cancelled());
    let late: Result<(), InvalidState<u32>> = kept.set_result(4);
    assert!(late.is_ok());
    let set = [given, pool.submit(|| 5)];
    let DoneAndNotDone { done, not_done, deadlock, .. } = wait(&set, ReturnWhen::AllCompleted, Some(LIMIT));
    assert_eq!((done.len(), not_done.len(), deadlock.is_none()), (2, 0, true));
    let all: AsCompleted<Future<u32>> = as_completed(set).timeout(LIMIT);
    let values: Result<HashSet<u32>, Unfinished> = all.map(|future| Ok(future?.result().unwrap())).collect();
    assert_eq!(values.unwrap(), HashSet::from([4, 5]));

    let squares: Map<std::ops::Range<u32>, fn(u32) -> u32, u32> = pool.map((|n| n * n) as fn(u32) -> u32, 0..4);
    let squares = squares.chunk_size(2).buffer_size(4).timeout(LIMIT).start();
    assert_eq!(squares.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9]);
    let sum = pool
        .scope(|s: &Scope<'_, '_>| s.submit(|| 1).result().unwrap() + s.submit_named("two", || 2).result().unwrap());
    assert_eq!(sum, 3);
    match pool.submit(|| -> u32 { panic!("on purpose") }).result() {
        Err(TaskError::Panicked(panic)) => say(&panic),
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn say(panic: &PanicInfo) {
    let place: Option<&PanicLocation> = panic.location();
    assert!(place.is_some_and(|place| place.file().ends_with(".rs") && place.line() > 0 && place.column() > 0));
    assert_eq!((panic.message(), panic.process(), panic.backtrace()), ("on purpose", None, None));
    assert!(panic.thread().is_some() && panic.take_payload().is_some());
}

fn is_any(_: &dyn AnyFuture) {}

fn pools() {
    fn check<R: Initialized>(_: fn() -> R) {}
    check(|| ());
    let builder: ThreadPoolBuilder = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("old");
    let builder = builder.stack_size(1 << 20).initializer(|| ()).queue_capacity(8).when_full(WhenFull::Block);
    let pool = builder.build();
    futures(&pool).unwrap();
    is_any(&pool.submit(|| ()));
    pool.set_max_workers(3);
    assert_eq!((pool.max_workers(), pool.is_shutdown()), (3, false));
    let _ = (pool.active_count(), pool.worker_count(), pool.queued(), pool.completed(), pool.panic_count());
    let options = ShutdownOptions::new().wait(true).cancel_pending(false).timeout(LIMIT);
    let report: ShutdownReport = pool.shutdown_with(options);
    let ShutdownReport { completed, cancelled, queued, workers, detached, took, deadlock, .. } = report;
    let _ = (completed, cancelled, queued, detached, took, deadlock);
    assert_eq!((workers, pool.shutdown().is_complete()), (0, true));
    assert!(matches!(pool.submit(|| ()).result(), Err(TaskError::Rejected(Rejected::Shutdown))));
}

fn deadlocks() {
    assert_eq!(deadlock::policy(), Policy::Panic);
    deadlock::set_policy(Policy::Panic);
    deadlock::set_grace(Duration::from_micros(500));
    let hook: Hook = deadlock::on_deadlock(|report: &Report| assert_eq!(report.kind(), Kind::Relock));
    let slow: Hook = deadlock::warn_after(LIMIT, |wait: &LongWait| _ = (wait.waiter(), wait.owner()));
    let lock = Lock::named("twice", ());
    let guard = lock.lock();
    let deadlock: Deadlock = lock.acquire().unwrap_err();
    let thread: &StuckThread = &deadlock.report().threads()[0];
    let (wait, held): (&Wait, &Held) = (thread.waits_for().unwrap(), &thread.holds()[0]);
    let resource: &Resource = wait.resource();
    assert_eq!(
        (resource.name(), resource.primitive(), resource.is_same(held.resource())),
        (Some("twice"), "Lock", true)
    );
    let (task, purpose): (Option<&Task>, Option<Purpose>) = (thread.task(), wait.purpose());
    assert!(task.is_none() && purpose.is_none() && deadlock.report().bystanders().is_empty());
    let graph: WaitForGraph = deadlock::snapshot();
    let mut nodes = graph.graph().node_weights();
    assert!(nodes.all(|node: &Node| matches!(node.kind(), NodeKind::Thread | NodeKind::Resource | NodeKind::Pool)));
    assert!(graph.graph().edge_weights().all(|edge| matches!(edge, Edge::Waits { .. } | Edge::Holds { .. } | _)));
    assert!(!graph.to_dot().is_empty());
    drop((guard, hook, slow));
}

#[cfg(target_os = "linux")]
mod processes {
    use bowline::{
        Callable, CodecError, Json, ProcessPoolBuilder, ProcessPoolError, ProcessPoolExecutor, StartError,
        StartFailure, TaskError, WorkerExit, WorkerLost,
    };

    use super::LIMIT;

    fn call<F: Callable<(u64, u32), Output = u64>>(pool: &ProcessPoolExecutor, f: F) -> Result<u64, TaskError> {
        pool.submit(f, (7, 2)).result()
    }

    fn described(error: &TaskError) -> &'static str {
        let not_started = |error: &StartError| matches!(error.failure(), StartFailure::Timeout(_));
        match error {
            TaskError::WorkerLost(lost) => of_exit(lost),
            TaskError::Encode(error) | TaskError::Decode(error) => of_codec(error),
            TaskError::Rejected(bowline::Rejected::NoWorker(error)) if not_started(error) => "late",
            TaskError::Rejected(bowline::Rejected::Killed | bowline::Rejected::Forked) => "gone",
            _ => "other",
        }
    }

    fn of_codec(_: &CodecError) -> &'static str {
        "codec"
    }

    fn of_exit(lost: &WorkerLost) -> &'static str {
        let _ = (lost.pid(), lost.task(), lost.ran_for(), lost.stderr());
        match lost.exit() {
            exit @ WorkerExit::Signal { .. } => exit.signal_name().unwrap_or("signal"),
            _ => "exit",
        }
    }

    pub(super) fn run() -> Result<(), ProcessPoolError> {
        let builder: ProcessPoolBuilder = ProcessPoolExecutor::builder().max_workers(1).name("old").retries(0);
        let builder =
            builder.start_timeout(LIMIT).capture_stderr(false).max_message_size(1 << 20).initializer(|| (), ());
        let pool: ProcessPoolExecutor = builder.build()?;
        assert_eq!(call(&pool, u64::pow).unwrap(), 49);
        assert_eq!(pool.submit_named("sum", |Json(n): Json<u64>| n + 1, (Json(1),)).result().unwrap(), 2);
        assert_eq!(pool.map(|n: u64| n + 1, 0..3).collect::<Result<Vec<_>, _>>().unwrap(), [1, 2, 3]);
        let crash = pool.submit(|| -> u64 { std::process::abort() }, ()).result();
        assert_eq!(described(&crash.unwrap_err()), "SIGABRT");
        let _ = (pool.active_count(), pool.worker_count(), pool.worker_pids(), pool.queued(), pool.completed());
        assert!(pool.shutdown().is_complete() && pool.is_shutdown());
        assert!(ProcessPoolExecutor::new(1)?.terminate().is_complete());
        assert!(ProcessPoolExecutor::new(1)?.kill().is_complete());
        Ok(())
    }
}

#[test]
fn a_program_that_was_written_against_the_version_before_runs() {
    locks();
    pools();
    deadlocks();
    #[cfg(target_os = "linux")]
    processes::run().unwrap();
}
