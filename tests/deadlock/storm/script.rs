//! Random programs: what each thread and each task of a round does.

use std::time::Duration;

use bowline::ReturnWhen;
use bowline::deadlock::Policy;
use bowline::thread_pool::WhenFull;

use crate::support::Dice;

pub(crate) const LOCKS: [&str; 6] = ["lock 0", "lock 1", "lock 2", "lock 3", "lock 4", "lock 5"];
pub(crate) const POOLS: [&str; 3] = ["pool 0", "pool 1", "pool 2"];
pub(crate) const TASKS: [&str; 16] = [
    "task 0", "task 1", "task 2", "task 3", "task 4", "task 5", "task 6", "task 7", "task 8", "task 9", "task 10",
    "task 11", "task 12", "task 13", "task 14", "task 15",
];

/// Longer than a round.
pub(crate) const ENDLESS_GRACE: Duration = Duration::from_secs(3_600);

/// How long somebody is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Endless,
    /// As long as a `Duration` can be.
    Longest,
    Micros(u64),
}

/// By which call a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Lock,
    Acquire,
    Try,
    For(Patience),
    Until(u64),
}

/// What kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Plain,
    /// Re-entrant.
    Again,
    /// Of readers and writers. `biased`: its first readers show themselves.
    Shared {
        biased: bool,
    },
}

impl Sort {
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Shared { .. })
    }
}

/// How a lock of readers and writers is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    /// Past a writer that waits.
    Again,
    Upgradable,
    Write,
}

/// By which call an upgradable reader asks to write. (One that panics would drop its guard before that is noted.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeWay {
    Acquire,
    Try,
    For(u64),
}

/// Who drops a guard that the end of its thread drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// A thread-local.
    Local,
    /// A thread-specific key, in this round of its destructors.
    Key(u32),
}

/// What is done next. Numbers of guards are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Take(usize, Way),
    TakeShared(usize, Mode, Way),
    Upgrade {
        at: usize,
        way: UpgradeWay,
    },
    /// Of a writer or an upgradable reader.
    Downgrade {
        at: usize,
        to_upgradable: bool,
    },
    Release {
        at: usize,
        fair: bool,
    },
    ReleaseAll,
    /// Narrows a guard.
    Map(usize),
    /// Unlocks and locks again, by `acquire_unlocked` or by `unlocked`.
    Unlocked {
        at: usize,
        by_value: bool,
    },
    Forget(usize),
    /// The mode is for a lock of readers and writers.
    Keep(usize, Mode, Way, Keeper),
    DropKept,
    /// The end of the thread does this, in the destructor of a thread-local.
    Late(Vec<Step>),
    /// The next task that nobody has submitted.
    Submit(Submission),
    /// So many of the next tasks, in a scope of this pool, which waits for them.
    Scope(usize, usize),
    Wait(Vec<usize>, ReturnWhen, Patience),
    Result(usize, Patience),
    Promise(usize, Patience),
    /// Until the task that runs is told to stop, if it has a token.
    Token(Patience),
    Sleep(u64),
    Panic,
    Policy(Policy),
    Grace(Duration),
    Cancel(usize),
    Resize(usize, usize),
    ShutDown {
        pool: usize,
        cancels: bool,
        waits: bool,
    },
    /// Keeps a promise, or breaks it.
    Fulfil {
        promise: usize,
        keeps: bool,
    },
    /// Looks at the wait-for graph.
    Look,
}

/// By which call a task is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    Plain,
    Try,
    For(u64),
    /// With a token.
    Cancellable,
}

/// What somebody does, and how it takes it to be a victim.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    /// Drops everything and goes on; if not, it ends there.
    pub(crate) goes_on: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct PoolPlan {
    pub(crate) max_workers: usize,
    pub(crate) capacity: Option<usize>,
    pub(crate) when_full: WhenFull,
    /// No thread of it starts.
    pub(crate) refused: bool,
}

