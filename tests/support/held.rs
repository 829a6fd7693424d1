//! Worker processes that are held up until the test lets them go, and what their tasks leave on a board.
//!
//! A worker of a test is the test binary itself, started again: what a task does is a function of the test.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bowline::{Future, ProcessPoolExecutor, TaskError, WorkerExit, WorkerLost};

use super::wait_until;

/// A folder by which a test and the tasks in its workers tell each other how far they are.
///
/// When it is dropped nobody waits for it any more. Make it after the pool, so that a test that fails does not hang on
/// top of that.
pub(crate) struct Board(PathBuf);

const NOTES: &str = "notes";

impl Board {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("bowline-board-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder of its own");
        Self(path)
    }

    /// The board, as the argument of a task.
    pub(crate) fn path(&self) -> String {
        self.0.to_str().expect("a path that is text").to_owned()
    }

    /// Lets those go who wait for this.
    pub(crate) fn open(&self, gate: &str) {
        File::create(self.0.join(gate)).expect("a file");
    }

    /// The numbers that were noted, in their order.
    pub(crate) fn notes(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.0.join(NOTES)).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a number")).collect()
    }

    /// Waits until this number was noted.
    #[track_caller]
    pub(crate) fn until_noted(&self, number: u64) {
        wait_until(|| self.notes().contains(&number));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A task: notes its number, and returns it. Each note is written at once, whoever else writes.
pub(crate) fn note(board: String, number: u64) -> u64 {
    let mut file = File::options().append(true).create(true).open(Path::new(&board).join(NOTES)).expect("the notes");
    file.write_all(format!("{number}\n").as_bytes()).expect("a line");
    number
}

/// A task: waits until the test opens the gate, or drops the board.
pub(crate) fn pass(board: String, gate: String) {
    let board = Path::new(&board);
    while board.exists() && !board.join(&gate).exists() {
        thread::sleep(Duration::from_micros(500));
    }
}

/// A task: notes its number, and returns it when the gate is open.
pub(crate) fn note_and_pass(board: String, number: u64, gate: String) -> u64 {
    let number = note(board.clone(), number);
    pass(board, gate);
    number
}

/// A task: notes its number, and dies when the gate is open.
pub(crate) fn note_and_die(board: String, number: u64, gate: String) -> u64 {
    note_and_pass(board, number, gate);
    std::process::abort()
}

/// Tasks that each hold up a worker until this is released, or dropped.
pub(crate) struct Held {
    board: Board,
    tasks: Vec<Future<u64>>,
}

impl Held {
    /// Returns when so many workers of the pool run such a task.
    #[track_caller]
    pub(crate) fn keep(pool: &ProcessPoolExecutor, workers: u64) -> Self {
        let board = Board::new();
        let hold = |number| pool.submit_named("hold", note_and_pass, (board.path(), number, "open".to_owned()));
        let tasks: Vec<_> = (0..workers).map(hold).collect();
        wait_until(|| board.notes().len() as u64 == workers);
        Self { board, tasks }
    }

    /// Lets the tasks go, and waits until they are done.
    #[track_caller]
    pub(crate) fn release(mut self) {
        self.board.open("open");
        for task in self.tasks.drain(..) {
            task.result().expect("a task that ends");
        }
    }

    /// What became of the tasks, when they are done.
    pub(crate) fn results(mut self) -> Vec<Result<u64, TaskError>> {
        self.tasks.drain(..).map(Future::result).collect()
    }
}

/// Whether the process is gone, and reaped.
pub(crate) fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// How the worker ended that was lost in the middle of a task.
#[track_caller]
pub(crate) fn lost<T: std::fmt::Debug>(result: Result<T, TaskError>) -> WorkerLost {
    match result {
        Err(TaskError::WorkerLost(lost)) => lost,
        other => panic!("the worker was to be lost: {other:?}"),
    }
}

/// The signal by which the worker ended that was lost.
#[track_caller]
pub(crate) fn lost_by<T: std::fmt::Debug>(result: Result<T, TaskError>) -> i32 {
    match lost(result).exit() {
        WorkerExit::Signal { number, .. } => *number,
        other => panic!("a signal was to end the worker: {other:?}"),
    }
}
