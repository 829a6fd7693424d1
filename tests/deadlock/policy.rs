//! What each policy makes of a deadlock, where the first policy comes from, and what changing it does.
//!
//! Every test has a process of its own: policy and grace are process-wide, and some end it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Kind, Policy};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{By, Crossing, Ending, Reports, assert_is_a_proof, names};
use crate::support::{
    LIMIT, find_thread, in_fresh_process, message, on_another_thread, spawn_named, stderr, until_asleep, until_parked,
    until_thread_where, until_waiting, wait_until, within,
};

/// Runs `body`, under a watchdog, in a process that is to succeed. `None` in that process.
#[track_caller]
fn in_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    let output = in_fresh_process(test, variables, || within(LIMIT / 2, body))?;
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

/// Runs `body` in a process that is to abort, and returns what that wrote.
#[track_caller]
#[cfg(unix)]
fn aborts(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    let output = in_fresh_process(test, variables, || {
        body();
        eprintln!("went on");
    })?;
    let text = stderr(&output);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{text}");
    assert!(!text.contains("went on"), "{text}");
    Some(text)
}

/// How many lines begin with the headline of a cycle of two: printed, or as the message of a panic.
fn headlines(output: &str) -> usize {
    output.lines().filter(|line| *line == "deadlock: 2 threads wait for each other").count()
}

#[test]
fn the_first_policy_is_panic() {
    in_process("the_first_policy_is_panic", &[], || {
        assert_eq!((deadlock::policy(), Policy::default()), (Policy::Panic, Policy::Panic));
    });
}

#[test]
fn the_environment_names_the_first_policy() {
    for (value, policy) in [
        ("panic", Policy::Panic),
        ("abort", Policy::Abort),
        ("report", Policy::Report),
        ("off", Policy::Off),
        (" Report ", Policy::Report),
        ("OFF", Policy::Off),
    ] {
        let body = || eprintln!("policy: {:?}", deadlock::policy());
        let name = "the_environment_names_the_first_policy";
        let Some(output) = in_process(name, &[("BOWLINE_DEADLOCK", value)], body) else { return };
        let text = stderr(&output);
        assert!(text.contains(&format!("policy: {policy:?}\n")), "{value:?}: {text}");
        assert!(!text.contains("bowline:"), "no warning of {value:?}: {text}");
    }
}

#[test]
fn a_policy_that_does_not_exist_is_warned_of_once_and_is_panic() {
    let body = || {
        // Two are the first to ask, as far as that can be had.
        let ready = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    ready.fetch_add(1, SeqCst);
                    while ready.load(SeqCst) < 2 {
                        std::hint::spin_loop();
                    }
                    assert_eq!(deadlock::policy(), Policy::Panic);
                });
            }
        });
        let lock = Lock::new(());
        let _guard = lock.lock();
        assert!(lock.acquire().is_err());
        assert_eq!(deadlock::policy(), Policy::Panic);
        deadlock::set_policy(Policy::Off);
        assert_eq!(deadlock::policy(), Policy::Off);
    };
    let name = "a_policy_that_does_not_exist_is_warned_of_once_and_is_panic";
    let Some(output) = in_process(name, &[("BOWLINE_DEADLOCK", "loud")], body) else { return };
    let text = stderr(&output);
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("BOWLINE_DEADLOCK")).collect();
    let [warning] = warnings[..] else { panic!("{} warnings: {text}", warnings.len()) };
    assert!(warning.starts_with("bowline: ") && warning.contains("\"loud\""), "{warning}");
}

#[test]
fn a_policy_that_was_set_outlives_the_environment() {
    let body = || {
        deadlock::set_policy(Policy::Report);
        assert_eq!(deadlock::policy(), Policy::Report);
        let lock = Lock::new(());
        let _guard = lock.lock();
        assert!(lock.acquire().is_err());
        assert_eq!(deadlock::policy(), Policy::Report);
    };
    in_process("a_policy_that_was_set_outlives_the_environment", &[("BOWLINE_DEADLOCK", "abort")], body);
}

/// Both orders of both calls: `[who waits first, who closes the cycle]`.
const PAIRS: [[By; 2]; 4] =
    [[By::Lock, By::Lock], [By::Lock, By::Acquire], [By::Acquire, By::Lock], [By::Acquire, By::Acquire]];

