//! Hazards: what one thread does that breaks the contract of a lock is told at its first execution, by itself; and what
//! breaks none is not.
//!
//! Every test has a process of its own: policy, hooks and what was told before are process-wide.

use std::process::Output;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use bowline::deadlock::report::Purpose;
use bowline::deadlock::{self, HazardKind, HazardPolicy, Kind};
use bowline::{Lock, RLock, RwLock, ThreadPoolExecutor};

use crate::support::hazards::{
    Hazards, NONE_YET, Rw, downgraded, kept, limited_reads, panic_of, recursive_reads, untimed_reads, ways,
};
use crate::support::{
    LIMIT, alone, in_fresh_process, on_another_thread, spawn_named, stderr, this_os_id, until_waiting, wait_until,
    within,
};

#[test]
fn reading_again_is_told_whatever_the_first_read_was() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let plain = ways![Rw: read, acquire_read, read_arc, acquire_read_arc];
        let tried = ways![Rw: try_read, try_read_for(NONE_YET), try_read_recursive];
        for (first_name, first) in plain.into_iter().chain(tried).chain(recursive_reads()).chain(downgraded()) {
            let lock = kept(RwLock::new(0));
            let _held = first(lock);
            for (name, second) in untimed_reads() {
                let told = panic_of(|| second(lock));
                assert!(told.is_some_and(|text| text.starts_with("hazard: ")), "{name} after {first_name}");
                let [hazard] = &hazards.take()[..] else { panic!("{name} after {first_name}") };
                assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
                assert_eq!(hazard.wanted().primitive(), "RwLock");
                assert!(hazard.wanted().is_same(hazard.held().resource()));
            }
        }
    });
}

#[test]
fn whoever_asks_without_waiting_or_for_a_recursive_read_is_told_nothing() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let lock = kept(RwLock::new(0));
        let first = lock.read();
        for (_, second) in limited_reads().into_iter().chain(recursive_reads()) {
            drop(second(lock));
        }
        assert!(format!("{lock:?}").contains("data: 0"));
        assert_eq!(serde_json::to_string(&**lock).unwrap(), "0");
        drop(lock.try_write());
        assert_eq!(lock.acquire_write().unwrap_err().report().kind(), Kind::Relock);
        drop(first);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn whoever_does_not_read_already_is_told_nothing() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (lock, other) = (kept(RwLock::new(0)), kept(RwLock::new(0)));
        for (_, way) in untimed_reads() {
            drop(way(lock));
            let _other = other.try_read();
            drop(way(lock));
            let _free = lock.try_write().unwrap();
        }
        let reading = lock.read();
        on_another_thread(|| drop(lock.read()));
        drop(reading);
        // Nobody can be next while this thread has the turn.
        let upgradable = lock.upgradable_read();
        drop((lock.read(), lock.read_arc()));
        drop(upgradable);
        drop(lock.write());
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn a_read_within_the_debug_of_a_read_is_told_with_its_purpose() {
    alone(|| {
        struct Reads(&'static Mutex<Option<&'static RwLock<Reads>>>);
        impl std::fmt::Debug for Reads {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let lock = self.0.lock().unwrap().unwrap();
                drop(lock.read());
                f.write_str("read")
            }
        }
        static LOCK: Mutex<Option<&'static RwLock<Reads>>> = Mutex::new(None);
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock: &RwLock<Reads> = Box::leak(Box::new(RwLock::new(Reads(&LOCK))));
        *LOCK.lock().unwrap() = Some(lock);
        assert!(format!("{lock:?}").contains("read"));
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.held().purpose(), hazard.purpose()), (Some(Purpose::Debug), None));
        assert!(hazard.to_string().contains("to format it with `{:?}`"), "{hazard}");
    });
}

