//! The end of a pool: what becomes of its tasks, its threads and whoever waits for it.
//!
//! What pools of threads and of processes have in common is in `support/contract.rs`.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bowline::deadlock::Kind;
use bowline::task::{Rejected, Status};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, wait_until, within};

const NO_WAIT: ShutdownOptions = ShutdownOptions::new().wait(false);

#[track_caller]
fn assert_shut<T: std::fmt::Debug>(future: Future<T>) {
    let result = future.result();
    assert!(matches!(result, Err(TaskError::Rejected(Rejected::Shutdown))), "{result:?}");
}

#[test]
fn a_pool_that_was_shut_down_takes_no_task_and_drops_or_gives_back_the_closure() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        assert!(!pool.is_shutdown());
        assert!(pool.shutdown().is_complete() && pool.is_shutdown());
        let owned = Arc::new(());
        let task = || {
            let owned = Arc::clone(&owned);
            move || drop(owned)
        };
        let future = pool.submit(task());
        assert_eq!((future.status(), Arc::strong_count(&owned)), (Status::Failed, 1));
        assert_shut(future);
        assert_shut(pool.submit_named("late", task()));
        assert_shut(pool.clone().submit(task()));
        pool.scope(|s| assert_shut(s.submit(task())));
        assert_eq!(Arc::strong_count(&owned), 1);
        for waits in [false, true] {
            let error = if waits { pool.submit_timeout(task(), LIMIT) } else { pool.try_submit(task()) };
            let error = error.unwrap_err();
            assert!(matches!(error.reason(), Rejected::Shutdown));
            assert_eq!((error.to_string(), Arc::strong_count(&owned)), ("the executor was shut down".to_owned(), 2));
            error.into_task()();
            assert_eq!(Arc::strong_count(&owned), 1);
        }
        assert_eq!((pool.queued(), pool.worker_count()), (0, 0));
    });
}

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

/// Counts the thread-locals that are gone, not at once.
struct AtEnd(Arc<AtomicUsize>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(20));
        self.0.fetch_add(1, SeqCst);
    }
}

/// A pool with so many threads, each of which counts its end.
fn counted(workers: usize) -> (ThreadPoolExecutor, Arc<AtomicUsize>) {
    let (pool, ended, barrier) = (ThreadPoolExecutor::new(workers), Arc::default(), Arc::new(Barrier::new(workers)));
    let meet = |_| {
        let (ended, barrier) = (Arc::clone(&ended), Arc::clone(&barrier));
        pool.submit(move || {
            barrier.wait();
            AT_END.set(Some(AtEnd(ended)));
        })
    };
    let tasks: Vec<_> = (0..workers).map(meet).collect();
    tasks.into_iter().for_each(|task| task.result().unwrap());
    (pool, ended)
}

#[test]
fn the_threads_of_a_pool_have_ended_with_all_their_destructors_when_it_has() {
    within(LIMIT, || {
        let (pool, ended) = counted(3);
        assert!(pool.shutdown().is_complete());
        assert_eq!((pool.worker_count(), ended.load(SeqCst)), (0, 3));
        let (pool, ended) = counted(3);
        drop(pool);
        assert_eq!(ended.load(SeqCst), 3, "by a drop, too");
    });
}

#[test]
fn dropping_the_last_handle_waits_for_all_tasks() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let clone = pool.clone();
        let busy = Busy::keep(&pool, 2);
        let tasks: Vec<_> = (0..21).map(|n| pool.submit(move || n)).collect();
        drop(clone);
        assert!(!pool.is_shutdown(), "there is another handle");
        thread::scope(|s| {
            let dropping = s.spawn(|| drop(pool));
            assert!(!tasks.iter().any(Future::done) && !dropping.is_finished());
            busy.release();
            dropping.join().unwrap();
        });
        assert!(tasks.iter().all(Future::done));
        assert_eq!(tasks.into_iter().map(|task| task.result().unwrap()).sum::<i32>(), 210);
    });
}

#[test]
fn a_shutdown_that_does_not_wait_leaves_workers_that_end_by_themselves() {
    within(LIMIT, || {
        let (pool, ended) = counted(3);
        let busy = Busy::keep(&pool, 3);
        let tasks: Vec<_> = (0..12).map(|n| pool.submit(move || n)).collect();
        assert!(!pool.shutdown_with(NO_WAIT).is_complete());
        busy.release();
        assert_eq!(tasks.into_iter().map(|task| task.result().unwrap()).sum::<i32>(), 66);
        wait_until(|| pool.worker_count() == 0 && ended.load(SeqCst) == 3);
    });
}

#[test]
fn a_timed_shutdown_says_what_is_left_and_another_may_follow() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let queued = pool.submit(|| 1);
        for timeout in [Duration::ZERO, Duration::from_millis(5)] {
            let report = pool.shutdown_with(ShutdownOptions::new().timeout(timeout));
            assert_eq!((report.is_complete(), report.workers, report.queued), (false, 1, 1));
            assert!(report.took >= timeout && report.deadlock.is_none());
        }
        busy.release();
        assert!(pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT * 2)).is_complete());
        assert_eq!(queued.result().unwrap(), 1);
    });
}

