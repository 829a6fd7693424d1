//! The advice at the end of a report: what would have avoided the deadlock.

use std::collections::HashSet;

use super::find_hold;
use super::names::{Names, Place, printable};
use super::page::GLUE;
use super::ring::Ring;
use crate::deadlock::graph::resource::Site;
use crate::deadlock::report::author::Author;
use crate::deadlock::report::cause::{Causes, HoldAndWait};
use crate::deadlock::report::source::Sources;
use crate::deadlock::report::syntax::{Call, Extent, Function, Syntax};
use crate::deadlock::report::{Access, Held, Kind, Purpose, Report, Resource, StuckThread, Wait};

/// How many of a cycle's lines are shown; of more, the first ones and the last.
const MAX_PLACES: usize = 5;

/// Returns what would have avoided the deadlock, in lines.
pub(in crate::deadlock) fn help(report: &Report, names: &Names<'_>, sources: &mut Sources) -> Vec<String> {
    let mut advice = advice(report, names, &Causes::of(report, from_the_cut(report), sources));
    advice.extend(only_line(report).and_then(|site| callers(site, sources)));
    advice
}

fn advice(report: &Report, names: &Names<'_>, causes: &Causes<'_, '_>) -> Vec<String> {
    let first = report.threads.first();
    let resource = first.and_then(|thread| Some(&thread.waits_for.as_ref()?.resource));
    let taken = |thread: Option<&StuckThread>| {
        let held = thread.zip(resource).and_then(|(thread, resource)| find_hold(thread, resource));
        held.map_or(String::new(), |held| format!("{GLUE}{}", Place::of_hold(held)))
    };
    let advice = match report.kind {
        Kind::Relock if resource.is_some_and(|resource| resource.is_task()) => {
            "a task cannot wait for its own result: return the value, and read the result outside of the task"
                .to_owned()
        }
        Kind::Relock if resource.is_some_and(|resource| resource.is_thread()) => {
            "a thread cannot wait for its own end: join it from another thread, or drop the handle".to_owned()
        }
        Kind::Relock if resource.is_some_and(Resource::is_pool) => {
            "a pool ends after its last task: shut it down outside of its tasks, or without waiting for its end"
                .to_owned()
        }
        Kind::Relock if resource.is_some_and(|resource| resource.is_once()) => {
            let (called, what) = (taken(first), resource.map_or(String::new(), |once| names.resource(once)));
            format!(
                "the initialiser called{called} needs {what} itself, perhaps by way of another one: remove that use"
            )
        }
        Kind::Relock
            if first
                .zip(resource)
                .and_then(|(thread, lock)| find_hold(thread, lock))
                .is_some_and(Held::is_left_behind) =>
        {
            format!(
                "a task that ran on this thread took the lock{} and ended: let guards drop before their task ends",
                taken(first)
            )
        }
        Kind::Relock if purpose(first, resource).is_some() => {
            format!(
                "a lock is held while its value is formatted or serialized: let the code that does so not lock it again{}",
                or_use_an_rlock(resource)
            )
        }
        Kind::Relock if resource.is_some_and(Resource::has_permits) => {
            format!("give back the permits taken{} before taking more", taken(first))
        }
        Kind::Relock => {
            let of_source = temporary(report, names, causes).or_else(|| call(report, names, causes));
            of_source.unwrap_or_else(|| match accesses(first) {
                Some((wait, held)) => read_and_write(wait, held, first),
                None => {
                    format!("drop the guard taken{} before locking again{}", taken(first), or_use_an_rlock(resource))
                }
            })
        }
        Kind::Cycle => {
            let mut lines = cycle(report, names);
            if let Some(temporary) = temporary(report, names, causes) {
                lines[0].insert_str(0, "or ");
                lines.insert(0, temporary);
            }
            lines.extend(call(report, names, causes));
            return lines;
        }
        Kind::Starvation => workers(&report.threads, names),
        Kind::Abandoned if resource.is_some_and(|resource| resource.is_task()) => {
            "a task ends with its thread: let no thread of a pool be ended from within".to_owned()
        }
        Kind::Abandoned if resource.is_some_and(|resource| resource.is_once()) => {
            let called = taken(report.threads.get(1));
            format!("the thread ended inside the initialiser called{called}: end no thread before that has returned")
        }
        Kind::Abandoned if resource.is_some_and(|resource| resource.is_thread()) => {
            "let the thread's closure return: nothing is known of a thread that is ended from within".to_owned()
        }
        Kind::Abandoned => {
            let gone = report.threads.get(1);
            let name = gone.map_or("a thread".to_owned(), |gone| names.thread(gone));
            let taken = taken(gone);
            format!(
                "{name} took it{taken} and leaked the guard (`mem::forget`, `leak`): drop it before the thread ends"
            )
        }
    };
    vec![advice]
}

