//! Joins that could never end, and those that only look so.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bowline::deadlock::{Kind, Report};
use bowline::thread::{self, JoinHandle};
use bowline::{Lock, RLock, ThreadPoolExecutor};

use crate::support::deadlocks::{Reports, assert_is_a_proof, names, the_only};
use crate::support::gate::Gate;
use crate::support::{
    LIMIT, alone, in_fresh_process, message, stderr, until_parked, until_waiting, wait_until, within,
};

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    named(name).spawn(run).expect("a thread")
}

#[track_caller]
fn assert_cycle(report: &Report, members: &[&str]) {
    assert_eq!((report.kind(), names(report.threads())), (Kind::Cycle, members.to_vec()), "{report}");
    assert_is_a_proof(report);
}

/// Who waits first, and who closes the cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closer {
    Joiner,
    Child,
}

#[test]
fn a_join_of_a_thread_that_needs_a_lock_of_the_joiner_is_reported_whoever_waits_last() {
    alone(|| {
        let reports = Reports::about("joins its locker");
        for closer in [Closer::Joiner, Closer::Child] {
            let lock = Arc::new(Lock::named("held by the joiner", 0));
            let theirs = Arc::clone(&lock);
            let joiner = spawn("joins its locker", move || {
                let guard = theirs.lock();
                let lock = Arc::clone(&theirs);
                let child = spawn("locks what its joiner holds", move || {
                    if closer == Closer::Child {
                        until_parked("joins its locker");
                    }
                    lock.acquire().map(|mut count| *count += 1)
                });
                if closer == Closer::Joiner {
                    until_parked("locks what its joiner holds");
                }
                match (closer, child.acquire_join()) {
                    (Closer::Joiner, Err(refused)) => {
                        assert_cycle(refused.deadlock().report(), &["joins its locker", "locks what its joiner holds"]);
                        drop(guard);
                        refused.into_handle().join().unwrap().expect("the lock is free");
                    }
                    (Closer::Child, Ok(told)) => {
                        let deadlock = told.unwrap().unwrap_err();
                        assert_cycle(deadlock.report(), &["joins its locker", "locks what its joiner holds"]);
                    }
                    (_, other) => panic!("{closer:?}: {other:?}"),
                }
            });
            joiner.join().unwrap();
            the_only(&reports);
        }
    });
}

#[test]
fn a_join_that_unwinds_from_a_deadlock_detaches_the_thread() {
    alone(|| {
        let lock = Arc::new(Lock::new(0));
        let guard = lock.lock();
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&lock);
        let child = spawn("needs a lock of a joiner", move || {
            *theirs.lock() += 1;
            tell.send(()).unwrap();
        });
        until_parked("needs a lock of a joiner");
        let payload = catch_unwind(AssertUnwindSafe(|| child.join())).unwrap_err();
        assert!(message(&*payload).starts_with("deadlock: 2 threads wait for each other"));
        drop(guard);
        told.recv().unwrap();
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn a_thread_that_joins_itself_is_told_so() {
    within(LIMIT, || {
        let (give, given) = mpsc::channel::<JoinHandle<()>>();
        let (tell, told) = mpsc::channel();
        let handle = spawn("joins itself", move || {
            let refused = given.recv().unwrap().acquire_join().map(drop).unwrap_err();
            let payload =
                catch_unwind(AssertUnwindSafe(|| refused.into_handle().join())).expect_err("the same by a panic");
            tell.send(message(&*payload).to_owned()).unwrap();
        });
        give.send(handle).unwrap();
        let text = told.recv().unwrap();
        assert!(text.starts_with("deadlock: thread 'joins itself' waits for its own end\n"), "{text}");
        assert!(text.contains("help: a thread cannot wait for its own end"), "{text}");
    });
}

#[test]
fn two_threads_that_join_each_other_are_reported_once() {
    alone(|| {
        let reports = Reports::about("joins the other");
        let handles: [Arc<Mutex<Option<JoinHandle<bool>>>>; 2] = [(); 2].map(|()| Arc::default());
        let both = Gate::default();
        let spawned = [0, 1].map(|at| {
            let (both, other) = (both.clone(), Arc::clone(&handles[1 - at]));
            spawn(&format!("joins the other {at}"), move || {
                both.pass();
                let handle = other.lock().unwrap().take().unwrap();
                handle.acquire_join().is_err()
            })
        });
        for (place, handle) in handles.iter().zip(spawned) {
            *place.lock().unwrap() = Some(handle);
        }
        both.open();
        wait_until(|| reports.count() == 1);
        let report = the_only(&reports);
        assert_cycle(&report, &["joins the other 0", "joins the other 1"]);
        assert!(report.to_string().contains("each waits for the next: remove one of these waits"), "{report}");
    });
}

#[test]
fn a_chain_of_joins_that_ends_in_a_lock_is_one_deadlock() {
    alone(|| {
        let reports = Reports::about("link ");
        let lock = Arc::new(Lock::named("at the end", ()));
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let first = spawn("link 0", move || drop(theirs.acquire()));
        let second = spawn("link 1", move || first.join().unwrap());
        let third = spawn("link 2", move || second.join().unwrap());
        until_parked("link 2");
        until_parked("link 1");
        until_parked("link 0");
        let refused = third.acquire_join().unwrap_err();
        let report = the_only(&reports);
        assert_eq!(report.threads().len(), 4);
        drop(guard);
        refused.into_handle().join().unwrap();
    });
}

#[test]
fn a_lock_that_a_destructor_of_a_thread_local_takes_is_part_of_the_join() {
    type Last = (Arc<Lock<()>>, Gate, mpsc::Sender<bool>);
    struct Locks(RefCell<Option<Last>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            if let Some((lock, is_done, tell)) = self.0.take() {
                is_done.open();
                tell.send(lock.acquire().is_err()).unwrap();
            }
        }
    }
    thread_local! { static LAST: Locks = const { Locks(RefCell::new(None)) } }
    alone(|| {
        let reports = Reports::about("locks at its end");
        let lock = Arc::new(Lock::named("wanted by a destructor", ()));
        let (is_done, (tell, told)) = (Gate::default(), mpsc::channel());
        let theirs = (Arc::clone(&lock), is_done.clone(), tell);
        let guard = lock.lock();
        let child = spawn("locks at its end", move || LAST.with(|last| _ = last.0.replace(Some(theirs))));
        is_done.pass();
        until_parked("locks at its end");
        assert!(child.is_finished());
        let refused = child.acquire_join().unwrap_err();
        the_only(&reports);
        drop(guard);
        refused.into_handle().join().unwrap();
        assert!(!told.recv().unwrap());
    });
}

#[test]
fn a_thread_that_ends_with_a_forgotten_guard_is_joined_and_its_lock_is_abandoned() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(0));
        let theirs = Arc::clone(&lock);
        let child = spawn("forgets a guard", move || std::mem::forget(theirs.lock()));
        child.acquire_join().expect("the thread ends all the same").unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(lock.acquire().unwrap_err().report().kind(), Kind::Abandoned);
        }
    });
}

