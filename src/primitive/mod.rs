//! What everything else stands on: atomics, a mutex, park and unpark, the end of a thread.
//!
//! This is the only module that names `std::sync`, `parking_lot_core` or `loom`. A build of the models
//! (`--cfg loom`, tests only) replaces what lies below our own code and nothing else: the lock word, the contexts,
//! the wait-for graph and the door are the production code in both.

mod contain;
mod destructors;
mod os_names;
#[cfg(feature = "process")]
pub(crate) mod spin;
mod stack;
#[cfg(all(unix, not(bowline_portable)))]
mod stderr;
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
    catch_unwind, current_context, current_worker, global, join_thread, new_atomic, now, os_thread_id, park,
    set_current_context, set_current_worker, spawn_thread, unpark_filter, unpark_one, yield_now,
};
pub(crate) use stack::{SYSTEM_TELLS_STACKS, mapping_around, stack_of_thread, stack_pointer};
#[cfg(all(unix, not(bowline_portable)))]
pub(crate) use stderr::write_to_stderr;
pub(crate) use thread_end::{Lifeline, copy_number, run_at_thread_end, thread_is_ending};
pub(crate) use word::Word;
#[cfg(all(target_os = "linux", not(bowline_portable), feature = "process"))]
pub(crate) use write_signals::without_write_signals;

#[cfg(all(test, loom))]
pub(crate) use platform::{
    events, join_threads, let_no_thread_start, let_no_thread_start_but_first, let_time_pass, queue_sleeps, remove, soon,
};

/// So many bits has the number of a copy of this crate.
pub(crate) const COPY_BITS: u32 = 11;

/// A number for this copy of the crate where the system gives none that is its own: from where it lies in memory. Above those of
/// thread-specific keys.
fn number_by_address() -> u64 {
    static HERE: u8 = 0;
    let page = std::ptr::from_ref(&HERE).addr() as u64 >> 12;
    let half = 1 << (COPY_BITS - 1);
    half | page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - COPY_BITS + 1)
}

/// Parts of the protocols that a model can take out, to show that it fails without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ingredient {
    /// An unlock publishes what was done under the lock.
    ReleaseOnUnlock,
    /// A park looks whether its announcement stands.
    ValidatedAnnouncement,
    /// A park looks whether its wait was summoned.
    ValidatedSummons,
    /// A context that ends with holds summons those who wait for it.
    SummonsAtEnd,
    /// A context that has ended is not gone before the kernel says so.
    KernelsWord,
    /// An owner that is gone is looked up once more after the kernel said so.
    SecondLook,
    /// A wait that ends by itself is no part of a verdict.
    TimedIsLive,
    /// Whoever made another wait the victim judges again once that is settled.
    FindersLook,
    /// A context is used again under a new number only.
    FreshNumber,
    /// A retired context can do no more than what its thread waits in.
    ActorOfTheRetired,
    /// The contexts that a registered one runs inside of are registered with it.
    OuterContexts,
    /// A group that loses a member has those who count on it judged again.
    GroupEvents,
    /// Whoever ends a task looks whether somebody will take the result.
    SeenDetachment,
    /// A worker that ends tells the next that the pool is closed.
    SentinelPassedOn,
    /// A worker is expected by its pool's group before it is counted.
    ExpectedFirst,
    /// Whoever was admitted without a new worker looks once more whether there may be one.
    SecondLookAtLimit,
    /// A wait subscribes to the end of its alternatives before a judge looks at them.
    SubscribedFirst,
    /// An alternative that is no more has the waiter judged again.
    RecheckOfAlternatives,
    /// The last room that is taken has those judged again who wait for some.
    RecheckOfRoom,
    /// A worker claims a task before it begins, so that it is taken back or begun, and not both.
    #[cfg(feature = "process")]
    ClaimBeforeBegin,
    /// What a lost worker had not begun is taken back from it.
    #[cfg(feature = "process")]
    RecallOfTheLost,
    /// A worker that has nothing to do takes what lies behind another's task.
    #[cfg(feature = "process")]
    TakenFromBehind,
    /// A worker is counted until what failed with it has failed.
    #[cfg(feature = "process")]
    CountedToTheLast,
}

/// Whether a model took this ingredient out. Constantly `false` in production.
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

/// Atomics that no model explores: configuration, and what only a report reads.
///
/// They are the standard library's in every build, so that they cost a model no interleavings.
pub(crate) mod quiet {
    #[cfg(all(target_os = "linux", not(bowline_portable), feature = "process"))]
    pub(crate) use std::sync::Condvar;
    pub(crate) use std::sync::atomic::AtomicBool;
    #[cfg(all(target_os = "linux", not(bowline_portable), feature = "process"))]
    pub(crate) use std::sync::atomic::AtomicI32;
    pub(crate) use std::sync::atomic::fence;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};
    pub(crate) use std::sync::{Mutex, MutexGuard, Once, PoisonError};
}