/// Returns the end of an advice about a `Lock`.
fn or_use_an_rlock(resource: Option<&Resource>) -> &'static str {
    match resource {
        Some(Resource { primitive: "Lock", .. }) => ", or use an `RLock`",
        Some(foreign @ Resource { primitive: "Mutex", .. }) if foreign.is_foreign() => ", or use a `ReentrantMutex`",
        _ => "",
    }
}

/// Says which construct keeps a guard that is a temporary of it.
fn temporary(report: &Report, names: &Names<'_>, causes: &Causes<'_, '_>) -> Option<String> {
    let (HoldAndWait { held, .. }, extent) = causes.temporary.as_ref()?;
    let place = Place::of_hold(held);
    let guard = match report.kind {
        Kind::Cycle if Ring::of(report).is_none() => {
            format!("the guard of {}, taken{GLUE}{place},", names.resource(&held.resource))
        }
        _ => format!("the guard taken{GLUE}{place}"),
    };
    let instead = match extent {
        Extent::For => "collect the values with `let` first",
        Extent::WhileLet => "write a `loop`, and copy the value out with `let` first",
        _ => "copy the value out with `let` first",
    };
    Some(format!("{guard} lives to the end of its {extent}: {instead}"))
}

/// Says which function keeps a guard while which other one runs.
fn call(report: &Report, names: &Names<'_>, causes: &Causes<'_, '_>) -> Option<String> {
    let (HoldAndWait { thread, held, wait }, holder, waiter) = causes.call.as_ref()?;
    let [holder, waiter_name] = [holder, waiter].map(|function| printable(&function.to_string()));
    let what = if Ring::of(report).is_some() {
        let lock = names.kind_and_name(&held.resource);
        format!("each thread holds a {lock} in {holder} while {waiter_name} runs, which waits for another")
    } else if report.kind == Kind::Cycle {
        let [held, wanted] = [names.resource(&held.resource), names.wait(wait, Names::resource)];
        format!("{} holds {held} in {holder} while {waiter_name} runs, which waits for {wanted}", names.thread(thread))
    } else {
        let lock = names.resource(&held.resource);
        format!("{lock} is held by {holder} while {waiter_name} runs, which asks for it again")
    };
    let instead = match waiter.is_drop() {
        true => "take the value out of the guard, and let it drop after the guard",
        false => "take what is needed out of the guard, and let the guard go first",
    };
    let or = if report.kind == Kind::Relock { or_use_an_rlock(Some(&held.resource)) } else { "" };
    Some(format!("{what}: {instead}{or}"))
}

/// Returns the threads of a deadlock, from one on that does not depend on who reports, so that two runs of one program get
/// the same advice.
fn from_the_cut(report: &Report) -> impl Iterator<Item = &StuckThread> {
    let threads = report.threads.as_slice();
    let wanted = |at: &usize| Some(&threads[*at].waits_for.as_ref()?.resource);
    let waiting = (0..threads.len()).filter(|at| wanted(at).is_some());
    let cut = waiting.min_by_key(|at| wanted(at).map(|resource| (resource.made_at, resource.name))).unwrap_or(0);
    threads[cut..].iter().chain(&threads[..cut])
}

/// Returns the line on which all threads of the deadlock wait, and took what the others wait for, if there is one: such a
/// line is in a function that says nothing of who called it.
fn only_line(report: &Report) -> Option<Site> {
    let waits = || report.threads.iter().filter_map(StuckThread::waits_for);
    let wanted: HashSet<_> = waits().map(|wait| wait.resource.identity()).collect();
    // Other holds have lines of their own, which are shown as well.
    let holds = || report.threads.iter().flat_map(|thread| &thread.holds);
    let first = holds().next()?.site;
    let is_there = |site: Site, purpose: Option<Purpose>| site == first && purpose.is_none();
    (Author::of(first) == Author::Program
        && holds().all(|held| wanted.contains(&held.resource.identity()) && is_there(held.site, held.purpose))
        && waits().all(|wait| is_there(wait.site, wait.purpose)))
    .then_some(first)
}

