//! Letters for what a text speaks of more than once, and the legend that explains them.

use std::collections::HashMap;

use super::names::{Names, origin};
use super::page::GLUE;
use crate::deadlock::report::{Identity, Resource, StuckThread};

/// A letter for each resource that somebody waits for, in the order in which the text mentions them.
#[derive(Default)]
pub(in crate::deadlock) struct Letters<'r> {
    numbers: HashMap<Identity, usize>,
    resources: Vec<&'r Resource>,
}

impl<'r> Letters<'r> {
    /// Returns letters for what these threads wait for, run or hold, if somebody waits for it.
    pub(super) fn new(threads: impl Iterator<Item = &'r StuckThread>, is_wanted: impl Fn(&Resource) -> bool) -> Self {
        let mut letters = Self::default();
        for thread in threads {
            let task = thread.task.iter().map(|task| &task.resource);
            let wait = thread
                .waits_for
                .iter()
                .filter(|wait| !wait.is_for_room() && !wait.resource.is_thread())
                .map(|wait| &wait.resource);
            let held = thread.holds.iter().map(|held| &held.resource);
            let mentioned = task.chain(wait).chain(held).filter(|resource| is_wanted(resource));
            mentioned.for_each(|resource| letters.add(resource));
        }
        letters
    }

    fn add(&mut self, resource: &'r Resource) {
        let number = self.resources.len();
        self.numbers.entry(resource.identity()).or_insert_with(|| {
            self.resources.push(resource);
            number
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Returns the letter of a resource, if it has one.
    pub(super) fn of(&self, resource: &Resource) -> Option<String> {
        self.numbers.get(&resource.identity()).map(|&number| letter(number))
    }

    /// Returns the lines of the legend, such as `A = Lock<u64> 'ledger', rank 2, made at src/main.rs:3:9`. Neighbours that look the
    /// same have one line: `A to F = Lock<u64> each, made at …`.
    pub(super) fn legend(&self, names: &Names<'_>) -> Vec<String> {
        let rank = |resource: &Resource| resource.rank.map_or(String::new(), |rank| format!("rank{GLUE}{rank}, "));
        let described = self
            .resources
            .iter()
            .map(|resource| (names.kind_and_name(resource), format!("{}{}", rank(resource), origin(resource))));
        let described: Vec<_> = described.enumerate().collect();
        let line = |alike: &[(usize, (String, String))]| {
            let letter = |at: usize| names.letter(&letter(alike[at].0));
            let (label, origin) = &alike[0].1;
            match alike.len() {
                1 => format!("{} = {label}, {origin}", letter(0)),
                2 => format!("{}, {} = {label} each, {origin}", letter(0), letter(1)),
                count => format!("{} to {} = {label} each, {origin}", letter(0), letter(count - 1)),
            }
        };
        described.chunk_by(|one, other| one.1 == other.1).map(line).collect()
    }
}

/// Returns `A` to `Z`, then `AA`, `AB` and so on.
fn letter(number: usize) -> String {
    let last = char::from(b'A' + (number % 26) as u8);
    match number / 26 {
        0 => last.to_string(),
        rest => letter(rest - 1) + &last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_the_last() {
        let of = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(letter);
        assert_eq!(of, ["A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]);
    }
}
