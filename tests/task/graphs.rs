//! Random programs of tasks that wait for each other, in pools that are too small for them, and take locks meanwhile: one
//! task at a time does one thing, and a model says by brute force who runs, and who is deadlocked.
//!
//! In a process of its own, for the grace and the hooks.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bowline::ReturnWhen::FirstException;
use bowline::ThreadPoolExecutor;
use bowline::deadlock::{self, Deadlock, Kind};
use bowline::sync::LockGuard;

use crate::support::deadlocks::{Reports, task_name};
use crate::support::task_scripts::{
    LOCKS, Order, PATIENCE, Script, Step, TASKS, World, for_random_scripts, make_pools,
};
use crate::support::tasks::{Phase, State, Verdict, Waits, said, tasks_of};
use crate::support::{LIMIT, alone_within, find_thread_where};

/// What a task tells.
#[derive(Debug)]
enum Event {
    /// On this thread.
    Started(String),
    Answer(Result<(), Deadlock>),
}

/// A task that does what it is told, one thing at a time, and says when it is done.
fn obey(world: &World, orders: &Receiver<Order>, tell: impl Fn(Event)) {
    let mut guards = Vec::<LockGuard<'_, ()>>::new();
    tell(Event::Started(thread::current().name().unwrap().to_owned()));
    while let Ok(order) = orders.recv() {
        let answer = match order {
            Order::Lock(lock) => world.locks[lock].acquire().map(|guard| guards.push(guard)),
            Order::Release(at) => {
                drop(guards.remove(at));
                Ok(())
            }
            Order::Wait(tasks, return_when) => world.wait(&tasks, return_when),
            Order::End(panics) => {
                if panics {
                    // As a panic, without its message.
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                return;
            }
        };
        tell(Event::Answer(answer));
    }
}

/// How often the interesting things happened, over all scripts: a test that never meets them checks nothing.
#[derive(Default)]
struct Tally {
    relocks: Cell<u32>,
    cycles: Cell<u32>,
    starvations: Cell<u32>,
    bystanders: Cell<u32>,
    in_place: Cell<u32>,
    /// Deadlocks that a task closed by ending.
    by_ending: Cell<u32>,
    cancelled: Cell<u32>,
}

fn count(what: &Cell<u32>) {
    what.set(what.get() + 1);
}

/// The tasks of one script, and the model that walks beside them.
struct Stepper<'s> {
    state: State,
    /// What each task holds, in the order of its guards.
    held: Vec<Vec<usize>>,
    queues: Vec<VecDeque<usize>>,
    /// Whose stack is on which thread.
    threads: Vec<Option<String>>,
    /// Who has come to wait, or has to look again.
    judged_now: BTreeSet<usize>,
    has_begun: BTreeSet<usize>,
    /// Who was told of a deadlock since the last order, and what it waited for.
    told_now: Vec<(usize, Option<Waits>)>,
    submitted: usize,
    world: Arc<World>,
    /// Dropped before the pools, which wait for their tasks.
    orders: Vec<Option<Sender<Order>>>,
    pools: Vec<ThreadPoolExecutor>,
    tell: Sender<(usize, Event)>,
    events: Receiver<(usize, Event)>,
    reports: &'s Reports,
    tally: &'s Tally,
}

