//! Who can own and wait: a thread, or a task that runs on its waiter's thread.

use std::cell::UnsafeCell;
use std::sync::Arc;

use super::graph::{Graph, Record};
use super::holds::Holds;
use super::nested::{self, Nesting};
use super::registry;
use super::thread_name::ThreadName;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{
    AtomicBool, COPY_BITS, Lifeline, current_context, os_thread_id, quiet, run_at_thread_end, set_current_context,
};

/// The number of a context: never given twice in the life of the process, never zero, even, so that a lock word has a
/// bit to spare, and below 2^63, so that a task's word can name somebody else.
///
/// `[ 0 | copy : 11 | generation : 27 | index : 24 | 0 ]`. The index finds the context; the generation tells its lives apart. A
/// context whose generations are used up is not used again. The copy tells this copy of the crate from others in the process
/// (another version, or a shared library): one that meets another's number in a lock's word knows nobody of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextId(u64);

impl ContextId {
    const INDEX_BITS: u32 = 24;
    const GENERATION_BITS: u32 = 62 - Self::INDEX_BITS - COPY_BITS;
    const LAST_GENERATION: u64 = (1 << Self::GENERATION_BITS) - 1;

    /// The first number of the context at `index` in this copy of the crate, `None` if there are too many contexts.
    pub(super) fn first(index: usize, copy: u64) -> Option<Self> {
        let copy = copy << (Self::INDEX_BITS + 1 + Self::GENERATION_BITS);
        (index < 1 << Self::INDEX_BITS).then_some(Self(copy | 1 << (Self::INDEX_BITS + 1) | (index as u64) << 1))
    }

    /// The next number of the same context, `None` when there is none left.
    pub(super) fn next(self) -> Option<Self> {
        let generation = self.0 >> (Self::INDEX_BITS + 1) & Self::LAST_GENERATION;
        (generation < Self::LAST_GENERATION).then(|| Self(self.0 + (1 << (Self::INDEX_BITS + 1))))
    }

    pub(super) fn index(self) -> usize {
        (self.0 >> 1) as usize & ((1 << Self::INDEX_BITS) - 1)
    }

    #[inline]
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// The number with this value, `None` for zero.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }
}

/// Who can own and wait. Lives for ever; given from an ended thread to a new one under a new number.
///
/// In this order because locking touches the number, then the bits and slots of the holds: two lines, side by side.
#[repr(C, align(128))]
pub(crate) struct Context {
    /// The current number, 0 while nobody has this context. Written under the graph's mutex.
    id: quiet::AtomicU64,
    /// The graph has something to tell this context's registered wait. Written under the graph's mutex, read by the
    /// park's `validate`.
    summoned: AtomicBool,
    /// What it holds: written by its own thread.
    pub(crate) holds: Holds,
    /// Cut by the kernel when the thread is gone.
    pub(super) lifeline: Lifeline,
    /// What runs inside of it, and what it runs inside of: for its own thread alone.
    pub(super) nesting: Nesting,
    /// The graph's notes on this context: see [`Graph::record`].
    pub(super) record: UnsafeCell<Record>,
}

// SAFETY:
// - `record` is only reached through `Graph::record`, with the graph's mutex held.
// - `nesting` is only reached by the thread that has this context; one thread gives it to the next by way of the
//   graph's mutex.
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
    pub(super) fn new() -> Self {
        Self {
            id: quiet::AtomicU64::new(0),
            holds: Holds::new(),
            summoned: AtomicBool::new(false),
            lifeline: Lifeline::new(),
            nesting: Nesting::new(),
            record: UnsafeCell::new(Record::new()),
        }
    }

    /// This context's current number.
    #[inline]
    pub(crate) fn id(&self) -> ContextId {
        ContextId(self.id.load(Relaxed))
    }

    pub(super) fn set_id(&self, _: &Graph, id: Option<ContextId>) {
        self.id.store(id.map_or(0, ContextId::get), Relaxed);
    }

    /// Whether the graph has something to tell this context's registered wait. Asked by a park's `validate`.
    pub(crate) fn is_summoned(&self) -> bool {
        // ORDERING: Acquire pairs with the Release store in `set_summoned`; the bucket lock orders the two anyway.
        self.summoned.load(Acquire)
    }

    pub(super) fn set_summoned(&self, _: &Graph, summoned: bool) {
        // ORDERING: Release pairs with the Acquire load in `is_summoned`.
        self.summoned.store(summoned, Release);
    }

    /// Stays the same for the life of the process: contexts are never freed. Serves as the park token of its waits.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    /// The context at this address.
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

