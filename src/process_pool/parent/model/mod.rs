//! Workers for models and tests: a queue stands for the socket, and the thread that reads it for the process.

#[cfg(loom)]
mod pool;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::{Dispatcher, Link};
use super::home::{Sender, new_task};
use super::job::{Job, JobTerms};
use super::lifespan::Lifespan;
use super::room::Room;
use super::terms::TimeLimit;
use crate::deadlock::resource::Origin;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{self, PoisonError};
use crate::primitive::{AtomicU64, Mutex, Queue, new_atomic};
use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::call::{Call, CallResult, complete};
use crate::process_pool::wire::claim::Claims;
use crate::process_pool::wire::codec;
use crate::task::future::Future;
use crate::task::when_done::Then;
#[cfg(loom)]
pub(crate) use pool::{ModelPool, Moment, Worker};

/// A message of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum ModelFrame {
    /// A task, whose argument and result is its number.
    Task {
        id: u64,
        number: u32,
    },
    Stop,
}

/// The way to a worker. Its words are those of the page.
pub(in crate::process_pool::parent) struct ModelLink {
    claims: Claims<AtomicU64>,
    /// Written under the dispatcher's mutex, and seen by no other thread until it is flushed: it adds no interleavings.
    pending: quiet::Mutex<Vec<ModelFrame>>,
    /// Locked by the thread that flushes.
    sending: Mutex<()>,
    socket: Queue<ModelFrame>,
    /// The tasks of which something is due. Written as `pending` is.
    due: quiet::Mutex<BTreeSet<u64>>,
    pid: u32,
    serial: u64,
}

impl ModelLink {
    pub(in crate::process_pool::parent) fn new(pid: u32) -> Self {
        static MADE: quiet::AtomicU64 = quiet::AtomicU64::new(0);
        Self {
            serial: MADE.fetch_add(1, Relaxed),
            claims: Claims::new(|| new_atomic(0)),
            pending: quiet::Mutex::default(),
            sending: Mutex::new(()),
            socket: Queue::new(),
            due: quiet::Mutex::default(),
            pid,
        }
    }

    fn push(&self, frame: ModelFrame) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }

    /// Returns the tasks of which something is due.
    #[cfg(not(loom))]
    pub(in crate::process_pool::parent) fn due(&self) -> BTreeSet<u64> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The worker waits for the next frame.
    #[cfg(loom)]
    fn receive(&self) -> ModelFrame {
        self.socket.wait_pop()
    }

    /// The worker takes the next frame, if it has come.
    #[cfg(not(loom))]
    pub(in crate::process_pool::parent) fn try_receive(&self) -> Option<ModelFrame> {
        self.socket.pop()
    }

    /// The worker claims a task before it begins it. `false`: it was taken back.
    pub(in crate::process_pool::parent) fn start(&self, id: u64) -> bool {
        self.claims.start(id)
    }
}

impl Link for ModelLink {
    fn enqueue(&self, id: u64, job: &Job) {
        self.claims.offer(id);
        let args = Call::arguments(job.call.payload());
        let (number,) = codec::decode::<(u32,)>(args).expect("the number that was encoded");
        self.push(ModelFrame::Task { id, number });
    }

    fn enqueue_stop(&self) {
        self.push(ModelFrame::Stop);
    }

    fn flush(&self) {
        let alone = self.sending.lock();
        let frames = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        frames.into_iter().for_each(|frame| self.socket.push(frame));
        drop(alone);
    }

    fn recall(&self, id: u64) -> bool {
        self.claims.recall(id)
    }

    fn limit(&self, id: u64, _: TimeLimit) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn forget_limit(&self, id: u64) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn ask_to_stop(&self, _: u64) {}

    fn serial(&self) -> u64 {
        self.serial
    }

    fn last_time(&self) -> Duration {
        // Some of the tasks are short, so that workers have now two of them and now many.
        if self.pid % 2 == 1 { Duration::ZERO } else { Duration::from_secs(1) }
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

/// Makes the dispatcher of a pool whose tasks have been quick: it sends some ahead.
pub(in crate::process_pool::parent) fn quick<L: Link>(max_workers: usize, lifespan: Lifespan) -> Dispatcher<L> {
    let dispatcher = Dispatcher::new(max_workers, lifespan, Room::unlimited());
    dispatcher.note_time(Duration::from_micros(200));
    dispatcher
}

/// Makes a task with this number.
pub(in crate::process_pool::parent) fn job(owner: Arc<impl Sender>, number: u32, retries: u32) -> (Job, Future<u32>) {
    fn task(number: u32) -> u32 {
        number
    }
    let (mine, its) = new_task::<fn(u32) -> u32, u32>(owner, Origin::here(None), None);
    let terms = JobTerms { retries, ..JobTerms::default() };
    let call = Call::of(task, (number,), 1 << 10).expect("a number can be sent");
    // SAFETY:
    // - the cell was made for this type of result, and for this future.
    unsafe { (Job::new(mine, call, complete::<u32>, terms, None), Future::of(its)) }
}

/// Ends a task with its number as the result, as a worker's reply would.
pub(in crate::process_pool::parent) fn complete_with(job: Job, number: u32) -> Option<Then> {
    let mut bytes = Vec::new();
    codec::encode(&number, &mut bytes).expect("a number can be sent");
    job.complete(CallResult::Value { bytes, start: 0, attached: Attached::none() })
}
