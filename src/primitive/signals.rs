//! Signals that a thread of ours hears of. Handlers that were there before are called as well.
//!
//! Not by a library's registry of handlers: whether a signal should still do what it does by default can be told only if
//! no handler of anybody else's is behind ours.

use std::cell::UnsafeCell;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::Ordering::{Acquire, Relaxed, Release};
use super::quiet::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Mutex, PoisonError};
use error::{errno, set_errno};

/// Signals have smaller numbers than this: those of real time are not heard.
const MAX_SIGNAL: usize = 32;

/// The signals of real time that the handler of each copy of this crate blocks while it runs, and some that it does not
/// block: by these the copies know each other.
const BLOCKED: [i32; 4] = [41, 43, 47, 61];
const NOT_BLOCKED: [i32; 3] = [42, 44, 60];
/// One more is blocked if the signal did what it does by default before the first copy heard it.
const DEFAULT_MARK: i32 = 59;

/// A signal that is heard.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) signal: i32,
    /// Whether the process ends by it if it did by default.
    pub(crate) ends: bool,
}

/// What the process did with a signal before it was heard.
struct Before {
    is_heard: AtomicBool,
    /// [`Heard::ends`].
    ends: AtomicBool,
    /// The thread that hears has such a signal in work.
    in_work: AtomicBool,
    /// The handler was to be called once, and has been.
    is_spent: AtomicBool,
    /// Written before the handler is installed, and not afterwards.
    action: UnsafeCell<MaybeUninit<libc::sigaction>>,
}

// SAFETY:
// - `action` is written once, before `is_heard` is set by a store with Release, and read only by those who have seen that.
unsafe impl Sync for Before {}

static BEFORE: [Before; MAX_SIGNAL] = [const {
    Before {
        is_heard: AtomicBool::new(false),
        ends: AtomicBool::new(false),
        in_work: AtomicBool::new(false),
        is_spent: AtomicBool::new(false),
        action: UnsafeCell::new(MaybeUninit::uninit()),
    }
}; MAX_SIGNAL];

/// The end of the pipe that the handler writes to.
static WRITER: AtomicI32 = AtomicI32::new(-1);
/// The number of that pipe's file: a program may close descriptors that it does not know, and use their numbers again.
static PIPE: AtomicU64 = AtomicU64::new(0);
/// The process that hears: a child that was forked has the handler, too.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The time that the other copies of this crate have before the process ends.
const OTHER_COPIES: Duration = Duration::from_millis(200);

static INSTALLING: Mutex<()> = Mutex::new(());

/// Calls `then` with each of these signals that the process receives, on a thread of its own with this name. If signals are
/// heard already, `then` is not used, and the thread that there is hears of these signals as well.
pub(crate) fn hear(signals: &[Heard], thread: &str, then: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if WRITER.load(Relaxed) < 0 || PROCESS.load(Relaxed) != std::process::id() {
        let (reader, writer) = io::pipe()?;
        let writer = OwnedFd::from(writer);
        // A handler never waits: as many signals as fit into a pipe are enough.
        // SAFETY:
        // - no memory is touched.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let pipe = file_number(writer.as_raw_fd()).ok_or_else(io::Error::last_os_error)?;
        without_signals(|| super::spawn(thread, move || listen(reader, pipe, then)))?;
        PROCESS.store(std::process::id(), Relaxed);
        PIPE.store(pipe, Relaxed);
        WRITER.store(writer.into_raw_fd(), Release);
    }
    signals.iter().try_for_each(|&heard| install(heard))
}

/// Reads signals from the pipe, until somebody has closed it.
fn listen(mut reader: io::PipeReader, pipe: u64, then: impl Fn(i32)) {
    let mut signal = [0];
    while file_number(reader.as_raw_fd()) == Some(pipe) && reader.read_exact(&mut signal).is_ok() {
        let signal = i32::from(signal[0]);
        super::contain(|| then(signal));
        if let Some(before) = before(signal) {
            before.in_work.store(false, Relaxed);
        }
    }
    // Its number may be another file's by now.
    std::mem::forget(reader);
}

