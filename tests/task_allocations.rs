//! A task allocates its cell, and now and then a block of the queue; its result costs nothing more.
//!
//! Its own binary, for its own global allocator, and a process for each test, which counts what all threads allocate.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bowline::{Future, ThreadPoolExecutor};
use support::{in_fresh_process, stderr, wait_until};

/// Counts what is allocated by all threads.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY:
// - everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        // SAFETY:
        // - as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY:
        // - as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often anybody allocates in `body`.
fn allocations(body: impl FnOnce()) -> usize {
    let before = COUNT.load(SeqCst);
    body();
    COUNT.load(SeqCst) - before
}

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
    let body = || {
        let pool = ThreadPoolExecutor::new(2);
        let mut futures = Vec::with_capacity(TASKS);
        // Workers, contexts, and whatever a thread makes once.
        submit_all(&pool, &mut futures);
        take_all(&mut futures);
        let submitted = allocations(|| submit_all(&pool, &mut futures));
        assert!(submitted >= TASKS, "{submitted} allocations of {TASKS} tasks: they were not counted");
        assert!(submitted * 100 <= TASKS * 105, "{submitted} allocations of {TASKS} tasks");
        assert_eq!(allocations(|| take_all(&mut futures)), 0);
    };
    let name = "a_task_allocates_its_cell_and_little_else_and_its_result_nothing";
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_result_that_is_waited_for_within_the_grace_allocates_nothing_either() {
    let body = || {
        bowline::deadlock::set_grace(Duration::from_secs(3600));
        let pool = ThreadPoolExecutor::new(2);
        let run = || {
            for number in 0..TASKS {
                assert_eq!(pool.submit(move || number).result().unwrap(), number);
            }
        };
        run();
        let allocated = allocations(run);
        assert!(allocated >= TASKS, "{allocated} allocations of {TASKS} tasks: they were not counted");
        assert!(allocated * 100 <= TASKS * 105, "{allocated} allocations of {TASKS} tasks");
    };
    let name = "a_result_that_is_waited_for_within_the_grace_allocates_nothing_either";
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}
