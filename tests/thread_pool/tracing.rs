//! What a `tracing` subscriber sees, and that it may use our locks and pools itself.
//!
//! A process has one global subscriber: each test runs alone.

use std::sync::{Once, OnceLock};

use bowline::{Lock, ThreadPoolExecutor};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::fields::Text;
use crate::support::{LIMIT, alone, within};

/// Notes every event, and the names of spans, under tracked locks: where another thread may be.
struct Recorder {
    events: Lock<Vec<String>>,
    spans: Lock<Vec<&'static Metadata<'static>>>,
}

static RECORDER: Recorder = Recorder { events: Lock::new(Vec::new()), spans: Lock::new(Vec::new()) };

/// What the process's subscriber hands on to the recorder.
struct ToRecorder;

thread_local! {
    static INSIDE: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Subscriber for ToRecorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut spans = RECORDER.spans.lock();
        spans.push(span.metadata());
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().target().to_owned());
        event.record(&mut text);
        RECORDER.events.lock().push(text.0);
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| assert_eq!(inside.pop(), Some(span.into_u64())));
    }

    fn current_span(&self) -> tracing_core::span::Current {
        let Some(id) = INSIDE.with_borrow(|inside| inside.last().copied()) else {
            return tracing_core::span::Current::none();
        };
        tracing_core::span::Current::new(Id::from_u64(id), RECORDER.spans.lock()[id as usize - 1])
    }
}

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(ToRecorder).expect("the only subscriber"));
}

/// The events that contain this text.
fn events(text: &str) -> Vec<String> {
    RECORDER.events.lock().iter().filter(|event| event.contains(text)).cloned().collect()
}

fn current_name() -> Option<&'static str> {
    tracing::Span::current().metadata().map(Metadata::name)
}

#[test]
fn the_span_current_at_submit_is_current_in_the_task_and_not_after_it() {
    alone(|| {
        subscribe();
        let pool = ThreadPoolExecutor::new(1);
        let span = tracing::info_span!("request");
        let inside = span.in_scope(|| pool.submit(current_name));
        let outside = pool.submit(current_name);
        assert_eq!(inside.result().unwrap(), Some("request"));
        assert_eq!(outside.result().unwrap(), None);
    });
}

#[test]
fn a_task_run_in_place_has_its_own_span_and_the_waiter_has_its_own_again() {
    alone(|| {
        subscribe();
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let seen = tracing::info_span!("outer").in_scope(|| {
            pool.submit(move || {
                let future = tracing::info_span!("inner").in_scope(|| inner.submit(current_name));
                (future.result().unwrap(), current_name())
            })
        });
        assert_eq!(seen.result().unwrap(), (Some("inner"), Some("outer")));
    });
}

#[test]
fn a_panic_is_an_event_with_task_message_and_line() {
    alone(|| {
        subscribe();
        let pool = ThreadPoolExecutor::new(1);
        let line = line!() + 1;
        let future = pool.submit_named("will panic", || panic!("over the edge"));
        let id = future.id();
        assert!(future.result().is_err());
        let [event] = &events("task=\"will panic\"")[..] else { panic!("one event: {:?}", events("")) };
        assert!(event.starts_with("bowline ") && event.contains("over the edge"), "{event}");
        assert!(event.contains(&format!("{}:{line}:", file!())), "{event}");
        assert!(event.contains(&format!(" task_id={id} ")), "{event}");
    });
}

#[test]
fn the_event_of_a_deadlock_has_the_ids_of_its_tasks() {
    alone(|| {
        subscribe();
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let inner = same.submit(|| 42);
            (inner.id(), bowline::wait([&inner], bowline::ReturnWhen::FirstCompleted, None).deadlock.is_some())
        });
        let id = outer.id();
        let (inner, is_deadlock) = outer.result().unwrap();
        assert!(is_deadlock);
        let [event] = &events("kind=Starvation")[..] else { panic!("one event: {:?}", events("")) };
        assert!(event.contains(&format!("tasks=\"{id}, {inner}\"")), "{event}");
    });
}

#[test]
fn a_broken_pool_is_an_event_with_the_reason() {
    alone(|| {
        subscribe();
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .thread_name_prefix("brittle")
            .initializer(|| Err::<(), _>("no licence"))
            .build();
        assert!(pool.submit(|| ()).result().is_err());
        let [event] = &events("brittle")[..] else { panic!("one event: {:?}", events("")) };
        assert!(event.contains("no licence"), "{event}");
    });
}

