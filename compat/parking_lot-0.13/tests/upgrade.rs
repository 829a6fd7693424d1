//! Upgrades that are victims of a deadlock. The policy is the whole process's: nothing else is tested here.
//!
//! Of guards that may be sent nobody knows the owner, so there are no deadlocks.
#![cfg(not(feature = "send_guard"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Policy};
use parking_lot::{RecursiveRwLock, RwLock, lock_api};

/// Ends the process, with the wait-for graph on standard error, unless the sender is dropped in time.
fn watchdog() -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            deadlock::dump();
            std::process::abort();
        }
    });
    alive
}

type Upgradable<'l, R> = lock_api::RwLockUpgradableReadGuard<'l, R, ()>;

fn gives_up<R: lock_api::RawRwLockUpgrade>(lock: &lock_api::RwLock<R, ()>, upgrade: impl FnOnce(Upgradable<'_, R>)) {
    let _watchdog = watchdog();
    deadlock::set_policy(Policy::Panic);
    let upgradable = lock.upgradable_read();
    let reader = lock.read();
    assert!(catch_unwind(AssertUnwindSafe(|| upgrade(upgradable))).is_err());
    assert!(lock.is_locked());
    drop(reader);
    assert!(!lock.is_locked());
    assert!(lock.try_write().is_some());
}

#[test]
fn an_upgrade_that_unwinds_gives_its_acquisition_up() {
    gives_up(&RwLock::new(()), |guard| drop(Upgradable::upgrade(guard)));
    gives_up(&RecursiveRwLock::new(()), |guard| drop(Upgradable::upgrade(guard)));
}

#[test]
fn an_upgrade_whose_limit_is_never_gives_its_acquisition_up() {
    gives_up(&RwLock::new(()), |guard| drop(Upgradable::try_upgrade_for(guard, Duration::MAX)));
}
