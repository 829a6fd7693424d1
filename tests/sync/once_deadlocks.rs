//! Initialisers that can never end: who is told so, by which lines, and what becomes of those that wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{Deadlock, Kind, Report, set_grace};
use bowline::sync::InitError;
use bowline::{LazyLock, Lock, Once, OnceLock, ThreadPoolExecutor};

use crate::support::deadlocks::{Gate, assert_is_a_proof, held_names, names, wanted};
use crate::support::{LIMIT, alone, find_thread, message, spawn_named, until_parked, until_waiting, within};

/// The message of the panic of `body`, on one line.
#[track_caller]
fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(body()))).expect_err("it panics");
    one_line(message(&*payload))
}

/// A text without its line breaks and indents.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The deadlock that is the reason why something was not initialised.
#[track_caller]
fn deadlock<T>(result: Result<T, InitError>) -> Deadlock {
    match result {
        Err(InitError::Deadlock(deadlock)) => deadlock,
        Err(InitError::Poisoned(poisoned)) => panic!("{poisoned}"),
        _ => panic!("it is initialised"),
    }
}

/// Checks that a thread runs an initialiser that was called in line `called`, and waits in line `waits` for what it is
/// to make.
#[track_caller]
fn assert_relock(report: &Report, called: u32, waits: u32) {
    assert_eq!(report.kind(), Kind::Relock);
    assert_is_a_proof(report);
    let thread = &report.threads()[0];
    let held = &thread.holds()[0];
    assert!(held.is_initialisation() && held.resource().is_same(wanted(thread)));
    let lines = (held.site().line(), thread.waits_for().unwrap().site().line());
    assert_eq!((lines, held.site().file()), ((called, waits), file!()));
    let text = one_line(&report.to_string());
    assert!(text.contains("waits for an initialisation that it runs itself "), "{text}");
    assert!(text.contains("and already initialises A"), "{text}");
}

#[test]
fn an_initialiser_that_comes_back_to_its_own_once_is_a_relock_at_once() {
    alone(|| {
        // No other deadlock is found within the time that a test has.
        set_grace(LIMIT * 60);
        let once = Once::named("recursive");
        let mut found = None;
        let called = line!() + 1;
        once.call_once(|| found = Some((line!(), deadlock(once.acquire_once(|| unreachable!())))));
        let (waits, deadlock) = found.unwrap();
        assert_relock(deadlock.report(), called, waits);
        assert!(once.is_completed(), "the error was handled");
    });
}

#[test]
fn every_wait_of_an_initialiser_for_itself_is_a_relock() {
    within(LIMIT, || {
        let (once, cell) = (Once::new(), OnceLock::new());
        once.call_once(|| {
            for text in [
                panic_of(|| once.call_once(|| ())),
                panic_of(|| once.call_once_force(|_| ())),
                panic_of(|| once.wait()),
                panic_of(|| once.wait_force()),
                once.acquire().unwrap_err().to_string(),
                once.acquire_once_force(|_| ()).unwrap_err().to_string(),
            ] {
                assert!(text.contains("waits for an initialisation that it runs itself"), "{text}");
            }
            assert!(!once.wait_for(Duration::from_millis(1)), "this one ends by itself");
        });
        cell.get_or_init(|| {
            for text in [
                panic_of(|| cell.get_or_init(|| 1)),
                panic_of(|| cell.get_or_try_init(|| Ok::<_, ()>(1))),
                panic_of(|| cell.set(1)),
                panic_of(|| cell.wait()),
                cell.acquire().unwrap_err().to_string(),
                cell.acquire_or_init(|| 1).unwrap_err().to_string(),
                cell.acquire_or_try_init(|| Ok::<_, Deadlock>(1)).unwrap_err().to_string(),
            ] {
                assert!(text.contains("waits for an initialisation that it runs itself"), "{text}");
            }
            assert_eq!((cell.get(), cell.wait_for(Duration::from_millis(1))), (None, None));
            7
        });
        assert_eq!(cell.get(), Some(&7));
    });
}

#[test]
fn a_cell_whose_initialiser_asked_for_it_is_as_it_was() {
    within(LIMIT, || {
        let cell = OnceLock::named("recursive");
        let (called, text) = (line!(), panic_of(|| cell.get_or_init(|| *cell.get_or_init(|| 1))));
        assert!(text.contains(&format!("'recursive', begun at {}:{called}:", file!())), "{text}");
        assert_eq!(cell.get_or_init(|| 2), &2);
    });
}

