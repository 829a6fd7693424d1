//! Processes as Linux sees them: their states, their relations, and signals to them.

use std::fs;
use std::path::Path;

use super::wait_until;

/// What Linux says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    /// Of the main thread.
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
}

/// What Linux says of this process. `None` if there is none.
pub(crate) fn stat(process: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// The state of a process's main thread. `None` if there is no such process.
pub(crate) fn state(process: u32) -> Option<char> {
    stat(process).map(|stat| stat.state)
}

/// Whether there is no process with this number, not even a zombie.
pub(crate) fn is_gone(process: u32) -> bool {
    !Path::new(&format!("/proc/{process}")).exists()
}

/// Whether a process runs no more. It may be there for whoever has not asked how it ended.
pub(crate) fn has_ended(process: u32) -> bool {
    state(process).is_none_or(|state| matches!(state, 'Z' | 'X'))
}

/// Whether a process is there, and stopped.
pub(crate) fn is_stopped(process: u32) -> bool {
    state(process) == Some('T')
}

/// Waits until a process is gone and nobody's zombie.
#[track_caller]
pub(crate) fn until_gone(process: u32) {
    wait_until(|| is_gone(process));
}

/// All processes of which this holds.
pub(crate) fn processes(mut holds: impl FnMut(Stat) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|&process| stat(process).is_some_and(&mut holds)).collect()
}

/// The processes, ended ones too, that this one has started and not reaped.
pub(crate) fn children() -> Vec<u32> {
    processes(|stat| stat.parent == std::process::id())
}

/// How many descriptors this process has open, with the one by which they are counted.
pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// The number of the thread of this process with this name.
#[track_caller]
pub(crate) fn thread_of(name: &str) -> u32 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux").map(|thread| thread.expect("a thread"));
    let is_it = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let found = threads.into_iter().find(is_it).expect("a thread with this name");
    found.file_name().to_str().and_then(|number| number.parse().ok()).expect("a number")
}

/// Sends a signal to a process, which is there.
#[track_caller]
pub(crate) fn send(process: u32, signal: i32) {
    assert!(send_if_there(process, signal), "no process {process} for signal {signal}");
}

/// Sends a signal to a process, if it is there. Returns whether it was.
pub(crate) fn send_if_there(process: u32, signal: i32) -> bool {
    // SAFETY:
    // - it takes two numbers.
    unsafe { libc::kill(process.cast_signed(), signal) == 0 }
}

/// Sends a signal to all of a process group that are there. Returns whether there were any.
pub(crate) fn send_to_group(group: u32, signal: i32) -> bool {
    // SAFETY:
    // - it takes two numbers.
    unsafe { libc::killpg(group.cast_signed(), signal) == 0 }
}

/// Kills a process, which is there: `kill -9`.
#[track_caller]
pub(crate) fn kill(process: u32) {
    send(process, libc::SIGKILL);
}

/// Stops a process, and waits until it has stopped.
#[track_caller]
pub(crate) fn stop(process: u32) {
    send(process, libc::SIGSTOP);
    wait_until(|| is_stopped(process));
}

/// Has a stopped process go on.
#[track_caller]
pub(crate) fn resume(process: u32) {
    send(process, libc::SIGCONT);
}

/// Ends the calling process by a signal, as what raises it would.
pub(crate) fn die_of(signal: i32) {
    // SAFETY:
    // - it takes a number.
    unsafe { libc::raise(signal) };
}

/// Forks a hundred times while another thread does something again and again: it may be in the middle of that. The children do
/// something, and end. Returns zero if all of them have ended well.
pub(crate) fn fork_often(meanwhile: impl Fn() + Sync, in_child: impl Fn()) -> i32 {
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut all = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                meanwhile();
            }
        });
        for _ in 0..100 {
            // SAFETY:
            // - what the child calls takes no lock that a thread of the parent may have had (callers), and then it ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                in_child();
                // SAFETY:
                // - ends this process.
                unsafe { libc::_exit(0) };
            }
            let mut status = -1;
            // SAFETY:
            // - waits for the child above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            all |= status;
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    all
}