/// Says how to learn who called the function around the one line of a report.
fn callers(site: Site, sources: &mut Sources) -> Option<String> {
    if Author::is_downloaded(site.file()) {
        return Some(format!(
            "every call above is at{GLUE}{site}, in a package: the stacks have the lines that called it (`BOWLINE_BACKTRACE=1`, with \
             bowline's feature `backtrace`)"
        ));
    }
    may_track_its_caller(site, sources).then(|| {
        format!(
            "every call above is at{GLUE}{site}: put `#[track_caller]` on the function there, and reports show its callers"
        )
    })
}

/// Returns whether the function around a line can have a `#[track_caller]`, as far as its source tells.
fn may_track_its_caller(site: Site, sources: &mut Sources) -> bool {
    sources.load(site);
    let around = |text| {
        let syntax = Syntax::of(text)?;
        Function::around(&syntax, Call::at(&syntax, site.line(), site.column())?)
            .map(|found| found.may_track_its_caller())
    };
    sources.loaded(site).and_then(around).unwrap_or(true)
}

/// Returns what the thread took the resource for, if a trait implementation took it.
fn purpose(thread: Option<&StuckThread>, resource: Option<&Resource>) -> Option<Purpose> {
    find_hold(thread?, resource?)?.purpose
}

/// Returns how a thread wants to hold a read-write lock that it holds already, and that hold.
fn accesses(thread: Option<&StuckThread>) -> Option<(&Wait, &Held)> {
    let thread = thread?;
    let wait = thread.waits_for.as_ref()?;
    let holds = || thread.holds.iter().filter(|held| held.resource.is_same(&wait.resource));
    // An upgrade has its own hold, too: another one is in its way.
    let read = holds().find(|held| held.access == Some(Access::Read));
    wait.access?;
    Some((wait, read.or_else(|| holds().next())?))
}

/// Says how a thread that holds a read-write lock gets what it wants of it.
fn read_and_write(wait: &Wait, held: &Held, thread: Option<&StuckThread>) -> String {
    let taken = format!("taken{GLUE}{}", Place::of_hold(held));
    let upgrades = || {
        let is_own = |held: &Held| held.access == Some(Access::UpgradableRead) && held.resource.is_same(&wait.resource);
        thread.is_some_and(|thread| thread.holds.iter().any(is_own))
    };
    match (held.access, wait.access.unwrap_or(Access::Write)) {
        (Some(Access::Read), Access::Write) if upgrades() => {
            format!("drop the guard {taken} before upgrading the other")
        }
        (Some(Access::Read), Access::Write) => {
            format!("drop the guard {taken} before writing; or take it by `upgradable_read`, and `upgrade` that guard")
        }
        (Some(Access::UpgradableRead), Access::Write) => {
            format!("`upgrade` the guard {taken} in place of asking for another")
        }
        (Some(Access::Write), Access::Read | Access::UpgradableRead) => {
            format!("read through the guard that writes, {taken}, or `downgrade` it first")
        }
        _ => format!("drop the guard {taken} before locking again"),
    }
}

/// Says how a thread of the deadlock gets what it wants of a read-write lock that it holds already, if one does: another
/// thread came in between.
fn second_access(threads: &[StuckThread], names: &Names<'_>) -> Option<String> {
    threads.iter().find_map(|thread| {
        let (wait, held) = accesses(Some(thread))?;
        // It upgrades, which is what it is advised to do: another one is in its way.
        if wait.is_next && held.access == Some(Access::UpgradableRead) {
            return None;
        }
        if wait.access != Some(Access::Read) || held.access != Some(Access::Read) {
            return Some(read_and_write(wait, held, Some(thread)));
        }
        let (reader, lock, first) = (names.thread(thread), names.resource(&wait.resource), Place::of_hold(held));
        Some(format!(
            "{reader} reads {lock} twice, and a writer came in between: drop the guard taken{GLUE}{first} before the second read, or use \
             `read_recursive` {}",
            Place::of_wait(wait)
        ))
    })
}

