//! Deadlocks of tasks: that wait for each other, for locks, for workers that all wait, or for room in a queue. Each is an
//! error of the wait that closed it, and everybody else goes on.
//!
//! A test that counts reports runs alone, and counts those about its own threads only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use bowline::ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Deadlock, Kind, Report};
use bowline::task::Rejected;
use bowline::thread_pool::WhenFull;
use bowline::{Future, Lock, RLock, TaskError, ThreadPoolExecutor, as_completed, promise, wait};

use crate::support::deadlocks::{Gate, Reports, names, task_name, the_only, wanted};
use crate::support::{
    LIMIT, alone, spawn_named, until_asleep, until_parked, until_thread_where, until_waiting, within,
};

fn pool(name: &str, workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name).build()
}

/// A task that waits for whatever future it is given, and the way to give it one.
fn waits_for_another(pool: &ThreadPoolExecutor, name: &'static str) -> (mpsc::Sender<Chained>, Chained) {
    let (give, given) = mpsc::channel::<Chained>();
    let future = pool.submit_named(name, move || {
        let other = given.recv().expect("a future to wait for");
        other.wait().err()
    });
    (give, future.shared())
}

/// Waits until whoever runs the task with this name waits, too.
#[track_caller]
fn until_task_waits(name: &str) {
    let thread = until_thread_where(|thread| thread.waits_for().is_some() && task_name(thread) == name);
    until_asleep(thread.os_id());
}

/// What such a task was told.
type Chained = bowline::SharedFuture<Option<Deadlock>>;

/// The report that there is, whose members all wait without a limit.
#[track_caller]
fn the_report(reports: &Reports, kind: Kind) -> Report {
    let mut taken = reports.take();
    assert_eq!(taken.len(), 1, "{taken:#?}");
    let report = taken.remove(0);
    assert_eq!(report.kind(), kind, "{report}");
    let waits = |thread: &StuckThread| thread.waits_for().is_some_and(|wait| !wait.is_timed());
    assert!(report.threads().iter().chain(report.bystanders()).all(waits), "{report}");
    report
}

#[test]
fn tasks_that_wait_for_each_other_are_a_cycle_that_names_both_and_their_lines() {
    alone(|| {
        let reports = Reports::about("each other_");
        let pool = pool("each other", 2);
        let (give_a, get_a) = mpsc::channel::<Chained>();
        let (give_b, get_b) = mpsc::channel::<Chained>();
        let (told, outcomes) = mpsc::channel();
        let tell = told.clone();
        let a = pool.submit_named("a", move || {
            let outcome = get_b.recv().unwrap().wait().err();
            tell.send(("a", outcome.clone())).unwrap();
            outcome
        });
        let b = pool.submit_named("b", move || {
            let outcome = get_a.recv().unwrap().wait().err();
            told.send(("b", outcome.clone())).unwrap();
            outcome
        });
        let lines = [line!() - 9, line!() - 4];
        give_a.send(a.shared()).unwrap();
        until_task_waits("b");
        give_b.send(b.shared()).unwrap();
        let (victim, outcome) = outcomes.recv_timeout(LIMIT).unwrap();
        let deadlock = outcome.expect("who closes the cycle is told first");
        assert_eq!(victim, "a", "the last to wait");
        let (other, outcome) = outcomes.recv_timeout(LIMIT).unwrap();
        assert!(other == "b" && outcome.is_none(), "the other one goes on");

        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert_eq!(deadlock.report().to_string(), report.to_string());
        let [first, second] = report.threads() else { panic!("{report}") };
        assert_eq!((wanted(first).name(), task_name(first)), (Some("b"), "a"));
        assert_eq!((wanted(second).name(), task_name(second)), (Some("a"), "b"));
        let sites = [first, second].map(|thread| thread.waits_for().unwrap().site());
        assert!(sites.iter().all(|site| site.file() == file!()));
        assert_eq!(sites.map(|site| site.line()), lines, "{report}");
        assert!(report.bystanders().is_empty());
    });
}

