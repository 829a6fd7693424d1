//! A compact list of threads.

use std::collections::{HashMap, HashSet};

use super::names::printable;
use crate::deadlock::report::StuckThread;

/// Runs of consecutive numbers that are shorter are written out.
const MIN_RUN: usize = 7;

/// Returns the names of threads in one line: `worker 1 → 2 → … → 9 → 1` for `→`. A beginning that all names share is written
/// once, and so are the ends of a run of consecutive numbers.
pub(super) fn list(threads: &[&StuckThread], separator: &str) -> String {
    let mut names: Vec<_> = threads.iter().map(|thread| name(thread)).collect();
    let mut ids: HashMap<&str, HashSet<u32>> = HashMap::new();
    for thread in threads {
        ids.entry(thread.name().unwrap_or_default()).or_default().insert(thread.os_id);
    }
    for (name, thread) in names.iter_mut().zip(threads) {
        // Of several that have one name.
        if thread.name().is_some_and(|name| ids[name].len() > 1) {
            *name += &format!(" (os id {})", thread.os_id);
        }
    }
    let prefix = numbered_prefix(&names);
    let (first, rest) = match prefix {
        Some(length) => (&names[0][..length], names.iter().map(|name| &name[length..]).collect::<Vec<_>>()),
        None => ("", names.iter().map(String::as_str).collect()),
    };
    let mut items = Vec::new();
    let mut at = 0;
    while at < rest.len() {
        let run = run(&rest[at..]);
        match run {
            ..MIN_RUN => items.extend(&rest[at..at + run]),
            _ => items.extend([rest[at], rest[at + 1], "…", rest[at + run - 1]]),
        }
        at += run;
    }
    format!("{first}{}", items.join(separator))
}

fn name(thread: &StuckThread) -> String {
    match thread.name() {
        Some(name) => printable(name),
        None => format!("os id {}", thread.os_id),
    }
}

/// Returns the length of the beginning that all names share, if a number follows it in each.
fn numbered_prefix(names: &[String]) -> Option<usize> {
    let prefix = |name: &String| name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let length = names.first().map(prefix)?;
    let is_numbered =
        |name: &String| prefix(name) == length && length < name.len() && name[..length] == names[0][..length];
    names.iter().all(is_numbered).then_some(length)
}

/// Returns how many of the names from the first on are consecutive numbers.
fn run(names: &[&str]) -> usize {
    let number = |name: &str| name.parse::<u64>().ok();
    let is_next = |pair: &[&str]| number(pair[0]).and_then(|one| one.checked_add(1)) == number(pair[1]);
    let is_run = |pair: &&[&str]| number(pair[0]).is_some() && is_next(pair);
    1 + names.windows(2).take_while(is_run).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::thread;

    #[test]
    fn names_are_told_once_and_runs_by_their_ends() {
        let of = |names: &[&str]| {
            let threads: Vec<_> = names.iter().map(|name| thread(name, 7)).collect();
            list(&threads.iter().collect::<Vec<_>>(), " → ")
        };
        assert_eq!(of(&["ann", "bob", "ann"]), "ann → bob → ann");
        assert_eq!(of(&["worker 38", "worker 39", "worker 12"]), "worker 38 → 39 → 12");
        let ring: Vec<_> = (0..1000).chain([0]).map(|at| format!("p{at}")).collect();
        assert_eq!(of(&ring.iter().map(String::as_str).collect::<Vec<_>>()), "p0 → 1 → … → 999 → 0");
        assert_eq!(of(&["p1", "p2", "p3", "p4", "p5", "p6"]), "p1 → 2 → 3 → 4 → 5 → 6");
        assert_eq!(of(&["7", "8", "9", "x"]), "7 → 8 → 9 → x");
        assert_eq!(of(&["a1", "a2", "b3"]), "a1 → a2 → b3");
        assert_eq!(of(&["", ""]), "os id 7 → 7");
        assert_eq!(of(&["a1", "a"]), "a1 → a");
        let namesakes = [thread("worker", 1), thread("worker", 2)];
        assert_eq!(list(&namesakes.iter().collect::<Vec<_>>(), ", "), "worker (os id 1), worker (os id 2)");
        assert_eq!(of(&[]), "");
    }
}
