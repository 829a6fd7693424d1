//! Panics in a worker process: they go to whoever asks for the result, and the worker lives on.

#![cfg(target_os = "linux")]

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};

use bowline::{ProcessPoolExecutor, TaskError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::support::workers::{echo, panic_of, pid, pool_of};
use crate::support::{LIMIT, in_fresh_process, message, stderr, within};

#[test]
fn a_panic_comes_with_its_message_its_line_and_its_process() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let line = line!() + 1;
        let fail = |n: u32| -> () { panic!("meant to, {n}") };
        let panic = panic_of(pool.submit(fail, (7,)).result());
        assert_eq!((panic.message(), panic.process(), panic.thread()), ("meant to, 7", Some(worker), Some("main")));
        let location = panic.location().unwrap();
        assert_eq!((location.file(), location.line()), (file!(), line));
        let text = format!("panicked at {}:{line}:{}: meant to, 7", file!(), location.column());
        assert_eq!(panic.to_string(), text);
        let error = TaskError::Panicked(panic);
        assert_eq!(error.to_string(), format!("the task {text}"));
        assert!(error.source().is_none(), "that would say it again");
        assert!(format!("{error:?}").contains(&format!("process: {worker}")), "{error:?}");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker, "it lives on");
    });
}

#[inline(never)]
fn function_that_is_to_be_found(text: String) {
    panic!("{text}")
}

/// Runs `body` in a process with these variables in its environment, the ones that say whether to take backtraces.
#[track_caller]
fn with_environment(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    let Some(output) = in_fresh_process(test, variables, || within(LIMIT / 2, body)) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}

fn backtrace_of_a_panic() -> Option<String> {
    let panic = panic_of(pool_of(1).submit(function_that_is_to_be_found, ("meant to".to_owned(),)).result());
    assert_eq!(panic.message(), "meant to");
    panic.backtrace().map(str::to_owned)
}

#[test]
fn a_panic_comes_with_a_backtrace_that_names_the_function_where_one_is_asked_for() {
    let test = "a_panic_comes_with_a_backtrace_that_names_the_function_where_one_is_asked_for";
    with_environment(test, &[("RUST_BACKTRACE", "1")], || {
        let backtrace = backtrace_of_a_panic().unwrap();
        assert!(backtrace.contains("function_that_is_to_be_found"), "{backtrace}");
    });
}

#[test]
fn no_backtrace_is_taken_unless_the_environment_asks_for_one() {
    let test = "no_backtrace_is_taken_unless_the_environment_asks_for_one";
    with_environment(test, &[], || {
        // SAFETY:
        // - nobody else reads the environment meanwhile: there is no pool and no other test in this process.
        let set = |name, value: Option<&str>| unsafe {
            match value {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        };
        for (panics, library, is_taken) in [
            (None, None, false),
            (Some("0"), None, false),
            (Some("1"), Some("0"), false),
            (Some("0"), Some("1"), true),
            (None, Some("full"), true),
        ] {
            set("RUST_BACKTRACE", panics);
            set("RUST_LIB_BACKTRACE", library);
            assert_eq!(backtrace_of_a_panic().is_some(), is_taken, "{panics:?}, {library:?}");
        }
    });
}

/// A task that panics where there is little memory left.
fn panic_under_limit(is_for_data: bool) {
    let (resource, column) = if is_for_data { (Resource::Data, 5) } else { (Resource::As, 0) };
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(column).unwrap().parse().unwrap();
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some((pages << 12) + (1 << 20)), maximum }).expect("a limit");
    panic!("meant to");
}

#[test]
fn a_panic_under_a_limit_for_memory_comes_without_a_backtrace_and_the_worker_goes_on() {
    let test = "a_panic_under_a_limit_for_memory_comes_without_a_backtrace_and_the_worker_goes_on";
    // What the default hook prints is not in question here.
    with_environment(test, &[("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "1")], || {
        for is_for_data in [false, true] {
            let pool = pool_of(1);
            let worker = pool.submit(pid, ()).result().unwrap();
            for _ in 0..2 {
                let panic = panic_of(pool.submit(panic_under_limit, (is_for_data,)).result());
                assert_eq!((panic.message(), panic.backtrace(), panic.process()), ("meant to", None, Some(worker)));
            }
            assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        }
    });
}

#[test]
fn a_worker_is_as_good_as_new_after_many_panics() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let fail = |n: u32| -> u32 { if n.is_multiple_of(3) { panic!("meant to, {n}") } else { n } };
        let tasks: Vec<_> = (0..60).map(|n| pool.submit(fail, (n,))).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            if n % 3 == 0 {
                assert_eq!(panic_of(task.result()).message(), format!("meant to, {n}"));
            } else {
                assert_eq!(task.result().unwrap(), n as u32);
            }
        }
        assert!(pool.worker_count() <= 2);
        assert_eq!(pool.completed(), 60, "a panic is an end as well");
    });
}

