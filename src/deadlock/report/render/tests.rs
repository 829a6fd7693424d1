//! Reports as text, word for word.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::deadlock::report::{Task, Wait};

pub(in crate::deadlock) const A: Site = Location::caller();
pub(in crate::deadlock) const B: Site = Location::caller();
pub(in crate::deadlock) const C: Site = Location::caller();
const D: Site = Location::caller();
const MADE: Site = Location::caller();
const MADE_TOO: Site = Location::caller();

pub(in crate::deadlock) fn lock(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
    Resource { key, is_task: false, name, primitive: "Lock", data_type: "alloc::vec::Vec<u64>", made_at }
}

pub(in crate::deadlock) fn task(key: usize, name: Option<&'static str>, made_at: Site) -> Resource {
    Resource { key, is_task: true, name, primitive: "Future", data_type: "my::main::{{closure}}", made_at }
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
            waited,
            timed: false,
            queued_in: None,
            process: None,
            others: 0,
        });
        self
    }

    pub(in crate::deadlock) fn in_queue_of(mut self, pool: &Arc<str>) -> Self {
        self.waits_for.as_mut().expect("it waits").queued_in = Some(Arc::clone(pool));
        self
    }

    pub(in crate::deadlock) fn for_process(mut self, process: u32) -> Self {
        self.waits_for.as_mut().expect("it waits").process = Some(process);
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
        self.holds.push(Held { resource: resource.clone(), site, purpose: None, left_behind: false });
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

fn rendered(report: &Report, style: Style, sources: fn() -> Sources) -> String {
    let text = fmt::from_fn(|f| Renderer::new(everybody(report), style, sources(), f).report(report));
    text.to_string()
}

/// Renders a report without source text, which has tests of its own.
fn text(report: &Report) -> String {
    rendered(report, Style::plain(), Sources::none)
}

fn text_of_wait(wait: &LongWait) -> String {
    let threads = || std::iter::once(&wait.waiter).chain(&wait.owner);
    fmt::from_fn(|f| Renderer::new(threads(), Style::plain(), Sources::none(), f).long_wait(wait)).to_string()
}

#[test]
fn two_named_locks_taken_in_opposite_orders() {
    let [a, b, _] = named();
    let right = thread("right", 2).waits(&a, B).holding(&b, A);
    let left = thread("left", 1).waits(&b, D).holding(&a, C);
    let expected = format!(
        "deadlock: 2 threads wait for each other

thread 'right' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms
  and holds 'b' (Lock<Vec<u64>>), which thread 'left' waits for
    taken at {A}

thread 'left' waits for 'b' (Lock<Vec<u64>>)
    at {D}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which thread 'right' waits for
    taken at {C}

help: take these locks in one order everywhere: thread 'left' takes 'a' before 'b', at {C}; \
thread 'right' takes 'b' before 'a', at {A}; \
or use `acquire` and back off when it returns `Deadlock`"
    );
    assert_eq!(text(&made(Kind::Cycle, [right, left], Vec::new())), expected);
}

/// Checks the text of two tasks that wait for each other's results, and one behind them that is still queued.
#[test]
fn two_tasks_that_wait_for_each_other() {
    let (a, b) = (task(1, Some("a"), A), task(2, None, B));
    let pool: Arc<str> = "pool".into();
    let first = thread("pool_0", 1).working_for(&pool).running(&a).waits(&b, C);
    let second = thread("pool_1", 2).working_for(&pool).running(&b).waits(&a, D).and_others(2);
    let bystander = thread("main", 3).waits(&task(3, None, C), D).in_queue_of(&pool);
    let expected = format!(
        "deadlock: 2 tasks wait for each other

task 'a' on thread 'pool_0' waits for task main::{{{{closure}}}} submitted at {B}
    at {C}, for at least 1.2 ms
  submitted at {A}

task main::{{{{closure}}}} submitted at {B} on thread 'pool_1' waits for task 'a' and 2 more
    at {D}, for at least 1.2 ms

also stuck behind it: thread 'main' waits for task main::{{{{closure}}}} submitted at {C} (queued in pool 'pool'), at {D}

help: each needs the result of the next: break the circle, for example let nobody in it wait for task \
main::{{{{closure}}}} submitted at {B} at {C}"
    );
    assert_eq!(text(&made(Kind::Cycle, [first, second], vec![bystander])), expected);
}

#[test]
fn a_task_in_place_that_wants_what_its_waiter_holds() {
    let (a, b, ledger) = (task(1, Some("a"), A), task(2, Some("b"), B), lock(3, Some("ledger"), MADE));
    let inner = StuckThread { is_in_place: true, ..thread("pool_0", 1) }.running(&b).waits(&ledger, C);
    let outer = thread("pool_0", 1).running(&a).waits(&b, D).holding(&ledger, A);
    let expected = format!(
        "deadlock: 2 tasks wait for each other

task 'b' (run in place) on thread 'pool_0' waits for 'ledger' (Lock<Vec<u64>>)
    at {C}, for at least 1.2 ms
  submitted at {B}

task 'a' on thread 'pool_0' waits for task 'b'
    at {D}, for at least 1.2 ms
  submitted at {A}
  and holds 'ledger' (Lock<Vec<u64>>), which task 'b' (run in place) on thread 'pool_0' waits for
    taken at {A}

help: release 'ledger', taken at {A}, before waiting for task 'b'"
    );
    assert_eq!(text(&made(Kind::Cycle, [inner, outer], Vec::new())), expected);
}

#[test]
fn whoever_waits_for_another_process_says_which() {
    let [a, ..] = named();
    let (first, second) = (task(1, Some("thumbnail"), A), task(2, None, B));
    let waiters = vec![
        thread("v", 1).waits(&first, C).for_process(4711),
        thread("w", 2).waits(&second, D).for_process(4712).and_others(2),
    ];
    let report = text(&made(Kind::Relock, [thread("main", 3).waits(&a, B).holding(&a, A)], waiters.clone()));
    let unnamed = format!("task main::{{{{closure}}}} submitted at {B}");
    let expected = format!(
        "
also stuck behind it: thread 'v' waits for task 'thumbnail', which process 4711 runs, at {C}
also stuck behind it: thread 'w' waits for {unnamed}, which process 4712 runs, and 2 more, at {D}
"
    );
    assert!(report.contains(&expected), "{report}");
    let long = LongWait { waiter: waiters[0].clone(), owner: None };
    let expected =
        format!("long wait: thread 'v' has waited 1.2 ms for task 'thumbnail', which process 4711 runs\n    at {C}");
    assert_eq!(text_of_wait(&long), expected);
}

#[test]
fn workers_that_all_wait_for_their_pool() {
    let pool: Arc<str> = "pool".into();
    let queued = task(3, Some("c"), A);
    let room = Resource { primitive: "ThreadPoolExecutor", ..lock(4, None, MADE) };
    let first = thread("pool_0", 1).working_for(&pool).running(&task(1, Some("a"), A));
    let second = thread("pool_1", 2).working_for(&pool).running(&task(2, Some("b"), A));
    let workers = [first.waits(&queued, B).in_queue_of(&pool), second.waits(&room, C).in_queue_of(&pool)];
    let expected = format!(
        "deadlock: 2 tasks wait for workers that all wait

task 'a' on thread 'pool_0' waits for task 'c' (queued in pool 'pool')
    at {B}, for at least 1.2 ms
  submitted at {A}

task 'b' on thread 'pool_1' waits for room in the queue of pool 'pool'
    at {C}, for at least 1.2 ms
  submitted at {A}

help: give pool 'pool' more workers, wait for its tasks only outside of it, or split it into two pools"
    );
    assert_eq!(text(&made(Kind::Starvation, workers, Vec::new())), expected);
}

#[test]
fn who_runs_no_task_is_a_thread() {
    let (a, b) = (task(1, Some("a"), A), lock(2, Some("b"), MADE));
    let worker = thread("pool_0", 1).running(&a).waits(&b, B);
    let main = thread("main", 2).waits(&a, C).holding(&b, D);
    let text = text(&made(Kind::Cycle, [worker, main], Vec::new()));
    assert!(text.starts_with("deadlock: 2 threads wait for each other\n"), "{text}");
    assert!(text.ends_with(&format!("help: release 'b', taken at {D}, before waiting for task 'a'")), "{text}");
}

#[test]
fn a_task_that_waits_for_itself() {
    let a = task(1, Some("a"), A);
    let text = text(&made(Kind::Relock, [thread("pool_0", 1).running(&a).waits(&a, B)], Vec::new()));
    assert!(text.starts_with("deadlock: task 'a' on thread 'pool_0' waits for itself\n"), "{text}");
}

#[test]
fn unnamed_threads_and_locks_are_told_by_type_and_line() {
    let (a, b) = (lock(1, None, MADE), lock(2, None, MADE_TOO));
    let right = thread("", 4711).waits(&a, B).holding(&b, A);
    let left = thread("", 0).waits(&b, D).holding(&a, C);
    let expected = format!(
        "deadlock: 2 threads wait for each other

unnamed thread (os id 4711) waits for Lock<Vec<u64>> made at {MADE}
    at {B}, for at least 1.2 ms
  and holds Lock<Vec<u64>> made at {MADE_TOO}, which unnamed thread waits for
    taken at {A}

unnamed thread waits for Lock<Vec<u64>> made at {MADE_TOO}
    at {D}, for at least 1.2 ms
  and holds Lock<Vec<u64>> made at {MADE}, which unnamed thread (os id 4711) waits for
    taken at {C}

help: take these locks in one order everywhere: \
unnamed thread takes Lock<Vec<u64>> made at {MADE} before Lock<Vec<u64>> made at {MADE_TOO}, at {C}; \
unnamed thread (os id 4711) takes Lock<Vec<u64>> made at {MADE_TOO} before Lock<Vec<u64>> made at {MADE}, at {A}; \
or use `acquire` and back off when it returns `Deadlock`"
    );
    assert_eq!(text(&made(Kind::Cycle, [right, left], Vec::new())), expected);
}

#[test]
fn three_threads_with_bystanders() {
    let [a, b, c] = named();
    let unnamed = lock(4, None, MADE);
    let core = [
        thread("x", 1).waits(&a, A).holding(&c, B),
        thread("y", 2).waits(&b, A).holding(&a, B).holding(&unnamed, D),
        thread("z", 3).waits(&c, A).holding(&b, B),
    ];
    let bystanders = vec![thread("w1", 4).waits(&b, C), thread("w2", 5).waits(&unnamed, C)];
    let expected = format!(
        "deadlock: 3 threads wait for each other

thread 'x' waits for 'a' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'c' (Lock<Vec<u64>>), which thread 'z' waits for
    taken at {B}

thread 'y' waits for 'b' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which thread 'x' waits for
    taken at {B}
  and holds Lock<Vec<u64>> made at {MADE}, which thread 'w2' waits for
    taken at {D}

thread 'z' waits for 'c' (Lock<Vec<u64>>)
    at {A}, for at least 1.2 ms
  and holds 'b' (Lock<Vec<u64>>), which thread 'y' and 1 more wait for
    taken at {B}

also stuck behind it: thread 'w1' waits for 'b' at {C}
also stuck behind it: thread 'w2' waits for Lock<Vec<u64>> made at {MADE}, at {C}

help: take these locks in one order everywhere: thread 'y' takes 'a' before 'b', at {B}; \
thread 'z' takes 'b' before 'c', at {B}; thread 'x' takes 'c' before 'a', at {B}; \
or use `acquire` and back off when it returns `Deadlock`"
    );
    assert_eq!(text(&made(Kind::Cycle, core, bystanders)), expected);
}

#[test]
fn a_lock_taken_twice_by_one_thread() {
    let [a, ..] = named();
    let expected = format!(
        "deadlock: thread 'main' waits for a lock it holds itself

thread 'main' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms
  and holds 'a' (Lock<Vec<u64>>), which it waits for itself
    taken at {A}

help: release the guard taken at {A} before locking again, or use an `RLock`"
    );
    let main = thread("main", 1).waits(&a, B).holding(&a, A);
    assert_eq!(text(&made(Kind::Relock, [main], Vec::new())), expected);
}

#[test]
fn a_lock_of_a_thread_that_has_ended() {
    let [a, ..] = named();
    let expected = format!(
        "deadlock: thread 'x' waits for a lock held by thread 'y', which has ended

thread 'x' waits for 'a' (Lock<Vec<u64>>)
    at {B}, for at least 1.2 ms

thread 'y' has ended
  still holds 'a' (Lock<Vec<u64>>), which thread 'x' waits for
    taken at {A}

help: a guard was leaked (`mem::forget`, `leak`) by thread 'y' at {A}: let it drop before the thread ends"
    );
    let threads = [thread("x", 1).waits(&a, B), thread("y", 2).holding(&a, A).gone()];
    assert_eq!(text(&made(Kind::Abandoned, threads, Vec::new())), expected);
}

#[test]
fn locks_and_threads_that_look_alike_are_numbered() {
    for (name, label) in [(Some("fork"), "'fork' #"), (None, "Lock<Vec<u64>> #")] {
        let mut report = cycle(3, name);
        for (at, thread) in report.threads.iter_mut().enumerate() {
            (thread.name, thread.os_id) = (Some("worker".into()), 70 + at as u32);
        }
        let text = text(&report);
        assert!(text.contains(&format!("\nthread 'worker' (os id 71) waits for {label}2")), "{text}");
        assert!(text.contains(&format!("  and holds {label}1")), "{text}");
        assert!(text.contains("help: take these locks in one order everywhere, for example by index: "), "{text}");
    }
}

#[test]
fn every_member_of_a_long_cycle_is_named_in_two_lines() {
    let mut report = cycle(MAX_PARAGRAPHS + 1, Some("fork"));
    let unwanted = lock(1000, None, MADE_TOO);
    report.threads[16].holds.extend([(); 2].map(|()| Held {
        resource: unwanted.clone(),
        site: C,
        purpose: None,
        left_behind: false,
    }));
    let text = text(&report);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2 + 2 * 17 + 2, "{text}");
    let alike = "(Lock<Vec<u64>>), which thread 't15' waits for, taken at";
    assert_eq!(lines[34], format!("thread 't16' waits for 'fork' #17 (Lock<Vec<u64>>), at {A}, for at least 1.2 ms"));
    assert_eq!(lines[35], format!("  and holds 'fork' #16 {alike} {B} (and holds 2 more)"));
}

