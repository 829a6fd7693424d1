//! `Event`: who waits, who goes on, and what a `clear` takes back.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::{Event, Lock, deadlock};

use crate::support::{LIMIT, on_another_thread, spawn_named, until_parked, until_waiting, within};

#[test]
fn an_event_is_set_and_cleared_as_often_as_one_likes() {
    static NAMED: Event = Event::named("named");

    for event in [Event::new(), Event::named("named"), Event::with_name(format!("event {}", 1)), Event::default()] {
        assert!(!event.is_set());
        for _ in 0..3 {
            event.set();
            event.set();
            assert!(event.is_set());
            on_another_thread(|| assert!(event.is_set()));
            event.clear();
            event.clear();
            assert!(!event.is_set());
        }
    }
    assert!(!NAMED.is_set());
}

#[test]
fn debug_shows_whether_an_event_is_set() {
    let event = Event::new();
    assert_eq!(format!("{event:?}"), "Event { is_set: false }");
    event.set();
    assert_eq!(format!("{event:?}"), "Event { is_set: true }");
    assert_eq!(format!("{:?}", Event::named("ready")), r#"Event { name: "ready", is_set: false }"#);
}

#[test]
fn a_set_lets_all_that_wait_go_on_and_all_that_come_later() {
    within(LIMIT, || {
        let event = Event::new();
        let passed = AtomicUsize::new(0);
        let names = ["for the event 1", "for the event 2", "for the event 3", "for the event 4", "for the event 5"];
        thread::scope(|s| {
            for name in names {
                spawn_named(s, name, || {
                    event.wait();
                    passed.fetch_add(1, SeqCst);
                    // It is still set.
                    event.wait();
                    assert!(event.wait_for(Duration::ZERO) && event.wait_until(Instant::now()));
                    passed.fetch_add(1, SeqCst);
                });
            }
            for name in names {
                until_waiting(name);
            }
            assert_eq!(passed.load(SeqCst), 0);
            event.set();
        });
        assert_eq!(passed.into_inner(), 10);
    });
}

#[test]
fn whoever_waited_when_an_event_was_set_goes_on_though_it_is_cleared_at_once() {
    within(LIMIT, || {
        let event = Event::new();
        let names = ["pulse 1", "pulse 2", "pulse 3", "pulse 4"];
        for _ in 0..if cfg!(miri) { 2 } else { 50 } {
            thread::scope(|s| {
                let waiters = names.map(|name| spawn_named(s, name, || event.wait_for(LIMIT * 2)));
                for name in names {
                    until_waiting(name);
                }
                event.set();
                event.clear();
                for waiter in waiters {
                    assert!(waiter.join().unwrap());
                }
            });
            assert!(!event.is_set());
        }
    });
}

#[test]
fn a_timed_wait_for_an_event_that_is_not_set_ends_with_its_time() {
    within(LIMIT, || {
        let event = Event::new();
        assert!(!event.wait_for(Duration::ZERO));
        assert!(!event.wait_until(Instant::now() - Duration::from_millis(1)));
        // Within the grace, and past it.
        for timeout in [Duration::from_micros(100), Duration::from_millis(20)] {
            let start = Instant::now();
            assert!(!event.wait_for(timeout));
            assert!(start.elapsed() >= timeout);
            let deadline = Instant::now() + timeout;
            assert!(!event.wait_until(deadline));
            assert!(Instant::now() >= deadline);
        }
    });
}

#[test]
fn a_wait_whose_limit_is_past_the_clock_has_none() {
    within(LIMIT, || {
        let event = Event::new();
        thread::scope(|s| {
            let waiter = spawn_named(s, "event past the clock", || event.wait_for(Duration::MAX));
            assert!(!until_waiting("event past the clock").waits_for().unwrap().is_timed());
            event.set();
            assert!(waiter.join().unwrap());
        });
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_the_others_to_be_woken() {
    within(LIMIT, || {
        let event = Event::new();
        thread::scope(|s| {
            let impatient = spawn_named(s, "impatient for an event", || event.wait_for(Duration::from_millis(100)));
            until_parked("impatient for an event");
            let stays = spawn_named(s, "stays for an event", || event.wait_for(LIMIT * 2));
            until_parked("stays for an event");
            assert!(!impatient.join().unwrap());
            event.set();
            assert!(stays.join().unwrap());
        });
    });
}

#[test]
fn whoever_sets_an_event_publishes_what_it_did_before() {
    within(LIMIT, || {
        let event = Event::new();
        let value = AtomicUsize::new(0);
        thread::scope(|s| {
            s.spawn(|| {
                value.store(42, std::sync::atomic::Ordering::Relaxed);
                event.set();
            });
            event.wait();
            assert_eq!(value.load(std::sync::atomic::Ordering::Relaxed), 42);
        });
    });
}

#[test]
fn a_wait_for_an_event_is_shown_and_never_judged() {
    within(LIMIT, || {
        let (lock, event) = (Lock::named("held by the waiter", ()), Event::named("started"));
        thread::scope(|s| {
            let line = line!() + 3;
            let waiter = spawn_named(s, "waits with a lock", || {
                let _held = lock.lock();
                event.wait();
            });
            let shown = until_waiting("waits with a lock");
            let wait = shown.waits_for().unwrap();
            assert_eq!((wait.resource().primitive(), wait.resource().name()), ("Event", Some("started")));
            assert_eq!((wait.resource().data_type(), wait.site().line()), ("", line));
            let text = deadlock::snapshot().to_string();
            assert!(text.contains("Event 'started'"), "{text}");
            // The thread that would set it wants the lock: nobody can know that, and somebody else may set it.
            let setter = spawn_named(s, "would set it", || {
                let held = lock.acquire().unwrap();
                event.set();
                drop(held);
            });
            until_waiting("would set it");
            // But it can be suspected.
            let shown = until_waiting("waits with a lock");
            let [suspicion] = shown.suspicions() else { panic!("{shown:?}") };
            assert_eq!(suspicion.held().resource().name(), Some("held by the waiter"));
            assert_eq!(suspicion.waiter().name(), Some("would set it"));
            let text = format!("{:1000}", deadlock::snapshot());
            assert!(text.contains("a `set` may have to come from there"), "{text}");
            event.set();
            waiter.join().unwrap();
            setter.join().unwrap();
        });
    });
}

#[test]
fn threads_that_pass_a_ball_by_events_lose_none() {
    within(LIMIT, || {
        let rounds = if cfg!(miri) { 20 } else { 5_000 };
        let (ping, pong) = (Event::new(), Event::new());
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..rounds {
                    ping.wait();
                    ping.clear();
                    pong.set();
                }
            });
            for _ in 0..rounds {
                ping.set();
                pong.wait();
                pong.clear();
            }
        });
        assert!(!ping.is_set() && !pong.is_set());
    });
}
