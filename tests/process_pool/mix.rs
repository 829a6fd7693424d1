//! Futures of thread pools, of process pools and of promises in one set: waited for, awaited and told of by callbacks alike.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bowline::ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
use bowline::task::Status;
use bowline::{Future, ProcessPoolExecutor, TaskError, ThreadPoolExecutor, as_completed, promise, wait};
use futures::executor::block_on;
use futures::future::join_all;

use crate::support::folder::{Folder, die, open, pass};
use crate::support::gate::Gate;
use crate::support::workers::{Held, echo, lost, lost_by};
use crate::support::{Dice, LIMIT, wait_until, within};

fn crash(_: u64) -> u64 {
    std::process::abort()
}

fn panics(n: u64) -> u64 {
    panic!("{n} is too much")
}

/// A pool of threads and a pool of processes, with two workers each.
fn pools() -> (ThreadPoolExecutor, ProcessPoolExecutor) {
    (ThreadPoolExecutor::new(2), ProcessPoolExecutor::new(2).expect("a pool"))
}

#[test]
fn a_wait_for_all_returns_when_the_last_of_any_kind_is_done() {
    within(LIMIT, || {
        for last in 0..3 {
            let (threads, processes) = pools();
            let (folder, gate) = (Folder::new(), Gate::default());
            let (promised, promise_future) = promise::<u64>();
            let waits = gate.clone();
            let futures = [
                threads.submit(move || (waits.pass(), 1).1),
                processes.submit(pass, (folder.path(), 2, open())),
                promise_future,
                threads.submit(|| panic!("one of them")),
                processes.submit(panics, (4,)),
                processes.submit(crash, (5,)),
            ];
            let mut promised = Some(promised);
            let mut end = |which| match which {
                0 => gate.open(),
                1 => folder.put("open"),
                _ => promised.take().unwrap().set_result(3).unwrap(),
            };
            (0..3).filter(|&which| which != last).for_each(&mut end);
            let set = wait(&futures, AllCompleted, Some(Duration::from_millis(1)));
            assert!(set.not_done.iter().any(|future| std::ptr::eq(*future, &futures[last])));
            thread::scope(|s| {
                let waiting = s.spawn(|| {
                    let set = wait(&futures, AllCompleted, None);
                    (set.done.len(), set.not_done.len(), set.deadlock.is_none())
                });
                wait_until(|| futures.iter().filter(|future| future.done()).count() == 5);
                assert!(!waiting.is_finished());
                end(last);
                assert_eq!(waiting.join().unwrap(), (6, 0, true));
            });
            let [one, two, three, panicked, panicked_there, crashed] = futures.map(Future::result);
            assert_eq!((one.unwrap(), two.unwrap(), three.unwrap()), (1, 2, 3));
            let (Err(TaskError::Panicked(here)), Err(TaskError::Panicked(there))) = (panicked, panicked_there) else {
                panic!("two panics")
            };
            assert_eq!((here.message(), here.process()), ("one of them", None));
            assert_eq!(there.message(), "4 is too much");
            assert!(there.process().is_some_and(|process| process != std::process::id()));
            assert_eq!(lost_by(crashed), libc::SIGABRT);
        }
    });
}

#[test]
fn a_wait_for_the_first_ends_with_either_kind() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        for by_process in [false, true] {
            let (folder, gate) = (Folder::new(), Gate::default());
            let waits = gate.clone();
            let futures =
                [threads.submit(move || (waits.pass(), 0).1), processes.submit(pass, (folder.path(), 1, open()))];
            folder.until_begun(1);
            assert_eq!(wait(&futures, FirstCompleted, Some(Duration::ZERO)).done.len(), 0);
            thread::scope(|s| {
                let waiting = s.spawn(|| {
                    let set = wait(&futures, FirstCompleted, None);
                    (set.done.len(), std::ptr::eq(set.done[0], &futures[usize::from(by_process)]))
                });
                if by_process {
                    folder.put("open")
                } else {
                    gate.open()
                }
                assert_eq!(waiting.join().unwrap(), (1, true));
            });
            // Some that are done already.
            assert_eq!(wait(&futures, FirstCompleted, None).done.len(), 1);
            folder.put("open");
            gate.open();
            assert_eq!(wait(&futures, AllCompleted, None).done.len(), 2);
        }
    });
}

