//! What a task says while it runs reaches its submitter: in order, before the result, and nobody else.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bowline::process_pool::{Blob, current_task};
use bowline::sync::LockGuard;
use bowline::task::WorkerExit;
use bowline::{Future, Lock, TaskError};
use serde::{Deserialize, Serialize};

use crate::support::folder::{Folder, note, open, pass};
use crate::support::processes::fork_often;
use crate::support::workers::{builder, echo, pid, pool_of};
use crate::support::{LIMIT, in_fresh_process, stderr, wait_until, within};

/// Says every number below this, and returns their number.
fn count(to: u64) -> u64 {
    let task = current_task().expect("it runs in a worker");
    (0..to).for_each(|number| task.progress(number).expect("somebody listens to numbers"));
    to
}

/// Collects what is said.
fn collect<P: Send + 'static>() -> (impl FnMut(P) + Send + 'static, Arc<Mutex<Vec<P>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&all);
    (move |value| heard.lock().unwrap().push(value), all)
}

#[test]
fn what_a_task_says_is_heard_in_order_and_before_its_result() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let (hear, heard) = collect::<u64>();
                (n, pool.task(count, (n * 7,)).on_progress(hear).submit(), heard)
            })
            .collect();
        for (n, task, heard) in tasks {
            assert_eq!(task.result().unwrap(), n * 7);
            assert_eq!(*heard.lock().unwrap(), (0..n * 7).collect::<Vec<_>>());
        }
    });
}

/// Says bytes, and notes how often it has.
fn flood(folder: String, values: u64, length: u64) -> u64 {
    let task = current_task().expect("it runs in a worker");
    for _ in 0..values {
        task.progress(vec![1_u8; length as usize]).expect("somebody listens");
        note(&folder, "said", "1");
    }
    values
}

#[test]
fn a_slow_hearer_holds_the_task_up_and_misses_nothing() {
    within(LIMIT, || {
        let pool = pool_of(1);
        for (values, length, window) in [(5000_u64, 1, 1024_u64), (100, 100_000, 11), (3, 2 << 20, 1)] {
            let folder = Folder::new();
            let (go_on, gone_on) = mpsc::channel::<()>();
            let heard = Arc::new(AtomicU64::new(0));
            let hear = {
                let heard = Arc::clone(&heard);
                move |bytes: Vec<u8>| {
                    assert_eq!(bytes.len() as u64, length);
                    if heard.fetch_add(1, Ordering::Relaxed) == 0 {
                        let _ = gone_on.recv();
                    }
                }
            };
            let floods = pool.task(flood, (folder.path(), values, length)).on_progress(hear).submit();
            let said = || folder.lines("said").len() as u64;
            wait_until(|| said() >= window.saturating_sub(10).max(1));
            // Time enough for all of them.
            thread::sleep(Duration::from_millis(200));
            assert!(said() <= window, "it waits: {} of {window}", said());
            drop(go_on);
            assert_eq!(floods.result().unwrap(), values);
            assert_eq!(heard.load(Ordering::Relaxed), values);
        }
    });
}

#[test]
fn blobs_that_nobody_has_heard_of_are_few() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        fn flood(folder: String) {
            let task = current_task().expect("it runs in a worker");
            let blob = Blob::from_bytes(b"small").expect("memory");
            for _ in 0..100 {
                task.progress(blob.clone()).expect("they listen");
                note(&folder, "said", "1");
            }
        }
        let (go_on, gone_on) = mpsc::channel::<()>();
        let heard = Arc::new(AtomicUsize::new(0));
        let hear = {
            let heard = Arc::clone(&heard);
            move |blob: Blob| {
                assert_eq!(&*blob, b"small");
                if heard.fetch_add(1, Ordering::Relaxed) == 0 {
                    let _ = gone_on.recv();
                }
            }
        };
        let floods = pool.task(flood, (folder.path(),)).on_progress(hear).submit();
        wait_until(|| folder.lines("said").len() >= 30);
        thread::sleep(Duration::from_millis(100));
        assert!(folder.lines("said").len() <= 33, "each has a descriptor");
        drop(go_on);
        floods.result().unwrap();
        assert_eq!(heard.load(Ordering::Relaxed), 100);
    });
}

