//! What a context holds or waits for, as plain data.

use std::any::type_name;
use std::panic::Location;

pub(crate) use super::origin::Origin;

/// A line of the user's program.
pub(crate) type Site = &'static Location<'static>;

/// Stands for the line of an acquisition by the lock's `Debug`: no line of the user's can go through [`fmt`](std::fmt).
pub(crate) const FORMATTED: Site = Location::caller();
/// Stands for the line of an acquisition by the lock's `Serialize`.
pub(crate) const SERIALIZED: Site = Location::caller();
/// Stands for the line that makes a lock, where its `Deserialize` does.
pub(crate) const DESERIALIZED: Site = Location::caller();

/// What kind of thing a resource is: the primitive's name, the type of what it protects, and how it is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceType {
    /// The public type's name, `Lock`.
    pub(crate) primitive: &'static str,
    /// The full path of the type inside, `alloc::vec::Vec<u64>`.
    pub(crate) data: &'static str,
    /// How a hold of this type counts.
    pub(crate) mode: HoldMode,
}

/// How a resource is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "reads and permits are held by primitives that are still to come")]
pub(crate) enum HoldMode {
    /// By one context alone.
    Exclusive,
    /// By several readers.
    Read,
    /// By the owner of one of several permits.
    Permit,
    /// By its runner: a task.
    Running,
}

/// The primitive of a thread that is joined.
pub(crate) const JOIN_HANDLE: &str = "JoinHandle";

/// A function that names a type: one thin pointer, so that a hold stores it in one word.
pub(crate) type TypeOf = fn() -> ResourceType;

impl ResourceType {
    /// Returns the type of an exclusively held `primitive<T>`.
    pub(crate) fn exclusive<T: ?Sized>(primitive: &'static str) -> Self {
        Self { primitive, data: type_name::<T>(), mode: HoldMode::Exclusive }
    }

    /// Returns whether this is a thread, whose end is waited for.
    pub(crate) fn is_thread(&self) -> bool {
        self.primitive == JOIN_HANDLE
    }
}

/// A resource, copied by value: it may be dropped and its memory reused while somebody still reads this.
#[derive(Clone, Copy)]
pub(crate) struct ResourceFacts {
    /// The address that a wait for it parks on.
    pub(crate) key: usize,
    pub(crate) origin: Origin,
    pub(crate) type_of: TypeOf,
}
