//! The stacks of other threads, each traced by its own thread, in the handler of a signal.

use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

use super::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::os_thread_id;
use super::quiet::{AtomicU64, AtomicUsize, Mutex, OnceLock, PoisonError};

/// Deeper stacks are cut.
const MAX_FRAMES: usize = 64;

/// Does nothing by default, and hardly any program handles it.
const SIGNAL: i32 = libc::SIGURG;

/// A thread that takes longer to begin is left alone.
const BEGIN_LIMIT: Duration = Duration::from_secs(2);
/// One that takes longer to end has kept the place of the frames: no stack is traced any more.
const END_LIMIT: Duration = Duration::from_secs(4);

/// The request under way: the number of the thread, and how far it has come.
static REQUEST: AtomicU64 = AtomicU64::new(0);
const ASKED: u64 = 1 << 32;
const BEGUN: u64 = 2 << 32;
const DONE: u64 = 3 << 32;

static FRAMES: [AtomicUsize; MAX_FRAMES] = [const { AtomicUsize::new(0) }; MAX_FRAMES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether stacks can be traced: not any more once a thread did not come to an end.
static TRACER: Mutex<bool> = Mutex::new(true);

/// Returns the instructions that a thread is in, from the innermost call on; empty if it does not tell.
pub(crate) fn trace(os_id: u32) -> Vec<usize> {
    if os_id == os_thread_id() {
        return own();
    }
    // What is done once in a process, before it is done in a handler.
    drop(own());
    let mut can_trace = TRACER.lock().unwrap_or_else(PoisonError::into_inner);
    if !*can_trace || os_id == 0 || blocks_signal(os_id) || !install() {
        return Vec::new();
    }
    ask(os_id, &mut can_trace)
}

/// Returns whether a thread blocks the signal, and would not answer.
fn blocks_signal(os_id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{os_id}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigBlk:")?.trim(), 16).ok());
    blocked.is_none_or(|blocked| blocked >> (SIGNAL - 1) & 1 != 0)
}

fn own() -> Vec<usize> {
    let mut frames = Vec::with_capacity(MAX_FRAMES);
    backtrace::trace(|frame| {
        frames.push(frame.ip().addr());
        frames.len() < MAX_FRAMES
    });
    frames
}

/// What the process did with the signal before the handler was installed, which it is once and for all: another copy of this
/// crate may have installed its own since, and calls this one.
static BEFORE: OnceLock<Option<Before>> = OnceLock::new();

struct Before(libc::sigaction);

// SAFETY:
// - plain data.
unsafe impl Send for Before {}
// SAFETY:
// - as above.
unsafe impl Sync for Before {}

/// Installs the handler, unless it is there. Returns whether it is.
fn install() -> bool {
    let install = || {
        // SAFETY:
        // - all zeros is a value: no flags, an empty mask.
        let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        ours.sa_sigaction =
            on_signal as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as libc::sighandler_t;
        // On the thread's own stack: an alternate one is too small to unwind on.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        let mut before = MaybeUninit::uninit();
        // SAFETY:
        // - the handler does only what it may, as far as it is known; see there.
        let answer = unsafe { libc::sigaction(SIGNAL, &raw const ours, before.as_mut_ptr()) };
        // SAFETY:
        // - the call succeeded, and has written it.
        (answer == 0).then(|| Before(unsafe { before.assume_init() }))
    };
    BEFORE.get_or_init(install).is_some()
}

fn ask(os_id: u32, can_trace: &mut bool) -> Vec<usize> {
    let thread = u64::from(os_id);
    REQUEST.store(ASKED | thread, Release);
    // SAFETY:
    // - a system call that touches no memory. A thread that is not there any more is an error.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), os_id, SIGNAL) };
    let begin = Instant::now();
    loop {
        // ORDERING: Acquire pairs with the Release in the handler: the frames are there.
        let request = REQUEST.load(Acquire);
        let waited = begin.elapsed();
        if request == DONE | thread {
            let count = COUNT.load(Relaxed).min(MAX_FRAMES);
            REQUEST.store(0, Relaxed);
            return FRAMES[..count].iter().map(|frame| frame.load(Relaxed)).collect();
        }
        let gives_up = answer != 0 || waited > BEGIN_LIMIT;
        if gives_up && REQUEST.compare_exchange(ASKED | thread, 0, AcqRel, Relaxed).is_ok() {
            return Vec::new();
        }
        if waited > END_LIMIT {
            *can_trace = false;
            return Vec::new();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Traces the stack of the thread that was asked. Any other signal is for the handler that was there before.
///
/// It unwinds, as profilers do in handlers: without allocating, and taking no lock but the dynamic linker's, which with
/// older versions of the C library a thread may hold that loads a library at that moment.
extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY:
    // - this thread's own place.
    let error = unsafe { *libc::__errno_location() };
    let thread = u64::from(os_thread_id());
    // ORDERING: Acquire pairs with the Release in `ask`.
    if REQUEST.compare_exchange(ASKED | thread, BEGUN | thread, AcqRel, Relaxed).is_ok() {
        record(thread);
    } else if let Some(Some(Before(old))) = BEFORE.get()
        && ![libc::SIG_DFL, libc::SIG_IGN].contains(&old.sa_sigaction)
    {
        // SAFETY:
        // - a handler was installed, with the signature that its flags say.
        unsafe {
            if old.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(old.sa_sigaction);
                handler(signal, info, context);
            } else {
                let handler: extern "C" fn(i32) = std::mem::transmute(old.sa_sigaction);
                handler(signal);
            }
        }
    }
    // SAFETY:
    // - as above.
    unsafe { *libc::__errno_location() = error };
}

/// Records the stack of this thread, which was asked.
#[inline(never)]
fn record(thread: u64) {
    let mut count = 0;
    // SAFETY:
    // - nobody else traces by this function while the request is this thread's; the unwinder itself needs no such lock.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            FRAMES[count].store(frame.ip().addr(), Relaxed);
            count += 1;
            count < MAX_FRAMES
        });
    }
    COUNT.store(count, Relaxed);
    // ORDERING: Release publishes the frames.
    REQUEST.store(DONE | thread, Release);
}

