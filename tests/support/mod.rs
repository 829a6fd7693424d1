//! What the tests share: time limits that explain themselves, gates in place of sleeps, and child processes.
//!
//! The tests of one binary run at the same time, in one process and one wait-for graph: give threads names that no
//! other test of the binary uses.

#![allow(dead_code, reason = "every test binary uses a part of this")]

pub(crate) mod deadlocks;
#[cfg(target_os = "linux")]
pub(crate) mod folder;
#[cfg(unix)]
pub(crate) mod foreign;
pub(crate) mod gate;
#[cfg(target_os = "linux")]
pub(crate) mod library;
#[cfg(target_os = "linux")]
pub(crate) mod processes;
#[cfg(target_os = "linux")]
pub(crate) mod programs;
#[cfg(target_os = "linux")]
pub(crate) mod rogue;
pub(crate) mod task_scripts;
pub(crate) mod tasks;
#[cfg(target_os = "linux")]
pub(crate) mod workers;

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Node, StuckThread};

/// A generous limit for a test that takes milliseconds: it only decides how soon a hang fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 60 });

/// Names the test in a child process that [`run_self`] started.
const CHILD: &str = "BOWLINE_TEST_CHILD";

/// Ends the process, with the wait-for graph on standard error, unless it is dropped in time: see [`watchdog`].
#[must_use = "the watch ends when this is dropped"]
pub(crate) struct Watchdog(mpsc::Sender<()>);

/// Starts a watch of `limit`.
pub(crate) fn watchdog(limit: Duration) -> Watchdog {
    let (alive, ended) = mpsc::channel();
    let test = thread::current().name().unwrap_or("a test without a name").to_owned();
    let watch = move || {
        if ended.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        // Written directly: what is captured would be lost with the process.
        let _ = writeln!(std::io::stderr(), "\n{test} still runs after {limit:?}; the wait-for graph:");
        let (dumping, dumped) = mpsc::channel::<()>();
        thread::spawn(move || {
            deadlock::dump();
            drop(dumping);
        });
        // The graph itself may be what hangs.
        let _ = dumped.recv_timeout(Duration::from_secs(5));
        std::process::abort();
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).expect("a thread for the watchdog");
    Watchdog(alive)
}

/// Says that a test, or a part of it, can't run here, and why. Written directly, so that it is seen: the output of a test
/// that passes is not.
pub(crate) fn skipped(why: impl std::fmt::Display) {
    let test = thread::current().name().unwrap_or("a test without a name").to_owned();
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
}

/// Runs `body` under a [`watchdog`].
pub(crate) fn within<R>(limit: Duration, body: impl FnOnce() -> R) -> R {
    let _watchdog = watchdog(limit);
    body()
}

/// Waits until `condition` holds, or panics after [`LIMIT`].
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "the condition did not come true within {LIMIT:?}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// The thread of which this holds, if there is one in the wait-for graph.
pub(crate) fn find_thread_where(matches: impl Fn(&StuckThread) -> bool) -> Option<StuckThread> {
    deadlock::snapshot().graph().node_weights().find_map(|node| match node {
        Node::Thread(thread) if matches(thread) => Some(thread.clone()),
        _ => None,
    })
}

/// What the wait-for graph says of the thread with this name, if it is in there.
pub(crate) fn find_thread(name: &str) -> Option<StuckThread> {
    find_thread_where(|thread| thread.name() == Some(name))
}

/// Waits until there is a thread of which this holds in the wait-for graph.
#[track_caller]
pub(crate) fn until_thread_where(matches: impl Fn(&StuckThread) -> bool) -> StuckThread {
    let mut found = None;
    wait_until(|| {
        found = find_thread_where(&matches);
        found.is_some()
    });
    found.expect("the condition holds")
}

/// Waits until the thread with this name is registered in the wait-for graph as waiting.
///
/// It may not be parked yet: see [`until_parked`].
#[track_caller]
pub(crate) fn until_waiting(name: &str) -> StuckThread {
    until_thread_where(|thread| thread.name() == Some(name) && thread.waits_for().is_some())
}

/// Waits until the thread with this name is registered as waiting and asleep, so that it has its place in the queue.
#[track_caller]
pub(crate) fn until_parked(name: &str) {
    until_asleep(until_waiting(name).os_id());
}

/// Linux's number for this thread.
pub(crate) fn this_os_id() -> u32 {
    let this = std::fs::read_link("/proc/thread-self").expect("a link to this thread");
    let number = this.file_name().and_then(|number| number.to_str()).expect("a path that ends with the number");
    number.parse().expect("a number")
}

/// Waits until the thread with this number sleeps. Only Linux tells; elsewhere this returns at once.
#[track_caller]
pub(crate) fn until_asleep(os_id: u32) {
    if cfg!(target_os = "linux") {
        let stat = format!("/proc/self/task/{os_id}/stat");
        wait_until(|| {
            // The state follows the name, which is in parentheses and may contain anything.
            let stat = std::fs::read_to_string(&stat).expect("the state of a thread that is there");
            stat.rsplit_once(')').expect("a name in parentheses").1.trim_start().starts_with('S')
        });
    }
}

/// Starts a thread with a name in a scope.
#[track_caller]
pub(crate) fn spawn_named<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, body).expect("a thread")
}

/// Runs `body` on a thread of its own, waits for its end, and passes its panic on.
#[track_caller]
pub(crate) fn on_another_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|s| s.spawn(body).join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2) + 1)
    }

    /// A number from 0 to `n - 1`. (Marsaglia's xorshift64.)
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }

    /// Puts the items in another order. (Fisher and Yates.)
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Runs `body` in a process of its own, in which no other test runs: policy, grace and hooks are as at the start.
///
/// `test` is the name of the test that calls this. In the parent returns what became of the child; in the child runs
/// `body` and returns `None`:
///
/// ```ignore
/// let Some(output) = in_fresh_process("a_deadlock_aborts", &[("BOWLINE_DEADLOCK", "abort")], || deadlock()) else {
///     return;
/// };
/// assert!(!output.status.success());
/// ```
#[track_caller]
pub(crate) fn in_fresh_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|child| child == test) {
        body();
        return None;
    }
    Some(run_self(test, variables))
}

/// Runs one test of this binary in a child process, with these environment variables, and waits for its end.
///
/// Panics if there is no such test, or if the child still runs after [`LIMIT`]: it is killed then.
#[track_caller]
pub(crate) fn run_self(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("the path of this binary"));
    command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env_remove("BOWLINE_DEADLOCK").env_remove("RUST_TEST_THREADS").env("RUST_BACKTRACE", "0");
    command.env(CHILD, test).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());

    let mut child = command.spawn().expect("a child process");
    let stdout = read_to_end(child.stdout.take().expect("piped"));
    let stderr = read_to_end(child.stderr.take().expect("piped"));
    let end = Instant::now() + LIMIT;
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
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("reading does not panic"));
    let text = || format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let Some(status) = status else { panic!("{test} still ran in its process after {LIMIT:?}:\n{}", text()) };
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

/// What a process wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The message of a panic.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a message")
}
