//! Memory by which long arguments get into a worker, and long results out of it.
//!
//! A worker has a region for calls from the first bulk call on, which the parent writes to, and one for results, which the
//! worker writes to. The pages are used again and again, which takes a fraction of the time that new ones take.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::SealFlags;

use super::frame::NoMemory;
use super::own_map::OwnMap;
use super::{memfd, memory};

/// Longer calls go through the region: one copy less, and the stream takes no more at once (measured).
pub(in crate::process_pool) const BULK: usize = 32 << 10;
/// The length of a region. Longer calls go through it in parts.
const LENGTH: usize = 32 << 20;
/// The length of a part. Two of them are in the region at a time: one is written while the other one is read.
const PART: usize = 8 << 20;

/// Nobody can change the length, nor write to the memory but by a mapping that was there before.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// The writer's end.
pub(in crate::process_pool) struct Writable {
    map: OwnMap,
    /// How many bytes have their pages: no write to them lacks memory.
    populated: usize,
}

/// How many bytes get their pages at once.
const STEP: usize = 64 << 10;

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
        Ok((Self { map, populated: 0 }, file))
    }

    /// Writes to the beginning of the region, which the reader does not read now. Returns whether there is space, and
    /// memory.
    pub(in crate::process_pool) fn put(&mut self, payload: &[u8]) -> Option<Place> {
        let is_there = self.put_at(0, payload);
        is_there.then_some(Place { at: 0, length: payload.len(), left: 0 })
    }

    /// Returns the parts of a payload for which a region is too short. `None`: it is not, or there is no memory for them.
    pub(in crate::process_pool) fn parts(&mut self, payload: &[u8]) -> Option<Parts> {
        let are_there = payload.len() > LENGTH && !self.map.is_elsewhere() && self.populate(2 * PART);
        are_there.then(Parts::default)
    }

    /// Writes the next part. The reader has taken the one before the last. `None`: there is none left.
    pub(in crate::process_pool) fn put_part(&mut self, parts: &mut Parts, payload: &[u8]) -> Option<Place> {
        let part = payload[parts.written..].chunks(PART).next()?;
        let at = parts.written / PART % 2 * PART;
        let is_there = self.put_at(at, part);
        debug_assert!(is_there, "its pages are there, in this process");
        parts.written += part.len();
        Some(Place { at, length: part.len(), left: payload.len() - parts.written })
    }

    /// Writes to the bytes from `at` on.
    fn put_at(&mut self, at: usize, payload: &[u8]) -> bool {
        let end = at + payload.len();
        let has_space = end <= LENGTH && !self.map.is_elsewhere() && self.populate(end);
        if has_space {
            self.map.bytes_mut()[at..end].copy_from_slice(payload);
        }
        has_space
    }

    /// Returns whether there is memory for the first bytes. A write to a page that there is no memory for would be a
    /// signal.
    fn populate(&mut self, bytes: usize) -> bool {
        if bytes > self.populated {
            let wanted = bytes.next_multiple_of(STEP);
            if !self.map.populate(self.populated..wanted) {
                return false;
            }
            self.populated = wanted;
        }
        true
    }
}

/// The parent's end of the region for calls, and the calls that lie there, each until the worker has replied to it.
pub(in crate::process_pool) struct Calls {
    memory: Writable,
    /// In the order in which they were sent, and will be replied to.
    lying: VecDeque<(u64, Range<usize>)>,
}

impl Calls {
    pub(in crate::process_pool) fn new(memory: Writable) -> Self {
        Self { memory, lying: VecDeque::new() }
    }

    /// Writes the call of a task with a higher number than those before. The worker has replied to all up to `replied`.
    /// Returns where the call is. `None`: there is no space, or no memory.
    pub(in crate::process_pool) fn put(&mut self, id: u64, call: &[u8], replied: u64) -> Option<Place> {
        self.forget(replied);
        let at = self.space(call.len())?;
        if !self.memory.put_at(at, call) {
            return None;
        }
        self.lying.push_back((id, at..at + call.len()));
        Some(Place { at, length: call.len(), left: 0 })
    }

    /// As [`Writable::parts`], if no call lies there.
    pub(in crate::process_pool) fn parts(&mut self, call: &[u8], replied: u64) -> Option<Parts> {
        self.forget(replied);
        if self.lying.is_empty() { self.memory.parts(call) } else { None }
    }

    /// As [`Writable::put_part`].
    pub(in crate::process_pool) fn put_part(&mut self, parts: &mut Parts, call: &[u8]) -> Option<Place> {
        self.memory.put_part(parts, call)
    }

    /// The worker has replied to all up to `replied`.
    fn forget(&mut self, replied: u64) {
        while self.lying.pop_front_if(|(lying, _)| *lying <= replied).is_some() {}
    }

