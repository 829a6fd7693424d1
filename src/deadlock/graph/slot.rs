//! A few words that their owner writes and anybody may read: a slot of a list of holds.
//!
//! # Protocol
//!
//! Only the owner writes. A slot is *in use* while its bit in `free` is clear.
//!
//! - take: bump the slot's version · release fence · write the words, those of a name only if there is one · clear the
//!   bit (release)
//! - give: set the bit (release)
//! - read: load the version (acquire) · load the bits (acquire), stop if the slot's is set · read the words ·
//!   acquire fence · load the version again, stop if it changed
//!
//! *Why a read is never torn.* Suppose the words come from two takes; then the later take, of version v, wrote one of
//! them. Its fence comes before that write and the reader's fence after the read, so the second load of the version
//! sees v or more, and so did the first (they agree). Having seen v with acquire, the reader also sees the bit set
//! by the give before v; it saw the bit clear, so that was cleared after all words of v (or a later take's, excluded by
//! the second load) were written, and it read those: one take, not two. The words of a name, or of a number, that this take
//! has not written are an earlier one's; words that it has written say whether there is a name, and a number, and without
//! one nobody looks at them.

use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{Word, quiet};

pub(super) type QuietWord = quiet::AtomicPtr<()>;

/// How often a slot has been written.
#[derive(Clone, Copy)]
pub(crate) struct Version(*mut ());

/// A few words under a version: see the module's protocol.
#[repr(align(64))]
pub(crate) struct Slot<W, const N: usize> {
    version: W,
    words: [W; N],
}

impl<W: Word, const N: usize> Slot<W, N> {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self { version: W::null(), words: std::array::from_fn(|_| W::null()) }
    }

    /// Writes the words, or only some of them: the others are of an earlier hold then. The owner alone calls this, while
    /// the slot is free, with the slot's version.
    #[inline]
    pub(crate) fn write<const FIRST: usize, const NEXT: usize>(
        &self,
        version: Version,
        first: [*mut (); FIRST],
        next: Option<[*mut (); NEXT]>,
        last: Option<*mut ()>,
    ) {
        const { assert!(FIRST + NEXT < N) };
        // ORDERING: Release pairs with the Acquire load in `read`: a reader that sees this version sees the bit set by
        // the give before it.
        self.version.store(version.0.wrapping_byte_add(1), Release);
        // ORDERING: pairs with the Acquire fence in `read`: a reader that sees one of the words below sees this
        // version.
        W::fence(Release);
        for (word, value) in self.words.iter().zip(first) {
            word.store(value, Relaxed);
        }
        if let Some(next) = next {
            for (word, value) in self.words[FIRST..].iter().zip(next) {
                word.store(value, Relaxed);
            }
        }
        if let Some(last) = last {
            self.words[N - 1].store(last, Relaxed);
        }
    }

    /// Returns a word as it is at this moment. For its owner.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> *mut () {
        self.words[at].load(Relaxed)
    }

    /// Returns how often the slot has been written. For its owner.
    #[inline]
    pub(crate) fn version(&self) -> Version {
        Version(self.version.load(Relaxed))
    }

    /// Reads the words. Returns `None` unless the slot was in use all the time, by one and the same take. Words that this
    /// take did not write are of an earlier one.
    pub(crate) fn read(&self, in_use: impl FnOnce() -> bool) -> Option<[*mut (); N]> {
        // ORDERING: Acquire pairs with the Release store in `write`.
        let version = self.version.load(Acquire);
        if !in_use() {
            return None;
        }
        let words = std::array::from_fn(|i| self.words[i].load(Relaxed));
        // ORDERING: pairs with the Release fence in `write`.
        W::fence(Acquire);
        (self.version.load(Relaxed) == version).then_some(words)
    }
}

impl<const N: usize> Slot<QuietWord, N> {
    pub(super) const fn empty() -> Self {
        Self {
            version: QuietWord::new(std::ptr::null_mut()),
            words: [const { QuietWord::new(std::ptr::null_mut()) }; N],
        }
    }
}
