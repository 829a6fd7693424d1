//! What tells the deadlocks, the long waits, or the hazards of one place in the program from others: the lines.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{LongWait, Report, StuckThread};
use crate::deadlock::graph::resource::Site;
use crate::primitive::quiet::{Mutex, PoisonError};

/// How many are remembered; of others nothing is known.
const MAX_REMEMBERED: usize = 4096;

/// The lines on which threads wait, and took what they hold, whichever thread is which.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::deadlock) struct Signature(u64);

impl Signature {
    /// Returns the signature of a deadlock.
    pub(in crate::deadlock) fn of_report(report: &Report) -> Self {
        let mut threads: Vec<_> = report.threads().iter().map(lines).collect();
        threads.sort_unstable();
        // A ring of five and one of six at the same lines are the same mistake.
        threads.dedup();
        Self::of((report.kind(), threads))
    }

    /// Returns the signature of a long wait.
    pub(in crate::deadlock) fn of_long_wait(wait: &LongWait) -> Self {
        let suspicions = wait.waiter().suspicions().iter();
        let suspicions: Vec<_> =
            suspicions.map(|suspicion| (suspicion.held().site(), lines(suspicion.waiter()))).collect();
        Self::of((lines(wait.waiter()), wait.owner().map(lines), suspicions))
    }

    /// Returns the signature of a hazard: of the line that took what is held, and the one that asks.
    pub(in crate::deadlock) fn of_hazard(kind: impl Hash, taken: Site, asks: Site) -> Self {
        Self::of((kind, taken, asks))
    }

    fn of(hashed: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        hashed.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Counts one more with this signature. Returns how many there are now.
    pub(in crate::deadlock) fn count(self) -> u64 {
        static SEEN: Mutex<Option<HashMap<Signature, u64>>> = Mutex::new(None);
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get_or_insert_default();
        if seen.len() >= MAX_REMEMBERED && !seen.contains_key(&self) {
            return 1;
        }
        let count = seen.entry(self).or_default();
        *count += 1;
        *count
    }
}

/// The line on which a thread waits, and those on which it took what it holds.
fn lines(thread: &StuckThread) -> (Option<Site>, Vec<Site>) {
    let mut taken: Vec<_> = thread.holds().iter().map(|held| held.site()).collect();
    taken.sort_unstable();
    (thread.waits_for().map(|wait| wait.site()), taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::{A, B, C, cycle};

    #[test]
    fn deadlocks_at_the_same_lines_are_the_same_whoever_reports_and_however_many_they_are() {
        let first = Signature::of_report(&cycle(3, None));
        let mut rotated = cycle(4, Some("named"));
        rotated.threads.rotate_left(1);
        assert!(first == Signature::of_report(&rotated));
        rotated.threads[2].holds[0].site = C;
        assert!(first != Signature::of_report(&rotated));
        assert_eq!([A, B].map(|line| Signature::of(("test", line)).count()), [1, 1]);
        assert_eq!([A, B, A].map(|line| Signature::of(("test", line)).count()), [2, 2, 3]);
    }
}
