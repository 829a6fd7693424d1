//! A spawned thread, from both sides: what runs on it, and what is kept by whoever spawned it.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::Arc;

use super::ending::{Ending, Event};
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::never_unwinds;
use crate::deadlock::resource::Site;
use crate::primitive::quiet::{AtomicUsize, Mutex, PoisonError};
use crate::primitive::{Ingredient, Ordering, Thread, catch_unwind, is_removed, spawn_borrowing};

/// The result of a thread: its closure's value, or the payload of the panic that ended it.
type Outcome<T> = std::thread::Result<T>;

/// The number of a scope's threads that panicked and were not joined. Changed before the thread that does so is done, which
/// orders it before the end of the scope.
#[derive(Debug, Default)]
pub(super) struct Panics(AtomicUsize);

impl Panics {
    pub(super) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// The place of a thread's result, which is dropped by whichever side lets go of it last: the thread does so before it is
/// done.
struct Slot<T> {
    outcome: Mutex<Option<Outcome<T>>>,
    panics: Option<Arc<Panics>>,
}

impl<T> Slot<T> {
    fn put(&self, outcome: Outcome<T>) {
        if let Some(panics) = self.panics.as_ref().filter(|_| outcome.is_err()) {
            panics.0.fetch_add(1, Ordering::Relaxed);
        }
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// Takes the result. `None` if the thread was ended by force.
    fn take(&self) -> Option<Outcome<T>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(panics), Some(Err(_))) = (&self.panics, &outcome) {
            panics.0.fetch_sub(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// What a thread has to do when its closure is over, in whatever way.
struct Runner<T> {
    ending: Arc<Ending>,
    /// Dropped first.
    slot: ManuallyDrop<Arc<Slot<T>>>,
    /// Whether the end of the thread will be announced when its thread-locals are gone.
    is_announced: bool,
}

impl<T> Drop for Runner<T> {
    fn drop(&mut self) {
        never_unwinds("in the destructor of a thread's result", || {
            // SAFETY:
            // - it is dropped here, once.
            unsafe { ManuallyDrop::drop(&mut self.slot) };
        });
        self.ending.set(Event::Done);
        if !self.is_announced {
            self.ending.set(Event::Ended);
        }
    }
}

/// A closure that may borrow, and may be gone while the call that it was passed to goes on: the compiler must not assume
/// that what it borrows lives until then.
struct Borrowing<F>(MaybeUninit<F>);

impl<F> Borrowing<F> {
    fn new(run: F) -> Self {
        Self(MaybeUninit::new(run))
    }

    fn into_inner(self) -> F {
        let this = ManuallyDrop::new(self);
        // SAFETY:
        // - it is initialised, and is not dropped: it is taken out here, once.
        unsafe { this.0.assume_init_read() }
    }
}

impl<F> Drop for Borrowing<F> {
    fn drop(&mut self) {
        // SAFETY:
        // - it is initialised: `into_inner` forgets what it takes from.
        unsafe { self.0.assume_init_drop() };
    }
}

/// A thread that was spawned: what is needed to join it.
pub(super) struct Child<T> {
    thread: Thread,
    ending: Arc<Ending>,
    slot: Arc<Slot<T>>,
}

/// What a thread is spawned with.
pub(super) struct Settings {
    pub(super) name: Option<String>,
    pub(super) stack_size: Option<usize>,
    /// The line that spawns.
    pub(super) site: Site,
    /// Of the scope that it is spawned in.
    pub(super) panics: Option<Arc<Panics>>,
}

impl<T: Send> Child<T> {
    /// Spawns a thread that runs `run`.
    ///
    /// # Safety
    ///
    /// What `run` and its result borrow lives until the thread is [done](Event::Done).
    pub(super) unsafe fn spawn<F: FnOnce() -> T + Send>(settings: Settings, run: F) -> std::io::Result<Self> {
        let ending = Ending::new::<T>(settings.site);
        let slot = Arc::new(Slot { outcome: Mutex::new(None), panics: settings.panics });
        let runner =
            Runner { ending: Arc::clone(&ending), slot: ManuallyDrop::new(Arc::clone(&slot)), is_announced: false };
        let run = Borrowing::new(run);
        let body = move || {
            run_child(runner, run);
            // A model's thread ends here, with the destructor that the system would call.
            #[cfg(all(test, loom))]
            crate::deadlock::registry::end_current();
        };
        // SAFETY:
        // - what `run` borrows is used only until the runner is dropped, which sets `Done` last (caller).
        let thread = unsafe { spawn_borrowing(settings.name, settings.stack_size, body) }?;
        Ok(Self { thread, ending, slot })
    }
}

/// Runs a thread's closure, stores the result, and announces that the thread is done.
fn run_child<T, F: FnOnce() -> T>(mut runner: Runner<T>, run: Borrowing<F>) {
    if is_removed(Ingredient::DoneAfterClosure) {
        runner.ending.set(Event::Done);
    }
    let outcome = catch_unwind(|| {
        runner.is_announced = runner.ending.begin();
        run.into_inner()()
    });
    runner.slot.put(outcome);
}

impl<T> Child<T> {
    pub(super) fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    /// Returns the standard library's handle of the thread.
    pub(super) fn thread(&self) -> &std::thread::Thread {
        self.thread.thread()
    }

    /// Returns whether the closure is over.
    pub(super) fn is_finished(&self) -> bool {
        self.ending.has(Event::Done)
    }

    /// Waits until the thread has ended, for a [`join`](Self::join) that is short.
    pub(super) fn wait(&self, limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
        self.ending.wait(Event::Ended, limit, failure, site)
    }

    /// Joins a thread that has ended, but for what the system has to do.
    pub(super) fn join(self) -> Outcome<T> {
        self.thread.join()?;
        self.slot.take().unwrap_or_else(|| Err(Box::new("the thread was ended by force")))
    }

    /// Returns the system's thread.
    #[cfg(all(unix, not(all(test, loom))))]
    pub(super) fn os_thread(&self) -> &Thread {
        &self.thread
    }

    /// Returns the system's thread, which nobody joins by this crate.
    #[cfg(all(unix, not(all(test, loom))))]
    pub(super) fn into_os_thread(self) -> Thread {
        self.thread
    }
}
