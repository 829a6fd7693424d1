//! A task allocates its cell, and now and then a block of the queue; its result costs nothing more. All of it is freed.
//!
//! Each test runs alone, since it counts what all threads allocate.

use std::time::Duration;

use bowline::{Future, ThreadPoolExecutor};

use super::counting::{allocations_anywhere, live_bytes, mine};
use crate::support::{LIMIT, alone, alone_within, wait_until};

const TASKS: usize = 10_000;

/// Submits the tasks and waits until they are done, with room for their futures at hand.
fn submit_all(pool: &ThreadPoolExecutor, futures: &mut Vec<Future<usize>>) {
    futures.extend((0..TASKS).map(|number| pool.submit(move || number)));
    wait_until(|| futures.iter().all(Future::done));
}

fn take_all(futures: &mut Vec<Future<usize>>) {
    for (number, future) in futures.drain(..).enumerate() {
        assert_eq!(future.result().unwrap(), number);
    }
}

#[test]
fn a_task_allocates_its_cell_and_little_else_and_its_result_nothing() {
    alone(|| {
        let pool = ThreadPoolExecutor::new(2);
        let mut futures = Vec::with_capacity(TASKS);
        // Workers, contexts, and whatever a thread makes once.
        submit_all(&pool, &mut futures);
        take_all(&mut futures);
        let submitted = allocations_anywhere(|| submit_all(&pool, &mut futures));
        assert!(submitted >= TASKS, "{submitted} allocations of {TASKS} tasks: they were not counted");
        assert!(submitted * 100 <= TASKS * 105, "{submitted} allocations of {TASKS} tasks");
        // By whoever takes them: a worker that falls asleep meanwhile may have something to allocate for itself.
        let before = mine();
        assert!(before >= TASKS, "the cells of this thread were not counted");
        take_all(&mut futures);
        assert_eq!(mine() - before, 0);
    });
}

#[test]
fn a_token_costs_three_or_four_allocations() {
    alone(|| {
        bowline::deadlock::set_grace(Duration::from_secs(3600));
        let pool = ThreadPoolExecutor::new(2);
        let run = || {
            for number in 0..TASKS {
                assert_eq!(pool.submit_cancellable(move |_| number).result().unwrap(), number);
            }
        };
        run();
        let allocated = allocations_anywhere(run);
        assert!(allocated >= 4 * TASKS && allocated * 100 <= TASKS * 505, "{allocated} allocations of {TASKS} tasks");
    });
}

#[test]
fn a_result_that_is_waited_for_within_the_grace_allocates_nothing_either() {
    alone(|| {
        bowline::deadlock::set_grace(Duration::from_secs(3600));
        let pool = ThreadPoolExecutor::new(2);
        let run = || {
            for number in 0..TASKS {
                assert_eq!(pool.submit(move || number).result().unwrap(), number);
            }
        };
        run();
        let allocated = allocations_anywhere(run);
        assert!(allocated >= TASKS, "{allocated} allocations of {TASKS} tasks: they were not counted");
        assert!(allocated * 100 <= TASKS * 105, "{allocated} allocations of {TASKS} tasks");
    });
}

const NESTED: usize = 50_000;

/// How many more bytes are in use while a task goes on that does `nested` with its own pool again and again.
fn growth_while_one_task_goes_on(capacity: Option<usize>, others: usize, nested: fn(&ThreadPoolExecutor)) -> isize {
    let mut pool = ThreadPoolExecutor::builder().max_workers(1);
    if let Some(capacity) = capacity {
        pool = pool.queue_capacity(capacity);
    }
    let pool = pool.build();
    let own = pool.clone();
    let begin = crate::support::gate::Gate::default();
    let waits = begin.clone();
    let task = pool.submit(move || {
        waits.pass();
        let repeat = |times| (0..times).for_each(|_| nested(&own));
        // Contexts, the queue's first blocks, and as many dead entries as are left there.
        repeat(2_000);
        let before = live_bytes();
        repeat(NESTED);
        live_bytes() - before
    });
    let others: Vec<_> = (0..others).map(|number| pool.submit(move || number)).collect();
    begin.open();
    let growth = task.result().unwrap();
    others.into_iter().enumerate().for_each(|(number, other)| assert_eq!(other.result().unwrap(), number));
    growth
}

#[test]
fn a_task_that_goes_on_for_long_leaves_nothing_of_the_many_that_it_runs_or_cancels() {
    alone_within(4 * LIMIT, || {
        let run = |pool: &ThreadPoolExecutor| {
            let owned = [7_u8; 1024];
            assert_eq!(pool.submit(move || owned[7]).result().unwrap(), 7);
        };
        let cancel = |pool: &ThreadPoolExecutor| {
            let owned = [7_u8; 1024];
            assert!(pool.submit(move || owned[7]).cancel());
        };
        for (what, nested) in [("run", run as fn(&ThreadPoolExecutor)), ("cancelled", cancel)] {
            for (capacity, others) in [(None, 0), (Some(4), 0), (None, 100)] {
                let growth = growth_while_one_task_goes_on(capacity, others, nested);
                // Of each kilobyte of fifty thousand, what a few hundred would leave.
                let most = 512 * 1024;
                assert!(growth < most, "{growth} bytes: {NESTED} tasks {what}, {capacity:?}, {others} others");
            }
        }
    });
}
