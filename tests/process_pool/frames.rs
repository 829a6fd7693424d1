//! Workers that send nonsense: it is the end of that worker, and of nothing else.
//!
//! Their part is played by this binary, in the test `rogue` of this file.

#![cfg(target_os = "linux")]

use std::time::Duration;

use bowline::task::{Rejected, StartError, StartFailure, WorkerExit};
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, begin, open, pass};
use crate::support::processes::{die_of, kill, until_gone};
use crate::support::rogue::{
    DONE, FAILED, HELLO, MORE, READY, Rogue, SETUP, SKIPPED, STOP, TASK, checksum, frame, header, identity, number,
    rogues, sign, starts,
};
use crate::support::workers::{lost, only_worker};
use crate::support::{LIMIT, alone, wait_until, within};

fn double(n: u64) -> u64 {
    2 * n
}

/// Not a test: what a rogue does, if this process is one.
#[test]
fn rogue() {
    let Some((step, mut rogue)) = Rogue::this() else { return };
    if let Some(step) = step.strip_prefix("start: ") {
        start(step, &mut rogue);
    }
    rogue.get_up();
    if let Some(step) = step.strip_prefix("begun: ") {
        let id = rogue.begin_task();
        rogue.say(&nonsense(step, id));
        rogue.sleep();
    }
    match &*step {
        "nonsense before it begins" => {
            rogue.hear_task();
            rogue.say(b"a line of text that is longer than a header\n");
            rogue.sleep();
        }
        "nonsense when it is told to" => {
            rogue.begin_task();
            rogue.note("has begun");
            rogue.wait_for("talk");
            rogue.say(&[0; 100]);
            rogue.sleep();
        }
        "nonsense while it is idle" => {
            let id = rogue.begin_task();
            rogue.answer(id, 1);
            rogue.wait_for("talk");
            rogue.say(b"a line of text that is longer than a header\n");
            rogue.sleep();
        }
        "two answers" => {
            let id = rogue.begin_task();
            rogue.answer(id, 1);
            rogue.answer(id, 2);
            rogue.sleep();
        }
        "two answers at once" => {
            let id = rogue.begin_task();
            rogue.say(&[frame(DONE, id, &number(1)), frame(DONE, id, &number(2))].concat());
            rogue.sleep();
        }
        "an answer to the next" => {
            rogue.run_first();
            rogue.begin_task();
            let id = rogue.begin_task();
            rogue.answer(id, 2);
            rogue.sleep();
        }
        "an answer to what was taken back" => {
            rogue.run_first();
            let first = rogue.begin_task();
            let second = rogue.hear_task();
            rogue.note("has both");
            rogue.wait_for("cancelled");
            rogue.answer(first, 1);
            rogue.answer(second, 2);
            rogue.sleep();
        }
        "no value" => {
            for kind in [DONE, FAILED] {
                let id = rogue.begin_task();
                rogue.say_frame(kind, id, &[0xff; 20]);
            }
            let id = rogue.begin_task();
            rogue.answer(id, 7);
            rogue.sleep();
        }
        "half a header" => {
            let id = rogue.begin_task();
            rogue.say(&frame(DONE, id, &number(1))[..11]);
            rogue.end(7);
        }
        "half a payload" => {
            let id = rogue.begin_task();
            // More than a socket takes at once.
            let whole = frame(DONE, id, &[1; 1 << 20]);
            rogue.say(&whole[..whole.len() / 2]);
            die_of(libc::SIGKILL);
        }
        "a length and nothing" => {
            let id = rogue.begin_task();
            rogue.say(&header(DONE, id, 1 << 30, 0));
            rogue.note("has announced it");
            rogue.sleep();
        }
        "more" => {
            let id = rogue.begin_task();
            (0..1000).for_each(|_| rogue.say_frame(MORE, 0, &[]));
            rogue.answer(id, 3);
            rogue.sleep();
        }
        "stop unheard" => rogue.sleep(),
        step => panic!("nobody knows the step {step:?}"),
    }
}

