//! Random histories of a pool, one step at a time, against what must hold after each: nobody is idle beside work, nothing is
//! run twice, started in vain or forgotten, and the end is told when it has come.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::executor::cell::Owner;
use crate::executor::future::Future;
use crate::executor::process_pool::claim::SLOTS;
use crate::executor::process_pool::lost::{WorkerExit, WorkerLost};
use crate::executor::process_pool::model::{Frame, ModelLink, complete_with, job};

/// What happens next. A number picks one of those to whom it can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit {
        start_allowed: bool,
        retries: u32,
    },
    Up(usize),
    StartFails {
        which: usize,
        last: bool,
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
    /// Somebody comes to fail one of the tasks that the dispatcher gave out for that.
    Fail,
    CancelQueued,
    Close,
    CloseNow,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        24 => (prop::bool::weighted(0.6), 0..2_u32).prop_map(|(start_allowed, retries)| Submit { start_allowed, retries }),
        12 => any::<usize>().prop_map(Up),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(which, last)| StartFails { which, last }),
        20 => any::<usize>().prop_map(Receives),
        16 => any::<usize>().prop_map(Replies),
        20 => any::<usize>().prop_map(Supervises),
        6 => any::<usize>().prop_map(Dies),
        12 => any::<usize>().prop_map(Leaves),
        14 => any::<usize>().prop_map(Cancel),
        6 => any::<usize>().prop_map(|_| Fail),
        1 => any::<usize>().prop_map(|_| CancelQueued),
        1 => any::<usize>().prop_map(|_| Close),
        1 => any::<usize>().prop_map(|_| CloseNow),
    ]
}

struct Pool {
    dispatcher: Dispatcher<ModelLink>,
}

impl Owner for Pool {
    fn claim_to_cancel(&self, task: &Header) -> bool {
        self.dispatcher.claim_to_cancel(task)
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

/// A worker that is gone, or did not get up, and what is yet to fail with it.
struct Leaving {
    number: usize,
    start_allowed: bool,
    to_fail: Vec<(Job, TaskError)>,
}

struct Task {
    future: Future<u32>,
    retries: u32,
    begun: u32,
    was_sent: bool,
    was_cancelled: bool,
}

/// How often the interesting things happened, over all histories.
type Tally = RefCell<BTreeMap<&'static str, u32>>;

struct World<'t> {
    pool: Arc<Pool>,
    processes: Vec<Process>,
    /// Workers that are being started.
    starting: Vec<usize>,
    leaving: Vec<Leaving>,
    tasks: Vec<Task>,
    /// Tasks that somebody is to fail, and whether he is to tell when he has.
    given_out: VecDeque<(Vec<(Job, TaskError)>, bool)>,
    end_was_told: bool,
    /// Whether a worker could be started each time that one was wanted.
    starts_at_will: bool,
    tally: &'t Tally,
}

impl<'t> World<'t> {
    fn new(max_workers: usize, tally: &'t Tally) -> Self {
        Self {
            pool: Arc::new(Pool { dispatcher: Dispatcher::new(max_workers) }),
            processes: Vec::new(),
            starting: Vec::new(),
            leaving: Vec::new(),
            tasks: Vec::new(),
            given_out: VecDeque::new(),
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

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit { start_allowed, retries } => self.submit(start_allowed, retries),
            Step::Up(which) => {
                if let Some(at) = pick(which, self.starting.len()) {
                    self.up(at);
                }
            }
            Step::StartFails { which, last } => self.start_fails(which, last),
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
            Step::Fail => self.fail(),
            Step::CancelQueued => {
                let todo = self.dispatcher().cancel_queued();
                self.carry_out(todo);
            }
            Step::Close => {
                let todo = self.dispatcher().close();
                self.carry_out(todo);
            }
            Step::CloseNow => {
                let todo = self.dispatcher().close_now(Rejected::Killed);
                self.carry_out(todo);
            }
        }
        self.check();
    }

    fn pick_process(&mut self, which: usize, can: impl Fn(&Process) -> bool, does: impl FnOnce(&mut Self, usize)) {
        let able: Vec<_> = (0..self.processes.len()).filter(|&at| can(&self.processes[at])).collect();
        if let Some(at) = pick(which, able.len()) {
            does(self, able[at]);
        }
    }

