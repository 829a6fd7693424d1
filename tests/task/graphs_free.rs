//! Random programs of tasks that wait for each other, in pools that are too small for them, and take locks meanwhile: all at
//! once. Every program ends, and whoever is reported is stuck by what the tasks themselves have noted.
//!
//! In a process of its own, for the grace and the hooks.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Deadlock};
use bowline::sync::LockGuard;
use bowline::{ThreadPoolExecutor, wait};

use crate::support::deadlocks::{Gate, Reports};
use crate::support::task_scripts::{
    LOCKS, Order, PATIENCE, Script, Step, TASKS, World, for_random_scripts, make_pools,
};
use crate::support::tasks::{Phase, State, Waits, tasks_of};
use crate::support::{LIMIT, alone_within, message};

/// A program that runs free, and what its tasks note: before they wait, and after they have got something.
struct Free {
    world: Arc<World>,
    /// One after each note, the latest last.
    states: Mutex<Vec<State>>,
    start: Gate,
    victims: AtomicUsize,
    pools: Mutex<Vec<ThreadPoolExecutor>>,
    /// How many joins were part of a deadlock, and how many ended.
    joins: [AtomicUsize; 2],
}

/// The program that runs.
static RUNS: Mutex<Option<Arc<Free>>> = Mutex::new(None);

impl Free {
    fn note(&self, note: impl FnOnce(&mut State)) {
        let mut states = self.states.lock().unwrap();
        let mut state = states.last().unwrap().clone();
        note(&mut state);
        states.push(state);
    }

    /// Whether these tasks were part of one deadlock at a moment since one of them, the `reporter`, began its wait. It may be
    /// over: the rest of a deadlock that one victim does not break has a victim of its own, while the hooks of the first run.
    fn was_deadlock(&self, members: &BTreeSet<usize>, reporter: usize) -> bool {
        let states = self.states.lock().unwrap();
        let mut since = states.iter().rev().take_while(|state| state.waits[reporter].is_some());
        since.any(|state| state.is_deadlock(members))
    }

    /// Notes what a task waits for, as long as it does.
    fn waits<R>(&self, task: usize, what: Waits, wait: impl FnOnce() -> R) -> R {
        self.note(|state| state.waits[task] = Some(what));
        let result = wait();
        self.note(|state| state.waits[task] = None);
        result
    }

    fn is_victim<R>(&self, result: Result<R, Deadlock>) -> Option<R> {
        if result.is_err() {
            self.victims.fetch_add(1, SeqCst);
        }
        result.ok()
    }
}

/// A task that runs, until this is dropped.
struct Runs<'f>(&'f Free, usize);

thread_local! {
    /// What runs on this thread, each in place of the one before.
    static STACK: Cell<Option<usize>> = const { Cell::new(None) };
}

impl<'f> Runs<'f> {
    fn new(free: &'f Free, task: usize) -> (Self, Option<usize>) {
        let below = STACK.replace(Some(task));
        free.note(|state| {
            let stacks = &mut state.stacks[state.pool[task]];
            match stacks.iter_mut().find(|stack| below.is_some() && stack.last().copied() == below) {
                Some(stack) => stack.push(task),
                None => stacks.push(vec![task]),
            }
            state.phase[task] = Phase::Running;
        });
        (Self(free, task), below)
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        let phase = if thread::panicking() { Phase::Failed } else { Phase::Finished };
        self.0.note(|state| {
            (state.phase[self.1], state.waits[self.1]) = (phase, None);
            let stacks = &mut state.stacks[state.pool[self.1]];
            stacks.iter_mut().for_each(|stack| stack.retain(|&task| task != self.1));
            stacks.retain(|stack| !stack.is_empty());
        });
    }
}

/// A lock that is held, and noted as such.
struct Holds<'f>(&'f Free, usize, #[expect(dead_code, reason = "dropped after the note")] LockGuard<'f, ()>);

impl Drop for Holds<'_> {
    fn drop(&mut self) {
        self.0.note(|state| state.owner[self.1] = None);
    }
}