/// A round.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) locks: Vec<Sort>,
    pub(crate) pools: Vec<PoolPlan>,
    /// Each with its pool.
    pub(crate) tasks: Vec<(usize, Script)>,
    pub(crate) promises: usize,
    pub(crate) threads: Vec<Script>,
    pub(crate) policy: Policy,
    pub(crate) grace: Duration,
    /// After so much time a hook is told of a wait.
    pub(crate) warns: Option<Duration>,
}

/// What may come up in a script.
struct Palette {
    locks: Vec<Sort>,
    pools: usize,
    tasks: usize,
    promises: usize,
    /// So many in a hundred guards outlive their thread.
    forgets: usize,
    keeps: usize,
    timed: usize,
    is_task: bool,
    submits: bool,
}

pub(crate) fn program(seed: u64) -> Program {
    let mut dice = Dice::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1);
    (0..20).for_each(|_| {
        dice.below(2);
    });
    let dice = &mut dice;
    // In some rounds there are none but locks of readers and writers, in some there are none of them.
    let shared = [0, 40, 100][dice.below(3)];
    let sort = |dice: &mut Dice| match dice.below(100) < shared {
        true => Sort::Shared { biased: dice.below(2) == 0 },
        false if dice.below(4) == 0 => Sort::Again,
        false => Sort::Plain,
    };
    let locks: Vec<_> = (0..2 + dice.below(4)).map(|_| sort(dice)).collect();
    let has_pools = dice.below(3) > 0;
    let pools: Vec<_> = (0..if has_pools { 1 + dice.below(2) } else { 0 }).map(|_| pool(dice)).collect();
    let tasks = if has_pools { 2 + dice.below(TASKS.len() - 2) } else { 0 };
    let promises = if dice.below(4) == 0 { 1 + dice.below(2) } else { 0 };
    // What a thread has forgotten is kept in mind for the rest of the process: not in every round.
    let forgets = if dice.below(5) == 0 { 8 } else { 0 };
    let keeps = if dice.below(3) == 0 { 8 } else { 0 };
    let timed = [0, 10, 30][dice.below(3)];
    let mut palette = Palette {
        locks: locks.clone(),
        pools: pools.len(),
        tasks,
        promises,
        forgets,
        keeps,
        timed,
        is_task: false,
        submits: true,
    };
    let mut threads = Vec::new();
    for _ in 0..2 + dice.below(4) {
        let length = 4 + dice.below(10);
        let mut script = script(dice, &palette, length);
        // A task that nobody submits is none.
        if palette.submits {
            (0..palette.tasks.div_ceil(2)).for_each(|_| {
                let at = dice.below(script.steps.len());
                script.steps.insert(at, Step::Submit(submission(dice)));
            });
        }
        if palette.submits && palette.tasks > 0 && dice.below(3) == 0 {
            // The end of a scope, with a lock that its tasks may want: as many deadlocks as there are such tasks.
            let at = dice.below(script.steps.len());
            let scope = Step::Scope(dice.below(palette.pools), 2 + dice.below(3));
            let way = [Way::Lock, Way::Acquire][dice.below(2)];
            let take = take(dice, &palette, way);
            script.steps.splice(at..at, [take, scope]);
        }
        threads.push(script);
    }
    palette.is_task = true;
    let is_one_pool = dice.below(2) == 0;
    let tasks = (0..palette.tasks)
        .map(|_| {
            let length = 1 + dice.below(6);
            (if is_one_pool { 0 } else { dice.below(pools.len()) }, script(dice, &palette, length))
        })
        .collect();
    if dice.below(2) == 0 {
        threads.push(meddler(dice, &palette));
    }
    Program {
        locks,
        pools,
        tasks,
        promises,
        threads,
        policy: [Policy::Panic, Policy::Panic, Policy::Report, Policy::Off][dice.below(4)],
        grace: grace(dice),
        warns: (dice.below(4) == 0).then(|| Duration::from_micros(dice.below(1_500) as u64)),
    }
}

