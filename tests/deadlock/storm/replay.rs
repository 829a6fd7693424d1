//! The state of a round after each of its events, and what no event may do to it.

use std::time::Duration;

use bowline::ReturnWhen;
use bowline::deadlock::Policy;
use bowline::thread_pool::WhenFull;

use super::log::{Entry, Event, Failure, Hold, Limit, Outcome, What};
use super::script::{ENDLESS_GRACE, LOCKS, Program, Sort, TASKS};

/// A wait that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) what: What,
    pub(crate) limit: Limit,
    pub(crate) failure: Failure,
    /// The number of the event that began it: no two waits have the same.
    pub(crate) since: u64,
    /// How many reports its thread has made meanwhile.
    pub(crate) reports: usize,
    /// Those that may have been in force since it began.
    pub(crate) policies: Vec<Policy>,
}

/// One guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) lock: usize,
    pub(crate) hold: Hold,
    /// Its number, if it is kept for the end of its thread: whoever runs on the thread may drop it.
    kept: Option<u64>,
}

impl Held {
    pub(crate) fn is(&self, lock: usize, hold: Hold) -> bool {
        self.lock == lock && self.hold == hold
    }
}

/// Somebody who owns and waits: a thread, or a task that runs in place on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) task: Option<usize>,
    pub(crate) wait: Option<Waiting>,
    /// One entry a guard.
    pub(crate) held: Vec<Held>,
}

#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) os_id: u32,
    /// Whose worker it is.
    pub(crate) pool: Option<usize>,
    /// The thread itself, and what runs in place on it: each but the last waits for the next.
    pub(crate) frames: Vec<Frame>,
    /// What tasks held that ran in place and have ended.
    pub(crate) left: Vec<Held>,
    pub(crate) has_left: bool,
    /// It runs no more: the kernel says so, or a report did.
    pub(crate) is_gone: bool,
}

impl Thread {
    pub(crate) fn top(&self) -> &Frame {
        self.frames.last().expect("a thread is a frame")
    }

    fn top_mut(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a thread is a frame")
    }

    /// A worker that runs nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.pool.is_some() && self.frames.len() == 1 && self.frames[0].task.is_none()
    }

    /// All that it holds, whoever it is on it that does.
    fn all_held(&self) -> impl Iterator<Item = Held> {
        self.frames.iter().flat_map(|frame| &frame.held).chain(&self.left).copied()
    }

    pub(crate) fn holds(&self, lock: usize) -> bool {
        self.all_held().any(|held| held.lock == lock)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    New,
    Submitting,
    Queued,
    /// By a frame of a thread.
    Running(usize, usize),
    Done {
        failed: bool,
    },
    Rejected,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) pool: usize,
    pub(crate) phase: Phase,
    pub(crate) has_name: bool,
    /// How many try to cancel it.
    pub(crate) cancellers: usize,
    pub(crate) is_cancelled: bool,
    /// Whether it was told to stop, if it listens.
    pub(crate) is_asked: bool,
    pub(crate) sweep: Sweep,
}

/// Whether a shutdown has cancelled a task that nobody had begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    No,
    /// It was being submitted meanwhile.
    Unknown,
    /// It was queued before these threads began to cancel all that is.
    Begun(Vec<usize>),
    Done,
}

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) max_workers: usize,
    /// The number that is being set.
    pub(crate) next_max: Option<usize>,
    pub(crate) was_resized: bool,
    /// Where submitters wait for room.
    pub(crate) capacity: Option<usize>,
    pub(crate) is_refused: bool,
    pub(crate) is_closing: bool,
    pub(crate) is_closed: bool,
    /// How many cancel what is queued.
    pub(crate) sweepers: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) threads: Vec<Thread>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) locks: Vec<Sort>,
    /// Of those that one alone can hold.
    pub(crate) owner: Vec<Option<usize>>,
    pub(crate) fulfilled: Vec<bool>,
    pub(crate) policy: Policy,
    pub(crate) next_policy: Option<Policy>,
    /// When the one who looks on began to change the policy for the last time, with all who wait in the graph: what was
    /// reported before has to be said again.
    pub(crate) policy_since: u64,
    pub(crate) grace: Duration,
}

