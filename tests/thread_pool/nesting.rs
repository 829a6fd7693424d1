//! Tasks that wait for tasks of their own pool: run in place, and only those, as deep as the stack allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;

use bowline::deadlock::Kind;
use bowline::{Lock, RLock, ReturnWhen, SharedFuture, TaskError, ThreadPoolExecutor, wait};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, within};

/// A task that submits the next one and waits for it, so many times: how many there were.
fn nest(pool: &ThreadPoolExecutor, left: usize) -> Result<usize, TaskError> {
    if left == 0 {
        return Ok(0);
    }
    let own = pool.clone();
    Ok(pool.submit(move || nest(&own, left - 1)).result()?? + 1)
}

#[test]
fn one_worker_runs_tasks_that_wait_for_each_other_on_top_of_each_other() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for depth in [1, 2, 10, 100] {
            assert_eq!(nest(&pool, depth).unwrap(), depth);
        }
        let own = pool.clone();
        let same_thread = pool.submit(move || {
            let here = thread::current().id();
            own.submit(move || thread::current().id() == here).result().unwrap()
        });
        assert!(same_thread.result().unwrap());
        assert_eq!(pool.worker_count(), 1);
    });
}

/// How deep tasks have nested, and whether the last of them has had an error.
#[derive(Default)]
struct Descent {
    depth: AtomicUsize,
    over: AtomicBool,
}

impl Descent {
    /// Nests until there is an error, and passes that up. The task that was not waited for to its end runs later, and
    /// goes no further.
    fn go(self: Arc<Self>, pool: &ThreadPoolExecutor) -> Option<TaskError> {
        if self.over.load(SeqCst) {
            return None;
        }
        self.depth.fetch_add(1, SeqCst);
        let (own, next) = (pool.clone(), Arc::clone(&self));
        match pool.submit(move || next.go(&own)).result() {
            Ok(passed) => passed,
            Err(error) => {
                self.over.store(true, SeqCst);
                Some(error)
            }
        }
    }

    /// How deep, and the error.
    fn of(pool: &ThreadPoolExecutor) -> (usize, TaskError) {
        let descent = Arc::new(Self::default());
        let (own, first) = (pool.clone(), Arc::clone(&descent));
        let error = pool.submit(move || first.go(&own)).result().unwrap();
        (descent.depth.load(SeqCst), error.expect("nobody nests for ever"))
    }
}

#[test]
fn beyond_the_stack_there_is_an_error_and_no_overflow() {
    within(LIMIT, || {
        let mut depths = Vec::new();
        for stack in [128 << 10, 1 << 20, 8 << 20] {
            let pool = ThreadPoolExecutor::builder().max_workers(1).stack_size(stack).build();
            for _ in 0..2 {
                let (depth, error) = Descent::of(&pool);
                let TaskError::Deadlock(deadlock) = error else { panic!("{error}") };
                assert!(matches!(deadlock.report().kind(), Kind::Cycle | Kind::Starvation), "{deadlock}");
                assert!(deadlock.to_string().contains(file!()));
                depths.push(depth);
                assert_eq!(pool.submit(|| 1).result().unwrap(), 1, "the pool goes on");
                assert_eq!(pool.queued(), 0);
            }
        }

        assert!(depths[0] >= 5 && depths[2] > depths[0] && depths[4] > depths[2], "{depths:?}");
    });
}

#[test]
fn beyond_the_stack_another_worker_takes_the_task() {
    within(LIMIT, || {
        let one = ThreadPoolExecutor::builder().max_workers(1).stack_size(256 << 10).build();
        // A little deeper than one stack allows.
        let depth = Descent::of(&one).0 + 5;
        let pool = ThreadPoolExecutor::builder().max_workers(2).stack_size(256 << 10).build();
        assert_eq!(nest(&pool, depth).unwrap(), depth);
    });
}

