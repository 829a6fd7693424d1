//! Finds the bystanders of a deadlock: stuck behind it, and no part of it.

use super::context::Context;
use super::graph::Graph;
use super::reduction::Reduction;
use super::waitable::Provider;

impl Graph {
    /// Calls `visit` with everybody who is stuck behind the deadlock that was found, and is not part of it. `me` is the one who
    /// found it, `is_whole` whether they wait for each other. `false`: there is no room, or more of them do by now than when it
    /// was found (a queue has filled up, say): judge again.
    ///
    /// As long as nobody waits for several, or for a group, this follows those who wait for what the members hold, and costs
    /// what it finds; otherwise it is linear in the registered waits and their providers.
    pub(super) fn for_each_bystander(
        &mut self,
        me: &'static Context,
        is_whole: bool,
        mut visit: impl FnMut(&Self, &'static Context),
    ) -> bool {
        if self.waits == self.core().len() {
            return true;
        }
        if self.forked.is_none() {
            self.follow_back(visit);
            return true;
        }
        let mut reduction = std::mem::replace(&mut self.reduction, Reduction::new());
        let fits = reduction.run(self, me, true);
        let mut is_same = true;
        if fits {
            let places = self.core().iter().map(|&member| self.record(member).mark.node.get());
            is_same = reduction.look_behind(places) == self.core().len() || !is_whole;
            if is_same {
                reduction.for_each_behind(|context| {
                    if !self.is_in_core(context) {
                        visit(self, context);
                    }
                });
            }
        } else {
            self.want_room(reduction.room());
        }
        self.reduction = reduction;
        fits && is_same
    }

    /// Follows the waits backward from the members of the deadlock, where each has one provider: whoever waits for one who is
    /// stuck is stuck.
    fn follow_back(&mut self, mut visit: impl FnMut(&Self, &'static Context)) {
        let stamp = self.new_stamp();
        let Some(&first) = self.core().first() else { return };
        let mut last = first;
        for &member in self.core() {
            let mark = &self.record(member).mark;
            mark.stamp.set(stamp);
            mark.after.set(None);
            if member != first {
                self.record(last).mark.after.set(Some(member));
                last = member;
            }
        }
        let mut next = Some(first);
        while let Some(at) = next {
            self.for_each_waiter(at, |waiter| {
                let mark = &self.record(waiter).mark;
                if mark.stamp.get() != stamp {
                    mark.stamp.set(stamp);
                    mark.after.set(None);
                    self.record(last).mark.after.set(Some(waiter));
                    last = waiter;
                    visit(self, waiter);
                }
            });
            next = self.record(at).mark.after.get();
        }
    }

    /// Calls `visit` with each registered wait, without a limit, that `provider` alone can end.
    fn for_each_waiter(&self, provider: &'static Context, mut visit: impl FnMut(&'static Context)) {
        let waits_for_it = |waiter: &&'static Context| {
            self.entry(waiter).is_some_and(|entry| {
                !entry.is_live()
                    && entry.any_provider(self, |ends| match ends {
                        Provider::Context(id) => self.context(id).is_some_and(|ends| self.actor(ends) == provider),
                        _ => false,
                    })
            })
        };
        let mut visit_key = |key| self.chained_at(key).filter(waits_for_it).for_each(&mut visit);
        // Where it runs inside of another one, that waits for its end.
        if let Some(frame) = provider.frame() {
            visit_key(frame.key());
        }
        for holder in std::iter::once(provider).chain(self.retired(provider)) {
            holder.holds.for_each(|hold| visit_key(hold.resource.key));
        }
    }
}
