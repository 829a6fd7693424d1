//! Arguments and results on their way between processes: what goes wrong with them, and how long they may be.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::process;
use std::sync::mpsc;

use bowline::task::Rejected;
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, Json, ProcessPoolExecutor, TaskError};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::support::folder::{Folder, hold, wait_for};
use crate::support::processes::{die_of, is_gone, kill, resume, stop};
use crate::support::workers::{echo, keep, lost, panic_of, pid, pool_of};
use crate::support::{LIMIT, alone, within};

/// The four steps of a value's way to a worker and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    ParentWrites,
    WorkerReads,
    WorkerWrites,
    ParentReads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Fault {
    Error,
    Panic,
    Exit,
    Crash,
}

impl Fault {
    fn strike(self) -> Result<(), &'static str> {
        match self {
            Self::Error => return Err("meant to"),
            Self::Panic => panic!("meant to, on the way"),
            Self::Exit => process::exit(7),
            Self::Crash => die_of(libc::SIGSEGV),
        }
        Ok(())
    }
}

/// A value with which something goes wrong at one step.
#[derive(Clone, Copy, Debug)]
struct Faulty {
    step: Step,
    fault: Fault,
    /// The process that it comes from.
    home: u32,
}

impl Faulty {
    fn new(step: Step, fault: Fault) -> Self {
        Self { step, fault, home: process::id() }
    }

    fn pass(self, [at_home, in_worker]: [Step; 2]) -> Result<(), &'static str> {
        let step = if process::id() == self.home { at_home } else { in_worker };
        if step == self.step { self.fault.strike() } else { Ok(()) }
    }
}

impl Serialize for Faulty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pass([Step::ParentWrites, Step::WorkerWrites]).map_err(S::Error::custom)?;
        (self.step, self.fault, self.home).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Faulty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (step, fault, home) = Deserialize::deserialize(deserializer)?;
        let value = Self { step, fault, home };
        value.pass([Step::ParentReads, Step::WorkerReads]).map_err(D::Error::custom)?;
        Ok(value)
    }
}

/// Runs `check` on the task of a faulty value and its worker, while others are queued behind it; whether the worker is the
/// same afterwards.
#[track_caller]
fn worker_survives(step: Step, fault: Fault, check: impl FnOnce(Future<Faulty>, u32)) -> bool {
    let pool = pool_of(1);
    let worker = pool.submit(pid, ()).result().unwrap();
    let folder = Folder::new();
    let held = keep(&pool, &folder, 0);
    let task = pool.submit(echo::<Faulty>, (Faulty::new(step, fault),));
    let behind: Vec<_> = (0..3).map(|_| pool.submit(pid, ())).collect();
    folder.put("end");
    held.result().unwrap();
    check(task, worker);
    let behind: Vec<_> = behind.into_iter().map(|task| task.result().unwrap()).collect();
    assert_eq!(pool.submit(pid, ()).result().unwrap(), behind[2]);
    assert!(pool.shutdown().is_complete());
    behind == [worker; 3]
}

#[track_caller]
fn encode_error(task: Future<impl std::fmt::Debug>) -> String {
    match task.result() {
        Err(TaskError::Encode(error)) => error.to_string(),
        other => panic!("it was written: {other:?}"),
    }
}

#[track_caller]
fn decode_error(task: Future<impl std::fmt::Debug>) -> String {
    match task.result() {
        Err(TaskError::Decode(error)) => error.to_string(),
        other => panic!("it was read: {other:?}"),
    }
}

#[test]
fn an_argument_that_cannot_be_written_is_an_error_of_its_task_at_once() {
    within(LIMIT, || {
        let check = |task: Future<Faulty>, _| {
            assert!(task.done());
            let error = encode_error(task);
            assert!(error.contains("Faulty") && error.contains("can't be written: meant to"), "{error}");
        };
        assert!(worker_survives(Step::ParentWrites, Fault::Error, check));
        let check = |task: Future<Faulty>, _| {
            assert!(task.done());
            let panic = panic_of(task.result());
            assert_eq!((panic.message(), panic.process()), ("meant to, on the way", None));
        };
        assert!(worker_survives(Step::ParentWrites, Fault::Panic, check));
    });
}

