//! What happens when a deadlock is found, and how long a wait may last before it is looked at.

use std::time::Duration;

use super::detector;
use super::graph::record::Summons;
use super::setting::Setting;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{global, quiet};

/// What happens when a deadlock is found.
///
/// The process starts with the policy that the environment variable `BOWLINE_DEADLOCK` names (`panic`, `abort`,
/// `report` or `off`), and with [`Panic`](Self::Panic) where it is not set.
///
/// # Locks of other libraries' interfaces
///
/// Code that locks by a package of `compat` never heard of deadlocks that are found. Until somebody chooses a policy, by the variable or by
/// [`set_policy`], its waits do not fail: if no other member of a deadlock can, that is printed and left standing, as under
/// [`Report`](Self::Report). Once a policy is chosen, it is for these waits as well.
///
/// # In a test suite
///
/// Under `Panic` a deadlock fails a test if the panic reaches it. Where something catches panics on the way (a thread
/// pool, a framework that hosts the code, a thread that nobody joins), look for the reports: each has a line that
/// begins with `deadlock:`, whether it is printed or the message of a panic, so `grep '^deadlock:'` finds them in what
/// the suite writes to standard error (use `cargo test -- --nocapture`: otherwise the output of tests that pass is
/// hidden). Or run the suite under [`Abort`](Self::Abort) (`BOWLINE_DEADLOCK=abort`), or count in a
/// [hook](super::on_deadlock): it runs for every report, including those that [`acquire`](crate::Lock::acquire)
/// returns.
///
/// # Examples
///
/// ```
/// use bowline::Lock;
/// use bowline::deadlock::{self, Policy};
/// use std::panic::catch_unwind;
///
/// deadlock::set_policy(Policy::Panic);
/// let lock = Lock::new(());
/// let _guard = lock.lock();
/// let panic = catch_unwind(|| drop(lock.lock())).unwrap_err();
/// assert!(panic.downcast_ref::<String>().unwrap().starts_with("deadlock: "));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The victim panics with the report as its message; its guards drop while it unwinds, and the others go on.
    /// A thread that is unwinding already is not chosen; where no member can unwind, the report is printed and the
    /// process aborts.
    #[default]
    Panic,
    /// The report is printed and the process aborts, unless the wait that closed the circle can return an error.
    Abort,
    /// The report is printed once (with the feature `tracing` it may go to the subscriber, and its first line is printed), and
    /// the threads go on waiting, for ever. If a member waits by
    /// [`acquire`](crate::Lock::acquire), it is the victim instead, and gets an error.
    ///
    /// Each thread that waits for an abandoned lock is a deadlock of its own, with its own report; unless it was told already of one
    /// that it is part of and that stands, as a writer may be whose readers are in its way for several reasons.
    Report,
    /// No wait is judged. Waits still enter the graph, so that [`snapshot`](super::snapshot()) shows them.
    Off,
}

const VALUES: [(&str, Policy); 4] =
    [("panic", Policy::Panic), ("abort", Policy::Abort), ("report", Policy::Report), ("off", Policy::Off)];

global! {
    static POLICY: Setting<Policy> = Setting::new("BOWLINE_DEADLOCK", &VALUES, Policy::Panic);
}

const DEFAULT_GRACE: Duration = Duration::from_micros(500);
static GRACE: quiet::AtomicU64 = quiet::AtomicU64::new(DEFAULT_GRACE.as_nanos() as u64);

/// Returns the policy in force. Costs one relaxed load.
#[must_use]
pub fn policy() -> Policy {
    POLICY.get()
}

/// Returns whether somebody chose the policy: the environment, or a call of [`set_policy`].
pub(super) fn is_chosen() -> bool {
    POLICY.is_chosen()
}

/// Sets the policy of the whole process.
///
/// Waits that are already registered are judged again under the new policy: switching detection on finds the
/// deadlocks that are there, and a deadlock that [`Policy::Report`] left standing is broken by [`Policy::Panic`].
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, Policy};
///
/// deadlock::set_policy(Policy::Report);
/// assert_eq!(deadlock::policy(), Policy::Report);
/// ```
pub fn set_policy(policy: Policy) {
    let was_chosen = is_chosen();
    let before = POLICY.replace(policy);
    if (before != policy || !was_chosen) && policy != Policy::Off {
        detector::with(|graph| {
            graph.forget_reports();
            graph.summon_all(Summons::Recheck);
        });
    }
}

/// Sets how long a wait may last before it enters the wait-for graph. The default is 500 µs; with zero, a wait enters
/// the graph at once.
///
/// A deadlock is found within the grace after it closes. Waits shorter than the grace cost nothing but a time-out on
/// their park, so a short grace trades throughput under contention for an earlier report. Waits that are under way
/// notice a shorter grace within 50 ms: under a longer one they look every 50 ms, and leave their place in the queue for that.
///
/// Timers fire late. So that the grace ends on time, its timer is set earlier by what timers usually are late, and at most
/// by a quarter of the grace: a wait may enter the graph that much before the grace is over.
///
/// # Examples
///
/// ```
/// use bowline::deadlock;
/// use std::time::Duration;
///
/// deadlock::set_grace(Duration::ZERO); // in a test: every wait enters the graph
/// assert_eq!(deadlock::grace(), Duration::ZERO);
/// ```
pub fn set_grace(grace: Duration) {
    GRACE.store(u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

/// Returns how long a wait may last before it enters the wait-for graph: see [`set_grace`].
#[must_use]
pub fn grace() -> Duration {
    if cfg!(all(test, loom)) {
        return Duration::ZERO;
    }
    Duration::from_nanos(GRACE.load(Relaxed))
}
