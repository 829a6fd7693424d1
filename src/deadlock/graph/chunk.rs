//! Holds, and a few slots for them.

use std::num::NonZero;
use std::panic::Location;

use super::origin::Origin;
use super::resource::{HoldMode, ResourceFacts, SharedId, Site, TypeOf};
use super::slot::{QuietWord, Slot, Version};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet;

/// What one slot stores: four words, two more for a name, and one for a number of permits.
const WORDS: usize = 7;
/// The first of them, and the last of the four.
const KEY: usize = 0;
const TYPE_OF: usize = 3;
/// In the pointer to the line that acquired: several permits are held, and their number is written.
const SEVERAL: usize = 1;
const _: () = assert!(align_of::<Location<'_>>() > SEVERAL, "the lowest bit of a pointer to a line is free");

/// One hold, copied out.
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) resource: ResourceFacts,
    pub(crate) site: Site,
    /// How many permits are held; 1 of what has none.
    pub(crate) permits: u32,
}

impl Hold {
    /// Returns the id of what is held, if it is a share of something.
    pub(super) fn shared_id(&self) -> Option<SharedId> {
        let id = SharedId::of_key(self.resource.key)?;
        matches!((self.resource.type_of)().mode, HoldMode::Read | HoldMode::Permit).then_some(id)
    }
}

/// A free slot of a chunk, and what taking it will write besides the words: these are the loads of
/// [`take`](Place::take), done before a lock is taken, since no load overtakes an atomic read-modify-write.
#[derive(Clone, Copy)]
pub(crate) struct Place<'s> {
    chunk_free: &'s quiet::AtomicUsize,
    slot: &'s Slot<QuietWord, WORDS>,
    version: Version,
    free: usize,
    bit: usize,
}

impl Place<'_> {
    /// Returns the number of the slot.
    #[inline]
    pub(super) fn slot(&self) -> usize {
        self.bit.trailing_zeros() as usize
    }

    /// Lists a hold in this place; returns the slot's bit. The owner alone calls this, and has taken and given nothing since
    /// it found the place.
    #[inline]
    pub(in crate::deadlock) fn take(self, resource: ResourceFacts, site: Site, permits: u32) -> usize {
        let (made_at, name) = resource.origin.words();
        let site: *mut () = std::ptr::from_ref(site).cast_mut().cast();
        let is_several = permits != 1;
        let words = [
            std::ptr::without_provenance_mut(resource.key),
            if is_several { site.wrapping_byte_add(SEVERAL) } else { site },
            made_at,
            resource.type_of as *mut (),
        ];
        let permits = is_several.then(|| std::ptr::without_provenance_mut(permits as usize));
        self.slot.write(self.version, words, name, permits);
        // ORDERING: Release pairs with the Acquire load in `read`: a reader that sees the bit clear sees the words.
        self.chunk_free.store(self.free ^ self.bit, Release);
        self.bit
    }
}

/// Slots and the bits that say which of them are free.
#[repr(C)]
pub(in crate::deadlock) struct Chunk<const SLOTS: usize> {
    free: quiet::AtomicUsize,
    /// Of slots in use: another thread has released what their holds are of. They are [given](Holds::give_void) by the owner.
    void: quiet::AtomicUsize,
    slots: [Slot<QuietWord, WORDS>; SLOTS],
}

impl<const SLOTS: usize> Chunk<SLOTS> {
    /// The bits of all slots.
    const ALL: usize = (1 << SLOTS) - 1;

    pub(in crate::deadlock) const fn new() -> Self {
        let (free, void) = (quiet::AtomicUsize::new(Self::ALL), quiet::AtomicUsize::new(0));
        Self { free, void, slots: [const { Slot::empty() }; SLOTS] }
    }

