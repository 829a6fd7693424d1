//! Programs that have more rights than whoever starts them: nobody tells those what to run.
//!
//! That needs a set-user-id program, which only root can make: without root, or where the folder for temporary files does
//! not allow such programs, this says so and tests nothing.

#![cfg(target_os = "linux")]

mod support;

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bowline::{ProcessPoolError, ProcessPoolExecutor};
use rustix::process::{geteuid, getuid};
use support::programs::Program;
use support::{LIMIT, within};

/// Who has no rights at all.
const NOBODY: u32 = 65534;

/// The program: says what becomes of it.
fn program() {
    ProcessPoolExecutor::init();
    let refused = matches!(ProcessPoolExecutor::new(1), Err(ProcessPoolError::Privileged));
    println!("privileged {}, refused {refused}", geteuid().is_root() && !getuid().is_root());
}

/// A copy of this binary, with these permissions, that is removed in the end.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str, mode: u32) -> Self {
        let copy = Self(std::env::temp_dir().join(format!("bowline-{name}-{}", std::process::id())));
        fs::copy(std::env::current_exe().expect("this binary"), &copy.0).expect("a copy");
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
    within(LIMIT, || {
        if !geteuid().is_root() {
            return eprintln!("SKIPPED {test}: only root makes set-user-id programs");
        }
        // The same program without the bit is like any other.
        let ordinary = Copy::new("ordinary", 0o755).says(test, |command| _ = command.stdin(Stdio::null()));
        assert_eq!(ordinary, "privileged false, refused false");

        let privileged = Copy::new("privileged", 0o4755);
        let says = privileged.says(test, |command| _ = command.stdin(Stdio::null()));
        if says.starts_with("privileged false") {
            return eprintln!("SKIPPED {test}: there are no set-user-id programs in {}", privileged.0.display());
        }
        assert_eq!(says, "privileged true, refused true");

        // As who wants to tell it what to run does.
        let (mut ours, theirs) = UnixStream::pair().expect("a socket");
        // If it is a worker, it waits for ever.
        ours.shutdown(std::net::Shutdown::Write).expect("an end");
        let says = privileged.says(test, |command| {
            command.env("BOWLINE_WORKER", "1").process_group(0).stdin(OwnedFd::from(theirs));
        });
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).expect("the end");
        assert_eq!((says.as_str(), heard.len()), ("privileged true, refused true", 0), "{heard:?}");
    });
}
