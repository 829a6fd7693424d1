//! A setting of the process whose first value an environment variable names.

use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet;

/// One of a few values, each with a name. The first value is the one that an environment variable names, or the default.
pub(super) struct Setting<T: 'static> {
    /// The place of the value among `values`, or [`UNSET`].
    at: quiet::AtomicU8,
    /// Whether somebody chose the value.
    is_chosen: quiet::AtomicBool,
    variable: &'static str,
    values: &'static [(&'static str, T)],
    default: T,
}

/// Not decided yet: ask the environment.
const UNSET: u8 = u8::MAX;

impl<T: Copy + PartialEq> Setting<T> {
    /// Makes a setting that is one of these values, and of which nobody has asked the environment yet.
    pub(super) const fn new(variable: &'static str, values: &'static [(&'static str, T)], default: T) -> Self {
        let (at, is_chosen) = (quiet::AtomicU8::new(UNSET), quiet::AtomicBool::new(false));
        Self { at, is_chosen, variable, values, default }
    }

    /// Returns the value. Costs one relaxed load.
    pub(super) fn get(&self) -> T {
        match self.at.load(Relaxed) {
            UNSET => self.first(),
            at => self.values[usize::from(at)].1,
        }
    }

    /// Sets the value, and returns the one before.
    pub(super) fn replace(&self, value: T) -> T {
        let _ = self.get();
        let before = self.at.swap(self.place(value), Relaxed);
        // ORDERING: Release pairs with the Acquire in `is_known_to_be_chosen`: whoever sees that somebody has chosen sees what.
        self.is_chosen.store(true, Release);
        self.values[usize::from(before)].1
    }

    /// Returns whether the value was set, or the environment names it, and not only the default.
    pub(super) fn is_chosen(&self) -> bool {
        let _ = self.get();
        self.is_known_to_be_chosen()
    }

    /// [`is_chosen`](Self::is_chosen), as far as it is known without asking the environment, which allocates.
    #[inline]
    pub(super) fn is_known_to_be_chosen(&self) -> bool {
        // ORDERING: see `replace`.
        self.is_chosen.load(Acquire)
    }

    /// Returns whether the value is the one at this place. `false` while nobody has asked the environment.
    #[inline]
    pub(super) fn is_at(&self, place: u8) -> bool {
        self.at.load(Relaxed) == place
    }

    fn place(&self, value: T) -> u8 {
        let at = self.values.iter().position(|&(_, other)| other == value).unwrap_or_default();
        u8::try_from(at).expect("a few values")
    }

    #[cold]
    fn first(&self) -> T {
        let value = std::env::var_os(self.variable);
        let named = value.as_ref().and_then(|value| {
            let value = value.to_str()?.trim();
            self.values.iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
        });
        if named.is_some() {
            self.is_chosen.store(true, Relaxed);
        }
        let first = self.place(named.unwrap_or(self.default));
        // The first thread to get here says so; a value that was set meanwhile stays.
        if self.at.compare_exchange(UNSET, first, Relaxed, Relaxed).is_ok()
            && let (Some(value), None) = (value, named)
        {
            let (variable, default) = (self.variable, self.values[usize::from(first)].0);
            let names: Vec<_> = self.values.iter().map(|&(name, _)| name).collect();
            super::print_line(format_args!(
                "bowline: {variable}={value:?} is none of {}; going on with {default}",
                names.join(", ")
            ));
        }
        self.get()
    }
}
