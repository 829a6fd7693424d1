//! How a process pool is made.

use std::ffi::OsString;
use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ProcessPoolError;
use super::parent::options::Options;
use super::parent::settings::Settings;
use super::parent::shared::Shared;
use super::pool::ProcessPoolExecutor;
use super::wire::call::Call;
use super::wire::callable::Callable;
use crate::thread_pool::Initialized;

/// Makes a [`ProcessPoolExecutor`] that is not the usual one: see [`ProcessPoolExecutor::builder`].
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
/// use std::time::Duration;
///
/// fn load_model(path: String) -> Result<(), std::io::Error> {
/// #   let _ = path;
///     Ok(()) // once in each worker, before its first task
/// }
///
/// let pool = ProcessPoolExecutor::builder()
///     .max_workers(2)
///     .name("model")
///     .initializer(load_model, ("weights.bin".to_owned(),))
///     .retries(1)
///     .capture_stderr(true)
///     .build()?;
/// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder makes a pool when `build` is called"]
pub struct ProcessPoolBuilder {
    options: Options,
}

/// The maximum of [`max_message_size`](ProcessPoolBuilder::max_message_size): lengths travel in 32 bits.
const MAX_MESSAGE_SIZE: usize = u32::MAX as usize;

impl ProcessPoolBuilder {
    pub(super) fn new() -> Self {
        Self { options: Options::default() }
    }

    /// How many workers there may be. They are started as they are needed. The default is the number of tasks that this
    /// machine runs at the same time, as the standard library tells it.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.options.max_workers = Some(max_workers);
        self
    }

    /// The pool's name, which its processes show in `ps` (its first 15 bytes) and its threads with a number. The default is
    /// `ProcessPoolExecutor-` and the number of the pool.
    ///
    /// # Panics
    ///
    /// The name contains a NUL character.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        assert!(!name.contains('\0'), "a pool's name has no NUL character: {name:?}");
        self.options.name = Some(name);
        self
    }

    /// Calls `f` with `args` in every worker before its first task, in those that replace others too. The arguments are encoded
    /// once, by [`build`](Self::build).
    ///
    /// If it returns an error or panics, or the worker ends in it, the pool is broken: what is queued fails with
    /// [`Rejected::Broken`](crate::Rejected::Broken) and the reason, and so does whatever is submitted later. It may take as long
    /// as it takes.
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        F: Callable<A>,
        F::Output: Initialized,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.options.initializer = Some(Box::new(move |max_size| Call::of_initializer(f, args, max_size)));
        self
    }

    /// The program that is started as a worker. The default is the executable of this process, whatever has become of
    /// its file meanwhile. Another one is looked up once, by [`build`](Self::build): a path without a slash in `PATH`, a relative
    /// one with a slash in the current directory.
    ///
    /// Whatever it is, it has to contain this very library, from the same build, as the executable or the shared library that
    /// this code is in. For a shared library in the program of somebody else that is a program that loads it, and then calls a
    /// function of it that calls [`ProcessPoolExecutor::init`]; in Python, with [`worker_args`](Self::worker_args),
    /// `python3 -c "import my_library; my_library.serve()"`.
    pub fn worker_exe(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.worker_exe = Some(path.into());
        self
    }

    /// The arguments that a worker's program is started with. The default is none.
    pub fn worker_args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.options.worker_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// How long a worker may take from its start to the moment at which it is ready for the initializer. The default is 30
    /// seconds. Then it is killed. If there is no other worker that is tried three times altogether, and then what is queued
    /// fails with [`Rejected::NoWorker`](crate::Rejected::NoWorker).
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options.start_timeout = timeout;
        self
    }

    /// Whether to keep the last lines that a worker writes to standard error, for the error of the task that it dies in: 20 of
    /// them, of up to 1024 bytes. They still get to standard error of the program. The default is not to: it costs a thread, a
    /// descriptor and a copy for each worker.
    ///
    /// A process that outlives its worker (a daemon) and has its standard error loses it 200 ms after the worker's end: then it writes to a
    /// pipe that nobody reads. (Before Linux 5.4 it keeps it, and with it the thread and the descriptor in this process.)
    pub fn capture_stderr(mut self, capture: bool) -> Self {
        self.options.capture_stderr = capture;
        self
    }

    /// How long the arguments or the result of a task may be, encoded, in bytes. The default is 2³⁰. A longer one is an error
    /// of its task, [`TaskError::Encode`](crate::TaskError::Encode). Of a [`map`](ProcessPoolExecutor::map) this is about the
    /// items, or the results, of a chunk, panics with their backtraces included.
    ///
    /// Memory is taken for what has arrived, not for what is announced. Both processes have a value encoded and as itself for a
    /// moment.
    ///
    /// # Panics
    ///
    /// `bytes` is less than 1024, or more than 2³² - 1.
    #[track_caller]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        assert!(
            (1024..=MAX_MESSAGE_SIZE).contains(&bytes),
            "max_message_size must be from 1024 to {MAX_MESSAGE_SIZE} bytes, and is {bytes}"
        );
        self.options.max_message_size = bytes;
        self
    }

    /// How often a task is run again, in another worker, after the one that ran it has ended. The default is 0: a task that is
    /// run twice may have done its work twice.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// Makes the pool. Starts no process yet.
    ///
    /// # Errors
    ///
    /// `max_workers` is 0, or more than 16383. This process is a worker of a worker of a worker, or is to be one and has not
    /// begun. This library is not part of the program's executable, or what would start that again was not found
    /// (`/proc` is not mounted, an emulator runs the program), and no [`worker_exe`](Self::worker_exe) was given. A relative
    /// `worker_exe` was not found. This program has rights that whoever started it has not. The
    /// initializer's arguments can't be encoded, or are longer than [`max_message_size`](Self::max_message_size). This system
    /// has no process pools ([`Unsupported`](ProcessPoolError::Unsupported): any but Linux).
    #[track_caller]
    pub fn build(self) -> Result<ProcessPoolExecutor, ProcessPoolError> {
        Settings::of(self.options, Location::caller()).map(|settings| ProcessPoolExecutor::of(Shared::new(settings)))
    }
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("max_workers", &self.options.max_workers)
            .field("name", &self.options.name)
            .field("worker_exe", &self.options.worker_exe)
            .field("start_timeout", &self.options.start_timeout)
            .field("max_message_size", &self.options.max_message_size)
            .field("retries", &self.options.retries)
            .finish_non_exhaustive()
    }
}
