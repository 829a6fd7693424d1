//! Who holds and waits for what, by the rules of the things alone, and who is deadlocked, by brute force.

mod cells;
mod locks;
mod permits;
mod signals;
mod verdict;

use bowline::deadlock::Report;

use super::answer::Answer;
use super::script::{Ask, Intent, Mode, Sort, Step, THINGS, THREADS, Way};
pub(super) use cells::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Whole,
    Read,
    Upgradable,
    Write,
    Permits(usize),
    /// Permits that are nobody's.
    Loose(usize),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Whole,
    /// The lock that a wait on a condition released; its guard goes back to this place.
    Relock {
        at: usize,
        was_notified: bool,
    },
    Read(Mode),
    Upgradable,
    Write,
    /// By the guard at this place.
    Upgrade(usize),
    Permits(usize),
    Cell(Intent),
    /// The end of a thread, which is the number of the thing.
    Join,
    /// An event, a barrier or a promise: whether it came, or broke.
    Signal(Option<bool>),
    Loose(usize),
    /// A notification. Then the lock, whose guard was at this place. `ended`: it came, or the limit was over.
    Notified {
        lock: usize,
        at: usize,
        ended: Option<bool>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) thing: usize,
    pub(super) want: Want,
    pub(super) way: Way,
}

impl Wait {
    /// Whether it ends by itself.
    fn is_timed(self) -> bool {
        self.way == Way::Timed && !self.is_relock()
    }

    pub(super) fn is_relock(self) -> bool {
        matches!(self.want, Want::Relock { .. })
    }
}

/// What a thing is like, apart from who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Lock {
        /// Who waits to write it and is next, so that readers wait behind it.
        next: Option<usize>,
    },
    Permits,
    Cell(Cell),
    /// An event that is set, a promise that is kept, a barrier that is broken: or not.
    Signal(bool),
    Loose {
        free: usize,
    },
    /// Who waits for a notification, in this order.
    Condition(Vec<usize>),
}

/// What is in the way of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Blockers {
    /// All of these have to act; nobody, and the wait is over.
    All(Vec<usize>),
    /// These have to give so many permits, of which each has some.
    AtLeast(usize, Vec<(usize, usize)>),
    /// Nobody knows who has to act.
    Unknown,
}

impl Blockers {
    const NOBODY: Self = Self::All(Vec::new());

    fn is_nobody(&self) -> bool {
        *self == Self::NOBODY
    }
}

/// One moment of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    sorts: Vec<Sort>,
    states: Vec<State>,
    /// What each thread holds, one entry a guard, in the order of its guards.
    pub(super) held: Vec<Vec<(usize, Hold)>>,
    /// The cells that each thread initialises, the innermost last.
    pub(super) initialises: Vec<Vec<usize>>,
    pub(super) waiting: Vec<Option<Wait>>,
    /// Whether each thread has ended.
    pub(super) ended: Vec<bool>,
    /// Whether the handle of each thread is there, so that it can be joined.
    pub(super) handles: Vec<bool>,
}

impl Moment {
    pub(super) fn first(threads: usize, sorts: &[Sort]) -> Self {
        let state = |&sort| match sort {
            Sort::Plain | Sort::Again | Sort::Shared | Sort::Shown => State::Lock { next: None },
            Sort::Permits(_) => State::Permits,
            Sort::OnceLock | Sort::Once | Sort::Lazy => State::Cell(Cell::New),
            Sort::Event | Sort::Barrier(_) | Sort::Promise => State::Signal(false),
            Sort::Loose(free) => State::Loose { free },
            Sort::Condition => State::Condition(Vec::new()),
        };
        Self {
            sorts: sorts.to_vec(),
            states: sorts.iter().map(state).collect(),
            held: vec![Vec::new(); threads],
            initialises: vec![Vec::new(); threads],
            waiting: vec![None; threads],
            ended: vec![false; threads],
            handles: vec![true; threads],
        }
    }

    /// Who holds a thing, once for each guard.
    fn holds(&self, thing: usize) -> impl Iterator<Item = (usize, Hold)> {
        let guards =
            self.held.iter().enumerate().flat_map(|(thread, held)| held.iter().map(move |held| (thread, held)));
        guards.filter(move |(_, held)| held.0 == thing).map(|(thread, held)| (thread, held.1))
    }

