//! What `tracing` subscribers hear of tasks in workers: their spans and events, in the span of the submitter.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bowline::process_pool::current_task;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, debug, error, info, info_span, trace, warn};

use crate::support::processes::fork_often;
use crate::support::workers::{builder, pool_of};
use crate::support::{LIMIT, alone, within};

#[derive(Default)]
struct Heard {
    events: Vec<String>,
    /// The places of these in the program.
    places: Vec<String>,
    /// By number: the text, the parent, and how many handles there are.
    spans: HashMap<u64, (String, Option<u64>, u32)>,
    opened: u64,
}

/// Notes the events, with the spans around them.
#[derive(Clone)]
struct Recorder {
    heard: Arc<Mutex<Heard>>,
    level: LevelFilter,
}

thread_local! {
    static INSIDE: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Recorder {
    fn up_to(level: LevelFilter) -> Self {
        Self { heard: Arc::default(), level }
    }

    fn events(&self) -> Vec<String> {
        self.heard.lock().unwrap().events.clone()
    }

    fn parent(&self, given: Option<&Id>, is_contextual: bool) -> Option<u64> {
        let inside = || INSIDE.with_borrow(|inside| inside.last().copied());
        given.map(Id::into_u64).or_else(|| if is_contextual { inside() } else { None })
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target() != "unwanted"
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let parent = self.parent(span.parent(), span.is_contextual());
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        let mut heard = self.heard.lock().unwrap();
        heard.opened += 1;
        let id = heard.opened;
        heard.spans.insert(id, (text.0, parent, 1));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut text = Text(String::new());
        record.record(&mut text);
        self.heard.lock().unwrap().spans.get_mut(&span.into_u64()).expect("it is open").0 += &text.0;
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut around = String::new();
        let mut heard = self.heard.lock().unwrap();
        let mut next = self.parent(event.parent(), event.is_contextual());
        while let Some(id) = next {
            let (name, parent, _) = &heard.spans[&id];
            around = format!("{name} > {around}");
            next = *parent;
        }
        heard.events.push(format!("{around}{}{}", metadata.level(), text.0));
        let (target, file, module) = (metadata.target(), metadata.file(), metadata.module_path());
        heard.places.push(format!("{target} {file:?} {module:?}"));
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| assert_eq!(inside.pop(), Some(span.into_u64())));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.heard.lock().unwrap().spans.get_mut(&span.into_u64()).expect("it is open").2 += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut heard = self.heard.lock().unwrap();
        let handles = &mut heard.spans.get_mut(&span.into_u64()).expect("it is open").2;
        *handles -= 1;
        *handles == 0
    }

    fn current_span(&self) -> tracing_core::span::Current {
        // The metadata are not kept: by its id alone a span is not current.
        let Some(id) = INSIDE.with_borrow(|inside| inside.last().copied()) else {
            return tracing_core::span::Current::none();
        };
        static ANY: std::sync::OnceLock<&'static Metadata<'static>> = std::sync::OnceLock::new();
        let any = ANY.get_or_init(|| info_span!("any").metadata().expect("it is wanted"));
        tracing_core::span::Current::new(Id::from_u64(id), any)
    }
}

fn inner(depth: u32) {
    let _inside = info_span!("inner", depth).entered();
    debug!("inside");
    if depth > 0 {
        inner(depth - 1);
    }
}

fn speaks(name: String) -> u32 {
    info!(number = 7_u8, ratio = 0.5, on = true, %name, list = ?[1, 2], big = u128::MAX, "hello {name}");
    inner(1);
    warn!("careful");
    3
}

#[test]
fn events_of_a_task_reach_the_submitter_s_subscriber_in_the_submitter_s_span() {
    alone(|| {
        let recorder = Recorder::up_to(LevelFilter::TRACE);
        tracing::subscriber::set_global_default(recorder.clone()).unwrap();
        let pool = pool_of(1);
        let task = info_span!("request", id = 5).in_scope(|| pool.submit(speaks, ("Ann".to_owned(),)));
        assert_eq!(task.result().unwrap(), 3);
        let max = u128::MAX;
        let heard: Vec<_> = recorder.events().into_iter().filter(|event| event.contains("request")).collect();
        assert_eq!(
            heard,
            [
                &format!(
                    "request id=5 > INFO message=hello Ann number=7 ratio=0.5 on=true name=Ann list=[1, 2] big={max}"
                ),
                "request id=5 > inner depth=1 > DEBUG message=inside",
                "request id=5 > inner depth=1 > inner depth=0 > DEBUG message=inside",
                "request id=5 > WARN message=careful",
            ],
            "before the result"
        );
        // Outside of any span.
        pool.submit(speaks, ("Bob".to_owned(),)).result().unwrap();
        assert!(recorder.events().iter().any(|event| event.starts_with("INFO message=hello Bob")));
        drop(pool);
        let open = recorder.heard.lock().unwrap().spans.values().filter(|span| span.2 > 0).count();
        assert_eq!(open, 0, "all spans are closed");
    });
}

