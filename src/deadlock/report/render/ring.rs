//! A deadlock whose threads all do the same.

use super::find_hold;
use crate::deadlock::report::{Held, Kind, Report, Resource, StuckThread, Task, Wait};

/// Fewer threads are shown one by one.
const MIN_THREADS: usize = 3;

/// A circle of threads that wait on one line for locks that one line made, and took what the one before them waits for on
/// another line: each of them is told by its name alone.
pub(super) struct Ring<'r> {
    pub(super) threads: &'r [StuckThread],
    /// The wait of each of them.
    pub(super) wait: &'r Wait,
    /// What each of them holds.
    pub(super) hold: &'r Held,
    /// What each of them runs, if they run tasks.
    pub(super) task: Option<&'r Task>,
}

impl<'r> Ring<'r> {
    /// Returns the ring, if the deadlock is one.
    pub(super) fn of(report: &'r Report) -> Option<Self> {
        let threads = report.threads.as_slice();
        if report.kind != Kind::Cycle || threads.len() < MIN_THREADS {
            return None;
        }
        let first = threads.first()?;
        let ring = Self { threads, wait: first.waits_for()?, hold: first.holds.first()?, task: first.task() };
        let mut before = threads.iter().cycle().skip(threads.len() - 1);
        threads.iter().all(|thread| ring.has(thread, before.next())).then_some(ring)
    }

    /// Returns whether a thread does the same as the first one, and holds what the one `before` it waits for.
    fn has(&self, thread: &StuckThread, before: Option<&StuckThread>) -> bool {
        let (Some(wait), [held]) = (thread.waits_for(), thread.holds.as_slice()) else { return false };
        let waits_alike = !wait.resource.is_task()
            && !wait.resource.is_once()
            && !wait.resource.is_pool()
            && !wait.resource.has_permits()
            && wait.others == 0
            && (wait.site, wait.purpose, wait.timed) == (self.wait.site, self.wait.purpose, false)
            && are_alike(&wait.resource, &self.wait.resource);
        let holds_alike = (held.site, held.purpose, held.left_behind) == (self.hold.site, self.hold.purpose, false)
            && before.and_then(StuckThread::waits_for).is_some_and(|wait| find_hold(thread, &wait.resource).is_some());
        let runs_alike = match (thread.task(), self.task) {
            (None, None) => true,
            (Some(task), Some(other)) => are_alike(&task.resource, &other.resource),
            _ => false,
        };
        waits_alike && holds_alike && runs_alike && thread.omitted_holds == 0 && !thread.is_in_place
    }
}

/// Returns whether each thread of a deadlock waits for what the next one holds, and the last for what the first holds.
pub(super) fn is_chain(report: &Report) -> bool {
    let threads = report.threads.as_slice();
    let next = threads.iter().cycle().skip(1);
    report.kind == Kind::Cycle
        && threads.iter().zip(next).all(|(thread, next)| {
            thread.waits_for().is_some_and(|wait| {
                let runs = next.task().is_some_and(|task| task.resource.is_same(&wait.resource));
                let is_joined = wait.joined.as_ref().is_some_and(|joined| joined.is(next));
                runs || is_joined || find_hold(next, &wait.resource).is_some()
            })
        })
}

/// Returns whether two resources are told apart by nothing but their address.
fn are_alike(one: &Resource, other: &Resource) -> bool {
    let look = |resource: &Resource| (resource.primitive, resource.data_type, resource.name, resource.made_at);
    look(one) == look(other)
}
