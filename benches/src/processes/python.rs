//! Python's `ProcessPoolExecutor`, and its ways for bytes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Python's `ProcessPoolExecutor`, whose workers come into being in some way. Each measurement is a program of its own,
/// which warms its pool up, takes the time by its own clock, and prints it.
#[derive(Clone, Copy)]
pub struct Python {
    /// What tables call it.
    pub name: &'static str,
    context: &'static str,
}

impl Python {
    /// Workers are forks of the program.
    pub const FORK: Self = Self { name: "Python, fork", context: "fork" };
    /// Workers are programs of their own, as ours are.
    pub const SPAWN: Self = Self { name: "Python, spawn", context: "spawn" };
    /// Workers are forks of a process that was spawned for that.
    pub const FORKSERVER: Self = Self { name: "Python, forkserver", context: "forkserver" };

    /// The version of what is installed here, if there is anything.
    pub fn version() -> Option<String> {
        let output = Command::new("python3").arg("--version").stdin(Stdio::null()).output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(version)
    }

    /// Runs `processes.py` beside this package: the time for so many of that workload.
    ///
    /// # Panics
    ///
    /// If the program fails.
    pub fn measure(self, workload: &str, times: u64) -> Duration {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/processes.py");
        let mut command = Command::new("python3");
        command.args([script, workload, &times.to_string(), self.context]).stdin(Stdio::null());
        let output = command.stderr(Stdio::inherit()).output().expect("python3 was there before");
        let seconds = String::from_utf8_lossy(&output.stdout).trim().parse();
        assert!(output.status.success(), "{}: {workload}: {}", self.name, output.status);
        Duration::from_secs_f64(seconds.expect("the program prints seconds"))
    }
}

/// `bulk.py` beside this package, which measures what it is told to.
pub struct PythonPipes {
    program: Child,
    orders: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl PythonPipes {
    /// Its ways to give another process bytes, and to get them: `concurrent.futures`, `multiprocessing.Pool`, and
    /// `multiprocessing.Pipe` without a pool.
    pub const WAYS: [&'static str; 3] = ["executor", "pool", "pipe"];

    /// Starts the program, whose processes are up when it has measured something.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    pub fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bulk.py");
        let mut command = Command::new("python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("python3 was there before");
        let (orders, times) = (program.stdin.take().expect("a pipe"), program.stdout.take().expect("a pipe"));
        Self { program, orders, times: BufReader::new(times) }
    }

    /// Returns the time for so many bytes in this way, in the direction `to` or `back`.
    ///
    /// # Panics
    ///
    /// If the program fails.
    pub fn measure(&mut self, way: &str, direction: &str, bytes: usize) -> Duration {
        writeln!(self.orders, "{way} {direction} {bytes}").expect("it reads");
        let mut seconds = String::new();
        self.times.read_line(&mut seconds).expect("it writes");
        Duration::from_secs_f64(seconds.trim().parse().expect("the program prints seconds"))
    }

    /// Ends the program.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn end(self) {
        let Self { mut program, orders, times } = self;
        drop((orders, times));
        assert!(program.wait().expect("a child").success());
    }
}
