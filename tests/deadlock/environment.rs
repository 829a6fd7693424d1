//! What the environment asks for: nothing of it is in the program.
//!
//! Each test runs its body in a process of its own, whose variables are set.

#![cfg(unix)]

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::{Lock, deadlock};
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{LIMIT, in_fresh_process, spawn_named, stderr, until_waiting, wait_until, within};

/// Holds a lock that another thread wants, and runs `meanwhile`.
fn while_one_waits(meanwhile: impl FnOnce()) {
    within(LIMIT / 2, || {
        let lock = Lock::named("coveted", 0);
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "covets", || drop(lock.lock()));
            until_waiting("covets");
            meanwhile();
            drop(guard);
        });
    });
}

/// Standard error of this process, for as long as this lives: read here, and passed on.
struct Stderr {
    reader: BufReader<PipeReader>,
    before: OwnedFd,
}

impl Stderr {
    fn capture() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let before = rustix::io::dup(rustix::stdio::stderr()).unwrap();
        rustix::stdio::dup2_stderr(&writer).unwrap();
        Self { reader: BufReader::new(reader), before }
    }

    /// Waits for a line with this in it, and for the end of its page: an empty line.
    fn until_page_with(&mut self, part: &str) {
        let mut is_there = false;
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0);
            rustix::io::write(&self.before, line.as_bytes()).unwrap();
            is_there |= line.contains(part);
            if is_there && line == "\n" {
                return;
            }
        }
    }

    /// Waits for a line with this in it.
    fn until_line_with(&mut self, part: &str) {
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0);
            rustix::io::write(&self.before, line.as_bytes()).unwrap();
            if line.contains(part) {
                return;
            }
        }
    }

    /// Waits for a dump.
    fn until_dump(&mut self) {
        self.until_page_with("waits for A 'coveted' at");
        // The thread that printed it finishes its work a moment later.
        thread::sleep(Duration::from_millis(300));
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        rustix::stdio::dup2_stderr(&self.before).unwrap();
        // Nobody writes to the pipe any more.
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rustix::io::write(&self.before, &rest).unwrap();
    }
}

