//! Memory that could not be sealed.

use std::error::Error;
use std::fmt;
use std::io;

/// Bytes or elements that could not be sealed, with the reason: the error of [`BlobMut::seal`](super::BlobMut::seal) and
/// [`SharedVecMut::seal`](super::SharedVecMut::seal).
///
/// What was written is not lost: [`into_inner`](Self::into_inner) gives it back, to be sealed later or used otherwise.
/// Where that is not wanted, `?` makes an [`io::Error`] of it.
///
/// # Examples
///
/// ```
/// # #[cfg(all(target_os = "linux", not(bowline_portable)))] {
/// use bowline::process_pool::{Blob, BlobMut};
///
/// fn make() -> std::io::Result<Blob> {
///     let mut squares = BlobMut::new(10)?;
///     (0..).zip(&mut *squares).for_each(|(n, square)| *square = n * n);
///     match squares.seal() {
///         Ok(squares) => Ok(squares),
///         // The kernel writes to this memory still, for another part of the program: a copy is another memory.
///         Err(error) => Blob::from_bytes(&error.into_inner()?),
///     }
/// }
///
/// assert_eq!(make()?[9], 81);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SealError<B> {
    error: io::Error,
    buffer: io::Result<B>,
}

impl<B> SealError<B> {
    pub(super) fn new(error: io::Error, buffer: io::Result<B>) -> Self {
        Self { error, buffer }
    }

    pub(super) fn map<C>(self, f: impl FnOnce(B) -> C) -> SealError<C> {
        SealError { error: self.error, buffer: self.buffer.map(f) }
    }

    /// Returns why it could not be sealed. The kind [`ResourceBusy`](io::ErrorKind::ResourceBusy): something else can
    /// write to the memory still. That may pass.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns what could not be sealed, as it was, perhaps at another address.
    ///
    /// # Errors
    ///
    /// It is gone: there was no address space to map the memory again, which has to be unmapped to be sealed; or the
    /// memory was sealed, and could not be mapped afterwards.
    pub fn into_inner(self) -> io::Result<B> {
        self.buffer
    }
}

/// The reason. What could not be sealed is dropped.
impl<B> From<SealError<B>> for io::Error {
    fn from(error: SealError<B>) -> Self {
        error.error
    }
}

impl<B> fmt::Debug for SealError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<B> fmt::Display for SealError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<B> Error for SealError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