#[test]
fn a_hazard_says_who_what_and_where() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let (first, second, os_id) = thread::scope(|s| {
            let body = || {
                let lock = RwLock::named("routes", 0);
                let (first, _guard) = (line!(), lock.read());
                let (second, _again) = (line!(), lock.read());
                (first, second, this_os_id())
            };
            spawn_named(s, "reads twice", body).join().unwrap()
        });
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!((hazard.thread_name(), hazard.os_id()), (Some("reads twice"), os_id));
        assert_eq!((hazard.held().site().line(), hazard.site().line()), (first, second));
        assert_eq!((hazard.wanted().name(), hazard.wanted().rank()), (Some("routes"), None));
        assert!(hazard.task().is_none() && hazard.purpose().is_none());
        let text = hazard.to_string();
        assert_eq!(text.lines().next(), Some("hazard: thread 'reads twice' reads a lock that it reads already"));
        for part in ["A = RwLock<i32> 'routes', made at ", "asks to read A 'routes'", "already reads A 'routes'"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("help: call `read_recursive` here, or let the first guard go before"), "{text}");
        let json = serde_json::to_value(hazard).unwrap();
        assert_eq!((&json["kind"], &json["wanted"]["name"]), (&"RepeatedRead".into(), &"routes".into()));
        assert_eq!(json["held"]["site"]["line"], first);
    });
}

#[test]
fn a_task_is_told_by_its_name() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let pool = ThreadPoolExecutor::new(1);
        let lock = Arc::new(RwLock::new(0));
        pool.submit_named("audit", move || drop((lock.read(), lock.read()))).result().unwrap();
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.task().unwrap().name(), Some("audit"));
        assert!(hazard.to_string().starts_with("hazard: task 'audit' on thread '"), "{hazard}");
    });
}

#[test]
fn a_pair_of_lines_is_told_once_and_another_pair_anew() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let read = |lock: &RwLock<u32>| drop(lock.read());
        let all_at_once = Barrier::new(4);
        let (one, other) = (RwLock::new(0), RwLock::new(0));
        thread::scope(|s| {
            for lock in [&one, &other, &one, &other] {
                s.spawn(|| {
                    let _guard = lock.read();
                    all_at_once.wait();
                    (0..100).for_each(|_| read(lock));
                });
            }
        });
        assert_eq!(hazards.count(), 1);
        let _guard = one.read();
        (0..3).for_each(|_| read(&one));
        assert_eq!(hazards.count(), 1, "taken at another line");
        (0..3).for_each(|_| drop(one.read()));
        assert_eq!(hazards.count(), 1, "asked for at another line");
        // Nor is it told anew when the policy comes back.
        deadlock::set_hazard_policy(HazardPolicy::Off);
        read(&one);
        drop(one.read());
        deadlock::set_hazard_policy(HazardPolicy::Warn);
        read(&one);
        assert_eq!(hazards.count(), 0);
    });
}

#[test]
fn under_panic_it_is_told_each_time_and_nothing_is_taken() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let (low, high) = (RwLock::ranked("low", 1, 0), Lock::ranked("high", 2, 0));
        for _ in 0..3 {
            let reading = low.read();
            assert!(panic_of(|| low.read()).unwrap().starts_with("hazard: "));
            drop(reading);
            assert!(low.try_write().is_some(), "read by nobody");
            let guard = high.lock();
            for panic in [panic_of(|| low.read()), panic_of(|| low.write()), panic_of(|| low.acquire_read_recursive())]
            {
                assert!(panic.unwrap().contains("takes a lock of rank 1 while it holds one of rank 2"));
            }
            drop(guard);
            assert!(low.try_write().is_some(), "read by nobody");
            assert_eq!(hazards.count(), 4);
        }
        assert_eq!(deadlock::snapshot().graph().node_count(), 0, "nothing is held");
    });
}

