//! Cancelling tasks of worker processes: what was cancelled is never begun, and what was begun is never cancelled.

#![cfg(target_os = "linux")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use bowline::task::Status;
use bowline::{Future, TaskError};

use crate::support::folder::{Folder, begin, die, open, pass};
use crate::support::workers::{Held, echo, lost_by, pool_of, quick_pool};
use crate::support::{Dice, LIMIT, wait_until, within};

/// In a worker: the tasks that it has begun, since it was asked last.
static BEGUN: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn push(n: u64) -> u64 {
    BEGUN.lock().unwrap().push(n);
    n
}

fn take_begun() -> Vec<u64> {
    std::mem::take(&mut BEGUN.lock().unwrap())
}

#[test]
fn the_states_of_a_task_tell_whether_it_can_be_cancelled() {
    // Which of these holds: pending, running, cancelled, done; and whether `cancel` says yes.
    fn assert_is(task: &Future<u64>, status: Status, cancels: bool) {
        let expected = match status {
            Status::Pending => (false, false, false),
            Status::Running => (true, false, false),
            Status::Cancelled => (false, true, true),
            _ => (false, false, true),
        };
        assert_eq!(task.status(), status);
        assert_eq!((task.running(), task.cancelled(), task.done()), expected, "{status:?}");
        if status != Status::Pending {
            assert_eq!(task.cancel(), cancels, "{status:?}");
            assert_eq!(task.status(), status, "as before");
        }
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let running = pool.submit(pass, (folder.path(), 0, open()));
        folder.until_begun(0);
        let crash = pool.submit(die, (folder.path(), 1, open()));
        let ahead_or_queued: Vec<_> = (2..5).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        assert_is(&running, Status::Running, false);
        assert_is(&crash, Status::Pending, true);
        for task in &ahead_or_queued {
            assert_is(task, Status::Pending, true);
            assert!(task.cancel());
            assert_is(task, Status::Cancelled, true);
        }
        folder.put("open");
        wait_until(|| crash.done());
        assert_is(&running, Status::Finished, false);
        assert_is(&crash, Status::Failed, false);
        assert_eq!((running.result().unwrap(), lost_by(crash.result())), (0, libc::SIGABRT));
        for task in ahead_or_queued {
            assert_is(&task, Status::Cancelled, true);
            assert!(matches!(task.result(), Err(TaskError::Cancelled)));
        }
        drop(pool);
        assert_eq!(folder.begun(), [0, 1]);
    });
}

#[test]
fn a_queued_task_that_was_cancelled_is_never_begun() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let folder = Folder::new();
        let held = Held::keep(&pool, 2);
        let tasks: Vec<_> = (0..20).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        assert_eq!(pool.queued(), 20);
        for (left, task) in (0..20).rev().step_by(2).zip(tasks.iter().step_by(2)) {
            assert!(task.cancel() && task.cancel(), "as often as one likes");
            assert!(task.cancelled());
            assert_eq!(pool.queued(), left / 2 + 10);
        }
        held.release();
        assert!(pool.shutdown().is_complete());
        let mut begun = folder.begun();
        begun.sort_unstable();
        assert_eq!(begun, (0..20).skip(1).step_by(2).collect::<Vec<_>>());
        assert_eq!(pool.completed(), 12);
    });
}

#[test]
fn the_task_that_was_sent_ahead_can_be_cancelled_and_the_next_one_runs() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let folder = Folder::new();
        for cancels in 1..4 {
            let gate = format!("open {cancels}");
            let held = pool.submit(pass, (folder.path(), cancels, gate.clone()));
            let tasks: Vec<_> = (0..6).map(|n| pool.submit(begin, (folder.path(), cancels * 10 + n))).collect();
            // The first of them lie with the worker already.
            assert!(tasks.iter().take(cancels as usize).all(Future::cancel));
            assert_eq!(pool.queued() as u64, 6 - cancels);
            folder.put(&gate);
            assert_eq!(held.result().unwrap(), cancels);
            let values = tasks.into_iter().skip(cancels as usize).map(|task| task.result().unwrap());
            assert!(values.eq((cancels..6).map(|n| cancels * 10 + n)));
        }
        let expected: Vec<u64> = (1..4).flat_map(|round| (round..6).map(move |n| round * 10 + n)).collect();
        let begun: Vec<_> = folder.begun().into_iter().filter(|&n| n >= 10).collect();
        assert_eq!(begun, expected);
    });
}

