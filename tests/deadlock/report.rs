//! What a report says: the lines and names of the user's program, as data, as text and as JSON.
//!
//! The tests share a process: each reads only the reports that its own waits return.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{self, Deadlock, Kind, Report};
use bowline::sync::LockGuard;
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, held_names, wanted};
use crate::support::{LIMIT, alone, message, spawn_named, until_waiting, within};

/// The file and line of a place.
fn line_of(site: &Location<'_>) -> (String, u32) {
    (site.file().to_owned(), site.line())
}

fn here(line: u32) -> (String, u32) {
    (file!().to_owned(), line)
}

/// The lines in which a thread took what it holds, by name.
fn taken_at(thread: &StuckThread, name: &str) -> Vec<(String, u32)> {
    let holds = thread.holds().iter().filter(|held| held.resource().name() == Some(name));
    holds.map(|held| line_of(held.site())).collect()
}

/// What a relock by `again` is told.
fn relock(again: impl FnOnce() -> Option<Deadlock>) -> Deadlock {
    again().expect("a deadlock with oneself")
}

#[test]
fn every_way_to_take_a_lock_is_told_by_the_users_line() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("own", ()));
        let again = || lock.acquire().map(drop).err();
        let told = |deadlock: Deadlock| taken_at(&deadlock.report().threads()[0], "own");
        let day = Duration::from_secs(24 * 3600);
        let soon = Instant::now() + day;

        let line = line!() + 1;
        let ways: [&dyn Fn() -> Deadlock; 10] = [
            &|| with(lock.lock(), again),
            &|| with(lock.acquire().unwrap(), again),
            &|| with(lock.try_lock().unwrap(), again),
            &|| with(lock.try_lock_for(day).unwrap(), again),
            &|| with(lock.try_lock_until(soon).unwrap(), again),
            &|| with(lock.lock_arc(), again),
            &|| with(lock.acquire_arc().unwrap(), again),
            &|| with(lock.try_lock_arc().unwrap(), again),
            &|| with(lock.try_lock_arc_for(day).unwrap(), again),
            &|| with(lock.try_lock_arc_until(soon).unwrap(), again),
        ];
        for (way, line) in ways.iter().zip(line + 1..) {
            assert_eq!(told(way()), [here(line)]);
        }
    });

    fn with<G>(guard: G, again: impl FnOnce() -> Option<Deadlock>) -> Deadlock {
        let deadlock = relock(again);
        drop(guard);
        deadlock
    }
}

#[test]
fn every_way_to_take_a_re_entrant_lock_is_told_by_the_users_line_of_the_outermost_guard() {
    within(LIMIT, || {
        let own = Lock::named("own", ());
        let lock = RLock::named("again", ());
        let day = Duration::from_secs(24 * 3600);
        let soon = Instant::now() + day;
        let told = || {
            let _own = own.lock();
            let deadlock = relock(|| own.acquire().map(drop).err());
            taken_at(&deadlock.report().threads()[0], "again")
        };

        let (guard, line) = (lock.lock(), line!());
        let inner = lock.lock();
        assert_eq!(told(), [here(line)]);
        drop((guard, inner));
        let (guard, line) = (lock.acquire().unwrap(), line!());
        assert_eq!(told(), [here(line)]);
        drop(guard);
        let (guard, line) = (lock.try_lock().unwrap(), line!());
        assert_eq!(told(), [here(line)]);
        drop(guard);
        let (guard, line) = (lock.try_lock_for(day).unwrap(), line!());
        assert_eq!(told(), [here(line)]);
        drop(guard);
        let (guard, line) = (lock.try_lock_until(soon).unwrap(), line!());
        assert_eq!(told(), [here(line)]);
        drop(guard);
        assert_eq!(told(), []);
    });
}

#[test]
fn a_wait_that_was_granted_late_is_told_by_its_line_too() {
    within(LIMIT, || {
        let lock = Lock::named("awaited", ());
        let guard = lock.lock();
        thread::scope(|s| {
            let waiter = spawn_named(s, "granted late", || {
                let (_granted, line) = (lock.lock(), line!());
                (relock(|| lock.acquire().map(drop).err()), line)
            });
            until_waiting("granted late");
            LockGuard::unlock_fair(guard);
            let (deadlock, line) = waiter.join().unwrap();
            assert_eq!(taken_at(&deadlock.report().threads()[0], "awaited"), [here(line)]);
        });
    });
}

