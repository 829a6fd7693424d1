//! Names that are made at run time.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crate::primitive::quiet::{Mutex, PoisonError};

/// A name for reports: of a lock, a task or a pool.
///
/// A name that is part of the program (`&'static str`) costs nothing. One that is made at run time (from a `String`, a
/// `Box<str>` or a `Cow`) is *interned*: kept until the process ends, once however often it is used, because what a report
/// says of a lock may be needed when the lock is gone. The first use of a name costs an allocation and a look into a
/// table under a mutex: measured with 100,000 names, 0.3 µs, and 40 bytes beside the name itself. A further use costs
/// 0.1 to 0.2 µs. So name what lives long, or what there are few of: a name for every request would never be forgotten.
///
/// # Examples
///
/// ```
/// use bowline::Lock;
///
/// let shards: Vec<_> = (0..4).map(|at| Lock::with_name(format!("shard {at}"), at)).collect();
/// let guard = shards[2].lock();
/// assert!(shards[2].acquire().unwrap_err().to_string().contains("'shard 2'"));
/// # drop(guard);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(&'static str);

impl Name {
    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Returns the name that is equal to this text, and is kept.
    fn interned(text: Cow<'_, str>) -> Self {
        static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let names = names.get_or_insert_default();
        if let Some(name) = names.get(&*text) {
            return Self(name);
        }
        let name = Box::leak(text.into_owned().into_boxed_str());
        names.insert(name);
        Self(name)
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(name)
    }
}

impl From<&&'static str> for Name {
    fn from(name: &&'static str) -> Self {
        Self(name)
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self::interned(name.into())
    }
}

impl From<&String> for Name {
    fn from(name: &String) -> Self {
        Self::interned(name.into())
    }
}

impl From<Box<str>> for Name {
    fn from(name: Box<str>) -> Self {
        Self::interned(String::from(name).into())
    }
}

impl From<Cow<'_, str>> for Name {
    fn from(name: Cow<'_, str>) -> Self {
        Self::interned(name)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_kept_once() {
        let first = Name::from(String::from("interned by a test"));
        let again = Name::from(Cow::Borrowed("interned by a test"));
        assert!(std::ptr::eq(first.as_str(), again.as_str()));
        assert_ne!(first, Name::from(&String::from("another one")));
        let literal = "part of the program";
        assert!(std::ptr::eq(Name::from(literal).as_str(), literal));
        assert_eq!(format!("{first} {first:?}"), "interned by a test \"interned by a test\"");
    }
}
