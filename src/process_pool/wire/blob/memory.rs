//! Memory that nobody can change any more, whoever has its descriptor.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{FallocateFlags, SealFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::kept::{self, Identity};
use super::seal_error::SealError;
use crate::primitive::without_write_signals;
use crate::process_pool::wire::memfd;
use crate::process_pool::wire::memory::is_there;
use crate::process_pool::wire::own_map::OwnMap;

/// A descriptor that came from another process.
pub(in crate::process_pool) type Descriptor = OwnedFd;

/// With these nobody can write to the memory, change its length, or add or remove a seal.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// With these nobody can change the length of the memory.
const LENGTH_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// What `fstatfs` calls memory with pages of the usual size.
const TMPFS: u32 = 0x0102_1994;

/// How many bytes of memory are requested at once: a signal interrupts the request, and what it got is lost.
const STEP: u64 = 4 << 20;

/// Makes memory that has this length for ever. The pages come with the first write.
fn memory(bytes: usize) -> io::Result<OwnedFd> {
    let file = memfd::create("bowline-blob")?;
    memfd::set_length(&file, bytes, &format!("a blob of {bytes} bytes"))?;
    // Any process of this user can open the memory by its place in `/proc`: from now on it can't shorten what this
    // process maps, and pages behind the end are refused, too.
    rustix::fs::fcntl_add_seals(&file, LENGTH_SEALS)?;
    if u64::try_from(rustix::fs::fstat(&file)?.st_size) != Ok(bytes as u64) {
        return Err(io::Error::other("something else has changed the length of a blob's memory"));
    }
    Ok(file)
}

/// Gives the memory all [`SEALS`], unless something can write to it.
fn seal(file: &OwnedFd) -> io::Result<()> {
    rustix::fs::fcntl_add_seals(file, SEALS).map_err(|error| match error {
        Errno::BUSY => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the memory of a blob can't be sealed: something of the system still writes to it",
        ),
        error => error.into(),
    })
}

/// Memory of a fixed length that this process alone writes to.
pub(super) struct Unsealed {
    file: OwnedFd,
    /// `None`: it is empty.
    map: Option<OwnMap>,
}

impl Unsealed {
    /// Makes memory, all zero. All of it is there: no later write lacks memory.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let file = memory(bytes)?;
        // Nobody limits what the pages of a file take. So ask first, as for memory of this process, and then for the
        // addresses: neither takes a page.
        if bytes as u64 > STEP && !is_there(bytes) {
            let text = format!("there is no memory for a blob of {bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
        }
        // SAFETY:
        // - the memory was just made, with this length for ever, and has no name.
        let unsealed = unsafe { Self::map(file, bytes) }?;
        unsealed.allocate(bytes)?;
        Ok(unsealed)
    }

    /// Gets all pages of the memory, which has this length.
    fn allocate(&self, bytes: usize) -> io::Result<()> {
        let end = bytes as u64;
        for start in (0..end).step_by(STEP as usize) {
            let step = STEP.min(end - start);
            let request = || rustix::fs::fallocate(&self.file, FallocateFlags::empty(), start, step);
            without_write_signals(|| retry_on_intr(request))?;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// The memory has this length, [`LENGTH_SEALS`] and no name, it is not mapped, and nobody else was given its
    /// descriptor.
    unsafe fn map(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self { file, map: None });
        }
        // SAFETY:
        // - only this mapping changes the memory. It has this length, and the seals keep everybody from shortening it
        //   (caller).
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file) }?;
        // A process that is forked off this one, on its way to another program for example, would have a mapping that
        // can be written to: the memory could not be sealed meanwhile.
        Ok(Self { file, map: Some(OwnMap::new(map)?) })
    }

    /// Ends all writing to the memory. If it can't be sealed it is mapped again, and comes back.
    pub(super) fn seal(self) -> Result<Sealed, SealError<Self>> {
        if self.map.as_ref().is_some_and(OwnMap::is_elsewhere) {
            let text = "a process that is forked off another one does not have its unsealed memory";
            return Err(SealError::new(io::Error::other(text), Ok(self)));
        }
        let Self { file, map } = self;
        let bytes = map.as_ref().map_or(0, |map| map.bytes().len());
        // The kernel refuses the seal as long as there is a mapping that can be written to.
        drop(map);
        if let Err(error) = seal(&file) {
            // SAFETY:
            // - it was mapped with this length as memory of this process alone, is not mapped any more, and can still be
            //   written to. It has the seals that it was made with.
            return Err(SealError::new(error, unsafe { Self::map(file, bytes) }));
        }
        // SAFETY:
        // - the memory was just sealed, and has this length.
        unsafe { Sealed::map(file, bytes) }.map_err(|error| {
            let gone = io::Error::new(error.kind(), format!("the memory is sealed, and can't be mapped: {error}"));
            SealError::new(error, Err(gone))
        })
    }
}

