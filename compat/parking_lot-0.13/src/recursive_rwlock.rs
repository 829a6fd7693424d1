//! The read-write lock that a reader can read again.

use crate::rwlock::RawRwLockRecursive;

/// A lock that many can read or one can write, and whose readers can read it again. It has the size of three words beside its value.
///
/// A reader waits for whoever writes, and for nobody else, so readers can keep a writer waiting for ever. Reports call it an `RwLock`.
pub type RecursiveRwLock<T> = lock_api::RwLock<RawRwLockRecursive, T>;

/// The guard of a reader.
pub type RecursiveRwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLockRecursive, T>;

/// The guard of a writer.
pub type RecursiveRwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLockRecursive, T>;

/// The guard of the reader that can become the writer.
pub type RecursiveRwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLockRecursive, T>;

/// The guard of a reader of a part.
pub type MappedRecursiveRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLockRecursive, T>;

/// The guard of a writer of a part.
pub type MappedRecursiveRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLockRecursive, T>;