#[test]
fn a_task_that_runs_is_not_cancelled_and_ends_with_its_value() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let task = pool.submit(pass, (folder.path(), 5, open()));
        folder.until_begun(5);
        assert!(!task.cancel() && task.running());
        folder.put("open");
        assert_eq!(task.result().unwrap(), 5);
        let task = pool.submit(echo::<u64>, (1,));
        wait_until(|| task.done());
        assert!(!task.cancel(), "nor one that is done");
        assert_eq!(task.result().unwrap(), 1);
    });
}

#[test]
fn whoever_waits_for_a_task_learns_that_it_was_cancelled() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let held = Held::keep(&pool, 1);
        for ahead in [true, false] {
            let other = (!ahead).then(|| pool.submit(echo::<u64>, (1,)));
            let task = pool.submit(echo::<u64>, (2,)).shared();
            let (tell, told) = mpsc::channel();
            task.add_done_callback(move |status| tell.send(status).unwrap());
            thread::scope(|s| {
                let waiters: Vec<_> = (0..3).map(|_| s.spawn(|| task.result())).collect();
                assert!(task.cancel());
                for waiter in waiters {
                    assert!(matches!(waiter.join().unwrap(), Err(TaskError::Cancelled)));
                }
            });
            assert_eq!(told.recv().unwrap(), Status::Cancelled, "the canceller runs the callbacks");
            drop(other);
        }
        held.release();
    });
}

#[test]
fn a_task_is_cancelled_or_run_and_never_both_or_neither() {
    const ROUNDS: u64 = 6000;
    within(LIMIT, || {
        let pool = pool_of(1);
        let mut dice = Dice::new(7);
        let (mut cancelled, mut caught_at_the_start) = (Vec::new(), 0);
        let mut tasks = Vec::new();
        for round in 0..ROUNDS / 3 {
            let three: Vec<_> = (0..3).map(|n| pool.submit(push, (round * 3 + n,))).collect();
            // The second lies with the worker when the first begins, or ends.
            let most = 1 << dice.below(14);
            for _ in 0..dice.below(most) {
                std::hint::spin_loop();
            }
            let at = dice.below(3);
            let was_running = three[at].running();
            if three[at].cancel() {
                cancelled.push(round * 3 + at as u64);
                caught_at_the_start += u64::from(three[at].done() && !was_running);
            }
            tasks.extend(three);
            if dice.below(8) == 0 {
                wait_until(|| tasks.iter().all(Future::done));
            }
        }
        for (n, task) in (0..).zip(tasks) {
            match task.result() {
                Ok(value) => assert!(value == n && cancelled.binary_search(&n).is_err(), "{n} was cancelled and run"),
                Err(TaskError::Cancelled) => assert!(cancelled.binary_search(&n).is_ok(), "nobody cancelled {n}"),
                Err(other) => panic!("{other}"),
            }
        }
        let begun = pool.submit(take_begun, ()).result().unwrap();
        assert_eq!(begun.len() + cancelled.len(), ROUNDS as usize);
        assert!(begun.is_sorted_by(|a, b| a < b), "in the order of their submission, each once");
        assert!(!begun.iter().any(|n| cancelled.binary_search(n).is_ok()));
        let ran = ROUNDS / 3 - cancelled.len() as u64;
        assert!(ran > 0 && caught_at_the_start > 0, "{ran} came too late, {} did not", cancelled.len());
    });
}