/// Says how a cycle could be broken: of locks, of results and ends, or of both.
fn cycle(report: &Report, names: &Names<'_>) -> Vec<String> {
    let threads = report.threads.as_slice();
    let is_for_result = |thread: &&StuckThread| {
        let is_result = |resource: &Resource| {
            resource.is_task()
                || resource.is_thread()
                || resource.is_pool()
                || resource.is_once()
                || resource.primitive == "Barrier"
        };
        thread.waits_for.as_ref().is_some_and(|wait| is_result(&wait.resource))
    };
    if !threads.iter().any(|thread| is_for_result(&thread)) {
        return second_access(threads, names).map_or_else(|| order(report, names), |advice| vec![advice]);
    }
    // A member that waits for a task, an initialisation, or the end of a pool, with what another member wants.
    let holder = |is_once: bool| {
        threads.iter().filter(is_for_result).find_map(|thread| {
            let is_wanted = |held: &&Held| {
                let wants = |wait: &Wait| wait.resource.is_same(&held.resource);
                held.resource.is_once() == is_once
                    && threads.iter().any(|other| other.waits_for.as_ref().is_some_and(wants))
            };
            Some((thread.waits_for.as_ref()?, thread.holds.iter().find(is_wanted)?))
        })
    };
    if let Some((wait, held)) = holder(false) {
        let (held, place) = (names.resource(&held.resource), Place::of_hold(held));
        let wanted = names.wait_briefly(wait);
        return vec![if wait.resource.is_once() {
            format!("release {held}, taken{GLUE}{place}, before using {wanted}, or use {wanted} before taking {held}")
        } else {
            format!("release {held}, taken{GLUE}{place}, before waiting for {wanted}")
        }];
    }
    if let Some((wait, held)) = holder(true) {
        let (made, called, wanted) = (names.resource(&held.resource), Place::of_hold(held), names.wait_briefly(wait));
        return vec![format!(
            "the initialiser of {made}, called{GLUE}{called}, needs {wanted}, and that needs {made} in turn: remove one of these uses"
        )];
    }
    let joins = |thread: &&StuckThread| thread.waits_for.as_ref().is_some_and(|wait| wait.resource.is_thread());
    if let Some(wait) = threads.iter().find(joins).and_then(|thread| thread.waits_for.as_ref()) {
        return vec![format!(
            "each waits for the next: remove one of these waits, for example that for {} {}",
            names.wait_briefly(wait),
            Place::of_wait(wait)
        )];
    }
    match threads.iter().find(is_for_result).and_then(|thread| thread.waits_for.as_ref()) {
        Some(wait) => vec![format!(
            "each task needs the result of the next: remove one of these waits, for example that for {} {}",
            names.resource(&wait.resource),
            Place::of_wait(wait)
        )],
        None => vec!["each task needs the result of the next: remove one of these waits".to_owned()],
    }
}

/// Says how there would have been a worker, or how the tasks of a pool that is joined could have ended.
fn workers(threads: &[StuckThread], names: &Names<'_>) -> String {
    let joins = |thread: &&StuckThread| thread.waits_for().is_some_and(|wait| wait.resource.is_pool_at_rest());
    if let Some((joiner, wait)) = threads.iter().find(joins).and_then(|joiner| Some((joiner, joiner.waits_for()?))) {
        let is_wanted = |held: &&Held| {
            let wants = |wait: &Wait| wait.resource.is_same(&held.resource);
            threads.iter().any(|other| other.waits_for().is_some_and(wants))
        };
        let pool = names.resource(&wait.resource);
        return match joiner.holds.iter().find(is_wanted) {
            Some(held) => {
                let (held, place) = (names.resource(&held.resource), Place::of_hold(held));
                format!("release {held}, taken{GLUE}{place}, before waiting for the tasks of {pool}")
            }
            None => format!("wait for the tasks of {pool} only outside of them"),
        };
    }
    let mut pools: Vec<_> = threads.iter().filter_map(|thread| thread.waits_for.as_ref()?.queued_in()).collect();
    pools.sort_unstable();
    pools.dedup();
    match pools[..] {
        [pool] => {
            let pool = names.pool(pool);
            format!("give {pool} more workers, wait for its tasks only outside of it, or split it into two pools")
        }
        [] => "let the pool have more workers, or let no task wait for others in its pool".to_owned(),
        _ => {
            let pools: Vec<_> = pools.into_iter().map(|pool| names.pool(pool)).collect();
            format!("let tasks wait in one direction only between {}, or give them more workers", pools.join(" and "))
        }
    }
}

