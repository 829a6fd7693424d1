//! What a snapshot shows, as a graph, text, DOT and JSON.

use petgraph::algo::is_cyclic_directed;

use super::*;
use crate::deadlock::report::Nature;
use crate::deadlock::report::render::tests::{A, B, lock, task, thread};

fn crossed() -> WaitForGraph {
    let (a, b) = (lock(1, Some("a"), A), lock(2, Some("b"), A));
    let left = thread("left", 1).holding(&a, A).waits(&b, B);
    let right = thread("right", 2).holding(&b, A).waits(&a, B);
    WaitForGraph::new(vec![left, right])
}

#[test]
fn a_deadlock_is_a_cycle_and_a_chain_is_none() {
    assert!(is_cyclic_directed(crossed().graph()));
    let a = lock(1, Some("a"), A);
    let chain = WaitForGraph::new(vec![thread("left", 1).holding(&a, A), thread("right", 2).waits(&a, B)]);
    assert_eq!((chain.graph().node_count(), chain.graph().edge_count()), (3, 2));
    assert!(!is_cyclic_directed(chain.graph()));
    let edges = chain.graph().raw_edges().iter();
    let ends: Vec<_> = edges.map(|edge| (edge.source().index(), edge.target().index())).collect();
    assert_eq!(ends, [(1, 0), (2, 1)], "from the resource to its holder, from the waiter to the resource");
}

/// Returns a graph in which each of two workers of a pool waits for a task that is queued there, and a third task
/// runs in place.
fn starved() -> WaitForGraph {
    let pool: Arc<str> = "pool".into();
    let [first, second, queued] = [1, 2, 3].map(|key| task(key, None, A));
    WaitForGraph::new(vec![
        thread("pool_0", 1).working_for(&pool).running(&first).waits(&queued, B).in_queue_of(&pool),
        thread("pool_1", 2).working_for(&pool).waits(&second, B),
        StuckThread { is_in_place: true, ..thread("pool_1", 2) }.running(&second).waits(&queued, B).in_queue_of(&pool),
    ])
}

#[test]
fn a_starvation_is_a_cycle_through_the_pool_and_each_of_its_workers() {
    let graph = starved();
    let components = petgraph::algo::tarjan_scc(graph.graph());
    let largest = components.iter().max_by_key(|nodes| nodes.len()).unwrap();
    let mut kinds: Vec<_> = largest.iter().map(|&node| graph.graph()[node].kind()).collect();
    kinds.sort_by_key(|&kind| kind as u8);
    use NodeKind::{Pool, Task, Thread};
    assert_eq!(kinds, [Thread, Thread, Thread, Task, Task, Pool], "all but the task that nobody waits for");
    let count = |matches: fn(&Edge) -> bool| graph.graph().edge_weights().filter(|edge| matches(edge)).count();
    assert_eq!(count(|edge| matches!(edge, Edge::Runs)), 2);
    assert_eq!(count(|edge| matches!(edge, Edge::Queued)), 1);
    assert_eq!(count(|edge| matches!(edge, Edge::Worker)), 2);
    assert_eq!(count(|edge| matches!(edge, Edge::Waits { .. })), 3);
    let dot = graph.to_dot();
    assert!(dot.contains("[shape=folder, label=\"pool 'pool'\"];"), "{dot}");
    assert!(dot.contains("[label=\"queued in\"];"), "{dot}");
}

#[test]
fn whoever_waits_for_room_waits_for_the_pool() {
    let pool: Arc<str> = "pool".into();
    let room = Resource { nature: Nature::Pool, primitive: "ThreadPoolExecutor", ..lock(1, None, A) };
    let graph = WaitForGraph::new(vec![thread("x", 1).working_for(&pool).waits(&room, B).in_queue_of(&pool)]);
    assert_eq!((graph.graph().node_count(), graph.graph().edge_count()), (2, 2));
    assert!(is_cyclic_directed(graph.graph()));
}

#[test]
fn resources_at_one_address_are_one_only_if_they_were_made_in_one_place() {
    let (old, new) = (lock(1, None, A), lock(1, None, B));
    let graph = |held| WaitForGraph::new(vec![thread("x", 1).holding(held, A), thread("y", 2).holding(&new, A)]);
    assert_eq!(graph(&old).graph().node_count(), 4);
    assert_eq!(graph(&new).graph().node_count(), 3);
}

