//! Errors of encoding and decoding.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a value could not be encoded for another process, or not decoded there.
///
/// Its text names the type of the value, and says what to do if the type writes what it can't read. Cheap to clone.
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::{ProcessPoolExecutor, TaskError};
/// use serde_json::{Value, json};
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let future = pool.submit(|settings: Value| settings.is_object(), (json!({ "depth": 3 }),));
/// let error = future.result().unwrap_err();
/// let (TaskError::Encode(error) | TaskError::Decode(error)) = error else { panic!("{error}") };
/// assert!(error.to_string().contains("`bowline::Json`")); // what to do about it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
