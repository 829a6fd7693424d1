//! The pools of two threads that are compared, behind one trait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;
use futures::executor::block_on;
use futures::future::RemoteHandle;
use futures::task::SpawnExt;

/// The threads of each pool.
pub const THREADS: usize = 2;

/// A pool of threads, with a handle for each result.
pub trait BenchPool: Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// What a result is taken from.
    type Handle<T: Send + 'static>;

    /// Makes a pool of [`THREADS`] threads.
    fn new() -> Self;

    /// Has a thread of the pool run `task`.
    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T>;

    /// Waits for a result.
    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T;

    /// Waits for all results, one after the other, and does something with each.
    fn collect<T: Send + 'static>(&self, handles: Vec<Self::Handle<T>>, mut each: impl FnMut(T)) {
        handles.into_iter().for_each(|handle| each(self.result(handle)));
    }
}

/// A pool whose tasks may wait for tasks of the same pool.
pub trait Nests: BenchPool {
    /// Runs a binary tree of tasks, each of which waits for its two children: how many ran.
    fn tree(&self, depth: u32) -> u64;
}

/// bowline's `ThreadPoolExecutor`.
pub struct Bowline(bowline::ThreadPoolExecutor);

impl BenchPool for Bowline {
    const NAME: &'static str = "bowline";
    type Handle<T: Send + 'static> = bowline::Future<T>;

    fn new() -> Self {
        Self(bowline::ThreadPoolExecutor::new(THREADS))
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.submit(task)
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.result().expect("the task does not panic")
    }
}

impl Bowline {
    /// The pool itself.
    pub fn executor(&self) -> &bowline::ThreadPoolExecutor {
        &self.0
    }
}

impl Nests for Bowline {
    fn tree(&self, depth: u32) -> u64 {
        fn node(pool: &bowline::ThreadPoolExecutor, depth: u32) -> u64 {
            if depth == 0 {
                return 1;
            }
            let child = || {
                let own = pool.clone();
                pool.submit(move || node(&own, depth - 1))
            };
            let (left, right) = (child(), child());
            let of = |future: bowline::Future<u64>| future.result().expect("the task does not panic");
            1 + of(left) + of(right)
        }
        let pool = self.0.clone();
        self.result(self.submit(move || node(&pool, depth)))
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// What a program makes by itself: an unbounded channel of boxed closures, two threads, a one-shot channel a result.
pub struct Crossbeam {
    sender: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl BenchPool for Crossbeam {
    const NAME: &'static str = "crossbeam + oneshot";
    type Handle<T: Send + 'static> = oneshot::Receiver<T>;

    fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded::<Job>();
        let threads = (0..THREADS).map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || {
                while let Ok(job) = receiver.recv() {
                    // As every pool: a panic costs the task and not the thread.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })
        });
        Self { sender: Some(sender), threads: threads.collect() }
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move || drop(sender.send(task())));
        self.sender.as_ref().and_then(|queue| queue.send(job).ok()).expect("the threads run until the pool is dropped");
        receiver
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.recv().expect("the task does not panic")
    }
}

impl Drop for Crossbeam {
    fn drop(&mut self) {
        self.sender = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("panics are caught");
        }
    }
}

/// The `threadpool` crate, and a one-shot channel a result.
pub struct ThreadPool(threadpool::ThreadPool);

impl BenchPool for ThreadPool {
    const NAME: &'static str = "threadpool + oneshot";
    type Handle<T: Send + 'static> = oneshot::Receiver<T>;

    fn new() -> Self {
        Self(threadpool::ThreadPool::new(THREADS))
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.execute(move || drop(sender.send(task())));
        receiver
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.recv().expect("the task does not panic")
    }
}

/// The `rusty_pool` crate, with its own handles.
pub struct RustyPool(rusty_pool::ThreadPool);

impl BenchPool for RustyPool {
    const NAME: &'static str = "rusty_pool";
    type Handle<T: Send + 'static> = rusty_pool::JoinHandle<T>;

    fn new() -> Self {
        Self(rusty_pool::ThreadPool::new(THREADS, THREADS, Duration::from_secs(60)))
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.evaluate(task)
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.await_complete()
    }
}

/// rayon's `spawn`, and a one-shot channel a result.
pub struct Rayon(rayon::ThreadPool);