    /// Returns where there is space for a call: as near to the beginning as can be, since the pages there were used.
    fn space(&self, length: usize) -> Option<usize> {
        let (Some((_, first)), Some((_, last))) = (self.lying.front(), self.lying.back()) else {
            return (length <= LENGTH).then_some(0);
        };
        // From one line of the cache on, copies are faster.
        let behind = last.end.next_multiple_of(64);
        if last.start < first.start {
            return (behind + length <= first.start).then_some(behind);
        }
        if length <= first.start {
            return Some(0);
        }
        (behind + length <= LENGTH).then_some(behind)
    }
}

/// How far a long payload has been written.
#[derive(Default)]
pub(in crate::process_pool) struct Parts {
    written: usize,
}

/// How many parts may have been written that the reader has not taken.
pub(in crate::process_pool) const MAX_PARTS: u64 = 2;

/// Where a payload, or a part of one, lies in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool) struct Place {
    at: usize,
    length: usize,
    /// How many bytes of the payload are in the parts that follow.
    pub(in crate::process_pool) left: usize,
}

impl Place {
    /// How long the frame is that says this.
    const WRITTEN: usize = 12;

    pub(in crate::process_pool) fn to_bytes(self) -> [u8; Self::WRITTEN] {
        let mut bytes = [0; Self::WRITTEN];
        for (bytes, number) in bytes.chunks_exact_mut(4).zip([self.at, self.length, self.left]) {
            // Payloads have less than 4 GiB.
            bytes.copy_from_slice(&(number as u32).to_le_bytes());
        }
        bytes
    }

