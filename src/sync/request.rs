//! Who asks for a lock.

use std::panic::Location;

use crate::deadlock::resource::{Site, TypeOf};

/// The line that asks for a lock, and the type of what is locked.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) site: Site,
    pub(crate) type_of: TypeOf,
}

impl Request {
    /// Returns the request of the calling line.
    #[inline]
    #[track_caller]
    pub(crate) fn new(type_of: TypeOf) -> Self {
        Self { site: Location::caller(), type_of }
    }
}
