//! A program that is built to abort on panics, by `ci/abort.sh`: its first lock is in the destructor of a thread-specific key,
//! which runs after std has let go of the thread's name.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::thread;

use bowline::Lock;

static LOCK: Lock<u32> = Lock::new(0);

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, destructor: extern "C" fn(*mut c_void)) -> c_int;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
}

static KEY: OnceLock<c_uint> = OnceLock::new();

/// The rounds in which the system destroys keys that are set again and again.
const ROUNDS: usize = 4;

/// Locks in the last round: the value is how many there are until then.
extern "C" fn lock_late(rounds: *mut c_void) {
    if rounds.addr() == 1 { *LOCK.lock() += 1 } else { set(rounds.addr() - 1) }
}

fn set(rounds: usize) {
    let value = std::ptr::without_provenance::<c_void>(rounds);
    // SAFETY:
    // - the key was created and is never deleted; the value is not looked at.
    assert_eq!(unsafe { pthread_setspecific(*KEY.get().expect("created"), value) }, 0);
}

fn main() {
    let mut key = 0;
    // SAFETY:
    // - `key` is a place to write to.
    assert_eq!(unsafe { pthread_key_create(&raw mut key, lock_late) }, 0);
    KEY.set(key).expect("once");
    for name in [None, Some("late")] {
        for rounds in 1..=ROUNDS {
            let thread = name.map_or_else(thread::Builder::new, |name: &str| thread::Builder::new().name(name.to_owned()));
            thread.spawn(move || set(rounds)).expect("a thread").join().expect("it does not panic");
        }
    }
    assert_eq!(*LOCK.lock(), 2 * ROUNDS as u32);
    println!("first locks in each round of late destructors");
}
