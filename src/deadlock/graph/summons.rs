//! What the graph asks of registered waits, and how they learn of it.

use std::cell::Cell;

use super::Graph;
use super::blocker::{Need, Provider};
use super::context::Context;
use super::id::GroupId;
use super::record::Entry;
use super::record::Summons;
use super::waits::LISTS;
use crate::primitive::{FilterOp, Ingredient, UnparkToken, is_removed, unpark_filter};

/// The unpark token that wakes a registered waiter without a grant: look at your entry, under the graph's mutex.
pub(crate) const KICK: UnparkToken = UnparkToken(2);

/// The registered waits of one kind, or of both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    /// Those that have alternatives, need several, or count on a group.
    Forked,
}

impl Graph {
    /// Re-checks the waiter that chose this victim, now that the victim has answered. A wait for several can be part of
    /// several deadlocks, and its judge finds one at a time.
    pub(in crate::deadlock) fn recheck_finder(&mut self, finder: Option<&'static Context>) {
        if let Some(finder) = finder.filter(|_| !is_removed(Ingredient::FindersLook)) {
            self.summon(finder, Summons::Recheck);
        }
    }

    /// Makes another wait the victim of the deadlock that `me` found.
    pub(in crate::deadlock) fn make_victim(&mut self, victim: &'static Context, me: &'static Context) {
        if let Some(entry) = self.record_mut(victim).entry.as_mut() {
            entry.finder = Some(me);
        }
        self.summon(victim, Summons::Victim);
    }

    /// Leaves a summons in a registered wait and wakes it.
    pub(in crate::deadlock) fn summon(&mut self, context: &'static Context, summons: Summons) {
        self.mark_live(context);
        if let Some(key) = self.leave_summons(context, summons) {
            let me = context.address();
            // SAFETY:
            // - the key is an address that a primitive of ours controls.
            // - the closures neither unwind nor park nor unpark.
            unsafe {
                unpark_filter(key, |token| if token.0 == me { FilterOp::Unpark } else { FilterOp::Skip }, |_| KICK);
            }
        }
    }

    /// Leaves a summons in a registered wait. Returns the key that its waiter parks on.
    fn leave_summons(&mut self, context: &'static Context, summons: Summons) -> Option<usize> {
        let entry = self.record_mut(context).entry.as_mut()?;
        if entry.summons != Summons::Victim {
            entry.summons = summons;
        }
        let key = entry.key;
        context.set_summoned(self, true);
        Some(key)
    }

    /// Leaves a summons in each registered wait for which `concerns` holds, and wakes their waiters.
    ///
    /// `changed` says that something changed, so that a wait that was known to be stuck may be so no longer. If it
    /// still is, it summons the others again (see [`mark_stuck`](Self::mark_stuck)).
    ///
    /// Makes one pass through each queue, not one for each waiter in it: linear in the waits.
    fn summon_where(
        &mut self,
        among: Among,
        summons: Summons,
        changed: bool,
        concerns: impl Fn(&Self, &'static Context, &Entry) -> bool,
    ) {
        let mut any = false;
        for list in Self::lists(among) {
            let mut next = self.first_of_list(list);
            while let Some(context) = next {
                next = self.record(context).next;
                if self.entry(context).is_some_and(|entry| concerns(self, context, entry)) {
                    self.leave_summons(context, summons);
                    if changed {
                        self.mark_live(context);
                    }
                    any = true;
                }
            }
        }
        if !any {
            return;
        }
        self.kicks += 1;
        let kick = self.kicks;
        for list in Self::lists(among) {
            let mut next = self.first_of_list(list);
            while let Some(context) = next {
                let record = self.record(context);
                next = record.next;
                let is_due = context.is_summoned() && record.kicked.get() != kick;
                if let Some(entry) = record.entry.as_ref().filter(|_| is_due) {
                    self.kick_summoned(entry.key, kick);
                }
            }
        }
    }

    /// Returns the lists to go through: those of chained waits, and behind them the one of forked waits.
    fn lists(among: Among) -> std::ops::RangeInclusive<usize> {
        if among == Among::All { 0..=LISTS } else { LISTS..=LISTS }
    }

    /// Wakes the summoned waiters in one queue, and marks them.
    fn kick_summoned(&self, key: usize, kick: u64) {
        /// How many are woken at once without allocating.
        const AT_ONCE: usize = 8;
        loop {
            let woken = Cell::new(0);
            let filter = |token: crate::primitive::ParkToken| {
                #[cfg(all(test, not(loom)))]
                tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
                if woken.get() == AT_ONCE {
                    return FilterOp::Stop;
                }
                // SAFETY:
                // - a park token is the address of a context (`door::park_on`).
                let context = unsafe { Context::at(token.0) };
                if !context.is_summoned() {
                    return FilterOp::Skip;
                }
                self.record(context).kicked.set(kick);
                woken.set(woken.get() + 1);
                FilterOp::Unpark
            };
            // SAFETY:
            // - the key is an address that a primitive of ours controls.
            // - the closures neither unwind nor park nor unpark.
            unsafe { unpark_filter(key, filter, |_| KICK) };
            if woken.get() < AT_ONCE {
                return;
            }
        }
    }

    /// Summons every registered wait.
    pub(in crate::deadlock) fn summon_all(&mut self, summons: Summons) {
        self.summon_where(Among::All, summons, true, |_, _, _| true);
    }

    /// Re-checks the registered waits for which `concerns` holds.
    fn recheck(&mut self, among: Among, concerns: impl Fn(&Self, &'static Context, &Entry) -> bool) {
        self.summon_where(among, Summons::Recheck, true, |graph, context, entry| {
            !entry.timed && concerns(graph, context, entry)
        });
    }

    /// Re-checks the waits that park on a key.
    pub(in crate::deadlock) fn recheck_waits_at(&mut self, key: usize) {
        self.recheck(Among::All, |_, _, entry| entry.key == key);
    }

    /// Re-checks the waits that count on a group.
    pub(in crate::deadlock) fn recheck_group(&mut self, group: GroupId) {
        self.forget_walks(group);
        if is_removed(Ingredient::GroupEvents) {
            return;
        }
        self.recheck(Among::Forked, |graph, _, entry| {
            entry.any_provider(graph, |provider| matches!(provider, Provider::AnyOf(other) if other == group))
        });
    }

    /// Re-checks the waits that a thread could end, by one of its contexts or as a member of its group.
    pub(in crate::deadlock) fn recheck_waits_for(&mut self, first: &'static Context) {
        let group = self.record(first).group;
        self.recheck(Among::All, |graph, _, entry| {
            entry.any_provider(graph, |provider| match provider {
                Provider::AnyOf(other) => Some(other) == group,
                _ => {
                    let context = provider.context().and_then(|id| graph.context(id));
                    context.is_some_and(|context| graph.first_of(context) == first)
                }
            })
        });
    }

    /// Notes that a wait is not known to be stuck.
    pub(in crate::deadlock) fn mark_live(&mut self, me: &'static Context) {
        if let Some(entry) = self.record_mut(me).entry.as_mut() {
            entry.is_stuck = false;
        }
    }

    /// Notes that a wait was found to be stuck, and stays. Re-checks the waits with alternatives, one of which may have
    /// led here: this wait need not be part of the deadlock that it completes.
    ///
    /// Does so once, until something changes that concerns this wait, so that two waits that re-check each other come
    /// to rest.
    pub(in crate::deadlock) fn mark_stuck(&mut self, me: &'static Context) {
        if self.is_newly_stuck(me) {
            self.summon_where(Among::Forked, Summons::Recheck, false, |graph, context, entry| {
                context != me
                    && !entry.timed
                    && (matches!(entry.blocker().need(), Need::Any | Need::AtLeast(_))
                        || entry.any_provider(graph, |provider| matches!(provider, Provider::AnyOf(_))))
            });
        }
    }

    /// Notes that a wait is for several, one of whom is gone, and stays. Re-checks all other waits: this one may have closed
    /// a cycle as well, and its own judge says of it no more than who is gone.
    ///
    /// Does so once, as [`mark_stuck`](Self::mark_stuck).
    pub(in crate::deadlock) fn mark_abandoned(&mut self, me: &'static Context) {
        if self.is_newly_stuck(me) {
            self.summon_where(Among::All, Summons::Recheck, false, |_, context, entry| context != me && !entry.timed);
        }
    }

    /// Notes that a wait is stuck. Returns whether that is new.
    fn is_newly_stuck(&mut self, me: &'static Context) -> bool {
        let entry = self.record_mut(me).entry.as_mut();
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.is_stuck, true))
    }

