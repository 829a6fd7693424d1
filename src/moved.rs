//! The names that version 0.1 had at the root of the crate. Each leads to the item where it is now.

/// Moved to [`sync::ArcLockGuard`](crate::sync::ArcLockGuard).
#[deprecated(since = "0.2.0", note = "use `bowline::sync::ArcLockGuard`")]
pub type ArcLockGuard<T> = crate::sync::ArcLockGuard<T>;

/// Moved to [`sync::LockGuard`](crate::sync::LockGuard).
#[deprecated(since = "0.2.0", note = "use `bowline::sync::LockGuard`")]
pub type LockGuard<'a, T> = crate::sync::LockGuard<'a, T>;

/// Moved to [`sync::MappedLockGuard`](crate::sync::MappedLockGuard).
#[deprecated(since = "0.2.0", note = "use `bowline::sync::MappedLockGuard`")]
pub type MappedLockGuard<'a, T> = crate::sync::MappedLockGuard<'a, T>;

/// Moved to [`sync::MappedRLockGuard`](crate::sync::MappedRLockGuard).
#[deprecated(since = "0.2.0", note = "use `bowline::sync::MappedRLockGuard`")]
pub type MappedRLockGuard<'a, T> = crate::sync::MappedRLockGuard<'a, T>;

/// Moved to [`sync::RLockGuard`](crate::sync::RLockGuard).
#[deprecated(since = "0.2.0", note = "use `bowline::sync::RLockGuard`")]
pub type RLockGuard<'a, T> = crate::sync::RLockGuard<'a, T>;

/// Moved to [`task::AsCompleted`](crate::task::AsCompleted).
#[deprecated(since = "0.2.0", note = "use `bowline::task::AsCompleted`")]
pub type AsCompleted<F> = crate::task::AsCompleted<F>;

/// Moved to [`task::CodecError`](crate::task::CodecError).
#[deprecated(since = "0.2.0", note = "use `bowline::task::CodecError`")]
pub type CodecError = crate::task::CodecError;

/// Moved to [`task::DoneAndNotDone`](crate::task::DoneAndNotDone).
#[deprecated(since = "0.2.0", note = "use `bowline::task::DoneAndNotDone`")]
pub type DoneAndNotDone<F> = crate::task::DoneAndNotDone<F>;

/// Moved to [`task::InvalidState`](crate::task::InvalidState).
#[deprecated(since = "0.2.0", note = "use `bowline::task::InvalidState`")]
pub type InvalidState<T> = crate::task::InvalidState<T>;

/// Moved to [`task::PanicInfo`](crate::task::PanicInfo).
#[deprecated(since = "0.2.0", note = "use `bowline::task::PanicInfo`")]
pub type PanicInfo = crate::task::PanicInfo;

/// Moved to [`task::PanicLocation`](crate::task::PanicLocation).
#[deprecated(since = "0.2.0", note = "use `bowline::task::PanicLocation`")]
pub type PanicLocation = crate::task::PanicLocation;

/// Moved to [`task::Rejected`](crate::task::Rejected).
#[deprecated(since = "0.2.0", note = "use `bowline::task::Rejected`")]
pub type Rejected = crate::task::Rejected;

/// Moved to [`task::StartError`](crate::task::StartError).
#[deprecated(since = "0.2.0", note = "use `bowline::task::StartError`")]
pub type StartError = crate::task::StartError;

/// Moved to [`task::StartFailure`](crate::task::StartFailure).
#[deprecated(since = "0.2.0", note = "use `bowline::task::StartFailure`")]
pub type StartFailure = crate::task::StartFailure;

/// Moved to [`task::Status`](crate::task::Status).
#[deprecated(since = "0.2.0", note = "use `bowline::task::Status`")]
pub type Status = crate::task::Status;

/// Moved to [`task::SubmitError`](crate::task::SubmitError).
#[deprecated(since = "0.2.0", note = "use `bowline::task::SubmitError`")]
pub type SubmitError<F> = crate::task::SubmitError<F>;

/// Moved to [`task::Unfinished`](crate::task::Unfinished).
#[deprecated(since = "0.2.0", note = "use `bowline::task::Unfinished`")]
pub type Unfinished = crate::task::Unfinished;

/// Moved to [`task::WorkerExit`](crate::task::WorkerExit).
#[deprecated(since = "0.2.0", note = "use `bowline::task::WorkerExit`")]
pub type WorkerExit = crate::task::WorkerExit;

/// Moved to [`task::WorkerLost`](crate::task::WorkerLost).
#[deprecated(since = "0.2.0", note = "use `bowline::task::WorkerLost`")]
pub type WorkerLost = crate::task::WorkerLost;

/// Moved to [`thread_pool::Map`](crate::thread_pool::Map).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::Map`")]
pub type Map<I, F, R, E = crate::ThreadPoolExecutor> = crate::thread_pool::Map<I, F, R, E>;

/// Moved to [`thread_pool::Scope`](crate::thread_pool::Scope).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::Scope`")]
pub type Scope<'scope, 'env> = crate::thread_pool::Scope<'scope, 'env>;

/// Moved to [`thread_pool::ShutdownOptions`](crate::thread_pool::ShutdownOptions).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::ShutdownOptions`")]
pub type ShutdownOptions = crate::thread_pool::ShutdownOptions;

/// Moved to [`thread_pool::ShutdownReport`](crate::thread_pool::ShutdownReport).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::ShutdownReport`")]
pub type ShutdownReport = crate::thread_pool::ShutdownReport;

/// Moved to [`thread_pool::ThreadPoolBuilder`](crate::thread_pool::ThreadPoolBuilder).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::ThreadPoolBuilder`")]
pub type ThreadPoolBuilder = crate::thread_pool::ThreadPoolBuilder;

/// Moved to [`thread_pool::WhenFull`](crate::thread_pool::WhenFull).
#[deprecated(since = "0.2.0", note = "use `bowline::thread_pool::WhenFull`")]
pub type WhenFull = crate::thread_pool::WhenFull;

/// Moved to [`process_pool::ProcessPoolBuilder`](crate::process_pool::ProcessPoolBuilder).
#[cfg(feature = "process")]
#[deprecated(since = "0.2.0", note = "use `bowline::process_pool::ProcessPoolBuilder`")]
pub type ProcessPoolBuilder = crate::process_pool::ProcessPoolBuilder;

/// Moved to [`process_pool::ProcessPoolError`](crate::process_pool::ProcessPoolError).
#[cfg(feature = "process")]
#[deprecated(since = "0.2.0", note = "use `bowline::process_pool::ProcessPoolError`")]
pub type ProcessPoolError = crate::process_pool::ProcessPoolError;
