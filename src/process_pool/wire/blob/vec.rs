//! A slice in sealed memory.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::bytes::{Blob, BlobMut};
use super::seal_error::SealError;

/// The alignment that memory has on every processor: that of the smallest page.
const ALIGNMENT: usize = 4096;

/// Compiles for types that can lie in a blob.
///
/// ```
/// #[derive(Clone, Copy)]
/// #[repr(C, align(4096))]
/// struct Page([u8; 4096]);
/// // SAFETY:
/// // - it is bytes, without padding.
/// unsafe impl bytemuck::Zeroable for Page {}
/// // SAFETY:
/// // - as above.
/// unsafe impl bytemuck::Pod for Page {}
/// let pages = bowline::process_pool::SharedVecMut::<Page>::new(2);
/// assert!(pages.is_err() || pages.is_ok_and(|pages| pages.len() == 2));
/// ```
///
/// And not for those whose alignment is that of more than a page:
///
/// ```compile_fail,E0080
/// #[derive(Clone, Copy)]
/// #[repr(C, align(8192))]
/// struct Pages([u8; 8192]);
/// // SAFETY:
/// // - it is bytes, without padding.
/// unsafe impl bytemuck::Zeroable for Pages {}
/// // SAFETY:
/// // - as above.
/// unsafe impl bytemuck::Pod for Pages {}
/// let pages = bowline::process_pool::SharedVecMut::<Pages>::new(2);
/// ```
const fn fits<T>() {
    assert!(align_of::<T>() <= ALIGNMENT, "the alignment of a `SharedVec`'s elements is at most 4096");
    assert!(size_of::<T>() > 0, "the elements of a `SharedVec` have a size");
}

/// An immutable slice of plain data in a [`Blob`].
///
/// A `SharedVec<f64>` goes to a worker and back as a blob does: all that is said there holds. The elements are types of
/// which all bytes are values ([`bytemuck::Pod`](https://docs.rs/bytemuck/1/bytemuck/trait.Pod.html): integers, floats,
/// arrays of them, structs that derive it), have a size, and are aligned to at most 4096 bytes.
///
/// [`from_slice`](Self::from_slice) copies. To make the elements in place, write to a [`SharedVecMut`] and
/// [`seal`](SharedVecMut::seal) it.
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
/// use bowline::process_pool::{SharedVec, SharedVecMut};
///
/// /// Runs in a worker.
/// fn scaled(by: f64, from: SharedVec<f64>) -> SharedVec<f64> {
///     let mut to = SharedVecMut::new(from.len()).expect("memory");
///     to.iter_mut().zip(&*from).for_each(|(to, from)| *to = by * from);
///     to.seal().expect("sealed memory")
/// }
///
/// # #[cfg(all(target_os = "linux", not(bowline_portable)))] {
/// let pool = ProcessPoolExecutor::new(2)?;
/// let samples = SharedVec::from_slice(&[1.0, 2.0, 3.0])?;
/// let tasks = [10.0, 100.0].map(|by| pool.submit(scaled, (by, samples.clone())));
/// let [tens, hundreds] = tasks.map(|task| task.result().expect("samples"));
/// assert_eq!((tens[2], hundreds[2]), (30.0, 300.0));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedVec<T> {
    /// As long as a whole number of elements.
    blob: Blob,
    elements: PhantomData<T>,
}

impl<T: Pod> SharedVec<T> {
    /// Makes a vector with a copy of these elements.
    ///
    /// # Errors
    ///
    /// As [`Blob::from_bytes`].
    pub fn from_slice(elements: &[T]) -> io::Result<Self> {
        const { fits::<T>() };
        Blob::from_bytes(bytemuck::cast_slice(elements)).map(|blob| Self { blob, elements: PhantomData })
    }

    /// Makes a vector of the bytes of a blob, without a copy.
    ///
    /// # Errors
    ///
    /// The blob's length is not that of a whole number of elements. The blob comes back.
    pub fn from_blob(blob: Blob) -> Result<Self, Blob> {
        const { fits::<T>() };
        if blob.len().is_multiple_of(size_of::<T>()) { Ok(Self { blob, elements: PhantomData }) } else { Err(blob) }
    }

    /// Returns the bytes of all elements, without a copy.
    pub fn into_blob(self) -> Blob {
        self.blob
    }
}

impl<T> Clone for SharedVec<T> {
    /// Returns another handle of the same memory.
    fn clone(&self) -> Self {
        Self { blob: self.blob.clone(), elements: PhantomData }
    }
}

impl<T: Pod> Deref for SharedVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // Without memory there is nothing that is aligned.
        if self.blob.is_empty() { &[] } else { bytemuck::cast_slice(&self.blob) }
    }
}

impl<T: Pod> AsRef<[T]> for SharedVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod + PartialEq> PartialEq for SharedVec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for SharedVec<T> {}

/// Its length, and not its elements.
impl<T: Pod> fmt::Debug for SharedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedVec").field("len", &self.len()).finish()
    }
}

/// For the codec between processes. Everywhere else an error.
impl<T: Pod> Serialize for SharedVec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.blob.serialize(serializer)
    }
}

/// For the codec between processes. Everywhere else an error.
impl<'de, T: Pod> Deserialize<'de> for SharedVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = |blob: Blob| {
            de::Error::custom(format_args!(
                "a blob of {} bytes is no whole number of elements of {} bytes",
                blob.len(),
                size_of::<T>()
            ))
        };
        Self::from_blob(Blob::deserialize(deserializer)?).map_err(refused)
    }
}

/// Elements that become a [`SharedVec`] when all of them are written.
///
/// It has its memory from the beginning, all zero, as a [`BlobMut`] has.
pub struct SharedVecMut<T> {
    /// As long as a whole number of elements.
    blob: BlobMut,
    elements: PhantomData<T>,
}

impl<T: Pod> SharedVecMut<T> {
    /// Makes this many elements, whose bytes are zero.
    ///
    /// # Errors
    ///
    /// As [`Blob::from_bytes`], or they have more bytes than there are addresses.
    pub fn new(len: usize) -> io::Result<Self> {
        const { fits::<T>() };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        BlobMut::new(bytes).map(|blob| Self { blob, elements: PhantomData })
    }

    /// Makes a vector of it that can be sent, without a copy.
    ///
    /// # Errors
    ///
    /// As [`BlobMut::seal`].
    pub fn seal(self) -> Result<SharedVec<T>, SealError<Self>> {
        let again = |blob| Self { blob, elements: PhantomData };
        self.blob.seal().map(|blob| SharedVec { blob, elements: PhantomData }).map_err(|error| error.map(again))
    }
}

impl<T: Pod> Deref for SharedVecMut<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        if self.blob.is_empty() { &[] } else { bytemuck::cast_slice(&self.blob) }
    }
}

impl<T: Pod> DerefMut for SharedVecMut<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        if self.blob.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(&mut self.blob) }
    }
}

/// Its length, and not its elements.
impl<T: Pod> fmt::Debug for SharedVecMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedVecMut").field("len", &self.len()).finish()
    }
}