#[test]
fn members_of_a_very_long_cycle_are_counted() {
    let shown = |size| {
        let text = text(&cycle(size, Some("fork")));
        assert!(text.starts_with(&format!("deadlock: {size} threads wait for each other\n")), "{text}");
        let lines = text.lines().filter(|line| line.starts_with("thread 't")).count();
        (lines, text.contains(&format!("taken at {B}\n… and {} more\n\nhelp: ", size.saturating_sub(MAX_THREADS))))
    };
    assert_eq!(shown(MAX_THREADS), (MAX_THREADS, false));
    assert_eq!(shown(MAX_THREADS + 936), (MAX_THREADS, true));
}

#[test]
fn what_a_thread_holds_beyond_the_first_is_counted_and_what_is_waited_for_is_among_the_first() {
    let [a, ..] = named();
    let others: Vec<_> = (0..40).map(|key| lock(100 + key, None, MADE_TOO)).collect();
    let holder = |count: usize| {
        let mut holder =
            others[..count].iter().fold(thread("x", 1).waits(&a, B), |holder, lock| holder.holding(lock, C));
        holder.omitted_holds = 1000;
        holder.holding(&a, A)
    };
    let report = |count| text(&made(Kind::Relock, [holder(count)], Vec::new()));
    // All of them, in their order.
    let few = report(MAX_HOLDS - 1);
    assert_eq!(few.matches("and holds").count(), MAX_HOLDS, "{few}");
    let last =
        format!("  and holds 'a' (Lock<Vec<u64>>), which it waits for itself\n    taken at {A}\n  … and 1000 more\n\n");
    assert!(few.contains(&last), "{few}");
    // Not all, the wanted one first.
    let many = report(40);
    assert_eq!(many.matches("and holds").count(), MAX_HOLDS, "{many}");
    assert!(many.find("and holds 'a'").unwrap() < many.find("and holds Lock").unwrap(), "{many}");
    assert!(many.contains("\n  … and 1025 more\n\nhelp: "), "{many}");
    let lines = fmt::from_fn(|f| threads([holder(40)].iter(), f)).to_string();
    assert_eq!(lines.lines().count(), 1 + MAX_HOLDS + 1, "{lines}");
    assert!(lines.ends_with("\n  … and 1025 more"), "{lines}");
}

