//! Who can make a worker run what, tried by hand; and what a worker inherits from its parent.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Command, Output};
use std::thread;

use bowline::TaskError;

use crate::support::folder::Folder;
use crate::support::rogue::{
    ANY_COPY, HELLO, MARK, READY, REFUSED, Rogue, identity, mark, read_frame, rogues, starts, worker,
};
use crate::support::workers::pool_of;
use crate::support::{LIMIT, alone, stderr, watchdog, within};

/// A task.
fn add_one(n: u64) -> u64 {
    n + 1
}

/// Not a test: what a rogue does, if this process is one. It stands between a pool and a worker that it has started, and
/// changes the place of the function in what the pool sends.
#[test]
#[expect(clippy::zombie_processes, reason = "it ends with its parent")]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    if step == "keeps the set-up" {
        rogue.say_frame(HELLO, 0, &identity());
        fs::write(Path::new(&rogue.folder).join("set-up"), rogue.hear_setup()).expect("a file");
        rogue.end(0);
    }
    let change: u64 = step.parse::<i64>().expect("a distance").cast_unsigned();
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let _child = worker(&mark(), theirs);
    let (kind, _, hello) = read_frame(&mut ours);
    assert_eq!(kind, HELLO);
    rogue.say_frame(HELLO, 0, &hello);
    let setup = rogue.hear_setup();
    rogue.pass_setup_on(&ours, &setup);
    assert_eq!(read_frame(&mut ours).0, READY);
    rogue.say_frame(READY, 0, &[]);
    let (mut replies, mut stream) = (ours.try_clone().expect("a copy"), rogue.stream.try_clone().expect("a copy"));
    thread::spawn(move || std::io::copy(&mut replies, &mut stream));
    loop {
        let (kind, id, mut payload) = read_frame(&mut rogue.stream);
        if let Some(place) = payload.first_chunk_mut::<8>() {
            *place = u64::from_le_bytes(*place).wrapping_add(change).to_le_bytes();
        }
        ours.write_all(&crate::support::rogue::frame(kind, id, &payload)).expect("a worker");
    }
}

#[test]
fn a_place_at_which_no_function_was_registered_is_called_by_no_worker() {
    within(LIMIT, || {
        for change in ["0", "1", "-1", "16", "-16", "4096", "-4096", "1000000000000"] {
            let folder = Folder::new();
            let pool = rogues(1, change, &folder).build().expect("a pool");
            let result = pool.submit(add_one, (1,)).result();
            assert_eq!(starts(&folder), 1, "{change}: by way of the one that changes it");
            match (change, result) {
                ("0", result) => assert_eq!(result.expect("the way itself is fine"), 2),
                (_, Err(TaskError::Decode(error))) => {
                    assert!(error.to_string().contains("no such function"), "{change}: {error}");
                }
                (_, other) => panic!("{change}: {other:?}"),
            }
            let _ = pool.kill();
        }
    });
}

/// Starts this program as a child of a shell, with an end of a socket that this process made; returns what comes out of the
/// socket, too.
fn as_a_grandchild(mark: &str) -> (Output, Vec<u8>) {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" --list; exit $?"]).arg(std::env::current_exe().expect("this binary")).env(MARK, mark);
    let output = shell.stdin(OwnedFd::from(theirs)).output().expect("a process");
    drop(shell);
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).expect("its end");
    (output, heard)
}

#[test]
fn a_worker_takes_no_orders_from_who_is_not_its_parent() {
    within(LIMIT, || {
        for mark in [&*mark(), ANY_COPY] {
            let (output, heard) = as_a_grandchild(mark);
            let text = stderr(&output);
            assert_eq!((output.status.code(), output.stdout.len()), (Some(121), 0), "{text}");
            let reason = format!("its orders come from process {}, and it was started by process ", process::id());
            assert!(text.contains(&reason), "{text}");
            // It says why, and nothing of itself.
            assert_eq!(heard[0], REFUSED);
            assert!(String::from_utf8_lossy(&heard[24..]).starts_with(&reason), "{heard:?}");
        }
    });
}

#[test]
fn a_worker_of_another_copy_of_the_crate_says_who_it_is_and_serves_nobody() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "keeps the set-up", &folder).build().expect("a pool");
        assert_eq!(pool.submit(add_one, (1,)).result().expect("another worker"), 2);
        let setup = fs::read(folder.file("set-up")).expect("a set-up");
        let (mut ours, theirs) = UnixStream::pair().expect("a socket");
        let mut child = worker(ANY_COPY, theirs);
        assert_eq!(read_frame(&mut ours).0, HELLO);
        // The page is not looked at.
        let rogue = Rogue::with_page(File::open("/dev/null").expect("a file"));
        rogue.pass_setup_on(&ours, &setup);
        let (kind, _, reason) = read_frame(&mut ours);
        let reason = String::from_utf8_lossy(&reason);
        assert_eq!(kind, REFUSED, "{reason}");
        assert!(reason.contains("another copy of this crate"), "{reason}");
        assert_eq!(child.wait().expect("its end").code(), Some(121));
    });
}

/// What a process may inherit: a variable, the folder, descriptors of this binary, ignored signals, a limit, the mask of files.
type Inherited = (Option<String>, String, Vec<bool>, [bool; 3], u64, u32);

/// A task: what this process has of that.
fn inherited(descriptors: Vec<i32>) -> Inherited {
    let this = std::env::current_exe().expect("this binary");
    let is_it = |number: &i32| fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|file| file == this);
    let open = descriptors.iter().map(is_it).collect();
    let is_ignored = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE].map(|signal| {
        // SAFETY:
        // - zeroes are an action, which is written over.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            action.sa_sigaction == libc::SIG_IGN
        }
    });
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.expect("a limit");
    let mask = fs::read_to_string("/proc/self/status").expect("Linux");
    let mask = mask.lines().find_map(|line| line.strip_prefix("Umask:")).expect("a mask").trim().to_owned();
    let folder = std::env::current_dir().expect("a folder").display().to_string();
    let variable = std::env::var("BOWLINE_TEST_INHERITED").ok();
    (variable, folder, open, is_ignored, files, u32::from_str_radix(&mask, 8).expect("a number"))
}

#[test]
fn a_worker_inherits_what_the_readme_says_as_it_is_when_the_worker_is_started() {
    extern "C" fn ignore(_: libc::c_int) {}

    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = pool_of(1);
        // After the pool was made, and before it has a worker.
        // SAFETY:
        // - this is a test's process: nobody else looks at the environment.
        unsafe { std::env::set_var("BOWLINE_TEST_INHERITED", "yes") };
        std::env::set_current_dir("/usr").expect("a folder");
        // SAFETY:
        // - an action that is always there, and one that does nothing; a mask is a number.
        unsafe {
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            libc::signal(libc::SIGUSR2, ignore as *const () as usize);
            libc::umask(0o27);
        }
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = Some(200);
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a lower limit");
        let closed = File::open("/proc/self/exe").expect("a file");
        // SAFETY:
        // - it is open; the copy stays so.
        let kept = unsafe { libc::dup(closed.as_raw_fd()) };

        let seen = pool.submit(inherited, (vec![closed.as_raw_fd(), kept],)).result().expect("a worker");
        // A handler is not inherited; std ignores SIGPIPE, and so does a worker.
        let expected = (Some("yes".to_owned()), "/usr".to_owned(), vec![false, true], [true, false, true], 200, 0o27);
        assert_eq!(seen, expected);
    });
}