#[test]
fn what_is_unheard_of_one_task_holds_up_no_other() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (give, given) = mpsc::channel::<Future<u64>>();
        let hear = move |n: u64| {
            if n == 0 {
                // It runs in the same worker, and says something, while all of this is unheard.
                assert_eq!(given.recv().unwrap().result().unwrap(), 5);
            }
        };
        let fills = pool.task(count, (1024,)).on_progress(hear).submit();
        let (also_hear, heard) = collect::<u64>();
        give.send(pool.task(count, (5,)).on_progress(also_hear).submit()).unwrap();
        assert_eq!(fills.result().unwrap(), 1024);
        assert_eq!(heard.lock().unwrap().len(), 5);
    });
}

#[test]
fn a_task_that_is_to_stop_does_not_wait_and_drops_what_there_is_no_room_for() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn floods() -> u64 {
            let task = current_task().expect("it runs in a worker");
            let mut said = 0;
            let mut rest = 5000;
            while rest > 0 {
                task.progress(said).expect("somebody listens");
                said += 1;
                rest -= u64::from(task.should_stop());
            }
            said
        }
        let (go_on, gone_on) = mpsc::channel::<()>();
        let (mut collect, heard) = collect::<u64>();
        let hear = move |n: u64| {
            collect(n);
            let _ = gone_on.recv();
        };
        let task = pool.task(floods, ()).timeout(Duration::from_millis(200)).grace(LIMIT).on_progress(hear).submit();
        // The task has ended when this one runs.
        pool.submit(pid, ()).result().unwrap();
        drop(go_on);
        assert!(task.result().unwrap() > 5000);
        let heard = heard.lock().unwrap();
        assert!(heard.len() <= 1024 && heard.iter().copied().eq(0..heard.len() as u64), "{}", heard.len());
    });
}

#[test]
fn a_long_value_is_sent_beside_a_thread_that_goes_on_speaking() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn both() -> u64 {
            let task = current_task().expect("it runs in a worker");
            let is_sent = AtomicU64::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while is_sent.load(Ordering::Relaxed) == 0 {
                        task.progress(vec![0_u8; 1]).expect("they listen");
                    }
                });
                task.progress(vec![1_u8; 3 << 20]).expect("they listen");
                is_sent.store(1, Ordering::Relaxed);
            });
            1
        }
        let hear = |_: Vec<u8>| thread::sleep(Duration::from_micros(50));
        assert_eq!(pool.task(both, ()).on_progress(hear).submit().result().unwrap(), 1);
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "it is dropped");
    }
}

#[test]
fn a_hearer_whose_destructor_panics_costs_neither_the_result_nor_the_arguments() {
    within(LIMIT, || {
        let hear = || {
            let bomb = Bomb;
            move |_: u64| _ = &bomb
        };
        let pool = builder(1).queue_capacity(1).when_full(bowline::thread_pool::WhenFull::CallerRuns).build().unwrap();
        assert_eq!(pool.task(count, (3,)).on_progress(hear()).submit().result().unwrap(), 3);
        let folder = Folder::new();
        let busy = [0, 1].map(|number| {
            let busy = pool.submit(pass, (folder.path(), number, open()));
            wait_until(|| number > 0 || folder.begun() == [0]);
            busy
        });
        let here = pool.task(echo::<u64>, (7,)).on_progress(hear()).submit();
        assert_eq!(here.result().unwrap(), 7, "it has run on this thread");
        let refused = pool.task(echo::<u64>, (8,)).on_progress(hear()).try_submit().unwrap_err();
        folder.put("open");
        busy.into_iter().for_each(|busy| assert!(busy.result().unwrap() < 2));
        assert_eq!(refused.into_task().submit().result().unwrap(), 8);
    });
}

#[test]
fn what_nobody_listens_to_is_not_sent_and_another_type_is_an_error() {
    within(LIMIT, || {
        let pool = pool_of(1);
        assert_eq!(pool.submit(count, (10,)).result().unwrap(), 10);
        fn mixed() -> Vec<Option<String>> {
            let task = current_task().expect("it runs in a worker");
            let text = |told: Result<(), bowline::task::CodecError>| told.err().map(|error| error.to_string());
            vec![text(task.progress(1_u8)), text(task.progress("one".to_owned())), text(task.progress(2_u8))]
        }
        let (hear, heard) = collect::<u8>();
        let errors = pool.task(mixed, ()).on_progress(hear).submit().result().unwrap();
        assert_eq!((&errors[0], &errors[2]), (&None, &None));
        let error = errors[1].as_ref().expect("a text is no number");
        assert!(error.contains("String") && error.contains("u8") && error.contains("on_progress"), "{error}");
        assert_eq!(*heard.lock().unwrap(), [1, 2]);
        // And the next task is not listened to.
        assert_eq!(pool.submit(count, (10,)).result().unwrap(), 10);
        assert!(current_task().is_none());
    });
}

