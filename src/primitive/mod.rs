//! The layer below all others: atomics, a mutex, park and unpark, the end of a thread.
//!
//! This is the only module that names `std::sync`, `parking_lot_core` or `loom`. A build of the models
//! (`--cfg loom`, tests only) replaces what lies below our own code and nothing else: the lock word, the contexts,
//! the wait-for graph and the door are the production code in both.

mod contain;
mod destructors;
pub(crate) mod lasting;
mod os_names;
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
pub(crate) mod signals;
pub(crate) mod spin;
mod stack;
#[cfg(all(target_os = "linux", not(bowline_portable), not(all(test, loom)), feature = "backtrace"))]
pub(crate) mod stack_trace;
#[cfg(all(unix, not(bowline_portable)))]
mod stderr;
mod thread_state;
mod word;
#[cfg_attr(any(not(target_os = "linux"), miri), path = "write_signals_portable.rs")]
#[cfg(all(unix, not(bowline_portable)))]
mod write_signals;

#[cfg(not(all(test, loom)))]
mod native;
#[cfg(not(all(test, loom)))]
use native as platform;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, loom))]
use model as platform;

#[cfg_attr(all(target_os = "linux", not(bowline_portable)), path = "thread_end_linux.rs")]
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "thread_end_portable.rs")]
#[cfg(not(all(test, loom)))]
mod thread_end;
#[cfg(all(test, loom))]
use model::thread_end;

pub(crate) use contain::contain;
pub(crate) use destructors::runs_destructors;
pub(crate) use os_names::{OsName, ThreadNames, os_thread_name, process_name};
pub(crate) use platform::{
    AtomicBool, AtomicU64, FilterOp, Mutex, Ordering, ParkResult, ParkToken, Queue, SpinWait, Thread, UnparkToken,
    catch_unwind, current_context, current_worker, fence_in_models, global, join_thread, new_atomic, now, os_thread_id,
    overwrite, park, set_current_context, set_current_worker, spawn_borrowing, spawn_thread, unpark_filter, unpark_one,
    yield_now,
};
pub(crate) use stack::{SYSTEM_TELLS_STACKS, mapping_around, stack_of_thread, stack_pointer};
#[cfg(all(unix, not(bowline_portable)))]
pub(crate) use stderr::{terminal_width, write_to_stderr};
pub(crate) use thread_end::{Lifeline, copy_number, run_at_thread_end, thread_is_ending};
pub(crate) use thread_state::ThreadState;
pub(crate) use word::Word;
#[cfg(all(target_os = "linux", not(bowline_portable), feature = "process"))]
pub(crate) use write_signals::without_write_signals;

#[cfg(all(test, loom))]
pub(crate) use platform::{
    events, join_threads, let_no_thread_start, let_no_thread_start_but_first, let_pauses_end, let_time_pass,
    queue_sleeps, remove, soon,
};

/// Returns `None`: nothing is known of terminals here.
#[cfg(any(not(unix), bowline_portable))]
pub(crate) fn terminal_width() -> Option<usize> {
    None
}

/// The width in bits of the number of a copy of this crate.
pub(crate) const COPY_BITS: u32 = 11;

/// Returns a number for this copy of the crate, made from its address in memory, for systems that give it none of its
/// own. It is above those of thread-specific keys.
fn number_by_address() -> u64 {
    static HERE: u8 = 0;
    let page = std::ptr::from_ref(&HERE).addr() as u64 >> 12;
    let half = 1 << (COPY_BITS - 1);
    half | page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - COPY_BITS + 1)
}