#[test]
fn what_was_unlocked_meanwhile_is_told_by_the_line_of_the_call() {
    within(LIMIT, || {
        let lock = Lock::named("own", ());
        let again = || relock(|| lock.acquire().map(drop).err());
        let guard = lock.lock();
        let (guard, line) = (LockGuard::unlocked(guard, || ()), line!());
        assert_eq!(taken_at(&again().report().threads()[0], "own"), [here(line)]);
        let (guard, line) = (LockGuard::acquire_unlocked(guard, || ()).unwrap(), line!());
        assert_eq!(taken_at(&again().report().threads()[0], "own"), [here(line)]);
        drop(guard);
    });
}

#[test]
fn every_way_to_make_a_lock_is_told_by_the_users_line_and_name() {
    fn told<T>(lock: &Lock<T>) -> (Option<&'static str>, &'static str, (String, u32)) {
        let _guard = lock.lock();
        let deadlock = relock(|| lock.acquire().map(drop).err());
        let made = wanted(&deadlock.report().threads()[0]).clone();
        assert!(made.is_same(deadlock.report().threads()[0].holds()[0].resource()));
        assert_eq!(made.primitive(), "Lock");
        (made.name(), made.data_type(), line_of(made.made_at()))
    }

    static STATIC: Lock<u8> = Lock::named("static", 0);
    let static_line = line!() - 1;
    within(LIMIT, || {
        assert_eq!(told(&STATIC), (Some("static"), "u8", here(static_line)));
        let (lock, line) = (Lock::new(0_i64), line!());
        assert_eq!(told(&lock), (None, "i64", here(line)));
        let (lock, line) = (Lock::named("named", vec![1_u32]), line!());
        assert_eq!(told(&lock), (Some("named"), "alloc::vec::Vec<u32>", here(line)));
        let (lock, line) = (Lock::<bool>::default(), line!());
        assert_eq!(told(&lock), (None, "bool", here(line)));
        let (lock, line) = (Lock::from('c'), line!());
        assert_eq!(told(&lock), (None, "char", here(line)));
        let (lock, line): (Lock<&str>, _) = ("into".into(), line!());
        assert_eq!(told(&lock), (None, "&str", here(line)));
    });
}

#[test]
fn every_way_to_make_a_re_entrant_lock_is_told_by_the_users_line_and_name() {
    fn told<T: Send>(lock: &RLock<T>) -> (Option<&'static str>, &'static str, (String, u32)) {
        let own = Lock::new(());
        let _guards = (lock.lock(), own.lock());
        let deadlock = relock(|| own.acquire().map(drop).err());
        let holds = deadlock.report().threads()[0].holds();
        let held = holds.iter().map(|held| held.resource()).find(|held| held.primitive() == "RLock").unwrap();
        (held.name(), held.data_type(), line_of(held.made_at()))
    }

    within(LIMIT, || {
        let (lock, line) = (RLock::new(0_i64), line!());
        assert_eq!(told(&lock), (None, "i64", here(line)));
        let (lock, line) = (RLock::named("named", ()), line!());
        assert_eq!(told(&lock), (Some("named"), "()", here(line)));
        let (lock, line) = (RLock::<bool>::default(), line!());
        assert_eq!(told(&lock), (None, "bool", here(line)));
        let (lock, line) = (RLock::from('c'), line!());
        assert_eq!(told(&lock), (None, "char", here(line)));
    });
}

