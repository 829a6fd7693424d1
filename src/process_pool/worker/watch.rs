//! The end of a worker when its parent ends, in whatever way.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, kill_process_group};

use super::high;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::primitive::spawn_thread;
use crate::process_pool::wire::fate::STREAM_LOST;

/// Of a watching thread: it waits, and calls `kill` at the end.
pub(super) const STACK: usize = 64 << 10;

/// Starts a thread that kills this process when its parent is gone, and also the process group `group`, if this process
/// leads that.
///
/// `stream` is the socket to the parent. The thread notices only that it is closed: it reads nothing, and a parent that
/// has only shut down its writing half is not gone. A forgotten copy of the socket's other end could keep it open, so
/// the thread watches the process itself, too, where the system has a way.
///
/// If the parent is gone already, this does not return.
///
/// # Errors
///
/// The system refuses another thread.
pub(super) fn watch(stream: BorrowedFd<'static>, parent: Pid, group: Pid, fate: &'static AtomicU32) -> io::Result<()> {
    let process = process(parent);
    continue_when_orphaned();
    // With another parent this process is an orphan, perhaps since before the lines above: that number may be another
    // process's by now. If it becomes an orphan after this, the thread notices.
    if getppid() != Some(parent) {
        end(group);
    }
    let run = move || {
        if until_gone(stream, process.as_ref(), parent) == Gone::Stream {
            lose(fate, group);
        }
        end(group);
    };
    without_signals(|| spawn_thread("bowline-watch".to_owned(), STACK, run)).map(drop)
}

/// The end that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    Parent,
    /// This process's own end of the stream: the number is that of no descriptor.
    Stream,
}