fn grace(dice: &mut Dice) -> Duration {
    match dice.below(12) {
        0 => Duration::from_millis(50),
        1..4 => Duration::from_micros(500),
        4..6 => Duration::from_micros(50),
        _ => Duration::ZERO,
    }
}

fn pool(dice: &mut Dice) -> PoolPlan {
    PoolPlan {
        max_workers: 1 + dice.below(3),
        capacity: (dice.below(3) == 0).then(|| 1 + dice.below(2)),
        when_full: [WhenFull::Block, WhenFull::Block, WhenFull::Reject, WhenFull::CallerRuns][dice.below(4)],
        refused: dice.below(10) == 0,
    }
}

fn patience(dice: &mut Dice, timed: usize) -> Patience {
    if dice.below(100) < timed {
        if dice.below(3) == 0 {
            return Patience::Longest;
        }
        return Patience::Micros(dice.below(2_000) as u64);
    }
    Patience::Endless
}

fn way(dice: &mut Dice, palette: &Palette) -> Way {
    match patience(dice, palette.timed) {
        Patience::Micros(micros) if dice.below(3) == 0 => Way::Until(micros),
        Patience::Endless => [Way::Lock, Way::Lock, Way::Acquire, Way::Acquire, Way::Acquire, Way::Try][dice.below(6)],
        patience => Way::For(patience),
    }
}

fn script(dice: &mut Dice, palette: &Palette, length: usize) -> Script {
    Script { steps: (0..length).map(|_| step(dice, palette)).collect(), goes_on: dice.below(3) > 0 }
}

fn submission(dice: &mut Dice) -> Submission {
    match dice.below(8) {
        0 => Submission::Try,
        1 => Submission::For(dice.below(1_000) as u64),
        2..4 => Submission::Cancellable,
        _ => Submission::Plain,
    }
}

fn fulfil(dice: &mut Dice, palette: &Palette) -> Step {
    Step::Fulfil { promise: dice.below(palette.promises), keeps: dice.below(3) > 0 }
}

fn tasks(dice: &mut Dice, palette: &Palette) -> Vec<usize> {
    (0..1 + dice.below(3)).map(|_| dice.below(palette.tasks)).collect()
}

fn step(dice: &mut Dice, palette: &Palette) -> Step {
    let chance = dice.below(100);
    if chance < palette.forgets {
        return Step::Forget(dice.below(8));
    }
    if chance < palette.forgets + palette.keeps {
        let kept: Vec<_> = (0..palette.locks.len()).filter(|&lock| palette.locks[lock] != Sort::Again).collect();
        if dice.below(4) == 0 {
            return Step::DropKept;
        }
        if dice.below(4) == 0 && !palette.is_task {
            let mut steps: Vec<_> = (0..1 + dice.below(4)).map(|_| late_step(dice, palette)).collect();
            if dice.below(2) == 0 {
                steps.push(Step::Sleep(dice.below(300) as u64));
            }
            return Step::Late(steps);
        }
        if !kept.is_empty() {
            let keeper = if dice.below(3) == 0 { Keeper::Key(1 + dice.below(4) as u32) } else { Keeper::Local };
            return Step::Keep(kept[dice.below(kept.len())], mode(dice), way(dice, palette), keeper);
        }
    }
    if palette.locks.iter().any(|sort| sort.is_shared()) {
        match dice.below(100) {
            0..6 => return Step::Upgrade { at: dice.below(8), way: upgrade_way(dice) },
            6..10 => return Step::Downgrade { at: dice.below(8), to_upgradable: dice.below(2) == 0 },
            _ => {}
        }
    }
    if palette.is_task && dice.below(20) == 0 {
        return Step::Token(patience(dice, palette.timed));
    }
    match dice.below(100) {
        0..2 if palette.promises > 0 => {
            return Step::Promise(dice.below(palette.promises), patience(dice, palette.timed));
        }
        2..4 if palette.promises > 0 => return fulfil(dice, palette),
        4..8 => return Step::Sleep(dice.below(400) as u64),
        8..11 => return Step::Unlocked { at: dice.below(8), by_value: dice.below(2) == 0 },
        11..14 => return Step::Map(dice.below(8)),
        14..25 => return Step::Release { at: dice.below(8), fair: dice.below(3) == 0 },
        25..28 => return Step::ReleaseAll,
        28 => return Step::Panic,
        29..55 if palette.tasks > 0 => {
            return match dice.below(12) {
                0 if palette.submits && !palette.is_task => Step::Scope(dice.below(palette.pools), 1 + dice.below(4)),
                0..4 if palette.submits => Step::Submit(submission(dice)),
                0..5 => Step::Result(dice.below(palette.tasks), patience(dice, palette.timed)),
                5..9 => Step::Wait(tasks(dice, palette), ReturnWhen::AllCompleted, patience(dice, palette.timed)),
                9..11 => {
                    let when = [ReturnWhen::FirstCompleted, ReturnWhen::FirstException][dice.below(2)];
                    Step::Wait(tasks(dice, palette), when, patience(dice, palette.timed))
                }
                _ if dice.below(4) == 0 => {
                    Step::ShutDown { pool: dice.below(palette.pools), cancels: dice.below(2) == 0, waits: true }
                }
                _ => Step::Cancel(dice.below(palette.tasks)),
            };
        }
        _ => {}
    }
    let way = way(dice, palette);
    take(dice, palette, way)
}