static RECURSIVE: LazyLock<u32> = LazyLock::named("recursive value", || *RECURSIVE + 1);

#[test]
fn a_lazy_value_that_uses_itself_is_a_relock_and_poisoned() {
    within(LIMIT, || {
        let (line, text) = (line!(), panic_of(|| *RECURSIVE));
        assert!(text.contains("waits for an initialisation that it runs itself"), "{text}");
        let text = panic_of(|| *RECURSIVE);
        let expected = "LazyLock 'recursive value' is poisoned: its initialiser, called at ";
        assert!(text.starts_with(expected) && text.contains(&format!("{}:{line}:", file!())), "{text}");
    });
}

static BOTH_BEGUN: std::sync::Barrier = std::sync::Barrier::new(2);
static CHICKEN: LazyLock<u32> = LazyLock::named("chicken", || {
    BOTH_BEGUN.wait();
    *EGG + 1
});
static EGG: LazyLock<u32> = LazyLock::named("egg", || {
    BOTH_BEGUN.wait();
    *CHICKEN + 1
});

#[test]
fn two_lazy_values_that_need_each_other_are_one_cycle_and_both_poisoned() {
    within(LIMIT, || {
        thread::scope(|s| {
            let hen = spawn_named(s, "wants the chicken", || panic_of(|| *CHICKEN));
            let breeder = spawn_named(s, "wants the egg", || panic_of(|| *EGG));
            let mut texts = [hen.join().unwrap(), breeder.join().unwrap()];
            texts.sort_by_key(|text| text.starts_with("LazyLock"));
            let [report, poison] = texts;
            assert!(report.starts_with("deadlock: 2 threads wait for each other "), "{report}");
            for (name, maker) in [("chicken", "wants the chicken"), ("egg", "wants the egg")] {
                assert!(report.contains(&format!("LazyLock<u32> '{name}', made at {}:", file!())), "{report}");
                assert!(report.contains(&format!("thread '{maker}' waits for ")), "{report}");
            }
            assert_eq!(report.matches("and initialises ").count(), 2, "{report}");
            assert!(poison.contains(" is poisoned: its initialiser, called at "), "{poison}");
        });
        for value in [&CHICKEN, &EGG] {
            assert!(matches!(LazyLock::acquire(value), Err(InitError::Poisoned(_))));
            assert_eq!(LazyLock::get(value), None);
        }
    });
}

#[test]
fn an_initialiser_that_is_told_of_a_cycle_may_do_without() {
    within(LIMIT, || {
        let (left, right) = (OnceLock::named("left"), OnceLock::named("right"));
        let begun = [const { Gate::new() }; 2];
        let make = |at: usize, cells: [&OnceLock<u32>; 2]| {
            let mut told = None;
            let value = *cells[at].get_or_init(|| {
                begun[at].open();
                begun[1 - at].pass();
                match cells[1 - at].acquire_or_init(|| unreachable!("the other one makes it")) {
                    Ok(value) => value + 1,
                    Err(deadlock) => {
                        told = Some(deadlock);
                        1
                    }
                }
            });
            (value, told)
        };
        thread::scope(|s| {
            let threads = [0, 1].map(|at| {
                spawn_named(s, &format!("maker {at}"), {
                    let (make, cells) = (&make, [&left, &right]);
                    move || make(at, cells)
                })
            });
            let [mut first, mut second] = threads.map(|thread| thread.join().unwrap());
            if first.0 > second.0 {
                std::mem::swap(&mut first, &mut second);
            }
            assert_eq!((first.0, second.0), (1, 2), "one did without, and the other had its value");
            let told = first.1.expect("it was told");
            assert!(second.1.is_none(), "one victim");
            let report = told.report();
            assert_eq!(report.kind(), Kind::Cycle);
            assert_is_a_proof(report);
            assert_eq!(names(report.threads()), ["maker 0", "maker 1"]);
            assert!(report.threads().iter().all(|thread| thread.holds()[0].is_initialisation()));
        });
    });
}