    /// Who waits for a thing.
    fn waits_for(&self, thing: usize) -> impl Iterator<Item = (usize, Wait)> {
        let waits = self.waiting.iter().enumerate().filter_map(|(thread, wait)| wait.map(|wait| (thread, wait)));
        waits.filter(move |(_, wait)| wait.thing == thing && wait.want != Want::Join)
    }

    /// What keeps a thread from what it wants.
    fn blockers(&self, thread: usize, wait: Wait) -> Blockers {
        let Wait { thing, want, .. } = wait;
        match want {
            Want::Permits(count) => self.lacks_permits(thing, count),
            Want::Cell(intent) => self.initialiser(thing, intent),
            Want::Join if self.ended[thing] => Blockers::NOBODY,
            Want::Join => Blockers::All(vec![thing]),
            Want::Signal(Some(_)) => Blockers::NOBODY,
            Want::Loose(_) if self.is_served(thing) => Blockers::NOBODY,
            Want::Signal(None) | Want::Loose(_) | Want::Notified { .. } => Blockers::Unknown,
            _ => Blockers::All(self.owners(thread, wait)),
        }
    }

    /// What a thread begins to wait for, or is granted at once.
    fn asks(&mut self, thread: usize, ask: Ask) {
        let Ask { way, mode, count, thing } = ask;
        let want = match self.sorts[thing] {
            Sort::Plain | Sort::Again => Want::Whole,
            Sort::Shared | Sort::Shown => match mode {
                Mode::Read | Mode::Again => Want::Read(mode),
                Mode::Upgradable => Want::Upgradable,
                Mode::Write => Want::Write,
            },
            Sort::Permits(_) => Want::Permits(count),
            sort @ (Sort::OnceLock | Sort::Once | Sort::Lazy) => Want::Cell(sort.intent(ask)),
            Sort::Loose(_) => Want::Loose(count),
            Sort::Event | Sort::Promise | Sort::Barrier(_) => Want::Signal(self.arrives(thing)),
            Sort::Condition => unreachable!("nobody waits on a condition without a lock"),
        };
        self.waiting[thread] = Some(Wait { thing, want, way });
    }

    /// The moment at which this is done: by a thread, or by somebody outside. What it gives away is gone.
    pub(super) fn begin(&self, thread: Option<usize>, step: Step) -> Self {
        let mut moment = self.clone();
        if let Step::Signal(thing, all) = step {
            moment.signal(thing, all);
            return moment;
        }
        let thread = thread.expect("others give signals alone");
        match step {
            Step::Take(ask) => moment.asks(thread, ask),
            Step::Wait { way, condition, at } => {
                let (lock, _) = moment.held[thread].remove(at);
                moment.waiting[thread] =
                    Some(Wait { thing: condition, want: Want::Notified { lock, at, ended: None }, way });
                moment.queue(condition).push(thread);
            }
            Step::Upgrade(way, at) => {
                let thing = moment.held[thread][at].0;
                moment.waiting[thread] = Some(Wait { thing, want: Want::Upgrade(at), way });
                moment.set_next(thing, Some(thread));
            }
            Step::Downgrade(at, to_upgradable) => {
                let held = &mut moment.held[thread][at];
                let is_upgradable = to_upgradable && held.1 == Hold::Write;
                held.1 = if is_upgradable { Hold::Upgradable } else { Hold::Read };
            }
            Step::Release(at) => {
                let (thing, hold) = moment.held[thread].remove(at);
                if let (State::Loose { free }, Hold::Loose(permits)) = (&mut moment.states[thing], hold) {
                    *free += permits;
                }
            }
            Step::Join(way, thing) => {
                moment.handles[thing] = false;
                moment.waiting[thread] = Some(Wait { thing, want: Want::Join, way });
            }
            Step::EndInitialiser(outcome) => moment.end_initialiser(thread, outcome),
            Step::End => moment.ended[thread] = true,
            Step::Signal(..) | Step::ReleaseAll => unreachable!("done above, or one after the other"),
        }
        moment
    }

    /// A wait is over, however it ended.
    fn end_wait(&mut self, thread: usize) -> Option<Wait> {
        let wait = self.waiting[thread].take()?;
        if wait.want != Want::Join && self.next(wait.thing) == Some(thread) {
            self.set_next(wait.thing, None);
        }
        Some(wait)
    }

