//! The main thread of a worker, which runs the tasks, as another thread of the worker sees it.
//!
//! Without the main thread the worker would live on and never reply; and while it runs the process's exit functions,
//! nothing else would end those that do not return. The other thread waits for a mutex that the main thread holds for
//! life. It needs no descriptor and no signal for that: a task can close the one and block the other.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

use super::watch::{STACK, end, without_signals};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::primitive::{Lifeline, spawn_thread};
use crate::process_pool::wire::fate::MAIN_THREAD_ENDED;

/// How long the exit functions of a process may take.
const MAX_EXITING: Duration = Duration::from_secs(10);

/// The calling thread of [`watch`], which is the main thread.
pub(super) struct MainThread(&'static Lifeline);

/// Starts a thread that kills this process and its group when the calling thread ends and the process does not, or when
/// the process takes too long to [exit](MainThread::exits).
///
/// # Errors
///
/// The system refuses another thread.
pub(super) fn watch(group: Pid, fate: &'static AtomicU32) -> io::Result<MainThread> {
    let lifeline: &'static Lifeline = Box::leak(Box::new(Lifeline::new()));
    // SAFETY:
    // - it is new, and never moves.
    unsafe { lifeline.hold() };
    let run = move || {
        match lifeline.wait() {
            // ORDERING: Relaxed: the parent reads it when it knows of the process's end, which comes after this.
            Some(true) => fate.store(MAIN_THREAD_ENDED, Relaxed),
            Some(false) => thread::sleep(MAX_EXITING),
            // The system made no lifeline.
            None => return,
        }
        end(group);
    };
    without_signals(|| spawn_thread("bowline-main".to_owned(), STACK, run))?;
    Ok(MainThread(lifeline))
}

impl MainThread {
    /// Limits the time that the process has to exit, from now on.
    pub(super) fn exits(&self) {
        // SAFETY:
        // - held by the thread that called `watch`, the main one, which is the one that exits; in a process that was
        //   forked off that one nothing changes.
        unsafe { self.0.release() };
    }
}
