//! Random programs: which things there are, and who does what, in which order.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

pub(super) const THREADS: [&str; 6] = ["random 0", "random 1", "random 2", "random 3", "random 4", "random 5"];
pub(super) const THINGS: [&str; 9] =
    ["thing 0", "thing 1", "thing 2", "thing 3", "thing 4", "thing 5", "thing 6", "thing 7", "thing 8"];

/// How a thing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Lock,
    Acquire,
    Try,
    Timed,
}

/// What a lock of readers and writers, or a cell, is asked for. Of other things there is one way to have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    /// Past a writer that waits.
    Again,
    Upgradable,
    Write,
}

/// What is done with a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Initialise,
    /// In spite of an initialisation that failed for good.
    InitialiseAnyway,
    Await,
    AwaitAnyway,
    Look,
}

impl Intent {
    pub(super) fn initialises(self) -> bool {
        matches!(self, Self::Initialise | Self::InitialiseAnyway)
    }
}

/// How an initialiser ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Value,
    /// With an error, where the cell knows errors; otherwise by a panic.
    Error,
    Panic,
}

/// A request for a thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) way: Way,
    pub(super) mode: Mode,
    /// The number of permits.
    pub(super) count: usize,
    pub(super) thing: usize,
}

/// What one thread does next. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Take(Ask),
    /// Waits on a condition with the lock of one of the guards.
    Wait {
        way: Way,
        condition: usize,
        at: usize,
    },
    /// Ends waits that only a signal ends: sets (or clears) an event, notifies all (or one), fulfils a promise, releases
    /// permits, resets a barrier.
    Signal(usize, bool),
    /// Ends the innermost initialiser that the thread runs.
    EndInitialiser(Outcome),
    Join(Way, usize),
    /// Ends the thread.
    End,
    /// Makes an upgradable reader the writer.
    Upgrade(Way, usize),
    /// Lets others in, as a reader or an upgradable one.
    Downgrade(usize, bool),
    /// Releases one of the guards.
    Release(usize),
    ReleaseAll,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Plain,
    /// Re-entrant.
    Again,
    Shared,
    /// The same, and its first readers show themselves.
    Shown,
    /// So many permits that have owners.
    Permits(usize),
    OnceLock,
    Once,
    Lazy,
    Event,
    /// So many permits that anybody may add to.
    Loose(usize),
    /// For so many parties.
    Barrier(usize),
    Promise,
    Condition,
}

impl Sort {
    pub(super) fn is_cell(self) -> bool {
        matches!(self, Self::OnceLock | Self::Once | Self::Lazy)
    }

    /// Whether nobody knows who ends the waits for it.
    pub(super) fn is_signal(self) -> bool {
        matches!(self, Self::Event | Self::Loose(_) | Self::Barrier(_) | Self::Promise | Self::Condition)
    }

    /// Returns the number of permits that are asked for.
    pub(super) fn permits(self, count: usize) -> usize {
        match self {
            Self::Permits(total) => 1 + count % total,
            _ => 1 + count % 2,
        }
    }

    /// Returns how a thing of this sort can be asked for that is asked for in this way.
    pub(super) fn way(self, way: Way, mode: Mode) -> Way {
        match (self, way) {
            (Self::Barrier(_) | Self::Condition, Way::Try) => Way::Lock,
            (Self::Once, Way::Acquire) if mode == Mode::Upgradable => Way::Lock,
            (Self::Lazy, Way::Timed) => Way::Try,
            (_, way) => way,
        }
    }

    /// Returns the request for a thing of this sort that a request becomes.
    pub(super) fn ask(self, thing: usize, Ask { way, mode, count, .. }: Ask) -> Ask {
        Ask { way: self.way(way, mode), mode, count: self.permits(count), thing }
    }

    /// Returns what is done with a cell that is asked for.
    pub(super) fn intent(self, Ask { way, mode, .. }: Ask) -> Intent {
        match (way, self, mode) {
            (Way::Try, ..) => Intent::Look,
            (Way::Timed, ..) => Intent::Await,
            (_, Self::Lazy, _) | (_, _, Mode::Read) => Intent::Initialise,
            (_, Self::OnceLock, Mode::Write) => Intent::Initialise,
            (_, _, Mode::Write) => Intent::InitialiseAnyway,
            (_, Self::Once, Mode::Upgradable) => Intent::AwaitAnyway,
            (_, _, Mode::Again | Mode::Upgradable) => Intent::Await,
        }
    }
}

