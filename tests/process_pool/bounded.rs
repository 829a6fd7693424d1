//! A queue that has a limit: what a full one does, and that its room is neither lost nor made.

#![cfg(target_os = "linux")]

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bowline::process_pool::current_task;
use bowline::task::Rejected;
use bowline::thread_pool::{ShutdownOptions, WhenFull};
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, open, pass};
use crate::support::workers::{Held, builder, echo, exit, panic_of, pid};
use crate::support::{Dice, LIMIT, until_waiting, wait_until, within};

fn bounded(workers: usize, capacity: usize, when_full: WhenFull) -> ProcessPoolExecutor {
    builder(workers).queue_capacity(capacity).when_full(when_full).build().unwrap()
}

/// How many tasks find room while no worker begins one. Takes them out again.
fn room(pool: &ProcessPoolExecutor) -> usize {
    let tasks: Vec<_> = std::iter::from_fn(|| pool.try_submit(echo::<u64>, (1,)).ok()).collect();
    assert!(tasks.iter().all(Future::cancel));
    tasks.len()
}

fn say(what: u64) {
    current_task().expect("a task").progress(what).expect("it is sent");
}

fn is_refused<T>(future: Future<T>, is: impl Fn(&Rejected) -> bool) -> bool {
    matches!(future.result(), Err(TaskError::Rejected(reason)) if is(&reason))
}