fn send(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

/// Sleeps until the process is killed.
fn sleep_on() {
    loop {
        thread::sleep(LIMIT);
    }
}

/// The dumps that a process printed.
fn dumps(output: &Output) -> usize {
    stderr(output).matches("bowline: process ").count()
}

fn assert_tells(output: &Output) {
    let text = stderr(output);
    for part in [
        "2 threads, 1 waits, no deadlock\n",
        "\n  A = Lock<i32> 'coveted', made at ",
        "\nthread 'covets' (os id ",
        ") waits for A 'coveted' at ",
        "\n  holds A 'coveted' (thread 'covets' (os id ",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
}

fn assert_went_on(output: &Output) {
    assert!(output.status.success() && stderr(output).contains("went on"), "{}", stderr(output));
}

#[test]
fn a_program_that_is_terminated_says_who_waits_for_what_and_ends() {
    let name = "a_program_that_is_terminated_says_who_waits_for_what_and_ends";
    let body = || {
        while_one_waits(|| {
            send(Signal::TERM);
            sleep_on();
        });
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm,sigquit")], body) else { return };
    assert_tells(&output);
    assert_eq!((dumps(&output), output.status.signal()), (1, Some(Signal::TERM.as_raw())), "{}", stderr(&output));
}

#[test]
fn a_handler_that_was_there_before_is_called_and_decides() {
    let name = "a_handler_that_was_there_before_is_called_and_decides";
    let body = || {
        let told = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::TERM.as_raw(), Arc::clone(&told)).unwrap();
        while_one_waits(|| {
            let mut stderr = Stderr::capture();
            send(Signal::TERM);
            wait_until(|| told.load(SeqCst));
            stderr.until_dump();
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "TERM")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
}

#[test]
fn a_handler_that_comes_later_is_called_and_decides() {
    let name = "a_handler_that_comes_later_is_called_and_decides";
    let body = || {
        while_one_waits(|| {
            let told = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(Signal::TERM.as_raw(), Arc::clone(&told)).unwrap();
            let mut stderr = Stderr::capture();
            send(Signal::TERM);
            wait_until(|| told.load(SeqCst));
            stderr.until_dump();
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let name = "a_signal_that_is_ignored_stays_ignored";
    let body = || {
        // As under nohup.
        // SAFETY:
        // - no code runs for a signal that is ignored.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        while_one_waits(|| {
            let mut stderr = Stderr::capture();
            send(Signal::HUP);
            stderr.until_dump();
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sighup")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
}

#[test]
fn a_handler_that_blocks_all_signals_while_it_runs_is_called_and_decides() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    extern "C" fn on_term(_: i32) {
        TOLD.store(true, SeqCst);
    }
    let name = "a_handler_that_blocks_all_signals_while_it_runs_is_called_and_decides";
    let body = || {
        // SAFETY:
        // - all zeros is an action; the handler touches an atomic.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_term as extern "C" fn(i32) as usize;
            libc::sigfillset(&raw mut action.sa_mask);
            assert_eq!(libc::sigaction(libc::SIGTERM, &raw const action, std::ptr::null_mut()), 0);
        }
        while_one_waits(|| {
            let mut stderr = Stderr::capture();
            send(Signal::TERM);
            wait_until(|| TOLD.load(SeqCst));
            stderr.until_dump();
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
}

#[test]
fn a_second_signal_ends_a_process_that_cannot_print() {
    let name = "a_second_signal_ends_a_process_that_cannot_print";
    let body = || {
        while_one_waits(|| {
            // Nobody reads what the process prints, and the pipe is full.
            let (_reader, mut writer) = std::io::pipe().unwrap();
            // SAFETY:
            // - descriptors that are open; no memory is touched.
            unsafe {
                let descriptor = std::os::fd::AsRawFd::as_raw_fd(&writer);
                libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK);
                while std::io::Write::write(&mut writer, &[0; 4096]).is_ok() {}
                libc::fcntl(descriptor, libc::F_SETFL, 0);
                libc::dup2(descriptor, libc::STDERR_FILENO);
            }
            send(Signal::TERM);
            thread::sleep(Duration::from_millis(300));
            send(Signal::TERM);
            sleep_on();
        });
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm")], body) else { return };
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()), "{}", stderr(&output));
}

#[test]
fn a_process_that_closed_what_it_does_not_know_is_terminated_all_the_same() {
    let name = "a_process_that_closed_what_it_does_not_know_is_terminated_all_the_same";
    let body = || {
        while_one_waits(|| {
            for descriptor in 3..64 {
                // SAFETY:
                // - what is closed here nobody uses any more.
                unsafe { libc::close(descriptor) };
            }
            // Their numbers are somebody else's now.
            let _files: Vec<_> = (3..16).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
            send(Signal::TERM);
            sleep_on();
        });
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm")], body) else { return };
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()), "{}", stderr(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn the_thread_that_prints_takes_no_signal_from_others() {
    let name = "the_thread_that_prints_takes_no_signal_from_others";
    let body = || {
        drop(Lock::new(()).lock());
        let tasks = || std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let printer = || tasks().find(|task| read(task.join("comm")) == "bowline-dump\n");
        wait_until(|| printer().is_some());
        let status = read(printer().unwrap().join("status"));
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        let blocked = u64::from_str_radix(blocked, 16).unwrap();
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD] {
            assert_ne!(blocked >> (signal - 1) & 1, 0, "{signal}");
        }
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigusr2")], body) else { return };
    assert!(stderr(&output).contains("went on"), "{}", stderr(&output));
}

#[test]
fn a_program_that_is_told_to_quit_goes_on() {
    let name = "a_program_that_is_told_to_quit_goes_on";
    let body = || {
        while_one_waits(quit_twice);
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "quit")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
    assert_eq!(dumps(&output), 2, "each signal once: {}", stderr(&output));
}

fn quit_twice() {
    let mut stderr = Stderr::capture();
    for _ in 0..2 {
        send(Signal::QUIT);
        stderr.until_dump();
    }
}

#[test]
fn a_program_that_asks_for_dumps_several_times_prints_each_once() {
    let name = "a_program_that_asks_for_dumps_several_times_prints_each_once";
    let body = || {
        (0..3).for_each(|_| deadlock::dump_on_signal().unwrap());
        while_one_waits(|| {
            deadlock::dump_on_signal().unwrap();
            quit_twice();
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "SIGQUIT")], body) else { return };
    assert_tells(&output);
    assert_went_on(&output);
    assert_eq!(dumps(&output), 2, "{}", stderr(&output));
}

#[test]
fn a_child_that_was_forked_is_terminated_as_any_other_and_its_parent_prints_nothing() {
    let name = "a_child_that_was_forked_is_terminated_as_any_other_and_its_parent_prints_nothing";
    let body = || {
        while_one_waits(|| {
            // SAFETY:
            // - the child calls nothing but what may be called after a fork.
            let child = unsafe { libc::fork() };
            if child == 0 {
                loop {
                    // SAFETY:
                    // - as above.
                    unsafe { libc::pause() };
                }
            }
            let child = rustix::process::Pid::from_raw(child).unwrap();
            kill_process(child, Signal::TERM).unwrap();
            let (_, status) =
                rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.terminating_signal(), Some(Signal::TERM.as_raw()));
            thread::sleep(Duration::from_millis(200));
        });
        eprintln!("went on");
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DUMP", "sigterm")], body) else { return };
    assert_went_on(&output);
    assert_eq!(dumps(&output), 0, "{}", stderr(&output));
}

#[test]
fn what_is_wrong_with_a_variable_is_said_once_and_the_program_goes_on() {
    let name = "what_is_wrong_with_a_variable_is_said_once_and_the_program_goes_on";
    let body = || {
        for _ in 0..2 {
            thread::spawn(|| drop(Lock::new(()).lock())).join().unwrap();
        }
    };
    let wrong = [("BOWLINE_DUMP", "sigterm,sigkill"), ("BOWLINE_WARN_AFTER", "soon")];
    let Some(output) = in_fresh_process(name, &wrong, body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let none = "\"sigkill\" is none of sigterm, sigint, sighup, sigquit, sigusr1, sigusr2";
    assert_eq!(text.matches(&format!("bowline: BOWLINE_DUMP=sigterm,sigkill: {none}\n")).count(), 1, "{text}");
    let no_duration = "it is no duration, such as 2s, 500ms or 1min";
    assert_eq!(text.matches(&format!("bowline: BOWLINE_WARN_AFTER=soon: {no_duration}\n")).count(), 1, "{text}");
}

#[test]
fn a_long_wait_is_printed_and_the_same_again_is_a_line() {
    let name = "a_long_wait_is_printed_and_the_same_again_is_a_line";
    let body = || {
        for _ in 0..3 {
            let mut stderr = Stderr::capture();
            while_one_waits(|| {
                stderr.until_line_with("long wait: ");
                drop(stderr);
            });
        }
    };
    let Some(output) = in_fresh_process(name, &[("BOWLINE_WARN_AFTER", "50ms")], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let begin = "long wait: thread 'covets' has waited ";
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(begin)).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(text.matches(" holds it,").count(), 1, "a page once: {text}");
    assert!(lines[1].ends_with("(seen 2 times at these lines)"), "{text}");
    assert!(lines[2].ends_with("(seen 3 times at these lines)"), "{text}");
    // What the holder does, as the kernel has it.
    #[cfg(target_os = "linux")]
    assert!(text.contains("and is blocked outside of bowline: it waits for something to read\n"), "{text}");
}

#[inline(never)]
fn a_call_that_waits(lock: &Lock<()>) -> bool {
    let result = lock.acquire().is_err();
    std::hint::black_box(result)
}

#[test]
#[cfg(target_os = "linux")]
fn dumps_and_reports_have_the_stacks_of_their_threads_if_that_is_asked_for() {
    let name = "dumps_and_reports_have_the_stacks_of_their_threads_if_that_is_asked_for";
    let body = || {
        within(LIMIT * 3 / 4, || {
            let (a, b) = (Lock::named("a", ()), Lock::named("b", ()));
            let guard = a.lock();
            thread::scope(|s| {
                spawn_named(s, "covets", || {
                    let _guard = b.lock();
                    a_call_that_waits(&a)
                });
                until_waiting("covets");
                deadlock::dump();
                eprintln!("and now the report");
                let report = b.acquire().map(drop).unwrap_err();
                eprintln!("{report}");
                drop(guard);
            });
        });
    };
    let variables = [("BOWLINE_BACKTRACE", "1")];
    let Some(output) = in_fresh_process(name, &variables, body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let (dump, report) = text.split_once("and now the report").expect("both");
    for text in [dump, report] {
        assert_eq!(text.matches("in these calls, the innermost first:").count(), 2, "{text}");
        assert!(text.contains("environment::a_call_that_waits at"), "{text}");
    }
}
