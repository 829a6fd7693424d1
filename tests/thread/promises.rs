//! What types promise at compile time, and that one `use` line is enough.

use std::fmt::Debug;

use bowline::thread::{self, Builder, JoinDeadlock, JoinHandle, Scope, ScopedJoinHandle};
use bowline::{Lock, Timer};
use static_assertions::{assert_impl_all, assert_not_impl_any};

type NotSync = std::cell::Cell<u8>;

assert_impl_all!(JoinHandle<NotSync>: Send, Sync, Debug);
assert_impl_all!(ScopedJoinHandle<'static, NotSync>: Send, Sync, Debug);
assert_impl_all!(JoinHandle<*const u8>: Send, Sync);
assert_impl_all!(Scope<'static, 'static>: Send, Sync, Debug);
assert_impl_all!(Timer: Send, Sync, Debug);
assert_impl_all!(Builder: Send, Sync, Debug);
assert_impl_all!(JoinDeadlock<JoinHandle<NotSync>>: std::error::Error, Send, Sync);
assert_not_impl_any!(JoinHandle<u8>: Clone);
assert_not_impl_any!(Timer: Clone);

/// Compiled as it would be over `std::thread`.
#[test]
fn a_program_over_std_compiles_with_one_line_changed() -> thread::Result<()> {
    thread_local! { static COUNT: Lock<u32> = const { Lock::new(0) } }
    fn count(key: &'static thread::LocalKey<Lock<u32>>) -> Result<u32, thread::AccessError> {
        key.try_with(|count| *count.lock())
    }
    assert_eq!(count(&COUNT), Ok(0));
    assert!(thread::available_parallelism().is_ok());
    let parker = thread::spawn(|| {
        thread::yield_now();
        thread::park();
        thread::park_timeout(std::time::Duration::ZERO);
        thread::sleep(std::time::Duration::ZERO);
        (thread::current().id(), thread::panicking())
    });
    let (id, other): (thread::ThreadId, thread::Thread) = (parker.thread().id(), thread::current());
    parker.thread().unpark();
    assert_eq!(parker.join()?, (id, false));
    assert_ne!(id, other.id());
    Ok(())
}

/// The signatures are std's: what takes the one takes the other.
#[test]
fn closures_that_std_takes_are_taken() {
    fn spawn<F, T>(f: F) -> (thread::Result<T>, thread::Result<T>)
    where
        F: FnOnce() -> T + Send + Clone + 'static,
        T: Send + 'static,
    {
        (std::thread::spawn(f.clone()).join(), thread::spawn(f).join())
    }
    fn scope<'env, T, F>(f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        thread::scope(f)
    }
    fn nested<'scope>(s: &'scope Scope<'scope, '_>, n: u32) -> ScopedJoinHandle<'scope, u32> {
        s.spawn(move || if n == 0 { 0 } else { nested(s, n - 1).join().unwrap() + n })
    }
    let (ours, theirs) = spawn(|| 7);
    assert_eq!(ours.unwrap(), theirs.unwrap());
    assert_eq!(scope(|s| nested(s, 4).join().unwrap()), 10);
}
