//! What pools of threads and of processes have in common, stated once: `contract!` makes a test of each function here.
//!
//! Tasks are functions, since a worker process gets nothing else; what they have done is noted in a folder.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bowline::task::{PanicInfo, Status};
use bowline::thread_pool::{ShutdownOptions, ShutdownReport};
use bowline::{Future, TaskError, as_completed};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::folder::{Folder, begin, pass};
use super::{LIMIT, message, wait_until};

/// Makes a test of each part of the contract for this pool.
macro_rules! contract {
    ($pool:ty) => {
        contract! { $pool:
            a_call_gives_its_result_to_its_future
            a_panic_is_counted_before_its_result_is_there
            a_call_that_is_cancelled_before_it_begins_never_runs
            a_callback_is_told_once_how_a_call_ended
            futures_of_calls_come_in_the_order_in_which_they_are_done
            results_come_in_the_order_of_the_items_whatever_the_sizes
            a_panic_is_the_result_of_its_item_and_the_iteration_goes_on
            a_map_of_nothing_yields_nothing_and_starts_no_worker
            sizes_of_nothing_panic
            a_map_that_times_out_before_any_call_begins_runs_none
            a_map_keeps_no_result_that_it_has_yielded
            a_map_may_be_iterated_on_another_thread_than_it_was_made_on
            every_task_that_was_queued_before_a_shutdown_runs
            a_report_counts_the_tasks_that_ended_during_the_shutdown
            cancelling_what_is_queued_leaves_no_task_pending
            cancelling_while_workers_take_tasks_ends_each_of_them_one_way
            a_task_cancelled_before_the_shutdown_does_not_hold_it_up
            a_shutdown_of_a_pool_without_tasks_returns_at_once
            a_shutdown_may_be_repeated_by_any_handle
            every_one_of_many_shutdowns_at_once_waits_for_the_end
        }
    };
    ($pool:ty: $($part:ident)*) => {
        $(
            #[test]
            fn $part() {
                $crate::support::within($crate::support::LIMIT, $crate::support::contract::$part::<$pool>);
            }
        )*
    };
}
pub(crate) use contract;

/// What goes to a worker, and comes from it.
pub(crate) trait Data: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// How a map goes through its items. `None` is what it does if it is not told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) chunk: Option<usize>,
    pub(crate) buffer: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    /// Whether it begins before it is asked for a result.
    pub(crate) starts: bool,
}

/// Applies a plan to the map of either pool.
macro_rules! planned {
    ($map:expr, $plan:expr) => {{
        let (mut map, plan) = ($map, $plan);
        if let Some(chunk) = plan.chunk {
            map = map.chunk_size(chunk);
        }
        if let Some(buffer) = plan.buffer {
            map = map.buffer_size(buffer);
        }
        if let Some(timeout) = plan.timeout {
            map = map.timeout(timeout);
        }
        if plan.starts { map.start() } else { map }
    }};
}
pub(crate) use planned;

/// A pool, as far as the contract goes.
pub(crate) trait Pool: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// A pool of so many workers.
    fn of(workers: usize) -> Self;

    fn submit<A: Data, T: Data>(&self, call: impl Fn(A) -> T + Copy + Send + Sync + 'static, argument: A) -> Future<T>;

    fn map<I, T: Data>(
        &self,
        call: impl Fn(I::Item) -> T + Copy + Send + Sync + 'static,
        items: I,
        plan: Plan,
    ) -> impl Iterator<Item = Result<T, TaskError>> + Send + 'static
    where
        I: Iterator<Item: Data> + Send + 'static;

    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport;

    fn is_shutdown(&self) -> bool;

    fn worker_count(&self) -> usize;

    fn queued(&self) -> usize;

    fn completed(&self) -> u64;

    fn panic_count(&self) -> u64;

    /// Returns what tells whether the workers that there are now are gone.
    fn end_of_workers(&self) -> impl Fn() -> bool + Send + Sync;

    /// Asserts that this is a panic of a task, which cost its worker nothing.
    fn assert_harmless(&self, panic: &PanicInfo);

    fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }
}

