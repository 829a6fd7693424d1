//! What each policy makes of a deadlock of readers and writers, and what changing it does.
//!
//! Every test has a process of its own: policy and grace are process-wide, and some end it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Kind, Policy};
use bowline::sync::RwLockUpgradableReadGuard;
use bowline::{Lock, RwLock};

use crate::support::deadlocks::{Ending, Gate, Reports, assert_is_a_proof, names};
use crate::support::readers::let_readers_show_themselves;
use crate::support::{LIMIT, in_fresh_process, message, stderr, until_parked, wait_until, within};

/// Runs `body`, under a watchdog, in a process that is to succeed. `None` in that process.
#[track_caller]
fn in_process(test: &str, policy: &str, body: impl FnOnce()) -> Option<Output> {
    let output = in_fresh_process(test, &[("BOWLINE_DEADLOCK", policy)], || within(LIMIT * 3 / 4, body))?;
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

/// How many deadlocks were printed.
fn headlines(output: &Output) -> usize {
    stderr(output).lines().filter(|line| line.starts_with("deadlock: ")).count()
}

/// A reader that waits for a writer that waits for it, and a second reader who can leave. They are part of no scope, so that they
/// may wait for ever.
struct Pair {
    endings: mpsc::Receiver<(&'static str, Ending)>,
    leave: Arc<Gate>,
}

fn ending<G>(wait: impl FnOnce() -> Result<G, bowline::deadlock::Deadlock>) -> Ending {
    match catch_unwind(AssertUnwindSafe(|| wait().map(drop))) {
        Ok(Ok(())) => Ending::Granted,
        Ok(Err(deadlock)) => Ending::Value(deadlock),
        Err(payload) => Ending::Panic(message(&*payload).to_owned()),
    }
}

impl Pair {
    /// Starts the threads `{prefix} reads`, `{prefix} leaves` and `{prefix} writes`, and waits until the first and the last wait
    /// for each other.
    fn start(prefix: &'static str, shown: bool, by_value: bool) -> Self {
        let (lock, mutex) = (Arc::new(RwLock::named("lock", 0)), Arc::new(Lock::named("mutex", ())));
        if shown {
            let_readers_show_themselves(&lock);
        }
        let [leave, holds, reads] = [(); 3].map(|()| Arc::new(Gate::new()));
        let (ended, endings) = mpsc::channel();
        let spawn = |name: &'static str, body: Box<dyn FnOnce() -> Ending + Send>| {
            let ended = ended.clone();
            let body = move || drop(ended.send((name, body())));
            thread::Builder::new().name(format!("{prefix} {name}")).spawn(body).expect("a thread");
        };
        spawn("leaves", {
            let (lock, leave, reads) = (Arc::clone(&lock), Arc::clone(&leave), Arc::clone(&reads));
            Box::new(move || {
                let _read = lock.read();
                reads.open();
                leave.pass();
                Ending::Granted
            })
        });
        reads.pass();
        spawn("writes", {
            let (lock, mutex, holds) = (Arc::clone(&lock), Arc::clone(&mutex), Arc::clone(&holds));
            Box::new(move || {
                let _mutex = mutex.lock();
                holds.open();
                until_parked(&format!("{prefix} reads"));
                ending(|| if by_value { lock.acquire_write() } else { Ok(lock.write()) })
            })
        });
        holds.pass();
        spawn(
            "reads",
            Box::new(move || {
                let _read = lock.read();
                ending(|| if by_value { mutex.acquire() } else { Ok(mutex.lock()) })
            }),
        );
        Self { endings, leave }
    }

    /// What becomes of the reader and the writer, once the other reader leaves.
    #[track_caller]
    fn endings(&self) -> [Ending; 2] {
        self.leave.open();
        let mut endings = [(); 3].map(|()| self.endings.recv_timeout(LIMIT).expect("nobody waits for ever"));
        endings.sort_by_key(|&(name, _)| name);
        let [_, reads, writes] = endings;
        [reads.1, writes.1]
    }

    /// Whether all of them are still there.
    fn stands(&self) -> bool {
        matches!(self.endings.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

#[test]
fn under_report_a_writers_deadlock_is_printed_once_and_stands_until_it_is_broken() {
    let body = || {
        for (round, shown) in [false, true].into_iter().enumerate() {
            let reports = Reports::about("stands");
            let pair = Pair::start("stands", shown, false);
            wait_until(|| reports.count() == 1);
            until_parked("stands writes");
            until_parked("stands reads");
            // Nothing that may come later makes it new.
            deadlock::set_policy(Policy::Report);
            thread::sleep(Duration::from_millis(50));
            assert!(pair.stands());
            let told = reports.take();
            assert_eq!(told.len(), 1, "round {round}");
            assert_is_a_proof(&told[0]);
            assert_eq!(names(told[0].threads()), ["stands reads", "stands writes"]);
            // A reader who is no part of it leaves: the writer looks again, and is as stuck as before.
            pair.leave.open();
            thread::sleep(Duration::from_millis(30));
            assert_eq!(reports.count(), 0);
            deadlock::set_policy(Policy::Panic);
            let endings = pair.endings();
            assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Panic(_))).count(), 1, "{endings:?}");
            assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Granted)).count(), 1, "{endings:?}");
            assert_eq!(reports.take().len(), 1, "once more, to break it");
            deadlock::set_policy(Policy::Report);
        }
    };
    let name = "under_report_a_writers_deadlock_is_printed_once_and_stands_until_it_is_broken";
    let Some(output) = in_process(name, "report", body) else { return };
    // Printed, and as the panic of whoever broke it.
    assert_eq!(headlines(&output), 4, "{}", stderr(&output));
}