    fn submit(&mut self, start_allowed: bool, retries: u32) {
        let number = self.tasks.len() as u32;
        let (job, future) = job(Arc::clone(&self.pool) as Arc<dyn Owner>, number, retries);
        let (was_idle, was_short) = {
            let state = self.dispatcher().state.lock();
            let can_start = state.can_start() || state.workers == 0;
            let room = state.workers < state.max_workers && state.end.is_none() && can_start;
            (!state.idle.is_empty(), room && state.live() + state.ahead + 1 > state.starting)
        };
        self.tasks.push(Task { future, retries, begun: 0, was_sent: false, was_cancelled: false });
        let todo = self.dispatcher().submit(job, start_allowed);
        self.starts_at_will &= start_allowed;
        if was_short && start_allowed {
            assert_ne!(was_idle, todo.start.is_some(), "a task gets an idle worker, or another one is started");
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

    fn start_fails(&mut self, which: usize, last: bool) {
        let Some(at) = pick(which, self.starting.len()) else { return };
        let number = self.starting[at];
        let reason = Rejected::NoThread(Arc::new(std::io::ErrorKind::WouldBlock.into()));
        let (again, mut todo) = self.dispatcher().start_failed(&reason, last);
        assert!(!(again && last), "the last try is the last");
        if !todo.failed.is_empty() {
            self.note("tasks fail for want of a worker");
        }
        self.starts_at_will = false;
        if !again {
            self.starting.remove(at);
            self.leaving.push(Leaving { number, start_allowed: false, to_fail: std::mem::take(&mut todo.failed) });
        }
        self.carry_out(todo);
    }

    fn leaves(&mut self, at: usize) {
        let Leaving { number, start_allowed, to_fail } = self.leaving.remove(at);
        for (job, error) in to_fail {
            assert!(job.fail(error).is_none(), "nothing is to be run");
        }
        let todo = self.dispatcher().leave(number, start_allowed);
        if todo.start.is_some() {
            self.note(if start_allowed {
                "a worker is replaced"
            } else {
                "a start is tried again for who came meanwhile"
            });
        }
        self.carry_out(todo);
    }

    fn receives(&mut self, at: usize) {
        let process = &mut self.processes[at];
        match process.link.try_receive() {
            None => {}
            Some(Frame::Stop) => process.is_alive = false,
            Some(Frame::Task { id, number }) if process.link.start(id) => {
                process.runs = Some((id, number));
                process.last_begun = id;
                let task = &mut self.tasks[number as usize];
                task.begun += 1;
                assert!(task.begun <= 1 + task.retries, "a task is begun once, and once for each retry");
                assert!(!task.was_cancelled, "a task that was cancelled is not begun");
            }
            Some(Frame::Task { id, .. }) => {
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
        let (job, todo) = self.dispatcher().replied(process_number, id).expect("it has this task");
        self.carry_out(todo);
        match (job, number) {
            (Some(job), Some(number)) => assert!(complete_with(job, number).is_none()),
            (None, None) => {}
            (job, number) => panic!("taken back: {}, begun: {}", job.is_none(), number.is_some()),
        }
    }

    fn lost(&mut self, at: usize) {
        let process = self.processes.remove(at);
        let queued = self.dispatcher().counts().queued;
        let (loss, mut todo) = self.dispatcher().lost(process.number);
        let mut to_fail = std::mem::take(&mut todo.failed);
        for sent in loss.killed {
            let lost = WorkerLost::new(0, WorkerExit::Unknown, "", Duration::ZERO, Vec::new());
            to_fail.push((sent.job.expect("a task that was killed"), TaskError::WorkerLost(lost)));
        }
        self.leaving.push(Leaving { number: process.number, start_allowed: !loss.was_told_to_stop, to_fail });
        if self.dispatcher().counts().queued > queued {
            self.note("what a lost worker had goes back");
        }
        self.carry_out(todo);
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

    fn fail(&mut self) {
        let Some((to_fail, tells)) = self.given_out.pop_front() else { return };
        for (job, error) in to_fail {
            assert!(job.fail(error).is_none(), "nothing is to be run");
        }
        if tells {
            let todo = self.dispatcher().have_failed();
            self.carry_out(todo);
        }
    }

    fn carry_out(&mut self, mut todo: Todo<ModelLink>) {
        todo.flush();
        if !todo.failed.is_empty() {
            self.given_out.push_back((std::mem::take(&mut todo.failed), todo.tells_when_failed));
        }
        if todo.is_over {
            self.end_was_told = true;
            assert!(self.is_over(), "it is over");
        }
        if let Some(number) = todo.start {
            self.starts(number);
        }
    }

    fn starts(&mut self, number: usize) {
        let mut taken = self.processes.iter().map(|process| process.number);
        assert!(!self.starting.contains(&number) && !taken.any(|other| other == number));
        assert!(self.leaving.iter().all(|leaving| leaving.number != number));
        self.starting.push(number);
        let state = self.dispatcher().state.lock();
        assert!(!matches!(state.end, Some(End::Now(_))), "no worker is started when nothing is begun any more");
        assert!(state.live() + state.ahead >= state.starting, "no worker is started without need");
        assert!(state.idle.is_empty(), "nor while another one is idle");
    }

    fn is_over(&self) -> bool {
        let state = self.dispatcher().state.lock();
        let has_workers = !(self.processes.is_empty() && self.starting.is_empty() && self.leaving.is_empty());
        let is_told_of = self.given_out.iter().any(|(_, tells)| *tells);
        state.end.is_some() && !has_workers && !is_told_of && state.live() == 0
    }

    /// What holds after each step.
    fn check(&mut self) {
        assert_eq!(self.is_over(), self.end_was_told, "the end is told when it has come");
        let state = self.pool.dispatcher.state.lock();
        let live = state.queue.iter().filter(|job| job.is_live()).count();
        assert_eq!(state.queue.len() - live, state.tombstones, "cancelled tasks in the queue");
        assert_eq!(state.starting, self.starting.len());
        assert_eq!(state.workers, self.starting.len() + self.processes.len() + self.leaving.len());
        assert!(state.workers <= state.max_workers);
        assert!(live == 0 || state.workers > 0, "what is queued will be run, or failed");
        assert!(
            state.queue.is_empty() || state.workers > 0,
            "no cancelled task is left when nobody comes by to drop it"
        );
        assert!(live == 0 || state.idle.is_empty(), "nobody is idle beside the queue");
        assert!(live == 0 || !matches!(state.end, Some(End::Now(_))), "nothing is to be begun any more");

        let (mut ahead, mut behind) = (0, 0);
        for process in &self.processes {
            let member = state.members[process.number].as_ref().expect("it is up");
            let has: Vec<_> = member.sent.iter().filter_map(|sent| Some((sent.id, sent.job.as_ref()?))).collect();
            let places = state.idle.iter().filter(|&&number| number == process.number).count();
            let is_idle = has.is_empty() && !member.was_told_to_stop;
            assert_eq!(places, usize::from(is_idle), "whoever has nothing to do is idle, once");
            assert!(!is_idle || state.end.is_none(), "or told to stop");
            assert!(member.sent.len() <= SLOTS);
            ahead += has.len().saturating_sub(1);
            for (place, (id, job)) in has.into_iter().enumerate() {
                assert!(job.is_live(), "a cancelled task is taken back");
                assert!(place > 0 || job.is_claimed, "the first can't be cancelled");
                let is_begun = process.last_begun >= id;
                behind += usize::from(place > 0 && !is_begun);
                assert!(place == 0 || state.idle.is_empty() || is_begun, "nobody is idle beside what lies behind");
                let number = number_of(&self.tasks, job);
                self.tasks[number].was_sent = true;
            }
        }
        assert_eq!(state.ahead, ahead);
        let is_short = live + behind > state.starting && state.workers < state.max_workers;
        let may_be_short = !self.starts_at_will || !self.leaving.is_empty() || state.end.is_some();
        assert!(!is_short || may_be_short, "no task waits for another one where a worker might be started");
        let waiting = state.queue.iter().filter(|job| job.is_live()).map(|job| number_of(&self.tasks, job));
        let waiting: Vec<_> = waiting.filter(|&number| !self.tasks[number].was_sent).collect();
        let last_sent = self.tasks.iter().rposition(|task| task.was_sent);
        let in_order = last_sent.into_iter().chain(waiting);
        assert!(in_order.is_sorted(), "who comes first is sent first");
    }

    /// Lets everything come to its end.
    fn finish(mut self) {
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
                Err(TaskError::Cancelled) => assert_eq!(task.begun, 0),
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

#[test]
fn whatever_happens_each_task_ends_once_and_nobody_is_idle_beside_work() {
    let tally = Tally::default();
    let cases = if cfg!(miri) { 4 } else { 1_000 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let histories = (1..4_usize, prop::bool::weighted(0.3), prop::collection::vec(step(), 0..120));
    let result = runner.run(&histories, |(max_workers, starts_at_will, steps)| {
        let mut world = World::new(max_workers, &tally);
        for step in steps {
            match step {
                Step::StartFails { .. } if starts_at_will => {}
                Step::Submit { retries, .. } if starts_at_will => {
                    world.step(Step::Submit { start_allowed: true, retries })
                }
                step => world.step(step),
            }
        }
        world.finish();
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let tally = tally.into_inner();
    assert!(
        cfg!(miri) || tally.len() == 6 && tally.values().all(|&count| count > 4),
        "everything is reached: {tally:?}"
    );
}

/// One step after the other, and what holds after each.
fn history(max_workers: usize, steps: &[Step]) {
    let tally = Tally::default();
    let mut world = World::new(max_workers, &tally);
    steps.iter().for_each(|&step| world.step(step));
    world.finish();
}

#[test]
fn what_lies_behind_a_task_is_not_left_there_when_another_worker_dies() {
    let both_busy = [SUBMIT, Step::Up(0), SUBMIT, Step::Up(0), Step::Receives(0), Step::Receives(1)];
    let dies = [Step::Dies(0), Step::Supervises(0)];
    let other_dies = [Step::Dies(1), Step::Supervises(0)];
    // Sent before it died, or before it left.
    history(2, &[&both_busy[..], &[SUBMIT], &other_dies, &[Step::Leaves(0)]].concat());
    history(2, &[&both_busy[..], &dies, &[SUBMIT, Step::Leaves(0)]].concat());
}

#[test]
fn nobody_is_started_for_what_was_begun_while_somebody_is_idle() {
    let up = [SUBMIT, Step::Up(0)];
    let begun_and_not_known = [SUBMIT, Step::Receives(0), Step::Replies(0), Step::Receives(0)];
    let one_is_idle = [Step::Receives(0), Step::Receives(0), Step::Replies(1), Step::Replies(1)];
    let another_dies = [Step::Supervises(1), Step::Supervises(1), Step::Dies(2), Step::Supervises(1), Step::Leaves(0)];
    history(3, &[&up[..], &up, &up, &begun_and_not_known, &one_is_idle, &another_dies].concat());
}

#[test]
fn nobody_is_started_after_a_kill() {
    let up = [SUBMIT, Step::Up(0)];
    let begun_and_not_known = [SUBMIT, Step::Receives(0), Step::Replies(0), Step::Receives(0)];
    let killed = [Step::CloseNow, Step::Dies(1), Step::Supervises(1), Step::Leaves(0)];
    history(2, &[&up[..], &up, &begun_and_not_known, &killed].concat());
}

#[test]
fn who_submits_while_starts_fail_does_not_keep_tasks_from_their_end() {
    let tally = Tally::default();
    let mut world = World::new(4, &tally);
    world.step(SUBMIT);
    for attempt in 0..3 {
        world.step(SUBMIT);
        world.step(Step::StartFails { which: 0, last: attempt == 2 });
        world.step(Step::Leaves(0));
    }
    assert_eq!(tally.borrow().get("tasks fail for want of a worker"), Some(&1));
    world.finish();
}

#[test]
fn what_was_queued_while_starts_failed_gets_as_many_workers_as_it_needs() {
    let tally = Tally::default();
    let mut world = World::new(4, &tally);
    for step in [SUBMIT, Step::StartFails { which: 0, last: true }, Step::Leaves(0)].into_iter().chain([SUBMIT; 8]) {
        world.step(step);
    }
    assert_eq!(world.starting.len(), 1, "nobody joins who may fail as well");
    for up in 1..=4 {
        world.step(Step::Up(0));
        assert_eq!((world.processes.len(), world.starting.len()), (up, usize::from(up < 4)));
    }
    world.finish();
}

const SUBMIT: Step = Step::Submit { start_allowed: true, retries: 0 };

#[test]
fn a_cancelled_task_does_not_outlive_the_last_worker() {
    let cancelled_in_the_queue = [
        SUBMIT,
        Step::Up(0),
        Step::Receives(0),
        SUBMIT,
        SUBMIT,
        Step::Cancel(1),
        Step::Cancel(2),
        Step::Dies(0),
        Step::Supervises(0),
    ];
    history(1, &cancelled_in_the_queue);
}

#[test]
fn a_worker_that_skips_a_task_while_it_is_idle_is_idle_once() {
    let skipped_by_an_idle_worker = [
        SUBMIT,
        Step::Up(0),
        SUBMIT,
        Step::Up(0),
        // Sent ahead, behind the first.
        SUBMIT,
        Step::Receives(1),
        Step::Replies(1),
        // It takes the third, and begins it.
        Step::Supervises(1),
        Step::Receives(0),
        Step::Replies(0),
        Step::Supervises(0),
        // The third again, which was taken back.
        Step::Receives(0),
        Step::Supervises(0),
        SUBMIT,
        SUBMIT,
    ];
    history(2, &skipped_by_an_idle_worker);
}

#[test]
fn what_the_dispatcher_gives_up_is_not_a_cancellers_any_more() {
    for gives_up in [Step::CloseNow, Step::StartFails { which: 0, last: true }, Step::CancelQueued] {
        history(1, &[SUBMIT, SUBMIT, gives_up, Step::Cancel(0), Step::Cancel(1), SUBMIT]);
    }
}
