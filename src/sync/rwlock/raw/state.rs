//! The state of a read-write lock: one word, and its named transitions.

use std::fmt;

use crate::deadlock::graph::visible::quiet_reads;
use crate::primitive::{Ingredient, is_removed};

/// The state of a [`RawRwLock`](super::RawRwLock), as it was at some moment.
///
/// ```text
/// quiet reads : 32 | readers : 24 | UNLISTED | RANKED | WRITERS_PARKED | READERS_PARKED | BIASED | UPGRADABLE | PENDING | WRITING
///
/// readers | BIASED | UPGRADABLE | PENDING | WRITING |
///    0    |   0    |     0      |    0    |    0    | free
///    n    |   0    |     0      |    0    |    0    | read by n
///    n    |   1    |     0      |    0    |    0    | read by n, and by those who show themselves
///    n    |   b    |     1      |    0    |    0    | the same, and one upgradable reader
///    n    |   b    |     u      |    1    |    0    | the same, and a writer (if u: the upgradable reader) waits for their end
///    0    |   0    |     0      |    0    |    1    | written
/// ```
///
/// The last three columns name *the turn*: it is taken while any of the last three bits is set, by one context, which stands in the
/// lock's owner word. RANKED is the same at all times: the lock has a rank. The questions that decide whether somebody gets in
/// take a `RANKED_TOO`: without it, nobody gets into a lock with a rank. That is how the fast paths ask, and the cold ones, which
/// look at ranks, ask again. UNLISTED is set for good once a read of another thread's was ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

/// A writer is in.
const WRITING: u64 = 1;
/// A writer waits for the readers to leave, and keeps new ones out.
const PENDING: u64 = 1 << 1;
/// An upgradable reader is in.
const UPGRADABLE: u64 = 1 << 2;
/// Readers may show themselves in place of being counted.
const BIASED: u64 = 1 << 3;
/// Threads wait to read, parked or about to park.
pub(super) const READERS_PARKED: u64 = 1 << 4;
/// Threads wait for the turn, parked or about to park.
pub(super) const WRITERS_PARKED: u64 = 1 << 5;

/// The lock has a rank.
const RANKED: u64 = 1 << 6;
/// What contexts list of their reads may be wrong.
pub(super) const UNLISTED: u64 = 1 << 7;

const TURN: u64 = WRITING | PENDING | UPGRADABLE;
const BLOCKS_READERS: u64 = WRITING | PENDING;

const READER: u64 = 1 << 8;
const READERS: u64 = QUIET_READ - READER;
/// There are as many readers as are [let in](State::is_full), which is half of what the field can count.
const FULL: u64 = 1 << 31;
/// One read that was counted since the last write. What decides how a reader enters is in the lower half of the word, which
/// one instruction tests.
const QUIET_READ: u64 = 1 << 32;

/// What a transition adds to the word, by which it is done in one step whatever the other bits are.
pub(super) mod change {
    use super::{PENDING, READER, UPGRADABLE, WRITING};

    /// A counted reader leaves.
    pub(in super::super) const READER_LEAVES: u64 = READER.wrapping_neg();
    /// The writer leaves.
    pub(in super::super) const WRITER_LEAVES: u64 = WRITING.wrapping_neg();
    /// The upgradable reader leaves.
    pub(in super::super) const UPGRADABLE_LEAVES: u64 = UPGRADABLE.wrapping_neg();
    /// The writer gives up waiting for the readers.
    pub(in super::super) const PENDING_ENDS: u64 = PENDING.wrapping_neg();
    /// The writer becomes a counted reader.
    pub(in super::super) const WRITER_READS: u64 = READER.wrapping_sub(WRITING);
    /// The writer becomes the upgradable reader.
    pub(in super::super) const WRITER_IS_UPGRADABLE: u64 = UPGRADABLE.wrapping_sub(WRITING);
    /// The upgradable reader becomes a counted one.
    pub(in super::super) const UPGRADABLE_READS: u64 = READER.wrapping_sub(UPGRADABLE);
}

impl State {
    pub(super) const FREE: Self = Self(0);
    pub(super) const FREE_AND_RANKED: Self = Self(RANKED);

    /// Returns whether the lock is neither read nor written, as far as this word tells: of readers that show themselves it
    /// says only that there may be some.
    #[inline]
    pub(super) fn is_free<const RANKED_TOO: bool>(self) -> bool {
        self.0 & (TURN | READERS | BIASED | unless::<RANKED_TOO>()) == 0
    }

    #[inline]
    pub(super) fn is_written(self) -> bool {
        self.0 & WRITING != 0
    }