#[test]
fn under_panic_the_one_that_closes_the_cycle_is_the_victim() {
    let body = || {
        for by in PAIRS {
            let reports = Reports::about("breaks");
            let [first, second] = Crossing::start("breaks", by).endings();
            assert!(matches!(first, Ending::Granted), "{by:?}: {first:?}");
            match (by[1], second) {
                (By::Lock, Ending::Panic(report)) => assert_eq!(headlines(&report), 1, "{report}"),
                (By::Acquire, Ending::Value(deadlock)) => assert_eq!(deadlock.report().kind(), Kind::Cycle),
                (by, ending) => panic!("{by:?} ended so: {ending:?}"),
            }
            assert_eq!(reports.count(), 1, "{by:?}");
        }
    };
    let name = "under_panic_the_one_that_closes_the_cycle_is_the_victim";
    let Some(output) = in_process(name, &[], body) else { return };
    assert_eq!(headlines(&stderr(&output)), 2, "two panics, nothing printed beside them: {}", stderr(&output));
}

#[test]
fn under_report_a_member_that_waits_by_acquire_is_the_victim_whoever_closes_the_cycle() {
    let body = || {
        deadlock::set_policy(Policy::Report);
        for by in PAIRS.into_iter().filter(|by| by.contains(&By::Acquire)) {
            let reports = Reports::about("prefers");
            let endings = Crossing::start("prefers", by).endings();
            let victim = if by[1] == By::Acquire { 1 } else { 0 };
            assert!(matches!(endings[1 - victim], Ending::Granted), "{by:?}: {endings:?}");
            let Ending::Value(deadlock) = &endings[victim] else { panic!("{by:?}: {endings:?}") };
            assert_is_a_proof(deadlock.report());
            let told = deadlock.report().threads()[0].name().unwrap();
            assert_eq!(told, format!("prefers {victim}"), "the one that is told comes first");
            assert_eq!(reports.count(), 1, "{by:?}");
        }
    };
    let name = "under_report_a_member_that_waits_by_acquire_is_the_victim_whoever_closes_the_cycle";
    let Some(output) = in_process(name, &[], body) else { return };
    assert_eq!(headlines(&stderr(&output)), 0, "an error is not printed: {}", stderr(&output));
}

