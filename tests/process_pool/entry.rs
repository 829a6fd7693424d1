//! No ceremony: a worker comes about in any program, in any surroundings, and finds itself in the program's.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};

use bowline::{ProcessPoolExecutor, TaskError};
use serde_json::{Value, json};

use crate::support::alone::with_module;
use crate::support::folder::Folder;
use crate::support::programs::Program;
use crate::support::rogue::{ANY_COPY, MARK, REFUSED, frame};
use crate::support::workers::{pid, pool_of};
use crate::support::{LIMIT, alone, in_fresh_process, skipped, stderr, watchdog, within};

/// What a program here ends with if all is as it should be.
const ALL_RIGHT: i32 = 42;

/// Has the worker end in the middle of a task: the next one is another.
fn lose_worker(pool: &ProcessPoolExecutor) -> Result<(), String> {
    match pool.submit(|| -> () { process::exit(1) }, ()).result() {
        Err(TaskError::WorkerLost(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn a_worker_that_reads_standard_input_finds_it_at_its_end() {
    fn read() -> Vec<u8> {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).expect("an end");
        bytes
    }
    fn line() -> usize {
        std::io::stdin().read_line(&mut String::new()).expect("an end")
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        for _ in 0..3 {
            assert_eq!(pool.submit(read, ()).result().unwrap(), b"");
            assert_eq!(pool.submit(line, ()).result().unwrap(), 0);
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), pool.worker_pids()[0], "the worker lives on");
    });
}

#[test]
fn a_child_of_a_task_has_the_standard_input_that_the_task_gives_it() {
    fn through_cat(text: String) -> String {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat");
        cat.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
        String::from_utf8(cat.wait_with_output().expect("its end").stdout).expect("text")
    }
    fn inherited() -> Vec<u8> {
        Command::new("cat").stdin(Stdio::inherit()).stderr(Stdio::inherit()).output().expect("cat").stdout
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let text = "a line\n".repeat(10_000);
        assert_eq!(pool.submit(through_cat, (text.clone(),)).result().unwrap(), text);
        assert_eq!(pool.submit(inherited, ()).result().unwrap(), b"");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), pool.worker_pids()[0], "the worker lives on");
    });
}

#[test]
fn what_a_worker_writes_is_the_programs_output_to_the_last_byte() {
    let name = "what_a_worker_writes_is_the_programs_output_to_the_last_byte";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = pool_of(1);
        let write = || {
            println!("<a line>");
            print!("<a part of one>");
            eprint!("<an error>");
        };
        pool.submit(write, ()).result().unwrap();
        // What is buffered is written when the worker ends.
        let _ = pool.shutdown();
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(output.status.success());
    assert_eq!(stderr(&output), "<an error>");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["<a line>\n", "<a part of one>"] {
        assert_eq!(stdout.matches(part).count(), 1, "{stdout}");
    }
}

#[test]
fn a_worker_is_the_same_executable_without_arguments_in_the_same_folder_and_environment() {
    type Seen = (Vec<String>, PathBuf, PathBuf, Option<String>);
    fn see() -> Seen {
        let folder = std::env::current_dir().expect("a folder");
        let path = std::env::var("PATH").ok();
        (std::env::args().collect(), std::env::current_exe().expect("a path"), folder, path)
    }
    within(LIMIT, || {
        let (args, exe, folder, path) = pool_of(1).submit(see, ()).result().unwrap();
        let own: Seen = see();
        assert_eq!((&exe, folder, path), (&own.1, own.2, own.3));
        assert_eq!(args, [exe.to_str().expect("text")]);
    });
}

#[test]
fn nothing_of_a_worker_shows_in_its_environment_nor_makes_workers_of_its_children() {
    fn marks() -> Vec<String> {
        let is_mark = |name: &String| name.starts_with("BOWLINE_") && !name.starts_with("BOWLINE_TEST");
        std::env::vars().map(|(name, _)| name).filter(is_mark).collect()
    }
    /// The same program, as a person would start it.
    fn list() -> String {
        let program = std::env::current_exe().expect("a path");
        let output = Command::new(program).arg("--list").output().expect("a process");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        assert_eq!(pool.submit(marks, ()).result().unwrap(), marks());
        let listed = pool.submit(list, ()).result().unwrap();
        assert!(listed.contains("nothing_of_a_worker_shows_in_its_environment"), "{listed}");
    });
}

