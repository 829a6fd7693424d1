//! The definition of a deadlock, as an oracle.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::{has_path_connecting, tarjan_scc};
use petgraph::graph::{DiGraph, NodeIndex};

use super::*;

/// Whether it is a group, and which.
type Node = (bool, usize);

impl From {
    fn node(&self) -> Option<Node> {
        match *self {
            Self::Context(at) => Some((false, at)),
            Self::Group(at) => Some((true, at)),
            Self::External | Self::Process => None,
        }
    }
}

/// Returns whether a verdict is right. A live wait may ask again while a context ends, and has to if it would be part
/// of a deadlock once that context is gone.
pub(in crate::deadlock) fn agrees(picture: &Picture, me: usize, found: &Found) -> bool {
    let defined = by_definition(picture, me);
    match (found.kind, defined.kind) {
        (Verdict::Live, Verdict::Live | Verdict::AskAgain) => {
            let mut later = picture.clone();
            later.contexts.iter_mut().filter(|does| matches!(does, Does::End)).for_each(|does| *does = Does::Gone);
            !by_definition(&later, me).kind.is_deadlock()
        }
        (Verdict::AskAgain, Verdict::Live) => picture.contexts.iter().any(|does| matches!(does, Does::End)),
        _ => *found == defined,
    }
}

/// Returns what a context wants, if it can be stuck.
fn want(picture: &Picture, at: usize) -> Option<&Want> {
    match &picture.contexts[at] {
        Does::Wait(want) if !want.timed => Some(want),
        _ => None,
    }
}

fn is_gone(picture: &Picture, from: &From) -> bool {
    matches!(*from, From::Context(at) if matches!(picture.contexts[at], Does::Gone))
}

fn required(want: &Want) -> usize {
    match want.need {
        Need::One | Need::Any => 1,
        Need::All => want.from.len(),
        Need::AtLeast(least) => least as usize,
    }
}

fn is_abandoned(picture: &Picture, want: &Want) -> bool {
    let left = want.from.iter().filter(|from| !is_gone(picture, from)).count();
    required(want) <= want.from.len() && left < required(want)
}

/// Returns whether all of a deadlock that `me` found goes on once the wait of one of its members ends.
pub(in crate::deadlock) fn is_broken_by(picture: &Picture, me: usize, core: &BTreeSet<usize>, victim: usize) -> bool {
    let mut without = picture.clone();
    without.contexts[victim] = Does::Run;
    let stuck = stuck(&without, me);
    core.iter().all(|&member| !stuck.contains(&(false, member)))
}

/// Returns every node that cannot be shown to be live, round after round.
fn stuck(picture: &Picture, me: usize) -> BTreeSet<Node> {
    let want = |at: usize| want(picture, at);
    let mut stuck: BTreeSet<Node> =
        (0..picture.contexts.len()).filter(|&at| want(at).is_some()).map(|at| (false, at)).collect();
    stuck.extend((0..picture.groups.len()).map(|at| (true, at)));
    loop {
        let node_is_live = |node: Node| match node {
            (false, at) => !stuck.contains(&node) && !matches!(picture.contexts[at], Does::Gone),
            (true, _) => !stuck.contains(&node),
        };
        let is_live = |waiter: usize, from: &From| match *from {
            From::External | From::Process => true,
            From::Context(at) if at == waiter && at != me => true,
            From::Context(at) => node_is_live((false, at)),
            From::Group(at) => node_is_live((true, at)),
        };
        let escapes = |&(is_group, at): &Node| {
            if is_group {
                let team = &picture.groups[at];
                return team.expected
                    || team.members.is_empty()
                    || team.members.iter().any(|&member| node_is_live((false, member)));
            }
            let want = want(at).unwrap();
            required(want) > want.from.len()
                || want.from.iter().filter(|from| is_live(at, from)).count() >= required(want)
                || at != me && !want.reported && is_abandoned(picture, want)
        };
        let left: BTreeSet<_> = stuck.iter().copied().filter(|node| !escapes(node)).collect();
        if left == stuck {
            return stuck;
        }
        stuck = left;
    }
}

/// Judges by the definition: deadlocks are strong components of what is stuck.
pub(in crate::deadlock) fn by_definition(picture: &Picture, me: usize) -> Found {
    let want = |at: usize| want(picture, at);
    let stuck = stuck(picture, me);
    let mut residue = DiGraph::<Node, ()>::new();
    let places: BTreeMap<Node, NodeIndex> = stuck.iter().map(|&node| (node, residue.add_node(node))).collect();
    for (&node, &place) in &places {
        let providers: Vec<Node> = match node {
            (true, at) => picture.groups[at].members.iter().map(|&member| (false, member)).collect(),
            (false, at) => want(at).unwrap().from.iter().filter_map(From::node).collect(),
        };
        providers.iter().filter_map(|provider| places.get(provider)).for_each(|&provider| {
            residue.add_edge(place, provider, ());
        });
    }
    let nothing = |kind| Found { kind, core: BTreeSet::new(), bystanders: BTreeSet::new() };
    let mine = want(me).expect("whoever is judged waits");
    let is_ending =
        mine.from.iter().any(|from| matches!(*from, From::Context(at) if matches!(picture.contexts[at], Does::End)));
    let myself = (false, me);
    if !stuck.contains(&myself) {
        return nothing(if is_ending { Verdict::AskAgain } else { Verdict::Live });
    }
    let here = places[&myself];
    let component = tarjan_scc(&residue).into_iter().find(|nodes| nodes.contains(&here)).unwrap();
    let component: BTreeSet<Node> = component.into_iter().map(|place| residue[place]).collect();
    let is_alone = component.len() == 1;
    let (kind, core) = if is_abandoned(picture, mine) {
        let gone = mine.from.iter().find(|from| is_gone(picture, from)).unwrap();
        let From::Context(gone) = *gone else { unreachable!("a group is not gone") };
        (Verdict::Abandoned(gone), BTreeSet::from([myself]))
    } else if is_alone && !residue.contains_edge(here, here) {
        return nothing(if is_ending { Verdict::AskAgain } else { Verdict::Bystander });
    } else if component.iter().any(|&(is_group, _)| is_group) {
        (Verdict::Starvation, component)
    } else if is_alone {
        (Verdict::Relock, component)
    } else {
        (Verdict::Cycle, component)
    };
    let is_behind = |node: &Node| !core.contains(node) && has_path_connecting(&residue, places[node], here, None);
    let bystanders = stuck.iter().filter(|node| !node.0 && is_behind(node)).map(|&(_, at)| at).collect();
    let core = core.into_iter().filter(|&(is_group, _)| !is_group).map(|(_, at)| at).collect();
    Found { kind, core, bystanders }
}
