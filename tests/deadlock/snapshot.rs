//! Pictures of the wait-for graph: as a graph, as text, as DOT and as JSON.
//!
//! A test that looks at a whole picture runs alone; the others look for their own threads in it.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Edge, Node, NodeKind, WaitForGraph};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{self, By, Crossing, Gate, held_names, wanted};
use crate::support::{
    LIMIT, alone, find_thread, in_fresh_process, spawn_named, stderr, until_parked, until_thread_where, until_waiting,
    within,
};

/// What a node is called.
fn label(node: &Node) -> &str {
    match node {
        Node::Thread(thread) => thread.name().unwrap_or("?"),
        Node::Resource(resource) => resource.name().unwrap_or("?"),
        _ => "something new",
    }
}

/// Walks from the thread with this name along the edges, as long as there is one alone, and returns what is on the way.
fn walk<'g>(picture: &'g WaitForGraph, from: &str) -> Vec<&'g str> {
    let graph = picture.graph();
    let start = graph.node_indices().find(|&at| graph[at].kind() == NodeKind::Thread && label(&graph[at]) == from);
    let mut at = start.expect("a thread of that name");
    let mut way = vec![at];
    loop {
        let mut next = graph.neighbors(at);
        match (next.next(), next.next()) {
            (Some(only), None) => at = only,
            _ => break,
        }
        let again = way.contains(&at);
        way.push(at);
        if again {
            break;
        }
    }
    way.into_iter().map(|at| label(&graph[at])).collect()
}

/// Runs `body` while a deadlock stands: `stuck 0` and `stuck 1`, with `a` and `b`, in a process of its own.
#[track_caller]
fn beside_a_deadlock(test: &str, body: impl FnOnce()) {
    let stands = || {
        let crossing = Crossing::start("stuck", [By::Lock; 2]);
        until_parked("stuck 0");
        until_parked("stuck 1");
        body();
        assert!(crossing.stands());
    };
    let body = || within(LIMIT / 2, stands);
    let Some(output) = in_fresh_process(test, &[("BOWLINE_DEADLOCK", "off")], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_standing_deadlock_is_a_cycle_in_the_graph() {
    beside_a_deadlock("a_standing_deadlock_is_a_cycle_in_the_graph", || {
        let picture = deadlock::snapshot();
        assert_eq!((picture.graph().node_count(), picture.graph().edge_count()), (4, 4));
        assert_eq!(walk(&picture, "stuck 0"), ["stuck 0", "b", "stuck 1", "a", "stuck 0"]);
        for edge in picture.graph().edge_indices() {
            let (from, to) = picture.graph().edge_endpoints(edge).unwrap();
            match &picture.graph()[edge] {
                Edge::Waits { site, timed, .. } => {
                    assert_eq!(picture.graph()[from].kind(), NodeKind::Thread);
                    assert!(!timed && site.file() == deadlocks::FILE);
                }
                Edge::Holds { site, .. } => {
                    assert_eq!(picture.graph()[to].kind(), NodeKind::Thread);
                    assert_eq!(site.file(), deadlocks::FILE);
                }
                edge => panic!("{edge:?}"),
            }
        }
    });
}

#[test]
fn a_chain_of_waits_is_a_path_and_ends_with_its_waits() {
    alone(|| {
        let (a, b) = (Lock::named("path a", ()), RLock::named("path b", ()));
        let [held, go_on] = [const { Gate::new() }; 2];
        let mut picture = None;
        thread::scope(|s| {
            spawn_named(s, "path end", || {
                let _b = (b.lock(), b.lock());
                held.open();
                go_on.pass();
            });
            held.pass();
            spawn_named(s, "path middle", || {
                let _a = a.try_lock().unwrap();
                drop(b.lock());
            });
            until_waiting("path middle");
            spawn_named(s, "path start", || drop(a.try_lock_for(LIMIT * 10)));
            until_waiting("path start");

            picture = Some(deadlock::snapshot());
            go_on.open();
        });
        let picture = picture.unwrap();
        assert_eq!(walk(&picture, "path start"), ["path start", "path a", "path middle", "path b", "path end"]);
        let thread = |name| {
            let mut threads = picture.graph().node_weights().filter_map(|node| match node {
                Node::Thread(thread) if thread.name() == Some(name) => Some(thread),
                _ => None,
            });
            threads.next().unwrap()
        };
        assert!(thread("path start").waits_for().unwrap().is_timed() && thread("path start").holds().is_empty());
        assert_eq!(held_names(thread("path middle")), ["path a"]);
        assert_eq!(held_names(thread("path end")), ["path b"], "held twice, listed once");
        let text = format!("{picture:400}");
        let line = text
            .lines()
            .find(|line| line.starts_with("thread 'path start' waits for ") && line.contains(" 'path a' at "));
        assert!(line.is_some_and(|line| line.ends_with(", with a time-out")), "{text}");
        for name in ["path start", "path middle", "path end"] {
            assert!(find_thread(name).is_none(), "{name} is done");
        }
    });
}

#[test]
fn waits_grow_longer_from_picture_to_picture() {
    within(LIMIT, || {
        let lock = Lock::named("grows", ());
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "grows", || drop(lock.lock()));
            let waited = || until_waiting("grows").waits_for().unwrap().waited();
            let first = waited();
            // The grace may end a quarter early, so that a timer that fires late ends it on time.
            assert!(first >= deadlock::grace() * 3 / 4, "at least the grace: {first:?}");
            until_thread_where(|thread| {
                thread.name() == Some("grows")
                    && thread.waits_for().is_some_and(|wait| wait.waited() >= first + Duration::from_millis(5))
            });
            drop(guard);
        });
    });
}

