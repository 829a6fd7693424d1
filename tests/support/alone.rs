//! Tests in a process of their own: this binary again, told to run that one test.
//!
//! The tests of a binary share a process with one policy, one grace, one set of hooks and one wait-for graph. A test that
//! sets anything of the process, or counts what the process does, calls [`alone`] (`ci/lint.sh` looks for that).
//!
//! A test is told by its name within its module; the module is that of the test that asks, by whose name its thread is called.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, watchdog};

/// Names the test in a child process that [`run_self`] started.
const CHILD: &str = "BOWLINE_TEST_CHILD";

/// Names the test that [`alone`] runs in this process, for as long as nobody starts another one.
const ALONE: &str = "BOWLINE_TEST_ALONE";

/// Runs `body`, the whole of a test, in a process of its own, under a [`watchdog`]. Passes on what it prints, and its failure.
///
/// ```ignore
/// fn a_hook_runs_once() {
///     alone(|| { … });
/// }
/// ```
#[track_caller]
pub(crate) fn alone(body: impl FnOnce()) {
    alone_within(LIMIT, body);
}

/// The same, with another limit.
#[track_caller]
pub(crate) fn alone_within(limit: Duration, body: impl FnOnce()) {
    let test = this_test();
    let is_this = |variable| std::env::var_os(variable).is_some_and(|name| name == *test);
    // Nor is one started for a test that was started as a child by itself, and miri starts none.
    if cfg!(miri) || is_this(ALONE) || is_this(CHILD) {
        let _watchdog = watchdog(limit);
        return body();
    }
    let mut command = command(&test);
    command.env_remove("BOWLINE_DEADLOCK").env_remove(CHILD).env(ALONE, &test);
    // The watchdog is first.
    let output = finish(command, &test, limit + LIMIT / 4);
    let [text, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    print!("{text}");
    eprint!("{errors}");
    for line in errors.lines().filter(|line| line.starts_with("skipped: ")) {
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    }
    assert!(output.status.success(), "{test} failed in its process: {}", output.status);
}

/// Runs `body` in a process of its own, in which no other test runs: policy, grace and hooks are as at the start.
///
/// For a test that looks at the end of that process, or at what it prints; any other calls [`alone`]. `test` is the name of
/// the test that calls this. In the parent returns what became of the child; in the child runs `body` and returns `None`:
///
/// ```ignore
/// let Some(output) = in_fresh_process("a_deadlock_aborts", &[("BOWLINE_DEADLOCK", "abort")], || deadlock()) else {
///     return;
/// };
/// assert!(!output.status.success());
/// ```
#[track_caller]
pub(crate) fn in_fresh_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    if is_child(test) {
        body();
        return None;
    }
    Some(run_self(test, variables))
}

/// Runs one test of this binary in a child process, with these environment variables, and waits for its end.
///
/// Panics if there is no such test, or if the child still runs after [`LIMIT`]: it is killed then.
#[track_caller]
fn run_self(test: &str, variables: &[(&str, &str)]) -> Output {
    let test = with_module(test);
    let mut command = command(&test);
    command.env_remove("BOWLINE_DEADLOCK").env(CHILD, &test).envs(variables.iter().copied());
    finish(command, &test, LIMIT)
}

/// Whether this process was started to run this test, by [`in_fresh_process`] or as a program of it.
pub(crate) fn is_child(test: &str) -> bool {
    let child = std::env::var(CHILD).unwrap_or_default();
    child.strip_suffix(test).is_some_and(|module| module.is_empty() || module.ends_with("::"))
}

/// Makes the process that a command starts the child for this test: arguments and environment.
pub(crate) fn make_child(command: &mut Command, test: &str) {
    let test = with_module(test);
    command.args(arguments(&test)).env_remove("RUST_TEST_THREADS").env("RUST_BACKTRACE", "0").env(CHILD, test);
}

/// The name of the test whose thread this is, with its module.
pub(crate) fn this_test() -> String {
    thread::current().name().expect("the thread of a test").to_owned()
}

/// The name, with its module, of a test in the module of the test whose thread this is.
pub(crate) fn with_module(test: &str) -> String {
    let this = this_test();
    let module = this.rfind("::").map_or("", |at| &this[..at + 2]);
    format!("{module}{test}")
}

/// What this binary is told, to run one test: its name with its module.
pub(crate) fn arguments(test: &str) -> [OsString; 5] {
    ["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"].map(OsString::from)
}

fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this binary"));
    command.args(arguments(test)).env_remove("RUST_TEST_THREADS").env("RUST_BACKTRACE", "0");
    command
}

/// Waits for the end of a process that runs one test. Kills it, and panics, after this time.
#[track_caller]
fn finish(mut command: Command, test: &str, limit: Duration) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child process");
    let stdout = read_to_end(child.stdout.take().expect("piped"));
    let stderr = read_to_end(child.stderr.take().expect("piped"));
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("the child's status") {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    // Somebody else may have its output, and live on.
    while status.is_some() && !(stdout.is_finished() && stderr.is_finished()) {
        assert!(Instant::now() < end, "{test} has ended, and somebody that it started still has its output");
        thread::sleep(Duration::from_millis(1));
    }
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("reading does not panic"));
    let text = || format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let Some(status) = status else { panic!("{test} still ran in its process after {limit:?}:\n{}", text()) };
    assert!(text().contains("running 1 test"), "there is no test {test:?} in this binary:\n{}", text());
    Output { status, stdout, stderr }
}

fn read_to_end(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
