//! A deadlock, and a picture, of threads that hold very much: what somebody waits for is told, the rest is counted.

use std::thread;

use bowline::Lock;
use bowline::deadlock::{self, Deadlock, Edge, Kind};
use bowline::sync::LockGuard;

use crate::support::{LIMIT, alone, find_thread, on_another_thread, spawn_named, until_waiting, within};

const MANY: usize = 1000;
/// So many holds of a thread are told, as the documentation says.
const TOLD: usize = 64;

/// Very many locks, of which one in the middle is special.
fn many() -> Vec<Lock<usize>> {
    let name = |n| if n == MANY / 2 { "in the middle" } else { "one of many" };
    (0..MANY).map(|n| Lock::named(name(n), n)).collect()
}

fn lock_all(locks: &[Lock<usize>]) -> Vec<LockGuard<'_, usize>> {
    locks.iter().map(|lock| lock.lock()).collect()
}

/// The deadlock of a thread that holds very much with one that wants what is in the middle, and holds very much as well.
fn crossed() -> Deadlock {
    let (mine, theirs) = (many(), many());
    on_another_thread(|| {
        let guards = lock_all(&mine);
        thread::scope(|s| {
            let other = spawn_named(s, "holds as much", || {
                let _guards = lock_all(&theirs);
                drop(mine[MANY / 2].acquire());
            });
            until_waiting("holds as much");
            let deadlock = theirs[MANY / 2].acquire().map(drop).unwrap_err();
            drop(guards);
            other.join().unwrap();
            deadlock
        })
    })
}

#[test]
fn a_report_tells_what_is_waited_for_and_counts_the_rest() {
    within(LIMIT, || {
        let deadlock = crossed();
        let report = deadlock.report();
        assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2));
        for thread in report.threads() {
            assert_eq!((thread.holds().len(), thread.omitted_holds()), (TOLD, MANY - TOLD));
            let names = thread.holds().iter().map(|held| held.resource().name());
            assert_eq!(names.filter(|&name| name == Some("in the middle")).count(), 1);
        }
        let text = format!("{deadlock:400}");
        assert_eq!(text.matches("\n  … and 984 more locks\n").count(), 2, "{text}");
        assert!(text.len() < 8 << 10, "{} bytes: {text}", text.len());
        let held = |letter| text.matches(&format!("and holds {letter} 'in the middle' (")).count();
        assert_eq!((held("A"), held("B")), (1, 1), "{text}");
        assert!(text.contains("help: take these locks in one order everywhere, for example by index:\n"), "{text}");
        let json = serde_json::to_string(report).unwrap();
        assert!(json.len() < 64 << 10 && json.contains("\"omitted_holds\":936"), "{} bytes", json.len());
    });
}

#[test]
fn a_picture_has_a_part_of_what_a_thread_holds_and_its_count() {
    alone(|| {
        let locks = many();
        thread::scope(|s| {
            let body = || {
                let _guards = lock_all(&locks);
                let me = find_thread("collector").unwrap();
                assert_eq!((me.holds().len(), me.omitted_holds()), (TOLD, MANY - TOLD));
                let snapshot = deadlock::snapshot();
                let holds = snapshot.graph().edge_weights().filter(|edge| matches!(edge, Edge::Holds { .. })).count();
                assert!((TOLD..MANY).contains(&holds), "{holds}");
                assert!(snapshot.to_string().contains("\n  … and 984 more"), "{snapshot}");
            };
            spawn_named(s, "collector", body).join().unwrap();
        });
    });
}

#[test]
fn all_that_is_waited_for_is_told_however_much_it_is() {
    const WAITERS: usize = 2 * TOLD;
    within(LIMIT, || {
        let locks: Vec<_> = (0..2 * WAITERS).map(|n| Lock::named("wanted by one", n)).collect();
        thread::scope(|s| {
            let body = || {
                let guards = lock_all(&locks);
                let waiters: Vec<_> = (0..WAITERS)
                    .map(|n| {
                        let lock = &locks[WAITERS + n];
                        spawn_named(s, &format!("waiter {n}"), move || drop(lock.lock()))
                    })
                    .collect();
                (0..WAITERS).for_each(|n| drop(until_waiting(&format!("waiter {n}"))));
                let me = find_thread("holds what all want").unwrap();
                assert_eq!((me.holds().len(), me.omitted_holds()), (WAITERS, WAITERS));
                drop(guards);
                waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            };
            spawn_named(s, "holds what all want", body).join().unwrap();
        });
    });
}
