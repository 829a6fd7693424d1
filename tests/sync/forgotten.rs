//! A guard is forgotten, its lock replaced in place, and the new one locked: what was forgotten stays listed, and is never taken
//! for the new lock.

use std::mem::forget;
use std::thread;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{self, Edge, Kind, Node};
use bowline::{Lock, RLock};

use crate::support::{LIMIT, alone, on_another_thread, spawn_named, until_waiting, within};

/// The names of the locks that a thread is said to hold, with the lines in which it took them.
fn held(thread: &StuckThread) -> Vec<(Option<&'static str>, u32)> {
    thread.holds().iter().map(|held| (held.resource().name(), held.site().line())).collect()
}

/// Runs `body` with the first places of its thread's list taken and free, so that a hold that is listed later may stand before
/// one that was forgotten, and after it.
fn in_either_order(body: impl Fn(&dyn Fn()) + Sync) {
    within(LIMIT, || {
        on_another_thread(|| body(&|| {}));
        on_another_thread(|| {
            let before = [Lock::new(()), Lock::new(())];
            let guards = std::cell::Cell::new(Some(before.each_ref().map(Lock::lock)));
            body(&|| drop(guards.take()));
        });
    });
}

#[test]
fn a_relock_names_the_lock_that_is_there_and_its_line() {
    in_either_order(|free_places| {
        let mut lock = Lock::named("old", 0);
        forget(lock.lock());
        free_places();
        lock = Lock::named("new", 1);
        let guard = lock.lock();
        let taken = line!() - 1;
        let deadlock = lock.acquire().map(drop).unwrap_err();
        assert_eq!(held(&deadlock.report().threads()[0]), [(Some("new"), taken)]);
        let text = deadlock.to_string();
        assert!(!text.contains("'old'"), "{text}");
        assert!(text.contains(&format!("drop the guard taken at {}:{taken}:", file!())), "{text}");
        drop(guard);
    });
}

#[test]
fn locks_without_names_are_told_apart_by_the_lines_that_made_them() {
    in_either_order(|free_places| {
        let mut lock = Lock::new(0);
        forget(lock.lock());
        free_places();
        lock = Lock::new(1);
        let made = line!() - 1;
        let guard = lock.lock();
        let deadlock = lock.acquire().map(drop).unwrap_err();
        let [only] = deadlock.report().threads()[0].holds() else { panic!("{deadlock}") };
        assert_eq!(only.resource().made_at().line(), made);
        assert!(!deadlock.to_string().contains('#'), "{deadlock}");
        drop(guard);
    });
}

#[test]
fn locks_that_nothing_tells_apart_are_held_once() {
    in_either_order(|free_places| {
        let mut lock = Lock::new(0);
        for n in 0..3 {
            lock = Lock::new(n);
            forget(lock.lock());
        }
        free_places();
        let deadlock = lock.acquire().map(drop).unwrap_err();
        assert_eq!(deadlock.report().threads()[0].holds().len(), 1, "{deadlock}");
    });
}

#[test]
fn a_cycle_names_the_locks_that_are_there() {
    within(LIMIT, || {
        let (mut first, second) = (Lock::named("old", 0), Lock::named("second", 0));
        // Two forget, each a lock of its own; one of them takes the new one.
        on_another_thread(|| forget(first.lock()));
        let deadlock = on_another_thread(|| {
            first = Lock::named("old", 0);
            forget(first.lock());
            first = Lock::named("new", 1);
            let (first, second) = (&first, &second);
            let mine = first.lock();
            thread::scope(|s| {
                let other = spawn_named(s, "other", || {
                    let _second = second.lock();
                    let _first = first.acquire();
                });
                until_waiting("other");
                let deadlock = second.acquire().map(drop).unwrap_err();
                drop(mine);
                other.join().unwrap();
                deadlock
            })
        });
        let report = deadlock.report();
        assert_eq!(report.kind(), Kind::Cycle);
        let names: Vec<_> = report.threads().iter().flat_map(held).map(|(name, _)| name).collect();
        assert_eq!(names, [Some("new"), Some("second")]);
        assert!(!deadlock.to_string().contains("'old'"), "{deadlock}");
    });
}

#[test]
fn the_last_guard_of_a_re_entrant_lock_releases_the_hold_of_that_lock() {
    in_either_order(|free_places| {
        let mut lock = RLock::named("old", 0);
        forget(lock.lock());
        free_places();
        lock = RLock::named("new", 1);
        let (outer, inner) = (lock.lock(), lock.lock());
        drop(outer);
        let deadlock = Lock::new(());
        let guard = deadlock.lock();
        let report = deadlock.acquire().map(drop).unwrap_err();
        assert!(held(&report.report().threads()[0]).iter().any(|(name, _)| *name == Some("new")), "{report}");
        drop(inner);
        let report = deadlock.acquire().map(drop).unwrap_err();
        assert!(held(&report.report().threads()[0]).iter().all(|(name, _)| name.is_none()), "{report}");
        drop(guard);
    });
}

#[test]
fn a_snapshot_has_a_node_for_each_of_the_two() {
    alone(|| {
        thread::scope(|s| {
            let body = || {
                let mut lock = Lock::named("replaced", 0);
                forget(lock.lock());
                lock = Lock::named("in its place", 1);
                let _guard = lock.lock();
                let snapshot = deadlock::snapshot();
                let graph = snapshot.graph();
                let of = |name: &str| {
                    let is_it = |node: &Node| matches!(node, Node::Resource(lock) if lock.name() == Some(name));
                    let nodes: Vec<_> = graph.node_indices().filter(|&node| is_it(&graph[node])).collect();
                    assert_eq!(nodes.len(), 1, "{snapshot}");
                    graph.edges(nodes[0]).filter(|edge| matches!(edge.weight(), Edge::Holds { .. })).count()
                };
                assert_eq!((of("replaced"), of("in its place")), (1, 1));
            };
            spawn_named(s, "replacer", body).join().unwrap();
        });
    });
}