/// Starts this program with the mark of a worker and this standard input.
fn marked(mark: &str, stdin: impl Into<Stdio>) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg("--list").env(MARK, mark).stdin(stdin).output().expect("a process")
}

/// What a process said that was to be a worker and could not, and did nothing else.
#[track_caller]
fn refusal(output: &Output) -> String {
    let text = stderr(output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(121), 0), "{text}");
    assert_eq!(text.matches("bowline: this process was to be a worker, and can't: ").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_person_who_sets_the_mark_of_a_worker_is_told_that_it_is_not_for_people() {
    within(LIMIT, || {
        let pipe = std::io::pipe().expect("a pipe");
        let file = std::fs::File::open("/proc/self/exe").expect("a file");
        for stdin in [Stdio::null(), Stdio::from(pipe.0), Stdio::from(file)] {
            let text = refusal(&marked(ANY_COPY, stdin));
            assert!(text.contains("BOWLINE_WORKER_FOR is set") && text.contains("not for people"), "{text}");
        }
        // No standard input at all.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" --list <&-"]).arg(std::env::current_exe().expect("a path")).env(MARK, ANY_COPY);
        let text = refusal(&shell.output().expect("a process"));
        assert!(text.contains("BOWLINE_WORKER_FOR is set") && text.contains("not for people"), "{text}");
    });
}

#[test]
fn a_worker_of_another_version_of_the_conversation_says_so_to_the_parent_too() {
    within(LIMIT, || {
        for mark in ["0", "99 program 00 0.0.0 0", "", "2", "2 ", "2 programme 00"] {
            let (mut ours, theirs) = UnixStream::pair().expect("a socket");
            let text = refusal(&marked(mark, OwnedFd::from(theirs)));
            let reason = format!("BOWLINE_WORKER_FOR is {mark}, which this program does not know");
            assert!(text.contains(&reason), "{text}");
            let mut heard = Vec::new();
            ours.read_to_end(&mut heard).expect("an end");
            assert_eq!(heard, frame(REFUSED, 0, reason.as_bytes()), "{}", String::from_utf8_lossy(&heard));
        }
    });
}

#[test]
fn a_worker_whose_parent_is_gone_before_the_first_word_ends_without_a_word() {
    within(LIMIT, || {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        drop(ours);
        let output = marked(ANY_COPY, OwnedFd::from(theirs));
        assert_eq!((output.status.code(), stderr(&output)), (Some(121), String::new()));
    });
}

#[test]
fn workers_come_about_in_any_folder_and_without_a_path() {
    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        std::env::set_current_dir("/").expect("the root");
        // SAFETY:
        // - this is a test's process: nobody else looks at the environment.
        unsafe { std::env::remove_var("PATH") };
        let pool = pool_of(1);
        let see = || (std::env::current_dir().unwrap(), std::env::var_os("PATH").is_some());
        assert_eq!(pool.submit(see, ()).result().unwrap(), (PathBuf::from("/"), false));
        // A folder that is there no more.
        let folder = Folder::new();
        std::env::set_current_dir(folder.path()).expect("a folder");
        drop(folder);
        lose_worker(&pool).unwrap();
        assert_ne!(pool.submit(pid, ()).result().unwrap(), process::id());
    });
}

/// A task that uses all three of the standard streams, and fails if one of them is something else.
fn use_the_streams() -> (usize, u32) {
    println!("to nobody");
    eprintln!("to nobody");
    (std::io::stdin().read(&mut [0; 10]).expect("an end"), process::id())
}

