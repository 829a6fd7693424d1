//! A pool in which one thing happens at a time, and what must hold after each.

mod check;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::process_pool::parent::dispatcher::todo::FailedJob;
use crate::process_pool::parent::dispatcher::*;
use crate::process_pool::parent::home::Sender;
use crate::process_pool::parent::job::MAX_RESENDS;
use crate::process_pool::parent::lifespan::Lifespan;
use crate::process_pool::parent::model::{ModelFrame, ModelLink, complete_with, job, quick};
use crate::task::error::{LastLines, TerminationCause, WorkerExit, WorkerLost};
use crate::task::future::Future;

/// What happens next. A number picks one of those that it can happen to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Submit {
        policy: StartPolicy,
        retries: u32,
        has_limit: bool,
    },
    Up(usize),
    StartFails {
        which: usize,
        attempt: StartAttempt,
    },
    /// A process begins, or skips, the next task that it has received, or stops.
    Receives(usize),
    /// A process sends the result of the task that it runs.
    Replies(usize),
    /// A supervisor reads the next reply, or that the process is gone.
    Supervises(usize),
    Dies(usize),
    /// A supervisor has failed what was lost with its worker, or with the start of one.
    Leaves(usize),
    Cancel(usize),
    /// A task is asked to end.
    Ask(usize),
    /// The worker of a task that was asked to end, and has not, gets a signal, and dies.
    Signal(usize),
    /// A worker is to retire.
    Retire(usize),
    /// Workers that have nothing to run retire if they have served their time.
    RetireIdle,
    /// A caller fails tasks that the dispatcher gave out for that.
    Fail,
    CancelQueued,
    /// Enough time passes to make a running task long.
    TimePasses,
    Close,
    CloseNow,
}

struct Pool {
    dispatcher: Dispatcher<ModelLink>,
}

impl Sender for Pool {
    fn claim_to_cancel(&self, task: &Header) -> bool {
        self.dispatcher.claim_to_cancel(task)
    }

    fn terminate(self: &Arc<Self>, task: &Header, _: Duration) -> bool {
        let asked = self.dispatcher.ask_to_end(Which::Task(task), TerminationCause::Asked, StartPolicy::AsNeeded);
        matches!(asked, Asked::Running { .. })
    }

    fn has_short_tasks(&self) -> bool {
        false
    }
}

/// A process, and what it has sent.
struct Process {
    number: usize,
    link: Arc<ModelLink>,
    runs: Option<(u64, u32)>,
    last_begun: u64,
    /// The number of the task, if it was not skipped.
    replies: VecDeque<(u64, Option<u32>)>,
    is_alive: bool,
}

/// A worker that is gone, or did not get up, and the tasks that are to fail with it.
struct Leaving {
    number: usize,
    policy: StartPolicy,
    to_fail: Vec<FailedJob>,
}

struct Task {
    future: Future<u32>,
    retries: u32,
    begun: u32,
    /// How often a worker was lost that had this task and had begun none.
    resent: u32,
    was_sent: bool,
    was_cancelled: bool,
    /// It was asked to end between two workers.
    was_ended: bool,
}

/// Of tasks that have a limit. It is never due.
const LIMIT: TimeLimit = TimeLimit { timeout: Duration::MAX, grace: Duration::MAX };

/// How often the interesting things happened, over all histories.
pub(super) type Tally = RefCell<BTreeMap<&'static str, u32>>;

pub(super) struct World<'t> {
    pool: Arc<Pool>,
    processes: Vec<Process>,
    /// Workers that are being started.
    starting: Vec<usize>,
    leaving: Vec<Leaving>,
    tasks: Vec<Task>,
    /// Tasks that a caller is to fail, and whether it asks for the end afterwards.
    given_out: VecDeque<(Vec<FailedJob>, PoolEnd)>,
    /// The serial numbers of workers, and the numbers of their tasks that were asked to end.
    asked: Vec<(u64, u64)>,
    end_was_told: bool,
    /// Whether a worker has retired.
    has_retired: bool,
    /// Whether a worker could be started each time that one was needed.
    starts_at_will: bool,
    tally: &'t Tally,
}

impl<'t> World<'t> {
    pub(super) fn new(max_workers: usize, tally: &'t Tally) -> Self {
        Self::of_lifespan(max_workers, Lifespan::default(), tally)
    }