/// Returns the number of an open file. May be called in a handler.
#[allow(clippy::unnecessary_cast, reason = "the types differ from system to system")]
fn file_number(descriptor: i32) -> Option<u64> {
    let mut facts = MaybeUninit::<libc::stat>::uninit();
    // SAFETY:
    // - the place is written to if the call succeeds.
    if unsafe { libc::fstat(descriptor, facts.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY:
    // - the call succeeded.
    let facts = unsafe { facts.assume_init() };
    Some(facts.st_ino as u64 ^ (facts.st_dev as u64).rotate_left(32))
}

/// Runs `start` while this thread blocks all signals, as the thread that it starts does then: no signal is this thread's, so
/// that programs which wait for signals get theirs.
fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    // SAFETY:
    // - all zeros is a set; both are sets.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
        unsafe { (MaybeUninit::zeroed().assume_init(), MaybeUninit::zeroed().assume_init()) };
    // SAFETY:
    // - the sets are written to, and this thread's mask is the one from before afterwards.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let result = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        result
    }
}

fn install(heard: Heard) -> io::Result<()> {
    let signal = heard.signal;
    let before = before(signal).ok_or(io::ErrorKind::InvalidInput)?;
    before.ends.store(heard.ends, Relaxed);
    if before.is_heard.load(Relaxed) {
        return Ok(());
    }
    let place = before.action.get().cast();
    // SAFETY:
    // - nobody reads the place before `is_heard` is set, and the mutex is held. It is filled before the handler is there.
    check(unsafe { libc::sigaction(signal, ptr::null(), place) })?;
    before.is_heard.store(true, Release);
    // SAFETY:
    // - all zeros is a value: no flags, an empty mask.
    let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    let mut was_default = false;
    if let Some(old) = old_action(signal) {
        was_default = is_default(old);
        if is_handler(old) && !is_of_a_copy(old) {
            // It runs as it was installed to.
            ours.sa_mask = old.sa_mask;
            ours.sa_flags = libc::SA_SIGINFO | old.sa_flags & (libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NODEFER);
        }
    }
    ours.sa_sigaction = handler_address();
    for mark in BLOCKED.into_iter().chain(was_default.then_some(DEFAULT_MARK)) {
        // SAFETY:
        // - the mask is a set. A number that is no signal is refused.
        unsafe { libc::sigaddset(&raw mut ours.sa_mask, mark) };
    }
    for mark in NOT_BLOCKED {
        // SAFETY:
        // - as above.
        unsafe { libc::sigdelset(&raw mut ours.sa_mask, mark) };
    }
    // SAFETY:
    // - the handler has the signature that SA_SIGINFO stands for, and does only what a handler may.
    check(unsafe { libc::sigaction(signal, &raw const ours, ptr::null_mut()) })
}

fn is_handler(action: &libc::sigaction) -> bool {
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
}

/// Returns whether an action is the default one, or that of another copy of this crate that sees to the default.
fn is_default(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_DFL || is_of_a_copy(action) && blocks(action, DEFAULT_MARK)
}

fn is_of_a_copy(action: &libc::sigaction) -> bool {
    is_handler(action)
        && BLOCKED.into_iter().all(|mark| blocks(action, mark))
        && !NOT_BLOCKED.into_iter().any(|mark| blocks(action, mark))
}

fn blocks(action: &libc::sigaction, signal: i32) -> bool {
    // SAFETY:
    // - the mask is a set.
    unsafe { libc::sigismember(&raw const action.sa_mask, signal) == 1 }
}

fn check(answer: i32) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn before(signal: i32) -> Option<&'static Before> {
    BEFORE.get(usize::try_from(signal).ok()?)
}

/// Returns what the process did with a signal that is heard.
fn old_action(signal: i32) -> Option<&'static libc::sigaction> {
    // ORDERING: Acquire pairs with the Release in `install`.
    let before = before(signal).filter(|before| before.is_heard.load(Acquire))?;
    // SAFETY:
    // - it was written before `is_heard` was set, and is not written any more.
    Some(unsafe { (*before.action.get()).assume_init_ref() })
}

fn handler_address() -> libc::sighandler_t {
    on_signal as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize
}

