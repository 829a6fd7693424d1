//! Graphs made by hand and at random, judged from every waiter, against an oracle that is slow and obvious.

mod oracle;
mod victims;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::super::core::Core;
use super::*;
use crate::deadlock::graph::blocker::{Blocker, Visit};
use crate::deadlock::graph::id::ContextId;
use crate::deadlock::graph::record::{Entry, Failure, Summons, erase};
use crate::deadlock::graph::reported::Reported;
use crate::deadlock::graph::resource::{Origin, ResourceFacts, ResourceType};
use crate::deadlock::group::Group;
use crate::primitive::now;
use oracle::{agrees, by_definition};

/// What one context of a picture does.
#[derive(Clone, Debug)]
enum Does {
    Run,
    /// Has run its last destructor, and may still run others' code.
    End,
    /// Can do nothing any more.
    Gone,
    Wait(Want),
}

#[derive(Clone, Debug)]
struct Want {
    need: Need,
    from: Vec<From>,
    timed: bool,
    /// It was reported, and left standing.
    reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Context(usize),
    Group(usize),
    External,
    Process,
}

#[derive(Clone, Debug, Default)]
struct Team {
    members: Vec<usize>,
    expected: bool,
}

/// Who waits for whom.
#[derive(Clone, Debug, Default)]
struct Picture {
    contexts: Vec<Does>,
    groups: Vec<Team>,
}

use Does::{End, Gone, Run};

fn wait(need: Need, from: impl Into<Vec<From>>) -> Does {
    Does::Wait(Want { need, from: from.into(), timed: false, reported: false })
}

fn on(context: usize) -> From {
    From::Context(context)
}

impl Does {
    fn timed(self) -> Self {
        let Self::Wait(want) = self else { return self };
        Self::Wait(Want { timed: true, ..want })
    }

    fn reported(self) -> Self {
        let Self::Wait(want) = self else { return self };
        Self::Wait(Want { reported: true, ..want })
    }
}

/// A picture's wait, as the graph sees it.
struct PictureWait {
    need: Need,
    from: Vec<Source>,
    /// How often a provider was looked at.
    visits: Cell<usize>,
}

enum Source {
    Context(ContextId),
    Group(GroupId),
    External,
    Process,
}

impl Blocker for PictureWait {
    fn facts(&self, _: usize) -> ResourceFacts {
        ResourceFacts {
            key: std::ptr::from_ref(self).addr(),
            origin: Origin::here(None),
            type_of: || ResourceType::exclusive::<()>("Lock"),
        }
    }

    fn need(&self) -> Need {
        self.need
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        for (at, source) in self.from.iter().enumerate() {
            self.visits.set(self.visits.get() + 1);
            let is_same = |other: &&Source| matches!((source, other), (Source::Context(id), Source::Context(other)) if id == other);
            // Where a number is needed, a context is named once, with how often it is there.
            let counted = matches!(self.need, Need::AtLeast(_));
            if counted && self.from[..at].iter().any(|other| is_same(&other)) {
                continue;
            }
            let flow = visit(match *source {
                Source::Context(id) if counted => {
                    let count = self.from.iter().filter(is_same).count() as u32;
                    Provider::Permits { holder: Some(id), count }
                }
                Source::External if counted => Provider::Permits { holder: None, count: 1 },
                Source::Context(id) => Provider::Context(id),
                Source::Group(group) => Provider::AnyOf(group),
                Source::External => Provider::External,
                Source::Process => Provider::Process(4711),
            });
            if flow.is_break() {
                return;
            }
        }
    }
}

/// A picture as a graph of its own, whose contexts have no threads. Dropped in this order.
struct Made {
    groups: Vec<Group>,
    contexts: Vec<&'static Context>,
    graph: Graph,
    judge: Judge,
    waits: Vec<Rc<PictureWait>>,
}

