//! How joins look: in reports, in snapshots, and in what these are exported to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bowline::deadlock::report::Activity;
use bowline::deadlock::{self, Edge, Node, WaitForGraph};
use bowline::{Lock, thread};
use petgraph::visit::EdgeRef;

use crate::support::gate::Gate;
use crate::support::{LIMIT, alone, find_thread, until_parked, until_waiting, wait_until, within};

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// The node of the thread with this name.
fn node_of(graph: &WaitForGraph, name: &str) -> petgraph::graph::NodeIndex {
    let graph = graph.graph();
    let is_it = |node: &Node| matches!(node, Node::Thread(thread) if thread.name() == Some(name));
    graph.node_indices().find(|&at| is_it(&graph[at])).unwrap_or_else(|| panic!("no thread {name}"))
}

#[test]
fn a_report_says_whose_end_is_waited_for_and_which_line_spawned_it() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("told in a report", 0));
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let (line, child) = (line!(), named("told of").spawn(move || *theirs.lock() += 1).unwrap());
        until_parked("told of");
        let refused = child.acquire_join().unwrap_err();
        let report = refused.deadlock().report();
        let wait = report.threads().iter().find_map(|thread| thread.waits_for().filter(|wait| wait.joined().is_some()));
        let wait = wait.unwrap();
        assert_eq!(wait.joined().unwrap().name(), Some("told of"));
        assert!(cfg!(not(target_os = "linux")) || wait.joined().unwrap().os_id() != 0);
        let resource = wait.resource();
        assert_eq!((resource.primitive(), resource.data_type()), ("JoinHandle", "()"));
        assert_eq!((resource.made_at().file(), resource.made_at().line()), (file!(), line));
        let text = format!("{report:400}");
        for part in [
            format!("waits for the end of thread 'told of' (spawned at {}:{line}:", file!()),
            "thread 'told of' waits for A 'told in a report' at ".to_owned(),
            "help: release A 'told in a report', taken at ".to_owned(),
            ", before waiting for the end of thread 'told of'".to_owned(),
        ] {
            assert!(text.contains(&part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("B = "), "a thread has no letter: {text}");
        drop(guard);
        refused.into_handle().join().unwrap();
    });
}

#[test]
fn an_edge_of_a_snapshot_leads_from_a_joiner_to_the_thread_that_it_joins() {
    within(LIMIT, || {
        let gate = Gate::default();
        let theirs = gate.clone();
        let child = named("runs and is joined").spawn(move || theirs.pass()).unwrap();
        let joiner = named("joins what runs").spawn(move || child.join().unwrap()).unwrap();
        until_waiting("joins what runs");
        // It has begun.
        wait_until(|| find_thread("runs and is joined").is_some());
        let snapshot = deadlock::snapshot();
        let (from, to) = (node_of(&snapshot, "joins what runs"), node_of(&snapshot, "runs and is joined"));
        let edges: Vec<_> = snapshot.graph().edges(from).collect();
        assert_eq!(edges.len(), 1);
        assert_eq!(edges[0].target(), to);
        assert!(matches!(edges[0].weight(), Edge::Waits { timed: false, .. }));
        // The thread that is joined waits for nothing of ours: what it does is told.
        if cfg!(target_os = "linux") {
            wait_until(|| find_thread("runs and is joined").unwrap().activity() == Some(Activity::Futex));
        }
        let text = format!("{snapshot:400}");
        assert!(text.contains("waits for the end of thread 'runs and is joined' (spawned at "), "{text}");
        let dot = snapshot.to_dot();
        assert!(dot.contains("[shape=box, label=\"thread 'runs and is joined'\"]"), "{dot}");
        let json = serde_json::to_value(&snapshot).unwrap();
        let is_edge = |edge: &serde_json::Value| edge["from"] == from.index() && edge["to"] == to.index();
        let edge = json["edges"].as_array().unwrap().iter().find(|edge| is_edge(edge)).unwrap();
        assert_eq!(edge["kind"], "waits");
        gate.open();
        joiner.join().unwrap();
        wait_until(|| find_thread("runs and is joined").is_none());
    });
}

#[test]
fn a_report_as_data_says_who_is_joined_and_its_graph_is_a_cycle() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(()));
        let guard = lock.lock();
        let theirs = Arc::clone(&lock);
        let child = named("joined as data").spawn(move || drop(theirs.lock())).unwrap();
        until_parked("joined as data");
        let refused = child.acquire_join().unwrap_err();
        let report = refused.deadlock().report();
        assert!(petgraph::algo::is_cyclic_directed(report.graph().graph()));
        let json = serde_json::to_value(report).unwrap();
        let threads = json["threads"].as_array().unwrap();
        let joined = threads.iter().find_map(|thread| thread["waits_for"]["joined"].as_object()).unwrap();
        assert_eq!(joined["name"], "joined as data");
        drop(guard);
        refused.into_handle().join().unwrap();
    });
}

#[test]
fn the_end_of_a_scope_names_one_of_its_threads_and_counts_the_others() {
    within(LIMIT, || {
        let (gate, begun) = (Gate::default(), AtomicUsize::new(0));
        let text = thread::scope(|outer| {
            let ends = named("ends a shown scope").spawn_scoped(outer, || {
                thread::scope(|s| {
                    for at in 0..3 {
                        let body = || {
                            begun.fetch_add(1, SeqCst);
                            gate.pass();
                        };
                        named(&format!("of a shown scope {at}")).spawn_scoped(s, body).unwrap();
                    }
                });
            });
            until_waiting("ends a shown scope");
            wait_until(|| begun.load(SeqCst) == 3);
            let text = format!("{:400}", deadlock::snapshot());
            gate.open();
            ends.unwrap().join().unwrap();
            text
        });
        assert!(text.contains("' waits for the end of thread 'of a shown scope 0' (spawned at "), "{text}");
        assert!(text.contains(") and 2 others at "), "{text}");
    });
}

#[test]
fn a_long_join_is_told_with_what_the_thread_does() {
    alone(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let _hook = deadlock::warn_after(Duration::from_millis(5), move |wait| tell.send(wait.clone()).unwrap());
        let gate = Gate::default();
        let theirs = gate.clone();
        let begun = Gate::default();
        let begins = begun.clone();
        let body = move || {
            begins.open();
            theirs.pass();
        };
        let child = named("slow child").spawn(body).unwrap();
        begun.pass();
        let joiner = named("patient joiner").spawn(move || child.join().unwrap()).unwrap();
        let wait = told.recv().unwrap();
        assert_eq!(wait.waiter().name(), Some("patient joiner"));
        assert_eq!(wait.owner().unwrap().name(), Some("slow child"));
        let text = format!("{wait:400}");
        assert!(text.starts_with("long wait: thread 'patient joiner' has waited "), "{text}");
        assert!(text.contains(" for the end of thread 'slow child' (spawned at "), "{text}");
        assert!(text.contains("thread 'slow child' has not ended"), "{text}");
        gate.open();
        joiner.join().unwrap();
    });
}
