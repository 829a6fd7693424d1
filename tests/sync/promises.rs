//! What the compiler promises about the public types: what is `Send`, `Sync` and unwind safe, what is constant, and
//! how large things are.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{Debug, Display};
use std::mem::{align_of, needs_drop, size_of};
use std::ops::DerefMut;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Deadlock, Hook, Report, WaitForGraph};
use bowline::sync::{
    ArcBoundedSemaphoreGuard, ArcLockGuard, ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard,
    ArcSemaphoreGuard, BarrierWait, BoundedSemaphoreGuard, BrokenBarrier, InitError, LockGuard, MappedLockGuard,
    MappedRLockGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard, OnceState, Poisoned, RLockGuard, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard, SemaphoreGuard, UpgradeError,
};
use bowline::{Barrier, BoundedSemaphore, Event, LazyLock, Lock, Once, OnceLock, RLock, RwLock, Semaphore};
use static_assertions::{assert_impl_all, assert_not_impl_any};

/// `Sync`, and not `Send`.
type Pinned = std::sync::MutexGuard<'static, i32>;
assert_impl_all!(Pinned: Sync);
assert_not_impl_any!(Pinned: Send);

// A lock sends its value between threads and shares it with none.
assert_impl_all!(Lock<Cell<i32>>: Send, Sync);
assert_impl_all!(RLock<Cell<i32>>: Send, Sync);
assert_not_impl_any!(Lock<Pinned>: Send, Sync);
assert_not_impl_any!(RLock<Pinned>: Send, Sync);
assert_not_impl_any!(Lock<Rc<i32>>: Send, Sync);
assert_not_impl_any!(RLock<Rc<i32>>: Send, Sync);
assert_impl_all!(Lock<[Cell<i32>]>: Send, Sync);
assert_impl_all!(RLock<dyn Send>: Send, Sync);

// A read-write lock does both: it is shared only if its value is.
assert_impl_all!(RwLock<i32>: Send, Sync);
assert_impl_all!(RwLock<Cell<i32>>: Send);
assert_not_impl_any!(RwLock<Cell<i32>>: Sync);
assert_not_impl_any!(RwLock<Pinned>: Send, Sync);
assert_not_impl_any!(RwLock<Rc<i32>>: Send, Sync);
assert_impl_all!(RwLock<[i32]>: Send, Sync);
assert_impl_all!(RwLock<dyn Send>: Send);
assert_not_impl_any!(RwLock<dyn Send>: Sync);
// What is initialised once is sent by its initialiser, and shared afterwards: as std's.
assert_impl_all!(Once: Send, Sync, Unpin);
assert_impl_all!(OnceLock<i32>: Send, Sync, Unpin);
assert_impl_all!(OnceLock<Cell<i32>>: Send);
assert_not_impl_any!(OnceLock<Cell<i32>>: Sync);
assert_not_impl_any!(OnceLock<Pinned>: Send, Sync);
assert_not_impl_any!(OnceLock<Rc<i32>>: Send, Sync);
assert_impl_all!(LazyLock<i32, Cell<fn() -> i32>>: Send, Sync);
assert_impl_all!(LazyLock<Cell<i32>>: Send);
assert_not_impl_any!(LazyLock<Cell<i32>>: Sync);
assert_not_impl_any!(LazyLock<i32, Rc<i32>>: Send, Sync);
assert_not_impl_any!(LazyLock<Pinned>: Send, Sync);
assert_impl_all!(OnceState: Send, Sync, Debug);
assert_impl_all!(InitError: Error, Clone, Send, Sync, From<Deadlock>, From<Poisoned>);
assert_impl_all!(Poisoned: Error, Clone, Send, Sync);

