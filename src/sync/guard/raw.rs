//! What a raw lock gives to those who acquire it.

/// Proof that a raw lock is held until this is released.
///
/// A raw guard that is dropped releases nothing: the lock stays held. A raw lock has a type of guard for each way in
/// which it can be held; that type is not `Send` if only the thread that acquired may release.
///
/// # Safety
///
/// - Until a guard with [`Exclusive`] access is released, the same raw lock has no other guard.
pub(crate) unsafe trait RawGuard {
    /// The lock that is held.
    type Raw: 'static;
    /// What the holder may do with the value: [`Shared`] or [`Exclusive`].
    type Access;

    /// Releases `raw`.
    ///
    /// # Safety
    ///
    /// - The guard is of `raw`.
    unsafe fn release(self, raw: &Self::Raw);

    /// Releases `raw`, and hands it over to the thread that has waited for longest, if any waits.
    ///
    /// # Safety
    ///
    /// - The guard is of `raw`.
    unsafe fn release_fair(self, raw: &Self::Raw);
}

/// Access by `&T`.
pub(crate) enum Shared {}

/// Access by `&mut T`.
pub(crate) enum Exclusive {}
