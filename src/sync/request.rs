//! Who asks for a lock.

use std::panic::Location;

use crate::deadlock::resource::{Site, TypeOf};

/// The line that asks for a lock, and the type of what is locked.
#[derive(Clone, Copy)]
pub(in crate::sync) struct Request {
    pub(in crate::sync) site: Site,
    pub(in crate::sync) type_of: TypeOf,
}

impl Request {
    /// Returns the request of the calling line.
    #[inline]
    #[track_caller]
    pub(in crate::sync) fn new(type_of: TypeOf) -> Self {
        Self { site: Location::caller(), type_of }
    }
}
