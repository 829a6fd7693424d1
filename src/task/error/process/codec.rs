//! Errors of encoding and decoding.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a value could not be encoded for another process, or not decoded there.
///
/// Its text names the type of the value, and says what to do if the type writes what it can't read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CodecError {
    message: Arc<str>,
}

impl CodecError {
    /// Makes an error with this text: for example one from another process.
    pub(crate) fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CodecError {}