#[test]
fn the_place_of_an_event_is_that_in_the_task() {
    within(LIMIT, || {
        let recorder = Recorder::up_to(LevelFilter::INFO);
        // Of this thread alone: that of the submitter is meant.
        tracing::subscriber::with_default(recorder.clone(), || {
            let pool = pool_of(1);
            for _ in 0..3 {
                let task = pool.submit(|| error!(target: "elsewhere", "lost"), ());
                task.result().unwrap();
            }
        });
        let place = format!("elsewhere {:?} {:?}", Some(file!()), Some(module_path!()));
        let heard = recorder.heard.lock().unwrap();
        assert_eq!(heard.places.iter().filter(|other| **other == place).count(), 3, "{:?}", heard.places);
    });
}

fn levels() -> bool {
    error!("level");
    warn!("level");
    info!("level");
    debug!("level");
    trace!("level");
    info!(target: "unwanted", "level");
    tracing::enabled!(Level::DEBUG)
}

#[test]
fn a_worker_sends_no_more_than_the_level_that_is_wanted() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let count = |level| {
            let recorder = Recorder::up_to(level);
            let submit = || pool.submit(levels, ()).result().unwrap();
            let debug_is_on = tracing::subscriber::with_default(recorder.clone(), submit);
            (recorder.events().len(), debug_is_on)
        };
        // Other tests of this process may want more meanwhile: then the rest is filtered here.
        assert_eq!(count(LevelFilter::WARN).0, 2);
        assert_eq!(count(LevelFilter::TRACE), (5, true));
        assert_eq!(count(LevelFilter::ERROR).0, 1);
        assert_eq!(count(LevelFilter::OFF).0, 0);
    });
}

#[test]
fn a_worker_whose_parent_listens_to_nothing_has_no_subscriber() {
    alone(|| {
        let pool = pool_of(1);
        assert!(!pool.submit(levels, ()).result().unwrap());
        assert_eq!(pool.submit(|| LevelFilter::current() == LevelFilter::OFF, ()).result().ok(), Some(true));
    });
}

#[test]
fn a_subscriber_of_the_worker_s_own_is_left_in_place() {
    alone(|| {
        fn own() {
            tracing::subscriber::set_global_default(Recorder::up_to(LevelFilter::INFO)).expect("it is the first");
        }
        let pool = builder(1).initializer(own, ()).build().unwrap();
        let recorder = Recorder::up_to(LevelFilter::TRACE);
        let submit = || pool.submit(levels, ()).result().unwrap();
        assert!(!tracing::subscriber::with_default(recorder.clone(), submit));
        assert_eq!(recorder.events(), [""; 0]);
    });
}

#[test]
fn events_and_progress_come_in_the_order_in_which_the_task_makes_them() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn both(rounds: u32) {
            let task = current_task().expect("it runs in a worker");
            for round in 0..rounds {
                info!("event {round}");
                task.progress(round).expect("somebody listens");
            }
        }
        let recorder = Recorder::up_to(LevelFilter::INFO);
        let events = recorder.clone();
        let hear = move |round: u32| {
            events.heard.lock().unwrap().events.push(format!("progress {round}"));
        };
        let submit = || pool.task(both, (2000,)).on_progress(hear).submit();
        tracing::subscriber::with_default(recorder.clone(), submit).result().unwrap();
        let wanted = (0..2000).flat_map(|n| [format!("INFO message=event {n}"), format!("progress {n}")]);
        assert_eq!(recorder.events(), wanted.collect::<Vec<_>>());
    });
}

