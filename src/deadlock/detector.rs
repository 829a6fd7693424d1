//! The one graph of the process and its judge, under one mutex: the graph's mutex.

use super::graph::Graph;
use super::graph::context::Context;
use super::graph::record::Summons;
use super::judge::{Buffers, Judge};
use crate::primitive::{Mutex, global};

/// What the mutex guards.
struct Detector {
    graph: Graph,
    judge: Judge,
}

global! {
    static DETECTOR: Mutex<Detector> = Mutex::new(Detector::first());
}

impl Detector {
    #[cfg(not(all(test, loom)))]
    const fn first() -> Self {
        Self { graph: Graph::new(), judge: Judge::new() }
    }

    /// Returns a model's detector. Its judge has capacity: one that has to grow looks at everything twice.
    #[cfg(all(test, loom))]
    fn first() -> Self {
        Self { graph: Graph::new(), judge: Judge::with_capacity(16) }
    }
}

/// Runs `f` with the graph's mutex held. Inside: no user code, no allocation, no tracked lock. A panic aborts.
pub(super) fn with<R>(f: impl FnOnce(&mut Graph) -> R) -> R {
    with_judge(|graph, _| f(graph))
}

/// Runs `f` as [`with`] does, and gives it the judge as well.
pub(super) fn with_judge<R>(f: impl FnOnce(&mut Graph, &mut Judge) -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            super::print_line(format_args!("bowline: panic inside the wait-for graph, aborting"));
            std::process::abort();
        }
    }
    // A model fails by a panic of its own, wherever it is.
    let abort = (!cfg!(all(test, loom))).then(|| Abort);
    let detector = &mut *DETECTOR.lock();
    let result = f(&mut detector.graph, &mut detector.judge);
    std::mem::forget(abort);
    result
}

/// Grows the judge's buffers to what it lacked. Called without the mutex.
pub(super) fn grow() {
    if let Some(wanted) = with_judge(|_, judge| judge.take_wanted()) {
        let mut larger = Buffers::new(wanted);
        with_judge(|_, judge| judge.take_larger(&mut larger));
    }
}

/// Re-checks a wait, if it is registered: it has lost an alternative, which no wait that begins announces.
pub(crate) fn recheck(context: &'static Context) {
    with(|graph| graph.summon(context, Summons::Recheck));
}