/// The thread `waiter` holds a lock and waits for a value whose initialiser, on the thread `maker`, wants that lock. Returns
/// the two panics, of the waiter and the maker.
fn lock_wanted_by_an_initialiser(
    value: &(dyn Fn(&dyn Fn()) -> u32 + Sync),
    names: [&str; 2],
) -> [Result<u32, String>; 2] {
    let lock = Lock::named("ledger", ());
    let [held, begun] = [const { Gate::new() }; 2];
    let caught =
        |body: &dyn Fn() -> u32| catch_unwind(AssertUnwindSafe(body)).map_err(|payload| one_line(message(&*payload)));
    thread::scope(|s| {
        let waiter = spawn_named(s, names[0], || {
            caught(&|| {
                let _ledger = lock.lock();
                held.open();
                begun.pass();
                value(&|| ())
            })
        });
        let maker = spawn_named(s, names[1], || {
            caught(&|| {
                held.pass();
                value(&|| {
                    begun.open();
                    until_waiting(names[0]);
                    drop(lock.lock());
                })
            })
        });
        [waiter.join().unwrap(), maker.join().unwrap()]
    })
}

#[test]
fn an_initialiser_that_wants_a_lock_of_a_waiter_unwinds_and_the_waiter_runs_its_own() {
    within(LIMIT, || {
        let (cell, runs) = (OnceLock::named("config"), AtomicU32::new(0));
        let value = |body: &dyn Fn()| {
            *cell.get_or_init(|| {
                let run = runs.fetch_add(1, SeqCst);
                body();
                run
            })
        };
        let [waiter, maker] = lock_wanted_by_an_initialiser(&value, ["waits for config", "makes config"]);
        let report = maker.expect_err("it closed the cycle");
        assert!(report.starts_with("deadlock: 2 threads wait for each other "), "{report}");
        assert!(report.contains("thread 'makes config' waits for A 'ledger' at "), "{report}");
        assert!(report.contains("and initialises B 'config' (thread 'waits for config' waits for it), begun at "));
        assert!(report.contains("help: release A 'ledger', taken at "), "{report}");
        assert_eq!((waiter, cell.get()), (Ok(1), Some(&1)), "the waiter is not lost: it ran its own");
    });
}

#[test]
fn an_initialiser_that_wants_a_lock_of_a_waiter_poisons_and_the_waiter_is_told() {
    within(LIMIT, || {
        let once = Once::named("setup");
        let setup = |body: &dyn Fn()| {
            once.call_once(body);
            0
        };
        let [waiter, maker] = lock_wanted_by_an_initialiser(&setup, ["waits for setup", "sets up"]);
        assert!(maker.unwrap_err().contains("and initialises B 'setup' (thread 'waits for setup' waits for it)"));
        let told = waiter.unwrap_err();
        assert!(told.starts_with("Once 'setup' is poisoned: its initialiser, called at "), "{told}");
    });
}

#[test]
fn a_wait_that_began_before_any_initialiser_is_part_of_the_cycle_that_one_closes() {
    within(LIMIT, || {
        let (cell, lock) = (OnceLock::named("awaited"), Lock::named("kept", ()));
        thread::scope(|s| {
            let waiter = spawn_named(s, "waits for anybody", || {
                let _kept = lock.lock();
                *cell.wait()
            });
            // Nobody is known who could end this wait.
            until_parked("waits for anybody");
            let maker = spawn_named(s, "makes it at last", || {
                let mut told = None;
                let value = *cell.get_or_init(|| {
                    told = lock.acquire().map(drop).err();
                    5
                });
                (value, told.expect("the waiter keeps the lock until there is a value"))
            });
            let (value, told) = maker.join().unwrap();
            let report = told.report();
            assert_eq!(report.kind(), Kind::Cycle);
            assert_is_a_proof(report);
            assert_eq!(names(report.threads()), ["makes it at last", "waits for anybody"]);
            assert_eq!((value, waiter.join().unwrap()), (5, 5));
        });
    });
}

#[test]
fn a_wait_for_anybody_is_no_deadlock_and_is_seen() {
    within(LIMIT, || {
        let cell = OnceLock::named("nobody's");
        thread::scope(|s| {
            let waiter = spawn_named(s, "patient", || *cell.wait());
            until_parked("patient");
            let thread = find_thread("patient").unwrap();
            assert_eq!((wanted(&thread).primitive(), wanted(&thread).name()), ("OnceLock", Some("nobody's")));
            cell.set(3).unwrap();
            assert_eq!(waiter.join().unwrap(), 3);
        });
    });
}