#[test]
fn under_report_a_member_that_waits_by_value_is_the_victim() {
    let body = || {
        let reports = Reports::about("told");
        let [reads, writes] = Pair::start("told", true, true).endings();
        assert!(matches!((&reads, &writes), (Ending::Granted, Ending::Value(_))), "{reads:?} {writes:?}");
        assert_eq!(reports.count(), 1);
    };
    let name = "under_report_a_member_that_waits_by_value_is_the_victim";
    let Some(output) = in_process(name, "report", body) else { return };
    assert_eq!(headlines(&output), 0, "an error is not printed: {}", stderr(&output));
}

#[test]
fn under_report_whoever_comes_behind_a_writers_deadlock_parks_and_says_nothing() {
    let body = || {
        let reports = Reports::about("");
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::new(0)));
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread");
            until_parked(name);
        };
        spawn(
            "relocks",
            Box::new(|| {
                let _read = lock.read();
                drop(lock.write());
            }),
        );
        wait_until(|| reports.count() == 1);
        assert_eq!(reports.take()[0].kind(), Kind::Relock);
        spawn("reads behind", Box::new(|| drop(lock.read())));
        spawn("writes behind", Box::new(|| drop(lock.write())));
        spawn("upgradably behind", Box::new(|| drop(lock.upgradable_read())));
        spawn("by value behind", Box::new(|| drop(lock.acquire_write())));
        for name in ["relocks", "reads behind", "writes behind", "upgradably behind", "by value behind"] {
            until_parked(name);
        }
        thread::sleep(Duration::from_millis(30));
        assert_eq!(reports.count(), 0, "who waits behind it closes nothing");
        // One who overtakes is not behind it.
        assert_eq!(*lock.read_recursive(), 0);
    };
    let name = "under_report_whoever_comes_behind_a_writers_deadlock_parks_and_says_nothing";
    let Some(output) = in_process(name, "report", body) else { return };
    assert_eq!(headlines(&output), 1, "{}", stderr(&output));
}

#[test]
fn a_writer_that_stands_in_one_deadlock_is_told_of_the_next() {
    let body = || {
        let reports = Reports::about("two of them");
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::new(0)));
        let mutexes: &[Lock<()>; 2] = Box::leak(Box::new([Lock::new(()), Lock::new(())]));
        let [holds, second] = [(); 2].map(|()| Arc::new(Gate::new()));
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread");
        };
        for (at, mutex) in mutexes.iter().enumerate() {
            let (holds, second) = (Arc::clone(&holds), Arc::clone(&second));
            spawn(
                &format!("two of them {at}"),
                Box::new(move || {
                    let _read = lock.read();
                    holds.pass();
                    if at == 1 {
                        second.pass();
                    }
                    drop(mutex.lock());
                }),
            );
            crate::support::until_thread_where(|thread| {
                thread.name() == Some(&format!("two of them {at}")) && !thread.holds().is_empty()
            });
        }
        spawn("two of them, writes", {
            let holds = Arc::clone(&holds);
            Box::new(move || {
                let _held = mutexes.each_ref().map(Lock::lock);
                holds.open();
                drop(lock.write());
            })
        });
        wait_until(|| reports.count() == 1);
        assert_eq!(names(reports.take()[0].threads()), ["two of them 0", "two of them, writes"]);
        until_parked("two of them 0");
        until_parked("two of them, writes");
        second.open();
        wait_until(|| reports.count() == 1);
        let report = reports.take().remove(0);
        assert_is_a_proof(&report);
        assert_eq!(names(report.threads()), ["two of them 0", "two of them 1", "two of them, writes"]);
        until_parked("two of them 1");
        thread::sleep(Duration::from_millis(30));
        assert_eq!(reports.count(), 0);
    };
    let name = "a_writer_that_stands_in_one_deadlock_is_told_of_the_next";
    let Some(output) = in_process(name, "report", body) else { return };
    assert_eq!(headlines(&output), 2, "{}", stderr(&output));
}

