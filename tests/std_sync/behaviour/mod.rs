//! Tests of the types of a module `sync`, which the module above imports: std's or bowline's.

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod once;
mod once_lock;
mod rwlock;
mod surface;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sync;

/// Runs `body`, which panics, and returns the message.
#[track_caller]
fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(body()))).expect_err("it panics");
    crate::support::message(&*payload).to_owned()
}

/// Runs its closure when it is dropped, as in a destructor.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Shown by a panic.
struct Unshowable;

impl std::fmt::Debug for Unshowable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("not to be shown")
    }
}