/// The calling thread's context. Made on first use: one allocation for each thread that is alive at the same time.
#[inline]
pub(crate) fn current() -> &'static Context {
    let context = current_context().cast::<Context>();
    if context.is_null() {
        return enter();
    }
    // SAFETY:
    // - the pointer is not null, so `enter` stored it: a context, which is never freed.
    unsafe { &*context }
}

#[cold]
#[inline(never)]
fn enter() -> &'static Context {
    let context = registry::take_context(ThreadName::of_this(), os_thread_id());
    set_current_context(std::ptr::from_ref(context).cast());
    if !run_at_thread_end(leave, std::ptr::from_ref(context).cast()) {
        registry::expect_no_word_of(context);
    }
    context
}

/// The end of a thread, after its thread-locals were destroyed: gives its context back, or, while it still holds
/// something, lets those who wait for it look again, in each round of destructors.
///
/// A destructor still to come that locks after the context was given back takes another.
fn leave(context: *const ()) {
    if current_context() != context {
        return;
    }
    // SAFETY:
    // - only `enter` passes this pointer on: a context, which is never freed.
    let context: &'static Context = unsafe { &*context.cast() };
    if nested::leave(context) && context.holds.is_empty() {
        set_current_context(std::ptr::null());
        registry::give_context(context);
    } else {
        // Destructors that are still to come may release it, and are this context as before.
        registry::end_thread(context);
        run_at_thread_end(leave, std::ptr::from_ref(context).cast());
    }
}

/// The calling thread's last destructor runs, with the kernel's word still to come.
#[cfg(all(test, loom))]
pub(crate) fn leave_early() {
    leave(current_context());
}

#[cfg(all(test, loom))]
impl Context {
    pub(crate) fn lifeline_for_models(&self) -> &Lifeline {
        &self.lifeline
    }
}

#[cfg(all(test, loom))]
impl ContextId {
    pub(crate) fn shares_context_with(self, other: Self) -> bool {
        self.index() == other.index()
    }
}

/// Ends the calling thread, as far as a model can: its last destructor runs, then the kernel says that it is gone.
#[cfg(all(test, loom))]
pub(crate) fn end_current() {
    let context = current();
    leave(std::ptr::from_ref(context).cast());
    if !current_context().is_null() {
        context.lifeline.cut();
    }
}

/// The thread's name, if it has one and it can still be asked for. The first thread of a process is `main`, of one too that
/// std did not start, or has not yet.
pub(crate) fn thread_name() -> Option<Arc<str>> {
    /// Destroyed before std's own handle of the thread: while this is there, the handle may be asked for.
    struct HandleIsThere;
    impl Drop for HandleIsThere {
        fn drop(&mut self) {}
    }
    #[cfg(not(all(test, loom)))]
    {
        thread_local! { static PROBE: HandleIsThere = const { HandleIsThere } }
        let name = || std::thread::current().name().map(Arc::from);
        // The destructor of a thread-specific key may be the first to lock, and runs after the handle is gone and where
        // the probe cannot tell: there std panics. Where that would end the process, std is not asked.
        let ask = || if cfg!(panic = "abort") { None } else { std::panic::catch_unwind(name).ok().flatten() };
        let name = PROBE.try_with(|_| ask()).ok().flatten();
        name.or_else(|| (os_thread_id() == std::process::id()).then(|| "main".into()))
    }
    #[cfg(all(test, loom))]
    {
        let _ = HandleIsThere;
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_a_context_leaves_the_highest_and_the_lowest_bit_free() {
        let last_index = (1 << ContextId::INDEX_BITS) - 1;
        let last_copy = (1 << COPY_BITS) - 1;
        assert_eq!(ContextId::first(last_index + 1, last_copy), None);
        let first = ContextId::first(last_index, last_copy).unwrap();
        let last = ContextId(first.0 + ((ContextId::LAST_GENERATION - 2) << (ContextId::INDEX_BITS + 1)));
        let last = last.next().unwrap();
        assert_eq!((last.next(), last.index()), (None, last_index));
        assert_eq!(last.get(), !(1 << 63 | 1));
    }
}
