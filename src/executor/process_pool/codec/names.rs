//! The names of fields and variants, each of which is written once in a message.

use std::ptr;

/// The code behind a struct's last field.
pub(super) const END: u8 = 0;
/// The code of a name that follows.
pub(super) const NEW: u8 = 1;
/// The code of the first name that was written.
pub(super) const FIRST: u8 = 2;
/// Further names are written each time.
pub(super) const MAX_NAMES: usize = u8::MAX as usize - FIRST as usize + 1;

/// The names that were written, in their order.
pub(super) struct Written {
    names: Vec<&'static str>,
    /// The place behind that of the last one: structs of one type follow one another.
    next: usize,
}

impl Written {
    pub(super) const fn new() -> Self {
        Self { names: Vec::new(), next: 0 }
    }

    /// The code of a name that was written before.
    #[inline]
    pub(super) fn code(&mut self, name: &'static str) -> Option<u8> {
        // By its place: a name that is in the program twice is written twice.
        let is_it = |known: &&'static str| ptr::eq::<str>(*known, name);
        let at = match self.names.get(self.next) {
            Some(known) if is_it(known) => self.next,
            _ => self.names.iter().position(is_it)?,
        };
        self.next = if at + 1 < self.names.len() { at + 1 } else { 0 };
        Some(FIRST + at as u8)
    }

    /// Keeps a name that was just written.
    ///
    /// # Errors
    ///
    /// If there is no memory: the reader would count on it.
    pub(super) fn keep(&mut self, name: &'static str) -> Result<(), std::collections::TryReserveError> {
        if self.names.len() < MAX_NAMES {
            self.names.try_reserve(1)?;
            self.names.push(name);
            self.next = 0;
        }
        Ok(())
    }
}

/// The names that were read, in their order.
pub(super) struct Read<'de>(Vec<&'de str>);

impl<'de> Read<'de> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The name with this code.
    #[inline]
    pub(super) fn of(&self, code: u8) -> Option<&'de str> {
        self.0.get(usize::from(code.checked_sub(FIRST)?)).copied()
    }

    /// Keeps a name that was just read.
    pub(super) fn keep(&mut self, name: &'de str) {
        if self.0.len() < MAX_NAMES {
            self.0.push(name);
        }
    }
}