#[test]
fn a_wait_for_the_first_exception_is_ended_by_a_lost_worker_and_by_no_value() {
    within(LIMIT, || {
        for is_there_already in [false, true] {
            let (threads, processes) = pools();
            let (folder, gate) = (Folder::new(), Gate::default());
            let waits = gate.clone();
            let futures = [
                threads.submit(move || (waits.pass(), 0).1),
                threads.submit(|| 1),
                processes.submit(echo::<u64>, (2,)),
                processes.submit(die, (folder.path(), 3, open())),
            ];
            wait_until(|| futures[1].done() && futures[2].done());
            folder.until_begun(3);
            let set = wait(&futures, FirstException, Some(Duration::from_millis(1)));
            assert_eq!((set.done.len(), set.not_done.len()), (2, 2), "values do not end it");
            if is_there_already {
                folder.put("open");
                wait_until(|| futures[3].done());
            }
            thread::scope(|s| {
                let waiting = s.spawn(|| wait(&futures, FirstException, None).done.len());
                folder.put("open");
                assert_eq!(waiting.join().unwrap(), 3);
            });
            assert_eq!(futures[3].status(), Status::Failed);
            gate.open();
            let Some(TaskError::WorkerLost(lost)) = futures[3].exception() else { panic!("{:?}", futures[3]) };
            assert!(lost.to_string().contains("SIGABRT"), "{lost}");
        }
    });
}

#[test]
fn a_wait_for_the_first_exception_without_one_waits_for_all() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let here = (0..10).map(|n| threads.submit(move || n));
        let there = (10..20).map(|n| processes.submit(echo::<u64>, (n,)));
        let futures: Vec<_> = here.chain(there).collect();
        let set = wait(&futures, FirstException, None);
        assert_eq!((set.done.len(), set.not_done.len()), (20, 0));
    });
}

#[test]
fn a_cancelled_process_task_is_an_exception_and_a_future_counts_once() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let held = Held::keep(&processes, 2);
        let [task, other] = [1, 2].map(|n| processes.submit(echo::<u64>, (n,)));
        let done = threads.submit(|| 3);
        wait_until(|| done.done());
        let set = [&task, &done, &task, &other, &done];
        assert_eq!(wait(set, FirstCompleted, None).done.len(), 1);
        thread::scope(|s| {
            let waiting = s.spawn(|| wait(set, FirstException, None).done.len());
            assert!(task.cancel());
            assert_eq!(waiting.join().unwrap(), 2);
        });
        let set = wait(set, AllCompleted, Some(Duration::ZERO));
        assert_eq!((set.done.len(), set.not_done.len()), (2, 1));
        held.release();
    });
}

#[test]
fn many_tasks_of_both_kinds_that_end_at_once_are_all_seen() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        for _ in 0..20 {
            let submit = |n| if n % 2 == 0 { threads.submit(move || n) } else { processes.submit(echo::<u64>, (n,)) };
            let futures: Vec<_> = (0..100).map(submit).collect();
            let set = wait(&futures, AllCompleted, None);
            assert_eq!((set.done.len(), set.not_done.len()), (100, 0));
            let mut left: Vec<_> = futures.iter().collect();
            while !left.is_empty() {
                left = wait(left, FirstCompleted, None).not_done;
            }
            assert!((0..).zip(futures).all(|(n, future)| future.result().unwrap() == n));
        }
    });
}