#[test]
fn a_submission_to_a_full_queue_waits_until_a_worker_begins_a_task() {
    within(LIMIT, || {
        let pool = bounded(1, 2, WhenFull::Block);
        let held = Held::keep(&pool, 1);
        let queued = [1, 2].map(|n| pool.submit(echo::<u64>, (n,)));
        let waits = {
            let pool = pool.clone();
            let submit = move || (3..20).map(|n| pool.submit(echo::<u64>, (n,))).collect::<Vec<_>>();
            thread::Builder::new().name("submits".into()).spawn(submit).unwrap()
        };
        let wait = until_waiting("submits");
        assert!(format!("{wait:?}").contains("room in the queue"), "{wait:?}");
        assert_eq!(pool.queued(), 2);
        held.release();
        let tasks = queued.into_iter().chain(waits.join().unwrap());
        tasks.zip(1..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
    });
}

#[test]
fn a_submission_that_does_not_wait_is_refused_with_what_it_would_have_called() {
    within(LIMIT, || {
        let pool = bounded(1, 1, WhenFull::Reject);
        let held = Held::keep(&pool, 1);
        let queued = pool.submit(echo::<String>, ("first".to_owned(),));
        assert!(is_refused(pool.submit(echo::<u64>, (2,)), |reason| matches!(reason, Rejected::QueueFull)));
        let refused = pool.try_submit(echo::<String>, ("second".to_owned(),)).unwrap_err();
        assert!(matches!(refused.reason(), Rejected::QueueFull));
        let (f, (argument,)) = refused.into_task();
        assert_eq!(f(argument), "second");
        let refused = pool.submit_timeout(echo::<u64>, (3,), Duration::from_millis(5)).unwrap_err();
        assert!(matches!(refused.reason(), Rejected::Timeout));
        let (says, hears) = mpsc::channel();
        let task = pool.task(say, (4,)).name("fourth").on_progress(move |said: u64| says.send(said).expect("a test"));
        let task = task.try_submit().unwrap_err().into_task();
        let task = task.submit_timeout(Duration::from_millis(5)).unwrap_err().into_task();
        held.release();
        assert_eq!(queued.result().unwrap(), "first");
        let fourth = task.submit();
        assert!(format!("{fourth:?}").contains("fourth"), "{fourth:?}");
        fourth.result().unwrap();
        assert_eq!(hears.iter().collect::<Vec<_>>(), [4], "it is submitted with all that it had");
        assert_eq!(pool.submit_timeout(echo::<u64>, (5,), Duration::MAX).unwrap().result().unwrap(), 5);
        pool.shutdown();
        let refused = pool.try_submit(echo::<u64>, (6,)).unwrap_err();
        assert!(matches!(refused.reason(), Rejected::Shutdown));
        assert!(is_refused(pool.submit(echo::<u64>, (7,)), |reason| matches!(reason, Rejected::Shutdown)));
    });
}

#[test]
fn a_full_queue_can_let_the_caller_run_the_task() {
    within(LIMIT, || {
        let pool = bounded(1, 1, WhenFull::CallerRuns);
        let held = Held::keep(&pool, 1);
        let queued = pool.submit(pid, ());
        let mine = pool.submit(pid, ());
        assert!(mine.done());
        assert_eq!(mine.result().unwrap(), std::process::id());
        let oops = pool.submit(|| -> u8 { panic!("out of rope") }, ());
        assert_eq!(panic_of(oops.result()).message(), "out of rope");
        assert_eq!((pool.completed(), pool.panic_count()), (2, 1));
        held.release();
        assert_ne!(queued.result().unwrap(), std::process::id());
    });
}

#[test]
fn a_full_queue_can_let_the_oldest_task_go() {
    within(LIMIT, || {
        let pool = bounded(1, 2, WhenFull::DiscardOldest);
        let held = Held::keep(&pool, 1);
        let tasks: Vec<_> = (0..10).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        held.release();
        let results: Vec<_> = tasks.into_iter().map(Future::result).collect();
        let (gone, left) = results.split_at(8);
        assert!(gone.iter().all(|result| matches!(result, Err(TaskError::Cancelled))), "{results:?}");
        assert!(left.iter().zip(8..).all(|(result, n)| matches!(result, Ok(value) if *value == n)), "{results:?}");
    });
}

#[test]
fn a_call_that_can_not_be_sent_costs_no_other_task_its_place() {
    within(LIMIT, || {
        let pool = builder(1).queue_capacity(1).when_full(WhenFull::DiscardOldest).max_message_size(1024);
        let pool = pool.build().unwrap();
        let held = Held::keep(&pool, 1);
        let queued = pool.submit(echo::<u64>, (1,));
        let too_long = pool.submit(echo::<String>, ("rope".repeat(1024),));
        assert!(matches!(too_long.result(), Err(TaskError::Encode(_))));
        assert!(!queued.cancelled() && pool.queued() == 1);
        held.release();
        assert_eq!(queued.result().unwrap(), 1);
    });
}

#[test]
fn a_full_queue_lets_a_task_go_that_lies_behind_a_long_one() {
    within(LIMIT, || {
        let pool = bounded(1, 1, WhenFull::DiscardOldest);
        for n in 0..100_u64 {
            assert_eq!(pool.submit(echo::<u64>, (n,)).result().unwrap(), n);
        }
        let folder = Folder::new();
        let long = pool.submit(pass, (folder.path(), 0, open()));
        let behind = pool.submit(echo::<u64>, (1,)); // it was sent, since tasks were quick
        folder.until_begun(0);
        thread::sleep(Duration::from_millis(5));
        let newest = pool.submit(echo::<u64>, (2,));
        assert!(behind.cancelled() && !long.done());
        folder.put("open");
        assert_eq!((long.result().unwrap(), newest.result().unwrap()), (0, 2));
    });
}

#[test]
fn the_oldest_task_that_a_full_queue_lets_go_is_one_that_was_not_cancelled() {
    within(LIMIT, || {
        let pool = bounded(1, 2, WhenFull::DiscardOldest);
        let held = Held::keep(&pool, 1);
        let [cancelled, oldest] = [1, 2].map(|n| pool.submit(echo::<u64>, (n,)));
        assert!(cancelled.cancel());
        let [newer, newest] = [3, 4].map(|n| pool.submit(echo::<u64>, (n,)));
        assert!(oldest.cancelled() && !newer.done());
        assert!(pool.try_submit(echo::<u64>, (5,)).is_err(), "there is no more room than before");
        held.release();
        assert_eq!([newer, newest].map(|task| task.result().unwrap()), [3, 4]);
    });
}

#[test]
fn a_task_that_is_cancelled_leaves_its_room_at_once_and_only_once() {
    within(LIMIT, || {
        let pool = bounded(1, 3, WhenFull::Reject);
        let held = Held::keep(&pool, 1);
        for round in 0..200 {
            assert_eq!(room(&pool), 3, "in round {round}");
        }
        let queued: Vec<_> = (0..3).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        assert_eq!(room(&pool), 0);
        assert!(queued[1].cancel());
        assert_eq!(room(&pool), 1);
        held.release();
        let last = Held::keep(&pool, 1);
        // When the pool knows that the worker has begun it: the reply to the task before may be under way.
        wait_until(|| room(&pool) == 3);
        drop(last);
        drop(queued);
    });
}

#[test]
fn a_task_leaves_its_room_when_it_begins_though_it_was_sent_ahead_of_that() {
    within(LIMIT, || {
        let pool = bounded(1, 3, WhenFull::Reject);
        for number in 0..30 {
            // Their worker is known to be quick: it is sent the next one while it runs one.
            (0..5).for_each(|n| assert_eq!(pool.submit(echo::<u64>, (n,)).result().unwrap(), n));
            let folder = Folder::new();
            let nap = pool.submit(thread::sleep, (Duration::from_micros(300),));
            let held = pool.submit(pass, (folder.path(), number, open()));
            // By then the pool knows that the next one has begun.
            nap.result().unwrap();
            folder.until_begun(number);
            assert_eq!(room(&pool), 3, "in round {number}");
            folder.put("open");
            held.result().unwrap();
        }
    });
}

#[test]
fn whoever_waits_for_room_hears_that_the_pool_ends() {
    within(LIMIT, || {
        for kills in [false, true] {
            let pool = bounded(1, 1, WhenFull::Block);
            let held = Held::keep(&pool, 1);
            let queued = pool.submit(echo::<u64>, (1,));
            let submitters: Vec<_> = (0..5)
                .map(|n| {
                    let pool = pool.clone();
                    let submit = move || pool.submit(echo::<u64>, (2,));
                    thread::Builder::new().name(format!("submitter-{n}")).spawn(submit).unwrap()
                })
                .collect();
            (0..5).for_each(|n| drop(until_waiting(&format!("submitter-{n}"))));
            if kills {
                pool.kill();
            } else {
                let _ = pool.shutdown_with(ShutdownOptions::new().wait(false));
            }
            // At once: a shutdown lets the tasks go on that are there.
            for submitter in submitters {
                let is_end = |reason: &Rejected| matches!(reason, Rejected::Shutdown | Rejected::Killed);
                assert!(is_refused(submitter.join().unwrap(), is_end));
            }
            if !kills {
                assert!(!queued.done());
                held.release();
                assert_eq!(queued.result().unwrap(), 1);
            }
        }
    });
}

#[test]
fn a_task_that_can_not_be_sent_takes_no_room() {
    within(LIMIT, || {
        let pool = builder(1).queue_capacity(2).when_full(WhenFull::Reject).max_message_size(1024).build().unwrap();
        let held = Held::keep(&pool, 1);
        for _ in 0..3 {
            let too_long = pool.submit(echo::<String>, ("rope".repeat(1024),));
            assert!(matches!(too_long.result(), Err(TaskError::Encode(_))));
        }
        assert_eq!(room(&pool), 2);
        held.release();
    });
}

#[test]
fn a_map_that_times_out_waits_no_longer_for_room() {
    within(LIMIT, || {
        let pool = bounded(1, 1, WhenFull::Block);
        let held = Held::keep(&pool, 1);
        let queued = pool.submit(echo::<u64>, (1,));
        let mut map = pool.map(echo::<u64>, 0..3).timeout(Duration::from_millis(5));
        assert!(matches!(map.next(), Some(Err(TaskError::Timeout))));
        assert!(map.next().is_none());
        held.release();
        assert_eq!(queued.result().unwrap(), 1);
    });
}

#[test]
fn tasks_that_run_on_top_of_each_other_wait_for_room_before_the_stack_ends() {
    static POOL: Mutex<Option<ProcessPoolExecutor>> = Mutex::new(None);
    fn dive() -> u64 {
        // Not in a worker.
        let pool = POOL.lock().unwrap().clone();
        1 + pool.map_or(0, |pool| pool.submit(dive, ()).result().unwrap())
    }
    within(LIMIT, || {
        let pool = bounded(1, 1, WhenFull::CallerRuns);
        let held = Held::keep(&pool, 1);
        let queued = pool.submit(echo::<u64>, (1,));
        *POOL.lock().unwrap() = Some(pool);
        let dives = thread::Builder::new().name("dives".into()).stack_size(1 << 20).spawn(dive).unwrap();
        until_waiting("dives");
        held.release();
        assert!(dives.join().unwrap() > 2);
        assert_eq!(queued.result().unwrap(), 1);
        *POOL.lock().unwrap() = None;
    });
}

#[test]
fn a_map_takes_items_as_there_is_room_for_them() {
    within(LIMIT, || {
        let pool = bounded(2, 1, WhenFull::Block);
        let squares = pool.map(|n: u64| n * n, 0..).chunk_size(3);
        assert!(squares.take(200).zip(0..).all(|(square, n)| square.unwrap() == n * n));
    });
}

/// Threads that submit in every way, cancel, and end what runs, with tasks that kill their workers and are run again.
#[test]
fn whatever_becomes_of_its_tasks_a_queue_has_all_of_its_room_afterwards() {
    const CAPACITY: usize = 4;
    within(LIMIT, || {
        let pool = Arc::new(bounded(2, CAPACITY, WhenFull::Block));
        thread::scope(|s| {
            for seed in 1..=4 {
                let pool = Arc::clone(&pool);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    for n in 0..60_u64 {
                        let task = match dice.below(8) {
                            0 => pool.try_submit(echo::<u64>, (n,)).ok(),
                            1 => pool.submit_timeout(echo::<u64>, (n,), Duration::from_micros(200)).ok(),
                            2 => pool.task(|| u64::from(exit(1)), ()).retries(dice.below(2) as u32).try_submit().ok(),
                            _ => Some(pool.submit(echo::<u64>, (n,))),
                        };
                        let Some(task) = task else { continue };
                        match dice.below(6) {
                            0 => _ = task.cancel(),
                            1 => _ = task.terminate(Duration::ZERO),
                            2 => drop(task),
                            _ => _ = task.result(),
                        }
                    }
                });
            }
        });
        wait_until(|| pool.queued() == 0 && pool.active_count() == 0);
        let held = Held::keep(&pool, 2);
        assert_eq!(room(&pool), CAPACITY);
        held.release();
    });
}
