//! How a read-write lock is held, or asked for.

use crate::deadlock::graph::resource::HoldMode;

/// How a thread holds a read-write lock, or asks for it.
///
/// # Examples
///
/// ```
/// use bowline::RwLock;
/// use bowline::deadlock::report::Access;
///
/// let lock = RwLock::new(());
/// let (_guard, deadlock) = (lock.read(), lock.acquire_write().unwrap_err());
/// let thread = &deadlock.report().threads()[0];
/// assert_eq!(thread.waits_for().unwrap().access(), Some(Access::Write));
/// assert_eq!(thread.holds()[0].access(), Some(Access::Read));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Access {
    /// As one of any number of readers.
    Read,
    /// As the one reader who may become the writer.
    UpgradableRead,
    /// As the only one.
    Write,
}

impl Access {
    pub(in crate::deadlock) fn of(mode: HoldMode) -> Option<Self> {
        match mode {
            HoldMode::Read => Some(Self::Read),
            HoldMode::UpgradableRead => Some(Self::UpgradableRead),
            HoldMode::Write => Some(Self::Write),
            _ => None,
        }
    }

    /// Returns `read A`, `read A upgradably`, `write A`.
    pub(in crate::deadlock) fn phrase(self, lock: &str) -> String {
        match self {
            Self::Read => format!("read {lock}"),
            Self::UpgradableRead => format!("read {lock} upgradably"),
            Self::Write => format!("write {lock}"),
        }
    }

    /// Returns `reads A`, `reads A upgradably`, `writes A`.
    pub(in crate::deadlock) fn phrase_of_one(self, lock: &str) -> String {
        self.phrase(lock).replacen(' ', "s ", 1)
    }
}
