//! Locks: who keeps whom out.

use super::{Hold, Moment, State, Wait, Want};
use crate::oracle::script::{Mode, Sort, Way};

impl Moment {
    /// Who waits to write a lock and is next.
    pub(super) fn next(&self, lock: usize) -> Option<usize> {
        if let State::Lock { next } = self.states[lock] { next } else { None }
    }

    pub(super) fn set_next(&mut self, lock: usize, thread: Option<usize>) {
        let State::Lock { next } = &mut self.states[lock] else { unreachable!("a lock") };
        *next = thread;
    }

    /// Who holds a lock in this way, once for each guard.
    fn holders(&self, lock: usize, hold: Hold) -> impl Iterator<Item = usize> {
        self.holds(lock).filter(move |held| held.1 == hold).map(|(thread, _)| thread)
    }

    /// Whose turn it is: that of a writer, an upgradable reader, or of a writer that waits for the readers.
    fn turn(&self, lock: usize) -> Option<usize> {
        let holds = |hold| self.holders(lock, hold).next();
        holds(Hold::Write).or_else(|| holds(Hold::Upgradable)).or(self.next(lock))
    }

    /// Who keeps a thread from a lock: all of them have to go.
    pub(super) fn owners(&self, thread: usize, Wait { thing: lock, want, .. }: Wait) -> Vec<usize> {
        let readers = || self.holders(lock, Hold::Read).collect();
        let writer = || self.holders(lock, Hold::Write).next();
        match want {
            Want::Whole | Want::Relock { .. } => {
                let owner = self.holders(lock, Hold::Whole).next();
                owner.filter(|&owner| owner != thread || self.sorts[lock] != Sort::Again).into_iter().collect()
            }
            Want::Read(Mode::Again) => writer().into_iter().collect(),
            Want::Read(_) => writer().or(self.next(lock)).into_iter().collect(),
            Want::Upgradable => self.turn(lock).into_iter().collect(),
            Want::Write if self.next(lock) == Some(thread) => readers(),
            Want::Write => self.turn(lock).map_or_else(readers, |turn| vec![turn]),
            Want::Upgrade(_) => readers(),
            other => unreachable!("{other:?} of a lock"),
        }
    }

    /// The lock that a thread waits to write, if it may be next now, and is not.
    pub(super) fn may_be_next(&self, thread: usize) -> Option<usize> {
        let wait = self.waiting[thread].filter(|wait| wait.want == Want::Write && wait.way != Way::Try)?;
        let has_readers = self.holders(wait.thing, Hold::Read).next().is_some();
        (self.turn(wait.thing).is_none() && has_readers).then_some(wait.thing)
    }

    /// The moment after a thread has become next.
    pub(super) fn becomes_next(&self, thread: usize) -> Option<Self> {
        let lock = self.may_be_next(thread)?;
        let mut moment = self.clone();
        moment.set_next(lock, Some(thread));
        Some(moment)
    }

    /// Whether a thread holds a lock once, so that a condition can release it.
    pub(in crate::oracle) fn can_wait_with(&self, thread: usize, (lock, hold): (usize, Hold)) -> bool {
        hold == Hold::Whole && self.holds(lock).filter(|&(holder, _)| holder == thread).count() == 1
    }
}