#[test]
fn under_report_a_deadlock_is_printed_once_and_stands() {
    let body = || {
        let reports = Reports::about("stands ");
        let crossing = Crossing::start("stands", [By::Lock; 2]);
        wait_until(|| reports.count() == 1);
        until_parked("stands 0");
        until_parked("stands 1");
        // Nothing that may come later makes it new: not even setting the policy that is there.
        deadlock::set_policy(Policy::Report);
        thread::sleep(Duration::from_millis(50));
        assert!(crossing.stands());
        assert_eq!(reports.count(), 1);
        deadlock::dump();
    };
    let name = "under_report_a_deadlock_is_printed_once_and_stands";
    let Some(output) = in_process(name, &[("BOWLINE_DEADLOCK", "report")], body) else { return };
    let text = stderr(&output);
    assert_eq!(headlines(&text), 1, "{text}");
    assert!(text.contains("thread 'stands 1' waits for "), "{text}");
    assert!(text.contains(" UTC: 2 threads, 2 wait, 2 of them in a deadlock that was reported\n"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn under_report_a_relock_is_printed_once_and_stands_and_comes_as_a_value() {
    let body = || {
        deadlock::set_policy(Policy::Report);
        let reports = Reports::about("again");
        let lock: &Lock<()> = Box::leak(Box::new(Lock::named("own", ())));
        let waits = move || {
            let _guard = lock.lock();
            assert!(lock.acquire().is_err());
            drop(lock.lock());
        };
        thread::Builder::new().name("again".to_owned()).spawn(waits).unwrap();
        wait_until(|| reports.count() == 2);
        until_parked("again");
        thread::Builder::new().name("behind again".to_owned()).spawn(|| drop(lock.lock())).unwrap();
        until_parked("behind again");
        assert_eq!(reports.count(), 2, "who waits behind it closes nothing");
    };
    let name = "under_report_a_relock_is_printed_once_and_stands_and_comes_as_a_value";
    let Some(output) = in_process(name, &[], body) else { return };
    let text = stderr(&output);
    assert_eq!(text.matches("deadlock: thread 'again' waits for a lock it holds itself").count(), 1, "{text}");
}

#[test]
fn under_off_nothing_is_judged_and_waits_still_show() {
    let body = || {
        let reports = Reports::about("off");
        let crossing = Crossing::start("off", [By::Acquire; 2]);
        let lock: &Lock<()> = Box::leak(Box::new(Lock::named("own", ())));
        let waits = move || {
            let _guard = lock.lock();
            drop(lock.acquire());
        };
        thread::Builder::new().name("off alone".to_owned()).spawn(waits).unwrap();
        for name in ["off 0", "off 1", "off alone"] {
            until_parked(name);
        }
        thread::sleep(Duration::from_millis(20));
        assert!(crossing.stands());
        assert_eq!(reports.count(), 0);
    };
    let name = "under_off_nothing_is_judged_and_waits_still_show";
    let Some(output) = in_process(name, &[("BOWLINE_DEADLOCK", "off")], body) else { return };
    assert_eq!(stderr(&output).matches("deadlock: ").count(), 0, "{}", stderr(&output));
}

#[test]
fn switching_on_judges_what_waits_already() {
    let body = || {
        let reports = Reports::about("asleep");
        let crossings = [
            Crossing::start("asleep A", [By::Lock; 2]),
            Crossing::start("asleep B", [By::Acquire; 2]),
            Crossing::start("asleep C", [By::Lock, By::Acquire]),
        ];
        let (own, left, busy) = (Lock::named("own", ()), Lock::named("left", ()), Lock::named("busy", ()));
        on_another_thread(|| std::mem::forget(left.lock()));
        thread::scope(|s| {
            let relock = spawn_named(s, "asleep alone", || {
                let _guard = own.lock();
                own.acquire().map(drop).unwrap_err()
            });
            let mourner = spawn_named(s, "asleep mourner", || left.acquire().map(drop).unwrap_err());
            // This one is in nobody's way, and nobody in its.
            let guard = busy.lock();
            let patient = spawn_named(s, "asleep patient", || drop(busy.lock()));
            for prefix in ["asleep A", "asleep B", "asleep C"] {
                until_parked(&format!("{prefix} 0"));
                until_parked(&format!("{prefix} 1"));
            }
            for name in ["asleep alone", "asleep mourner", "asleep patient"] {
                until_parked(name);
            }
            assert_eq!(reports.count(), 0);

            deadlock::set_policy(Policy::Panic);
            for (crossing, by) in crossings.iter().zip([None, Some(By::Acquire), None]) {
                let endings = crossing.endings();
                let victims = endings.iter().filter(|ending| !matches!(ending, Ending::Granted)).count();
                assert_eq!(victims, 1, "{endings:?}");
                let value = endings.iter().any(|ending| matches!(ending, Ending::Value(_)));
                assert!(value || by != Some(By::Acquire), "{endings:?}");
            }
            assert_eq!(relock.join().unwrap().report().kind(), Kind::Relock);
            assert_eq!(mourner.join().unwrap().report().kind(), Kind::Abandoned);
            assert!(until_waiting("asleep patient").waits_for().is_some());
            drop(guard);
            patient.join().unwrap();
        });
        let taken = reports.take();
        assert_eq!(taken.len(), 5);
        taken.iter().for_each(assert_is_a_proof);
    };
    in_process("switching_on_judges_what_waits_already", &[("BOWLINE_DEADLOCK", "off")], body);
}

#[test]
fn a_deadlock_left_standing_is_broken_by_panic() {
    let body = || {
        let reports = Reports::about("left");
        let crossing = Crossing::start("left", [By::Lock; 2]);
        wait_until(|| reports.count() == 1);
        until_parked("left 0");
        until_parked("left 1");
        deadlock::set_policy(Policy::Panic);
        let endings = crossing.endings();
        assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Panic(_))).count(), 1, "{endings:?}");
        assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Granted)).count(), 1, "{endings:?}");
        assert_eq!(reports.count(), 2, "once to say so, once to break it");
    };
    in_process("a_deadlock_left_standing_is_broken_by_panic", &[("BOWLINE_DEADLOCK", "report")], body);
}

#[test]
fn the_grace_keeps_short_waits_out_of_the_graph_and_zero_lets_all_in() {
    let body = || {
        // Two that wait within an hour's grace are in no graph, and so in no deadlock yet.
        deadlock::set_grace(Duration::from_secs(3600));
        let locks: &[Lock<()>; 2] = Box::leak(Box::new([Lock::named("a", ()), Lock::named("b", ())]));
        let both_hold: &Barrier = Box::leak(Box::new(Barrier::new(2)));
        let goes_on: &[AtomicBool; 2] = Box::leak(Box::default());
        for at in 0..2 {
            let body = move || {
                let _mine = locks[at].lock();
                both_hold.wait();
                goes_on[at].store(true, SeqCst);
                drop(locks[1 - at].lock());
            };
            thread::Builder::new().name(format!("patient {at}")).spawn(body).unwrap();
        }
        for (at, goes_on) in goes_on.iter().enumerate() {
            let name = format!("patient {at}");
            let thread = until_thread_where(|thread| thread.name() == Some(&name));
            // It does not sleep at the barrier any more.
            wait_until(|| goes_on.load(SeqCst));
            until_asleep(thread.os_id());
            assert!(find_thread(&name).unwrap().waits_for().is_none());
        }
        // Asking for one's own lock needs none: nothing can happen that would help.
        let own = Lock::new(());
        let _guard = own.lock();
        assert_eq!(own.acquire().map(drop).unwrap_err().report().kind(), Kind::Relock);
        // Waits that begin now are seen at once; those that have begun keep their hour.
        deadlock::set_grace(Duration::ZERO);
        let endings = Crossing::start("at once", [By::Lock, By::Acquire]).endings();
        assert!(matches!(&endings[1], Ending::Value(_)), "{endings:?}");
        for name in ["patient 0", "patient 1"] {
            assert!(find_thread(name).unwrap().waits_for().is_none());
        }
    };
    in_process("the_grace_keeps_short_waits_out_of_the_graph_and_zero_lets_all_in", &[], body);
}

