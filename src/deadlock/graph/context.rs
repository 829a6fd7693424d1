//! Contexts: what can own and wait. Each is a thread, or a task that runs on its waiter's thread.

use std::cell::{Cell, UnsafeCell};

use super::Graph;
use super::holds::Holds;
pub(crate) use super::id::ContextId;
use super::outer_wait::Nesting;
use super::record::Record;
use super::visible::{MadeBefore, VisibleReads};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicBool, Lifeline, quiet};

/// A thread, or a task that runs in place, as an owner and a waiter. Lives for ever; a new thread takes over the
/// context of an ended one, under a new number.
///
/// Locking touches the number, then the bits and slots of the holds: this order puts the first of them into adjacent cache
/// lines.
#[repr(C, align(128))]
pub(crate) struct Context {
    /// The current number, 0 while nobody has this context. Written under the graph's mutex.
    id: quiet::AtomicU64,
    /// Whether this context's registered wait has a summons. Written under the graph's mutex, read by the park's
    /// `validate`.
    summoned: AtomicBool,
    /// Its place among all contexts ever made.
    index: Cell<u32>,
    /// How many permits its wait is for, if it is one for permits. Written by its own thread before it parks, read under
    /// the queue's lock by the thread that hands permits over.
    wanted: quiet::AtomicUsize,
    /// What it holds: written by its own thread.
    pub(crate) holds: Holds,
    /// Which of the locks that it reads it shows to writers: written by its own thread.
    pub(crate) visible: VisibleReads,
    /// The contexts that were made before it.
    pub(super) made_before: MadeBefore,
    /// Cut by the kernel when the thread is gone.
    pub(in crate::deadlock) lifeline: Lifeline,
    /// The contexts inside of it and around it. For its own thread alone.
    pub(in crate::deadlock) nesting: Nesting,
    /// What is called when its thread ends. For its own thread alone.
    pub(in crate::deadlock) at_end: Cell<Option<AtEnd>>,
    /// The graph's notes on this context: see [`Graph::record`].
    pub(in crate::deadlock) record: UnsafeCell<Record>,
}

/// A function that is called at the end of a thread, and its argument.
pub(in crate::deadlock) type AtEnd = (fn(*const ()), *const ());

// SAFETY:
// - `record` is only reached through `Graph::record`, with the graph's mutex held.
// - `index` is written once, before anybody else knows of this context, and read with the graph's mutex held.
// - `nesting` and `at_end` are only reached by the thread that has this context; one thread gives it to the next by way
//   of the graph's mutex.
// - every other field is made for sharing.
unsafe impl Sync for Context {}

/// A context is itself and no other.
impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Context {}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Context").field(&self.id()).finish()
    }
}

impl Context {
    pub(in crate::deadlock) fn new() -> Self {
        Self {
            id: quiet::AtomicU64::new(0),
            holds: Holds::new(),
            visible: VisibleReads::new(),
            made_before: MadeBefore::new(),
            summoned: AtomicBool::new(false),
            index: Cell::new(0),
            wanted: quiet::AtomicUsize::new(0),
            lifeline: Lifeline::new(),
            nesting: Nesting::new(),
            at_end: Cell::new(None),
            record: UnsafeCell::new(Record::new()),
        }
    }

    /// This context's current number.
    #[inline]
    pub(crate) fn id(&self) -> ContextId {
        ContextId::of_context(self.id.load(Relaxed))
    }

    pub(in crate::deadlock) fn set_id(&self, _: &Graph, id: Option<ContextId>) {
        self.id.store(id.map_or(0, ContextId::get), Relaxed);
    }

    /// Returns its place among all contexts ever made. Called with the graph's mutex held.
    pub(in crate::deadlock) fn index(&self) -> usize {
        self.index.get() as usize
    }

    /// Notes the place of a new context among all.
    pub(in crate::deadlock) fn set_index(&self, _: &Graph, index: usize) {
        self.index.set(index as u32);
    }

    /// Returns whether this context's registered wait has a summons. Called by a park's `validate`.
    pub(crate) fn is_summoned(&self) -> bool {
        // ORDERING: Acquire pairs with the Release store in `set_summoned`; the bucket lock orders the two anyway.
        self.summoned.load(Acquire)
    }

    pub(in crate::deadlock) fn set_summoned(&self, _: &Graph, summoned: bool) {
        // ORDERING: Release pairs with the Acquire load in `is_summoned`.
        self.summoned.store(summoned, Release);
    }

    /// Returns how many permits its wait is for.
    pub(crate) fn wanted(&self) -> usize {
        // ORDERING: Relaxed: the queue's lock orders this with the waiter's parking, which comes after `set_wanted`.
        self.wanted.load(Relaxed)
    }

    /// Notes how many permits a wait is for. The context's own thread alone calls this, before it parks.
    pub(crate) fn set_wanted(&self, permits: usize) {
        self.wanted.store(permits, Relaxed);
    }

    /// Returns the address, which is valid for the life of the process: contexts are never freed. It serves as the park
    /// token of its waits.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    /// Returns the context at this address.
    ///
    /// # Safety
    ///
    /// The address came from [`address`](Self::address).
    pub(crate) unsafe fn at(address: usize) -> &'static Self {
        // SAFETY:
        // - the address is that of a context (caller), which is never freed.
        unsafe { &*std::ptr::with_exposed_provenance(address) }
    }
}

#[cfg(all(test, loom))]
impl Context {
    pub(crate) fn lifeline_for_models(&self) -> &Lifeline {
        &self.lifeline
    }
}
