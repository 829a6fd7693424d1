//! What every thread notes, in one order.
//!
//! **The order.** Each event is numbered while the lock of its thread's buffer is held, from one counter. [`Log::take`]
//! locks all buffers at once, so that what it returns is everything below some number: a cut that really was.
//!
//! **Where the notes are.** Whoever is about to give something away notes it *before*: `Waits`, `Releases`, `Ends`,
//! `Cancels`, `Asks`, `Fulfils`, `Downgrades`. Whoever has got something notes it *after*: `Waited`, `Took`, `Begins`, `Submitted`. So at each number
//!
//! - who holds a lock by the log really holds it, and nobody else does that it excludes;
//! - who waits by the log has begun, or is about to, and does nothing else before that wait has ended;
//! - a task that runs by the log really runs there; one that really runs, and whose thread waits, runs there by the log.
//!
//! Two consequences carry the oracle. A thread that waits by the log for what another holds by the log is really blocked:
//! **what is stuck by the log is stuck**. And a thread that is registered in the wait-for graph did nothing since its
//! `Waits`, so that all that it holds, and all that it runs, is noted: **what the detector saw stuck is stuck by the log, at
//! the moment at which it looked**. That moment is not noted; it lies between the reporter's `Waits` and its `Reported`.
//!
//! *Who is next*: of several who wait to write one lock, one keeps readers out and waits for them, and the others wait for
//! that one. The log does not know which. What waits for the one that is next may wait for any of them.
//!
//! **What is not known for certain** is taken the way that accuses nobody ([`View`](super::residue::View)): a task between
//! `Cancels` and `Cancelled`, one that seems to be queued and that somebody has claimed, the number of workers while it is
//! set, one who seems to wait and is about to be told.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline::ReturnWhen;
use bowline::deadlock::{Policy, Report};

use super::script::Mode;
use crate::support::this_os_id;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Lock(usize),
    Shared(usize, Mode),
    /// To write a lock that is read upgradably.
    Upgrade(usize),
    Tasks(Vec<usize>, ReturnWhen),
    /// Room in the queue of a pool, or nothing if there is some.
    Room(usize),
    /// The end of a pool's workers.
    Workers(usize),
    Promise(usize),
    /// For the request to stop this task, which itself waits.
    Token(usize),
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// By one alone, whatever it does with it.
    Whole,
    Read,
    Upgradable,
    Write,
}

impl Hold {
    /// What comes of asking in this mode.
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Read | Mode::Again => Self::Read,
            Mode::Upgradable => Self::Upgradable,
            Mode::Write => Self::Write,
        }
    }

    /// Whether somebody can hold it in this way while another one holds it in that.
    pub(crate) fn goes_with(self, other: Self) -> bool {
        matches!((self, other), (Self::Read, Self::Read | Self::Upgradable) | (Self::Upgradable, Self::Read))
    }
}

/// When a wait ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Never,
    /// At a time that the clock does not know: never.
    Beyond,
    Soon,
}

/// How a wait may end that is part of a deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Value,
    Unwind,
    /// Somebody else has to fail.
    Never,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Granted,
    TimedOut,
    Deadlock,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Started {
        name: String,
        os_id: u32,
        pool: Option<usize>,
    },
    Waits(What, Limit, Failure),
    Waited(Outcome),
    Took(usize, Hold),
    Releases(usize, Hold),
    /// An upgradable reader has become the writer, and did not wait for that.
    Upgraded(usize),
    /// A writer or an upgradable reader lets others in.
    Downgrades {
        lock: usize,
        from: Hold,
        to: Hold,
    },
    /// The guard will never be dropped.
    Forgets(usize, Hold),
    /// The guard is dropped when the thread ends, if not before.
    Keeps(usize, Hold, u64),
    /// Such a guard, by its number.
    DropsKept(usize, Hold, u64),
    /// Under its name, or without one.
    Submits {
        task: usize,
        named: bool,
    },
    Submitted {
        task: usize,
        accepted: bool,
    },
    Begins(usize),
    Ends {
        task: usize,
        failed: bool,
    },
    Cancels(usize),
    /// Tells the task to stop by its token.
    Asks(usize),
    Cancelled {
        task: usize,
        was: bool,
    },
    ShutsDown {
        pool: usize,
        cancels: bool,
    },
    HasShutDown {
        pool: usize,
        cancels: bool,
    },
    /// A task that a shutdown may have missed is cancelled, or still queued.
    Seen {
        task: usize,
        cancelled: bool,
    },
    Resizes {
        pool: usize,
        to: usize,
    },
    Resized(usize),
    SetsPolicy(Policy),
    HasSetPolicy,
    SetsGrace(Duration),
    Fulfils(usize),
    Reported(Report),
    /// All that is left are destructors of thread-locals.
    Leaves,
    /// The thread with this number is no thread of this process any more.
    Gone(usize),
}

/// An event, its number, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) thread: usize,
    pub(crate) event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} [{}] ", self.number, self.thread)?;
        match &self.event {
            Event::Reported(report) => write!(f, "Reported {report}"),
            event => write!(f, "{event:?}"),
        }
    }
}

/// The buffer of one thread. Lives for ever, and is used again in later rounds.
struct Buffer(Mutex<Vec<(u64, Event)>>);

/// The buffers of a round.
pub(crate) struct Log {
    next: AtomicU64,
    threads: Mutex<Vec<&'static Buffer>>,
    unused: Mutex<Vec<&'static Buffer>>,
}

pub(crate) static LOG: Log =
    Log { next: AtomicU64::new(0), threads: Mutex::new(Vec::new()), unused: Mutex::new(Vec::new()) };

thread_local! {
    /// Without a destructor: it can be asked for until the thread's last instruction.
    static MINE: Cell<Option<&'static Buffer>> = const { Cell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Begins a round. No thread of the one before is left.
    pub(crate) fn begin(&self) {
        let mut threads = lock(&self.threads);
        for buffer in threads.drain(..) {
            lock(&buffer.0).clear();
            lock(&self.unused).push(buffer);
        }
        self.next.store(0, SeqCst);
        MINE.set(None);
    }

    /// Everything since the last call, in its order.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let threads = lock(&self.threads);
        let mut buffers: Vec<_> = threads.iter().map(|buffer| lock(&buffer.0)).collect();
        let all = buffers
            .iter_mut()
            .enumerate()
            .flat_map(|(thread, events)| events.drain(..).map(move |(number, event)| Entry { number, thread, event }));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|entry| entry.number);
        all
    }

    /// Gives the calling thread a buffer.
    pub(crate) fn enter(&self, name: &str, pool: Option<usize>) {
        let unused = lock(&self.unused).pop();
        let buffer = unused.unwrap_or_else(|| Box::leak(Box::new(Buffer(Mutex::default()))));
        MINE.set(Some(buffer));
        {
            let mut threads = lock(&self.threads);
            threads.push(buffer);
        }
        note(Event::Started { name: name.to_owned(), os_id: this_os_id(), pool });
    }
}

/// Whether the calling thread has a buffer of this round.
pub(crate) fn is_known() -> bool {
    MINE.get().is_some()
}

/// How much has been noted in this round.
pub(crate) fn note_count() -> u64 {
    LOG.next.load(SeqCst)
}

/// Notes what the calling thread does.
pub(crate) fn note(event: Event) {
    let buffer = MINE.get().expect("a thread of the storm");
    let mut events = lock(&buffer.0);
    events.push((LOG.next.fetch_add(1, SeqCst), event));
}
