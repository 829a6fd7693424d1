//! Standard streams of workers that the pool captures: their last lines are in errors, all of it reaches the program's own streams,
//! whoever else has them keeps nothing of the program, and whoever reads them from the program can go, or be slow.

#![cfg(target_os = "linux")]

use std::fs::{File, read_dir};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, abort};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bowline::process_pool::ProcessPoolBuilder;
use bowline::task::{Rejected, WorkerExit, WorkerLost};
use bowline::thread_pool::{ShutdownOptions, ShutdownReport};
use bowline::{ProcessPoolExecutor, TaskError};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::support::folder::Folder;
use crate::support::processes::{has_ended, kill, until_gone};
use crate::support::workers::{exit, lost, pid};
use crate::support::{LIMIT, alone, in_fresh_process, stderr, wait_until, within};

/// A standard stream that is written to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Stream {
    Output = 1,
    Error = 2,
}

use Stream::{Error, Output};

impl Stream {
    /// Writes a line, as `println` and `eprintln` do.
    fn print(self, line: &str) {
        match self {
            Output => println!("{line}"),
            Error => eprintln!("{line}"),
        }
    }

    /// A pool of one worker that captures this stream only.
    fn captured(self) -> ProcessPoolExecutor {
        let builder = match self {
            Output => builder().capture_stdout(true),
            Error => builder().capture_stderr(true),
        };
        builder.build().expect("a pool")
    }

    /// What is kept of this stream.
    fn of(self, lost: &WorkerLost) -> &[String] {
        match self {
            Output => lost.stdout(),
            Error => lost.stderr(),
        }
    }

    /// The device and the number of the file that it is in this process.
    fn file(self) -> (u64, u64) {
        // SAFETY:
        // - it is not closed: the file is never dropped.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(self as i32) });
        let metadata = file.metadata().expect("an open stream");
        (metadata.dev(), metadata.ino())
    }

    /// Makes this process write the stream here, or nowhere, while `body` runs. A write that can't be ends the process.
    fn redirected(self, to: Option<OwnedFd>, body: impl FnOnce()) {
        // Others write there, too: the harness of the test.
        let own = match self {
            Output => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
            Error => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
        };
        let own = own.expect("a descriptor");
        // SAFETY:
        // - numbers, and default actions; nobody owns the standard streams.
        unsafe {
            match &to {
                Some(to) => assert_eq!(libc::dup2(to.as_raw_fd(), self as i32), self as i32),
                None => assert_eq!(libc::close(self as i32), 0),
            }
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
        }
        drop(to);
        body();
        // SAFETY:
        // - numbers.
        assert_eq!(unsafe { libc::dup2(own.as_raw_fd(), self as i32) }, self as i32);
    }
}

fn builder() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().max_workers(1)
}

fn both_captured() -> ProcessPoolExecutor {
    builder().capture_stdout(true).capture_stderr(true).build().expect("a pool")
}

fn descriptors() -> usize {
    read_dir("/proc/self/fd").expect("Linux").count()
}

fn threads() -> usize {
    read_dir("/proc/self/task").expect("Linux").count()
}

/// A task that writes so many lines, and ends its worker.
fn shout(stream: Stream, lines: u32) -> u8 {
    (0..lines).for_each(|line| stream.print(&format!("line {line}")));
    exit(7)
}

/// A task that writes a line.
fn write_one(stream: Stream) {
    stream.print("one line");
}

#[test]
fn a_worker_whose_streams_are_not_captured_has_those_of_the_program() {
    let test = "a_worker_whose_streams_are_not_captured_has_those_of_the_program";
    let body = || {
        within(LIMIT / 2, || {
            for stream in [Output, Error] {
                // The other one is.
                let other = if matches!(stream, Output) { Error } else { Output };
                let pool = other.captured();
                assert_eq!(pool.submit(Stream::file, (stream,)).result().unwrap(), stream.file());
                assert_ne!(pool.submit(Stream::file, (other,)).result().unwrap(), other.file());
                let lost = lost(pool.submit(shout, (stream, 2)).result());
                assert!(stream.of(&lost).is_empty(), "{lost}");
            }
        });
    };
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("line 0\nline 1\n"));
    assert!(stderr(&output).contains("line 0\nline 1\n"));
}

