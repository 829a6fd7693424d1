//! A thread that is ended by force while it waits: nothing of it is read any more, and whoever asks for its locks is told.

#![cfg(target_os = "linux")]

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use bowline::Lock;
use bowline::deadlock::{self, Kind};

use crate::support::{LIMIT, alone, on_another_thread, this_os_id, until_asleep, wait_until, within};

const STACK: usize = 1 << 20;
const SIGUSR1: c_int = 10;
const PROT_READ_WRITE: c_int = 3;
const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;

#[repr(C, align(8))]
struct Attributes([u8; 64]);

unsafe extern "C" {
    fn pthread_attr_init(attributes: *mut Attributes) -> c_int;
    fn pthread_attr_setstack(attributes: *mut Attributes, stack: *mut c_void, size: usize) -> c_int;
    fn pthread_create(
        thread: *mut c_ulong,
        attributes: *const c_void,
        run: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_kill(thread: c_ulong, signal: c_int) -> c_int;
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn syscall(number: c_long, ...) -> c_long;
    fn mmap(at: *mut c_void, size: usize, access: c_int, flags: c_int, file: c_int, offset: c_long) -> *mut c_void;
    fn munmap(at: *mut c_void, size: usize) -> c_int;
}

#[cfg(target_arch = "x86_64")]
const SYS_EXIT: c_long = 60;
#[cfg(target_arch = "aarch64")]
const SYS_EXIT: c_long = 93;

static HELD: Lock<u32> = Lock::named("held by force", 0);
static WANTED: Lock<u32> = Lock::named("wanted", 0);
static THREAD: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait_for_ever(_: *mut c_void) -> *mut c_void {
    let _held = HELD.lock();
    THREAD.store(this_os_id(), SeqCst);
    *WANTED.lock() += 1;
    std::ptr::null_mut()
}

extern "C" fn end_this_thread(_: c_int) {
    // SAFETY:
    // - the stack of this thread is left as it is.
    unsafe { syscall(SYS_EXIT, 0) };
}

fn a_waiting_thread_ends() {
    let wanted = WANTED.lock();
    // SAFETY:
    // - a new mapping, wherever there is room.
    let stack = unsafe { mmap(std::ptr::null_mut(), STACK, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) };
    let mut attributes = Attributes([0; 64]);
    let mut thread = 0;
    // SAFETY:
    // - the attributes are larger than the system's type, and initialised before they are used.
    // - the stack is mapped, and nobody else has it.
    unsafe {
        assert_eq!(pthread_attr_init(&raw mut attributes), 0);
        assert_eq!(pthread_attr_setstack(&raw mut attributes, stack, STACK), 0);
        assert_eq!(
            pthread_create(&raw mut thread, (&raw const attributes).cast(), wait_for_ever, std::ptr::null_mut()),
            0
        );
    }
    wait_until(|| THREAD.load(SeqCst) != 0);
    let os_id = THREAD.load(SeqCst);
    wait_until(|| {
        crate::support::find_thread_where(|thread| thread.os_id() == os_id && thread.waits_for().is_some()).is_some()
    });
    until_asleep(os_id);
    // SAFETY:
    // - the handler ends the thread and does nothing else; the thread is there.
    unsafe {
        signal(SIGUSR1, end_this_thread);
        assert_eq!(pthread_kill(thread, SIGUSR1), 0);
    }
    wait_until(|| !Path::new(&format!("/proc/self/task/{os_id}")).exists());

    let told = on_another_thread(|| HELD.acquire().map(drop).expect_err("its owner is gone"));
    assert_eq!(told.report().kind(), Kind::Abandoned, "{told}");
    let snapshot = deadlock::snapshot().to_string();
    assert!(snapshot.contains("still holds Lock<u32> 'held by force'"), "{snapshot}");
    // Its stack goes, as it does when such a thread is joined.
    // SAFETY:
    // - the thread is gone. What parking_lot's queue still has of it is not looked at from here on.
    assert_eq!(unsafe { munmap(stack, STACK) }, 0);
    let snapshot = deadlock::snapshot().to_string();
    assert!(snapshot.contains("still holds Lock<u32> 'held by force'"), "{snapshot}");
    deadlock::set_policy(deadlock::Policy::Report);
    std::mem::forget(wanted);
}

#[test]
fn a_thread_that_is_ended_while_it_waits_is_read_no_more_and_its_locks_are_abandoned() {
    alone(|| {
        within(LIMIT * 3 / 4, a_waiting_thread_ends);
        // Nothing is torn down over the queue in which the thread still stands.
        std::process::exit(0);
    });
}
