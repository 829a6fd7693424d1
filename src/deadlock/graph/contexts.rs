//! All contexts that were ever made, by their places.

use super::context::Context;
use crate::primitive::lasting::keep_all;

/// The places of the first level; each further level has twice as many.
const FIRST: usize = 16;
/// How many levels there can be: so many that the number of a context ends first.
const LEVELS: usize = 24;

/// The contexts: a list that grows and never moves.
pub(in crate::deadlock) struct Contexts {
    levels: [&'static [Place]; LEVELS],
    len: usize,
}

/// Room for one context.
type Place = std::cell::Cell<Option<&'static Context>>;

/// Room for more contexts, which is made without the graph's mutex.
pub(in crate::deadlock) struct Level(&'static [Place]);

impl Level {
    /// Makes room where the list [wants](Contexts::wanted) it.
    pub(in crate::deadlock) fn new(level: usize) -> Self {
        Self(keep_all((0..FIRST << level).map(|_| Place::new(None))))
    }
}

impl Contexts {
    pub(super) const fn new() -> Self {
        Self { levels: [&[]; LEVELS], len: 0 }
    }

    /// Returns how many there are.
    pub(in crate::deadlock) fn len(&self) -> usize {
        self.len
    }

    /// Returns for how many there is room.
    pub(in crate::deadlock) fn capacity(&self) -> usize {
        self.levels.iter().map(|level| level.len()).sum()
    }

    /// Returns which level has to be made before another context has room.
    pub(in crate::deadlock) fn wanted(&self) -> Option<usize> {
        let (level, _) = place_of(self.len);
        self.levels[level].is_empty().then_some(level)
    }

    /// Adds room for more. Returns it if another thread was faster.
    pub(in crate::deadlock) fn grow(&mut self, level: Level) -> Option<Level> {
        let wanted = self.wanted().filter(|&wanted| FIRST << wanted == level.0.len());
        match wanted {
            Some(wanted) => self.levels[wanted] = level.0,
            None => return Some(level),
        }
        None
    }

    /// Adds a context. There is room for it.
    pub(super) fn push(&mut self, context: &'static Context) {
        self.place(self.len).set(Some(context));
        self.len += 1;
    }

    /// Frees the list of a graph that is over.
    #[cfg(test)]
    pub(super) fn end(&mut self) {
        for level in std::mem::take(&mut self.levels).into_iter().filter(|level| !level.is_empty()) {
            // SAFETY:
            // - a level came from `keep_all`, and is the graph's alone.
            unsafe { crate::primitive::lasting::end_all(level) };
        }
    }

    fn place(&self, at: usize) -> &'static Place {
        let (level, at) = place_of(at);
        &self.levels[level][at]
    }

    /// Returns the context at a place, if there is one.
    pub(super) fn get(&self, at: usize) -> Option<&'static Context> {
        if at < self.len { self.place(at).get() } else { None }
    }

    /// Returns the context at a place.
    pub(in crate::deadlock) fn at(&self, at: usize) -> &'static Context {
        self.get(at).expect("contexts are never removed")
    }

    /// Returns all of them, in order.
    pub(in crate::deadlock) fn iter(&self) -> impl Iterator<Item = &'static Context> + '_ {
        let levels = self.levels.iter().take_while(|level| !level.is_empty());
        levels.flat_map(|level| level.iter()).map_while(Place::get)
    }
}

/// Returns the level of a place, and the place in that level.
fn place_of(at: usize) -> (usize, usize) {
    let level = (at / FIRST + 1).ilog2();
    (level as usize, at - FIRST * ((1 << level) - 1))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_in_one_level_and_levels_follow_each_other() {
        let mut expected = (0, 0);
        for at in 0..10_000 {
            assert_eq!(place_of(at), expected, "{at}");
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        let last = (1 << 24) - 1;
        assert!(place_of(last).0 < LEVELS);
    }
}