    /// Returns whether a writer waits for the readers to leave.
    #[inline]
    pub(super) fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    #[inline]
    pub(super) fn is_upgradable(self) -> bool {
        self.0 & UPGRADABLE != 0
    }

    #[inline]
    pub(super) fn is_biased(self) -> bool {
        self.0 & BIASED != 0
    }

    /// Returns whether the turn is taken, so that neither a writer nor an upgradable reader can begin.
    #[inline]
    pub(super) fn is_turn_taken<const RANKED_TOO: bool>(self) -> bool {
        self.0 & (TURN | unless::<RANKED_TOO>()) != 0
    }

    /// Returns whether a reader has to wait: a recursive one only for a writer that is in.
    #[inline]
    pub(super) fn blocks_readers<const RANKED_TOO: bool>(self, recursive: bool) -> bool {
        self.0 & (if recursive { WRITING } else { BLOCKS_READERS } | unless::<RANKED_TOO>()) != 0
    }

    /// Returns whether a reader that shows itself is in.
    #[inline]
    pub(super) fn lets_shown_readers_in<const RANKED_TOO: bool>(self) -> bool {
        self.0 & (BLOCKS_READERS | BIASED | unless::<RANKED_TOO>()) == BIASED
    }

    /// Returns the number of counted readers.
    #[inline]
    pub(super) fn readers(self) -> u64 {
        (self.0 & READERS) / READER
    }

    /// Returns whether there are counted readers, or the lock has a rank.
    #[inline]
    pub(super) fn has_readers<const RANKED_TOO: bool>(self) -> bool {
        self.0 & (READERS | unless::<RANKED_TOO>()) != 0
    }

    #[inline]
    pub(super) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// Returns the state with one more reader; `None` if a writer keeps readers out, if there are too many, or if this one
    /// is to bias the lock. Unless readers `may_show` themselves, none is.
    #[inline]
    pub(super) fn with_quiet_reader<const RANKED_TOO: bool>(self, may_show: bool) -> Option<Self> {
        if !may_show {
            return (self.0 & (BLOCKS_READERS | FULL) == 0).then_some(Self(self.0 + READER));
        }
        let is_quiet =
            self.0 & (BLOCKS_READERS | FULL | unless::<RANKED_TOO>()) == 0 && self.0 < QUIET_READ * quiet_reads();
        is_quiet.then_some(Self(self.0 + READER + QUIET_READ))
    }

    /// Returns whether there are as many counted readers as are let in without a wait. Those who wait are let in nevertheless,
    /// one a thread, and so is an upgradable reader who becomes one of them.
    #[inline]
    pub(super) fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Returns the state with one more reader. No writer keeps it out.
    ///
    /// After many reads without a write, the following readers show themselves, if they `may_show`.
    #[inline]
    pub(super) fn with_reader(self, may_show: bool) -> Self {
        let counted = self.0 + READER;
        if !may_show {
            return Self(counted);
        }
        if counted < QUIET_READ * quiet_reads() {
            return Self(counted + QUIET_READ);
        }
        // No bias where a writer is about to look for those who show themselves, or has.
        let bias = if counted & BLOCKS_READERS == 0 && !is_removed(Ingredient::Bias) { BIASED } else { 0 };
        Self(counted | bias)
    }

    /// Returns the state with a writer in. The lock [is free](Self::is_free), or this is the pending writer's and nobody
    /// reads any more.
    #[inline]
    pub(super) fn with_writer(self) -> Self {
        Self(self.0 & (READERS_PARKED | WRITERS_PARKED | RANKED | UNLISTED) | WRITING)
    }

    /// Returns the state with a writer that waits for the readers to leave.
    #[inline]
    pub(super) fn with_pending(self) -> Self {
        Self(self.0 | PENDING)
    }

    #[inline]
    pub(super) fn with_upgradable(self) -> Self {
        Self(self.0 | UPGRADABLE)
    }
}

/// Returns the bit that keeps everybody out of a lock with a rank, unless those are meant, too.
const fn unless<const RANKED_TOO: bool>() -> u64 {
    if RANKED_TOO { 0 } else { RANKED }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (WRITING, "WRITING"),
            (PENDING, "PENDING"),
            (UPGRADABLE, "UPGRADABLE"),
            (BIASED, "BIASED"),
            (READERS_PARKED, "READERS_PARKED"),
            (WRITERS_PARKED, "WRITERS_PARKED"),
            (RANKED, "RANKED"),
            (UNLISTED, "UNLISTED"),
        ];
        write!(f, "{} readers", self.readers())?;
        flags.iter().filter(|(flag, _)| self.0 & flag != 0).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}
