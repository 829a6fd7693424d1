//! Signals from the terminal, which go to the whole foreground group: they are the program's, and not its workers'.
//!
//! Every test starts a program in a process group of its own, as a shell does, and sends signals to that group.

#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bowline::{Future, ProcessPoolExecutor};

use crate::support::folder::{Folder, wait_for};
use crate::support::processes::{is_stopped, send_to_group, stat, state};
use crate::support::programs::{Program, hear, say};
use crate::support::{LIMIT, wait_until, watchdog, within};

/// Where the tasks wait for the end.
const FOLDER: &str = "BOWLINE_TEST_FOLDER";

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_interrupt(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, SeqCst);
}

/// A task in the middle of something until the gate `end` is open. Returns how many interrupts its process has had.
fn work(folder: String) -> usize {
    say(&format!("ready {}", std::process::id()));
    wait_for(&folder, "end");
    INTERRUPTS.load(SeqCst)
}

/// Before `main`, in workers too: what would be said of an interrupt that a worker gets.
#[ctor::ctor(unsafe)]
fn note_interrupts() {
    if std::env::var_os(FOLDER).is_some() {
        // SAFETY:
        // - the function adds to an atomic, which may be done anywhere.
        unsafe { libc::signal(libc::SIGINT, note_interrupt as *const () as usize) };
    }
}

/// The program: two busy workers, whose tasks end well.
fn program() {
    let _watchdog = watchdog(LIMIT);
    let pool = ProcessPoolExecutor::new(2).expect("a pool");
    let folder = std::env::var(FOLDER).expect("a folder");
    let tasks = [(); 2].map(|()| pool.submit(work, (folder.clone(),)));
    // The test has sent what it sends.
    hear();
    let interrupts = tasks.map(Future::result).map(|result| result.expect("a task that nobody has disturbed"));
    assert_eq!(interrupts, [0, 0], "the workers got interrupts");
    assert!(pool.shutdown().is_complete());
    say(&format!("interrupts {}", INTERRUPTS.load(SeqCst)));
}

/// Runs the program of a test, has `send` do something to it while its workers are busy, and returns how many interrupts it
/// has had when it has ended well.
#[track_caller]
fn interrupts_of(test: &str, while_busy: impl FnOnce(&mut Program, [u32; 2])) -> usize {
    within(LIMIT, || {
        let folder = Folder::new();
        let mut command = Program::command(test);
        command.env(FOLDER, folder.path());
        let mut program = Program::start(command);
        let workers = ["", ""].map(|_| program.until_process("ready"));
        while_busy(&mut program, workers);
        folder.put("end");
        program.tell("sent");
        let interrupts = program.until("interrupts").parse().expect("a number");
        program.until_ended_well();
        assert!(program.said().is_empty(), "{:?}", program.said());
        interrupts
    })
}

/// Waits until no signal is pending for the process: it has taken what was sent, or nothing was.
fn until_none_is_pending(process: u32) {
    wait_until(|| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        let pending = status.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
        pending.into_iter().all(|line| line.ends_with("0000000000000000"))
    });
}

#[test]
fn an_interrupt_from_the_terminal_reaches_the_program_once_and_its_workers_not_at_all() {
    let test = "an_interrupt_from_the_terminal_reaches_the_program_once_and_its_workers_not_at_all";
    if Program::is_this(test) {
        return program();
    }
    let interrupts = interrupts_of(test, |program, workers| {
        for worker in workers {
            let stat = stat(worker).expect("a worker");
            assert_eq!((stat.parent, stat.group), (program.pid(), worker), "a worker leads a group of its own");
        }
        send_to_group(program.pid(), libc::SIGINT);
        [program.pid(), workers[0], workers[1]].into_iter().for_each(until_none_is_pending);
    });
    assert_eq!(interrupts, 1);
}

#[test]
fn a_program_that_is_stopped_and_continued_from_the_terminal_loses_no_task() {
    let test = "a_program_that_is_stopped_and_continued_from_the_terminal_loses_no_task";
    if Program::is_this(test) {
        return program();
    }
    let interrupts = interrupts_of(test, |program, workers| {
        send_to_group(program.pid(), libc::SIGSTOP);
        wait_until(|| is_stopped(program.pid()));
        for worker in workers {
            until_none_is_pending(worker);
            assert_ne!(state(worker).expect("a worker"), 'T');
        }
        send_to_group(program.pid(), libc::SIGCONT);
    });
    assert_eq!(interrupts, 0);
}

#[test]
fn an_interrupt_that_the_program_does_not_handle_ends_it_and_its_workers_without_a_word() {
    let test = "an_interrupt_that_the_program_does_not_handle_ends_it_and_its_workers_without_a_word";
    if Program::is_this(test) {
        // SAFETY:
        // - the default is no function.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        return program();
    }
    within(LIMIT, || {
        let folder = Folder::new();
        let mut command = Program::command(test);
        command.env(FOLDER, folder.path());
        let mut program = Program::start(command);
        let _workers = ["", ""].map(|_| program.until_process("ready"));
        send_to_group(program.pid(), libc::SIGINT);
        program.until_gone();
        assert_eq!(program.status().signal(), Some(libc::SIGINT));
        assert_eq!(program.take_stderr(), "");
    });
}