/// Nonsense before the first task. The rogue ends here, or goes on as if it were a worker.
fn start(step: &str, rogue: &mut Rogue) {
    let mut build = identity();
    *build.last_mut().expect("a build") ^= 1;
    match step {
        "garbage" => rogue.say(b"Hello! This is a worker, and not a frame."),
        "another build" => rogue.say_frame(HELLO, 0, &build),
        "a short identity" => rogue.say_frame(HELLO, 0, &build[..3]),
        "a long identity" => rogue.say(&header(HELLO, 0, u32::MAX, 0)),
        "a damaged identity" => rogue.say(&[header(HELLO, 0, build.len() as u32, 1), build].concat()),
        "ready at once" => rogue.say_frame(READY, 0, &[]),
        "half a hello" => {
            rogue.say(&frame(HELLO, 0, &identity())[..30]);
            std::process::exit(5);
        }
        "nothing" => {}
        "half a hello, and no end" => rogue.say(&frame(HELLO, 0, &identity())[..30]),
        "a slow hello" => {
            for byte in frame(HELLO, 0, &identity()) {
                rogue.say(&[byte]);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        "no ready" => {
            rogue.say_frame(HELLO, 0, &identity());
            rogue.hear_setup();
        }
        "two hellos" => (0..2).for_each(|_| rogue.say_frame(HELLO, 0, &identity())),
        "garbage in place of ready" => {
            rogue.say_frame(HELLO, 0, &identity());
            rogue.hear_setup();
            rogue.say(b"I am ready. I have been ready for long.");
        }
        "dead before its set-up" => {
            rogue.say_frame(HELLO, 0, &identity());
            // What was sent is not read.
            rogue.note("has said hello");
            std::process::exit(6);
        }
        "deaf to its set-up" => {
            rogue.say_frame(HELLO, 0, &identity());
            rogue.note("has said hello");
        }
        step => panic!("nobody knows the step {step:?}"),
    }
    rogue.sleep();
}

/// What no worker says when it has begun this task.
fn nonsense(step: &str, id: u64) -> Vec<u8> {
    let payload = number(1);
    let right = header(DONE, id, payload.len() as u32, checksum(&payload));
    let wrong = |at: usize| {
        let mut bytes = right.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    match step {
        "garbage" => b"thread 'main' panicked at src/main.rs: a line of text\n".to_vec(),
        "zeroes" => vec![0; 100],
        "a damaged header" => [wrong(9), payload].concat(),
        "a damaged checksum" => [wrong(21), payload].concat(),
        "a damaged payload" => [right, number(3)].concat(),
        "a reserved byte" => [sign(wrong(2)), payload].concat(),
        "an unknown kind" => frame(42, id, &payload),
        "kind 0" => frame(0, id, &payload),
        "four gigabytes" => header(DONE, id, u32::MAX, 0),
        "a byte too long" => header(DONE, id, (1 << 20) + 1, 0),
        "hello" => frame(HELLO, id, &payload),
        "set-up" => frame(SETUP, id, &payload),
        "ready" => frame(READY, id, &payload),
        "a task" => frame(TASK, id, &payload),
        "stop" => frame(STOP, id, &payload),
        "an answer to nobody" => frame(DONE, id + 1, &payload),
        "an error for nobody" => frame(FAILED, 0, &payload),
        "nobody's task skipped" => frame(SKIPPED, u64::MAX, &[]),
        "its task skipped" => frame(SKIPPED, id, &[]),
        step => panic!("nobody knows the step {step:?}"),
    }
}

const BEGUN: [(&str, &str); 19] = [
    ("garbage", "not the header of a message"),
    ("zeroes", "not the header of a message"),
    ("a damaged header", "not the header of a message"),
    ("a damaged checksum", "not the header of a message"),
    ("a damaged payload", "damaged on its way"),
    ("a reserved byte", "not the header of a message"),
    ("an unknown kind", "unknown kind (42)"),
    ("kind 0", "unknown kind (0)"),
    ("four gigabytes", "has 4294967295 bytes, and at most 1048576 are allowed"),
    ("a byte too long", "has 1048577 bytes, and at most 1048576 are allowed"),
    ("hello", "Hello"),
    ("set-up", "Setup"),
    ("ready", "Ready"),
    ("a task", "Task"),
    ("stop", "Stop"),
    ("an answer to nobody", "a reply to task 2, which it has not"),
    ("an error for nobody", "a reply to task 0, which it has not"),
    ("nobody's task skipped", "which it has not"),
    ("its task skipped", "it skipped task 1, which it was to run"),
];

/// A pool with one worker, a rogue that has gone wrong in its first task: that one and the two behind it.
fn pool_and_tasks(step: &str, folder: &Folder) -> (ProcessPoolExecutor, Future<u64>, [Future<u64>; 2]) {
    let pool = rogues(1, step, folder).max_message_size(1 << 20).build().unwrap();
    let first = pool.submit_named("the first", double, (1,));
    let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
    (pool, first, others)
}

/// The pool is as good as new, with one worker, which is none of the rogues.
#[track_caller]
fn assert_healed(pool: &ProcessPoolExecutor, folder: &Folder, others: [Future<u64>; 2]) {
    assert_eq!(others.map(|task| task.result().unwrap()), [2, 3]);
    assert_eq!([2, 3].map(|n| folder.begun_by(n).len()), [1, 1], "once each");
    let pids = folder.lines("starts");
    assert_eq!((only_worker(pool).to_string(), pids.len()), (pids[1].clone(), 2), "another worker, and no third");
    assert!(pool.shutdown().is_complete());
    pids.iter().for_each(|pid| until_gone(pid.parse().unwrap()));
}

#[test]
fn a_worker_that_sends_nonsense_in_a_task_is_killed_and_costs_that_task_only() {
    within(LIMIT, || {
        for (step, reason) in BEGUN {
            let folder = Folder::new();
            let (pool, first, others) = pool_and_tasks(&format!("begun: {step}"), &folder);
            let lost = lost(first.result());
            let WorkerExit::Protocol(said) = lost.exit() else { panic!("{step}: {lost}") };
            assert!(said.contains(reason), "{step}: {said}");
            assert_eq!(lost.task(), "the first", "{step}");
            assert!(lost.to_string().contains(reason), "{step}: {lost}");
            assert_eq!(lost.pid().to_string(), folder.lines("starts")[0], "{step}");
            assert_healed(&pool, &folder, others);
        }
    });
}

#[test]
fn a_task_that_a_rogue_had_not_begun_runs_elsewhere() {
    within(LIMIT, || {
        let folder = Folder::new();
        let (pool, first, others) = pool_and_tasks("nonsense before it begins", &folder);
        assert_eq!(first.result().unwrap(), 2);
        assert_healed(&pool, &folder, others);
    });
}

#[test]
fn a_task_that_every_worker_ends_at_fails_after_a_few() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(usize::MAX >> 1, "nonsense before it begins", &folder).build().unwrap();
        let lost = lost(pool.submit(double, (1,)).result());
        assert!(matches!(lost.exit(), WorkerExit::Protocol(_)), "{lost}");
        assert!(pool.shutdown().is_complete());
        assert_eq!(starts(&folder), 4, "and nobody starts another");
    });
}

