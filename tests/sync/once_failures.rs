//! Initialisers that fail: none of those that wait is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use bowline::sync::{InitError, Poisoned};
use bowline::{LazyLock, Once, OnceLock};

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, message, spawn_named, until_parked, within};

/// How many threads wait.
const WAITERS: u32 = 5;

/// What became of a wait: the message of its panic, if it panicked.
fn outcome<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| message(&*payload).to_owned())
}

/// Runs an initialisation that fails once all of the threads `{prefix} 0`, `{prefix} 1`, … wait for its end, each by
/// `wait`. Returns what became of these.
fn fail_before_waiters<R: Send>(
    prefix: &str,
    initialise: impl FnOnce(&dyn Fn()) + Send,
    wait: impl Fn(u32) -> R + Sync,
) -> Vec<R> {
    let begun = Gate::new();
    thread::scope(|s| {
        let (begun, wait) = (&begun, &wait);
        let fail = move || {
            begun.open();
            (0..WAITERS).for_each(|at| until_parked(&format!("{prefix} {at}")));
            panic!("on purpose");
        };
        let first = spawn_named(s, &format!("{prefix}, first"), move || outcome(|| initialise(&fail)));
        begun.pass();
        let waiters: Vec<_> =
            (0..WAITERS).map(|at| spawn_named(s, &format!("{prefix} {at}"), move || wait(at))).collect();
        assert_eq!(first.join().unwrap(), Err("on purpose".to_owned()));
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    })
}

#[test]
fn after_a_panic_one_of_those_that_wait_for_a_cell_initialises_it_and_all_get_the_value() {
    within(LIMIT, || {
        let (cell, runs) = (OnceLock::new(), AtomicU32::new(0));
        let values = fail_before_waiters(
            "wants a cell",
            |fail| {
                cell.get_or_init(|| {
                    fail();
                    unreachable!()
                });
            },
            // Some of them cannot initialise.
            |at| match at % 2 {
                0 => *cell.wait(),
                _ => *cell.get_or_init(|| runs.fetch_add(1, SeqCst) + 40),
            },
        );
        assert_eq!(values, [40; WAITERS as usize]);
        assert_eq!(runs.into_inner(), 1);
    });
}

#[test]
fn after_an_error_one_of_those_that_wait_for_a_cell_initialises_it() {
    within(LIMIT, || {
        let (cell, begun, runs) = (OnceLock::new(), Gate::new(), AtomicU32::new(0));
        let waiters = ["after an error 0", "after an error 1"];
        thread::scope(|s| {
            let first = spawn_named(s, "errs", || {
                cell.get_or_try_init(|| {
                    begun.open();
                    waiters.into_iter().for_each(until_parked);
                    Err::<u32, _>("no")
                })
                .copied()
            });
            begun.pass();
            let waiters = waiters.map(|name| spawn_named(s, name, || *cell.get_or_init(|| runs.fetch_add(1, SeqCst))));
            assert_eq!(first.join().unwrap(), Err("no"));
            assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [0, 0]);
        });
    });
}

