//! What the tests of process pools share: tasks that wait for the test, ends that are told, and processes that are gone.
//!
//! A worker of a test is the test binary itself, started again: what a task does is a function of the test's file.

use std::fmt::Debug;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bowline::{Future, PanicInfo, ProcessPoolBuilder, ProcessPoolExecutor, TaskError, WorkerLost};

use super::wait_until;

/// A folder by which a test and its workers talk: somebody puts a file there, somebody else waits for it.
///
/// When it is dropped it is gone, and nobody waits any more. Make it after the pool, so that a test that fails does not
/// hang on top of that.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("bowline-test-{}-{}", process::id(), MADE.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }

    /// The path of a file in here, which a task is given.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a path that is text")
    }

    /// Puts a file here.
    pub(crate) fn put(&self, name: &str) {
        put(&self.path(name));
    }

    /// The names of the files in here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entry = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(&self.0).expect("it is there").map(|e| entry(e).expect("text")).collect();
        names.sort_unstable();
        names
    }

    /// Waits until a task has put this file here.
    #[track_caller]
    pub(crate) fn until(&self, name: &str) {
        let path = self.0.join(name);
        wait_until(|| path.exists());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a file there, if the folder is there.
pub(crate) fn put(path: &str) {
    let _ = File::create(path);
}

/// Waits until this file is there, or its folder is not. Returns the process.
pub(crate) fn pass(path: &str) -> u32 {
    let path = Path::new(path);
    while !path.exists() && path.parent().is_some_and(Path::exists) {
        thread::sleep(Duration::from_micros(500));
    }
    process::id()
}

/// A task: puts the file `begun`, and waits for the file `end`. Returns its process.
pub(crate) fn hold(begun: String, end: String) -> u32 {
    put(&begun);
    pass(&end)
}

/// A task: its process.
pub(crate) fn pid() -> u32 {
    process::id()
}

/// A task: what it was given.
pub(crate) fn echo<T>(value: T) -> T {
    value
}

/// What makes a pool of so many workers. Those that crash leave no file of their memory.
pub(crate) fn builder(max_workers: usize) -> ProcessPoolBuilder {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - it reads the limit, which is there.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) }, 0);
    ProcessPoolExecutor::builder().max_workers(max_workers)
}

/// A pool of so many workers.
#[track_caller]
pub(crate) fn pool_of(max_workers: usize) -> ProcessPoolExecutor {
    builder(max_workers).build().expect("a pool")
}

/// Keeps a worker until the file `end` is put into the folder. Returns when the task, of this name, has begun.
#[track_caller]
pub(crate) fn keep(pool: &ProcessPoolExecutor, folder: &Folder, name: &str) -> Future<u32> {
    let task = pool.submit(hold, (folder.path(name), folder.path("end")));
    folder.until(name);
    task
}

/// How the worker ended that had this task.
#[track_caller]
pub(crate) fn lost<T: Debug>(task: Future<T>) -> WorkerLost {
    match task.result() {
        Err(TaskError::WorkerLost(lost)) => lost,
        other => panic!("the worker is not lost: {other:?}"),
    }
}

/// The panic of this task.
#[track_caller]
pub(crate) fn panic_of<T: Debug>(task: Future<T>) -> PanicInfo {
    match task.result() {
        Err(TaskError::Panicked(panic)) => panic,
        other => panic!("it did not panic: {other:?}"),
    }
}

/// Sends a signal to a process.
#[track_caller]
pub(crate) fn kill(process: u32, signal: i32) {
    // SAFETY:
    // - it takes two numbers.
    assert_eq!(unsafe { libc::kill(process.cast_signed(), signal) }, 0, "no process {process}");
}

/// Ends the calling process by a signal, as what raises it would.
pub(crate) fn die_of(signal: i32) {
    // SAFETY:
    // - it takes a number.
    unsafe { libc::raise(signal) };
}

/// What `/proc` says of a process: its state and its parent. `None` if it is gone.
fn state(process: &str) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether there is no process with this number, not even a zombie.
pub(crate) fn is_gone(process: u32) -> bool {
    state(&process.to_string()).is_none()
}

/// Whether a process will do nothing more: it is gone, or its parent has not heard of its end yet.
pub(crate) fn is_dead(process: u32) -> bool {
    state(&process.to_string()).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// Whether a process is stopped.
pub(crate) fn is_stopped(process: u32) -> bool {
    state(&process.to_string()).is_some_and(|(state, _)| state == 'T')
}

/// The processes that this one has started and not reaped.
pub(crate) fn children() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_mine = |name: &String| state(name).is_some_and(|(_, parent)| parent == process::id());
    names.filter(is_mine).filter_map(|name| name.parse().ok()).collect()
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}