#[test]
fn a_worker_that_talks_while_it_is_idle_costs_no_task() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "nonsense while it is idle", &folder).build().unwrap();
        assert_eq!(pool.submit(double, (1,)).result().unwrap(), 1);
        let rogue = only_worker(&pool);
        folder.put("talk");
        until_gone(rogue);
        let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
        assert_healed(&pool, &folder, others);
    });
}

#[test]
fn a_second_answer_to_a_task_is_nonsense_and_the_first_one_stands() {
    within(LIMIT, || {
        for step in ["two answers", "two answers at once"] {
            let folder = Folder::new();
            let (pool, first, others) = pool_and_tasks(step, &folder);
            assert_eq!(first.result().unwrap(), 1, "{step}");
            assert_healed(&pool, &folder, others);
        }
    });
}

#[test]
fn answers_come_in_the_order_of_the_tasks() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "an answer to the next", &folder).build().unwrap();
        let [quick, first, second] = [0, 1, 2].map(|n| pool.submit(double, (n,)));
        folder.put("all are submitted");
        assert!(quick.result().is_ok());
        let lost = lost(first.result());
        let WorkerExit::Protocol(said) = lost.exit() else { panic!("{lost}") };
        assert_eq!(&**said, "a reply to task 3, which it has not");
        // Lost, too, if it had been begun by then.
        match second.result() {
            Ok(doubled) => assert_eq!(doubled, 4),
            Err(TaskError::WorkerLost(lost)) => assert!(matches!(lost.exit(), WorkerExit::Protocol(_)), "{lost}"),
            Err(error) => panic!("{error}"),
        }
        let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
        assert_healed(&pool, &folder, others);
    });
}