// A guard stays on its thread, whatever it guards.
assert_not_impl_any!(LockGuard<'static, i32>: Send);
assert_not_impl_any!(MappedLockGuard<'static, i32>: Send);
assert_not_impl_any!(ArcLockGuard<i32>: Send);
assert_not_impl_any!(RLockGuard<'static, i32>: Send);
assert_not_impl_any!(MappedRLockGuard<'static, i32>: Send);

assert_not_impl_any!(RwLockReadGuard<'static, i32>: Send);
assert_not_impl_any!(RwLockUpgradableReadGuard<'static, i32>: Send);
assert_not_impl_any!(RwLockWriteGuard<'static, i32>: Send);
assert_not_impl_any!(MappedRwLockReadGuard<'static, i32>: Send);
assert_not_impl_any!(MappedRwLockWriteGuard<'static, i32>: Send);
assert_not_impl_any!(ArcRwLockReadGuard<i32>: Send);
assert_not_impl_any!(ArcRwLockUpgradableReadGuard<i32>: Send);
assert_not_impl_any!(ArcRwLockWriteGuard<i32>: Send);
assert_not_impl_any!(UpgradeError<RwLockUpgradableReadGuard<'static, i32>>: Send);

// It is shared as its value is.
assert_impl_all!(RwLockReadGuard<'static, i32>: Sync);
assert_impl_all!(RwLockUpgradableReadGuard<'static, i32>: Sync);
assert_impl_all!(RwLockWriteGuard<'static, i32>: Sync);
assert_impl_all!(MappedRwLockReadGuard<'static, i32>: Sync);
assert_impl_all!(MappedRwLockWriteGuard<'static, i32>: Sync);
assert_impl_all!(ArcRwLockReadGuard<i32>: Sync);
assert_impl_all!(ArcRwLockUpgradableReadGuard<i32>: Sync);
assert_impl_all!(ArcRwLockWriteGuard<i32>: Sync);
assert_not_impl_any!(RwLockReadGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(RwLockUpgradableReadGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(RwLockWriteGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(MappedRwLockReadGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(MappedRwLockWriteGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(ArcRwLockReadGuard<Cell<i32>>: Sync);
assert_not_impl_any!(ArcRwLockUpgradableReadGuard<Cell<i32>>: Sync);
assert_not_impl_any!(ArcRwLockWriteGuard<Cell<i32>>: Sync);
assert_impl_all!(LockGuard<'static, i32>: Sync);
assert_impl_all!(MappedLockGuard<'static, i32>: Sync);
assert_impl_all!(ArcLockGuard<i32>: Sync);
assert_impl_all!(RLockGuard<'static, i32>: Sync);
assert_impl_all!(MappedRLockGuard<'static, i32>: Sync);
assert_not_impl_any!(LockGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(MappedLockGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(ArcLockGuard<Cell<i32>>: Sync);
assert_not_impl_any!(RLockGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(MappedRLockGuard<'static, Cell<i32>>: Sync);

// Guards are not copied: each of them releases once.
assert_not_impl_any!(LockGuard<'static, i32>: Clone);
assert_not_impl_any!(ArcLockGuard<i32>: Clone);
assert_not_impl_any!(RLockGuard<'static, i32>: Clone);

assert_not_impl_any!(RwLockReadGuard<'static, i32>: Clone, DerefMut);
assert_not_impl_any!(RwLockUpgradableReadGuard<'static, i32>: Clone, DerefMut);
assert_not_impl_any!(RwLockWriteGuard<'static, i32>: Clone);
assert_not_impl_any!(MappedRwLockReadGuard<'static, i32>: Clone, DerefMut);
assert_not_impl_any!(ArcRwLockReadGuard<i32>: Clone, DerefMut);
assert_not_impl_any!(ArcRwLockUpgradableReadGuard<i32>: Clone, DerefMut);
assert_not_impl_any!(ArcRwLockWriteGuard<i32>: Clone);

// A panic leaves a lock usable, whatever is in it.
assert_impl_all!(Lock<RefCell<i32>>: UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(RLock<RefCell<i32>>: UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(RwLock<RefCell<i32>>: UnwindSafe, RefUnwindSafe, Unpin);

// Permits that have owners stay on their thread; those of a semaphore that anybody may add to go anywhere.
assert_impl_all!(BoundedSemaphoreGuard<'static>: Sync);
assert_impl_all!(ArcBoundedSemaphoreGuard: Sync);
assert_not_impl_any!(BoundedSemaphoreGuard<'static>: Send, Clone);
assert_not_impl_any!(ArcBoundedSemaphoreGuard: Send, Clone);
assert_impl_all!(SemaphoreGuard<'static>: Send, Sync);
assert_impl_all!(ArcSemaphoreGuard: Send, Sync);
assert_not_impl_any!(SemaphoreGuard<'static>: Clone);
assert_not_impl_any!(ArcSemaphoreGuard: Clone);

// What threads wait at is shared by all, and usable after a panic.
assert_impl_all!(Event: Send, Sync, Debug, UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(Semaphore: Send, Sync, Debug, UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(BoundedSemaphore: Send, Sync, Debug, UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(Barrier: Send, Sync, Debug, UnwindSafe, RefUnwindSafe, Unpin);
assert_impl_all!(BrokenBarrier: Error, Copy, Send, Sync);
assert_impl_all!(BarrierWait: Copy, Debug, Send, Sync);

// What explains a deadlock goes wherever errors go.
assert_impl_all!(Deadlock: Error, Clone, Debug, Display, Send, Sync, Unpin, UnwindSafe, RefUnwindSafe);
assert_impl_all!(UpgradeError<RwLockUpgradableReadGuard<'static, i32>>: Error, Debug, Display);
assert_impl_all!(Report: Clone, Debug, Display, Send, Sync, serde::Serialize);
assert_impl_all!(StuckThread: Clone, Debug, Send, Sync, serde::Serialize);
assert_impl_all!(WaitForGraph: Clone, Debug, Display, Send, Sync, serde::Serialize);
assert_impl_all!(Hook: Debug, Send, Sync);

const _: () = {
    let mut lock = Lock::named("made and opened by the compiler", 1);
    *lock.get_mut() += 1;
    assert!(*lock.get_mut() == 2);
    let mut lock = RLock::new(1);
    *lock.get_mut() += 1;
    assert!(*lock.get_mut() == 2);
    let mut lock = RwLock::named("made and opened by the compiler", 1);
    *lock.get_mut() += 1;
    assert!(*lock.get_mut() == 2);
};

#[test]
fn a_lock_is_four_words_beside_its_value() {
    assert!(size_of::<Lock<()>>() <= 32);
    assert!(size_of::<Lock<[u64; 10]>>() <= 32 + 80);
    assert!(size_of::<RLock<()>>() <= 40);
    assert!(size_of::<RwLock<()>>() <= 48);
    assert!(size_of::<RwLock<[u64; 10]>>() <= 48 + 80);
    assert!(align_of::<RwLock<()>>() <= 8);
    assert!(align_of::<Lock<()>>() <= 8 && align_of::<RLock<()>>() <= 8);
}

#[test]
fn what_is_initialised_once_is_four_words_beside_its_value() {
    assert!(size_of::<Once>() <= 32);
    assert!(size_of::<OnceLock<Box<u8>>>() <= 32 + 8, "no word more where a value has a niche");
    assert!(size_of::<OnceLock<u64>>() <= 32 + 16);
    assert!(size_of::<LazyLock<Box<u8>>>() <= 32 + 16);
    assert!(size_of::<LazyLock<u64>>() <= 32 + 16);
    assert!(!needs_drop::<OnceLock<u8>>() && !needs_drop::<LazyLock<u8>>() && needs_drop::<OnceLock<Arc<u8>>>());
}

#[test]
fn what_threads_wait_at_is_small() {
    assert!(size_of::<Event>() <= 32 && size_of::<Semaphore>() <= 32);
    assert!(size_of::<BoundedSemaphore>() <= 48);
    assert!(!needs_drop::<Event>() && !needs_drop::<Semaphore>() && !needs_drop::<BoundedSemaphore>());
}

#[test]
fn a_guard_is_a_few_words() {
    let word = size_of::<usize>();
    assert!(size_of::<LockGuard<'_, i32>>() <= 3 * word);
    assert!(size_of::<Option<LockGuard<'_, i32>>>() <= 3 * word);
    assert!(size_of::<ArcLockGuard<i32>>() <= 3 * word);
    assert!(size_of::<RLockGuard<'_, i32>>() <= 3 * word);
    assert!(size_of::<MappedLockGuard<'_, i32>>() <= 4 * word);
    assert!(size_of::<MappedRLockGuard<'_, i32>>() <= 4 * word);
    assert!(size_of::<RwLockReadGuard<'_, i32>>() <= 3 * word);
    assert!(size_of::<Option<RwLockReadGuard<'_, i32>>>() <= 3 * word);
    assert!(size_of::<RwLockUpgradableReadGuard<'_, i32>>() <= 3 * word);
    assert!(size_of::<RwLockWriteGuard<'_, i32>>() <= 3 * word);
    assert!(size_of::<ArcRwLockReadGuard<i32>>() <= 3 * word);
    assert!(size_of::<MappedRwLockReadGuard<'_, i32>>() <= 4 * word);
    assert!(size_of::<MappedRwLockWriteGuard<'_, i32>>() <= 4 * word);
    assert!(size_of::<Result<RwLockReadGuard<'_, i32>, Deadlock>>() <= 3 * word);
    // `Result<_, Deadlock>` is what `acquire` returns on its fast path.
    assert!(size_of::<Result<LockGuard<'_, i32>, Deadlock>>() <= 3 * word);
}

#[test]
fn a_lock_has_nothing_to_do_when_it_is_dropped() {
    assert!(!needs_drop::<Lock<i32>>());
    assert!(!needs_drop::<RLock<i32>>());
    assert!(!needs_drop::<RwLock<i32>>());
    assert!(needs_drop::<Lock<Arc<i32>>>());
}
