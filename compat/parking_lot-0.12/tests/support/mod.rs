//! What the tests share.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Node};

/// Runs `body`, and ends the process, with the wait-for graph on standard error, if that takes longer than a minute.
pub(crate) fn within<R>(body: impl FnOnce() -> R) -> R {
    let (_alive, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            deadlock::dump();
            std::process::abort();
        }
    });
    body()
}

/// Runs `body` in a process of its own, and returns what became of that. `None`: this is that process, and `body` has run.
pub(crate) fn in_fresh_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    const CHILD: &str = "COMPAT_TEST_CHILD";
    if std::env::var_os(CHILD).is_some_and(|name| name == *test) {
        within(body);
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).env_remove("BOWLINE_DEADLOCK").env_remove("RUST_BACKTRACE");
    command.env(CHILD, test).envs(variables.iter().copied());
    Some(command.output().expect("this program runs"))
}

/// Runs `body`, the whole of a test, in a process of its own.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if let Some(output) = in_fresh_process(test, &[], body) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Waits until a thread with this name is in the wait-for graph.
pub(crate) fn until_waiting(name: &str) {
    until(|| {
        let graph = deadlock::snapshot();
        let waits = |node: &Node| matches!(node, Node::Thread(thread) if thread.name() == Some(name) && thread.waits_for().is_some());
        graph.graph().node_weights().any(waits)
    });
}

/// Waits until this holds, under [`within`]'s watch.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::sleep(Duration::from_micros(200));
    }
}

/// Starts a thread with this name.
pub(crate) fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread")
}

/// Makes a value that lives for ever.
pub(crate) fn keep<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Returns how many locks of this package the calling thread holds, as the wait-for graph has it.
pub(crate) fn held() -> usize {
    let own = bowline::Lock::new(());
    let _guard = own.lock();
    let deadlock = own.acquire().map(drop).expect_err("it is held");
    deadlock.report().threads()[0].holds().iter().filter(|held| held.resource().is_foreign()).count()
}

/// Returns the message of the panic of `body`, on one line.
#[track_caller]
pub(crate) fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(body()))).expect_err("it panics");
    let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
