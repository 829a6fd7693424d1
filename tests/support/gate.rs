//! Gates, and workers that are held up at one.

use std::sync::{Arc, OnceLock};

use bowline::{Future, ThreadPoolExecutor};

use super::wait_until;

/// Shut until it is opened, and then open for good.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<OnceLock<()>>);

impl Gate {
    /// Lets everybody pass.
    pub(crate) fn open(&self) {
        let _ = self.0.set(());
    }

    /// Waits until the gate is open.
    pub(crate) fn pass(&self) {
        self.0.wait();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.get().is_some()
    }
}

/// Tasks that each keep a worker until this is released, or dropped.
pub(crate) struct Busy {
    gate: Gate,
    tasks: Vec<Future<()>>,
}

impl Busy {
    /// Returns when so many workers of the pool have begun such a task.
    #[track_caller]
    pub(crate) fn keep(pool: &ThreadPoolExecutor, workers: usize) -> Self {
        let gate = Gate::default();
        let task = || {
            let gate = gate.clone();
            pool.submit(move || gate.pass())
        };
        let tasks: Vec<_> = (0..workers).map(|_| task()).collect();
        wait_until(|| tasks.iter().all(Future::running));
        Self { gate, tasks }
    }

    /// Lets the tasks go, and waits until they are done.
    #[track_caller]
    pub(crate) fn release(mut self) {
        self.gate.open();
        self.tasks.drain(..).for_each(|task| task.result().expect("the gate is open"));
    }
}

/// A test that failed must not hang on top of that.
impl Drop for Busy {
    fn drop(&mut self) {
        self.gate.open();
    }
}