#[test]
fn an_argument_that_the_worker_cannot_read_is_an_error_of_its_task() {
    within(LIMIT, || {
        let check = |task, _| {
            let error = decode_error(task);
            assert!(error.contains("Faulty") && error.contains("can't be read back: meant to; "), "{error}");
        };
        assert!(worker_survives(Step::WorkerReads, Fault::Error, check));
        let check = |task: Future<Faulty>, worker| {
            let panic = panic_of(task.result());
            assert_eq!((panic.message(), panic.process()), ("meant to, on the way", Some(worker)));
            assert_eq!(panic.location().unwrap().file(), file!());
        };
        assert!(worker_survives(Step::WorkerReads, Fault::Panic, check));
    });
}

#[test]
fn a_result_that_the_worker_cannot_write_is_an_error_of_its_task() {
    within(LIMIT, || {
        let check = |task, _| {
            let error = encode_error(task);
            assert!(error.contains("Faulty") && error.contains("can't be written: meant to"), "{error}");
        };
        assert!(worker_survives(Step::WorkerWrites, Fault::Error, check));
        let check = |task: Future<Faulty>, worker| {
            let panic = panic_of(task.result());
            assert_eq!((panic.message(), panic.process()), ("meant to, on the way", Some(worker)));
        };
        assert!(worker_survives(Step::WorkerWrites, Fault::Panic, check));
    });
}

#[test]
fn a_result_that_the_parent_cannot_read_is_an_error_of_its_task() {
    within(LIMIT, || {
        let check = |task, _| {
            let error = decode_error(task);
            assert!(error.contains("Faulty") && error.contains("can't be read back: meant to; "), "{error}");
        };
        assert!(worker_survives(Step::ParentReads, Fault::Error, check));
        let check = |task: Future<Faulty>, _| {
            let panic = panic_of(task.result());
            assert_eq!((panic.message(), panic.process()), ("meant to, on the way", None));
        };
        assert!(worker_survives(Step::ParentReads, Fault::Panic, check));
    });
}

#[test]
fn a_worker_that_dies_while_it_reads_or_writes_a_value_costs_that_task() {
    within(LIMIT, || {
        for step in [Step::WorkerReads, Step::WorkerWrites] {
            let check = |task: Future<Faulty>, worker| {
                let lost = lost(task.result());
                assert_eq!(lost.pid(), worker);
                assert!(lost.to_string().contains("terminated abruptly with exit code 7"), "{lost}");
            };
            assert!(!worker_survives(step, Fault::Exit, check), "{step:?}");
            let check = |task: Future<Faulty>, worker| {
                let lost = lost(task.result());
                assert_eq!((lost.pid(), lost.exit().signal_name()), (worker, Some("SIGSEGV")));
            };
            assert!(!worker_survives(step, Fault::Crash, check), "{step:?}");
        }
    });
}

#[test]
fn an_error_on_the_way_costs_one_chunk_of_a_map() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let harmless = Faulty { home: 0, ..Faulty::new(Step::ParentReads, Fault::Error) };
        for step in [Step::ParentWrites, Step::WorkerReads, Step::WorkerWrites, Step::ParentReads] {
            let mut items = [harmless; 12];
            items[5] = Faulty::new(step, Fault::Error);
            let results: Vec<_> = pool.map(echo::<Faulty>, items).chunk_size(3).collect();
            let failed: Vec<_> = (0..12).filter(|&at| results[at].is_err()).collect();
            assert_eq!(failed, [3, 4, 5], "{step:?}: {results:?}");
            let writes = matches!(step, Step::ParentWrites | Step::WorkerWrites);
            for result in &results[3..6] {
                let kind = if writes {
                    matches!(result, Err(TaskError::Encode(_)))
                } else {
                    matches!(result, Err(TaskError::Decode(_)))
                };
                assert!(kind, "{step:?}: {result:?}");
            }
        }
    });
}

