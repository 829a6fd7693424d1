//! A `tracing` subscriber that panics costs its caller no more than that call: pools and their workers go on.
//!
//! A process has one global subscriber: each test runs alone. It panics for spans of certain names.

use std::cell::RefCell;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, ThreadId};

use bowline::task::Rejected;
use bowline::thread_pool::WhenFull;
use bowline::{Future, TaskError, ThreadPoolExecutor};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber};
use tracing_core::span::Current;

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, alone, message};

/// Panics where the name of a span says so.
struct Explosive;

static SPANS: Mutex<Vec<&'static Metadata<'static>>> = Mutex::new(Vec::new());
/// How many spans with this target were closed: those of one test.
static CLOSED: AtomicUsize = AtomicUsize::new(0);
const COUNTED: &str = "counted";

thread_local! {
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn metadata(id: u64) -> &'static Metadata<'static> {
    SPANS.lock().unwrap()[id as usize - 1]
}

/// Panics if this is the call at which that span explodes, unless the thread panics already. Whether it would.
fn explode(id: u64, call: &'static str) -> bool {
    let explodes = metadata(id).name() == call;
    if explodes && !thread::panicking() {
        panic!("meant to, in {call}");
    }
    explodes
}

impl Subscriber for Explosive {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut spans = SPANS.lock().unwrap();
        spans.push(span.metadata());
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        if let Some(id) = INSIDE.with_borrow(|inside| inside.last().copied()) {
            explode(id, "event");
        }
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
        if WORKS.get() {
            explode(span.into_u64(), "enter");
        }
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| assert_eq!(inside.pop(), Some(span.into_u64())));
        if WORKS.get() {
            explode(span.into_u64(), "exit");
        }
    }

    fn current_span(&self) -> Current {
        let Some(id) = INSIDE.with_borrow(|inside| inside.last().copied()) else { return Current::none() };
        explode(id, "current_span");
        Current::new(Id::from_u64(id), metadata(id))
    }

    fn clone_span(&self, span: &Id) -> Id {
        explode(span.into_u64(), "clone_span");
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        if metadata(span.into_u64()).target() == COUNTED {
            CLOSED.fetch_add(1, SeqCst);
        }
        explode(span.into_u64(), "try_close")
    }
}

thread_local! {
    /// Whether this thread is a worker: spans that explode when they are entered do so only there.
    static WORKS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A pool of one, and its only thread.
fn pool_of_one() -> (ThreadPoolExecutor, ThreadId) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Explosive).expect("the only subscriber"));
    let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(|| WORKS.set(true)).build();
    let worker = worker_of(&pool);
    (pool, worker)
}

fn worker_of(pool: &ThreadPoolExecutor) -> ThreadId {
    pool.submit(|| thread::current().id()).result().unwrap()
}

/// Runs `body` inside a span, which is not closed here.
fn inside<R>(span: Span, body: impl FnOnce() -> R) -> R {
    let result = span.in_scope(body);
    std::mem::forget(span);
    result
}

#[track_caller]
fn panics<R: Debug>(body: impl FnOnce() -> R) -> String {
    message(&*catch_unwind(AssertUnwindSafe(body)).unwrap_err()).to_owned()
}

