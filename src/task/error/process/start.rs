//! Why a worker process could not be started.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::last_lines::LastLines;
use super::lost::WorkerExit;
use crate::deadlock::render::{Humane, printable};

/// A worker process that could not be started, in several attempts.
///
/// Cheap to clone. [`Display`](fmt::Display) says which program was started, how often, and why the last attempt
/// failed; if the system refused the process, its error is the [`source`](Error::source).
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::Rejected;
/// use bowline::{ProcessPoolExecutor, TaskError};
///
/// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_exe("true").build()?;
/// let error = pool.submit(|n: u32| n + 1, (1,)).result().unwrap_err();
/// let TaskError::Rejected(Rejected::NoWorker(error)) = error else { panic!("{error}") };
/// assert!(error.program().ends_with("true")); // found in `PATH`
/// assert_eq!(error.attempts(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StartError(Arc<Start>);

struct Start {
    program: PathBuf,
    attempts: u32,
    failure: StartFailure,
    lines: LastLines,
}

/// Why a worker process could not be started.
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::{Rejected, StartFailure, WorkerExit};
/// use bowline::{ProcessPoolExecutor, TaskError};
///
/// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_exe("true").build()?;
/// let error = pool.submit(|n: u32| n + 1, (1,)).result().unwrap_err();
/// let TaskError::Rejected(Rejected::NoWorker(error)) = error else { panic!("{error}") };
/// assert!(matches!(error.failure(), StartFailure::Ended(WorkerExit::Code(0)))); // it is no worker
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartFailure {
    /// The system refused the process, or something that it needs from the start: a socket, a page of memory.
    Spawn(io::Error),
    /// The process ended in this way before it was ready. Exit code 121: it could not become a worker, nor tell its
    /// parent why; its standard error has the reason.
    Ended(WorkerExit),
    /// The process was not ready in this time, and was killed.
    Timeout(Duration),
    /// The process runs another program than this one, or another build: this is the difference.
    OtherProgram(Box<str>),
    /// The process refused to be a worker, for this reason (its parent is another process, it has more rights than this
    /// one; the system lacked descriptors for the blobs of the initializer's arguments); or it sent data that are no
    /// message of a worker.
    Refused(Box<str>),
}

impl StartError {
    pub(crate) fn new(program: PathBuf, attempts: u32, failure: StartFailure, lines: LastLines) -> Self {
        Self(Arc::new(Start { program, attempts, failure, lines }))
    }

    /// Returns the executable that was to be the worker: `/proc/self/exe` is that of this process.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.0.program
    }

    /// Returns the number of attempts.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns why the last attempt failed.
    #[must_use]
    pub fn failure(&self) -> &StartFailure {
        &self.0.failure
    }

    /// Returns the last lines that the process of the last attempt wrote to its standard output. Empty unless the pool
    /// captures (`capture_stdout`) them.
    #[must_use]
    pub fn stdout(&self) -> &[String] {
        &self.0.lines.stdout
    }

    /// Returns the last lines that the process of the last attempt wrote to its standard error. Empty unless the pool
    /// captures (`capture_stderr`) them.
    #[must_use]
    pub fn stderr(&self) -> &[String] {
        &self.0.lines.stderr
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartError")
            .field("program", &self.0.program)
            .field("attempts", &self.0.attempts)
            .field("failure", &self.0.failure)
            .field("stdout", &self.0.lines.stdout)
            .field("stderr", &self.0.lines.stderr)
            .finish()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start { program, attempts, failure, lines } = &*self.0;
        let program = program.display().to_string();
        write!(f, "no worker process could be started from '{}', ", printable(&program))?;
        match attempts {
            0 | 1 => f.write_str("tried once: ")?,
            _ => write!(f, "tried {attempts} times: ")?,
        }
        match failure {
            // The system's error is the source.
            StartFailure::Spawn(_) => f.write_str("the system refused it")?,
            other => fmt::Display::fmt(other, f)?,
        }
        fmt::Display::fmt(lines, f)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.failure {
            StartFailure::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => fmt::Display::fmt(error, f),
            Self::Ended(exit) => write!(f, "it {exit} before it was ready"),
            Self::Timeout(limit) => write!(f, "it was not ready within {}", Humane(*limit)),
            Self::OtherProgram(difference) => write!(f, "it is another program: {difference}"),
            Self::Refused(reason) => write!(f, "it did not take its set-up: {reason}"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn failed(attempts: u32, failure: StartFailure) -> StartError {
        StartError::new("/bin/worker".into(), attempts, failure, LastLines::default())
    }

    #[test]
    fn a_failed_start_says_what_was_tried_how_often_and_why() {
        let refused = io::Error::from_raw_os_error(Errno::AGAIN.raw_os_error());
        for (failure, text) in [
            (StartFailure::Spawn(refused), "the system refused it"),
            (
                StartFailure::Ended(WorkerExit::Code(127)),
                "it terminated abruptly with exit code 127 before it was ready",
            ),
            (StartFailure::Timeout(Duration::from_secs(10)), "it was not ready within 10 s"),
            (StartFailure::OtherProgram("build ids".into()), "it is another program: build ids"),
            (StartFailure::Refused("no page".into()), "it did not take its set-up: no page"),
        ] {
            let text = format!("no worker process could be started from '/bin/worker', tried 3 times: {text}");
            assert_eq!(failed(3, failure).to_string(), text);
        }
        let once = failed(1, StartFailure::Timeout(Duration::from_secs(1)));
        assert!(once.to_string().contains("', tried once: it was"), "{once}");
        assert_eq!((once.program(), once.attempts()), (Path::new("/bin/worker"), 1));
        assert!(matches!(once.failure(), StartFailure::Timeout(_)));
    }

    #[test]
    fn what_the_process_wrote_is_shown_below() {
        let failure = StartFailure::Ended(WorkerExit::Code(1));
        let lines = LastLines { stdout: vec!["version 2".into()], stderr: vec!["no such library".into()] };
        let error = StartError::new("/bin/worker".into(), 1, failure, lines);
        let text = error.to_string();
        let expected = "ready\n  last lines of its standard output:\n    version 2\n  last lines of its standard error:\n    \
                        no such library";
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(
            (error.stdout(), error.stderr()),
            (&["version 2".to_owned()][..], &["no such library".to_owned()][..])
        );
    }

    #[test]
    fn the_error_of_the_system_is_the_source() {
        let error = failed(1, StartFailure::Spawn(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        assert!(failed(1, StartFailure::Timeout(Duration::ZERO)).source().is_none());
    }
}
