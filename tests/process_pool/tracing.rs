//! What `tracing` subscribers hear of tasks in workers: their spans and events, in the span of the submitter.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use bowline::process_pool::current_task;
use tracing::field::{Empty, Field};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, debug, error, info, info_span, trace, warn};
use tracing_core::callsite::{Callsite, DefaultCallsite, Identifier};
use tracing_core::field::FieldSet;
use tracing_core::metadata::Kind;

use super::recorder::Recorder;
use crate::support::processes::fork_often;
use crate::support::workers::{builder, pool_of};
use crate::support::{LIMIT, alone, within};

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

/// More than the texts of a place may be long.
const LONG: &str = match str::from_utf8(&[b'x'; 20 << 10]) {
    Ok(text) => text,
    Err(_) => panic!("it is a text"),
};

/// Records values of spans that nobody hears of, in this process or in a worker.
fn records_of_the_unheard() {
    let record = |span: tracing::Span| {
        span.record("secret", "of another span");
        span.follows_from(tracing::Span::current().id());
        info_span!("within", own = 3).follows_from(span.id());
        span.in_scope(|| info!("inside"));
    };
    record(info_span!(target: "unwanted", "straight in the submitter's", secret = Empty));
    let _outer = info_span!("outer", user = "Bob").entered();
    record(info_span!(target: "unwanted", "hidden", secret = Empty));
    let _hidden = info_span!(target: "unwanted", "hidden", secret = Empty).entered();
    record(info_span!(target: "unwanted too", "hidden in a hidden one", secret = Empty));
}

#[test]
fn what_is_said_of_a_span_that_nobody_wants_is_said_of_no_other() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let heard = |run: &dyn Fn()| {
            let recorder = Recorder::up_to(LevelFilter::INFO);
            tracing::subscriber::with_default(recorder.clone(), || {
                info_span!("request", user = "Ann").in_scope(run);
            });
            let follows = recorder.heard.lock().unwrap().follows.clone();
            (recorder.spans(), recorder.events(), follows)
        };
        let here = heard(&records_of_the_unheard);
        assert_eq!(here.0[..2], ["outer user=\"Bob\"", "request user=\"Ann\""]);
        assert_eq!(heard(&|| pool.submit(records_of_the_unheard, ()).result().unwrap()), here);
    });
}

#[test]
fn what_is_said_of_a_span_whose_place_is_too_long_is_said_of_no_other() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn records() {
            let _outer = info_span!("outer", user = "Bob").entered();
            let long = info_span!(target: LONG, "long", secret = Empty);
            long.record("secret", "of another span");
            long.follows_from(tracing::Span::current().id());
            long.in_scope(|| info!("inside"));
        }
        let recorder = Recorder::up_to(LevelFilter::INFO);
        tracing::subscriber::with_default(recorder.clone(), || pool.submit(records, ()).result().unwrap());
        assert_eq!(recorder.spans(), ["outer user=\"Bob\""]);
        assert_eq!(recorder.events(), ["outer user=\"Bob\" > INFO message=inside"]);
        assert_eq!(recorder.heard.lock().unwrap().follows, [""; 0]);
    });
}

#[test]
fn a_span_that_follows_from_another_does_so_for_the_submitter_too() {
    within(LIMIT, || {
        let pool = pool_of(1);
        fn follows() {
            let [first, second] = [1, 2].map(|number| info_span!("step", number));
            second.follows_from(&first);
        }
        let recorder = Recorder::up_to(LevelFilter::INFO);
        tracing::subscriber::with_default(recorder.clone(), || pool.submit(follows, ()).result().unwrap());
        assert_eq!(recorder.heard.lock().unwrap().follows, ["step number=2 from step number=1"]);
    });
}

const MANY: usize = 300;

/// A place, known by its address.
struct Place(u8);

impl Callsite for Place {
    fn set_interest(&self, _: tracing::subscriber::Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        unreachable!("nobody asks {}", self.0)
    }
}

