use std::cell::Cell;
use std::thread;

use super::panic_of;
use super::sync::OnceLock;
use crate::support::{LIMIT, watchdog};

#[test]
fn it_is_written_once() {
    let _watchdog = watchdog(LIMIT);
    static CELL: OnceLock<u32> = OnceLock::new();
    assert_eq!(CELL.get(), None);
    thread::scope(|s| {
        let waits = s.spawn(|| *CELL.wait());
        let all = [1, 2, 3].map(|number| s.spawn(move || *CELL.get_or_init(|| number)));
        let [first, others @ ..] = all.map(|one| one.join().unwrap());
        assert_eq!((others, waits.join().unwrap()), ([first; 2], first));
        assert_eq!(CELL.set(7), Err(7));
    });
}

#[test]
fn a_panic_leaves_it_empty() {
    let _watchdog = watchdog(LIMIT);
    let cell = OnceLock::new();
    assert_eq!(panic_of(|| cell.get_or_init(|| panic!("on purpose"))), "on purpose");
    assert_eq!(cell.get(), None);
    assert_eq!((cell.get_or_init(|| 1), cell.set(2)), (&1, Err(2)));
}

#[test]
fn its_owner_takes_the_value_and_it_can_be_written_again() {
    let _watchdog = watchdog(LIMIT);
    let mut cell = OnceLock::new();
    assert_eq!(cell.get_mut(), None);
    assert_eq!(cell.take(), None);
    assert_eq!(cell.set(1), Ok(()));
    *cell.get_mut().unwrap() += 1;
    assert_eq!((cell.take(), cell.get()), (Some(2), None));
    assert_eq!(cell.set(3), Ok(()));
    assert_eq!(cell.into_inner(), Some(3));
    panic_of(|| OnceLock::<u8>::new().into_inner().unwrap());
}

#[test]
fn it_is_cloned_compared_and_made_of_a_value() {
    let _watchdog = watchdog(LIMIT);
    let (empty, full) = (OnceLock::default(), OnceLock::from(1));
    assert!(empty.clone() == empty && full.clone() == full && empty != full);
    assert_eq!(empty.set(1), Ok(()));
    assert!(empty == full);
}

#[test]
fn its_value_is_dropped_with_it() {
    let _watchdog = watchdog(LIMIT);
    struct Counts<'a>(&'a Cell<u32>);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Cell::new(0);
    let cell = OnceLock::new();
    drop(cell.set(Counts(&drops)));
    assert!(cell.set(Counts(&drops)).is_err());
    assert_eq!(drops.get(), 1);
    drop(cell);
    drop(OnceLock::<Counts<'_>>::new());
    assert_eq!(drops.get(), 2);
}
