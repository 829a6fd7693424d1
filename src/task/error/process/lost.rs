//! A worker process that is gone, and how it ended.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::last_lines::LastLines;
use super::reason::LossReason;
use super::signal;
use crate::deadlock::render::{Humane, printable};

/// A worker process that ended in the middle of a task. What the task had done remains; the task is not run again,
/// unless it or the pool has `retries`.
///
/// Cheap to clone. [`Display`](fmt::Display) prints one line, for example
/// `worker process 4711 was killed by signal 9 (SIGKILL) after 1.2 s of task 'thumbnail'`, and the last lines that the
/// process wrote to its standard output and standard error, if the pool captures those.
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::WorkerExit;
/// use bowline::{ProcessPoolExecutor, TaskError};
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let future = pool.submit_named("thumbnail", |code: i32| -> u8 { std::process::exit(code) }, (99,));
/// let error = future.result().unwrap_err();
/// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
/// assert_eq!(lost.exit(), &WorkerExit::Code(99));
/// assert_eq!(lost.task(), "thumbnail");
/// assert_ne!(lost.pid(), std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WorkerLost(Arc<Lost>);

struct Lost {
    pid: u32,
    exit: WorkerExit,
    task: &'static str,
    ran_for: Duration,
    lines: LastLines,
    reason: Option<LossReason>,
}

/// How a worker process ended.
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::WorkerExit;
/// use bowline::{ProcessPoolExecutor, TaskError};
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let error = pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
/// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
/// assert!(matches!(lost.exit(), WorkerExit::Signal { number: 6, .. }));
/// assert_eq!(lost.exit().signal_name(), Some("SIGABRT"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerExit {
    /// It exited with this code: the task called [`exit`](std::process::exit), or a function that does; or it executed
    /// another program in place of the worker's, which has ended since.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The number of the signal. [`signal_name`](WorkerExit::signal_name) has its name.
        number: i32,
        /// Whether the system has written the process's memory to a file.
        core_dumped: bool,
    },
    /// Its main thread, which runs the tasks, overflowed its stack. An overflow of another thread is a
    /// [`Signal`](Self::Signal).
    StackOverflow,
    /// Its main thread, which runs the tasks, ended without the process (by the system call `exit`, not by the function
    /// of the C library). The rest of the process was killed.
    MainThreadEnded,
    /// Its connection to the pool was closed while the process lived on, and it was killed: a task closed a descriptor
    /// that was not its own, or executed another program in place of the worker's (`exec`).
    StreamClosed {
        /// The program that it executed when this was noticed, if that was not the worker's.
        program: Option<Arc<str>>,
    },
    /// It sent data that are no message of a worker, for this reason, and was killed: other code writes to its socket,
    /// or to its memory.
    Protocol(Arc<str>),
    /// It is gone, and other code has taken its exit status: the program waits for all of its child processes, or
    /// ignores SIGCHLD.
    Unknown,
}

impl WorkerLost {
    pub(crate) fn new(pid: u32, exit: WorkerExit, task: &'static str, ran_for: Duration, lines: LastLines) -> Self {
        Self(Arc::new(Lost { pid, exit, task, ran_for, lines, reason: None }))
    }

    /// Returns the same with this reason, if nobody shares it yet.
    pub(crate) fn with_reason(mut self, reason: Option<LossReason>) -> Self {
        if let Some(lost) = Arc::get_mut(&mut self.0) {
            lost.reason = reason;
        }
        self
    }

    /// Returns the id of the process. Another process may have it by now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns how the process ended.
    #[must_use]
    pub fn exit(&self) -> &WorkerExit {
        &self.0.exit
    }

    /// Returns why the process ended, where more is known than [`exit`](Self::exit) says: a limit that the pool has set,
    /// or memory that ran out. [`Display`](fmt::Display) ends the first line with it.
    ///
    /// # Examples
    ///
    #[cfg_attr(feature = "process", doc = "```")]
    #[cfg_attr(not(feature = "process"), doc = "```ignore")]
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let error = pool.submit(|| -> u8 { std::process::abort() }, ()).result().unwrap_err();
    /// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
    /// assert_eq!(lost.reason(), None); // its own decision
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reason(&self) -> Option<LossReason> {
        self.0.reason
    }

    /// Returns the task that it ran: the name under which the task was submitted, or the name of its type.
    #[must_use]
    pub fn task(&self) -> &str {
        self.0.task
    }

    /// Returns how long the task had run, as the parent knows it: since the worker had this task and none before it.
    #[must_use]
    pub fn ran_for(&self) -> Duration {
        self.0.ran_for
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

impl fmt::Debug for WorkerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLost")
            .field("pid", &self.0.pid)
            .field("exit", &self.0.exit)
            .field("reason", &self.0.reason)
            .field("task", &self.0.task)
            .field("ran_for", &self.0.ran_for)
            .field("stdout", &self.0.lines.stdout)
            .field("stderr", &self.0.lines.stderr)
            .finish()
    }
}

impl fmt::Display for WorkerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { pid, exit, task, ran_for, lines, reason } = &*self.0;
        write!(f, "worker process {pid} {exit} after {} of task '{}'", Humane(*ran_for), printable(task))?;
        if let Some(reason) = reason {
            write!(f, ": {reason}")?;
        }
        fmt::Display::fmt(lines, f)
    }
}

impl Error for WorkerLost {}

impl WorkerExit {
    /// Returns the name of the signal that ended the process: `SIGKILL`, `SIGRTMIN+3`. `None` if no signal did, or if
    /// the signal is not known on this system.
    #[must_use]
    pub fn signal_name(&self) -> Option<&'static str> {
        match self {
            Self::Signal { number, .. } => signal::name(*number),
            _ => None,
        }
    }
}

