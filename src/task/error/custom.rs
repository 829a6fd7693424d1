//! An error of the program's own.

use std::error::Error;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::task::panic;

/// An error of the program's own, with which a promise was completed: see
/// [`Promise::set_error`](crate::Promise::set_error).
///
/// Cheap to clone: all clones are of one error.
#[derive(Clone)]
pub struct CustomError(Arc<Contained>);

/// An error whose destructor, which is the user's, may panic on whatever thread drops the last clone.
struct Contained(ManuallyDrop<Box<dyn Error + Send + Sync>>);

impl Drop for Contained {
    fn drop(&mut self) {
        // SAFETY:
        // - it is there, and not used again.
        let error = unsafe { ManuallyDrop::take(&mut self.0) };
        panic::contain(|| drop(error));
    }
}

impl CustomError {
    pub(crate) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::new(Contained(ManuallyDrop::new(error))))
    }

    /// Returns the error.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &**self.0.0
    }
}

/// Writes the error and its sources, on one line if they are.
impl fmt::Debug for CustomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error: &dyn Error = self.get_ref();
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
