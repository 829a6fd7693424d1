//! The platform below our code, as loom explores it.
//!
//! One queue under a mutex stands for parking_lot_core, with a condition variable for each parked thread; time passes
//! only when a model says so ([`let_time_pass`]); a thread's end is two steps, as in life: its last destructor
//! ([`end_current`](crate::deadlock::registry::end_current)) and the kernel's word that it is gone ([`thread_is_gone`]).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::{Condvar, MutexGuard};

use super::Ingredient;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
pub(crate) use loom::thread::yield_now;
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

    /// Makes loom's atomic at once. loom assumes that only the thread that makes an atomic knows it so far: an atomic
    /// that several threads may be the first to use has to be made before they share it.
    pub(crate) fn made(value: u64) -> Self {
        let atomic = Self::new(value);
        atomic.inner();
        atomic
    }

    fn inner(&self) -> &loom::sync::atomic::AtomicU64 {
        self.inner.get_or_init(|| loom::sync::atomic::AtomicU64::new(self.first))
    }

    /// Returns the atomic, as long as the model goes on. Destructors must not drive a model that has failed any
    /// further.
    fn live(&self) -> Option<&loom::sync::atomic::AtomicU64> {
        (!std::thread::panicking()).then(|| self.inner())
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.load(order))
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.live().into_iter().for_each(|live| live.store(value, order));
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.swap(value, order))
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.fetch_sub(value, order))
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.fetch_add(value, order))
    }

    pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.fetch_or(value, order))
    }

    pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        self.live().map_or(self.first, |live| live.fetch_and(value, order))
    }

    pub(crate) fn compare_exchange(&self, old: u64, new: u64, ok: Ordering, err: Ordering) -> Result<u64, u64> {
        self.live().map_or(Ok(old), |live| live.compare_exchange(old, new, ok, err))
    }

    pub(crate) fn compare_exchange_weak(&self, old: u64, new: u64, ok: Ordering, err: Ordering) -> Result<u64, u64> {
        self.live().map_or(Ok(old), |live| live.compare_exchange_weak(old, new, ok, err))
    }
}

/// Makes a 64-bit atomic that lives on the heap.
pub(crate) fn new_atomic(value: u64) -> AtomicU64 {
    AtomicU64::made(value)
}