#[test]
fn as_completed_yields_each_of_a_mix_once_as_it_is_done() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let (folder, gate) = (Folder::new(), Gate::default());
        let waits = gate.clone();
        let futures = vec![
            processes.submit(pass, (folder.path(), 0, open())),
            threads.submit(move || (waits.pass(), 1).1),
            processes.submit(echo::<u64>, (2,)),
            threads.submit(|| 3),
            processes.submit(crash, (4,)),
        ];
        wait_until(|| futures[2..].iter().all(Future::done));
        let mut completed = as_completed(futures);
        let results = completed.by_ref().take(3).map(|future| future.unwrap().result());
        let results: Vec<_> = results.map(|result| result.map_err(|error| lost_by::<u64>(Err(error)))).collect();
        assert_eq!(results, [Ok(2), Ok(3), Err(libc::SIGABRT)], "those that are done, in their order");
        gate.open();
        assert_eq!(completed.next().unwrap().unwrap().result().unwrap(), 1);
        folder.put("open");
        assert_eq!(completed.next().unwrap().unwrap().result().unwrap(), 0);
        assert!(completed.next().is_none());
    });
}

#[test]
fn as_completed_of_a_mix_says_how_many_are_not_done_in_time() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let (folder, gate) = (Folder::new(), Gate::default());
        let waits = gate.clone();
        let futures = vec![
            processes.submit(pass, (folder.path(), 0, open())),
            threads.submit(move || (waits.pass(), 1).1),
            processes.submit(echo::<u64>, (2,)),
            threads.submit(|| 3),
        ];
        wait_until(|| futures[2].done() && futures[3].done());
        for timeout in [Duration::ZERO, Duration::from_millis(10)] {
            let unfinished = as_completed(&futures).timeout(timeout).find_map(Result::err).unwrap();
            assert_eq!(unfinished.to_string(), "2 (of 4) futures unfinished");
        }
        folder.put("open");
        gate.open();
        assert_eq!(as_completed(&futures).filter(Result::is_ok).count(), 4);
    });
}

#[test]
fn futures_of_both_kinds_are_awaited_alone_and_together() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let (here, there) = (threads.submit(|| 1_u64), processes.submit(echo::<u64>, (2,)));
        assert_eq!(block_on(async { there.await.unwrap() + here.await.unwrap() }), 3);
        let submit = |n| if n % 2 == 0 { threads.submit(move || n) } else { processes.submit(echo::<u64>, (n,)) };
        let results = block_on(join_all((0..100).map(submit)));
        assert!(results.into_iter().map(Result::unwrap).eq(0..100));
        let failures = [processes.submit(crash, (1,)), processes.submit(panics, (2,))];
        let [crashed, panicked]: [_; 2] = block_on(join_all(failures)).try_into().unwrap();
        assert_eq!(lost_by(crashed), libc::SIGABRT);
        assert!(matches!(panicked, Err(TaskError::Panicked(_))));
    });
}

#[test]
fn whoever_awaits_a_process_task_learns_that_it_was_cancelled_or_killed() {
    within(LIMIT, || {
        for kills in [false, true] {
            let pool = ProcessPoolExecutor::new(1).unwrap();
            let held = Held::keep(&pool, 1);
            let task = pool.submit(echo::<u64>, (1,)).shared();
            thread::scope(|s| {
                let own = task.clone();
                let awaiting = s.spawn(move || block_on(own));
                if kills {
                    drop(pool.kill())
                } else {
                    assert!(task.cancel())
                }
                let result = awaiting.join().unwrap();
                assert!(matches!(result, Err(TaskError::Rejected(_))) == kills, "{result:?}");
                assert!(matches!(result, Err(TaskError::Cancelled)) != kills, "{result:?}");
            });
            if !kills {
                held.release();
            }
        }
    });
}