/// The handler. Touches atomics, and calls nothing that a handler may not call, but for the handler that was there before.
extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let error = errno();
    // SAFETY:
    // - a system call that cannot fail.
    let is_ours = unsafe { libc::getpid() } == PROCESS.load(Relaxed).cast_signed();
    if let Some((before, old)) = before(signal).zip(old_action(signal)) {
        // A second one while the first is in work is not told: whoever sends it does not want to wait.
        let is_told = is_ours && !before.in_work.swap(true, Relaxed) && tell(signal);
        let is_spent = old.sa_flags & libc::SA_RESETHAND != 0 && before.is_spent.swap(true, Relaxed);
        match old.sa_sigaction {
            libc::SIG_IGN => {}
            // The thread that was told sees to the default.
            libc::SIG_DFL => {
                if !is_told && before.ends.load(Relaxed) {
                    end_by_default(signal);
                }
            }
            _ if is_spent => end_by_default(signal),
            // SAFETY:
            // - a handler was installed with this signature.
            handler if old.sa_flags & libc::SA_SIGINFO != 0 => unsafe {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = std::mem::transmute(handler);
                handler(signal, info, context);
            },
            // SAFETY:
            // - as above.
            handler => unsafe {
                let handler: extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            },
        }
    }
    set_errno(error);
}

/// Tells the thread that hears. Returns whether it will hear of that.
fn tell(signal: i32) -> bool {
    // ORDERING: Acquire pairs with the Release in `hear`.
    let writer = WRITER.load(Acquire);
    let Ok(byte) = u8::try_from(signal) else { return false };
    // SAFETY:
    // - one byte is read.
    file_number(writer) == Some(PIPE.load(Relaxed)) && unsafe { libc::write(writer, (&raw const byte).cast(), 1) } == 1
}

/// Does what the signal does by default, unless a handler was there before, or has been installed since: then it is up to
/// that one. Of several copies of this crate the last one does it.
pub(crate) fn do_default(signal: i32) {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY:
    // - the place is written to if the call succeeds.
    let is_known = unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) } == 0;
    // SAFETY:
    // - the call succeeded.
    let is_ours = is_known && unsafe { now.assume_init_ref() }.sa_sigaction == handler_address();
    let Some(old) = old_action(signal).filter(|old| is_ours && is_default(old)) else { return };
    if is_of_a_copy(old) {
        // It has heard of the signal at the same time, and does something as well.
        std::thread::sleep(OTHER_COPIES);
    }
    end_by_default(signal);
}

/// Restores the default action of a signal, and sends it to the process.
fn end_by_default(signal: i32) {
    // SAFETY:
    // - all zeros is the default action: no handler, no flags, an empty mask; and an empty set.
    let (default, mut set): (libc::sigaction, libc::sigset_t) =
        unsafe { (MaybeUninit::zeroed().assume_init(), MaybeUninit::zeroed().assume_init()) };
    // SAFETY:
    // - these may be called in a handler, and touch no memory of ours but the action and the set. In a handler the signal
    //   comes when that returns.
    unsafe {
        libc::sigaction(signal, &raw const default, ptr::null_mut());
        libc::kill(libc::getpid(), signal);
        // All other threads may block it.
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

#[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "hurd"))]
fn errno_place() -> *mut i32 {
    // SAFETY:
    // - every thread has such a place.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
fn errno_place() -> *mut i32 {
    // SAFETY:
    // - every thread has such a place.
    unsafe { libc::__error() }
}

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
fn errno_place() -> *mut i32 {
    // SAFETY:
    // - every thread has such a place.
    unsafe { libc::__errno() }
}

#[cfg(any(
    target_os = "linux",
    target_os = "emscripten",
    target_os = "hurd",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "android",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod error {
    pub(super) fn errno() -> i32 {
        // SAFETY:
        // - the place is this thread's.
        unsafe { *super::errno_place() }
    }

    pub(super) fn set_errno(error: i32) {
        // SAFETY:
        // - the place is this thread's.
        unsafe { *super::errno_place() = error };
    }
}

/// Elsewhere a handler may change the error of the call that it interrupts.
#[cfg(not(any(
    target_os = "linux",
    target_os = "emscripten",
    target_os = "hurd",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "android",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
mod error {
    pub(super) fn errno() -> i32 {
        0
    }

    pub(super) fn set_errno(_: i32) {}
}