#[test]
fn a_thread_that_unwinds_is_told_and_goes_on() {
    struct Reads<'a>(&'a RwLock<u32>);
    impl Drop for Reads<'_> {
        fn drop(&mut self) {
            drop((self.0.read(), self.0.read()));
        }
    }
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Panic);
        let lock = RwLock::new(0);
        let panic = panic_of(|| {
            let _reads = Reads(&lock);
            panic!("the first");
        });
        assert_eq!((panic.as_deref(), hazards.count()), (Some("the first"), 1));
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn hooks_run_in_order_may_lock_and_panic_and_leave_with_their_handles() {
    alone(|| {
        static LOG: Lock<Vec<u32>> = Lock::named("log", Vec::new());
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        let first = deadlock::on_hazard(|_| {
            LOG.lock().push(1);
            panic!("contained");
        });
        let second = deadlock::on_hazard(|_| {
            // A hazard of its own.
            let own = RwLock::new(0);
            let _reads = own.read();
            assert!(panic_of(|| own.read()).unwrap().starts_with("hazard: "));
            LOG.lock().push(2);
        });
        let lock = RwLock::new(0);
        let _guard = lock.read();
        let told = || {
            assert!(panic_of(|| lock.read()).unwrap().starts_with("hazard: "));
            std::mem::take(&mut *LOG.lock())
        };
        assert_eq!(told(), [1, 2]);
        drop(first);
        assert_eq!(told(), [2]);
        second.keep();
        assert_eq!(told(), [2]);
    });
}

#[test]
fn a_hook_may_wait_for_others_and_take_the_lock_that_is_asked_for() {
    alone(|| {
        static HIGH: Lock<()> = Lock::ranked("high", 2, ());
        static LOW: RLock<()> = RLock::ranked("low", 1, ());
        within(LIMIT / 2, || {
            deadlock::set_hazard_policy(HazardPolicy::Warn);
            let gate = Arc::new(Lock::new(()));
            let theirs = Arc::clone(&gate);
            let hook = deadlock::on_hazard(move |_| {
                drop(theirs.lock());
                std::mem::forget(LOW.lock());
            });
            let shut = gate.lock();
            thread::scope(|s| {
                let asks = spawn_named(s, "asks", || {
                    let _high = HIGH.lock();
                    let _low = LOW.lock();
                    LOW.depth()
                });
                until_waiting("asks");
                drop(shut);
                assert_eq!(asks.join().unwrap(), 2, "that of the hook, and its own");
            });
            drop(hook);
        });
    });
}

/// Runs `body` in a process with these variables, which is to succeed. `None` in that process.
#[track_caller]
fn in_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    let output = in_fresh_process(test, variables, || within(LIMIT / 2, body))?;
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

#[test]
fn the_environment_names_the_first_policy() {
    let default = if cfg!(debug_assertions) { HazardPolicy::Warn } else { HazardPolicy::Off };
    for (value, policy) in [
        (None, default),
        (Some("off"), HazardPolicy::Off),
        (Some(" Warn "), HazardPolicy::Warn),
        (Some("PANIC"), HazardPolicy::Panic),
    ] {
        let body = || {
            eprintln!("policy: {:?}", deadlock::hazard_policy());
            let lock = RwLock::new(0);
            let _guard = lock.read();
            eprintln!("panics: {}", panic_of(|| lock.read()).is_some());
        };
        let variables: Vec<_> = value.map(|value| ("BOWLINE_HAZARD", value)).into_iter().collect();
        let name = "the_environment_names_the_first_policy";
        let Some(output) = in_process(name, &variables, body) else { return };
        let text = stderr(&output);
        assert!(text.contains(&format!("policy: {policy:?}\n")), "{value:?}: {text}");
        assert!(text.contains(&format!("panics: {}\n", policy == HazardPolicy::Panic)), "{value:?}: {text}");
        let told = text.lines().filter(|line| line.starts_with("hazard: ")).count();
        assert_eq!(told, usize::from(policy != HazardPolicy::Off), "{value:?}: {text}");
        assert!(!text.contains("bowline:"), "no warning of {value:?}: {text}");
    }
}

#[test]
fn a_policy_that_does_not_exist_is_warned_of_once() {
    let name = "a_policy_that_does_not_exist_is_warned_of_once";
    let body = || {
        thread::scope(|s| (0..2).for_each(|_| drop(s.spawn(|| drop(Lock::new(()).lock())))));
        assert_eq!(deadlock::hazard_policy(), HazardPolicy::default());
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "maybe")], body) else { return };
    let text = stderr(&output);
    assert_eq!(
        text.matches("BOWLINE_HAZARD=\"maybe\" is none of off, warn, panic; going on with ").count(),
        1,
        "{text}"
    );
}