#[test]
fn a_value_that_can_not_be_sent_is_an_error_and_the_task_goes_on() {
    #[derive(Debug)]
    struct Unsendable(u8);

    impl Serialize for Unsendable {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => Err(serde::ser::Error::custom("it refuses")),
                1 => panic!("it panics"),
                n => serializer.serialize_u8(n),
            }
        }
    }

    impl<'de> Deserialize<'de> for Unsendable {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match u8::deserialize(deserializer)? {
                2 => Err(serde::de::Error::custom("it is not read")),
                3 => panic!("it panics while it is read"),
                n => Ok(Self(n)),
            }
        }
    }
    within(LIMIT, || {
        fn tries() -> Vec<bool> {
            let task = current_task().expect("it runs in a worker");
            let say = |n| std::panic::catch_unwind(|| task.progress(Unsendable(n)).is_ok()).unwrap_or(false);
            (0..6).map(say).collect()
        }
        let pool = builder(1).max_message_size(2000).build().unwrap();
        let (hear, heard) = collect::<Unsendable>();
        let tried = pool.task(tries, ()).on_progress(hear).submit().result().unwrap();
        assert_eq!(tried, [false, false, true, true, true, true]);
        assert_eq!(heard.lock().unwrap().iter().map(|value| value.0).collect::<Vec<_>>(), [4, 5], "which can be read");
        fn long() -> String {
            let task = current_task().expect("it runs in a worker");
            task.progress(vec![0_u8; 4000]).expect_err("it is too long").to_string()
        }
        let error = pool.task(long, ()).on_progress(|_: Vec<u8>| ()).submit().result().unwrap();
        assert!(error.contains("max_message_size"), "{error}");
    });
}

#[test]
fn that_values_can_not_be_read_is_said_once_for_each_task() {
    /// One byte where it is written, two where it is read.
    #[derive(Serialize, Debug)]
    struct Longer(u8);

    impl<'de> Deserialize<'de> for Longer {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <(u8, u8)>::deserialize(deserializer).map(|(first, _)| Self(first))
        }
    }
    fn say() {
        (0..10).for_each(|n| current_task().expect("a task").progress(Longer(n)).expect("it is sent"));
    }
    let run = |name| pool_of(1).task(say, ()).name(name).on_progress(|_: Longer| ()).submit().result().unwrap();
    let body = || within(LIMIT / 2, || ["first", "second"].into_iter().for_each(run));
    let Some(output) = in_fresh_process("that_values_can_not_be_read_is_said_once_for_each_task", &[], body) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    for name in ["first", "second"] {
        assert_eq!(said.matches(&format!("of task '{name}' can't be decoded")).count(), 1, "{said}");
    }
}

#[test]
fn a_hearer_that_panics_hears_the_next_value_and_the_result_arrives() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let heard = Arc::new(AtomicUsize::new(0));
        let hear = {
            let heard = Arc::clone(&heard);
            move |n: u64| {
                heard.fetch_add(1, Ordering::Relaxed);
                assert!(n.is_multiple_of(2), "odd");
            }
        };
        assert_eq!(pool.task(count, (10,)).on_progress(hear).submit().result().unwrap(), 10);
        assert_eq!(heard.load(Ordering::Relaxed), 10);
    });
}