const NO_WAIT: ShutdownOptions = ShutdownOptions::new().wait(false);

fn echo(n: u64) -> u64 {
    n
}

fn square(n: u64) -> u64 {
    n.pow(2)
}

fn power((base, power): (u64, u32)) -> u64 {
    base.pow(power)
}

fn divide((a, b): (u32, u32)) -> (u32, u32) {
    (a / b, a % b)
}

/// Notes that it has begun.
fn note((folder, n): (String, u64)) -> u64 {
    begin(folder, n)
}

/// Notes that it has begun, and ends when the gate is open that is named after its number.
fn hold((folder, n): (String, u64)) -> u64 {
    pass(folder, n, format!("open {n}"))
}

fn notes(folder: &Folder, n: u64) -> impl Iterator<Item = (String, u64)> + Send + 'static {
    let path = folder.path();
    (0..n).map(move |n| (path.clone(), n))
}

fn sum(tasks: Vec<Future<u64>>) -> u64 {
    tasks.into_iter().map(|task| task.result().expect("a value")).sum()
}

/// Tasks that each keep a worker until they are released.
struct Held {
    folder: Folder,
    tasks: Vec<Future<u64>>,
}

impl Held {
    /// Returns when so many workers of the pool run such a task.
    #[track_caller]
    fn keep(pool: &impl Pool, workers: u64) -> Self {
        let folder = Folder::new();
        let tasks = notes(&folder, workers).map(|note| pool.submit(hold, note)).collect();
        wait_until(|| folder.begun().len() as u64 == workers);
        Self { folder, tasks }
    }

    /// Lets the tasks go, and waits until they are done.
    #[track_caller]
    fn release(self) {
        (0..self.tasks.len()).for_each(|n| self.folder.put(&format!("open {n}")));
        sum(self.tasks);
    }
}

pub(crate) fn a_panic_is_counted_before_its_result_is_there<P: Pool>() {
    let pool = P::of(1);
    for n in 1..=20 {
        assert_eq!(pool.submit(divide, (7, 2)).result().unwrap(), (3, 1));
        assert!(matches!(pool.submit(divide, (7, 0)).result(), Err(TaskError::Panicked(_))));
        assert_eq!((pool.completed(), pool.panic_count()), (2 * n, n));
    }
}

pub(crate) fn a_call_gives_its_result_to_its_future<P: Pool>() {
    let pool = P::of(2);
    let tasks: Vec<_> = (0..20).map(|n| pool.submit(square, n)).collect();
    let text = pool.submit(|text: String| text.len() as u64, "knot".to_owned());
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.result().unwrap(), square(n));
    }
    text.wait().unwrap();
    assert!(text.done() && !text.running() && !text.cancelled());
    assert_eq!((text.status(), text.result().unwrap()), (Status::Finished, 4));
}

pub(crate) fn a_call_that_is_cancelled_before_it_begins_never_runs<P: Pool>() {
    let (pool, folder) = (P::of(1), Folder::new());
    let held = Held::keep(&pool, 1);
    let tasks: Vec<_> = notes(&folder, 3).map(|item| pool.submit(note, item)).collect();
    assert!(tasks[1].cancel() && tasks[1].cancel(), "as often as anybody likes");
    assert!(tasks[1].done() && tasks[1].cancelled() && !held.tasks[0].cancel(), "what runs is not cancelled");
    held.release();
    let results: Vec<_> = tasks.into_iter().map(Future::result).collect();
    assert!(matches!(results[..], [Ok(0), Err(TaskError::Cancelled), Ok(2)]), "{results:?}");
    assert_eq!(folder.begun(), [0, 2]);
}