#[test]
fn a_deadlock_is_an_event_though_the_subscriber_locks() {
    alone(|| {
        subscribe();
        let lock = Lock::named("twice", ());
        let _guard = lock.lock();
        assert!(lock.acquire().is_err());
        let [event] = &events("twice")[..] else { panic!("one event: {:?}", events("")) };
        assert!(event.contains("waits for a lock it holds itself"), "{event}");
    });
}

#[test]
fn a_hazard_is_an_event() {
    alone(|| {
        subscribe();
        bowline::deadlock::set_hazard_policy(bowline::deadlock::HazardPolicy::Warn);
        let (accounts, journal) = (Lock::ranked("accounts", 2, ()), Lock::ranked("journal", 3, ()));
        let _journal = journal.lock();
        let line = line!() + 1;
        drop(accounts.lock());
        let [event] = &events("takes a lock of rank 2 while it holds one of rank 3")[..] else {
            panic!("one event: {:?}", events(""))
        };
        for part in ["kind=Rank", "locks=\"accounts, journal\"", &format!("{}:{line}:", file!())] {
            assert!(event.contains(part), "{part}: {event}");
        }
    });
}

#[test]
fn a_long_wait_is_an_event() {
    alone(|| {
        subscribe();
        within(LIMIT, || {
            static SEEN: OnceLock<()> = OnceLock::new();
            let hook = bowline::deadlock::warn_after(std::time::Duration::from_millis(5), |wait| {
                if wait.to_string().contains("slow ledger") {
                    let _ = SEEN.set(());
                }
            });
            let lock = Lock::named("slow ledger", ());
            let guard = lock.lock();
            std::thread::scope(|s| {
                s.spawn(|| drop(lock.lock()));
                SEEN.wait();
                drop(guard);
            });
            drop(hook);
            let [event] = &events("for Lock<()> 'slow ledger'")[..] else { panic!("one event: {:?}", events("")) };
            assert!(event.contains("long wait"), "{event}");
        });
    });
}

#[test]
fn the_event_of_a_deadlock_says_who_what_and_where_and_in_which_spans() {
    alone(|| {
        subscribe();
        within(LIMIT, || {
            let (a, b) = (Lock::named("first lock", ()), Lock::named("second lock", ()));
            let both = std::sync::Barrier::new(2);
            let cross = |span: tracing::Span, first: &Lock<()>, then: &Lock<()>| {
                let _inside = span.entered();
                let _guard = first.lock();
                both.wait();
                then.acquire().is_err()
            };
            std::thread::scope(|s| {
                let left = crate::support::spawn_named(s, "left", || cross(tracing::info_span!("request"), &a, &b));
                let right = crate::support::spawn_named(s, "right", || cross(tracing::info_span!("cleanup"), &b, &a));
                assert!(left.join().unwrap() != right.join().unwrap(), "one is told");
            });
        });
        let [event] = &events("wait for each other")[..] else { panic!("one event: {:?}", events("")) };
        for part in [
            "message=deadlock: 2 threads wait for each other",
            "kind=Cycle",
            "left",
            "right",
            "first lock",
            "second lock",
            "request (id ",
            "cleanup (id ",
        ] {
            assert!(event.contains(part), "{part}: {event}");
        }
        assert_eq!(event.matches(file!()).count(), 4, "four lines: {event}");
        assert!(!event.contains("report=") && !event.contains('\n'), "the error has the report: {event}");
    });
}

#[test]
fn a_deadlock_that_stands_is_an_event_with_the_report_in_place_of_a_page_on_standard_error() {
    let name = "a_deadlock_that_stands_is_an_event_with_the_report_in_place_of_a_page_on_standard_error";
    let body = || {
        subscribe();
        bowline::deadlock::set_policy(bowline::deadlock::Policy::Report);
        let stands = || {
            let lock = Lock::named("stands", ());
            let _guard = lock.lock();
            drop(lock.lock());
        };
        std::thread::Builder::new().name("relocks".to_owned()).spawn(stands).unwrap();
        crate::support::wait_until(|| !events("waits for a lock it holds itself").is_empty());
        // It waits on once all is said.
        crate::support::until_parked("relocks");
        let [event] = &events("stands")[..] else { panic!("one event: {:?}", events("")) };
        assert!(event.contains("report=") && event.contains("help: "), "{event}");
        eprintln!("was told");
    };
    let Some(output) = crate::support::in_fresh_process(name, &[], body) else { return };
    let text = crate::support::stderr(&output);
    assert!(text.contains("was told") && !text.contains("help: "), "{text}");
    let headline = |line: &&str| line.starts_with("deadlock: ") && line.ends_with(" waits for a lock it holds itself");
    assert_eq!(text.lines().filter(headline).count(), 1, "not every subscriber shows what it wants: {text}");
}
