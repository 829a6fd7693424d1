//! The names of the threads that are shown, as they are at that time.

use std::sync::Arc;

use crate::deadlock::detector;
use crate::deadlock::graph::thread_name::ThreadName;
use crate::primitive::{OsName, ThreadNames};

/// The names of the threads of one report or snapshot, asked of the system when the first is needed. Not under the
/// graph's mutex.
#[derive(Default)]
pub(in crate::deadlock) struct NamesNow(Option<ThreadNames>);

impl NamesNow {
    /// Returns the name to show of the thread with this number. A name that only the system knows is the thread's own
    /// unless it may be inherited: unless another thread has the same, and that one's name is not known to the system
    /// alone.
    pub(in crate::deadlock) fn shown(&mut self, name: ThreadName, os_id: u32, is_gone: bool) -> Option<Arc<str>> {
        let name = match name {
            ThreadName::None => return None,
            ThreadName::Given(name) => return Some(name),
            ThreadName::System(name) => name,
        };
        let threads = self.0.get_or_insert_with(ThreadNames::now);
        let now = threads.of(os_id).filter(|_| !is_gone).unwrap_or(name);
        // The system's list of threads may leave one out while another ends, so a name that was given is looked for first.
        let is_own =
            !was_given(now) && threads.namesakes(now).filter(|&other| other != os_id).all(is_known_to_the_system_alone);
        is_own.then(|| Some(now.text()?.into()))?
    }
}

/// Returns whether a thread that locks, or did, was given a name of which the system knows this much.
fn was_given(name: OsName) -> bool {
    detector::with(|graph| {
        graph.contexts().any(
            |context| matches!(&graph.record(context).name, ThreadName::Given(given) if OsName::of_given(given) == name),
        )
    })
}

fn is_known_to_the_system_alone(os_id: u32) -> bool {
    detector::with(|graph| {
        graph.contexts().any(|context| {
            let record = graph.record(context);
            record.os_id == os_id && matches!(record.name, ThreadName::System(_))
        })
    })
}
