//! Stacks that are not what was asked for: thread-locals take a part of them, a task makes one of its own, submitters run their
//! tasks on top of each other.
//!
//! Its own binary, in which every thread has a large thread-local. What an overflow would end is a process of its own.

#![cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]

mod support;

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bowline::task::Rejected;
use bowline::thread_pool::WhenFull;
use bowline::{Future, TaskError, ThreadPoolExecutor};
use support::gate::Busy;
use support::{LIMIT, in_fresh_process, spawn_named, stderr, until_parked, wait_until, within};

const LARGE: usize = 1 << 20;

thread_local! {
    /// Laid out in each thread's stack by the system.
    static BALLAST: [Cell<u8>; LARGE] = const { [const { Cell::new(0) }; LARGE] };
}

/// Runs `body` where an overflow ends a process, and checks that it comes to its end.
#[track_caller]
fn survives(test: &str, body: impl FnOnce()) {
    let body = || {
        BALLAST.with(|ballast| ballast[LARGE / 2].set(1));
        within(LIMIT, body);
    };
    if let Some(output) = in_fresh_process(test, &[], body) {
        assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    }
}

/// Nests tasks in place until one finds no room and is told of a starvation. How deep that was.
fn nest(pool: &ThreadPoolExecutor) -> usize {
    let own = pool.clone();
    match pool.submit(move || nest(&own)).result() {
        Ok(depth) => depth + 1,
        Err(TaskError::Deadlock(_)) => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_thread_locals_take_of_a_stack_is_not_nested_on() {
    survives("what_thread_locals_take_of_a_stack_is_not_nested_on", || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).stack_size(2 * LARGE).build();
        let own = pool.clone();
        assert!(pool.submit(move || nest(&own)).result().unwrap() > 10);
    });
}

/// Runs `body` on a stack of this size, above a page that nobody may touch.
fn on_a_stack_of(size: usize, body: impl FnOnce()) {
    thread_local! {
        static BODY: Cell<Option<*mut dyn FnMut()>> = const { Cell::new(None) };
    }
    extern "C" fn run() {
        let body = BODY.take().expect("stored below");
        // SAFETY:
        // - it points to a closure of the frame that waits for this one to return.
        unsafe { (*body)() };
    }
    const PAGE: usize = 4096;
    let mut body = Some(body);
    let mut body: Box<dyn FnMut()> = Box::new(move || body.take().expect("run once")());
    // SAFETY:
    // - the closure is used until `run` returns, which is before it is dropped.
    BODY.set(Some(unsafe { std::mem::transmute::<*mut dyn FnMut(), *mut dyn FnMut()>(ptr::from_mut(&mut *body)) }));
    let (mut here, mut there) = (MaybeUninit::<libc::ucontext_t>::zeroed(), MaybeUninit::<libc::ucontext_t>::zeroed());
    // SAFETY:
    // - new memory, at whatever address.
    // - the contexts are written to, and live until both have been switched from.
    // - `run` does not unwind: the body's failure ends the process.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let stack = libc::mmap(ptr::null_mut(), size + PAGE, access, flags, -1, 0);
        assert_ne!(stack, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(stack, PAGE, libc::PROT_NONE), 0);
        assert_eq!(libc::getcontext(there.as_mut_ptr()), 0);
        let context = there.assume_init_mut();
        context.uc_stack.ss_sp = stack.cast::<u8>().add(PAGE).cast::<c_void>();
        context.uc_stack.ss_size = size;
        context.uc_link = here.as_mut_ptr();
        libc::makecontext(context, run, 0);
        assert_eq!(libc::swapcontext(here.as_mut_ptr(), there.as_ptr()), 0);
        assert_eq!(libc::munmap(stack, size + PAGE), 0);
    }
}

#[test]
fn a_worker_on_another_stack_runs_in_place_what_has_room_there() {
    survives("a_worker_on_another_stack_runs_in_place_what_has_room_there", || {
        let pool = ThreadPoolExecutor::new(1);
        for size in [256 << 10, 1 << 20, 4 << 20] {
            let (own, (mut inner, mut depth)) = (pool.clone(), (None, 0));
            let task = pool.submit(move || {
                on_a_stack_of(size, || {
                    inner = Some(own.submit(|| 7).result());
                    depth = nest(&own);
                });
                (inner.unwrap(), depth, nest(&own))
            });
            let (inner, there, here) = task.result().unwrap();
            assert_eq!(inner.unwrap(), 7);
            assert!(there > 10 && here > 10, "{there} tasks on the other stack, {here} on its own");
        }
    });
}

/// Runs itself from its own tasks, so many times, and counts that. The reason why it went no further, if it did not.
fn run_again(pool: &ThreadPoolExecutor, times: usize, ran: &Arc<AtomicUsize>) -> Option<TaskError> {
    ran.fetch_add(1, SeqCst);
    if times == 0 {
        return None;
    }
    let (own, ran) = (pool.clone(), Arc::clone(ran));
    let mut again = pool.submit(move || run_again(&own, times - 1, &ran));
    // Done, or queued.
    again.try_result().and_then(|result| result.unwrap_or_else(Some))
}

fn for_callers(max_workers: usize) -> ThreadPoolExecutor {
    let builder = ThreadPoolExecutor::builder().max_workers(max_workers).queue_capacity(1);
    builder.when_full(WhenFull::CallerRuns).build()
}

#[test]
fn a_task_that_its_submitter_runs_may_submit_itself_for_long() {
    survives("a_task_that_its_submitter_runs_may_submit_itself_for_long", || {
        const TIMES: usize = 10_000;
        let (pool, ran) = (for_callers(1), Arc::new(AtomicUsize::new(0)));
        let busy = Busy::keep(&pool, 1);
        let queued = pool.submit(|| ());
        std::thread::scope(|s| {
            let submitter = spawn_named(s, "runs its tasks itself", || run_again(&pool, TIMES, &ran).is_none());
            // It has come to the end of its stack, and waits for room in the queue.
            until_parked("runs its tasks itself");
            assert!(ran.load(SeqCst) > 10 && !submitter.is_finished());
            busy.release();
            assert!(submitter.join().unwrap());
        });
        queued.result().unwrap();
        wait_until(|| ran.load(SeqCst) == TIMES + 1);
    });
}

#[test]
fn a_worker_that_has_no_room_for_what_it_submits_is_told_of_the_starvation() {
    survives("a_worker_that_has_no_room_for_what_it_submits_is_told_of_the_starvation", || {
        let (pool, ran) = (for_callers(1), Arc::new(AtomicUsize::new(0)));
        let (own, counts) = (pool.clone(), Arc::clone(&ran));
        let task: Future<_> = pool.submit(move || {
            let queued = own.submit(|| 1);
            (run_again(&own, usize::MAX, &counts), queued)
        });
        let (error, queued) = task.result().unwrap();
        assert!(matches!(error, Some(TaskError::Rejected(Rejected::Deadlock(_)))), "{error:?}");
        assert!(ran.load(SeqCst) > 10);
        assert_eq!(queued.result().unwrap(), 1);
    });
}
