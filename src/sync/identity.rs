//! What a raw lock knows of itself.

use crate::deadlock::resource::{Origin, UNKNOWN};

/// Stands in a lock's word for an owner that is not known: the number of no context, since those are larger.
pub(crate) const UNKNOWN_OWNER: u64 = 2;

/// What a raw lock stores beside its words.
pub(crate) trait Identity: Copy + 'static {
    /// Whether the context that acquires the lock owns it, and lists that. Otherwise its guards move between threads, unseen:
    /// nobody known holds the lock.
    const HAS_OWNERS: bool;

    /// Whether a guard says where the hold of an acquisition is. Otherwise its release looks it up.
    const HAS_GUARDS: bool;

    /// Returns where the lock was made, its name and its rank.
    fn origin(self) -> Origin;

    /// Returns whether it has a rank.
    fn is_ranked(self) -> bool;
}

impl Identity for Origin {
    const HAS_OWNERS: bool = true;
    const HAS_GUARDS: bool = true;

    #[inline]
    fn origin(self) -> Origin {
        self
    }

    #[inline]
    fn is_ranked(self) -> bool {
        Origin::is_ranked(&self)
    }
}

/// Of a lock that stores nothing but its words.
#[derive(Clone, Copy)]
pub struct Anonymous;

impl Identity for Anonymous {
    const HAS_OWNERS: bool = true;
    const HAS_GUARDS: bool = false;

    #[inline]
    fn origin(self) -> Origin {
        Origin::at(UNKNOWN, None)
    }

    #[inline]
    fn is_ranked(self) -> bool {
        false
    }
}

/// Of a lock that stores nothing but its words, and whose guards move between threads.
#[derive(Clone, Copy)]
pub struct Unowned;

impl Identity for Unowned {
    const HAS_OWNERS: bool = false;
    const HAS_GUARDS: bool = false;

    #[inline]
    fn origin(self) -> Origin {
        Anonymous.origin()
    }

    #[inline]
    fn is_ranked(self) -> bool {
        false
    }
}