/// Returns when the stream's other end is closed, or the process is gone.
fn until_gone(stream: BorrowedFd<'_>, process: Option<&OwnedFd>, parent: Pid) -> Gone {
    // Without events: `poll` always tells that it is closed (or shut down both ways). A process is "readable" when it
    // is gone.
    let stream = PollFd::from_borrowed_fd(stream, PollFlags::empty());
    let mut both = [stream.clone(), process.map_or(stream.clone(), |process| PollFd::new(process, PollFlags::IN))];
    loop {
        match poll(&mut both, None) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) if both[0].revents().contains(PollFlags::NVAL) => return Gone::Stream,
            Ok(_) if !both[0].revents().is_empty() || getppid() != Some(parent) => return Gone::Parent,
            // A task has closed that descriptor, whose number may be another file's: from now on the stream alone
            // tells.
            Ok(_) => both[1] = stream.clone(),
            // The system is short of something: tries again later.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

/// Ends this process and its children, which can't refuse.
pub(super) fn end(group: Pid) -> ! {
    let this = getpid();
    // Only a group that this process leads is its own.
    if group == this {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = kill_process(this, Signal::KILL);
    // The first process of a container may not be killed: it aborts.
    std::process::abort()
}

/// [Ends](end) this process because it has no stream any more, and leaves a last word.
pub(super) fn lose(fate: &AtomicU32, group: Pid) -> ! {
    // ORDERING: Relaxed: the parent reads it when it knows of the process's end, which comes after this.
    fate.store(STREAM_LOST, Relaxed);
    end(group)
}

/// Returns a descriptor of that process. `None` where the system has none.
fn process(id: Pid) -> Option<OwnedFd> {
    let process = rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()).ok()?;
    high::duplicate(process).ok()
}

/// Asks the kernel to continue this process, if it is stopped, when its parent is gone, so that the watch runs. By
/// itself the kernel does so only if no process of the same session adopts the orphans.
fn continue_when_orphaned() {
    // The signal comes at the end of the thread that started the process: that thread stays until it has reaped it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

/// Runs `spawn` with all signals blocked, which the thread that it starts inherits: other threads of the worker get
/// them.
pub(super) fn without_signals<R>(spawn: impl FnOnce() -> R) -> R {
    use std::mem::MaybeUninit;

    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY:
    // - both sets are places to write to. The first is filled before it is read.
    let is_blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let spawned = spawn();
    if is_blocked {
        // SAFETY:
        // - the successful call above filled the set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
    spawned
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::fs::read_to_string;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, ChildStdout, Command, Stdio};

    use rustix::event::Timespec;

    use super::*;

    const ROLE: &str = "BOWLINE_TEST_WATCH";

    /// This test binary again, as something else.
    fn again(role: &str, stdin: impl Into<Stdio>) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        let (_, test) = concat!(module_path!(), "::other_processes").split_once("::").expect("the crate comes first");
        command.args(["--exact", test, "--nocapture", "--ignored"]);
        command.env(ROLE, role).stdin(stdin);
        command
    }

    /// What the processes run that the tests start.
    #[test]
    #[ignore = "a part of other tests"]
    fn other_processes() {
        let Ok(role) = std::env::var(ROLE) else { return };
        // SAFETY:
        // - `alarm` has no preconditions: it ends what would hang.
        unsafe { libc::alarm(120) };
        // SAFETY:
        // - standard input stays open.
        let stdin = unsafe { BorrowedFd::borrow_raw(0) };
        match &*role {
            "parent" => {
                again("worker", Stdio::inherit()).process_group(0).status().expect("a worker");
                return;
            }
            "leader" => {
                again("member", Stdio::inherit()).status().expect("a worker in this group");
                println!("\nsurvived {}", std::process::id());
                return;
            }
            _ => {}
        }
        let group = if role == "member" { getppid() } else { Some(getpid()) }.expect("a process");
        let parent = if role == "orphan" { Pid::INIT } else { getppid().expect("a parent") };
        // Its own child has the same standard output, by which the test sees that it lives.
        let mut child = Command::new("sleep").arg("120").stdin(Stdio::null()).spawn().expect("a child");
        if role != "orphan" {
            println!("\nready {}", std::process::id());
        }
        static FATE: AtomicU32 = AtomicU32::new(0);
        watch(stdin, parent, group, &FATE).expect("a thread");
        println!("\nwatching {}", std::process::id());
        child.wait().expect("the end of the child");
    }

    /// The processes that a test has started: the first one, and its children's words.
    struct Processes {
        first: Child,
        output: BufReader<ChildStdout>,
        /// The worker, which leads a group.
        worker: Option<Pid>,
    }

    impl Processes {
        fn start(mut command: Command) -> Self {
            let mut first = command.stdout(Stdio::piped()).spawn().expect("a process");
            let output = BufReader::new(first.stdout.take().expect("it is piped"));
            Self { first, output, worker: None }
        }

        /// Waits for a line that begins with this word, and a worker's number.
        fn until(&mut self, word: &str) {
            loop {
                let mut line = String::new();
                assert_ne!(self.output.read_line(&mut line).expect("a line"), 0, "the output ended before {word:?}");
                if let Some(number) = line.strip_prefix(word).and_then(|rest| rest.trim().parse().ok()) {
                    self.worker = Pid::from_raw(number);
                    return;
                }
            }
        }

        /// Waits until no process has the output any more: neither worker nor child.
        fn until_all_are_gone(&mut self) {
            let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
            loop {
                let mut ready = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
                assert_ne!(poll(&mut ready, Some(&limit)).expect("a poll"), 0, "somebody is left");
                if self.output.read(&mut [0; 1000]).expect("the rest") == 0 {
                    return;
                }
            }
        }

        /// The state of the worker's watching thread, or `None` if that is gone.
        fn state_of_watch(&self) -> Option<char> {
            let threads = format!("/proc/{}/task", self.worker?.as_raw_nonzero());
            std::fs::read_dir(threads).ok()?.flatten().find_map(|thread| {
                let stat = read_to_string(thread.path().join("stat")).ok()?;
                stat.split_once("(bowline-watch) ")?.1.chars().next()
            })
        }
    }

    impl Drop for Processes {
        fn drop(&mut self) {
            // Whatever a failed test leaves.
            let _ = self.worker.take().map(|worker| kill_process_group(worker, Signal::KILL));
            let _ = self.first.kill();
            let _ = self.first.wait();
        }
    }

    #[test]
    fn a_worker_and_its_child_die_with_a_parent_that_is_killed() {
        // The socket stays open at this end: nothing but the parent's own end tells of it.
        let (_kept, theirs) = UnixStream::pair().expect("a socket");
        let mut processes = Processes::start(again("parent", OwnedFd::from(theirs)));
        processes.until("watching ");
        processes.first.kill().expect("a parent to kill");
        processes.until_all_are_gone();
    }

    #[test]
    fn a_worker_and_its_child_die_when_the_socket_is_closed() {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        let mut command = again("worker", OwnedFd::from(theirs));
        let mut processes = Processes::start({
            command.process_group(0);
            command
        });
        processes.until("watching ");
        drop(ours);
        processes.until_all_are_gone();
    }

    #[test]
    fn a_worker_whose_parent_is_gone_already_dies_at_once() {
        let (_kept, theirs) = UnixStream::pair().expect("a socket");
        let mut command = again("orphan", OwnedFd::from(theirs));
        command.process_group(0);
        Processes::start(command).until_all_are_gone();
    }

    #[test]
    fn a_worker_outlives_what_its_parent_sends_and_its_last_word() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket");
        let mut command = again("worker", OwnedFd::from(theirs));
        command.process_group(0);
        let mut processes = Processes::start(command);
        processes.until("watching ");
        let asleep = |processes: &Processes| {
            // Whom a call wakes is awake when the call returns: who sleeps after it had no reason to wake, or went
            // back.
            loop {
                match processes.state_of_watch() {
                    Some('S') => return,
                    Some(_) => crate::primitive::yield_now(),
                    None => panic!("the watching thread has ended"),
                }
            }
        };
        // The thread has been started, and may not have its name yet.
        while processes.state_of_watch().is_none() {
            assert!(processes.first.try_wait().expect("a child").is_none(), "the worker has ended");
            crate::primitive::yield_now();
        }
        asleep(&processes);
        ours.write_all(b"bytes that nobody reads").expect("room for some bytes");
        asleep(&processes);
        ours.shutdown(Shutdown::Write).expect("half a connection");
        asleep(&processes);
        assert!(processes.first.try_wait().expect("a child").is_none(), "the worker has ended");
        // And it still notices the end.
        drop(ours);
        processes.until_all_are_gone();
    }

    #[test]
    fn a_worker_leaves_a_group_alone_that_it_does_not_lead() {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        let mut command = again("leader", OwnedFd::from(theirs));
        command.process_group(0);
        let mut processes = Processes::start(command);
        processes.until("watching ");
        drop(ours);
        processes.until("survived ");
        assert_eq!(processes.worker, Some(Pid::from_child(&processes.first)), "the leader of the group");
    }
}
