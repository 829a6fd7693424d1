//! The locks that are compared, behind one trait.

use std::cell::Cell;

/// A lock around a counter.
pub trait BenchLock: Send + Sync + Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Proof that the lock is held.
    type Guard<'a>
    where
        Self: 'a;

    /// Makes a free lock around zero.
    fn new() -> Self;

    /// Locks.
    fn lock(&self) -> Self::Guard<'_>;

    /// Counts one.
    fn add(guard: &mut Self::Guard<'_>);
}

/// A lock that its owner may take again.
pub trait Reentrant: BenchLock {}

/// bowline's `Lock`.
pub type Bowline = bowline::Lock<u64>;
/// bowline's `RLock`.
pub type BowlineReentrant = bowline::RLock<Cell<u64>>;
/// parking_lot's `Mutex`, with the detector in a build that has the feature.
pub type ParkingLot = parking_lot::Mutex<u64>;
/// parking_lot's `ReentrantMutex`.
pub type ParkingLotReentrant = parking_lot::ReentrantMutex<Cell<u64>>;
/// The standard library's `Mutex`.
pub type Std = std::sync::Mutex<u64>;
/// deloxide's `Mutex`: an on-line wait-for graph.
pub type Deloxide = deloxide::Mutex<u64>;
/// tracing-mutex's `Mutex`, with the lock-order graph that it leaves out of release builds unless asked by this name.
pub type TracingMutex = tracing_mutex::stdsync::tracing::Mutex<u64>;

macro_rules! bench_lock {
    ($lock:ty, $name:literal, $guard:ty, $value:expr, $take:expr, $add:expr) => {
        impl BenchLock for $lock {
            const NAME: &'static str = $name;
            type Guard<'a> = $guard;

            #[inline]
            fn new() -> Self {
                <$lock>::new($value)
            }

            #[inline]
            fn lock(&self) -> Self::Guard<'_> {
                let take: fn(&$lock) -> Self::Guard<'_> = $take;
                take(self)
            }

            #[inline]
            fn add(guard: &mut Self::Guard<'_>) {
                let add: fn(&mut Self::Guard<'_>) = $add;
                add(guard);
            }
        }
    };
}

bench_lock!(Bowline, "bowline", bowline::sync::LockGuard<'a, u64>, 0, |lock| lock.lock(), |guard| **guard += 1);
bench_lock!(ParkingLot, "parking_lot", parking_lot::MutexGuard<'a, u64>, 0, |lock| lock.lock(), |guard| **guard += 1);
bench_lock!(Std, "std", std::sync::MutexGuard<'a, u64>, 0, |lock| lock.lock().unwrap(), |guard| **guard += 1);
bench_lock!(Deloxide, "deloxide", deloxide::MutexGuard<'a, u64>, 0, |lock| lock.lock(), |guard| **guard += 1);
bench_lock!(
    TracingMutex,
    "tracing-mutex",
    tracing_mutex::stdsync::tracing::MutexGuard<'a, u64>,
    0,
    |lock| lock.lock().unwrap(),
    |guard| **guard += 1
);
bench_lock!(
    BowlineReentrant,
    "bowline (RLock)",
    bowline::sync::RLockGuard<'a, Cell<u64>>,
    Cell::new(0),
    |lock| lock.lock(),
    |guard| guard.set(guard.get() + 1)
);
bench_lock!(
    ParkingLotReentrant,
    "parking_lot (ReentrantMutex)",
    parking_lot::ReentrantMutexGuard<'a, Cell<u64>>,
    Cell::new(0),
    |lock| lock.lock(),
    |guard| guard.set(guard.get() + 1)
);

impl Reentrant for BowlineReentrant {}
impl Reentrant for ParkingLotReentrant {}

/// A lock with two cache lines of its own.
#[repr(align(128))]
#[derive(Debug)]
pub struct Apart<L>(pub L);

impl<L: BenchLock> BenchLock for Apart<L> {
    const NAME: &'static str = L::NAME;
    type Guard<'a>
        = L::Guard<'a>
    where
        L: 'a;

    #[inline]
    fn new() -> Self {
        Self(L::new())
    }

    #[inline]
    fn lock(&self) -> L::Guard<'_> {
        self.0.lock()
    }

    #[inline]
    fn add(guard: &mut L::Guard<'_>) {
        L::add(guard);
    }
}

/// Starts the detectors that have to be started: those who use them pay for them.
///
/// # Panics
///
/// If a detector was started before.
pub fn start_detectors(deloxide_found: impl Fn() + Send + Sync + 'static) {
    deloxide::Deloxide::new().callback(move |_| deloxide_found()).start().expect("deloxide starts once");
}
