//! Hooks: the user's callbacks for deadlocks, long waits and hazards.

use std::cell::Cell;
use std::sync::Arc;

use super::report::{Report, StuckThread};
use super::{hazard, long_wait, trace};
use crate::primitive::contain;
use crate::primitive::quiet::{Mutex, PoisonError};

type DeadlockHook = dyn Fn(&Report) + Send + Sync;

/// A list of hooks, each under a number.
pub(super) struct Hooks<T>(Mutex<List<T>>);

struct List<T> {
    hooks: Vec<(u64, T)>,
    last: u64,
}

impl<T: Clone> Hooks<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(List { hooks: Vec::new(), last: 0 }))
    }

    pub(super) fn add(&self, hook: T) -> u64 {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.last += 1;
        let number = list.last;
        list.hooks.push((number, hook));
        number
    }

    /// Takes a hook out. The caller drops it, with no lock held.
    fn remove(&self, number: u64) -> Option<T> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = list.hooks.iter().position(|&(other, _)| other == number)?;
        Some(list.hooks.remove(at).1)
    }

    /// Returns the hooks as they are now, to be run with no lock held.
    pub(super) fn all(&self) -> Vec<(u64, T)> {
        self.after(0)
    }

    /// Returns the hooks that were added after this one.
    pub(super) fn after(&self, number: u64) -> Vec<(u64, T)> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.hooks.iter().filter(|&&(other, _)| other > number).cloned().collect()
    }
}

static DEADLOCK_HOOKS: Hooks<Arc<DeadlockHook>> = Hooks::new();

thread_local! {
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Keeps a hook installed; removes it when dropped.
///
/// A hook that is running on another thread at that moment finishes its run.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, deadlock};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let count = Arc::new(AtomicU32::new(0));
/// let counter = Arc::clone(&count);
/// let hook = deadlock::on_deadlock(move |_| drop(counter.fetch_add(1, Ordering::Relaxed)));
///
/// let lock = Lock::new(());
/// let _guard = lock.lock();
/// assert!(lock.acquire().is_err());
/// drop(hook);
/// assert!(lock.acquire().is_err());
/// assert_eq!(count.load(Ordering::Relaxed), 1);
/// ```
#[derive(Debug)]
#[must_use = "the hook is removed when this is dropped"]
pub struct Hook {
    number: u64,
    list: HookList,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum HookList {
    Deadlock,
    LongWait,
    Hazard,
}

impl Hook {
    pub(super) fn new(list: HookList, number: u64) -> Self {
        Self { number, list }
    }

    /// Keeps the hook for the rest of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// bowline::deadlock::on_deadlock(|report| eprintln!("{report}")).keep();
    /// ```
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        match self.list {
            HookList::Deadlock => drop(DEADLOCK_HOOKS.remove(self.number)),
            HookList::LongWait => drop(long_wait::HOOKS.remove(self.number)),
            HookList::Hazard => drop(hazard::HOOKS.remove(self.number)),
        }
    }
}

/// Installs a hook that runs for every deadlock that is found, on the thread that is its victim, before the error or
/// the panic.
///
/// Several hooks run in the order in which they were installed. They run outside every internal lock and may take
/// tracked locks, block, and panic: a panic is caught (the panic hook prints it) and the next hook runs. A deadlock
/// that is found inside a hook, on its thread, runs no hooks.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, deadlock};
/// use std::sync::Arc;
///
/// let seen = Arc::new(Lock::new(Vec::new()));
/// let hook = deadlock::on_deadlock({
///     let seen = Arc::clone(&seen);
///     move |report| seen.lock().push(report.kind())
/// });
///
/// let lock = Lock::new(());
/// let _guard = lock.lock();
/// assert!(lock.acquire().is_err());
/// assert_eq!(*seen.lock(), [deadlock::Kind::Relock]);
/// drop(hook);
/// ```
pub fn on_deadlock(hook: impl Fn(&Report) + Send + Sync + 'static) -> Hook {
    Hook::new(HookList::Deadlock, DEADLOCK_HOOKS.add(Arc::new(hook)))
}

/// What becomes of a deadlock that is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A member is told, by an error or a panic with the report.
    Told,
    /// The threads go on waiting.
    LeftStanding,
    /// The process aborts.
    Abort,
}

/// Tells of a deadlock: the subscriber of events, the hooks, and, if nobody gets the report as an error, standard error.
/// Of a deadlock that is left standing the subscriber has the report, if there is one that wants it; standard error has the
/// first line then.
pub(super) fn report_deadlock(report: &Report, fate: Fate) {
    if fate == Fate::Abort {
        report.print_whole();
    }
    let is_told = Cell::new(fate != Fate::LeftStanding);
    let event: &dyn Fn() = &|| {
        let is_wanted = trace::deadlock(report, fate == Fate::LeftStanding);
        if is_wanted && !is_told.replace(true) {
            // Not every subscriber shows what it wants.
            report.print_headline();
        }
    };
    let print: &dyn Fn() = &|| {
        if !is_told.replace(true) {
            report.print();
        }
    };
    let hooks = DEADLOCK_HOOKS.all();
    let calls: Vec<_> = hooks.iter().map(|(_, hook)| || hook(report)).collect();
    run([event, print].into_iter().chain(calls.iter().map(|call| call as &dyn Fn())));
    // Inside a hook nothing was run.
    print();
    drop_contained(hooks);
    if report.threads().iter().any(is_foreign) {
        keep_foreign(report);
    }
}

/// Returns whether a thread waits for a lock of another library's interface.
fn is_foreign(thread: &StuckThread) -> bool {
    thread.waits_for().is_some_and(|wait| wait.resource().is_foreign())
}

/// How many reports are kept for [`take_foreign`].
const KEPT: usize = 64;

/// The last reports of deadlocks with locks of other libraries' interfaces, which nobody has taken: the oldest is where the next
/// one goes.
struct Kept {
    reports: [Option<Report>; KEPT],
    next: usize,
}

static FOREIGN: Mutex<Kept> = Mutex::new(Kept { reports: [const { None }; KEPT], next: 0 });

fn keep_foreign(report: &Report) {
    let (report, mut kept) = (report.clone(), FOREIGN.lock().unwrap_or_else(PoisonError::into_inner));
    let at = kept.next % KEPT;
    kept.next += 1;
    let oldest = kept.reports[at].replace(report);
    drop(kept);
    drop(oldest);
}

/// Takes the reports of the last deadlocks with locks of other libraries' interfaces, 64 at most, the oldest first.
pub(crate) fn take_foreign() -> Vec<Report> {
    let mut taken = [const { None }; KEPT];
    let mut kept = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner);
    let oldest = kept.next % KEPT;
    std::mem::swap(&mut kept.reports, &mut taken);
    kept.next = 0;
    drop(kept);
    taken.rotate_left(oldest);
    taken.into_iter().flatten().collect()
}

/// Drops references to hooks, each of which may be the last one, and contains panics: a hook has the user's
/// destructors, and these must not unwind a wait that is over or goes on.
pub(super) fn drop_contained<T>(hooks: T) {
    contain(|| drop(hooks));
}

/// Runs hooks one after the other, unless this thread is inside a hook already. Contains their panics.
pub(super) fn run<F: Fn()>(hooks: impl Iterator<Item = F>) {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_HOOK.set(false);
        }
    }
    if IN_HOOK.replace(true) {
        return;
    }
    let _leave = Leave;
    for hook in hooks {
        contain(hook);
    }
}
