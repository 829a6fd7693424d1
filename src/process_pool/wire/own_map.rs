//! Shared memory that this process alone has mapped.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;

use memmap2::{Advice, MmapMut};

use super::fork::Generation;

/// A mapping that a process which is forked off this one does not have: in its place is a hole there, which may be anything's.
pub(super) struct OwnMap {
    map: ManuallyDrop<MmapMut>,
    made_in: Generation,
}

impl OwnMap {
    /// Keeps a mapping, whose memory others may not have mapped yet, to this process.
    pub(super) fn new(map: MmapMut) -> io::Result<Self> {
        // First: a fork that comes between has the mapping, and does not touch it.
        let made_in = Generation::now();
        map.advise(Advice::DontFork)?;
        Ok(Self { map: ManuallyDrop::new(map), made_in })
    }

    /// Returns whether this is a process that does not have it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.made_in.is_past()
    }

    /// Returns the memory. Panics in a fork.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.assert_here();
        &self.map
    }

    /// Returns the memory. Panics in a fork.
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.assert_here();
        &mut self.map
    }

    /// Returns whether there is memory for these bytes, all of which is there from then on.
    pub(super) fn populate(&self, bytes: Range<usize>) -> bool {
        self.assert_here();
        self.map.advise_range(Advice::PopulateWrite, bytes.start, bytes.len()).is_ok()
    }

    #[inline]
    fn assert_here(&self) {
        assert!(!self.is_elsewhere(), "a process that is forked off another one does not have its unsealed memory");
    }
}

impl Drop for OwnMap {
    fn drop(&mut self) {
        if !self.is_elsewhere() {
            // SAFETY:
            // - nobody uses it afterwards: it is dropped here, and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
