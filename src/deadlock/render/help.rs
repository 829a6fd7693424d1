//! What would have avoided a deadlock.

use super::find_hold;
use super::names::Names;
use crate::deadlock::report::{Held, Kind, Report, StuckThread, Wait};

/// A longer order of locks is shown by its ends.
const LONGEST_ORDER: usize = 5;

/// What would have avoided the deadlock.
pub(super) fn help(report: &Report, names: &Names<'_>) -> String {
    let first = report.threads.first();
    let resource = first.and_then(|thread| Some(&thread.waits_for.as_ref()?.resource));
    let taken = |thread: Option<&StuckThread>| {
        let held = thread.zip(resource).and_then(|(thread, resource)| find_hold(thread, resource));
        held.map_or(String::new(), |held| format!(" at {}", held.site))
    };
    match report.kind {
        Kind::Relock if resource.is_some_and(|resource| resource.is_task) => {
            "a task that waits for its own result never has one: hand the result on, do not wait for it".to_owned()
        }
        Kind::Relock => {
            format!("release the guard taken{} before locking again, or use an `RLock`", taken(first))
        }
        Kind::Cycle => circle(&report.threads, names),
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

/// How the circle could be broken: of locks, of results, or of both.
fn circle(threads: &[StuckThread], names: &Names<'_>) -> String {
    let is_for_task = |thread: &&StuckThread| thread.waits_for.as_ref().is_some_and(|wait| wait.resource.is_task);
    if !threads.iter().any(|thread| is_for_task(&thread)) {
        return order(threads, names);
    }
    // Whoever waits for a task with a lock that another member wants.
    let holder = threads.iter().filter(is_for_task).find_map(|thread| {
        let is_wanted = |held: &&Held| {
            let wants = |wait: &Wait| wait.resource.is_same(&held.resource);
            threads.iter().any(|other| other.waits_for.as_ref().is_some_and(wants))
        };
        Some((thread.waits_for.as_ref()?, thread.holds.iter().find(is_wanted)?))
    });
    if let Some((wait, held)) = holder {
        return format!(
            "release {}, taken at {}, before waiting for {}",
            names.resource(&held.resource),
            held.site,
            names.resource(&wait.resource)
        );
    }
    match threads.iter().find(is_for_task).and_then(|thread| thread.waits_for.as_ref()) {
        Some(wait) => format!(
            "each needs the result of the next: break the circle, for example let nobody in it wait for {} at {}",
            names.resource(&wait.resource),
            wait.site
        ),
        None => "break the circle of results".to_owned(),
    }
}

/// How there would have been a worker.
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

/// An order of the locks of a cycle with which one thread alone does not comply.
///
/// Each thread holds what the one before it waits for. So all but the first, wherever the ring is cut, take the
/// locks in the order in which the threads wait for them. It is cut where it does not matter who reports: two runs
/// of one program should not be told opposite orders.
fn order(threads: &[StuckThread], names: &Names<'_>) -> String {
    let mut ring: Vec<_> = threads.iter().filter_map(|thread| thread.waits_for.as_ref().zip(Some(thread))).collect();
    let cut = (0..ring.len()).min_by_key(|&at| (ring[at].0.resource.made_at, ring[at].0.resource.name));
    ring.rotate_left(cut.unwrap_or(0));
    let locks: Vec<_> = ring.iter().map(|(wait, _)| &wait.resource).collect();
    let (Some((_, thread)), Some(last)) = (ring.first(), locks.last()) else {
        return "take locks in one order everywhere".to_owned();
    };
    let order = if locks.iter().any(|lock| names.is_lookalike(lock)) {
        "take these locks in one order everywhere, for example by index".to_owned()
    } else {
        let mut shown: Vec<_> = locks.iter().map(|lock| names.resource(lock)).collect();
        if shown.len() > LONGEST_ORDER {
            shown.splice(LONGEST_ORDER - 1..locks.len() - 1, ["…".to_owned()]);
        }
        format!("take {} everywhere", shown.join(" before "))
    };
    let at = find_hold(thread, last).map_or(String::new(), |held| format!(", at {}", held.site));
    format!(
        "{order}: {} takes {} first{at}; or use `acquire` and back off when it returns `Deadlock`",
        names.thread(thread),
        names.resource(last),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{A, B, C, ring};
    use super::super::{Style, everybody};
    use super::*;

    fn advice(report: &Report) -> String {
        help(report, &Names::new(everybody(report), Style::plain()))
    }

    #[test]
    fn a_long_order_is_shown_by_its_ends() {
        let mut report = ring(6, None);
        let names = ["a", "b", "c", "d", "e", "f"];
        for (at, thread) in report.threads.iter_mut().enumerate() {
            thread.waits_for.as_mut().unwrap().resource.name = Some(names[at]);
            thread.holds[0].resource.name = Some(names[(at + 5) % 6]);
        }
        let help = format!(
            "take 'a' before 'b' before 'c' before 'd' before … before 'f' everywhere: thread 't0' takes 'f' first, at {B};"
        );
        let advice = advice(&report);
        assert!(advice.starts_with(&help), "{advice}");
    }

    #[test]
    fn whoever_reports_a_cycle_the_advice_is_the_same() {
        let mut report = ring(3, None);
        let lines = [C, A, B];
        for (at, thread) in report.threads.iter_mut().enumerate() {
            thread.waits_for.as_mut().unwrap().resource.made_at = lines[at];
            thread.holds[0].resource.made_at = lines[(at + 2) % 3];
        }
        let first = advice(&report);
        assert!(
            first.contains(&format!("made at {B} before Lock<Vec<u64>> made at {C} everywhere: thread 't1'")),
            "{first}"
        );
        for _ in 0..2 {
            report.threads.rotate_left(1);
            assert_eq!(advice(&report), first);
        }
    }
}
