//! Where a resource was made, and its name: the part of its description that lives in the resource.

use std::mem::MaybeUninit;
use std::panic::Location;

use super::resource::Site;

/// In the pointer to the line: there is a name.
const NAMED: usize = 1;
const _: () = assert!(align_of::<Location<'_>>() > NAMED, "the lowest bit of a pointer to a line is free");

/// Where a resource was made, and its name.
///
/// One word says whether there is a name, so that a hold of a resource without one copies one word in place of three, and
/// looks at no other, and making a lock without one writes no other.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The line, and [`NAMED`].
    line: *const Location<'static>,
    /// If there is a name: written.
    name: MaybeUninit<&'static str>,
}

// SAFETY:
// - it is a `&'static Location` and a `&'static str`, taken apart.
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

    /// Returns an origin at a line that is known already.
    pub(crate) const fn at(made_at: Site, name: Option<&'static str>) -> Self {
        let line = std::ptr::from_ref(made_at);
        match name {
            Some(name) => Self { line: line.wrapping_byte_add(NAMED), name: MaybeUninit::new(name) },
            None => Self { line, name: MaybeUninit::uninit() },
        }
    }

    #[inline]
    fn is_named(&self) -> bool {
        self.line.addr() & NAMED != 0
    }

    /// Returns the line that made the resource.
    pub(crate) fn made_at(&self) -> Site {
        let line = if self.is_named() { self.line.wrapping_byte_sub(NAMED) } else { self.line };
        // SAFETY:
        // - a `&'static Location` (`at`, and `of_words`'s contract), without the bit.
        unsafe { &*line }
    }

    /// Returns the resource's name, if it has one.
    pub(crate) fn name(&self) -> Option<&'static str> {
        // SAFETY:
        // - there is a name, so it is written (`at`, `of_words`).
        self.is_named().then(|| unsafe { self.name.assume_init() })
    }

    /// Returns the words to store: one, and two more if there is a name.
    #[inline]
    pub(super) fn words(&self) -> (*mut (), Option<[*mut (); 2]>) {
        let parts =
            |name: &'static str| [name.as_ptr().cast_mut().cast(), std::ptr::without_provenance_mut(name.len())];
        (self.line.cast_mut().cast(), self.name().map(parts))
    }

    /// Returns the origin that was stored.
    ///
    /// # Safety
    ///
    /// The words are those of one origin's [`words`](Self::words), or, if it has no name, the first is.
    pub(super) unsafe fn of_words(line: *mut (), [start, length]: [*mut (); 2]) -> Self {
        let mut origin = Self { line: line.cast(), name: MaybeUninit::uninit() };
        if origin.is_named() {
            // SAFETY:
            // - there is a name, so the two are the parts of a `&'static str` (caller).
            let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length.addr()) };
            // SAFETY:
            // - as above.
            origin.name.write(unsafe { std::str::from_utf8_unchecked(bytes) });
        }
        origin
    }
}
