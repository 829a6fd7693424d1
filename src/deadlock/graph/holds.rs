//! What one context holds: a short list that its owner writes and anybody may read.
//!
//! Everything is stored by value (two words of a name, thin pointers for the rest) because a guard can be forgotten
//! and its lock dropped: nothing that a hold names may be dereferenced.
//!
//! # Protocol
//!
//! Only the owner writes. A slot is *in use* when its bit in `used` is set.
//!
//! - take: bump the slot's version · release fence · write the words · set the bit (release)
//! - give: clear the bit (release)
//! - read: load the version (acquire) · load the bits (acquire), stop if the slot's is clear · read the words ·
//!   acquire fence · load the version again, stop if it changed
//!
//! *Why a read is never torn.* Suppose the words come from two takes; then the later take, of version v, wrote one of
//! them. Its fence comes before that write and the reader's fence after the read, so the second load of the version
//! sees v or more, and so did the first (they agree). Having seen v with acquire, the reader also sees the bit cleared
//! by the give before v; it saw the bit set, so that was set after all words of v (or a later take's, excluded by the
//! second load) were written, and it read those: one take, not two.

use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use std::panic::Location;

use super::resource::{Name, Origin, ResourceFacts, Site, TypeOf};
use super::spill::{CHUNK, Spill};
use crate::primitive::{Word, quiet};

/// Slots inside the context; further holds are [spilled](super::spill).
const INLINE: usize = 16;
/// What one slot stores.
const WORDS: usize = 6;
pub(in crate::deadlock) type Words = [*mut (); WORDS];

/// The place of one hold in its context's list.
pub(crate) type HoldIndex = u32;

/// One hold, copied out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) resource: ResourceFacts,
    pub(crate) site: Site,
}

type QuietWord = quiet::AtomicPtr<()>;

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

    /// Writes the words. The owner alone calls this, while the slot's bit is clear, with the slot's version.
    #[inline]
    pub(crate) fn write(&self, version: Version, words: [*mut (); N]) {
        // ORDERING: Release pairs with the Acquire load in `read`: a reader that sees this version sees the bit cleared
        // by the give before it.
        self.version.store(version.0.wrapping_byte_add(1), Release);
        // ORDERING: pairs with the Acquire fence in `read`: a reader that sees one of the words below sees this
        // version.
        W::fence(Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Relaxed);
        }
    }

    /// Returns how often the slot has been written. For its owner.
    #[inline]
    pub(crate) fn version(&self) -> Version {
        Version(self.version.load(Relaxed))
    }

    /// Reads the words. Returns `None` unless the slot was in use all the time, by one and the same take.
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
    const fn empty() -> Self {
        Self {
            version: QuietWord::new(std::ptr::null_mut()),
            words: [const { QuietWord::new(std::ptr::null_mut()) }; N],
        }
    }
}

/// A free slot, and what taking it will write besides the words.
#[derive(Clone, Copy)]
pub(crate) struct Place<'s> {
    slot: &'s Slot<QuietWord, WORDS>,
    version: Version,
    index: HoldIndex,
    used: u32,
}

/// Slots and the bits that say which of them are in use.
#[repr(C)]
pub(in crate::deadlock) struct Chunk<const SLOTS: usize> {
    used: quiet::AtomicU32,
    slots: [Slot<QuietWord, WORDS>; SLOTS],
}

impl<const SLOTS: usize> Chunk<SLOTS> {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { used: quiet::AtomicU32::new(0), slots: [const { Slot::empty() }; SLOTS] }
    }

    /// Returns a free slot, if there is one. Writes nothing. The owner alone calls this.
    #[inline]
    pub(in crate::deadlock) fn find(&self) -> Option<Place<'_>> {
        let used = self.used.load(Relaxed);
        let index = used.trailing_ones();
        let slot = self.slots.get(index as usize)?;
        Some(Place { slot, version: slot.version(), index, used: used | 1 << index })
    }

    /// Takes a slot that was found. The owner alone calls this, and has taken and given nothing since.
    #[inline]
    pub(in crate::deadlock) fn take(&self, place: Place<'_>, words: Words) -> HoldIndex {
        place.slot.write(place.version, words);
        // ORDERING: Release pairs with the Acquire load in `read`: a reader that sees the bit sees the words.
        self.used.store(place.used, Release);
        place.index
    }

    /// Frees a slot. The owner alone calls this.
    #[inline]
    pub(in crate::deadlock) fn give(&self, index: HoldIndex) {
        let used = self.used.load(Relaxed);
        // ORDERING: Release keeps the reads and writes under the resource before the hold disappears.
        self.used.store(used & !(1 << index), Release);
    }

    fn read(&self, index: usize) -> Option<Hold> {
        // ORDERING: Acquire pairs with the Release store in `take`.
        let words = self.slots[index].read(|| self.used.load(Acquire) & 1 << index != 0)?;
        Some(decode(words))
    }
}

