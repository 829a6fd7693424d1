//! A task's panic: caught, with its message and its place, and carried to whoever asks for the result.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use crate::deadlock::context::thread_name;
use crate::deadlock::print_line;
use crate::primitive::catch_unwind;
use crate::primitive::quiet::{Mutex, Once, PoisonError};

/// The panic of a task.
///
/// Cheap to clone: the payload is shared, and the first to [resume](Self::resume) the panic takes it.
#[derive(Clone)]
pub struct PanicInfo(Arc<Caught>);

struct Caught {
    message: Box<str>,
    location: Option<PanicLocation>,
    thread: Option<Box<str>>,
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

    /// Takes the payload, once: `None` if it was taken before, through this value or a clone.
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
        f.debug_struct("PanicInfo")
            .field("message", &self.0.message)
            .field("location", &self.0.location)
            .field("thread", &self.0.thread)
            .finish_non_exhaustive()
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
    static LAST: RefCell<Option<PanicLocation>> = const { RefCell::new(None) };
}

/// Runs a task. A panic comes back with all that is known of it.
pub(super) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, PanicInfo> {
    CATCHING.set(CATCHING.get() + 1);
    // What another task has caught itself is not this one's.
    let _ = LAST.try_with(RefCell::take);
    let result = catch_unwind(task);
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|payload| PanicInfo::new(payload, LAST.try_with(RefCell::take).ok().flatten()))
}

/// Runs a piece of the user's code whose value and panic nobody wants: a callback, a destructor. Whether it returned.
///
/// The panic hook has told of the panic already.
pub(super) fn contain(run: impl FnOnce()) -> bool {
    let result = catch_unwind(run);
    // A payload whose destructor panics must not take the thread down.
    result.map_err(std::mem::forget).is_ok()
}

/// Runs what must not unwind, for others count on its end: if it does so all the same the process aborts.
pub(super) fn never_unwinds<R>(run: impl FnOnce() -> R) -> R {
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
    fn new(payload: Box<dyn Any + Send>, location: Option<PanicLocation>) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("Box<dyn Any>").into();
        let thread = thread_name().map(|name| name.as_ref().into());
        Self(Arc::new(Caught { message, location, thread, payload: Mutex::new(Some(payload)) }))
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
pub(super) fn note_locations() {
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
    let location = info.location().map(|location| PanicLocation {
        file: location.file().into(),
        line: location.line(),
        column: location.column(),
    });
    let _ = LAST.try_with(|last| last.replace(location));
}
