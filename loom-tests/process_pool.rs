//! The process pool's dispatcher, with a thread as the process, another as its supervisor, and a queue as the socket:
//! no task is forgotten, none is run twice, a crash costs what was begun, and the pool's end is announced when it has
//! come.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::explore;
use crate::primitive::{AtomicBool, Ingredient, Ordering, Queue, events, remove};
use crate::process_pool::{ModelPool, Moment, Worker};
use crate::task::Rejected;
use crate::{Future, TaskError};

/// Returns that the process does not die at this moment: it lives until it has to stop.
fn lives(_: Moment) -> bool {
    false
}

/// Runs a process and its supervisor, as two threads.
fn run(worker: &Worker) -> [JoinHandle<()>; 2] {
    run_until(worker, lives)
}

fn run_until(worker: &Worker, dies: impl Fn(Moment) -> bool + 'static) -> [JoinHandle<()>; 2] {
    let (process, supervisor) = (worker.clone(), worker.clone());
    [
        thread::spawn(move || process.process(dies)),
        thread::spawn(move || {
            if let Some(next) = supervisor.supervise() {
                next.live(lives);
            }
        }),
    ]
}

fn join<const N: usize>(threads: [JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().expect("a panic ends the model"));
}

/// Checks that nothing is left, and that this was announced once.
fn assert_over(pool: &ModelPool) {
    assert_eq!(pool.occupancy(), (0, 0), "tasks that nobody began, and workers");
    assert_eq!(pool.ends(), 1, "the end is told once");
}

/// Returns the result of a task, when every thread has ended.
fn result_of(mut future: Future<u32>) -> Result<u32, TaskError> {
    future.try_result().expect("every task resolves")
}

/// Returns a pool with one worker, which has nothing to do.
fn idle_worker(max_workers: usize) -> (Arc<ModelPool>, Worker) {
    let pool = ModelPool::new(max_workers);
    assert!(pool.submit(0).cancel());
    let worker = pool.start();
    (pool, worker)
}

/// Returns a pool with two workers: one has task 0, and task 2 behind it, the other has task 1.
fn two_workers() -> (Arc<ModelPool>, [Worker; 2], [Future<u32>; 3]) {
    let pool = ModelPool::new(2);
    let first = pool.submit(0);
    let worker = pool.start();
    let second = pool.submit(1);
    let other = pool.start();
    let third = pool.submit(2);
    (pool, [worker, other], [first, second, third])
}

#[test]
fn a_submit_that_races_the_idle_workers_reply_is_run() {
    explore(3, || {
        let pool = ModelPool::new(1);
        let first = pool.submit(0);
        let threads = run(&pool.start());
        let second = pool.submit(1);
        let reply_is_under_way = pool.replies_under_way() > 0;
        assert_eq!(second.result().unwrap(), 1);
        pool.close();
        join(threads);
        assert_eq!(result_of(first).unwrap(), 0);
        assert_eq!((pool.begun(0), pool.begun(1)), (1, 1));
        assert_over(&pool);
        reply_is_under_way
    });
}

#[test]
fn of_two_submits_at_once_each_is_run_once() {
    explore(2, || two_submits(1));
}

#[test]
fn full_of_two_submits_at_once_each_is_run_once_whatever_preempts_them() {
    explore(3, || two_submits(1));
}

#[test]
fn of_two_submits_at_once_each_is_run_once_and_one_may_start_a_worker() {
    explore(2, || two_submits(2));
}

/// Two tasks are submitted at once to a pool with an idle worker. Returns whether they met: one had to wait, or started
/// a worker.
fn two_submits(max_workers: usize) -> bool {
    let (pool, worker) = idle_worker(max_workers);
    let other = thread::spawn(move || worker.live(lives));
    let submitter = thread::spawn({
        let pool = Arc::clone(&pool);
        move || assert_eq!(pool.submit(1).result().unwrap(), 1)
    });
    let second = pool.submit(2);
    let waits = pool.occupancy().0 > 0;
    let started = pool.take_start().map(|number| {
        let worker = pool.up(number);
        thread::spawn(move || worker.live(lives))
    });
    let met = if max_workers == 1 { waits } else { started.is_some() };
    assert_eq!(second.result().unwrap(), 2);
    // The other submitter may have started a worker.
    submitter.join().unwrap();
    let late = pool.take_start().map(|number| pool.up(number));
    pool.close();
    late.into_iter().for_each(|worker| worker.live(lives));
    started.into_iter().for_each(|thread| thread.join().unwrap());
    join([other]);
    assert_eq!((pool.begun(1), pool.begun(2)), (1, 1));
    assert_over(&pool);
    met
}

#[test]
fn a_task_sent_ahead_is_cancelled_or_begun_and_the_canceller_may_win() {
    explore(3, || cancelled_ahead(None) == Won::Canceller);
}

