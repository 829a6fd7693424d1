//! Work that the end of a task sets off, kept from filling the stack: a callback may end the next task, whose callback
//! ends the next.
//!
//! Such work runs on top of what set it off while the stack has room, and beyond that on a thread of its own, for which
//! this one waits. So all of it has run, in order, when the thread that ended the task goes on, however long the chain
//! is.

use std::cell::Cell;

use super::cell::TaskOf;
use super::home::Nowhere;
use super::stack;
use super::stats::Stats;
use super::task_ref::TaskRef;
use super::trace::TaskSpan;
use super::wait::one::wait_until_done;
use crate::deadlock::resource::Origin;
use crate::primitive::{current_worker, set_current_worker, spawn_thread, stack_pointer};

/// The depth of stack between the outermost work of this kind and the innermost up to which nobody checks how much is
/// left.
const UNCHECKED_DEPTH: usize = 32 << 10;
/// The stack size of the threads that run such work: room for tens of thousands of links. What is not used costs
/// nothing.
const STACK_SIZE: usize = 16 << 20;

thread_local! {
    /// The stack pointer at the outermost work, 0 if there is none. Without a destructor: destructors of other
    /// thread-locals may end tasks.
    static OUTERMOST: Cell<usize> = const { Cell::new(0) };
}

/// Restores the previous value of [`OUTERMOST`] when it is dropped.
struct Restore(usize);

impl Drop for Restore {
    fn drop(&mut self) {
        OUTERMOST.set(self.0);
    }
}

/// Runs `work`, or, if the stack has no room for it, what `elsewhere` makes of it. Neither may unwind.
///
/// `of` describes the task that ended.
pub(crate) fn run<W, E>(of: Origin, work: W, elsewhere: impl FnOnce(W) -> E)
where
    W: FnOnce(),
    E: FnOnce() + Send + 'static,
{
    let outermost = OUTERMOST.get();
    if outermost == 0 {
        let _restore = Restore(OUTERMOST.replace(stack_pointer()));
        return work();
    }
    // A model's threads have stacks of their own kind, and short chains.
    let is_shallow = cfg!(all(test, loom)) || outermost.abs_diff(stack_pointer()) < UNCHECKED_DEPTH;
    if is_shallow || stack::has_room() { work() } else { run_elsewhere(of, elsewhere(work)) }
}

/// A thread's worker, lent to another thread that acts in its place while the first one waits for that.
struct Deputy(*const ());

// SAFETY:
// - the worker is used by one thread at a time, and lives while the first thread waits (`run_elsewhere`): a wait that cannot
//   fail, and ends when the work is done. (Code that ends a waiting thread by force ends what it lends, as any borrow.)
unsafe impl Send for Deputy {}

impl Deputy {
    /// Runs `work`, which does not unwind, on the calling thread, in place of the worker.
    fn work(self, work: impl FnOnce()) {
        set_current_worker(self.0);
        work();
        set_current_worker(std::ptr::null());
    }
}

/// Runs `work` on a thread of its own, and waits for it: in the wait-for graph, since it may want what this thread
/// holds.
#[cold]
#[inline(never)]
fn run_elsewhere<F: FnOnce() + Send + 'static>(of: Origin, work: F) {
    let origin = Origin::at(of.made_at(), Some("callbacks at the end of a long chain"));
    // SAFETY:
    // - the work can be sent, and so can nothing, which is its result; both last (bounds).
    let (task, mine) =
        unsafe { TaskRef::with_task::<_, TaskOf<F>, _, _>(work, Nowhere, origin, TaskSpan::current(), false) };
    let run = |task: &TaskRef| {
        let claimed = task.claim();
        debug_assert!(claimed, "nobody else knows the task");
        task.run(&Stats::default());
    };
    let (theirs, deputy) = (task.clone(), Deputy(current_worker()));
    // A wait there for a task of this worker's pool runs the task, as it would here.
    let body = move || {
        stack::begin(STACK_SIZE);
        deputy.work(|| run(&theirs));
    };
    match spawn_thread("bowline callbacks".to_owned(), STACK_SIZE, body) {
        Ok(_) => wait_until_done(&mine, of.made_at()),
        // The last quarter of the stack is better than nothing.
        Err(_) => run(&task),
    }
    // SAFETY:
    // - the result is this function's, and nobody takes it.
    unsafe { mine.detach() };
}
