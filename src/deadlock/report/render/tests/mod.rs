//! Reports as text, word for word: the files in `golden/`, each at two widths. With `BOWLINE_BLESS` in the environment they
//! are written anew, to be read.

mod constructs;
mod guards;
mod hazards;
mod once;
mod readers;
mod sites;

use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

pub(in crate::deadlock) use sites::{A, B, C};
use sites::{D, MADE, MADE_TOO};

use super::*;
use crate::deadlock::graph::resource::HoldMode;
use crate::deadlock::report::{
    Access, Activity, Hazard, HazardKind, JoinedThread, Kind, Nature, Purpose, Suspicion, Task, Wait,
};

fn resource(
    nature: Nature,
    primitive: &'static str,
    key: usize,
    name: Option<&'static str>,
    made_at: Site,
) -> Resource {
    Resource { key, nature, name, rank: None, id: None, primitive, data_type: "", made_at }
}

pub(in crate::deadlock) fn lock(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
    Resource { data_type: "alloc::vec::Vec<u64>", ..resource(Nature::Lock, "Lock", key, name, made_at) }
}

pub(in crate::deadlock) fn task(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
    Resource { data_type: "my::main::{{closure}}", ..resource(Nature::Task, "Future", key, name, made_at) }
}

fn lazy(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
    Resource { data_type: "my::Config", ..resource(Nature::Once, "LazyLock", key, name, made_at) }
}

pub(in crate::deadlock) fn thread(name: &str, os_id: u32) -> StuckThread {
    let name = Some(name).filter(|name| !name.is_empty()).map(Into::into);
    StuckThread {
        name,
        os_id,
        is_gone: false,
        is_in_place: false,
        task: None,
        pool: None,
        waits_for: None,
        holds: Vec::new(),
        omitted_holds: 0,
        activity: None,
        suspicions: Vec::new(),
        stack: Default::default(),
        context: 0,
    }
}

impl StuckThread {
    pub(in crate::deadlock) fn waits(mut self, resource: &Resource, site: Site) -> Self {
        let waited = Duration::from_micros(1250);
        let resource = resource.clone();
        self.waits_for = Some(Wait {
            resource,
            site,
            purpose: None,
            access: None,
            is_next: false,
            waited,
            timed: false,
            queued_in: None,
            process: None,
            signal: None,
            others: 0,
            joined: None,
            thread_id: None,
            span: None,
        });
        self
    }

    pub(in crate::deadlock) fn in_queue_of(mut self, pool: &Arc<str>) -> Self {
        self.waits_for.as_mut().expect("it waits").queued_in = Some(Arc::clone(pool));
        self
    }

    /// Waits for a read-write lock, to hold it in this way.
    fn wants(mut self, access: Access, resource: &Resource, site: Site) -> Self {
        self = self.waits(resource, site);
        self.waits_for.as_mut().expect("it waits").access = Some(access);
        self
    }

    /// Waits as a writer for readers to leave.
    fn waits_as_next_for(mut self, resource: &Resource, site: Site) -> Self {
        self = self.wants(Access::Write, resource, site);
        self.waits_for.as_mut().expect("it waits").is_next = true;
        self
    }

    fn has(mut self, access: Access, resource: &Resource, site: Site) -> Self {
        self = self.holding(resource, site);
        self.holds.last_mut().expect("it holds").access = Some(access);
        self
    }

    pub(in crate::deadlock) fn for_process(mut self, process: u32) -> Self {
        self.waits_for.as_mut().expect("it waits").process = Some(process);
        self
    }

    pub(in crate::deadlock) fn for_signal(mut self) -> Self {
        self.waits_for.as_mut().expect("it waits").signal = Some("a notification");
        self
    }

    pub(in crate::deadlock) fn for_long(mut self) -> Self {
        self.waits_for.as_mut().expect("it waits").waited = Duration::from_secs(3);
        self
    }

    /// Makes the wait one for the end of this thread.
    pub(in crate::deadlock) fn for_end_of(mut self, joined: &StuckThread) -> Self {
        let wait = self.waits_for.as_mut().expect("it waits");
        let (name, os_id, context) = (joined.name.clone(), joined.os_id, joined.context);
        wait.joined = Some(JoinedThread { name, os_id, context });
        self
    }