#[test]
fn a_victim_panics_in_the_users_line() {
    static PANICKED_AT: Mutex<Vec<(String, u32)>> = Mutex::new(Vec::new());

    fn panics(body: impl FnOnce()) -> Vec<(String, u32)> {
        let unwound = catch_unwind(AssertUnwindSafe(body));
        assert!(message(&*unwound.unwrap_err()).starts_with("deadlock: "));
        std::mem::take(&mut PANICKED_AT.lock().unwrap())
    }

    // In a process of its own, for the panic hook.
    alone(|| {
        std::panic::set_hook(Box::new(|info| {
            PANICKED_AT.lock().unwrap().extend(info.location().map(line_of));
        }));
        let lock = Arc::new(Lock::named("own", ()));
        let guard = lock.lock();
        let line = line!() + 1;
        assert_eq!(panics(|| drop(lock.lock())), [here(line)]);
        assert_eq!(panics(|| drop(lock.lock_arc())), [here(line + 1)]);
        let forgets = || std::mem::forget(lock.lock());
        assert_eq!(panics(|| drop(LockGuard::unlocked(guard, forgets))), [here(line + 3)]);

        if cfg!(target_os = "linux") {
            let again = RLock::new(());
            thread::scope(|s| s.spawn(|| std::mem::forget(again.lock())).join().unwrap());
            assert_eq!(panics(|| drop(again.lock())), [here(line!())]);
        }
    });
}

/// A cycle of two with a bystander, and its lines: `right` closes it and is told.
static CROSSED: LazyLock<(Deadlock, [u32; 5])> = LazyLock::new(|| within(LIMIT, crossed));

fn crossed() -> (Deadlock, [u32; 5]) {
    let (a, b) = (Lock::named("ledger", 0_u8), RLock::new(0_u16));
    let both_hold = Barrier::new(2);
    let may_close = Gate::new();
    let mut lines = [0; 5];
    let [left_took, left_waits, right_took, right_waits, behind_waits] = &mut lines;
    let deadlock = thread::scope(|s| {
        spawn_named(s, "left", || {
            let (_a, line) = (a.lock(), line!());
            *left_took = line;
            both_hold.wait();
            *left_waits = line!() + 1;
            drop(b.lock());
        });
        let right = spawn_named(s, "right", || {
            let (_b, line) = (b.lock(), line!());
            *right_took = line;
            both_hold.wait();
            may_close.pass();
            *right_waits = line!() + 1;
            a.acquire().map(drop).unwrap_err()
        });
        until_waiting("left");
        spawn_named(s, "behind", || {
            *behind_waits = line!() + 1;
            drop(b.lock());
        });
        until_waiting("behind");
        may_close.open();
        right.join().unwrap()
    });
    (deadlock, lines)
}

#[test]
fn a_cycle_is_told_with_every_line_of_it() {
    let &(ref deadlock, [left_took, left_waits, right_took, right_waits, behind_waits]) = &*CROSSED;
    let report = deadlock.report();
    let [right, left] = report.threads() else { panic!("{report}") };
    let [behind] = report.bystanders() else { panic!("{report}") };
    for (thread, name, took, waits) in
        [(right, "right", Some(right_took), right_waits), (left, "left", Some(left_took), left_waits)]
            .into_iter()
            .chain([(behind, "behind", None, behind_waits)])
    {
        assert_eq!(thread.name(), Some(name));
        assert!(!thread.is_gone());
        assert!(!cfg!(target_os = "linux") || thread.os_id() != 0);
        let wait = thread.waits_for().unwrap();
        assert_eq!(line_of(wait.site()), here(waits));
        assert!(!wait.is_timed() && wait.waited() < LIMIT);
        let took_at: Vec<_> = thread.holds().iter().map(|held| line_of(held.site())).collect();
        assert_eq!(took_at, took.map(here).into_iter().collect::<Vec<_>>());
    }
    // The grace may end a quarter early, so that a timer that fires late ends it on time.
    assert!(left.waits_for().unwrap().waited() >= deadlock::grace() * 3 / 4, "longer than the grace");
    assert_eq!(held_names(left), ["ledger"]);
    assert_eq!((wanted(left).primitive(), wanted(right).primitive()), ("RLock", "Lock"));
}

