//! Results of tasks in worker processes are read by whoever asks for them: by the user's code, on that thread, which may wait for
//! anything, and once.

#![cfg(target_os = "linux")]

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use bowline::task::Status;
use bowline::{Lock, ProcessPoolExecutor, ReturnWhen, SharedFuture, TaskError, wait};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::folder::Folder;
use crate::support::workers::{echo, keep, pool_of};
use crate::support::{LIMIT, alone, spawn_named, until_waiting, wait_until};

/// What its reader does first, in this process, is a test's to say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Read(u64);

type Reads = Box<dyn Fn(u64) -> Result<(), String> + Send + Sync>;

static READS: OnceLock<Reads> = OnceLock::new();

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Derived for a newtype.
        #[derive(Deserialize)]
        struct Number(u64);
        let Number(n) = Number::deserialize(deserializer)?;
        // Nobody has said anything in a worker.
        READS.get().map_or(Ok(()), |reads| reads(n)).map_err(D::Error::custom)?;
        Ok(Self(n))
    }
}

fn read(n: u64) -> Read {
    Read(n)
}

/// Runs `body` in a process of its own, in which whoever reads a result does this first.
#[track_caller]
fn with_reader(
    reads: impl Fn(u64) -> Result<(), String> + Send + Sync + 'static,
    body: impl FnOnce(ProcessPoolExecutor),
) {
    alone(|| {
        assert!(READS.set(Box::new(reads)).is_ok());
        body(pool_of(1));
    });
}

static READERS: Lock<Vec<(u64, ThreadId)>> = Lock::new(Vec::new());

fn note_reader(n: u64) -> Result<(), String> {
    READERS.lock().push((n, thread::current().id()));
    Ok(())
}

#[test]
fn a_result_is_read_on_the_thread_that_asks_for_it_and_not_before() {
    with_reader(note_reader, |pool| {
        let asked = pool.submit(read, (1,));
        let never = pool.submit(read, (2,));
        let shown = pool.submit(read, (3,)).shared();
        let mapped = pool.map(read, [4, 5]);
        // All of them have come by then.
        assert_eq!(pool.submit(echo::<u64>, (0,)).result().unwrap(), 0);
        assert!(asked.done() && never.done() && shown.done() && asked.status() == Status::Finished);
        assert!(READERS.lock().is_empty(), "{:?}", READERS.lock());
        drop(never);
        assert_eq!(asked.result().unwrap(), Read(1));
        let (elsewhere, value) = thread::scope(|s| {
            let asks = || (thread::current().id(), shown.result().unwrap());
            spawn_named(s, "asks", asks).join().unwrap()
        });
        assert_eq!((value, shown.result().unwrap()), (Read(3), Read(3)));
        assert!(mapped.map(Result::unwrap).eq([Read(4), Read(5)]));
        let me = thread::current().id();
        assert_eq!(*READERS.lock(), [(1, me), (3, elsewhere), (4, me), (5, me)]);
    });
}

#[test]
fn a_result_that_is_read_by_waiting_for_its_own_worker_is_read() {
    static POOL: OnceLock<ProcessPoolExecutor> = OnceLock::new();
    let asks_the_pool = |n| {
        let more = POOL.get().unwrap().submit(echo::<u64>, (n + 1,)).result();
        if more.is_ok_and(|more| more == n + 1) { Ok(()) } else { Err("another number".to_owned()) }
    };
    with_reader(asks_the_pool, |pool| {
        let _ = POOL.set(pool.clone());
        assert_eq!(pool.submit(read, (1,)).result().unwrap(), Read(1));
        assert!(pool.map(read, 2..5).map(Result::unwrap).eq([2, 3, 4].map(Read)));
        let mut futures = [5, 6].map(|n| pool.submit(read, (n,)));
        assert!(wait(&futures, ReturnWhen::AllCompleted, None).not_done.is_empty());
        assert_eq!(futures[1].try_result().unwrap().unwrap(), Read(6));
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_pool_ends_while_a_result_is_being_read() {
    static HELD: Lock<()> = Lock::new(());
    let waits = |_| {
        drop(HELD.lock());
        Ok(())
    };
    with_reader(waits, |pool| {
        let held = HELD.lock();
        thread::scope(|s| {
            let result = pool.submit(read, (1,));
            let reader = spawn_named(s, "reader", || result.result());
            until_waiting("reader");
            let folder = Folder::new();
            let running = keep(&pool, &folder, 1);
            assert!(pool.kill().is_complete());
            assert!(matches!(running.result(), Err(TaskError::WorkerLost(_))));
            drop(held);
            assert_eq!(reader.join().unwrap().unwrap(), Read(1));
        });
    });
}

#[test]
fn a_shared_result_is_read_once_whoever_asks_first() {
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let counts = |_| {
        TIMES.fetch_add(1, SeqCst);
        thread::yield_now();
        Ok(())
    };
    with_reader(counts, |pool| {
        for n in 1..100 {
            let shared = pool.submit(read, (n,)).shared();
            thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        assert!(shared.exception().is_none());
                        assert_eq!(shared.clone().result().unwrap(), Read(n));
                    });
                }
            });
            assert_eq!(TIMES.load(SeqCst), n);
        }
    });
}

