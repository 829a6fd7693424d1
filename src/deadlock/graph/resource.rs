//! What a context holds or waits for, as plain data.

use std::any::type_name;
use std::num::NonZero;
use std::panic::Location;

pub(crate) use super::origin::Origin;
use super::task_id::ReportedId;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet;

/// A line of the user's program.
pub(crate) type Site = &'static Location<'static>;

/// Stands for the line of an acquisition by the lock's `Debug`: no line of the user's can go through [`fmt`](std::fmt).
pub(crate) const FORMATTED: Site = Location::caller();
/// Stands for the line of an acquisition by the lock's `Serialize`.
pub(crate) const SERIALIZED: Site = Location::caller();
/// Stands for the line that makes a lock, where its `Deserialize` does.
pub(crate) const DESERIALIZED: Site = Location::caller();
/// Stands for the line that makes a lock which stores none.
pub(crate) const UNKNOWN: Site = Location::caller();

/// What kind of thing a resource is: the primitive's name, the type of what it protects, and how it is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceType {
    /// The public type's name, `Lock`.
    pub(crate) primitive: &'static str,
    /// The full path of the type inside, `alloc::vec::Vec<u64>`.
    pub(crate) data: &'static str,
    /// How a hold of this type counts.
    pub(crate) mode: HoldMode,
    /// Of a task: returns its id, which is made if it has none.
    pub(crate) id_of: Option<IdOf>,
}

/// A function that returns the id of the task with this key. It neither allocates nor runs the user's code.
///
/// # Safety
///
/// The resource at the key is there, and is of the type whose description has this function.
pub(crate) type IdOf = unsafe fn(usize) -> ReportedId;

/// How a resource is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldMode {
    /// By one context alone.
    Exclusive,
    /// By one of several readers.
    Read,
    /// By the one of several readers who may become the writer.
    UpgradableRead,
    /// By a writer alone.
    Write,
    /// By the owner of one of several permits.
    Permit,
    /// By its runner: a task.
    Running,
    /// By the context that initialises it.
    Initialising,
}

/// The id of a resource that several contexts can hold at once: never given twice in the life of the process, so that
/// the hold of a forgotten guard is no other resource's, whatever becomes of the memory that the resource was in.
///
/// Odd, so that it is no address of a lock, and a hold's key can be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedId(NonZero<usize>);

impl SharedId {
    /// The difference of two ids: an odd one with two bits to spare above the lowest.
    const STEP: usize = 8;

    /// Returns an id that nothing else has.
    pub(crate) fn new() -> Self {
        static LAST: quiet::AtomicUsize = quiet::AtomicUsize::new(1);
        let last = LAST.fetch_add(Self::STEP, Relaxed);
        assert!(
            last < usize::MAX - 2 * Self::STEP,
            "fewer read-write locks and semaphores are used than there are addresses"
        );
        Self::of_key(last).expect("it is odd")
    }

    /// Returns the id that is the key of a hold; `None` for an address.
    #[inline]
    pub(crate) fn of_key(key: usize) -> Option<Self> {
        if key % 2 == 1 { NonZero::new(key).map(Self) } else { None }
    }

    /// Returns the key of the holds of this resource.
    #[inline]
    pub(crate) fn key(self) -> usize {
        self.0.get()
    }
}

/// The primitive of a thread that is joined.
pub(crate) const JOIN_HANDLE: &str = "JoinHandle";

/// A function that names a type: one thin pointer, so that a hold stores it in one word.
pub(crate) type TypeOf = fn() -> ResourceType;

impl ResourceType {
    /// Returns the type of an exclusively held `primitive<T>`.
    pub(crate) fn exclusive<T: ?Sized>(primitive: &'static str) -> Self {
        Self { primitive, data: type_name::<T>(), mode: HoldMode::Exclusive, id_of: None }
    }

    /// Returns whether this is a thread, whose end is waited for.
    pub(crate) fn is_thread(&self) -> bool {
        self.primitive == JOIN_HANDLE
    }
}

/// A resource, copied by value: it may be dropped and its memory reused while somebody still reads this.
#[derive(Clone, Copy)]
pub(crate) struct ResourceFacts {
    /// Its address. Waits for a lock park on it.
    pub(crate) key: usize,
    pub(crate) origin: Origin,
    pub(crate) type_of: TypeOf,
}

impl ResourceFacts {
    /// Returns the id, if it is a task.
    ///
    /// # Safety
    ///
    /// The resource is there.
    pub(in crate::deadlock) unsafe fn task_id(&self) -> Option<ReportedId> {
        // SAFETY:
        // - the resource is there (caller), and has this description.
        (self.type_of)().id_of.map(|id_of| unsafe { id_of(self.key) })
    }
}
