//! What the tests of the detector share: reports collected by a hook, rings that close, and what makes a report a proof.
//!
//! Hooks are process-wide, so each test tells its own reports by how the names of its threads begin.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use bowline::Lock;
use bowline::deadlock::report::{Resource, StuckThread, Task, Wait};
use bowline::deadlock::{self, Deadlock, Hook, Kind, Report};

use super::{LIMIT, message, until_waiting};

/// This file, as reports name it.
pub(crate) const FILE: &str = file!();

/// Collects the reports that name a thread whose name begins in one way.
pub(crate) struct Reports {
    list: Arc<Mutex<Vec<Report>>>,
    _hook: Hook,
}

impl Reports {
    /// Collects from now on.
    pub(crate) fn about(prefix: &'static str) -> Self {
        let list = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&list);
        let hook = deadlock::on_deadlock(move |report| {
            if names(report.threads()).iter().any(|name| name.starts_with(prefix)) {
                theirs.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
            }
        });
        Self { list, _hook: hook }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes those that there are.
    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Shut until it is opened, and then open for ever.
pub(crate) struct Gate(OnceLock<()>);

impl Gate {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn open(&self) {
        let _ = self.0.set(());
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.get().is_some()
    }

    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        self.0.wait();
    }
}

/// The threads' names, sorted; an empty one for a thread that has none.
pub(crate) fn names(threads: &[StuckThread]) -> Vec<&str> {
    let mut names: Vec<_> = threads.iter().map(|thread| thread.name().unwrap_or_default()).collect();
    names.sort_unstable();
    names
}

/// The names of what a thread holds, sorted; an empty one for what has none.
pub(crate) fn held_names(thread: &StuckThread) -> Vec<&'static str> {
    let mut names: Vec<_> = thread.holds().iter().map(|held| held.resource().name().unwrap_or_default()).collect();
    names.sort_unstable();
    names
}

/// What a thread waits for.
#[track_caller]
pub(crate) fn wanted(thread: &StuckThread) -> &Resource {
    thread.waits_for().unwrap_or_else(|| panic!("{:?} waits for nothing", thread.name())).resource()
}

/// The name of the task that a thread runs; an empty one for a task that has none, and where there is no task.
pub(crate) fn task_name(thread: &StuckThread) -> &'static str {
    thread.task().and_then(Task::name).unwrap_or_default()
}

/// Whether a thread holds this, or runs it.
fn holds(thread: &StuckThread, resource: &Resource) -> bool {
    let is_it = |task: &Task| {
        let made = (task.name(), task.type_name(), task.submitted_at());
        made == (resource.name(), resource.data_type(), resource.made_at())
    };
    thread.holds().iter().any(|held| held.resource().is_same(resource)) || thread.task().is_some_and(is_it)
}

/// Whether a thread waits for the end of another one.
fn joins(waiter: &StuckThread, thread: &StuckThread) -> bool {
    let joined = waiter.waits_for().and_then(Wait::joined);
    joined.is_some_and(|joined| (joined.name(), joined.os_id()) == (thread.name(), thread.os_id()))
}

/// Panics unless the report proves, by its own data, that nobody in it can ever go on.
#[track_caller]
pub(crate) fn assert_is_a_proof(report: &Report) {
    let (threads, bystanders) = (report.threads(), report.bystanders());
    match report.kind() {
        Kind::Relock => {
            let [thread] = threads else { panic!("a relock of {} threads: {report}", threads.len()) };
            assert!(holds(thread, wanted(thread)) || joins(thread, thread), "{report}");
        }
        Kind::Cycle if threads.iter().any(|thread| has_several_providers(wanted(thread))) => {
            assert_all_wait_for_each_other(report);
        }
        Kind::Cycle => {
            assert!(threads.len() > 1, "{report}");
            for (at, thread) in threads.iter().enumerate() {
                let next = &threads[(at + 1) % threads.len()];
                let provides = holds(next, wanted(thread)) || joins(thread, next);
                assert!(provides, "{:?} holds it not: {report}", next.name());
            }
        }
        Kind::Abandoned => {
            let [waiter, gone] = threads else { panic!("{} threads: {report}", threads.len()) };
            assert!(gone.is_gone() && gone.waits_for().is_none(), "{report}");
            assert!(holds(gone, wanted(waiter)), "{report}");
        }
        kind => panic!("{kind:?} of locks alone: {report}"),
    }
    let everybody = || threads.iter().chain(bystanders);
    let alive = || everybody().filter(|thread| !thread.is_gone());
    for thread in alive() {
        assert!(!thread.waits_for().expect("who is alive waits").is_timed(), "{report}");
        let told = alive().filter(|other| other.os_id() == thread.os_id() && !other.is_in_place()).count();
        assert!(told <= 1 || thread.os_id() == 0, "{:?} is told {told} times: {report}", thread.name());
    }
    for bystander in bystanders {
        let is_in_the_way = |other| is_in_the_way(other, bystander) || joins(bystander, other);
        assert!(everybody().any(is_in_the_way), "nobody in here is in the way: {report}");
    }
}

/// Whether a wait for this may need more than one thread to act.
fn has_several_providers(wanted: &Resource) -> bool {
    matches!(wanted.primitive(), "RwLock" | "BoundedSemaphore")
}