impl Deref for Unsealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_ref().map(OwnMap::bytes).unwrap_or_default()
    }
}

impl DerefMut for Unsealed {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_mut().map(OwnMap::bytes_mut).unwrap_or_default()
    }
}

/// Memory that nobody can write to: a descriptor with all [`SEALS`], and its mapping.
pub(super) struct Sealed {
    file: OwnedFd,
    /// `None`: it is empty.
    map: Option<Mmap>,
    /// Of memory that came from another process: the mapping may be kept for the next time.
    identity: Option<Identity>,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if let (Some(identity), Some(map)) = (self.identity, self.map.take()) {
            kept::keep(identity, map);
        }
    }
}

impl Sealed {
    /// Makes sealed memory with a copy of these bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let file = memory(bytes.len())?;
        let mut rest = bytes;
        // A write fills pages that were not there faster than a copy into a mapping, which the kernel clears first.
        while !rest.is_empty() {
            let written = without_write_signals(|| retry_on_intr(|| rustix::io::write(&file, rest)))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        seal(&file)?;
        // SAFETY:
        // - the memory was just sealed, and has this length (`memory`).
        unsafe { Self::map(file, bytes.len()) }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Maps memory that a worker sent and says to have this length.
    pub(super) fn open(file: Descriptor, bytes: u64) -> Result<Self, Refusal> {
        let (_, length) = check(&file, bytes)?;
        // Pages behind the end would count for those that are missing before it. To cut memory off where it ends frees
        // them, and changes nothing else: the seals do not refuse it, and refuse new ones.
        rustix::fs::ftruncate(&file, bytes).map_err(Refusal::System)?;
        let stat = rustix::fs::fstat(&file).map_err(Refusal::System)?;
        let pages = pages(&stat, length)?;
        let sealed = Self::open_checked(file, &stat, length)?;
        if pages.is_gt() {
            // The last page is a large one, which can't be cut: what is missing before it does not show.
            sealed.populate().map_err(Refusal::Incomplete)?;
        }
        Ok(sealed)
    }

    /// Maps memory that the parent sent and says to have this length. The parent has checked it, or made it.
    pub(super) fn open_of_parent(file: Descriptor, bytes: u64) -> Result<Self, Refusal> {
        let (stat, length) = check(&file, bytes)?;
        pages(&stat, length)?;
        Self::open_checked(file, &stat, length)
    }

    /// Maps memory with all [`SEALS`] and of this length, or takes the mapping that was kept of it.
    fn open_checked(file: Descriptor, stat: &Stat, bytes: usize) -> Result<Self, Refusal> {
        let identity = Identity::of(stat);
        if let Some(map) = kept::take(identity) {
            return Ok(Self { file, map: Some(map), identity: Some(identity) });
        }
        // SAFETY:
        // - the kernel says that the memory is sealed and of this length (`check`); both are for ever.
        let mut sealed = unsafe { Self::map(file, bytes) }.map_err(Refusal::Map)?;
        sealed.identity = Some(identity);
        Ok(sealed)
    }

    /// Gets all pages of the memory. No later look at it lacks memory.
    fn populate(&self) -> io::Result<()> {
        self.map.as_ref().map_or(Ok(()), |map| map.advise(Advice::PopulateRead))
    }

    /// # Safety
    ///
    /// The memory has this length and all [`SEALS`].
    unsafe fn map(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self { file, map: None, identity: None });
        }
        let mut options = MmapOptions::new();
        options.len(bytes);
        // SAFETY:
        // - the seals keep every process from writing to the memory and from changing its length (caller): the slice
        //   that this lends never changes, and no page behind it goes away.
        let map = match unsafe { options.map(&file) } {
            // Before Linux 6.7 sealed memory can't be mapped as shared, not even to be read.
            // SAFETY:
            // - as above. The mapping shows the same pages: nobody writes to it.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => unsafe {
                options.map_copy_read_only(&file)
            },
            mapped => mapped,
        };
        Ok(Self { map: Some(map?), file, identity: None })
    }
}