    fn and_others(mut self, others: usize) -> Self {
        self.waits_for.as_mut().expect("it waits").others = others;
        self
    }

    pub(in crate::deadlock) fn running(mut self, task: &Resource) -> Self {
        self.task = Some(Box::new(Task { resource: task.clone() }));
        self
    }

    pub(in crate::deadlock) fn working_for(mut self, pool: &Arc<str>) -> Self {
        self.pool = Some(Arc::clone(pool));
        self
    }

    pub(in crate::deadlock) fn holding(mut self, resource: &Resource, site: Site) -> Self {
        let (purpose, access) = (None, None);
        self.holds.push(Held { resource: resource.clone(), site, purpose, access, left_behind: false, permits: 1 });
        self
    }

    fn gone(self) -> Self {
        Self { is_gone: true, ..self }
    }
}

fn made(kind: Kind, threads: impl Into<Vec<StuckThread>>, bystanders: Vec<StuckThread>) -> Report {
    Report { kind, threads: threads.into(), bystanders }
}

fn named() -> [Resource; 3] {
    [lock(1, Some("a"), MADE), lock(2, Some("b"), MADE), lock(3, Some("c"), MADE)]
}

/// Returns a cycle of `size` threads and locks, named by `name`.
pub(in crate::deadlock) fn cycle(size: usize, name: Option<&'static str>) -> Report {
    let locks: Vec<_> = (0..size).map(|key| lock(key, name, MADE)).collect();
    let member =
        |at: usize| thread(&format!("t{at}"), 0).waits(&locks[at], A).holding(&locks[(at + size - 1) % size], B);
    made(Kind::Cycle, (0..size).map(member).collect::<Vec<_>>(), Vec::new())
}

