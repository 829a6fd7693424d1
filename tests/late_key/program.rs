//! A program that is built to abort on panics, by `ci/abort.sh`: its first lock is in the destructor of a thread-specific key,
//! which runs after std has let go of the thread's name.

use std::ffi::{c_int, c_uint, c_void};
use std::thread;

use bowline::Lock;

static LOCK: Lock<u32> = Lock::new(0);

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, destructor: extern "C" fn(*mut c_void)) -> c_int;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
}

extern "C" fn lock_late(_: *mut c_void) {
    *LOCK.lock() += 1;
}

fn main() {
    let mut key = 0;
    // SAFETY:
    // - `key` is a place to write to.
    assert_eq!(unsafe { pthread_key_create(&raw mut key, lock_late) }, 0);
    let set = move || {
        // SAFETY:
        // - the key was created and is never deleted; the value is not looked at.
        assert_eq!(unsafe { pthread_setspecific(key, (&raw const LOCK).cast()) }, 0);
    };
    for name in [None, Some("late")] {
        let thread = name.map_or_else(thread::Builder::new, |name: &str| thread::Builder::new().name(name.to_owned()));
        thread.spawn(set).expect("a thread").join().expect("it does not panic");
    }
    assert_eq!(*LOCK.lock(), 2);
    println!("two first locks in late destructors");
}