#[test]
fn many_bystanders_are_counted() {
    let [a, ..] = named();
    let bystanders = |count: usize| (0..count).map(|at| thread(&format!("w{at}"), 0).waits(&a, A)).collect();
    let report = |count| text(&made(Kind::Cycle, cycle(2, None).threads, bystanders(count)));
    assert_eq!(report(10).matches("also stuck behind it: ").count(), 10);
    assert!(!report(10).contains('…'));
    assert_eq!(report(33).matches("also stuck behind it: ").count(), 10);
    assert!(report(33).contains(&format!("thread 'w9' waits for 'a' at {A}\n… and 23 more\n\nhelp: ")));
}

#[test]
fn a_long_wait_tells_the_owner_and_its_line() {
    let [a, b, c] = named();
    let waiter = thread("x", 1).waits(&a, B);
    let owner = thread("y", 2).waits(&b, C).holding(&c, D).holding(&a, A);
    let first = format!("long wait: thread 'x' has waited 1.2 ms for 'a'\n    at {B}\n");
    let long = LongWait { waiter: waiter.clone(), owner: Some(owner) };
    let holds = format!("thread 'y' holds it\n    taken at {A}\n");
    let waits = format!("  and waits for 'b' (Lock<Vec<u64>>)\n    at {C}, for at least 1.2 ms");
    assert_eq!(text_of_wait(&long), format!("{first}{holds}{waits}"));
    let long = LongWait { waiter: waiter.clone(), owner: Some(thread("y", 2).holding(&a, A)) };
    assert_eq!(text_of_wait(&long), format!("{first}{}", holds.trim_end()));
    let long = LongWait { waiter, owner: None };
    assert_eq!(text_of_wait(&long), format!("{first}who holds it is not known"));
}