#[test]
fn what_a_worker_printed_last_is_in_the_error_and_on_standard_output() {
    let test = "what_a_worker_printed_last_is_in_the_error_and_on_standard_output";
    let body = || {
        within(LIMIT / 2, || {
            let pool = Output.captured();
            let speak = || -> () {
                (1..=30).for_each(|n| println!("line {n} of 30"));
                print!("and no more");
                io::stdout().flush().unwrap();
                abort();
            };
            let first = lost(pool.submit(speak, ()).result());
            let mut expected: Vec<_> = (12..=30).map(|n| format!("line {n} of 30")).collect();
            expected.push("and no more".to_owned());
            assert_eq!(first.stdout(), expected);
            let text = first.to_string();
            assert!(text.contains("\n  last lines of its standard output:\n    line 12 of 30\n"), "{text}");
            assert!(text.ends_with("\n    and no more"), "{text}");
            // Not those of the worker before.
            let quiet = lost(pool.submit(exit, (7,)).result());
            assert!(quiet.stdout().is_empty(), "{quiet}");
        });
    };
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = (1..=30).map(|n| format!("line {n} of 30\n")).collect::<String>();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&(lines + "and no more")), "{text}");
}

#[test]
fn what_a_worker_wrote_last_is_there_however_much_it_was() {
    alone(|| {
        for stream in [Output, Error] {
            let lost = lost(both_captured().submit(shout, (stream, 3000)).result());
            assert_eq!(stream.of(&lost).last().map(String::as_str), Some("line 2999"), "{lost}");
        }
    });
}

#[test]
fn a_worker_whose_standard_output_is_captured_can_write_any_amount() {
    let test = "a_worker_whose_standard_output_is_captured_can_write_any_amount";
    let body = || {
        within(LIMIT / 2, || {
            let pool = Output.captured();
            let worker = pool.submit(pid, ()).result().unwrap();
            let speak = || (0..4000).for_each(|_| println!("{}", "x".repeat(99)));
            pool.submit(speak, ()).result().unwrap();
            assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        });
    };
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    let line = "x".repeat(99);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().filter(|text| text.ends_with(&line)).count(), 4000);
}

#[test]
fn of_two_captured_streams_each_is_whole_and_in_order() {
    const LINES: usize = 2000;
    let test = "of_two_captured_streams_each_is_whole_and_in_order";
    let body = || {
        within(LIMIT / 2, || {
            let speak = || -> () {
                for line in 0..LINES {
                    println!("out {line}");
                    eprintln!("err {line}");
                }
                abort();
            };
            let lost = lost(both_captured().submit(speak, ()).result());
            let last = |stream: &str| (LINES - 20..LINES).map(|line| format!("{stream} {line}")).collect::<Vec<_>>();
            assert_eq!((lost.stdout(), lost.stderr()), (&last("out")[..], &last("err")[..]));
        });
    };
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    for (stream, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
        let all = (0..LINES).map(|line| format!("{stream} {line}\n")).collect::<String>();
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains(&all), "{text}");
    }
}

#[test]
fn lines_of_several_workers_arrive_whole() {
    const LINES: usize = 3000;
    let test = "lines_of_several_workers_arrive_whole";
    let body = || {
        within(LIMIT / 2, || {
            let pool = ProcessPoolExecutor::builder().max_workers(3).capture_stdout(true).build().unwrap();
            let speak = |letter: char| {
                let line = String::from_iter([letter; 99]) + "\n";
                (0..LINES).for_each(|_| io::stdout().write_all(line.as_bytes()).unwrap());
            };
            for task in ['x', 'y', 'z'].map(|letter| pool.submit(speak, (letter,))) {
                task.result().unwrap();
            }
        });
    };
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for letter in ["x", "y", "z"] {
        let line = letter.repeat(99);
        // The harness of the test has begun the first one.
        assert_eq!(text.lines().filter(|text| text.ends_with(&line)).count(), LINES, "{letter}");
    }
}