impl Made {
    fn new(picture: &Picture) -> Self {
        let mut graph = Graph::new();
        let contexts: Vec<_> = picture.contexts.iter().map(|_| graph.add_for_test()).collect();
        let mut groups = Vec::new();
        for team in &picture.groups {
            let group = Group::new("pool".into(), std::panic::Location::caller());
            graph.group_mut(group.id()).expected = usize::from(team.expected);
            team.members.iter().for_each(|&member| graph.add_member(group.id(), contexts[member]));
            groups.push(group);
        }
        let mut waits = Vec::new();
        for (context, does) in contexts.iter().copied().zip(&picture.contexts) {
            match does {
                Does::Run => {}
                Does::End => graph.record_mut(context).thread.ended = true,
                Does::Gone => graph.record(context).thread.gone.set(true),
                Does::Wait(want) => {
                    let from = want.from.iter().map(|from| match *from {
                        From::Context(at) => Source::Context(contexts[at].id()),
                        From::Group(at) => Source::Group(groups[at].id()),
                        From::External => Source::External,
                        From::Process => Source::Process,
                    });
                    let wait = Rc::new(PictureWait { need: want.need, from: from.collect(), visits: Cell::new(0) });
                    let entry = Entry {
                        blocker: erase(&*wait),
                        key: Rc::as_ptr(&wait).addr(),
                        held_key: 0,
                        is_chained: false,
                        site: std::panic::Location::caller(),
                        since: now(),
                        timed: want.timed,
                        failure: Failure::Value,
                        summons: Summons::None,
                        reported: if want.reported { Reported::NEVER.and(1, true) } else { Reported::NEVER },
                        not_handed_over: Cell::new(false),
                        is_stuck: false,
                        finder: None,
                        thread_id: None,
                        span: None,
                    };
                    graph.link(context, entry);
                    waits.push(wait);
                }
            }
        }
        Self { groups, contexts, graph, judge: Judge::new(), waits }
    }

