//! The continuations of a task: what is run when it is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use super::panic;
use super::status::Status;

/// A listener for the end of numbered tasks.
pub(crate) trait Watcher: Send + Sync {
    /// Tells the watcher that the task with this number is done.
    fn notice(&self, number: usize, status: Status);
}

/// A listener for the request to stop a task that runs.
pub(crate) trait Stop: Send + Sync {
    /// Tells the task to stop. This is no user's code.
    fn stop(&self);
}

/// One thing to be run when a task is done.
pub(crate) enum Continuation {
    /// Wakes the owner with this number, 0 for the only one, to poll the future again.
    Waker(u64, Waker),
    /// The user's code, with a number that no other callback of the list has.
    Callback(u64, Box<dyn FnOnce(Status) + Send>),
    /// Tells a watcher, such as a wait for several futures, that the task with this number is done.
    Notice(Arc<dyn Watcher>, usize),
    /// Nothing to be run: who is told, before the task is done, that it is to stop.
    Stop(Arc<dyn Stop>),
}

impl Continuation {
    /// Returns the key by which the continuation is found.
    fn key(&self) -> Key {
        match self {
            Self::Waker(owner, _) => Key::Owner(*owner),
            Self::Notice(set, _) => Key::of_watcher(set),
            Self::Callback(number, _) => Key::Callback(*number),
            Self::Stop(_) => Key::Stop,
        }
    }

    /// Runs the continuation. A panic is contained.
    pub(crate) fn run(self, status: Status) {
        match self {
            Self::Waker(_, waker) => drop(panic::contain(|| waker.wake())),
            Self::Callback(_, callback) => drop(panic::contain(|| callback(status))),
            Self::Notice(set, number) => set.notice(number, status),
            Self::Stop(_) => {}
        }
    }
}

/// The key by which a continuation is found, to be replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The waker of the owner with this number.
    Owner(u64),
    /// The notice to the watcher at this address.
    Watcher(usize),
    /// The callback with this number.
    Callback(u64),
    /// The one that is told that the task is to stop.
    Stop,
}

impl Key {
    pub(crate) fn of_watcher<W: ?Sized>(watcher: &Arc<W>) -> Self {
        Self::Watcher(Arc::as_ptr(watcher).cast::<()>().addr())
    }
}

/// The maximum length of a list without an index.
const MAX_UNINDEXED: usize = 8;

/// The continuations of a task, in the order in which they were added. Boxed by each cell: most have none, and keep
/// room for a pointer only.
///
/// Adding, replacing and removing one takes constant time, amortised, however many owners and waits there are.
#[derive(Default)]
pub(crate) struct Continuations {
    /// `None` where one was removed.
    list: Vec<Option<Continuation>>,
    /// The number of those that were removed.
    removed: usize,
    /// The place of each continuation that can be found, if the list was ever longer than [`MAX_UNINDEXED`].
    places: Option<HashMap<Key, usize>>,
    /// The number of callbacks that were ever added.
    callbacks: u64,
    /// The number of places that were looked at or moved.
    #[cfg(test)]
    looks: usize,
}

impl Continuations {
    pub(crate) fn push(&mut self, continuation: Continuation) {
        if let Some(places) = &mut self.places {
            places.insert(continuation.key(), self.list.len());
        }
        self.list.push(Some(continuation));
        if self.places.is_none() && self.list.len() > MAX_UNINDEXED {
            self.index();
        }
    }

    /// Adds a callback. Returns its number.
    pub(crate) fn push_callback(&mut self, callback: Box<dyn FnOnce(Status) + Send>) -> u64 {
        self.callbacks += 1;
        self.push(Continuation::Callback(self.callbacks, callback));
        self.callbacks
    }

    /// Replaces the continuation that has this key, and returns it, or adds the new one at the end if there is none.
    pub(crate) fn put(&mut self, key: Key, continuation: Continuation) -> Option<Continuation> {
        debug_assert_eq!(continuation.key(), key);
        if let Some(place) = self.place_of(key) {
            return self.list[place].replace(continuation);
        }
        self.push(continuation);
        None
    }

