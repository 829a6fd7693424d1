//! A thread that waits before it runs, unless it is cancelled.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::thread::{Result, Thread};
use std::time::{Duration, Instant};

use super::child::{Child, Settings};
use super::error::JoinDeadlock;
use super::fuse::{Fuse, State};
use super::handle::joins;
use crate::deadlock::Name;
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::resource::Origin;

/// A thread that runs a function after a while, unless it is cancelled before: Python's `threading.Timer`.
///
/// It starts when it is made. Its thread has the timer's name, or the name `Timer`. Dropping the timer detaches it: the
/// function runs all the same, unless the process ends before. Each timer is a thread of its own, so it suits time-outs that are few and
/// far between. If the function panics, [`join`](Self::join) returns that, and nobody else hears of it.
///
/// The time is the earliest: the function runs once the system's scheduler gets to it.
///
/// # Deadlocks
///
/// While it waits for its time, its thread is in the wait-for graph, as a wait with a limit: it is part of no deadlock, and
/// never a [long wait](crate::deadlock::warn_after). A [`join`](Self::join) waits for that thread.
///
/// # Examples
///
/// ```
/// use bowline::Timer;
/// use std::time::Duration;
///
/// let timer = Timer::after(Duration::from_millis(10), || println!("ten milliseconds later"));
/// timer.join().unwrap();
///
/// let never = Timer::after(Duration::from_secs(3600), || unreachable!());
/// assert!(never.cancel());
/// never.join().unwrap();
/// ```
///
/// What is to happen again and again is a thread that waits for an [`Event`](crate::Event) with a limit:
///
/// ```
/// use bowline::{Event, thread};
/// use std::time::Duration;
///
/// let over = Event::new();
/// thread::scope(|s| {
///     s.spawn(|| {
///         while !over.wait_for(Duration::from_millis(5)) {
///             println!("five milliseconds later");
///         }
///     });
///     over.set();
/// });
/// ```
pub struct Timer(Child<()>, Arc<Fuse>);

impl Timer {
    /// Runs `f` once `delay` has passed, on a thread of its own. A delay past what the clock can tell never passes.
    ///
    /// # Panics
    ///
    /// If the system refuses to start a thread.
    #[track_caller]
    pub fn after<F: FnOnce() + Send + 'static>(delay: Duration, f: F) -> Self {
        Self::start(Limit::after(delay), None, f)
    }

    /// Runs `f` at `time`, on a thread of its own.
    ///
    /// # Panics
    ///
    /// If the system refuses to start a thread.
    #[track_caller]
    pub fn at<F: FnOnce() + Send + 'static>(time: Instant, f: F) -> Self {
        Self::start(Limit::Until(time), None, f)
    }

    /// Runs `f` once `delay` has passed, on a thread of this name: see [`after`](Self::after).
    ///
    /// # Panics
    ///
    /// If the system refuses to start a thread, or if the name has a zero byte.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Timer, thread};
    /// use std::time::Duration;
    ///
    /// let timer = Timer::named("sweeper", Duration::ZERO, || {
    ///     assert_eq!(thread::current().name(), Some("sweeper"));
    /// });
    /// timer.join().unwrap();
    /// ```
    #[track_caller]
    pub fn named<F: FnOnce() + Send + 'static>(name: impl Into<Name>, delay: Duration, f: F) -> Self {
        Self::start(Limit::after(delay), Some(name.into().as_str()), f)
    }

    #[track_caller]
    fn start<F: FnOnce() + Send + 'static>(time: Limit, name: Option<&'static str>, f: F) -> Self {
        let site = Location::caller();
        let fuse = Fuse::new::<F>(Origin::at(site, name));
        let settings =
            Settings { name: Some(name.unwrap_or("Timer").to_owned()), stack_size: None, site, panics: None };
        let theirs = Arc::clone(&fuse);
        let body = move || {
            if theirs.burn(time) {
                f();
            }
        };
        // SAFETY:
        // - nothing is borrowed.
        let child = unsafe { Child::spawn(settings, body) };
        Self(child.expect("failed to spawn thread"), fuse)
    }

    /// Cancels the timer. Returns whether the function will not run: whether this, or an earlier call, was in time.
    ///
    /// Never waits. The function is dropped on the timer's thread, which then ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Timer;
    /// use std::time::Duration;
    ///
    /// let timer = Timer::after(Duration::from_secs(3600), || unreachable!());
    /// assert!(timer.cancel() && timer.cancel());
    /// assert!(!timer.fired());
    /// ```
    pub fn cancel(&self) -> bool {
        self.1.cancel()
    }

    /// Returns whether the time came, and the function was called. It may still run: see
    /// [`is_finished`](Self::is_finished).
    #[must_use]
    pub fn fired(&self) -> bool {
        self.1.state() == State::Fired
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("name", &self.1.name())
            .field("state", &self.1.state())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl Timer {
    joins!(());
}