#[test]
fn a_policy_that_is_set_before_the_first_lock_stays() {
    let name = "a_policy_that_is_set_before_the_first_lock_stays";
    let body = || {
        deadlock::set_hazard_policy(HazardPolicy::Off);
        let lock = RwLock::new(0);
        drop((lock.read(), lock.read()));
        assert_eq!(deadlock::hazard_policy(), HazardPolicy::Off);
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "panic")], body) else { return };
    assert!(!stderr(&output).contains("hazard:"), "{}", stderr(&output));
}

#[test]
fn a_hazard_is_printed_once_with_both_lines() {
    let name = "a_hazard_is_printed_once_with_both_lines";
    let body = || {
        let hook = deadlock::on_hazard(|_| {
            // Printed all the same.
            let own = RwLock::named("of the hook", 0);
            drop((own.read(), own.read()));
        });
        let lock = RwLock::named("routes", 0);
        for _ in 0..3 {
            let _guard = lock.read();
            drop(lock.acquire_read());
        }
        drop(hook);
    };
    let Some(output) = in_process(name, &[("BOWLINE_HAZARD", "warn")], body) else { return };
    let text = stderr(&output);
    assert_eq!(text.lines().filter(|line| line.starts_with("hazard: thread '")).count(), 2, "{text}");
    for part in ["= RwLock<i32> 'routes', made at ", "= RwLock<i32> 'of the hook', made at "] {
        assert_eq!(text.matches(part).count(), 1, "{text}");
    }
}

#[test]
fn a_task_in_place_does_not_read_what_its_waiter_reads() {
    alone(|| {
        within(LIMIT / 2, || {
            let hazards = Hazards::under(HazardPolicy::Warn);
            let pool = ThreadPoolExecutor::new(1);
            let lock = Arc::new(RwLock::named("shared", 0));
            let (own, theirs) = (pool.clone(), Arc::clone(&lock));
            let outer = pool.submit(move || {
                let _guard = theirs.read();
                let inner = Arc::clone(&theirs);
                let here = thread::current().id();
                own.submit(move || (drop(inner.read()), thread::current().id() == here)).result().unwrap().1
            });
            assert!(outer.result().unwrap(), "it ran in place");
            assert_eq!(hazards.count(), 0);
            // With a writer in between it waits, for its waiter in the end.
            let (own, theirs) = (pool.clone(), Arc::clone(&lock));
            thread::scope(|s| {
                let outer = pool.submit(move || {
                    let _guard = theirs.read();
                    until_waiting("writes");
                    let inner = Arc::clone(&theirs);
                    own.submit(move || inner.acquire_read().map(drop).map_err(|deadlock| deadlock.report().kind()))
                        .result()
                        .unwrap()
                });
                let reads = || lock.try_write().is_none();
                wait_until(reads);
                let writer = spawn_named(s, "writes", || drop(lock.write()));
                assert_eq!(outer.result().unwrap(), Err(Kind::Cycle));
                writer.join().unwrap();
            });
            assert_eq!(hazards.count(), 0);
        });
    });
}

#[test]
fn a_guard_that_was_forgotten_still_reads() {
    alone(|| {
        let hazards = Hazards::under(HazardPolicy::Warn);
        let lock = kept(RwLock::new(0));
        std::mem::forget(lock.read());
        drop(lock.read());
        let [hazard] = &hazards.take()[..] else { panic!() };
        assert_eq!(hazard.kind(), HazardKind::RepeatedRead);
        // Another lock at the same place is another lock.
        let mut place = Box::new(RwLock::new(0));
        std::mem::forget(place.read());
        *place = RwLock::new(0);
        drop(place.read());
        assert_eq!(hazards.count(), 0);
        // So does one of a lock with a rank count.
        let high = kept(Lock::ranked("high", 2, ()));
        std::mem::forget(high.lock());
        drop(Lock::ranked("low", 1, ()).lock());
        assert_eq!(hazards.take()[0].held().resource().name(), Some("high"));
    });
}
