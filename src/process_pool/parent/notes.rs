//! What a task says before its result, on its way to the user's code: in order, and before the task is done.
//!
//! A supervisor puts it here, and the [callbacks](super::callbacks)' threads take it out, one at a time for each task. The result of
//! a task that has such notes comes last, in the same way. While the user's code hears a note, the task can't be done before
//! that returns: the thread counts as the task's runner then, so that code that waits for the task's result, or for somebody who
//! does, is found to be part of a deadlock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::listener::Listener;
use super::relay::Relay;
use crate::deadlock::{print_line, registry};
use crate::primitive::quiet::{Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::memory;
use crate::process_pool::wire::progress::{self, MAX_UNHEARD};
use crate::task::error::CodecError;
use crate::task::panic;
use crate::task::runner::Runner;
use crate::task::task_ref::TaskRef;
use crate::task::when_done::Then;

/// The worker whose task says something.
pub(super) trait Speaker: Send + Sync {
    /// Notes that so much of what this task has said was heard.
    fn note_heard(&self, task: u64, weight: u32);

    /// Returns a number that no other worker has, nor had.
    fn serial(&self) -> u64;
}

/// The bytes of a note, from a worker, which waits while too much of what it has said was not heard.
pub(super) struct Said {
    /// The note is behind the first `start` of these.
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) attached: Attached,
    pub(super) from: Arc<dyn Speaker>,
    /// The task's number there.
    pub(super) id: u64,
    pub(super) weight: u32,
}

impl Drop for Said {
    fn drop(&mut self) {
        memory::keep(std::mem::take(&mut self.bytes));
        self.from.note_heard(self.id, self.weight);
    }
}

/// A note, or the end of the task.
pub(super) enum Note {
    Progress(Said),
    /// A span, or an event.
    Trace(Said),
    /// This ends the task, which was claimed.
    End(End),
}

/// Ends a task, and returns what its caller runs.
type End = Box<dyn FnOnce() -> Option<Then> + Send>;

/// Whether a thread takes out what is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "without a thread the task is never done"]
pub(super) enum Taker {
    /// The caller runs [`drain`](Notes::drain), on a thread of the callbacks.
    Wanted,
    IsThere,
}

/// What a task has said, and nobody has heard.
#[derive(Default)]
struct Queue {
    notes: VecDeque<Note>,
    /// The serial number of the worker that has spoken last, and the weight of what is here of it.
    unheard: Option<(u64, u64)>,
    is_drained: bool,
    /// The process that runs the task, or ran it.
    process: Option<u32>,
    /// The user's code hears a note.
    is_heard: bool,
    /// A line has said that something can't be decoded.
    is_told: bool,
}

impl Queue {
    /// Counts a note that is put in, or taken out.
    fn count(&mut self, note: &Note, how: fn(u64, u64) -> Option<u64>) {
        let (Note::Progress(said) | Note::Trace(said)) = note else { return };
        let (serial, weight) = (said.from.serial(), u64::from(said.weight));
        match &mut self.unheard {
            Some((of, unheard)) if *of == serial => *unheard = how(*unheard, weight).unwrap_or(0),
            // Of one that is gone nothing is counted any more: how much it may have said it knew.
            other => *other = how(0, weight).map(|weight| (serial, weight)).or(*other),
        }
    }
}

/// What a task says while it runs, and who hears it.
pub(super) struct Notes {
    queue: Mutex<Queue>,
    audience: Mutex<Audience>,
}

/// The user's code that hears a task. Each part is taken out while it hears a note.
#[derive(Default)]
pub(super) struct Audience {
    pub(super) listener: Option<Listener>,
    pub(super) relay: Option<Relay>,
}

