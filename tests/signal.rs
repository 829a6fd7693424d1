//! A real SIGQUIT: the process shows its own diagnosis and goes on.
#![cfg(target_os = "linux")]

mod support;

use std::process::{Command, Stdio};

use bowline::{Lock, deadlock};
use support::{in_fresh_process, spawn_named, stderr, until_waiting, wait_until};

/// Sends SIGQUIT to this process, by the program that a person would use.
fn kill_quit() {
    let number = std::process::id().to_string();
    let status = Command::new("kill").args(["-QUIT", &number]).stdin(Stdio::null()).status().expect("kill runs");
    assert!(status.success());
}

/// Sends SIGQUIT and waits until the thread that dumps has done its work: it has gone to sleep once more.
fn quit_and_wait_for_the_dump() {
    wait_until(|| sleeps_of_the_dumper().is_some());
    let before = sleeps_of_the_dumper();
    kill_quit();
    wait_until(|| sleeps_of_the_dumper() > before);
}

/// How often the thread `bowline-dump` has gone to sleep; `None` while it has not.
fn sleeps_of_the_dumper() -> Option<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let dumper = tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "bowline-dump"))?;
    let status = std::fs::read_to_string(dumper.join("status")).ok()?;
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    sleeps.trim().parse().ok().filter(|&sleeps| sleeps > 0)
}

#[test]
fn a_hung_program_shows_who_waits_on_sigquit_and_goes_on() {
    let body = || {
        deadlock::dump_on_signal().expect("a handler and a thread");
        let ledger = Lock::named("the ledger", ());
        std::thread::scope(|s| {
            let guard = ledger.lock();
            spawn_named(s, "the patient one", || drop(ledger.lock()));
            until_waiting("the patient one");
            quit_and_wait_for_the_dump();
            drop(guard);
        });
        quit_and_wait_for_the_dump();
        eprintln!("and went on");
    };
    let name = "a_hung_program_shows_who_waits_on_sigquit_and_goes_on";
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "SIGQUIT ended it: {text}");
    assert!(text.contains("thread 'the patient one' waits for 'the ledger'"), "{text}");
    assert!(text.contains("holds 'the ledger'"), "{text}");
    assert!(text.contains("and went on"), "{text}");
}

#[test]
fn without_the_handler_sigquit_ends_the_process() {
    let body = || {
        kill_quit();
        std::thread::sleep(std::time::Duration::from_secs(5));
    };
    let Some(output) = in_fresh_process("without_the_handler_sigquit_ends_the_process", &[], body) else { return };
    assert!(!output.status.success(), "the control: the handler is what keeps a process alive");
}