#[test]
fn after_a_panic_everybody_who_waits_for_a_once_is_told_its_line() {
    within(LIMIT, || {
        let once = Once::named("fails");
        let mut line = 0;
        let told = fail_before_waiters(
            "wants a once",
            |fail| {
                line = line!() + 1;
                once.call_once(fail);
            },
            |at| match at {
                0 => outcome(|| once.wait()).unwrap_err(),
                1 => once.acquire().unwrap_err().to_string(),
                2 => once.acquire_once(|| unreachable!()).unwrap_err().to_string(),
                _ => outcome(|| once.call_once(|| unreachable!())).unwrap_err(),
            },
        );
        let expected = format!("Once 'fails' is poisoned: its initialiser, called at {}:{line}:", file!());
        for text in told {
            assert!(text.starts_with(&expected) && text.ends_with(", panicked"), "{text}");
        }
        assert!(!once.is_completed());
        assert_eq!(format!("{once:?}"), r#"Once { name: "fails", state: <poisoned> }"#);
    });
}

#[test]
fn after_a_panic_everybody_who_waits_for_a_lazy_value_is_told_its_line() {
    within(LIMIT, || {
        static FAIL: Gate = Gate::new();
        let calls = AtomicU32::new(0);
        let lazy: LazyLock<u32, _> = LazyLock::new(|| {
            calls.fetch_add(1, SeqCst);
            FAIL.pass();
            panic!("on purpose")
        });
        let begun = || calls.load(SeqCst) > 0;
        thread::scope(|s| {
            let line = line!() + 1;
            let first = spawn_named(s, "first user", || outcome(|| *lazy));
            crate::support::wait_until(begun);
            let users: Vec<_> = (0..WAITERS)
                .map(|at| {
                    let body = || LazyLock::acquire(&lazy).map(drop).unwrap_err();
                    spawn_named(s, &format!("user {at}"), body)
                })
                .collect();
            (0..WAITERS).for_each(|at| until_parked(&format!("user {at}")));
            FAIL.open();
            assert_eq!(first.join().unwrap(), Err("on purpose".to_owned()));
            for user in users {
                let InitError::Poisoned(poisoned) = user.join().unwrap() else { panic!("no deadlock") };
                assert_eq!((poisoned.name(), poisoned.failed_at().line()), (None, line));
                assert_eq!(poisoned.made_at().file(), file!());
            }
        });
        assert_eq!(calls.load(SeqCst), 1, "it is called once");
        assert!(LazyLock::get(&lazy).is_none());
        assert_eq!(format!("{lazy:?}"), "LazyLock { data: <poisoned> }");
    });
}

#[test]
fn a_forced_initialiser_runs_after_a_panic_and_ends_the_poisoning() {
    within(LIMIT, || {
        let once = Once::new();
        assert!(outcome(|| once.call_once(|| panic!("first"))).is_err());
        assert_eq!(outcome(|| once.call_once_force(|state| panic!("{}", state.is_poisoned()))), Err("true".to_owned()));
        assert!(once.acquire().is_err());
        thread::scope(|s| {
            let patient = spawn_named(s, "patient in spite of poison", || once.wait_force());
            until_parked("patient in spite of poison");
            once.acquire_once_force(|state| assert!(state.is_poisoned())).unwrap();
            patient.join().unwrap();
        });
        assert!(once.is_completed());
        once.call_once(|| unreachable!());
        once.wait();
    });
}

#[test]
fn an_error_is_read_as_what_happened() {
    let once = Once::named("a\nb");
    assert!(outcome(|| once.call_once(|| panic!("on purpose"))).is_err());
    let error = once.acquire().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("Once 'a\\nb' is poisoned: "), "{text}");
    assert_eq!(format!("{error:?}"), format!("Poisoned({text})"));
    assert!(std::error::Error::source(&error).is_none());
    let poisoned: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
    assert_eq!(poisoned.to_string(), text);
    static_assertions::assert_impl_all!(Poisoned: Clone, Send, Sync, std::panic::UnwindSafe);
}

/// A thread that is ended by force runs no destructor.
#[cfg(target_os = "linux")]
#[test]
fn who_asks_for_what_a_thread_initialised_that_is_gone_is_told() {
    use bowline::deadlock::{self, Kind};

    use crate::support::deadlocks::assert_is_a_proof;
    use crate::support::{alone, this_os_id, wait_until};

    alone(|| {
        static CELL: OnceLock<u32> = OnceLock::named("never done");
        static OS_ID: AtomicU32 = AtomicU32::new(0);
        let initialise = || {
            CELL.get_or_init(|| {
                OS_ID.store(this_os_id(), SeqCst);
                // SAFETY:
                // - the stack of this thread is left as it is, and nobody joins it.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
                unreachable!()
            });
        };
        thread::Builder::new().name("initialises and goes".to_owned()).spawn(initialise).unwrap();
        wait_until(|| OS_ID.load(SeqCst) != 0);
        wait_until(|| !std::path::Path::new(&format!("/proc/self/task/{}", OS_ID.load(SeqCst))).exists());
        for told in [CELL.acquire_or_init(|| 1), CELL.acquire()] {
            let told = told.unwrap_err();
            let report = told.report();
            assert_eq!(report.kind(), Kind::Abandoned);
            assert_is_a_proof(report);
            assert_eq!(report.threads()[1].name(), Some("initialises and goes"));
            let text = format!("{report:2000}");
            assert!(
                text.contains(" waits for a value initialised by thread 'initialises and goes', which has ended\n")
            );
            assert!(text.contains("was initialising A 'never done' ("), "{text}");
        }
        assert!(CELL.get().is_none());
        let snapshot = format!("{:2000}", deadlock::snapshot());
        assert!(snapshot.contains("was initialising OnceLock<u32> 'never done', begun at "), "{snapshot}");
    });
}