#[test]
fn a_payload_of_any_type_is_told_and_goes_on_here_as_its_message() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let panic = panic_of(pool.submit(|| -> () { panic_any(vec![1, 2, 3]) }, ()).result());
        assert_eq!(panic.message(), "Box<dyn Any>");
        let panic = panic_of(pool.submit(|| -> () { resume_unwind(Box::new("quietly")) }, ()).result());
        assert_eq!((panic.message(), panic.location()), ("quietly", None));
        for panic in [panic.clone(), panic] {
            let payload = catch_unwind(AssertUnwindSafe(|| panic.resume())).unwrap_err();
            assert_eq!(message(&*payload), "quietly");
        }
        let long = panic_of(pool.submit(|| -> () { resume_unwind(Box::new("ü".repeat(1 << 20))) }, ()).result());
        assert_eq!(long.message().chars().filter(|&letter| letter == 'ü').count(), 1 << 20);
    });
}

#[test]
fn a_panic_that_the_task_catches_is_no_panic_of_the_task() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let caught = || catch_unwind(|| panic!("meant to, and caught")).is_err();
        assert!(pool.submit(caught, ()).result().unwrap());
        // Nor is its line that of another.
        let quietly = || -> () { resume_unwind(Box::new("quietly")) };
        assert_eq!(panic_of(pool.submit(quietly, ()).result()).location(), None);
    });
}

#[test]
fn a_panic_that_is_longer_than_a_message_may_be_is_told_in_short() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::builder().max_workers(1).max_message_size(1024).build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        let panic = panic_of(pool.submit(|| -> () { panic!("meant to: {}", "ü".repeat(600)) }, ()).result());
        assert_eq!(panic.message(), format!("meant to: {}", "ü".repeat(600)), "64 KiB are for errors in any case");
        let panic = panic_of(pool.submit(|| -> () { panic!("meant to: {}", "ü".repeat(60_000)) }, ()).result());
        assert!(panic.message().starts_with("meant to: üüü") && panic.message().len() < 60_000, "{}", panic.message());
        assert_eq!((panic.location().unwrap().file(), panic.process()), (file!(), Some(worker)));
        let panic = panic_of(pool.submit(|| -> () { panic!("meant to") }, ()).result());
        assert_eq!(panic.message(), "meant to", "whatever becomes of the backtrace");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

/// Panics when it is dropped, in a process that is not its home.
#[derive(Serialize, Deserialize, Debug)]
struct Explosive {
    home: u32,
}

impl Drop for Explosive {
    fn drop(&mut self) {
        assert_eq!(self.home, std::process::id(), "meant to, in a destructor");
    }
}

#[test]
fn a_panic_of_a_destructor_in_the_worker_is_the_tasks() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let home = std::process::id();
        let argument = panic_of(pool.submit(|explosive: Explosive| drop(explosive), (Explosive { home },)).result());
        assert!(argument.message().contains("meant to, in a destructor"), "{argument}");
        assert_eq!(argument.process(), Some(worker));
        let result = panic_of(pool.submit(echo::<Explosive>, (Explosive { home },)).result());
        assert!(result.message().contains("meant to, in a destructor"), "{result}");
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn a_panic_of_a_destructor_in_the_parent_is_contained() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        // An argument, which is dropped once it is encoded.
        let explosive = Explosive { home: worker };
        let panic = panic_of(pool.submit(|explosive: Explosive| explosive.home, (explosive,)).result());
        assert!(panic.message().contains("meant to, in a destructor"), "{panic}");
        assert_eq!(panic.process(), None, "it was here");
        // A result that nobody takes, which its supervisor drops.
        drop(pool.submit(|| Explosive { home: pid() }, ()));
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_function_that_panics_for_some_items_of_a_map_leaves_the_others_of_their_chunk_alone() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let inverse = |n: i32| 60 / n;
        let results: Vec<_> = pool.map(inverse, [2, 1, 0, 3]).chunk_size(4).collect();
        let values: Vec<_> = results.iter().map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(values, [Some(30), Some(60), None, Some(20)]);
        let Err(TaskError::Panicked(panic)) = &results[2] else { panic!("{results:?}") };
        assert_eq!((panic.message(), panic.process()), ("attempt to divide by zero", Some(pool.worker_pids()[0])));
    });
}
