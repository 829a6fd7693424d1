//! What lies below our code, as loom explores it.
//!
//! One queue under a mutex stands for parking_lot_core, with a condition variable for each parked thread; time passes
//! only when a model says so ([`let_time_pass`]); a thread's end is two steps, as in life: its last destructor
//! ([`end_current`](crate::deadlock::context::end_current)) and the kernel's word that it is gone ([`thread_is_gone`]).

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::{Condvar, MutexGuard};

use super::Ingredient;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
pub(crate) use parking_lot_core::{FilterOp, ParkResult, ParkToken, UnparkResult, UnparkToken};

/// loom's atomic, made on first use: `new` is `const`, as in production.
pub(crate) struct AtomicU64 {
    first: u64,
    inner: OnceCell<loom::sync::atomic::AtomicU64>,
}

// SAFETY:
// - loom runs one thread at a time, and never switches inside `get_or_init`.
unsafe impl Sync for AtomicU64 {}

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> Self {
        Self { first: value, inner: OnceCell::new() }
    }

    fn inner(&self) -> &loom::sync::atomic::AtomicU64 {
        self.inner.get_or_init(|| loom::sync::atomic::AtomicU64::new(self.first))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.inner().load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.inner().store(value, order);
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.inner().fetch_sub(value, order)
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.inner().swap(value, order)
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.inner().fetch_add(value, order)
    }

    pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.inner().fetch_or(value, order)
    }

    pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.inner().fetch_and(value, order)
    }

    pub(crate) fn compare_exchange(&self, old: u64, new: u64, ok: Ordering, err: Ordering) -> Result<u64, u64> {
        self.inner().compare_exchange(old, new, ok, err)
    }

    pub(crate) fn compare_exchange_weak(&self, old: u64, new: u64, ok: Ordering, err: Ordering) -> Result<u64, u64> {
        self.inner().compare_exchange_weak(old, new, ok, err)
    }
}

/// loom's mutex, which is never poisoned: a panic ends the execution.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom's mutex is not poisoned")
    }
}

macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! {
            $(#[$meta])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;

loom::thread_local! {
    static CURRENT: Cell<*const ()> = Cell::new(std::ptr::null());
}

pub(crate) fn current_context() -> *const () {
    CURRENT.with(Cell::get)
}

pub(crate) fn set_current_context(context: *const ()) {
    // A model that has failed already has no thread-locals any more.
    if std::thread::panicking() {
        return;
    }
    CURRENT.with(|current| current.set(context));
}

loom::thread_local! {
    static WORKER: Cell<*const ()> = Cell::new(std::ptr::null());
}

pub(crate) fn current_worker() -> *const () {
    WORKER.with(Cell::get)
}

pub(crate) fn set_current_worker(worker: *const ()) {
    WORKER.with(|current| current.set(worker));
}

pub(crate) fn os_thread_id() -> u32 {
    0
}

/// Stands for crossbeam's unbounded channel.
pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    filled: Condvar,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { items: Mutex::new(VecDeque::new()), filled: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) {
        self.items.lock().push_back(item);
        self.filled.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().pop_front()
    }

    pub(crate) fn wait_pop(&self) -> T {
        let mut items = self.items.lock();
        loop {
            if let Some(item) = items.pop_front() {
                return item;
            }
            items = self.filled.wait(items).expect("loom's mutex is not poisoned");
        }
    }
}

pub(crate) type Thread = loom::thread::JoinHandle<()>;

pub(crate) fn spawn_thread(_: String, _: usize, run: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    Ok(loom::thread::spawn(run))
}

pub(crate) fn join_thread(thread: Thread) {
    let _ = thread.join();
}

/// Never spins: every turn would be one more interleaving of the same thing.
pub(crate) struct SpinWait;

impl SpinWait {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn spin(&mut self) -> bool {
        false
    }

    pub(crate) fn reset(&mut self) {}
}

struct Waiter {
    number: u64,
    key: usize,
    token: ParkToken,
    timed: bool,
    wake: Arc<Condvar>,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Who was unparked and has not seen it yet.
    unparked: Vec<(u64, UnparkToken)>,
    last: u64,
    /// Time-outs fire from now on.
    time_passes: bool,
    events: Events,
}

impl Queue {
    fn has(&self, key: usize) -> bool {
        self.waiters.iter().any(|waiter| waiter.key == key)
    }
}

loom::lazy_static! {
    static ref QUEUE: Mutex<Queue> = Mutex::new(Queue::default());
}

pub(crate) unsafe fn park(
    key: usize,
    validate: impl FnOnce() -> bool,
    before_sleep: impl FnOnce(),
    timed_out: impl FnOnce(usize, bool),
    token: ParkToken,
    timeout: Option<Instant>,
) -> ParkResult {
    let mut queue = QUEUE.lock();
    if !validate() {
        queue.events.invalid += 1;
        return ParkResult::Invalid;
    }
    queue.last += 1;
    let number = queue.last;
    let wake = Arc::new(Condvar::new());
    queue.waiters.push_back(Waiter { number, key, token, timed: timeout.is_some(), wake: Arc::clone(&wake) });
    before_sleep();
    loop {
        if let Some(at) = queue.unparked.iter().position(|&(other, _)| other == number) {
            let token = queue.unparked.remove(at).1;
            queue.events.unparks += 1;
            queue.events.hand_overs += usize::from(token == UnparkToken(1));
            return ParkResult::Unparked(token);
        }
        if timeout.is_some() && queue.time_passes {
            queue.waiters.retain(|waiter| waiter.number != number);
            queue.events.timeouts += 1;
            timed_out(key, !queue.has(key));
            return ParkResult::TimedOut;
        }
        queue = wake.wait(queue).expect("loom's mutex is not poisoned");
    }
}

pub(crate) unsafe fn unpark_one(key: usize, callback: impl FnOnce(UnparkResult) -> UnparkToken) {
    let mut first = true;
    let filter = |_| if std::mem::take(&mut first) { FilterOp::Unpark } else { FilterOp::Stop };
    // SAFETY:
    // - the same contract.
    unsafe { unpark_filter(key, filter, callback) };
}

pub(crate) unsafe fn unpark_filter(
    key: usize,
    mut filter: impl FnMut(ParkToken) -> FilterOp,
    callback: impl FnOnce(UnparkResult) -> UnparkToken,
) {
    let mut queue = QUEUE.lock();
    let mut woken = Vec::new();
    let mut at = 0;
    let mut stopped = false;
    while at < queue.waiters.len() && !stopped {
        if queue.waiters[at].key != key {
            at += 1;
            continue;
        }
        match filter(queue.waiters[at].token) {
            FilterOp::Unpark => woken.extend(queue.waiters.remove(at)),
            FilterOp::Skip => at += 1,
            FilterOp::Stop => stopped = true,
        }
    }
    let mut result = UnparkResult::default();
    result.unparked_threads = woken.len();
    result.have_more_threads = queue.has(key);
    let token = callback(result);
    for waiter in woken {
        queue.unparked.push((waiter.number, token));
        waiter.wake.notify_one();
    }
}

/// Moves the clock past every limit and fires the time-outs of this model's parks, those to come included.
pub(crate) fn let_time_pass() {
    fire_timeouts(|| CLOCK.passed.set(true));
}

fn fire_timeouts(set_clock: impl FnOnce()) {
    // Taking the mutex is where loom may switch: what comes before in the model may or may not have happened.
    let mut queue = QUEUE.lock();
    set_clock();
    queue.time_passes = true;
    for waiter in queue.waiters.iter().filter(|waiter| waiter.timed) {
        waiter.wake.notify_one();
    }
}

/// What happened in this execution: how a model knows that it reached its case.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    /// Parks that were unparked.
    pub(crate) unparks: usize,
    /// Parks that were unparked with a lock handed over to them.
    pub(crate) hand_overs: usize,
    /// Parks that were refused because something changed before.
    pub(crate) invalid: usize,
    /// Parks that timed out.
    pub(crate) timeouts: usize,
}

