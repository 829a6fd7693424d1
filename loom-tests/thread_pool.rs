//! A pool's word and queue: no task is missed, none is run twice, the workers are enough, and all of them end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use loom::thread;

use super::{Count, Parcel, Pool, assert_ended, explore, explore_at_most};
use crate::primitive::{
    Ingredient, events, join_threads, let_no_thread_start, let_no_thread_start_but_first, queue_sleeps, remove,
};
use crate::task::Rejected;
use crate::thread_pool::ShutdownOptions;
use crate::{Future, TaskError, ThreadPoolExecutor, promise};

/// Where tasks and threads note that they were here: no interleaving of its own.
#[derive(Default)]
struct Tally(AtomicUsize);

impl Tally {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asserts that **queued ≤ idle, or workers = max**, at a moment at which only the workers are at work.
pub(super) fn assert_enough_workers(pool: &ThreadPoolExecutor) {
    let (queued, idle, workers) = pool.occupancy_for_models();
    let most = pool.max_workers();
    assert!(queued <= idle || workers == most, "{queued} queued, {idle} idle, {workers} of {most} workers");
}

#[test]
fn a_worker_that_falls_asleep_misses_no_task() {
    explore(2, || {
        let pool = Pool::new(1);
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
        // The worker looks around, or sleeps already.
        assert_eq!(pool.submit(|| 2).result().unwrap(), 2);
        let slept = queue_sleeps();
        pool.end();
        slept > 1
    });
}

#[test]
fn a_result_is_seen_by_whoever_takes_it() {
    explore(3, || {
        let count = Count::new();
        let pool = Pool::new(1);
        let (sent, made) = (Parcel::new(3, &count), Arc::clone(&count));
        let future = pool.submit(move || Parcel::new(sent.content() + 1, &made));
        assert_eq!(future.result().unwrap().content(), 4);
        assert_eq!(count.dropped(), 2);
        pool.end();
        assert_eq!(pool.completed(), 1);
        events().unparks > 0
    });
}

#[test]
fn a_task_is_cancelled_or_run_and_the_canceller_may_win() {
    explore(3, || cancelled_while_claimed() == 0);
}

#[test]
fn a_task_is_cancelled_or_run_and_a_worker_may_win() {
    explore(3, || cancelled_while_claimed() == 1);
}

/// A task is cancelled while a worker takes it. Returns how often it ran.
fn cancelled_while_claimed() -> usize {
    let (count, ran) = (Count::new(), Tally::new());
    let pool = Pool::new(1);
    let future = pool.submit({
        let (parcel, ran) = (Parcel::new(7, &count), Arc::clone(&ran));
        move || {
            ran.add();
            parcel.content()
        }
    });
    let cancelled = future.cancel();
    match future.result() {
        Ok(content) => assert!(!cancelled && content == 7 && ran.get() == 1),
        Err(error) => assert!(cancelled && matches!(error, TaskError::Cancelled) && ran.get() == 0),
    }
    assert_eq!(count.dropped(), 1, "the closure is dropped before the task is done");
    pool.end();
    assert_eq!(count.dropped(), 1);
    ran.get()
}

#[test]
fn a_result_that_nobody_takes_is_gone_when_the_scope_ends() {
    explore(3, || detached_in_a_scope(None));
}

/// The future of a scope's task is dropped while the task ends. Returns whether the worker dropped the result.
pub(super) fn detached_in_a_scope(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let count = Count::new();
    let pool = Pool::new(1);
    pool.scope(|scope| drop(scope.submit(|| Parcel::new(7, &count))));
    assert_eq!(count.dropped(), 1, "what the result borrows may go away now");
    pool.end();
    count.dropped_by_body() == 0
}

#[test]
fn a_shutdown_that_races_a_cancellation_ends() {
    explore(2, || {
        let pool = Pool::new(1);
        let future = pool.submit(|| 1);
        let canceller = thread::spawn(move || {
            let cancelled = future.cancel();
            assert_eq!(future.result().is_err(), cancelled);
            cancelled
        });
        pool.end();
        canceller.join().unwrap()
    });
}

#[test]
fn a_shutdown_that_cancels_races_another_canceller_and_the_worker() {
    explore(2, || {
        let pool = Pool::new(1);
        let (first, second) = (pool.submit(|| 1), pool.submit(|| 2));
        let canceller = thread::spawn(move || {
            let cancelled = second.cancel();
            assert_eq!(second.result().is_err(), cancelled);
            cancelled
        });
        let report = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true));
        assert_ended(&report);
        let ran = first.result().is_ok();
        let cancelled = canceller.join().unwrap();
        report.cancelled > 0 && (ran || cancelled)
    });
}

#[test]
fn a_submission_that_races_a_shutdown_resolves_refused() {
    explore(3, || submitted_while_closed() == 0);
}