    pub(super) fn of_lifespan(max_workers: usize, lifespan: Lifespan, tally: &'t Tally) -> Self {
        Self {
            pool: Arc::new(Pool { dispatcher: quick(max_workers, lifespan) }),
            processes: Vec::new(),
            starting: Vec::new(),
            leaving: Vec::new(),
            tasks: Vec::new(),
            given_out: VecDeque::new(),
            asked: Vec::new(),
            has_retired: false,
            end_was_told: false,
            starts_at_will: true,
            tally,
        }
    }

    fn note(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    fn dispatcher(&self) -> &Dispatcher<ModelLink> {
        &self.pool.dispatcher
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Submit { policy, retries, has_limit } => self.submit(policy, retries, has_limit),
            Step::Up(which) => {
                if let Some(at) = pick(which, self.starting.len()) {
                    self.up(at);
                }
            }
            Step::StartFails { which, attempt } => self.start_fails(which, attempt),
            Step::Receives(which) => {
                self.pick_process(which, |process| process.is_alive && process.runs.is_none(), Self::receives);
            }
            Step::Replies(which) => self.pick_process(which, |process| process.runs.is_some(), Self::replies),
            Step::Supervises(which) => {
                let has_news = |process: &Process| !process.replies.is_empty() || !process.is_alive;
                self.pick_process(which, has_news, Self::supervises);
            }
            Step::Dies(which) => {
                self.pick_process(
                    which,
                    |process| process.is_alive,
                    |world, at| {
                        world.processes[at].is_alive = false;
                        world.processes[at].runs = None;
                    },
                );
            }
            Step::Leaves(which) => {
                if let Some(at) = pick(which, self.leaving.len()) {
                    self.leaves(at);
                }
            }
            Step::Cancel(which) => {
                if let Some(at) = pick(which, self.tasks.len()) {
                    self.cancel(at);
                }
            }
            Step::Ask(which) => {
                if let Some(at) = pick(which, self.tasks.len()) {
                    self.ask(at);
                }
            }
            Step::Signal(which) => {
                if let Some(at) = pick(which, self.asked.len()) {
                    self.signal(at);
                }
            }
            Step::Retire(which) => {
                if let Some(at) = pick(which, self.processes.len()) {
                    self.retire(at);
                }
            }
            Step::RetireIdle => {
                self.dispatcher().pass(Duration::from_millis(2));
                let idle = self.dispatcher().state.lock().idle.len();
                let (_, todo) = self.dispatcher().retire_idle();
                if self.dispatcher().state.lock().idle.len() < idle {
                    self.note("an idle worker retires");
                }
                self.carry_out(todo);
            }
            Step::Fail => self.fail(),
            Step::CancelQueued => {
                let todo = self.dispatcher().cancel_queued();
                self.carry_out(todo);
            }
            Step::Close => {
                let todo = self.dispatcher().close();
                self.carry_out(todo);
            }
            Step::TimePasses => self.dispatcher().pass(Duration::from_millis(1)),
            Step::CloseNow => {
                let closed = self.dispatcher().close_now(Rejected::Killed);
                self.carry_out(closed.todo);
            }
        }
        self.check();
    }

    /// Returns the number of the task that a worker runs.
    pub(super) fn running(&self, worker: usize) -> Option<u64> {
        let state = self.dispatcher().state.lock();
        let member = state.members[worker].as_ref().expect("it is up");
        member.sent.iter().find_map(|sent| Some(sent.job.as_ref()?.number))
    }

    /// Returns how many tasks are in the queue, those included that were cancelled.
    pub(super) fn queued(&self) -> usize {
        self.dispatcher().state.lock().queue.len()
    }

    /// Returns how many workers are up, and how many are being started.
    pub(super) fn workers(&self) -> (usize, usize) {
        (self.processes.len(), self.starting.len())
    }

    fn pick_process(&mut self, which: usize, can: impl Fn(&Process) -> bool, does: impl FnOnce(&mut Self, usize)) {
        let able: Vec<_> = (0..self.processes.len()).filter(|&at| can(&self.processes[at])).collect();
        if let Some(at) = pick(which, able.len()) {
            does(self, able[at]);
        }
    }