    /// Takes the summons of a registered wait.
    pub(in crate::deadlock) fn answer_summons(&mut self, me: &'static Context) -> Summons {
        me.set_summoned(self, false);
        let Some(entry) = self.record_mut(me).entry.as_mut() else { return Summons::None };
        let summons = std::mem::replace(&mut entry.summons, Summons::None);
        let finder = entry.finder.filter(|_| summons == Summons::Victim);
        self.recheck_finder(finder);
        summons
    }

    /// Puts back a summons that could not be answered yet.
    pub(in crate::deadlock) fn put_back(&mut self, me: &'static Context, summons: Summons) {
        if let Some(entry) = self.record_mut(me).entry.as_mut() {
            entry.summons = summons;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::Lock;
    use crate::deadlock::{Kind, detector, registry};

    thread_local! {
        /// How many parked waiters this thread has looked at.
        pub(in crate::deadlock) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// Returns how many parked waiters a thread looks at that ends while it holds a lock for which `waiters` threads
    /// wait.
    fn looked_at(waiters: usize) -> usize {
        let lock = Arc::new(Lock::new(()));
        let (start, started) = std::sync::mpsc::channel();
        let owner = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                std::mem::forget(lock.lock());
                start.send(()).unwrap();
                let me = registry::current();
                let is_mine = |graph: &Graph, entry: &Entry| {
                    entry.any_provider(graph, |provider| matches!(provider, Provider::Context(id) if id == me.id()))
                };
                let waiting = |graph: &Graph| {
                    graph.registered().filter(|&context| is_mine(graph, graph.entry(context).unwrap())).count()
                };
                while detector::with(|graph| waiting(graph)) < waiters {
                    thread::yield_now();
                }
                registry::end_thread(me);
                LOOKED_AT.get()
            }
        });
        started.recv().unwrap();
        let waiters: Vec<_> = (0..waiters)
            .map(|_| {
                let lock = Arc::clone(&lock);
                let thread = thread::Builder::new().stack_size(1 << 17);
                thread.spawn(move || lock.acquire().map(drop).unwrap_err().report().kind()).unwrap()
            })
            .collect();
        let looked_at = owner.join().unwrap();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == Kind::Abandoned));
        looked_at
    }

    #[test]
    fn whoever_summons_many_looks_at_each_once() {
        let [few, many] = [100, 400].map(looked_at);
        // One in eight is looked at once more, as the first of the next eight. Some may not be parked yet, or awake again.
        assert!(few <= 2 * 100 && many <= 2 * 400, "{few} for 100, {many} for 400");
        assert!(many >= 40, "{many}: nobody was parked");
    }
}
