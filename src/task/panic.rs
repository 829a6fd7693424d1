//! A task's panic: caught, with its message and its place, and carried to whoever asks for the result.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use crate::deadlock::ReportIn;
use crate::deadlock::thread_name;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::catch_unwind;
pub(crate) use crate::primitive::contain;
use crate::primitive::quiet::{AtomicBool, Mutex, Once, PoisonError};

/// The panic of a task.
///
/// Cheap to clone: the payload is shared, and the first to [resume](Self::resume) the panic takes it.
///
/// # Examples
///
/// ```
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("deck").build();
/// let future = pool.submit(|| -> u8 { panic!("out of rope") });
/// let TaskError::Panicked(panic) = future.result().unwrap_err() else { unreachable!() };
/// assert_eq!(panic.message(), "out of rope");
/// assert_eq!(panic.thread(), Some("deck_0"));
/// assert!(panic.location().is_some());
/// ```
#[derive(Clone)]
pub struct PanicInfo(Arc<Caught>);

/// What is known of a panic.
pub(crate) struct Caught {
    pub(crate) message: Box<str>,
    pub(crate) location: Option<PanicLocation>,
    pub(crate) thread: Option<Box<str>>,
    /// The backtrace of a panic in another process.
    pub(crate) backtrace: Option<Box<str>>,
    pub(crate) process: Option<u32>,
    pub(crate) payload: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The place of a panic in the source.
///
/// # Examples
///
/// ```
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1);
/// let (line, future) = (line!(), pool.submit(|| -> u8 { panic!("out of rope") })); // both on one line
/// let Some(TaskError::Panicked(panic)) = future.exception() else { unreachable!() };
/// let location = panic.location().unwrap();
/// assert_eq!((location.file(), location.line()), (file!(), line));
/// ```
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

    /// Returns the path of the file, as the compiler was given it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line, counted from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the column, counted from 1.
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
    /// Returns the message of the panic, or a placeholder if the payload is not text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the place of the panic. `None` if the program set a panic hook of its own after the first pool was made,
    /// or if the panic passed no hook ([`resume_unwind`](std::panic::resume_unwind)).
    #[must_use]
    pub fn location(&self) -> Option<&PanicLocation> {
        self.0.location.as_ref()
    }

    /// Returns the name of the thread that ran the task.
    #[must_use]
    pub fn thread(&self) -> Option<&str> {
        self.0.thread.as_deref()
    }

    /// Returns the id of the worker process that ran the task. `None` for a task that ran on a thread of this process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.0.process
    }

    /// Returns the backtrace, as text, of a panic in a worker process. There is one if `RUST_BACKTRACE` or
    /// `RUST_LIB_BACKTRACE` in the environment of this process asked for it when the worker was started, and the
    /// worker's address space and data are not limited (`ulimit -v`, `-d`): under such a limit a backtrace can hang.
    /// The first backtrace takes tens of megabytes, and a fraction of a second.
    ///
    /// `None` for a task of this process, where the panic hook has seen the stack.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// Takes the payload, once. Returns `None` if it was taken before, through this value or a clone.
    ///
    /// The payload of a panic in another process is the [message](Self::message), as a `String`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.submit(|| -> u8 { std::panic::panic_any(404) });
    /// let Some(TaskError::Panicked(panic)) = future.exception() else { unreachable!() };
    /// assert_eq!(panic.take_payload().unwrap().downcast_ref(), Some(&404));
    /// assert!(panic.take_payload().is_none());
    /// ```
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resumes the panic on this thread: with its payload, or with the message if the payload was taken. The panic hook
    /// does not run again.
    ///
    /// # Panics
    ///
    /// Always: that is its purpose.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor};
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.submit(|| -> u8 { panic!("out of rope") });
    /// let Some(TaskError::Panicked(panic)) = future.exception() else { unreachable!() };
    /// let payload = catch_unwind(AssertUnwindSafe(|| -> () { panic.resume() })).unwrap_err();
    /// assert_eq!(payload.downcast_ref(), Some(&"out of rope"));
    /// ```
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

/// Shows the place of the panic and its message. Of a deadlock's report in the message this is the first line: the message,
/// a page, was printed when the task panicked, and an error may be passed on from task to task.
impl fmt::Display for PanicInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if let Some(location) = &self.0.location {
            write!(f, " at {location}")?;
        }
        let message = &*self.0.message;
        match ReportIn::text(message) {
            Some(ReportIn { before, headline, after }) => {
                write!(f, ": {before}{headline} (its report is in the message of that panic){after}")
            }
            None => write!(f, ": {message}"),
        }
    }
}

impl Error for PanicInfo {}

thread_local! {
    /// The number of [`catch`]es that this thread is inside of.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// The place of this thread's last panic, if it was inside a [`catch`].
    static LAST: Cell<Option<Box<Noted>>> = const { Cell::new(None) };
}

/// The facts that the panic hook has noted.
#[derive(Default)]
struct Noted {
    location: Option<PanicLocation>,
    backtrace: Option<Box<str>>,
}

/// Runs a task and returns its result, or its panic with all that is known of it.
pub(crate) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, PanicInfo> {
    CATCHING.set(CATCHING.get() + 1);
    // A panic that another task has caught itself is not this one's.
    let _ = LAST.try_with(Cell::take);
    let result = catch_unwind(task);
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|payload| PanicInfo::new(payload, LAST.try_with(Cell::take).ok().flatten()))
}

/// Runs code of an executor that must not unwind, since others count on its end. If it unwinds all the same, the process
/// aborts.
pub(crate) fn never_unwinds<R>(run: impl FnOnce() -> R) -> R {
    crate::deadlock::never_unwinds("in the middle of an executor", run)
}

impl From<Caught> for PanicInfo {
    fn from(caught: Caught) -> Self {
        Self(Arc::new(caught))
    }
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
        Caught { message, location, thread, backtrace, process: None, payload }.into()
    }
}

/// The destructor of a payload is the user's, and may panic on whatever thread drops the last clone.
impl Drop for Caught {
    fn drop(&mut self) {
        let payload = self.payload.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        contain(|| drop(payload));
    }
}

/// Changes the panic hook, once for the process: it notes where a task panics, and then does what it did before.
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

/// Whether a panic's backtrace is noted, too: in a worker process, where it is lost otherwise.
pub(crate) static BACKTRACES: AtomicBool = AtomicBool::new(false);

fn takes_backtraces() -> bool {
    BACKTRACES.load(Relaxed) && !is_short_of_memory()
}

/// Returns whether the process may run out of memory before the machine does. The standard library holds a lock while
/// it makes a backtrace, and takes it once more to report that there is no memory for that: such a process would never
/// panic again, nor end.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn remote() -> PanicInfo {
        let location = Some(PanicLocation::new("src/far.rs".into(), 7, 9));
        let payload: Box<dyn Any + Send> = Box::new("meant to".to_owned());
        PanicInfo::from(Caught {
            message: "meant to".into(),
            location,
            thread: Some("main".into()),
            backtrace: Some("0: far".into()),
            process: Some(4711),
            payload: Mutex::new(Some(payload)),
        })
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
