//! The sizes that the documentation states.

use bowline::std_sync::{Barrier, Condvar, Mutex, MutexGuard, Once, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[test]
#[cfg(target_pointer_width = "64")]
fn each_type_is_as_small_as_documented() {
    assert_eq!([size_of::<Mutex<()>>(), size_of::<RwLock<()>>()], [40, 56]);
    assert_eq!([size_of::<Mutex<[u64; 10]>>(), size_of::<RwLock<[u64; 10]>>()], [120, 136]);
    assert_eq!(size_of::<MutexGuard<'_, u8>>(), 40);
    assert_eq!([size_of::<RwLockReadGuard<'_, u8>>(), size_of::<RwLockWriteGuard<'_, u8>>()], [24, 40]);
    assert_eq!([size_of::<Condvar>(), size_of::<Barrier>(), size_of::<Once>()], [72, 104, 32]);
}
