//! The threads that run what is the user's of tasks that are done: callbacks, wakers, events for a `tracing` subscriber.
//!
//! A supervisor runs none of that: it may wait for anything, for tasks of the same worker as well, whose replies the supervisor has to
//! read. One thread does as a rule. A callback may also wait for what another callback brings about, by whatever means; so while
//! callbacks are queued the *relief*, a thread of its own, looks whether one has ended since its last look, and adds a thread if none
//! has. Each time it adds one it waits twice as long before the next look: where callbacks are slow, and none waits for another,
//! one soon ends between two looks.

use std::sync::Arc;
use std::time::Duration;

use crate::deadlock::door::Failure;
use crate::deadlock::resource::{Origin, Site};
use crate::primitive::Ordering::SeqCst;
use crate::primitive::quiet::{AtomicBool, Mutex, MutexGuard, PoisonError, fence};
use crate::primitive::{Thread, join_thread, spawn_thread};
use crate::process_pool::error::MAX_WORKERS;
use crate::task::wait::one::Ended;
use crate::thread_pool::ThreadPoolExecutor;

/// How long the relief waits before a look, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long at most.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// After how many looks with nothing queued it ends.
const MAX_QUIET: u32 = 50;
/// What the relief needs.
const STACK_SIZE: usize = 128 << 10;

/// The threads, once there is something to run.
pub(in crate::process_pool) struct Callbacks {
    pool: ThreadPoolExecutor,
    relief: Arc<Relief>,
    /// Of the relief that was started last.
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Relief {
    /// Somebody looks, or is about to.
    is_up: AtomicBool,
    is_over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callbacks {
    /// The threads of the pool with this name, which was made there.
    pub(in crate::process_pool) fn new(of: &str, made_at: Site) -> Self {
        let builder = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix(format!("{of}-callbacks"));
        let pool = builder.for_executor(made_at).build();
        Self { pool, relief: Arc::default(), thread: Mutex::new(None) }
    }

    /// Queues what is to be run of the task with this origin.
    ///
    /// # Errors
    ///
    /// There is no thread for it, and it comes back.
    pub(in crate::process_pool) fn submit(
        &self,
        of: Origin,
        run: Box<dyn FnOnce() + Send>,
    ) -> Result<(), Box<dyn FnOnce() + Send>> {
        self.pool.try_submit_callbacks(of, run).map(drop).map_err(|refused| refused.into_task())?;
        // ORDERING: SeqCst, before the look at the flag. The relief, before it goes, clears the flag, and looks at the queue after
        // such a fence: one of the two sees what the other did.
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
            // The next to be queued finds nobody who looks.
            Err(_) => {
                self.relief.is_up.store(false, SeqCst);
                add_thread(&self.pool);
            }
        }
    }

    /// Waits until all that is queued was run and the threads are gone.
    pub(in crate::process_pool) fn end(&self, failure: Failure, site: Site) -> Result<(), Ended> {
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
                // What was queued before that is this one's to look after, unless somebody is starting another.
                if pool.queued() == 0 || self.is_up.swap(true, SeqCst) {
                    return;
                }
                quiet = 0;
            }
        }
    }
}
