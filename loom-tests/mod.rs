//! Models of the lock word, the contexts, the wait-for graph, the door, the futures and the pools, as production runs
//! them.
//!
//! Every model returns whether it reached its case, and fails if no execution did: with a bound that is too small it
//! would pass and check nothing. A model whose name begins with `without_` is a negative control: it takes one
//! ingredient out, and has to fail. Names that begin with `full_` (or `full_without_`) are left to `ci/loom-full.sh`.

mod barrier;
mod bounded_semaphore;
mod condition;
mod detector;
mod detector_controls;
mod event;
mod executor_controls;
mod executor_deadlock;
mod facade;
mod finder;
mod future;
mod groups;
mod hold_slot;
mod lifecycle;
mod nested;
mod occupancy;
mod once;
mod pool_rest;
#[cfg(feature = "process")]
mod process_pool;
mod raw_lock;
mod rlock;
mod rwlock;
mod rwlock_deadlock;
mod semaphore;
mod thread_join;
mod thread_pool;

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ThreadPoolExecutor;
use crate::deadlock::Deadlock;
use crate::sync::RawLock;
use crate::thread_pool::ShutdownReport;

/// Runs `body` under every interleaving with at most this many preemptions (or `LOOM_MAX_PREEMPTIONS`, if that is
/// more). `body` returns whether this execution reached what the model is about; at least one has to.
fn explore(preemptions: usize, body: impl Fn() -> bool + Send + Sync + 'static) {
    explore_within(loom::model::Builder::new().preemption_bound.max(Some(preemptions)), body);
}

/// Runs `body` as [`explore`] does, with no more preemptions than these even if the environment asks for more: for
/// models that would take hours.
fn explore_at_most(preemptions: usize, body: impl Fn() -> bool + Send + Sync + 'static) {
    explore_within(Some(preemptions), body);
}

fn explore_within(preemption_bound: Option<usize>, body: impl Fn() -> bool + Send + Sync + 'static) {
    let (reached, executions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemption_bound;
    builder.check({
        let (reached, executions) = (Arc::clone(&reached), Arc::clone(&executions));
        move || {
            executions.fetch_add(1, Ordering::Relaxed);
            reached.fetch_add(usize::from(body()), Ordering::Relaxed);
        }
    });
    let (reached, executions) = (reached.load(Ordering::Relaxed), executions.load(Ordering::Relaxed));
    println!("{executions} executions, {reached} reached the case");
    assert!(reached > 0, "no execution reached the case that this model is about");
}

/// A lock for models, and a value that loom watches: a second access at the same time fails the model.
struct Watched {
    raw: RawLock,
    value: loom::cell::UnsafeCell<u32>,
}

// SAFETY:
// - the value is only reached by the lock's owner; loom checks that.
unsafe impl Sync for Watched {}
// SAFETY:
// - as above.
unsafe impl Send for Watched {}

fn watched() -> crate::deadlock::resource::ResourceType {
    crate::deadlock::resource::ResourceType::exclusive::<u32>("Lock")
}

impl Watched {
    fn new() -> Arc<Self> {
        Self::around(RawLock::new(None))
    }

    fn ranked() -> Arc<Self> {
        Self::around(RawLock::ranked("ranked", 1))
    }

    fn around(raw: RawLock) -> Arc<Self> {
        let lock = Self { raw, value: loom::cell::UnsafeCell::new(0) };
        // loom's atomic is made on first use: here, before the lock is shared.
        assert!(!lock.raw.is_locked());
        Arc::new(lock)
    }

    /// Locks and waits for its turn; a deadlock is a value.
    fn acquire(&self) -> Result<Guard<'_>, Deadlock> {
        let guard = self.raw.acquire(watched)?;
        Ok(self.guard(guard))
    }

    /// Acquires the lock; a deadlock would be a panic, and fails the model.
    fn lock(&self) -> Guard<'_> {
        self.guard(self.raw.lock(watched))
    }

    /// Locks within a time-out that passes when the model says so.
    fn try_lock_for(&self) -> Option<Guard<'_>> {
        let guard = self.raw.try_lock_until(watched, crate::primitive::soon());
        guard.map(|guard| self.guard(guard))
    }

    fn guard(&self, raw: crate::sync::RawLockGuard) -> Guard<'_> {
        // SAFETY:
        // - the lock is held: if it were not exclusive, loom would fail here.
        self.value.with_mut(|value| unsafe { *value += 1 });
        Guard { lock: self, raw: Some(raw) }
    }
}

