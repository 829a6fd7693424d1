//! A task's panic: caught, with its message and its place, and carried to whoever asks for the result.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use crate::deadlock::print_line;
use crate::deadlock::thread_name;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::catch_unwind;
pub(crate) use crate::primitive::contain;
use crate::primitive::quiet::{AtomicBool, Mutex, Once, PoisonError};

/// The panic of a task.
///
/// Cheap to clone: the payload is shared, and the first to [resume](Self::resume) the panic takes it.
#[derive(Clone)]
pub struct PanicInfo(Arc<Caught>);

struct Caught {
    message: Box<str>,
    location: Option<PanicLocation>,
    thread: Option<Box<str>>,
    /// Of a panic in another process.
    backtrace: Option<Box<str>>,
    process: Option<u32>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Where a panic was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicLocation {
    file: Box<str>,
    line: u32,
    column: u32,
}

impl PanicLocation {
    pub(crate) fn new(file: Box<str>, line: u32, column: u32) -> Self {
        Self { file, line, column }
    }

    /// The file, as the compiler was told its path.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl PanicInfo {
    /// What the task panicked with, if that is text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line that panicked. `None` if the program set a panic hook of its own after the first pool was made, or if
    /// the panic passed no hook ([`resume_unwind`](std::panic::resume_unwind)).
    #[must_use]
    pub fn location(&self) -> Option<&PanicLocation> {
        self.0.location.as_ref()
    }

    /// The name of the thread that ran the task.
    #[must_use]
    pub fn thread(&self) -> Option<&str> {
        self.0.thread.as_deref()
    }

    /// The id of the worker process that ran the task. `None` for a task of this process, on a thread.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.0.process
    }

    /// The backtrace, as text, of a panic in a worker process, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` in the environment of this
    /// one asked for it when the worker was started, and no limit on the worker's address space or data (`ulimit -v`, `-d`) is in
    /// the way: under such a limit a backtrace can hang. The first one takes tens of megabytes, and a fraction of a second.
    ///
    /// `None` for a task of this process: there the panic hook has seen the stack.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// Takes the payload, once: `None` if it was taken before, through this value or a clone.
    ///
    /// Of a panic in another process that is the [message](Self::message), as a `String`.
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Goes on with the panic on this thread: with its payload, or with the message if the payload was taken. The panic
    /// hook does not run again.
    ///
    /// # Panics
    ///
    /// Always: that is what it is for.
    pub fn resume(&self) -> ! {
        let payload = self.take_payload().unwrap_or_else(|| Box::new(self.0.message.to_string()));
        std::panic::resume_unwind(payload)
    }
}

impl fmt::Debug for PanicInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("PanicInfo");
        fields.field("message", &self.0.message).field("location", &self.0.location).field("thread", &self.0.thread);
        if let Some(process) = self.0.process {
            fields.field("process", &process);
        }
        fields.finish_non_exhaustive()
    }
}

impl fmt::Display for PanicInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if let Some(location) = &self.0.location {
            write!(f, " at {location}")?;
        }
        write!(f, ": {}", self.0.message)
    }
}

impl Error for PanicInfo {}

thread_local! {
    /// How many [`catch`]es this thread is inside of.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Where this thread's last panic was, if it was inside a [`catch`].
    static LAST: Cell<Option<Box<Noted>>> = const { Cell::new(None) };
}

/// What the panic hook saw.
#[derive(Default)]
struct Noted {
    location: Option<PanicLocation>,
    backtrace: Option<Box<str>>,
}

/// Runs a task. A panic comes back with all that is known of it.
pub(crate) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, PanicInfo> {
    CATCHING.set(CATCHING.get() + 1);
    // What another task has caught itself is not this one's.
    let _ = LAST.try_with(Cell::take);
    let result = catch_unwind(task);
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|payload| PanicInfo::new(payload, LAST.try_with(Cell::take).ok().flatten()))
}

/// Runs what must not unwind, for others count on its end: if it does so all the same the process aborts.
pub(crate) fn never_unwinds<R>(run: impl FnOnce() -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            print_line(format_args!("bowline: panic in the middle of an executor, aborting"));
            std::process::abort();
        }
    }
    // A model fails by a panic of its own, wherever it is.
    let abort = (!cfg!(all(test, loom))).then(|| Abort);
    let result = run();
    std::mem::forget(abort);
    result
}

