//! A wait for several that can return no error: how its deadlocks are found, one after the other.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::groups::Flag;
use super::{Watched, explore};
use crate::deadlock::context::Context;
use crate::deadlock::door::{Failure, Limit, Terms, wait};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry::current;
use crate::deadlock::resource::ResourceFacts;
use crate::deadlock::waitable::{Blocker, Need, Park, Visit};
use crate::primitive::{Ingredient, events, remove};

/// The wait for two flags, one after the other.
struct Both<'f> {
    flags: &'f [Arc<Flag>; 2],
    at: Cell<usize>,
}

impl Blocker for Both<'_> {
    fn facts(&self, nth: usize) -> ResourceFacts {
        self.flags[nth].facts(0)
    }

    fn need(&self) -> Need {
        Need::All
    }

    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>) {
        self.flags.iter().for_each(|flag| flag.providers(graph, visit));
    }
}

impl Park for Both<'_> {
    fn key(&self) -> usize {
        self.flags[self.at.get()].key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        if self.at.get() == 0 && self.flags[0].try_grant(me) {
            self.at.set(1);
        }
        self.at.get() == 1 && self.flags[1].try_grant(me)
    }

    fn announce(&self) -> bool {
        self.flags[self.at.get()].announce()
    }

    fn is_announced(&self) -> bool {
        self.flags[self.at.get()].is_announced()
    }
}

/// Two threads want the lock of a thread that waits for both, and can return no error. Returns whether both got a
/// deadlock.
fn wait_for_two_that_want_the_same(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let guard = lock.lock();
    let flags = [Flag::awaited(), Flag::awaited()];
    let threads = flags.each_ref().map(|flag| {
        let (lock, flag) = (Arc::clone(&lock), Arc::clone(flag));
        thread::spawn(move || {
            flag.run();
            let told = lock.acquire().is_err();
            flag.set();
            told
        })
    });
    let terms = Terms { site: Location::caller(), limit: Limit::None, failure: Failure::Never, relock: false };
    let outcome = wait(current(), &Both { flags: &flags, at: Cell::new(0) }, terms);
    assert!(outcome.is_ok());
    drop(guard);
    let told = threads.map(|thread| thread.join().unwrap());
    assert_eq!(told, [true, true], "the lock was held until both had ended");
    events().unparks > 1
}

#[test]
fn a_wait_for_two_that_both_want_what_the_waiter_holds_is_told_to_each() {
    explore(2, || wait_for_two_that_want_the_same(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_finders_second_look_the_other_is_never_told() {
    explore(2, || wait_for_two_that_want_the_same(Some(Ingredient::FindersLook)));
}
