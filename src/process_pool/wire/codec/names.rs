//! The names of fields and variants: each is written once in a message.

use std::ptr;

/// The code behind a struct's last field.
pub(super) const END: u8 = 0;
/// The code of a name that follows.
pub(super) const NEW: u8 = 1;
/// The code of the first name that was written.
pub(super) const FIRST: u8 = 2;
/// The maximum number of names with a code. Further names are written each time.
pub(super) const MAX_NAMES: usize = u8::MAX as usize - FIRST as usize + 1;

/// The number of names that memory is allocated for at a time.
const USUAL_NAMES: usize = 16;

/// The names that were written, in their order.
pub(super) struct Written {
    names: Vec<&'static str>,
    /// The place of the name that is expected next: structs of one type follow one another.
    next: usize,
}

impl Written {
    pub(super) const fn new() -> Self {
        Self { names: Vec::new(), next: 0 }
    }

    /// Returns the code of a name that was written before.
    #[inline]
    pub(super) fn code(&mut self, name: &'static str) -> Option<u8> {
        let at = match self.names.get(self.next) {
            Some(known) if is_same(known, name) => self.next,
            _ => self.find(name)?,
        };
        self.next = if at + 1 < self.names.len() { at + 1 } else { 0 };
        Some(FIRST + at as u8)
    }

    #[cold]
    fn find(&self, name: &'static str) -> Option<usize> {
        self.names.iter().position(|known| is_same(known, name))
    }

    /// Keeps a name that was just written.
    ///
    /// # Errors
    ///
    /// There is no memory for it. The reader counts on the name.
    pub(super) fn keep(&mut self, name: &'static str) -> Result<(), std::collections::TryReserveError> {
        if self.names.len() < MAX_NAMES {
            if self.names.len() == self.names.capacity() {
                self.names.try_reserve(USUAL_NAMES)?;
            }
            self.names.push(name);
            self.next = 0;
        }
        Ok(())
    }
}

/// Compares names by their place in memory: a name that is in the program twice is written twice.
fn is_same(one: &'static str, other: &'static str) -> bool {
    ptr::eq::<str>(one, other)
}

/// The names that were read, in their order.
pub(super) struct Read<'de>(Vec<&'de str>);

impl<'de> Read<'de> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the name with this code.
    #[inline]
    pub(super) fn of(&self, code: u8) -> Option<&'de str> {
        self.0.get(usize::from(code.checked_sub(FIRST)?)).copied()
    }

    /// Keeps a name that was just read.
    pub(super) fn keep(&mut self, name: &'de str) {
        if self.0.len() < MAX_NAMES {
            if self.0.len() == self.0.capacity() {
                self.0.reserve(USUAL_NAMES);
            }
            self.0.push(name);
        }
    }
}
