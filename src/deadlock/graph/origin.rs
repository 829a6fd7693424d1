//! Where a resource was made, and its name: the part of its description that lives in the resource.

use std::panic::Location;

use super::resource::Site;

/// In the pointer to the line: there is a name.
const NAMED: usize = 1;
const _: () = assert!(align_of::<Location<'_>>() > NAMED, "the lowest bit of a pointer to a line is free");

/// Where a resource was made, and its name.
///
/// One word says whether there is a name, so that a hold of a resource without one copies one word in place of three, and
/// looks at no other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The line, and [`NAMED`].
    line: *const Location<'static>,
    /// A `&'static str`, taken apart, if there is a name.
    start: *const u8,
    length: usize,
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
            Some(name) => Self { line: line.wrapping_byte_add(NAMED), start: name.as_ptr(), length: name.len() },
            None => Self { line, start: std::ptr::null(), length: 0 },
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
        self.is_named().then(|| {
            // SAFETY:
            // - there is a name, so the two are the parts of a `&'static str` (`at`, and `of_words`'s contract).
            let bytes = unsafe { std::slice::from_raw_parts(self.start, self.length) };
            // SAFETY:
            // - as above.
            unsafe { std::str::from_utf8_unchecked(bytes) }
        })
    }

    /// Returns the words to store: one, and two more if there is a name.
    #[inline]
    pub(super) fn words(&self) -> (*mut (), Option<[*mut (); 2]>) {
        let name = || [self.start.cast_mut().cast(), std::ptr::without_provenance_mut(self.length)];
        (self.line.cast_mut().cast(), self.is_named().then(name))
    }

    /// Returns the origin that was stored.
    ///
    /// # Safety
    ///
    /// The words are those of one origin's [`words`](Self::words), or, if it has no name, the first is.
    pub(super) unsafe fn of_words(line: *mut (), [start, length]: [*mut (); 2]) -> Self {
        Self { line: line.cast(), start: start.cast(), length: length.addr() }
    }
}