#[test]
fn a_submission_that_races_a_shutdown_resolves_run() {
    explore(3, || submitted_while_closed() == 1);
}

/// Submits a task while the pool is shut down. Returns how many were run.
fn submitted_while_closed() -> usize {
    let pool = Pool::new(1);
    let ran = Tally::new();
    let submitter = thread::spawn({
        let (pool, ran) = (pool.handle(), Arc::clone(&ran));
        move || {
            let future = pool.submit(move || ran.add());
            drop(pool);
            match future.result() {
                Ok(()) => 1,
                Err(TaskError::Rejected(Rejected::Shutdown)) => 0,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let report = pool.shutdown();
    let taken = submitter.join().unwrap();
    assert_eq!(ran.get(), taken, "it is run or refused");
    // What was taken before is waited for.
    assert_ended(&report);
    taken
}

#[test]
fn the_workers_of_a_closed_pool_tell_each_other() {
    explore(2, || close_with_two_workers(None));
}

/// Two workers learn from one message that the pool is closed. Returns whether there were two.
pub(super) fn close_with_two_workers(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::new(2);
    let futures = [pool.submit(|| 1), pool.submit(|| 2)];
    let (_, _, workers) = pool.occupancy_for_models();
    pool.end();
    for (future, number) in futures.into_iter().zip(1..) {
        assert_eq!(future.result().unwrap(), number);
    }
    workers == 2 && queue_sleeps() > 1
}

#[test]
fn full_of_two_who_submit_at_once_each_counts_on_a_worker() {
    explore(2, || {
        let pool = Pool::new(2);
        let other = thread::spawn({
            let pool = pool.handle();
            move || pool.submit(|| 1)
        });
        let mine = pool.submit(|| 2);
        let other = other.join().unwrap();
        assert_enough_workers(&pool);
        let (_, _, workers) = pool.occupancy_for_models();
        pool.end();
        assert_eq!((mine.result().unwrap(), other.result().unwrap()), (2, 1));
        workers == 2
    });
}

/// Two threads decide on the number of workers, the submitter and the one that allows more, so that two suffice; the workers are
/// held up meanwhile. (With workers that run, one preemption never reaches the case, and two did not end within an hour.)
#[test]
fn full_more_workers_and_one_more_task_at_once_are_enough() {
    explore(2, || grown_while_submitted(None));
}

/// A pool may grow while a task is admitted that could use it. Returns whether more workers were allowed in the middle of
/// the submission.
pub(super) fn grown_while_submitted(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let gate = Arc::new(loom::sync::Mutex::new(()));
    let closed = gate.lock().unwrap();
    let theirs = Arc::clone(&gate);
    let held_up = move || drop(theirs.lock().unwrap());
    let pool = Pool::of(ThreadPoolExecutor::builder().max_workers(1).initializer(held_up).build());
    let first = pool.submit(|| 1);
    let more_allowed = Tally::new();
    let other = thread::spawn({
        let (pool, more_allowed) = (pool.handle(), Arc::clone(&more_allowed));
        move || {
            let before = more_allowed.get();
            let second = pool.submit(|| 2);
            (second, more_allowed.get() > before)
        }
    });
    pool.set_max_workers(2);
    more_allowed.add();
    let (second, was_in_the_middle) = other.join().unwrap();
    assert_enough_workers(&pool);
    drop(closed);
    pool.end();
    assert_eq!((first.result().unwrap(), second.result().unwrap()), (1, 2));
    was_in_the_middle
}

#[test]
fn a_worker_too_many_that_is_allowed_again_before_it_ends_is_not_missed() {
    explore(2, || {
        let pool = Pool::new(2);
        let (promise, kept) = promise::<u32>();
        // The first can only end if the second runs beside it.
        let first = pool.submit(move || kept.result().unwrap());
        let second = pool.submit(move || promise.set_result(7).is_ok());
        pool.set_max_workers(1);
        pool.set_max_workers(2);
        let (_, _, workers) = pool.occupancy_for_models();
        pool.end();
        assert!(first.result().unwrap() == 7 && second.result().unwrap());
        workers == 1
    });
}

#[test]
fn full_a_worker_too_many_ends_although_the_number_went_up_and_down() {
    explore_at_most(1, || {
        let pool = Pool::new(2);
        let futures = [pool.submit(|| 1), pool.submit(|| 2)];
        let (_, _, workers) = pool.occupancy_for_models();
        [1, 2, 1].into_iter().for_each(|workers| pool.set_max_workers(workers));
        let slept = queue_sleeps() > 0;
        // A wake-up that was counted, and taken before, would leave one asleep.
        while pool.worker_count() > 1 {
            thread::yield_now();
        }
        pool.end();
        assert!(futures.into_iter().all(|future| future.result().is_ok()));
        workers == 2 && slept
    });
}

#[test]
fn a_pool_that_shrinks_and_closes_ends() {
    explore(2, || {
        let pool = Pool::new(2);
        let futures = [pool.submit(|| 1), pool.submit(|| 2)];
        let (_, _, workers) = pool.occupancy_for_models();
        pool.set_max_workers(1);
        pool.end();
        assert!(futures.into_iter().all(|future| future.result().is_ok()));
        workers == 2
    });
}

#[test]
fn a_task_that_its_waiter_claims_is_run_once() {
    explore(2, || nested_while_claimed(true));
}

#[test]
fn a_task_that_another_worker_claims_before_its_waiter_is_run_once() {
    explore(2, || nested_while_claimed(false));
}

/// A task waits for another in its own pool, where a second worker may take that. Returns whether it ran in place (or
/// not).
fn nested_while_claimed(in_place: bool) -> bool {
    let pool = Pool::new(2);
    let ran = Tally::new();
    let outer = pool.submit({
        let (pool, ran) = (pool.handle(), Arc::clone(&ran));
        move || {
            let inner = pool.submit(move || {
                ran.add();
                thread::current().id()
            });
            drop(pool);
            inner.result().unwrap() == thread::current().id()
        }
    });
    let was_in_place = outer.result().unwrap();
    assert_eq!(ran.get(), 1);
    pool.end();
    was_in_place == in_place
}

fn with_room_for_one() -> Pool {
    Pool::of(ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build())
}

#[test]
fn whoever_waits_for_room_is_woken_when_there_is_some() {
    explore(2, || {
        let pool = with_room_for_one();
        let first = pool.submit(|| 1);
        let second = pool.submit(|| 2);
        let waited = events().unparks > 0;
        assert_eq!((first.result().unwrap(), second.result().unwrap()), (1, 2));
        pool.end();
        waited
    });
}

#[test]
fn full_of_two_who_wait_for_room_none_is_forgotten() {
    explore(2, || {
        let pool = with_room_for_one();
        let first = pool.submit(|| 1);
        let other = thread::spawn({
            let pool = pool.handle();
            move || pool.submit(|| 2)
        });
        let third = pool.submit(|| 3);
        let second = other.join().unwrap();
        let waited = events().unparks > 1;
        pool.end();
        assert_eq!([first, second, third].map(|future| future.result().unwrap()), [1, 2, 3]);
        waited
    });
}

#[test]
fn room_that_a_cancellation_makes_wakes_a_submitter() {
    explore(2, || {
        let pool = with_room_for_one();
        let (promise, kept) = promise::<u32>();
        // The worker is busy, or about to be.
        let busy = pool.submit(move || kept.result().unwrap());
        let queued = pool.submit(|| 2);
        let other = thread::spawn({
            let pool = pool.handle();
            move || pool.submit(|| 3)
        });
        assert!(queued.cancel(), "the only worker is busy");
        let third = other.join().unwrap();
        let waited = events().unparks > 1;
        assert!(promise.set_result(1).is_ok());
        assert_eq!([busy, third].map(|future| future.result().unwrap()), [1, 3]);
        pool.end();
        waited
    });
}

#[test]
fn a_close_wakes_whoever_waits_for_room() {
    explore(2, || {
        let pool = with_room_for_one();
        let first = pool.submit(|| 1);
        let other = thread::spawn({
            let pool = pool.handle();
            move || {
                let refused = pool.submit(|| 2).result().is_err();
                (refused, events().unparks > 0)
            }
        });
        pool.end();
        assert_eq!(first.result().unwrap(), 1);
        let (refused, waited) = other.join().unwrap();
        refused && waited
    });
}

#[test]
fn room_that_is_given_up_for_want_of_a_thread_wakes_a_submitter() {
    explore(3, || {
        let_no_thread_start();
        let pool = with_room_for_one();
        let submit = |pool: &ThreadPoolExecutor| match pool.submit(|| ()).result() {
            Err(TaskError::Rejected(Rejected::NoThread(_))) => {}
            other => panic!("without a thread nothing runs: {other:?}"),
        };
        let other = thread::spawn({
            let pool = pool.handle();
            move || submit(&pool)
        });
        submit(&pool);
        other.join().unwrap();
        assert_eq!(pool.occupancy_for_models(), (0, 0, 0));
        events().unparks > 0
    });
}

#[test]
fn all_who_submit_are_told_so_when_no_thread_can_be_had() {
    explore(3, || {
        let_no_thread_start();
        let pool = Pool::new(1);
        let submitters: [_; 2] = std::array::from_fn(|_| {
            let pool = pool.handle();
            thread::spawn(move || pool.submit(|| ()).result().is_err())
        });
        assert!(submitters.into_iter().all(|submitter| submitter.join().unwrap()));
        assert_eq!(pool.occupancy_for_models(), (0, 0, 0));
        pool.end();
        true
    });
}

fn assert_no_thread(future: Future<()>) {
    let result = future.result();
    assert!(matches!(result, Err(TaskError::Rejected(Rejected::NoThread(_)))), "nobody can have run it: {result:?}");
}

/// Submits a task that does nothing. `Err`: it was given up for want of a thread.
fn try_submit(pool: &ThreadPoolExecutor) -> Result<Future<()>, ()> {
    pool.try_submit(|| ()).map_err(|error| assert!(matches!(error.reason(), Rejected::NoThread(_)), "{error}"))
}

#[test]
fn a_submitter_that_gave_up_its_task_is_told_so_when_another_takes_its_place() {
    explore(2, || {
        let pool = Pool::new(2);
        // A second submitter, refused as well, has left its task to the worker that the first waits for.
        let (left, ended_by) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let_no_thread_start_but_first({
            let (pool, left, ended_by) = (pool.handle(), Arc::clone(&left), Arc::clone(&ended_by));
            move || {
                let future = pool.submit(|| ());
                future.add_done_callback(move |_| *ended_by.lock().unwrap() = Some(thread::current().id()));
                *left.lock().unwrap() = Some(future);
            }
        });
        let first = thread::spawn({
            let pool = pool.handle();
            move || try_submit(&pool)
        });
        let third = try_submit(&pool);
        let first = first.join().unwrap();
        assert_eq!(pool.occupancy_for_models(), (0, 0, 0));
        let gave_up = first.is_err();
        let left = left.lock().unwrap().take().expect("somebody was refused first");
        first.into_iter().chain(third).chain([left]).for_each(assert_no_thread);
        pool.end();
        // It gave up its task, and had no need to fail the other one any more.
        gave_up && *ended_by.lock().unwrap() == Some(thread::current().id())
    });
}

#[test]
fn three_who_submit_are_told_so_when_no_thread_can_be_had() {
    explore(3, || {
        let_no_thread_start();
        let pool = Pool::new(2);
        let submitters: [_; 2] = std::array::from_fn(|_| {
            let pool = pool.handle();
            thread::spawn(move || try_submit(&pool))
        });
        let mine = try_submit(&pool);
        let taken: Vec<_> = submitters.map(|other| other.join().unwrap()).into_iter().chain([mine]).flatten().collect();
        // Two of them counted on the third one's worker.
        let reached = taken.len() > 1;
        taken.into_iter().for_each(assert_no_thread);
        assert_eq!(pool.occupancy_for_models(), (0, 0, 0));
        pool.end();
        reached
    });
}

#[test]
fn a_task_that_is_admitted_while_the_pool_may_grow_is_given_up_by_whoever_grows_it() {
    explore(2, || {
        let pool = Pool::new(1);
        let others = Arc::new(Mutex::new(None));
        let_no_thread_start_but_first({
            let (pool, others) = (pool.handle(), Arc::clone(&others));
            move || {
                let queued = try_submit(&pool);
                let submitter = thread::spawn({
                    let pool = pool.clone();
                    move || try_submit(&pool)
                });
                // It counts on the worker of the first, and then on one more that there may be.
                thread::yield_now();
                pool.set_max_workers(2);
                thread::yield_now();
                *others.lock().unwrap() = Some((queued, submitter));
            }
        });
        let first = try_submit(&pool);
        let (queued, submitter) = others.lock().unwrap().take().expect("the first was refused");
        let last = submitter.join().unwrap();
        // The first left its task to the other one, which gave up its own.
        let reached = first.is_ok() && last.is_err();
        first.into_iter().chain(queued).chain(last).for_each(assert_no_thread);
        assert_eq!(pool.occupancy_for_models(), (0, 0, 0));
        pool.end();
        reached
    });
}

#[test]
fn the_last_handle_may_end_inside_a_task() {
    explore(3, || {
        let pool = Pool::new(1);
        let future = pool.submit({
            let pool = pool.handle();
            move || drop(pool)
        });
        drop(pool);
        future.result().unwrap();
        join_threads();
        true
    });
}

#[test]
fn a_cancel_while_a_task_begins_prevents_it_or_asks_it_to_stop() {
    // A worker that claims the task, and a canceller: a second canceller would find the task claimed, or the token set.
    for prevents in [true, false] {
        explore(2, move || {
            let pool = Pool::new(1);
            let began = Tally::new();
            let task = pool.submit_cancellable({
                let began = Arc::clone(&began);
                move |token| {
                    began.add();
                    // Without a request this never ends, and the model fails.
                    token.wait();
                }
            });
            let prevented = task.cancel();
            assert_eq!(task.result().is_err(), prevented);
            pool.end();
            assert_eq!(began.get(), usize::from(!prevented));
            prevented == prevents
        });
    }
}