#[test]
fn a_timed_shutdown_waits_for_no_destructor_of_a_thread_local() {
    struct EndsLate(Gate, Arc<AtomicUsize>);
    impl Drop for EndsLate {
        fn drop(&mut self) {
            self.0.pass();
            self.1.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static LATE: RefCell<Option<EndsLate>> = const { RefCell::new(None) };
    }
    within(LIMIT, || {
        let (pool, gate, ended) = (ThreadPoolExecutor::new(1), Gate::default(), Arc::new(AtomicUsize::new(0)));
        let late = EndsLate(gate.clone(), Arc::clone(&ended));
        pool.submit(move || LATE.set(Some(late))).result().unwrap();
        let report = pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT));
        assert_eq!((report.is_complete(), report.workers, ended.load(SeqCst)), (true, 0, 0));
        gate.open();
        assert!(pool.shutdown().is_complete());
        assert_eq!(ended.load(SeqCst), 1, "one without a limit waits for it");
    });
}

#[test]
fn a_task_of_another_pool_may_shut_a_pool_down() {
    within(LIMIT, || {
        let (one, other) = (ThreadPoolExecutor::new(2), ThreadPoolExecutor::new(2));
        let tasks: Vec<_> = (0..6).map(|n| one.submit(move || n)).collect();
        let shut_down = |_| {
            let one = one.clone();
            other.submit(move || one.shutdown().is_complete())
        };
        let shutdowns: Vec<_> = (0..4).map(shut_down).collect();
        assert!(shutdowns.into_iter().all(|task| task.result().unwrap()));
        assert!(tasks.iter().all(Future::done));
    });
}

#[test]
fn a_task_that_waits_for_the_end_of_its_own_pool_is_told_of_the_deadlock() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("called so").build();
        let own = pool.clone();
        let report = pool.submit_named("ends itself", move || own.shutdown()).result().unwrap();
        let deadlock = report.deadlock.as_ref().expect("a worker that waits for its own end");
        assert!(!report.is_complete() && report.workers >= 1);
        let text = deadlock.to_string();
        assert!(text.contains("= ThreadPoolExecutor 'called so', made at ") && text.contains(file!()), "{text}");
        assert!(pool.is_shutdown() && pool.shutdown().is_complete(), "it ends all the same");
    });
}

#[test]
fn a_task_may_shut_its_own_pool_down_without_waiting_or_for_a_while() {
    within(LIMIT, || {
        for options in [NO_WAIT, ShutdownOptions::new().timeout(Duration::from_millis(1))] {
            let pool = ThreadPoolExecutor::new(1);
            let own = pool.clone();
            let (tell, told) = mpsc::channel();
            let gate = Gate::default();
            let waits = gate.clone();
            let task = pool.submit(move || {
                waits.pass();
                let report = own.shutdown_with(options.cancel_pending(true));
                tell.send(()).unwrap();
                (report.is_complete(), report.cancelled, report.deadlock.is_none())
            });
            wait_until(|| task.running());
            let queued = pool.submit(|| ());
            gate.open();
            told.recv_timeout(LIMIT).unwrap();
            assert_eq!(task.result().unwrap(), (false, 1, true));
            assert!(queued.cancelled() && pool.shutdown().is_complete());
        }
    });
}

#[test]
fn two_pools_whose_tasks_wait_for_each_others_end_are_told_of_the_deadlock() {
    within(LIMIT, || {
        let pools = [ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1)];
        let barrier = Arc::new(Barrier::new(2));
        let shut_down = |other: &ThreadPoolExecutor| {
            let (other, barrier) = (other.clone(), Arc::clone(&barrier));
            move || {
                barrier.wait();
                other.shutdown()
            }
        };
        let tasks = [pools[0].submit(shut_down(&pools[1])), pools[1].submit(shut_down(&pools[0]))];
        let reports = tasks.map(|task| task.result().unwrap());
        let deadlocks: Vec<_> = reports.iter().filter_map(|report| report.deadlock.as_ref()).collect();
        let [deadlock] = deadlocks[..] else { panic!("{} were told", deadlocks.len()) };
        assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 2));
        assert_eq!(reports.iter().filter(|report| report.is_complete()).count(), 1, "the other goes on");
        assert!(pools.iter().all(|pool| pool.shutdown().is_complete()));
    });
}

#[test]
fn a_drop_that_waits_for_a_task_which_needs_what_the_dropper_holds_ends_with_an_error_of_the_task() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("needed", 0));
        let pool = ThreadPoolExecutor::new(1);
        let needed = Arc::clone(&lock);
        let task = pool.submit(move || needed.acquire().map(|guard| *guard));
        let guard = lock.lock();
        // Either it got the lock before, or it is part of a deadlock which the drop closes.
        let waits = until_waits_or_is_done(&task);
        drop(pool);
        drop(guard);
        let result = task.result().unwrap();
        assert_eq!(result.is_err(), waits);
        if let Err(deadlock) = result {
            assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 2));
        }
    });
}

