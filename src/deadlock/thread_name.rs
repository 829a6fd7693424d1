//! What a thread is called: by std, or, where it was named otherwise, by the system.

use std::sync::{Arc, OnceLock};

use super::context::thread_name;
use super::graph;
use crate::primitive::{OsName, ThreadNames, os_thread_name, process_name};

/// The name of a thread, as far as it is known at its first lock.
#[derive(Clone, Default)]
pub(super) enum ThreadName {
    /// It has none; or that of the process, which each thread has until it gets another.
    #[default]
    None,
    /// The one that std knows.
    Given(Arc<str>),
    /// The system's. A thread inherits it from the one that started it: whether it is its own is found out when it is told.
    System(OsName),
}

impl ThreadName {
    /// The calling thread's name.
    pub(super) fn of_this() -> Self {
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

/// The names of the threads of one picture, asked of the system when the first is wanted. Not under the graph's mutex.
#[derive(Default)]
pub(super) struct NamesNow(Option<ThreadNames>);

impl NamesNow {
    /// The name that is told of the thread with this number. A name that the system knows is its own if nobody has the same
    /// from whom it could be: nobody, that is, but others whose name only the system knows.
    pub(super) fn told(&mut self, name: ThreadName, os_id: u32, is_gone: bool) -> Option<Arc<str>> {
        let name = match name {
            ThreadName::None => return None,
            ThreadName::Given(name) => return Some(name),
            ThreadName::System(name) => name,
        };
        let threads = self.0.get_or_insert_with(ThreadNames::now);
        let now = threads.of(os_id).filter(|_| !is_gone).unwrap_or(name);
        let is_own = threads.namesakes(now).filter(|&other| other != os_id).all(is_known_to_the_system_alone);
        is_own.then(|| Some(now.text()?.into()))?
    }
}

fn is_known_to_the_system_alone(os_id: u32) -> bool {
    graph::with(|graph| {
        graph.contexts().any(|context| {
            let record = graph.record(context);
            record.os_id == os_id && matches!(record.name, ThreadName::System(_))
        })
    })
}
