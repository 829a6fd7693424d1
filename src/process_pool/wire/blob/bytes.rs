//! Bytes in sealed memory.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

use super::attachments::{NAME, give, take_passed};
use super::memory::{Sealed, Unsealed};
use super::seal_error::SealError;

/// What is wrong with a blob that is written or read by another format.
const WRONG_WAY: &str = "a `Blob` or `SharedVec` can be sent to or from a worker only, as or in an argument or a \
                         result, and not inside of `Json`";

/// Immutable bytes in memory of their own, which goes to a worker and back without a copy.
///
/// As an argument of a process pool's task, in one, or in a result, a blob is sent as a descriptor of its memory. The
/// other process maps that memory and reads it where it lies. A gigabyte is sent as fast as a byte, and does not count
/// towards [`max_message_size`](crate::process_pool::ProcessPoolBuilder::max_message_size). One blob can go to many
/// workers, and all of them share its memory.
///
/// The memory is sealed: no process can change it any more, and the receiver checks seals and length before it maps the
/// memory. It has no name, and is freed with the last process that has it, however that ends. A worker keeps up to 32 MiB of the last
/// blobs mapped, until it has had nothing to do for a second: one that comes again causes no page faults. (One that was sent back
/// meanwhile may.)
///
/// [`from_bytes`](Self::from_bytes) copies. To make the bytes in place, write to a [`BlobMut`] and
/// [`seal`](BlobMut::seal) it; for other types than bytes there is [`SharedVec`](crate::process_pool::SharedVec).
///
/// # Costs
///
/// A blob takes a descriptor in each process that has it, and whole pages of memory. To make one takes some ten system
/// calls, to receive one six to eight, and each new page causes a page fault. So bytes that go once to one worker are faster as bytes
/// (a `serde_bytes::ByteBuf`) up to some 16 MiB; a blob is faster from 64 MiB on, or from 64 KiB on if it is sent again. A clone takes none of these. At
/// most 253 blobs go with one call or result, of which the same blob and its clones are one; more are an error of the task
/// ([`Encode`](crate::TaskError::Encode)).
///
/// # Descriptors
///
/// A process may have a limited number of descriptors (`RLIMIT_NOFILE`, `ulimit -n`; often 1024). A blob has one from
/// when it is made, or arrives, until it and all of its clones are dropped. One that a worker sends back is another blob
/// than the one that was sent. In the process that has the pool,
///
/// - the blobs of a call are the pool's, too, until its task is done. A task that is cancelled in the queue, between
///   others, may keep them until these have begun. Those of an initializer are the pool's as long as it is there;
/// - the blobs of a result are there when it arrives, whether anybody reads it or not. A future that is kept with a result
///   that nobody has taken has one descriptor for each blob of the result. Whoever takes the result takes them; with the
///   future they are closed.
///
/// So take the results of many tasks as they come, as with [`as_completed`](crate::as_completed), and drop or copy what is
/// in them. Where a process can have no more descriptors, a task whose blobs do not arrive fails with
/// [`TaskError::Decode`](crate::TaskError::Decode), and others go on. The same happens while too many
/// descriptors of one user are on their way between processes: at once to a call, and after a second to a result, whose
/// error is [`TaskError::Encode`](crate::TaskError::Encode).
///
/// # Limits
///
/// On Linux; elsewhere making one is an error. Any other serializer or deserializer than a pool's is refused, those of
/// [`Json`](crate::process_pool::Json) included. A sealed blob can't be written to again: copy it into a [`BlobMut`].
///
/// # Examples
///
/// ```
/// use bowline::process_pool::{Blob, BlobMut};
/// use bowline::ProcessPoolExecutor;
///
/// /// Runs in a worker: reads one blob, and makes another one in place.
/// fn invert(image: Blob) -> std::io::Result<Blob> {
///     let mut inverted = BlobMut::new(image.len())?;
///     inverted.iter_mut().zip(&*image).for_each(|(to, from)| *to = !from);
///     Ok(inverted.seal()?)
/// }
///
/// # #[cfg(all(target_os = "linux", not(bowline_portable)))] {
/// let pool = ProcessPoolExecutor::new(1)?;
/// let image = Blob::from_bytes(&vec![1; 16 << 20])?;
/// let inverted = pool.submit(|image: Blob| invert(image).expect("memory"), (image.clone(),)).result()?;
/// assert_eq!(inverted[0], !image[0]);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Blob {
    memory: Arc<Sealed>,
}

