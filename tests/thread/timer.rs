//! Timers: when they run, what cancels them, and how they look while they wait.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bowline::deadlock::Kind;
use bowline::{Lock, Timer, deadlock, thread};

use crate::support::gate::Gate;
use crate::support::{LIMIT, alone, find_thread_where, message, until_parked, until_thread_where, wait_until, within};

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn a_timer_runs_its_function_once_its_time_has_come_and_not_before() {
    within(LIMIT, || {
        let (tell, told) = mpsc::channel();
        let start = Instant::now();
        let timer = Timer::after(Duration::from_millis(30), move || tell.send(Instant::now()).unwrap());
        assert!(told.recv().unwrap() - start >= Duration::from_millis(30));
        assert!(told.recv().is_err());
        assert!(timer.fired() && !timer.cancel());
        timer.join().unwrap();

        let (tell, told) = mpsc::channel();
        Timer::at(Instant::now(), move || tell.send(thread::current().name().map(str::to_owned)).unwrap());
        assert_eq!(told.recv().unwrap().as_deref(), Some("Timer"), "dropping it detaches it");
    });
}

#[test]
fn a_cancelled_timer_drops_its_function_and_ends() {
    within(LIMIT, || {
        for delay in [NEVER, Duration::MAX] {
            let (tell, told) = mpsc::channel::<()>();
            let timer = Timer::after(delay, move || tell.send(()).unwrap());
            assert!(timer.cancel() && timer.cancel() && !timer.fired());
            assert!(told.recv().is_err(), "dropped, and nothing sent");
            timer.join().unwrap();
        }
    });
}

#[test]
fn a_timer_that_sleeps_for_long_is_woken_by_its_cancellation() {
    within(LIMIT, || {
        let timer = Timer::named("sleeps for long", NEVER, || unreachable!());
        until_parked("sleeps for long");
        assert!(timer.cancel());
        timer.join().unwrap();
    });
}

#[test]
fn either_a_timer_fires_or_its_cancellation_says_that_it_does_not() {
    within(LIMIT, || {
        for at in 0..if cfg!(miri) { 10 } else { 200 } {
            let (tell, told) = mpsc::channel();
            let timer = Timer::after(Duration::from_micros(at), move || tell.send(()).unwrap());
            let is_cancelled = timer.cancel();
            assert_eq!(told.recv().is_err(), is_cancelled);
            assert_eq!(timer.fired(), !is_cancelled);
        }
    });
}

#[test]
fn a_join_of_a_timer_returns_its_panic() {
    within(LIMIT, || {
        let timer = Timer::after(Duration::ZERO, || panic!("meant to"));
        assert_eq!(message(&*timer.join().unwrap_err()), "meant to");
        let timer = Timer::after(NEVER, || {});
        let timer = timer.join_timeout(Duration::from_millis(5)).unwrap_err();
        assert!(!timer.is_finished());
        timer.cancel();
        assert!(timer.acquire_join().unwrap().is_ok());
    });
}

#[test]
fn a_join_of_a_timer_that_needs_a_lock_is_a_deadlock_once_it_runs() {
    within(LIMIT, || {
        let (lock, gate) = (Arc::new(Lock::named("wanted by a timer", ())), Gate::default());
        let theirs = (Arc::clone(&lock), gate.clone());
        let guard = lock.lock();
        let timer = Timer::named("wants a lock", Duration::ZERO, move || {
            theirs.1.pass();
            drop(theirs.0.lock());
        });
        gate.open();
        until_parked("wants a lock");
        let refused = timer.acquire_join().unwrap_err();
        assert_eq!(refused.deadlock().report().kind(), Kind::Cycle);
        drop(guard);
        refused.into_handle().join().unwrap();
    });
}

#[test]
fn a_timer_that_sleeps_is_shown_as_a_wait_with_a_limit_and_is_never_a_long_wait() {
    alone(|| {
        let (tell, told) = mpsc::channel();
        let _hook = deadlock::warn_after(Duration::from_millis(5), move |wait| {
            tell.send(wait.waiter().waits_for().unwrap().resource().primitive()).unwrap();
        });
        let (line, timer) = (line!(), Timer::named("shown as it sleeps", NEVER, || {}));
        let sleeper = until_thread_where(|thread| thread.name() == Some("shown as it sleeps"));
        let wait = sleeper.waits_for().unwrap();
        assert!(wait.is_timed());
        assert_eq!((wait.resource().primitive(), wait.resource().name()), ("Timer", Some("shown as it sleeps")));
        assert_eq!((wait.resource().made_at().line(), wait.site().line()), (line, line));
        // A wait that began later is a long one.
        let lock = Arc::new(Lock::new(()));
        let guard = lock.lock();
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.lock())
        });
        assert_eq!(told.recv().unwrap(), "Lock");
        drop(guard);
        other.join().unwrap();
        timer.cancel();
        timer.join().unwrap();
        assert!(told.try_iter().all(|primitive| primitive != "Timer"));
        wait_until(|| find_thread_where(|thread| thread.name() == Some("shown as it sleeps")).is_none());
    });
}

#[test]
fn debug_shows_what_has_become_of_a_timer() {
    let timer = Timer::named("debugged", NEVER, || {});
    assert_eq!(format!("{timer:?}"), "Timer { name: Some(\"debugged\"), state: Waiting, is_finished: false, .. }");
    timer.cancel();
    assert!(format!("{timer:?}").contains("state: Cancelled"));
    timer.join().unwrap();
}
