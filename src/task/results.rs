//! The results of the calls of one chunk, in the order of its items.

use std::vec;

use super::error::TaskError;

/// The results of the calls of one chunk, in the order of its items.
///
/// A result takes no more space than its value: the few that are errors are elsewhere, with their places.
pub struct Results<R> {
    values: Vec<R>,
    /// Each with the number of values before it.
    errors: Vec<(usize, TaskError)>,
}

impl<R> Results<R> {
    /// Makes an empty list with room for this many values.
    pub(crate) fn with_capacity(values: usize) -> Self {
        Self { values: Vec::with_capacity(values), errors: Vec::new() }
    }

    /// Returns the list of one error, this many times.
    pub(crate) fn all_failed(error: TaskError, size: usize) -> Self {
        Self { values: Vec::new(), errors: vec![(0, error); size] }
    }

    /// Adds a call that returned.
    #[inline]
    pub(crate) fn push(&mut self, value: R) {
        self.values.push(value);
    }

    /// Adds a call that failed, or was not made.
    #[cold]
    pub(crate) fn push_error(&mut self, error: TaskError) {
        self.errors.push((self.values.len(), error));
    }

    /// Puts the errors where they belong.
    #[cold]
    fn mixed(self) -> IntoIter<R> {
        let mut results = Vec::with_capacity(self.values.len() + self.errors.len());
        let mut values = self.values.into_iter();
        let count = values.len();
        for (before, error) in self.errors {
            let still = before - (count - values.len());
            results.extend(values.by_ref().take(still).map(Ok));
            results.push(Err(error));
        }
        results.extend(values.map(Ok));
        IntoIter::Mixed(results.into_iter())
    }
}

impl<R> FromIterator<Result<R, TaskError>> for Results<R> {
    fn from_iter<I: IntoIterator<Item = Result<R, TaskError>>>(results: I) -> Self {
        let results = results.into_iter();
        let mut all = Self::with_capacity(results.size_hint().0);
        for result in results {
            match result {
                Ok(value) => all.push(value),
                Err(error) => all.push_error(error),
            }
        }
        all
    }
}

impl<R> IntoIterator for Results<R> {
    type Item = Result<R, TaskError>;
    type IntoIter = IntoIter<R>;

    fn into_iter(self) -> IntoIter<R> {
        if self.errors.is_empty() { IntoIter::Values(self.values.into_iter()) } else { self.mixed() }
    }
}

/// The rest of the [`Results`] of a chunk.
pub enum IntoIter<R> {
    /// There are no errors among them.
    Values(vec::IntoIter<R>),
    /// There are.
    Mixed(vec::IntoIter<Result<R, TaskError>>),
}

impl<R> Iterator for IntoIter<R> {
    type Item = Result<R, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Result<R, TaskError>> {
        match self {
            Self::Values(values) => values.next().map(Ok),
            Self::Mixed(results) => results.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Values(values) => values.size_hint(),
            Self::Mixed(results) => results.size_hint(),
        }
    }
}

impl<R> ExactSizeIterator for IntoIter<R> {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_items_wherever_the_errors_are() {
        for pattern in 0_u32..1 << 7 {
            let of = |at: usize| if pattern >> at & 1 == 0 { Ok(at) } else { Err(TaskError::Cancelled) };
            let mut iter = (0..7).map(of).collect::<Results<usize>>().into_iter();
            for at in 0..7 {
                assert_eq!(iter.len(), 7 - at);
                assert_eq!(iter.next().map(|result| result.ok()), Some(of(at).ok()), "{pattern:b}");
            }
            assert!(iter.next().is_none() && iter.next().is_none());
        }
    }
}