/// What happened so far in this execution.
pub(crate) fn events() -> Events {
    QUEUE.lock().events
}

/// The ingredient that this execution does without.
struct Removed(Cell<Option<Ingredient>>);

// SAFETY:
// - loom runs one thread at a time.
unsafe impl Sync for Removed {}

loom::lazy_static! {
    static ref REMOVED: Removed = Removed(Cell::new(None));
}

/// Takes an ingredient out of this execution.
pub(crate) fn remove(ingredient: Ingredient) {
    REMOVED.0.set(Some(ingredient));
}

pub(crate) fn is_removed(ingredient: Ingredient) -> bool {
    REMOVED.0.get() == Some(ingredient)
}

/// What a model's clock shows: one of two times.
struct Clock {
    passed: Cell<bool>,
    start: Instant,
}

// SAFETY:
// - loom runs one thread at a time.
unsafe impl Sync for Clock {}

loom::lazy_static! {
    static ref CLOCK: Clock = Clock { passed: Cell::new(false), start: Instant::now() };
}

pub(crate) fn now() -> Instant {
    let clock = &*CLOCK;
    if clock.passed.get() { clock.start + Duration::from_secs(3600) } else { clock.start }
}

/// A limit that is over once the model lets time pass, and not before.
pub(crate) fn soon() -> Instant {
    CLOCK.start + Duration::from_secs(1)
}

/// The end of a thread, in a model.
pub(crate) mod thread_end {
    use super::Ordering::{Acquire, Release};

    /// Cut when a model says so.
    pub(crate) struct Lifeline(super::AtomicBool);

    impl Lifeline {
        pub(crate) fn new() -> Self {
            Self(super::AtomicBool::new(false))
        }

        pub(crate) unsafe fn hold(&'static self) {}

        pub(crate) unsafe fn release(&self) -> bool {
            true
        }

        pub(crate) fn is_cut(&self) -> bool {
            self.0.load(Acquire)
        }

        /// The kernel says that the thread is gone.
        pub(crate) fn cut(&self) {
            self.0.store(true, Release);
            // Whoever asks now and again gets an answer from now on.
            super::fire_timeouts(|| {});
        }
    }

    pub(crate) fn run_at_thread_end(_: fn(*const ()), _: *const ()) {}

    pub(crate) fn thread_is_ending() -> bool {
        false
    }
}
