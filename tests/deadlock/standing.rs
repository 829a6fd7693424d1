//! Deadlocks that are left standing under `Policy::Report`: each is said once, whatever happens around it, and costs
//! nothing while it stands.
//!
//! Every test has a process of its own: policy, grace and hooks are process-wide.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bowline::Lock;
use bowline::deadlock::{self, Policy};

use crate::support::deadlocks::{By, Crossing, Ending, Gate, Reports, assert_is_a_proof, names};
use crate::support::{LIMIT, find_thread, in_fresh_process, stderr, until_parked, until_waiting, wait_until, within};

/// Runs `body`, under a watchdog and under `Report`, in a process that is to succeed. `None` in that process.
#[track_caller]
fn under_report(test: &str, body: impl FnOnce()) -> Option<Output> {
    let output = in_fresh_process(test, &[("BOWLINE_DEADLOCK", "report")], || within(LIMIT * 3 / 4, body))?;
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

fn headlines(output: &Output) -> usize {
    let of_a_ring = |line: &&str| line.starts_with("deadlock: ") && line.contains(" threads wait for each other");
    stderr(output).lines().filter(of_a_ring).count()
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name).spawn(body).expect("a thread")
}

/// Closes a ring by `lock`: all members ask for their second lock at once, when `close` lets them.
///
/// The threads end, with or without a panic, once somebody breaks the ring.
fn ring(prefix: &str, size: usize, close: &Arc<Barrier>) -> Vec<JoinHandle<()>> {
    let locks: Arc<Vec<_>> = Arc::new((0..size).map(|_| Lock::new(())).collect());
    let member = |at: usize| {
        let (locks, close) = (Arc::clone(&locks), Arc::clone(close));
        spawn(format!("{prefix} {at}"), move || {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _mine = locks[at].lock();
                close.wait();
                drop(locks[(at + 1) % size].lock());
            }));
        })
    };
    (0..size).map(member).collect()
}

/// Rings that close at the same moment, in many rounds: how each is reported, and that nothing is said twice.
fn rings_that_close_at_once(sizes: &[usize], rounds: usize) {
    const PREFIXES: [&str; 3] = ["ring A", "ring B", "ring C"];
    let reports = Reports::about("ring ");
    for round in 0..rounds {
        let close = Arc::new(Barrier::new(sizes.iter().sum()));
        let members: Vec<_> =
            sizes.iter().zip(PREFIXES).flat_map(|(&size, prefix)| ring(prefix, size, &close)).collect();
        wait_until(|| reports.count() >= sizes.len());
        for (&size, prefix) in sizes.iter().zip(PREFIXES) {
            (0..size).for_each(|at| until_parked(&format!("{prefix} {at}")));
        }
        let mut taken = reports.take();
        assert_eq!(taken.len(), sizes.len(), "round {round}: each once");
        taken.sort_by_key(|report| names(report.threads())[0].to_owned());
        for ((report, &size), prefix) in taken.iter().zip(sizes).zip(PREFIXES) {
            assert_is_a_proof(report);
            let complete: Vec<_> = (0..size).map(|at| format!("{prefix} {at}")).collect();
            assert_eq!(names(report.threads()), complete, "round {round}");
            assert!(report.bystanders().is_empty(), "round {round}");
        }
        // Broken one by one, each by one victim.
        deadlock::set_policy(Policy::Panic);
        members.into_iter().for_each(|member| member.join().unwrap());
        assert_eq!(reports.take().len(), sizes.len(), "round {round}");
        deadlock::set_policy(Policy::Report);
    }
}

#[test]
fn two_deadlocks_closed_at_the_same_moment_are_each_said_once() {
    const ROUNDS: usize = 60;
    let name = "two_deadlocks_closed_at_the_same_moment_are_each_said_once";
    let Some(output) = under_report(name, || rings_that_close_at_once(&[2, 3], ROUNDS)) else { return };
    // Printed, and as the panic of whoever broke it.
    assert_eq!(headlines(&output), 4 * ROUNDS, "{}", stderr(&output));
}