/// Says that the locks of a cycle need one order, and which lines disagree on it, a line for each.
///
/// Any order that all comply with will do: which of the lines are wrong is for the program's author to say.
fn order(report: &Report, names: &Names<'_>) -> Vec<String> {
    let threads = report.threads.as_slice();
    let mut wanted = threads.iter().filter_map(StuckThread::waits_for).map(|wait| &wait.resource);
    if let Some(first) = wanted.next()
        && first.has_permits()
        && wanted.all(|other| other.is_same(first))
    {
        return vec![format!(
            "take all the permits of {} that a thread needs in one call (`lock_many`), or give it more",
            names.resource(first)
        )];
    }
    let back_off =
        "or let each of these threads wait by an `acquire` form; on `Err`, drop your guards and try again".to_owned();
    // A `Mutex` has no such form, nor has a lock of another library.
    let has_form = |resource: &Resource| resource.primitive() != "Mutex" && !resource.is_foreign();
    let has_form = |thread: &StuckThread| thread.waits_for().is_some_and(|wait| has_form(&wait.resource));
    let back_off = threads.iter().all(has_form).then_some(back_off);
    if Ring::of(report).is_some() {
        let help = "take these locks in one order everywhere, for example by index".to_owned();
        return std::iter::once(help).chain(back_off).collect();
    }
    let cycle: Vec<_> = from_the_cut(report).filter_map(|thread| thread.waits_for.as_ref().zip(Some(thread))).collect();
    // Each thread holds what the one before it waits for.
    let held: Vec<_> = cycle.iter().map(|(wait, _)| &wait.resource).collect();
    let mut takers = cycle.clone();
    takers.rotate_left(1.min(cycle.len()));
    let mut lines: Vec<_> = held
        .iter()
        .zip(takers)
        // A writer that is next holds nothing of the lock yet.
        .filter(|(held, (wait, _))| !held.is_same(&wait.resource))
        .map(|(held, (wait, thread))| {
            let site = find_hold(thread, held).map_or(String::new(), |held| format!(", {}", Place::of_hold(held)));
            let [first, then] = [held, &wait.resource].map(|lock| names.resource(lock));
            format!("  {} takes {first} before {then}{site}", names.thread(thread))
        })
        .collect();
    if lines.len() > MAX_PLACES {
        let left_out = lines.len() - MAX_PLACES;
        lines.splice(MAX_PLACES - 1..lines.len() - 1, [format!("  … ({left_out} more)")]);
    }
    let by_index = if held.iter().any(|lock| names.is_lookalike(lock)) { ", for example by index" } else { "" };
    lines.insert(0, format!("take these locks in one order everywhere{by_index}:"));
    lines.extend(back_off);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::{A, B, C, cycle};
    use crate::deadlock::report::render::{Style, everybody};

    fn advice(report: &Report) -> String {
        let names = Names::new(everybody(report), std::iter::empty(), Style::plain());
        help(report, &names, &mut Sources::none()).join("\n").replace(GLUE, " ")
    }

    #[test]
    fn a_long_cycle_is_shown_by_its_ends() {
        let mut report = cycle(6, None);
        let names = ["a", "b", "c", "d", "e", "f"];
        for (at, thread) in report.threads.iter_mut().enumerate() {
            thread.waits_for.as_mut().unwrap().resource.name = Some(names[at]);
            thread.holds[0].resource.name = Some(names[(at + 5) % 6]);
        }
        let help = format!(
            "take these locks in one order everywhere:
  thread 't1' takes 'a' before 'b', at {B}
  thread 't2' takes 'b' before 'c', at {B}
  thread 't3' takes 'c' before 'd', at {B}
  thread 't4' takes 'd' before 'e', at {B}
  … (1 more)
  thread 't0' takes 'f' before 'a', at {B}
or let each of these threads wait by an `acquire` form; on `Err`, drop your guards and try again"
        );
        assert_eq!(advice(&report), help);
    }

    #[test]
    fn whoever_reports_a_cycle_the_advice_is_the_same() {
        let mut report = cycle(3, None);
        let lines = [C, A, B];
        for (at, thread) in report.threads.iter_mut().enumerate() {
            thread.waits_for.as_mut().unwrap().resource.made_at = lines[at];
            thread.holds[0].resource.made_at = lines[(at + 2) % 3];
        }
        let first = advice(&report);
        assert!(
            first.contains(&format!(
                "everywhere:\n  thread 't2' takes Lock<Vec<u64>> made at {A} before Lock<Vec<u64>> made at {B}"
            )),
            "{first}"
        );
        for _ in 0..2 {
            report.threads.rotate_left(1);
            assert_eq!(advice(&report), first);
        }
    }
}
