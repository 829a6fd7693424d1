//! The name of a thread: std's, or, where it was named otherwise, the system's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{Thread, ThreadId};

use crate::primitive::{OsName, os_thread_name, process_name};

/// The name of a thread, as far as it is known at its first lock.
#[derive(Clone, Default)]
pub(in crate::deadlock) enum ThreadName {
    /// It has none; or that of the process, which each thread has until it gets another.
    #[default]
    None,
    /// The one that std knows.
    Given(Arc<str>),
    /// The system's. A thread inherits it from the one that started it: whether it is its own is found out when it is
    /// shown.
    System(OsName),
}

impl ThreadName {
    /// Returns the calling thread's name.
    pub(in crate::deadlock) fn of_this() -> Self {
        static PROCESS: OnceLock<Option<OsName>> = OnceLock::new();
        if let Some(name) = thread_name() {
            return Self::Given(name);
        }
        match (os_thread_name(), PROCESS.get_or_init(process_name)) {
            (Some(name), Some(process)) if name != *process => Self::System(name),
            _ => Self::None,
        }
    }
}

/// Returns the thread's name, if it has one and it can still be asked for. The first thread of a process is `main`,
/// even if std did not start that process, or has not started it yet.
pub(crate) fn thread_name() -> Option<Arc<str>> {
    if cfg!(all(test, loom)) {
        return None;
    }
    let name = ask_std(|thread| thread.name().map(Arc::from)).flatten();
    name.or_else(|| (crate::primitive::os_thread_id() == std::process::id()).then(|| "main".into()))
}

/// Returns std's id of the calling thread, if it can still be asked for.
pub(in crate::deadlock) fn thread_id() -> Option<ThreadId> {
    if cfg!(all(test, loom)) { None } else { ask_std(|thread| thread.id()) }
}

/// Asks std's handle of the calling thread.
fn ask_std<R>(ask: impl FnOnce(Thread) -> R) -> Option<R> {
    /// Destroyed before std's own handle of the thread: while this is there, the handle may be asked for.
    struct HandleIsThere;
    impl Drop for HandleIsThere {
        fn drop(&mut self) {}
    }
    thread_local! { static PROBE: HandleIsThere = const { HandleIsThere } }
    let ask = AssertUnwindSafe(|| ask(std::thread::current()));
    // The destructor of a thread-specific key may be the first to lock, and runs after the handle is gone and where
    // the probe cannot tell: there std panics. Where that would end the process, std is not asked.
    let ask = || if cfg!(panic = "abort") { None } else { catch_unwind(ask).ok() };
    PROBE.try_with(|_| ask()).ok().flatten()
}
