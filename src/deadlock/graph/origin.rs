//! Where a resource was made, its name, and its rank: the part of its description that lives in the resource.

use std::mem::MaybeUninit;
use std::panic::Location;

use super::resource::Site;

/// In the pointer to the line: there is a name.
const NAMED: usize = 1;
/// In the pointer to the line: there is a rank, and a name.
const RANKED: usize = 2;
const _: () = assert!(align_of::<Location<'_>>() > NAMED | RANKED, "two bits of a pointer to a line are free");

/// The width in bits of a name's length where there is a rank above it, which has 16 bits.
const LENGTH_BITS: u32 = usize::BITS - u16::BITS;
const LENGTH: usize = (1 << LENGTH_BITS) - 1;

/// Where a resource was made, its name, and its rank.
///
/// One word says whether there is a name, so that a hold of a resource without one copies one word in place of three, and
/// looks at no other, and making a lock without one writes no other.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The line, [`NAMED`] and [`RANKED`].
    line: *const Location<'static>,
    /// If there is a name: written.
    name: MaybeUninit<NameWords>,
}

/// A name, taken apart.
#[derive(Clone, Copy)]
struct NameWords {
    start: *const u8,
    /// The length, and, if there is a rank, the rank in the upper 16 bits.
    length: usize,
}

// SAFETY:
// - it is a `&'static Location`, a `&'static str` taken apart, and a number.
unsafe impl Send for Origin {}
// SAFETY:
// - as above.
unsafe impl Sync for Origin {}

impl Origin {
    /// Returns an origin at the calling line.
    #[track_caller]
    pub(crate) const fn here(name: Option<&'static str>) -> Self {
        Self::at(Location::caller(), name)
    }

    /// Returns an origin at the calling line, with a name and a rank.
    ///
    /// # Panics
    ///
    /// If the name is longer than what the rank leaves room for: 65,535 bytes where addresses have 32 bits.
    #[track_caller]
    pub(crate) const fn ranked(name: &'static str, rank: u16) -> Self {
        assert!(name.len() <= LENGTH, "the name of a lock with a rank is too long");
        let words = NameWords { start: name.as_ptr(), length: name.len() | (rank as usize) << LENGTH_BITS };
        let line = std::ptr::from_ref(Location::caller()).wrapping_byte_add(NAMED | RANKED);
        Self { line, name: MaybeUninit::new(words) }
    }

    /// Returns an origin at a line that is known already.
    pub(crate) const fn at(made_at: Site, name: Option<&'static str>) -> Self {
        let line = std::ptr::from_ref(made_at);
        match name {
            Some(name) => Self {
                line: line.wrapping_byte_add(NAMED),
                name: MaybeUninit::new(NameWords { start: name.as_ptr(), length: name.len() }),
            },
            None => Self { line, name: MaybeUninit::uninit() },
        }
    }

    #[inline]
    fn is_named(&self) -> bool {
        self.line.addr() & NAMED != 0
    }

    /// Returns whether there is a rank.
    pub(crate) fn is_ranked(&self) -> bool {
        self.line.addr() & RANKED != 0
    }

    #[inline]
    fn name_words(&self) -> Option<NameWords> {
        // SAFETY:
        // - there is a name, so it is written (`at`, `ranked`, `of_words`).
        self.is_named().then(|| unsafe { self.name.assume_init() })
    }

    /// Returns the line that made the resource.
    pub(crate) fn made_at(&self) -> Site {
        let line = self.line.map_addr(|address| address & !(NAMED | RANKED));
        // SAFETY:
        // - a `&'static Location` (`at`, `ranked`, and `of_words`'s contract), without the bits.
        unsafe { &*line }
    }

    /// Returns the resource's name, if it has one.
    pub(crate) fn name(&self) -> Option<&'static str> {
        let NameWords { start, length } = self.name_words()?;
        let length = if self.is_ranked() { length & LENGTH } else { length };
        // SAFETY:
        // - the parts of a `&'static str` (`at`, `ranked`, and `of_words`'s contract), without the rank.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        // SAFETY:
        // - as above.
        Some(unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    /// Returns the resource's rank, if it has one.
    pub(crate) fn rank(&self) -> Option<u16> {
        let words = self.name_words().filter(|_| self.is_ranked())?;
        Some((words.length >> LENGTH_BITS) as u16)
    }

    /// Returns the words to store: one, and two more if there is a name.
    #[inline]
    pub(super) fn words(&self) -> (*mut (), Option<[*mut (); 2]>) {
        let parts = |name: NameWords| [name.start.cast_mut().cast(), std::ptr::without_provenance_mut(name.length)];
        (self.line.cast_mut().cast(), self.name_words().map(parts))
    }

    /// Returns the origin that was stored.
    ///
    /// # Safety
    ///
    /// The words are those of one origin's [`words`](Self::words), or, if it has no name, the first is.
    pub(super) unsafe fn of_words(line: *mut (), [start, length]: [*mut (); 2]) -> Self {
        let name = NameWords { start: start.cast::<u8>().cast_const(), length: length.addr() };
        Self { line: line.cast(), name: MaybeUninit::new(name) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_rank_share_a_word() {
        for (name, rank) in [("", 0), ("a", 1), ("ledger", u16::MAX), ("größe", 0x8000)] {
            let (line, origin) = (line!(), Origin::ranked(name, rank));
            let (first, rest) = origin.words();
            // SAFETY:
            // - the words of one origin.
            let copy = unsafe { Origin::of_words(first, rest.expect("it has a name")) };
            for origin in [origin, copy] {
                assert_eq!((origin.name(), origin.rank(), origin.made_at().line()), (Some(name), Some(rank), line));
            }
        }
        assert_eq!(Origin::here(Some("a")).rank(), None);
        assert_eq!((Origin::here(None).rank(), Origin::here(None).name()), (None, None));
    }

    #[test]
    #[should_panic(expected = "too long")]
    #[cfg(target_pointer_width = "32")]
    fn a_name_that_leaves_no_room_for_a_rank_is_refused() {
        Origin::ranked(Box::leak("x".repeat(LENGTH + 1).into_boxed_str()), 1);
    }
}
