//! A task that was ended while it ran.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::WorkerExit;
use super::last_lines::LastLines;
use crate::deadlock::render::{Humane, printable};

/// A task in a worker process that was ended while it ran: by `Future::terminate`, or because it
/// had run into its `timeout`. What the task had done remains; the task is not run
/// again.
///
/// Cheap to clone. [`Display`](fmt::Display) prints one line, for example `task 'render' had run for 10 s, which is its time-out,
/// was asked to stop, and worker process 4711 was killed by signal 9 (SIGKILL) 2.0 s later`, and the last lines that the process
/// wrote to its standard output and standard error, if the pool captures those.
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::TerminationCause;
/// use bowline::{ProcessPoolExecutor, TaskError};
/// use std::time::Duration;
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let hangs = pool.task(|| -> () { loop { std::thread::park() } }, ()).timeout(Duration::from_millis(10)).submit();
/// let TaskError::Terminated(terminated) = hangs.result().unwrap_err() else { unreachable!() };
/// assert_eq!(terminated.cause(), TerminationCause::TimedOut);
/// assert!(terminated.asked_after() >= Duration::from_millis(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Terminated(Arc<Ended>);

struct Ended {
    task: &'static str,
    pid: u32,
    cause: TerminationCause,
    exit: WorkerExit,
    asked_after: Duration,
    took: Duration,
    lines: LastLines,
}

/// Why a task was ended while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TerminationCause {
    /// `Future::terminate` was called.
    Asked,
    /// It had run for as long as its `timeout` allows.
    TimedOut,
}

impl Terminated {
    pub(crate) fn new(
        task: &'static str,
        pid: u32,
        cause: TerminationCause,
        exit: WorkerExit,
        asked_after: Duration,
        took: Duration,
        lines: LastLines,
    ) -> Self {
        Self(Arc::new(Ended { task, pid, cause, exit, asked_after, took, lines }))
    }

    /// Returns the task: the name under which it was submitted, or the name of its type.
    #[must_use]
    pub fn task(&self) -> &str {
        self.0.task
    }

    /// Returns the id of the process that ran the task, and has ended. Another process may have it by now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns why the task was ended.
    #[must_use]
    pub fn cause(&self) -> TerminationCause {
        self.0.cause
    }

    /// Returns how the process ended: with [`Signal`](WorkerExit::Signal) 15 or 9, if nothing else ended it meanwhile.
    #[must_use]
    pub fn exit(&self) -> &WorkerExit {
        &self.0.exit
    }

    /// Returns how long the task had run when it was asked to stop, as the parent knows it.
    #[must_use]
    pub fn asked_after(&self) -> Duration {
        self.0.asked_after
    }

    /// Returns how long after that the process was gone.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.0.took
    }

    /// Returns the last lines that the process wrote to its standard output, during this task or before. Empty unless
    /// the pool captures (`capture_stdout`) them.
    #[must_use]
    pub fn stdout(&self) -> &[String] {
        &self.0.lines.stdout
    }

    /// Returns the last lines that the process wrote to its standard error, during this task or before. Empty unless
    /// the pool captures (`capture_stderr`) them.
    #[must_use]
    pub fn stderr(&self) -> &[String] {
        &self.0.lines.stderr
    }
}

impl fmt::Debug for Terminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminated")
            .field("task", &self.0.task)
            .field("pid", &self.0.pid)
            .field("cause", &self.0.cause)
            .field("exit", &self.0.exit)
            .field("asked_after", &self.0.asked_after)
            .field("took", &self.0.took)
            .field("stdout", &self.0.lines.stdout)
            .field("stderr", &self.0.lines.stderr)
            .finish()
    }
}

impl fmt::Display for Terminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { task, pid, cause, exit, asked_after, took, lines } = &*self.0;
        let why = match cause {
            TerminationCause::Asked => "",
            TerminationCause::TimedOut => ", which is its time-out",
        };
        let (task, ran_for, took) = (printable(task), Humane(*asked_after), Humane(*took));
        write!(
            f,
            "task '{task}' had run for {ran_for}{why}, was asked to stop, and worker process {pid} {exit} {took} later"
        )?;
        fmt::Display::fmt(lines, f)
    }
}

impl Error for Terminated {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_why_how_and_when() {
        let (ran, took) = (Duration::from_secs(10), Duration::from_millis(1500));
        let of = |cause, number, stderr: &[&str]| {
            let exit = WorkerExit::Signal { number, core_dumped: false };
            let lines = LastLines { stdout: Vec::new(), stderr: stderr.iter().copied().map(String::from).collect() };
            Terminated::new("render", 4711, cause, exit, ran, took, lines)
        };
        assert_eq!(
            of(TerminationCause::TimedOut, 9, &["tile 7"]).to_string(),
            "task 'render' had run for 10 s, which is its time-out, was asked to stop, and worker process 4711 was killed by signal 9 \
             (SIGKILL) 1.5 s later\n  last lines of its standard error:\n    tile 7"
        );
        let asked = of(TerminationCause::Asked, 15, &[]);
        assert_eq!(
            asked.to_string(),
            "task 'render' had run for 10 s, was asked to stop, and worker process 4711 was killed by signal 15 (SIGTERM) 1.5 s later"
        );
        assert_eq!((asked.task(), asked.pid(), asked.exit().signal_name()), ("render", 4711, Some("SIGTERM")));
        assert_eq!((asked.asked_after(), asked.took()), (ran, took));
    }
}
