//! Signals from the terminal, which go to the whole foreground group: they are the program's, and not its workers'.
//!
//! Every test starts a program in a process group of its own, as a shell does, and sends signals to that group.

#![cfg(target_os = "linux")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::{Future, ProcessPoolExecutor};
use support::programs::{Files, Program, hear, say, send, stat};
use support::{LIMIT, wait_until, watchdog, within};

/// Where the tasks wait for the end.
const GATE: &str = "BOWLINE_TEST_GATE";

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_interrupt(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, SeqCst);
}

/// A task in the middle of something until the file is there. Returns how many interrupts its process has had.
fn work(gate: String) -> usize {
    say(&format!("ready {}", std::process::id()));
    while !Path::new(&gate).exists() {
        thread::sleep(Duration::from_millis(1));
    }
    INTERRUPTS.load(SeqCst)
}

/// Before `main`, in workers too: what would be said of an interrupt that a worker gets.
#[ctor::ctor(unsafe)]
fn note_interrupts() {
    if std::env::var_os(GATE).is_some() {
        // SAFETY:
        // - the function adds to an atomic, which may be done anywhere.
        unsafe { libc::signal(libc::SIGINT, note_interrupt as *const () as usize) };
    }
}

/// The program: two busy workers, whose tasks end well.
fn program() {
    let _watchdog = watchdog(LIMIT);
    let pool = ProcessPoolExecutor::new(2).expect("a pool");
    let gate = std::env::var(GATE).expect("a gate");
    let tasks = [(); 2].map(|()| pool.submit(work, (gate.clone(),)));
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
        let files = Files::new(test);
        let gate = files.path("gate");
        let mut command = Program::command(test);
        command.env(GATE, &gate);
        let mut program = Program::start(command);
        let workers = ["", ""].map(|_| program.until_process("ready"));
        while_busy(&mut program, workers);
        std::fs::write(&gate, "").expect("a file");
        program.tell("sent");
        let interrupts = program.until("interrupts").parse().expect("a number");
        program.until_ended_well();
        assert!(program.said().is_empty(), "{:?}", program.said());
        interrupts
    })
}

/// Sends a signal to the program's group, as a terminal does.
fn send_to_group(program: &Program, signal: i32) {
    send(-program.pid().cast_signed(), signal);
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
        send_to_group(program, libc::SIGINT);
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
        send_to_group(program, libc::SIGSTOP);
        wait_until(|| stat(program.pid()).is_some_and(|stat| stat.state == 'T'));
        for worker in workers {
            until_none_is_pending(worker);
            assert_ne!(stat(worker).expect("a worker").state, 'T');
        }
        send_to_group(program, libc::SIGCONT);
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
        let files = Files::new(test);
        let mut command = Program::command(test);
        command.env(GATE, files.path("gate"));
        let mut program = Program::start(command);
        let _workers = ["", ""].map(|_| program.until_process("ready"));
        send_to_group(&program, libc::SIGINT);
        program.until_gone();
        assert_eq!(program.status().signal(), Some(libc::SIGINT));
        assert_eq!(program.take_stderr(), "");
    });
}
