//! The dispatcher with threads as processes, for models.

use std::sync::Arc;
use std::time::Duration;

use super::{ModelFrame, ModelLink, complete_with, job, quick};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::Queue;
use crate::primitive::quiet::{AtomicU32, Mutex, PoisonError};
use crate::process_pool::parent::dispatcher::{
    AfterReply, Asked, Dispatcher, FailedStart, Farewell, Left, PoolEnd, StartAttempt, StartPolicy, Todo, Which,
};
use crate::process_pool::parent::home::Sender;
use crate::process_pool::parent::lifespan::Lifespan;
use crate::task::error::{LastLines, Rejected, TaskError, TerminationCause, WorkerExit, WorkerLost};
use crate::task::future::Future;
use crate::task::header::Header;

/// Tasks have numbers below this.
const TASKS: usize = 5;

/// The counterpart of [`Shared`](crate::process_pool::parent::shared::Shared), with threads for processes. Counters of
/// the model add no interleavings.
pub(crate) struct ModelPool {
    dispatcher: Dispatcher<ModelLink>,
    /// How often each task was begun.
    begun: [AtomicU32; TASKS],
    /// Workers that are to be started.
    starts: Mutex<Vec<usize>>,
    /// Replies that were sent, and that the dispatcher has not seen yet.
    replies_under_way: AtomicU32,
    skipped: AtomicU32,
    /// How often the end was told.
    ends: AtomicU32,
    /// The end, for a thread that waits for it.
    end: Queue<()>,
}

impl Sender for ModelPool {
    fn claim_to_cancel(&self, task: &Header) -> bool {
        self.dispatcher.claim_to_cancel(task)
    }

    fn terminate(self: &Arc<Self>, task: &Header, _: Duration) -> bool {
        let asked = self.dispatcher.ask_to_end(Which::Task(task), TerminationCause::Asked, StartPolicy::AsNeeded);
        matches!(asked, Asked::Running { .. })
    }

    fn has_short_tasks(&self) -> bool {
        self.dispatcher.has_short_tasks()
    }
}

impl ModelPool {
    pub(crate) fn new(max_workers: usize) -> Arc<Self> {
        Arc::new(Self {
            dispatcher: quick(max_workers, Lifespan::default()),
            begun: Default::default(),
            starts: Mutex::default(),
            replies_under_way: AtomicU32::new(0),
            skipped: AtomicU32::new(0),
            ends: AtomicU32::new(0),
            end: Queue::new(),
        })
    }

    /// Submits the task with this number.
    pub(crate) fn submit(self: &Arc<Self>, number: u32) -> Future<u32> {
        let (job, future) = job(Arc::clone(self), number, 0);
        self.carry_out(self.dispatcher.submit(job, StartPolicy::AsNeeded));
        future
    }

    pub(crate) fn close(&self) {
        self.carry_out(self.dispatcher.close());
    }

    pub(crate) fn close_now(&self) {
        self.carry_out(self.dispatcher.close_now(Rejected::Killed).todo);
    }

    fn carry_out(&self, mut todo: Todo<ModelLink>) {
        todo.flush();
        for failed in todo.take_failed() {
            assert!(failed.fail().is_none(), "nobody left anything to be run");
        }
        let end = match todo.end() {
            PoolEnd::AskWhenFailed => self.dispatcher.have_failed(),
            end => end,
        };
        if end == PoolEnd::Reached {
            assert_eq!(self.dispatcher.counts().workers, 0, "it is over before its last worker");
            self.ends.fetch_add(1, Relaxed);
            self.end.push(());
        }
        self.starts().extend(todo.start());
    }

    fn starts(&self) -> crate::primitive::quiet::MutexGuard<'_, Vec<usize>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the number of the worker that is to be started next.
    pub(crate) fn take_start(&self) -> Option<usize> {
        self.starts().pop()
    }

    /// Makes a worker with this number, which is up.
    pub(crate) fn up(self: &Arc<Self>, number: usize) -> Worker {
        let link = Arc::new(ModelLink::new(number as u32 + 1));
        let worker = Worker { pool: Arc::clone(self), number, link, replies: Arc::new(Queue::new()) };
        self.carry_out(self.dispatcher.up(number, Arc::clone(&worker.link)));
        worker
    }

    /// Makes the worker that was to be started, which is up.
    pub(crate) fn start(self: &Arc<Self>) -> Worker {
        let number = self.take_start().expect("a worker is to be started");
        self.up(number)
    }

    /// A worker that was being started did not get up. Returns whether another one is to be started under this number.
    pub(crate) fn start_failed(&self, number: usize, last: bool) -> bool {
        let reason = Rejected::NoThread(Arc::new(std::io::ErrorKind::WouldBlock.into()));
        let attempt = if last { StartAttempt::Last } else { StartAttempt::MayRetry };
        match self.dispatcher.start_failed(&reason, attempt) {
            FailedStart::Retry => true,
            FailedStart::GiveUp(todo) => {
                self.carry_out(todo);
                self.leave(number, StartPolicy::OnlyIfNone)
            }
        }
    }