/// What is rendered: without source text, which has tests of its own, or with it.
enum Picture<'r> {
    Report(&'r Report),
    WithSources(&'r Report),
    LongWait(&'r LongWait),
    Hazard(&'r Hazard),
    HazardWithSources(&'r Hazard),
    Threads(&'r [StuckThread]),
}

impl Picture<'_> {
    fn render(&self, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Report(report) => Renderer::of_report(report, style, Sources::none(), f).report(report),
            Self::WithSources(report) => Renderer::of_report(report, style, Sources::new(), f).report(report),
            Self::Hazard(told) => hazard::render(told, style, Sources::none(), f),
            Self::HazardWithSources(told) => hazard::render(told, style, Sources::new(), f),
            Self::LongWait(wait) => Renderer::of_long_wait(wait, style, Sources::none(), f).long_wait(wait),
            Self::Threads(threads) => Renderer {
                names: Names::new(threads.iter(), threads.iter(), style),
                sources: Sources::none(),
                page: Page::new(f, style),
            }
            .threads(threads.iter()),
        }
    }

    fn text(&self, style: Style, width: usize) -> String {
        let text = fmt::from_fn(|f| self.render(style, f));
        format!("{text:width$}")
    }

    /// Compares the text with the files of this name.
    fn is_golden(&self, name: &str) {
        for width in [80, 120] {
            let text = self.text(Style::plain(), width) + "\n";
            let path =
                format!("{}/src/deadlock/report/render/tests/golden/{name}.{width}.txt", env!("CARGO_MANIFEST_DIR"));
            if env::var_os("BOWLINE_BLESS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert!(text == expected, "{path}\n--- is\n{text}--- was\n{expected}");
        }
    }
}

fn text(report: &Report) -> String {
    Picture::Report(report).text(Style::plain(), page::WIDTH)
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn two_threads_that_take_two_locks_in_opposite_orders() {
    let [a, b, _] = named();
    let right = thread("right", 2).waits(&a, B).holding(&b, A);
    let left = thread("left", 1).waits(&b, D).holding(&a, C);
    let report = made(Kind::Cycle, [right, left], Vec::new());
    Picture::Report(&report).is_golden("two-locks");
    Picture::WithSources(&report).is_golden("two-locks-with-sources");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn threads_and_locks_without_names() {
    let (a, b) = (lock(1, None, MADE), lock(2, None, MADE_TOO));
    let right = thread("", 4711).waits(&a, B).holding(&b, A);
    let left = thread("", 0).waits(&b, D).holding(&a, C);
    Picture::Report(&made(Kind::Cycle, [right, left], Vec::new())).is_golden("unnamed");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn three_threads_with_bystanders() {
    let [a, b, c] = named();
    let (wanted, unwanted) = (lock(4, None, MADE), lock(5, Some("unwanted"), MADE));
    let core = [
        thread("x", 1).waits(&a, A).holding(&c, B),
        thread("y", 2).waits(&b, A).holding(&a, B).holding(&wanted, D).holding(&unwanted, C),
        thread("z", 3).waits(&c, A).holding(&b, B),
    ];
    let bystanders = vec![thread("w1", 4).waits(&b, C), thread("w2", 5).waits(&wanted, C)];
    Picture::Report(&made(Kind::Cycle, core, bystanders)).is_golden("bystanders");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_lock_taken_twice_by_one_thread() {
    let [a, ..] = named();
    let main = thread("main", 1).waits(&a, B).holding(&a, A);
    Picture::Report(&made(Kind::Relock, [main.clone()], Vec::new())).is_golden("relock");
    let left_behind = StuckThread { holds: vec![Held { left_behind: true, ..main.holds[0].clone() }], ..main.clone() };
    Picture::Report(&made(Kind::Relock, [left_behind], Vec::new())).is_golden("relock-left-behind");
    let deserialized = lock(1, None, DESERIALIZED);
    let mut serializes = thread("main", 1).waits(&deserialized, DESERIALIZED).holding(&deserialized, A);
    serializes.waits_for.as_mut().unwrap().purpose = Some(Purpose::Serialize);
    Picture::Report(&made(Kind::Relock, [serializes], Vec::new())).is_golden("relock-serialized");
    let mut formats = main;
    formats.holds[0] = Held { site: MADE, purpose: Some(Purpose::Debug), ..formats.holds[0].clone() };
    Picture::Report(&made(Kind::Relock, [formats], Vec::new())).is_golden("relock-formatted");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_function_that_locks_for_its_callers() {
    let [a, b, _] = named();
    let relock = made(Kind::Relock, [thread("main", 1).waits(&a, A).holding(&a, A)], Vec::new());
    Picture::Report(&relock).is_golden("one-line-relock");
    let right = thread("right", 2).waits(&a, A).holding(&b, A);
    let left = thread("left", 1).waits(&b, A).holding(&a, A);
    Picture::Report(&made(Kind::Cycle, [right, left], Vec::new())).is_golden("one-line-cycle");
}

/// Checks the help that the source gives: for a thread that takes a lock twice, and for two that take two.
#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_lock_of_a_thread_that_has_ended() {
    let [a, ..] = named();
    let threads = [thread("x", 1).waits(&a, B), thread("y", 2).holding(&a, A).gone()];
    Picture::Report(&made(Kind::Abandoned, threads, Vec::new())).is_golden("abandoned");
    let a = task(1, Some("a"), A);
    let threads = [thread("x", 1).waits(&a, B), thread("pool_0", 2).running(&a).gone()];
    Picture::Report(&made(Kind::Abandoned, threads, Vec::new())).is_golden("abandoned-task");
}

/// Checks the text of two tasks that wait for each other's results, and one behind them that is still queued.
#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn two_tasks_that_wait_for_each_other() {
    let (a, b) = (task(1, Some("a"), A), task(2, None, B));
    let pool: Arc<str> = "pool".into();
    let first = thread("pool_0", 1).working_for(&pool).running(&a).waits(&b, C);
    let second = thread("pool_1", 2).working_for(&pool).running(&b).waits(&a, D).and_others(2);
    let bystander = thread("main", 3).waits(&task(3, None, C), D).in_queue_of(&pool);
    Picture::Report(&made(Kind::Cycle, [first, second], vec![bystander])).is_golden("tasks");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_task_in_place_that_wants_what_its_waiter_holds() {
    let (a, b, ledger) = (task(1, Some("a"), A), task(2, Some("b"), B), lock(3, Some("ledger"), MADE));
    let inner = StuckThread { is_in_place: true, ..thread("pool_0", 1) }.running(&b).waits(&ledger, C);
    let outer = thread("pool_0", 1).running(&a).waits(&b, D).holding(&ledger, A);
    Picture::Report(&made(Kind::Cycle, [inner, outer], Vec::new())).is_golden("in-place");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_task_that_waits_for_itself() {
    let a = task(1, Some("a"), A);
    let itself = made(Kind::Relock, [thread("pool_0", 1).running(&a).waits(&a, B)], Vec::new());
    Picture::Report(&itself).is_golden("own-result");
    let worker = thread("pool_0", 1).running(&a).waits(&lock(2, Some("b"), MADE), B);
    let main = thread("main", 2).waits(&a, C).holding(&lock(2, Some("b"), MADE), D);
    Picture::Report(&made(Kind::Cycle, [worker, main], Vec::new())).is_golden("task-and-thread");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn threads_that_are_joined() {
    let [ledger, ..] = named();
    let end = Resource { nature: Nature::Thread, primitive: "JoinHandle", ..lock(9, None, MADE) };
    let of = |name, os_id| StuckThread { context: os_id as usize, ..thread(name, os_id) };
    let clerk = of("clerk", 1).waits(&ledger, A);
    let main = of("main", 2).waits(&end, B).for_end_of(&clerk).holding(&ledger, C);
    let behind = vec![of("", 3).waits(&end, D).for_end_of(&main), of("x", 4).waits(&end, D).and_others(2)];
    Picture::Report(&made(Kind::Cycle, [main.clone(), clerk.clone()], behind)).is_golden("join-and-lock");
    let other = of("", 5).waits(&end, A).for_end_of(&main);
    let joins = made(Kind::Cycle, [of("main", 2).waits(&end, B).for_end_of(&other), other], Vec::new());
    Picture::Report(&joins).is_golden("joins");
    let itself = of("main", 2).waits(&end, B).for_end_of(&main);
    Picture::Report(&made(Kind::Relock, [itself], Vec::new())).is_golden("join-of-itself");
    let by_force = made(Kind::Abandoned, [main.clone(), of("clerk", 1).gone()], Vec::new());
    Picture::Report(&by_force).is_golden("join-of-a-thread-ended-by-force");
    Picture::LongWait(&LongWait { waiter: main, owner: Some(clerk) }).is_golden("long-join");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn whoever_waits_for_another_process_says_which() {
    let [a, ..] = named();
    let (first, second) = (task(1, Some("thumbnail"), A), task(2, None, B));
    let waiters = vec![
        thread("v", 1).waits(&first, C).for_process(4711),
        thread("w", 2).waits(&second, D).for_process(4712).and_others(2),
    ];
    let report = made(Kind::Relock, [thread("main", 3).waits(&a, B).holding(&a, A)], waiters.clone());
    Picture::Report(&report).is_golden("processes");
    let long = LongWait { waiter: waiters[0].clone(), owner: None };
    Picture::LongWait(&long).is_golden("long-wait-for-a-process");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn workers_that_all_wait_for_their_pool() {
    let pool: Arc<str> = "pool".into();
    let queued = task(3, Some("c"), A);
    let room = Resource { nature: Nature::Pool, primitive: "ThreadPoolExecutor", data_type: "", ..lock(4, None, MADE) };
    let first = thread("pool_0", 1).working_for(&pool).running(&task(1, Some("a"), A));
    let second = thread("pool_1", 2).working_for(&pool).running(&task(2, None, B));
    let workers = [first.waits(&queued, B).in_queue_of(&pool), second.waits(&room, C).in_queue_of(&pool)];
    Picture::Report(&made(Kind::Starvation, workers, Vec::new())).is_golden("starvation");
    let end = made(Kind::Relock, [thread("pool_0", 1).running(&task(1, None, A)).waits(&room, B)], Vec::new());
    Picture::Report(&end).is_golden("own-pool");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_ring_of_threads_that_do_the_same() {
    for size in [5, 50, 1000] {
        let report = cycle(size, Some("fork"));
        Picture::Report(&report).is_golden(&format!("ring-of-{size}"));
    }
    let mut of_tasks = cycle(5, None);
    for (at, thread) in of_tasks.threads.iter_mut().enumerate() {
        *thread = thread.clone().running(&task(100 + at, None, C));
    }
    let bystander = of_tasks.threads[0].waits_for.as_ref().unwrap().resource.clone();
    of_tasks.bystanders.push(thread("main", 9).waits(&bystander, D));
    Picture::WithSources(&of_tasks).is_golden("ring-of-tasks");
    let mut shuffled = cycle(60, None);
    for (at, thread) in shuffled.threads.iter_mut().enumerate() {
        thread.name = Some(format!("worker {}", at * 37 % 60).into());
    }
    Picture::Report(&shuffled).is_golden("ring-of-60-shuffled");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_long_cycle_shows_some_members_and_names_the_others() {
    for size in [13, 50, 1000] {
        let mut report = cycle(size, Some("fork"));
        // They are not alike.
        report.threads[7].holds[0].site = C;
        Picture::Report(&report).is_golden(&format!("cycle-of-{size}"));
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn what_a_thread_holds_beyond_the_first_is_counted_and_what_is_waited_for_is_among_the_first() {
    let [a, ..] = named();
    let others: Vec<_> = (0..40).map(|key| lock(100 + key, None, MADE_TOO)).collect();
    let mut holder = others.iter().fold(thread("x", 1).waits(&a, B), |holder, lock| holder.holding(lock, C));
    holder.omitted_holds = 1000;
    let report = made(Kind::Relock, [holder.holding(&a, A)], Vec::new());
    Picture::Report(&report).is_golden("many-holds");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn many_bystanders_are_named() {
    let [a, ..] = named();
    let bystanders = (0..33).map(|at| thread(&format!("w{at}"), 0).waits(&a, A)).collect();
    let report = made(Kind::Cycle, cycle(2, None).threads, bystanders);
    Picture::Report(&report).is_golden("many-bystanders");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn long_and_wide_names_stay_on_the_page() {
    let generic = "alloc::collections::btree::map::BTreeMap<alloc::string::String, alloc::vec::Vec<core::option::Option<(u64, \
                   my::deep::module::Account<my::deep::module::Currency>)>>>";
    let a = Resource { data_type: generic, ..lock(1, Some("帳簿 der Größe"), MADE) };
    let b = Resource { data_type: "my::Session<T>::{{closure}}::{{closure}}", ..lock(2, None, MADE_TOO) };
    let right = thread("tokio-runtime-worker-with-a-long-name", 2).waits(&a, B).holding(&b, A);
    let left = thread("e\u{301}crivain", 1).waits(&b, D).holding(&a, C);
    Picture::WithSources(&made(Kind::Cycle, [right, left], Vec::new())).is_golden("long-and-wide");
    let future = Resource { data_type: "my::handler<my::Db>::{{closure}}::{async_fn_env#0}", ..task(3, None, C) };
    let waits = thread("main", 1).waits(&future, D);
    let runs = thread("pool_0", 2).running(&future).waits(&b, A);
    Picture::Report(&made(Kind::Cycle, [waits.holding(&b, B), runs], Vec::new())).is_golden("async-fn");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn lines_of_std_are_not_shown() {
    #[track_caller]
    fn line(_: ()) -> Site {
        std::panic::Location::caller()
    }
    let [in_std] = [()].map(line);
    let lock = lock(1, None, in_std);
    let main = thread("main", 1).waits(&lock, B).holding(&lock, in_std);
    let report = made(Kind::Relock, [main], Vec::new());
    Picture::Report(&report).is_golden("in-std");
    assert!(!text(&report).contains("library"));
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_long_wait_tells_the_owner_and_its_line() {
    let [a, b, c] = named();
    let waiter = thread("x", 1).waits(&a, B);
    let owner = thread("y", 2).waits(&b, C).holding(&c, D).holding(&a, A);
    let long = |owner| LongWait { waiter: waiter.clone(), owner };
    Picture::LongWait(&long(Some(owner))).is_golden("long-wait");
    Picture::LongWait(&long(Some(thread("y", 2).holding(&a, A)))).is_golden("long-wait-for-a-runner");
    Picture::LongWait(&long(None)).is_golden("long-wait-for-nobody");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_picture_of_all_threads() {
    let [a, b, _] = named();
    let mut threads = [
        thread("main", 1).waits(&a, A),
        thread("writer", 2).holding(&a, B).holding(&b, C),
        thread("pool_0", 3).running(&task(7, Some("idle"), D)),
        thread("timed", 4).waits(&a, A),
    ];
    threads[1].activity = Some(Activity::Futex);
    threads[2].activity = Some(Activity::Running);
    threads[3].waits_for.as_mut().unwrap().timed = true;
    Picture::Threads(&threads).is_golden("threads");
    let activities = [Activity::Sleeping, Activity::Reading, Activity::SystemCall(9), Activity::Stopped];
    let blocked = activities.map(|activity| StuckThread { activity: Some(activity), ..thread("x", 1).holding(&a, B) });
    Picture::Threads(&blocked).is_golden("activities");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_wait_for_a_notification_tells_what_may_keep_that_away() {
    let condition = Resource { primitive: "Condition", data_type: "", ..lock(1, Some("arrived"), MADE) };
    let (orders, sum) = (lock(2, Some("orders"), MADE_TOO), task(3, Some("sum"), A));
    let waiter = || thread("consumer", 1).waits(&condition, B).for_signal();
    let notifier = || thread("notifier", 2).waits(&orders, C);
    let suspicions = |others| {
        vec![
            Suspicion { held: thread("", 0).holding(&orders, A).holds.remove(0), waiter: notifier(), others },
            Suspicion {
                held: thread("", 0).holding(&sum, A).holds.remove(0),
                waiter: thread("main", 3).waits(&sum, D),
                others: 0,
            },
        ]
    };
    let mut whole = waiter().holding(&orders, A).running(&sum);
    whole.suspicions = suspicions(0);
    Picture::Threads(&[whole.clone(), notifier(), thread("main", 3).waits(&sum, D)]).is_golden("suspicion");
    whole.suspicions = suspicions(1);
    Picture::LongWait(&LongWait { waiter: whole, owner: None }).is_golden("long-wait-suspicion");
    Picture::LongWait(&LongWait { waiter: waiter(), owner: None }).is_golden("long-wait-for-a-notification");
}

/// Returns reports of all kinds, with names that try to break out of their line.
fn assorted() -> Vec<Report> {
    let hostile = lock(9, Some("a\x1b[0m\r\nb"), MADE);
    let threads = || vec![thread("x\n\x1b[31my", 3).waits(&hostile, A).holding(&hostile, B), thread("", 7).gone()];
    let kinds = [Kind::Relock, Kind::Cycle, Kind::Starvation, Kind::Abandoned];
    let mut reports = kinds.map(|kind| made(kind, threads(), threads())).to_vec();
    reports.extend(kinds.map(|kind| made(kind, [], Vec::new())));
    reports.extend([cycle(2, None), cycle(20, Some("fork")), cycle(20, None)]);
    reports.last_mut().unwrap().threads[3].holds[0].site = D;
    reports
}

#[test]
fn colours_add_nothing_but_escapes() {
    for report in assorted() {
        for width in [60, 100] {
            let coloured = Picture::WithSources(&report).text(Style::coloured(), width);
            let mut parts = coloured.split('\x1b');
            let mut stripped = parts.next().unwrap().to_owned();
            parts.for_each(|part| stripped += part.split_once('m').unwrap().1);
            assert_eq!(stripped, Picture::WithSources(&report).text(Style::plain(), width));
            assert!(coloured.starts_with("\x1b[1;31mdeadlock: "), "{coloured}");
        }
    }
}

#[test]
fn lines_fit_never_end_in_blanks_and_there_is_one_help() {
    use unicode_width::UnicodeWidthStr;
    for report in assorted() {
        for width in [80, 100, 140] {
            let text = Picture::WithSources(&report).text(Style::plain(), width);
            assert!(text.split('\n').all(|line| line == line.trim_end()), "{text:?}");
            assert!(text.split('\n').skip(1).all(|line| line.width() <= width), "{text}");
            assert_eq!(text.matches("\nhelp: ").count(), 1, "{text}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }
}
