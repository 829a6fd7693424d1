//! Who runs which task when: the first come first, no task waits behind a long one while a worker is idle, and there are
//! no more workers than it takes.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::{Future, ProcessPoolExecutor};

use crate::support::folder::{Folder, begin, die, open, pass, put};
use crate::support::workers::{Held, echo, idle_pool, pid, pool_of};
use crate::support::{LIMIT, wait_until, within};

#[test]
fn tasks_begin_in_the_order_of_their_submission() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let held = Held::keep(&pool, 1);
        let queued: Vec<_> = (0..30).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        held.release();
        // Some come while others run.
        let later: Vec<_> = (30..200).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        queued.into_iter().chain(later).for_each(|task| assert!(task.result().is_ok()));
        assert_eq!(folder.begun(), (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn the_order_holds_across_cancellations_and_crashes() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let held = Held::keep(&pool, 1);
        let submit = |n: u64| match n {
            7 | 8 => pool.submit(die, (folder.path(), n, open())),
            _ => pool.submit(begin, (folder.path(), n)),
        };
        folder.put("open");
        let tasks: Vec<_> = (0..20).map(submit).collect();
        assert!(tasks[0].cancel() && tasks[5].cancel() && tasks[9].cancel() && tasks[19].cancel());
        held.release();
        assert_eq!(tasks.into_iter().map(Future::result).filter(Result::is_ok).count(), 14);
        let expected: Vec<u64> = (0..20).filter(|n| ![0, 5, 9, 19].contains(n)).collect();
        assert_eq!(folder.begun(), expected);
    });
}

#[test]
fn of_many_submitters_each_has_its_own_order_kept() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        thread::scope(|s| {
            for submitter in 0_u64..4 {
                let (pool, folder) = (&pool, &folder);
                s.spawn(move || {
                    let submit = |n| pool.submit(begin, (folder.path(), submitter * 1000 + n));
                    let tasks: Vec<_> = (0..100).map(submit).collect();
                    tasks.into_iter().for_each(|task| assert!(task.result().is_ok()));
                });
            }
        });
        let begun = folder.begun();
        assert_eq!(begun.len(), 400);
        for submitter in 0_u64..4 {
            let its = begun.iter().filter(|&&n| n / 1000 == submitter).map(|n| n % 1000);
            assert!(its.eq(0..100));
        }
    });
}

#[test]
fn no_short_task_waits_behind_a_long_one_wherever_that_is() {
    within(LIMIT, || {
        for is_warm in [false, true] {
            for place in 0..8 {
                let pool = pool_of(2);
                let folder = Folder::new();
                if is_warm {
                    Held::keep(&pool, 2).release();
                }
                let submit = |n| match n {
                    n if n == place => pool.submit(pass, (folder.path(), n, open())),
                    n => pool.submit(echo::<u64>, (n,)),
                };
                let mut tasks: Vec<_> = (0..8).map(submit).collect();
                let long = tasks.remove(place as usize);
                for task in tasks {
                    task.result().unwrap();
                }
                assert!(!long.done());
                folder.put("open");
                assert_eq!(long.result().unwrap(), place);
            }
        }
    });
}

/// Opens a gate.
fn unlock(folder: String, gate: String) {
    put(&folder, &gate);
}

#[test]
fn a_task_may_wait_for_one_that_was_submitted_later_or_earlier() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for others in [0, 1, 2, 3, 9] {
            for waits_first in [true, false] {
                let folder = Folder::new();
                let wait = || pool.submit(pass, (folder.path(), 0, open()));
                let waits = waits_first.then(wait);
                let between: Vec<_> = (0..others).map(|n| pool.submit(echo::<u64>, (n,))).collect();
                let opens = pool.submit(unlock, (folder.path(), open()));
                waits.unwrap_or_else(wait).result().unwrap();
                opens.result().unwrap();
                between.into_iter().for_each(|task| assert!(task.result().is_ok()));
            }
        }
    });
}

/// Submits a task, and another one whenever one is done, until the number is reached.
fn go_on(pool: ProcessPoolExecutor, came: Arc<AtomicU64>, most: u64) {
    if came.fetch_add(1, SeqCst) < most {
        let again = pool.clone();
        pool.submit(echo::<u64>, (1,)).add_done_callback(move |_| go_on(again, came, most));
    }
}

#[test]
fn what_lies_behind_long_tasks_is_begun_in_order_before_what_came_later() {
    const MANY: u64 = 40;
    within(LIMIT, || {
        let pool = idle_pool(2);
        let folder = Folder::new();
        // Tasks have been short: some are sent ahead.
        (0..100).for_each(|n| assert_eq!(pool.submit(echo::<u64>, (n,)).result().unwrap(), n));
        let [long, other] = [0, 1].map(|n| pool.submit(pass, (folder.path(), n, format!("open {n}"))));
        let ahead: Vec<_> = (2..MANY).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        folder.until_begun(0);
        folder.until_begun(1);
        // Both are long by then.
        thread::sleep(Duration::from_millis(2));
        let later = pool.submit(begin, (folder.path(), MANY));
        folder.put("open 1");
        assert_eq!(other.result().unwrap(), 1);
        ahead.into_iter().chain([later]).for_each(|task| assert!(task.result().is_ok()));
        assert!(!long.done());
        assert_eq!(folder.begun()[2..], (2..=MANY).collect::<Vec<_>>());
        folder.put("open 0");
        assert_eq!(long.result().unwrap(), 0);
    });
}