#[test]
#[cfg(unix)]
fn under_abort_the_report_is_printed_the_hooks_run_and_the_process_aborts() {
    let body = || {
        deadlock::on_deadlock(|report| eprintln!("hook: {:?}", names(report.threads()))).keep();
        let _ = Crossing::start("doomed", [By::Acquire, By::Lock]).endings();
    };
    let name = "under_abort_the_report_is_printed_the_hooks_run_and_the_process_aborts";
    let Some(text) = aborts(name, &[("BOWLINE_DEADLOCK", "abort")], body) else { return };
    assert_eq!(headlines(&text), 1, "{text}");
    assert!(text.contains("thread 'doomed 1' waits for ") && text.contains("help: "), "{text}");
    assert!(text.contains(r#"hook: ["doomed 0", "doomed 1"]"#), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn under_abort_acquire_still_returns_a_value() {
    let body = || {
        for by in [[By::Lock, By::Acquire], [By::Acquire, By::Acquire]] {
            let endings = Crossing::start("spared", by).endings();
            assert!(matches!(endings, [Ending::Granted, Ending::Value(_)]), "{endings:?}");
        }
        let again = RLock::new(());
        on_another_thread(|| std::mem::forget(again.lock()));
        if cfg!(target_os = "linux") {
            assert_eq!(again.acquire().map(drop).unwrap_err().report().kind(), Kind::Abandoned);
        }
    };
    in_process("under_abort_acquire_still_returns_a_value", &[("BOWLINE_DEADLOCK", "abort")], body);
}

/// Takes a lock when it is dropped, as a destructor does that cleans up.
struct TakesWhenDropped<'a>(&'a Lock<()>);

impl Drop for TakesWhenDropped<'_> {
    fn drop(&mut self) {
        drop(self.0.lock());
    }
}

#[test]
#[cfg(unix)]
fn a_relock_while_unwinding_that_nobody_can_break_is_printed_and_aborts_on_purpose() {
    let body = || {
        let lock = Lock::named("own", ());
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            let _again = TakesWhenDropped(&lock);
            panic!("the first panic");
        }));
    };
    let name = "a_relock_while_unwinding_that_nobody_can_break_is_printed_and_aborts_on_purpose";
    let Some(text) = aborts(name, &[], body) else { return };
    assert!(text.contains("the first panic"), "{text}");
    assert!(text.contains("waits for a lock it holds itself"), "{text}");
    assert_eq!(text.matches("panicked at").count(), 1, "no second panic: {text}");
}

#[test]
#[cfg(unix)]
fn a_cycle_of_threads_that_all_unwind_is_printed_and_aborts_on_purpose() {
    let body = || {
        let locks = [Lock::named("a", ()), Lock::named("b", ())];
        let both_unwind = Barrier::new(2);
        thread::scope(|s| {
            for at in 0..2 {
                let (locks, both_unwind) = (&locks, &both_unwind);
                spawn_named(s, &format!("unwinding {at}"), move || {
                    let unwound = catch_unwind(AssertUnwindSafe(|| {
                        let _mine = locks[at].lock();
                        let _cleans_up = TakesWhenDropped(&locks[1 - at]);
                        both_unwind.wait();
                        panic!("on purpose");
                    }));
                    eprintln!("{}", message(&*unwound.unwrap_err()));
                });
            }
        });
    };
    let name = "a_cycle_of_threads_that_all_unwind_is_printed_and_aborts_on_purpose";
    let Some(text) = aborts(name, &[], body) else { return };
    assert_eq!(headlines(&text), 1, "{text}");
    assert_eq!(text.matches("panicked at").count(), 2, "each its own panic, no second one: {text}");
}
