//! Why a guard was still there, as the source tells it.

use super::*;

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_guard_that_a_construct_or_a_caller_keeps() {
    let [a, b, _] = named();
    for (name, construct) in constructs::CONSTRUCTS {
        let [takes, waits] = constructs::Noted::sites(construct);
        let relock = made(Kind::Relock, [thread("main", 1).waits(&a, waits).holding(&a, takes)], Vec::new());
        Picture::WithSources(&relock).is_golden(&format!("relock-in-{name}"));
        assert!(text(&relock).contains("help: drop the guard taken at "), "without sources");
        let right = thread("right", 2).waits(&a, B).holding(&b, A);
        let left = thread("left", 1).waits(&b, waits).holding(&a, takes);
        Picture::WithSources(&made(Kind::Cycle, [right, left], Vec::new())).is_golden(&format!("cycle-in-{name}"));
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn the_source_is_asked_of_guards_that_are_part_of_the_deadlock_alone() {
    let [a, b, _] = named();
    let (_, construct) = constructs::CONSTRUCTS[0];
    let [takes, waits] = constructs::Noted::sites(construct);
    let tells = |kind, threads: &[StuckThread]| {
        let report = made(kind, threads, Vec::new());
        Picture::WithSources(&report).text(Style::plain(), 200).contains("of its `match`")
    };
    let relock = thread("x", 1).waits(&a, waits).holding(&a, takes);
    assert!(tells(Kind::Relock, std::slice::from_ref(&relock)));
    let another = thread("x", 1).waits(&a, waits).holding(&b, takes).holding(&a, A);
    assert!(!tells(Kind::Relock, &[another]), "a lock that nobody waits for");
    let lazy = Resource { primitive: "LazyLock", ..a.clone() };
    assert!(!tells(Kind::Relock, &[thread("x", 1).waits(&lazy, waits).holding(&lazy, takes)]), "no guard");
    let mut left_behind = relock.clone();
    left_behind.holds[0].left_behind = true;
    let left = thread("y", 2).waits(&a, B).holding(&b, A);
    let crossed = |thread: &StuckThread| [thread.clone().waits(&b, waits), left.clone()];
    assert!(tells(Kind::Cycle, &crossed(&relock)));
    assert!(!tells(Kind::Cycle, &crossed(&left_behind)), "a guard that a task has left behind");
    let mut formats = relock;
    formats.holds[0].purpose = Some(Purpose::Debug);
    assert!(!tells(Kind::Cycle, &crossed(&formats)), "a line that made the lock");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn threads_of_a_ring_keep_their_guards_in_the_same_construct() {
    for (name, construct) in constructs::CONSTRUCTS.iter().filter(|(name, _)| ["match", "callback"].contains(name)) {
        let [takes, waits] = constructs::Noted::sites(*construct);
        let mut ring = cycle(5, Some("fork"));
        for thread in &mut ring.threads {
            thread.waits_for.as_mut().unwrap().site = waits;
            thread.holds[0].site = takes;
        }
        Picture::WithSources(&ring).is_golden(&format!("ring-in-{name}"));
    }
}