#[test]
fn an_error_on_the_way_after_the_shutdown_began_hangs_nobody() {
    within(LIMIT, || {
        for step in [Step::WorkerReads, Step::WorkerWrites, Step::ParentReads] {
            for fault in [Fault::Error, Fault::Panic] {
                let pool = pool_of(1);
                let folder = Folder::new();
                let held = keep(&pool, &folder, 0);
                let task = pool.submit(echo::<Faulty>, (Faulty::new(step, fault),));
                let last = pool.submit(echo::<u32>, (1,));
                let _ = pool.shutdown_with(ShutdownOptions::new().wait(false));
                let late = pool.submit(echo::<Faulty>, (Faulty::new(Step::ParentWrites, fault),));
                assert!(late.done() && late.exception().is_some());
                let late = pool.submit(echo::<Faulty>, (Faulty::new(Step::ParentReads, fault),));
                assert!(matches!(late.result(), Err(TaskError::Rejected(Rejected::Shutdown))));
                folder.put("end");
                assert!(pool.shutdown().is_complete());
                assert!(task.result().is_err(), "{step:?} {fault:?}");
                assert_eq!((held.result().is_ok(), last.result().unwrap()), (true, 1));
            }
        }
    });
}

/// Longer than any socket takes at once.
const LONG: usize = 16 << 20;

fn long(letter: char) -> String {
    String::from(letter).repeat(LONG)
}

#[test]
fn long_arguments_and_results_cross_on_several_workers() {
    within(LIMIT, || {
        const WORKERS: usize = 3;
        let pool = pool_of(WORKERS);
        // While each worker writes a result the arguments of its next task are on their way.
        let tasks: Vec<_> = ('a'..='i').map(|letter| (letter, pool.submit(echo::<String>, (long(letter),)))).collect();
        assert_eq!(tasks.len(), 3 * WORKERS);
        for (letter, task) in tasks {
            let text = task.result().unwrap();
            assert!(text.len() == LONG && text.bytes().all(|byte| char::from(byte) == letter), "{letter}");
        }
        assert_eq!(pool.worker_count(), WORKERS);
    });
}

#[test]
fn a_long_argument_that_a_worker_has_no_time_for_holds_up_nobody() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let folder = Folder::new();
        let held = keep(&pool, &folder, 0);
        let other = pool.submit(hold, (folder.path(), 1, "end of the other".to_owned()));
        folder.until_begun(1);
        let length = |text: String| (text.len(), process::id());
        let ahead = pool.submit(length, (long('a'),));
        folder.put("end of the other");
        let other = other.result().unwrap();
        // Whoever has it, it is taken from behind the task that goes on.
        assert_eq!(ahead.result().unwrap(), (LONG, other));
        assert!(held.running());
        folder.put("end");
        assert_ne!(held.result().unwrap(), other);
    });
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_message_to_it_costs_no_task_that_it_had_not_begun() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let length = |text: String| (text.len(), process::id());
        // The worker is idle, and does not read.
        let worker = pool.submit(pid, ()).result().unwrap();
        stop(worker);
        let task = pool.submit(length, (long('a'),));
        assert!(task.running() && !task.done());
        kill(worker);
        let (received, second) = task.result().unwrap();
        assert_eq!((received, is_gone(worker)), (LONG, true));
        assert_ne!(second, worker);
        // The worker is busy, and crashes with a part of the next task's arguments in its stream.
        let folder = Folder::new();
        let crash = |folder: String| -> () {
            wait_for(&folder, "crash");
            process::exit(7)
        };
        let crash = pool.submit(crash, (folder.path(),));
        let next = pool.submit(length, (long('b'),));
        folder.put("crash");
        assert_eq!(lost(crash.result()).pid(), second);
        let (received, third) = next.result().unwrap();
        assert_eq!((received, third != second), (LONG, true));
    });
}

