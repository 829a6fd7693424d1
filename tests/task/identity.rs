//! The ids of tasks: one for each, the same wherever it is shown, and never another task's.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Barrier, mpsc};
use std::thread;

use bowline::deadlock::report::Task;
use bowline::deadlock::{self, Edge, Node, Report};
use bowline::task::TaskId;
use bowline::{Future, Lock, ReturnWhen, TaskError, ThreadPoolExecutor, as_completed, promise, wait};
use static_assertions::assert_impl_all;

use crate::support::{LIMIT, wait_until, within};

assert_impl_all!(TaskId: Copy, Eq, Hash, Ord, Send, Sync);

#[test]
fn an_id_is_never_given_twice_though_cells_are_reused() {
    let mut ids = HashSet::new();
    for _ in 0..1000 {
        let (promise, future) = promise::<u8>();
        assert_eq!(promise.id(), future.id());
        assert!(ids.insert(future.id()));
    }
}

#[test]
fn all_who_ask_are_told_one_id_whatever_becomes_of_the_task() {
    for round in 0..200 {
        let (promise, future) = promise();
        let shared = future.shared();
        let all = Barrier::new(4);
        let ids: HashSet<TaskId> = thread::scope(|s| {
            let ask = || {
                all.wait();
                [shared.id(), shared.clone().id()]
            };
            let asking: Vec<_> = (0..3).map(|_| s.spawn(ask)).collect();
            all.wait();
            promise.set_result(round).unwrap();
            asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids, HashSet::from([shared.id()]));
        assert_eq!(shared.result().unwrap(), round);
    }
}

#[test]
fn a_task_knows_its_id_on_a_worker_in_place_in_a_scope_and_while_it_is_cancelled() {
    struct Tell(mpsc::Sender<Option<TaskId>>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.send(TaskId::current()).unwrap();
        }
    }

    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let before = TaskId::current();
            let inner = same.submit(TaskId::current);
            let id = inner.id();
            (before, id, inner.result().unwrap(), TaskId::current())
        });
        let id = outer.id();
        let (before, inner, in_inner, after) = outer.result().unwrap();
        assert_eq!((before, after), (Some(id), Some(id)));
        assert_eq!(in_inner, Some(inner));
        pool.scope(|s| {
            let future = s.submit(TaskId::current);
            let id = future.id();
            assert_eq!(future.result().unwrap(), Some(id));
        });
        let (open, opened) = promise::<()>();
        let busy = pool.submit(move || opened.result());
        let (tell, told) = mpsc::channel();
        let tell = Tell(tell);
        let queued = pool.submit(move || drop(tell));
        assert!(queued.cancel());
        open.set_result(()).unwrap();
        busy.result().unwrap().unwrap();
        assert_eq!(told.recv().unwrap(), Some(queued.id()));
        assert_eq!(TaskId::current(), None);
    });
}

/// Returns the report of two tasks that wait for each other, and their ids.
fn two_that_wait_for_each_other() -> (Report, [TaskId; 2]) {
    let pool = ThreadPoolExecutor::new(2);
    let [(to_left, for_left), (to_right, for_right)] = [(); 2].map(|()| mpsc::channel::<Future<()>>());
    let (tell, told) = mpsc::channel();
    let body = |other: mpsc::Receiver<Future<()>>| {
        let tell = tell.clone();
        move || match other.recv().unwrap().exception() {
            Some(TaskError::Deadlock(deadlock)) => tell.send(deadlock.report().clone()).unwrap(),
            other => assert!(other.is_none(), "{other:?}"),
        }
    };
    let (left, right) = (pool.submit_named("left", body(for_left)), pool.submit_named("right", body(for_right)));
    let ids = [left.id(), right.id()];
    to_left.send(right).unwrap();
    to_right.send(left).unwrap();
    (told.recv().unwrap(), ids)
}

#[test]
fn a_report_has_the_ids_of_the_tasks_that_run_and_of_those_that_are_awaited() {
    within(LIMIT, || {
        let (report, ids) = two_that_wait_for_each_other();
        assert_eq!(report.threads().len(), 2);
        let json = serde_json::to_value(&report).unwrap();
        for (at, thread) in report.threads().iter().enumerate() {
            let run = thread.task().and_then(Task::id).unwrap();
            let awaited = thread.waits_for().unwrap().resource().task_id().unwrap();
            assert_eq!(HashSet::from([run, awaited]), HashSet::from(ids));
            assert_eq!(json["threads"][at]["task"]["id"], run.get());
            assert_eq!(json["threads"][at]["waits_for"]["resource"]["id"], awaited.get());
        }
        let text = format!("{report:400}");
        for id in ids {
            assert!(text.contains(&format!("#{id}")), "{text}");
        }
    });
}

#[test]
fn a_report_has_the_id_of_a_task_that_is_asked_for_it_later_and_its_text_does_not() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let inner = same.submit(|| 42);
            let deadlock = wait([&inner], ReturnWhen::FirstCompleted, None).deadlock.unwrap();
            (deadlock, inner.id())
        });
        let outer = outer.shared();
        let (deadlock, inner) = outer.result().unwrap();
        let thread = &deadlock.report().threads()[0];
        assert_eq!(thread.task().unwrap().id(), Some(outer.id()));
        assert_eq!(thread.waits_for().unwrap().resource().task_id(), Some(inner));
        let text = format!("{:400}", deadlock.report());
        assert!(!text.contains('#'), "{text}");
    });
}

#[test]
fn a_lock_has_no_id() {
    let lock = Lock::new(());
    let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
    assert_eq!(deadlock.report().threads()[0].waits_for().unwrap().resource().task_id(), None);
    assert!(serde_json::to_value(deadlock.report()).unwrap()["threads"][0]["waits_for"]["resource"]["id"].is_null());
}

#[test]
fn a_snapshot_has_the_id_of_a_task_that_runs_and_is_waited_for() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (go, gone) = mpsc::channel::<()>();
        // Not in the graph.
        let task = pool.submit_named("blocked elsewhere", move || gone.recv().is_err());
        let id = task.id();
        let waiter = thread::spawn(move || task.result().unwrap());
        let ids = || {
            let picture = deadlock::snapshot();
            let graph = picture.graph();
            let run = graph.edge_indices().filter(|&edge| matches!(graph[edge], Edge::Runs));
            let run = run.filter_map(|edge| match &graph[graph.edge_endpoints(edge)?.0] {
                Node::Task(task) if task.name() == Some("blocked elsewhere") => Some(task.id()),
                _ => None,
            });
            run.collect::<Vec<_>>()
        };
        wait_until(|| ids() == [Some(id)]);
        drop(go);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn what_is_done_is_told_by_its_id() {
    let pool = ThreadPoolExecutor::new(2);
    let futures: Vec<_> = (0..20).map(|n| pool.submit(move || n)).collect();
    let ids: Vec<_> = futures.iter().map(Future::id).collect();
    for future in as_completed(futures) {
        let future = future.unwrap();
        let id = future.id();
        assert_eq!(ids[future.result().unwrap()], id);
    }
    let refused = pool.clone();
    pool.shutdown();
    let refused = refused.submit(|| 0);
    assert!(!ids.contains(&refused.id()));
    assert!(matches!(refused.result(), Err(TaskError::Rejected(_))));
}