/// How the names of the calls begin in which a thread waits.
const WAITING: [&str; 5] = ["bowline::", "parking_lot::", "lock_api::", "parking_lot_core::", "syscall"];

/// The functions above the calls of a traced thread.
const OURS: [&str; 5] = [
    "__restore_rt",
    "primitive::stack_trace::on_signal",
    "primitive::stack_trace::record",
    "primitive::stack_trace::own",
    "primitive::stack_trace::trace",
];

/// Returns what is at these instructions, a line for each call that is known: `name at file:line`. The handler's own are left
/// out, and what called the body of a thread; of one that waits for this crate's, the calls in which it does.
pub(crate) fn symbolize(frames: &[usize], waits: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (depth, &frame) in frames.iter().enumerate() {
        // A caller's instruction is the one after the call.
        let address = if depth == 0 { frame } else { frame.saturating_sub(1) };
        let mut ends = false;
        backtrace::resolve(ptr::without_provenance_mut(address), |symbol| {
            let Some(name) = symbol.name() else { return };
            let name = format!("{name:#}");
            if OURS.iter().any(|ours| name.ends_with(ours)) {
                return lines.clear();
            }
            ends |= name.contains("__rust_begin_short_backtrace");
            let place = symbol.filename().zip(symbol.lineno());
            let place = place.map_or(String::new(), |(file, line)| format!(" at {}:{line}", file.display()));
            lines.push(name + &place);
        });
        if ends {
            lines.pop();
            break;
        }
    }
    let is_ours = |line: &String| WAITING.iter().any(|ours| line.trim_start_matches('<').starts_with(ours));
    let ours = if waits { lines.iter().take_while(|line| is_ours(line)).count() } else { 0 };
    lines.split_off(ours)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[inline(never)]
    fn waits_in_here(wait: impl FnOnce()) {
        wait();
        // Not a tail call.
        std::hint::black_box(());
    }

    #[test]
    fn a_thread_that_is_blocked_tells_its_calls() {
        let (tell, told) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(os_thread_id()).unwrap();
            waits_in_here(|| {
                let _ = gone.recv();
            });
        });
        let id = told.recv().unwrap();
        let has_it = || {
            let lines = symbolize(&trace(id), false);
            let is_first = |line: &&String| !line.contains("on_signal") && !line.contains("backtrace::");
            assert!(lines.first().as_ref().is_none_or(is_first), "{lines:?}");
            lines.iter().any(|line| line.contains("waits_in_here") && line.contains("stack_trace.rs:"))
        };
        while !has_it() {
            std::thread::yield_now();
        }
        drop(go);
        thread.join().unwrap();
        assert!(trace(id).is_empty() && trace(0).is_empty(), "it is gone");
        assert!(symbolize(&own(), false).iter().any(|line| line.contains("a_thread_that_is_blocked_tells_its_calls")));
    }
}
