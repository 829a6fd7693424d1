//! Tasks that are ended while they run: by a call, or by their time-out. Exactly that task, and what it has started.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bowline::process_pool::current_task;
use bowline::task::{Terminated, TerminationCause, WorkerExit};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, TaskError, ThreadPoolExecutor};

use crate::support::folder::{Folder, note, put, wait_for};
use crate::support::processes::{thread_of, until_gone};
use crate::support::workers::{builder, echo, lost_by, pid, pool_of};
use crate::support::{Dice, LIMIT, alone, wait_until, within};

const LONG: Duration = Duration::from_secs(3600);

fn terminated<T: std::fmt::Debug>(result: Result<T, TaskError>) -> Terminated {
    match result {
        Err(TaskError::Terminated(terminated)) => terminated,
        other => panic!("{other:?}"),
    }
}

fn killed() -> WorkerExit {
    WorkerExit::Signal { number: libc::SIGKILL, core_dumped: false }
}

/// Notes that it has begun, and hangs, whatever signals come that it can block.
fn hang(folder: String, number: u64) -> u64 {
    // SAFETY:
    // - SIGTERM is a signal that can be ignored.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    note(&folder, "begun", &format!("{number} {}", std::process::id()));
    loop {
        thread::park();
    }
}

/// Notes that it has begun, and returns when it is to stop.
fn look(folder: String, number: u64) -> u64 {
    let task = current_task().expect("it runs in a worker");
    note(&folder, "begun", &format!("{number} {}", std::process::id()));
    while !task.should_stop() {
        thread::sleep(Duration::from_micros(100));
    }
    number
}

/// The same, when the gate is open.
fn look_and_pass(folder: String, number: u64) -> u64 {
    look(folder.clone(), number);
    wait_for(&folder, "open");
    number
}

#[test]
fn a_task_that_hangs_is_killed_and_the_next_one_runs_in_another_worker() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let hangs = pool.submit_named("hangs", hang, (folder.path(), 0));
        let next: Vec<_> = (0..50).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        let worker = folder.until_begun(0);
        assert!(!hangs.cancel() && hangs.running());
        assert!(hangs.terminate(Duration::ZERO));
        let ended = terminated(hangs.result());
        assert_eq!((ended.task(), ended.pid(), ended.cause()), ("hangs", worker, TerminationCause::Asked));
        assert_eq!(ended.exit(), &killed());
        next.into_iter().zip(0..).for_each(|(next, n)| assert_eq!(next.result().unwrap(), n));
        assert_ne!(pool.submit(pid, ()).result().unwrap(), worker);
        until_gone(worker);
    });
}

#[test]
fn a_task_that_runs_into_its_time_out_is_asked_to_stop_then_gets_sigterm_and_then_sigkill() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let (timeout, grace) = (Duration::from_millis(50), Duration::from_millis(200));
        let hangs = pool.task(hang, (folder.path(), 0)).timeout(timeout).grace(grace).submit();
        let ended = terminated(hangs.result());
        assert_eq!((ended.cause(), ended.exit()), (TerminationCause::TimedOut, &killed()));
        assert!(ended.asked_after() >= timeout && ended.took() >= grace, "{ended:?}");
        // One that does not handle the signal is gone with that.
        let sleeps = pool.task(thread::sleep, (LONG,)).timeout(timeout).grace(LONG / 1000).submit();
        let ended = terminated(sleeps.result());
        assert_eq!(ended.exit().signal_name(), Some("SIGTERM"));
        assert!(ended.took() >= LONG / 2000, "{ended:?}");
    });
}

#[test]
fn a_task_that_looks_stops_by_itself_and_its_worker_lives_on() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let looks = pool.task(look, (folder.path(), 7)).timeout(Duration::from_millis(10)).grace(LONG).submit();
        assert_eq!(looks.result().unwrap(), 7);
        let worker = folder.until_begun(7);
        let looks = pool.submit(look_and_pass, (folder.path(), 8));
        folder.until_begun(8);
        assert!(looks.terminate(LONG) && looks.terminate(LONG), "as often as somebody likes");
        folder.put("open");
        assert_eq!(looks.result().unwrap(), 8);
        // The next is not asked, nor is its worker another one.
        let asked = pool.submit(|| current_task().unwrap().should_stop(), ());
        assert!(!asked.result().unwrap());
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        assert!(current_task().is_none());
    });
}

#[test]
fn no_task_runs_for_a_thread_that_a_task_has_left_behind() {
    fn leave_a_thread(folder: String) {
        assert!(current_task().is_some());
        thread::spawn(move || {
            while current_task().is_some() {
                thread::sleep(Duration::from_micros(100));
            }
            put(&folder, "none");
        });
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        pool.submit(leave_a_thread, (folder.path(),)).result().unwrap();
        folder.until("none");
    });
}