impl Deref for Sealed {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// Checks that this is memory with all [`SEALS`] and of this length. Returns what the kernel says of it, and the length.
fn check(file: &Descriptor, bytes: u64) -> Result<(Stat, usize), Refusal> {
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| Refusal::NoMemory)?;
    if !seals.contains(SEALS) {
        return Err(Refusal::NotSealed);
    }
    // A mapping of huge pages would follow other rules.
    let system = rustix::fs::fstatfs(file).map_err(Refusal::System)?;
    if u32::try_from(system.f_type) != Ok(TMPFS) {
        return Err(Refusal::NoMemory);
    }
    let stat = rustix::fs::fstat(file).map_err(Refusal::System)?;
    let size = stat.st_size;
    let is_right = u64::try_from(size) == Ok(bytes);
    let bytes = usize::try_from(bytes).ok().filter(|_| is_right).ok_or(Refusal::Length { size, said: bytes })?;
    Ok((stat, bytes))
}

/// Compares the pages that memory of this length has with those that it takes.
///
/// # Errors
///
/// Some are missing: a look at one would make it, at the expense of this process, or be a signal.
fn pages(stat: &Stat, length: usize) -> Result<Ordering, Refusal> {
    // The kernel counts blocks of 512 bytes, and all blocks of a page.
    let taken = i128::from(stat.st_blocks) * 512;
    let compared = taken.cmp(&(length.next_multiple_of(rustix::param::page_size()) as i128));
    if compared.is_lt() { Err(Refusal::Holes) } else { Ok(compared) }
}

