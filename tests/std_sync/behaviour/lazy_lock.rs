use std::cell::Cell;
use std::thread;

use super::panic_of;
use super::sync::LazyLock;
use super::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crate::support::{LIMIT, watchdog};

#[test]
fn it_is_made_on_first_use_and_once() {
    let _watchdog = watchdog(LIMIT);
    static MADE: AtomicU32 = AtomicU32::new(0);
    static LAZY: LazyLock<u32> = LazyLock::new(|| MADE.fetch_add(1, SeqCst) + 7);
    assert_eq!((LazyLock::get(&LAZY), MADE.load(SeqCst)), (None, 0));
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| assert_eq!(*LAZY, 7));
        }
    });
    assert_eq!((LazyLock::force(&LAZY), LazyLock::get(&LAZY), MADE.load(SeqCst)), (&7, Some(&7), 1));
}

#[test]
fn a_panic_poisons_it_for_good() {
    let _watchdog = watchdog(LIMIT);
    let calls = Cell::new(0);
    let mut lazy = LazyLock::new(|| {
        calls.set(calls.get() + 1);
        panic!("on purpose")
    });
    assert_eq!(panic_of(|| lazy_value(&lazy)), "on purpose");
    for _ in 0..2 {
        assert!(panic_of(|| lazy_value(&lazy)).contains("poisoned"));
        assert!(panic_of(|| LazyLock::force_mut(&mut lazy)).contains("poisoned"));
    }
    assert_eq!((LazyLock::get(&lazy), calls.get()), (None, 1));
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
}

fn lazy_value<F: FnOnce() -> u32>(lazy: &LazyLock<u32, F>) -> u32 {
    **lazy
}

#[test]
fn its_owner_makes_and_changes_it() {
    let _watchdog = watchdog(LIMIT);
    let mut lazy = LazyLock::new(|| 1);
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
    *lazy += 1;
    *LazyLock::force_mut(&mut lazy) += 1;
    assert_eq!(LazyLock::get_mut(&mut lazy), Some(&mut 3));
    assert_eq!(*LazyLock::<u8>::default(), 0);
    let mut lazy: LazyLock<u32> = LazyLock::new(|| panic!("on purpose"));
    assert_eq!(panic_of(|| *LazyLock::force_mut(&mut lazy)), "on purpose");
    assert!(panic_of(|| *lazy).contains("poisoned"));
}

#[test]
fn what_its_initialiser_holds_is_dropped_with_it_or_when_it_is_called() {
    let _watchdog = watchdog(LIMIT);
    let held = std::rc::Rc::new(());
    let lazy = || {
        let held = std::rc::Rc::clone(&held);
        LazyLock::new(move || drop(held))
    };
    let (unused, used) = (lazy(), lazy());
    assert_eq!(std::rc::Rc::strong_count(&held), 3);
    LazyLock::force(&used);
    assert_eq!(std::rc::Rc::strong_count(&held), 2);
    drop(unused);
    assert_eq!(std::rc::Rc::strong_count(&held), 1);
}