#[test]
fn a_ring_of_tasks_over_several_pools_has_one_victim() {
    alone(|| {
        const NAMES: [&str; 4] = ["ring task 0", "ring task 1", "ring task 2", "ring task 3"];
        let reports = Reports::about("ring of tasks");
        let pools = [pool("ring of tasks A", 2), pool("ring of tasks B", 2)];
        let (gives, futures): (Vec<_>, Vec<_>) =
            NAMES.iter().enumerate().map(|(at, name)| waits_for_another(&pools[at % 2], name)).unzip();
        for (at, give) in gives.iter().enumerate() {
            give.send(futures[(at + 1) % 4].clone()).unwrap();
        }
        let outcomes: Vec<_> = futures.iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(outcomes.iter().flatten().count(), 1, "one victim");
        let report = the_only(&reports);
        assert_eq!(report.threads().len(), 4);
        let mut wants: Vec<_> = report.threads().iter().map(|thread| wanted(thread).name().unwrap()).collect();
        wants.sort_unstable();
        assert_eq!(wants, NAMES);
    });
}

#[test]
fn a_task_may_wait_for_what_it_submits_to_its_own_pool_of_one() {
    alone(|| {
        fn nest(pool: ThreadPoolExecutor, depth: u32) -> u32 {
            if depth == 0 {
                return 0;
            }
            let inner = pool.clone();
            pool.submit(move || nest(inner, depth - 1)).result().unwrap() + 1
        }

        within(LIMIT, || {
            let reports = Reports::about("nests_");
            let pool = pool("nests", 1);
            let inner = pool.clone();
            assert_eq!(pool.submit(move || nest(inner, 20)).result().unwrap(), 20);
            assert_eq!((reports.count(), pool.worker_count()), (0, 1));
        });
    });
}

#[test]
fn a_task_that_waits_for_its_own_future_is_told_so() {
    alone(|| {
        let reports = Reports::about("own future_");
        let pool = pool("own future", 1);
        let (give, own) = waits_for_another(&pool, "selfish");
        give.send(own.clone()).unwrap();
        let deadlock = own.result().unwrap().expect("it can never end");
        assert_eq!(deadlock.report().kind(), Kind::Relock);
        let report = the_only(&reports);
        assert_eq!(names(report.threads()), ["own future_0"]);
        assert_eq!(wanted(&report.threads()[0]).name(), Some("selfish"));
    });
}

#[test]
fn a_task_that_waits_for_all_and_its_own_future_among_them_is_told_so() {
    alone(|| {
        let reports = Reports::about("own among all_");
        let pool = pool("own among all", 1);
        let (give, given) = mpsc::channel::<Vec<bowline::SharedFuture<bool>>>();
        let own = pool.submit(move || {
            let futures = given.recv().unwrap();
            let set = wait(&futures, AllCompleted, None);
            assert_eq!((set.done.len(), set.not_done.len()), (1, 1));
            set.deadlock.is_some()
        });
        let (own, done) = (own.shared(), pool.submit(|| true).shared());
        give.send(vec![done, own.clone()]).unwrap();
        assert!(own.result().unwrap());
        assert_eq!(names(the_report(&reports, Kind::Relock).threads()), ["own among all_0"]);
    });
}

#[test]
fn a_wait_for_all_is_stuck_with_the_one_that_waits_for_it_whatever_the_others_do() {
    alone(|| {
        let reports = Reports::about("all of some_");
        let pool = pool("all of some", 2);
        let (promise, promised) = promise::<Option<Deadlock>>();
        let (give, given) = mpsc::channel::<[Chained; 2]>();
        let all = pool.submit_named("waits for all", move || {
            let futures = given.recv().unwrap();
            let set = wait(&futures, AllCompleted, None);
            assert_eq!((set.done.len(), set.not_done.len()), (0, 2));
            set.deadlock
        });
        let all = all.shared();
        let (give_all, other) = waits_for_another(&pool, "waits for one");
        give_all.send(all.clone()).unwrap();
        until_task_waits("waits for one");
        give.send([promised.shared(), other.clone()]).unwrap();
        let deadlock = all.result().unwrap().expect("the one that closed it is told");
        assert!(other.result().unwrap().is_none());
        assert_eq!(deadlock.report().threads().len(), 2);
        let report = the_report(&reports, Kind::Cycle);
        assert_eq!(names(report.threads()), ["all of some_0", "all of some_1"]);
        drop(promise);
    });
}