/// A task that writes a line to each stream, and hangs.
fn write_and_hang() {
    [Output, Error].into_iter().for_each(write_one);
    loop {
        thread::park();
    }
}

#[test]
fn what_a_task_printed_that_was_ended_is_in_its_error() {
    within(LIMIT, || {
        let pool = both_captured();
        pool.submit(pid, ()).result().unwrap(); // its start takes none of the time
        let hangs = pool.task(write_and_hang, ()).timeout(Duration::from_millis(100)).grace(Duration::ZERO).submit();
        let Err(TaskError::Terminated(ended)) = hangs.result() else { panic!("it hangs") };
        assert_eq!((ended.stdout(), ended.stderr()), (&["one line".to_owned()][..], &["one line".to_owned()][..]));
        assert_eq!(ended.to_string().lines().count(), 5, "{ended}");
    });
}

#[test]
fn what_a_process_printed_that_is_no_worker_is_in_the_error() {
    within(LIMIT, || {
        let script = "echo for whom; echo 'no library' >&2; exit 3";
        let pool = builder().worker_exe("sh").worker_args(["-c", script]).capture_stdout(true).capture_stderr(true);
        let error = pool.build().unwrap().submit(pid, ()).result().unwrap_err();
        let TaskError::Rejected(Rejected::NoWorker(error)) = error else { panic!("{error}") };
        assert_eq!((error.stdout(), error.stderr()), (&["for whom".to_owned()][..], &["no library".to_owned()][..]));
        let text = error.to_string();
        let lines = "output:\n    for whom\n  last lines of its standard error:\n    no library";
        assert!(text.ends_with(lines), "{text}");
    });
}

/// A task that starts a process which leaves the worker's group, and keeps one of its streams.
fn start_daemon(stream: Stream, floods: bool) -> u32 {
    let script = if floods { "exec yes a line of a daemon" } else { "exec sleep 100" };
    let mut daemon = Command::new("sh");
    let script = match stream {
        Output => format!("{script} 2>/dev/null"),
        Error => format!("{script} >&2"),
    };
    daemon.args(["-c", &script]).stdin(Stdio::null());
    if matches!(stream, Error) {
        daemon.stdout(Stdio::null());
    }
    // SAFETY:
    // - the function may be called after a fork.
    unsafe {
        daemon.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    stream.print("the worker's own line");
    daemon.spawn().expect("a daemon").id()
}

#[test]
fn a_daemon_that_keeps_a_workers_stream_holds_up_no_shutdown_and_keeps_no_thread_and_no_descriptor() {
    alone(|| {
        for (stream, floods) in [(Output, false), (Output, true), (Error, false), (Error, true)] {
            let before = (descriptors(), threads());
            let pool = stream.captured();
            let mut daemons = Vec::new();
            for is_lost in [true, true, false] {
                daemons.push(pool.submit(start_daemon, (stream, floods)).result().unwrap());
                if !is_lost {
                    // The last one is told to stop.
                    continue;
                }
                let lost = lost(pool.submit(exit, (7,)).result());
                assert_eq!(lost.exit(), &WorkerExit::Code(7));
                assert!(floods || stream.of(&lost).contains(&"the worker's own line".to_owned()), "{lost}");
            }
            assert!(pool.shutdown().is_complete());
            drop(pool);
            wait_until(|| (descriptors(), threads()) == before);
            for daemon in daemons {
                // Nobody reads what it writes any more: SIGPIPE ends the one that does.
                if floods {
                    wait_until(|| has_ended(daemon));
                } else {
                    assert!(!has_ended(daemon));
                    kill(daemon);
                }
            }
        }
    });
}

fn fail() -> Result<(), String> {
    Err("it was to fail".to_owned())
}

/// Everything that the library writes in this process.
fn write_lines() {
    let pool = both_captured();
    for stream in [Output, Error] {
        let worker = pool.submit(pid, ()).result().unwrap();
        let lost = lost(pool.submit(shout, (stream, 30)).result());
        assert_eq!((lost.pid(), stream.of(&lost).len()), (worker, 20), "{lost}");
        assert_ne!(pool.submit(pid, ()).result().unwrap(), worker);
    }
    assert!(pool.shutdown().is_complete());
    let broken = builder().initializer(fail, ()).build().unwrap();
    broken.submit(pid, ()).result().unwrap_err();
    bowline::deadlock::dump();
}

#[test]
fn a_program_whose_standard_stream_nobody_reads_goes_on() {
    alone(|| {
        for stream in [Output, Error] {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            stream.redirected(Some(writer.into()), write_lines);
        }
    });
}

#[test]
fn a_program_whose_standard_stream_is_a_file_at_its_limit_goes_on() {
    const LENGTH: u64 = 1 << 20;
    alone(|| {
        let folder = Folder::new();
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: Some(LENGTH), maximum }).unwrap();
        for (stream, name) in [(Output, "stdout"), (Error, "stderr")] {
            let mut file = File::create(folder.file(name)).unwrap();
            file.write_all(&vec![b'\n'; LENGTH as usize]).unwrap();
            stream.redirected(Some(file.try_clone().unwrap().into()), write_lines);
            assert_eq!(file.metadata().unwrap().len(), LENGTH);
        }
    });
}