/// Why a descriptor of another process is not taken for sealed memory.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is something else.
    NoMemory,
    NotSealed,
    /// Parts of it were never written.
    Holes,
    /// Parts of it may be missing, and there is no memory for them, or the kernel can't get them.
    Incomplete(io::Error),
    Length {
        size: i64,
        said: u64,
    },
    System(Errno),
    Map(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("what came as a blob is not sealed memory"),
            Self::NotSealed => f.write_str("what came as a blob is memory without all its seals: it could change"),
            Self::Holes => f.write_str("what came as a blob is memory of which parts were never written"),
            Self::Incomplete(error) => {
                write!(f, "what came as a blob is memory of which parts may be missing, and can't be had: {error}")
            }
            Self::Length { size, said } => {
                write!(f, "a blob came with {size} bytes, and {said} were announced")
            }
            Self::System(error) => write!(f, "the memory of a blob can't be looked at: {error}"),
            Self::Map(error) => write!(f, "the memory of a blob can't be mapped: {error}"),
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    /// Memory without seals.
    fn bare(length: usize) -> OwnedFd {
        let file = memfd::create("test").expect("memory");
        memfd::set_length(&file, length, "a test").expect("a length");
        file
    }

    fn sealed(bytes: &[u8], seals: SealFlags) -> OwnedFd {
        let file = bare(bytes.len());
        assert_eq!(rustix::io::write(&file, bytes), Ok(bytes.len()));
        rustix::fs::fcntl_add_seals(&file, seals).expect("seals");
        file
    }

    #[test]
    fn what_is_not_sealed_memory_of_the_announced_length_is_refused() {
        let null = std::fs::File::open("/dev/null").expect("a file").into();
        assert!(matches!(Sealed::open(null, 0), Err(Refusal::NoMemory)));
        for missing in [SealFlags::WRITE, SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL] {
            let refused = Sealed::open(sealed(b"four", SEALS - missing), 4);
            assert!(matches!(refused, Err(Refusal::NotSealed)), "without {missing:?}");
        }
        for said in [0, 3, 5, 4096, u64::MAX] {
            let refused = Sealed::open(sealed(b"four", SEALS), said);
            assert!(matches!(refused, Err(Refusal::Length { size: 4, .. })), "{said} bytes");
        }
        assert_eq!(&*Sealed::open(sealed(b"four", SEALS), 4).expect("sealed memory"), b"four");
        assert_eq!(&*Sealed::open(sealed(b"", SEALS), 0).expect("sealed memory"), b"");
    }

    #[test]
    fn memory_with_huge_pages_is_refused() {
        use rustix::fs::MemfdFlags;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // Where the kernel has none there is nothing to refuse.
        let Ok(file) = rustix::fs::memfd_create("huge", flags) else { return };
        rustix::fs::fcntl_add_seals(&file, SEALS).expect("seals");
        assert!(matches!(Sealed::open(file, 0), Err(Refusal::NoMemory)));
    }

    #[test]
    fn memory_that_is_still_mapped_to_be_written_to_is_not_sealed() {
        let mut unsealed = Unsealed::new(5000).expect("memory");
        unsealed[4999] = 7;
        let copy = unsealed.file.try_clone().expect("a descriptor");
        // SAFETY:
        // - nothing is read or written by it.
        let other = unsafe { MmapOptions::new().len(1).map_mut(&copy) }.expect("a mapping");
        for _ in 0..3 {
            let error = unsealed.seal().err().expect("it can be written to");
            assert_eq!(error.error().kind(), io::ErrorKind::ResourceBusy);
            unsealed = error.into_inner().expect("the same memory");
            assert_eq!((unsealed.len(), unsealed[4999]), (5000, 7));
        }
        drop(other);
        unsealed[0] = 8;
        let sealed = unsealed.seal().expect("nobody else can write to it any more");
        assert_eq!((sealed.len(), sealed[0], sealed[4999]), (5000, 8, 7));
    }

    #[test]
    fn sealed_memory_has_all_seals_and_can_be_written_to_by_no_means() {
        let mut unsealed = Unsealed::new(5000).expect("memory");
        assert!(unsealed.iter().all(|&byte| byte == 0));
        unsealed.fill(7);
        let made = unsealed.seal().expect("sealed memory");
        for sealed in [made, Sealed::from_bytes(&[7; 5000]).expect("sealed memory")] {
            assert_eq!(rustix::fs::fcntl_get_seals(&sealed.file).map(|seals| seals.contains(SEALS)), Ok(true));
            assert_eq!(rustix::io::pwrite(&sealed.file, &[1], 0), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(&sealed.file, 1), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(&sealed.file, 9000), Err(Errno::PERM));
            // SAFETY:
            // - nothing is read or written by it.
            assert!(unsafe { MmapOptions::new().len(5000).map_mut(&sealed.file) }.is_err());
            assert_eq!(*sealed, [7; 5000]);
        }
    }

    #[test]
    fn memory_that_was_not_written_is_refused() {
        let file = bare(1 << 20);
        rustix::io::pwrite(&file, b"some", 4096).expect("written");
        rustix::fs::fcntl_add_seals(&file, SEALS).expect("seals");
        assert!(matches!(Sealed::open(file, 1 << 20), Err(Refusal::Holes)));
    }

    #[test]
    fn memory_with_pages_behind_its_end_in_place_of_missing_ones_is_refused() {
        const LENGTH: usize = (1 << 20) + 5;
        const FLAGS: FallocateFlags = FallocateFlags::KEEP_SIZE;
        for first in [0, 4096, 1 << 20] {
            let file = bare(LENGTH);
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, LENGTH as u64).expect("memory");
            rustix::fs::fallocate(&file, FLAGS | FallocateFlags::PUNCH_HOLE, first, 8192).expect("a hole");
            rustix::fs::fallocate(&file, FLAGS, 2 << 20, 1 << 20).expect("memory");
            rustix::fs::fcntl_add_seals(&file, SEALS).expect("seals");
            assert!(matches!(Sealed::open(file, LENGTH as u64), Err(Refusal::Holes)), "a hole at {first}");
        }
        // Without a hole they do no harm, and are freed.
        let file = bare(LENGTH);
        assert_eq!(rustix::io::pwrite(&file, &[7; LENGTH], 0), Ok(LENGTH));
        rustix::fs::fallocate(&file, FLAGS, 2 << 20, 1 << 20).expect("memory");
        rustix::fs::fcntl_add_seals(&file, SEALS).expect("seals");
        let sealed = Sealed::open(file, LENGTH as u64).expect("sealed memory");
        assert_eq!(*sealed, [7; LENGTH]);
        let stat = rustix::fs::fstat(&sealed.file).expect("memory");
        assert!(pages(&stat, LENGTH).is_ok_and(Ordering::is_eq));
    }

    #[test]
    fn memory_that_is_populated_has_all_its_pages() {
        const LENGTH: usize = (1 << 20) + 5;
        let file = bare(LENGTH);
        rustix::fs::fcntl_add_seals(&file, SEALS).expect("seals");
        // SAFETY:
        // - the memory was just sealed, and has this length.
        let sealed = unsafe { Sealed::map(file, LENGTH) }.expect("memory");
        let pages = |sealed: &Sealed| pages(&rustix::fs::fstat(&sealed.file).expect("memory"), LENGTH);
        assert!(matches!(pages(&sealed), Err(Refusal::Holes)));
        match sealed.populate() {
            Ok(()) => assert!(pages(&sealed).is_ok()),
            // Before Linux 5.14.
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error())),
        }
    }

    #[test]
    fn the_length_of_memory_is_fixed_before_it_is_sealed() {
        let mut unsealed = Unsealed::new(5000).expect("memory");
        unsealed.fill(7);
        for length in [0, 1, 4096, 5001, 9000] {
            assert_eq!(rustix::fs::ftruncate(&unsealed.file, length), Err(Errno::PERM));
        }
        let behind = rustix::fs::fallocate(&unsealed.file, FallocateFlags::KEEP_SIZE, 8192, 4096);
        assert_eq!(behind, Err(Errno::PERM));
        assert_eq!(*unsealed.seal().expect("sealed memory"), [7; 5000]);
    }

    #[test]
    fn more_memory_than_the_system_has_is_refused_before_any_is_taken() {
        let promises = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").expect("Linux");
        // Where the system is told to promise everything it can't be asked.
        if promises.trim() != "1"
            && let Some(much) = 1_usize.checked_shl(44)
        {
            let error = Unsealed::new(much).err().expect("16 TiB are too much");
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }

    #[test]
    fn a_fork_leaves_what_takes_the_place_of_unsealed_memory_alone() {
        const LENGTH: usize = 1 << 16;
        let unsealed = Unsealed::new(LENGTH).expect("memory");
        let place = unsealed.as_ptr().cast_mut().cast::<libc::c_void>();
        // SAFETY:
        // - the process that is forked off calls what may be called there, but for the panic that it catches.
        let fork = unsafe { libc::fork() };
        if fork == 0 {
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY:
            // - the flag refuses a place that is taken.
            let taken = unsafe { libc::mmap(place, LENGTH, access, flags | libc::MAP_FIXED_NOREPLACE, -1, 0) };
            // SAFETY:
            // - it was just mapped, in the place of the memory that is not there.
            unsafe { taken.cast::<u8>().write(7) };
            let is_refused = unsealed.seal().is_err();
            // SAFETY:
            // - as above: sealing has dropped the memory, and this is still there.
            let is_there = unsafe { taken.cast::<u8>().read() } == 7;
            // SAFETY:
            // - it may be called after a fork.
            unsafe { libc::_exit(i32::from(!(taken == place && is_refused && is_there))) };
        }
        let mut status = 0;
        // SAFETY:
        // - the process is this one's child, and was not waited for.
        unsafe { libc::waitpid(fork, &raw mut status, 0) };
        assert_eq!(status, 0, "it did not end by itself, or saw something else");
        drop(unsealed);
    }

    #[test]
    fn a_fork_on_its_way_to_another_program_does_not_keep_memory_from_being_sealed() {
        let unsealed = Unsealed::new(1).expect("memory");
        // SAFETY:
        // - the process that is forked off only waits for its end.
        let fork = unsafe { libc::fork() };
        if fork == 0 {
            // SAFETY:
            // - it may be called after a fork.
            unsafe { libc::pause() };
        }
        let sealed = unsealed.seal();
        // SAFETY:
        // - the process is this one's child, and was not waited for.
        unsafe {
            libc::kill(fork, libc::SIGKILL);
            libc::waitpid(fork, std::ptr::null_mut(), 0);
        }
        sealed.expect("sealed memory");
    }
}
