//! A parent that is gone, however that came: its workers, and whatever they started, are gone within a second.
//!
//! Every test starts a program that has a pool, ends it, and waits for the end of everybody who has its standard output.

#![cfg(target_os = "linux")]

use std::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use bowline::{Future, ProcessPoolExecutor};

use crate::support::alone::this_test;
use crate::support::folder::Folder;
use crate::support::processes::{die_of, has_ended, is_stopped, kill, send, stat};
use crate::support::programs::{Program, hear, say};
use crate::support::{LIMIT, wait_until, watchdog, within};

/// The limit that the pool promises.
const SOON: Duration = Duration::from_secs(1);
/// On a machine that is busy with something else one attempt may be late.
const ATTEMPTS: usize = 3;

/// What a worker does when its parent ends.
const ROLE: &str = "BOWLINE_TEST_ROLE";
/// Holds workers up before they have begun to be workers, while this file is there.
const HELD: &str = "BOWLINE_TEST_HELD";

/// Holds workers up likewise, until they are orphans.
const UNTIL_ORPHANED: &str = "BOWLINE_TEST_UNTIL_ORPHANED";

/// Before `main`.
#[ctor::ctor(unsafe)]
fn held_up() {
    // A worker has no arguments, and the program's first process has.
    if std::env::args_os().len() > 1 {
        return;
    }
    if let Some(file) = std::env::var_os(HELD) {
        say(&format!("begins {}", process::id()));
        while Path::new(&file).exists() {
            thread::sleep(Duration::from_millis(1));
        }
        say("goes on");
    } else if std::env::var_os(UNTIL_ORPHANED).is_some() {
        let parent = parent_id();
        say(&format!("begins {}", process::id()));
        while parent_id() == parent {
            std::hint::spin_loop();
        }
    }
}

/// A child of the worker that outlives everything but a signal.
#[expect(clippy::zombie_processes, reason = "it is killed with its parent")]
fn start_child() {
    Command::new("sleep").arg("300").spawn().expect("a child");
}

fn say_ready() {
    say(&format!("ready {}", process::id()));
}

/// Waits for nothing, until somebody ends the process.
fn for_ever() -> ! {
    loop {
        thread::park();
    }
}

fn nothing() {
    say_ready();
}

fn a_child() {
    start_child();
    say_ready();
}

fn sleeps() {
    start_child();
    say_ready();
    for_ever();
}

fn sleeps_at_start() -> Result<(), String> {
    sleeps();
    Ok(())
}

/// Blocks every signal that can be blocked, and is never idle.
fn spins() {
    // SAFETY:
    // - the set is filled before it is used; a null pointer says that the old one is not wanted.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    start_child();
    say_ready();
    loop {
        std::hint::spin_loop();
    }
}

/// Stops all of the worker, and its child.
fn stops() {
    start_child();
    say_ready();
    // SAFETY:
    // - it takes two numbers: this process's group.
    unsafe { libc::kill(0, libc::SIGSTOP) };
    for_ever();
}

/// Forks a process that goes on from here.
fn forks() {
    // SAFETY:
    // - no preconditions; the child sleeps.
    if unsafe { libc::fork() } == 0 {
        for_ever();
    }
    sleeps();
}

/// Has a worker of its own, which has one as well.
fn nests(levels: u32) {
    start_child();
    say_ready();
    if levels > 1 {
        let pool = ProcessPoolExecutor::new(1).expect("a pool in a worker");
        let _ = pool.submit(nests, (levels - 1,)).result();
    }
    for_ever();
}

/// The parent: a pool whose workers do what the role says. Ends when somebody says so, or by itself.
fn program() {
    let _watchdog = watchdog(LIMIT);
    let role = std::env::var(ROLE).expect("a role");
    if role == "reaper" {
        return reaper();
    }
    let mut builder = ProcessPoolExecutor::builder().max_workers(2);
    if role == "initializer" {
        builder = builder.initializer(sleeps_at_start, ());
    }
    let pool = builder.build().expect("a pool");
    let submit = |task: fn(&ProcessPoolExecutor) -> Future<()>| (task(&pool), task(&pool));
    let tasks = match &*role {
        "idle" => submit(|pool| pool.submit(a_child, ())),
        "sleeping" => submit(|pool| pool.submit(sleeps, ())),
        "spinning" => submit(|pool| pool.submit(spins, ())),
        "stopped" => submit(|pool| pool.submit(stops, ())),
        "forked" => submit(|pool| pool.submit(forks, ())),
        "nested" => submit(|pool| pool.submit(nests, (3,))),
        "starting" | "initializer" => submit(|pool| pool.submit(nothing, ())),
        "large" => {
            // Each page is written to: to give them back takes the system a while.
            std::hint::black_box(vec![1_u8; 1 << 30]).leak();
            submit(|pool| pool.submit(nothing, ()))
        }
        role => panic!("no role {role}"),
    };
    if role == "idle" {
        tasks.0.result().expect("a task that ends");
        tasks.1.result().expect("a task that ends");
        say("idle");
    }
    match &*hear() {
        "exit" => process::exit(3),
        "abort" => process::abort(),
        // SAFETY:
        // - no preconditions.
        "at once" => unsafe { libc::_exit(3) },
        "segfault" => die_of(libc::SIGSEGV),
        // What it becomes has nobody's output.
        "exec" => panic!("{}", Command::new("sh").args(["-c", "exec >&- 2>&-; exec sleep 300"]).exec()),
        // There is no test any more.
        _ => {}
    }
}

