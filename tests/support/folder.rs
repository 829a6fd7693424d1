//! A temporary folder by which a test and the tasks in its workers tell each other how far they are.
//!
//! A worker of a test is the test binary itself, started again: what a task does is a function of the test.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::wait_until;

/// A folder of one test's own, the files of which are notes and gates.
///
/// When it is dropped it is gone, and nobody waits for a gate of it any more. Make it after the pool, so that a test that
/// fails does not hang on top of that.
pub(crate) struct Folder(PathBuf);

/// The file in which tasks note that they have begun: a number and a process in each line.
const BEGUN: &str = "begun";

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("bowline-{}-{}", process::id(), MADE.fetch_add(1, Relaxed));
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // An earlier process with this number was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no folder {}: {error}", path.display()),
            }
        }
    }

    /// The folder, as the argument of a task.
    pub(crate) fn path(&self) -> String {
        self.0.to_str().expect("a path that is text").to_owned()
    }

    /// The path of a file in here, whether it is there or not.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().expect("a path that is text")
    }

    /// Puts a file here: the gate of this name is open.
    #[track_caller]
    pub(crate) fn put(&self, name: &str) {
        put(&self.path(), name);
    }

    /// Whether this file is here.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Waits until this file is here.
    #[track_caller]
    pub(crate) fn until(&self, name: &str) {
        wait_until(|| self.has(name));
    }

    /// The names of the files in here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(&self.0).expect("it is there").map(|e| name(e).expect("text")).collect();
        names.sort_unstable();
        names
    }

    /// The lines of a file that are whole, none if it is not there.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| Some(line.strip_suffix('\n')?.to_owned())).collect()
    }

    /// The tasks that have begun and the processes in which they have, in their order.
    fn beginnings(&self) -> impl Iterator<Item = (u64, u32)> {
        self.lines(BEGUN).into_iter().map(|line| {
            let (number, process) = line.split_once(' ').expect("a number and a process");
            (number.parse().expect("a number"), process.parse().expect("a process"))
        })
    }

    /// The numbers of the tasks that have begun, in their order.
    pub(crate) fn begun(&self) -> Vec<u64> {
        self.beginnings().map(|(number, _)| number).collect()
    }

    /// The processes that have begun the task with this number, one for each time.
    pub(crate) fn begun_by(&self, number: u64) -> Vec<u32> {
        self.beginnings().filter(|(task, _)| *task == number).map(|(_, process)| process).collect()
    }

    /// The process that has begun the task with this number, once it has.
    #[track_caller]
    pub(crate) fn until_begun(&self, number: u64) -> u32 {
        wait_until(|| !self.begun_by(number).is_empty());
        self.begun_by(number)[0]
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A task may put something here meanwhile.
        while fs::remove_dir_all(&self.0).is_err_and(|error| error.kind() == ErrorKind::DirectoryNotEmpty) {}
    }
}

/// Puts a file into the folder: the gate of this name is open.
#[track_caller]
pub(crate) fn put(folder: &str, name: &str) {
    File::create(Path::new(folder).join(name)).expect("a file");
}

/// Adds a line to a file. A line is written at once, whoever else writes.
#[track_caller]
pub(crate) fn note(folder: &str, file: &str, line: &str) {
    let mut file = File::options().append(true).create(true).open(Path::new(folder).join(file)).expect("the file");
    file.write_all(format!("{line}\n").as_bytes()).expect("a line");
}

/// Waits until the gate is open, or the folder is gone.
pub(crate) fn wait_for(folder: &str, gate: &str) {
    let folder = Path::new(folder);
    while !folder.join(gate).exists() && folder.exists() {
        thread::sleep(Duration::from_micros(500));
    }
}

/// The gate that most tests name so, as the argument of a task.
pub(crate) fn open() -> String {
    "open".to_owned()
}

/// A task: notes that it has begun, and returns its number.
pub(crate) fn begin(folder: String, number: u64) -> u64 {
    note(&folder, BEGUN, &format!("{number} {}", process::id()));
    number
}

/// A task: notes that it has begun, and returns its number when the gate is open.
pub(crate) fn pass(folder: String, number: u64, gate: String) -> u64 {
    let number = begin(folder.clone(), number);
    wait_for(&folder, &gate);
    number
}

/// A task: notes that it has begun, and returns its process when the gate is open.
pub(crate) fn hold(folder: String, number: u64, gate: String) -> u32 {
    pass(folder, number, gate);
    process::id()
}

/// A task: notes that it has begun, and dies when the gate is open.
pub(crate) fn die(folder: String, number: u64, gate: String) -> u64 {
    pass(folder, number, gate);
    process::abort()
}
