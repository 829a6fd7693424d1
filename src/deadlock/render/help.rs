//! What would have avoided a deadlock.

use super::find_hold;
use super::names::Names;
use crate::deadlock::report::{Kind, Report, StuckThread};

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
        Kind::Relock => {
            format!("release the guard taken{} before locking again, or use an `RLock`", taken(first))
        }
        Kind::Cycle => order(&report.threads, names),
        Kind::Starvation => "let the pool have more workers, or let no task wait for others in its pool".to_owned(),
        Kind::Abandoned => {
            let gone = report.threads.get(1);
            let name = gone.map_or("a thread".to_owned(), |gone| names.thread(gone));
            let leaked = "a guard was leaked (`mem::forget`, `leak`) by";
            format!("{leaked} {name}{}: let it drop before the thread ends", taken(gone))
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
