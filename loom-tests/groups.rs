//! Waits for results and for what is queued: one-way done flags, groups, several providers.

use std::panic::Location;
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

use super::{explore, watched};
use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{Failure, Limit, Terms, WaitError, wait};
use crate::deadlock::graph::Graph;
use crate::deadlock::group::Group;
use crate::deadlock::registry::current;
use crate::deadlock::resource::{Origin, ResourceFacts};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::deadlock::{Kind, Report};
use crate::primitive::{FilterOp, Ingredient, UnparkToken, events, remove, unpark_filter};

/// Something that is done once, by some context.
pub(super) struct Flag {
    done: AtomicBool,
    group: Option<Arc<Group>>,
    /// The number of the context that is going to do it, 0 for none.
    runner: AtomicU64,
}

impl Flag {
    fn queued(group: &Arc<Group>) -> Arc<Self> {
        Arc::new(Self { done: AtomicBool::new(false), group: Some(Arc::clone(group)), runner: AtomicU64::new(0) })
    }

    pub(super) fn awaited() -> Arc<Self> {
        Arc::new(Self { done: AtomicBool::new(false), group: None, runner: AtomicU64::new(0) })
    }

    pub(super) fn run(&self) {
        self.runner.store(current().id().get(), Ordering::Relaxed);
    }

    pub(super) fn set(&self) {
        self.done.store(true, Ordering::Release);
        // SAFETY:
        // - the key is the flag's own address, and the closures do nothing.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| UnparkToken(0)) };
    }

    /// Waits until it is set; a deadlock is a report.
    fn wait(&self) -> Result<(), Report> {
        let terms = Terms { site: Location::caller(), limit: Limit::None, failure: Failure::Value, relock: false };
        match wait(current(), self, terms) {
            Ok(()) => Ok(()),
            Err(WaitError::Deadlock(deadlock)) => Err(deadlock.report().clone()),
            Err(WaitError::TimedOut) => unreachable!("there is no limit"),
        }
    }
}

impl Blocker for Flag {
    fn facts(&self, _: usize) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: Origin::here(None), type_of: watched }
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        let runner = ContextId::from_word(self.runner.load(Ordering::Relaxed));
        _ = visit(match (self.done.load(Ordering::Relaxed), runner, &self.group) {
            (false, Some(runner), _) => Provider::Context(runner),
            (false, None, Some(group)) => Provider::AnyOf(group.id()),
            _ => Provider::External,
        });
    }
}

impl Park for Flag {
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn announce(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    fn is_announced(&self) -> bool {
        !self.done.load(Ordering::Acquire)
    }
}

fn group(expected: usize) -> Arc<Group> {
    let group = Arc::new(Group::new("pool".into(), Location::caller()));
    (0..expected).for_each(|_| group.expect());
    group
}

/// Works for the group, and waits for what is queued there; then does it. Returns whether that was a starvation.
fn work_and_wait(group: &Group, flag: &Flag) -> bool {
    group.join(true);
    let starved = flag.wait().inspect_err(|report| assert_eq!(report.kind(), Kind::Starvation)).is_err();
    flag.set();
    group.leave();
    starved
}

#[test]
fn workers_that_all_wait_for_their_pool_are_told_once() {
    explore(3, || {
        let group = group(2);
        let flag = Flag::queued(&group);
        let other = thread::spawn({
            let (group, flag) = (Arc::clone(&group), Arc::clone(&flag));
            move || work_and_wait(&group, &flag)
        });
        let mine = work_and_wait(&group, &flag);
        let others = other.join().unwrap();
        assert!(mine != others, "one victim, and then it is done");
        true
    });
}

/// The other worker leaves, while one waits. Returns whether that one had parked before.
fn a_worker_leaves(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let group = group(2);
    let flag = Flag::queued(&group);
    let other = thread::spawn({
        let group = Arc::clone(&group);
        move || {
            group.join(true);
            group.leave();
        }
    });
    assert!(work_and_wait(&group, &flag), "nobody else is left");
    other.join().unwrap();
    events().unparks > 0
}

#[test]
fn a_worker_that_leaves_has_those_who_count_on_its_pool_judged_again() {
    explore(3, || a_worker_leaves(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_group_events_a_worker_that_leaves_starves_others_unseen() {
    explore(3, || a_worker_leaves(Some(Ingredient::GroupEvents)));
}

#[test]
fn a_worker_that_is_expected_is_counted_on_until_it_is_not_coming() {
    explore(3, || {
        let group = group(2);
        let flag = Flag::queued(&group);
        let is_coming = Arc::new(AtomicBool::new(true));
        let waiter = thread::spawn({
            let (group, flag, is_coming) = (Arc::clone(&group), Arc::clone(&flag), Arc::clone(&is_coming));
            move || {
                assert!(work_and_wait(&group, &flag));
                assert!(!is_coming.load(Ordering::SeqCst), "a false alarm");
            }
        });
        is_coming.store(false, Ordering::SeqCst);
        group.is_not_coming();
        waiter.join().unwrap();
        events().unparks > 0
    });
}

#[test]
fn a_worker_that_is_free_does_what_is_queued_and_nobody_starves() {
    explore(3, || {
        let group = group(2);
        let flag = Flag::queued(&group);
        let other = thread::spawn({
            let (group, flag) = (Arc::clone(&group), Arc::clone(&flag));
            move || {
                group.join(true);
                flag.set();
                group.leave();
            }
        });
        group.join(true);
        flag.wait().expect("the other one does it");
        group.leave();
        other.join().unwrap();
        events().unparks > 0
    });
}

#[test]
fn a_result_that_is_there_and_not_yet_seen_is_on_no_cycle() {
    explore(3, || {
        let (mine, theirs) = (Flag::awaited(), Flag::awaited());
        mine.run();
        let other = thread::spawn({
            let (mine, theirs) = (Arc::clone(&mine), Arc::clone(&theirs));
            move || {
                theirs.run();
                mine.wait().expect("it is done before its runner waits");
                theirs.set();
            }
        });
        mine.set();
        theirs.wait().expect("the other one goes on");
        other.join().unwrap();
        events().unparks > 1
    });
}

#[test]
fn two_results_that_wait_for_each_other_are_told_once() {
    explore(3, || {
        let (mine, theirs) = (Flag::awaited(), Flag::awaited());
        mine.run();
        let other = thread::spawn({
            let (mine, theirs) = (Arc::clone(&mine), Arc::clone(&theirs));
            move || {
                theirs.run();
                let deadlocked = mine.wait().is_err();
                theirs.set();
                deadlocked
            }
        });
        let deadlocked = theirs.wait().is_err();
        mine.set();
        assert!(deadlocked != other.join().unwrap(), "one victim, whose result the other one gets");
        true
    });
}
