//! A worker process, as its parent has it: started, killed and reaped.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::fork::Window;
use super::lost::WorkerExit;
use super::mark::{self, Mark};
use super::program::OWN;
use super::stderr::Tail;
use crate::primitive::quiet::{Mutex, MutexGuard, PoisonError};

/// How a worker process is started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) capture_stderr: bool,
}

/// How often to look for a worker whose stream may not tell of its end.
const LOOK_EACH: Duration = Duration::from_millis(200);

/// A worker process.
pub(super) struct Process {
    pid: u32,
    /// `None` when it was reaped: its number may be another's then.
    child: Mutex<Option<Child>>,
    stderr: Option<Tail>,
    /// Somebody else may have the worker's end of the stream, which does not end with the worker then.
    may_be_hidden: bool,
}

impl Process {
    /// Starts a worker and returns the parent's end of its stream.
    pub(super) fn start(program: &Program) -> io::Result<(Self, UnixStream)> {
        let window = Window::open();
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&program.path);
        command.args(&program.args).env(mark::NAME, Mark::of_workers().text()).stdin(OwnedFd::from(theirs));
        // Of its own: an interrupt from the terminal is the parent's to decide about, and with the worker go its children.
        command.process_group(0);
        if program.capture_stderr {
            command.stderr(Stdio::piped());
        }
        // What `ps` shows is the program's name, and not the link that it was started by.
        if let Ok(own) = std::env::current_exe()
            && program.path.as_os_str() == OWN
        {
            command.arg0(own);
        }
        let mut child = command.spawn()?;
        // The command has the worker's end of the stream: closed here, so that its end is the worker's end.
        drop(command);
        let stderr = child.stderr.take().map(Tail::follow);
        let may_be_hidden = window.saw_a_fork();
        Ok((Self { pid: child.id(), child: Mutex::new(Some(child)), stderr, may_be_hidden }, ours))
    }

    /// How often to look whether the worker is there, if its stream may not tell.
    pub(super) fn look_each(&self) -> Option<Duration> {
        self.may_be_hidden.then_some(LOOK_EACH)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the worker and its children, unless it was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        // Held meanwhile: nobody reaps it.
        let child = self.child();
        if child.is_some()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            // The group is made before the program begins. A worker that left it may have left children in it.
            let _ = kill_process_group(pid, signal);
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends what is left of the worker and its children, and says how the worker ended.
    pub(super) fn reap(&self) -> WorkerExit {
        // While it is not reaped, the number is its own, and its group's.
        self.signal(Signal::KILL);
        // Not under the mutex: it can take as long as the system needs to free its memory.
        let Some(mut child) = self.child().take() else { return WorkerExit::Unknown };
        let exit = child.wait().map_or(WorkerExit::Unknown, WorkerExit::of);
        if let Some(stderr) = &self.stderr {
            stderr.finish();
        }
        exit
    }

    /// The last lines that it wrote to standard error, if they were captured.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.stderr.as_ref().map(Tail::lines).unwrap_or_default()
    }
}
