//! What a task says before its result, on its way to the user's code: in order, and before the task is done.
//!
//! A supervisor puts it here, and the [callbacks](super::callbacks)' threads take it out, one at a time for each task. The result of
//! a task that has such notes comes last, in the same way. While the user's code hears a note, the task can't be done before
//! that returns: the thread counts as the task's runner then, so that code that waits for the task's result, or for somebody who
//! does, is found to be part of a deadlock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::Job;
use super::link::SocketLink;
use super::listener::Listener;
use crate::deadlock::{print_line, registry};
use crate::primitive::quiet::{Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::call::CallResult;
use crate::process_pool::wire::memory;
use crate::task::panic;
use crate::task::runner::Runner;
use crate::task::task_ref::TaskRef;

/// The bytes of a note, from a worker, which waits while too much of what it has said was not heard.
pub(super) struct Said {
    /// The note is behind the first `start` of these.
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) attached: Attached,
    pub(super) from: Arc<SocketLink>,
    pub(super) weight: u64,
}

impl Drop for Said {
    fn drop(&mut self) {
        memory::keep(std::mem::take(&mut self.bytes));
        self.from.page().note_heard(self.weight);
    }
}

/// A note, or the end of the task.
pub(super) enum Note {
    Progress(Said),
    /// The task, which was claimed, ends with this result.
    End(Job, CallResult),
}

/// Whether a thread takes out what is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "without a thread the task is never done"]
pub(super) enum Taker {
    /// The caller has [`drain`](Notes::drain) run.
    Wanted,
    IsThere,
}

/// What a task has said, and nobody has heard.
#[derive(Default)]
struct Queue {
    notes: VecDeque<Note>,
    is_drained: bool,
    /// The process that runs the task, or ran it.
    process: Option<u32>,
    /// The user's code hears a note.
    is_heard: bool,
}

/// What a task says while it runs, and who hears it.
pub(super) struct Notes {
    queue: Mutex<Queue>,
    /// Elsewhere while it hears.
    listener: Mutex<Option<Listener>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    /// Of a task to which this listens.
    pub(super) fn for_listener(listener: Listener) -> Self {
        Self { queue: Mutex::default(), listener: Mutex::new(Some(listener)) }
    }

    /// Puts in a note, behind the others.
    pub(super) fn put(&self, note: Note) -> Taker {
        let mut queue = lock(&self.queue);
        queue.notes.push_back(note);
        if std::mem::replace(&mut queue.is_drained, true) { Taker::IsThere } else { Taker::Wanted }
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
            drop(queue);
            match note {
                Note::Progress(said) => self.hear(task, said),
                Note::End(job, result) => {
                    self.forget_listener();
                    if let Some(then) = job.complete(result) {
                        then.run();
                    }
                }
            }
        }
    }

    /// Drops the user's code, which hears nothing any more.
    pub(super) fn forget_listener(&self) {
        let listener = lock(&self.listener).take();
        panic::contain(|| drop(listener));
    }

    fn hear(&self, task: &TaskRef, mut said: Said) {
        let Some(mut listener) = lock(&self.listener).take() else { return };
        lock(&self.queue).is_heard = true;
        task.set_runner(Runner::Context(registry::current().id()));
        let bytes = said.start;
        let mut heard = Ok(());
        panic::contain(|| heard = listener.hear(&said.bytes[bytes..], &mut said.attached));
        if let Err(error) = heard {
            let name = task.name().unwrap_or_else(|| task.type_name());
            print_line(format_args!("bowline: the progress of the task '{name}' can't be read: {error}"));
        }
        let mut queue = lock(&self.queue);
        queue.is_heard = false;
        if let Some(process) = queue.process {
            task.set_runner(Runner::Process(process));
        }
        drop(queue);
        *lock(&self.listener) = Some(listener);
    }
}
