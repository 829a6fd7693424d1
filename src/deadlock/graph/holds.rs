//! What one context holds: a short list that its owner writes and anybody may read.
//!
//! Everything is stored by value (two words of a name, thin pointers for the rest) because a guard can be forgotten
//! and its lock dropped: nothing that a hold names may be dereferenced.
//!
//! The protocol of a slot is in [`slot`](super::slot).

pub(crate) use super::chunk::Hold;
use super::chunk::{Chunk, Place};
use super::resource::{HoldMode, ResourceFacts, SharedId, Site, TypeOf};
use super::spill::{CHUNK, Spill};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::lasting::keep;
use crate::primitive::quiet;

/// Slots inside the context; further holds are [spilled](super::spill).
pub(super) const INLINE: usize = 16;
/// The place of one hold in its context's list: the slot's bit if the slot is inline, and otherwise [`FIRST_SPILLED`]
/// and the slot's number among the [spilled](super::spill).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldIndex(usize);

impl HoldIndex {
    /// Of no hold.
    pub(crate) const NONE: Self = Self(usize::MAX);

    /// Returns the number of the slot, if it is inline and below `end`.
    #[inline]
    pub(super) fn slot_below(self, end: usize) -> Option<usize> {
        // The bits of slots are below those of all further places.
        (self.0 < 1 << end).then_some(self.0.trailing_zeros() as usize)
    }
}

/// Above all bits of inline slots.
const FIRST_SPILLED: usize = 1 << INLINE;

/// Where a context's next hold goes.
#[derive(Clone, Copy)]
pub(crate) struct InlinePlace<'s>(Place<'s>);

impl InlinePlace<'_> {
    /// Returns the number of the slot.
    #[inline]
    pub(crate) fn slot(self) -> usize {
        self.0.slot()
    }

    /// Lists a hold in this place, which was just [found](Holds::find). The context's own thread alone calls this.
    #[inline]
    pub(crate) fn take(self, resource: ResourceFacts, site: Site) -> HoldIndex {
        self.take_permits(resource, site, 1)
    }

    /// [`take`](Self::take), for a number of permits.
    #[inline]
    pub(crate) fn take_permits(self, resource: ResourceFacts, site: Site, permits: u32) -> HoldIndex {
        HoldIndex(self.0.take(resource, site, permits))
    }
}

/// What a context holds.
#[repr(C)]
pub(crate) struct Holds {
    inline: Chunk<INLINE>,
    /// Null until more is held than fits inline.
    spill: quiet::AtomicPtr<Spill>,
    /// Whether another thread has made one void.
    has_void: quiet::AtomicBool,
}

impl Holds {
    pub(crate) const fn new() -> Self {
        let spill = quiet::AtomicPtr::new(std::ptr::null_mut());
        Self { inline: Chunk::new(), spill, has_void: quiet::AtomicBool::new(false) }
    }

    fn spill(&self) -> Option<&Spill> {
        // ORDERING: Acquire pairs with the Release store in `make_spill`.
        //
        // SAFETY:
        // - the pointer is null or came from `keep`, and is never freed.
        unsafe { self.spill.load(Acquire).as_ref() }
    }

    /// Returns the list of the holds that do not fit inline, which is made on first use. The context's own thread alone
    /// calls this.
    fn make_spill(&self) -> &Spill {
        self.spill().unwrap_or_else(|| {
            let spill = std::ptr::from_ref(keep(Spill::new())).cast_mut();
            // ORDERING: Release publishes it to `spill`.
            self.spill.store(spill, Release);
            self.spill().expect("it was stored")
        })
    }