impl BenchPool for Rayon {
    const NAME: &'static str = "rayon + oneshot";
    type Handle<T: Send + 'static> = oneshot::Receiver<T>;

    fn new() -> Self {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build();
        Self(pool.expect("the system has threads left"))
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.spawn(move || drop(sender.send(task())));
        receiver
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.recv().expect("the task does not panic")
    }
}

impl Rayon {
    /// The pool itself.
    pub fn pool(&self) -> &rayon::ThreadPool {
        &self.0
    }
}

/// By `join`, which is made for that, rather than by `spawn`.
impl Nests for Rayon {
    fn tree(&self, depth: u32) -> u64 {
        fn node(depth: u32) -> u64 {
            if depth == 0 {
                return 1;
            }
            let (left, right) = rayon::join(|| node(depth - 1), || node(depth - 1));
            1 + left + right
        }
        self.0.install(|| node(depth))
    }
}

/// `futures::executor::ThreadPool`.
pub struct Futures(futures::executor::ThreadPool);

impl BenchPool for Futures {
    const NAME: &'static str = "futures";
    type Handle<T: Send + 'static> = RemoteHandle<T>;

    fn new() -> Self {
        let pool = futures::executor::ThreadPoolBuilder::new().pool_size(THREADS).create();
        Self(pool.expect("the system has threads left"))
    }

    fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
        self.0.spawn_with_handle(async move { task() }).expect("the pool is not shut down")
    }

    fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        block_on(handle)
    }

    fn collect<T: Send + 'static>(&self, handles: Vec<Self::Handle<T>>, mut each: impl FnMut(T)) {
        block_on(async {
            for handle in handles {
                each(handle.await);
            }
        });
    }
}

type Node = Pin<Box<dyn std::future::Future<Output = u64> + Send>>;

/// By `await`, which gives the thread back.
impl Nests for Futures {
    fn tree(&self, depth: u32) -> u64 {
        fn node(pool: futures::executor::ThreadPool, depth: u32) -> Node {
            Box::pin(async move {
                if depth == 0 {
                    return 1;
                }
                let child =
                    || pool.spawn_with_handle(node(pool.clone(), depth - 1)).expect("the pool is not shut down");
                let (left, right) = (child(), child());
                1 + left.await + right.await
            })
        }
        let root = self.0.spawn_with_handle(node(self.0.clone(), depth)).expect("the pool is not shut down");
        block_on(root)
    }
}

/// tokio's `spawn`, from outside of the runtime.
pub struct Tokio(tokio::runtime::Runtime);

/// tokio's `spawn_blocking`, from outside of the runtime.
pub struct TokioBlocking(tokio::runtime::Runtime);

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).max_blocking_threads(THREADS).build();
    runtime.expect("the system has threads left")
}

macro_rules! tokio_pool {
    ($pool:ty, $name:literal, $wrap:expr, $submit:expr) => {
        impl BenchPool for $pool {
            const NAME: &'static str = $name;
            type Handle<T: Send + 'static> = tokio::task::JoinHandle<T>;

            fn new() -> Self {
                $wrap(runtime())
            }

            fn submit<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Self::Handle<T> {
                $submit(&self.0, task)
            }

            fn result<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
                self.0.block_on(handle).expect("the task does not panic")
            }

            fn collect<T: Send + 'static>(&self, handles: Vec<Self::Handle<T>>, mut each: impl FnMut(T)) {
                self.0.block_on(async {
                    for handle in handles {
                        each(handle.await.expect("the task does not panic"));
                    }
                });
            }
        }
    };
}

fn spawn<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    task: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    runtime.spawn(async move { task() })
}

tokio_pool!(Tokio, "tokio spawn", Self, spawn);
tokio_pool!(TokioBlocking, "tokio spawn_blocking", Self, tokio::runtime::Runtime::spawn_blocking);

/// By `await`, which gives the thread back.
impl Nests for Tokio {
    fn tree(&self, depth: u32) -> u64 {
        fn node(depth: u32) -> Node {
            Box::pin(async move {
                if depth == 0 {
                    return 1;
                }
                let (left, right) = (tokio::spawn(node(depth - 1)), tokio::spawn(node(depth - 1)));
                let of = "the task does not panic";
                1 + left.await.expect(of) + right.await.expect(of)
            })
        }
        self.0.block_on(self.0.spawn(node(depth))).expect("the task does not panic")
    }
}
