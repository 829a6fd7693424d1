//! Programs of a test: the test's binary again, with a pool, workers and their children, until nobody of them is left.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::alone::{is_child, make_child};
use super::processes::send_to_group;
use super::{LIMIT, wait_until};

/// Says a word to the test that started this program, in a line of its own, whatever is written around it.
pub(crate) fn say(text: &str) {
    // In one piece: the program and its workers write at the same time. Not by `print`, which a test's harness captures.
    let _ = io::stdout().write_all(format!("\nsaid: {text}\n").as_bytes());
    let _ = io::stdout().flush();
}

/// Makes a copy of a program, to be started.
///
/// Not by this process: a child that another test's thread forks meanwhile would have the copy open for writing for a moment, and
/// nobody starts a program that is ("Text file busy").
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "a copy");
}

/// In a program: what the test says next. Empty if there is no test any more.
pub(crate) fn hear() -> String {
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("standard input");
    line.trim_end().to_owned()
}

/// A program that runs one test of this binary, and leads a process group as a command does in a shell.
///
/// Its standard output is its lifeline as well: every process that it starts has it, and when the last of them is gone it
/// ends. Whatever is left when this is dropped is killed.
pub(crate) struct Program {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<thread::JoinHandle<String>>,
    said: Vec<String>,
    status: Option<ExitStatus>,
    /// Process groups of those who have told their number: killed at the end if they are still there.
    groups: Vec<u32>,
}

impl Program {
    /// Whether this process is the program of this test.
    pub(crate) fn is_this(test: &str) -> bool {
        is_child(test)
    }

    /// The command for [`start`](Self::start).
    pub(crate) fn command(test: &str) -> Command {
        Self::command_of(std::env::current_exe().expect("the path of this binary"), test)
    }

    /// The same, of another copy of this binary.
    pub(crate) fn command_of(binary: PathBuf, test: &str) -> Command {
        let mut command = Command::new(binary);
        make_child(&mut command, test);
        command
    }

    /// Starts the program.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY:
        // - `signal` may be called there.
        unsafe {
            command.pre_exec(|| {
                // Tests that run in the background of a shell ignore some of them, and would pass that on.
                for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        let mut process = command.spawn().expect("a child process");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut stderr = process.stderr.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .filter_map(|line| Some(line.split_once("said: ")?.1.to_owned()))
                .try_for_each(|line| sender.send(line))
        });
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (stdin, stderr) = (process.stdin.take(), Some(stderr));
        Self { process, stdin, lines, stderr, said: Vec::new(), status: None, groups: Vec::new() }
    }

    /// Tells the program a line, which its first process reads from standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is piped");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("a program that reads");
    }

    /// The number of the program's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a process of the program says this word, and returns what it says after it.
    #[track_caller]
    pub(crate) fn until(&mut self, word: &str) -> String {
        let matches = |line: &String| Some(line.strip_prefix(word)?.trim().to_owned());
        if let Some(at) = self.said.iter().position(|line| matches(line).is_some()) {
            return matches(&self.said.remove(at)).expect("it matches");
        }
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => match matches(&line) {
                    Some(rest) => return rest,
                    None => self.said.push(line),
                },
                Err(RecvTimeoutError::Timeout) => panic!("nobody said {word:?} within {LIMIT:?}, but {:?}", self.said),
                Err(RecvTimeoutError::Disconnected) => {
                    let said = self.said.clone();
                    let _ = self.process.wait();
                    panic!("the program ended and did not say {word:?}, but {said:?}:\n{}", self.take_stderr());
                }
            }
        }
    }

    /// Waits until a process says this word and its number.
    #[track_caller]
    pub(crate) fn until_process(&mut self, word: &str) -> u32 {
        let pid = self.until(word).parse().expect("the number of a process");
        self.groups.push(pid);
        pid
    }

    /// Whether nobody of the program is left within this time. What they have said meanwhile is kept.
    pub(crate) fn is_gone_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// Waits until nobody of the program is left.
    #[track_caller]
    pub(crate) fn until_gone(&mut self) {
        assert!(
            self.is_gone_within(LIMIT),
            "somebody of the program is left after {LIMIT:?}, who said {:?}",
            self.said
        );
    }

    /// What was said that nobody has waited for.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// How the program's first process ended. Waits for that.
    pub(crate) fn status(&mut self) -> ExitStatus {
        if self.status.is_none() {
            wait_until(|| {
                self.status = self.process.try_wait().expect("the status of a child");
                self.status.is_some()
            });
        }
        self.status.expect("it has ended")
    }

    /// What its processes wrote to standard error. Waits until nobody can write any more.
    pub(crate) fn take_stderr(&mut self) -> String {
        let reader = self.stderr.take().expect("it is asked for once");
        wait_until(|| reader.is_finished());
        reader.join().expect("reading does not panic")
    }

    /// Waits until all have ended, the first one well and without a word on standard error.
    #[track_caller]
    pub(crate) fn until_ended_well(&mut self) {
        self.until_gone();
        let (status, stderr) = (self.status(), self.take_stderr());
        // valgrind says of system calls that it does not know them, and goes on as if the system did not.
        let is_of_valgrind =
            |line: &str| line.starts_with("--") && line.trim_start_matches('-').starts_with(char::is_numeric);
        let is_silent = stderr.lines().all(is_of_valgrind);
        assert!(status.success() && is_silent, "{status}: {stderr}\nsaid: {:?}", self.said);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A number that was reaped may be another's by now.
        if self.status.is_none() {
            send_to_group(self.process.id(), libc::SIGKILL);
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        // Only what a failed test leaves: else the output has ended with them.
        if !self.is_gone_within(Duration::ZERO) {
            self.groups.iter().for_each(|&group| _ = send_to_group(group, libc::SIGKILL));
        }
    }
}