#[test]
fn what_a_task_said_before_its_worker_died_is_heard_and_a_retry_says_it_again() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn dies_once() -> u32 {
            let task = current_task().expect("it runs in a worker");
            let attempt = task.attempt();
            (0..3_u32).for_each(|n| task.progress((attempt, n)).expect("somebody listens"));
            if attempt == 1 {
                std::process::abort();
            }
            attempt
        }
        let (hear, heard) = collect::<(u32, u32)>();
        let task = pool.task(dies_once, ()).on_progress(hear).retries(1).submit();
        assert_eq!(task.result().unwrap(), 2);
        assert_eq!(*heard.lock().unwrap(), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);

        let (hear, heard) = collect::<(u32, u32)>();
        let lost = pool.task(dies_once, ()).on_progress(hear).submit().result().unwrap_err();
        let TaskError::WorkerLost(lost) = lost else { panic!("{lost}") };
        assert!(matches!(lost.exit(), WorkerExit::Signal { number: libc::SIGABRT, .. }));
        assert_eq!(*heard.lock().unwrap(), [(1, 0), (1, 1), (1, 2)], "before the error");
    });
}

#[test]
fn threads_of_a_task_may_speak_and_what_they_say_after_its_end_is_nobodys() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn several(threads: u64, each: u64) -> u64 {
            let task = current_task().expect("it runs in a worker");
            thread::scope(|scope| {
                for thread in 0..threads {
                    scope.spawn(move || (0..each).for_each(|n| task.progress((thread, n)).expect("they listen")));
                }
            });
            // One that goes on when the task is over, and while others run.
            thread::spawn(move || {
                for n in 0..20_000 {
                    let _ = task.progress((99, n));
                }
            });
            each
        }
        for _ in 0..10 {
            let (hear, heard) = collect::<(u64, u64)>();
            let task = pool.task(several, (4, 50)).on_progress(hear).submit();
            assert_eq!(task.result().unwrap(), 50);
            let heard = heard.lock().unwrap();
            for thread in 0..4 {
                let its = heard.iter().filter(|said| said.0 == thread).map(|said| said.1);
                assert_eq!(its.collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
            }
            drop(heard);
            let (hear, heard) = collect::<u64>();
            assert_eq!(pool.task(count, (50,)).on_progress(hear).submit().result().unwrap(), 50);
            assert_eq!(*heard.lock().unwrap(), (0..50).collect::<Vec<_>>(), "what the thread says is not this task's");
        }
    });
}

#[test]
fn a_fork_of_a_task_says_nothing() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn forks() -> i32 {
            let task = current_task().expect("it runs in a worker");
            // Another thread is in the middle of a value now and then.
            let speaks = || task.progress(8_u64).expect("somebody listens");
            fork_often(speaks, || assert!(task.progress(7_u64).is_ok()))
        }
        let (hear, heard) = collect::<u64>();
        assert_eq!(pool.task(forks, ()).on_progress(hear).submit().result().unwrap(), 0);
        assert!(heard.lock().unwrap().iter().all(|&value| value == 8));
    });
}

#[test]
fn blobs_go_along_without_a_copy() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn previews() -> usize {
            let task = current_task().expect("it runs in a worker");
            for n in 1..=5_u8 {
                task.progress((n, Blob::from_bytes(&vec![n; 100_000]).expect("memory"))).expect("they listen");
            }
            5
        }
        let (hear, heard) = collect::<(u8, Blob)>();
        assert_eq!(pool.task(previews, ()).on_progress(hear).submit().result().unwrap(), 5);
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 5);
        for (n, blob) in &*heard {
            assert!(blob.len() == 100_000 && blob.iter().all(|byte| byte == n));
        }
    });
}

#[test]
fn a_hearer_that_waits_for_the_task_is_a_deadlock_and_told_so() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (give, given) = mpsc::channel::<Future<u64>>();
        let (tell, told) = mpsc::channel();
        let hear = move |_: u64| {
            if let Ok(task) = given.recv() {
                tell.send(task.result().map_err(|error| error.to_string())).unwrap();
            }
        };
        let task = pool.task(count, (1,)).on_progress(hear).submit();
        give.send(task).unwrap();
        let error = told.recv().unwrap().unwrap_err();
        assert!(error.contains("deadlock"), "{error}");
        assert_eq!(pool.submit(echo::<u8>, (3,)).result().unwrap(), 3);
    });
}

/// A lock, and what waits for it as it hears the first value, once it is told to.
fn waits_for_a_lock() -> (Arc<Lock<()>>, mpsc::Sender<()>, impl FnMut(u64) + Send + 'static) {
    let lock = Arc::new(Lock::new(()));
    let (begin, begun) = mpsc::channel();
    let waited_for = Arc::clone(&lock);
    let hear = move |_: u64| {
        begun.recv().unwrap();
        drop(waited_for.lock());
    };
    (lock, begin, hear)
}

