//! What is initialised once, of every kind.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::time::Duration;

use bowline::deadlock::Deadlock;
use bowline::sync::InitError;
use bowline::{LazyLock, Once, OnceLock};

use super::answer::{Answer, caught};
use super::script::{Intent, Outcome, Sort, THINGS, Way};

/// A cell of any kind.
pub(super) enum AnyCell {
    OnceLock(OnceLock<()>),
    Once(Once),
    Lazy(LazyLock<()>),
}

/// Why an initialisation made no value.
enum Failure {
    /// The initialiser returned an error.
    Error,
    Deadlock(Deadlock),
}

impl From<Deadlock> for Failure {
    fn from(deadlock: Deadlock) -> Self {
        Self::Deadlock(deadlock)
    }
}

fn refused(error: InitError) -> Answer {
    match error {
        InitError::Deadlock(deadlock) => Answer::Value(deadlock),
        _ => Answer::Poisoned,
    }
}

/// What an initialiser does; returns how it ends.
type Initialiser<'a> = dyn FnMut() -> Outcome + 'a;

thread_local! {
    /// What the initialiser of a lazy cell does if this thread forces it.
    static LAZY: Cell<Option<NonNull<Initialiser<'static>>>> = const { Cell::new(None) };
}

/// Ends as an initialiser does that knows no errors.
fn end_by_panic(outcome: Outcome) {
    if outcome != Outcome::Value {
        resume_unwind(Box::new("on purpose"));
    }
}

fn initialise_lazily() {
    let mut initialiser = LAZY.get().expect("only `enter` forces a lazy cell");
    // SAFETY:
    // - `enter` has it on its stack, forces the cell, and does nothing else with it meanwhile.
    end_by_panic(unsafe { initialiser.as_mut()() });
}

impl AnyCell {
    pub(super) fn new(at: usize, sort: Sort) -> Self {
        match sort {
            Sort::OnceLock => Self::OnceLock(OnceLock::named(THINGS[at])),
            Sort::Once => Self::Once(Once::named(THINGS[at])),
            Sort::Lazy => Self::Lazy(LazyLock::named(THINGS[at], initialise_lazily)),
            other => unreachable!("{other:?} is no cell"),
        }
    }

    /// Does with it what is intended. [`Answer::Done`] if this thread has run an initialiser, which is over now.
    pub(super) fn enter(
        &self,
        way: Way,
        intent: Intent,
        patience: Duration,
        initialise: &mut Initialiser<'_>,
    ) -> Answer {
        let mut has_begun = false;
        let mut initialise = || {
            has_begun = true;
            initialise()
        };
        let entered = caught(|| match self {
            Self::OnceLock(cell) => enter_cell(cell, way, intent, patience, &mut initialise),
            Self::Once(once) => enter_once(once, way, intent, patience, &mut initialise),
            Self::Lazy(cell) => enter_lazily(cell, way, &mut initialise),
        });
        match entered {
            _ if has_begun => Answer::Done,
            Ok(()) => Answer::Granted,
            Err(answer) => answer,
        }
    }

    /// Makes the value, unless somebody is about to.
    pub(super) fn complete(&self) {
        match self {
            Self::OnceLock(cell) => _ = cell.set(()),
            Self::Once(once) => once.call_once_force(|_| ()),
            Self::Lazy(_) => {}
        }
    }
}

fn granted(is_complete: bool) -> Result<(), Answer> {
    if is_complete { Ok(()) } else { Err(Answer::Refused) }
}

fn enter_cell(
    cell: &OnceLock<()>,
    way: Way,
    intent: Intent,
    patience: Duration,
    initialise: &mut Initialiser<'_>,
) -> Result<(), Answer> {
    let run = || match initialise() {
        Outcome::Value => Ok(()),
        Outcome::Error => Err(Failure::Error),
        Outcome::Panic => resume_unwind(Box::new("on purpose")),
    };
    let made = match (way, intent) {
        (Way::Try, _) => return granted(cell.get().is_some()),
        (Way::Timed, _) => return granted(cell.wait_for(patience).is_some()),
        (Way::Lock, Intent::Await) => Ok(cell.wait()),
        (Way::Acquire, Intent::Await) => cell.acquire().map_err(Failure::Deadlock),
        (Way::Lock, _) => cell.get_or_try_init(run),
        (Way::Acquire, _) => cell.acquire_or_try_init(run),
    };
    made.copied().map_err(|failure| match failure {
        Failure::Deadlock(deadlock) => Answer::Value(deadlock),
        Failure::Error => Answer::Done,
    })
}

fn enter_once(
    once: &Once,
    way: Way,
    intent: Intent,
    patience: Duration,
    initialise: &mut Initialiser<'_>,
) -> Result<(), Answer> {
    let mut run = || end_by_panic(initialise());
    match (way, intent) {
        (Way::Try, _) => return granted(once.is_completed()),
        (Way::Timed, _) => return granted(once.wait_for(patience)),
        (_, Intent::AwaitAnyway) => once.wait_force(),
        (Way::Lock, Intent::Await) => once.wait(),
        (Way::Acquire, Intent::Await) => once.acquire().map_err(refused)?,
        (Way::Lock, Intent::InitialiseAnyway) => once.call_once_force(|_| run()),
        (Way::Acquire, Intent::InitialiseAnyway) => once.acquire_once_force(|_| run()).map_err(Answer::Value)?,
        (Way::Lock, _) => once.call_once(run),
        (Way::Acquire, _) => once.acquire_once(run).map_err(refused)?,
    }
    Ok(())
}

fn enter_lazily(cell: &LazyLock<()>, way: Way, initialise: &mut Initialiser<'_>) -> Result<(), Answer> {
    let initialiser = NonNull::from(initialise);
    // SAFETY:
    // - only the lifetime changes; it is used while the cell is forced below, and the borrow lasts longer.
    let initialiser =
        unsafe { std::mem::transmute::<NonNull<Initialiser<'_>>, NonNull<Initialiser<'static>>>(initialiser) };
    let outer = LAZY.replace(Some(initialiser));
    let forced = caught(|| match way {
        Way::Lock => Ok(LazyLock::force(cell)),
        Way::Acquire => LazyLock::acquire(cell).map_err(refused),
        Way::Try | Way::Timed => LazyLock::get(cell).ok_or(Answer::Refused),
    });
    LAZY.set(outer);
    forced.copied()
}