impl State {
    pub(crate) fn new(program: &Program) -> Self {
        let task = |pool| Task {
            pool,
            phase: Phase::New,
            has_name: true,
            cancellers: 0,
            is_cancelled: false,
            is_asked: false,
            sweep: Sweep::No,
        };
        let pools = program.pools.iter().map(|plan| Pool {
            max_workers: plan.max_workers,
            next_max: None,
            was_resized: false,
            capacity: plan.capacity.filter(|_| plan.when_full == WhenFull::Block),
            is_refused: plan.refused,
            is_closing: false,
            is_closed: false,
            sweepers: 0,
        });
        Self {
            threads: Vec::new(),
            tasks: program.tasks.iter().map(|&(pool, _)| task(pool)).collect(),
            pools: pools.collect(),
            locks: program.locks.clone(),
            owner: vec![None; program.locks.len()],
            fulfilled: vec![false; program.promises],
            policy: program.policy,
            next_policy: None,
            policy_since: 0,
            grace: program.grace,
        }
    }

    /// The name under which reports know a task.
    pub(crate) fn name(&self, task: usize) -> Option<&'static str> {
        self.tasks[task].has_name.then_some(TASKS[task])
    }

    /// Whether no wait that begins now is looked at while the round lasts.
    pub(crate) fn has_endless_grace(&self) -> bool {
        self.grace >= ENDLESS_GRACE
    }

    /// Whether whatever seems to be queued in a pool is, and all its workers but the idle are known.
    pub(crate) fn is_certain(&self, pool: usize) -> bool {
        let is_queued = |task: &Task| task.cancellers == 0 && !task.is_cancelled && task.sweep == Sweep::No;
        !self.pools[pool].was_resized && self.tasks.iter().filter(|task| task.pool == pool).all(is_queued)
    }

    /// Whether a task may be done, as far as the log knows.
    pub(crate) fn may_be_done(&self, task: usize) -> bool {
        let Task { pool, phase, cancellers, is_cancelled, ref sweep, .. } = self.tasks[task];
        let pool = &self.pools[pool];
        match phase {
            Phase::Done { .. } | Phase::Rejected => true,
            Phase::Running(..) => false,
            _ => is_cancelled || cancellers > 0 || *sweep != Sweep::No || pool.is_refused,
        }
    }

    /// Whether a task may be done without a value.
    fn may_have_failed(&self, task: usize) -> bool {
        self.may_be_done(task) && self.tasks[task].phase != Phase::Done { failed: false }
    }

    /// Whether anybody holds a lock.
    pub(crate) fn is_held(&self, lock: usize) -> bool {
        self.threads.iter().any(|thread| thread.holds(lock))
    }

    /// An error if somebody holds a lock of readers and writers in a way that excludes this one.
    fn expect_room(&self, thread: usize, lock: usize, hold: Hold) -> Result<(), String> {
        for (other, owner) in self.threads.iter().enumerate() {
            let excludes = |held: &Held| held.lock == lock && !hold.goes_with(held.hold);
            if let Some(Held { hold: is, .. }) = owner.all_held().find(excludes) {
                return Err(format!(
                    "{hold:?} of {} was granted to [{thread}] in spite of {is:?} by [{other}]",
                    LOCKS[lock]
                ));
            }
        }
        Ok(())
    }

    fn take(&mut self, thread: usize, lock: usize, hold: Hold) -> Result<(), String> {
        if hold != Hold::Whole {
            self.expect_room(thread, lock, hold)?;
        } else if let Some(owner) = self.owner[lock] {
            let top = self.threads[thread].top();
            if owner != thread || self.locks[lock] != Sort::Again || !top.held.iter().any(|held| held.is(lock, hold)) {
                return Err(format!("{} was granted to [{thread}] while [{owner}] held it", LOCKS[lock]));
            }
        }
        if hold == Hold::Whole {
            self.owner[lock] = Some(thread);
        }
        self.threads[thread].top_mut().held.push(Held { lock, hold, kept: None });
        Ok(())
    }

    /// One guard becomes another.
    fn change(&mut self, thread: usize, lock: usize, from: Hold, to: Hold) -> Result<(), String> {
        let held = &mut self.threads[thread].top_mut().held;
        let Some(at) = held.iter().position(|held| held.is(lock, from) && held.kept.is_none()) else {
            return Err(format!("[{thread}] has no {from:?} of {}", LOCKS[lock]));
        };
        held.swap_remove(at);
        if to == Hold::Write {
            self.expect_room(thread, lock, to)?;
        }
        self.threads[thread].top_mut().held.push(Held { lock, hold: to, kept: None });
        Ok(())
    }

    fn release(&mut self, thread: usize, released: Held) -> Result<(), String> {
        let Held { lock, hold, .. } = released;
        let owner = &mut self.threads[thread];
        // The innermost first: who runs releases its own, but for what is kept.
        let mut lists = owner.frames.iter_mut().rev().map(|frame| &mut frame.held).chain([&mut owner.left]);
        let at = |held: &mut Vec<_>| held.iter().position(|&is| is == released).map(|at| held.swap_remove(at));
        if lists.find_map(at).is_some() {
            drop(lists);
            if hold == Hold::Whole && !owner.holds(lock) {
                self.owner[lock] = None;
            }
            return Ok(());
        }
        Err(format!("[{thread}] releases {}, which it does not hold", LOCKS[lock]))
    }

    /// Whether a task may have been told to stop.
    pub(crate) fn may_be_asked(&self, task: usize) -> bool {
        self.tasks[task].is_asked || self.tasks[task].cancellers > 0
    }

    /// Whether a wait may have ended by being granted.
    fn may_be_granted(&self, what: &What) -> bool {
        match what {
            What::Lock(_) | What::Shared(..) | What::Upgrade(_) | What::Room(_) => true,
            What::Promise(number) => self.fulfilled[*number],
            What::Token(task) => self.may_be_asked(*task),
            What::Tasks(tasks, when) => {
                let all = tasks.iter().all(|&task| self.may_be_done(task));
                match when {
                    ReturnWhen::AllCompleted => all,
                    ReturnWhen::FirstCompleted => tasks.iter().any(|&task| self.may_be_done(task)),
                    ReturnWhen::FirstException => all || tasks.iter().any(|&task| self.may_have_failed(task)),
                }
            }
            What::Workers(pool) => {
                let of_pool = |task: &usize| self.tasks[*task].pool == *pool;
                let mut tasks = (0..self.tasks.len()).filter(of_pool);
                tasks.all(|task| match self.tasks[task].phase {
                    Phase::New | Phase::Submitting => true,
                    // Its submitter runs it.
                    Phase::Running(thread, _) => self.threads[thread].pool != Some(*pool),
                    _ => self.may_be_done(task),
                })
            }
        }
    }

    fn waited(&mut self, thread: usize, outcome: Outcome) -> Result<(), String> {
        let Some(wait) = self.threads[thread].top_mut().wait.take() else {
            return Err(format!("[{thread}] did not wait"));
        };
        match outcome {
            Outcome::TimedOut if wait.limit != Limit::Soon => Err(format!("{wait:?} has no limit that ends")),
            Outcome::TimedOut => Ok(()),
            Outcome::Deadlock if wait.limit == Limit::Soon => Err(format!("{wait:?} ends by itself")),
            Outcome::Deadlock if wait.reports == 0 => Err(format!("{wait:?} failed without a report")),
            Outcome::Deadlock => Ok(()),
            Outcome::Granted if !self.may_be_granted(&wait.what) => Err(format!("{wait:?} was granted")),
            Outcome::Granted => match wait.what {
                What::Lock(lock) => self.take(thread, lock, Hold::Whole),
                What::Shared(lock, mode) => self.take(thread, lock, Hold::of(mode)),
                What::Upgrade(lock) => self.change(thread, lock, Hold::Upgradable, Hold::Write),
                _ => Ok(()),
            },
        }
    }

    fn begins(&mut self, thread: usize, task: usize) -> Result<(), String> {
        let Task { pool, phase, is_cancelled, .. } = self.tasks[task];
        if is_cancelled || !matches!(phase, Phase::Submitting | Phase::Queued) {
            return Err(format!("{} begins and is {phase:?}, cancelled: {is_cancelled}", TASKS[task]));
        }
        let runner = &mut self.threads[thread];
        let depth = match &runner.top().wait {
            Some(wait) => {
                let is_mine = match &wait.what {
                    What::Tasks(tasks, ReturnWhen::AllCompleted) => {
                        tasks.contains(&task) && runner.pool == Some(pool) && wait.limit != Limit::Soon
                    }
                    What::Room(_) => matches!(phase, Phase::Submitting),
                    _ => false,
                };
                if !is_mine {
                    return Err(format!("{} begins in place of {wait:?}", TASKS[task]));
                }
                runner.frames.push(Frame::default());
                runner.frames.len() - 1
            }
            None if runner.pool != Some(pool) => return Err(format!("{} begins on a stranger", TASKS[task])),
            None => 0,
        };
        if runner.frames[depth].task.replace(task).is_some() {
            return Err(format!("{} begins on a worker that is busy", TASKS[task]));
        }
        self.tasks[task].phase = Phase::Running(thread, depth);
        Ok(())
    }

    fn ends(&mut self, thread: usize, task: usize, failed: bool) -> Result<(), String> {
        let runner = &mut self.threads[thread];
        let top = runner.top();
        if top.task != Some(task) || top.wait.is_some() {
            return Err(format!("{} ends while its thread does {top:?}", TASKS[task]));
        }
        if runner.frames.len() > 1 {
            let frame = runner.frames.pop().expect("the top");
            runner.left.extend(frame.held);
        } else {
            runner.frames[0].task = None;
        }
        self.tasks[task].phase = Phase::Done { failed };
        Ok(())
    }

    fn begins_to_sweep(&mut self, thread: usize, pool: usize) {
        self.pools[pool].sweepers += 1;
        for task in self.tasks.iter_mut().filter(|task| task.pool == pool) {
            match (task.phase, &mut task.sweep) {
                (Phase::Queued, Sweep::Begun(sweepers)) => sweepers.push(thread),
                (Phase::Queued, sweep) if *sweep != Sweep::Done => *sweep = Sweep::Begun(vec![thread]),
                (Phase::Submitting, sweep) => *sweep = Sweep::Unknown,
                _ => {}
            }
        }
    }

    fn has_swept(&mut self, thread: usize, pool: usize) {
        self.pools[pool].sweepers -= 1;
        for task in self.tasks.iter_mut().filter(|task| task.pool == pool) {
            if matches!(&task.sweep, Sweep::Begun(sweepers) if sweepers.contains(&thread)) {
                task.sweep = Sweep::Done;
            }
        }
    }

    /// The tasks of which nobody knows whether a shutdown cancelled them.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = usize> {
        let is_unknown = |task: &usize| {
            let Task { pool, phase, ref sweep, .. } = self.tasks[*task];
            phase == Phase::Queued && *sweep == Sweep::Unknown && self.pools[pool].sweepers == 0
        };
        (0..self.tasks.len()).filter(is_unknown)
    }

    /// What is the case after this event. An error is an event that cannot be.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let Entry { number, thread, ref event } = *entry;
        if self.threads.get(thread).is_some_and(|thread| thread.is_gone) {
            return Err(format!("[{thread}] is gone"));
        }
        match *event {
            Event::Started { ref name, os_id, pool } => {
                while self.threads.len() <= thread {
                    self.threads.push(Thread {
                        name: String::new(),
                        os_id: 0,
                        pool: None,
                        frames: vec![Frame::default()],
                        left: Vec::new(),
                        has_left: false,
                        is_gone: false,
                    });
                }
                let started = &mut self.threads[thread];
                (started.name, started.os_id, started.pool) = (name.clone(), os_id, pool);
            }
            Event::Waits(ref what, limit, failure) => {
                let policies = [self.policy].into_iter().chain(self.next_policy).collect();
                let wait = Waiting { what: what.clone(), limit, failure, since: number, reports: 0, policies };
                if self.threads[thread].top_mut().wait.replace(wait).is_some() {
                    return Err(format!("[{thread}] waits for two things"));
                }
            }
            Event::Waited(outcome) => self.waited(thread, outcome)?,
            Event::Took(lock, hold) => self.take(thread, lock, hold)?,
            Event::Upgraded(lock) => self.change(thread, lock, Hold::Upgradable, Hold::Write)?,
            Event::Downgrades { lock, from, to } => self.change(thread, lock, from, to)?,
            Event::Releases(lock, hold) => self.release(thread, Held { lock, hold, kept: None })?,
            Event::DropsKept(lock, hold, number) => self.release(thread, Held { lock, hold, kept: Some(number) })?,
            Event::Keeps(lock, hold, number) => {
                let held = &mut self.threads[thread].top_mut().held;
                match held.iter_mut().rfind(|held| held.is(lock, hold) && held.kept.is_none()) {
                    Some(held) => held.kept = Some(number),
                    None => return Err(format!("[{thread}] does not hold {}", LOCKS[lock])),
                }
            }
            Event::Submits { task, named } => {
                self.tasks[task].phase = Phase::Submitting;
                self.tasks[task].has_name = named;
                if self.pools[self.tasks[task].pool].sweepers > 0 {
                    self.tasks[task].sweep = Sweep::Unknown;
                }
            }
            Event::Submitted { task, accepted } => {
                let phase = &mut self.tasks[task].phase;
                if *phase == Phase::Submitting {
                    *phase = if accepted { Phase::Queued } else { Phase::Rejected };
                }
            }
            Event::Begins(task) => self.begins(thread, task)?,
            Event::Ends { task, failed } => self.ends(thread, task, failed)?,
            Event::Cancels(task) => self.tasks[task].cancellers += 1,
            Event::Asks(task) => self.tasks[task].is_asked = true,
            Event::Cancelled { task, was } => {
                let task = &mut self.tasks[task];
                task.cancellers -= 1;
                task.is_cancelled |= was;
                task.is_asked |= !was;
                if was && !matches!(task.phase, Phase::Submitting | Phase::Queued) {
                    return Err(format!("a task was cancelled that is {:?}", task.phase));
                }
            }
            Event::ShutsDown { pool, cancels } => {
                self.pools[pool].is_closing = true;
                if cancels {
                    self.begins_to_sweep(thread, pool);
                }
            }
            Event::HasShutDown { pool, cancels } => {
                self.pools[pool].is_closed = true;
                if cancels {
                    self.has_swept(thread, pool);
                }
            }
            Event::Seen { task, cancelled } => {
                let task = &mut self.tasks[task];
                if task.phase == Phase::Queued && task.sweep == Sweep::Unknown {
                    task.sweep = if cancelled { Sweep::Done } else { Sweep::No };
                }
            }
            Event::Resizes { pool, to } => {
                self.pools[pool].next_max = Some(to);
                self.pools[pool].was_resized = true;
            }
            Event::Resized(pool) => {
                let pool = &mut self.pools[pool];
                pool.max_workers = pool.next_max.take().unwrap_or(pool.max_workers);
            }
            Event::SetsPolicy(policy) => {
                if policy != self.policy && thread == 0 {
                    self.policy_since = number;
                }
                self.next_policy = Some(policy);
                for wait in
                    self.threads.iter_mut().flat_map(|thread| &mut thread.frames).flat_map(|frame| &mut frame.wait)
                {
                    wait.policies.push(policy);
                }
            }
            Event::HasSetPolicy => self.policy = self.next_policy.take().unwrap_or(self.policy),
            Event::Fulfils(promise) => self.fulfilled[promise] = true,
            Event::Leaves => self.threads[thread].has_left = true,
            Event::Gone(other) => self.threads[other].is_gone = true,
            Event::Reported(_) => match &mut self.threads[thread].top_mut().wait {
                Some(wait) => wait.reports += 1,
                None => return Err(format!("[{thread}] reports a wait that it is not in")),
            },
            Event::Forgets(lock, hold) if !self.threads[thread].top().held.iter().any(|held| held.is(lock, hold)) => {
                return Err(format!("[{thread}] does not hold {}", LOCKS[lock]));
            }
            Event::Forgets(..) => {}
            Event::SetsGrace(grace) => self.grace = grace,
        }
        Ok(())
    }
}