#[test]
fn a_task_sent_ahead_is_cancelled_or_begun_and_the_worker_may_win() {
    explore(3, || cancelled_ahead(None) == Won::Worker);
}

#[test]
#[should_panic(expected = "taken back and begun")]
fn without_a_claim_a_task_that_was_taken_back_runs() {
    explore(3, || cancelled_ahead(Some(Ingredient::ClaimBeforeBegin)) == Won::Canceller);
}

#[derive(PartialEq, Eq)]
enum Won {
    Canceller,
    Worker,
    /// The task was not ahead any more.
    NoRace,
}

/// A task that was sent ahead is cancelled while its worker comes to it.
fn cancelled_ahead(removed: Option<Ingredient>) -> Won {
    removed.into_iter().for_each(remove);
    let pool = ModelPool::new(1);
    let first = pool.submit(0);
    let worker = pool.start();
    let second = pool.submit(1);
    let threads = run(&worker);
    let cancelled = second.cancel();
    let is_ahead = pool.replies_under_way() > 0;
    pool.close();
    join(threads);
    assert_eq!(result_of(first).unwrap(), 0);
    match result_of(second) {
        Ok(number) => assert!(!cancelled && number == 1 && pool.begun(1) == 1),
        Err(error) => assert!(cancelled && matches!(error, TaskError::Cancelled) && pool.begun(1) == 0),
    }
    assert_over(&pool);
    match cancelled {
        true => Won::Canceller,
        false if is_ahead => Won::Worker,
        false => Won::NoRace,
    }
}

