//! Hazards: one thread breaks the contract of a lock, although nobody hangs yet.
//!
//! A check looks at what the asking context holds, and at nothing else: it is done by that context, before the lock is
//! taken or waited for, and without the graph's mutex.

use std::cell::Cell;
use std::sync::Arc;

use super::graph::context::Context;
use super::graph::holds::Hold;
use super::graph::resource::{ResourceFacts, SharedId, Site};
use super::hook::{self, Hook, HookList, Hooks};
use super::report::signature::Signature;
use super::report::{Hazard, HazardKind};
use super::setting::Setting;
use super::trace;
use crate::primitive::runs_destructors;

/// What happens when a [`Hazard`] is found.
///
/// The process starts with the policy that the environment variable `BOWLINE_HAZARD` names (`off`, `warn` or `panic`).
/// Where it is not set, that is [`Warn`](Self::Warn) if this crate is built with debug assertions, as in cargo's `dev`
/// and `test` profiles, and [`Off`](Self::Off) otherwise.
///
/// # Examples
///
/// ```
/// use bowline::RwLock;
/// use bowline::deadlock::{self, HazardPolicy};
/// use std::panic::catch_unwind;
///
/// deadlock::set_hazard_policy(HazardPolicy::Panic); // in a test suite: a hazard fails the test
/// let lock = RwLock::new(0);
/// let _guard = lock.read();
/// let panic = catch_unwind(|| *lock.read()).unwrap_err();
/// assert!(panic.downcast_ref::<String>().unwrap().starts_with("hazard: "));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HazardPolicy {
    /// Nobody looks for hazards.
    Off,
    /// A hazard is printed, and [hooks](on_hazard) run, once for each pair of lines: the one that took what is held, and
    /// the one that asks. Then the thread goes on.
    Warn,
    /// Hooks run and the thread panics, with the hazard as the message, each time and before the lock is taken. A thread
    /// that is unwinding already, or runs the destructor of a thread-local, warns in place of that: a panic would end the
    /// process.
    Panic,
}

impl Default for HazardPolicy {
    /// Returns the policy of a process that does not choose one.
    fn default() -> Self {
        DEFAULT
    }
}

const DEFAULT: HazardPolicy = if cfg!(debug_assertions) { HazardPolicy::Warn } else { HazardPolicy::Off };

/// The place of [`HazardPolicy::Off`] among the values.
const OFF: u8 = 0;
static POLICY: Setting<HazardPolicy> = Setting::new(
    "BOWLINE_HAZARD",
    &[("off", HazardPolicy::Off), ("warn", HazardPolicy::Warn), ("panic", HazardPolicy::Panic)],
    DEFAULT,
);

/// Returns the policy in force. Costs one relaxed load.
#[must_use]
pub fn hazard_policy() -> HazardPolicy {
    POLICY.get()
}

/// Sets the hazard policy of the whole process.
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, HazardPolicy};
///
/// deadlock::set_hazard_policy(HazardPolicy::Off);
/// assert_eq!(deadlock::hazard_policy(), HazardPolicy::Off);
/// ```
pub fn set_hazard_policy(policy: HazardPolicy) {
    POLICY.replace(policy);
}

type HazardHook = dyn Fn(&Hazard) + Send + Sync;

pub(super) static HOOKS: Hooks<Arc<HazardHook>> = Hooks::new();

/// Installs a hook that runs for every hazard that is told, on the thread that asks for the lock, before it does.
///
/// Which hazards are told is for the [policy](HazardPolicy) to say. A hook may take locks, block and panic, as hooks of
/// [`on_deadlock`](super::on_deadlock) may. A hazard that is found inside a hook, on its thread, runs no hooks.
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, HazardPolicy};
/// use bowline::{Lock, RwLock};
/// use std::sync::Arc;
///
/// deadlock::set_hazard_policy(HazardPolicy::Warn);
/// let seen = Arc::new(Lock::new(Vec::new()));
/// let hook = deadlock::on_hazard({
///     let seen = Arc::clone(&seen);
///     move |hazard| seen.lock().push(hazard.wanted().name())
/// });
///
/// let routes = RwLock::named("routes", 0);
/// for _ in 0..3 {
///     let _guard = routes.read();
///     drop(routes.read());
/// }
/// assert_eq!(*seen.lock(), [Some("routes")]);
/// # drop(hook);
/// ```
pub fn on_hazard(hook: impl Fn(&Hazard) + Send + Sync + 'static) -> Hook {
    Hook::new(HookList::Hazard, HOOKS.add(Arc::new(hook)))
}

/// Returns whether hazards are looked for. Costs one relaxed load.
#[inline]
pub(crate) fn are_looked_for() -> bool {
    // Models take locks in ways that no program should.
    !cfg!(all(test, loom)) && !POLICY.is_at(OFF)
}

/// Returns whether anybody looks for hazards of locks that are used by code which never heard of them: only if somebody chose
/// to.
#[inline]
pub(crate) fn are_looked_for_in_foreign_code() -> bool {
    // The environment was asked when the first context was made. An allocator that locks must not ask it.
    are_looked_for() && POLICY.is_known_to_be_chosen()
}

/// Tells of a hazard if `me` reads the lock already that it asks to read.
#[cold]
#[track_caller]
pub(crate) fn check_read(me: &'static Context, id: SharedId, wanted: ResourceFacts, site: Site) {
    if let Some(held) = me.holds.share_of(id) {
        found(HazardKind::RepeatedRead, me, held, wanted, site);
    }
}

/// Tells of a hazard if `me` holds a lock of no lower rank than the one that it asks for. The lock itself does not count:
/// whether that may be taken again is another question.
#[cold]
#[track_caller]
pub(crate) fn check_rank(me: &'static Context, wanted: ResourceFacts, site: Site) {
    let Some(rank) = wanted.origin.rank().filter(|_| are_looked_for()) else { return };
    let mut highest: Option<(u16, Hold)> = None;
    me.holds.for_each(|hold| {
        let Some(held) = hold.resource.origin.rank().filter(|&held| held >= rank) else { return };
        if hold.resource.key != wanted.key && highest.is_none_or(|(other, _)| held > other) {
            highest = Some((held, hold));
        }
    });
    if let Some((_, held)) = highest {
        found(HazardKind::Rank, me, held, wanted, site);
    }
}

#[track_caller]
fn found(kind: HazardKind, me: &'static Context, held: Hold, wanted: ResourceFacts, site: Site) {
    let panics = match hazard_policy() {
        HazardPolicy::Off => return,
        HazardPolicy::Warn => false,
        HazardPolicy::Panic => !std::thread::panicking() && !runs_destructors(),
    };
    if !panics && Signature::of_hazard(kind, held.site, site).count() > 1 {
        return;
    }
    let hazard = Hazard::of(kind, me, held, wanted, site);
    tell(&hazard, !panics);
    if panics {
        hazard.raise();
    }
}

/// Tells the subscriber of events, standard error, if the hazard is to be printed, and the hooks.
fn tell(hazard: &Hazard, prints: bool) {
    let is_printed = Cell::new(!prints);
    let event: &dyn Fn() = &|| trace::hazard(hazard);
    let print: &dyn Fn() = &|| {
        if !is_printed.replace(true) {
            hazard.print();
        }
    };
    let hooks = HOOKS.all();
    let calls: Vec<_> = hooks.iter().map(|(_, hook)| || hook(hazard)).collect();
    hook::run([event, print].into_iter().chain(calls.iter().map(|call| call as &dyn Fn())));
    // Inside a hook nothing was run.
    print();
    drop(calls);
    hook::drop_contained(hooks);
}
