//! A worker's process that other code reaps, or that takes others with it. Each test runs in a process of its own.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{getpgid, test_kill_process};

use super::*;

const ROLE: &str = "BOWLINE_TEST_PROCESS";

/// Runs one of these tests again, alone in a process. `None` in that one, which goes on.
fn alone(test: &str) -> Option<()> {
    if std::env::var_os(ROLE).is_some() {
        // SAFETY:
        // - `alarm` has no preconditions: it ends what would hang.
        unsafe { libc::alarm(120) };
        return None;
    }
    let mut again = Command::new(std::env::current_exe().expect("this binary"));
    let (_, module) = module_path!().split_once("::").expect("the crate comes first");
    again.args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
    let output = again.env(ROLE, test).output().expect("a process");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
    if text.contains("can't be chosen") {
        eprintln!("skipped: the numbers of processes can't be chosen here");
    }
    Some(())
}

/// A process that is a shell with this script, and this end of its stream, which is its standard input.
fn shell(script: &str) -> (Process, UnixStream) {
    // A process that outlives a failed test keeps no descriptor of the test.
    let args = ["-c".into(), format!("exec >/dev/null 2>&1; {script}").into()].to_vec();
    Process::start(&Program { path: "/bin/sh".into(), args, ..Program::default() }).expect("a process")
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that ended, and that other code has reaped: the system itself.
fn gone() -> Process {
    // SAFETY:
    // - a signal that can be ignored.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let (process, _stream) = shell("read line");
    assert!(process.descriptor.is_some(), "Linux 5.4");
    kill_process(process.pid, Signal::KILL).expect("a process");
    wait_until(|| test_kill_process(process.pid) == Err(Errno::SRCH));
    // SAFETY:
    // - the default action.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    process
}

/// Starts a process with this number, which leads a group and repeats what it is told: a child of this one, or the
/// returned one's. `None` if the system lets nobody choose.
fn stranger(number: Pid, is_child: bool) -> Option<Child> {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    let (n, before) = (number.as_raw_nonzero().get(), (number.as_raw_nonzero().get() - 1).to_string());
    let choose = format!(
        "exec 3<&0; for i in $(seq 100); do echo {before} >{LAST}; setsid cat <&3 2>/dev/null & [ $! = {n} ] && {{ wait; exit; }}; kill $!; done"
    );
    // A process that starts at the same time may take the number.
    for _ in 0..100 {
        let mut command = Command::new(if is_child { "cat" } else { "sh" });
        if is_child {
            std::fs::write(LAST, &before).ok()?;
            command.process_group(0);
        } else {
            command.args(["-c", &choose]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        wait_until(|| getpgid(Some(number)) == Ok(number) || is_child || !matches!(child.try_wait(), Ok(None)));
        if getpgid(Some(number)) == Ok(number) {
            return Some(child);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    None
}

#[test]
fn a_stranger_with_the_number_of_a_worker_that_somebody_else_reaped_is_sent_no_signal() {
    if alone("a_stranger_with_the_number_of_a_worker_that_somebody_else_reaped_is_sent_no_signal").is_some() {
        return;
    }
    for is_child in [true, false] {
        let mut process = gone();
        if !is_child {
            // As where the system has none: then a child of this process is not to be told from the worker.
            process.descriptor = None;
        }
        let Some(mut child) = stranger(process.pid, is_child) else {
            return println!("the numbers can't be chosen here");
        };
        process.signal(Signal::TERM);
        assert_eq!(process.reap(), WorkerExit::Unknown);
        // A process that a signal has ended does not answer.
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut answer = [0];
        let is_there = stdin.write_all(b"?").is_ok() && stdout.read_exact(&mut answer).is_ok();
        assert!(is_there, "a stranger was sent a signal, {}", if is_child { "a child" } else { "no child" });
        drop(stdin);
        child.wait().expect("a child");
    }
}

/// The processes that are in the group of this one, but for itself, and their states.
fn members(process: &Process) -> Vec<(Pid, char)> {
    let folder = std::fs::read_dir("/proc").expect("Linux");
    let member = |pid: Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        (pid != process.pid && fields.nth(1)?.parse() == Ok(process.pid())).then_some((pid, state))
    };
    folder.filter_map(|entry| member(Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?)?)).collect()
}

#[test]
fn the_children_of_a_worker_that_somebody_else_reaped_are_killed_where_the_kernel_can() {
    if alone("the_children_of_a_worker_that_somebody_else_reaped_are_killed_where_the_kernel_can").is_some() {
        return;
    }
    let (process, _stream) = shell("sleep 600 & read line");
    wait_until(|| !members(&process).is_empty());
    kill_process(process.pid, Signal::KILL).expect("a process");
    waitid(process.id(), WaitIdOptions::EXITED).expect("it is reaped by somebody else");
    let descriptor = process.descriptor.as_ref().expect("Linux 5.4");
    if send_by(descriptor, Signal::CONT, PIDFD_SIGNAL_PROCESS_GROUP).is_err() {
        let (child, _) = members(&process)[0];
        kill_process(child, Signal::KILL).expect("a process");
        return println!("before Linux 6.9 the group of a process that is gone has no name");
    }
    assert_eq!(process.reap(), WorkerExit::Unknown);
    wait_until(|| members(&process).iter().all(|(_, state)| *state == 'Z'));
}

#[test]
fn a_process_that_takes_in_orphans_reaps_those_of_a_killed_worker_and_nobody_elses() {
    if alone("a_process_that_takes_in_orphans_reaps_those_of_a_killed_worker_and_nobody_elses").is_some() {
        return;
    }
    // SAFETY:
    // - it takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let mut own = Command::new("true").spawn().expect("a process");
    wait_until(|| matches!(waitid(WaitId::Pid(Pid::from_child(&own)), LOOK), Ok(Some(_))));
    // Children, and children of a child.
    let (process, _stream) = shell("sh -c 'sleep 600 & sleep 600 & wait' & sleep 600 & read line");
    wait_until(|| members(&process).len() == 4);
    assert_eq!(process.reap(), WorkerExit::Signal { number: 9, core_dumped: false });
    assert_eq!(members(&process), []);
    assert!(own.wait().expect("nobody else has reaped it").success());
}

#[test]
fn a_process_that_lives_on_without_its_stream_is_told_with_what_it_executes() {
    for (script, executes) in [("exec sleep 600 </dev/null", true), ("exec </dev/null; sleep 600 & wait", false)] {
        let (process, mut stream) = shell(&format!("read line; {script}"));
        process.note_program();
        stream.write_all(b"\n").expect("a process that reads");
        assert_eq!(stream.read(&mut [0]).expect("the end of the stream"), 0);
        let exit = process.reap_at_end_of_stream();
        let WorkerExit::StreamClosed { program } = exit else { panic!("{exit}") };
        assert_eq!(program.is_some(), executes, "{program:?}");
    }
}

#[test]
fn a_process_that_ends_just_after_its_stream_is_told_as_it_ended() {
    let (process, mut stream) = shell("read line; exec </dev/null; sleep 0.1; exit 7");
    process.note_program();
    stream.write_all(b"\n").expect("a process that reads");
    assert_eq!(stream.read(&mut [0]).expect("the end of the stream"), 0);
    assert_eq!(process.reap_at_end_of_stream(), WorkerExit::Code(7));
}

#[test]
fn a_process_that_had_ended_was_not_killed_here() {
    let killed = |process: Process| {
        let exit = process.reap();
        assert_eq!(exit, WorkerExit::Signal { number: libc::SIGKILL, core_dumped: false });
        assert!(process.cpu_time().is_some_and(|time| time < Duration::from_secs(60)), "{:?}", process.cpu_time());
        process.was_killed_here()
    };
    let (process, _stream) = shell("kill -9 $$");
    wait_until(|| process.has_ended());
    process.signal(Signal::KILL);
    assert!(!killed(process));
    let (process, _stream) = shell("read line");
    assert!(killed(process), "by its end");
    let (process, _stream) = shell("read line");
    process.signal(Signal::TERM);
    process.signal(Signal::KILL);
    wait_until(|| process.has_ended());
    let is_term = matches!(process.reap(), WorkerExit::Signal { number: libc::SIGTERM, .. });
    assert!(is_term || process.was_killed_here(), "by a signal");
}