    /// Returns where the next hold goes, if it is inline. The context's own thread alone calls this.
    #[inline]
    pub(crate) fn find(&self) -> Option<InlinePlace<'_>> {
        self.inline.find().map(InlinePlace)
    }

    /// [`find`](Self::find), for a hold that its release looks up: see [`only`](Self::only).
    #[inline]
    pub(crate) fn find_ahead(&self) -> Option<InlinePlace<'_>> {
        self.inline.find_ahead().map(InlinePlace)
    }

    /// Lists a hold. The context's own thread alone calls this; allocates once every 16 nested holds.
    #[inline]
    pub(crate) fn take(&self, resource: impl FnOnce() -> ResourceFacts, site: Site) -> HoldIndex {
        match self.find() {
            Some(place) => place.take(resource(), site),
            None => self.take_spilled(resource(), site, 1),
        }
    }

    /// [`take`](Self::take), for a number of permits.
    pub(crate) fn take_permits(&self, resource: ResourceFacts, site: Site, permits: u32) -> HoldIndex {
        match self.find() {
            Some(place) => place.take_permits(resource, site, permits),
            None => self.take_spilled(resource, site, permits),
        }
    }

    #[cold]
    #[inline(never)]
    fn take_spilled(&self, resource: ResourceFacts, site: Site, permits: u32) -> HoldIndex {
        let spill = self.make_spill();
        HoldIndex(FIRST_SPILLED + spill.take(spill.find(), resource, site, permits) as usize)
    }

    /// Makes sure that the next [`take`](Self::take) allocates nothing. The context's own thread alone calls this, and
    /// it alone takes holds, so the place stays free.
    pub(crate) fn reserve(&self) {
        if self.find().is_none() {
            self.give_void();
            self.make_spill().find();
        }
    }

    /// Removes a hold from the list; nothing, if it is [of none](HoldIndex::NONE). The context's own thread alone calls this.
    #[inline]
    pub(crate) fn give(&self, index: HoldIndex) {
        if index.0 < FIRST_SPILLED {
            self.inline.give(index.0);
        } else {
            self.give_spilled(index);
        }
    }

    #[cold]
    fn give_spilled(&self, index: HoldIndex) {
        if index != HoldIndex::NONE
            && let Some(spill) = self.spill()
        {
            spill.give((index.0 - FIRST_SPILLED) as u32);
        }
    }

    /// Returns the place of the only hold of the resource with this key, if all holds are inline. The context's own thread alone
    /// calls this.
    #[inline]
    pub(crate) fn only(&self, key: usize) -> Option<HoldIndex> {
        // Null in a context that never held more: then nothing else is asked.
        let is_spilled = !self.spill.load(Relaxed).is_null() && self.is_spilled();
        if is_spilled { None } else { self.inline.only(key).map(HoldIndex) }
    }

    /// Returns the place of a hold of the resource with this key, and with this very function for a type, if that is inline. The
    /// context's own thread alone calls this.
    #[inline]
    pub(crate) fn inline_of_type(&self, key: usize, type_of: TypeOf) -> Option<HoldIndex> {
        self.inline.of_type(key, type_of).map(HoldIndex)
    }

    /// Returns the place of a hold of the resource with this key, in this mode.
    pub(crate) fn find_held(&self, key: usize, mode: HoldMode) -> Option<HoldIndex> {
        let is_it = |hold: Hold| hold.resource.key == key && (hold.resource.type_of)().mode == mode;
        let inline = (0..INLINE).find(|&slot| self.inline.read(slot).is_some_and(is_it));
        inline.map(|slot| HoldIndex(1 << slot)).or_else(|| {
            let mut chunks = self.spill().into_iter().flat_map(Spill::chunks).enumerate();
            chunks.find_map(|(number, chunk)| {
                let slot = (0..CHUNK).find(|&slot| chunk.read(slot).is_some_and(is_it))?;
                Some(HoldIndex(FIRST_SPILLED + number * CHUNK + slot))
            })
        })
    }

    /// Calls `visit` with the place of each hold of the resource with this key, in this mode.
    pub(in crate::deadlock) fn for_each_held(&self, key: usize, mode: HoldMode, visit: impl Fn(HoldIndex)) {
        self.for_each_indexed(|index, hold| {
            if hold.resource.key == key && (hold.resource.type_of)().mode == mode {
                visit(index);
            }
        });
    }

    /// Notes that another thread than the context's own has released what this hold is of: it is listed no longer. The context's
    /// own thread cannot touch the hold meanwhile.
    pub(in crate::deadlock) fn make_void(&self, index: HoldIndex) {
        let chunk_and_bit = index.0.checked_sub(FIRST_SPILLED).map(|at| (at / CHUNK, 1 << (at % CHUNK)));
        match chunk_and_bit {
            None => self.inline.make_void(index.0),
            Some((number, bit)) => {
                let chunk = self.spill().and_then(|spill| spill.chunks().nth(number));
                chunk.inspect(|chunk| chunk.make_void(bit));
            }
        }
        // ORDERING: Release pairs with the swap in `give_void`.
        self.has_void.store(true, Release);
    }

    /// Gives the holds that other threads have made void. The context's own thread alone calls this.
    pub(crate) fn give_void(&self) {
        if self.has_void.load(Relaxed) && self.has_void.swap(false, Acquire) {
            self.give_all_void();
        }
    }

    #[cold]
    fn give_all_void(&self) {
        self.inline.give_void(|bit| self.inline.give(bit));
        for (number, chunk) in self.spill().into_iter().flat_map(Spill::chunks).enumerate() {
            let first = FIRST_SPILLED + number * CHUNK;
            chunk.give_void(|bit| self.give_spilled(HoldIndex(first + bit.trailing_zeros() as usize)));
        }
    }

    /// Returns the place of the hold of the resource with this key, which the context holds and is about to release.
    /// The context's own thread alone calls this.
    ///
    /// If several are listed, only one can be true, since no two locks are at one address: the others are of forgotten
    /// guards, of locks that no longer exist. They are removed, so that it does not matter which one is left.
    #[cold]
    pub(crate) fn index_of(&self, key: usize) -> Option<HoldIndex> {
        let mut found = None;
        self.for_each_indexed(|index, hold| {
            if hold.resource.key == key
                && let Some(other) = found.replace(index)
            {
                self.give(other);
            }
        });
        found
    }

    /// Returns a hold of a share of this resource, if one is listed. The context's own thread alone calls this.
    pub(crate) fn share_of(&self, id: SharedId) -> Option<Hold> {
        let mut found = None;
        if !self.is_empty() {
            self.for_each(|hold| {
                found = found.or((hold.resource.key == id.key() && hold.shared_id().is_some()).then_some(hold));
            });
        }
        found
    }

    /// Returns how many permits of this resource are listed. The context's own thread alone calls this.
    pub(crate) fn permits_of(&self, id: SharedId) -> u64 {
        let mut permits = 0;
        self.for_each(|hold| permits += if hold.shared_id() == Some(id) { u64::from(hold.permits) } else { 0 });
        permits
    }

    /// Returns whether a share of this resource is listed. Exact for the context's own thread, and while it is registered.
    pub(crate) fn has_share(&self, id: SharedId) -> bool {
        self.share_of(id).is_some()
    }

    /// Returns how many are listed.
    pub(crate) fn count(&self) -> usize {
        self.inline.count() + self.spill().map_or(0, Spill::count)
    }

    /// Returns whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.inline.is_empty() && self.spill().is_none_or(Spill::is_empty)
    }

    /// Returns the hold in an inline slot, if it is in use.
    pub(super) fn inline(&self, slot: usize) -> Option<Hold> {
        self.inline.read(slot)
    }

    /// Returns whether more is listed than fits inline.
    #[cold]
    #[inline(never)]
    pub(super) fn is_spilled(&self) -> bool {
        self.spill().is_some_and(|spill| !spill.is_empty())
    }

    /// Calls `visit` with each hold that is not inline, as [`for_each`](Self::for_each) does.
    pub(super) fn for_each_spilled(&self, mut visit: impl FnMut(Hold)) {
        self.for_each_spilled_indexed(|_, hold| visit(hold));
    }

    /// Calls `visit` with each hold. A hold that is taken or given meanwhile may be left out, never torn.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Hold)) {
        self.for_each_indexed(|_, hold| visit(hold));
    }

    fn for_each_indexed(&self, mut visit: impl FnMut(HoldIndex, Hold)) {
        for slot in 0..INLINE {
            if let Some(hold) = self.inline.read(slot) {
                visit(HoldIndex(1 << slot), hold);
            }
        }
        self.for_each_spilled_indexed(visit);
    }

    fn for_each_spilled_indexed(&self, mut visit: impl FnMut(HoldIndex, Hold)) {
        for (number, chunk) in self.spill().into_iter().flat_map(Spill::chunks).enumerate() {
            for slot in 0..CHUNK {
                if let Some(hold) = chunk.read(slot) {
                    visit(HoldIndex(FIRST_SPILLED + number * CHUNK + slot), hold);
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::deadlock::graph::resource::{Origin, ResourceType};

    fn resource(key: usize, name: Option<&'static str>) -> ResourceFacts {
        ResourceFacts { key, origin: Origin::here(name), type_of: || ResourceType::exclusive::<u8>("Lock") }
    }

    #[test]
    fn a_number_of_permits_is_that_of_its_own_hold() {
        let holds = Holds::new();
        for round in 0..3 {
            let numbers: Vec<u32> = (0..40).map(|at| [1, 7, u32::MAX, 0][(at + round) % 4]).collect();
            let line = Location::caller();
            let taken: Vec<_> =
                numbers.iter().map(|&n| holds.take_permits(resource(8, Some("named")), line, n)).collect();
            let mut listed = Vec::new();
            holds.for_each(|hold| listed.push((hold.permits, hold.site == line)));
            assert_eq!(listed, numbers.iter().map(|&n| (n, true)).collect::<Vec<_>>());
            taken.into_iter().for_each(|hold| holds.give(hold));
        }
    }

    fn listed(holds: &Holds) -> Vec<(usize, Option<&'static str>)> {
        let mut listed = Vec::new();
        holds.for_each(|hold| listed.push((hold.resource.key, hold.resource.origin.name())));
        listed
    }

    #[test]
    fn a_hold_without_a_name_has_none_of_the_hold_before_it_in_its_place() {
        let holds = Holds::new();
        for named in [Some("first"), None, Some("a longer one"), Some("short"), None, None] {
            let line = Location::caller();
            let hold = holds.take(|| resource(8, named), line);
            let spilled: Vec<_> = (2..40).map(|key| holds.take(|| resource(key * 8, named), line)).collect();
            let expected: Vec<_> = (1..40).map(|key| (key * 8, named)).collect();
            assert_eq!(listed(&holds), expected);
            spilled.into_iter().chain([hold]).for_each(|hold| holds.give(hold));
            assert!(holds.is_empty() && holds.count() == 0);
        }
    }

    #[test]
    fn holds_are_given_in_any_order_and_found_by_their_keys() {
        let holds = Holds::new();
        let taken: Vec<_> = (1..=20).map(|key| holds.take(|| resource(key * 8, None), Location::caller())).collect();
        for key in [3, 20, 17, 16, 1] {
            assert_eq!(holds.index_of(key * 8), Some(taken[key - 1]));
            holds.give(taken[key - 1]);
            assert_eq!(holds.index_of(key * 8), None);
        }
        assert_eq!(holds.count(), 15);
    }
}