impl Stepper<'_> {
    /// The tasks that can be told something.
    fn idle(&self) -> Vec<usize> {
        let is_idle = |&task: &usize| self.state.phase[task] == Phase::Running && self.state.waits[task].is_none();
        self.state.tasks().filter(is_idle).collect()
    }

    fn has_free_worker(&self, pool: usize) -> bool {
        self.state.stacks[pool].len() < self.state.workers[pool]
    }

    /// Whether something has to happen by itself.
    fn is_unsettled(&self) -> bool {
        let starts = |pool: usize| self.has_free_worker(pool) && !self.queues[pool].is_empty();
        let goes_on = |task: usize| {
            let is_top = self.state.phase[task] == Phase::Running && self.state.above(task).is_none();
            is_top && (self.state.is_over(task) || self.state.next_in_place(task).is_some())
        };
        (0..self.queues.len()).any(starts)
            || self.state.tasks().any(goes_on)
            || self.judged_now.iter().any(|&task| self.state.verdict(task).is_some())
    }

    /// Takes note of what happens by itself, until nothing does.
    fn settle(&mut self) {
        while self.is_unsettled() {
            let (task, event) = self.events.recv_timeout(PATIENCE).expect("somebody goes on");
            match event {
                Event::Started(thread) => self.started(task, thread),
                Event::Answer(Ok(())) => self.went_on(task),
                Event::Answer(Err(deadlock)) => self.was_told(task, &deadlock),
            }
        }
        for task in std::mem::take(&mut self.judged_now) {
            self.until_registered(task);
        }
        assert_eq!(self.reports.take().len(), self.told_now.len(), "each deadlock is reported once");
        self.told_now.clear();
    }

    fn started(&mut self, task: usize, thread: String) {
        let pool = self.state.pool[task];
        let at = self.queues[pool].iter().position(|&queued| queued == task).expect("it was queued");
        let waiter = self
            .state
            .tasks()
            .find(|&waiter| self.threads[waiter].as_ref() == Some(&thread) && self.state.above(waiter).is_none());
        match waiter {
            Some(waiter) => {
                assert_eq!(
                    self.state.next_in_place(waiter),
                    Some(task),
                    "in place of what {} waits for",
                    TASKS[waiter]
                );
                count(&self.tally.in_place);
                self.judged_now.remove(&waiter);
                let mut stacks = self.state.stacks[pool].iter_mut();
                stacks.find(|stack| stack.ends_with(&[waiter])).expect("it runs").push(task);
            }
            None => {
                let free = self.state.workers[pool] - self.state.stacks[pool].len();
                assert!(at < free, "{} was not the next of the queue", TASKS[task]);
                self.state.stacks[pool].push(vec![task]);
            }
        }
        self.queues[pool].remove(at);
        self.threads[task] = Some(thread);
        self.state.phase[task] = Phase::Running;
    }

    fn went_on(&mut self, task: usize) {
        assert!(self.state.is_over(task), "{} waits for {:?}", TASKS[task], self.state.waits[task]);
        if let Some(Waits::Lock(lock)) = self.state.waits[task].take() {
            self.state.owner[lock] = Some(task);
            self.held[task].push(lock);
        }
        self.judged_now.remove(&task);
    }

    /// What a task may be told: of those who look again at the same moment, some may have been told before it.
    fn verdicts(&self, task: usize) -> Vec<Verdict> {
        let again = self.judged_now.iter().filter(|&&other| other != task);
        let again = again.map(|&other| (other, self.state.waits[other].clone()));
        let others: Vec<_> = again.chain(self.told_now.iter().cloned()).collect();
        let mut state = self.state.clone();
        let verdicts = (0..1_usize << others.len()).filter_map(|told| {
            for (at, (other, waits)) in others.iter().enumerate() {
                state.waits[*other] = if told >> at & 1 == 0 { waits.clone() } else { None };
            }
            state.verdict(task)
        });
        verdicts.collect()
    }

    fn was_told(&mut self, task: usize, deadlock: &Deadlock) {
        let verdict = said(deadlock.report(), &TASKS);
        assert!(self.verdicts(task).contains(&verdict), "{:?} for {task}: {deadlock}", self.verdicts(task));
        assert!(self.judged_now.remove(&task), "{} has waited for long: {deadlock}", TASKS[task]);
        let first = tasks_of(&deadlock.report().threads()[..1], &TASKS);
        assert!(first.contains(&task), "who is told comes first: {deadlock}");
        self.told_now.push((task, self.state.waits[task].take()));
        match verdict.kind {
            Kind::Relock => count(&self.tally.relocks),
            Kind::Cycle => count(&self.tally.cycles),
            _ => count(&self.tally.starvations),
        }
        if !verdict.bystanders.is_empty() {
            count(&self.tally.bystanders);
        }
        if self.has_begun.contains(&task) {
            count(&self.tally.by_ending);
        }
    }

    /// Waits until a wait that goes on is in the graph.
    fn until_registered(&mut self, task: usize) {
        let end = Instant::now() + PATIENCE;
        let waits =
            || find_thread_where(|thread| thread.waits_for().is_some() && task_name(thread) == TASKS[task]).is_some();
        while !waits() {
            assert!(Instant::now() < end, "{} is not in the graph", TASKS[task]);
            thread::yield_now();
        }
        self.has_begun.insert(task);
    }

    fn submit(&mut self) {
        let task = self.submitted;
        self.submitted += 1;
        let (order, orders) = mpsc::channel();
        let (world, tell) = (Arc::clone(&self.world), self.tell.clone());
        let pool = self.state.pool[task];
        self.orders[task] = Some(order);
        self.state.phase[task] = Phase::Queued;
        self.queues[pool].push_back(task);
        let body = move || obey(&world, &orders, |event| tell.send((task, event)).unwrap());
        let future = self.pools[pool].submit_named(TASKS[task], body);
        assert!(self.world.futures[task].set(future.shared()).is_ok());
    }

    /// Those who wait for a failure have one alternative less.
    fn ended(&mut self, task: usize) {
        for waiter in self.state.tasks() {
            let is_concerned = match &self.state.waits[waiter] {
                Some(Waits::Tasks(tasks, FirstException)) => tasks.contains(&task),
                _ => false,
            };
            if is_concerned && !self.state.is_over(waiter) {
                self.judged_now.insert(waiter);
            }
        }
    }

    fn cancel(&mut self, number: usize) {
        let queued: Vec<_> = self.queues.iter().flatten().copied().collect();
        let Some(&task) = queued.get(number % queued.len().max(1)) else { return };
        assert!(self.world.future(task).cancel());
        count(&self.tally.cancelled);
        self.queues[self.state.pool[task]].retain(|&other| other != task);
        self.state.phase[task] = Phase::Failed;
        self.ended(task);
    }

    fn end(&mut self, task: usize, panics: bool) {
        let order = self.orders[task].take().expect("it runs");
        order.send(Order::End(panics)).unwrap();
        assert!(self.world.future(task).wait_timeout(PATIENCE), "{} ends", TASKS[task]);
        let pool = self.state.pool[task];
        let stacks = &mut self.state.stacks[pool];
        let at = stacks.iter().position(|stack| stack.ends_with(&[task])).expect("it ran on top");
        stacks[at].pop();
        // Whoever waited for it on the same thread goes on, or comes to wait for the rest.
        match stacks[at].last() {
            Some(&waiter) => drop(self.judged_now.insert(waiter)),
            None => drop(stacks.swap_remove(at)),
        }
        self.threads[task] = None;
        self.state.phase[task] = if panics { Phase::Failed } else { Phase::Finished };
        for lock in std::mem::take(&mut self.held[task]) {
            self.state.owner[lock] = None;
        }
        self.ended(task);
    }

    fn tell_to(&mut self, task: usize, order: Order) {
        let waits = match order {
            Order::End(panics) => return self.end(task, panics),
            Order::Release(_) if self.held[task].is_empty() => return,
            Order::Release(at) => {
                let at = at % self.held[task].len();
                self.orders[task].as_ref().unwrap().send(Order::Release(at)).unwrap();
                // Granted to somebody before its release is confirmed, perhaps.
                let lock = self.held[task].remove(at);
                self.state.owner[lock] = None;
                loop {
                    match self.events.recv_timeout(PATIENCE).expect("somebody goes on") {
                        (other, Event::Answer(Ok(()))) if other == task => return,
                        (other, Event::Answer(Ok(()))) => self.went_on(other),
                        other => panic!("{other:?}"),
                    }
                }
            }
            Order::Lock(lock) => Waits::Lock(lock % LOCKS.len()),
            Order::Wait(tasks, return_when) => {
                let mut tasks: Vec<_> = tasks.iter().map(|other| other % self.submitted).collect();
                let mut seen = BTreeSet::new();
                tasks.retain(|&other| seen.insert(other));
                Waits::Tasks(tasks, return_when)
            }
        };
        let order = match waits.clone() {
            Waits::Lock(lock) => Order::Lock(lock),
            Waits::Tasks(tasks, return_when) => Order::Wait(tasks, return_when),
            Waits::Rest(_) | Waits::ForSomeTime => unreachable!("no order"),
        };
        self.state.waits[task] = Some(waits);
        self.has_begun.remove(&task);
        if self.state.next_in_place(task).is_none() {
            self.judged_now.insert(task);
        }
        self.orders[task].as_ref().unwrap().send(order).unwrap();
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step.clone() {
                Step::Submit if self.submitted < TASKS.len() => self.submit(),
                Step::Submit => {}
                Step::Cancel(number) => self.cancel(number),
                Step::Do(number, order) => {
                    let idle = self.idle();
                    if let Some(&task) = idle.get(number % idle.len().max(1)) {
                        self.tell_to(task, order);
                    }
                }
            }
            self.settle();
        }
        // Everybody ends, and so everybody goes on.
        while let Some(&task) = self.idle().first() {
            self.end(task, false);
            self.settle();
        }
        assert!(self.state.phase[..self.submitted].iter().all(|phase| phase.is_done()), "{:?}", self.state);
    }
}