#[test]
fn an_answer_to_a_task_that_was_taken_back_is_nonsense() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "an answer to what was taken back", &folder).build().unwrap();
        let [quick, first, second] = [0, 1, 2].map(|n| pool.submit(double, (n,)));
        folder.put("all are submitted");
        assert!(quick.result().is_ok());
        folder.until("has both");
        assert!(second.cancel());
        folder.put("cancelled");
        assert_eq!(first.result().unwrap(), 1);
        assert!(matches!(second.result(), Err(TaskError::Cancelled)));
        until_gone(folder.lines("starts")[0].parse().unwrap());
        let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
        assert_healed(&pool, &folder, others);
    });
}

#[test]
fn a_result_that_is_no_value_is_an_error_of_its_task_and_the_worker_stays() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "no value", &folder).build().unwrap();
        for _ in 0..2 {
            let result = pool.submit(double, (1,)).result();
            assert!(matches!(result, Err(TaskError::Decode(_))), "{result:?}");
        }
        assert_eq!((pool.submit(double, (1,)).result().unwrap(), starts(&folder)), (7, 1), "the rogue's own");
        kill(only_worker(&pool));
    });
}

#[test]
fn a_worker_that_ends_in_the_middle_of_an_answer_is_told_as_it_ended() {
    within(LIMIT, || {
        let killed = WorkerExit::Signal { number: 9, core_dumped: false };
        for (step, exit) in [("half a header", WorkerExit::Code(7)), ("half a payload", killed)] {
            let folder = Folder::new();
            let (pool, first, others) = pool_and_tasks(step, &folder);
            let lost = lost(first.result());
            assert_eq!(lost.exit(), &exit, "{step}: {lost}");
            assert_healed(&pool, &folder, others);
        }
    });
}

#[test]
fn a_length_that_was_only_announced_takes_no_memory_and_a_kill_ends_the_wait_for_it() {
    // The memory is that of the whole process.
    alone(|| {
        let folder = Folder::new();
        let pool = rogues(1, "a length and nothing", &folder).build().unwrap();
        let mut task = pool.submit(double, (1,));
        folder.until("has announced it");
        let timeout = task.result_timeout(Duration::from_millis(50));
        assert!(matches!(timeout, Err(TaskError::Timeout)), "{timeout:?}");
        kill(only_worker(&pool));
        assert_eq!(lost(task.result()).exit(), &WorkerExit::Signal { number: 9, core_dumped: false });
        // The most that there ever was, now that whoever read the announcement is through with it.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = resident.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(kilobytes < 512 << 10, "{kilobytes} kB");
    });
}

#[test]
fn a_worker_may_ask_for_more_as_often_as_it_likes() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "more", &folder).build().unwrap();
        assert_eq!((pool.submit(double, (1,)).result().unwrap(), starts(&folder)), (3, 1));
        kill(only_worker(&pool));
    });
}

#[test]
fn a_shutdown_that_a_worker_does_not_hear_is_ended_by_a_kill() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "stop unheard", &folder).build().unwrap();
        let task = pool.submit(double, (1,));
        wait_until(|| !pool.worker_pids().is_empty());
        std::thread::scope(|s| {
            let shutdown = s.spawn(|| pool.shutdown());
            wait_until(|| pool.is_shutdown());
            assert!(pool.kill().is_complete());
            assert!(shutdown.join().unwrap().is_complete());
        });
        let result = task.result();
        assert!(matches!(result, Err(TaskError::Rejected(Rejected::Killed))), "it was not begun: {result:?}");
        assert_eq!(starts(&folder), 1);
    });
}

/// The error of a pool none of whose workers gets up.
#[track_caller]
fn not_started(task: Future<u64>) -> StartError {
    match task.result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => error,
        other => panic!("no worker was to get up: {other:?}"),
    }
}

fn is_refused(failure: &StartFailure, reason: &str) -> bool {
    matches!(failure, StartFailure::Refused(said) if said.contains(reason))
}