    /// Gives a thread what it waited for, if this is how it is told.
    fn grant(&mut self, thread: usize, wait: Wait, answer: &Answer) -> Result<(), String> {
        let Wait { thing, want, way } = wait;
        let hold = match want {
            Want::Cell(intent) => return self.enter(thread, thing, intent, answer),
            Want::Signal(Some(is_there)) => {
                let is_told = matches!(answer, Answer::Granted) == is_there;
                let is_possible = is_told && matches!(answer, Answer::Granted | Answer::Refused);
                return is_possible.then_some(()).ok_or_else(|| format!("{answer:?}, and it is {is_there}"));
            }
            Want::Relock { at, was_notified } if was_notified || matches!(answer, Answer::Refused) => {
                let is_told = matches!(answer, Answer::Granted) && was_notified
                    || matches!(answer, Answer::Refused) && !was_notified;
                self.held[thread].insert(at, (thing, Hold::Whole));
                return is_told.then_some(()).ok_or_else(|| format!("{answer:?}, and notified: {was_notified}"));
            }
            _ if !matches!(answer, Answer::Granted) => return Err(format!("{answer:?} of {want:?} by {way:?}")),
            Want::Join => return Ok(()),
            Want::Upgrade(at) => {
                self.held[thread][at].1 = Hold::Write;
                return Ok(());
            }
            Want::Whole => Hold::Whole,
            Want::Read(_) => Hold::Read,
            Want::Upgradable => Hold::Upgradable,
            Want::Write => Hold::Write,
            Want::Permits(count) => Hold::Permits(count),
            Want::Loose(count) => self.take_loose(thing, count),
            Want::Relock { .. } | Want::Signal(None) | Want::Notified { .. } => {
                return Err(format!("{answer:?} of {want:?}"));
            }
        };
        self.held[thread].push((thing, hold));
        Ok(())
    }

    /// The moment after this answer, if it may be given at this one. `report`: what was reported, if that is a deadlock.
    fn after(&self, thread: usize, answer: &Answer, report: Option<&Report>) -> Result<Self, String> {
        let mut moment = self.clone();
        let Some(wait) = moment.end_wait(thread) else {
            return if matches!(answer, Answer::Done) { Ok(moment) } else { Err("it does not wait".to_owned()) };
        };
        let blockers = self.blockers(thread, wait);
        match answer {
            Answer::Value(_) | Answer::Panic(_) => {
                let report = report.ok_or("no report")?;
                let way = if matches!(answer, Answer::Value(_)) { Way::Acquire } else { Way::Lock };
                if wait.way != way || wait.is_relock() && way == Way::Lock {
                    return Err(format!("{answer:?} to {wait:?}"));
                }
                self.check_report(thread, report)?;
                match wait.want {
                    // It unwound with the guard.
                    Want::Upgrade(at) if way == Way::Lock => drop(moment.held[thread].remove(at)),
                    // The handle came back.
                    Want::Join if way == Way::Acquire => moment.handles[wait.thing] = true,
                    _ => {}
                }
            }
            Answer::Refused if self.ends_alone(wait) || wait.way == Way::Try && moment.may_refuse(wait, &blockers) => {
                if wait.want == Want::Join {
                    moment.handles[wait.thing] = true;
                }
            }
            _ if blockers.is_nobody() || self.has_loose(wait) => moment.grant(thread, wait, answer)?,
            answer => return Err(format!("{answer:?} with {blockers:?} in the way")),
        }
        Ok(moment)
    }

    /// Whether a wait may end by its limit, and nobody else is told of that.
    fn ends_alone(&self, wait: Wait) -> bool {
        let is_told = match wait.want {
            Want::Notified { .. } => true,
            Want::Signal(_) => matches!(self.sorts[wait.thing], Sort::Barrier(_)),
            _ => false,
        };
        wait.is_timed() && !is_told
    }

    /// Whether a thread that only tries goes away.
    fn may_refuse(&self, wait: Wait, blockers: &Blockers) -> bool {
        // Others wait for permits, and are served before.
        let is_behind = matches!(wait.want, Want::Loose(_)) && self.waits_for(wait.thing).next().is_some();
        is_behind || !blockers.is_nobody()
    }

