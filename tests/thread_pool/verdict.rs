//! Who is told of a deadlock of tasks: waits that cannot fail (the end of a scope, the end of a pool) pass the verdict on,
//! tasks that run on their waiter's thread are somebody else, and a policy may leave a deadlock standing.

use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use bowline::ReturnWhen::AllCompleted;
use bowline::deadlock::{self, Deadlock, Kind, Policy, Report};
use bowline::{Lock, RLock, SharedFuture, TaskError, ThreadPoolExecutor, wait};

use crate::support::deadlocks::{Gate, Reports, held_names, names, task_name, the_only, wanted};
use crate::support::{
    LIMIT, alone, find_thread, in_fresh_process, spawn_named, stderr, until_parked, until_waiting, wait_until, within,
};

fn pool(name: &str, workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name).build()
}

#[track_caller]
fn the_report(reports: &Reports, kind: Kind) -> Report {
    let mut taken = reports.take();
    assert_eq!(taken.len(), 1, "{taken:#?}");
    assert_eq!(taken[0].kind(), kind, "{}", taken[0]);
    taken.remove(0)
}

/// How a task waits for a lock, and that it was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Acquire,
    Lock,
}

impl By {
    /// What the task does.
    fn wait(self, lock: &Lock<()>) -> bool {
        match self {
            Self::Acquire => lock.acquire().is_err(),
            Self::Lock => {
                drop(lock.lock());
                false
            }
        }
    }