    /// Removes the continuation that has this key.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Continuation> {
        let place = self.place_of(key)?;
        let Some(places) = &mut self.places else { return self.list.remove(place) };
        places.remove(&key);
        let removed = self.list[place].take();
        self.removed += 1;
        // Looks at fewer than twice as many places as were removed since the last time.
        if self.removed > MAX_UNINDEXED && self.removed > self.list.len() / 2 {
            self.list.retain(Option::is_some);
            self.removed = 0;
            self.index();
        }
        removed
    }

    /// Removes the notices from the list, which nobody searches any more.
    pub(super) fn take_notices(&mut self) -> Vec<Continuation> {
        let is_notice = |place: &mut Option<Continuation>| matches!(place, Some(Continuation::Notice(..)));
        self.list.iter_mut().filter_map(|place| if is_notice(place) { place.take() } else { None }).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Continuation> {
        self.list.iter().flatten()
    }

    pub(crate) fn in_order(self) -> impl Iterator<Item = Continuation> {
        self.list.into_iter().flatten()
    }

    /// Returns who is told that the task is to stop.
    pub(super) fn stop(&mut self) -> Option<Arc<dyn Stop>> {
        let place = self.place_of(Key::Stop)?;
        match &self.list[place] {
            Some(Continuation::Stop(stop)) => Some(Arc::clone(stop)),
            _ => None,
        }
    }

    fn place_of(&mut self, key: Key) -> Option<usize> {
        if let Some(places) = &self.places {
            return places.get(&key).copied();
        }
        let is_it = |other: &Option<Continuation>| other.as_ref().is_some_and(|other| other.key() == key);
        let place = self.list.iter().position(is_it);
        #[cfg(test)]
        {
            self.looks += place.unwrap_or(self.list.len());
        }
        place
    }

    fn index(&mut self) {
        #[cfg(test)]
        {
            self.looks += self.list.len();
        }
        let places = self.list.iter().enumerate();
        let places = places.filter_map(|(place, other)| Some((other.as_ref()?.key(), place)));
        let index = self.places.get_or_insert_default();
        index.clear();
        index.extend(places);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn waker(owner: u64) -> Continuation {
        Continuation::Waker(owner, Waker::noop().clone())
    }

    fn owners(all: &Continuations) -> Vec<u64> {
        let owner = |continuation: &Continuation| match continuation {
            Continuation::Waker(owner, _) => *owner,
            _ => u64::MAX,
        };
        all.iter().map(owner).collect()
    }

    #[test]
    fn many_owners_cost_a_look_each_to_be_added_replaced_and_removed() {
        const MANY: u64 = if cfg!(miri) { 200 } else { 32_000 };
        let mut all = Continuations::default();
        for _ in 0..3 {
            for owner in 0..MANY {
                all.put(Key::Owner(owner), waker(owner));
            }
        }
        assert_eq!(owners(&all), (0..MANY).collect::<Vec<_>>());
        // The last first, then the first first.
        for owner in (MANY / 2..MANY).rev().chain(0..MANY / 2) {
            assert!(all.remove(Key::Owner(owner)).is_some());
            assert!(all.remove(Key::Owner(owner)).is_none());
        }
        assert_eq!(owners(&all), [0; 0]);
        assert!(all.looks as u64 <= 4 * MANY, "{} looks at {MANY}", all.looks);
    }

    #[test]
    fn many_callbacks_cost_a_look_each_to_be_added_and_removed() {
        const MANY: u64 = if cfg!(miri) { 200 } else { 32_000 };
        let mut all = Continuations::default();
        let numbers: Vec<_> = (0..MANY).map(|_| all.push_callback(Box::new(drop))).collect();
        for number in numbers.into_iter().rev() {
            assert!(all.remove(Key::Callback(number)).is_some());
            assert!(all.remove(Key::Callback(number)).is_none());
        }
        assert!(all.iter().next().is_none());
        assert!(all.looks as u64 <= 4 * MANY, "{} looks at {MANY}", all.looks);
    }

    #[test]
    fn what_was_added_runs_in_order_whatever_was_removed_or_replaced() {
        for many in [1, 3, 8, 9, 40] {
            let told = Arc::new(Mutex::new(Vec::new()));
            let mut all = Continuations::default();
            for number in 0..many {
                all.put(Key::Owner(number), waker(number));
                let told = Arc::clone(&told);
                assert_eq!(all.push_callback(Box::new(move |_| told.lock().unwrap().push(number))), number + 1);
            }
            for number in (0..many).filter(|number| number % 3 != 1) {
                assert!(all.remove(Key::Owner(number)).is_some());
            }
            for number in (0..many).filter(|number| number % 3 == 1) {
                assert!(all.put(Key::Owner(number), waker(number)).is_some(), "replaced");
            }
            all.put(Key::Owner(many), waker(many));
            let left: Vec<_> = (0..many).filter(|number| number % 3 == 1).chain([many]).collect();
            let wakers: Vec<_> = owners(&all).into_iter().filter(|&owner| owner != u64::MAX).collect();
            assert_eq!(wakers, left);
            all.in_order().for_each(|continuation| continuation.run(Status::Finished));
            assert_eq!(*told.lock().unwrap(), (0..many).collect::<Vec<_>>());
        }
    }
}
