//! The platform in production: std's atomics and mutex, parking_lot_core's queue.

use std::cell::Cell;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use parking_lot_core::{
    FilterOp, ParkResult, ParkToken, SpinWait, UnparkToken, park, unpark_filter, unpark_one,
};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Makes a 64-bit atomic that lives on the heap. (A model has to know more of it than of one in a `static`.)
#[inline]
pub(crate) fn new_atomic(value: u64) -> AtomicU64 {
    AtomicU64::new(value)
}

/// Does nothing: two `SeqCst` accesses are in order as they are. (The model checker does not know that.)
#[inline(always)]
pub(crate) fn fence_in_models() {}

/// Stores a value in place of one that others may change by read-modify-writes at this moment.
#[inline(always)]
pub(crate) fn overwrite(atomic: &AtomicU64, value: u64, order: Ordering) {
    atomic.store(value, order);
}

/// std's mutex without poisoning: what runs under ours never panics, or aborts.
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process-wide value: a `static`, or one value for each execution of a model.
macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$meta])*
        static $name: $type = $value;
    };
}
pub(crate) use global;

thread_local! {
    // Const-initialised and without a destructor: a plain load, usable in destructors of other thread-locals and
    // before and after `main`.
    static CURRENT: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// Returns the pointer that this thread stored last, null on a new thread.
#[inline]
pub(crate) fn current_context() -> *const () {
    CURRENT.get()
}

/// Stores this thread's pointer.
#[inline]
pub(crate) fn set_current_context(context: *const ()) {
    CURRENT.set(context);
}

thread_local! {
    static WORKER: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// Returns what this thread works for: the pointer that it stored last, null if it is not a worker.
#[inline]
pub(crate) fn current_worker() -> *const () {
    WORKER.get()
}

/// Stores what this thread works for.
pub(crate) fn set_current_worker(worker: *const ()) {
    WORKER.set(worker);
}

/// A queue for any number of threads at either end: crossbeam's unbounded channel.
pub(crate) struct Queue<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self { sender, receiver }
    }

    /// Adds an item, and wakes one thread that waits for an item.
    #[inline]
    pub(crate) fn push(&self, item: T) {
        let sent = self.sender.send(item);
        debug_assert!(sent.is_ok(), "the receiver is in here, too");
    }

    /// Takes the first item, if there is one.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Takes the first item; sleeps until there is one.
    ///
    /// Spins for microseconds before it sleeps. The thread that would push the next item may need this very processor:
    /// it gets it first. (A woken thread often runs on its waker's processor, so that a pool and its only client often
    /// share one.)
    pub(crate) fn wait_pop(&self) -> T {
        std::thread::yield_now();
        self.receiver.recv().expect("the sender is in here, too")
    }

    /// Takes the first item; sleeps until there is one, for at most `limit`.
    pub(crate) fn wait_pop_for(&self, limit: std::time::Duration) -> Option<T> {
        std::thread::yield_now();
        self.receiver.recv_timeout(limit).ok()
    }
}

pub(crate) use std::thread::yield_now;

/// A worker's thread, to be joined.
pub(crate) type Thread = std::thread::JoinHandle<()>;

/// Starts a thread.
pub(crate) fn spawn_thread(
    name: String,
    stack_size: usize,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<Thread> {
    std::thread::Builder::new().name(name).stack_size(stack_size).spawn(run)
}

/// Starts a thread that may borrow.
///
/// # Safety
///
/// Whatever `run` borrows lives for as long as `run` uses it, or, if no thread starts, until this returns.
pub(crate) unsafe fn spawn_borrowing(
    name: Option<String>,
    stack_size: Option<usize>,
    run: impl FnOnce() + Send,
) -> std::io::Result<Thread> {
    let mut builder = std::thread::Builder::new();
    if let Some(name) = name {
        builder = builder.name(name);
    }
    if let Some(stack_size) = stack_size {
        builder = builder.stack_size(stack_size);
    }
    // SAFETY:
    // - the thread uses what it borrows only while that lives (caller), and its result borrows nothing.
    unsafe { builder.spawn_unchecked(run) }
}

/// Waits until a thread has ended, unless it is the calling one.
pub(crate) fn join_thread(thread: Thread) {
    if thread.thread().id() != std::thread::current().id() {
        // A worker contains its tasks' panics. A panic of its own would be strange, and is no reason to panic here.
        let _ = thread.join();
    }
}

/// Runs `run` and returns its value, or the payload of its panic.
#[inline]
pub(crate) fn catch_unwind<R>(run: impl FnOnce() -> R) -> std::thread::Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
}

/// Returns the operating system's number for this thread, 0 where it has none that a person could use.
pub(crate) fn os_thread_id() -> u32 {
    #[cfg(all(target_os = "linux", not(bowline_portable)))]
    {
        // SAFETY:
        // - `gettid` has no preconditions.
        let id = unsafe { libc::gettid() };
        id.cast_unsigned()
    }
    #[cfg(any(not(target_os = "linux"), bowline_portable))]
    {
        0
    }
}

/// Returns the current time.
pub(crate) fn now() -> Instant {
    Instant::now()
}
