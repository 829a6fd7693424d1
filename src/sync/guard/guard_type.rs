//! The type of a guard.

/// Writes the type of a guard: a newtype over a [`Guard`](super::Guard) that looks like the value.
///
/// ```text
/// guard_type! {
///     /// Documentation.
///     pub struct Name<'a, T>: exclusive Guard<…, …>;
/// }
/// ```
///
/// - An `exclusive` guard gives `&mut T`, a `shared` one only `&T`; its raw guard has the same
///   [access](super::RawGuard::Access).
/// - Without `'a` the guard borrows nothing.
/// - A guard is `Send` only if its raw guard is, and `Sync` only if `T` is.
/// - Its methods are written by hand, over those of `inner`.
macro_rules! guard_type {
    (
        $(#[$doc:meta])*
        $vis:vis struct $Name:ident<$($a:lifetime,)? $T:ident>: $access:ident $Guard:ty;
    ) => {
        $(#[$doc])*
        #[must_use = "if unused the lock is released at once"]
        #[clippy::has_significant_drop]
        $vis struct $Name<$($a,)? $T: ?Sized> {
            inner: $Guard,
            /// Makes the guard invariant in `T` if it gives `&mut T`, and `Sync` only if `T` is.
            value: ::std::marker::PhantomData<$crate::sync::guard::guard_type!(@value $access $($a)? $T)>,
        }

        impl<$($a,)? $T: ?Sized> $Name<$($a,)? $T> {
            #[inline]
            pub(in crate::sync) fn of(inner: $Guard) -> Self {
                Self { inner, value: ::std::marker::PhantomData }
            }
        }

        impl<$($a,)? $T: ?Sized> ::std::ops::Deref for $Name<$($a,)? $T> {
            type Target = $T;
            #[inline]
            fn deref(&self) -> &$T {
                &self.inner
            }
        }

        $crate::sync::guard::guard_type!(@deref_mut $access [$($a,)? $T] $Name);

        impl<$($a,)? $T: ?Sized + ::std::fmt::Debug> ::std::fmt::Debug for $Name<$($a,)? $T> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Debug::fmt(&**self, f)
            }
        }

        impl<$($a,)? $T: ?Sized + ::std::fmt::Display> ::std::fmt::Display for $Name<$($a,)? $T> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&**self, f)
            }
        }
    };

    (@value exclusive $a:lifetime $T:ident) => { &$a mut $T };
    (@value shared $a:lifetime $T:ident) => { &$a $T };
    (@value $access:ident $T:ident) => { $T };

    (@deref_mut exclusive [$($a:lifetime,)? $T:ident] $Name:ident) => {
        impl<$($a,)? $T: ?Sized> ::std::ops::DerefMut for $Name<$($a,)? $T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut $T {
                &mut self.inner
            }
        }
    };
    (@deref_mut shared [$($a:lifetime,)? $T:ident] $Name:ident) => {};
}
pub(in crate::sync) use guard_type;
