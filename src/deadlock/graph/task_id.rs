//! The id of a task.

use std::fmt;
use std::num::NonZero;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet;

/// The id of a task or of a promise: unique for the life of the process, and never reused.
///
/// An id is made when it is first asked for, by [`Future::id`](crate::Future::id) and its like, or by a report that shows
/// the task. So ids are in the order in which they were first asked for, and a task that nobody asks about costs nothing.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
/// use std::collections::HashMap;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect();
/// let inputs: HashMap<_, _> = futures.iter().zip(0..4).map(|(future, n)| (future.id(), n)).collect();
/// for future in bowline::as_completed(futures) {
///     let future = future?;
///     let input = inputs[&future.id()];
///     assert_eq!(future.result()?, input * input);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct TaskId(NonZero<u64>);

impl TaskId {
    /// The width of an id in bits.
    pub(crate) const BITS: u32 = 55;

    /// Returns an id that no other task has.
    pub(crate) fn new() -> Self {
        static LAST: quiet::AtomicU64 = quiet::AtomicU64::new(0);
        let id = LAST.fetch_add(1, Relaxed) + 1;
        assert!(id < 1 << Self::BITS, "fewer than 2^55 tasks are asked for their id");
        Self::from_word(id).expect("it is not zero")
    }

    /// Returns the id with this value, `None` for zero.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        NonZero::new(word).map(Self)
    }

    /// Returns the id as a number. It is never zero.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_promise, future) = bowline::promise::<u8>();
    /// assert_eq!(future.id().get().to_string(), future.id().to_string());
    /// ```
    #[inline]
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

/// The id of a task as a report has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedId {
    pub(crate) id: TaskId,
    /// Whether the program has asked for it, so that it means something to the reader of a text.
    pub(crate) is_told: bool,
}
