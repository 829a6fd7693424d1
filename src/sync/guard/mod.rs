//! The guards of all locks: see the README of `sync`.

mod guard_type;
mod guarded;
mod raw;
mod suspend;
#[cfg(all(test, not(loom)))]
mod tests;

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

pub(super) use guard_type::guard_type;
use guarded::Borrowed;
pub(super) use guarded::{Guarded, Part};
pub(super) use raw::{Exclusive, RawGuard, Shared};
pub(super) use suspend::Resume;

/// Access to a value whose lock is held; releases the lock when dropped.
///
/// The guards of all locks are newtypes over it, written by [`guard_type!`].
pub(crate) struct Guard<G: Guarded, R: RawGuard<Raw = G::Raw>> {
    guarded: G,
    /// Taken out when it is released.
    raw_guard: ManuallyDrop<R>,
}

impl<G: Guarded, R: RawGuard<Raw = G::Raw>> Guard<G, R> {
    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of `guarded`'s raw lock.
    #[inline]
    pub(crate) unsafe fn new(guarded: G, raw_guard: R) -> Self {
        Self { guarded, raw_guard: ManuallyDrop::new(raw_guard) }
    }

    /// Returns what is guarded.
    #[inline]
    pub(crate) fn guarded(&self) -> &G {
        &self.guarded
    }

    /// Takes this apart and releases nothing.
    #[inline]
    pub(crate) fn into_parts(self) -> (G, R) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY:
        // - a field behind a reference is valid, aligned and initialised; it is read once, since `this` is not dropped.
        let guarded = unsafe { ptr::read(&raw const this.guarded) };
        // SAFETY:
        // - taken once, since `this` is not dropped.
        let raw_guard = unsafe { ManuallyDrop::take(&mut this.raw_guard) };
        (guarded, raw_guard)
    }

    /// Releases the lock and returns what was guarded.
    #[inline]
    pub(crate) fn release(self) -> G {
        let (guarded, raw_guard) = self.into_parts();
        // SAFETY:
        // - the raw guard is of this raw lock (`new`'s contract).
        unsafe { raw_guard.release(guarded.raw()) };
        guarded
    }

    /// Releases the lock and hands it over: see [`RawGuard::release_fair`].
    #[inline]
    pub(crate) fn release_fair(self) {
        let (guarded, raw_guard) = self.into_parts();
        // SAFETY:
        // - the raw guard is of this raw lock (`new`'s contract).
        unsafe { raw_guard.release_fair(guarded.raw()) };
    }
}

impl<'a, G: Borrowed<'a>, R: RawGuard<Raw = G::Raw>> Guard<G, R> {
    /// Exchanges the value for a part of it; the lock stays held.
    ///
    /// # Safety
    ///
    /// - `part` comes from a reference that a function returned for one to the value.
    /// - If the access is exclusive, both references were unique.
    #[inline]
    unsafe fn narrow<U: ?Sized>(self, part: NonNull<U>) -> Guard<Part<'a, G::Raw, U>, R> {
        let (guarded, raw_guard) = self.into_parts();
        // SAFETY:
        // - `part` lies in the value or lives for as long: the function knew no lifetime but that of its argument.
        // - the reference was unique if the access is exclusive (caller).
        let part = unsafe { Part::new(guarded.borrowed_raw(), part) };
        // SAFETY:
        // - the raw guard is of this raw lock (`new`'s contract).
        unsafe { Guard::new(part, raw_guard) }
    }
}

impl<'a, G: Borrowed<'a>, R: RawGuard<Raw = G::Raw, Access = Shared>> Guard<G, R> {
    /// Narrows the guard to a part of the value. If `f` panics, the lock is released.
    #[inline]
    pub(crate) fn map<U: ?Sized>(self, f: impl FnOnce(&G::Value) -> &U) -> Guard<Part<'a, G::Raw, U>, R> {
        let part = NonNull::from(f(&self));
        // SAFETY:
        // - `f` returned it for a reference to the value.
        // - the access is shared.
        unsafe { self.narrow(part) }
    }

    /// Narrows the guard to a part of the value, or returns it as it was if `f` returns `None`.
    #[inline]
    pub(crate) fn try_map<U: ?Sized>(
        self,
        f: impl FnOnce(&G::Value) -> Option<&U>,
    ) -> Result<Guard<Part<'a, G::Raw, U>, R>, Self> {
        match f(&self).map(NonNull::from) {
            // SAFETY:
            // - `f` returned it for a reference to the value.
            // - the access is shared.
            Some(part) => Ok(unsafe { self.narrow(part) }),
            None => Err(self),
        }
    }
}

impl<'a, G: Borrowed<'a>, R: RawGuard<Raw = G::Raw, Access = Exclusive>> Guard<G, R> {
    /// [`map`](Self::map), to a part that can be changed.
    #[inline]
    pub(crate) fn map_mut<U: ?Sized>(
        mut self,
        f: impl FnOnce(&mut G::Value) -> &mut U,
    ) -> Guard<Part<'a, G::Raw, U>, R> {
        let part = NonNull::from(f(&mut self));
        // SAFETY:
        // - `f` returned it for a reference to the value.
        // - both references were unique.
        unsafe { self.narrow(part) }
    }

    /// [`try_map`](Self::try_map), to a part that can be changed.
    #[inline]
    pub(crate) fn try_map_mut<U: ?Sized>(
        mut self,
        f: impl FnOnce(&mut G::Value) -> Option<&mut U>,
    ) -> Result<Guard<Part<'a, G::Raw, U>, R>, Self> {
        match f(&mut self).map(NonNull::from) {
            // SAFETY:
            // - `f` returned it for a reference to the value.
            // - both references were unique.
            Some(part) => Ok(unsafe { self.narrow(part) }),
            None => Err(self),
        }
    }

    /// Keeps the lock held for ever and returns the value.
    #[inline]
    pub(crate) fn leak(self) -> &'a mut G::Value
    where
        G::Value: 'a,
    {
        let (guarded, _never_released) = self.into_parts();
        // SAFETY:
        // - the value is alive for `'a`, since it is borrowed for that.
        // - the lock is held exclusively and never released, and the guard is gone: nobody else reaches the value.
        unsafe { &mut *guarded.value() }
    }
}

impl<G: Guarded, R: RawGuard<Raw = G::Raw>> Drop for Guard<G, R> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY:
        // - taken once: this is the drop.
        let raw_guard = unsafe { ManuallyDrop::take(&mut self.raw_guard) };
        // SAFETY:
        // - the raw guard is of this raw lock (`new`'s contract).
        unsafe { raw_guard.release(self.guarded.raw()) };
    }
}

impl<G: Guarded, R: RawGuard<Raw = G::Raw>> Deref for Guard<G, R> {
    type Target = G::Value;

    #[inline]
    fn deref(&self) -> &G::Value {
        // SAFETY:
        // - the value is alive, and reached by guards only (`Guarded`).
        // - the lock is held, so that no other guard is exclusive (`RawGuard`), and this one is borrowed.
        unsafe { &*self.guarded.value() }
    }
}

impl<G: Guarded, R: RawGuard<Raw = G::Raw, Access = Exclusive>> DerefMut for Guard<G, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Value {
        // SAFETY:
        // - the value is alive, and reached by guards only (`Guarded`).
        // - the lock is held, exclusively, so that there is no other guard (`RawGuard`), and this one is borrowed uniquely.
        unsafe { &mut *self.guarded.value() }
    }
}