/// Waits for the task under a lock for which its hearer waits: one of the two waits is ended.
fn ends_as_a_deadlock<T: Send + 'static>(task: Future<T>, held: LockGuard<'_, ()>) {
    let result = task.result();
    drop(held);
    if let Err(error) = result {
        assert!(error.to_string().contains("deadlock"), "{error}");
    }
}

#[test]
fn a_hearer_that_waits_for_whoever_waits_for_the_task_is_a_deadlock() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (lock, begin, hear) = waits_for_a_lock();
        let task = pool.task(count, (1,)).on_progress(hear).submit();
        let held = lock.lock();
        begin.send(()).unwrap();
        ends_as_a_deadlock(task, held);
    });
}

#[test]
fn a_hearer_that_waits_for_a_task_that_was_begun_again_is_a_deadlock() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        fn dies_once(folder: String) -> u32 {
            let task = current_task().expect("it runs in a worker");
            if task.attempt() == 1 {
                task.progress(1_u64).expect("somebody listens");
                std::process::abort();
            }
            note(&folder, "begun", &format!("0 {}", std::process::id()));
            thread::sleep(Duration::from_millis(200));
            task.attempt()
        }
        let (lock, begin, hear) = waits_for_a_lock();
        let task = pool.task(dies_once, (folder.path(),)).on_progress(hear).retries(1).submit();
        let held = lock.lock();
        folder.until_begun(0);
        begin.send(()).unwrap();
        ends_as_a_deadlock(task, held);
    });
}

/// Notes that it is dropped.
struct Dropped(mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[test]
fn the_hearer_is_dropped_when_the_task_ends_however_it_ends() {
    within(LIMIT, || {
        let pool = builder(1).queue_capacity(2).build().unwrap();
        let (tell, told) = mpsc::channel();
        let hear = || {
            let dropped = Dropped(tell.clone());
            move |_: u64| _ = &dropped
        };
        let task = pool.task(count, (2,)).on_progress(hear()).submit().shared();
        assert_eq!(task.result().unwrap(), 2);
        assert_eq!(told.try_recv(), Ok("dropped"), "before the result");
        let nap = pool.submit(|| thread::sleep(Duration::from_millis(50)), ());
        let cancelled = pool.task(count, (2,)).on_progress(hear()).submit();
        assert!(cancelled.cancel());
        assert_eq!(told.try_recv(), Ok("dropped"), "by the canceller");
        let refused = (0..3).find_map(|_| pool.task(count, (2,)).on_progress(hear()).try_submit().err());
        drop(refused.expect("two find room"));
        nap.result().unwrap();
        let hangs = pool.task(|_: u64| thread::sleep(LIMIT), (1,)).on_progress(hear()).submit();
        while !hangs.running() {
            thread::yield_now();
        }
        assert!(hangs.terminate(Duration::ZERO));
        hangs.result().unwrap_err();
        drop(pool);
        drop(tell);
        assert!(told.iter().count() >= 3, "all of them");
    });
}

#[test]
fn a_pool_that_is_shut_down_has_everything_heard_first() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (hear, heard) = collect::<u64>();
        let hear_slowly = {
            let mut hear = hear;
            move |n| {
                thread::sleep(Duration::from_millis(5));
                hear(n);
            }
        };
        let task = pool.task(count, (20,)).on_progress(hear_slowly).submit();
        pool.shutdown();
        assert!(task.done(), "the pool has waited for it");
        assert_eq!(heard.lock().unwrap().len(), 20);
    });
}

#[test]
fn a_worker_that_is_killed_while_it_waits_to_be_heard_costs_one_task() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (go_on, gone_on) = mpsc::channel::<()>();
        let hear = move |n: u64| {
            if n == 0 {
                let _ = gone_on.recv();
            }
        };
        let floods = pool.task(count, (1 << 20,)).on_progress(hear).submit();
        while !floods.running() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert!(floods.terminate(Duration::ZERO));
        let next = pool.submit(pid, ());
        assert!(next.result().is_ok(), "while the hearer still has the first value");
        assert!(!floods.done());
        drop(go_on);
        assert!(matches!(floods.result(), Err(TaskError::Terminated(_))));
    });
}
