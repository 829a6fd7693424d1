//! `OnceLock`: written once, read by all, and dropped like any value.

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::OnceLock;

use crate::support::{LIMIT, spawn_named, until_parked, within};

#[test]
fn every_constructor_makes_an_empty_cell_or_one_with_the_value() {
    static NAMED: OnceLock<i32> = OnceLock::named("named");
    for cell in [OnceLock::new(), OnceLock::named("named"), OnceLock::default(), OnceLock::with_name("at run time")] {
        assert_eq!((cell.get(), cell.clone().into_inner()), (None, None));
        assert_eq!(cell.set(1), Ok(()));
        assert_eq!(cell, OnceLock::from(1));
        assert_eq!(cell.clone().into_inner(), Some(1));
    }
    assert_ne!(OnceLock::from(1), OnceLock::new());
    assert_eq!(NAMED.get_or_init(|| 7), &7);
    assert_eq!(NAMED.set(8), Err(8));
    assert_eq!(format!("{:?}", *NAMED.wait()), "7");
    assert_eq!(format!("{NAMED:?}"), r#"OnceLock { name: "named", data: 7 }"#);
    assert_eq!(format!("{:?}", NAMED.clone()), r#"OnceLock { name: "named", data: 7 }"#);
}

#[test]
fn of_many_writers_one_wins_and_all_read_its_value() {
    within(LIMIT, || {
        for _ in 0..if cfg!(miri) { 2 } else { 200 } {
            let (cell, start, wins) = (OnceLock::new(), Barrier::new(4), AtomicU32::new(0));
            thread::scope(|s| {
                let threads: Vec<_> = (0..4_u32)
                    .map(|n| {
                        let (cell, start, wins) = (&cell, &start, &wins);
                        s.spawn(move || {
                            start.wait();
                            match n % 2 {
                                0 => drop(cell.set(vec![n; 3]).map(|()| wins.fetch_add(1, SeqCst))),
                                _ => drop(cell.get_or_init(|| {
                                    wins.fetch_add(1, SeqCst);
                                    vec![n; 3]
                                })),
                            }
                            cell.get().unwrap().clone()
                        })
                    })
                    .collect();
                let values: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
                assert!(values.iter().all(|value| value == cell.get().unwrap()), "{values:?}");
            });
            assert_eq!(wins.into_inner(), 1);
        }
    });
}

#[test]
fn a_value_that_is_refused_comes_back() {
    let cell = OnceLock::new();
    assert_eq!(cell.set(String::from("first")), Ok(()));
    assert_eq!(cell.set(String::from("second")), Err(String::from("second")));
    assert_eq!(cell.get_or_try_init(|| Err(())), Ok(&String::from("first")));
}

#[test]
fn the_owner_of_the_cell_changes_and_takes_the_value() {
    let mut cell = OnceLock::named("own");
    assert_eq!(cell.get_mut(), None);
    assert_eq!(cell.take(), None);
    *cell.get_mut_or_init(|| 1) += 1;
    *cell.get_mut().unwrap() += 1;
    assert_eq!(cell.take(), Some(3));
    assert_eq!(cell.get(), None);
    assert_eq!(*cell.get_mut_or_init(|| 5), 5);
    assert_eq!(cell.into_inner(), Some(5));
}

#[test]
fn a_value_is_dropped_once_with_its_cell() {
    struct Counted<'a>(&'a Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Cell::new(0);
    let cell = OnceLock::new();
    assert!(cell.set(Counted(&drops)).is_ok());
    assert!(cell.set(Counted(&drops)).is_err());
    assert_eq!(drops.get(), 1, "the one that was refused");
    drop(cell);
    assert_eq!(drops.get(), 2);
    drop(OnceLock::<Counted<'_>>::new());
    let mut cell = OnceLock::from(Counted(&drops));
    drop(cell.take());
    drop(cell);
    assert_eq!(drops.get(), 3);
}

#[test]
fn a_cell_may_be_made_before_what_its_value_borrows() {
    // Compiles as with std's cell: dropping a cell looks at no value that needs no drop.
    let cell = OnceLock::new();
    let text = String::from("made later");
    assert_eq!(cell.get_or_init(|| text.as_str()), &"made later");
}

#[test]
fn whoever_waits_for_a_value_gets_it() {
    within(LIMIT, || {
        let cell = OnceLock::<u32>::new();
        assert_eq!(cell.wait_for(Duration::from_millis(1)), None);
        assert_eq!(cell.wait_until(Instant::now()), None);
        let waits: [fn(&OnceLock<u32>) -> u32; 4] = [
            |cell| *cell.wait(),
            |cell| *cell.acquire().unwrap(),
            |cell| *cell.wait_for(Duration::MAX).unwrap(),
            |cell| *cell.wait_until(Instant::now() + LIMIT).unwrap(),
        ];
        let names = ["awaits a value 0", "awaits a value 1", "awaits a value 2", "awaits a value 3"];
        thread::scope(|s| {
            let waiters: Vec<_> = std::iter::zip(names, waits)
                .map(|(name, wait)| {
                    let cell = &cell;
                    spawn_named(s, name, move || wait(cell))
                })
                .collect();
            names.into_iter().for_each(until_parked);
            cell.set(9).unwrap();
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == 9));
        });
        assert_eq!(cell.wait(), &9);
    });
}

#[test]
fn an_initialiser_may_initialise_other_cells() {
    within(LIMIT, || {
        let cells: Vec<_> = (0..40).map(|_| OnceLock::new()).collect();
        fn fill(cells: &[OnceLock<usize>]) -> usize {
            let Some((first, rest)) = cells.split_first() else { return 0 };
            *first.get_or_init(|| fill(rest) + 1)
        }
        assert_eq!(fill(&cells), 40, "more than a thread's list has room for without allocating");
        assert!(crate::support::find_thread(thread::current().name().unwrap()).is_none(), "nothing is held any more");
    });
}