    fn judge(&mut self, at: usize) -> Found {
        let me = self.contexts[at];
        let judgement = loop {
            match self.judge.judge(&self.graph, me) {
                Judgement::NoCapacity => self.judge.grow(),
                judgement => break judgement,
            }
        };
        let place = |context: &'static Context| self.contexts.iter().position(|&other| other == context).unwrap();
        let kind = match judgement {
            Judgement::Abandoned(gone) => Verdict::Abandoned(place(gone)),
            Judgement::NotDeadlocked => Verdict::Live,
            Judgement::Bystander => Verdict::Bystander,
            Judgement::OwnerEnding { .. } => Verdict::AskAgain,
            Judgement::Relock => Verdict::Relock,
            Judgement::Cycle => Verdict::Cycle,
            Judgement::Starvation => Verdict::Starvation,
            Judgement::NoCapacity => unreachable!("asked again"),
        };
        if !kind.is_deadlock() {
            return Found { kind, core: BTreeSet::new(), bystanders: BTreeSet::new() };
        }
        assert_eq!(place(self.judge.core().members()[0]), at, "whoever is judged comes first");
        let core: BTreeSet<_> = self.judge.core().members().iter().copied().map(place).collect();
        assert_eq!(core.len(), self.judge.core().members().len(), "each member once");
        loop {
            let mut bystanders = Vec::new();
            let is_whole = !matches!(kind, Verdict::Abandoned(_));
            let mut visit = |_: &Core, bystander| bystanders.push(place(bystander));
            if self.judge.for_each_bystander(&self.graph, me, is_whole, &mut visit) {
                let set: BTreeSet<_> = bystanders.iter().copied().collect();
                assert_eq!(set.len(), bystanders.len(), "each bystander once");
                return Found { kind, core, bystanders: set };
            }
            self.judge.grow();
            assert!(!matches!(self.judge.judge(&self.graph, me), Judgement::NoCapacity));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Live,
    Bystander,
    AskAgain,
    Relock,
    Cycle,
    Starvation,
    Abandoned(usize),
}

impl Verdict {
    fn is_deadlock(self) -> bool {
        !matches!(self, Self::Live | Self::Bystander | Self::AskAgain)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    kind: Verdict,
    core: BTreeSet<usize>,
    bystanders: BTreeSet<usize>,
}

/// Judges `at` in a picture: the verdict and the core.
fn judge(contexts: impl Into<Vec<Does>>, groups: impl Into<Vec<Team>>, at: usize) -> (Verdict, Vec<usize>) {
    let picture = Picture { contexts: contexts.into(), groups: groups.into() };
    let found = Made::new(&picture).judge(at);
    assert!(agrees(&picture, at, &found), "{found:?} is not {:?}", by_definition(&picture, at));
    (found.kind, found.core.into_iter().collect())
}

fn team(members: impl Into<Vec<usize>>) -> Team {
    Team { members: members.into(), expected: false }
}

#[test]
fn an_alternative_that_runs_keeps_a_wait_alive() {
    let cycle = |other: Does| [wait(Need::Any, [on(1), on(2)]), wait(Need::One, [on(0)]), other];
    assert_eq!(judge(cycle(Run), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(cycle(Run), [], 1), (Verdict::Live, vec![]));
    assert_eq!(judge(cycle(wait(Need::One, [From::External])), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(cycle(wait(Need::One, [From::Process])), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(cycle(wait(Need::One, [on(1)]).timed()), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(cycle(wait(Need::One, [on(1)])), [], 0), (Verdict::Cycle, vec![0, 1, 2]));
}

#[test]
fn a_wait_for_the_first_of_many_is_judged_by_few_of_them() {
    const MANY: usize = 1000;
    let first_of = |from: From| wait(Need::Any, vec![from; MANY]);
    let visits = |contexts: &[Does], groups: &[Team]| {
        let picture = Picture { contexts: contexts.to_vec(), groups: groups.to_vec() };
        let mut made = Made::new(&picture);
        assert_eq!(made.judge(0).kind, Verdict::Live);
        made.waits[0].visits.get()
    };
    assert_eq!(visits(&[first_of(on(1)), Run], &[]), 1, "one that runs");
    assert_eq!(visits(&[first_of(From::Group(0)), Run], &[team([1])]), 1, "a worker that is free");
    let waiting = [first_of(From::Group(0)), wait(Need::One, [on(2)]), Run];
    assert_eq!(visits(&waiting, &[team([1])]), FIRST_LOOK + 1, "a worker that waits for one that runs");
    // Where the first do not tell, all are asked.
    let mut from = vec![on(1); MANY];
    from.push(on(2));
    let last = [wait(Need::Any, from), wait(Need::One, [on(0)]), wait(Need::One, [on(3)]), Run];
    assert!(visits(&last, &[]) > MANY);
}

#[test]
fn whoever_may_be_stuck_when_an_ending_context_is_gone_asks_again() {
    // 1 has begun to wait after 0 had found it running, and looked no further.
    let contexts = [wait(Need::Any, [on(1), on(2)]), wait(Need::One, [on(0)]), End];
    assert_eq!(judge(contexts, [], 1), (Verdict::AskAgain, vec![]));
}

#[test]
fn one_stuck_provider_is_enough_to_stick_a_wait_for_all() {
    let contexts = [wait(Need::All, [on(1), on(2), From::External]), wait(Need::One, [on(0)]), Run];
    assert_eq!(judge(contexts.clone(), [], 0), (Verdict::Cycle, vec![0, 1]));
    assert_eq!(judge(contexts, [], 1), (Verdict::Cycle, vec![0, 1]));
    assert_eq!(judge([wait(Need::All, [])], [], 0), (Verdict::Live, vec![]));
}

#[test]
fn another_process_may_end_what_waits_for_it_and_nothing_else() {
    let chain = [wait(Need::One, [on(1)]), wait(Need::One, [From::Process])];
    assert_eq!(judge(chain, [], 0), (Verdict::Live, vec![]));
    let either = [wait(Need::Any, [on(1), From::Process]), wait(Need::One, [on(0)])];
    assert_eq!(judge(either.clone(), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(either, [], 1), (Verdict::Live, vec![]));
    let both = [wait(Need::All, [on(1), From::Process]), wait(Need::One, [on(0)])];
    assert_eq!(judge(both, [], 0), (Verdict::Cycle, vec![0, 1]));
}

#[test]
fn so_many_of_several_are_counted() {
    let contexts = |least| [wait(Need::AtLeast(least), [on(1), on(2), on(2)]), wait(Need::One, [on(0)]), Run];
    assert_eq!(judge(contexts(2), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(contexts(3), [], 0), (Verdict::Cycle, vec![0, 1]));
    assert_eq!(judge(contexts(4), [], 0), (Verdict::Live, vec![]), "more than there are: nobody knows");
}

#[test]
fn workers_that_all_wait_for_what_is_queued_starve() {
    let queued = || wait(Need::One, [From::Group(0)]);
    assert_eq!(judge([queued()], [team([0])], 0), (Verdict::Starvation, vec![0]));
    assert_eq!(judge([queued(), queued()], [team([0, 1])], 0), (Verdict::Starvation, vec![0, 1]));
    assert_eq!(judge([queued(), Run], [team([0, 1])], 0), (Verdict::Live, vec![]));
    assert_eq!(judge([queued(), queued().timed()], [team([0, 1])], 0), (Verdict::Live, vec![]));
    assert_eq!(judge([queued()], [Team { members: vec![0], expected: true }], 0), (Verdict::Live, vec![]));
    assert_eq!(judge([queued()], [team([])], 0), (Verdict::Live, vec![]), "nobody knows who will come");
    // A context outside that counts on them is stuck behind them.
    assert_eq!(judge([queued(), queued()], [team([0])], 1), (Verdict::Bystander, vec![]));
}

#[test]
fn two_pools_that_wait_for_each_other_starve() {
    let on_group = |group| wait(Need::One, [From::Group(group)]);
    let contexts = [on_group(1), on_group(1), on_group(0), on_group(0)];
    assert_eq!(judge(contexts, [team([0, 1]), team([2, 3])], 3), (Verdict::Starvation, vec![0, 1, 2, 3]));
}

#[test]
fn a_wait_that_leads_into_a_deadlock_is_no_part_of_it() {
    let contexts = [
        wait(Need::One, [on(1)]),
        wait(Need::One, [on(0)]),
        wait(Need::Any, [on(0), on(1)]),
        wait(Need::All, [on(3), on(1)]),
    ];
    assert_eq!(judge(contexts.clone(), [], 2), (Verdict::Bystander, vec![]));
    assert_eq!(judge(contexts.clone(), [], 3), (Verdict::Relock, vec![3]), "a deadlock of its own");
    let picture = Picture { contexts: contexts.to_vec(), groups: Vec::new() };
    assert_eq!(Made::new(&picture).judge(0).bystanders, BTreeSet::from([2, 3]));
}

#[test]
fn who_is_gone_helps_nobody() {
    assert_eq!(judge([wait(Need::All, [on(1), on(2)]), Gone, Run], [], 0), (Verdict::Abandoned(1), vec![0]));
    assert_eq!(judge([wait(Need::Any, [on(1), on(2)]), Gone, Run], [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge([wait(Need::Any, [on(1), on(2)]), Gone, Gone], [], 0), (Verdict::Abandoned(1), vec![0]));
    let cycle = [wait(Need::Any, [on(1), on(2)]), Gone, wait(Need::One, [on(0)])];
    assert_eq!(judge(cycle, [], 0), (Verdict::Cycle, vec![0, 2]));
    assert_eq!(judge([wait(Need::All, [on(1), on(2)]), End, Run], [], 0), (Verdict::AskAgain, vec![]));
}

#[test]
fn who_has_yet_to_say_that_its_owner_is_gone_is_live() {
    let contexts = |other| [wait(Need::Any, [on(1), on(2)]), wait(Need::One, [on(0)]), other, Gone];
    assert_eq!(judge(contexts(wait(Need::One, [on(3)])), [], 0), (Verdict::Live, vec![]));
    assert_eq!(judge(contexts(wait(Need::One, [on(3)]).reported()), [], 0), (Verdict::Cycle, vec![0, 1]));
}

#[test]
fn what_was_handed_over_is_live_and_what_was_asked_for_again_is_not() {
    let picture = Picture {
        contexts: vec![wait(Need::Any, [on(1), on(2)]), wait(Need::One, [on(0)]), wait(Need::One, [on(2)])],
        groups: Vec::new(),
    };
    let mut made = Made::new(&picture);
    assert_eq!(made.judge(0).kind, Verdict::Live);
    assert_eq!(made.judge(2).kind, Verdict::Relock);
    assert_eq!(made.judge(0).kind, Verdict::Cycle);
}

#[test]
fn a_walk_that_lacks_room_is_walked_again_with_more() {
    const SIZE: usize = 1000;
    let everybody: Vec<_> = (0..SIZE).map(on).collect();
    let mut contexts = vec![wait(Need::All, everybody)];
    contexts.extend((1..SIZE).map(|_| wait(Need::Any, [on(0), From::Group(0)])));
    let found = judge(contexts, [team((0..SIZE).collect::<Vec<_>>())], 0);
    assert_eq!(found, (Verdict::Starvation, (0..SIZE).collect()));
}

/// Returns which contexts were asked to judge again.
fn summoned(made: &Made) -> Vec<usize> {
    let is_summoned = |context: &'static Context| {
        made.graph.entry(context).is_some_and(|entry| entry.summons == Summons::Recheck) && context.is_summoned()
    };
    (0..made.contexts.len()).filter(|&at| is_summoned(made.contexts[at])).collect()
}

#[test]
fn a_wait_that_stays_stuck_has_those_with_alternatives_judged_again_once() {
    // 0 and 1 were left standing, 5 and 6 have one way out, by 2, until that waits for 0.
    let contexts = [
        wait(Need::One, [on(1)]),
        wait(Need::One, [on(0)]),
        wait(Need::One, [on(0)]),
        wait(Need::One, [From::Group(0)]),
        wait(Need::All, [on(3)]),
        wait(Need::Any, [on(2), on(6)]),
        wait(Need::One, [on(5)]),
    ];
    let mut made = Made::new(&Picture { contexts: contexts.to_vec(), groups: vec![team([4])] });
    let [newcomer, other] = [2, 5].map(|at| made.contexts[at]);
    assert_eq!(made.judge(2).kind, Verdict::Bystander);
    made.graph.mark_stuck(newcomer);
    assert_eq!(summoned(&made), [3, 5]);
    assert_eq!(made.judge(5).kind, Verdict::Cycle);
    assert_eq!(made.judge(3).kind, Verdict::Starvation);
    for at in [3, 5] {
        made.graph.answer_summons(made.contexts[at]);
    }
    made.graph.mark_stuck(newcomer);
    assert!(summoned(&made).is_empty(), "said before");
    made.graph.mark_stuck(other);
    assert_eq!(summoned(&made), [3], "everybody but itself");
}

#[test]
fn what_becomes_of_a_group_concerns_those_who_count_on_it() {
    let contexts = [
        wait(Need::Any, [on(3), From::Group(0)]),
        wait(Need::One, [From::Group(1)]),
        wait(Need::One, [From::Group(0)]).timed(),
        Run,
        wait(Need::All, [on(0), on(3)]),
    ];
    let picture = Picture { contexts: contexts.to_vec(), groups: vec![team([3]), team([])] };
    let mut made = Made::new(&picture);
    let group = made.groups[0].id();
    made.graph.recheck_group(group);
    assert_eq!(summoned(&made), [0]);
    let mut made = Made::new(&picture);
    let member = made.contexts[3];
    made.graph.recheck_waits_for(member);
    assert_eq!(summoned(&made), [0, 4]);
}

#[test]
fn a_verdict_that_is_on_its_way_makes_a_wait_live() {
    let contexts = [wait(Need::All, [on(1), on(2)]), wait(Need::Any, [on(0), on(2)]), wait(Need::One, [on(1)])];
    let mut made = Made::new(&Picture { contexts: contexts.to_vec(), groups: Vec::new() });
    assert_eq!(made.judge(0).kind, Verdict::Cycle);
    let victim = made.contexts[2];
    made.graph.summon(victim, Summons::Victim);
    assert_eq!(made.judge(0).kind, Verdict::Live);
    made.graph.answer_summons(victim);
    assert_eq!(made.judge(2).core, BTreeSet::from([0, 1, 2]), "the victim finds it from its own place");
}

#[test]
fn a_deadlock_is_reported_when_all_of_it_was() {
    let is_reported = |made: &Made, is_abandoned| made.graph.is_reported(made.judge.core().members(), is_abandoned);
    let mark_reported =
        |made: &mut Made, is_abandoned| _ = made.graph.mark_reported(made.judge.core().members(), is_abandoned);
    let contexts = [wait(Need::All, [on(1), on(2)]), wait(Need::One, [on(0)]), wait(Need::One, [on(0)])];
    let mut made = Made::new(&Picture { contexts: contexts.to_vec(), groups: Vec::new() });
    assert_eq!(made.judge(1).core, BTreeSet::from([0, 1, 2]));
    assert!(!is_reported(&made, false));
    mark_reported(&mut made, false);
    assert_eq!(made.judge(2).kind, Verdict::Cycle);
    assert!(is_reported(&made, false));
    let member = made.contexts[1];
    assert!(!is_reported(&made, true), "which of them is left behind was not said");
    mark_reported(&mut made, true);
    mark_reported(&mut made, false);
    assert!(is_reported(&made, true), "and is not forgotten");
    let mut entry = made.graph.unlink(member).unwrap();
    entry.reported = Reported::NEVER;
    made.graph.link(member, entry);
    assert_eq!(made.judge(2).kind, Verdict::Cycle);
    assert!(!is_reported(&made, false));
}

fn does() -> impl Strategy<Value = Does> {
    let from = prop_oneof![
        12 => any::<usize>().prop_map(From::Context),
        3 => any::<usize>().prop_map(From::Group),
        1 => prop_oneof![Just(From::External), Just(From::Process)],
    ];
    let need = prop_oneof![
        3 => Just(Need::One),
        3 => Just(Need::All),
        4 => Just(Need::Any),
        2 => (0..5_u32).prop_map(Need::AtLeast),
    ];
    let wait = (need, prop::collection::vec(from, 0..5), prop::bool::weighted(0.05), prop::bool::weighted(0.2));
    let wait = wait.prop_map(|(need, mut from, timed, reported)| {
        if need == Need::One {
            from.truncate(1);
        }
        Does::Wait(Want { need, from, timed, reported })
    });
    prop_oneof![1 => Just(Run), 1 => Just(End), 1 => Just(Gone), 15 => wait]
}

fn picture() -> impl Strategy<Value = Picture> {
    let groups = prop::collection::vec(prop::bool::weighted(0.1), 0..4);
    let contexts = prop::collection::vec((does(), any::<usize>()), 1..9);
    (contexts, groups).prop_map(|(contexts, groups)| {
        let mut groups: Vec<_> = groups.into_iter().map(|expected| Team { members: Vec::new(), expected }).collect();
        let count = contexts.len();
        for (at, &(_, group)) in contexts.iter().enumerate() {
            // One place more than there are groups: some are members of none.
            if let Some(team) = groups.get_mut(group % (count.min(3) + 1)) {
                team.members.push(at);
            }
        }
        let mut contexts: Vec<_> = contexts.into_iter().map(|(does, _)| does).collect();
        for does in &mut contexts {
            let Does::Wait(want) = does else { continue };
            for from in &mut want.from {
                *from = match *from {
                    From::Context(at) => From::Context(at % count),
                    From::Group(at) if !groups.is_empty() => From::Group(at % groups.len()),
                    From::Process => From::Process,
                    _ => From::External,
                };
            }
        }
        Picture { contexts, groups }
    })
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn random_graphs_are_judged_as_defined() {
    let mut seen = HashMap::<_, u32>::new();
    let tally = std::cell::RefCell::new(&mut seen);
    let mut runner = TestRunner::new(Config { cases: 4_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&picture(), |picture| {
        for (at, does) in picture.contexts.iter().enumerate() {
            if !matches!(does, Does::Wait(want) if !want.timed) {
                continue;
            }
            let found = Made::new(&picture).judge(at);
            let defined = by_definition(&picture, at);
            proptest::prop_assert!(agrees(&picture, at, &found), "judged {}: {:?} is not {:?}", at, found, defined);
            *tally.borrow_mut().entry(std::mem::discriminant(&found.kind)).or_default() += 1;
            if !found.bystanders.is_empty() {
                *tally.borrow_mut().entry(std::mem::discriminant(&Verdict::Bystander)).or_default() += 1;
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(seen.len() == 7 && seen.values().all(|&count| count > 20), "every verdict is reached: {seen:?}");
}
