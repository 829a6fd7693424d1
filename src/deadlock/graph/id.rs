//! The numbers of contexts and the ids of groups.

use std::ptr::NonNull;

use crate::primitive::COPY_BITS;

/// The number of a context: never given twice in the life of the process, never zero, even, so that a lock word has a
/// bit to spare, and below 2^63, so that a task's word can name something else.
///
/// `[ 0 | copy : 11 | generation : 27 | index : 24 | 0 ]`. The index finds the context; the generation tells its lives
/// apart. A context whose generations are used up is not used again. The copy tells this copy of the crate from others
/// in the process (another version, or a shared library): a copy that meets another copy's number in a lock's word
/// knows no such context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextId(u64);

impl ContextId {
    const INDEX_BITS: u32 = 24;
    const GENERATION_BITS: u32 = 62 - Self::INDEX_BITS - COPY_BITS;
    const LAST_GENERATION: u64 = (1 << Self::GENERATION_BITS) - 1;

    /// Returns the first number of the context at `index` in this copy of the crate, `None` if there are too many
    /// contexts.
    pub(in crate::deadlock) fn first(index: usize, copy: u64) -> Option<Self> {
        let copy = copy << (Self::INDEX_BITS + 1 + Self::GENERATION_BITS);
        (index < 1 << Self::INDEX_BITS).then_some(Self(copy | 1 << (Self::INDEX_BITS + 1) | (index as u64) << 1))
    }

    /// Returns the next number of the same context, `None` when there is none left.
    pub(in crate::deadlock) fn next(self) -> Option<Self> {
        let generation = self.0 >> (Self::INDEX_BITS + 1) & Self::LAST_GENERATION;
        (generation < Self::LAST_GENERATION).then(|| Self(self.0 + (1 << (Self::INDEX_BITS + 1))))
    }

    pub(in crate::deadlock) fn index(self) -> usize {
        (self.0 >> 1) as usize & ((1 << Self::INDEX_BITS) - 1)
    }

    /// Wraps the number that a context has, 0 while nobody has the context.
    #[inline]
    pub(super) fn of_context(number: u64) -> Self {
        Self(number)
    }

    #[inline]
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Returns the number with this value, `None` for zero.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }
}

#[cfg(all(test, loom))]
impl ContextId {
    pub(crate) fn shares_context_with(self, other: Self) -> bool {
        self.index() == other.index()
    }
}

/// The id of a group while it lives: the address of its [record](super::members::GroupRecord).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId(NonNull<()>);

// SAFETY:
// - it is an address; what is there is only reached with the graph's mutex held.
unsafe impl Send for GroupId {}

impl GroupId {
    pub(super) fn at<T>(record: NonNull<T>) -> Self {
        Self(record.cast())
    }

    pub(super) fn address<T>(self) -> NonNull<T> {
        self.0.cast()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_a_context_leaves_the_highest_and_the_lowest_bit_free() {
        let last_index = (1 << ContextId::INDEX_BITS) - 1;
        let last_copy = (1 << COPY_BITS) - 1;
        assert_eq!(ContextId::first(last_index + 1, last_copy), None);
        let first = ContextId::first(last_index, last_copy).unwrap();
        let last = ContextId(first.0 + ((ContextId::LAST_GENERATION - 2) << (ContextId::INDEX_BITS + 1)));
        let last = last.next().unwrap();
        assert_eq!((last.next(), last.index()), (None, last_index));
        assert_eq!(last.get(), !(1 << 63 | 1));
    }
}