/// Returns reports of all kinds, with names that try to break out of their line.
fn assorted() -> Vec<Report> {
    let hostile = lock(9, Some("a\x1b[0m\r\nb"), MADE);
    let threads = || vec![thread("x\n\x1b[31my", 3).waits(&hostile, A).holding(&hostile, B), thread("", 7).gone()];
    let kinds = [Kind::Relock, Kind::Cycle, Kind::Starvation, Kind::Abandoned];
    let mut reports = kinds.map(|kind| made(kind, threads(), threads())).to_vec();
    reports.extend(kinds.map(|kind| made(kind, [], Vec::new())));
    reports.extend([cycle(2, None), cycle(20, Some("fork"))]);
    reports
}

#[test]
fn colours_add_nothing_but_escapes() {
    for report in assorted() {
        let coloured = rendered(&report, Style::coloured(), Sources::new);
        let mut parts = coloured.split('\x1b');
        let mut stripped = parts.next().unwrap().to_owned();
        parts.for_each(|part| stripped += part.split_once('m').unwrap().1);
        assert_eq!(stripped, rendered(&report, Style::plain(), Sources::new));
        assert!(coloured.starts_with("\x1b[1;31mdeadlock: "), "{coloured}");
    }
}

#[test]
fn lines_never_end_in_blanks_and_there_is_one_line_of_help() {
    for report in assorted() {
        let text = rendered(&report, Style::plain(), Sources::new);
        assert!(text.split('\n').all(|line| line == line.trim_end()), "{text:?}");
        assert!(text.lines().last().unwrap().starts_with("help: "), "{text}");
        assert_eq!(text.matches("help: ").count(), 1, "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn source_text_is_shown_where_it_is_known() {
    let [a, ..] = named();
    let report = made(Kind::Relock, [thread("main", 1).waits(&a, B).holding(&a, A)], Vec::new());
    let text = rendered(&report, Style::plain(), Sources::new);
    assert!(
        text.contains("1.2 ms\n     | pub(in crate::deadlock) const B: Site = Location::caller();\n  and"),
        "{text}"
    );
    assert!(text.contains(" const A: Site = Location::caller();\n\nhelp: "), "{text}");
}
