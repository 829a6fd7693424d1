//! What is initialised once: by whom, and what became of that.

use super::{Blockers, Moment, State};
use crate::oracle::answer::Answer;
use crate::oracle::script::{Intent, Outcome, Sort};

/// What became of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::oracle) enum Cell {
    New,
    Initialised,
    By(usize),
    /// An initialiser failed, for good.
    Poisoned,
}

impl Moment {
    pub(in crate::oracle) fn cell(&self, at: usize) -> Cell {
        let State::Cell(cell) = self.states[at] else { unreachable!("a cell") };
        cell
    }

    /// Who has to end an initialiser before a cell is as intended.
    pub(super) fn initialiser(&self, cell: usize, intent: Intent) -> Blockers {
        match (self.cell(cell), intent) {
            (Cell::Initialised, _) => Blockers::NOBODY,
            (_, Intent::Look) => Blockers::Unknown,
            (Cell::By(thread), _) => Blockers::All(vec![thread]),
            (Cell::New, Intent::Await | Intent::AwaitAnyway) | (Cell::Poisoned, Intent::AwaitAnyway) => {
                Blockers::Unknown
            }
            (Cell::New | Cell::Poisoned, _) => Blockers::NOBODY,
        }
    }

    /// A thread goes on with a cell, if this is how it is told.
    pub(super) fn enter(&mut self, thread: usize, at: usize, intent: Intent, answer: &Answer) -> Result<(), String> {
        let cell = self.cell(at);
        let begins = match cell {
            Cell::New => intent.initialises(),
            Cell::Poisoned => intent == Intent::InitialiseAnyway,
            Cell::Initialised | Cell::By(_) => false,
        };
        let is_told = match answer {
            Answer::Begun => begins,
            Answer::Granted => cell == Cell::Initialised,
            Answer::Poisoned => cell == Cell::Poisoned && !begins,
            _ => false,
        };
        if begins {
            self.states[at] = State::Cell(Cell::By(thread));
            self.initialises[thread].push(at);
        }
        is_told.then_some(()).ok_or_else(|| format!("{answer:?}, and the cell is {cell:?}"))
    }

    pub(super) fn end_initialiser(&mut self, thread: usize, outcome: Outcome) {
        let at = self.initialises[thread].pop().expect("an initialiser runs");
        let cell = match outcome {
            Outcome::Value => Cell::Initialised,
            Outcome::Error | Outcome::Panic if self.sorts[at] == Sort::OnceLock => Cell::New,
            Outcome::Error | Outcome::Panic => Cell::Poisoned,
        };
        self.states[at] = State::Cell(cell);
    }
}