    fn submit(&mut self, policy: StartPolicy, retries: u32, has_limit: bool) {
        let number = self.tasks.len() as u32;
        let (mut job, future) = job(Arc::clone(&self.pool), number, retries);
        job.limit = has_limit.then_some(LIMIT);
        let (was_idle, was_short) = {
            let state = self.dispatcher().state.lock();
            let can_start = state.starts_succeed() || state.workers == 0;
            let limit = state.max_workers + state.retiring.min(state.max_workers);
            let may_grow = state.workers < limit && state.closing.is_none() && can_start;
            (!state.idle.is_empty(), may_grow && state.live() + state.ahead + 1 > state.starting)
        };
        self.tasks.push(Task {
            future,
            retries,
            begun: 0,
            resent: 0,
            was_sent: false,
            was_cancelled: false,
            was_ended: false,
        });
        let todo = self.dispatcher().submit(job, policy);
        self.starts_at_will &= policy == StartPolicy::AsNeeded;
        if was_short && policy == StartPolicy::AsNeeded {
            let replaces = was_idle && self.dispatcher().state.lock().retiring > 0;
            let is_right = was_idle != todo.start().is_some() || replaces;
            assert!(is_right, "a task gets an idle worker, or another one is started");
        }
        self.carry_out(todo);
    }

    fn up(&mut self, at: usize) {
        let number = self.starting.remove(at);
        let link = Arc::new(ModelLink::new(number as u32 + 1));
        let todo = self.dispatcher().up(number, Arc::clone(&link));
        self.processes.push(Process {
            number,
            link,
            runs: None,
            last_begun: 0,
            replies: VecDeque::new(),
            is_alive: true,
        });
        self.carry_out(todo);
    }

    fn start_fails(&mut self, which: usize, attempt: StartAttempt) {
        let Some(at) = pick(which, self.starting.len()) else { return };
        let number = self.starting[at];
        let reason = Rejected::NoThread(Arc::new(std::io::ErrorKind::WouldBlock.into()));
        let failed = self.dispatcher().start_failed(&reason, attempt);
        self.starts_at_will = false;
        let FailedStart::GiveUp(mut todo) = failed else {
            return assert_ne!(attempt, StartAttempt::Last, "the last try is the last");
        };
        if todo.failed_count() > 0 {
            self.note("tasks fail for want of a worker");
        }
        self.starting.remove(at);
        self.leaving.push(Leaving { number, policy: StartPolicy::OnlyIfNone, to_fail: todo.take_failed() });
        self.carry_out(todo);
    }

    fn leaves(&mut self, at: usize) {
        let Leaving { number, policy, to_fail } = self.leaving.remove(at);
        for failed in to_fail {
            assert!(failed.fail().is_none(), "nothing is to be run");
        }
        match self.dispatcher().leave(number, policy) {
            Left::Replace => {
                self.note(match policy {
                    StartPolicy::AsNeeded => "a worker is replaced",
                    StartPolicy::OnlyIfNone => "a start is tried again for who came meanwhile",
                });
                self.starts(number);
            }
            Left::Gone(todo) => self.carry_out(todo),
        }
    }

    fn receives(&mut self, at: usize) {
        let process = &mut self.processes[at];
        match process.link.try_receive() {
            None => {}
            Some(ModelFrame::Stop) => process.is_alive = false,
            Some(ModelFrame::Task { id, number }) if process.link.start(id) => {
                process.runs = Some((id, number));
                process.last_begun = id;
                let task = &mut self.tasks[number as usize];
                task.begun += 1;
                assert!(task.begun <= 1 + task.retries, "a task is begun once, and once for each retry");
                assert!(!task.was_cancelled, "a task that was cancelled is not begun");
            }
            Some(ModelFrame::Task { id, .. }) => {
                process.replies.push_back((id, None));
                self.note("a task was taken back");
            }
        }
    }

    fn replies(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let (id, number) = process.runs.take().expect("it runs one");
        process.replies.push_back((id, Some(number)));
    }

    fn supervises(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some((id, number)) = process.replies.pop_front() else { return self.lost(at) };
        let process_number = process.number;
        let AfterReply { job, send, todo } = self.dispatcher().replied(process_number, id).expect("it has this task");
        if send == SendNext::Never {
            self.note("a task ends after the signal");
            self.kill(at);
        }
        self.carry_out(todo);
        match (job, number) {
            (Some(job), Some(number)) => assert!(complete_with(job, number).is_none()),
            (None, None) => {}
            (job, number) => panic!("taken back: {}, begun: {}", job.is_none(), number.is_some()),
        }
    }

