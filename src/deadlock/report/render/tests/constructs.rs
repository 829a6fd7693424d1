//! Lines of made-up reports that are calls in constructs. The golden files name these lines.

#![allow(
    clippy::match_single_binding,
    clippy::needless_ifs,
    clippy::never_loop,
    clippy::redundant_pattern_matching,
    clippy::single_match,
    reason = "the constructs are what is looked at"
)]

use std::cell::RefCell;
use std::fmt::{self, Display};

use crate::deadlock::graph::resource::Site;

/// A lock that only notes from where it is taken.
#[derive(Default)]
pub(super) struct Noted(RefCell<Vec<Site>>);

impl Noted {
    #[track_caller]
    fn lock(&self) -> Vec<u64> {
        self.0.borrow_mut().push(std::panic::Location::caller());
        vec![1]
    }

    /// Returns the lines at which `of` takes two locks: the first one, and the one that it waits for.
    pub(super) fn sites(of: fn(&Self, &Self)) -> [Site; 2] {
        let [first, second] = [Self::default(), Self::default()];
        of(&first, &second);
        let site = |noted: Self| noted.0.into_inner()[0];
        [site(first), site(second)]
    }
}

/// A construct by the name of its golden files.
pub(super) type Construct = (&'static str, fn(&Noted, &Noted));

pub(super) const CONSTRUCTS: [Construct; 12] = [
    ("match", |a, b| match a.lock().first() {
        Some(_) => drop(b.lock()),
        None => {}
    }),
    ("match-arm", |a, b| match a {
        a => a.lock().push(b.lock()[0]),
    }),
    ("if-let", |a, b| {
        if let Some(_) = a.lock().first() {
            b.lock();
        }
    }),
    ("while-let", |a, b| {
        while let Some(_) = a.lock().first() {
            b.lock();
            break;
        }
    }),
    ("for", |a, b| {
        for _ in a.lock().iter() {
            b.lock();
        }
    }),
    ("condition", |a, b| if a.lock().len() != b.lock().len() {}),
    ("statement", |a, b| {
        a.lock().push(b.lock()[0]);
    }),
    ("macro", |a, b| assert_eq!(a.lock().len(), b.lock().len())),
    ("callback", calls_back),
    ("drop", replaces),
    ("display", |a, b| show(a, &Value(b))),
    ("iterator", extends),
];

fn calls_back(a: &Noted, b: &Noted) {
    notify(a, || drop(b.lock()));
}

fn notify(a: &Noted, observer: impl FnOnce()) {
    let mut guard = a.lock();
    observer();
    guard.push(1);
}

fn replaces(a: &Noted, b: &Noted) {
    let mut guard = a.lock();
    drop(Value(b));
    guard.push(1);
}

fn extends(a: &Noted, b: &Noted) {
    a.lock().extend(Value(b));
}

fn show(a: &Noted, value: &impl Display) {
    let mut guard = a.lock();
    let text = value.to_string();
    guard.push(text.len() as u64);
}

/// A value that takes a lock whatever is done to it.
struct Value<'l>(&'l Noted);

impl Drop for Value<'_> {
    fn drop(&mut self) {
        self.0.lock();
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.lock())
    }
}

impl Iterator for Value<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.lock().pop().filter(|_| false)
    }
}