fn step_through(script: &Script, reports: &Reports, tally: &Tally) {
    let (tell, events) = mpsc::channel();
    let mut stepper = Stepper {
        state: State::new(&script.workers, &script.pool, LOCKS.len()),
        held: vec![Vec::new(); TASKS.len()],
        queues: vec![VecDeque::new(); script.workers.len()],
        threads: vec![None; TASKS.len()],
        judged_now: BTreeSet::new(),
        has_begun: BTreeSet::new(),
        told_now: Vec::new(),
        submitted: 0,
        world: World::new(),
        pools: make_pools(script),
        orders: vec![const { None }; TASKS.len()],
        tell,
        events,
        reports,
        tally,
    };
    stepper.run(&script.steps);
}

#[test]
fn deadlocks_of_tasks_are_found_exactly_when_and_where_a_model_says_so() {
    alone_within(LIMIT * 3, || {
        deadlock::set_grace(Duration::ZERO);
        let (reports, tally) = (Reports::about("graph "), Tally::default());
        for_random_scripts(200, 60, |script| step_through(script, &reports, &tally));
        let Tally { relocks, cycles, starvations, bystanders, in_place, by_ending, cancelled } = &tally;
        for (what, count) in [
            ("relocks", relocks),
            ("cycles", cycles),
            ("starvations", starvations),
            ("reports with bystanders", bystanders),
            ("tasks run in place", in_place),
            ("deadlocks closed by a task's end", by_ending),
            ("cancelled tasks", cancelled),
        ] {
            eprintln!("{}: {what}", count.get());
            assert!(count.get() > 0, "no {what}");
        }
    });
}