    fn lost(&mut self, at: usize) {
        let process = self.processes.remove(at);
        let had = self.tasks_of(&process);
        if had.iter().all(|(_, was_begun)| !was_begun) {
            had.iter().for_each(|&(number, _)| self.tasks[number].resent += 1);
        }
        let queued = self.dispatcher().counts().queued;
        let Loss { killed, was_in_a_task, farewell, mut todo } = self.dispatcher().lost(process.number);
        let is_in_a_task =
            had.iter().any(|&(_, was_begun)| was_begun) || killed.iter().any(|killed| killed.asked.is_some());
        assert_eq!(was_in_a_task, is_in_a_task, "a worker that dies in a task gets a successor at once");
        assert!(process.link.due().is_empty(), "nothing is due of what a lost worker had");
        for (number, was_begun) in had {
            let task = &self.tasks[number];
            let killed = killed.iter().find(|killed| number_of(&self.tasks, &killed.job) == number);
            let is_over = was_begun && task.begun > task.retries || task.resent > MAX_RESENDS;
            let is_ended = killed.is_some_and(|killed| killed.asked.is_some()) || self.is_closed_now();
            assert!(killed.is_some() == is_over || is_ended, "a task fails with its worker after the last attempt");
        }
        for killed in killed {
            let lost = WorkerLost::new(0, WorkerExit::Unknown, "", Duration::ZERO, LastLines::default());
            todo.will_fail(killed.job, TaskError::WorkerLost(lost));
        }
        let policy = match farewell {
            Farewell::ToldToStop => StartPolicy::OnlyIfNone,
            Farewell::Unasked => StartPolicy::AsNeeded,
        };
        self.leaving.push(Leaving { number: process.number, policy, to_fail: todo.take_failed() });
        if self.dispatcher().counts().queued > queued {
            self.note("what a lost worker had goes back");
        }
        self.carry_out(todo);
    }

    /// Returns the tasks that a process has, and whether it has begun them.
    fn tasks_of(&self, process: &Process) -> Vec<(usize, bool)> {
        let state = self.dispatcher().state.lock();
        let sent = &state.members[process.number].as_ref().expect("it is up").sent;
        let had = sent.iter().filter_map(|sent| Some((sent.id, sent.job.as_ref()?)));
        had.map(|(id, job)| (number_of(&self.tasks, job), process.last_begun >= id)).collect()
    }

    fn is_closed_now(&self) -> bool {
        matches!(self.dispatcher().state.lock().closing, Some(Closing::Now(_)))
    }

    fn cancel(&mut self, at: usize) {
        let was_done = self.tasks[at].future.done();
        let was_ahead = self.dispatcher().state.lock().ahead;
        let cancelled = self.tasks[at].future.cancel();
        if cancelled && !was_done {
            self.tasks[at].was_cancelled = true;
            assert_eq!(self.tasks[at].begun, 0, "a task that was begun can't be cancelled");
            if self.dispatcher().state.lock().ahead < was_ahead {
                self.note("a task that was ahead is cancelled");
            }
        }
    }

    /// A process is killed: what it has sent before is there to be read.
    fn kill(&mut self, at: usize) {
        self.processes[at].is_alive = false;
        self.processes[at].runs = None;
    }

    fn ask(&mut self, at: usize) {
        self.cancel(at);
        let header = self.tasks[at].future.task().clone();
        let asked = self.dispatcher().ask_to_end(Which::Task(&header), TerminationCause::Asked, StartPolicy::AsNeeded);
        match asked {
            Asked::NotBegun => {}
            Asked::Cancelled { todo } => {
                self.tasks[at].was_ended = true;
                self.note("a task is ended between two workers");
                self.carry_out(todo);
            }
            Asked::Over { todo } => self.carry_out(todo),
            Asked::Running { link, id, todo } => {
                // The signals.
                link.limit(id, LIMIT);
                self.asked.push((link.serial(), id));
                self.carry_out(todo);
            }
        }
    }

