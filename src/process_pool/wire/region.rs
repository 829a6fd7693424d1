//! Memory by which long arguments get into a worker: the parent writes to it, and the worker reads.
//!
//! A worker has one such region, from the first bulk call on. Its pages are used again and again, which takes a fraction
//! of the time that new ones take.

use std::io;
use std::os::fd::OwnedFd;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};
use rustix::fs::SealFlags;

use super::memfd;

/// Longer calls go through the region. A new worker's region costs more than a shorter call.
pub(in crate::process_pool) const BULK: usize = 2 << 20;
/// The length of a region. Longer calls go through the stream.
const LENGTH: usize = 32 << 20;

/// Nobody can change the length, nor write to the memory but by a mapping that was there before.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// The parent's end.
pub(in crate::process_pool) struct Writable {
    map: MmapMut,
}

impl Writable {
    /// Makes a region, and the descriptor for the worker. It takes no memory until it is written to.
    pub(in crate::process_pool) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = memfd::create("bowline-region")?;
        memfd::set_length(&file, LENGTH, "the arguments of a worker")?;
        // SAFETY:
        // - nobody else has the descriptor: no other mapping can be written to, and after the seals none will be. The
        //   length stays.
        let map = unsafe { MmapOptions::new().len(LENGTH).map_mut(&file) }?;
        map.advise(Advice::DontFork)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok((Self { map }, file))
    }

    /// Writes a call to the region, which the worker does not read. Returns whether there is space, and memory.
    pub(in crate::process_pool) fn put(&mut self, call: &[u8]) -> bool {
        // A write to a page that there is no memory for would be a signal.
        let has_space = call.len() <= LENGTH && self.map.advise_range(Advice::PopulateWrite, 0, call.len()).is_ok();
        if has_space {
            self.map[..call.len()].copy_from_slice(call);
        }
        has_space
    }
}

/// The worker's end.
pub(in crate::process_pool) struct Readable {
    map: Mmap,
}

impl Readable {
    /// Maps the parent's region.
    pub(in crate::process_pool) fn open(file: &OwnedFd) -> io::Result<Self> {
        let has_seals = rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS));
        if !has_seals || u64::try_from(rustix::fs::fstat(file)?.st_size) != Ok(LENGTH as u64) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY:
        // - the length stays (seals), and only the parent can write. It writes after the worker's reply to one call in
        //   the region and before it sends the next one: the worker reads between these (`call`).
        let map = unsafe { MmapOptions::new().len(LENGTH).map(file) }?;
        Ok(Self { map })
    }

    /// Returns the call of this length that the parent has written, and that was not replied to.
    pub(in crate::process_pool) fn call(&self, length: usize) -> Option<&[u8]> {
        self.map.get(..length)
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_worker_reads_what_the_parent_wrote_last_and_can_not_write() {
        let (mut parent, file) = Writable::new().expect("a region");
        let worker = Readable::open(&file).expect("the same region");
        for call in [vec![1; 10], vec![2; LENGTH], vec![3; 5]] {
            assert!(parent.put(&call));
            assert!(worker.call(call.len()) == Some(&call[..]));
        }
        assert!(!parent.put(&vec![4; LENGTH + 1]) && worker.call(LENGTH + 1).is_none());
        assert_eq!(worker.call(6).map(|call| call[0]), Some(3), "a call that is too long changes nothing");
        // SAFETY:
        // - nothing is read or written by it.
        assert!(unsafe { MmapOptions::new().len(LENGTH).map_mut(&file) }.is_err());
        assert!(rustix::io::pwrite(&file, &[1], 0).is_err() && rustix::fs::ftruncate(&file, 0).is_err());
        let other = memfd::create("other").expect("memory");
        assert!(Readable::open(&other).is_err());
    }
}
