//! What may keep a signal from being given: told of waits that nobody in particular ends, and never part of a verdict.

use std::collections::HashMap;

use super::thread::{Held, StuckThread};

/// What may keep a thread waiting that waits for a notification: it holds something that another thread waits for, and the
/// notification may have to come from that thread. Then neither goes on.
///
/// It is a suspicion, and no deadlock: any other thread may notify. See [`StuckThread::suspicions`].
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, Node};
/// use bowline::{Condition, Lock};
/// use std::{sync::mpsc, thread};
///
/// let (stock, orders, arrived) = (Lock::named("stock", ()), Lock::new(Vec::new()), Condition::new());
/// let (tell, told) = mpsc::channel();
/// thread::scope(|s| {
///     s.spawn(|| {
///         let _stock = stock.lock();
///         tell.send(()).unwrap();
///         arrived.wait_while(&mut orders.lock(), |orders| orders.is_empty());
///     });
///     told.recv().unwrap();
///     s.spawn(|| {
///         let _stock = stock.lock(); // never gets any further
///         orders.lock().push("rope");
///         arrived.notify_one();
///     });
///     let suspicion = loop {
///         let snapshot = deadlock::snapshot();
///         let mut nodes = snapshot.graph().node_weights();
///         let found = nodes.find_map(|node| match node {
///             Node::Thread(thread) => thread.suspicions().first().cloned(),
///             _ => None,
///         });
///         if let Some(suspicion) = found {
///             break suspicion;
///         }
///     };
///     assert_eq!(suspicion.held().resource().name(), Some("stock"));
///     // For this example to end:
///     orders.lock().push("line");
///     arrived.notify_one();
/// });
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Suspicion {
    pub(in crate::deadlock) held: Held,
    pub(in crate::deadlock) waiter: StuckThread,
    pub(in crate::deadlock) others: usize,
}

impl Suspicion {
    /// Returns what the thread holds, or the task that it runs, with the line that submitted that.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Returns the thread that waits for it; of several, the one that has waited for longest.
    #[must_use]
    pub fn waiter(&self) -> &StuckThread {
        &self.waiter
    }

    /// Returns how many other threads wait for it. Of a [`LongWait`](super::LongWait), some may be left out.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }
}

/// Notes the suspicions of the threads of one picture that wait for a signal.
pub(super) fn suspect(threads: &mut [StuckThread]) {
    let is_for_signal = |thread: &StuckThread| thread.waits_for.as_ref().is_some_and(|wait| wait.signal.is_some());
    if !threads.iter().any(is_for_signal) {
        return;
    }
    let mut waiters: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, thread) in threads.iter().enumerate() {
        if let Some(wait) = &thread.waits_for {
            waiters.entry(wait.resource.identity()).or_default().push(at);
        }
    }
    for at in 0..threads.len() {
        if !is_for_signal(&threads[at]) {
            continue;
        }
        // What a thread holds it holds for the task as well that runs in place there.
        let here = |other: usize| other == at || threads[other].os_id == threads[at].os_id && threads[at].os_id != 0;
        let held = (0..threads.len()).filter(|&other| here(other)).flat_map(|other| holds(&threads[other]));
        let suspicions = held.filter_map(|held| {
            let waited = |at: &usize| threads[*at].waits_for.as_ref().map(|wait| wait.waited);
            let mut waiters: Vec<_> =
                waiters.get(&held.resource.identity())?.iter().copied().filter(|&waiter| !here(waiter)).collect();
            waiters.sort_by_key(|at| std::cmp::Reverse(waited(at)));
            let (&first, others) = waiters.split_first()?;
            Some(Suspicion { held, waiter: threads[first].clone(), others: others.len() })
        });
        let suspicions: Vec<_> = suspicions.collect();
        threads[at].suspicions = suspicions;
    }
    // The copies above were made before or after a thread had its own: none has.
    for thread in threads {
        thread.suspicions.iter_mut().for_each(|suspicion| suspicion.waiter.suspicions.clear());
    }
}

/// Returns what a thread holds, and the task that it runs.
fn holds(thread: &StuckThread) -> impl Iterator<Item = Held> {
    let task = thread.task.iter().map(|task| Held {
        resource: task.resource.clone(),
        site: task.resource.made_at,
        purpose: None,
        access: None,
        permits: 1,
        left_behind: false,
    });
    thread.holds.iter().cloned().chain(task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::{A, B, C, lock, task, thread};

    /// Returns what is suspected of each thread: the key of what it holds, the waiter's name, and how many others wait.
    fn suspected(mut threads: Vec<StuckThread>) -> Vec<Vec<(usize, String, usize)>> {
        suspect(&mut threads);
        let of = |suspicion: &Suspicion| {
            assert!(suspicion.waiter.suspicions().is_empty());
            (suspicion.held.resource.key, suspicion.waiter.name().unwrap_or_default().to_owned(), suspicion.others)
        };
        threads.iter().map(|thread| thread.suspicions().iter().map(of).collect()).collect()
    }

    #[test]
    fn what_a_waiter_for_a_notification_holds_and_others_want_is_suspected_and_nothing_else() {
        let [a, b, c, condition] = [1, 2, 3, 4].map(|key| lock(key, None, A));
        let waiter = || thread("waiter", 1).waits(&condition, A).for_signal();
        let found = suspected(vec![
            waiter().holding(&a, B).holding(&b, B).holding(&c, B),
            thread("first", 2).waits(&c, A),
            thread("longest", 3).waits(&c, A).for_long(),
            thread("other", 4).waits(&a, A),
        ]);
        assert_eq!(found[0], [(1, "other".to_owned(), 0), (3, "longest".to_owned(), 1)]);
        assert!(found[1..].iter().all(Vec::is_empty));
        // Nobody wants it, or it waits for a lock and not for a notification.
        assert_eq!(suspected(vec![waiter().holding(&a, B), thread("x", 2).waits(&b, A)]), [vec![], vec![]]);
        let of_locks = vec![thread("x", 1).holding(&a, A).waits(&b, A), thread("y", 2).waits(&a, A)];
        assert_eq!(suspected(of_locks), [vec![], vec![]]);
    }

    #[test]
    fn two_waiters_that_hold_what_one_thread_wants_are_both_suspected() {
        let [a, b, condition] = [1, 2, 3].map(|key| lock(key, None, A));
        let waiter = |name, os_id| thread(name, os_id).waits(&condition, A).for_signal();
        // Each waits on a condition, and wants nothing of the other: only the third is in the way.
        let found =
            suspected(vec![waiter("x", 1).holding(&a, B), waiter("y", 2).holding(&b, B), thread("z", 3).waits(&b, C)]);
        assert_eq!(found, [vec![], vec![(2, "z".to_owned(), 0)], vec![]]);
    }

    #[test]
    fn a_task_that_others_wait_for_and_what_its_waiter_holds_on_the_same_thread_are_suspected() {
        let (sum, a, condition) = (task(1, Some("sum"), A), lock(2, None, A), lock(3, None, A));
        let in_place = StuckThread { is_in_place: true, ..thread("pool_0", 1) };
        let found = suspected(vec![
            in_place.running(&sum).waits(&condition, B).for_signal(),
            thread("pool_0", 1).waits(&sum, C).holding(&a, B),
            thread("main", 2).waits(&sum, C),
            thread("notifier", 3).waits(&a, C),
        ]);
        assert_eq!(found[0], [(1, "main".to_owned(), 0), (2, "notifier".to_owned(), 0)]);
        assert!(found[1..].iter().all(Vec::is_empty));
    }
}