/// The parent's parent: it takes in the orphans, and is of the same session.
#[expect(clippy::zombie_processes, reason = "it waits for all of its children at once")]
fn reaper() {
    // SAFETY:
    // - it takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let test = this_test();
    let mut parent = Program::command(test.rsplit("::").next().expect("its name in this module"));
    parent.env(ROLE, "stopped").stdin(Stdio::null()).process_group(0);
    let mut parent = parent.spawn().expect("a parent");
    hear();
    parent.kill().expect("a process to kill");
    // SAFETY:
    // - a null pointer says that the status is not wanted.
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
}

/// How a program is ended.
#[derive(Clone, Copy)]
enum End {
    /// By this signal.
    Signal(i32),
    /// By itself, like this.
    Told(&'static str),
}

/// Runs the program of a test, ends it when `ready` has seen that it is as it should be, and has everybody be gone soon.
#[track_caller]
fn assert_all_are_gone(test: &str, role: &str, end: End, ready: impl Fn(&mut Program)) -> ExitStatus {
    within(2 * LIMIT, || {
        for attempt in 1.. {
            let mut command = Program::command(test);
            command.env(ROLE, role);
            let mut program = Program::start(command);
            ready(&mut program);
            match end {
                End::Signal(signal) => send(program.pid(), signal),
                End::Told(how) => program.tell(how),
            }
            if !program.is_gone_within(SOON) {
                program.until_gone();
                assert!(attempt < ATTEMPTS, "{role}: somebody was left for more than {SOON:?}, {attempt} times");
                continue;
            }
            // What a process becomes goes on.
            if matches!(end, End::Told("exec")) {
                assert!(!has_ended(program.pid()));
                return ExitStatus::default();
            }
            let status = program.status();
            let stderr = program.take_stderr();
            assert_eq!(stderr, "", "{role}: {status}");
            return status;
        }
        unreachable!("the last attempt fails")
    })
}

/// Waits until two workers have said that they are where they should be, and returns them.
fn two_ready(program: &mut Program) -> [u32; 2] {
    [program.until_process("ready"), program.until_process("ready")]
}

#[track_caller]
fn assert_all_are_gone_when_killed(test: &str, role: &str, ready: impl Fn(&mut Program)) {
    let status = assert_all_are_gone(test, role, End::Signal(libc::SIGKILL), ready);
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

#[test]
fn busy_workers_and_their_children_die_with_a_parent_that_is_killed() {
    let test = "busy_workers_and_their_children_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone_when_killed(test, "sleeping", |program| {
        two_ready(program);
    });
}

#[test]
fn workers_that_spin_with_all_signals_blocked_die_with_a_parent_that_is_killed() {
    let test = "workers_that_spin_with_all_signals_blocked_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone_when_killed(test, "spinning", |program| {
        two_ready(program);
    });
}

#[test]
fn workers_with_a_forked_copy_of_themselves_die_with_a_parent_that_is_killed() {
    let test = "workers_with_a_forked_copy_of_themselves_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone_when_killed(test, "forked", |program| {
        two_ready(program);
    });
}

#[test]
fn workers_in_their_initializer_die_with_a_parent_that_is_killed() {
    let test = "workers_in_their_initializer_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone_when_killed(test, "initializer", |program| {
        two_ready(program);
    });
}

#[test]
fn idle_workers_and_the_children_of_their_tasks_die_with_a_parent_that_is_killed() {
    let test = "idle_workers_and_the_children_of_their_tasks_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    // Two threads of each worker hear of it, and either may be the first.
    for _ in 0..30 {
        assert_all_are_gone_when_killed(test, "idle", |program| drop(program.until("idle")));
    }
}

