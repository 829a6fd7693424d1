//! Each name that `std::sync` has on stable Rust, and each function by its type.

use std::time::Duration;

#[allow(deprecated, unused_imports, reason = "that they are there is the test")]
use super::sync::{
    Arc, Barrier, BarrierWaitResult, Condvar, LazyLock, LockResult, Mutex, MutexGuard, ONCE_INIT, Once, OnceLock,
    OnceState, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, TryLockResult, WaitTimeoutResult,
    Weak, atomic, mpsc,
};

type Predicate = fn(&mut u8) -> bool;
type Make = fn() -> u8;
type Guard<'a> = MutexGuard<'a, u8>;
type Timed<'a> = LockResult<(Guard<'a>, WaitTimeoutResult)>;

#[test]
fn each_function_has_its_type() {
    const _: Mutex<u8> = Mutex::new(0);
    const _: RwLock<u8> = RwLock::new(0);
    const _: Condvar = Condvar::new();
    const _: Barrier = Barrier::new(0);
    const _: Once = Once::new();
    const _: OnceLock<u8> = OnceLock::new();
    const _: LazyLock<u8> = LazyLock::new(|| 0);

    let _: for<'a> fn(&'a Mutex<u8>) -> LockResult<Guard<'a>> = Mutex::lock;
    let _: for<'a> fn(&'a Mutex<u8>) -> TryLockResult<Guard<'a>> = Mutex::try_lock;
    let _: fn(&Mutex<u8>) -> bool = Mutex::is_poisoned;
    let _: fn(&Mutex<u8>) = Mutex::clear_poison;
    let _: fn(Mutex<u8>) -> LockResult<u8> = Mutex::into_inner;
    let _: for<'a> fn(&'a mut Mutex<u8>) -> LockResult<&'a mut u8> = Mutex::get_mut;

    let _: for<'a> fn(&'a RwLock<u8>) -> LockResult<RwLockReadGuard<'a, u8>> = RwLock::read;
    let _: for<'a> fn(&'a RwLock<u8>) -> LockResult<RwLockWriteGuard<'a, u8>> = RwLock::write;
    let _: for<'a> fn(&'a RwLock<u8>) -> TryLockResult<RwLockReadGuard<'a, u8>> = RwLock::try_read;
    let _: for<'a> fn(&'a RwLock<u8>) -> TryLockResult<RwLockWriteGuard<'a, u8>> = RwLock::try_write;
    let _: fn(&RwLock<u8>) -> bool = RwLock::is_poisoned;
    let _: fn(&RwLock<u8>) = RwLock::clear_poison;
    let _: fn(RwLock<u8>) -> LockResult<u8> = RwLock::into_inner;
    let _: for<'a> fn(&'a mut RwLock<u8>) -> LockResult<&'a mut u8> = RwLock::get_mut;
    let _: fn(RwLockWriteGuard<'static, u8>) -> RwLockReadGuard<'static, u8> = RwLockWriteGuard::downgrade;

    let _: for<'a> fn(&Condvar, Guard<'a>) -> LockResult<Guard<'a>> = Condvar::wait::<u8>;
    let _: for<'a> fn(&Condvar, Guard<'a>, Predicate) -> LockResult<Guard<'a>> = Condvar::wait_while;
    let _: for<'a> fn(&Condvar, Guard<'a>, Duration) -> Timed<'a> = Condvar::wait_timeout;
    let _: for<'a> fn(&Condvar, Guard<'a>, Duration, Predicate) -> Timed<'a> = Condvar::wait_timeout_while;
    let _: fn(&Condvar) = Condvar::notify_one;
    let _: fn(&Condvar) = Condvar::notify_all;
    let _: fn(&WaitTimeoutResult) -> bool = WaitTimeoutResult::timed_out;

    let _: fn(&Barrier) -> BarrierWaitResult = Barrier::wait;
    let _: fn(&BarrierWaitResult) -> bool = BarrierWaitResult::is_leader;

    let _: fn(&Once, fn()) = Once::call_once;
    let _: fn(&Once, fn(&OnceState)) = Once::call_once_force;
    let _: [fn(&Once); 2] = [Once::wait, Once::wait_force];
    let _: fn(&Once) -> bool = Once::is_completed;
    let _: fn(&OnceState) -> bool = OnceState::is_poisoned;

    let _: for<'a> fn(&'a OnceLock<u8>) -> Option<&'a u8> = OnceLock::get;
    let _: for<'a> fn(&'a mut OnceLock<u8>) -> Option<&'a mut u8> = OnceLock::get_mut;
    let _: for<'a> fn(&'a OnceLock<u8>) -> &'a u8 = OnceLock::wait;
    let _: fn(&OnceLock<u8>, u8) -> Result<(), u8> = OnceLock::set;
    let _: for<'a> fn(&'a OnceLock<u8>, Make) -> &'a u8 = OnceLock::get_or_init;
    let _: fn(OnceLock<u8>) -> Option<u8> = OnceLock::into_inner;
    let _: fn(&mut OnceLock<u8>) -> Option<u8> = OnceLock::take;

    let _: for<'a> fn(&'a LazyLock<u8>) -> &'a u8 = LazyLock::force;
    let _: for<'a> fn(&'a mut LazyLock<u8>) -> &'a mut u8 = LazyLock::force_mut;
    let _: for<'a> fn(&'a LazyLock<u8>) -> Option<&'a u8> = LazyLock::get;
    let _: for<'a> fn(&'a mut LazyLock<u8>) -> Option<&'a mut u8> = LazyLock::get_mut;
}

/// What poison is, and pointers, atomics and channels, are std's own: they go to and fro.
#[test]
fn what_has_no_lock_is_stds() {
    let _: LockResult<u8> = Err(std::sync::PoisonError::new(1));
    let _: TryLockResult<u8> = Err(std::sync::TryLockError::WouldBlock);
    let _: Arc<atomic::AtomicU8> = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(1));
    let _: Weak<u8> = std::sync::Weak::new();
    let _: (mpsc::Sender<u8>, mpsc::Receiver<u8>) = std::sync::mpsc::channel();
}