#[test]
fn a_worker_that_crashes_over_a_long_argument_is_an_error_of_its_task() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let crash = |faulty: Faulty, text: String| (faulty, text.len());
        let faulty = Faulty::new(Step::WorkerReads, Fault::Crash);
        let task = pool.submit(crash, (faulty, long('a')));
        assert_eq!(lost(task.result()).exit().signal_name(), Some("SIGSEGV"));
        assert_eq!(pool.submit(echo::<u32>, (1,)).result().unwrap(), 1);
    });
}

/// Kills this process as soon as a part of what it sends is on its way. Says when it is ready to.
fn die_while_sending(ready: &mpsc::Sender<()>) {
    let is_socket = |fd: &i32| {
        std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    let sockets: Vec<_> = (3..1024).filter(is_socket).collect();
    let is_sending = |&fd: &i32| {
        let mut bytes = 0;
        // SAFETY:
        // - it writes one `int`, which is there. A socket that is gone is an error.
        let rc = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
        rc == 0 && bytes > 0
    };
    ready.send(()).expect("somebody waits");
    while !sockets.iter().any(is_sending) {
        std::hint::spin_loop();
    }
    die_of(libc::SIGKILL);
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_result_costs_that_task() {
    alone(|| {
        let task = || {
            let (ready, is_ready) = mpsc::channel();
            std::thread::spawn(move || die_while_sending(&ready));
            is_ready.recv().expect("a thread");
            long('a')
        };
        loop {
            let pool = pool_of(1);
            let task = pool.submit(task, ());
            let behind = pool.submit(echo::<u32>, (1,));
            let result = task.result();
            if result.is_ok() {
                // It was slower to die than to send.
                assert!(pool.kill().is_complete());
                continue;
            }
            assert_eq!(lost(result).exit().signal_name(), Some("SIGKILL"));
            assert_eq!(behind.result().unwrap(), 1);
            break;
        }
    });
}

#[test]
fn a_flood_of_tasks_does_not_block_while_no_worker_reads() {
    within(LIMIT, || {
        const TASKS: usize = 5000;
        let pool = pool_of(2);
        let folder = Folder::new();
        let held = [0, 1].map(|n| keep(&pool, &folder, n));
        let workers = pool.worker_pids();
        workers.iter().for_each(|&worker| stop(worker));
        // More than both sockets take, and two that are longer than a socket takes.
        let text = "x".repeat(2000);
        let long = [(); 2].map(|()| pool.submit(|text: String| text.len(), (long('a'),)));
        let tasks: Vec<_> =
            (0..TASKS).map(|n| pool.submit(|n: usize, text: String| (n, text.len()), (n, text.clone()))).collect();
        assert_eq!((pool.queued(), pool.completed()), (TASKS + 2, 0));
        folder.put("end");
        workers.iter().for_each(|&worker| resume(worker));
        assert!(held.into_iter().all(|task| task.result().is_ok()));
        assert_eq!(long.map(|task| task.result().unwrap()), [LONG; 2]);
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.result().unwrap(), (n, 2000));
        }
        assert_eq!(pool.worker_pids(), workers);
    });
}