/// A wait for the first of two tasks that both wait for the waiter, and of what else is given.
fn first_of_those_behind_me(
    name: &'static str,
    also: Option<Chained>,
    wait_for: impl FnOnce(&[Chained]) -> Option<Deadlock> + Send + 'static,
) -> (ThreadPoolExecutor, [Chained; 3]) {
    let pool = pool(name, 3);
    let (give, given) = mpsc::channel::<Vec<Chained>>();
    let first = pool.submit_named(name, move || wait_for(&given.recv().unwrap())).shared();
    let behind = [1, 2].map(|number| {
        let name = format!("{name}, behind it {number}").leak();
        let (give, future) = waits_for_another(&pool, name);
        give.send(first.clone()).unwrap();
        until_task_waits(name);
        future
    });
    give.send(behind.iter().cloned().chain(also).collect()).unwrap();
    let [a, b] = behind;
    (pool, [first, a, b])
}

#[test]
fn a_wait_for_the_first_is_stuck_when_every_one_waits_for_it() {
    alone(|| {
        let reports = Reports::about("first of stuck");
        for return_when in [FirstCompleted, FirstException] {
            let body = move |futures: &[Chained]| {
                let set = wait(futures, return_when, None);
                assert_eq!((set.done.len(), set.not_done.len()), (0, 2));
                set.deadlock
            };
            let (_pool, [first, a, b]) = first_of_those_behind_me("first of stuck", None, body);
            assert!(first.result().unwrap().is_some());
            assert!(a.result().unwrap().is_none() && b.result().unwrap().is_none());
            let report = the_report(&reports, Kind::Cycle);
            assert_eq!(names(report.threads()), ["first of stuck_0", "first of stuck_1", "first of stuck_2"]);
        }
    });
}

#[test]
fn futures_that_are_asked_for_as_they_come_come_back_from_a_deadlock() {
    alone(|| {
        let reports = Reports::about("as they come");
        let body = |futures: &[Chained]| {
            let mut iterator = as_completed(futures.to_vec());
            let unfinished = iterator.next().unwrap().unwrap_err();
            assert!(iterator.next().is_none());
            assert!(unfinished.to_string().starts_with("2 (of 2) futures unfinished: deadlock: "), "{unfinished}");
            let deadlock = unfinished.deadlock().cloned();
            assert_eq!(iterator.into_futures().len(), 2);
            deadlock
        };
        let (_pool, [first, a, b]) = first_of_those_behind_me("as they come", None, body);
        assert!(first.result().unwrap().is_some());
        assert!(a.result().unwrap().is_none() && b.result().unwrap().is_none());
        assert_eq!(the_report(&reports, Kind::Cycle).threads().len(), 3);
    });
}