/// A part of a protocol that a model can remove, to show that the protocol fails without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ingredient {
    /// A lock is marked as unlisted when somebody ends a read of which nobody knows whose it is.
    UnlistedMark,
    /// An unlock publishes what was done under the lock.
    ReleaseOnUnlock,
    /// A complete initialisation publishes what it made.
    ReleaseOnCompletion,
    /// Whoever initialises is the provider of those that wait for an initialiser of somebody else's, too.
    AwaitedInitialiser,
    /// The end of an initialisation wakes all that wait for it.
    WakeAll,
    /// A park checks that its announcement still stands.
    ValidatedAnnouncement,
    /// A park checks whether its wait was summoned.
    ValidatedSummons,
    /// A park for a notification checks whether there was one.
    ValidatedNotice,
    /// A waiter whose time is over looks, under the mutex of the queue, whether it was notified before.
    OneOfNoticeAndTimeout,
    /// A context that ends with holds summons its waiters.
    SummonsAtEnd,
    /// A context that has ended counts as gone only once the kernel says so.
    KernelsWord,
    /// The judge looks at a lock again after the kernel has said that the owner is gone.
    SecondLook,
    /// Readers show themselves after many reads without a write. (Without it they are counted, which is slower.)
    Bias,
    /// A reader that shows itself then looks whether a writer came first.
    LookAfterShowing,
    /// A reader that shows itself and a writer each look at the other only after everybody can see their own part.
    #[cfg_attr(not(all(test, loom)), expect(dead_code, reason = "the fence is one of models alone"))]
    OrderOfLooks,
    /// A writer looks for readers that show themselves before it enters.
    LookForShown,
    /// A waiter whose wake-up may be missed looks again by itself.
    LookAgain,
    /// A wait with a limit, which ends by itself, is part of no verdict.
    TimedIsLive,
    /// A waiter that chose another as the victim judges again once that is settled.
    FindersLook,
    /// A context is reused only under a new number.
    FreshNumber,
    /// A retired context can do nothing before the context that its thread waits in.
    ActorOfTheRetired,
    /// The outer contexts of a registered context are registered with it.
    OuterContexts,
    /// The waiters that count on a group are judged again when it loses a member.
    GroupEvents,
    /// The thread that ends a task checks whether anybody will take the result.
    SeenDetachment,
    /// A worker that ends tells the next one that the pool is closed.
    SentinelPassedOn,
    /// The pool's group expects a worker before the worker is counted.
    ExpectedFirst,
    /// A thread that takes a task out of the queue without running it wakes the joiners if the pool is at rest.
    JoinersTold,
    /// A joiner that has waited for the last results looks once more whether the pool is at rest.
    RestSeenAgain,
    /// A worker counts as idle before its last result is there.
    RestedFirst,
    /// A worker that leaves because nothing is queued finds that in the step in which it leaves.
    LeftInOneStep,
    /// A submitter that was admitted without a new worker checks once more whether there may be one.
    SecondLookAtLimit,
    /// Permits that no waiter and no ended thread holds count as live.
    FreePermits,
    /// A waiter that leaves the queue serves those that it was in front of.
    ServedOnLeaving,
    /// A wait ends with what ended its generation, even if the next generation has begun.
    GenerationOfWaits,
    /// A wait subscribes to the end of its alternatives before a judge looks at them.
    SubscribedFirst,
    /// A waiter is judged again when one of its alternatives is gone.
    RecheckOfAlternatives,
    /// The waiters for room are judged again when the last room is taken.
    RecheckOfRoom,
    /// A thread is done only when its closure is over.
    DoneAfterClosure,
    /// A spawned thread tells which context it has before it runs its closure.
    ContextTold,
    /// A worker claims a task before it begins it, so that a task is either taken back or begun, never both.
    #[cfg(feature = "process")]
    ClaimBeforeBegin,
    /// The tasks that a lost worker had not begun are taken back from it.
    #[cfg(feature = "process")]
    RecallOfTheLost,
    /// A worker that has nothing to do takes tasks that lie behind another worker's task.
    #[cfg(feature = "process")]
    TakenFromBehind,
    /// A worker is counted until the tasks that failed with it have failed.
    #[cfg(feature = "process")]
    CountedToTheLast,
}

/// Returns whether a model removed this ingredient. Always `false` in production.
#[cfg(not(all(test, loom)))]
#[inline(always)]
pub(crate) const fn is_removed(_: Ingredient) -> bool {
    false
}
#[cfg(all(test, loom))]
pub(crate) use platform::is_removed;

/// Starts a thread that runs until the process ends.
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// Atomics and locks that no model explores: totals, configuration, and data that only a report reads.
///
/// They are the standard library's in every build, so that they cost a model no interleavings.
pub(crate) mod quiet {
    #[cfg(any(all(test, not(loom)), all(target_os = "linux", not(bowline_portable), feature = "process")))]
    pub(crate) use std::sync::Condvar;
    pub(crate) use std::sync::atomic::AtomicBool;
    #[cfg(all(
        unix,
        not(bowline_portable),
        any(feature = "signal", all(target_os = "linux", feature = "process"))
    ))]
    pub(crate) use std::sync::atomic::AtomicI32;
    pub(crate) use std::sync::atomic::fence;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    pub(crate) use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
}