    fn leave(&self, number: usize, policy: StartPolicy) -> bool {
        match self.dispatcher.leave(number, policy) {
            Left::Replace => true,
            Left::Gone(todo) => {
                self.carry_out(todo);
                false
            }
        }
    }

    /// Returns how often a process began this task.
    pub(crate) fn begun(&self, number: u32) -> u32 {
        self.begun[number as usize].load(Relaxed)
    }

    /// Returns how many replies were sent, and the dispatcher has not seen yet.
    pub(crate) fn replies_under_way(&self) -> u32 {
        self.replies_under_way.load(Relaxed)
    }

    /// Returns how many tasks a process skipped.
    pub(crate) fn skipped(&self) -> u32 {
        self.skipped.load(Relaxed)
    }

    /// Returns how many tasks no worker has begun, and how many workers there are.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let counts = self.dispatcher.counts();
        (counts.queued, counts.workers)
    }

    /// Waits until the pool is over.
    pub(crate) fn wait(&self) {
        self.end.wait_pop();
    }

    /// Returns how often the end was told.
    pub(crate) fn ends(&self) -> u32 {
        self.ends.load(Relaxed)
    }
}

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It has received this task.
    Received(u32),
    /// It has begun this task.
    Begun(u32),
}

struct Reply {
    id: u64,
    /// `None`: it was skipped.
    number: Option<u32>,
}

/// A process and its supervisor: two threads, or one.
#[derive(Clone)]
pub(crate) struct Worker {
    pool: Arc<ModelPool>,
    number: usize,
    link: Arc<ModelLink>,
    /// `None`: the process is gone.
    replies: Arc<Queue<Option<Reply>>>,
}

impl Worker {
    /// Runs the life of the process. It dies where `dies` returns `true`.
    pub(crate) fn process(&self, dies: impl Fn(Moment) -> bool) {
        while let Some(reply) = self.run_next(&dies) {
            self.replies.push(Some(reply));
        }
        self.replies.push(None);
    }

    /// Runs the next task. `None`: the process ends.
    fn run_next(&self, dies: impl Fn(Moment) -> bool) -> Option<Reply> {
        let ModelFrame::Task { id, number } = self.link.receive() else { return None };
        if dies(Moment::Received(number)) {
            return None;
        }
        let is_begun = self.link.start(id);
        let count = if is_begun { &self.pool.begun[number as usize] } else { &self.pool.skipped };
        count.fetch_add(1, Relaxed);
        if is_begun && dies(Moment::Begun(number)) {
            return None;
        }
        self.pool.replies_under_way.fetch_add(1, Relaxed);
        Some(Reply { id, number: is_begun.then_some(number) })
    }

    /// Runs the life of the supervisor. Returns the worker that is to follow.
    pub(crate) fn supervise(&self) -> Option<Self> {
        while let Some(reply) = self.replies.wait_pop() {
            self.replied(reply);
        }
        self.bury()
    }

    /// Runs both lives in one thread, and those of the workers that follow: a reply is seen before the next frame.
    pub(crate) fn live(self, dies: impl Fn(Moment) -> bool) {
        let mut next = Some(self);
        while let Some(worker) = next {
            while let Some(reply) = worker.run_next(&dies) {
                worker.replied(reply);
            }
            next = worker.bury();
        }
    }

    fn replied(&self, reply: Reply) {
        let replied = self.pool.dispatcher.replied(self.number, reply.id);
        self.pool.replies_under_way.fetch_sub(1, Relaxed);
        let AfterReply { job, mut todo, .. } = replied.expect("it has this task");
        todo.flush();
        match (job, reply.number) {
            (Some(job), Some(number)) => assert!(complete_with(job, number).is_none(), "nothing is to be run"),
            (None, None) => {}
            (None, Some(number)) => panic!("task {number} was taken back and begun"),
            (Some(_), None) => panic!("a task that nobody took back was skipped"),
        }
        self.pool.carry_out(todo);
    }

    /// Takes what the process had, which is gone. Returns the worker that is to follow.
    fn bury(&self) -> Option<Self> {
        let loss = self.pool.dispatcher.lost(self.number);
        for killed in loss.killed {
            let job = killed.job;
            let lost = WorkerLost::new(0, WorkerExit::Code(1), job.name(), Duration::ZERO, LastLines::default());
            assert!(job.fail(TaskError::WorkerLost(lost)).is_none(), "nothing is to be run");
        }
        self.pool.carry_out(loss.todo);
        let policy = match loss.farewell {
            Farewell::ToldToStop => StartPolicy::OnlyIfNone,
            Farewell::Unasked => StartPolicy::AsNeeded,
        };
        self.pool.leave(self.number, policy).then(|| self.pool.up(self.number))
    }
}