/// Two workers, one after the other, in a program without standard streams. It can't say anything, either.
fn without_streams() -> ! {
    let pool = pool_of(1);
    let Ok((0, first)) = pool.submit(use_the_streams, ()).result() else { process::exit(1) };
    let Ok(()) = lose_worker(&pool) else { process::exit(2) };
    let Ok((0, second)) = pool.submit(use_the_streams, ()).result() else { process::exit(3) };
    drop(pool);
    process::exit(if first == second { 4 } else { ALL_RIGHT })
}

#[test]
fn workers_come_about_in_a_program_that_was_started_with_closed_standard_streams() {
    let test = "workers_come_about_in_a_program_that_was_started_with_closed_standard_streams";
    if Program::is_this(test) {
        let _watchdog = watchdog(LIMIT / 2);
        without_streams();
    }
    within(LIMIT, || {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let program = Program::command(test);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("exec \"$0\" \"$@\" {closed}")])
                .arg(program.get_program())
                .args(program.get_args());
            shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let output = shell.stdin(Stdio::null()).output().expect("a process");
            assert_eq!(output.status.code(), Some(ALL_RIGHT), "{closed}: {}", stderr(&output));
        }
    });
}

#[test]
fn workers_come_about_in_a_program_that_closes_its_standard_streams() {
    let test = "workers_come_about_in_a_program_that_closes_its_standard_streams";
    if Program::is_this(test) {
        let _watchdog = watchdog(LIMIT / 2);
        for stream in std::env::var("BOWLINE_TEST_CLOSED").expect("streams").bytes() {
            // SAFETY:
            // - nobody owns the standard streams, and nobody uses them from here on.
            unsafe { libc::close((stream - b'0').into()) };
        }
        without_streams();
    }
    within(LIMIT, || {
        for closed in ["0", "1", "2", "01", "12", "02", "012"] {
            let mut program = Program::command(test);
            let output = program.env("BOWLINE_TEST_CLOSED", closed).stdin(Stdio::null()).output().expect("a process");
            assert_eq!(output.status.code(), Some(ALL_RIGHT), "{closed}: {}", stderr(&output));
        }
    });
}

#[test]
fn workers_come_about_in_a_program_that_runs_its_tests_each_in_a_process() {
    let test = "workers_come_about_in_a_program_that_runs_its_tests_each_in_a_process";
    // As cargo-nextest tells its tests.
    if std::env::var_os("NEXTEST").is_some() {
        return within(LIMIT, || {
            assert_ne!(pool_of(1).submit(pid, ()).result().unwrap(), process::id());
        });
    }
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    if !cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("there is no cargo-nextest");
    }
    // Told what cargo would tell it about this binary: to build, it would want every package of the workspace.
    let mut metadata = cargo();
    metadata.args(["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    let metadata = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("a process");
    let mut workspace: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let members = workspace["workspace_members"].as_array().expect("members").clone();
    let nodes = |id| json!({"id": id, "dependencies": [], "deps": [], "features": []});
    workspace["resolve"] = json!({"nodes": members.into_iter().map(nodes).collect::<Vec<_>>(), "root": null});
    let packages = workspace["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "bowline").expect("this package");
    let binaries = json!({
        "rust-build-meta": {
            "target-directory": workspace["target_directory"],
            "base-output-directories": ["debug"],
            "non-test-binaries": {},
            "linked-paths": [],
        },
        "rust-binaries": {
            "bowline::process_pool": {
                "binary-id": "bowline::process_pool",
                "binary-name": "process_pool",
                "package-id": package["id"],
                "kind": "test",
                "binary-path": std::env::current_exe().expect("the path of this binary"),
                "build-platform": "target",
            },
        },
    });
    let folder = Folder::new();
    let [workspace, binaries] = [("workspace", workspace), ("binaries", binaries)].map(|(name, json)| {
        let path = folder.file(name);
        std::fs::write(&path, json.to_string()).expect("a file");
        path
    });
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--cargo-metadata", &workspace, "--binaries-metadata", &binaries, "--no-capture"]);
    nextest.args(["--", "--exact", &with_module(test)]);
    let output = nextest.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).output().expect("a process");
    let text = stderr(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains("LEAK"), "{text}");
}