    /// Reads a place, which may be in no region. `None`: it is none.
    pub(in crate::process_pool) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::WRITTEN] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let place = Self { at: number(0), length: number(4), left: number(8) };
        // A payload of parts without bytes would have no end.
        (place.length > 0 || place.left == 0).then_some(place)
    }

    /// Returns how long the payload is from this part on. `None`: no payload is so long.
    pub(in crate::process_pool) fn rest(self) -> Option<usize> {
        self.length.checked_add(self.left)
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
        // - the length stays (seals), and only the parent can write. It writes to a place after the worker's reply to
        //   the call there and before it sends the next one: the worker reads between these (`call`).
        let map = unsafe { MmapOptions::new().len(LENGTH).map(file) }?;
        Ok(Self { map })
    }

    /// Returns the call, or the part of one, in this place, which the parent has written, and which was not replied to.
    pub(in crate::process_pool) fn call(&self, place: Place) -> Option<&[u8]> {
        self.map.get(place.at..)?.get(..place.length)
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

    /// Appends a copy of what is in this place to those before. `None`: there is no such place.
    pub(in crate::process_pool) fn read(&self, place: Place, to: &mut Assembly) -> Option<()> {
        if place.at.checked_add(place.length)? > LENGTH {
            return None;
        }
        // Not for all that is said to follow, since the worker says that: for as much as has come, if that is more.
        let rest = place.rest()?;
        let more = to.len().clamp(place.length, rest);
        let Ok(bytes) = to.space(place.length, more, rest) else { return Some(()) };
        let end = bytes.len() + place.length;
        while bytes.len() < end {
            let lacking = end - bytes.len();
            let at = (place.at + place.length - lacking) as u64;
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
        Some(())
    }
}

/// A payload that comes through a region, as far as it has come.
pub(in crate::process_pool) struct Assembly {
    bytes: Result<Vec<u8>, NoMemory>,
}

impl Assembly {
    pub(in crate::process_pool) const fn new() -> Self {
        Self { bytes: Ok(Vec::new()) }
    }

    /// Returns how many bytes have come.
    pub(in crate::process_pool) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }

    /// Returns whether a part has come, though there may be no memory for it.
    pub(in crate::process_pool) fn is_begun(&self) -> bool {
        self.bytes.as_ref().map_or(true, |bytes| !bytes.is_empty())
    }

    /// Appends a part, after which `left` more bytes follow, as the trusted other side says.
    pub(in crate::process_pool) fn add(&mut self, part: &[u8], left: usize) {
        let rest = part.len().saturating_add(left);
        if let Ok(bytes) = self.space(part.len(), rest, rest) {
            bytes.extend_from_slice(part);
        }
    }

    /// Returns the payload, and begins with the next.
    ///
    /// # Errors
    ///
    /// There was no memory for it.
    pub(in crate::process_pool) fn take(&mut self) -> Result<Vec<u8>, NoMemory> {
        std::mem::replace(&mut self.bytes, Ok(Vec::new()))
    }

    /// Returns the bytes that are there, with space for a part of this length. If there was none, makes space for `more`.
    /// `rest`: how much comes in all.
    fn space(&mut self, part: usize, more: usize, rest: usize) -> Result<&mut Vec<u8>, NoMemory> {
        if let Ok(bytes) = &mut self.bytes {
            if bytes.is_empty() {
                *bytes = memory::take_kept(more).unwrap_or_default();
            }
            if bytes.capacity() - bytes.len() < part && !memory::reserve(bytes, more) {
                self.bytes = Err(NoMemory { bytes: bytes.len().saturating_add(rest) });
            }
        }
        match &mut self.bytes {
            Ok(bytes) => Ok(bytes),
            Err(lost) => Err(*lost),
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_worker_reads_what_the_parent_wrote_last_and_can_not_write() {
        let (parent, file) = Writable::new().expect("a region");
        let mut parent = Calls::new(parent);
        let worker = Readable::open(&file).expect("the same region");
        let copied = Copied::open(file.try_clone().expect("a descriptor")).expect("the same region");
        let mut taken = Assembly::new();
        for (id, call) in (1..).zip([vec![1; 10], vec![2; LENGTH], vec![3; 5]]) {
            let place = parent.put(id, &call, id - 1).expect("space");
            assert_eq!((Place::of_bytes(&place.to_bytes()), place.left), (Some(place), 0));
            assert!(worker.call(place) == Some(&call[..]));
            assert!(copied.read(place, &mut taken).is_some() && taken.take() == Ok(call));
        }
        assert!(parent.put(9, &vec![4; LENGTH + 1], 8).is_none());
        assert_eq!(worker.call(Place { at: 0, length: 6, left: 0 }).map(|call| call[0]), Some(3), "it changes nothing");
        for (at, length) in [(0, LENGTH + 1), (1, LENGTH), (LENGTH + 1, 0), (usize::MAX, 1)] {
            let place = Place { at, length, left: 0 };
            assert!(worker.call(place).is_none() && copied.read(place, &mut taken).is_none(), "{place:?}");
        }
        assert!(Place::of_bytes(&[0; 11]).is_none() && Place::of_bytes(&[0; 13]).is_none());
        // SAFETY:
        // - nothing is read or written by it.
        assert!(unsafe { MmapOptions::new().len(LENGTH).map_mut(&file) }.is_err());
        assert!(rustix::io::pwrite(&file, &[1], 0).is_err() && rustix::fs::ftruncate(&file, 0).is_err());
        let other = memfd::create("other").expect("memory");
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

    #[test]
    fn calls_that_lie_in_a_region_at_once_do_not_overlap() {
        const PART: usize = LENGTH / 4;
        let (memory, _file) = Writable::new().expect("a region");
        let mut calls = Calls::new(memory);
        let mut put = |id, length, replied| {
            let at = calls.put(id, &vec![0; length], replied).map(|place| place.at);
            let lie: Vec<_> = calls.lying.iter().map(|(_, place)| place.clone()).collect();
            for (number, place) in lie.iter().enumerate() {
                assert!(place.end <= LENGTH);
                assert!(lie[..number].iter().all(|other| other.end <= place.start || place.end <= other.start));
            }
            at
        };
        assert_eq!([1, 2, 3].map(|id| put(id, PART, 0)), [Some(0), Some(PART), Some(2 * PART)]);
        assert_eq!(put(4, PART + 1, 0), None, "there is no space behind, nor before");
        assert_eq!((put(4, PART, 0), put(5, PART, 0)), (Some(3 * PART), None));
        assert_eq!((put(5, PART + 1, 1), put(5, 5, 1)), (None, Some(0)), "the first one's space, no more");
        assert_eq!((put(6, PART, 1), put(6, PART, 2), put(7, PART, 2)), (None, Some(64), None));
        assert_eq!(put(7, LENGTH, 5), None);
        assert_eq!((put(7, LENGTH, 6), put(8, 1, 6), put(8, 1, 7)), (Some(0), None, Some(0)));
    }

    #[test]
    fn a_payload_in_parts_arrives_as_it_was_and_two_parts_lie_apart() {
        let (mut writer, file) = Writable::new().expect("a region");
        let reader = Readable::open(&file).expect("the same region");
        let copied = Copied::open(file).expect("the same region");
        assert!(writer.parts(&vec![0; LENGTH]).is_none(), "it has space");
        for length in [LENGTH + 1, LENGTH + PART, 2 * LENGTH + 5] {
            let payload: Vec<_> = (0..length).map(|at| (at * 31 + at / 251) as u8).collect();
            let (mut mapped, mut read) = (Assembly::new(), Assembly::new());
            let mut parts = writer.parts(&payload).expect("memory");
            let mut lying = std::iter::from_fn(|| writer.put_part(&mut parts, &payload));
            let mut behind = lying.next();
            while let Some(place) = behind {
                let next = lying.next();
                assert!(next.is_none_or(|next| next.at != place.at), "it was not taken");
                let part = reader.call(place).expect("a part");
                mapped.add(part, place.left);
                copied.read(place, &mut read).expect("a part");
                assert_eq!(mapped.len() + place.left, length);
                behind = next;
            }
            assert!(mapped.take() == Ok(payload.clone()) && read.take() == Ok(payload));
        }
    }

    #[test]
    fn a_payload_that_there_is_no_memory_for_is_an_error_when_all_of_it_has_come() {
        let mut assembly = Assembly::new();
        assembly.add(&[1; 5], isize::MAX as usize);
        assert!(assembly.is_begun(), "what follows is not taken for a whole payload");
        assembly.add(&[1; 5], 0);
        assert!(assembly.take().is_err() && !assembly.is_begun());
        assembly.add(&[1; 5], 0);
        assert_eq!(assembly.take(), Ok(vec![1; 5]));
    }
}
