//! Python's `ProcessPoolExecutor`.

use std::process::{Command, Stdio};
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