    #[track_caller]
    fn was_told(self, result: Result<bool, TaskError>) {
        match result {
            Ok(true) if self == Self::Acquire => {}
            Err(TaskError::Panicked(panic)) if self == Self::Lock => {
                assert!(panic.message().starts_with("deadlock: "), "{}", panic.message());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_end_of_a_scope_passes_the_verdict_to_the_task_whoever_closes_the_cycle() {
    alone(|| {
        let reports = Reports::about("ends a scope");
        let pool = pool("in a scope", 1);
        for by in [By::Acquire, By::Lock] {
            for task_closes in [true, false] {
                let lock = Lock::named("held around a scope", ());
                thread::scope(|s| {
                    let ends = spawn_named(s, "ends a scope", || {
                        let _guard = lock.lock();
                        pool.scope(|scope| {
                            let task = scope.submit(|| {
                                if task_closes {
                                    until_parked("ends a scope");
                                }
                                by.wait(&lock)
                            });
                            if !task_closes {
                                until_parked("in a scope_0");
                            }
                            task
                        })
                        .result()
                    });
                    by.was_told(ends.join().unwrap());
                });
                let report = the_only(&reports);
                assert_eq!(
                    (report.kind(), names(report.threads())),
                    (Kind::Cycle, vec!["ends a scope", "in a scope_0"])
                );
                assert_eq!(report.threads()[0].name(), Some("in a scope_0"), "the victim first");
            }
        }
    });
}

#[test]
fn the_end_of_a_scope_with_queued_tasks_starves_with_its_workers() {
    alone(|| {
        let reports = Reports::about("ends a full scope");
        let pool = pool("in a full scope", 1);
        let lock = Lock::named("held around a scope", ());
        thread::scope(|s| {
            let ends = spawn_named(s, "ends a full scope", || {
                let _guard = lock.lock();
                pool.scope(|scope| {
                    let stuck = scope.submit(|| lock.acquire().is_err());
                    let queued = scope.submit(|| 42);
                    until_parked("in a full scope_0");
                    (stuck, queued)
                })
            });
            let (stuck, queued) = ends.join().unwrap();
            assert!(stuck.result().unwrap());
            assert_eq!(queued.result().unwrap(), 42);
        });
        assert_eq!(names(the_report(&reports, Kind::Starvation).threads()), ["ends a full scope", "in a full scope_0"]);
    });
}

#[test]
fn the_end_of_a_pool_passes_the_verdict_to_the_task_whoever_closes_the_cycle() {
    alone(|| {
        let reports = Reports::about("drops a pool");
        for by in [By::Acquire, By::Lock] {
            for task_closes in [true, false] {
                let lock = Arc::new(Lock::named("held around a pool", ()));
                thread::scope(|s| {
                    let drops = spawn_named(s, "drops a pool", || {
                        let _guard = lock.lock();
                        let pool = pool("is dropped", 2);
                        let theirs = Arc::clone(&lock);
                        let task = pool.submit(move || {
                            if task_closes {
                                until_parked("drops a pool");
                            }
                            by.wait(&theirs)
                        });
                        if !task_closes {
                            until_parked("is dropped_0");
                        }
                        drop(pool);
                        assert!(task.done());
                        task.result()
                    });
                    by.was_told(drops.join().unwrap());
                });
                let report = the_report(&reports, Kind::Cycle);
                assert_eq!(names(report.threads()), ["drops a pool", "is dropped_0"]);
                let drops = report.threads().iter().find(|thread| thread.name() == Some("drops a pool")).unwrap();
                assert_eq!(wanted(drops).primitive(), "ThreadPoolExecutor");
            }
        }
    });
}

#[test]
fn a_shutdown_that_is_part_of_a_deadlock_returns_and_says_so() {
    alone(|| {
        let reports = Reports::about("shuts down");
        let lock = Arc::new(Lock::named("held around a shutdown", ()));
        thread::scope(|s| {
            let shuts_down = spawn_named(s, "shuts down", || {
                let guard = lock.lock();
                let pool = pool("is shut down", 1);
                let theirs = Arc::clone(&lock);
                let task = pool.submit(move || drop(theirs.lock()));
                until_parked("is shut down_0");
                let done = pool.shutdown();
                assert!(!done.is_complete() && done.workers == 1);
                drop(guard);
                task.result().unwrap();
                assert!(pool.shutdown().is_complete());
                done.deadlock
            });
            assert!(shuts_down.join().unwrap().is_some());
        });
        assert_eq!(names(the_report(&reports, Kind::Cycle).threads()), ["is shut down_0", "shuts down"]);
    });
}

#[test]
fn a_task_that_shuts_down_its_own_pool_is_told_and_one_that_drops_it_is_not() {
    alone(|| {
        let reports = Reports::about("own pool");
        let executor = pool("own pool", 2);
        let inner = executor.clone();
        let done = executor.submit(move || inner.shutdown()).result().unwrap();
        assert_eq!(done.deadlock.unwrap().report().kind(), Kind::Relock);
        assert_eq!(names(the_report(&reports, Kind::Relock).threads()), ["own pool_0"]);
        drop(executor);

        let executor = pool("own pool, dropped", 1);
        let (inner, gate) = (executor.clone(), Arc::new(Gate::new()));
        let theirs = Arc::clone(&gate);
        let task = executor.submit(move || {
            theirs.pass();
            drop(inner);
        });
        drop(executor);
        gate.open();
        task.result().unwrap();
        assert_eq!(reports.count(), 0);
    });
}

/// Runs `inner` in place, on the only worker of a pool, while the task that waits for it holds what `outer` gives.
fn in_place<G, R: Send + 'static>(
    name: &str,
    outer: impl FnOnce() -> G + Send + 'static,
    inner: impl FnOnce() -> R + Send + 'static,
) -> Result<R, TaskError> {
    let pool = pool(name, 1);
    let own = pool.clone();
    let task = pool.submit_named("outer", move || {
        let _held = outer();
        own.submit_named("inner", inner).result()
    });
    task.result().unwrap()
}

#[test]
fn a_task_in_place_does_not_slip_into_what_its_waiter_holds() {
    alone(|| {
        static AGAIN: RLock<()> = RLock::named("re-entrant, and the waiter's", ());
        static LOCK: Lock<()> = Lock::named("the waiter's", ());
        let reports = Reports::about("in place");
        let told = in_place("in place 1", || AGAIN.lock(), || AGAIN.acquire().map(drop).unwrap_err());
        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert_eq!(report.to_string(), told.unwrap().report().to_string());
        assert_eq!(names(report.threads()), ["in place 1_0", "in place 1_0"], "two tasks on one thread");
        assert_eq!(wanted(&report.threads()[0]).name(), Some("re-entrant, and the waiter's"));
        assert_eq!((task_name(&report.threads()[0]), held_names(&report.threads()[0])), ("inner", vec![]));
        assert_eq!(wanted(&report.threads()[1]).name(), Some("inner"));
        assert_eq!(task_name(&report.threads()[1]), "outer");
        assert_eq!(held_names(&report.threads()[1]), ["re-entrant, and the waiter's"]);
        assert_eq!([0, 1].map(|at| report.threads()[at].is_in_place()), [true, false]);

        let told = in_place("in place 2", || LOCK.lock(), || LOCK.acquire().map(drop).unwrap_err());
        assert_eq!(told.unwrap().report().kind(), Kind::Cycle);
        let told = in_place("in place 3", || LOCK.lock(), || drop(LOCK.lock()));
        let Err(TaskError::Panicked(panic)) = told else { panic!("{told:?}") };
        assert!(panic.message().starts_with("deadlock: "), "{}", panic.message());
        assert_eq!(reports.count(), 2);
        assert!(!LOCK.is_locked() && AGAIN.try_lock().is_some(), "nothing was left locked");
        assert!(in_place("in place 4", || LOCK.lock(), || LOCK.try_lock().is_none()).unwrap());
        assert!(in_place("in place 5", || AGAIN.lock(), || AGAIN.try_lock().is_none()).unwrap());
    });
}

#[test]
fn a_task_in_place_that_waits_for_its_waiter_is_told() {
    alone(|| {
        let reports = Reports::about("waits for its waiter");
        let pool = pool("waits for its waiter", 1);
        let own = pool.clone();
        let (give, given) = mpsc::channel::<SharedFuture<bool>>();
        let outer = pool.submit(move || {
            let outer = given.recv().unwrap();
            own.submit(move || outer.wait().is_err()).result().unwrap()
        });
        let outer = outer.shared();
        give.send(outer.clone()).unwrap();
        assert!(outer.result().unwrap());
        assert_eq!(the_report(&reports, Kind::Cycle).threads().len(), 2);
    });
}

#[test]
fn a_task_in_place_is_stuck_with_who_waits_for_its_waiter() {
    alone(|| {
        let reports = Reports::about("outside, holding");
        let lock = Arc::new(Lock::named("held outside", ()));
        thread::scope(|s| {
            spawn_named(s, "outside, holding", || {
                let _guard = lock.lock();
                let pool = pool("inside", 1);
                let (own, theirs) = (pool.clone(), Arc::clone(&lock));
                let outer = pool.submit(move || {
                    let futures = [own.submit(|| false), own.submit(move || theirs.acquire().is_err())];
                    let set = wait(&futures, AllCompleted, None);
                    assert!(set.not_done.is_empty() && set.deadlock.is_none());
                    futures.map(|future| future.result().unwrap())
                });
                until_parked("inside_0");
                let Err(TaskError::Deadlock(deadlock)) = outer.result() else { panic!("it waits for this thread") };
                assert_eq!(deadlock.report().threads().len(), 3, "{deadlock}");
            });
        });
        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert_eq!(names(report.threads()), ["inside_0", "inside_0", "outside, holding"]);
    });
}

#[test]
fn every_task_that_is_stuck_behind_a_deadlock_goes_on_after_it() {
    alone(|| {
        let reports = Reports::about("stuck behind");
        let executor = pool("stuck behind", 6);
        let (give, given) = mpsc::channel::<SharedFuture<Option<Deadlock>>>();
        let first = executor.submit(move || given.recv().unwrap().wait().err()).shared();
        let behind: Vec<_> = (0..4)
            .map(|_| {
                let first = first.clone();
                executor.submit(move || first.result().unwrap().is_some())
            })
            .collect();
        let second = first.clone();
        let second = executor.submit(move || second.wait().err()).shared();
        let waits = |at: usize| find_thread(&format!("stuck behind_{at}")).is_some_and(|it| it.waits_for().is_some());
        wait_until(|| (0..6).filter(|&at| waits(at)).count() == 5);
        give.send(second.clone()).unwrap();
        assert!(behind.into_iter().all(|task| task.result().unwrap()));
        assert!(first.result().unwrap().is_some() && second.result().unwrap().is_none());
        let report = the_report(&reports, Kind::Cycle);
        assert_eq!(report.threads().len(), 2);
        let workers = |name: &&str| name.starts_with("stuck behind_");
        assert_eq!(names(report.bystanders()).iter().filter(|name| workers(name)).count(), 4);
    });
}

#[test]
fn a_snapshot_is_taken_at_any_time_and_names_the_tasks() {
    alone(|| {
        let executor = pool("is looked at", 3);
        let (over, pictures) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|s| {
            s.spawn(|| {
                while !over.load(SeqCst) {
                    let picture = deadlock::snapshot();
                    assert!(!picture.to_string().is_empty() && picture.to_dot().starts_with("digraph"));
                    pictures.fetch_add(1, SeqCst);
                }
            });
            let rounds = if cfg!(miri) { 2 } else { 200 };
            for round in 0..rounds {
                let futures: Vec<_> = (0..20)
                    .map(|n: usize| {
                        let own = executor.clone();
                        executor.submit(move || own.submit(move || n).result().unwrap())
                    })
                    .collect();
                assert!(futures[round % 20].cancel() || !futures[round % 20].cancelled());
                assert_eq!(wait(&futures, AllCompleted, None).done.len(), 20);
            }
            wait_until(|| pictures.load(SeqCst) > 10);
            over.store(true, SeqCst);
        });
        let gate = Arc::new(Gate::new());
        let (begun, theirs) = (Arc::new(Gate::new()), Arc::clone(&gate));
        let tell = Arc::clone(&begun);
        let runs = executor.submit_named("the task that is looked at", move || {
            tell.open();
            theirs.pass();
        });
        begun.pass();
        let runs = runs.shared();
        let waits = runs.clone();
        thread::scope(|s| {
            spawn_named(s, "waits for what is looked at", || waits.result().unwrap());
            until_waiting("waits for what is looked at");
            let text = format!("{:400}", deadlock::snapshot());
            gate.open();
            let line = "thread 'waits for what is looked at' waits for task A 'the task that is looked at' at ";
            assert!(text.contains(line), "{text}");
            assert!(text.contains("task A 'the task that is looked at' on thread 'is looked at_"), "{text}");
        });
    });
}

/// Runs `body` in a process of its own, under a watchdog and a policy. `None` in that process.
fn under(policy: &str, test: &str, body: impl FnOnce()) -> Option<Output> {
    in_fresh_process(test, &[("BOWLINE_DEADLOCK", policy)], || within(LIMIT * 3 / 4, body))
}

/// A starvation none of whose members can be told by a value: a scope that ends with a queued task, and a worker that wants
/// by `lock` what the scope's thread holds.
fn starve_without_a_value(pool: &'static ThreadPoolExecutor) -> JoinHandle<(bool, u8)> {
    static LOCK: Lock<()> = Lock::named("held around a scope", ());
    let body = || {
        let _guard = LOCK.lock();
        let (stuck, queued) = pool.scope(|scope| {
            let stuck = scope.submit(|| drop(LOCK.lock()));
            (stuck, scope.submit(|| 42))
        });
        (stuck.result().is_err(), queued.result().unwrap())
    };
    thread::Builder::new().name("standing".to_owned()).spawn(body).expect("a thread")
}

fn headlines(output: &Output) -> usize {
    stderr(output).lines().filter(|line| line.starts_with("deadlock: ")).count()
}

#[test]
fn a_starvation_that_nobody_can_be_told_of_is_said_once_and_stands_until_the_policy_breaks_it() {
    let body = || {
        let reports = Reports::about("standing");
        let pool = Box::leak(Box::new(pool("standing worker", 1)));
        let standing = starve_without_a_value(pool);
        wait_until(|| reports.count() == 1);
        until_parked("standing");
        until_parked("standing worker_0");
        assert!(!standing.is_finished() && pool.queued() == 1);
        // Who comes to wait behind it closes nothing; a pool beside it works as ever.
        let behind = thread::Builder::new().name("behind it".to_owned());
        let behind = behind.spawn(|| pool.submit(|| 1).result()).unwrap();
        until_parked("behind it");
        assert_eq!(self::pool("beside it", 1).submit(|| 2).result().unwrap(), 2);
        until_parked("behind it");
        assert_eq!(the_report(&reports, Kind::Starvation).threads().len(), 2);
        deadlock::set_policy(Policy::Panic);
        assert_eq!(standing.join().unwrap(), (true, 42));
        assert_eq!(behind.join().unwrap().unwrap(), 1);
        assert_eq!(reports.count(), 1, "said again as it was broken");
    };
    let name = "a_starvation_that_nobody_can_be_told_of_is_said_once_and_stands_until_the_policy_breaks_it";
    let Some(output) = under("report", name, body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
    // Printed when it was found, and as the panic of the task that broke it.
    assert_eq!(headlines(&output), 2, "{}", stderr(&output));
}

#[test]
fn a_task_s_wait_gets_a_value_even_where_deadlocks_are_to_stand() {
    let body = || {
        let pool = pool("value", 1);
        let (give, given) = mpsc::channel::<SharedFuture<bool>>();
        let own = pool.submit(move || matches!(given.recv().unwrap().result(), Err(TaskError::Deadlock(_)))).shared();
        give.send(own.clone()).unwrap();
        assert!(own.result().unwrap());
    };
    let Some(output) = under("report", "a_task_s_wait_gets_a_value_even_where_deadlocks_are_to_stand", body) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(headlines(&output), 0, "nothing to print: somebody was told");
}

#[test]
fn a_deadlock_of_ends_alone_is_printed_and_aborts() {
    let body = || {
        let (first, second) = (pool("waits for the second", 1), pool("waits for the first", 1));
        let (give, given) = mpsc::channel::<ThreadPoolExecutor>();
        let task = first.submit(move || {
            let first = given.recv().unwrap();
            // The end of the scope waits for a task that waits for the end of the pool that runs this.
            second.scope(|scope| drop(scope.submit(move || drop(first))));
        });
        give.send(first).unwrap();
        let _ = task.result();
    };
    let Some(output) = under("panic", "a_deadlock_of_ends_alone_is_printed_and_aborts", body) else { return };
    assert!(!output.status.success());
    let text = stderr(&output);
    assert_eq!(headlines(&output), 1, "{text}");
    assert!(text.contains("waits for the first_0") && text.contains("waits for the second_0"), "{text}");
    assert!(!text.contains("still runs after"), "{text}");
}

#[test]
fn under_off_nothing_is_judged_and_switching_on_judges_what_waits() {
    let body = || {
        let reports = Reports::about("unjudged");
        let pool = pool("unjudged", 1);
        let (give, given) = mpsc::channel::<SharedFuture<bool>>();
        let own = pool.submit(move || given.recv().unwrap().wait().is_err()).shared();
        give.send(own.clone()).unwrap();
        until_parked("unjudged_0");
        assert!(!own.done() && reports.count() == 0);
        deadlock::set_policy(Policy::Panic);
        assert!(own.result().unwrap());
        assert_eq!(reports.count(), 1);
    };
    let Some(output) = under("off", "under_off_nothing_is_judged_and_switching_on_judges_what_waits", body) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
}
