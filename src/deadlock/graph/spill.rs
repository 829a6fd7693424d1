//! The list of a context's holds beyond the first few: storage that doubles, and a list of the chunks with free slots.
//!
//! Written by the owner alone, read by anybody, as a [`slot`](super::slot). Taking and giving take
//! constant time, however many there are. The storage stays with the context.

use super::chunk::{Chunk, Place};
use super::resource::{ResourceFacts, Site};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::lasting::keep_all;
use crate::primitive::quiet;

/// Slots of one chunk.
pub(in crate::deadlock) const CHUNK: usize = 16;
/// How many levels there can be: level `n` has 2ⁿ chunks, and the number of each slot fits a `u32` with a bit to spare.
const LEVELS: usize = u32::BITS as usize - CHUNK.ilog2() as usize - 1;

/// The end of the list of chunks with free slots.
const NO_CHUNK: u32 = u32::MAX;

/// Sixteen slots, and the next chunk with a free one.
struct Link {
    chunk: Chunk<CHUNK>,
    next_free: quiet::AtomicU32,
}

/// Holds beyond the first few.
pub(in crate::deadlock) struct Spill {
    /// The first level, in one allocation with the rest.
    first: Link,
    /// The further levels.
    levels: [quiet::AtomicPtr<Link>; LEVELS],
    /// How many levels there are, for the owner.
    made: quiet::AtomicU32,
    /// The first chunk with a free slot, [`NO_CHUNK`] for none. For the owner.
    first_free: quiet::AtomicU32,
    /// How many holds are listed here. Written by the owner.
    taken: quiet::AtomicU32,
}

/// A free slot, and which chunk it lies in.
pub(in crate::deadlock) struct SpillPlace<'s> {
    link: &'s Link,
    number: u32,
    place: Place<'s>,
}

impl Spill {
    pub(in crate::deadlock) fn new() -> Self {
        Self {
            first: Link { chunk: Chunk::new(), next_free: quiet::AtomicU32::new(NO_CHUNK) },
            levels: [const { quiet::AtomicPtr::new(std::ptr::null_mut()) }; LEVELS],
            made: quiet::AtomicU32::new(1),
            first_free: quiet::AtomicU32::new(0),
            taken: quiet::AtomicU32::new(0),
        }
    }

    /// Returns the chunks of one level, none if it does not exist yet.
    fn level(&self, level: usize) -> &[Link] {
        if level == 0 {
            return std::slice::from_ref(&self.first);
        }
        // ORDERING: Acquire pairs with the Release store in `add_level`, which publishes the chunks.
        let start = self.levels[level].load(Acquire);
        if start.is_null() {
            return &[];
        }
        // SAFETY:
        // - the pointer came from a slice of this length that is kept for ever.
        unsafe { std::slice::from_raw_parts(start, 1 << level) }
    }

    /// Returns the chunk with this number.
    fn link(&self, number: u32) -> &Link {
        let level = (number + 1).ilog2();
        &self.level(level as usize)[(number + 1 - (1 << level)) as usize]
    }

    /// Returns a free slot; adds a level if there is none. The owner alone calls this.
    pub(in crate::deadlock) fn find(&self) -> SpillPlace<'_> {
        if self.first_free.load(Relaxed) == NO_CHUNK {
            self.add_level();
        }
        let number = self.first_free.load(Relaxed);
        let link = self.link(number);
        let place = link.chunk.find().expect("a chunk in the list has a free slot");
        SpillPlace { link, number, place }
    }

    /// Adds a level, whose slots are all free.
    #[cold]
    fn add_level(&self) {
        let level = self.made.load(Relaxed);
        assert!((level as usize) < LEVELS, "fewer than 2^31 nested holds");
        let first = (1 << level) - 1;
        let links = keep_all((0..1_u32 << level).map(|at| {
            let is_last = at + 1 == 1 << level;
            let next = if is_last { NO_CHUNK } else { first + at + 1 };
            Link { chunk: Chunk::new(), next_free: quiet::AtomicU32::new(next) }
        }));
        // ORDERING: Release publishes the chunks to `level`.
        self.levels[level as usize].store(links.as_ptr().cast_mut(), Release);
        self.made.store(level + 1, Relaxed);
        self.first_free.store(first, Relaxed);
    }

    /// Lists a hold in a place that was just found; returns the slot's number. The owner alone calls this.
    pub(in crate::deadlock) fn take(
        &self,
        place: SpillPlace<'_>,
        resource: ResourceFacts,
        site: Site,
        permits: u32,
    ) -> u32 {
        let SpillPlace { link, number, place } = place;
        let slot = place.take(resource, site, permits).trailing_zeros();
        if link.chunk.find().is_none() {
            self.first_free.store(link.next_free.load(Relaxed), Relaxed);
        }
        self.taken.store(self.taken.load(Relaxed) + 1, Relaxed);
        number * CHUNK as u32 + slot
    }

    /// Removes the hold in the slot with this number. The owner alone calls this.
    pub(in crate::deadlock) fn give(&self, index: u32) {
        let number = index / CHUNK as u32;
        let link = self.link(number);
        if link.chunk.find().is_none() {
            link.next_free.store(self.first_free.load(Relaxed), Relaxed);
            self.first_free.store(number, Relaxed);
        }
        link.chunk.give(1 << (index % CHUNK as u32));
        self.taken.store(self.taken.load(Relaxed) - 1, Relaxed);
    }

    /// Returns how many holds are listed here.
    pub(in crate::deadlock) fn count(&self) -> usize {
        self.taken.load(Relaxed) as usize
    }

    /// Returns whether nothing is listed here.
    pub(in crate::deadlock) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Returns the chunks, in order.
    pub(in crate::deadlock) fn chunks(&self) -> impl Iterator<Item = &Chunk<CHUNK>> {
        (0..LEVELS)
            .map(|level| self.level(level))
            .take_while(|links| !links.is_empty())
            .flatten()
            .map(|link| &link.chunk)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::deadlock::resource::{Origin, ResourceType};

    fn take(spill: &Spill) -> u32 {
        let origin = Origin::here(None);
        let type_of = || ResourceType::exclusive::<()>("Lock");
        spill.take(spill.find(), ResourceFacts { key: 8, origin, type_of }, origin.made_at(), 1)
    }

    #[test]
    fn a_slot_that_is_given_is_found_again_however_many_are_taken() {
        let spill = Spill::new();
        let taken: Vec<_> = (0..10_000).map(|_| take(&spill)).collect();
        assert!(taken.iter().enumerate().all(|(at, &index)| at == index as usize), "in order, while none is given");
        for index in [0, 15, 16, 9_999, 5_000] {
            spill.give(index);
            assert_eq!(take(&spill), index);
        }
        for given in [[3, 4], [700, 20]] {
            given.iter().for_each(|&index| spill.give(index));
            let mut again = given.map(|_| take(&spill));
            again.sort_unstable();
            let mut given = given;
            given.sort_unstable();
            assert_eq!(again, given);
        }
        let made = spill.made.load(Relaxed);
        taken.iter().rev().for_each(|&index| spill.give(index));
        assert!(spill.is_empty());
        let again: Vec<_> = (0..10_000).map(|_| take(&spill)).collect();
        let mut sorted = again.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((sorted.len(), spill.made.load(Relaxed)), (10_000, made), "each slot once, and no new room");
    }
}
