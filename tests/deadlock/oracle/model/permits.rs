//! Permits: those that have owners, and those that are nobody's.

use super::{Blockers, Hold, Moment, State, Wait, Want};
use crate::oracle::script::Sort;

impl Moment {
    /// Who has to give how many permits before there are so many.
    pub(super) fn lacks_permits(&self, semaphore: usize, count: usize) -> Blockers {
        let Sort::Permits(total) = self.sorts[semaphore] else { unreachable!("permits that have owners") };
        let mut holders = Vec::new();
        for thread in 0..self.held.len() {
            let held = self.holds(semaphore).filter(|&(holder, _)| holder == thread);
            let held = held.map(|(_, hold)| if let Hold::Permits(count) = hold { count } else { 0 }).sum::<usize>();
            if held > 0 {
                holders.push((thread, held));
            }
        }
        let free = total - holders.iter().map(|&(_, held)| held).sum::<usize>();
        if count <= free { Blockers::NOBODY } else { Blockers::AtLeast(count - free, holders) }
    }

    /// Whether all that wait for permits that are nobody's find enough of them. If not, who of the others is served depends
    /// on who came first.
    pub(super) fn is_served(&self, semaphore: usize) -> bool {
        let State::Loose { free } = self.states[semaphore] else { unreachable!("permits that are nobody's") };
        self.waits_for(semaphore).all(|(_, wait)| matches!(wait.want, Want::Loose(count) if count <= free))
    }

    /// Whether this is a wait for permits that can be taken now.
    pub(super) fn has_loose(&self, wait: Wait) -> bool {
        let Want::Loose(count) = wait.want else { return false };
        matches!(self.states[wait.thing], State::Loose { free } if count <= free)
    }

    /// Takes permits, of which there are enough.
    pub(super) fn take_loose(&mut self, semaphore: usize, count: usize) -> Hold {
        let State::Loose { free } = &mut self.states[semaphore] else { unreachable!("permits that are nobody's") };
        *free -= count;
        Hold::Loose(count)
    }
}