impl Blob {
    /// Makes a blob with a copy of these bytes.
    ///
    /// # Errors
    ///
    /// There is no memory, no descriptor, or a limit of the process is reached (`RLIMIT_FSIZE`, `RLIMIT_AS`,
    /// `RLIMIT_DATA`); the kernel has no sealed memory; or this system is not Linux.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        Sealed::from_bytes(bytes).map(Self::of)
    }

    pub(super) fn of(memory: Sealed) -> Self {
        Self { memory: Arc::new(memory) }
    }

    /// Returns the descriptor by which the blob is sent.
    #[cfg(all(target_os = "linux", not(bowline_portable)))]
    pub(in crate::process_pool) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.memory.descriptor()
    }

    /// Returns whether both are the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }
}

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || **self == **other
    }
}

impl Eq for Blob {}

/// Its length, and not its bytes.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob").field("len", &self.len()).finish()
    }
}

/// For the codec between processes. Everywhere else an error.
impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(NAME, &Inner(self))
    }
}

/// What a serializer finds in a blob: nothing, unless it is the codec's, which has asked for the blob.
struct Inner<'b>(&'b Blob);

impl Serialize for Inner<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if give(self.0) { serializer.serialize_unit() } else { Err(ser::Error::custom(WRONG_WAY)) }
    }
}

/// For the codec between processes. Everywhere else an error.
impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Passed;

        impl<'de> Visitor<'de> for Passed {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a blob, which came with a call or a result")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Blob, E> {
                take_passed().ok_or_else(|| E::custom(WRONG_WAY))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Blob, D::Error> {
                Err(de::Error::custom(WRONG_WAY))
            }
        }

        deserializer.deserialize_newtype_struct(NAME, Passed)
    }
}

/// Bytes that become a [`Blob`] when all of them are written.
///
/// It has its memory from the beginning, all zero: no write to it lacks memory. A process that is forked off this one does
/// not have that memory.
///
/// # Examples
///
/// ```
/// # #[cfg(all(target_os = "linux", not(bowline_portable)))] {
/// use bowline::process_pool::BlobMut;
///
/// let mut squares = BlobMut::new(10)?;
/// (0..).zip(&mut *squares).for_each(|(n, square)| *square = n * n);
/// let squares = squares.seal()?;
/// assert_eq!(squares[9], 81);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct BlobMut {
    memory: Unsealed,
}

impl BlobMut {
    /// Makes this many bytes, all zero.
    ///
    /// It takes all of its memory at once, after it has asked the system whether there is so much and whether the limits of the
    /// process allow it: a length that they do not allow takes no memory.
    ///
    /// # Errors
    ///
    /// As [`Blob::from_bytes`].
    pub fn new(len: usize) -> io::Result<Self> {
        Unsealed::new(len).map(|memory| Self { memory })
    }

    /// Makes a blob of it, without a copy.
    ///
    /// # Errors
    ///
    /// Something else can write to this memory still (the kernel, for a read from a device that is under way; code that
    /// has mapped it, too), or there is no address space for the blob. The bytes [come back](SealError::into_inner).
    pub fn seal(self) -> Result<Blob, SealError<Self>> {
        self.memory.seal().map(Blob::of).map_err(|error| error.map(|memory| Self { memory }))
    }
}

impl Deref for BlobMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for BlobMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

/// Its length, and not its bytes.
impl fmt::Debug for BlobMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobMut").field("len", &self.len()).finish()
    }
}