/// A program.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) threads: usize,
    pub(super) things: Vec<Sort>,
    /// Who does what, in this order. Who waits does nothing.
    pub(super) steps: Vec<(usize, Step)>,
    /// Whether a victim releases everything at once, or does what comes next.
    pub(super) backs_off: bool,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![3 => Just(Way::Lock), 6 => Just(Way::Acquire), 2 => Just(Way::Try), 1 => Just(Way::Timed)]
}

fn ask() -> impl Strategy<Value = Ask> {
    let mode = prop_oneof![
        5 => Just(Mode::Read),
        1 => Just(Mode::Again),
        3 => Just(Mode::Upgradable),
        4 => Just(Mode::Write),
    ];
    let ask = (way(), mode, any::<usize>(), any::<usize>());
    ask.prop_map(|(way, mode, count, thing)| Ask { way, mode, count, thing })
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![1 => Just(Outcome::Value), 1 => Just(Outcome::Error), 1 => Just(Outcome::Panic)];
    let wait = prop_oneof![2 => Just(Way::Lock), 4 => Just(Way::Acquire), 1 => Just(Way::Timed)];
    let join = prop_oneof![1 => Just(Way::Lock), 3 => Just(Way::Acquire), 1 => Just(Way::Timed)];
    prop_oneof![
        60 => ask().prop_map(Step::Take),
        12 => (wait, any::<usize>(), any::<usize>())
            .prop_map(|(way, condition, at)| Step::Wait { way, condition, at }),
        12 => (any::<usize>(), any::<bool>()).prop_map(|(thing, all)| Step::Signal(thing, all)),
        6 => outcome.prop_map(Step::EndInitialiser),
        3 => (join, any::<usize>()).prop_map(|(way, thread)| Step::Join(way, thread)),
        1 => Just(Step::End),
        12 => (way(), any::<usize>()).prop_map(|(way, at)| Step::Upgrade(way, at)),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(at, to_upgradable)| Step::Downgrade(at, to_upgradable)),
        12 => any::<usize>().prop_map(Step::Release),
        4 => Just(Step::ReleaseAll),
    ]
}

fn lock() -> impl Strategy<Value = Sort> {
    prop_oneof![
        3 => Just(Sort::Plain),
        1 => Just(Sort::Again),
        3 => Just(Sort::Shared),
        1 => Just(Sort::Shown),
    ]
}

fn permits() -> impl Strategy<Value = Sort> {
    (1..=4_usize).prop_map(Sort::Permits)
}

fn cell() -> impl Strategy<Value = Sort> {
    prop_oneof![3 => Just(Sort::OnceLock), 2 => Just(Sort::Once), 1 => Just(Sort::Lazy)]
}

fn signal() -> impl Strategy<Value = Sort> {
    prop_oneof![
        2 => Just(Sort::Event),
        3 => (0..=1_usize).prop_map(Sort::Loose),
        2 => (2..=3_usize).prop_map(Sort::Barrier),
        3 => Just(Sort::Promise),
        2 => Just(Sort::Condition),
    ]
}

fn things() -> impl Strategy<Value = Vec<Sort>> {
    let sort = || prop_oneof![6 => lock(), 3 => permits(), 3 => cell(), 2 => signal()];
    let whole = prop_oneof![2 => Just(Sort::Plain), 1 => Just(Sort::Again)];
    let with_condition = prop::collection::vec(whole, 2..=3).prop_map(|mut things| {
        things.push(Sort::Condition);
        things
    });
    prop_oneof![
        9 => prop::collection::vec(sort(), 3..=THINGS.len()),
        4 => prop::collection::vec(lock(), 2..=7),
        // Many at a few.
        4 => prop::collection::vec(Just(Sort::Shared), 1..=3),
        2 => prop::collection::vec(permits(), 1..=3),
        1 => prop::collection::vec(cell(), 1..=3),
        2 => prop::collection::vec(sort(), 1..=3),
        5 => with_condition,
    ]
}

pub(super) fn script(longest: usize) -> impl Strategy<Value = Script> {
    let steps = prop::collection::vec((any::<usize>(), step()), 4..longest);
    (3..=THREADS.len(), things(), steps, any::<bool>()).prop_map(|(threads, things, steps, backs_off)| Script {
        threads,
        things,
        steps,
        backs_off,
    })
}