#[test]
fn a_message_that_is_too_long_is_an_error_of_its_task_on_either_side() {
    within(LIMIT, || {
        const MOST: usize = 64 << 10;
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_message_size(MOST).build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        let text = |length: usize| "x".repeat(length);
        let argument = pool.submit(|text: String| text.len(), (text(MOST),));
        assert!(argument.done());
        let error = encode_error(argument);
        assert!(error.starts_with("the arguments take "), "{error}");
        assert!(error.contains(&format!("`max_message_size` is {MOST}")), "{error}");
        let result = pool.submit(text, (MOST,));
        let behind = pool.submit(pid, ());
        let error = encode_error(result);
        assert!(error.starts_with("the result takes "), "{error}");
        assert!(error.contains(&format!("`max_message_size` is {MOST}")), "{error}");
        assert_eq!(behind.result().unwrap(), worker);
        // Almost as long, both ways.
        assert_eq!(pool.submit(echo::<String>, (text(MOST - 64),)).result().unwrap().len(), MOST - 64);
        let results: Vec<_> = pool.map(text, [1, MOST, 2]).collect();
        let lengths: Vec<_> = results.iter().map(|result| result.as_ref().ok().map(String::len)).collect();
        assert_eq!(lengths, [Some(1), None, Some(2)]);
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn the_greatest_message_size_is_at_least_a_kilobyte() {
    for (bytes, fits) in [(1023, false), (1024, true), (u32::MAX as usize, true), (1 << 32, false)] {
        let set = || ProcessPoolExecutor::builder().max_message_size(bytes);
        assert_eq!(std::panic::catch_unwind(set).is_ok(), fits, "{bytes}");
    }
}

/// What only a format that describes itself can read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(f64),
    Text(String),
}

#[test]
fn a_value_that_describes_itself_goes_both_ways_as_json() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let turn = |Json(value): Json<Value>| {
            let mut keys: BTreeMap<String, Value> = serde_json::from_value(value).expect("an object");
            keys.insert("seen".to_owned(), json!(true));
            Json(serde_json::to_value(keys).expect("an object"))
        };
        let value = json!({ "depth": 3, "names": ["a", "ü", null], "ratio": 0.1 });
        let Json(turned) = pool.submit(turn, (Json(value),)).result().unwrap();
        assert_eq!(turned, json!({ "depth": 3, "names": ["a", "ü", null], "ratio": 0.1, "seen": true }));
        let swap = |either: Json<Either>| match either.into_inner() {
            Either::Number(number) => Json(Either::Text(number.to_string())),
            Either::Text(text) => Json(Either::Number(text.parse().expect("a number"))),
        };
        let text = pool.submit(swap, (Json(Either::Number(0.1)),)).result().unwrap();
        assert_eq!(text, Json(Either::Text("0.1".to_owned())));
        assert_eq!(pool.submit(swap, (text,)).result().unwrap(), Json(Either::Number(0.1)));
    });
}

#[test]
fn a_value_that_describes_itself_and_is_not_sent_as_json_is_an_error_that_says_what_to_do() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let text = || Either::Text("a".to_owned());
        let argument = decode_error(pool.submit(|either: Either| matches!(either, Either::Text(_)), (text(),)));
        let result = decode_error(pool.submit(text, ()));
        for error in [argument, result] {
            assert!(error.contains("Either") && error.contains("`bowline::Json`"), "{error}");
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

/// Writes text, and reads a number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(into = "String", from = "u8")]
struct Twisted(u8);

impl From<Twisted> for String {
    fn from(twisted: Twisted) -> Self {
        twisted.0.to_string()
    }
}

impl From<u8> for Twisted {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

#[test]
fn json_that_is_not_what_it_should_be_is_an_error_that_says_where() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let error = decode_error(pool.submit(echo::<Json<Twisted>>, (Json(Twisted(2)),)));
        assert!(error.ends_with("invalid type: string \"2\", expected u8 at line 1 column 3"), "{error}");
        // What JSON would change.
        let error = encode_error(pool.submit(echo::<Json<f64>>, (Json(f64::NAN),)));
        assert!(error.contains("JSON has no infinite numbers and no NaN"), "{error}");
        let error = encode_error(pool.submit(|| Json(Some(None::<u8>)), ()));
        assert!(error.contains("would be read back as `None`"), "{error}");
        let keys = || Json(BTreeMap::from([((1, 2), 3)]));
        let error = encode_error(pool.submit(keys, ()));
        assert!(error.contains("key must be a string"), "{error}");
    });
}
