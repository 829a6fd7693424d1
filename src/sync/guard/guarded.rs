//! What a guard guards.

use std::ptr::NonNull;
use std::sync::Arc;

/// A raw lock and the value that it protects: a lock type, a pointer to one, or a [`Part`].
///
/// # Safety
///
/// - `raw` returns the same lock each time, and `value` points to the same value, which lives as long as the implementor.
/// - While a guard exists, only guards of the same raw lock reach the value; an exclusive one may write through the
///   pointer.
pub(crate) unsafe trait Guarded {
    /// The lock that protects the value.
    type Raw: 'static;
    /// What is protected.
    type Value: ?Sized;

    /// Returns the raw lock.
    fn raw(&self) -> &Self::Raw;

    /// Returns a pointer to the value.
    fn value(&self) -> *mut Self::Value;
}

/// What a guard borrows for `'a`: a mapped guard can be made of it.
///
/// # Safety
///
/// `borrowed_raw` returns the lock that `raw` returns.
pub(crate) unsafe trait Borrowed<'a>: Guarded {
    /// Returns the raw lock for as long as it is borrowed.
    fn borrowed_raw(&self) -> &'a Self::Raw;
}

// SAFETY:
// - a reference leads to the same lock each time, which keeps the contract and outlives the reference.
// - as the lock itself.
unsafe impl<L: Guarded + ?Sized> Guarded for &L {
    type Raw = L::Raw;
    type Value = L::Value;

    #[inline]
    fn raw(&self) -> &L::Raw {
        (**self).raw()
    }

    #[inline]
    fn value(&self) -> *mut L::Value {
        (**self).value()
    }
}

// SAFETY:
// - it is the same lock.
unsafe impl<'a, L: Guarded + ?Sized> Borrowed<'a> for &'a L {
    #[inline]
    fn borrowed_raw(&self) -> &'a L::Raw {
        (*self).raw()
    }
}

// SAFETY:
// - an `Arc` leads to the same lock each time, which keeps the contract; the `Arc` keeps it alive.
// - as the lock itself.
unsafe impl<L: Guarded + ?Sized> Guarded for Arc<L> {
    type Raw = L::Raw;
    type Value = L::Value;

    #[inline]
    fn raw(&self) -> &L::Raw {
        (**self).raw()
    }

    #[inline]
    fn value(&self) -> *mut L::Value {
        (**self).value()
    }
}

/// A part of what `raw` protects: what a mapped guard guards.
pub(crate) struct Part<'a, R, T: ?Sized> {
    raw: &'a R,
    part: NonNull<T>,
}

impl<'a, R, T: ?Sized> Part<'a, R, T> {
    /// Makes a part of what `raw` protects.
    ///
    /// # Safety
    ///
    /// - `part` comes from a reference to a part of what `raw` protects, or to something that lives at least for `'a`.
    /// - If an exclusive guard is made of this, that reference was unique.
    #[inline]
    pub(super) unsafe fn new(raw: &'a R, part: NonNull<T>) -> Self {
        Self { raw, part }
    }
}

// SAFETY:
// - a shared `Part` gives out the raw lock by reference, and a pointer that its guard turns into a `&T`.
unsafe impl<R: Sync, T: ?Sized + Sync> Sync for Part<'_, R, T> {}

// SAFETY:
// - both are fields that never change; the part lives while the raw lock is borrowed (`new`'s contract).
// - the part is reached through the guard of the whole, of which this is what remains.
unsafe impl<R: 'static, T: ?Sized> Guarded for Part<'_, R, T> {
    type Raw = R;
    type Value = T;

    #[inline]
    fn raw(&self) -> &R {
        self.raw
    }

    #[inline]
    fn value(&self) -> *mut T {
        self.part.as_ptr()
    }
}

// SAFETY:
// - it is the same lock.
unsafe impl<'a, R: 'static, T: ?Sized> Borrowed<'a> for Part<'a, R, T> {
    #[inline]
    fn borrowed_raw(&self) -> &'a R {
        self.raw
    }
}