#[test]
fn three_deadlocks_closed_at_the_same_moment_without_grace_are_each_said_once() {
    const ROUNDS: usize = 60;
    let body = || {
        deadlock::set_grace(Duration::ZERO);
        rings_that_close_at_once(&[2, 2, 4], ROUNDS);
    };
    let name = "three_deadlocks_closed_at_the_same_moment_without_grace_are_each_said_once";
    let Some(output) = under_report(name, body) else { return };
    assert_eq!(headlines(&output), 6 * ROUNDS, "{}", stderr(&output));
}

#[test]
fn a_ring_that_two_threads_close_at_the_same_moment_has_one_victim() {
    let body = || {
        deadlock::set_grace(Duration::ZERO);
        let reports = Reports::about("both ");
        for round in 0..1_000 {
            let locks = [Lock::new(()), Lock::new(())];
            let close = Barrier::new(2);
            let errors = thread::scope(|s| {
                let member = |at: usize| {
                    let (locks, close) = (&locks, &close);
                    crate::support::spawn_named(s, &format!("both {at}"), move || {
                        let _mine = locks[at].lock();
                        close.wait();
                        locks[1 - at].acquire().is_err()
                    })
                };
                let members = [0, 1].map(member);
                members.map(|member| usize::from(member.join().unwrap())).iter().sum::<usize>()
            });
            assert_eq!((errors, reports.take().len()), (1, 1), "round {round}");
        }
    };
    under_report("a_ring_that_two_threads_close_at_the_same_moment_has_one_victim", body);
}

/// The processor time that this process has used.
#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    #[repr(C)]
    struct Timespec {
        seconds: std::ffi::c_long,
        nanos: std::ffi::c_long,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: std::ffi::c_int, time: *mut Timespec) -> std::ffi::c_int;
    }
    const PROCESS: std::ffi::c_int = 2;
    let mut time = Timespec { seconds: 0, nanos: 0 };
    // SAFETY:
    // - `time` is a place to write to, of the type that the C library declares.
    assert_eq!(unsafe { clock_gettime(PROCESS, &raw mut time) }, 0);
    Duration::new(time.seconds.unsigned_abs(), u32::try_from(time.nanos).unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_comes_to_wait_behind_a_standing_deadlock_parks_and_nothing_spins() {
    let body = || {
        let reports = Reports::about("");
        let locks: &[Lock<()>; 4] = Box::leak(Box::new(["a", "b", "c", "free"].map(|name| Lock::named(name, ()))));
        let [a, b, c, free] = locks;
        let both_hold: &Barrier = Box::leak(Box::new(Barrier::new(2)));
        for (at, mine, next) in [(0, a, b), (1, b, a)] {
            spawn(format!("stands {at}"), move || {
                let _mine = mine.lock();
                both_hold.wait();
                drop(next.lock());
            });
        }
        wait_until(|| reports.count() == 1);
        // Straight behind it; behind it while holding something; behind that one; and for some time only.
        spawn("behind 1".to_owned(), || drop(a.lock()));
        spawn("behind 2".to_owned(), || {
            let _c = c.lock();
            drop(b.lock());
        });
        until_parked("behind 2");
        spawn("behind 3".to_owned(), || drop(c.acquire()));
        spawn("timed".to_owned(), || assert!(a.try_lock_for(LIMIT * 2).is_none()));
        for name in ["stands 0", "stands 1", "behind 1", "behind 2", "behind 3", "timed"] {
            until_parked(name);
        }

        let (start, used_before) = (Instant::now(), processor_time());
        thread::sleep(Duration::from_millis(200));
        let (elapsed, used) = (start.elapsed(), processor_time() - used_before);
        assert!(used < elapsed / 10, "{used:?} of {elapsed:?}");

        for name in ["behind 1", "behind 2", "behind 3", "timed"] {
            assert!(until_waiting(name).waits_for().is_some());
        }
        assert_eq!(reports.count(), 1, "who waits behind a deadlock closes none");
        // Everybody else goes on as ever.
        drop(free.lock());
        let endings = Crossing::start("another", [By::Lock, By::Acquire]).endings();
        assert!(matches!(&endings[1], Ending::Value(_)), "{endings:?}");
        let another = reports.take().pop().unwrap();
        assert_eq!(names(another.threads()), ["another 0", "another 1"]);
        assert!(another.bystanders().is_empty(), "they are stuck behind the other one");
    };
    let name = "whoever_comes_to_wait_behind_a_standing_deadlock_parks_and_nothing_spins";
    let Some(output) = under_report(name, body) else { return };
    assert_eq!(headlines(&output), 1, "{}", stderr(&output));
}

#[test]
fn a_standing_deadlock_is_not_said_again_when_a_wait_in_it_is_called_long() {
    let body = || {
        let reports = Reports::about("long");
        let crossing = Crossing::start("long", [By::Lock; 2]);
        wait_until(|| reports.count() == 1);
        until_parked("long 0");
        until_parked("long 1");
        let warned = Arc::new(Gate::new());
        let both = Arc::new(Barrier::new(2));
        let hook = deadlock::warn_after(Duration::from_millis(1), {
            let warned = Arc::clone(&warned);
            move |wait| {
                if wait.waiter().name() == Some("long 0") {
                    both.wait();
                    warned.open();
                } else if wait.waiter().name() == Some("long 1") {
                    both.wait();
                }
            }
        });
        warned.pass();
        until_parked("long 0");
        until_parked("long 1");
        drop(hook);
        assert!(crossing.stands());
        assert_eq!(reports.count(), 1);
    };
    let name = "a_standing_deadlock_is_not_said_again_when_a_wait_in_it_is_called_long";
    let Some(output) = under_report(name, body) else { return };
    assert_eq!(headlines(&output), 1, "{}", stderr(&output));
}

#[test]
fn a_standing_deadlock_is_broken_while_it_is_still_being_said() {
    let body = || {
        let [told, go_on] = [(); 2].map(|()| Arc::new(Gate::new()));
        let hook = deadlock::on_deadlock({
            let (told, go_on) = (Arc::clone(&told), Arc::clone(&go_on));
            move |_| {
                told.open();
                go_on.pass();
            }
        });
        let crossing = Crossing::start("spoken of", [By::Lock; 2]);
        told.pass();
        // The one that tells is not in the graph meanwhile: it may run, and nobody is chosen.
        assert!(find_thread("spoken of 1").unwrap().waits_for().is_none());
        deadlock::set_policy(Policy::Panic);
        until_parked("spoken of 0");
        assert!(crossing.stands());
        go_on.open();
        let endings = crossing.endings();
        assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Panic(_))).count(), 1, "{endings:?}");
        drop(hook);
    };
    under_report("a_standing_deadlock_is_broken_while_it_is_still_being_said", body);
}

