//! Programs that have more rights than whoever starts them: nobody tells those what to run.
//!
//! That needs a set-user-id program, which only root can make: without root, or where the folder for temporary files does
//! not allow such programs, this says so and tests nothing. Each test runs alone: a process that another test starts meanwhile
//! would keep the program open that is being written.

#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bowline::ProcessPoolExecutor;
use bowline::process_pool::ProcessPoolError;
use rustix::process::{geteuid, getuid};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::support::programs::{Program, copy_program};
use crate::support::rogue::{ANY_COPY, MARK, REFUSED};
use crate::support::{alone, skipped};

/// Who has no rights at all.
const NOBODY: u32 = 65534;

/// The program: says what becomes of it.
fn program() {
    let is_marked = std::env::var_os(MARK).is_some();
    ProcessPoolExecutor::init();
    let refused = matches!(ProcessPoolExecutor::new(1), Err(ProcessPoolError::Privileged));
    let marked = if is_marked { ", marked" } else { "" };
    println!("privileged {}, refused {refused}{marked}", geteuid().is_root() && !getuid().is_root());
}

/// A copy of this binary, with these permissions, that is removed in the end.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str, mode: u32) -> Self {
        let copy = Self(std::env::temp_dir().join(format!("bowline-{name}-{}", std::process::id())));
        copy_program(std::env::current_exe().expect("this binary"), &copy.0);
        fs::set_permissions(&copy.0, Permissions::from_mode(mode)).expect("our own file");
        copy
    }

    /// What this program, started by nobody, says in the test.
    fn says(&self, test: &str, change: impl FnOnce(&mut Command)) -> String {
        let mut command = Program::command_of(self.0.clone(), test);
        command.uid(NOBODY).gid(NOBODY).current_dir("/").stdout(Stdio::piped()).stderr(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().expect("a program");
        drop(command);
        let said = said(&mut child);
        let line = said.lines().find(|line| line.contains("privileged "));
        line.map(|line| line[line.find("privileged").expect("it is there")..].to_owned()).unwrap_or(said)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut said).expect("a text");
    child.wait().expect("its end");
    said
}

#[test]
fn a_program_with_more_rights_than_who_starts_it_is_no_worker_and_has_no_pool() {
    let test = "a_program_with_more_rights_than_who_starts_it_is_no_worker_and_has_no_pool";
    if Program::is_this(test) {
        return program();
    }
    alone(|| {
        if !geteuid().is_root() {
            return skipped("only root makes set-user-id programs");
        }
        // The same program without the bit is like any other.
        let ordinary = Copy::new("ordinary", 0o755).says(test, |command| _ = command.stdin(Stdio::null()));
        assert_eq!(ordinary, "privileged false, refused false");

        let privileged = Copy::new("privileged", 0o4755);
        let says = privileged.says(test, |command| _ = command.stdin(Stdio::null()));
        if says.starts_with("privileged false") {
            return skipped(format_args!("there are no set-user-id programs in {}", privileged.0.display()));
        }
        assert_eq!(says, "privileged true, refused true");

        // As who wants to tell it what to run does.
        let (mut ours, theirs) = UnixStream::pair().expect("a socket");
        // If it is a worker, it waits for ever.
        ours.shutdown(std::net::Shutdown::Write).expect("an end");
        let says = privileged.says(test, |command| {
            command.env(MARK, ANY_COPY).process_group(0).stdin(OwnedFd::from(theirs));
        });
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).expect("the end");
        assert_eq!((says.as_str(), heard.len()), ("privileged true, refused true", 0), "{heard:?}");
    });
}

#[test]
fn a_program_with_capabilities_of_its_file_is_no_worker_and_has_no_pool() {
    let test = "a_program_with_capabilities_of_its_file_is_no_worker_and_has_no_pool";
    if Program::is_this(test) {
        return program();
    }
    alone(|| {
        if !geteuid().is_root() {
            return skipped("only root gives a file capabilities");
        }
        let copy = Copy::new("capable", 0o755);
        let given = Command::new("setcap").arg("cap_net_raw+ep").arg(&copy.0).stderr(Stdio::null()).status();
        if !given.is_ok_and(|status| status.success()) {
            return skipped("files have no capabilities here");
        }
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        ours.shutdown(std::net::Shutdown::Write).expect("an end");
        let says = copy.says(test, |command| {
            command.env(MARK, ANY_COPY).process_group(0).stdin(OwnedFd::from(theirs));
        });
        // The user's own ids; and the mark is gone before `main`.
        assert_eq!(says, "privileged false, refused true");
    });
}

/// What a worker says to who may not tell it what to run, of whom this changes something before it starts it.
fn refusal(program: &Copy, change: impl FnOnce(&mut Command)) -> String {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut command = Command::new(&program.0);
    command.arg("--list").env(MARK, ANY_COPY).process_group(0).current_dir("/").stdin(OwnedFd::from(theirs));
    change(&mut command);
    // A worker that says who it is in place of why not waits for no more.
    ours.shutdown(std::net::Shutdown::Write).expect("an end");
    let output = command.output().expect("a process");
    drop(command);
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).expect("the end");
    assert_eq!((output.status.code(), output.stdout.len(), heard[0]), (Some(121), 0, REFUSED), "{heard:?}");
    String::from_utf8_lossy(&heard[24..]).into_owned()
}

#[test]
fn a_worker_takes_no_orders_from_another_user() {
    alone(|| {
        if !geteuid().is_root() {
            return skipped("only root starts programs of other users");
        }
        let copy = Copy::new("user", 0o755);
        let reason = refusal(&copy, |command| _ = command.uid(NOBODY).gid(NOBODY));
        assert_eq!(reason, format!("its orders come from user 0, and it runs as user {NOBODY}"));
    });
}

/// Runs this in a process that is forked off, as its first thread, and returns whether that succeeded.
fn in_fork(body: impl FnOnce()) -> bool {
    // SAFETY:
    // - the other process runs `body` and ends. It starts programs, which the C library allows a fork.
    match unsafe { libc::fork() } {
        0 => {
            let succeeded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY:
            // - it takes a number.
            unsafe { libc::_exit((!succeeded).into()) }
        }
        fork => {
            let mut status = -1;
            // SAFETY:
            // - there is such a child, and a place for its status.
            assert_eq!(unsafe { libc::waitpid(fork, &raw mut status, 0) }, fork);
            status == 0
        }
    }
}

#[test]
fn a_worker_takes_no_orders_from_a_parent_that_may_do_less() {
    let body = || {
        let copy = Copy::new("parent", 0o755);
        assert!(in_fork(|| {
            let mut less = capabilities(None).expect("capabilities");
            // A program of root gets it back when it is started.
            less.permitted.remove(CapabilitySet::NET_RAW);
            less.effective.remove(CapabilitySet::NET_RAW);
            set_capabilities(None, less).expect("less of them");
            let reason = refusal(&copy, |_| {});
            assert!(reason.starts_with("it may do what its parent may not (capabilities 0x2000)"), "{reason}");
        }));
    };
    alone(|| {
        let can = || capabilities(None).is_ok_and(|own| own.permitted.contains(CapabilitySet::NET_RAW));
        if !geteuid().is_root() || !can() {
            return skipped("only root gets back what it has given up");
        }
        body();
    });
}