#[test]
fn text_has_a_line_for_each_wait_and_hold() {
    let text = format!("{:200}", crossed());
    for line in [
        format!("  B = Lock<Vec<u64>> 'a', made at {A}\n"),
        format!("\nthread 'left' waits for A 'b' at {B}, for at least 1.2 ms\n"),
        format!("\n  and holds B 'a' (thread 'right' waits for it), taken at {A}\n"),
    ] {
        assert!(text.contains(&line), "{text}");
    }
    assert_eq!(WaitForGraph::new(vec![thread("idle", 1)]).to_string(), "no thread waits or holds anything");
    let holder = WaitForGraph::new(vec![thread("x", 1).holding(&lock(1, Some("a"), A), B)]);
    let text = format!("{holder:200}");
    assert!(text.starts_with(&format!("thread 'x'\n  holds Lock<Vec<u64>> 'a', taken at {B}\n")), "{text}");
}

#[test]
fn text_tells_waits_that_end_by_themselves() {
    let mut waiter = thread("x", 1).waits(&lock(1, Some("a"), A), B);
    waiter.waits_for.as_mut().unwrap().timed = true;
    let text = format!("{:200}", WaitForGraph::new(vec![waiter]));
    assert!(text.contains(", for at least 1.2 ms, with a time-out\n"), "{text}");
}

#[test]
fn a_wait_for_another_process_names_it_in_text_and_dot() {
    let waiter = thread("x", 1).waits(&task(1, Some("thumbnail"), A), B).for_process(4711);
    let graph = WaitForGraph::new(vec![waiter]);
    let text = format!("{graph:200}");
    assert!(text.contains(&format!("waits for task A 'thumbnail', which process 4711 runs, at {B}, ")), "{text}");
    assert!(graph.to_dot().contains(&format!("[label=\"waits 1.2 ms\\nfor process 4711\\n{B}\", color=red];")));
    assert!(!is_cyclic_directed(graph.graph()), "what the process waits for is not known");
}

#[test]
#[cfg(feature = "serde")]
fn json_tells_the_process_that_is_waited_for() {
    let waiter = thread("x", 1).waits(&task(1, Some("thumbnail"), A), B).for_process(4711);
    let thread = serde_json::to_value(&waiter).unwrap();
    assert_eq!(thread["waits_for"]["process"], 4711);
    let graph = serde_json::to_value(WaitForGraph::new(vec![waiter])).unwrap();
    assert_eq!(graph["edges"][0]["process"], 4711);
}

#[test]
#[cfg(feature = "serde")]
fn json_tells_tasks_and_pools() {
    let json = serde_json::to_value(starved()).unwrap();
    let kinds = |of: &str| {
        let list = json[of].as_array().unwrap().iter();
        list.map(|each| each["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("nodes"), ["thread", "task", "pool", "task", "thread", "task", "thread"]);
    assert_eq!(kinds("edges")[..4], ["runs", "worker", "waits", "queued"]);
    assert_eq!(json["nodes"][2]["name"], "pool");
    assert_eq!(json["nodes"][1]["data_type"], "my::main::{{closure}}");
}

#[test]
#[cfg(feature = "serde")]
fn json_has_nodes_and_edges() {
    use serde_json::json;

    let a = lock(1, Some("a"), A);
    let graph = WaitForGraph::new(vec![thread("x", 1).waits(&a, B), thread("", 2).holding(&a, A)]);
    let place = |site: Site| json!({"file": site.file(), "line": site.line(), "column": site.column()});
    let expected = json!({
        "nodes": [
            {"kind": "thread", "name": "x", "os_id": 1, "is_gone": false, "omitted_holds": 0, "activity": null,
                "suspicions": []},
            {"kind": "resource", "name": "a", "rank": null, "id": null, "primitive": "Lock", "data_type": "alloc::vec::Vec<u64>", "made_at": place(A)},
            {"kind": "thread", "name": null, "os_id": 2, "is_gone": false, "omitted_holds": 0, "activity": null,
                "suspicions": []},
        ],
        "edges": [
            {"from": 0, "to": 1, "kind": "waits", "site": place(B), "purpose": null, "access": null, "timed": false, "process": null,
                "waited": {"secs": 0, "nanos": 1_250_000}},
            {"from": 1, "to": 2, "kind": "holds", "site": place(A), "purpose": null, "access": null},
        ],
    });
    assert_eq!(serde_json::to_value(&graph).unwrap(), expected);
}