#[test]
fn nothing_is_sent_ahead_while_tasks_are_not_known_to_be_quick() {
    within(LIMIT, || {
        let pool = pool_of(2);
        // Its only tasks so far have taken long.
        let held = Held::keep(&pool, 2);
        thread::sleep(Duration::from_millis(2));
        held.release();
        let folder = Folder::new();
        let [first, second] = [0, 1].map(|n| pool.submit(pass, (folder.path(), n, format!("open {n}"))));
        let queued: Vec<_> = (2..20).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        folder.until_begun(0);
        folder.until_begun(1);
        // Both have taken long by then: one that is over sooner would be quick.
        thread::sleep(Duration::from_millis(2));
        folder.put("open 1");
        queued.into_iter().for_each(|task| assert!(task.result().is_ok()));
        assert_eq!(folder.begun()[2..], (2..20).collect::<Vec<_>>());
        folder.put("open 0");
        assert_eq!((first.result().unwrap(), second.result().unwrap()), (0, 1));
    });
}

#[test]
fn a_task_that_lies_behind_a_long_one_is_begun_though_new_ones_never_cease_to_come() {
    const MOST: u64 = 30_000;
    within(LIMIT, || {
        let pool = pool_of(2);
        let folder = Folder::new();
        let [long, other] = [0, 1].map(|n| pool.submit(pass, (folder.path(), n, format!("open {n}"))));
        folder.until_begun(0);
        folder.until_begun(1);
        // Each of the two gets one ahead.
        let ahead: Vec<_> = (2..4).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        let came = Arc::new(AtomicU64::new(0));
        (0..500).for_each(|_| go_on(pool.clone(), Arc::clone(&came), MOST));
        folder.put("open 1");
        wait_until(|| ahead.iter().all(Future::done));
        let overtook = came.load(SeqCst);
        // So that they cease.
        came.store(MOST, SeqCst);
        assert!(overtook < MOST, "all that came later were done first");
        assert!(!long.done());
        folder.put("open 0");
        assert_eq!((long.result().unwrap(), other.result().unwrap()), (0, 1));
    });
}

#[test]
fn an_idle_worker_is_used_before_another_one_is_started() {
    within(LIMIT, || {
        let pool = pool_of(4);
        let ids: HashSet<u32> = (0..30).map(|_| pool.submit(pid, ()).result().unwrap()).collect();
        assert_eq!(ids, pool.worker_pids().into_iter().collect());
        assert_eq!((ids.len(), pool.worker_count()), (1, 1));
        // Two at a time are two workers, three are three.
        for at_once in [2, 3] {
            let held = Held::keep(&pool, at_once - 1);
            for _ in 0..5 {
                pool.submit(pid, ()).result().unwrap();
            }
            held.release();
            assert_eq!(pool.worker_count() as u64, at_once);
        }
        Held::keep(&pool, 3).release();
        assert_eq!(pool.worker_count(), 3);
    });
}

#[test]
fn the_worker_that_was_busy_last_is_used_first() {
    within(LIMIT, || {
        let pool = pool_of(3);
        Held::keep(&pool, 3).release();
        let id = pool.submit(pid, ()).result().unwrap();
        assert!((0..20).all(|_| pool.submit(pid, ()).result().unwrap() == id));
    });
}

#[test]
fn counts_add_up_while_tasks_are_queued_run_and_end() {
    within(LIMIT, || {
        let pool = pool_of(3);
        let held = Held::keep(&pool, 2);
        assert_eq!((pool.active_count(), pool.queued(), pool.completed(), pool.worker_count()), (2, 0, 0, 2));
        let third = Held::keep(&pool, 1);
        let tasks: Vec<_> = (0..45).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        assert_eq!((pool.active_count(), pool.queued(), pool.completed(), pool.worker_count()), (3, 45, 0, 3));
        assert_eq!(pool.worker_pids().into_iter().collect::<HashSet<_>>().len(), 3, "and no more");
        third.release();
        tasks.into_iter().for_each(|task| assert!(task.result().is_ok()));
        assert_eq!((pool.active_count(), pool.queued(), pool.completed(), pool.worker_count()), (2, 0, 46, 3));
        held.release();
        assert_eq!((pool.active_count(), pool.queued(), pool.completed(), pool.worker_count()), (0, 0, 48, 3));
    });
}

fn panic_at(n: u64) -> u64 {
    assert!(n != 1, "one");
    n
}

#[test]
fn a_panic_counts_as_completed_and_a_lost_worker_does_not() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        folder.put("open");
        assert!(pool.submit(panic_at, (1,)).result().is_err());
        assert_eq!((pool.completed(), pool.worker_count()), (1, 1));
        let pid = pool.worker_pids()[0];
        assert!(pool.submit(die, (folder.path(), 0, open())).result().is_err());
        assert_eq!(pool.completed(), 1);
        assert_eq!(pool.submit(panic_at, (2,)).result().unwrap(), 2);
        assert_eq!((pool.completed(), pool.worker_count()), (2, 1));
        assert_ne!(pool.worker_pids(), [pid], "another one");
    });
}

#[test]
fn results_can_be_taken_in_any_order() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for _ in 0..5 {
            let tasks: Vec<_> = (0..20).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            let values = tasks.into_iter().rev().map(|task| task.result().unwrap());
            assert!(values.eq((0..20).rev()));
        }
        wait_until(|| pool.active_count() == 0);
    });
}
