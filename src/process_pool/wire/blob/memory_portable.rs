//! Sealed memory where there is none: types without values.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use super::seal_error::SealError;

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there is no sealed memory on this system")
}

/// Nothing is of this type.
#[derive(Debug)]
enum Never {}

/// A descriptor that would come from another process.
pub(in crate::process_pool) struct Descriptor(Never);

/// Memory that would be written to.
pub(super) struct Unsealed(Never);

impl Unsealed {
    pub(super) fn new(_: usize) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(super) fn seal(self) -> Result<Sealed, SealError<Self>> {
        match self.0 {}
    }
}

impl Deref for Unsealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

impl DerefMut for Unsealed {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

/// Memory that would not change.
pub(super) struct Sealed(Never);

impl Sealed {
    pub(super) fn from_bytes(_: &[u8]) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(super) fn open(file: Descriptor, _: u64) -> Result<Self, Refusal> {
        match file.0 {}
    }

    pub(super) fn open_of_parent(file: Descriptor, _: u64) -> Result<Self, Refusal> {
        match file.0 {}
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

/// Why a descriptor would be refused.
#[derive(Debug)]
pub(super) struct Refusal(Never);

impl fmt::Display for Refusal {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