struct Guard<'a> {
    lock: &'a Watched,
    raw: Option<crate::sync::RawLockGuard>,
}

impl Guard<'_> {
    fn value(&self) -> u32 {
        // SAFETY:
        // - the lock is held.
        self.lock.value.with(|value| unsafe { *value })
    }

    fn unlock_fair(mut self) {
        let raw = self.raw.take().expect("a guard holds");
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.lock.raw.unlock_fair(raw) };
    }

    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // A model that has failed already is not to be moved any further.
        if let Some(raw) = self.raw.take().filter(|_| !std::thread::panicking()) {
            // SAFETY:
            // - the guard is of this lock.
            unsafe { self.lock.raw.unlock(raw) };
        }
    }
}

/// A value that travels between threads, with a part that loom watches: a thread that makes, looks at or drops it
/// without being ordered after the one before fails the model.
struct Parcel {
    content: loom::cell::UnsafeCell<u32>,
    count: Arc<Count>,
}

/// What became of the parcels of one execution.
#[derive(Default)]
struct Count {
    dropped: AtomicUsize,
    /// By the thread of the model's body.
    dropped_by_body: AtomicUsize,
}

loom::thread_local! {
    static IS_BODY: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

impl Count {
    /// Makes the counts of one execution. Called by the thread of the model's body.
    fn new() -> Arc<Self> {
        IS_BODY.with(|is_body| is_body.set(true));
        Arc::default()
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    fn dropped_by_body(&self) -> usize {
        self.dropped_by_body.load(Ordering::Relaxed)
    }
}

// SAFETY:
// - loom checks the accesses.
unsafe impl Sync for Parcel {}

impl Parcel {
    fn new(content: u32, count: &Arc<Count>) -> Self {
        let parcel = Self { content: loom::cell::UnsafeCell::new(0), count: Arc::clone(count) };
        // SAFETY:
        // - nobody else knows it yet.
        parcel.content.with_mut(|inside| unsafe { *inside = content });
        parcel
    }

    fn content(&self) -> u32 {
        // SAFETY:
        // - the owner of a parcel may look at it; loom checks that.
        self.content.with(|content| unsafe { *content })
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY:
        // - it is dropped once, by its last owner; loom checks that.
        self.content.with_mut(|content| unsafe { *content = u32::MAX });
        self.count.dropped.fetch_add(1, Ordering::Relaxed);
        if IS_BODY.with(std::cell::Cell::get) {
            self.count.dropped_by_body.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A pool that a failing model does not drop: the drop would wait for workers that loom runs no more.
struct Pool(ManuallyDrop<ThreadPoolExecutor>);

impl Pool {
    fn new(max_workers: usize) -> Self {
        Self::of(ThreadPoolExecutor::new(max_workers))
    }

    fn of(pool: ThreadPoolExecutor) -> Self {
        Self(ManuallyDrop::new(pool))
    }

    fn handle(&self) -> ThreadPoolExecutor {
        ThreadPoolExecutor::clone(self)
    }

    /// Ends the pool, and checks that no worker and no task is left.
    fn end(&self) {
        assert_ended(&self.shutdown());
    }
}

fn assert_ended(report: &ShutdownReport) {
    assert!(report.deadlock.is_none(), "a false alarm");
    assert_eq!((report.workers, report.queued), (0, 0));
}

impl Deref for Pool {
    type Target = ThreadPoolExecutor;

    fn deref(&self) -> &ThreadPoolExecutor {
        &self.0
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY:
            // - this is its end.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