impl PanicInfo {
    #[cold]
    fn new(payload: Box<dyn Any + Send>, noted: Option<Box<Noted>>) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("Box<dyn Any>").into();
        let thread = thread_name().map(|name| name.as_ref().into());
        let payload = Mutex::new(Some(payload));
        let Noted { location, backtrace } = noted.map_or_else(Noted::default, |noted| *noted);
        Self(Arc::new(Caught { message, location, thread, backtrace, process: None, payload }))
    }

    /// A panic in a worker process, of which text is all that came here.
    #[cfg(feature = "process")]
    #[cold]
    pub(crate) fn remote(
        message: Box<str>,
        location: Option<PanicLocation>,
        thread: Option<Box<str>>,
        backtrace: Option<Box<str>>,
        process: u32,
    ) -> Self {
        let payload: Box<dyn Any + Send> = Box::new(String::from(&*message));
        let payload = Mutex::new(Some(payload));
        Self(Arc::new(Caught { message, location, thread, backtrace, process: Some(process), payload }))
    }
}

/// Payloads have destructors of the user's, which may panic on whatever thread drops the last clone.
impl Drop for Caught {
    fn drop(&mut self) {
        let payload = self.payload.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        contain(|| drop(payload));
    }
}

/// Has the panic hook note where a task panics, before it does what it did before. Once for the process.
pub(crate) fn note_locations() {
    static ONCE: Once = Once::new();
    // Setting a hook is not allowed while panicking: the next pool will do.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    if CATCHING.try_with(Cell::get).unwrap_or(0) == 0 {
        return;
    }
    let location =
        info.location().map(|location| PanicLocation::new(location.file().into(), location.line(), location.column()));
    let backtrace = takes_backtraces().then(|| Backtrace::force_capture().to_string().into());
    let _ = LAST.try_with(|last| last.replace(Some(Box::new(Noted { location, backtrace }))));
}

/// Whether a panic's backtrace is noted, too: it is lost otherwise, as in a worker process.
static BACKTRACES: AtomicBool = AtomicBool::new(false);

/// Has backtraces noted from now on, or not.
#[cfg(feature = "process")]
pub(crate) fn note_backtraces(noted: bool) {
    BACKTRACES.store(noted, Relaxed);
}

/// Whether the environment asks for the backtraces of panics, as [`Backtrace::capture`] reads it.
#[cfg(all(target_os = "linux", not(bowline_portable), feature = "process"))]
pub(crate) fn are_backtraces_asked_for() -> bool {
    let asks = |variable| std::env::var_os(variable).map(|value| value != "0");
    asks("RUST_LIB_BACKTRACE").or_else(|| asks("RUST_BACKTRACE")).unwrap_or(false)
}

fn takes_backtraces() -> bool {
    BACKTRACES.load(Relaxed) && !is_short_of_memory()
}

/// Whether the process may run out of memory before the machine does. The standard library holds a lock while it makes a
/// backtrace, and takes it once more to tell that there is no memory for that: such a process would never panic again, nor end.
fn is_short_of_memory() -> bool {
    #[cfg(all(unix, not(bowline_portable)))]
    {
        [libc::RLIMIT_AS, libc::RLIMIT_DATA].into_iter().any(|resource| {
            let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            // SAFETY:
            // - a place to write to.
            unsafe { libc::getrlimit(resource, &raw mut limit) };
            limit.rlim_cur != libc::RLIM_INFINITY
        })
    }
    #[cfg(any(not(unix), bowline_portable))]
    {
        false
    }
}

#[cfg(all(test, not(loom), feature = "process"))]
mod tests {
    use super::*;

    fn remote() -> PanicInfo {
        let location = Some(PanicLocation::new("src/far.rs".into(), 7, 9));
        PanicInfo::remote("meant to".into(), location, Some("main".into()), Some("0: far".into()), 4711)
    }

    #[test]
    fn a_panic_of_another_process_says_where_and_looks_like_one_of_this() {
        let panic = remote();
        assert_eq!((panic.message(), panic.thread()), ("meant to", Some("main")));
        assert_eq!((panic.backtrace(), panic.process()), (Some("0: far"), Some(4711)));
        assert_eq!(panic.to_string(), "panicked at src/far.rs:7:9: meant to");
        assert!(format!("{panic:?}").contains("process: 4711"), "{panic:?}");
    }

    #[test]
    fn a_panic_of_another_process_goes_on_here_with_its_message() {
        let panic = remote();
        let again = panic.clone();
        for panic in [panic, again] {
            let payload = catch_unwind(|| panic.resume()).unwrap_err();
            assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("meant to"));
        }
        assert!(remote().take_payload().is_some_and(|payload| payload.is::<String>()));
    }

    #[test]
    fn a_panic_of_this_process_names_none() {
        let panic = catch(|| -> () { std::panic::resume_unwind(Box::new("meant to")) }).unwrap_err();
        assert_eq!((panic.process(), panic.backtrace()), (None, None));
        assert!(!format!("{panic:?}").contains("process: "), "{panic:?}");
    }
}