    /// Returns a free slot, if there is one. Writes nothing. The owner alone calls this.
    #[inline]
    pub(in crate::deadlock) fn find(&self) -> Option<Place<'_>> {
        let free = NonZero::new(self.free.load(Relaxed))?;
        // The remainder is the number itself, which the compiler does not know.
        let slot = &self.slots[free.trailing_zeros() as usize % SLOTS];
        let free = free.get();
        Some(Place { chunk_free: &self.free, slot, version: slot.version(), free, bit: free & free.wrapping_neg() })
    }

    /// [`find`](Self::find), for a hold that its release looks up. If nothing is listed yet, its place does not depend on the bits
    /// for a processor that expects this: it goes on before the lookup of the last release has told which bit was set.
    #[inline]
    pub(super) fn find_ahead(&self) -> Option<Place<'_>> {
        if self.free.load(Relaxed) != Self::ALL {
            return self.find();
        }
        let slot = &self.slots[0];
        Some(Place { chunk_free: &self.free, slot, version: slot.version(), free: Self::ALL, bit: 1 })
    }

    /// Notes that another thread than the owner has released what the hold with this bit is of. The owner cannot touch that hold
    /// meanwhile.
    pub(super) fn make_void(&self, bit: usize) {
        self.void.fetch_or(bit, Relaxed);
    }

    /// Frees the slots whose holds were made void, each by `give`, which gets its bit. The owner alone calls this.
    pub(super) fn give_void(&self, mut give: impl FnMut(usize)) {
        let void = self.void.load(Relaxed);
        let mut bits = void;
        while bits != 0 {
            give(bits & bits.wrapping_neg());
            bits &= bits - 1;
        }
        // ORDERING: Release: see `read`. The slots are free before the bits are gone.
        self.void.fetch_and(!void, Release);
    }

    /// Frees the slot with this bit. The owner alone calls this.
    #[inline]
    pub(in crate::deadlock) fn give(&self, bit: usize) {
        let free = self.free.load(Relaxed);
        debug_assert_eq!(free & bit, 0, "a hold is given once");
        // ORDERING: Release keeps the reads and writes under the resource before the hold disappears, and, as in `take`,
        // publishes the words of the slots that are still in use: a reader may see them in use by this store.
        self.free.store(free | bit, Release);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.load(Relaxed) == Self::ALL
    }

    /// Returns how many slots are in use.
    pub(super) fn count(&self) -> usize {
        SLOTS - self.free.load(Relaxed).count_ones() as usize
    }

    pub(super) fn read(&self, index: usize) -> Option<Hold> {
        // ORDERING: Acquire pairs with the Release in `give_void`: whoever no longer sees the bit sees that the slot was freed.
        if self.void.load(Acquire) & 1 << index != 0 {
            return None;
        }
        // ORDERING: Acquire pairs with the Release stores in `take` and `give`.
        let words = self.slots[index].read(|| self.free.load(Acquire) & 1 << index == 0)?;
        Some(decode(words))
    }

    /// Returns the bits of the slots whose holds are true. For the owner.
    #[inline]
    fn held(&self) -> usize {
        !self.free.load(Relaxed) & Self::ALL & !self.void.load(Relaxed)
    }

    /// Returns the bit of the only slot whose hold has this key. For the owner.
    #[inline]
    pub(super) fn only(&self, key: usize) -> Option<usize> {
        let (mut held, mut found) = (self.held(), 0);
        while held != 0 {
            // The remainder is the number itself, which the compiler does not know.
            let slot = &self.slots[held.trailing_zeros() as usize % SLOTS];
            let bit = held & held.wrapping_neg();
            if slot.word(KEY).addr() == key {
                if found != 0 {
                    return None;
                }
                found = bit;
            }
            held ^= bit;
        }
        (found != 0).then_some(found)
    }

    /// Returns the bit of a slot whose hold has this key, and this very function for a type: so it is held in that way. For the
    /// owner.
    #[inline]
    pub(super) fn of_type(&self, key: usize, type_of: TypeOf) -> Option<usize> {
        let mut held = self.held();
        while held != 0 {
            // The remainder is the number itself, which the compiler does not know.
            let slot = &self.slots[held.trailing_zeros() as usize % SLOTS];
            let bit = held & held.wrapping_neg();
            if slot.word(KEY).addr() == key && slot.word(TYPE_OF) == type_of as *mut () {
                return Some(bit);
            }
            held ^= bit;
        }
        None
    }
}

fn decode(words: [*mut (); WORDS]) -> Hold {
    let [key, site, made_at, type_of, start, length, permits] = words;
    let is_several = site.addr() & SEVERAL != 0;
    let site = if is_several { site.wrapping_byte_sub(SEVERAL) } else { site };
    // SAFETY:
    // - the words are those of one `take`, but for a name's if there is none and a number's if there is none (see the
    //   module's protocol), and each is turned back into what it was made from: a `&'static` reference, a function pointer.
    let site = unsafe { &*site.cast::<Location<'static>>() };
    // SAFETY: as above.
    let type_of = unsafe { std::mem::transmute::<*mut (), TypeOf>(type_of) };
    // SAFETY: as above.
    let origin = unsafe { Origin::of_words(made_at, [start, length]) };
    let permits = if is_several { permits.addr() as u32 } else { 1 };
    Hold { resource: ResourceFacts { key: key.addr(), origin, type_of }, site, permits }
}