#[test]
fn a_writer_told_of_a_reader_who_is_gone_hides_no_circle_that_it_closed_as_well() {
    let body = || {
        let reports = Reports::about("hides");
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::named("lock", 0)));
        let mutexes: &[Lock<()>; 2] = Box::leak(Box::new([Lock::new(()), Lock::new(())]));
        thread::spawn(|| std::mem::forget(lock.read())).join().unwrap();
        let write = Arc::new(Gate::new());
        let writer = {
            let write = Arc::clone(&write);
            move || {
                let _held = mutexes.each_ref().map(Lock::lock);
                write.pass();
                drop(lock.write());
            }
        };
        thread::Builder::new().name("hides, writes".to_owned()).spawn(writer).expect("a thread");
        wait_until(|| mutexes.iter().all(Lock::is_locked));
        let reader = |by_value: bool| {
            let name = if by_value { "hides, by value" } else { "hides, never" };
            let (ended, ending_of) = mpsc::channel();
            let body = move || {
                let _read = lock.read();
                let mutex = &mutexes[usize::from(by_value)];
                let wait = || if by_value { mutex.acquire() } else { Ok(mutex.lock()) };
                ended.send(ending(wait)).unwrap();
            };
            thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread");
            until_parked(name);
            ending_of
        };
        let [by_value, _never] = [reader(true), reader(false)];
        assert_eq!(reports.count(), 0);
        write.open();
        let told = by_value.recv_timeout(LIMIT).unwrap();
        assert!(matches!(&told, Ending::Value(_)), "{told:?}");
        wait_until(|| reports.count() == 3);
        let told: Vec<_> = reports.take().iter().map(|report| (report.kind(), report.threads().len())).collect();
        let with_and_without_the_one_that_waits_by_value = [(Kind::Cycle, 3), (Kind::Cycle, 2)];
        assert_eq!(told[0], (Kind::Abandoned, 2));
        assert_eq!(told[1..], with_and_without_the_one_that_waits_by_value);
        until_parked("hides, writes");
        thread::sleep(Duration::from_millis(30));
        assert_eq!(reports.count(), 0);
    };
    in_process("a_writer_told_of_a_reader_who_is_gone_hides_no_circle_that_it_closed_as_well", "report", body);
}

#[test]
fn what_was_told_of_a_task_in_place_is_not_told_again_when_another_reader_is_gone() {
    let body = || {
        let reports = Reports::about("");
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::named("lock", 0)));
        let mutex: &Lock<()> = Box::leak(Box::new(Lock::new(())));
        let [leave, inner_holds] = [(); 2].map(|()| Arc::new(Gate::new()));
        let goes = {
            let leave = Arc::clone(&leave);
            thread::spawn(move || {
                let read = lock.read();
                leave.pass();
                std::mem::forget(read);
            })
        };
        let waits = {
            let inner_holds = Arc::clone(&inner_holds);
            move || {
                let _read = lock.read();
                inner_holds.pass();
                drop(mutex.lock());
            }
        };
        thread::Builder::new().name("reads and waits".to_owned()).spawn(waits).expect("a thread");
        let pool = bowline::ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let _read = lock.read();
            let inner = same.submit(move || {
                let _held = mutex.lock();
                inner_holds.open();
                until_parked("reads and waits");
                drop(lock.write());
            });
            inner.result()
        });
        wait_until(|| reports.count() == 1);
        assert_eq!(reports.take()[0].kind(), Kind::Cycle);
        leave.open();
        goes.join().unwrap();
        wait_until(|| reports.count() == 1);
        assert_eq!(reports.take()[0].kind(), Kind::Abandoned);
        // All other waits are judged once more.
        until_parked("reads and waits");
        thread::sleep(Duration::from_millis(30));
        assert_eq!(reports.count(), 0);
        // They stand: no end of the pool is waited for.
        std::mem::forget((pool, outer));
    };
    in_process("what_was_told_of_a_task_in_place_is_not_told_again_when_another_reader_is_gone", "report", body);
}

/// Keeps the calling thread for as long as the gate is shut, when its last destructors have run.
#[cfg(target_os = "linux")]
fn end_late(gate: &'static Gate) {
    use std::ffi::c_void;

    /// What is left to be done by the destructor of a key: the last of its calls waits.
    struct Late(u32, &'static Gate);

    static KEY: std::sync::OnceLock<libc::pthread_key_t> = std::sync::OnceLock::new();

    unsafe extern "C" fn destroy(value: *mut c_void) {
        // SAFETY:
        // - the value came from a box, and the key forgot it before this call.
        let late = unsafe { Box::from_raw(value.cast::<Late>()) };
        if late.0 == 0 { late.1.pass() } else { set(Late(late.0 - 1, late.1)) }
    }

    fn set(late: Late) {
        let key = *KEY.get().expect("made before");
        // SAFETY:
        // - the key was made and is never deleted.
        assert_eq!(unsafe { libc::pthread_setspecific(key, Box::into_raw(Box::new(late)).cast()) }, 0);
    }

    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY:
        // - `key` is a place to write to; the destructor is called with values of `set` alone.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
        key
    });
    // As many calls as the system makes.
    set(Late(3, gate));
}