#[test]
fn what_workers_write_goes_to_no_descriptor_that_took_the_place_of_a_closed_stream() {
    alone(|| {
        for stream in [Output, Error] {
            stream.redirected(None, || {
                let folder = Folder::new();
                let file = File::create(folder.file("of the program")).unwrap();
                assert_eq!(file.as_raw_fd(), stream as i32);
                let lost = lost(both_captured().submit(shout, (stream, 30)).result());
                assert_eq!((stream.of(&lost).len(), file.metadata().unwrap().len()), (20, 0));
                drop(file);
                // The first socket of a pool.
                write_lines();
            });
        }
    });
}

#[test]
fn a_stream_of_the_program_that_nobody_takes_from_holds_up_no_lines_of_the_error() {
    alone(|| {
        for (stream, other) in [(Output, Error), (Error, Output)] {
            let (_reader, mut writer) = io::pipe().unwrap();
            let flags = fcntl_getfl(&writer).unwrap();
            fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
            while writer.write(&[b'\n'; 4096]).is_ok() {}
            fcntl_setfl(&writer, flags).unwrap();
            stream.redirected(Some(writer.into()), || {
                let pool = both_captured();
                pool.submit(write_one, (stream,)).result().unwrap();
                pool.submit(write_one, (other,)).result().unwrap();
                let lost = lost(pool.submit(exit, (7,)).result());
                assert_eq!(
                    (stream.of(&lost), other.of(&lost)),
                    (&["one line".to_owned()][..], &["one line".to_owned()][..])
                );
                // A shutdown would wait for whoever takes it, as for a worker that writes there itself.
                assert!(pool.kill().is_complete());
            });
        }
    });
}

