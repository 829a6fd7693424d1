//! Upgrades that are victims of a deadlock. The policy is the whole process's: nothing else is tested here.
//!
//! Of guards that may be sent nobody knows the owner, so there are no deadlocks.
#![cfg(not(feature = "send_guard"))]

mod watchdog;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bowline::deadlock::{self, Policy};
use parking_lot::{RecursiveRwLock, RwLock, lock_api};

use watchdog::watchdog;

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