impl Audience {
    fn is_there(&self) -> bool {
        self.listener.is_some() || self.relay.is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    /// Of a task with this audience. `None`: there is nobody in it.
    pub(super) fn for_audience(audience: Audience) -> Option<Arc<Self>> {
        audience.is_there().then(|| Arc::new(Self { queue: Mutex::default(), audience: Mutex::new(audience) }))
    }

    /// Returns whether the task has said nothing that was not heard, and its end need not wait for the audience's.
    pub(super) fn is_quiet(&self) -> bool {
        !lock(&self.queue).is_drained && lock(&self.audience).listener.is_none()
    }

    /// Puts in a note, behind the others.
    pub(super) fn put(&self, note: Note) -> Taker {
        let mut queue = lock(&self.queue);
        queue.count(&note, u64::checked_add);
        queue.notes.push_back(note);
        if std::mem::replace(&mut queue.is_drained, true) { Taker::IsThere } else { Taker::Wanted }
    }

    /// Returns whether more of what the worker with this serial number has said lies here than it may have said before it was heard,
    /// if its messages have at most so many bytes.
    pub(super) fn is_flooded_by(&self, serial: u64, max_size: usize) -> bool {
        let most = u64::from(MAX_UNHEARD) + u64::from(progress::longest(max_size));
        lock(&self.queue).unheard.is_some_and(|(of, weight)| of == serial && weight > most)
    }

    /// Notes that this process runs the task.
    pub(super) fn runs_in(&self, process: u32, task: &TaskRef) {
        let mut queue = lock(&self.queue);
        queue.process = Some(process);
        // As long as a note is heard, its hearer is what the task waits for.
        if !queue.is_heard {
            task.set_runner(Runner::Process(process));
        }
    }

    /// Takes out what is there, and what comes meanwhile: runs the user's code.
    pub(super) fn drain(&self, task: &TaskRef) {
        loop {
            let mut queue = lock(&self.queue);
            let Some(note) = queue.notes.pop_front() else {
                queue.is_drained = false;
                return;
            };
            queue.count(&note, u64::checked_sub);
            drop(queue);
            match note {
                Note::Progress(mut said) => {
                    let Some(mut listener) = lock(&self.audience).listener.take() else { continue };
                    self.hear(task, || listener.hear(&said.bytes[said.start..], &mut said.attached));
                    lock(&self.audience).listener = Some(listener);
                }
                Note::Trace(said) => {
                    let Some(mut relay) = lock(&self.audience).relay.take() else { continue };
                    self.hear(task, || relay.hear(said.from.serial(), &said.bytes[said.start..]));
                    lock(&self.audience).relay = Some(relay);
                }
                Note::End(end) => {
                    let audience = self.take_audience();
                    self.hear(task, || {
                        drop(audience);
                        Ok(())
                    });
                    if let Some(then) = end() {
                        then.run();
                    }
                }
            }
        }
    }

    /// Takes the audience, which hears nothing any more. To drop it is to run the user's code.
    pub(super) fn take_audience(&self) -> Option<Audience> {
        let audience = std::mem::take(&mut *lock(&self.audience));
        audience.is_there().then_some(audience)
    }

    /// Runs code of the user's for which the task waits.
    fn hear(&self, task: &TaskRef, hear: impl FnOnce() -> Result<(), CodecError>) {
        lock(&self.queue).is_heard = true;
        task.set_runner(Runner::Context(registry::current().id()));
        let mut heard = Ok(());
        panic::contain(|| heard = hear());
        if let Err(error) = heard
            && !std::mem::replace(&mut lock(&self.queue).is_told, true)
        {
            let name = task.name().unwrap_or_else(|| task.type_name());
            print_line(format_args!(
                "bowline: a progress value, or an event, of task '{name}' can't be decoded: {error}"
            ));
        }
        let mut queue = lock(&self.queue);
        queue.is_heard = false;
        if let Some(process) = queue.process {
            task.set_runner(Runner::Process(process));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Worker(u64);

    impl Speaker for Worker {
        fn note_heard(&self, _: u64, _: u32) {}

        fn serial(&self) -> u64 {
            self.0
        }
    }

    fn said(serial: u64, weight: u32) -> Note {
        let from = Arc::new(Worker(serial));
        Note::Progress(Said { bytes: Vec::new(), start: 0, attached: Attached::none(), from, id: 1, weight })
    }

    #[test]
    fn a_worker_that_says_more_than_it_may_is_found_out() {
        let listener = Listener::new(|_: u8| ());
        let audience = Audience { listener: Some(listener), relay: None };
        let notes = Notes::for_audience(audience).expect("somebody listens");
        let most = MAX_UNHEARD + progress::longest(0);
        assert_eq!(notes.put(said(1, MAX_UNHEARD)), Taker::Wanted);
        assert!(!notes.is_flooded_by(1, 0));
        // What the worker said that had the task before is not this one's fault.
        for _ in 0..most {
            assert!(!notes.is_flooded_by(2, 0));
            assert_eq!(notes.put(said(2, 1)), Taker::IsThere);
        }
        assert!(!notes.is_flooded_by(2, 0));
        assert_eq!(notes.put(said(2, 1)), Taker::IsThere);
        assert!(notes.is_flooded_by(2, 0) && !notes.is_flooded_by(2, 1 << 20));
        let (task, _) = TaskRef::without_task::<()>(crate::deadlock::resource::Origin::here(None));
        notes.drain(&task);
        assert!(!notes.is_flooded_by(2, 0), "all of it was heard, or could not be read");
        assert_eq!(notes.put(said(2, 1)), Taker::Wanted);
    }
}