#[test]
#[cfg(target_os = "linux")]
fn a_writer_that_stands_in_a_circle_is_told_of_a_reader_whose_thread_was_ending_as_it_looked() {
    let body = || {
        static ENDS: Gate = Gate::new();
        let reports = Reports::about("");
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::named("lock", 0)));
        let mutex: &Lock<()> = Box::leak(Box::new(Lock::new(())));
        // The crate's own key comes first: its thread counts as ending before the other destructor waits.
        drop(mutex.lock());
        let ends = thread::spawn(|| {
            end_late(&ENDS);
            std::mem::forget(lock.read());
        });
        let [reads, holds] = [(); 2].map(|()| Arc::new(Gate::new()));
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            drop(thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread"));
        };
        spawn("reads", {
            let (reads, holds) = (Arc::clone(&reads), Arc::clone(&holds));
            Box::new(move || {
                let _read = lock.read();
                reads.open();
                holds.pass();
                drop(mutex.lock());
            })
        });
        spawn("writes", {
            let holds = Arc::clone(&holds);
            Box::new(move || {
                let _held = mutex.lock();
                holds.open();
                reads.pass();
                until_parked("reads");
                drop(lock.write());
            })
        });
        wait_until(|| reports.count() == 1);
        assert_eq!(reports.take()[0].kind(), Kind::Cycle, "the reader's thread is there");
        // Long enough for the writer to have looked again, and to sleep.
        until_parked("writes");
        thread::sleep(Duration::from_millis(50));
        ENDS.open();
        wait_until(|| reports.count() == 1);
        assert_eq!(reports.take()[0].kind(), Kind::Abandoned);
        drop(ends);
    };
    let name = "a_writer_that_stands_in_a_circle_is_told_of_a_reader_whose_thread_was_ending_as_it_looked";
    in_process(name, "report", body);
}

#[test]
fn under_off_nothing_is_judged_and_switching_on_judges_what_waits() {
    let body = || {
        let reports = Reports::about("asleep");
        let pairs = [Pair::start("asleep A", false, false), Pair::start("asleep B", true, true)];
        let lock: &RwLock<i32> = Box::leak(Box::new(RwLock::new(0)));
        let (told, relock) = mpsc::channel();
        let relocks = move || {
            let _read = lock.read();
            let upgradable = lock.upgradable_read();
            let error = RwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap_err();
            told.send(error.into_deadlock().report().kind()).unwrap();
        };
        thread::Builder::new().name("asleep alone".to_owned()).spawn(relocks).unwrap();
        for name in ["asleep A reads", "asleep A writes", "asleep B reads", "asleep B writes", "asleep alone"] {
            until_parked(name);
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(reports.count(), 0);
        deadlock::set_policy(Policy::Panic);
        assert_eq!(relock.recv_timeout(LIMIT).unwrap(), Kind::Relock);
        for pair in &pairs {
            let endings = pair.endings();
            assert_eq!(endings.iter().filter(|ending| matches!(ending, Ending::Granted)).count(), 1, "{endings:?}");
        }
        let taken = reports.take();
        assert_eq!(taken.len(), 3);
        taken.iter().for_each(assert_is_a_proof);
    };
    in_process("under_off_nothing_is_judged_and_switching_on_judges_what_waits", "off", body);
}

#[test]
#[cfg(unix)]
fn under_abort_the_process_aborts_unless_the_wait_can_return() {
    use std::os::unix::process::ExitStatusExt;

    let body = || {
        let [reads, writes] = Pair::start("spared", true, true).endings();
        assert!(matches!((&reads, &writes), (Ending::Granted, Ending::Value(_))), "{reads:?} {writes:?}");
        eprintln!("spared");
        let _ = Pair::start("doomed", true, false).endings();
        eprintln!("went on");
    };
    let name = "under_abort_the_process_aborts_unless_the_wait_can_return";
    let Some(output) = in_fresh_process(name, &[("BOWLINE_DEADLOCK", "abort")], body) else { return };
    let text = stderr(&output);
    assert_eq!(output.status.signal(), Some(6), "{text}");
    assert!(text.contains("spared\n") && !text.contains("went on"), "{text}");
    assert!(text.contains("thread 'doomed writes' waits for "), "{text}");
}
