//! Long waits: longer than expected, though no deadlock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::detector;
use super::graph::record::Summons;
use super::hook::{self, Hook, HookList, Hooks};
use super::report::LongWait;
use super::report::scene::Scene;
use super::trace;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet;

type LongWaitHook = dyn Fn(&LongWait) + Send + Sync;

pub(super) static HOOKS: Hooks<(Duration, Arc<LongWaitHook>)> = Hooks::new();
/// How many hooks were ever installed, so that a wait takes no lock where there are none.
static INSTALLED: quiet::AtomicU64 = quiet::AtomicU64::new(0);

/// Installs a hook that runs once for every wait that lasts longer than `limit`, on the thread that waits. Then the
/// wait goes on.
///
/// The hook learns which thread holds what is waited for, and from which line; of a wait for a notification, what the waiter
/// holds that [other threads wait for](super::report::StuckThread::suspicions).
/// It may take locks and panic, as hooks of
/// [`on_deadlock`](super::on_deadlock) may; while it runs, its thread is not in the graph. For a wait that has begun
/// already, the time counts from its beginning. The hook does not run for a wait shorter than the grace, nor for one
/// that is over before its thread gets to run again.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, deadlock};
/// use std::{sync::mpsc, thread, time::Duration};
///
/// let (tell, told) = mpsc::channel();
/// let hook = deadlock::warn_after(Duration::from_millis(5), move |wait| tell.send(wait.clone()).unwrap());
/// let lock = Lock::named("ledger", ());
/// thread::scope(|s| {
///     let guard = lock.lock();
///     s.spawn(|| drop(lock.lock()));
///     let wait = told.recv().unwrap();
///     assert!(wait.to_string().contains("ledger"));
///     assert_eq!(wait.waiter().waits_for().unwrap().resource().name(), Some("ledger"));
///     assert_eq!(wait.owner().unwrap().holds()[0].resource().name(), Some("ledger"));
///     drop(guard);
/// });
/// # drop(hook);
/// ```
pub fn warn_after(limit: Duration, hook: impl Fn(&LongWait) + Send + Sync + 'static) -> Hook {
    let number = HOOKS.add((limit, Arc::new(hook)));
    INSTALLED.fetch_add(1, Relaxed);
    // Each registered waiter wakes once, to learn of the new hook.
    detector::with(|graph| graph.summon_all(Summons::Recheck));
    Hook::new(HookList::LongWait, number)
}

/// The hooks that one wait has yet to run, each once it has lasted long enough.
pub(super) struct Alarm {
    installed: u64,
    /// The limits that are still to come, and their hooks.
    ahead: Vec<(Duration, Arc<LongWaitHook>)>,
    /// The last hook that this wait knows of.
    known: u64,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { installed: 0, ahead: Vec::new(), known: 0 }
    }

    /// Learns of hooks that were installed meanwhile. Called without the graph's mutex.
    pub(super) fn refresh(&mut self) {
        let installed = INSTALLED.load(Relaxed);
        if installed == self.installed {
            return;
        }
        self.installed = installed;
        // Only the new ones: a clone that is dropped here might be the last, and run the user's code.
        for (number, hook) in HOOKS.after(self.known) {
            self.known = number;
            self.ahead.push(hook);
        }
    }

    /// Returns whether hooks were installed since the last [`refresh`](Self::refresh).
    pub(super) fn is_stale(&self) -> bool {
        INSTALLED.load(Relaxed) != self.installed
    }

    /// Returns when the next hook is due.
    pub(super) fn due(&self, since: Instant) -> Option<Instant> {
        self.ahead.iter().filter_map(|&(limit, _)| since.checked_add(limit)).min()
    }

    /// Runs the hooks that are due. Called without the graph's mutex, with the scene copied.
    pub(super) fn run_due_hooks(&mut self, scene: &mut Scene, since: Instant) {
        let Some(wait) = scene.long_wait() else { return };
        let waited = since.elapsed();
        let due: Vec<_> = self.ahead.extract_if(.., |&mut (limit, _)| limit <= waited).collect();
        // A hook that was removed meanwhile does not run.
        let installed = HOOKS.all();
        let still = due.iter().filter(|(_, hook)| installed.iter().any(|(_, (_, other))| Arc::ptr_eq(hook, other)));
        let event: &dyn Fn() = &|| trace::long_wait(&wait);
        let calls: Vec<_> = still.map(|(_, hook)| || hook(&wait)).collect();
        hook::run(std::iter::once(event).chain(calls.iter().map(|call| call as &dyn Fn())));
        drop(calls);
        hook::drop_contained((due, installed));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.ahead.is_empty() {
            hook::drop_contained(std::mem::take(&mut self.ahead));
        }
    }
}