#[test]
fn stopped_workers_and_their_stopped_children_die_with_a_parent_that_is_killed() {
    let test = "stopped_workers_and_their_stopped_children_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    let stopped = |program: &mut Program| {
        for worker in two_ready(program) {
            wait_until(|| is_stopped(worker));
        }
    };
    assert_all_are_gone_when_killed(test, "stopped", stopped);
    // The kernel's own mercy on orphans that are stopped is for those whose new parent is of another session.
    let status = assert_all_are_gone(test, "reaper", End::Told("end"), stopped);
    assert!(status.success(), "{status}");
}

#[test]
fn workers_of_workers_die_with_the_first_parent_when_that_is_killed() {
    let test = "workers_of_workers_die_with_the_first_parent_when_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone_when_killed(test, "nested", |program| {
        for _ in 0..3 {
            two_ready(program);
        }
    });
}

#[test]
fn busy_workers_die_with_a_parent_however_it_ends() {
    let test = "busy_workers_die_with_a_parent_however_it_ends";
    if Program::is_this(test) {
        return program();
    }
    let ready = |program: &mut Program| {
        two_ready(program);
    };
    let signalled = |signal| assert_all_are_gone(test, "sleeping", End::Signal(signal), ready).signal();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        assert_eq!(signalled(signal), Some(signal));
    }
    let told = |how| assert_all_are_gone(test, "sleeping", End::Told(how), ready);
    assert_eq!(told("exit").code(), Some(3));
    assert_eq!(told("at once").code(), Some(3));
    assert_eq!(told("abort").signal(), Some(libc::SIGABRT));
}

#[test]
fn idle_workers_die_with_a_parent_however_it_ends() {
    let test = "idle_workers_die_with_a_parent_however_it_ends";
    if Program::is_this(test) {
        return program();
    }
    let ready = |program: &mut Program| drop(program.until("idle"));
    assert_eq!(assert_all_are_gone(test, "idle", End::Signal(libc::SIGTERM), ready).signal(), Some(libc::SIGTERM));
    assert_eq!(assert_all_are_gone(test, "idle", End::Told("exit"), ready).code(), Some(3));
    assert_eq!(assert_all_are_gone(test, "idle", End::Told("abort"), ready).signal(), Some(libc::SIGABRT));
}

#[test]
fn workers_die_when_their_parent_becomes_another_program() {
    let test = "workers_die_when_their_parent_becomes_another_program";
    if Program::is_this(test) {
        return program();
    }
    assert_all_are_gone(test, "sleeping", End::Told("exec"), |program| {
        two_ready(program);
    });
    assert_all_are_gone(test, "idle", End::Told("exec"), |program| drop(program.until("idle")));
}

#[test]
fn workers_that_are_being_started_die_with_a_parent_that_is_killed() {
    let test = "workers_that_are_being_started_die_with_a_parent_that_is_killed";
    if Program::is_this(test) {
        return program();
    }
    within(LIMIT, || {
        let folder = Folder::new();
        let held = folder.file("held");
        // Before the parent ends, and after.
        for goes_on_first in [false, true, true, true] {
            std::fs::write(&held, "").expect("a file");
            let mut command = Program::command(test);
            command.env(ROLE, "starting").env(HELD, &held);
            let mut program = Program::start(command);
            let begins = ["", ""].map(|_| program.until_process("begins"));
            assert!(begins.iter().all(|&worker| stat(worker).is_some_and(|stat| stat.group == worker)));
            if goes_on_first {
                std::fs::remove_file(&held).expect("it is there");
                program.until("goes on");
            }
            kill(program.pid());
            program.status();
            if !goes_on_first {
                std::fs::remove_file(&held).expect("it is there");
            }
            program.until_gone();
            assert_eq!(program.take_stderr(), "");
        }
    });
}

/// The children of a process are orphans before it has ended.
#[test]
fn workers_that_begin_while_their_parent_is_being_taken_down_say_nothing() {
    let test = "workers_that_begin_while_their_parent_is_being_taken_down_say_nothing";
    if Program::is_this(test) {
        return program();
    }
    within(LIMIT, || {
        // Not every time is a worker as far before the parent is gone.
        for _ in 0..4 {
            let mut command = Program::command(test);
            command.env(ROLE, "large").env(UNTIL_ORPHANED, "");
            let mut program = Program::start(command);
            let _workers = ["", ""].map(|_| program.until_process("begins"));
            kill(program.pid());
            program.status();
            program.until_gone();
            assert_eq!(program.take_stderr(), "");
        }
    });
}