/// Issues a `SeqCst` fence between two `SeqCst` accesses of different atomics, the first of which is a read-modify-write:
/// loom takes such accesses for `AcqRel` ones, but models the fence.
pub(crate) fn fence_in_models() {
    if !std::thread::panicking() && !is_removed(Ingredient::OrderOfLooks) {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Stores a value in place of one that others may change by read-modify-writes at this moment.
///
/// As a read-modify-write: loom lets a store be followed by one that has read what the store replaced, which no memory
/// model does.
pub(crate) fn overwrite(atomic: &AtomicU64, value: u64, order: Ordering) {
    atomic.swap(value, order);
}

/// loom's mutex, made on first use: `new` is `const`, as in production. It is never poisoned: a panic ends the execution.
pub(crate) struct Mutex<T> {
    first: Cell<Option<T>>,
    inner: OnceCell<loom::sync::Mutex<T>>,
}

// SAFETY:
// - loom runs one thread at a time, and never switches inside `get_or_init`; after that the value is in loom's mutex.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { first: Cell::new(Some(value)), inner: OnceCell::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let made = || loom::sync::Mutex::new(self.first.take().expect("it is made once"));
        self.inner.get_or_init(made).lock().expect("loom's mutex is not poisoned")
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

/// A queue that stands for crossbeam's unbounded channel.
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

    /// Takes the first item, if there is one: the time is over as soon as the thread would sleep.
    pub(crate) fn wait_pop_for(&self, _: Duration) -> Option<T> {
        yield_now();
        self.pop()
    }

    pub(crate) fn wait_pop(&self) -> T {
        let mut items = self.items.lock();
        loop {
            if let Some(item) = items.pop_front() {
                return item;
            }
            SYSTEM.sleeps.set(SYSTEM.sleeps.get() + 1);
            items = self.filled.wait(items).expect("loom's mutex is not poisoned");
        }
    }
}

/// A pool's thread, joined by the first caller.
pub(crate) struct Thread(Arc<Cell<Option<loom::thread::JoinHandle<()>>>>);

// SAFETY:
// - loom runs one thread at a time, and never switches inside `Cell::take`.
unsafe impl Send for Thread {}

impl Thread {
    /// Returns `false`: a model's threads are few, and are all joined.
    pub(crate) fn is_finished(&self) -> bool {
        false
    }

    pub(crate) fn join(self) -> std::thread::Result<()> {
        self.0.take().map_or(Ok(()), loom::thread::JoinHandle::join)
    }

    /// Never called: loom's threads have no handle of std's.
    pub(crate) fn thread(&self) -> &std::thread::Thread {
        unimplemented!("no model asks for a thread's handle")
    }
}

/// Starts a thread, unless the model's system [has none left](let_no_thread_start).
pub(crate) fn spawn_thread(_: String, _: usize, run: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
    if SYSTEM.starts_no_thread.get() {
        let before = SYSTEM.before_refusal.take();
        if let Some(before) = before {
            before();
        }
        return Err(std::io::ErrorKind::WouldBlock.into());
    }
    let handle = Arc::new(Cell::new(Some(loom::thread::spawn(run))));
    SYSTEM.threads.borrow_mut().push(Thread(Arc::clone(&handle)));
    Ok(Thread(handle))
}

/// Starts a thread that may borrow.
///
/// # Safety
///
/// Whatever `run` borrows lives for as long as `run` uses it, or, if no thread starts, until this returns.
pub(crate) unsafe fn spawn_borrowing(
    _: Option<String>,
    _: Option<usize>,
    run: impl FnOnce() + Send,
) -> std::io::Result<Thread> {
    type Run<'r> = Box<dyn FnOnce() + Send + 'r>;
    // SAFETY:
    // - only the lifetime changes, and what the closure borrows lives for as long as it is used (caller).
    let run = unsafe { std::mem::transmute::<Run<'_>, Run<'static>>(Box::new(run)) };
    spawn_thread(String::new(), 0, run)
}

/// Joins the pools' threads that nobody has joined: loom's statics end with the thread of the model's body.
pub(crate) fn join_threads() {
    for thread in SYSTEM.threads.take() {
        thread.join().expect("a panic ends the model");
    }
}

/// The settings of a model's system, and its totals.
struct System {
    starts_no_thread: Cell<bool>,
    before_refusal: Cell<Option<Box<dyn FnOnce()>>>,
    sleeps: Cell<usize>,
    threads: RefCell<Vec<Thread>>,
}

// SAFETY:
// - loom runs one thread at a time.
unsafe impl Sync for System {}

loom::lazy_static! {
    static ref SYSTEM: System = System {
        starts_no_thread: Cell::new(false),
        before_refusal: Cell::new(None),
        sleeps: Cell::new(0),
        threads: RefCell::default(),
    };
}

/// Makes the system refuse all threads that pools ask for from now on.
pub(crate) fn let_no_thread_start() {
    SYSTEM.starts_no_thread.set(true);
}

/// Makes the system refuse all threads, as [`let_no_thread_start`] does. The first caller that is refused runs `before`
/// first, when its worker is counted already.
pub(crate) fn let_no_thread_start_but_first(before: impl FnOnce() + 'static) {
    let_no_thread_start();
    SYSTEM.before_refusal.set(Some(Box::new(before)));
}

/// Returns how often a thread has gone to sleep at an empty [`Queue`] in this execution.
pub(crate) fn queue_sleeps() -> usize {
    SYSTEM.sleeps.get()
}

/// Runs `run` and catches nothing: a panic in a model is its end, and loom's own panics must not be taken for a task's.
pub(crate) fn catch_unwind<R>(run: impl FnOnce() -> R) -> std::thread::Result<R> {
    Ok(run())
}

pub(crate) fn join_thread(thread: Thread) {
    let _ = thread.join();
}

/// A spin that ends at once: every turn would be one more interleaving of the same thing.
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

/// The parked threads.
#[derive(Default)]
struct Parked {
    waiters: VecDeque<Waiter>,
    /// The threads that were unparked and have not seen it yet.
    unparked: Vec<(u64, UnparkToken)>,
    last: u64,
    /// Whether time-outs fire.
    time_passes: bool,
    /// The threads whose pauses have ended and that have not seen it yet.
    ended: Vec<u64>,
    events: Events,
}

impl Parked {
    fn has(&self, key: usize) -> bool {
        self.waiters.iter().any(|waiter| waiter.key == key)
    }
}

loom::lazy_static! {
    static ref PARKED: Mutex<Parked> = Mutex::new(Parked::default());
}

pub(crate) unsafe fn park(
    key: usize,
    validate: impl FnOnce() -> bool,
    before_sleep: impl FnOnce(),
    timed_out: impl FnOnce(usize, bool),
    token: ParkToken,
    timeout: Option<Instant>,
) -> ParkResult {
    let mut parked = PARKED.lock();
    if !validate() {
        parked.events.invalid += 1;
        return ParkResult::Invalid;
    }
    parked.last += 1;
    let number = parked.last;
    let wake = Arc::new(Condvar::new());
    parked.waiters.push_back(Waiter { number, key, token, timed: timeout.is_some(), wake: Arc::clone(&wake) });
    before_sleep();
    loop {
        if let Some(at) = parked.unparked.iter().position(|&(other, _)| other == number) {
            let token = parked.unparked.remove(at).1;
            parked.events.unparks += 1;
            parked.events.hand_overs += usize::from(token == UnparkToken(1));
            return ParkResult::Unparked(token);
        }
        let ended = parked.ended.iter().position(|&other| other == number);
        if let Some(at) = ended {
            parked.ended.remove(at);
        }
        if ended.is_some() || timeout.is_some() && parked.time_passes {
            parked.waiters.retain(|waiter| waiter.number != number);
            parked.events.timeouts += 1;
            timed_out(key, !parked.has(key));
            return ParkResult::TimedOut;
        }
        parked = wake.wait(parked).expect("loom's mutex is not poisoned");
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
    let mut parked = PARKED.lock();
    let mut woken = Vec::new();
    let mut at = 0;
    let mut stopped = false;
    while at < parked.waiters.len() && !stopped {
        if parked.waiters[at].key != key {
            at += 1;
            continue;
        }
        match filter(parked.waiters[at].token) {
            FilterOp::Unpark => woken.extend(parked.waiters.remove(at)),
            FilterOp::Skip => at += 1,
            FilterOp::Stop => stopped = true,
        }
    }
    let mut result = UnparkResult::default();
    result.unparked_threads = woken.len();
    result.have_more_threads = parked.has(key);
    let token = callback(result);
    for waiter in woken {
        parked.unparked.push((waiter.number, token));
        waiter.wake.notify_one();
    }
}

/// Moves the clock past every limit and fires the time-outs of this model's parks, those to come included.
pub(crate) fn let_time_pass() {
    fire_timeouts(|| CLOCK.passed.set(true));
}

/// Ends the pauses of the threads that are parked with a limit now: they look again. Later ones see what the caller did
/// before they park.
pub(crate) fn let_pauses_end() {
    let parked = &mut *PARKED.lock();
    for waiter in parked.waiters.iter().filter(|waiter| waiter.timed) {
        parked.ended.push(waiter.number);
        waiter.wake.notify_one();
    }
}

fn fire_timeouts(set_clock: impl FnOnce()) {
    // Taking the mutex is where loom may switch: what comes before in the model may or may not have happened.
    let mut parked = PARKED.lock();
    set_clock();
    parked.time_passes = true;
    for waiter in parked.waiters.iter().filter(|waiter| waiter.timed) {
        waiter.wake.notify_one();
    }
}

/// The totals of what happened in this execution, by which a model knows that it reached its case.
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

/// Returns the totals of this execution so far.
pub(crate) fn events() -> Events {
    PARKED.lock().events
}

/// The ingredient that this execution does without.
struct Removed(Cell<Option<Ingredient>>);

// SAFETY:
// - loom runs one thread at a time.
unsafe impl Sync for Removed {}

loom::lazy_static! {
    static ref REMOVED: Removed = Removed(Cell::new(None));
}

/// Removes an ingredient from this execution.
pub(crate) fn remove(ingredient: Ingredient) {
    REMOVED.0.set(Some(ingredient));
}

pub(crate) fn is_removed(ingredient: Ingredient) -> bool {
    REMOVED.0.get() == Some(ingredient)
}

/// The clock of a model, which shows one of two times.
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

/// Returns a limit that is over once the model lets time pass, and not before.
pub(crate) fn soon() -> Instant {
    CLOCK.start + Duration::from_secs(1)
}

/// The end of a thread, in a model.
pub(crate) mod thread_end {
    use super::Ordering::{Acquire, Release};

    /// A lifeline that is cut when a model says so.
    pub(crate) struct Lifeline(super::AtomicBool);

    impl Lifeline {
        pub(crate) fn new() -> Self {
            Self(super::AtomicBool::new(false))
        }

        pub(crate) unsafe fn hold(&'static self) {}

        pub(crate) unsafe fn release(&self) -> bool {
            true
        }

        pub(crate) fn mend(&self) {}

        pub(crate) fn is_cut(&self) -> bool {
            self.0.load(Acquire)
        }

        /// Returns `None`: no model has a worker's process.
        #[cfg(feature = "process")]
        pub(crate) fn wait(&self) -> Option<bool> {
            None
        }

        /// Cuts the lifeline: the kernel says that the thread is gone.
        pub(crate) fn cut(&self) {
            self.0.store(true, Release);
            // A waiter that asks now and again gets this answer from now on.
            super::fire_timeouts(|| {});
        }
    }

    pub(crate) fn run_at_thread_end(_: fn(*const ()), _: *const ()) -> bool {
        true
    }

    pub(crate) fn copy_number() -> u64 {
        super::super::number_by_address()
    }

    pub(crate) fn thread_is_ending() -> bool {
        false
    }
}
