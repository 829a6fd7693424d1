//! The settings of a thread that is about to be spawned.

use std::io;
use std::panic::Location;

use super::child::{Child, Settings};
use super::handle::JoinHandle;
use super::scope::{Scope, ScopedJoinHandle};
use crate::deadlock::resource::Site;

/// The name and the stack size of a thread that is about to be spawned: as [`std::thread::Builder`].
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let clerk = thread::Builder::new().name("clerk".into()).stack_size(64 * 1024);
/// let handle = clerk.spawn(|| thread::current().name().map(str::to_owned))?;
/// assert_eq!(handle.join().unwrap().as_deref(), Some("clerk"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "must eventually spawn the thread"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Returns the settings of a thread that has no name, and a stack of the standard library's default size.
    #[expect(clippy::new_without_default, reason = "the standard library's has none")]
    pub fn new() -> Self {
        Self { name: None, stack_size: None }
    }

    /// Sets the name of the thread, by which reports speak of it.
    ///
    /// # Panics
    ///
    /// If it has a zero byte, when the thread is spawned.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the size of the thread's stack, in bytes.
    pub fn stack_size(mut self, size: usize) -> Self {
        self.stack_size = Some(size);
        self
    }

    /// Spawns the thread: see [`spawn`](super::spawn).
    ///
    /// # Errors
    ///
    /// The system refuses to start a thread.
    ///
    /// # Panics
    ///
    /// If the name has a zero byte.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - nothing is borrowed.
        unsafe { self.spawn_unchecked(f) }
    }

    /// Spawns the thread, which may borrow what does not live for ever.
    ///
    /// # Errors
    ///
    /// The system refuses to start a thread.
    ///
    /// # Panics
    ///
    /// If the name has a zero byte.
    ///
    /// # Safety
    ///
    /// The thread is joined, or over, before anything goes that `f` or its result borrows.
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let settings = self.settings(Location::caller());
        // SAFETY:
        // - the thread is done before it is over, and what is borrowed lives until then (caller).
        unsafe { Child::spawn(settings, f) }.map(JoinHandle)
    }

    /// Spawns the thread in a scope: see [`Scope::spawn`].
    ///
    /// # Errors
    ///
    /// The system refuses to start a thread.
    ///
    /// # Panics
    ///
    /// If the name has a zero byte.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::thread;
    ///
    /// let word = String::from("knot");
    /// let length = thread::scope(|s| {
    ///     let clerk = thread::Builder::new().name("clerk".into()).spawn_scoped(s, || word.len());
    ///     clerk.map(|clerk| clerk.join().unwrap())
    /// });
    /// assert_eq!(length?, 4);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.spawn_with(self.settings(Location::caller()), f)
    }

    fn settings(self, site: Site) -> Settings {
        Settings { name: self.name, stack_size: self.stack_size, site, panics: None }
    }
}