#[test]
fn a_cancellation_from_another_thread_races_the_start_and_one_of_them_wins() {
    const ROUNDS: u64 = 4000;
    within(LIMIT, || {
        let pool = pool_of(1);
        let (submitted, submissions) = mpsc::sync_channel::<Future<u64>>(2);
        let cancelled = thread::scope(|s| {
            let canceller = s.spawn(|| {
                let mut cancelled = Vec::new();
                for (n, task) in (0..).zip(submissions) {
                    if n % 2 == 0 && task.cancel() {
                        cancelled.push(n);
                        assert!(task.cancelled());
                    } else {
                        assert_eq!(task.result().unwrap(), n);
                    }
                }
                cancelled
            });
            for n in 0..ROUNDS {
                submitted.send(pool.submit(push, (n,))).unwrap();
            }
            drop(submitted);
            canceller.join().unwrap()
        });
        let begun = pool.submit(take_begun, ()).result().unwrap();
        let expected: Vec<u64> = (0..ROUNDS).filter(|n| cancelled.binary_search(n).is_err()).collect();
        assert_eq!(begun, expected);
        assert_eq!(pool.completed(), begun.len() as u64 + 1);
    });
}

#[test]
fn a_task_is_not_lost_when_the_one_before_it_is_cancelled_as_the_first_one_ends() {
    within(LIMIT, || {
        for workers in [1, 2] {
            let pool = pool_of(workers);
            let mut dice = Dice::new(3);
            let mut cancelled = 0;
            for round in 0..3000 {
                let [first, ahead, next] = [0, 1, 2].map(|n| pool.submit(echo::<u64>, (round * 3 + n,)));
                let most = 1 << dice.below(14);
                for _ in 0..dice.below(most) {
                    std::hint::spin_loop();
                }
                let was_cancelled = ahead.cancel();
                cancelled += u64::from(was_cancelled);
                assert_eq!(next.result().unwrap(), round * 3 + 2);
                assert_eq!(first.result().unwrap(), round * 3);
                match ahead.result() {
                    Ok(value) => assert!(value == round * 3 + 1 && !was_cancelled),
                    Err(error) => assert!(was_cancelled && matches!(error, TaskError::Cancelled), "{error}"),
                }
            }
            assert_eq!((pool.completed(), pool.queued(), pool.active_count()), (9000 - cancelled, 0, 0));
        }
    });
}

#[test]
fn many_cancelled_tasks_in_a_queue_are_neither_counted_nor_begun() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let held = Held::keep(&pool, 1);
        let tasks: Vec<_> = (0..5000).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        let kept = |n: usize| n % 1000 == 999;
        for (n, task) in tasks.iter().enumerate() {
            assert_eq!(pool.queued(), 5000 - n + n / 1000);
            assert!(kept(n) || task.cancel());
        }
        held.release();
        assert!(pool.shutdown().is_complete());
        assert_eq!(folder.begun(), [999, 1999, 2999, 3999, 4999]);
        assert_eq!(tasks.iter().filter(|task| task.cancelled()).count(), 4995);
    });
}

#[test]
fn several_threads_may_cancel_one_task_and_its_callback_runs_once() {
    static CALLED: AtomicU64 = AtomicU64::new(0);
    within(LIMIT, || {
        let pool = pool_of(1);
        let held = Held::keep(&pool, 1);
        for round in 1..=200 {
            let task = pool.submit(echo::<u64>, (1,));
            task.add_done_callback(|status| {
                assert_eq!(status, Status::Cancelled);
                CALLED.fetch_add(1, SeqCst);
            });
            thread::scope(|s| (0..3).for_each(|_| drop(s.spawn(|| assert!(task.cancel())))));
            wait_until(|| CALLED.load(SeqCst) == round);
        }
        held.release();
        drop(pool);
        assert_eq!(CALLED.load(SeqCst), 200);
    });
}

#[test]
fn what_a_dead_worker_had_ahead_can_still_be_cancelled() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let folder = Folder::new();
        let crash = pool.submit(die, (folder.path(), 0, open()));
        let [ahead, next] = [1, 2].map(|n| pool.submit(begin, (folder.path(), n)));
        folder.until_begun(0);
        // Its callback is run on another thread than the one that starts the next worker: either may be first.
        folder.put("open");
        wait_until(|| crash.done());
        let was_cancelled = ahead.cancel();
        assert_eq!(next.result().unwrap(), 2);
        assert_eq!(ahead.result().is_ok(), !was_cancelled);
        assert_eq!(folder.begun().contains(&1), !was_cancelled);
        assert_eq!(lost_by(crash.result()), libc::SIGABRT);
    });
}