#[test]
fn those_behind_a_circle_of_initialisers_are_bystanders() {
    within(LIMIT, || {
        let (cell, lock) = (OnceLock::named("behind"), Lock::named("before", ()));
        let [held, begun] = [const { Gate::new() }; 2];
        let told = thread::scope(|s| {
            spawn_named(s, "behind 1", || {
                let _before = lock.lock();
                held.open();
                begun.pass();
                cell.get_or_init(|| 1);
            });
            for name in ["behind 2", "behind 3"] {
                spawn_named(s, name, || {
                    begun.pass();
                    cell.wait();
                });
            }
            held.pass();
            let mut told = None;
            cell.get_or_init(|| {
                begun.open();
                ["behind 1", "behind 2", "behind 3"].into_iter().for_each(|name| _ = until_waiting(name));
                told = lock.acquire().map(drop).err();
                2
            });
            told.expect("a cycle")
        });
        assert_eq!(told.report().threads().len(), 2);
        assert_eq!(names(told.report().bystanders()), ["behind 2", "behind 3"]);
    });
}

#[test]
fn a_timed_wait_in_the_circle_is_no_verdict() {
    within(LIMIT, || {
        let (cell, lock) = (OnceLock::named("timed"), Lock::named("timed lock", ()));
        let [held, begun] = [const { Gate::new() }; 2];
        thread::scope(|s| {
            let timed = spawn_named(s, "ends by itself", || {
                let guard = lock.lock();
                held.open();
                begun.pass();
                let seen = cell.wait_for(Duration::from_millis(50)).copied();
                drop(guard);
                seen
            });
            held.pass();
            cell.get_or_init(|| {
                begun.open();
                drop(lock.acquire().expect("the other wait ends by itself"));
                1
            });
            assert_eq!(timed.join().unwrap(), None);
        });
    });
}

#[test]
fn a_task_in_place_that_asks_for_what_its_waiter_initialises_is_a_cycle() {
    within(LIMIT, || {
        static CELL: OnceLock<u32> = OnceLock::named("shared with a task");
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("initialises in place").build();
        let inside = pool.clone();
        let task = pool.submit(move || {
            let mut told = None;
            CELL.get_or_init(|| {
                let inner = inside.submit_named("inner", || CELL.acquire_or_init(|| 1).copied());
                told = inner.result().unwrap().err();
                2
            });
            told
        });
        let told = task.result().unwrap().expect("the waiter initialises it");
        assert_eq!((told.report().kind(), told.report().threads().len()), (Kind::Cycle, 2), "{told}");
        assert_eq!(held_names(&told.report().threads()[1]), ["shared with a task"], "{told}");
        assert_eq!(CELL.get(), Some(&2));
    });
}

#[test]
fn an_initialiser_belongs_to_the_task_in_place_that_runs_it() {
    within(LIMIT, || {
        static CELL: OnceLock<u32> = OnceLock::named("of a task");
        static LOCK: Lock<()> = Lock::named("of its waiter", ());
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("initialises inside").build();
        let inside = pool.clone();
        let task = pool.submit(move || {
            let guard = LOCK.lock();
            let inner = inside.submit(|| {
                let mut told = None;
                CELL.get_or_init(|| {
                    told = LOCK.acquire().map(drop).err();
                    3
                });
                told
            });
            let told = inner.result().unwrap();
            drop(guard);
            told
        });
        let told = task.result().unwrap().expect("its waiter has the lock");
        let threads = told.report().threads();
        assert_eq!((told.report().kind(), threads.len()), (Kind::Cycle, 2), "{told}");
        assert!(threads[0].is_in_place() && threads[0].holds()[0].is_initialisation(), "{told}");
        // What the task held was given back: the thread holds nothing.
        assert!(find_thread("initialises inside_0").is_none_or(|thread| thread.holds().is_empty()));
        assert_eq!(CELL.get(), Some(&3));
    });
}

#[test]
fn who_initialises_what_is_seen_while_it_lasts_and_given_back_however_it_ends() {
    within(LIMIT, || {
        let cell = OnceLock::named("seen");
        let seen = || find_thread("sees itself").is_some_and(|thread| held_names(&thread) == ["seen"]);
        thread::scope(|s| {
            let body = || {
                panic_of(|| {
                    cell.get_or_init(|| {
                        assert!(seen());
                        panic!("on purpose")
                    })
                });
                assert!(!seen(), "after a panic");
                assert_eq!(cell.get_or_try_init(|| if seen() { Err(()) } else { Ok(1) }), Err(()));
                assert!(!seen(), "after an error");
                cell.get_or_init(|| {
                    assert!(
                        bowline::deadlock::snapshot()
                            .to_string()
                            .contains("initialises OnceLock<i32> 'seen', begun at ")
                    );
                    2
                });
                assert!(!seen(), "at the end");
            };
            spawn_named(s, "sees itself", body).join().unwrap();
        });
        assert_eq!(cell.into_inner(), Some(2));
    });
}