#[test]
fn a_task_that_is_run_again_has_spans_of_its_own() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn dies_once() -> u32 {
            let attempt = current_task().expect("it runs in a worker").attempt();
            let span = info_span!("attempt", attempt, late = tracing::field::Empty);
            let _inside = span.enter();
            span.record("late", attempt * 10);
            info!("runs");
            if attempt == 1 {
                std::process::abort();
            }
            attempt
        }
        let recorder = Recorder::up_to(LevelFilter::INFO);
        let submit = || pool.task(dies_once, ()).retries(1).submit();
        let task = tracing::subscriber::with_default(recorder.clone(), submit);
        assert_eq!(task.result().unwrap(), 2);
        assert_eq!(
            recorder.events(),
            ["attempt attempt=1 late=10 > INFO message=runs", "attempt attempt=2 late=20 > INFO message=runs"]
        );
        drop(pool);
        assert!(recorder.heard.lock().unwrap().spans.values().all(|span| span.2 == 0), "all are closed");
    });
}

#[test]
fn a_subscriber_that_panics_or_submits_tasks_disturbs_nobody() {
    struct Busy(bowline::ProcessPoolExecutor, Mutex<u32>);

    impl Subscriber for Busy {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.fields().field("trouble").is_some()
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            panic!("no span");
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            // In a worker of the same pool, the only one.
            drop(self.0.submit(|| (), ()));
            *self.1.lock().unwrap() += 1;
            panic!("no event");
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
    within(LIMIT, || {
        let pool = pool_of(1);
        let busy = Arc::new(Busy(pool.clone(), Mutex::new(0)));
        fn troubles() -> u32 {
            for n in 0..10 {
                info!(trouble = n);
                let _span = info_span!("span", trouble = n);
            }
            10
        }
        let submit = || pool.submit(troubles, ());
        let task = tracing::subscriber::with_default(Arc::clone(&busy), submit);
        assert_eq!(task.result().unwrap(), 10);
        assert_eq!(*busy.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner), 10);
    });
}

#[test]
fn a_fork_of_a_task_is_not_heard_and_does_not_hang() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn forks() -> i32 {
            let all = fork_often(
                || drop(info_span!("thread").entered()),
                || {
                    let _span = info_span!("fork").entered();
                    info!("fork");
                },
            );
            info!("parent");
            all
        }
        let recorder = Recorder::up_to(LevelFilter::INFO);
        let task = tracing::subscriber::with_default(recorder.clone(), || pool.submit(forks, ()));
        assert_eq!(task.result().unwrap(), 0);
        assert_eq!(recorder.events(), ["INFO message=parent"]);
    });
}

/// Panics when it is told of a place of this name, while this is set.
struct Picky(&'static str, AtomicBool);

impl Subscriber for &'static Picky {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        assert!(metadata.target() != self.0 || !self.1.load(Ordering::Relaxed), "picky");
        tracing::subscriber::Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_that_panics_at_a_place_of_a_worker_s_breaks_no_other() {
    static PICKY: Picky = Picky("picky", AtomicBool::new(false));
    alone(|| {
        tracing::subscriber::set_global_default(&PICKY).unwrap();
        let pool = pool_of(1);
        pool.submit(|| info!(target: "picky", "one"), ()).result().unwrap();
        PICKY.1.store(true, Ordering::Relaxed);
        std::panic::catch_unwind(tracing::callsite::rebuild_interest_cache).expect_err("it is asked");
        PICKY.1.store(false, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        let recorder = Recorder::up_to(LevelFilter::INFO);
        let task = tracing::subscriber::with_default(recorder.clone(), || pool.submit(|| info!("two"), ()));
        task.result().unwrap();
        assert_eq!(recorder.events(), ["INFO message=two"]);
    });
}

#[test]
fn a_subscriber_of_the_worker_s_that_panics_when_it_is_asked_costs_no_task() {
    static PICKY: Picky = Picky("worker", AtomicBool::new(false));
    alone(|| {
        fn own() {
            std::mem::forget(tracing::dispatcher::set_default(&tracing::Dispatch::new(&PICKY)));
            info!(target: "worker", "known");
            PICKY.1.store(true, Ordering::Relaxed);
        }
        let pool = builder(1).initializer(own, ()).build().unwrap();
        let recorder = Recorder::up_to(LevelFilter::INFO);
        for _ in 0..3 {
            let task = tracing::subscriber::with_default(recorder.clone(), || pool.submit(|| 7_u8, ()));
            assert_eq!(task.result().unwrap(), 7);
        }
    });
}