/// Takes any of the locks, in any mode.
fn take(dice: &mut Dice, palette: &Palette, way: Way) -> Step {
    let lock = dice.below(palette.locks.len());
    if palette.locks[lock].is_shared() { Step::TakeShared(lock, mode(dice), way) } else { Step::Take(lock, way) }
}

fn mode(dice: &mut Dice) -> Mode {
    match dice.below(10) {
        0..5 => Mode::Read,
        5 => Mode::Again,
        6 => Mode::Upgradable,
        _ => Mode::Write,
    }
}

fn upgrade_way(dice: &mut Dice) -> UpgradeWay {
    match dice.below(4) {
        0 => UpgradeWay::Try,
        1 => UpgradeWay::For(dice.below(2_000) as u64),
        _ => UpgradeWay::Acquire,
    }
}

/// What a destructor does.
fn late_step(dice: &mut Dice, palette: &Palette) -> Step {
    match dice.below(8) {
        0 => Step::Release { at: 0, fair: false },
        1 if palette.forgets > 0 => Step::Forget(0),
        2 => Step::Sleep(dice.below(200) as u64),
        _ => {
            let way = way(dice, palette);
            take(dice, palette, way)
        }
    }
}

/// Somebody who holds nothing, waits for nothing, and intervenes.
fn meddler(dice: &mut Dice, palette: &Palette) -> Script {
    let mut steps = Vec::new();
    for _ in 0..3 + dice.below(12) {
        steps.push(Step::Sleep([50, 200, 1_000][dice.below(3)]));
        steps.push(match dice.below(10) {
            0..3 => Step::Policy([Policy::Panic, Policy::Report, Policy::Off][dice.below(3)]),
            3..5 => Step::Grace(grace(dice)),
            5 => Step::Grace(ENDLESS_GRACE),
            6 if palette.promises > 0 => fulfil(dice, palette),
            6 => Step::Look,
            _ if palette.tasks == 0 => continue,
            7..9 => Step::Resize(dice.below(palette.pools), 1 + dice.below(4)),
            9 if dice.below(4) == 0 => {
                Step::ShutDown { pool: dice.below(palette.pools), cancels: dice.below(2) == 0, waits: false }
            }
            _ => Step::Cancel(dice.below(palette.tasks)),
        });
    }
    Script { steps, goes_on: true }
}