#[test]
fn the_text_of_a_report_names_every_thread_lock_and_line() {
    let (deadlock, lines) = &*CROSSED;
    let text = deadlock.to_string();
    assert_eq!(text.lines().next(), Some("deadlock: 2 threads wait for each other"));
    for line in lines {
        assert!(text.contains(&format!("{}:{line}:", file!())), "line {line}: {text}");
    }
    for part in [
        "  A = Lock<u8> 'ledger', made at ",
        "  B = RLock<u16>, made at ",
        "thread 'right' waits for A 'ledger'",
        "  and holds B (thread 'left' and 1 other thread ",
        "also blocked by this deadlock:\n  thread 'behind' waits for B",
        "\nhelp: ",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert_eq!(text, deadlock.report().to_string());
    assert!(std::error::Error::source(&deadlock).is_none());
    assert!(deadlock.clone().to_string() == text && format!("{deadlock:?}") == text);
}

#[test]
fn a_deadlock_that_is_unwrapped_or_returned_from_main_is_read_as_its_report() {
    let deadlock = &CROSSED.0;
    let text = deadlock.to_string();
    for shown in [format!("{deadlock:?}"), format!("{deadlock:#?}")] {
        assert_eq!(shown, text);
    }
    let lock = Lock::named("unwrapped", ());
    let _guard = lock.lock();
    let payload = catch_unwind(AssertUnwindSafe(|| drop(lock.acquire().unwrap()))).unwrap_err();
    let (_, text) = message(&*payload).split_once("deadlock: ").expect("a report");
    assert!(text.contains(" waits for a lock it holds itself\n\n  A = Lock<()> 'unwrapped', made at "), "{text}");
    assert!(text.replace("\n    ", " ").contains("waits for A 'unwrapped' at "), "{text}");
}

#[test]
fn the_json_of_a_report_is_all_of_it() {
    fn matches(thread: &StuckThread, json: &serde_json::Value) {
        fn place(site: &Location<'_>) -> serde_json::Value {
            serde_json::json!({"file": site.file(), "line": site.line(), "column": site.column()})
        }
        fn resource(of: &bowline::deadlock::report::Resource, json: &serde_json::Value) {
            assert_eq!(json["name"], serde_json::json!(of.name()));
            assert_eq!(json["primitive"], of.primitive());
            assert_eq!(json["data_type"], of.data_type());
            assert_eq!(json["made_at"], place(of.made_at()));
        }
        assert_eq!(json["name"], serde_json::json!(thread.name()));
        assert_eq!(json["os_id"], thread.os_id());
        assert_eq!(json["is_gone"], thread.is_gone());
        match thread.waits_for() {
            None => assert!(json["waits_for"].is_null()),
            Some(wait) => {
                let json = &json["waits_for"];
                resource(wait.resource(), &json["resource"]);
                assert_eq!(json["site"], place(wait.site()));
                assert_eq!(json["timed"], wait.is_timed());
                assert_eq!(json["waited"]["secs"], wait.waited().as_secs());
                assert_eq!(json["waited"]["nanos"], wait.waited().subsec_nanos());
            }
        }
        let holds = json["holds"].as_array().unwrap();
        assert_eq!(holds.len(), thread.holds().len());
        for (held, json) in thread.holds().iter().zip(holds) {
            resource(held.resource(), &json["resource"]);
            assert_eq!(json["site"], place(held.site()));
        }
    }
    fn check(report: &Report, kind: &str) {
        let text = serde_json::to_string(report).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["kind"], kind);
        for (threads, list) in [(report.threads(), "threads"), (report.bystanders(), "bystanders")] {
            let list = json[list].as_array().unwrap();
            assert_eq!(list.len(), threads.len());
            threads.iter().zip(list).for_each(|(thread, json)| matches(thread, json));
        }
    }

    within(LIMIT, || {
        check(CROSSED.0.report(), "Cycle");
        let lock = Lock::named("a \"quoted\" \\ name\n", ());
        let deadlock = thread::scope(|s| {
            // A thread without a name.
            let body = || {
                let _guard = lock.lock();
                lock.acquire().map(drop).unwrap_err()
            };
            s.spawn(body).join().unwrap()
        });
        check(deadlock.report(), "Relock");
        if cfg!(target_os = "linux") {
            thread::scope(|s| spawn_named(s, "gone", || std::mem::forget(lock.lock())).join().unwrap());
            let deadlock = lock.acquire().map(drop).unwrap_err();
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
            check(deadlock.report(), "Abandoned");
        }
    });
}
