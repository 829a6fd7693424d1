//! The guards of an [`RwLock`](super::RwLock).

mod read;
mod upgradable;
mod upgrade_error;
mod write;

pub use read::{ArcRwLockReadGuard, MappedRwLockReadGuard, RwLockReadGuard};
pub use upgradable::{ArcRwLockUpgradableReadGuard, RwLockUpgradableReadGuard};
pub use upgrade_error::UpgradeError;
pub use write::{ArcRwLockWriteGuard, MappedRwLockWriteGuard, RwLockWriteGuard};