#[test]
fn an_owner_that_is_polled_while_another_one_reads_does_not_wait() {
    static READS: AtomicU64 = AtomicU64::new(0);
    static GATE: OnceLock<()> = OnceLock::new();
    static WOKEN: AtomicU64 = AtomicU64::new(0);

    struct Counts;
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            WOKEN.fetch_add(1, SeqCst);
        }
    }

    let waits = |_| {
        READS.fetch_add(1, SeqCst);
        // In no graph: whoever waits for this one waits for ever.
        GATE.wait();
        Ok(())
    };
    with_reader(waits, |pool| {
        let shared = pool.submit(read, (1,)).shared();
        assert!(shared.wait().is_ok());
        let waker = Waker::from(Arc::new(Counts));
        thread::scope(|s| {
            let theirs = shared.clone();
            let reader = spawn_named(s, "reader", move || theirs.result());
            wait_until(|| READS.load(SeqCst) == 1);
            let (mut polled, mut dropped) = (shared.clone(), shared.clone());
            for owner in [&mut polled, &mut dropped] {
                assert!(Pin::new(owner).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            assert!(shared.try_result().is_none());
            drop(dropped);
            GATE.set(()).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), Read(1));
            assert_eq!(WOKEN.load(SeqCst), 1, "and the one that is gone is not");
            let Poll::Ready(result) = Pin::new(&mut polled).poll(&mut Context::from_waker(&waker)) else {
                panic!("it was read")
            };
            assert_eq!(result.unwrap(), Read(1));
        });
    });
}

#[test]
fn a_reader_that_waits_for_whoever_waits_for_the_result_is_a_deadlock() {
    static HELD: Lock<()> = Lock::new(());
    let waits = |_| HELD.acquire().map(drop).map_err(|deadlock| deadlock.to_string());
    with_reader(waits, |pool| {
        let shared = pool.submit(read, (1,)).shared();
        assert!(shared.wait().is_ok());
        let ask = |shared: &SharedFuture<Read>| shared.result();
        thread::scope(|s| {
            let held = HELD.lock();
            let reader = spawn_named(s, "reader", || ask(&shared));
            until_waiting("reader");
            let mine = ask(&shared);
            drop(held);
            let theirs = reader.join().unwrap();
            let told = [&mine, &theirs].map(|result| match result {
                Ok(_) => None,
                Err(TaskError::Deadlock(deadlock)) => Some(deadlock.to_string()),
                Err(error) => Some(error.to_string()),
            });
            // Whoever closes it is told: the other one goes on.
            let report = told[0].as_ref().expect("the wait for the reader closes it");
            assert!(report.contains("'reader'") && report.contains("Result<"), "{report}");
            assert_eq!(theirs.unwrap(), Read(1));
        });
    });
}

#[test]
fn a_result_that_cannot_be_read_says_so_to_whoever_asks_and_the_task_has_finished() {
    with_reader(
        |n| if n == 7 { panic!("seven") } else { Err(format!("not {n}")) },
        |pool| {
            let future = pool.submit(read, (3,));
            assert!(matches!(future.exception(), Some(TaskError::Decode(_))));
            assert_eq!(future.status(), Status::Finished);
            assert!(matches!(future.result(), Err(TaskError::Decode(_))));
            let mut taken = pool.submit(read, (4,));
            assert!(matches!(taken.result_timeout(LIMIT), Err(TaskError::Decode(_))));
            assert!(matches!(taken.exception(), Some(TaskError::Decode(_))), "it is told after it was taken");
            assert!(matches!(taken.result_timeout(LIMIT), Err(TaskError::Taken)));
            assert!(matches!(taken.exception(), Some(TaskError::Decode(_))));
            let mut panics = pool.submit(read, (7,));
            let Err(TaskError::Panicked(panic)) = panics.result_timeout(LIMIT) else { panic!("it was read") };
            assert_eq!(panic.message(), "seven");
            assert!(matches!(panics.result(), Err(TaskError::Taken)));
            assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
        },
    );
}