    /// Whether nothing more happens by itself.
    fn is_at_rest(&self) -> bool {
        let rests = |thread: usize| {
            let Some(wait) = self.waiting[thread] else { return true };
            wait.way != Way::Try && !self.blockers(thread, wait).is_nobody() && self.may_be_next(thread).is_none()
        };
        (0..self.held.len()).all(rests) && self.is_free_of_deadlocks()
    }

    /// What nobody sees: the moments to which this one may lead without an answer.
    fn unseen(&self) -> impl Iterator<Item = Self> {
        (0..self.held.len()).filter_map(|thread| {
            self.becomes_next(thread).or_else(|| self.locks_again(thread)).or_else(|| self.times_out(thread))
        })
    }

    /// This moment, and those to which it may lead by the ends of waits with a limit that others are told of.
    pub(super) fn with_time_outs(&self) -> Vec<Self> {
        let mut moments = vec![self.clone()];
        for thread in 0..self.held.len() {
            let later: Vec<_> = moments.iter().filter_map(|moment| moment.times_out(thread)).collect();
            moments.extend(later);
        }
        moments
    }

    /// All moments at rest to which these answers may have led from here, in whatever order, and an order that a thread may
    /// have begun to carry out at any time between them. The reports are those of the answers.
    pub(super) fn explain(
        &self,
        late: Option<(usize, Step)>,
        answers: &[(usize, Answer, Option<Report>)],
        found: &mut Vec<Self>,
        why: &mut Vec<String>,
    ) {
        if let Some((thread, step)) = late {
            self.begin(Some(thread), step).explain(None, answers, found, why);
        } else if answers.is_empty() && self.is_at_rest() && !found.contains(self) {
            found.push(self.clone());
        }
        let is_late = |thread: usize| late.is_some_and(|(late, _)| late == thread);
        let without = |at: usize| answers[..at].iter().chain(&answers[at + 1..]).cloned().collect::<Vec<_>>();
        // A signal came to these; it does not matter when they see that.
        let is_told =
            |thread: usize| self.waiting[thread].is_none_or(|wait| matches!(wait.want, Want::Signal(Some(_))));
        let first = answers.iter().position(|(thread, ..)| !is_late(*thread) && is_told(*thread));
        let (from, to) = first.map_or((0, answers.len()), |first| (first, first + 1));
        let next = answers.iter().enumerate().take(to).skip(from).filter(|(_, (thread, ..))| !is_late(*thread));
        for (at, (thread, answer, report)) in next {
            match self.after(*thread, answer, report.as_ref()) {
                Ok(after) => after.explain(late, &without(at), found, why),
                Err(text) => why.push(format!("{}: {text}", THREADS[*thread])),
            }
        }
        if first.is_none() {
            self.unseen().for_each(|after| after.explain(late, answers, found, why));
        }
    }

    /// What a thread waits for, as the wait-for graph calls it.
    pub(super) fn waits_for_name(&self, thread: usize) -> Option<&'static str> {
        let wait = self.waiting[thread]?;
        match wait.want {
            Want::Join => Some(THREADS[wait.thing]),
            // It has no name.
            Want::Signal(_) if self.sorts[wait.thing] == Sort::Promise => None,
            _ => Some(THINGS[wait.thing]),
        }
    }

    /// Who waits without a limit until somebody gives a signal, and for which thing.
    pub(super) fn signals_wanted(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.held.len()).filter_map(|thread| {
            let wait = self.waiting[thread].filter(|wait| !wait.is_timed())?;
            (self.blockers(thread, wait) == Blockers::Unknown).then_some((thread, wait.thing))
        })
    }

    /// Whether anybody waits for what this thread holds or initialises, or for its end.
    pub(super) fn is_in_the_way(&self, thread: usize) -> bool {
        (0..self.held.len()).any(|other| {
            let blockers = self.waiting[other].map(|wait| self.blockers(other, wait));
            other != thread
                && match blockers {
                    Some(Blockers::All(threads)) => threads.contains(&thread),
                    Some(Blockers::AtLeast(_, holders)) => holders.iter().any(|&(holder, _)| holder == thread),
                    Some(Blockers::Unknown) | None => false,
                }
        })
    }

    pub(super) fn sort(&self, thing: usize) -> Sort {
        self.sorts[thing]
    }

    /// Whether anybody joins this thread.
    pub(super) fn is_joined(&self, thread: usize) -> bool {
        self.waiting.iter().flatten().any(|wait| wait.want == Want::Join && wait.thing == thread)
    }
}