    fn signal(&mut self, at: usize) {
        let (serial, id) = self.asked.remove(at);
        if self.dispatcher().will_signal(serial, id).is_none() {
            return;
        }
        let at = self.processes.iter().position(|process| process.link.serial() == serial).expect("it is up");
        let process = &self.processes[at];
        let is_right = process.last_begun <= id && process.runs.is_none_or(|(runs, _)| runs == id);
        assert!(is_right, "a signal meets the task that is to end, or none");
        if process.is_alive {
            self.note("a signal ends a worker");
        }
        // The signal may come at once, or when the task has ended.
        if process.runs.is_none() || id % 2 == 0 {
            self.kill(at);
        }
    }

    fn retire(&mut self, at: usize) {
        let number = self.processes[at].number;
        let was_closed = self.dispatcher().state.lock().members[number].as_ref().expect("it is up").is_closed();
        let (_, todo) = self.dispatcher().retire(number);
        self.note("a worker retires");
        let has = self.tasks_of(&self.processes[at]);
        let behind = has.iter().skip(1).any(|(_, was_begun)| !was_begun);
        assert!(was_closed || !behind, "a worker that retires runs what it has begun, and nothing else");
        self.carry_out(todo);
    }

    fn fail(&mut self) {
        let Some((to_fail, end)) = self.given_out.pop_front() else { return };
        for failed in to_fail {
            assert!(failed.fail().is_none(), "nothing is to be run");
        }
        if end == PoolEnd::AskWhenFailed && self.dispatcher().have_failed() == PoolEnd::Reached {
            self.end_is_told();
        }
    }

    fn carry_out(&mut self, mut todo: Todo<ModelLink>) {
        todo.flush();
        let to_fail = todo.failed_count();
        let failed = todo.take_failed();
        if failed.len() > to_fail {
            self.note("what is left of a cancelled task is dropped outside of the mutex");
        }
        if to_fail > 0 {
            self.given_out.push_back((failed, todo.end()));
        }
        if todo.end() == PoolEnd::Reached {
            self.end_is_told();
        }
        if let Some(number) = todo.start() {
            self.starts(number);
        }
    }

    fn end_is_told(&mut self) {
        self.end_was_told = true;
        assert!(self.is_over(), "it is over");
    }

    fn starts(&mut self, number: usize) {
        let mut taken = self.processes.iter().map(|process| process.number);
        assert!(!self.starting.contains(&number) && !taken.any(|other| other == number));
        assert!(self.leaving.iter().all(|leaving| leaving.number != number));
        self.starting.push(number);
        let state = self.dispatcher().state.lock();
        assert!(!matches!(state.closing, Some(Closing::Now(_))), "no worker is started when nothing is begun any more");
        // The successor of one that has retired may still be on its way when that is gone.
        let is_ahead = self.has_retired || state.retiring > 0;
        assert!(state.live() + state.ahead >= state.starting || is_ahead, "no worker is started without need");
        assert!(state.idle.is_empty(), "nor while another one is idle");
    }

    /// Lets everything come to its end.
    pub(super) fn finish(mut self) {
        self.step(Step::Close);
        let mut steps_left = 10_000;
        while !self.end_was_told || !self.given_out.is_empty() {
            steps_left -= 1;
            assert!(steps_left > 0, "every pool that is closed comes to its end");
            self.step(Step::Up(0));
            self.step(Step::Leaves(0));
            for at in 0..self.processes.len() {
                self.step(Step::Receives(at));
                self.step(Step::Replies(at));
                self.step(Step::Supervises(at));
            }
            self.step(Step::Fail);
        }
        for (number, task) in (0..).zip(&mut self.tasks) {
            let result = task.future.try_result().expect("every task resolves");
            match result {
                Ok(value) => assert!(value == number && task.begun > 0 && !task.was_cancelled),
                Err(TaskError::Cancelled) => assert!(task.begun == 0 || task.was_ended),
                Err(TaskError::WorkerLost(_)) => assert!(!task.was_cancelled),
                Err(TaskError::Rejected(_)) => assert!(task.begun <= task.retries && !task.was_cancelled),
                Err(error) => panic!("{error}"),
            }
        }
        self.tasks.clear();
        assert_eq!(Arc::strong_count(&self.pool), 1, "no task keeps its pool alive");
    }
}

fn number_of(tasks: &[Task], job: &Job) -> usize {
    tasks.iter().position(|task| task.future.task().key() == job.task.key()).expect("it was submitted")
}

fn pick(which: usize, of: usize) -> Option<usize> {
    (of > 0).then(|| which % of)
}
