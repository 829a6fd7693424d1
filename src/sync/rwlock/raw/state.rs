//! The state of a read-write lock: one word, and its named transitions.

use std::fmt;

use crate::deadlock::graph::visible::contexts_made;
use crate::primitive::{Ingredient, is_removed};

/// The state of a [`RawRwLock`](super::RawRwLock), as it was at some moment.
///
/// ```text
/// quiet reads : 24 | readers : 32 | WRITERS_PARKED | READERS_PARKED | BIASED | UPGRADABLE | PENDING | WRITING
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
/// The last three name *the turn*: it is taken while any of the last three bits is set, by one context, which stands in the
/// lock's owner word.
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

const TURN: u64 = WRITING | PENDING | UPGRADABLE;
const BLOCKS_READERS: u64 = WRITING | PENDING;

const READER: u64 = 1 << 8;
const READERS: u64 = (READER << 32) - READER;
const QUIET_READ: u64 = 1 << 40;

/// How many counted reads without a write there are for each context, before readers show themselves: enough for the end of
/// that, when a writer looks at each context once, to cost little in comparison. (A model has few.)
const QUIET_READS: u64 = if cfg!(all(test, loom)) { 1 } else { 32 };

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

    /// Returns whether the lock is neither read nor written, as far as this word tells: of readers that show themselves it
    /// says only that there may be some.
    pub(super) fn is_free(self) -> bool {
        self.0 & (TURN | READERS | BIASED) == 0
    }

    pub(super) fn is_written(self) -> bool {
        self.0 & WRITING != 0
    }

    /// Returns whether a writer waits for the readers to leave.
    pub(super) fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    pub(super) fn is_upgradable(self) -> bool {
        self.0 & UPGRADABLE != 0
    }

    pub(super) fn is_biased(self) -> bool {
        self.0 & BIASED != 0
    }

    /// Returns whether the turn is taken, so that neither a writer nor an upgradable reader can begin.
    pub(super) fn is_turn_taken(self) -> bool {
        self.0 & TURN != 0
    }

    /// Returns whether a reader has to wait: a recursive one only for a writer that is in.
    pub(super) fn blocks_readers(self, recursive: bool) -> bool {
        self.0 & if recursive { WRITING } else { BLOCKS_READERS } != 0
    }

    /// Returns whether a reader that shows itself is in.
    #[inline]
    pub(super) fn lets_shown_readers_in(self) -> bool {
        self.0 & (BLOCKS_READERS | BIASED) == BIASED
    }

    /// Returns the number of counted readers.
    pub(super) fn readers(self) -> u64 {
        (self.0 & READERS) / READER
    }

    pub(super) fn has(self, parked: u64) -> bool {
        self.0 & parked != 0
    }

    /// Returns the state with one more reader; `None` if there are too many.
    ///
    /// After many reads without a write, the following readers show themselves.
    #[inline]
    pub(super) fn with_reader(self) -> Option<Self> {
        if self.0 & READERS == READERS {
            return None;
        }
        let counted = self.0 + READER;
        if counted / QUIET_READ < QUIET_READS * contexts_made() {
            return Some(Self(counted + QUIET_READ));
        }
        // No bias where a writer is about to look for those who show themselves, or has.
        let bias = if counted & BLOCKS_READERS == 0 && !is_removed(Ingredient::Bias) { BIASED } else { 0 };
        Some(Self(counted | bias))
    }

    /// Returns the state with a writer in. The lock [is free](Self::is_free), or this is the pending writer's and nobody
    /// reads any more.
    #[inline]
    pub(super) fn with_writer(self) -> Self {
        Self(self.0 & (READERS_PARKED | WRITERS_PARKED) | WRITING)
    }

    /// Returns the state with a writer that waits for the readers to leave.
    pub(super) fn with_pending(self) -> Self {
        Self(self.0 | PENDING)
    }

    pub(super) fn with_upgradable(self) -> Self {
        Self(self.0 | UPGRADABLE)
    }
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
        ];
        write!(f, "{} readers", self.readers())?;
        flags.iter().filter(|(flag, _)| self.0 & flag != 0).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}
