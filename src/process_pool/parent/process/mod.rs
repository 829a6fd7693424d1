//! A worker process, as its parent sees it: started, killed and reaped.
//!
//! No signal goes to a number that may be another's. The process is known by a descriptor, which means it and its group
//! for ever, whoever reaps it; on systems without such descriptors by its number, as long as the system says that it is
//! a child of this process.

use crate::task::error::{LastLines, WorkerExit};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpgid, kill_process, kill_process_group, pidfd_open,
    waitid, waitpgid,
};

use super::exit::Ending;
use super::options::Environment;
use super::output::{Output, Tail};
use super::program::OWN;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::exiting::main_thread_exits;
use crate::process_pool::wire::fork::Window;
use crate::process_pool::wire::mark::{self, Mark};

/// How a worker process is started.
#[derive(Clone, Debug, Default)]
pub(in crate::process_pool::parent) struct Program {
    pub(in crate::process_pool::parent) path: PathBuf,
    pub(in crate::process_pool::parent) args: Vec<OsString>,
    pub(in crate::process_pool::parent) folder: Option<PathBuf>,
    pub(in crate::process_pool::parent) environment: Environment,
    pub(in crate::process_pool::parent) capture_stdout: bool,
    pub(in crate::process_pool::parent) capture_stderr: bool,
}

/// How often to check for a worker whose stream may not tell of its end.
const LOOK_EACH: Duration = Duration::from_millis(200);
/// How long a process may take to end after its stream did.
const MAX_ENDING: Duration = Duration::from_secs(1);
/// How long the members of a killed group may take to end.
const MAX_DYING: Duration = Duration::from_secs(1);
/// How often to check where the system has nothing to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Looks at a process that has ended, or at one that has not, and leaves it as it is.
const LOOK: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);

/// A worker process.
pub(in crate::process_pool::parent) struct Process {
    pid: Pid,
    /// The process, even when its number is another's. `None` before Linux 5.4, and where there was no descriptor left.
    descriptor: Option<Arc<OwnedFd>>,
    is_reaped: Mutex<bool>,
    /// The device and the number of the file that it executes as a worker.
    program: OnceLock<(u64, u64)>,
    output: Output,
    /// Another process may have the worker's end of the stream, which does not end with the worker then.
    may_be_hidden: bool,
    /// This process has sent it SIGKILL before it ended.
    was_killed_here: AtomicBool,
    /// How long its threads had run when a signal ended it that a limit may have sent.
    cpu_time: OnceLock<Duration>,
}