pub(crate) fn a_callback_is_told_once_how_a_call_ended<P: Pool>() {
    let pool = P::of(1);
    let held = Held::keep(&pool, 1);
    let tasks = [(4, 2), (1, 0), (9, 3)].map(|pair| pool.submit(divide, pair));
    let (tell, told) = mpsc::channel();
    let calls = Arc::new(AtomicUsize::new(0));
    for (at, task) in tasks.iter().enumerate() {
        let (tell, calls) = (tell.clone(), Arc::clone(&calls));
        task.add_done_callback(move |status| {
            calls.fetch_add(1, SeqCst);
            tell.send((at, status)).expect("the test waits for it");
        });
    }
    assert!(tasks[2].cancel() && told.recv().unwrap() == (2, Status::Cancelled), "by who cancels");
    held.release();
    let endings = [(); 2].map(|()| told.recv_timeout(LIMIT).expect("each is told"));
    assert_eq!(endings, [(0, Status::Finished), (1, Status::Failed)]);
    assert!(pool.shutdown().is_complete());
    assert_eq!(calls.load(SeqCst), 3);
}

pub(crate) fn futures_of_calls_come_in_the_order_in_which_they_are_done<P: Pool>() {
    let (pool, folder) = (P::of(3), Folder::new());
    let tasks: Vec<_> = notes(&folder, 3).map(|item| pool.submit(hold, item)).collect();
    let mut done = as_completed(tasks);
    for n in [2, 0, 1] {
        folder.put(&format!("open {n}"));
        assert_eq!(done.next().expect("one more").expect("no time limit").result().unwrap(), n);
    }
    assert!(done.next().is_none());
}

pub(crate) fn results_come_in_the_order_of_the_items_whatever_the_sizes<P: Pool>() {
    let pool = P::of(3);
    let expected: Vec<u64> = (0..10).map(square).collect();
    for chunk in [1, 2, 3, 6, 9, 10, 11, 40, 50, usize::MAX] {
        for buffer in [1, 2, 10, 20, usize::MAX] {
            let plan = Plan { chunk: Some(chunk), buffer: Some(buffer), ..Plan::default() };
            let results: Vec<u64> = pool.map(square, 0..10, plan).map(Result::unwrap).collect();
            assert_eq!(results, expected, "chunks of {chunk}, {buffer} ahead");
        }
    }
    for chunk in [1, 3, 6, 40, 50] {
        let plan = Plan { chunk: Some(chunk), ..Plan::default() };
        let zipped = pool.map(power, (0..10).zip(0..10), plan).map(Result::unwrap);
        assert!(zipped.eq((0..10).zip(0..10).map(power)), "in chunks of {chunk}");
        assert!(pool.map(echo, 0..500, plan).map(Result::unwrap).eq(0..500), "in chunks of {chunk}");
    }
}

pub(crate) fn a_panic_is_the_result_of_its_item_and_the_iteration_goes_on<P: Pool>() {
    let pool = P::of(1);
    pool.submit(echo, 1).result().unwrap();
    for chunk in [1, 3, 4] {
        let items = [(2_u32, 1_u32), (1, 2), (1, 0), (1, 1)];
        let mut map = pool.map(divide, items.into_iter(), Plan { chunk: Some(chunk), ..Plan::default() });
        assert_eq!(map.next().unwrap().unwrap(), (2, 0));
        assert_eq!(map.next().unwrap().unwrap(), (0, 1));
        let error = map.next().unwrap().unwrap_err();
        let TaskError::Panicked(panic) = error else { panic!("{error}") };
        assert_eq!(panic.message(), "attempt to divide by zero");
        assert_eq!(panic.location().unwrap().file(), file!());
        pool.assert_harmless(&panic);
        assert_eq!(map.next().unwrap().unwrap(), (1, 0));
        for _ in 0..3 {
            assert!(map.next().is_none(), "exhausted for good");
        }
    }
}

pub(crate) fn a_map_of_nothing_yields_nothing_and_starts_no_worker<P: Pool>() {
    let pool = P::of(2);
    for chunk in [None, Some(1), Some(3)] {
        for (buffer, timeout, starts) in [(None, None, false), (Some(2), None, false), (Some(2), Some(LIMIT), true)] {
            let plan = Plan { chunk, buffer, timeout, starts };
            assert!(pool.map(echo, 0..0, plan).next().is_none());
        }
    }
    assert_eq!(pool.worker_count(), 0);
}

