//! What a context holds or waits for, as plain data.

use std::any::type_name;
use std::panic::Location;

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

/// A function that names a type: one thin pointer, so that a hold stores it in one word.
pub(crate) type TypeOf = fn() -> ResourceType;

impl ResourceType {
    /// Returns the type of an exclusively held `primitive<T>`.
    pub(crate) fn exclusive<T: ?Sized>(primitive: &'static str) -> Self {
        Self { primitive, data: type_name::<T>(), mode: HoldMode::Exclusive }
    }
}

/// Where and as what a resource was made: the part of its description that lives in the resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(in crate::deadlock) made_at: Site,
    pub(in crate::deadlock) name: Name,
}

impl Origin {
    /// Returns an origin at the calling line.
    #[track_caller]
    pub(crate) const fn here(name: Option<&'static str>) -> Self {
        Self { made_at: Location::caller(), name: Name::new(name) }
    }

    /// Returns an origin at a line that is known already.
    pub(crate) fn at(made_at: Site, name: Option<&'static str>) -> Self {
        Self { made_at, name: Name::new(name) }
    }

    pub(crate) fn made_at(&self) -> Site {
        self.made_at
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.name.get()
    }
}

/// An `Option<&'static str>` in two words that are copied without looking at them.
#[derive(Clone, Copy, Debug)]
pub(in crate::deadlock) struct Name {
    /// Null for none.
    pub(in crate::deadlock) start: *const u8,
    pub(in crate::deadlock) length: usize,
}

// SAFETY:
// - it is a `&'static str`, taken apart.
unsafe impl Send for Name {}
// SAFETY:
// - as above.
unsafe impl Sync for Name {}

impl Name {
    const fn new(name: Option<&'static str>) -> Self {
        match name {
            Some(name) => Self { start: name.as_ptr(), length: name.len() },
            None => Self { start: std::ptr::null(), length: 0 },
        }
    }

    pub(in crate::deadlock) fn get(self) -> Option<&'static str> {
        (!self.start.is_null()).then(|| {
            // SAFETY:
            // - not null, so the two are the parts of a `&'static str` (`new`, and `holds::decode`, which puts
            //   together what was taken apart).
            let bytes = unsafe { std::slice::from_raw_parts(self.start, self.length) };
            // SAFETY:
            // - as above.
            unsafe { std::str::from_utf8_unchecked(bytes) }
        })
    }
}

/// A resource, copied by value: it may be dropped and its memory reused while somebody still reads this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceFacts {
    /// The address that a wait for it parks on.
    pub(crate) key: usize,
    pub(crate) origin: Origin,
    pub(crate) type_of: TypeOf,
}