impl Process {
    /// Starts a worker and returns the parent's end of its stream.
    ///
    /// # Errors
    ///
    /// The system refuses the process, or something that it needs: a socket, or a thread for what it writes.
    pub(in crate::process_pool::parent) fn start(program: &Program) -> io::Result<(Self, UnixStream)> {
        let window = Window::open();
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&program.path);
        command.args(&program.args).stdin(OwnedFd::from(theirs));
        surround(&mut command, program);
        // A group of its own: the parent decides about an interrupt from the terminal, and the worker's children end
        // with it.
        command.process_group(0);
        if program.capture_stdout {
            command.stdout(Stdio::piped());
        }
        if program.capture_stderr {
            command.stderr(Stdio::piped());
        }
        // `ps` shows the program's name, and not the link that it was started by.
        if let Ok(own) = std::env::current_exe()
            && program.path.as_os_str() == OWN
        {
            command.arg0(own);
        }
        let mut child = command.spawn().map_err(|error| blame(error, program))?;
        // The command has the worker's end of the stream: closed here, so that its end is the worker's end.
        drop(command);
        let pid = Pid::from_child(&child);
        let descriptor = descriptor_of(pid).map(Arc::new);
        let followed = Output::follow(&mut child, descriptor.as_ref());
        let (output, refused) = followed.map_or_else(|error| (Output::default(), Some(error)), |output| (output, None));
        let may_be_hidden = window.saw_a_fork();
        let process = Self {
            pid,
            descriptor,
            is_reaped: Mutex::new(false),
            program: OnceLock::new(),
            output,
            may_be_hidden,
            was_killed_here: AtomicBool::new(false),
            cpu_time: OnceLock::new(),
        };
        if let Some(error) = refused {
            // Whatever its tasks wrote would fail.
            process.reap();
            return Err(error);
        }
        Ok((process, ours))
    }

    /// Returns how often to check whether the worker is there, if its stream may not tell.
    pub(in crate::process_pool::parent) fn look_each(&self) -> Option<Duration> {
        self.may_be_hidden.then_some(LOOK_EACH)
    }

    pub(in crate::process_pool::parent) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Returns what the system knows the process by.
    fn id(&self) -> WaitId<'_> {
        self.descriptor.as_ref().map_or(WaitId::Pid(self.pid), |descriptor| WaitId::PidFd(descriptor.as_fd()))
    }

    /// Returns whether the process has ended, or the system can't say. Does not reap it.
    pub(in crate::process_pool::parent) fn has_ended(&self) -> bool {
        !matches!(waitid(self.id(), LOOK), Ok(None))
    }

    /// Returns whether the number is that of a child of this process, perhaps an ended one: then it can't be another's.
    fn is_ours(&self) -> bool {
        waitid(self.id(), LOOK).is_ok()
    }

    fn is_reaped(&self) -> MutexGuard<'_, bool> {
        self.is_reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the worker and its children, unless it was reaped.
    pub(in crate::process_pool::parent) fn signal(&self, signal: Signal) {
        // While this is locked, this process does not reap it.
        let is_reaped = self.is_reaped();
        if !*is_reaped {
            if signal == Signal::KILL {
                self.note_kill();
            }
            self.send(signal);
            // One that is stopped gets it when it is continued.
            if signal == Signal::TERM {
                self.send(Signal::CONT);
            }
        }
    }

    /// Notes that this process is about to kill the worker, unless that has ended.
    fn note_kill(&self) {
        if !self.has_ended() {
            self.was_killed_here.store(true, Relaxed);
        }
    }

    /// Returns whether this process has sent the worker SIGKILL before that ended.
    pub(in crate::process_pool::parent) fn was_killed_here(&self) -> bool {
        // Relaxed: the caller has reaped it, and it is noted with `is_reaped` locked.
        self.was_killed_here.load(Relaxed)
    }

    /// Returns how long the threads of the process had run, if it was ended by a signal that a limit of that sends.
    pub(in crate::process_pool::parent) fn cpu_time(&self) -> Option<Duration> {
        self.cpu_time.get().copied()
    }

    /// Sends a signal to the worker and its children, once. Returns whether this process may send it to the worker at
    /// all.
    fn send(&self, signal: Signal) -> bool {
        // The group is made before the program begins. A worker that left it may have left children in it.
        let by_descriptor = |descriptor| send_by(descriptor, signal, PIDFD_SIGNAL_PROCESS_GROUP);
        let to_group = self.descriptor.as_deref().map(by_descriptor);
        // Where a program ignores SIGCHLD, or waits for any child, the number may be another's.
        if matches!(to_group, None | Some(Err(Errno::INVAL | Errno::NOSYS))) && self.is_ours() {
            let _ = kill_process_group(self.pid, signal);
        }
        if signal != Signal::KILL && getpgid(Some(self.pid)) == Ok(self.pid) {
            return true;
        }
        let sent = match &self.descriptor {
            Some(descriptor) => send_by(descriptor, signal, 0),
            None if self.is_ours() => kill_process(self.pid, signal),
            None => Ok(()),
        };
        sent != Err(Errno::PERM)
    }

    /// Notes what the worker, which is up, executes: its program.
    pub(in crate::process_pool::parent) fn note_program(&self) {
        if let Some(program) = self.executed() {
            let _ = self.program.set(program);
        }
    }

    /// Returns the device and the number of the file that it executes.
    fn executed(&self) -> Option<(u64, u64)> {
        let file = std::fs::metadata(format!("/proc/{}/exe", self.pid())).ok()?;
        Some((file.dev(), file.ino()))
    }

    /// Ends what is left of the worker and its children, and returns how the worker ended.
    pub(in crate::process_pool::parent) fn reap(&self) -> WorkerExit {
        let can_be_ended = {
            let mut is_reaped = self.is_reaped();
            if std::mem::replace(&mut *is_reaped, true) {
                return WorkerExit::Unknown;
            }
            self.note_kill();
            self.send(Signal::KILL)
        };
        // Not under the mutex: it can take as long as the system needs to free its memory. A worker that has become
        // another user's program is left alone.
        let exit = if can_be_ended || self.ends_within(MAX_DYING) { self.wait() } else { WorkerExit::Unknown };
        self.output.finish();
        exit
    }

    /// [Reaps](Self::reap) a worker whose stream has ended. It tells a worker that lives on from one that has just not
    /// ended yet.
    pub(in crate::process_pool::parent) fn reap_at_end_of_stream(&self) -> WorkerExit {
        let survivor =
            (!self.ends_within(MAX_ENDING)).then(|| WorkerExit::StreamClosed { program: self.other_program() });
        match (self.reap(), survivor) {
            (WorkerExit::Signal { number, .. }, Some(survivor)) if number == Signal::KILL.as_raw() => survivor,
            (WorkerExit::Unknown, Some(survivor)) => survivor,
            // The worker was about to end.
            (exit, _) => exit,
        }
    }

    /// Waits until the process has ended, or this time has passed. Returns whether the process has ended, or is about
    /// to.
    fn ends_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.has_ended() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return main_thread_exits(self.pid()).unwrap_or(true);
            }
            match &self.descriptor {
                // A descriptor of a process is "readable" when that has ended.
                Some(descriptor) => {
                    let _ = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], left.try_into().ok().as_ref());
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        true
    }

    /// Returns the path of what it executes, if that is not the worker's program.
    fn other_program(&self) -> Option<Arc<str>> {
        if self.executed()? == *self.program.get()? {
            return None;
        }
        let path = std::fs::read_link(format!("/proc/{}/exe", self.pid())).ok()?;
        Some(path.to_string_lossy().into())
    }

    /// Waits for its end, and reaps it and the members of its group that are children of this process by then.
    fn wait(&self) -> WorkerExit {
        // The process is not reaped yet: until then its number is its own, and its group's.
        let exit = loop {
            match waitid(self.id(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(Some(status)) => {
                    // As long as it is not reaped, the system tells.
                    if matches!(status.terminating_signal(), Some(libc::SIGKILL | libc::SIGXCPU))
                        && let Some(time) = cpu_time(self.pid)
                    {
                        let _ = self.cpu_time.set(time);
                    }
                    break WorkerExit::of(Ending::from(&status));
                }
                Ok(None) | Err(Errno::INTR) => {}
                // Other code has reaped it: the group's number may be another's.
                Err(_) => return WorkerExit::Unknown,
            }
        };
        if !self.reap_group() {
            let _ = waitid(self.id(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        exit
    }

    /// Reaps the killed members of the worker's group. The worker's own children are this process's by now, if it takes
    /// in orphans: the first process of a container does, or a "subreaper". Returns whether the worker itself was among
    /// them.
    fn reap_group(&self) -> bool {
        let end = Instant::now() + MAX_DYING;
        let mut has_reaped_it = false;
        loop {
            match waitpgid(self.pid, WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => has_reaped_it |= pid == self.pid,
                Err(Errno::INTR) => {}
                // Some have not ended yet. (One may run as another user, and this process can't kill it.)
                Ok(None) if Instant::now() < end => std::thread::sleep(LOOK_AGAIN),
                Ok(None) | Err(_) => return has_reaped_it,
            }
        }
    }

    /// Returns what it wrote to the standard streams that are captured, and what is not passed on yet.
    pub(in crate::process_pool::parent) fn rest_of_output(&self) -> impl Iterator<Item = Arc<Tail>> {
        self.output.rest()
    }

    /// Returns the last lines that it wrote to the standard streams that are captured.
    pub(in crate::process_pool::parent) fn last_lines(&self) -> LastLines {
        self.output.last_lines()
    }
}

/// Gives a worker its folder and its environment, with the mark.
fn surround(command: &mut Command, program: &Program) {
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    if program.environment.is_cleared {
        command.env_clear();
    }
    for (name, value) in &program.environment.variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env(mark::NAME, Mark::of_workers().text());
}

/// Names the folder, if that is what was not found: the system says the same as for the program.
fn blame(error: io::Error, program: &Program) -> io::Error {
    match &program.folder {
        Some(folder) if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
            let text = format!("the `worker_dir` '{}' is no directory any more", folder.display());
            io::Error::new(error.kind(), text)
        }
        _ => error,
    }
}

/// Returns how long the threads of this process have run, as a limit of its CPU time counts it: in ticks, which meet one process or another,
/// so that a busy one may be far from what is measured. It may have ended, and was not reaped.
fn cpu_time(pid: Pid) -> Option<Duration> {
    // The kernel's number for the clock of a process: its id inverted, above three bits, which are 0 for this count.
    let clock = !pid.as_raw_nonzero().get() << 3;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY:
    // - a place to write to. A clock that is not there is an error.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY:
    // - the call succeeded, and has filled it.
    let time = unsafe { time.assume_init() };
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// Returns a descriptor of this child. `None` if there is none, or none that can be waited for.
fn descriptor_of(pid: Pid) -> Option<OwnedFd> {
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Where a program ignores SIGCHLD, the number may be another's already.
    waitid(WaitId::PidFd(descriptor.as_fd()), LOOK).is_ok().then_some(descriptor)
}

/// Sends the signal to the group that the process leads, or has led. Linux 6.9.
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

fn send_by(descriptor: &OwnedFd, signal: Signal, flags: libc::c_uint) -> Result<(), Errno> {
    let nothing = ptr::null::<libc::siginfo_t>();
    // SAFETY:
    // - numbers, and a null pointer: the signal has no information.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), signal.as_raw(), nothing, flags) };
    if sent == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests;