pub(crate) fn sizes_of_nothing_panic<P: Pool>() {
    let pool = P::of(1);
    let chunk = Plan { chunk: Some(0), ..Plan::default() };
    let buffer = Plan { buffer: Some(0), ..Plan::default() };
    for (plan, what) in [(chunk, "chunk_size"), (buffer, "buffer_size")] {
        let panics = || drop(pool.map(echo, 0..2, plan));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!(message(&*panic), format!("{what} must be greater than 0"));
    }
}

pub(crate) fn a_map_that_times_out_before_any_call_begins_runs_none<P: Pool>() {
    let (pool, folder) = (P::of(1), Folder::new());
    let held = Held::keep(&pool, 1);
    let plan = Plan { timeout: Some(Duration::ZERO), starts: true, ..Plan::default() };
    let mut map = pool.map(note, notes(&folder, 3), plan);
    assert_eq!(pool.queued(), 3);
    assert!(matches!(map.next(), Some(Err(TaskError::Timeout))));
    assert_eq!(pool.queued(), 0);
    assert!(map.next().is_none());
    held.release();
    drop(pool);
    assert!(folder.begun().is_empty());
}

pub(crate) fn a_map_keeps_no_result_that_it_has_yielded<P: Pool>() {
    let pool = P::of(1);
    for chunk in [1, 3] {
        let plan = Plan { chunk: Some(chunk), starts: true, ..Plan::default() };
        for (n, result) in (0..).zip(&mut pool.map(|n: u64| Arc::new(n), 0..9, plan)) {
            assert_eq!(Arc::into_inner(result.unwrap()), Some(n));
        }
    }
}

pub(crate) fn a_map_may_be_iterated_on_another_thread_than_it_was_made_on<P: Pool>() {
    let pool = P::of(2);
    let map = pool.map(echo, 0..10, Plan { starts: true, ..Plan::default() });
    let sum: u64 = thread::spawn(move || map.map(Result::unwrap).sum()).join().unwrap();
    assert_eq!(sum, 45);
}

pub(crate) fn every_task_that_was_queued_before_a_shutdown_runs<P: Pool>() {
    let pool = P::of(2);
    let held = Held::keep(&pool, 2);
    let tasks: Vec<_> = (0..50).map(|n| pool.submit(echo, n)).collect();
    let report = pool.shutdown_with(NO_WAIT);
    assert_eq!((report.queued, report.workers, report.cancelled, report.completed), (50, 2, 0, 0));
    held.release();
    let report = pool.shutdown();
    assert!(report.is_complete() && report.deadlock.is_none());
    assert_eq!((report.queued, report.cancelled), (0, 0));
    assert!(tasks.iter().all(Future::done));
    assert_eq!((sum(tasks), pool.completed()), (49 * 50 / 2, 52));
}

pub(crate) fn a_report_counts_the_tasks_that_ended_during_the_shutdown<P: Pool>() {
    let pool = P::of(1);
    pool.submit(echo, 1).result().unwrap();
    let held = Held::keep(&pool, 1);
    let tasks: Vec<_> = (0..7).map(|n| pool.submit(echo, n)).collect();
    thread::scope(|s| {
        let shutdown = s.spawn(|| pool.shutdown());
        // It has counted what was done before.
        wait_until(|| pool.is_shutdown());
        held.release();
        assert_eq!(shutdown.join().unwrap().completed, 8);
    });
    assert!(tasks.iter().all(Future::done));
    let again = pool.shutdown();
    assert_eq!((again.completed, again.cancelled, again.is_complete()), (0, 0, true));
}

pub(crate) fn cancelling_what_is_queued_leaves_no_task_pending<P: Pool>() {
    let (pool, folder) = (P::of(2), Folder::new());
    let held = Held::keep(&pool, 2);
    let tasks: Vec<_> = notes(&folder, 45).map(|item| pool.submit(note, item)).collect();
    let report = pool.shutdown_with(NO_WAIT.cancel_pending(true));
    assert_eq!((report.cancelled, report.queued, report.workers), (45, 0, 2));
    assert!(tasks.iter().all(Future::cancelled), "at once, though nobody is idle; those that were sent ahead, too");
    held.release();
    assert!(pool.shutdown().is_complete());
    assert_eq!((pool.completed(), folder.begun()), (2, vec![]), "those that ran already");
}

