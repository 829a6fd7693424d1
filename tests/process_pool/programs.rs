//! What may be started as a worker, and how this program is started again, whatever runs it.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use bowline::process_pool::{ProcessPoolBuilder, ProcessPoolError};
use bowline::task::{Rejected, StartError, StartFailure};
use bowline::{ProcessPoolExecutor, TaskError};
use rustix::process::geteuid;

use crate::support::folder::Folder;
use crate::support::programs::{Program, copy_program, say};
use crate::support::{LIMIT, alone, skipped, watchdog, within};

/// The executable of this process, by its file.
fn this() -> PathBuf {
    std::env::current_exe().expect("the path of this binary")
}

fn builder(program: impl Into<PathBuf>) -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().max_workers(1).worker_exe(program)
}

/// A task: its process, and a variable.
fn see() -> (u32, Option<String>) {
    (process::id(), std::env::var("BOWLINE_TEST_SEEN").ok())
}

/// Why there is no worker in this pool.
#[track_caller]
fn start_error(builder: ProcessPoolBuilder) -> StartError {
    match builder.build().expect("a pool").submit(see, ()).result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// A program: it has a worker, or says why not.
fn program() {
    let _watchdog = watchdog(LIMIT);
    match ProcessPoolExecutor::new(1).map(|pool| pool.submit(see, ()).result()) {
        Ok(Ok((worker, _))) => say(&format!("worker {}", worker != process::id())),
        Ok(Err(error)) => say(&format!("no worker: {error}")),
        Err(error) => say(&format!("no pool: {error}")),
    }
}

/// The command for such a program, by way of another one.
fn by_way_of<'a>(way: impl IntoIterator<Item = &'a str>, binary: &Path, test: &str) -> Command {
    let direct = Program::command_of(binary.to_owned(), test);
    let mut way = way.into_iter();
    let mut command = Command::new(way.next().expect("a program"));
    command.args(way).arg(direct.get_program()).args(direct.get_args());
    direct.get_envs().for_each(|(name, value)| match value {
        Some(value) => _ = command.env(name, value),
        None => _ = command.env_remove(name),
    });
    command
}

/// Asserts that it has a worker.
#[track_caller]
fn assert_has_worker(command: Command) {
    let mut program = Program::start(command);
    assert_eq!(program.until(""), "worker true");
    program.until_ended_well();
}

#[test]
fn a_wrapper_that_becomes_the_program_starts_a_worker() {
    within(LIMIT, || {
        let exec = ["-c".into(), "BOWLINE_TEST_SEEN=set exec \"$0\"".into(), this().into_os_string()];
        let assign = ["BOWLINE_TEST_SEEN=set".into(), this().into_os_string()];
        for builder in [builder("/bin/sh").worker_args(exec), builder("env").worker_args(assign)] {
            let pool = builder.build().unwrap();
            let (worker, seen) = pool.submit(see, ()).result().unwrap();
            assert_eq!((pool.worker_pids(), seen.as_deref()), (vec![worker], Some("set")));
        }
    });
}

#[test]
fn a_wrapper_that_stays_as_the_programs_parent_is_refused_with_what_to_do() {
    within(LIMIT, || {
        let stays = ["-c".into(), "\"$0\" 2>/dev/null; exit 3".into(), this().into_os_string()];
        let error = start_error(builder("/bin/sh").worker_args(stays));
        let StartFailure::Refused(reason) = error.failure() else { panic!("{error:?}") };
        assert!(reason.contains(&format!("from process {},", process::id())), "{reason}");
        assert!(reason.contains("`worker_exe`") && reason.contains("(`exec`)"), "{reason}");
        assert!(error.to_string().contains(&**reason), "{error}");
    });
}

#[test]
fn a_relative_worker_program_is_the_one_that_was_there_when_the_pool_was_made() {
    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        let (folder, other) = (Folder::new(), Folder::new());
        symlink(this(), folder.file("program")).expect("a link");
        fs::copy("/bin/false", other.file("program")).expect("another program");
        std::env::set_current_dir(folder.path()).expect("a folder");
        // SAFETY:
        // - this is a test's process: nobody else looks at the environment.
        unsafe { std::env::set_var("PATH", format!("{}:/bin:/usr/bin", folder.path())) };
        let pools = ["program", "./program"].map(|path| builder(path).build().expect("a pool"));

        let error = builder("no-such-program").build().expect_err("there is none");
        assert!(matches!(error, ProcessPoolError::NoWorkerProgram { .. }), "{error}");
        assert!(error.to_string().contains("'no-such-program' in PATH"), "{error}");
        let error = builder("folder/program").build().expect_err("there is none");
        assert!(error.to_string().contains("'folder/program' in the current directory"), "{error}");

        std::env::set_current_dir(other.path()).expect("a folder");
        // SAFETY:
        // - as above.
        unsafe { std::env::set_var("PATH", other.path()) };
        for pool in pools {
            assert_ne!(pool.submit(see, ()).result().expect("a worker").0, process::id());
        }
    });
}