#[test]
fn a_wait_for_the_first_with_one_that_may_come_is_no_deadlock() {
    alone(|| {
        let reports = Reports::about("first of live");
        let (promise, promised) = promise::<Option<Deadlock>>();
        let body = |futures: &[Chained]| {
            let set = wait(futures, FirstCompleted, None);
            assert_eq!((set.done.len(), set.not_done.len()), (1, 2));
            set.deadlock
        };
        let (_pool, futures) = first_of_those_behind_me("first of live", Some(promised.shared()), body);
        until_task_waits("first of live");
        assert_eq!(reports.count(), 0);
        promise.set_result(None).unwrap();
        assert!(futures.iter().all(|future| future.result().unwrap().is_none()));
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_value_that_comes_leaves_a_wait_for_a_failure_with_a_deadlock() {
    alone(|| {
        let reports = Reports::about("only values");
        let (promise, promised) = promise::<Option<Deadlock>>();
        let body = |futures: &[Chained]| {
            let set = wait(futures, FirstException, None);
            assert_eq!((set.done.len(), set.not_done.len()), (1, 2));
            set.deadlock
        };
        let (_pool, [first, a, b]) = first_of_those_behind_me("only values", Some(promised.shared()), body);
        until_task_waits("only values");
        assert_eq!(reports.count(), 0);
        // The last live alternative is gone, and nobody has begun to wait.
        promise.set_result(None).unwrap();
        assert!(first.result().unwrap().is_some());
        assert!(a.result().unwrap().is_none() && b.result().unwrap().is_none());
        assert_eq!(the_report(&reports, Kind::Cycle).threads().len(), 3);
    });
}

#[test]
fn waits_with_a_limit_and_for_promises_are_part_of_no_deadlock() {
    alone(|| {
        let reports = Reports::about("no part");
        let pool = pool("no part", 3);
        let (give, given) = mpsc::channel::<Chained>();
        let timed = pool.submit(move || {
            assert!(!given.recv().unwrap().wait_timeout(Duration::from_millis(30)));
            None
        });
        let timed = timed.shared();
        let (give_timed, other) = waits_for_another(&pool, "waits for who is patient for a while");
        give_timed.send(timed.clone()).unwrap();
        until_task_waits("waits for who is patient for a while");
        give.send(other.clone()).unwrap();
        let (promise, promised) = promise::<Option<Deadlock>>();
        let (give_promised, third) = waits_for_another(&pool, "waits for a promise");
        give_promised.send(promised.shared()).unwrap();
        assert!(other.result().unwrap().is_none() && timed.result().unwrap().is_none());
        until_task_waits("waits for a promise");
        promise.set_result(None).unwrap();
        assert!(third.result().unwrap().is_none());
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn who_waits_for_a_task_that_wants_its_lock_is_told() {
    alone(|| {
        let reports = Reports::about("holds and waits");
        let pool = pool("wants the lock", 1);
        let lock = Arc::new(Lock::named("wanted", 0));
        let theirs = Arc::clone(&lock);
        let wants = thread::scope(|s| {
            let holder = spawn_named(s, "holds and waits", || {
                let guard = lock.lock();
                let task = pool.submit_named("wants", move || *theirs.lock() += 1);
                let after = task.shared();
                until_waiting("wants the lock_0");
                let Err(TaskError::Deadlock(deadlock)) = after.result() else { panic!("it can never end") };
                assert_eq!(deadlock.report().threads()[0].name(), Some("holds and waits"));
                drop(guard);
                after
            });
            holder.join().unwrap()
        });
        wants.result().unwrap();
        assert_eq!(*lock.lock(), 1);
        let report = the_only(&reports);
        assert_eq!(
            (report.kind(), names(report.threads())),
            (Kind::Cycle, vec!["holds and waits", "wants the lock_0"])
        );
        assert_eq!(wanted(&report.threads()[0]).name(), Some("wants"));
        assert_eq!(wanted(&report.threads()[1]).name(), Some("wanted"));
    });
}

#[test]
fn a_task_that_wants_the_lock_of_who_waits_for_it_is_told() {
    alone(|| {
        let reports = Reports::about("waits first");
        let pool = pool("wants it later", 1);
        for by_value in [true, false] {
            let lock = Arc::new(Lock::named("wanted", 0));
            let theirs = Arc::clone(&lock);
            let name = if by_value { "waits first for a value" } else { "waits first for a panic" };
            thread::scope(|s| {
                let holder = spawn_named(s, name, || {
                    let _guard = lock.lock();
                    let task = pool.submit(move || {
                        until_waiting(name);
                        match by_value {
                            true => theirs.acquire().map(drop).err(),
                            false => {
                                drop(theirs.lock());
                                None
                            }
                        }
                    });
                    task.result()
                });
                match holder.join().unwrap() {
                    Ok(Some(_)) if by_value => {}
                    Err(TaskError::Panicked(panic)) if !by_value => {
                        assert!(panic.message().starts_with("deadlock: 2 threads wait for each other\n"));
                    }
                    other => panic!("{other:?}"),
                }
            });
            let report = the_only(&reports);
            assert_eq!(report.kind(), Kind::Cycle);
            assert_eq!(report.threads()[0].name(), Some("wants it later_0"), "who closes it comes first");
        }
    });
}

#[test]
fn pools_whose_workers_all_wait_for_the_other_s_queue_starve() {
    alone(|| {
        const WORKERS: usize = 2;
        within(LIMIT, || {
            let reports = Reports::about("starves");
            let pools = [pool("starves A", WORKERS), pool("starves B", WORKERS)];
            let all_run = Arc::new(Barrier::new(2 * WORKERS));
            let tasks = (0..2 * WORKERS).map(|at| {
                let (all_run, other) = (Arc::clone(&all_run), pools[1 - at % 2].clone());
                pools[at % 2].submit(move || {
                    all_run.wait();
                    let queued = other.submit_named("queued", move || at).shared();
                    let told = queued.result();
                    (told, queued)
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let outcomes: Vec<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
            let victims = outcomes.iter().filter(|(told, _)| matches!(told, Err(TaskError::Deadlock(_)))).count();
            assert_eq!(victims, 1, "one worker more is enough");
            for (at, (told, queued)) in outcomes.into_iter().enumerate() {
                assert!(told.is_err() || told.unwrap() == at);
                assert_eq!(queued.result().unwrap(), at, "what the victim waited for runs, too");
            }
            let report = the_report(&reports, Kind::Starvation);
            let all = ["starves A_0", "starves A_1", "starves B_0", "starves B_1"];
            assert_eq!(names(report.threads()), all);
            assert!(report.threads().iter().all(|thread| wanted(thread).name() == Some("queued")));
            // This thread waits for one of the tasks; it was not yet in the graph, or is stuck behind them.
            assert!(report.bystanders().len() <= 1, "{report}");
        });
    });
}

#[test]
fn a_pool_with_a_worker_left_does_not_starve() {
    alone(|| {
        let reports = Reports::about("one left");
        let pools = [pool("one left A", 1), pool("one left B", 2)];
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        // Blocked by what the graph knows nothing of.
        let live = pools[1].submit(move || theirs.pass());
        let all_run = Arc::new(Barrier::new(2));
        let tasks = [(0, "one left, waits for B"), (1, "one left, waits for A")].map(|(at, name)| {
            let (all_run, other) = (Arc::clone(&all_run), pools[1 - at].clone());
            pools[at].submit_named(name, move || {
                all_run.wait();
                other.submit(move || at).result().unwrap()
            })
        });
        until_task_waits("one left, waits for B");
        until_task_waits("one left, waits for A");
        assert_eq!(reports.count(), 0);
        gate.open();
        assert_eq!(tasks.map(|task| task.result().unwrap()), [0, 1]);
        live.result().unwrap();
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_pool_that_shrinks_to_workers_that_all_wait_starves() {
    alone(|| {
        let reports = Reports::about("shrinks");
        let pool = pool("shrinks", 2);
        let lock = Arc::new(Lock::named("held outside", ()));
        let gate = Arc::new(Gate::new());
        thread::scope(|s| {
            let theirs = Arc::clone(&lock);
            let waiter = spawn_named(s, "shrinks, outside", || {
                let _guard = lock.lock();
                let stuck = pool.submit_named("wants what is held outside", move || drop(theirs.lock()));
                until_task_waits("wants what is held outside");
                let theirs = Arc::clone(&gate);
                let live = pool.submit(move || theirs.pass());
                let told = pool.submit_named("queued", || ()).result();
                (told, stuck, live)
            });
            until_parked("shrinks, outside");
            pool.set_max_workers(1);
            until_parked("shrinks, outside");
            assert_eq!(reports.count(), 0, "a worker is still there");
            // It ends after the task that it runs: nobody begins to wait, and yet nobody can go on.
            gate.open();
            let (told, stuck, live) = waiter.join().unwrap();
            assert!(matches!(told, Err(TaskError::Deadlock(_))), "{told:?}");
            stuck.result().unwrap();
            live.result().unwrap();
        });
        let report = the_report(&reports, Kind::Starvation);
        assert_eq!(names(report.threads()), ["shrinks, outside", "shrinks_0"], "the first one began");
    });
}

/// A pool of one worker with a full queue, whose worker waits for `lock`, if it is to, and the futures of its tasks.
fn full(name: &str, when_full: WhenFull, run: impl FnOnce() + Send + 'static) -> (ThreadPoolExecutor, [Future<()>; 2]) {
    let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix(name);
    let pool = builder.queue_capacity(1).when_full(when_full).build();
    let begun = Arc::new(Gate::new());
    let theirs = Arc::clone(&begun);
    let running = pool.submit(move || {
        theirs.open();
        run();
    });
    begun.pass();
    let queued = pool.submit(|| ());
    assert_eq!(pool.queued(), 1);
    (pool, [running, queued])
}

#[test]
fn who_waits_for_room_with_what_the_workers_wait_for_is_refused() {
    alone(|| {
        let reports = Reports::about("no room");
        // Whoever closes it: the one that unwinds is spared where another can be told by value.
        for closer_is_submitter in [true, false] {
            let lock = Arc::new(Lock::named("the submitter's", ()));
            thread::scope(|s| {
                let theirs = Arc::clone(&lock);
                let submitter = spawn_named(s, "no room", || {
                    let guard = lock.lock();
                    let (pool, tasks) = full("no room left", WhenFull::Block, move || {
                        if !closer_is_submitter {
                            until_waiting("no room");
                        }
                        drop(theirs.lock());
                    });
                    if closer_is_submitter {
                        until_waiting("no room left_0");
                    }
                    let refused = pool.submit(|| ());
                    drop(guard);
                    let Err(TaskError::Rejected(Rejected::Deadlock(deadlock))) = refused.result() else {
                        panic!("there will never be room")
                    };
                    assert_eq!(deadlock.report().kind(), Kind::Starvation);
                    tasks.into_iter().for_each(|task| task.result().unwrap());
                    pool.submit(|| ()).result().unwrap();
                });
                submitter.join().unwrap();
            });
            let report = the_report(&reports, Kind::Starvation);
            assert_eq!(names(report.threads()), ["no room", "no room left_0"]);
            let submitter = report.threads().iter().find(|thread| thread.name() == Some("no room")).unwrap();
            assert_eq!(wanted(submitter).primitive(), "ThreadPoolExecutor");
        }
    });
}

#[test]
fn a_worker_that_waits_for_room_in_its_own_queue_is_refused() {
    alone(|| {
        let reports = Reports::about("own queue_");
        let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("own queue").queue_capacity(1);
        let pool = builder.build();
        let inner = pool.clone();
        let told = pool.submit(move || {
            let fits = inner.submit(|| 1);
            let refused = inner.submit(|| 2).result();
            (refused, fits)
        });
        let (refused, fits) = told.result().unwrap();
        assert!(matches!(refused, Err(TaskError::Rejected(Rejected::Deadlock(_)))), "{refused:?}");
        assert_eq!(fits.result().unwrap(), 1);
        assert_eq!(names(the_report(&reports, Kind::Starvation).threads()), ["own queue_0"]);
    });
}

#[test]
fn a_task_that_the_submitter_runs_is_somebody_else_than_the_submitter() {
    within(LIMIT, || {
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let (pool, tasks) = full("caller runs", WhenFull::CallerRuns, move || theirs.pass());
        let (lock, rlock) =
            (Arc::new(Lock::named("the caller's", ())), Arc::new(RLock::named("the caller's, too", ())));
        let both = (Arc::clone(&lock), Arc::clone(&rlock));
        let _guards = (lock.lock(), rlock.lock());
        let here = thread::current().id();
        let told = pool.submit(move || {
            assert_eq!(thread::current().id(), here);
            (both.0.acquire().map(drop).is_err(), both.1.acquire().map(drop).is_err())
        });
        assert_eq!(told.result().unwrap(), (true, true));
        gate.open();
        tasks.into_iter().for_each(|task| task.result().unwrap());
        let unwound = catch_unwind(AssertUnwindSafe(|| drop(lock.lock())));
        assert!(unwound.is_err(), "what the caller holds is still its own");
    });
}