#[test]
fn nonsense_at_the_start_is_the_reason_why_there_is_no_worker() {
    type Expected = fn(&StartFailure) -> bool;
    const STEPS: [(&str, Expected); 9] = [
        ("garbage", |failure| is_refused(failure, "not the header of a message")),
        (
            "another build",
            |failure| matches!(failure, StartFailure::OtherProgram(said) if said.contains("was replaced, or is another one")),
        ),
        ("a short identity", |failure| matches!(failure, StartFailure::OtherProgram(_))),
        ("a long identity", |failure| is_refused(failure, "has 4294967295 bytes")),
        ("a damaged identity", |failure| is_refused(failure, "damaged on its way")),
        ("ready at once", |failure| is_refused(failure, "Ready in place of Hello")),
        ("half a hello", |failure| matches!(failure, StartFailure::Ended(WorkerExit::Code(5)))),
        ("two hellos", |failure| is_refused(failure, "Hello in place of Ready")),
        ("garbage in place of ready", |failure| is_refused(failure, "not the header of a message")),
    ];
    within(LIMIT, || {
        for (step, is_expected) in STEPS {
            let folder = Folder::new();
            let pool = rogues(3, &format!("start: {step}"), &folder).build().unwrap();
            let error = not_started(pool.submit(double, (1,)));
            assert!(is_expected(error.failure()), "{step}: {error}");
            wait_until(|| pool.worker_count() == 0);
            assert_eq!((error.attempts(), starts(&folder)), (3, 3), "{step}");
            assert_eq!(pool.submit(double, (2,)).result().unwrap(), 4, "{step}: the fourth is none");
            assert!(pool.shutdown().is_complete());
            folder.lines("starts").iter().for_each(|pid| until_gone(pid.parse().unwrap()));
        }
    });
}

#[test]
fn a_worker_that_does_not_get_up_in_time_is_killed_and_tried_again() {
    within(LIMIT, || {
        for step in ["nothing", "half a hello, and no end", "a slow hello", "no ready"] {
            let folder = Folder::new();
            let limit = Duration::from_millis(700);
            let pool = rogues(3, &format!("start: {step}"), &folder).start_timeout(limit).build().unwrap();
            let error = not_started(pool.submit(double, (1,)));
            assert!(matches!(error.failure(), StartFailure::Timeout(told) if *told == limit), "{step}: {error}");
            assert_eq!((error.attempts(), starts(&folder)), (3, 3), "{step}");
            folder.lines("starts").iter().for_each(|pid| until_gone(pid.parse().unwrap()));
        }
    });
}

#[test]
fn one_rogue_at_the_start_delays_the_tasks_and_no_more() {
    within(LIMIT, || {
        for step in ["garbage", "another build", "half a hello", "dead before its set-up", "no ready"] {
            let folder = Folder::new();
            let limit = Duration::from_secs(if step == "no ready" { 1 } else { 30 });
            let pool = rogues(1, &format!("start: {step}"), &folder).start_timeout(limit).build().unwrap();
            let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
            assert_healed(&pool, &folder, others);
        }
    });
}

#[test]
fn a_worker_that_is_killed_before_it_reads_its_set_up_is_tried_again() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "start: deaf to its set-up", &folder).build().unwrap();
        let others = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
        folder.until("has said hello");
        assert!(pool.worker_pids().is_empty(), "it is not up");
        kill(folder.lines("starts")[0].parse().unwrap());
        assert_healed(&pool, &folder, others);
    });
}

#[test]
fn others_go_on_while_one_worker_sends_nonsense() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = rogues(1, "nonsense when it is told to", &folder).max_workers(3).build().unwrap();
        let first = pool.submit(double, (1,));
        folder.until("has begun");
        let busy = [4, 5].map(|n| pool.submit(pass, (folder.path(), n, open())));
        [4, 5].iter().for_each(|&n| _ = folder.until_begun(n));
        folder.put("talk");
        assert!(matches!(lost(first.result()).exit(), WorkerExit::Protocol(_)));
        assert!(busy.iter().all(Future::running));
        folder.put("open");
        assert_eq!(busy.map(|task| task.result().unwrap()), [4, 5]);
        assert_eq!([4, 5].map(|n| folder.begun_by(n).len()), [1, 1]);
    });
}