/// A pipe as small as can be, to write to, and a thread that returns what comes by it, which takes nothing before this worker is gone,
/// and for a while after that.
fn read_late(worker: u32) -> (OwnedFd, thread::JoinHandle<String>) {
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY:
    // - numbers.
    assert!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    let reads = thread::spawn(move || {
        until_gone(worker);
        thread::sleep(Duration::from_millis(500));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    (writer.into(), reads)
}

/// More than a small pipe takes, and what the pool's thread holds, and less than these with the worker's pipe.
const THREE_PAGES: usize = 11_000;

fn write_three_pages(stream: Stream) {
    (0..THREE_PAGES / 100).for_each(|_| stream.print(&"x".repeat(99)));
}

#[test]
fn what_a_task_wrote_is_passed_on_before_the_pool_has_ended_however_late_it_is_read() {
    alone(|| {
        for stream in [Output, Error] {
            for end in [|pool: ProcessPoolExecutor| assert!(pool.shutdown().is_complete()), drop] {
                let pool = stream.captured();
                let worker = pool.submit(pid, ()).result().unwrap();
                let (writer, reads) = read_late(worker);
                stream.redirected(Some(writer), || {
                    pool.submit(write_three_pages, (stream,)).result().unwrap();
                    end(pool);
                });
                // What is passed on from now on goes elsewhere.
                assert_eq!(reads.join().unwrap(), ("x".repeat(99) + "\n").repeat(THREE_PAGES / 100));
            }
        }
    });
}

#[test]
fn what_a_worker_wrote_that_ended_before_is_passed_on_before_the_pool_has_ended() {
    alone(|| {
        let pool = builder().capture_stdout(true).max_tasks_per_worker(2).build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        let (writer, reads) = read_late(worker);
        Output.redirected(Some(writer), || {
            pool.submit(write_three_pages, (Output,)).result().unwrap();
            assert_ne!(pool.submit(pid, ()).result().unwrap(), worker, "it goes on meanwhile");
            assert!(pool.shutdown().is_complete());
        });
        assert_eq!(reads.join().unwrap(), ("x".repeat(99) + "\n").repeat(THREE_PAGES / 100));
    });
}

#[test]
fn a_kill_ends_a_shutdown_that_waits_for_whoever_reads_what_a_task_wrote() {
    alone(|| {
        let (_reader, writer) = io::pipe().unwrap();
        // SAFETY:
        // - numbers.
        assert!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
        Output.redirected(Some(writer.into()), || {
            let pool = Output.captured();
            pool.submit(write_three_pages, (Output,)).result().unwrap();
            let worker = pool.worker_pids()[0];
            let (quick, is_finished, killed, waited) = thread::scope(|s| {
                let waits = s.spawn(|| pool.shutdown());
                until_gone(worker);
                wait_until(|| pool.worker_count() == 0);
                let quick = pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT));
                thread::sleep(Duration::from_millis(50));
                (quick, waits.is_finished(), pool.kill(), waits.join().unwrap())
            });
            assert!(!is_finished, "it waits");
            assert!([quick, killed, waited].iter().all(ShutdownReport::is_complete));
        });
    });
}

#[test]
fn what_a_worker_writes_arrives_on_a_stream_whose_writes_do_not_wait() {
    alone(|| {
        for stream in [Output, Error] {
            let (mut reader, writer) = io::pipe().unwrap();
            fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
            let expected = (0..10_000).map(|n| format!("line {n} of many\n")).collect::<String>();
            let read = Arc::new(AtomicUsize::new(0));
            let has_read = Arc::clone(&read);
            let reads = thread::spawn(move || {
                let mut text = String::new();
                // Slowly: the pipe is full most of the time.
                let mut part = [0; 1 << 10];
                while let bytes @ 1.. = reader.read(&mut part).unwrap() {
                    text.push_str(str::from_utf8(&part[..bytes]).unwrap());
                    has_read.fetch_add(bytes, Relaxed);
                    thread::yield_now();
                }
                text
            });
            stream.redirected(Some(writer.into()), || {
                let pool = both_captured();
                let speak = |stream: Stream| (0..10_000).for_each(|n| stream.print(&format!("line {n} of many")));
                pool.submit(speak, (stream,)).result().unwrap();
                assert!(pool.shutdown().is_complete());
                // The pool passes on what the worker wrote, for as long as that takes.
                wait_until(|| read.load(Relaxed) >= expected.len());
            });
            assert!(reads.join().unwrap() == expected);
        }
    });
}