/// What a context holds.
#[repr(C)]
pub(crate) struct Holds {
    inline: Chunk<INLINE>,
    /// Null until more is held than fits inline.
    spill: quiet::AtomicPtr<Spill>,
}

impl Holds {
    pub(crate) const fn new() -> Self {
        Self { inline: Chunk::new(), spill: quiet::AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn spill(&self) -> Option<&Spill> {
        // ORDERING: Acquire pairs with the Release store in `make_spill`.
        //
        // SAFETY:
        // - the pointer is null or came from `Box::leak`, and is never freed.
        unsafe { self.spill.load(Acquire).as_ref() }
    }

    /// Returns the list of the holds that do not fit inline, which is made on first use. The context's own thread alone
    /// calls this.
    fn make_spill(&self) -> &Spill {
        self.spill().unwrap_or_else(|| {
            let spill = Box::leak(Box::new(Spill::new()));
            // ORDERING: Release publishes it to `spill`.
            self.spill.store(spill, Release);
            spill
        })
    }

    /// Returns where the next hold goes, if it is inline. These are the loads of [`take`](Self::take), done before the
    /// lock is taken, since no load overtakes an atomic read-modify-write.
    #[inline]
    pub(crate) fn find(&self) -> Option<Place<'_>> {
        self.inline.find()
    }

    /// Lists a hold, in the place that was just [found](Self::find). The context's own thread alone calls this;
    /// allocates once every 16 nested holds.
    #[inline]
    pub(crate) fn take(&self, place: Option<Place<'_>>, facts: &ResourceFacts, site: Site) -> HoldIndex {
        match place {
            Some(place) => self.inline.take(place, encode(facts, site)),
            None => self.take_spilled(facts, site),
        }
    }

    // Takes the facts apart once more: with the words as an argument they would be spilled on every call.
    #[cold]
    #[inline(never)]
    fn take_spilled(&self, facts: &ResourceFacts, site: Site) -> HoldIndex {
        let spill = self.make_spill();
        INLINE as HoldIndex + spill.take(spill.find(), encode(facts, site))
    }

    /// Makes sure that the next [`take`](Self::take) allocates nothing. The context's own thread alone calls this, and
    /// it alone takes holds, so the place stays free.
    pub(crate) fn reserve(&self) {
        if self.find().is_none() {
            self.make_spill().find();
        }
    }

    /// Removes a hold from the list. The context's own thread alone calls this.
    #[inline]
    pub(crate) fn give(&self, index: HoldIndex) {
        if (index as usize) < INLINE {
            self.inline.give(index);
        } else {
            self.give_spilled(index);
        }
    }

    #[cold]
    fn give_spilled(&self, index: HoldIndex) {
        if let Some(spill) = self.spill() {
            spill.give(index - INLINE as HoldIndex);
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

    /// Returns how many are listed.
    pub(crate) fn count(&self) -> usize {
        self.inline.used.load(Relaxed).count_ones() as usize + self.spill().map_or(0, Spill::count)
    }

    /// Returns whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.inline.used.load(Relaxed) == 0 && self.spill().is_none_or(Spill::is_empty)
    }

    /// Calls `visit` with each hold. A hold that is taken or given meanwhile may be left out, never torn.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Hold)) {
        self.for_each_indexed(|_, hold| visit(hold));
    }

    fn for_each_indexed(&self, mut visit: impl FnMut(HoldIndex, Hold)) {
        let mut index = 0;
        let mut see = |hold: Option<Hold>| {
            if let Some(hold) = hold {
                visit(index, hold);
            }
            index += 1;
        };
        (0..INLINE).for_each(|i| see(self.inline.read(i)));
        for chunk in self.spill().into_iter().flat_map(Spill::chunks) {
            (0..CHUNK).for_each(|i| see(chunk.read(i)));
        }
    }
}

#[inline]
fn encode(facts: &ResourceFacts, site: Site) -> [*mut (); WORDS] {
    let Origin { made_at, name } = facts.origin;
    [
        std::ptr::without_provenance_mut(facts.key),
        std::ptr::from_ref(site).cast_mut().cast(),
        std::ptr::from_ref(made_at).cast_mut().cast(),
        facts.type_of as *mut (),
        name.start.cast_mut().cast(),
        std::ptr::without_provenance_mut(name.length),
    ]
}

fn decode(words: [*mut (); WORDS]) -> Hold {
    let [key, site, made_at, type_of, name, length] = words;
    // SAFETY:
    // - the words are those of one `encode` (they are never torn: see the module's protocol), and each is turned
    //   back into what it was made from: a `&'static` reference, a function pointer.
    let site = unsafe { &*site.cast::<Location<'static>>() };
    // SAFETY: as above.
    let made_at = unsafe { &*made_at.cast::<Location<'static>>() };
    // SAFETY: as above.
    let type_of = unsafe { std::mem::transmute::<*mut (), TypeOf>(type_of) };
    let name = Name { start: name.cast(), length: length.addr() };
    Hold { resource: ResourceFacts { key: key.addr(), origin: Origin { made_at, name }, type_of }, site }
}
