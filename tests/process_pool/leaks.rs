//! Pools used in every way leave nothing behind: no process, no thread, no descriptor, no file.
//!
//! In a process of its own, which counts what it has before and after.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::ProcessPoolExecutor;
use bowline::process_pool::ProcessPoolBuilder;
use bowline::thread_pool::ShutdownOptions;

use crate::support::folder::Folder;
use crate::support::processes::{children, processes, send_if_there};
use crate::support::workers::{echo, exit, pid};
use crate::support::{LIMIT, in_fresh_process, stderr, wait_until, watchdog};

fn panic(text: String) -> u8 {
    panic!("{text}")
}

/// A task that leaves a child, a thread and a descriptor in its worker.
fn litter() -> u32 {
    thread::spawn(thread::park);
    std::mem::forget(fs::File::open("/dev/null").expect("a file"));
    Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().expect("a child").id()
}

fn fail() -> Result<(), String> {
    Err("it was to fail".to_owned())
}

fn exit_at_start() -> Result<(), String> {
    process::exit(9)
}

fn nested() -> u32 {
    ProcessPoolExecutor::new(1).expect("a pool").submit(pid, ()).result().expect("a worker")
}

/// The names of this process's shared memory and files. What is mapped without a name, or is anonymous, has none.
fn named_memory(process: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the maps of a process");
    let shared = maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|flags| flags.ends_with('s')));
    let files = shared.filter(|line| !line.contains("/memfd:")).map(str::to_owned);
    let folder = format!("/proc/{process}/fd");
    let open = fs::read_dir(folder).expect("descriptors").filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let temporary = std::env::temp_dir();
    let open = open.filter(|path| path.starts_with("/dev/shm") || path.starts_with(&temporary));
    files.chain(open.map(|path| path.display().to_string())).collect()
}

/// A task: the same of a worker.
fn own_named_memory() -> Vec<String> {
    named_memory("self")
}

fn builder() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().max_workers(2)
}

/// Uses pools in many ways, and returns the groups of all workers that it has seen.
fn use_pools() -> Vec<u32> {
    let mut groups = Vec::new();
    for captures in [false, true] {
        let pool = builder().capture_stdout(captures).capture_stderr(captures).retries(1).build().expect("a pool");
        let tasks: Vec<_> = (0..50).map(|_| pool.submit(pid, ())).collect();
        groups.extend(tasks.into_iter().map(|task| task.result().expect("a worker")));
        // Big messages, both ways, more than fits into a socket; and one whose worker dies while it is sent.
        let bytes = vec![7; 1 << 20];
        assert_eq!(pool.submit(echo, (bytes.clone(),)).result().expect("an echo").len(), bytes.len());
        pool.submit(|_: Vec<u8>| exit(3), (bytes.clone(),)).result().unwrap_err();
        // Ends of every kind, in a pool of their own: one whose workers die young waits longer each time.
        let pool = builder().capture_stdout(captures).capture_stderr(captures).build().expect("a pool");
        pool.submit(exit, (1,)).result().unwrap_err();
        pool.submit(|| -> () { process::abort() }, ()).result().unwrap_err();
        pool.submit(panic, ("a panic that was asked for".to_owned(),)).result().unwrap_err();
        pool.submit(litter, ()).result().expect("a child");
        groups.push(pool.submit(nested, ()).result().expect("a worker of a worker"));
        assert_eq!(pool.submit(own_named_memory, ()).result().expect("a worker"), [""; 0]);
        assert_eq!(named_memory("self"), [""; 0]);
        groups.extend(pool.worker_pids());
        pool.worker_pids().iter().for_each(|&worker| _ = send_if_there(worker, libc::SIGKILL));
        // A map that is given up, futures that nobody asks, a cancelled one, and callbacks.
        drop(pool.map(|n: u64| n * n, 0..100).chunk_size(3).start());
        drop((0..20).map(|_| pool.submit(pid, ())).collect::<Vec<_>>());
        pool.submit(pid, ()).cancel();
        static CALLED: AtomicUsize = AtomicUsize::new(0);
        let called = CALLED.load(SeqCst);
        let hidden = pool.clone();
        pool.submit(pid, ()).add_done_callback(move |_| {
            // The last handle may be this one.
            drop(hidden);
            CALLED.fetch_add(1, SeqCst);
        });
        wait_until(|| CALLED.load(SeqCst) > called);
        let outlives = pool.submit(pid, ());
        drop(pool);
        outlives.result().expect("a task that was queued before the end");
    }
    // Ends of pools, busy ones, with workers that are up and with such that are being started.
    for end in ["kill", "terminate", "cancel", "do not wait"] {
        for is_up in [false, true] {
            let pool = builder().build().expect("a pool");
            let tasks: Vec<_> = (0..5).map(|_| pool.submit(|| thread::sleep(Duration::from_millis(20)), ())).collect();
            if is_up {
                wait_until(|| pool.worker_pids().len() == 2);
                groups.extend(pool.worker_pids());
            }
            let _ = match end {
                "kill" => pool.kill(),
                "terminate" => pool.terminate(),
                "cancel" => pool.shutdown_with(ShutdownOptions::new().cancel_pending(true)),
                _ => pool.shutdown_with(ShutdownOptions::new().wait(false)),
            };
            drop(pool);
            // What was detached goes on.
            wait_until(|| end != "do not wait" || tasks.iter().all(bowline::Future::done));
            assert!(tasks.iter().all(bowline::Future::done));
        }
    }
    // Workers that are none, and pools that are broken from the start.
    for program in ["/bin/false", "/bin/true", "/no/such/program"] {
        let pool = builder().worker_exe(program).capture_stderr(true).build().expect("a pool");
        pool.submit(pid, ()).result().unwrap_err();
    }
    let late = builder().worker_exe("/bin/sleep").worker_args(["300"]).start_timeout(Duration::from_millis(5));
    late.build().expect("a pool").submit(pid, ()).result().unwrap_err();
    builder().initializer(fail, ()).build().expect("a pool").submit(pid, ()).result().unwrap_err();
    builder().initializer(exit_at_start, ()).build().expect("a pool").submit(pid, ()).result().unwrap_err();
    // A pool that is never used.
    drop(builder().build().expect("a pool"));
    groups
}

fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| Some(entry.ok()?.file_name().into_string().expect("text"));
    let mut names: Vec<_> = fs::read_dir(folder).expect("a folder").filter_map(name).collect();
    names.sort_unstable();
    names
}

/// What the descriptors of this process are.
fn descriptors() -> Vec<String> {
    let link = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
    let links = fs::read_dir("/proc/self/fd").expect("descriptors").filter_map(link);
    // But for the one by which they are read.
    let mut all: Vec<_> = links.map(|path| path.display().to_string()).filter(|path| !path.ends_with("/fd")).collect();
    all.sort_unstable();
    all
}

#[test]
fn pools_leave_no_process_thread_descriptor_or_file_behind_however_they_were_used() {
    let name = "pools_leave_no_process_thread_descriptor_or_file_behind_however_they_were_used";
    let body = || {
        let _watchdog = watchdog(LIMIT);
        let before = (descriptors(), names("/proc/self/task").len());
        for _ in 0..2 {
            let mut groups = use_pools();
            groups.sort_unstable();
            groups.dedup();
            // Pools that were detached end when they like.
            wait_until(|| children().is_empty());
            // What the workers started was killed before them, and may not be reaped yet by whoever took it in.
            wait_until(|| processes(|stat| groups.contains(&stat.group) && stat.state != 'Z').is_empty());
            // Those that follow a worker's streams end with that.
            wait_until(|| names("/proc/self/task").len() == before.1);
            assert_eq!(descriptors(), before.0);
        }
        assert_eq!(names(std::env::temp_dir()), [""; 0]);
        let shared = names("/dev/shm").into_iter().filter(|name| name.contains("bowline"));
        assert_eq!(shared.collect::<Vec<_>>(), [""; 0]);
    };
    let folder = Folder::new();
    let Some(output) = in_fresh_process(name, &[("TMPDIR", &folder.path())], body) else { return };
    assert!(output.status.success(), "{}\n{}", output.status, stderr(&output));
}