#[test]
fn a_shared_result_comes_to_waiters_awaiters_and_callbacks() {
    within(LIMIT, || {
        for dies in [false, true] {
            let pool = ProcessPoolExecutor::new(1).unwrap();
            let folder = Folder::new();
            let call = if dies {
                pool.submit(die, (folder.path(), 9, open()))
            } else {
                pool.submit(pass, (folder.path(), 9, open()))
            };
            let shared = call.shared();
            let told = Arc::new(AtomicU64::new(0));
            for _ in 0..3 {
                let told = Arc::clone(&told);
                shared.add_done_callback(move |_| {
                    told.fetch_add(1, SeqCst);
                });
            }
            let results: Vec<Result<u64, TaskError>> = thread::scope(|s| {
                let waiters: Vec<_> = (0..4)
                    .map(|n| {
                        let own = shared.clone();
                        s.spawn(move || if n % 2 == 0 { own.result() } else { block_on(own) })
                    })
                    .collect();
                // One that gives up leaves the result to the others.
                drop(shared.clone());
                assert!(matches!(shared.result_timeout(Duration::ZERO), Err(TaskError::Timeout)));
                folder.put("open");
                waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
            });
            for result in results.into_iter().chain([shared.result(), shared.clone().result()]) {
                if dies { assert_eq!(lost_by(result), libc::SIGABRT) } else { assert_eq!(result.unwrap(), 9) }
            }
            wait_until(|| told.load(SeqCst) == 3);
        }
    });
}

#[test]
fn on_done_is_given_the_result_or_why_there_is_none() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let (tell, told) = mpsc::channel();
        let tells = |name: &'static str| {
            let tell = tell.clone();
            move |result: Result<u64, TaskError>| tell.send((name, result)).unwrap()
        };
        processes.submit(echo::<u64>, (1,)).on_done(tells("value"));
        processes.submit(crash, (2,)).on_done(tells("crash"));
        processes.submit(panics, (3,)).on_done(tells("panic"));
        threads.submit(|| 4).on_done(tells("thread"));
        let mut results: Vec<_> = (0..4).map(|_| told.recv_timeout(LIMIT).unwrap()).collect();
        results.sort_by_key(|(name, _)| *name);
        let [crash, panicked, thread, value]: [_; 4] = results.try_into().unwrap();
        assert_eq!((value.1.unwrap(), thread.1.unwrap()), (1, 4));
        assert!(lost(crash.1).to_string().contains("process_pool::mix::crash"));
        assert!(matches!(panicked.1, Err(TaskError::Panicked(_))));
    });
}

#[test]
fn tasks_of_each_kind_may_go_on_with_tasks_of_the_other() {
    within(LIMIT, || {
        let (threads, processes) = pools();
        let (tell, told) = mpsc::channel();
        // A thread waits for a process, whose result goes to a thread again.
        let own = processes.clone();
        let here = threads.clone();
        let task = threads.submit(move || {
            let n = own.submit(echo::<u64>, (5,)).result().unwrap();
            own.submit(echo::<u64>, (n + 1,)).on_done(move |result| {
                let n = result.unwrap();
                tell.send(here.submit(move || n + 1).result().unwrap()).unwrap();
            });
            n
        });
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), 7);
        assert_eq!(task.result().unwrap(), 5);
    });
}

#[test]
fn thread_and_process_pools_come_and_go_together() {
    within(LIMIT, || {
        let resubmits = ThreadPoolExecutor::new(1);
        let mut dice = Dice::new(11);
        let churn = resubmits.submit(|| {
            let mut sum = 0;
            for n in 0..10 {
                let pool = ProcessPoolExecutor::new(1).unwrap();
                sum += pool.submit(echo::<u64>, (n,)).result().unwrap();
            }
            sum
        });
        for n in 0..10 {
            let (threads, processes) = pools();
            let futures = [threads.submit(move || n), processes.submit(echo::<u64>, (n,)), threads.submit(move || n)];
            match dice.below(3) {
                0 => drop(processes),
                1 => drop((threads, processes)),
                _ => {}
            }
            assert!(futures.into_iter().all(|future| future.result().unwrap() == n));
        }
        assert_eq!(churn.result().unwrap(), 45);
    });
}
