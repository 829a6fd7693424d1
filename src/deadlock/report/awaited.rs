//! Which of the holds that are listed are true, as far as a report can tell.

use std::collections::{HashMap, HashSet};

use super::{Held, Resource};
use crate::deadlock::graph::resource::{ResourceFacts, SharedId};

/// What is waited for, by address: each resource with the address of the context that its word names as the owner, or 0.
///
/// What several can hold has an id in place of an address, which no other resource gets; its waits name several owners.
/// Other holds have an address. The hold of a forgotten guard stays listed, and a new lock may be at the address of its lock
/// by now. Where a participant waits for the new lock, the old hold is recognised by its holder or by what it names, and is
/// left out.
pub(super) struct Awaited(HashMap<usize, (usize, Resource)>);

impl Awaited {
    pub(super) fn new(waits: impl Iterator<Item = (usize, ResourceFacts)>) -> Self {
        let waits = waits.filter(|(_, resource)| SharedId::of_key(resource.key).is_none());
        Self(waits.map(|(owner, resource)| (resource.key, (owner, Resource::from(resource)))).collect())
    }

    /// Returns whether what is waited for at this address is another resource than the one that `holder` has listed, or
    /// is owned by another context.
    pub(super) fn is_another(&self, holder: usize, listed: &Resource) -> bool {
        self.0
            .get(&listed.key)
            .is_some_and(|(owner, awaited)| *owner != 0 && *owner != holder || !awaited.is_same(listed))
    }
}

/// Keeps one of several holds that cannot be told apart. A thread holds a resource once, unless it is one of several that can
/// hold it, so the others are of forgotten guards, of locks that no longer exist. The true one is the last, unless places in
/// the list before it were freed meanwhile, which the list does not tell.
pub(super) fn keep_the_last_of_each(held: &mut Vec<Held>) {
    let mut seen = HashSet::with_capacity(held.len());
    held.reverse();
    held.retain(|held| SharedId::of_key(held.resource.key).is_some() || seen.insert(held.resource.identity()));
    held.reverse();
}