#[test]
fn a_picture_can_be_taken_whoever_holds_what() {
    alone(|| {
        // More threads and holds than fit into one look.
        const THREADS: usize = 40;
        const EACH: usize = 25;
        let locks: Vec<_> = (0..THREADS * EACH).map(Lock::new).collect();
        let [all_hold, seen] = [(); 2].map(|()| Barrier::new(THREADS + 1));
        thread::scope(|s| {
            for mine in locks.chunks(EACH) {
                let (all_hold, seen) = (&all_hold, &seen);
                spawn_named(s, "crowd", move || {
                    let _guards: Vec<_> = mine.iter().map(Lock::lock).collect();
                    all_hold.wait();
                    seen.wait();
                });
            }
            all_hold.wait();
            let picture = deadlock::snapshot();
            let holds = picture.graph().node_weights().filter_map(|node| match node {
                Node::Thread(thread) if thread.name() == Some("crowd") => Some(thread.holds().len()),
                _ => None,
            });
            assert_eq!(holds.collect::<Vec<_>>(), [EACH; THREADS]);
            seen.wait();
        });
    });
}

#[test]
fn pictures_taken_while_all_is_in_motion_are_never_torn() {
    alone(|| {
        let names = ["motion 0", "motion 1", "motion 2"];
        let locks = names.map(|name| Lock::named(name, ()));
        let stop = Gate::new();
        thread::scope(|s| {
            for at in 0..3 {
                let (locks, stop) = (&locks, &stop);
                spawn_named(s, names[at], move || {
                    while !stop.is_open() {
                        let _first = locks[at.min((at + 1) % 3)].lock();
                        let _second = locks[at.max((at + 1) % 3)].lock();
                    }
                });
            }
            for _ in 0..if cfg!(miri) { 5 } else { 2_000 } {
                let picture = deadlock::snapshot();
                for node in picture.graph().node_weights() {
                    let Node::Thread(thread) = node else { continue };
                    if !names.contains(&thread.name().unwrap_or_default()) {
                        continue;
                    }
                    assert!(thread.holds().len() <= 2);
                    let resources = thread.holds().iter().map(|held| held.resource());
                    for resource in resources.chain(thread.waits_for().map(|wait| wait.resource())) {
                        assert!(names.contains(&resource.name().unwrap()));
                        assert_eq!((resource.primitive(), resource.data_type()), ("Lock", "()"));
                        assert_eq!(resource.made_at().file(), file!());
                    }
                }
            }
            stop.open();
        });
    });
}

