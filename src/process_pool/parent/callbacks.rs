//! The threads that run the user's code of tasks that are done: callbacks, wakers, events for a `tracing` subscriber.
//!
//! A supervisor runs none of it: that code may wait for anything, for tasks of the same worker as well, whose replies
//! the supervisor has to read. As a rule one thread suffices. A callback may also wait for another callback, by any
//! means; so while callbacks are queued the *relief*, a thread of its own, checks whether one has ended since its last
//! look, and adds a thread if none has. Each time it adds one it waits twice as long before the next look: where
//! callbacks are slow, and none waits for another, one soon ends between two looks.

use std::sync::Arc;
use std::time::Duration;

use crate::deadlock::door::{Failure, WaitError};
use crate::deadlock::resource::{Origin, Site};
use crate::primitive::Ordering::SeqCst;
use crate::primitive::quiet::{AtomicBool, Mutex, MutexGuard, PoisonError, fence};
use crate::primitive::{Thread, join_thread, spawn_thread};
use crate::process_pool::error::MAX_WORKERS;
use crate::thread_pool::ThreadPoolExecutor;

/// How long the relief waits before a look, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The maximum of that time.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// The number of looks with nothing queued after which the relief ends.
const MAX_QUIET: u32 = 50;
/// Of the relief.
const STACK_SIZE: usize = 128 << 10;

/// The threads. They start when there is something to run.
pub(super) struct Callbacks {
    pool: ThreadPoolExecutor,
    relief: Arc<Relief>,
    /// The thread of the relief that was started last.
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Relief {
    /// A relief looks, or is about to.
    is_up: AtomicBool,
    is_over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callbacks {
    /// Makes the threads for the pool with this name, which was made there.
    pub(super) fn new(of: &str, made_at: Site) -> Self {
        let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix(format!("{of}-callbacks"));
        let pool = builder.for_executor(made_at).build();
        Self { pool, relief: Arc::default(), thread: Mutex::new(None) }
    }

    /// Queues a callback of the task with this origin.
    ///
    /// # Errors
    ///
    /// There is no thread for it: returns it.
    pub(super) fn submit(&self, of: Origin, run: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        self.pool.try_submit_callbacks(of, run).map(drop).map_err(|refused| refused.into_task())?;
        // ORDERING: SeqCst, before the look at the flag. The relief, before it goes, clears the flag, and looks at the
        // queue after such a fence: one of the two sees what the other did.
        fence(SeqCst);
        if self.pool.queued() > 0 && !self.relief.is_up.swap(true, SeqCst) {
            self.start_relief();
        }
        Ok(())
    }

    #[cold]
    fn start_relief(&self) {
        let (pool, relief) = (self.pool.clone(), Arc::clone(&self.relief));
        match spawn_thread("bowline-relief".to_owned(), STACK_SIZE, move || relief.look(&pool)) {
            Ok(thread) => {
                lock(&self.thread).replace(thread);
            }
            // Without a relief: the next callback that is queued tries again.
            Err(_) => {
                self.relief.is_up.store(false, SeqCst);
                add_thread(&self.pool);
            }
        }
    }

    /// Waits until all that is queued has run and the threads are gone.
    pub(super) fn end(&self, failure: Failure, site: Site) -> Result<(), WaitError> {
        self.pool.end(failure, site)?;
        // A callback does not wait for itself: the others still need the relief.
        if self.pool.worker_count() == 0 {
            self.relief.is_over.store(true, SeqCst);
            if let Some(thread) = lock(&self.thread).take() {
                join_thread(thread);
            }
        }
        Ok(())
    }
}

/// Adds a thread, unless one is being added.
fn add_thread(pool: &ThreadPoolExecutor) {
    let threads = pool.max_workers();
    if pool.worker_count() >= threads && threads < MAX_WORKERS {
        pool.set_max_workers(threads + 1);
    }
}

impl Relief {
    /// Adds a thread whenever something is queued and nothing has ended since the last look.
    fn look(&self, pool: &ThreadPoolExecutor) {
        let (mut ended, mut quiet, mut pause) = (pool.completed(), 0, FIRST_PAUSE);
        while !self.is_over.load(SeqCst) {
            std::thread::sleep(pause);
            let now = pool.completed();
            if pool.queued() == 0 {
                (quiet, pause) = (quiet + 1, FIRST_PAUSE);
            } else {
                quiet = 0;
                if now == ended {
                    add_thread(pool);
                    pause = MAX_PAUSE.min(pause * 2);
                }
            }
            ended = now;
            if quiet == MAX_QUIET {
                pool.set_max_workers(1);
                self.is_up.store(false, SeqCst);
                // ORDERING: as in `submit`.
                fence(SeqCst);
                // This relief looks after what was queued before that, unless another one is being started.
                if pool.queued() == 0 || self.is_up.swap(true, SeqCst) {
                    return;
                }
                quiet = 0;
            }
        }
    }
}
