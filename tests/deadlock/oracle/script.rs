//! Random programs of locks: who does what, in which order.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

pub(super) const THREADS: [&str; 6] = ["random 0", "random 1", "random 2", "random 3", "random 4", "random 5"];
pub(super) const LOCKS: [&str; 7] = ["lock 0", "lock 1", "lock 2", "lock 3", "lock 4", "lock 5", "lock 6"];

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Lock,
    Acquire,
    Try,
    Timed,
}

/// What a lock of readers and writers is asked for. Of others there is one way to hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    /// Past a writer that waits.
    Again,
    Upgradable,
    Write,
}

/// What one thread does next. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Take(Way, Mode, usize),
    /// Makes an upgradable reader the writer.
    Upgrade(Way, usize),
    /// Lets others in, as a reader or an upgradable one.
    Downgrade(usize, bool),
    /// Releases one of the guards.
    Release(usize),
    ReleaseAll,
}

/// What kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Plain,
    /// Re-entrant.
    Again,
    Shared,
    /// The same, and its first readers show themselves.
    Shown,
}

impl Sort {
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::Shown)
    }
}

/// A program.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) threads: usize,
    pub(super) locks: Vec<Sort>,
    /// Who does what, in this order. Who waits does nothing.
    pub(super) steps: Vec<(usize, Step)>,
    /// Whether a victim releases everything at once, or does what comes next.
    pub(super) backs_off: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let way = || prop_oneof![3 => Just(Way::Lock), 6 => Just(Way::Acquire), 2 => Just(Way::Try), 1 => Just(Way::Timed)];
    let mode = prop_oneof![
        5 => Just(Mode::Read),
        1 => Just(Mode::Again),
        2 => Just(Mode::Upgradable),
        4 => Just(Mode::Write),
    ];
    prop_oneof![
        14 => (way(), mode, any::<usize>()).prop_map(|(way, mode, lock)| Step::Take(way, mode, lock)),
        3 => (way(), any::<usize>()).prop_map(|(way, at)| Step::Upgrade(way, at)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, to_upgradable)| Step::Downgrade(at, to_upgradable)),
        4 => any::<usize>().prop_map(Step::Release),
        2 => Just(Step::ReleaseAll),
    ]
}

fn sort() -> impl Strategy<Value = Sort> {
    prop_oneof![
        3 => Just(Sort::Plain),
        1 => Just(Sort::Again),
        3 => Just(Sort::Shared),
        1 => Just(Sort::Shown),
    ]
}

pub(super) fn script(longest: usize) -> impl Strategy<Value = Script> {
    let steps = prop::collection::vec((any::<usize>(), step()), 4..longest);
    let locks = prop_oneof![
        2 => prop::collection::vec(sort(), 2..=LOCKS.len()),
        // Many at a few.
        1 => prop::collection::vec(Just(Sort::Shared), 1..=3),
    ];
    (3..=THREADS.len(), locks, steps, any::<bool>()).prop_map(|(threads, locks, steps, backs_off)| Script {
        threads,
        locks,
        steps,
        backs_off,
    })
}
