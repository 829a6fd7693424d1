//! An atomic pointer-sized word, the standard library's or the model checker's.

use super::Ordering;

/// An atomic word over which a protocol is written once and model-checked as it is.
///
/// Production uses the standard library's `AtomicPtr<()>`; a model of one protocol in isolation uses loom's, while
/// models of something larger keep the standard one and spend no interleavings on it.
pub(crate) trait Word {
    /// Makes a word that holds null.
    #[cfg(all(test, loom))]
    fn null() -> Self;
    /// Loads the word.
    fn load(&self, order: Ordering) -> *mut ();
    /// Stores the word.
    fn store(&self, value: *mut (), order: Ordering);
    /// Issues the fence that goes with this kind of word.
    fn fence(order: Ordering);
}

impl Word for std::sync::atomic::AtomicPtr<()> {
    #[cfg(all(test, loom))]
    fn null() -> Self {
        Self::new(std::ptr::null_mut())
    }
    #[inline]
    fn load(&self, order: Ordering) -> *mut () {
        Self::load(self, order)
    }
    #[inline]
    fn store(&self, value: *mut (), order: Ordering) {
        Self::store(self, value, order);
    }
    #[inline]
    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

#[cfg(all(test, loom))]
impl Word for loom::sync::atomic::AtomicPtr<()> {
    fn null() -> Self {
        Self::new(std::ptr::null_mut())
    }
    fn load(&self, order: Ordering) -> *mut () {
        Self::load(self, order)
    }
    fn store(&self, value: *mut (), order: Ordering) {
        Self::store(self, value, order);
    }
    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}