#[test]
fn a_worker_that_becomes_idle_takes_what_lies_behind_a_blocked_task() {
    explore(2, || behind_a_blocked_task(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_taking_from_behind_a_task_starves() {
    explore(2, || behind_a_blocked_task(Some(Ingredient::TakenFromBehind)));
}

/// A task waits for the one that lies behind it. Returns whether that was taken back.
fn behind_a_blocked_task(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (pool, [worker, other], [first, second, third]) = two_workers();
    let third_begins = Arc::new(Queue::new());
    let threads = run_until(&worker, {
        let third_begins = Arc::clone(&third_begins);
        move |moment| {
            if moment == Moment::Begun(0) {
                third_begins.wait_pop();
            }
            false
        }
    });
    let other = thread::spawn(move || {
        other.live(|moment| {
            if moment == Moment::Begun(2) {
                third_begins.push(());
            }
            false
        });
    });
    assert_eq!(first.result().unwrap(), 0);
    pool.close();
    join(threads);
    join([other]);
    assert_eq!((result_of(second).unwrap(), result_of(third).unwrap()), (1, 2));
    assert_eq!((pool.begun(0), pool.begun(1), pool.begun(2)), (1, 1, 1));
    assert_over(&pool);
    pool.skipped() > 0
}

#[test]
fn a_worker_that_takes_from_behind_races_the_start_and_may_win() {
    explore(3, || taken_from_behind() == Won::Canceller);
}

#[test]
fn a_worker_that_takes_from_behind_races_the_start_and_may_lose() {
    explore(3, || taken_from_behind() == Won::Worker);
}

/// A worker takes from behind another one's task while that one comes to it. Returns whether it got there.
fn taken_from_behind() -> Won {
    let (pool, [worker, other], futures) = two_workers();
    let threads = run(&worker);
    // This thread ends the other worker's task, which saves a thread.
    pool.close();
    other.live(lives);
    let begun = pool.begun(2) > 0;
    let is_ahead = pool.replies_under_way() > 0;
    join(threads);
    for (number, future) in (0..).zip(futures) {
        assert_eq!(result_of(future).unwrap(), number);
        assert_eq!(pool.begun(number), 1, "once");
    }
    assert_over(&pool);
    match pool.skipped() > 0 {
        true => Won::Canceller,
        false if begun && is_ahead => Won::Worker,
        false => Won::NoRace,
    }
}

#[test]
fn what_a_lost_worker_had_not_begun_is_run_elsewhere_once() {
    explore(4, || lost_with_a_task_ahead(None) == Some(true));
}

#[test]
fn what_a_lost_worker_had_not_begun_can_be_cancelled() {
    explore(4, || lost_with_a_task_ahead(None) == Some(false));
}

#[test]
#[should_panic(expected = "a task that was not begun is lost")]
fn without_its_recall_what_a_lost_worker_had_not_begun_is_lost() {
    explore(4, || lost_with_a_task_ahead(Some(Ingredient::RecallOfTheLost)) == Some(true));
}

/// A worker died in the middle of a task. Its loss races another one, which looks for something to do, and a canceller
/// of the task that lay behind. Returns whether that was run.
fn lost_with_a_task_ahead(removed: Option<Ingredient>) -> Option<bool> {
    removed.into_iter().for_each(remove);
    let (pool, [worker, other], [first, second, third]) = two_workers();
    worker.process(|moment| moment == Moment::Begun(0));
    let other = thread::spawn(move || other.live(lives));
    let supervisor = thread::spawn(move || {
        if let Some(next) = worker.supervise() {
            next.live(lives);
        }
    });
    let cancelled = third.cancel();
    pool.close();
    join([other, supervisor]);
    assert!(matches!(result_of(first), Err(TaskError::WorkerLost(_))), "a task that was begun is lost");
    assert_eq!(result_of(second).unwrap(), 1);
    let begun = pool.begun(2);
    match result_of(third) {
        Ok(number) => assert!(!cancelled && number == 2 && begun == 1),
        Err(TaskError::Cancelled) => assert!(cancelled && begun == 0),
        Err(error) => panic!("a task that was not begun is lost: {error}"),
    }
    assert_over(&pool);
    Some(begun == 1)
}

#[test]
fn whoever_is_told_of_the_end_finds_every_task_done() {
    explore(3, || end_while_a_loss_is_told(None));
}

#[test]
#[should_panic(expected = "every task resolves")]
fn without_counting_it_to_the_last_a_lost_task_is_not_done_at_the_end() {
    explore(3, || end_while_a_loss_is_told(Some(Ingredient::CountedToTheLast)));
}

/// A worker died in the middle of a task. Its loss races the end of the other worker, and another thread waits for the
/// pool's end. Returns whether the other worker was gone first.
fn end_while_a_loss_is_told(removed: Option<Ingredient>) -> bool {
    let is_whole = removed.is_none();
    removed.into_iter().for_each(remove);
    let pool = ModelPool::new(2);
    let lost = pool.submit(0);
    let worker = pool.start();
    let kept = pool.submit(1);
    let other = pool.start();
    worker.process(|moment| moment == Moment::Begun(0));
    pool.close();
    let other = thread::spawn(move || other.live(lives));
    let supervisor = thread::spawn({
        let pool = Arc::clone(&pool);
        move || {
            let alone_from_the_start = pool.occupancy().1 == 1;
            assert!(worker.supervise().is_none(), "nothing follows");
            !alone_from_the_start && pool.ends() > 0
        }
    });
    pool.wait();
    assert!(matches!(result_of(lost), Err(TaskError::WorkerLost(_))));
    assert_eq!(result_of(kept).unwrap(), 1);
    join([other]);
    let left_last = supervisor.join().unwrap();
    if is_whole {
        assert_over(&pool);
    }
    left_last
}

#[test]
fn a_shutdown_that_races_a_submit_resolves_run() {
    explore(3, || shutdown_while_submitted() == Some(true));
}

#[test]
fn a_shutdown_that_races_a_submit_resolves_refused() {
    explore(3, || shutdown_while_submitted() == Some(false));
}

/// The first task of a pool is submitted while that is shut down. Returns whether it was run.
fn shutdown_while_submitted() -> Option<bool> {
    let pool = ModelPool::new(1);
    let closer = thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.close()
    });
    let future = pool.submit(0);
    if let Some(number) = pool.take_start() {
        pool.up(number).live(lives);
    }
    join([closer]);
    assert_over(&pool);
    Some(run_or_refused(future))
}

fn run_or_refused(future: Future<u32>) -> bool {
    match result_of(future) {
        Ok(_) => true,
        Err(TaskError::Rejected(Rejected::Shutdown)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_shutdown_of_an_idle_worker_that_races_a_submit_resolves_run() {
    explore(3, || idle_while_submitted() == Some(true));
}

#[test]
fn a_shutdown_of_an_idle_worker_that_races_a_submit_resolves_refused() {
    explore(3, || idle_while_submitted() == Some(false));
}

/// As above, with a worker that has nothing to do.
fn idle_while_submitted() -> Option<bool> {
    let (pool, worker) = idle_worker(1);
    let threads = run(&worker);
    let closer = thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.close()
    });
    let future = pool.submit(1);
    join([closer]);
    join(threads);
    assert_over(&pool);
    Some(run_or_refused(future))
}

#[test]
fn a_kill_that_races_a_reply_and_a_cancellation_resolves_all() {
    explore(3, || killed_while_cancelled(Worker::live));
}

#[test]
fn a_kill_that_races_a_reply_under_way_and_a_cancellation_resolves_all() {
    explore(3, || {
        killed_while_cancelled(|worker, dies| {
            let supervisor = worker.clone();
            let supervisor = thread::spawn(move || assert!(supervisor.supervise().is_none(), "nothing follows"));
            worker.process(dies);
            join([supervisor]);
        })
    });
}

/// A pool is killed while its worker replies, and another thread cancels. Returns whether the canceller came in
/// between.
fn killed_while_cancelled(live: fn(Worker, Box<dyn Fn(Moment) -> bool>)) -> bool {
    let pool = ModelPool::new(1);
    let mut futures = vec![pool.submit(0)];
    let worker = pool.start();
    // One is sent ahead, one is queued.
    futures.extend((1..3).map(|number| pool.submit(number)));
    let is_killed = Arc::new(AtomicBool::new(false));
    let process = thread::spawn({
        let is_killed = Arc::clone(&is_killed);
        move || live(worker, Box::new(move |_| is_killed.load(Ordering::Relaxed)))
    });
    let killer = thread::spawn({
        let pool = Arc::clone(&pool);
        move || {
            pool.close_now();
            is_killed.store(true, Ordering::Relaxed);
        }
    });
    let cancelled = [false, futures[1].cancel(), futures[2].cancel()];
    join([process, killer]);
    let mut killed = 0;
    for ((number, future), cancelled) in (0..).zip(futures).zip(cancelled) {
        match result_of(future) {
            Ok(result) => assert!(!cancelled && result == number && pool.begun(number) == 1),
            Err(TaskError::Cancelled) => assert!(cancelled && pool.begun(number) == 0),
            Err(TaskError::Rejected(Rejected::Killed)) => {
                killed += 1;
                assert!(!cancelled && pool.begun(number) == 0);
            }
            Err(TaskError::WorkerLost(_)) => assert!(!cancelled && pool.begun(number) == 1),
            Err(error) => panic!("{error}"),
        }
    }
    assert_over(&pool);
    killed == 1 && cancelled[2]
}

#[test]
fn whoever_waits_for_a_task_is_woken_by_its_supervisor() {
    explore(3, || {
        let pool = ModelPool::new(1);
        let future = pool.submit(0);
        let threads = run(&pool.start());
        assert_eq!(future.result().unwrap(), 0);
        let woken = events().unparks > 0;
        pool.close();
        join(threads);
        assert_over(&pool);
        woken
    });
}

#[test]
fn a_failed_start_that_races_a_submit_and_a_cancellation_resolves_all() {
    start_that_fails(|cancelled, by_submitter, _| cancelled && by_submitter);
}

#[test]
fn who_submits_between_a_failed_start_and_its_end_has_another_one_tried() {
    start_that_fails(|_, _, by_starter| by_starter);
}

/// The last try to start a worker fails, while one task is cancelled and another one submitted. `reaches` is given
/// whether the first was cancelled, and which of the two started a worker for the second: the submitter, or the thread
/// that had failed to.
fn start_that_fails(reaches: fn(bool, bool, bool) -> bool) {
    explore(3, move || {
        let pool = ModelPool::new(1);
        let first = pool.submit(0);
        let number = pool.take_start().expect("the first task needs a worker");
        let starter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                // For a task that came after the others had failed.
                let again = pool.start_failed(number, true);
                if again {
                    pool.up(number).live(lives);
                }
                again
            }
        });
        let cancelled = first.cancel();
        let second = pool.submit(1);
        let started = pool.take_start();
        pool.close();
        let by_submitter = started.is_some();
        started.into_iter().for_each(|number| pool.up(number).live(lives));
        let by_starter = starter.join().unwrap();
        match result_of(first) {
            Err(TaskError::Cancelled) => assert!(cancelled),
            Err(TaskError::Rejected(Rejected::NoThread(_))) => assert!(!cancelled),
            result => panic!("{result:?}"),
        }
        match result_of(second) {
            Ok(_) => assert!(by_starter != by_submitter, "by a worker that was started for it"),
            Err(TaskError::Rejected(Rejected::NoThread(_))) => assert!(!by_starter && !by_submitter),
            Err(error) => panic!("{error}"),
        }
        assert_over(&pool);
        reaches(cancelled, by_submitter, by_starter)
    });
}

#[test]
fn a_start_that_fails_is_tried_again_for_whoever_submits_meanwhile() {
    explore(3, || {
        let pool = ModelPool::new(1);
        assert!(pool.submit(0).cancel());
        let number = pool.take_start().expect("the first task needs a worker");
        let starter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let again = pool.start_failed(number, false);
                if again {
                    pool.up(number).live(lives);
                }
                again
            }
        });
        let future = pool.submit(1);
        let started = pool.take_start();
        pool.close();
        started.into_iter().for_each(|number| pool.up(number).live(lives));
        let again = starter.join().unwrap();
        assert!(again != started.is_some(), "one of them");
        assert_eq!(result_of(future).unwrap(), 1);
        assert_over(&pool);
        again
    });
}
