//! The two deadlocks that the documentation of Python's `concurrent.futures` warns of.
//!
//! Two tasks that wait for each other: one of them is told, with who waits for whom, and the other goes on. A task that waits
//! for one that is queued behind it, on the only worker: it simply works.

use std::error::Error;
use std::sync::{Arc, Barrier, OnceLock};

use bowline::{SharedFuture, TaskError, ThreadPoolExecutor};

fn main() -> Result<(), Box<dyn Error>> {
    wait_for_each_other()?;
    wait_for_one_that_is_queued()
}

type Answer = Result<u32, TaskError>;

/// `a` waits for `b`, and `b` waits for `a`.
fn wait_for_each_other() -> Result<(), Box<dyn Error>> {
    let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("knot").build();
    let futures: Arc<OnceLock<[SharedFuture<u32>; 2]>> = Arc::default();
    let both_run = Arc::new(Barrier::new(2));
    let task = |other: usize| {
        let (futures, both_run) = (Arc::clone(&futures), Arc::clone(&both_run));
        move || {
            both_run.wait();
            let answer: Answer = futures.wait()[other].result();
            match answer {
                Ok(number) => number + 1,
                Err(TaskError::Deadlock(deadlock)) => {
                    println!("{deadlock}\n");
                    5
                }
                Err(error) => unreachable!("{error}"),
            }
        }
    };
    let a = pool.submit_named("a", task(1)).shared();
    let b = pool.submit_named("b", task(0)).shared();
    let _ = futures.set([a.clone(), b.clone()]);
    println!("a = {}, b = {}: one of them was told, the other got its answer", a.result()?, b.result()?);
    Ok(())
}

/// The only worker waits for a task that only a worker can run.
fn wait_for_one_that_is_queued() -> Result<(), Box<dyn Error>> {
    let pool = ThreadPoolExecutor::new(1);
    let inner = pool.clone();
    let power = pool.submit(move || inner.submit(|| 5_u32.pow(2)).result());
    println!("5² = {}: the worker ran what it waited for", power.result()??);
    Ok(())
}