/// Whether the task waits for the lock.
fn until_waits_or_is_done<T>(task: &Future<T>) -> bool {
    wait_until(|| task.done() || crate::support::find_thread_where(waits_for_needed).is_some());
    !task.done()
}

fn waits_for_needed(thread: &bowline::deadlock::report::StuckThread) -> bool {
    thread.waits_for().is_some_and(|wait| wait.resource().name() == Some("needed"))
}

#[test]
fn the_last_handle_may_be_dropped_by_a_task_of_the_pool() {
    within(LIMIT, || {
        for workers in [1, 3] {
            let pool = ThreadPoolExecutor::new(workers);
            let (gate, (ran, runs)) = (Gate::default(), mpsc::channel::<()>());
            let (own, waits) = (pool.clone(), gate.clone());
            let drops = pool.submit(move || {
                waits.pass();
                drop(own);
            });
            wait_until(|| drops.running());
            let busy = Busy::keep(&pool, workers - 1);
            // The queue is still run.
            let queued: Vec<_> = (0..5).map(|n| pool.submit(move || n)).collect();
            drop(pool.submit(move || drop(ran)));
            drop(pool);
            gate.open();
            drops.result().unwrap();
            busy.release();
            assert_eq!(queued.into_iter().map(|task| task.result().unwrap()).sum::<i32>(), 10);
            assert_eq!(runs.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
        }
    });
}

#[test]
fn the_last_handle_may_be_dropped_with_a_closure_a_result_or_a_callback() {
    within(LIMIT, || {
        let (tell, told) = mpsc::channel();
        let make = || (ThreadPoolExecutor::new(1), Gate::default(), tell.clone());

        let (pool, gate, tell_end) = make();
        let (own, waits) = (pool.clone(), gate.clone());
        drop(pool.submit(move || {
            waits.pass();
            own
        }));
        drop(pool.submit(move || tell_end.send("a detached result").unwrap()));
        drop(pool);
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), "a detached result");

        let (pool, gate, tell_end) = make();
        let waits = gate.clone();
        let task = pool.submit(move || waits.pass());
        let own = pool.clone();
        task.add_done_callback(move |_| drop(own));
        drop(pool.submit(move || tell_end.send("a callback").unwrap()));
        drop(pool);
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), "a callback");

        let (pool, gate, tell_end) = make();
        let waits = gate.clone();
        let first = pool.submit(move || waits.pass());
        let own = pool.clone();
        let queued = pool.submit(move || drop(own));
        drop(pool.submit(move || tell_end.send("a cancelled closure").unwrap()));
        drop(pool);
        gate.open();
        queued.cancel();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), "a cancelled closure");
        first.result().unwrap();
    });
}

#[test]
fn the_last_handle_may_be_dropped_by_a_thread_local_of_a_worker() {
    thread_local! {
        static HANDLE: RefCell<Option<(ThreadPoolExecutor, mpsc::Sender<()>)>> = const { RefCell::new(None) };
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (tell, told) = mpsc::channel();
        let own = pool.clone();
        pool.submit(move || HANDLE.set(Some((own, tell)))).result().unwrap();
        let _ = pool.shutdown_with(NO_WAIT);
        drop(pool);
        assert_eq!(told.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn a_task_that_submits_to_a_closed_pool_is_told_so_and_not_held_up() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, own) = (Gate::default(), pool.clone());
        let waits = gate.clone();
        let task = pool.submit(move || {
            waits.pass();
            own.submit(|| 1).result()
        });
        let _ = pool.shutdown_with(NO_WAIT);
        gate.open();
        assert!(matches!(task.result().unwrap(), Err(TaskError::Rejected(Rejected::Shutdown))));
    });
}

#[test]
fn a_panic_after_the_drop_began_stays_with_its_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let gate = Gate::default();
        let panics = |_| {
            let gate = gate.clone();
            pool.submit(move || {
                gate.pass();
                panic!("meant to, after the drop began");
            })
        };
        let tasks: Vec<Future<()>> = (0..4).map(panics).collect();
        let after = pool.submit(|| 1);
        thread::scope(|s| {
            let dropping = s.spawn(|| drop(pool));
            gate.open();
            dropping.join().expect("the drop does not panic");
        });
        assert!(tasks.into_iter().all(|task| matches!(task.result(), Err(TaskError::Panicked(_)))));
        assert_eq!(after.result().unwrap(), 1);
    });
}

#[test]
fn a_pool_dropped_by_a_panic_waits_for_its_tasks() {
    within(LIMIT, || {
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&ran);
        let unwinds = std::panic::catch_unwind(move || {
            let pool = ThreadPoolExecutor::new(1);
            for _ in 0..10 {
                let counts = Arc::clone(&counts);
                drop(pool.submit(move || counts.fetch_add(1, SeqCst)));
            }
            panic!("meant to, with a pool at hand");
        });
        assert!(unwinds.is_err());
        assert_eq!(ran.load(SeqCst), 10);
    });
}
