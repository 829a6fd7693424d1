//! What the tests share: time limits that explain themselves, gates in place of sleeps, and child processes.
//!
//! The tests of one binary run at the same time, in one process and one wait-for graph, unless they run [`alone()`]: give
//! threads names that no other test of the binary uses.

#![allow(dead_code, unused_imports, unused_macros, reason = "every test binary uses a part of this")]

pub(crate) mod alone;
pub(crate) mod contract;
pub(crate) mod deadlocks;
#[cfg(target_os = "linux")]
pub(crate) mod descriptors;
#[cfg(feature = "tracing")]
pub(crate) mod fields;
pub(crate) mod folder;
#[cfg(unix)]
pub(crate) mod foreign;
pub(crate) mod gate;
pub(crate) mod hazards;
#[cfg(target_os = "linux")]
pub(crate) mod library;
#[cfg(target_os = "linux")]
pub(crate) mod processes;
#[cfg(target_os = "linux")]
pub(crate) mod programs;
pub(crate) mod readers;
#[cfg(target_os = "linux")]
pub(crate) mod rogue;
pub(crate) mod task_scripts;
pub(crate) mod tasks;
#[cfg(target_os = "linux")]
pub(crate) mod workers;

use std::io::Write;
use std::process::Output;
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{self, Node};

pub(crate) use alone::{alone, alone_within, in_fresh_process};

/// A generous limit for a test that takes milliseconds: it only decides how soon a hang fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 60 });

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

/// What a process wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The message of a panic.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a message")
}
