//! The advice at the end of a report: what would have avoided the deadlock.

use super::find_hold;
use super::names::{Names, Place};
use crate::deadlock::report::{Held, Kind, Purpose, Report, Resource, StuckThread, Wait};

/// How many of a cycle's lines are shown; of more, the first ones and the last.
const MAX_PLACES: usize = 5;

/// Returns what would have avoided the deadlock.
pub(in crate::deadlock) fn help(report: &Report, names: &Names<'_>) -> String {
    let first = report.threads.first();
    let resource = first.and_then(|thread| Some(&thread.waits_for.as_ref()?.resource));
    let taken = |thread: Option<&StuckThread>| {
        let held = thread.zip(resource).and_then(|(thread, resource)| find_hold(thread, resource));
        held.map_or(String::new(), |held| format!(" {}", Place::of_hold(held)))
    };
    match report.kind {
        Kind::Relock if resource.is_some_and(|resource| resource.is_task) => {
            "a task that waits for its own result never has one: hand the result on, do not wait for it".to_owned()
        }
        Kind::Relock if resource.is_some_and(Resource::is_pool) => {
            "a pool ends when its tasks have: shut it down from outside of them, or without waiting".to_owned()
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
            "a lock is held while it is formatted or serialized: let nothing in there lock it again, or use an `RLock`"
                .to_owned()
        }
        Kind::Relock => {
            format!("release the guard taken{} before locking again, or use an `RLock`", taken(first))
        }
        Kind::Cycle => cycle(&report.threads, names),
        Kind::Starvation => workers(&report.threads, names),
        Kind::Abandoned if resource.is_some_and(|resource| resource.is_task) => {
            "a task ends with its thread: let no thread of a pool be ended from within".to_owned()
        }
        Kind::Abandoned => {
            let gone = report.threads.get(1);
            let name = gone.map_or("a thread".to_owned(), |gone| names.thread(gone));
            let leaked = "a guard was leaked (`mem::forget`, `leak`) by";
            format!("{leaked} {name}{}: let it drop before the thread ends", taken(gone))
        }
    }
}

/// Returns what the thread took the resource for, if a trait implementation took it.
fn purpose(thread: Option<&StuckThread>, resource: Option<&Resource>) -> Option<Purpose> {
    find_hold(thread?, resource?)?.purpose
}

/// Says how a cycle could be broken: of locks, of results, or of both.
fn cycle(threads: &[StuckThread], names: &Names<'_>) -> String {
    let is_for_task = |thread: &&StuckThread| {
        thread.waits_for.as_ref().is_some_and(|wait| wait.resource.is_task || wait.resource.is_pool())
    };
    if !threads.iter().any(|thread| is_for_task(&thread)) {
        return order(threads, names);
    }
    // A member that waits for a task, or for the end of a pool, with a lock that another member wants.
    let holder = threads.iter().filter(is_for_task).find_map(|thread| {
        let is_wanted = |held: &&Held| {
            let wants = |wait: &Wait| wait.resource.is_same(&held.resource);
            threads.iter().any(|other| other.waits_for.as_ref().is_some_and(wants))
        };
        Some((thread.waits_for.as_ref()?, thread.holds.iter().find(is_wanted)?))
    });
    if let Some((wait, held)) = holder {
        let (held, place) = (names.resource(&held.resource), Place::of_hold(held));
        return format!("release {held}, taken {place}, before waiting for {}", names.wait(wait, Names::resource));
    }
    match threads.iter().find(is_for_task).and_then(|thread| thread.waits_for.as_ref()) {
        Some(wait) => format!(
            "each needs the result of the next: break the circle, for example let nobody in it wait for {} {}",
            names.resource(&wait.resource),
            Place::of_wait(wait)
        ),
        None => "break the circle of results".to_owned(),
    }
}

/// Says how there would have been a worker.
fn workers(threads: &[StuckThread], names: &Names<'_>) -> String {
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

/// Says that the locks of a cycle need one order, and which lines disagree on it.
///
/// Any order that all comply with will do: which of the lines are wrong is for the program's author to say. Where the
/// cycle is cut does not depend on who reports, so that two runs of one program get the same advice.
fn order(threads: &[StuckThread], names: &Names<'_>) -> String {
    let mut cycle: Vec<_> = threads.iter().filter_map(|thread| thread.waits_for.as_ref().zip(Some(thread))).collect();
    let cut = (0..cycle.len()).min_by_key(|&at| (cycle[at].0.resource.made_at, cycle[at].0.resource.name));
    cycle.rotate_left(cut.unwrap_or(0));
    // Each thread holds what the one before it waits for.
    let held: Vec<_> = cycle.iter().map(|(wait, _)| &wait.resource).collect();
    let mut takers = cycle.clone();
    takers.rotate_left(1.min(cycle.len()));
    let mut places: Vec<_> = held
        .iter()
        .zip(takers)
        .map(|(held, (wait, thread))| {
            let site = find_hold(thread, held).map_or(String::new(), |held| format!(", {}", Place::of_hold(held)));
            let [first, then] = [held, &wait.resource].map(|lock| names.resource(lock));
            format!("{} takes {first} before {then}{site}", names.thread(thread))
        })
        .collect();
    if places.is_empty() {
        return "take locks in one order everywhere".to_owned();
    }
    if places.len() > MAX_PLACES {
        places.splice(MAX_PLACES - 1..places.len() - 1, ["…".to_owned()]);
    }
    let by_index = if held.iter().any(|lock| names.is_lookalike(lock)) { ", for example by index" } else { "" };
    format!(
        "take these locks in one order everywhere{by_index}: {}; or use `acquire` and back off when it returns `Deadlock`",
        places.join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::{A, B, C, cycle};
    use crate::deadlock::report::render::{Style, everybody};

    fn advice(report: &Report) -> String {
        help(report, &Names::new(everybody(report), Style::plain()))
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
            "take these locks in one order everywhere: thread 't1' takes 'a' before 'b', at {B}; \
thread 't2' takes 'b' before 'c', at {B}; thread 't3' takes 'c' before 'd', at {B}; \
thread 't4' takes 'd' before 'e', at {B}; …; thread 't0' takes 'f' before 'a', at {B}; or use `acquire`"
        );
        let advice = advice(&report);
        assert!(advice.starts_with(&help), "{advice}");
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
                "everywhere: thread 't2' takes Lock<Vec<u64>> made at {A} before Lock<Vec<u64>> made at {B}"
            )),
            "{first}"
        );
        for _ in 0..2 {
            report.threads.rotate_left(1);
            assert_eq!(advice(&report), first);
        }
    }
}