#[test]
fn switching_off_and_on_in_a_hook_says_again_what_stands() {
    let body = || {
        let reports = Reports::about("said");
        let has_switched = AtomicBool::new(false);
        deadlock::on_deadlock(move |_| {
            // Whoever reports is out of the graph meanwhile.
            if !has_switched.swap(true, SeqCst) {
                deadlock::set_policy(Policy::Off);
                deadlock::set_policy(Policy::Report);
            }
        })
        .keep();
        spawn("said".to_owned(), || {
            let lock = Lock::new(());
            let _held = lock.lock();
            drop(lock.lock());
        });
        wait_until(|| reports.count() == 2);
        until_parked("said");
        assert_eq!(reports.count(), 2);
    };
    let name = "switching_off_and_on_in_a_hook_says_again_what_stands";
    under_report(name, body);
}

#[test]
fn switching_off_and_on_says_again_what_stands() {
    let body = || {
        let reports = Reports::about("said");
        let crossing = Crossing::start("said", [By::Lock; 2]);
        wait_until(|| reports.count() == 1);
        until_parked("said 0");
        until_parked("said 1");
        deadlock::set_policy(Policy::Off);
        deadlock::set_policy(Policy::Report);
        wait_until(|| reports.count() == 2);
        until_parked("said 0");
        until_parked("said 1");
        assert!(crossing.stands());
        assert_eq!(reports.count(), 2);
    };
    let name = "switching_off_and_on_says_again_what_stands";
    let Some(output) = under_report(name, body) else { return };
    assert_eq!(headlines(&output), 2, "{}", stderr(&output));
}