/// The loader of this program.
fn loader() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let mut loaders = paths.filter(|path| path.contains("/ld-"));
    loaders.next().map(str::to_owned)
}

#[test]
fn a_program_that_the_loader_was_told_to_run_has_workers_that_it_is_told_to_run() {
    let test = "a_program_that_the_loader_was_told_to_run_has_workers_that_it_is_told_to_run";
    if Program::is_this(test) {
        // It finds itself wherever it is.
        std::env::set_current_dir("/").expect("the root");
        return program();
    }
    within(LIMIT, || {
        let Some(loader) = loader() else { return skipped("this program has no loader") };
        assert_has_worker(by_way_of([&*loader], &this(), test));
        assert_has_worker(by_way_of([&*loader, "--library-path", "/nowhere"], &this(), test));
        // By a relative path.
        let binary = this();
        let name = Path::new(".").join(binary.file_name().expect("a name"));
        let mut command = by_way_of([&*loader], &name, test);
        command.current_dir(binary.parent().expect("a folder"));
        assert_has_worker(command);
    });
}

/// Whether there is this program, which says its version.
fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok_and(|status| status.success())
}

#[test]
fn a_program_that_valgrind_runs_has_workers() {
    let test = "a_program_that_valgrind_runs_has_workers";
    if Program::is_this(test) {
        return program();
    }
    within(3 * LIMIT, || {
        if !is_there("valgrind") {
            return skipped("there is no valgrind");
        }
        assert_has_worker(by_way_of(["valgrind", "-q", "--tool=none"], &this(), test));
    });
}

#[test]
fn a_worker_that_valgrind_runs_loses_no_memory() {
    within(3 * LIMIT, || {
        if !is_there("valgrind") {
            return skipped("there is no valgrind");
        }
        let folder = Folder::new();
        let log = format!("--log-file={}", folder.file("log"));
        let args = [log.into(), "--leak-check=full".into(), "--show-leak-kinds=definite".into(), this().into()];
        let pool = builder("valgrind").worker_args::<std::ffi::OsString>(args).build().unwrap();
        assert_eq!(pool.submit(see, ()).result().unwrap().0, pool.worker_pids()[0]);
        assert!(pool.shutdown().is_complete());
        let log = fs::read_to_string(folder.file("log")).expect("what valgrind says");
        let is_clean = log.contains("definitely lost: 0 bytes") || log.contains("no leaks are possible");
        assert!(is_clean, "{log}");
    });
}

/// The way to a program that has no `/proc`. `None`, and a word about that, where there is none.
fn without_proc() -> Option<[&'static str; 5]> {
    let way = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];
    let tried = Command::new(way[0]).args(&way[1..]).arg("true").stderr(Stdio::null()).status();
    if geteuid().is_root() && tried.is_ok_and(|status| status.success()) {
        return Some(way);
    }
    skipped("nobody here can do without /proc");
    None
}

#[test]
fn a_program_has_workers_where_there_is_no_proc() {
    let test = "a_program_has_workers_where_there_is_no_proc";
    if Program::is_this(test) {
        assert!(!Path::new("/proc/self").exists());
        return program();
    }
    within(LIMIT, || {
        let Some(way) = without_proc() else { return };
        assert_has_worker(by_way_of(way, &this(), test));
    });
}

#[test]
fn a_program_that_nothing_can_start_again_says_so_where_it_makes_its_pool() {
    let test = "a_program_that_nothing_can_start_again_says_so_where_it_makes_its_pool";
    if Program::is_this(test) {
        fs::remove_file(std::env::var_os("BOWLINE_TEST_COPY").expect("a path")).expect("a file");
        return program();
    }
    alone(|| {
        let Some(way) = without_proc() else { return };
        let folder = Folder::new();
        let copy = folder.file("program");
        copy_program(this(), &copy);
        let mut command = by_way_of(way, copy.as_ref(), test);
        command.env("BOWLINE_TEST_COPY", &copy);
        let mut program = Program::start(command);
        let error = program.until("no pool: ");
        assert!(error.contains("the executable of this program") && error.contains("`worker_exe`"), "{error}");
        program.until_ended_well();
    });
}
