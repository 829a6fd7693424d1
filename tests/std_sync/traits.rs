//! Each type of bowline's has the traits that std's has, and no other of them, whatever is inside.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use bowline::std_sync as ours;
use std::sync as theirs;

/// Whether a type has a trait.
macro_rules! has {
    ($Type:ty: $($Trait:tt)+) => {{
        #[allow(dead_code, reason = "the other one is used where the type has the trait")]
        trait Lacks {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Lacks for Probe<T> {}
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code, reason = "the other one is used where the type lacks the trait")]
        impl<T: ?Sized + $($Trait)+> Probe<T> {
            const HAS: bool = true;
        }
        Probe::<$Type>::HAS
    }};
}

macro_rules! assert_same_traits {
    ($($Type:ident $(<$($argument:tt),+>)?),* $(,)?) => {$(
        assert_same_traits!(@each [ours::$Type $(<$($argument),+>)?] [theirs::$Type $(<$($argument),+>)?]
            Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display, Default, Clone, Copy, PartialEq, Eq);
    )*};
    (@each $ours:tt $theirs:tt $($Trait:ident),+) => {
        $(assert_same_traits!(@one $ours $theirs $Trait);)+
    };
    (@one [$Ours:ty] [$Theirs:ty] $Trait:ident) => {
        let [ours, theirs] = [has!($Ours: $Trait), has!($Theirs: $Trait)];
        assert_eq!(ours, theirs, "{}: {}", stringify!($Theirs), stringify!($Trait));
    };
}

/// Neither shared nor sent, nor safe after a panic.
type Nothing = Rc<Cell<&'static mut u8>>;
/// Shared, and not sent.
type Shared = std::sync::MutexGuard<'static, u8>;
type Unique = &'static mut u8;
type Sent = Cell<u8>;

#[test]
fn the_traits_of_each_type_are_stds() {
    macro_rules! with_values {
        ($($Value:ident),*) => {$(
            assert_same_traits!(
                Mutex<$Value>,
                RwLock<$Value>,
                MutexGuard<'static, $Value>,
                RwLockReadGuard<'static, $Value>,
                RwLockWriteGuard<'static, $Value>,
                OnceLock<$Value>,
                LazyLock<$Value>,
                LazyLock<u8, $Value>,
            );
            let [ours, theirs] = [
                [has!(ours::Mutex<$Value>: From<$Value>), has!(ours::RwLock<$Value>: From<$Value>)],
                [has!(theirs::Mutex<$Value>: From<$Value>), has!(theirs::RwLock<$Value>: From<$Value>)],
            ];
            assert_eq!(ours, theirs);
        )*};
    }
    with_values!(u8, String, Nothing, Shared, Unique, Sent, PhantomPinned);
    assert_same_traits!(Condvar, WaitTimeoutResult, Barrier, BarrierWaitResult);
}

/// bowline's own, which have more: `Once` is `Default`, and an `OnceState` can be shared.
#[test]
fn what_is_reexported_has_all_traits_of_stds() {
    macro_rules! assert_all {
        ($($Trait:ident),+) => {$(
            assert!(has!(ours::Once: $Trait) || !has!(theirs::Once: $Trait), stringify!($Trait));
            assert!(has!(ours::OnceState: $Trait) || !has!(theirs::OnceState: $Trait), stringify!($Trait));
        )+};
    }
    assert_all!(Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display, Default, Clone, Copy, PartialEq, Eq);
}

#[test]
fn the_probe_tells_types_apart() {
    assert!(has!(u8: Send) && !has!(Rc<u8>: Send) && has!(Shared: Sync) && !has!(Shared: Send));
    assert!(has!(Sent: Send) && !has!(Sent: Sync) && !has!(Unique: UnwindSafe) && !has!(PhantomPinned: Unpin));
}

/// That the locks and guards of a value without a size have them, too.
#[test]
fn the_traits_of_what_has_no_size_are_stds() {
    type Dyn = dyn Debug + Send;
    assert!(has!(ours::Mutex<Dyn>: Sync) && has!(theirs::Mutex<Dyn>: Sync));
    assert!(!has!(ours::RwLock<Dyn>: Sync) && !has!(theirs::RwLock<Dyn>: Sync));
    assert!(has!(ours::MutexGuard<'static, Dyn>: UnwindSafe) && has!(theirs::MutexGuard<'static, Dyn>: UnwindSafe));
    assert!(
        has!(ours::Mutex<Dyn>: Debug)
            && has!(ours::RwLock<[u8]>: Debug)
            && has!(ours::MutexGuard<'static, str>: Display)
    );
}
