//! `LazyLock`: made on first use, whoever that is.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use bowline::deadlock::Kind;
use bowline::sync::InitError;
use bowline::{LazyLock, Lock};

use crate::support::{LIMIT, within};

static CALLS: AtomicU32 = AtomicU32::new(0);
static PORTS: LazyLock<HashMap<&str, u16>> = LazyLock::named("ports", || {
    CALLS.fetch_add(1, Relaxed);
    [("http", 80)].into()
});
static TOTAL: LazyLock<Lock<u32>> = LazyLock::new(|| Lock::named("total", 0));

#[test]
fn a_static_value_is_made_by_its_first_user_and_shared_by_all() {
    within(LIMIT, || {
        let start = Barrier::new(4);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    start.wait();
                    assert_eq!(PORTS["http"], 80);
                    *TOTAL.lock() += 1;
                });
            }
        });
        assert_eq!((CALLS.load(Relaxed), *TOTAL.lock()), (1, 4));
        assert_eq!(format!("{PORTS:?}"), r#"LazyLock { name: "ports", data: {"http": 80} }"#);
    });
}

#[test]
fn a_value_is_made_at_the_first_use_and_not_before() {
    let calls = Cell::new(0);
    let make = || {
        calls.set(calls.get() + 1);
        calls.get()
    };
    let lazy = LazyLock::new(make);
    assert_eq!((LazyLock::get(&lazy), format!("{lazy:?}").as_str()), (None, "LazyLock { data: <uninit> }"));
    assert_eq!((calls.get(), *lazy, *lazy, LazyLock::force(&lazy)), (0, 1, 1, &1));
    assert_eq!(LazyLock::acquire(&lazy).unwrap(), &1);
    let mut lazy = LazyLock::with_name("again", make);
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
    *lazy += 1;
    *LazyLock::force_mut(&mut lazy) += 1;
    *LazyLock::get_mut(&mut lazy).unwrap() += 1;
    assert_eq!((*lazy, calls.get()), (5, 2));
    assert_eq!(*LazyLock::<u32>::default(), 0);
}

#[test]
fn an_initialiser_is_dropped_once_called_or_with_its_value_that_was_never_made() {
    struct Counted<'a>(&'a Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Cell::new(0);
    let counted = Counted(&drops);
    drop(LazyLock::new(move || counted));
    assert_eq!(drops.get(), 1, "never called");
    let counted = Counted(&drops);
    let lazy = LazyLock::new(move || counted);
    LazyLock::force(&lazy);
    assert_eq!(drops.get(), 1, "it has become the value");
    drop(lazy);
    assert_eq!(drops.get(), 2);
    let counted = Counted(&drops);
    let lazy = LazyLock::new(move || -> u32 {
        let _counted = &counted;
        panic!("on purpose")
    });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| *lazy)).is_err());
    assert_eq!(drops.get(), 3, "dropped by the panic");
    drop(lazy);
    assert_eq!(drops.get(), 3);
}

#[test]
fn a_use_without_a_call_is_named_by_its_line() {
    static SELF: LazyLock<(u32, u32)> = LazyLock::named("itself", || {
        let used = line!() + 1;
        let text = std::panic::catch_unwind(|| SELF.0).unwrap_err();
        let text = crate::support::message(&*text);
        let text: Vec<_> = text.split_whitespace().collect();
        assert!(text.join(" ").contains(&format!("waits for A 'itself' at {}:{used}:", file!())), "{text:?}");
        let Err(InitError::Deadlock(deadlock)) = LazyLock::acquire(&SELF) else { unreachable!() };
        assert_eq!(deadlock.report().kind(), Kind::Relock);
        (used, deadlock.report().threads()[0].holds()[0].site().line())
    });
    within(LIMIT, || {
        let line = line!() + 1;
        let (_, begun) = *SELF;
        assert_eq!(begun, line);
    });
}