/// Whether one thread may be what another one waits for: it holds it, or it is the writer that is next for it.
fn is_in_the_way(other: &StuckThread, waiter: &StuckThread) -> bool {
    let wants = |what: &Resource| other.waits_for().is_some_and(|wait| wait.resource().is_same(what));
    let wanted = wanted(waiter);
    let is_next = wanted.primitive() == "RwLock" && !std::ptr::eq(other, waiter) && wants(wanted);
    is_next || holds(other, wanted) || joins(waiter, other)
}

/// Panics unless each of the threads of a cycle waits for each other one, by way of others. A writer waits for several.
#[track_caller]
fn assert_all_wait_for_each_other(report: &Report) {
    let threads = report.threads();
    assert!(threads.len() > 1, "{report}");
    // The first waits for all, and all wait for the first.
    for backward in [false, true] {
        let mut reached = vec![false; threads.len()];
        let mut todo = vec![0];
        while let Some(from) = todo.pop() {
            for (at, other) in threads.iter().enumerate() {
                let (provider, waiter) = if backward { (&threads[from], other) } else { (other, &threads[from]) };
                if !reached[at] && is_in_the_way(provider, waiter) {
                    reached[at] = true;
                    todo.push(at);
                }
            }
        }
        assert!(reached.iter().all(|&reached| reached), "not all wait for each other: {report}");
    }
}

/// The one report that there is, if it is a proof.
#[track_caller]
pub(crate) fn the_only(reports: &Reports) -> Report {
    let mut taken = reports.take();
    assert_eq!(taken.len(), 1, "{taken:#?}");
    let report = taken.remove(0);
    assert_is_a_proof(&report);
    report
}

/// Closes a ring: thread `i` holds lock `i`, and wants the next by `acquire` once everybody holds one.
///
/// Threads are called `{prefix} 0`, `{prefix} 1`, … Returns what became of each wait, once all have ended. What a
/// thread holds it keeps until its wait has ended.
pub(crate) fn close_ring(prefix: &str, size: usize) -> Vec<Result<(), Deadlock>> {
    let locks: Vec<_> = (0..size).map(|_| Lock::new(())).collect();
    let everybody_holds_one = Barrier::new(size);
    thread::scope(|s| {
        let member = |at: usize| {
            let (locks, everybody_holds_one) = (&locks, &everybody_holds_one);
            let body = move || {
                let _held = locks[at].lock();
                everybody_holds_one.wait();
                locks[(at + 1) % size].acquire().map(drop)
            };
            // A thousand threads with the usual stacks would ask for gigabytes of addresses.
            let builder = thread::Builder::new().name(format!("{prefix} {at}")).stack_size(128 << 10);
            builder.spawn_scoped(s, body).expect("a thread")
        };
        let members: Vec<_> = (0..size).map(member).collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

/// By which call a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Lock,
    Acquire,
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Granted,
    /// With a deadlock as a value.
    Value(Deadlock),
    /// With a panic of this message.
    Panic(String),
}

/// Two threads that hold a lock each and want the other's. They are part of no scope, so that they may wait for ever.
pub(crate) struct Crossing {
    endings: mpsc::Receiver<(usize, Ending)>,
}

impl Crossing {
    /// Starts the threads `{prefix} 0`, which waits first, and `{prefix} 1`, which closes the cycle.
    pub(crate) fn start(prefix: &'static str, by: [By; 2]) -> Self {
        let locks: &[Lock<()>; 2] = Box::leak(Box::new([Lock::named("a", ()), Lock::named("b", ())]));
        let both_hold = Arc::new(Barrier::new(2));
        let (ended, endings) = mpsc::channel();
        for (at, by) in by.into_iter().enumerate() {
            let (both_hold, ended) = (Arc::clone(&both_hold), ended.clone());
            let body = move || {
                let ending = catch_unwind(AssertUnwindSafe(|| {
                    let _mine = locks[at].lock();
                    both_hold.wait();
                    if at == 1 {
                        until_waiting(&format!("{prefix} 0"));
                    }
                    wait_by(by, &locks[1 - at])
                }));
                let ending = ending.unwrap_or_else(|payload| Ending::Panic(message(&*payload).to_owned()));
                let _ = ended.send((at, ending));
            };
            thread::Builder::new().name(format!("{prefix} {at}")).spawn(body).expect("a thread");
        }
        Self { endings }
    }

    /// What becomes of both waits.
    #[track_caller]
    pub(crate) fn endings(&self) -> [Ending; 2] {
        let mut endings = [(); 2].map(|()| self.endings.recv_timeout(LIMIT).expect("neither waits for ever"));
        endings.sort_by_key(|&(at, _)| at);
        endings.map(|(_, ending)| ending)
    }

    /// Whether both still wait.
    pub(crate) fn stands(&self) -> bool {
        matches!(self.endings.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

fn wait_by(by: By, lock: &Lock<()>) -> Ending {
    match by {
        By::Lock => {
            drop(lock.lock());
            Ending::Granted
        }
        By::Acquire => match lock.acquire() {
            Ok(_guard) => Ending::Granted,
            Err(deadlock) => Ending::Value(deadlock),
        },
    }
}