#[test]
fn a_joiner_that_waits_already_is_not_told_of_a_forgotten_guard() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(0));
        let gate = Gate::default();
        let theirs = (Arc::clone(&lock), gate.clone());
        let child = spawn("forgets a guard late", move || {
            std::mem::forget(theirs.0.lock());
            theirs.1.pass();
        });
        let joiner = spawn("waits for one that forgets", move || child.acquire_join().map(|joined| joined.unwrap()));
        until_parked("waits for one that forgets");
        gate.open();
        assert!(joiner.join().unwrap().is_ok());
    });
}

#[test]
fn a_join_with_a_limit_is_part_of_no_deadlock() {
    alone(|| {
        let reports = Reports::about("needs a timed joiner's");
        let lock = Arc::new(Lock::new(()));
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let child = spawn("needs a timed joiner's", move || drop(theirs.lock()));
        until_parked("needs a timed joiner's");
        let child = child.join_timeout(Duration::from_millis(30)).unwrap_err();
        assert_eq!(reports.count(), 0);
        // A limit past the clock is none.
        let payload = catch_unwind(AssertUnwindSafe(|| drop(child.join_timeout(Duration::MAX)))).unwrap_err();
        assert!(message(&*payload).starts_with("deadlock: "));
        assert_eq!(reports.count(), 1);
        drop(guard);
    });
}

#[test]
fn a_thread_that_has_a_channel_to_wait_for_is_live() {
    within(LIMIT, || {
        let (send, receive) = mpsc::channel();
        let lock = Arc::new(Lock::new(0));
        let theirs = Arc::clone(&lock);
        let child = spawn("waits for a channel", move || {
            receive.recv().unwrap();
            *theirs.lock() += 1;
        });
        let guard = lock.lock();
        let joiner = spawn("joins one with a channel", move || child.acquire_join().map(|joined| joined.unwrap()));
        until_waiting("joins one with a channel");
        drop(guard);
        send.send(()).unwrap();
        assert!(joiner.join().unwrap().is_ok());
    });
}

#[test]
fn a_reader_of_a_re_entrant_lock_that_joins_another_reader_is_reported() {
    within(LIMIT, || {
        let lock = Arc::new(RLock::named("re-entrant", 0));
        let theirs = Arc::clone(&lock);
        let outer = lock.lock();
        let _inner = lock.lock();
        let child = spawn("asks for a held RLock", move || theirs.acquire().is_err());
        until_parked("asks for a held RLock");
        let refused = child.acquire_join().unwrap_err();
        assert_eq!(refused.deadlock().report().kind(), Kind::Cycle);
        drop((outer, _inner));
        assert!(!refused.into_handle().join().unwrap());
    });
}

#[test]
fn a_task_that_joins_a_thread_that_waits_for_it_is_reported() {
    alone(|| {
        let reports = Reports::about("waits for a task");
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("joins from a pool").build();
        let (give, given) = mpsc::channel::<JoinHandle<bool>>();
        let (tell, told) = mpsc::channel();
        let task = pool.submit(move || given.recv().unwrap().acquire_join().is_err());
        let waiter = spawn("waits for a task", move || {
            let is_told = task.result().unwrap();
            tell.send(is_told).unwrap();
            is_told
        });
        until_parked("waits for a task");
        give.send(waiter).unwrap();
        assert!(told.recv().unwrap(), "the task closes the cycle");
        assert_cycle(&the_only(&reports), &["joins from a pool_0", "waits for a task"]);
    });
}

#[test]
fn under_report_a_deadlock_of_a_join_is_printed_and_left_standing() {
    let test = "under_report_a_deadlock_of_a_join_is_printed_and_left_standing";
    let Some(output) = in_fresh_process(test, &[("BOWLINE_DEADLOCK", "report")], || {
        let reports = Reports::about("stands");
        let lock = Arc::new(Lock::new(0));
        let theirs = Arc::clone(&lock);
        let joiner = spawn("stands", move || {
            let _guard = theirs.lock();
            let lock = Arc::clone(&theirs);
            spawn("stands, too", move || *lock.lock() += 1).join()
        });
        wait_until(|| reports.count() == 1);
        until_parked("stands");
        until_parked("stands, too");
        assert!(joiner.join_timeout(Duration::from_millis(20)).is_err());
        assert_eq!(reports.count(), 1);
    }) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("deadlock: 2 threads wait for each other"), "{}", stderr(&output));
}