#[test]
fn dot_has_a_node_for_each_thread_and_lock_and_an_edge_for_each_wait_and_hold() {
    beside_a_deadlock("dot_has_a_node_for_each_thread_and_lock_and_an_edge_for_each_wait_and_hold", || {
        let dot = deadlock::snapshot().to_dot();
        let body = dot.strip_prefix("digraph wait_for {\n").unwrap().strip_suffix("}\n").unwrap();
        let (mut nodes, mut edges) = (HashMap::new(), Vec::new());
        for line in body.lines() {
            let (what, attributes) = line.trim().split_once(" [").unwrap();
            let attributes = attributes.strip_suffix("];").unwrap();
            // Quotes are paired and nothing escapes them.
            assert_eq!(attributes.replace("\\\"", "").matches('"').count(), 2, "{line}");
            let label = attributes.split('"').nth(1).unwrap();
            match what.split_once(" -> ") {
                Some((from, to)) => edges.push((from, to, label)),
                None => drop(nodes.insert(what, label)),
            }
        }
        let mut labels: Vec<_> = nodes.values().copied().collect();
        labels.sort_unstable();
        assert_eq!(labels, ["Lock<()> 'a'", "Lock<()> 'b'", "thread 'stuck 0'", "thread 'stuck 1'"]);
        let mut ways: Vec<_> = edges.iter().map(|(from, to, _)| (nodes[from], nodes[to])).collect();
        ways.sort_unstable();
        assert_eq!(
            ways,
            [
                ("Lock<()> 'a'", "thread 'stuck 0'"),
                ("Lock<()> 'b'", "thread 'stuck 1'"),
                ("thread 'stuck 0'", "Lock<()> 'b'"),
                ("thread 'stuck 1'", "Lock<()> 'a'"),
            ]
        );
        for (from, _, label) in edges {
            let verb = if nodes[from].starts_with("thread") { "waits " } else { "held by" };
            assert!(label.starts_with(verb) && label.contains(&format!("\\n{}:", deadlocks::FILE)), "{label}");
        }
    });
}

#[test]
fn json_has_every_node_and_edge() {
    beside_a_deadlock("json_has_every_node_and_edge", || {
        let picture = deadlock::snapshot();
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&picture).unwrap()).unwrap();
        let (nodes, edges) = (json["nodes"].as_array().unwrap(), json["edges"].as_array().unwrap());
        assert_eq!((nodes.len(), edges.len()), (4, 4));
        for (node, weight) in nodes.iter().zip(picture.graph().node_weights()) {
            assert_eq!(node["name"], label(weight));
            let kind = if weight.kind() == NodeKind::Thread { "thread" } else { "resource" };
            assert_eq!(node["kind"], kind);
        }
        let mut at = 0;
        for _ in 0..4 {
            let mut out = edges.iter().filter(|edge| edge["from"] == at);
            let (edge, None) = (out.next().expect("a way on"), out.next()) else { panic!("two ways") };
            let kind = if nodes[usize::try_from(at).unwrap()]["kind"] == "thread" { "waits" } else { "holds" };
            assert_eq!(edge["kind"], kind);
            assert_eq!(edge["site"]["file"], deadlocks::FILE);
            at = edge["to"].as_u64().unwrap();
        }
        assert_eq!(at, 0, "all four are the cycle");
    });
}

#[test]
fn nothing_waits_where_nothing_waits() {
    alone(|| {
        assert_eq!(deadlock::snapshot().to_string(), "no thread waits or holds anything");
        assert_eq!(deadlock::snapshot().graph().node_count(), 0);
        let lock = Lock::named("held", ());
        let guard = lock.lock();
        let picture = deadlock::snapshot();
        assert_eq!((picture.graph().node_count(), picture.graph().edge_count()), (2, 1));
        drop(guard);
        assert_eq!(deadlock::snapshot().to_string(), "no thread waits or holds anything");
    });
}

#[test]
fn a_dump_is_the_picture_on_standard_error() {
    let body = || {
        let lock = Lock::named("dumped", ());
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "dumps", || drop(lock.lock()));
            assert_eq!(wanted(&until_waiting("dumps")).name(), Some("dumped"));
            deadlock::dump();
            drop(guard);
        });
    };
    let Some(output) = in_fresh_process("a_dump_is_the_picture_on_standard_error", &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let header = text.lines().find(|line| line.starts_with("bowline: process ")).unwrap();
    assert!(header.ends_with(" UTC: 2 threads, 1 waits, no deadlock"), "{text}");
    assert!(text.contains("\n  A = Lock<()> 'dumped', made at "), "{text}");
    assert!(text.contains("\nthread 'dumps' (os id "), "{text}");
    assert!(text.contains("\n  holds A 'dumped' (thread 'dumps' (os id "), "{text}");
    assert!(text.matches(file!()).count() >= 3, "{text}");
}
