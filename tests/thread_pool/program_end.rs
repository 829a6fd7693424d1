//! The end of a program that has a pool: what still runs, and what is said.
//!
//! Every test has a process of its own, which ends.

use std::process::Output;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use bowline::ThreadPoolExecutor;
use bowline::thread_pool::ShutdownOptions;

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, in_fresh_process, stderr, wait_until, watchdog};

/// Read by [`said`].
fn say(text: &str) {
    println!("said: {text}");
}

/// What was said, by a process that ended well and wrote nothing to standard error.
#[track_caller]
fn said(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(output));
    assert_eq!(stderr(output), "");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| Some(line.split_once("said: ")?.1.to_owned())).collect()
}

#[test]
fn a_program_that_ends_right_after_a_submit_runs_the_task_as_its_pool_is_dropped() {
    let name = "a_program_that_ends_right_after_a_submit_runs_the_task_as_its_pool_is_dropped";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = ThreadPoolExecutor::new(1);
        drop(pool.submit(|| {
            // Longer than the rest of the program would take without it.
            thread::sleep(Duration::from_millis(50));
            say("apple");
        }));
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert_eq!(said(&output), ["apple"]);
}

#[test]
fn a_program_that_ends_after_a_shutdown_without_waiting_still_waits_in_the_drop() {
    let name = "a_program_that_ends_after_a_shutdown_without_waiting_still_waits_in_the_drop";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        drop(pool.submit(|| say("apple")));
        assert!(!pool.shutdown_with(ShutdownOptions::new().wait(false)).is_complete());
        busy.release();
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert_eq!(said(&output), ["apple"]);
}

#[test]
fn a_program_that_ends_after_it_cancelled_its_tasks_runs_none_of_them() {
    let name = "a_program_that_ends_after_it_cancelled_its_tasks_runs_none_of_them";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        drop(pool.submit(|| say("apple")));
        let report = pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
        assert_eq!(report.cancelled, 1);
        busy.release();
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(said(&output).is_empty());
}

#[test]
fn a_pool_in_a_static_ends_with_the_process_whatever_runs_or_waits() {
    static POOL: LazyLock<ThreadPoolExecutor> = LazyLock::new(|| ThreadPoolExecutor::new(1));
    let name = "a_pool_in_a_static_ends_with_the_process_whatever_runs_or_waits";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        assert_eq!(POOL.submit(|| 1).result().unwrap(), 1);
        let gate = Gate::default();
        let running = POOL.submit(move || gate.pass());
        wait_until(|| running.running());
        drop(POOL.submit(|| say("never")));
        drop(running);
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(said(&output).is_empty());
}

#[test]
fn a_program_that_exits_by_itself_waits_for_no_pool() {
    let name = "a_program_that_exits_by_itself_waits_for_no_pool";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = ThreadPoolExecutor::new(2);
        let (gate, hidden) = (Gate::default(), pool.clone());
        let running = pool.submit(move || (gate.pass(), drop(hidden)));
        wait_until(|| running.running());
        std::process::exit(0);
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(said(&output).is_empty());
}

#[test]
fn a_task_may_end_the_program() {
    let name = "a_task_may_end_the_program";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = ThreadPoolExecutor::new(1);
        drop(pool.submit(|| {
            say("last words");
            std::process::exit(0);
        }));
        drop(pool);
        unreachable!("the drop waits for a task that never returns");
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert_eq!(said(&output), ["last words"]);
}

#[test]
fn a_pool_may_be_used_and_dropped_by_a_destructor_at_the_end_of_its_thread() {
    struct AtEnd(ThreadPoolExecutor);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            assert_eq!(self.0.submit(|| 7).result().unwrap(), 7);
            say("used at the end");
        }
    }
    thread_local! {
        static AT_END: std::cell::OnceCell<AtEnd> = const { std::cell::OnceCell::new() };
    }
    let name = "a_pool_may_be_used_and_dropped_by_a_destructor_at_the_end_of_its_thread";
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        crate::support::on_another_thread(|| {
            AT_END.with(|at_end| at_end.set(AtEnd(ThreadPoolExecutor::new(1)))).ok().unwrap();
        });
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert_eq!(said(&output), ["used at the end"]);
}