pub(crate) fn cancelling_while_workers_take_tasks_ends_each_of_them_one_way<P: Pool>() {
    let mut ran = 0;
    for round in 0..20 {
        let (pool, folder) = (P::of(2), Folder::new());
        let tasks: Vec<_> = notes(&folder, 50).map(|item| pool.submit(note, item)).collect();
        // From before the first has begun to the middle of them.
        wait_until(|| pool.completed() >= round);
        let report = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true));
        assert!(report.is_complete() && tasks.iter().all(Future::done));
        let cancelled: Vec<u64> = (0..).zip(&tasks).filter(|(_, task)| task.cancelled()).map(|(n, _)| n).collect();
        let begun = folder.begun();
        assert_eq!((cancelled.len(), begun.len()), (report.cancelled, 50 - report.cancelled));
        assert!(!begun.iter().any(|n| cancelled.contains(n)), "{begun:?} of which were cancelled {cancelled:?}");
        assert_eq!(pool.completed(), begun.len() as u64);
        ran += begun.len();
    }
    assert!(0 < ran && ran < 1000, "some ran and some did not: {ran}");
}

pub(crate) fn a_task_cancelled_before_the_shutdown_does_not_hold_it_up<P: Pool>() {
    for _ in 0..20 {
        let pool = P::of(1);
        let task = pool.submit(echo, 1);
        let cancelled = task.cancel();
        assert!(pool.shutdown().is_complete());
        assert!(task.done() && task.cancelled() == cancelled);
    }
    let pool = P::of(1);
    let held = Held::keep(&pool, 1);
    let queued: Vec<_> = (0..3).map(|n| pool.submit(echo, n)).collect();
    let _ = pool.shutdown_with(NO_WAIT);
    assert!(queued.iter().all(Future::cancel), "after it began, too");
    held.release();
    assert!(pool.shutdown().is_complete());
}

pub(crate) fn a_shutdown_of_a_pool_without_tasks_returns_at_once<P: Pool>() {
    let report = P::of(4).shutdown();
    assert!(report.is_complete() && report.deadlock.is_none());
    assert_eq!((report.completed, report.cancelled, report.queued, report.workers), (0, 0, 0, 0));
    drop(P::of(4));
    // One that has had tasks, and idles.
    let pool = P::of(4);
    Held::keep(&pool, 4).release();
    assert!(pool.shutdown().is_complete());
}

pub(crate) fn a_shutdown_may_be_repeated_by_any_handle<P: Pool>() {
    let pool = P::of(2);
    let other = pool.clone();
    let task = pool.submit(echo, 1);
    for _ in 0..3 {
        assert!(pool.shutdown().is_complete() && other.shutdown_with(NO_WAIT.cancel_pending(true)).is_complete());
    }
    assert!(pool == other && pool != P::of(2));
    drop(pool);
    assert!(other.is_shutdown() && other.shutdown().is_complete());
    assert_eq!(task.result().unwrap(), 1);
}

pub(crate) fn every_one_of_many_shutdowns_at_once_waits_for_the_end<P: Pool>() {
    for _ in 0..5 {
        let pool = P::of(2);
        let held = Held::keep(&pool, 2);
        let are_gone = pool.end_of_workers();
        let last = pool.submit(echo, 1);
        thread::scope(|s| {
            let shut_down = || {
                let report = pool.shutdown();
                (report.is_complete(), report.deadlock.is_none(), last.done(), are_gone())
            };
            let waiters: Vec<_> = (0..8).map(|_| s.spawn(shut_down)).collect();
            wait_until(|| pool.is_shutdown());
            assert!(!waiters.iter().any(thread::ScopedJoinHandle::is_finished));
            held.release();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), (true, true, true, true));
            }
        });
    }
}