fn run_free(free: &Free, task: usize, orders: &[Order]) {
    free.start.pass();
    let (_runs, below) = Runs::new(free, task);
    let mut guards = Vec::new();
    for order in orders {
        match order {
            Order::Lock(number) => {
                let lock = number % LOCKS.len();
                let mutex = &free.world.locks[lock];
                let wait = || if number % 2 == 0 { Ok(mutex.lock()) } else { mutex.acquire() };
                match free.is_victim(free.waits(task, Waits::Lock(lock), wait)) {
                    Some(guard) => {
                        free.note(|state| state.owner[lock] = Some(task));
                        guards.push(Holds(free, lock, guard));
                    }
                    None => guards.clear(),
                }
            }
            Order::Release(at) if at.is_multiple_of(3) => {
                let (number, handle) = {
                    let pools = free.pools.lock().unwrap();
                    (at / 3 % pools.len(), pools[at / 3 % pools.len()].clone())
                };
                let wait = || {
                    if at % 2 == 0 {
                        handle.join();
                        Ok(())
                    } else {
                        handle.acquire_join()
                    }
                };
                let joined = free.is_victim(free.waits(task, Waits::Rest(number), wait));
                free.joins[usize::from(joined.is_some())].fetch_add(1, SeqCst);
                if joined.is_none() {
                    guards.clear();
                }
            }
            Order::Release(_) if guards.is_empty() => thread::yield_now(),
            Order::Release(at) => drop(guards.swap_remove(at % guards.len())),
            Order::Wait(tasks, return_when) if tasks[0].is_multiple_of(5) => {
                let futures = tasks.iter().map(|other| free.world.future(other % TASKS.len()));
                let timeout = Some(Duration::from_micros((tasks[0] % 500) as u64));
                free.waits(task, Waits::ForSomeTime, || drop(wait(futures, *return_when, timeout)));
            }
            Order::Wait(tasks, return_when) => {
                let tasks: Vec<_> = tasks.iter().map(|other| other % TASKS.len()).collect();
                let what = Waits::Tasks(tasks.clone(), *return_when);
                if free.is_victim(free.waits(task, what, || free.world.wait(&tasks, *return_when))).is_none() {
                    guards.clear();
                }
            }
            Order::End(true) => std::panic::resume_unwind(Box::new("on purpose")),
            Order::End(false) => break,
        }
    }
    drop(guards);
    STACK.set(below);
}

/// All tasks do their part at once. Returns how many of them were told of a deadlock, how many joins were, and how many joins
/// ended.
fn run_all_free(script: &Script) -> [usize; 3] {
    let states = Mutex::new(vec![State::new(&script.workers, &script.pool, LOCKS.len())]);
    let pools = make_pools(script);
    let free = Arc::new(Free {
        world: World::new(),
        states,
        start: Gate::new(),
        victims: AtomicUsize::new(0),
        pools: Mutex::new(pools.clone()),
        joins: [const { AtomicUsize::new(0) }; 2],
    });
    *RUNS.lock().unwrap() = Some(Arc::clone(&free));
    for (task, name) in TASKS.iter().enumerate() {
        let orders = script.steps.iter().filter_map(|step| match step {
            Step::Do(other, order) if other % TASKS.len() == task => Some(order.clone()),
            _ => None,
        });
        let (orders, theirs): (Vec<_>, _) = (orders.collect(), Arc::clone(&free));
        let body = move || {
            let below = STACK.get();
            let ended = catch_unwind(AssertUnwindSafe(|| run_free(&theirs, task, &orders)));
            STACK.set(below);
            if let Err(payload) = ended {
                if message(&*payload).starts_with("deadlock: ") {
                    theirs.victims.fetch_add(1, SeqCst);
                }
                std::panic::resume_unwind(payload);
            }
        };
        let future = pools[script.pool[task]].submit_named(name, body);
        assert!(free.world.futures[task].set(future.shared()).is_ok());
    }
    free.start.open();
    for (task, name) in TASKS.iter().enumerate() {
        assert!(free.world.future(task).wait_timeout(PATIENCE), "{name} has not ended: {}", deadlock::snapshot());
    }
    // Here, and not on a worker.
    free.pools.lock().unwrap().clear();
    [&free.victims, &free.joins[0], &free.joins[1]].map(|count| count.load(SeqCst))
}

#[test]
fn programs_of_tasks_that_run_free_all_end_and_whoever_is_reported_is_stuck() {
    alone_within(LIMIT * 3, || {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A panic of a victim is its report once more.
            if !info.payload_as_str().is_some_and(|message| message.starts_with("deadlock: ")) {
                print(info);
            }
        }));
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&wrong);
        deadlock::on_deadlock(move |report| {
            let members = tasks_of(report.threads(), &TASKS);
            let reporter = *tasks_of(&report.threads()[..1], &TASKS).first().unwrap();
            let runs = Arc::clone(RUNS.lock().unwrap().as_ref().unwrap());
            if !runs.was_deadlock(&members, reporter) {
                let state = runs.states.lock().unwrap().last().cloned();
                theirs.lock().unwrap().push(format!("{report}\n{state:?}"));
            }
        })
        .keep();
        let reports = Reports::about("graph ");
        let (round, deadlocks, joins) = (Cell::new(0), Cell::new(0), Cell::new([0; 2]));
        for_random_scripts(300, 120, |script| {
            deadlock::set_grace(Duration::from_micros([0, 50, 500][round.get() % 3]));
            round.set(round.get() + 1);
            let [victims, stuck, ended] = run_all_free(script);
            joins.update(|[all_stuck, all_ended]| [all_stuck + stuck, all_ended + ended]);
            assert_eq!(*wrong.lock().unwrap(), [] as [String; 0]);
            assert_eq!(reports.take().len(), victims, "a report each");
            deadlocks.set(deadlocks.get() + victims);
        });
        eprintln!("{} deadlocks; {:?} joins were part of one, and ended", deadlocks.get(), joins.get());
        assert!(deadlocks.get() > 0 && joins.get().iter().all(|&count| count > 0));
    });
}
