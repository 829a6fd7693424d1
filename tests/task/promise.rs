//! A result that is given by hand: once, to whoever is there, or not at all.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock;
use bowline::task::{InvalidState, Status};
use bowline::{TaskError, promise};
use static_assertions::assert_impl_all;

use crate::support::{LIMIT, alone, spawn_named, until_parked, within};

assert_impl_all!(InvalidState<u8>: Error, Send, Sync);

#[test]
fn a_kept_promise_is_a_value() {
    let (promise, future) = promise();
    assert_eq!(future.status(), Status::Pending);
    promise.set_result("kept").unwrap();
    assert_eq!(future.status(), Status::Finished);
    assert_eq!(future.result().unwrap(), "kept");
}

#[test]
fn a_promise_may_give_an_error_and_a_cancellation_is_one() {
    let (promised, future) = promise::<u8>();
    promised.set_exception(TaskError::Taken).unwrap();
    assert_eq!(future.status(), Status::Failed);
    assert!(matches!(future.result(), Err(TaskError::Taken)));

    let (promised, future) = promise::<u8>();
    promised.set_exception(TaskError::Cancelled).unwrap();
    assert_eq!(future.status(), Status::Cancelled);
    assert!(future.cancelled() && future.cancel());
    assert!(matches!(future.result(), Err(TaskError::Cancelled)));
}

#[test]
fn a_dropped_promise_is_broken_whether_it_was_begun_or_not() {
    within(LIMIT, || {
        for begins in [false, true] {
            let (promise, future) = promise::<u8>();
            thread::scope(|s| {
                let name = if begins { "begun and broken" } else { "broken" };
                let waiter = spawn_named(s, name, || future.result());
                until_parked(name);
                assert!(!begins || promise.set_running());
                drop(promise);
                assert!(matches!(waiter.join().unwrap(), Err(TaskError::BrokenPromise)));
            });
        }
    });
}

#[test]
fn a_promise_is_broken_by_a_panic_that_drops_it() {
    within(LIMIT, || {
        let (promise, future) = promise::<u8>();
        let giver = thread::spawn(move || {
            let _promise = promise;
            panic!("on purpose");
        });
        assert!(matches!(future.result(), Err(TaskError::BrokenPromise)));
        assert!(giver.join().is_err());
    });
}

#[test]
fn what_was_begun_cannot_be_cancelled_and_what_was_cancelled_cannot_be_begun() {
    let (begun, future) = promise::<u8>();
    assert!(begun.set_running() && begun.set_running(), "it may be said twice");
    assert!(!future.cancel() && future.running() && !begun.cancelled());
    begun.set_result(1).unwrap();
    assert_eq!(future.result().unwrap(), 1);

    let (promise, future) = promise::<u8>();
    assert!(future.cancel());
    assert!(promise.cancelled() && !promise.set_running());
    assert_eq!(future.status(), Status::Cancelled);
    drop(promise);
    assert!(matches!(future.result(), Err(TaskError::Cancelled)), "and is not broken afterwards");
}

#[test]
fn a_result_that_comes_too_late_comes_back() {
    let (late, future) = promise();
    assert!(future.cancel());
    let refused = late.set_result(String::from("late")).unwrap_err();
    assert_eq!(refused.to_string(), "the future was cancelled before its result came");
    assert_eq!(format!("{refused:?}"), "InvalidState { .. }");
    assert_eq!(refused.into_inner(), "late");
    assert!(matches!(future.result(), Err(TaskError::Cancelled)));

    let (late, future) = promise::<u8>();
    assert!(future.cancel());
    let refused = late.set_exception(TaskError::Timeout).unwrap_err();
    assert!(matches!(refused.into_inner(), TaskError::Timeout));
    assert!(matches!(future.result(), Err(TaskError::Cancelled)));
}

#[test]
fn a_result_without_a_future_is_dropped_and_no_error() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }

    let (promise, future) = promise();
    drop(future);
    assert!(!promise.cancelled(), "dropping a future cancels nothing");
    assert!(promise.set_result(Counted).is_ok());
    assert_eq!(DROPPED.load(SeqCst), 1);
}