/// An event, and a span, with so many fields that no macro takes them. The span's have their values in two parts.
fn says_much() {
    let place = |kind, name| -> &'static Metadata<'static> {
        let place: &'static Place = Box::leak(Box::new(Place(0)));
        let names = (0..MANY).map(|n| -> &'static str { format!("f{n}").leak() }).collect::<Vec<_>>().leak();
        let fields = FieldSet::new(names, Identifier(place));
        let metadata = Metadata::new(name, "many", Level::INFO, None, None, None, fields, kind);
        let metadata: &'static _ = Box::leak(Box::new(metadata));
        let callsite: &'static DefaultCallsite = Box::leak(Box::new(DefaultCallsite::new(metadata)));
        callsite.interest();
        metadata
    };
    let values: [u64; MANY] = std::array::from_fn(|n| n as u64);
    let of = |metadata: &'static Metadata<'static>| -> Vec<Field> { metadata.fields().iter().collect() };
    let event = place(Kind::EVENT, "event");
    let fields = of(event);
    let pairs: [_; MANY] = std::array::from_fn(|n| (&fields[n], Some(&values[n] as &dyn tracing::Value)));
    Event::dispatch(event, &event.fields().value_set(&pairs));
    let span = place(Kind::SPAN, "span");
    let fields = of(span);
    let pairs: [_; MANY] =
        std::array::from_fn(|n| (&fields[n], (n < 280).then_some(&values[n] as &dyn tracing::Value)));
    let opened = tracing::Span::new(span, &span.fields().value_set(&pairs));
    let rest: [_; 20] = std::array::from_fn(|n| (&fields[280 + n], Some(&values[280 + n] as &dyn tracing::Value)));
    opened.record_all(&span.fields().value_set(&rest));
}

#[test]
fn all_fields_of_an_event_and_of_a_span_arrive_however_many_they_are() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let recorder = Recorder::up_to(LevelFilter::INFO);
        tracing::subscriber::with_default(recorder.clone(), || pool.submit(says_much, ()).result().unwrap());
        let fields: String = (0..MANY).map(|n| format!(" f{n}={n}")).collect();
        assert_eq!(
            (recorder.events(), recorder.spans()),
            (vec![format!("INFO{fields}")], vec![format!("span{fields}")])
        );
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

/// In a worker: its second task has begun, and the thread of the first has said something meanwhile.
static BEGUN: Barrier = Barrier::new(2);
static SAID: Barrier = Barrier::new(2);

/// Leaves a thread behind.
fn leaves_a_thread() {
    let task = current_task().expect("it runs in a worker");
    let span = info_span!("old", late = Empty);
    std::thread::spawn(move || {
        BEGUN.wait();
        task.progress(1_u32).expect("nobody listens any more");
        span.record("late", 1);
        span.in_scope(|| info!("in a span of before"));
        info_span!("new").in_scope(|| info!("in a new span"));
        current_task().expect("the second one").progress(2_u32).expect("somebody listens");
        SAID.wait();
    });
}

fn lets_it_speak() {
    BEGUN.wait();
    SAID.wait();
}

#[test]
fn what_a_thread_says_that_outlives_its_task_counts_as_the_next_ones_unless_it_is_bound_to_the_first() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let recorder = Recorder::up_to(LevelFilter::INFO);
        let (first, second) = (Arc::<Mutex<Vec<u32>>>::default(), Arc::<Mutex<Vec<u32>>>::default());
        let hear = |heard: &Arc<Mutex<Vec<u32>>>| {
            let heard = Arc::clone(heard);
            move |value: u32| heard.lock().unwrap().push(value)
        };
        tracing::subscriber::with_default(recorder.clone(), || {
            let submit = || pool.task(leaves_a_thread, ()).on_progress(hear(&first)).submit();
            info_span!("first").in_scope(submit).result().unwrap();
            let submit = || pool.task(lets_it_speak, ()).on_progress(hear(&second)).submit();
            info_span!("second").in_scope(submit).result().unwrap();
        });
        assert_eq!(
            recorder.events(),
            ["second > INFO message=in a span of before", "second > new > INFO message=in a new span"]
        );
        assert_eq!(recorder.spans(), ["first", "new", "old", "second"]);
        assert_eq!((first.lock().unwrap().len(), &second.lock().unwrap()[..]), (0, &[2][..]));
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