#[test]
fn a_waiting_worker_runs_nothing_but_what_it_waits_for() {
    within(LIMIT, || {
        const WORKERS: usize = 2;
        let pool = ThreadPoolExecutor::new(WORKERS);
        let lock = Arc::new(Lock::new(0));
        let (barrier, gate) = (Arc::new(Barrier::new(WORKERS + 1)), Gate::default());
        let parents: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (own, lock, barrier, gate) = (pool.clone(), Arc::clone(&lock), Arc::clone(&barrier), gate.clone());
                pool.submit(move || {
                    barrier.wait();
                    gate.pass();
                    let mut held = lock.acquire()?;
                    // Behind tasks that want the same lock: run here, they would find it held by this thread.
                    *held += own.submit(|| 1).result().unwrap();
                    Ok::<_, bowline::deadlock::Deadlock>(())
                })
            })
            .collect();
        barrier.wait();
        let unrelated: Vec<_> = (0..20)
            .map(|_| {
                let lock = Arc::clone(&lock);
                pool.submit(move || lock.acquire().map(|mut held| *held += 10))
            })
            .collect();
        gate.open();
        for task in parents.into_iter().chain(unrelated) {
            task.result().unwrap().unwrap();
        }
        assert_eq!(*lock.lock(), 202);
    });
}

#[test]
fn a_task_run_in_place_is_somebody_else_than_its_waiter() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let own = pool.clone();
        let outer = pool.submit_named("outer", move || {
            let (lock, again) = (Arc::new(Lock::new(())), Arc::new(RLock::new(())));
            let _guards = (lock.lock(), again.lock());
            let (wanted, wanted_again) = (Arc::clone(&lock), Arc::clone(&again));
            let inner = own.submit_named("inner", move || [wanted.acquire().err(), wanted_again.acquire().err()]);
            inner.result().unwrap()
        });
        for deadlock in outer.result().unwrap() {
            let deadlock = deadlock.expect("its waiter holds it");
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
            let text = deadlock.to_string();
            assert!(text.contains("inner"), "{text}");
        }
    });
}

#[test]
fn a_task_that_waits_for_all_of_its_children_runs_them() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let own = pool.clone();
        let sum = pool.submit(move || {
            let children: Vec<_> = (0..50).map(|n| own.submit(move || n)).collect();
            let set = wait(&children, ReturnWhen::AllCompleted, None);
            assert!(set.not_done.is_empty() && set.deadlock.is_none());
            children.into_iter().map(|child| child.result().unwrap()).sum::<i32>()
        });
        assert_eq!(sum.result().unwrap(), 1225);
    });
}

#[test]
fn tasks_of_two_pools_that_wait_for_each_other_in_a_ring_are_told_of_the_deadlock_once() {
    type Told = Option<TaskError>;
    fn told(future: &SharedFuture<Told>) -> Told {
        future.result().err()
    }
    within(LIMIT, || {
        let (pool, relay) = (ThreadPoolExecutor::new(2), ThreadPoolExecutor::new(2));
        let ((give_one, one_gets), (give_other, other_gets)) = (mpsc::channel(), mpsc::channel());
        let one = pool.submit_named("one", move || told(&one_gets.recv().unwrap())).shared();
        let other = pool.submit_named("other", move || told(&other_gets.recv().unwrap())).shared();
        let pass_on = |name, future: &SharedFuture<Told>| {
            let future = future.clone();
            relay.submit_named(name, move || told(&future)).shared()
        };
        let relays = [pass_on("relay of the other", &other), pass_on("relay of the one", &one)];
        give_one.send(relays[0].clone()).unwrap();
        give_other.send(relays[1].clone()).unwrap();
        let told: Vec<_> =
            [&one, &other, &relays[0], &relays[1]].iter().filter_map(|task| task.result().unwrap()).collect();
        let [TaskError::Deadlock(deadlock)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 4));
        let text = deadlock.to_string();
        assert!(
            ["one", "other", "relay of the other", "relay of the one"].iter().all(|name| text.contains(name)),
            "{text}"
        );
    });
}

#[test]
fn a_task_that_waits_for_itself_is_told_of_the_deadlock() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (give, given) = mpsc::channel::<SharedFuture<bool>>();
        let task = pool.submit_named("waits for itself", move || {
            let own = given.recv().unwrap();
            matches!(own.result(), Err(TaskError::Deadlock(_)))
        });
        let task = task.shared();
        give.send(task.clone()).unwrap();
        assert!(task.result().unwrap());
    });
}

#[test]
fn a_task_is_run_in_place_only_by_workers_of_its_own_pool() {
    within(LIMIT, || {
        let (one, other) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
        let busy = Busy::keep(&other, 1);
        let (waits, waiting) = mpsc::channel();
        let foreign = other.submit(|| thread::current().id());
        let task = one.submit(move || {
            waits.send(thread::current().id()).unwrap();
            foreign.result().unwrap()
        });
        let waiter = waiting.recv().unwrap();
        busy.release();
        assert_ne!(task.result().unwrap(), waiter);
    });
}