#[test]
fn of_a_canceller_and_a_giver_exactly_one_wins() {
    within(LIMIT, || {
        let start = Barrier::new(2);
        for round in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let (promise, future) = promise();
            let (given, cancelled) = thread::scope(|s| {
                let giver = s.spawn(|| {
                    start.wait();
                    promise.set_result(round)
                });
                start.wait();
                let cancelled = future.cancel();
                (giver.join().unwrap(), cancelled)
            });
            match (given, cancelled, future.result()) {
                (Ok(()), false, Ok(value)) => assert_eq!(value, round),
                (Err(refused), true, Err(TaskError::Cancelled)) => assert_eq!(refused.into_inner(), round),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_promise_passes_what_is_borrowed() {
    let text = String::from("borrowed");
    let (promise, future) = promise::<&str>();
    thread::scope(|s| {
        s.spawn(|| promise.set_result(&text).unwrap());
        assert_eq!(future.result().unwrap(), "borrowed");
    });
}

#[test]
fn a_wait_for_a_promise_is_in_the_graph_with_the_line_that_made_it() {
    alone(|| {
        let (promise, future) = promise::<u8>();
        let line = line!() - 1;
        thread::scope(|s| {
            let waiter = spawn_named(s, "is in the graph", || future.result());
            until_parked("is in the graph");
            let told = crate::support::until_waiting("is in the graph");
            let wait = told.waits_for().unwrap();
            assert_eq!((wait.resource().primitive(), wait.resource().data_type()), ("Promise", "u8"));
            assert_eq!((wait.resource().made_at().file(), wait.resource().made_at().line()), (file!(), line));
            assert_eq!(wait.site().file(), file!());
            assert!(!wait.is_timed());
            let text = format!("{:400}", deadlock::snapshot());
            assert!(text.contains("  A = Promise<u8>, made at "), "{text}");
            assert!(text.contains("'is in the graph' waits for A at "), "{text}");
            assert!(!text.contains("waits for task fn()"), "{text}");
            promise.set_result(1).unwrap();
            assert_eq!(waiter.join().unwrap().unwrap(), 1);
        });
    });
}

#[test]
fn debug_shows_how_far_the_result_has_come() {
    let (promise, future) = promise::<u8>();
    assert!(format!("{promise:?}").starts_with("Promise {") && format!("{promise:?}").contains("Pending"));
    assert!(promise.set_running());
    assert!(format!("{promise:?}").contains("Running"));
    assert!(format!("{future:?}").contains("promise_of: \"u8\""), "{future:?}");
    drop(future);
}

#[test]
fn a_waiter_that_lost_its_patience_can_wait_again() {
    let (promise, mut future) = promise();
    for _ in 0..3 {
        assert!(matches!(future.result_timeout(Duration::from_millis(2)), Err(TaskError::Timeout)));
    }
    promise.set_result(42).unwrap();
    assert_eq!(future.result().unwrap(), 42);
}

#[derive(Debug, PartialEq)]
struct Torn(u32);

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "torn at {}", self.0)
    }
}

impl Error for Torn {}

#[test]
fn an_error_of_the_programs_own_is_found_by_its_type_and_is_the_source() {
    let (given, future) = promise::<u8>();
    given.set_error(Torn(7)).unwrap();
    let shared = future.shared();
    assert_eq!(shared.status(), Status::Failed);
    let error = shared.result().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&Torn(7)));
    assert!(error.downcast_ref::<fmt::Error>().is_none());
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&Torn(7)));
    assert_eq!(
        (error.to_string(), format!("{error:?}")),
        ("the task failed".to_owned(), "Custom(torn at 7)".to_owned())
    );
    // All owners have the same one.
    let again = shared.exception().unwrap();
    assert!(std::ptr::eq(error.downcast_ref::<Torn>().unwrap(), again.downcast_ref::<Torn>().unwrap()));
    assert!(TaskError::Cancelled.downcast_ref::<Torn>().is_none());
}

#[test]
fn an_error_may_be_boxed_or_a_text_and_comes_back_if_it_is_too_late() {
    let boxed: Box<dyn Error + Send + Sync> = Box::new(Torn(1));
    let (given, future) = promise::<u8>();
    given.set_error(boxed).unwrap();
    assert_eq!(future.result().unwrap_err().downcast_ref(), Some(&Torn(1)));
    let (given, future) = promise::<u8>();
    given.set_error("out of rope").unwrap();
    assert_eq!(format!("{:?}", future.result().unwrap_err()), "Custom(out of rope)");
    let (given, future) = promise::<u8>();
    assert!(future.cancel());
    assert_eq!(given.set_error(Torn(2)).unwrap_err().into_inner(), Torn(2));
}

#[test]
fn a_panic_of_the_conversion_breaks_the_promise_and_one_of_the_destructor_is_contained() {
    struct Bomb;
    impl From<Bomb> for Box<dyn Error + Send + Sync> {
        fn from(_: Bomb) -> Self {
            panic!("on purpose")
        }
    }
    #[derive(Debug)]
    struct Fuse;
    impl fmt::Display for Fuse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("fuse")
        }
    }
    impl Error for Fuse {}
    impl Drop for Fuse {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    let (given, future) = promise::<u8>();
    assert!(catch_unwind(AssertUnwindSafe(|| given.set_error(Bomb).is_ok())).is_err());
    assert!(matches!(future.result(), Err(TaskError::BrokenPromise)));
    let (given, future) = promise::<u8>();
    given.set_error(Fuse).unwrap();
    drop(future.result().unwrap_err());
}
