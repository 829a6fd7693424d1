//! Raw locks for libraries that put other crates' locks into the graph: for the packages in `compat`, and nobody else.
//!
//! They store nothing but their words, and are released without a guard. What they promise is what `lock_api`'s traits ask for; they
//! know none of its types. There is no protocol here: each is a lock of [`sync`](crate::sync) without an origin, and what finds out,
//! at a release, who holds it. See `README.md` in this folder.
//!
//! This module is no part of the public interface: it changes with the packages that use it.

mod condvar;
mod mutex;
mod once;
mod rwlock;

pub use condvar::RawCondvar;
pub use mutex::RawMutex;
pub use once::RawOnce;
pub use rwlock::RawRwLock;

use crate::deadlock::Report;
use crate::deadlock::door::{Failure, WaitError};
use crate::deadlock::hook;
use crate::deadlock::print_line;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;
pub use crate::sync::Progress;
use crate::sync::identity::Identity;
pub use crate::sync::identity::{Anonymous, Unowned};

/// Takes the reports of the last deadlocks that had one of these locks, 64 at most.
#[must_use]
pub fn take_reports() -> Vec<Report> {
    hook::take_foreign()
}

/// The owner of a lock: the thread that acquires it ([`Anonymous`]), or unknown, since its guards may be sent ([`Unowned`]).
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait Ownership: Identity {
    /// The lock that nobody holds.
    #[doc(hidden)]
    const NEW: Self;
}

impl Ownership for Anonymous {
    const NEW: Self = Self;
}

impl Ownership for Unowned {
    const NEW: Self = Self;
}

/// How a wait of other people's code fails.
const FAILURE: Failure = Failure::Foreign { may_unwind };

/// How a wait of other people's code fails that is made on behalf of a guard which its owner goes on to use.
const NEVER_UNWINDS: Failure = Failure::Foreign { may_unwind: |_| false };

/// Returns whether what this line asks for may end with a panic.
///
/// Some of `lock_api`'s functions release a lock for a while and take it again, on behalf of a guard that its owner can go on to
/// use. That must not unwind: the guard would give access to what is not locked.
fn may_unwind(site: Site) -> bool {
    !is_inside_lock_api(site.file())
}

/// Returns whether a file is one of `lock_api`'s, or may be: the compiler can be told to name sources in other ways, or not at all.
fn is_inside_lock_api(file: &str) -> bool {
    file.starts_with('<') || file.split(['/', '\\']).any(|part| part.contains("lock_api"))
}

/// Returns how a wait for a lock of this ownership fails. Warns once in the life of the process if nobody known owns such locks.
fn failure_of<O: Ownership>() -> Failure {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !O::HAS_OWNERS && !WARNED.swap(true, Relaxed) {
        print_line(format_args!(
            "bowline: parking_lot is built with its feature `send_guard`: who holds its locks is not known, and no deadlock of \
             them is found (`cargo tree -e features -i parking_lot` shows who asks for the feature)"
        ));
    }
    FAILURE
}

/// Goes on with what a wait without a limit has led to: panics if it is the victim of a deadlock.
#[track_caller]
fn or_raise<T>(result: Result<T, WaitError>) -> T {
    match result {
        Ok(granted) => granted,
        Err(error) => error.deadlock().raise(),
    }
}

/// Returns whether a wait with a limit was granted. Its limit may have been later than the clock can represent: then it may be the
/// victim of a deadlock, and panics.
#[track_caller]
fn is_granted<T>(result: Result<T, WaitError>) -> bool {
    match result {
        Ok(_) => true,
        Err(WaitError::TimedOut) => false,
        Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_lock_api_is_told_by_its_folder() {
        for file in
            ["/r/lock_api-0.4.14/src/mutex.rs", "vendor/lock_api/src/rwlock.rs", "c:\\x\\lock_api-0.5.0\\src\\mutex.rs"]
        {
            assert!(is_inside_lock_api(file), "{file}");
        }
        assert!(is_inside_lock_api("<redacted>"));
        for file in ["src/main.rs", "/r/parking_lot-0.12.5/src/lib.rs", ""] {
            assert!(!is_inside_lock_api(file), "{file}");
        }
    }
}
