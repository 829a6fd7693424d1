//! Worker processes as a test sees them: their signals, their states, and what their tasks leave in a folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bowline::{Future, ProcessPoolExecutor, TaskError, WorkerExit, WorkerLost};
use rustix::process::{Pid, Signal, kill_process};

use super::wait_until;

/// A folder by which tasks in other processes and the test tell each other how far they are. Gone when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("scratch-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// The folder, as the argument of a task.
    pub(crate) fn path(&self) -> String {
        self.0.to_str().expect("a path that is text").to_owned()
    }

    /// Lets pass who waits for this (see [`pass`]).
    pub(crate) fn open(&self, gate: &str) {
        File::create(self.0.join(gate)).expect("a file");
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    #[track_caller]
    pub(crate) fn until(&self, file: &str) {
        wait_until(|| self.has(file));
    }

    /// The lines of a file, none if it is not there.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The processes that have begun the task with this number, one for each time.
    pub(crate) fn begun(&self, number: u64) -> Vec<u32> {
        let pid = |line: String| {
            let (task, pid) = line.split_once(' ').expect("a number and a process");
            (task.parse::<u64>() == Ok(number)).then(|| pid.parse().expect("a number"))
        };
        self.lines("begun").into_iter().filter_map(pid).collect()
    }

    /// The process that has begun the task with this number, once it has.
    #[track_caller]
    pub(crate) fn until_begun(&self, number: u64) -> u32 {
        wait_until(|| !self.begun(number).is_empty());
        self.begun(number)[0]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// In a worker: adds a line to a file. A line is written at once, whoever else writes.
pub(crate) fn note(folder: &str, file: &str, line: &str) {
    let mut file = File::options().append(true).create(true).open(Path::new(folder).join(file)).expect("the file");
    file.write_all(format!("{line}\n").as_bytes()).expect("a line");
}

/// In a worker: waits until the test opens this.
pub(crate) fn wait_for(folder: &str, gate: &str) {
    while !Path::new(folder).join(gate).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A task that notes that it has begun.
pub(crate) fn begin(folder: String, number: u64) -> u64 {
    note(&folder, "begun", &format!("{number} {}", std::process::id()));
    number
}

/// A task that notes that it has begun, and ends when the test opens `gate`.
pub(crate) fn pass(folder: String, number: u64, gate: String) -> u64 {
    let number = begin(folder.clone(), number);
    wait_for(&folder, &gate);
    number
}

/// Sends a worker a signal, for real.
#[track_caller]
pub(crate) fn send(signal: Signal, pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a number"), signal).expect("a process to signal");
}

/// `kill -9`.
#[track_caller]
pub(crate) fn kill(pid: u32) {
    send(Signal::KILL, pid);
}

/// Stops a process, and waits until all of it has stopped.
#[track_caller]
pub(crate) fn stop(pid: u32) {
    send(Signal::STOP, pid);
    wait_until(|| state(pid) == Some('T'));
}

/// Has a stopped process go on.
#[track_caller]
pub(crate) fn resume(pid: u32) {
    send(Signal::CONT, pid);
}

/// The state of a process's main thread; `None` if there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')').expect("a name in parentheses").1.trim_start().chars().next()
}

/// Waits until a process is gone and nobody's zombie.
#[track_caller]
pub(crate) fn until_gone(pid: u32) {
    wait_until(|| state(pid).is_none());
}

/// The number of the thread of this process with this name.
#[track_caller]
pub(crate) fn thread_of(name: &str) -> u32 {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap());
    let is_it = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let found = threads.into_iter().find(is_it).expect("a thread with this name");
    found.file_name().to_str().unwrap().parse().unwrap()
}

/// The only worker that is up.
#[track_caller]
pub(crate) fn only_worker(pool: &ProcessPoolExecutor) -> u32 {
    let pids = pool.worker_pids();
    assert_eq!(pids.len(), 1, "{pids:?}");
    pids[0]
}

/// A pool whose workers are up and idle.
#[track_caller]
pub(crate) fn idle_pool(workers: usize) -> ProcessPoolExecutor {
    let (pool, folder) = (ProcessPoolExecutor::new(workers).expect("a pool"), Scratch::new());
    let keep = |number| pool.submit(pass, (folder.path(), number, "open".to_owned()));
    let busy: Vec<_> = (0..workers as u64).map(keep).collect();
    (0..workers as u64).for_each(|number| _ = folder.until_begun(number));
    folder.open("open");
    busy.into_iter().for_each(|task| _ = task.result().expect("a task"));
    assert_eq!(pool.worker_pids().len(), workers);
    pool
}

/// How the task's worker was lost.
#[track_caller]
pub(crate) fn lost<T: std::fmt::Debug>(task: Future<T>) -> WorkerLost {
    match task.result() {
        Err(TaskError::WorkerLost(lost)) => lost,
        other => panic!("the worker was to be lost: {other:?}"),
    }
}

/// Asserts that the task's worker was killed, and that it was this one.
#[track_caller]
pub(crate) fn assert_killed<T: std::fmt::Debug>(task: Future<T>, pid: u32) {
    let lost = lost(task);
    assert_eq!((lost.pid(), lost.exit()), (pid, &WorkerExit::Signal { number: 9, core_dumped: false }), "{lost}");
}
