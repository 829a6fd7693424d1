//! Threads that borrow from whoever spawned them.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::thread::{Result, Thread};
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::child::{Child, Panics, Settings};
use super::ending::{Ending, Event, wait_all_done};
use super::error::JoinDeadlock;
use super::handle::joins;
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::never_unwinds;
use crate::primitive::{Mutex, catch_unwind};

/// A scope, in which threads that borrow are spawned: as [`std::thread::Scope`]. See [`scope`].
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let mut numbers = [1, 2, 3, 4, 5, 6];
/// thread::scope(|s| {
///     for part in numbers.chunks_mut(3) {
///         s.spawn(move || part.iter_mut().for_each(|n| *n *= 10));
///     }
/// }); // waits for the threads
/// assert_eq!(numbers, [10, 20, 30, 40, 50, 60]);
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    /// The threads that may not be done yet.
    threads: Mutex<Vec<Arc<Ending>>>,
    panics: Arc<Panics>,
    /// Invariant, so that `'scope` can't shrink: it lasts until the threads are done.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f` with a scope for threads that borrow, and waits for all of these threads: as [`std::thread::scope`].
///
/// Threads that were not joined are waited for when `f` has returned or panicked. What the closures of the threads did
/// happens before this returns. The destructors of their thread-locals may still run then, as with the standard
/// library's; a [`join`](ScopedJoinHandle::join) waits for those.
///
/// # Panics
///
/// If `f` panics, with the same payload; otherwise, if a thread panicked that was not joined.
///
/// # Deadlocks
///
/// The end of the scope waits for all of its threads, in the wait-for graph. It can neither return nor unwind, since they
/// borrow: the victim of a deadlock is another member. If no other can fail, the process prints the report and aborts
/// (unless the [policy](crate::deadlock::Policy) says otherwise).
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let words = ["knot", "loop"];
/// let mut letters = 0;
/// thread::scope(|s| {
///     s.spawn(|| println!("{words:?}"));
///     let first = s.spawn(|| words[0].len());
///     letters = words[1].len() + first.join().unwrap();
/// });
/// assert_eq!(letters, 8);
/// ```
///
/// A thread that needs a lock which the scope's owner holds is the victim, and not the scope:
///
/// ```
/// use bowline::{Lock, thread};
///
/// let ledger = Lock::named("ledger", 0);
/// let guard = ledger.lock();
/// let mut refused = None;
/// thread::scope(|s| {
///     s.spawn(|| refused = ledger.acquire().err());
/// }); // waits for the thread, which waits for the guard
/// assert!(refused.unwrap().to_string().starts_with("deadlock: 2 threads wait for each other"));
/// # drop(guard);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let site = Location::caller();
    let scope = Scope { threads: Mutex::new(Vec::new()), panics: Arc::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(|| f(&scope));
    // What the threads borrow may be gone once this returns, in whatever way.
    never_unwinds("at the end of a scope of threads", || {
        loop {
            let threads = std::mem::take(&mut *scope.threads.lock());
            if threads.is_empty() {
                break;
            }
            // Threads that these spawn meanwhile come next: as long as one of these runs it is live, and the graph need
            // not know of those.
            wait_all_done(&threads, site);
        }
    });
    match result {
        Err(panic) => resume_unwind(panic),
        Ok(_) if !scope.panics.is_none() => panic!("a scoped thread panicked"),
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a thread that may borrow what outlives the scope: as [`std::thread::Scope::spawn`]. A thread of the scope may
    /// spawn others in it.
    ///
    /// # Panics
    ///
    /// If the system refuses to start a thread: see [`Builder::spawn_scoped`].
    ///
    /// # Examples
    ///
    /// ```
    /// let words = ["knot", "loop"];
    /// let letters = bowline::thread::scope(|s| {
    ///     let outer = s.spawn(|| {
    ///         let first = s.spawn(|| words[0].len());
    ///         first.join().unwrap() + words[1].len()
    ///     });
    ///     outer.join().unwrap()
    /// });
    /// assert_eq!(letters, 8);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, f).expect("failed to spawn thread")
    }

    pub(super) fn spawn_with<F, T>(&'scope self, settings: Settings, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let settings = Settings { panics: Some(Arc::clone(&self.panics)), ..settings };
        // SAFETY:
        // - `scope` returns only when every thread on the list is done, and `'scope` lasts longer than it waits. Nothing
        //   between this and the list unwinds.
        let child = unsafe { Child::spawn(settings, f) }?;
        let mut threads = self.threads.lock();
        if threads.len() == threads.capacity() {
            threads.retain(|thread| !thread.has(Event::Done));
        }
        threads.push(Arc::clone(child.ending()));
        drop(threads);
        Ok(ScopedJoinHandle(child, PhantomData))
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// A handle of a thread in a [scope](scope()), which joins it: as [`std::thread::ScopedJoinHandle`], with its wait in the
/// wait-for graph.
///
/// A thread whose handle is dropped is waited for at the end of the scope; so is one whose handle is leaked.
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let numbers = [1, 2, 3];
/// let sum: i32 = thread::scope(|s| s.spawn(|| numbers.iter().sum()).join().unwrap());
/// assert_eq!(sum, 6);
/// ```
pub struct ScopedJoinHandle<'scope, T>(Child<T>, PhantomData<&'scope ()>);

// SAFETY:
// - a handle is made only for results that may be sent (`Child::spawn`), and gives one to a single owner.
unsafe impl<T> Send for ScopedJoinHandle<'_, T> {}
// SAFETY:
// - as above; a shared handle gives access to no result.
unsafe impl<T> Sync for ScopedJoinHandle<'_, T> {}

impl<T> ScopedJoinHandle<'_, T> {
    joins!(T);
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("thread", &self.thread().name())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