/// The predicate of a sentence whose subject is the process: "was killed by signal 9 (SIGKILL)".
impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "terminated abruptly with exit code {code}"),
            Self::Signal { number, core_dumped } => {
                let core = if *core_dumped { ", core dumped" } else { "" };
                match self.signal_name() {
                    Some(name) if *number == signal::ABORT => {
                        write!(f, "aborted (signal {number}, {name}{core})")
                    }
                    Some(name) => write!(f, "was killed by signal {number} ({name}{core})"),
                    None => write!(f, "was killed by signal {number}{core}"),
                }
            }
            Self::StackOverflow => f.write_str("overflowed its stack"),
            Self::MainThreadEnded => f.write_str("ended its main thread, and was killed"),
            Self::StreamClosed { program: Some(program) } => {
                write!(f, "executed {} in its place, and was killed", printable(program))
            }
            Self::StreamClosed { program: None } => {
                f.write_str("closed its connection to the pool, or executed another program, and was killed")
            }
            Self::Protocol(reason) => write!(f, "was killed because it sent nonsense ({reason})"),
            Self::Unknown => f.write_str("ended, and somebody else took its exit status"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn signal(number: i32) -> WorkerExit {
        WorkerExit::Signal { number, core_dumped: false }
    }

    fn lost(exit: WorkerExit, stderr: &[&str]) -> WorkerLost {
        lost_with(exit, &[], stderr)
    }

    fn lost_with(exit: WorkerExit, stdout: &[&str], stderr: &[&str]) -> WorkerLost {
        let [stdout, stderr] = [stdout, stderr].map(|lines| lines.iter().copied().map(String::from).collect());
        WorkerLost::new(4711, exit, "thumbnail", Duration::from_millis(1290), LastLines { stdout, stderr })
    }

    #[test]
    fn each_way_to_end_is_a_sentence_of_its_own() {
        for (exit, text) in [
            (WorkerExit::Code(99), "terminated abruptly with exit code 99"),
            (signal(9), "was killed by signal 9 (SIGKILL)"),
            (signal(6), "aborted (signal 6, SIGABRT)"),
            (WorkerExit::Signal { number: 11, core_dumped: true }, "was killed by signal 11 (SIGSEGV, core dumped)"),
            (signal(1000), "was killed by signal 1000"),
            (WorkerExit::StackOverflow, "overflowed its stack"),
            (WorkerExit::MainThreadEnded, "ended its main thread, and was killed"),
            (
                WorkerExit::StreamClosed { program: Some("/bin/sl\x1b[0mow".into()) },
                "executed /bin/sl\\u{1b}[0mow in its place, and was killed",
            ),
            (
                WorkerExit::StreamClosed { program: None },
                "closed its connection to the pool, or executed another program, and was killed",
            ),
            (WorkerExit::Protocol("kind 77".into()), "was killed because it sent nonsense (kind 77)"),
            (WorkerExit::Unknown, "ended, and somebody else took its exit status"),
        ] {
            assert_eq!(exit.to_string(), text);
            let expected = format!("worker process 4711 {text} after 1.2 s of task 'thumbnail'");
            assert_eq!(lost(exit, &[]).to_string(), expected);
        }
    }

    #[test]
    fn the_reason_follows_the_task_and_comes_before_the_last_lines() {
        let limit = Some(LossReason::CpuTime(Duration::from_secs(2)));
        assert_eq!(lost(signal(24), &[]).reason(), None);
        let lost = lost(signal(24), &["one"]).with_reason(limit);
        assert_eq!(lost.reason(), limit);
        let expected = "worker process 4711 was killed by signal 24 (SIGXCPU) after 1.2 s of task 'thumbnail': its CPU time \
                        limit of 2 s\n  last lines of its standard error:\n    one";
        assert_eq!(lost.to_string(), expected);
    }

    #[test]
    fn the_last_lines_follow_indented_and_cannot_break_out() {
        let text = lost(signal(9), &["one", "", "  two\x1b[31m\r"]).to_string();
        let expected = "worker process 4711 was killed by signal 9 (SIGKILL) after 1.2 s of task 'thumbnail'
  last lines of its standard error:
    one

      two\\u{1b}[31m";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_last_lines_of_each_stream_are_shown_apart() {
        let lost = lost_with(signal(9), &["a result"], &["a complaint"]);
        let expected = "worker process 4711 was killed by signal 9 (SIGKILL) after 1.2 s of task 'thumbnail'
  last lines of its standard output:
    a result
  last lines of its standard error:
    a complaint";
        assert_eq!(lost.to_string(), expected);
        assert_eq!((lost.stdout(), lost.stderr()), (&["a result".to_owned()][..], &["a complaint".to_owned()][..]));
        assert!(format!("{lost:?}").contains(r#"stdout: ["a result"], stderr: ["a complaint"]"#), "{lost:?}");
    }

    #[test]
    fn what_is_known_of_a_lost_worker_can_be_asked_for() {
        let lost = lost(signal(9), &["one", "two"]).clone();
        assert_eq!((lost.pid(), lost.task(), lost.ran_for()), (4711, "thumbnail", Duration::from_millis(1290)));
        assert_eq!(lost.exit(), &signal(9));
        assert_eq!(lost.exit().signal_name(), Some("SIGKILL"));
        assert_eq!(WorkerExit::Code(9).signal_name(), None);
        assert_eq!(lost.stderr(), ["one", "two"]);
    }
}