#[test]
fn a_task_that_returns_after_the_signal_has_its_result_and_its_worker_is_replaced() {
    fn until_sigterm(folder: String) -> u32 {
        let mut signals = signal_hook::iterator::Signals::new([libc::SIGTERM]).unwrap();
        put(&folder, "ready");
        assert_eq!(signals.forever().next(), Some(libc::SIGTERM));
        std::process::id()
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let handles = pool.submit(until_sigterm, (folder.path(),));
        folder.until("ready");
        assert!(handles.terminate(LONG));
        assert!(handles.terminate(Duration::from_millis(20)), "a grace can be shortened");
        let (mut handles, mut worker) = (handles, None);
        // The end of the grace may come first on a slow machine.
        match handles.result_timeout(LONG) {
            Ok(pid) => worker = Some(pid),
            Err(error) => _ = terminated::<u32>(Err(error)),
        }
        assert_ne!(Some(pool.submit(pid, ()).result().unwrap()), worker);
    });
}

#[test]
fn only_the_worker_of_the_task_is_ended_and_what_the_task_has_started() {
    #[expect(clippy::zombie_processes, reason = "it is killed with the task")]
    fn start_and_hang(folder: String, number: u64) -> u64 {
        let child = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
        note(&folder, "children", &child.id().to_string());
        hang(folder, number)
    }
    within(LIMIT, || {
        let pool = pool_of(3);
        let folder = Folder::new();
        let others = [1, 2].map(|n| pool.submit(look, (folder.path(), n)));
        let hangs = pool.submit(start_and_hang, (folder.path(), 0));
        let workers = [1, 2].map(|n| folder.until_begun(n));
        folder.until_begun(0);
        assert!(hangs.terminate(Duration::ZERO));
        terminated(hangs.result());
        folder.lines("children").iter().for_each(|child| until_gone(child.parse().unwrap()));
        assert!(others.iter().all(Future::running));
        for (other, n) in others.into_iter().zip(1..) {
            assert!(other.terminate(LONG));
            assert_eq!(other.result().unwrap(), n);
        }
        let left = pool.worker_pids();
        assert!(workers.iter().all(|worker| left.contains(worker)), "{workers:?} {left:?}");
    });
}

#[test]
fn what_does_not_run_is_cancelled_or_left_alone() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let looks = pool.submit(look, (folder.path(), 0));
        folder.until_begun(0);
        let queued: Vec<_> = (1..5).map(|n| pool.submit(look, (folder.path(), n))).collect();
        for task in &queued {
            assert!(task.terminate(LONG) && task.cancelled());
        }
        assert!(queued.into_iter().all(|task| matches!(task.result(), Err(TaskError::Cancelled))));
        assert!(looks.terminate(LONG));
        wait_until(|| looks.done());
        assert!(!looks.terminate(Duration::ZERO), "it is done");
        assert_eq!((looks.result().unwrap(), folder.begun()), (0, vec![0]));

        let threads = ThreadPoolExecutor::new(1);
        let (open, opened) = bowline::promise::<()>();
        let runs = threads.submit(move || opened.result());
        wait_until(|| runs.running());
        assert!(!runs.terminate(Duration::ZERO), "a thread can't be ended from outside");
        open.set_result(()).unwrap();
        assert!(runs.result().is_ok());
    });
}