#[track_caller]
fn task_panics<T: Debug>(task: Future<T>) -> String {
    match task.result() {
        Err(TaskError::Panicked(panic)) => panic.message().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submitter_whose_span_cannot_be_told_or_cloned_panics_and_leaves_nothing_behind() {
    alone(|| {
        let (pool, worker) = pool_of_one();
        let busy = Busy::keep(&pool, 1);
        let owned = Arc::new(());
        let task = || {
            let owned = Arc::clone(&owned);
            move || drop(owned)
        };
        for (span, text) in [
            (tracing::info_span!("current_span"), "meant to, in current_span"),
            (tracing::info_span!("clone_span"), "meant to, in clone_span"),
        ] {
            inside(span, || {
                assert_eq!(panics(|| pool.submit(task())), text);
                assert_eq!(panics(|| pool.submit_named("named", task())), text);
                assert_eq!(panics(|| pool.try_submit(task()).is_ok()), text);
                assert_eq!(panics(|| pool.submit_timeout(task(), LIMIT).is_ok()), text);
                assert_eq!(panics(|| pool.map(|n| n, 0..3).start()), text);
                let ran = AtomicUsize::new(0);
                let scope = || {
                    pool.scope(|s| drop(s.submit(|| ran.fetch_add(1, SeqCst))));
                };
                assert_eq!((panics(scope), ran.load(SeqCst)), (text.to_owned(), 0));
            });
            assert_eq!((pool.queued(), Arc::strong_count(&owned)), (0, 1));
        }
        busy.release();
        assert_eq!((worker_of(&pool), pool.panic_count()), (worker, 0));
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_caller_that_runs_its_task_itself_panics_and_leaves_nothing_behind() {
    alone(|| {
        let _ = pool_of_one();
        let pool =
            ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::CallerRuns).build();
        let busy = Busy::keep(&pool, 1);
        let queued = pool.submit(|| 1);
        let text = inside(tracing::info_span!("clone_span"), || panics(|| pool.submit(|| 2)));
        assert_eq!(text, "meant to, in clone_span");
        assert_eq!(pool.submit(|| 3).result().unwrap(), 3);
        busy.release();
        assert_eq!(queued.result().unwrap(), 1);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_span_that_cannot_be_entered_or_left_is_a_panic_of_the_task() {
    alone(|| {
        let (pool, worker) = pool_of_one();
        let entered = inside(tracing::info_span!("enter"), || pool.submit(|| 1));
        assert_eq!(task_panics(entered), "meant to, in enter");
        let left = inside(tracing::info_span!("exit"), || pool.submit(|| 1));
        assert_eq!(task_panics(left), "meant to, in exit");
        let panicked = inside(tracing::info_span!("exit"), || pool.submit(|| -> u32 { panic!("meant to, earlier") }));
        assert_eq!(task_panics(panicked), "meant to, earlier");
        assert_eq!((worker_of(&pool), pool.panic_count()), (worker, 3));
    });
}

#[test]
fn a_span_that_cannot_be_closed_costs_no_worker_and_no_canceller() {
    alone(|| {
        let (pool, worker) = pool_of_one();
        let submit = || inside(tracing::info_span!(target: COUNTED, "try_close"), || pool.submit(|| 1));
        let closed = || CLOSED.load(SeqCst);
        // By the worker that ran it.
        let before = closed();
        assert_eq!(task_panics(submit()), "meant to, in try_close");
        assert_eq!((worker_of(&pool), closed() - before), (worker, 1));
        // By who cancels it.
        let busy = Busy::keep(&pool, 1);
        let (first, second) = (submit(), submit());
        assert!(first.cancel());
        assert!(matches!(first.result(), Err(TaskError::Cancelled)));
        assert_eq!(closed() - before, 2);
        busy.release();
        assert_eq!(task_panics(second), "meant to, in try_close");
        assert_eq!((worker_of(&pool), closed() - before), (worker, 3));
        // By the end of the pool.
        let busy = Busy::keep(&pool, 1);
        let third = submit();
        let report = pool.shutdown_with(bowline::thread_pool::ShutdownOptions::new().wait(false).cancel_pending(true));
        assert_eq!((report.cancelled, third.cancelled(), closed() - before), (1, true, 4));
        busy.release();
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_broken_pool_fails_all_tasks_though_their_spans_cannot_be_closed() {
    alone(|| {
        let _ = pool_of_one();
        let gate = Gate::default();
        let waits = gate.clone();
        let fail = move || {
            waits.pass();
            Err::<(), _>("no licence")
        };
        let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(fail).build();
        let submit = |_| inside(tracing::info_span!("try_close"), || pool.submit(|| ()));
        let tasks: Vec<_> = (0..3).map(submit).collect();
        gate.open();
        for task in tasks {
            let result = task.result();
            assert!(matches!(result, Err(TaskError::Rejected(Rejected::Broken(_)))), "{result:?}");
        }
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_panic_in_the_event_of_a_panic_is_nobodys() {
    alone(|| {
        let (pool, worker) = pool_of_one();
        let inner = pool.clone();
        let task = pool.submit(move || {
            inside(tracing::info_span!("event"), || task_panics(inner.submit(|| panic!("meant to, inside"))))
        });
        assert_eq!(task.result().unwrap(), "meant to, inside");
        assert_eq!(worker_of(&pool), worker);
    });
}
