//! Memory by which long arguments get into a worker, and long results out of it.
//!
//! A worker has a region for calls from the first bulk call on, which the parent writes to, and one for results, which the
//! worker writes to. The pages are used again and again, which takes a fraction of the time that new ones take.

use std::io;
use std::os::fd::OwnedFd;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::SealFlags;

use super::frame::NoMemory;
use super::own_map::OwnMap;
use super::{memfd, memory};

/// Longer calls go through the region. A new worker's region costs more than a shorter call.
pub(in crate::process_pool) const BULK: usize = 2 << 20;
/// The length of a region. Longer calls go through the stream.
const LENGTH: usize = 32 << 20;

/// Nobody can change the length, nor write to the memory but by a mapping that was there before.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// The writer's end.
pub(in crate::process_pool) struct Writable {
    map: OwnMap,
}

impl Writable {
    /// Makes a region, and the descriptor for the reader. It takes no memory until it is written to.
    pub(in crate::process_pool) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = memfd::create("bowline-region")?;
        memfd::set_length(&file, LENGTH, "the arguments of a worker")?;
        // SAFETY:
        // - nobody else has the descriptor: no other mapping can be written to, and after the seals none will be. The
        //   length stays.
        let map = unsafe { MmapOptions::new().len(LENGTH).map_mut(&file) }?;
        let map = OwnMap::new(map)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok((Self { map }, file))
    }

    /// Writes to the region, which the reader does not read now. Returns whether there is space, and memory.
    pub(in crate::process_pool) fn put(&mut self, payload: &[u8]) -> bool {
        // A write to a page that there is no memory for would be a signal.
        let has_space = payload.len() <= LENGTH && !self.map.is_elsewhere() && self.map.populate(payload.len());
        if has_space {
            self.map.bytes_mut()[..payload.len()].copy_from_slice(payload);
        }
        has_space
    }
}

/// Checks that this is a region.
fn check(file: &OwnedFd) -> io::Result<()> {
    let has_seals = rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS));
    if !has_seals || u64::try_from(rustix::fs::fstat(file)?.st_size) != Ok(LENGTH as u64) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

/// The worker's end of the region for calls: it trusts its parent, and reads them where they lie.
pub(in crate::process_pool) struct Readable {
    map: Mmap,
}

impl Readable {
    /// Maps the parent's region.
    pub(in crate::process_pool) fn open(file: &OwnedFd) -> io::Result<Self> {
        check(file)?;
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

/// The parent's end of the region for results. It does not trust the worker, which can write at any time: the kernel
/// copies a result before anybody looks at it.
pub(in crate::process_pool) struct Copied {
    file: OwnedFd,
}

impl Copied {
    /// Takes the worker's region. Reading from it does not block: it is memory.
    pub(in crate::process_pool) fn open(file: OwnedFd) -> io::Result<Self> {
        check(&file)?;
        Ok(Self { file })
    }

    /// Returns a copy of the first bytes. `None`: there are not so many.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub(in crate::process_pool) fn read(&self, length: usize) -> Option<Result<Vec<u8>, NoMemory>> {
        if length > LENGTH {
            return None;
        }
        let mut bytes = memory::take_kept(length).unwrap_or_default();
        if !memory::reserve(&mut bytes, length) {
            return Some(Err(NoMemory { bytes: length }));
        }
        while bytes.len() < length {
            let (at, lacking) = (bytes.len() as u64, length - bytes.len());
            let space = &mut bytes.spare_capacity_mut()[..lacking];
            let read = || rustix::io::pread(&self.file, &mut *space, at).map(|(read, _)| read.len());
            let read = rustix::io::retry_on_intr(read).ok()?;
            if read == 0 {
                return None;
            }
            // SAFETY:
            // - the kernel has written these bytes, within the capacity.
            unsafe { bytes.set_len(bytes.len() + read) };
        }
        Some(Ok(bytes))
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_worker_reads_what_the_parent_wrote_last_and_can_not_write() {
        let (mut parent, file) = Writable::new().expect("a region");
        let worker = Readable::open(&file).expect("the same region");
        let copied = Copied::open(file.try_clone().expect("a descriptor")).expect("the same region");
        for call in [vec![1; 10], vec![2; LENGTH], vec![3; 5]] {
            assert!(parent.put(&call));
            assert!(worker.call(call.len()) == Some(&call[..]));
            assert!(copied.read(call.len()) == Some(Ok(call)));
        }
        assert!(!parent.put(&vec![4; LENGTH + 1]) && worker.call(LENGTH + 1).is_none());
        assert_eq!(worker.call(6).map(|call| call[0]), Some(3), "a call that is too long changes nothing");
        // SAFETY:
        // - nothing is read or written by it.
        assert!(unsafe { MmapOptions::new().len(LENGTH).map_mut(&file) }.is_err());
        assert!(rustix::io::pwrite(&file, &[1], 0).is_err() && rustix::fs::ftruncate(&file, 0).is_err());
        let other = memfd::create("other").expect("memory");
        assert!(copied.read(LENGTH + 1).is_none());
        assert!(Readable::open(&other).is_err() && Copied::open(other).is_err());
        for missing in [SEALS, SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
            let unsealed = memfd::create("unsealed").expect("memory");
            memfd::set_length(&unsealed, LENGTH, "a test").expect("a length");
            rustix::fs::fcntl_add_seals(&unsealed, SEALS - missing).expect("seals");
            assert!(Readable::open(&unsealed).is_err() && Copied::open(unsealed).is_err(), "without {missing:?}");
        }
        for length in [LENGTH - 1, LENGTH + 1] {
            let other = memfd::create("other").expect("memory");
            memfd::set_length(&other, length, "a test").expect("a length");
            rustix::fs::fcntl_add_seals(&other, SEALS).expect("seals");
            assert!(Readable::open(&other).is_err() && Copied::open(other).is_err(), "{length} bytes");
        }
        let null = std::fs::File::open("/dev/null").expect("a file");
        assert!(Copied::open(null.into()).is_err());
    }
}