/// A task that ends at the moment at which it is killed, others behind it, and other workers beside.
#[test]
fn neither_a_task_that_ends_at_the_same_moment_is_lost_nor_the_next_one() {
    fn sleep(micros: u64) -> u64 {
        thread::sleep(Duration::from_micros(micros));
        micros
    }
    within(LIMIT, || {
        let pool = pool_of(2);
        let mut dice = Dice::new(1);
        let (mut ended, mut returned) = (0, 0);
        for _ in 0..200 {
            let micros = 500 + dice.below(2000) as u64;
            let timeout = Duration::from_micros(500 + dice.below(2000) as u64);
            let task = pool.task(sleep, (micros,)).timeout(timeout).grace(Duration::ZERO).submit();
            let next: Vec<_> = (0..8).map(|n| pool.submit(sleep, (n,))).collect();
            if dice.below(4) == 0 {
                let asked = pool.submit(sleep, (300,));
                thread::sleep(Duration::from_micros(dice.below(400) as u64));
                asked.terminate(Duration::ZERO);
                match asked.result() {
                    Ok(300) | Err(TaskError::Terminated(_) | TaskError::Cancelled) => {}
                    other => panic!("{other:?}"),
                }
            }
            match task.result() {
                Ok(slept) => {
                    assert_eq!(slept, micros);
                    returned += 1;
                }
                Err(TaskError::Terminated(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
            next.into_iter().zip(0..).for_each(|(next, n)| assert_eq!(next.result().unwrap(), n));
        }
        assert!(ended > 0 && returned > 0, "{ended} {returned}");
    });
}

#[test]
fn a_task_that_was_ended_is_not_run_again_and_one_that_lost_its_worker_knows_how_often_it_ran() {
    fn third_time_lucky() -> u32 {
        let attempt = current_task().unwrap().attempt();
        if attempt < 3 {
            std::process::abort();
        }
        attempt
    }
    within(LIMIT, || {
        let pool = builder(1).retries(1).build().unwrap();
        let folder = Folder::new();
        let hangs = pool.task(hang, (folder.path(), 0)).retries(5).submit();
        folder.until_begun(0);
        assert!(hangs.terminate(Duration::ZERO));
        terminated(hangs.result());
        assert_eq!(folder.begun(), [0]);
        assert_eq!(pool.task(third_time_lucky, ()).retries(2).submit().result().unwrap(), 3);
        assert_eq!(
            lost_by(pool.submit(third_time_lucky, ()).result()),
            libc::SIGABRT,
            "one more attempt, says the pool"
        );
        assert_eq!(lost_by(pool.task(third_time_lucky, ()).retries(0).submit().result()), libc::SIGABRT);
    });
}

#[test]
fn a_task_that_waits_for_another_worker_to_run_it_again_is_cancelled() {
    fn another_waits(folder: String) {
        if Path::new(&folder).join("crashes").exists() {
            put(&folder, "another");
            wait_for(&folder, "initialize");
        }
    }
    fn crash(folder: String, number: u64) {
        note(&folder, "begun", &format!("{number} {}", std::process::id()));
        put(&folder, "crashes");
        std::process::abort()
    }
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = builder(1).retries(1).initializer(another_waits, (folder.path(),)).build().unwrap();
        let [waits, next] = [0, 1].map(|n| pool.submit(crash, (folder.path(), n)));
        folder.until("another");
        let before = (waits.running(), waits.cancel());
        let ends = waits.terminate(LONG) && waits.cancelled();
        folder.put("initialize");
        assert_eq!((before, ends), ((true, false), true));
        assert!(matches!(waits.result(), Err(TaskError::Cancelled)));
        assert_eq!(lost_by(next.result()), libc::SIGABRT);
        assert_eq!(folder.begun(), [0, 1, 1]);
    });
}

#[test]
fn the_first_reason_for_which_a_task_is_to_end_is_the_one_that_is_told() {
    fn hear_and_hang(folder: String) {
        look(folder.clone(), 0);
        put(&folder, "asked");
        hang(folder, 1);
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let timeout = Duration::from_millis(10);
        let hangs = pool.task(hear_and_hang, (folder.path(),)).timeout(timeout).grace(LONG).submit();
        folder.until("asked");
        thread::sleep(timeout);
        assert!(hangs.terminate(Duration::ZERO));
        let ended = terminated(hangs.result());
        assert_eq!(ended.cause(), TerminationCause::TimedOut);
        assert!(ended.asked_after() >= timeout && ended.took() >= timeout, "since it was asked first: {ended:?}");
    });
}

#[test]
fn the_time_in_which_a_task_is_queued_is_not_its_own() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let timeout = Duration::from_secs(2);
        let first = pool.submit(thread::sleep, (timeout + Duration::from_millis(100),));
        let tasks: Vec<_> = (0..3).map(|n| pool.task(echo::<u64>, (n,)).timeout(timeout).submit()).collect();
        first.result().unwrap();
        tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
    });
}

#[test]
fn a_pool_whose_tasks_are_being_ended_can_be_shut_down_and_killed() {
    alone(|| {
        let folder = Folder::new();
        let pool = builder(2).name("ends-here").build().unwrap();
        let hangs = [0, 1].map(|n| pool.task(hang, (folder.path(), n)).timeout(Duration::from_millis(50)).submit());
        (0..2).for_each(|n| _ = folder.until_begun(n));
        thread_of("ends-here-deadl"); // it runs
        let queued = pool.submit(echo::<u64>, (3,));
        assert!(pool.shutdown().is_complete(), "it waits until they are ended, and runs what is queued");
        assert_eq!(queued.result().unwrap(), 3);
        hangs.into_iter().for_each(|task| _ = terminated(task.result()));
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
        assert!(names.into_iter().all(|name| !name.starts_with("ends-here")), "the thread has ended with the pool");

        let pool = pool_of(1);
        let hangs = pool.submit(hang, (folder.path(), 2));
        folder.until_begun(2);
        assert!(hangs.terminate(LONG));
        assert!(!pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_millis(10))).is_complete());
        assert!(pool.kill().is_complete());
        assert!(hangs.result().is_err());
    });
}

#[test]
fn a_long_limit_and_one_that_the_clock_cannot_represent_are_no_trouble() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let began = Instant::now();
        for timeout in [Duration::MAX, LONG] {
            let tasks: Vec<_> =
                (0..500).map(|n| pool.task(echo::<u64>, (n,)).timeout(timeout).grace(timeout)).collect();
            let tasks: Vec<_> = tasks.into_iter().map(|task| task.submit()).collect();
            tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
        }
        let folder = Folder::new();
        let hangs = pool.submit(hang, (folder.path(), 0));
        folder.until_begun(0);
        assert!(hangs.terminate(Duration::MAX), "it is asked, and nothing more");
        assert!(hangs.terminate(Duration::ZERO));
        terminated(hangs.result());
        assert!(began.elapsed() < LONG);
    });
}
