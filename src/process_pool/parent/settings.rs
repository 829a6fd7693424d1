//! What is decided where a pool is made, and what has to hold there.

use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::lifespan::Lifespan;
use super::options::{Environment, Options};
use super::process::Program;
use super::program;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;
use crate::process_pool::error::{MAX_WORKERS, ProcessPoolError};
use crate::process_pool::wire::call::Call;
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::wire::limits::Limits;
use crate::process_pool::wire::mark;
use crate::process_pool::wire::role;
use crate::task::error::{CodecError, TaskError};
use crate::task::panic::note_locations;
use crate::thread_pool::WhenFull;

/// The maximum of workers that are inside of each other.
const MAX_DEPTH: u32 = 3;

/// What was decided when the pool was made.
pub(in crate::process_pool) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) made_at: Site,
    pub(super) max_workers: usize,
    pub(super) program: Program,
    pub(super) start_timeout: Duration,
    pub(super) max_message_size: usize,
    pub(super) retries: u32,
    pub(super) capacity: Option<NonZeroUsize>,
    pub(super) when_full: WhenFull,
    pub(super) lifespan: Lifespan,
    pub(super) initializer: Option<Call>,
    pub(super) limits: Limits,
}

impl Settings {
    /// Checks what a pool is asked to be, finds the program of its workers, and encodes the initializer's call.
    ///
    /// # Errors
    ///
    /// As [`ProcessPoolBuilder::build`](crate::process_pool::ProcessPoolBuilder::build) has.
    pub(in crate::process_pool) fn of(options: Options, made_at: Site) -> Result<Self, ProcessPoolError> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let default = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let max_workers = options.max_workers.unwrap_or_else(default);
        if !(1..=MAX_WORKERS).contains(&max_workers) {
            return Err(ProcessPoolError::MaxWorkers(max_workers));
        }
        if role::is_privileged() {
            return Err(ProcessPoolError::Privileged);
        }
        if role::is_worker_to_be() {
            return Err(ProcessPoolError::InWorkerStartup);
        }
        let depth = role::depth();
        if depth >= MAX_DEPTH {
            return Err(ProcessPoolError::TooDeep { depth: depth + 1, max: MAX_DEPTH });
        }
        let identity = Identity::of_this();
        if options.worker_exe.is_none() && !identity.is_main_program() {
            let program = std::env::current_exe().unwrap_or_default();
            return Err(ProcessPoolError::NotTheProgram { library: identity.name().into(), program });
        }
        let (path, mut args) = match options.worker_exe {
            Some(path) => (program::named(path)?, Vec::new()),
            None => program::own()?,
        };
        args.extend(options.worker_args);
        let folder = options.folder.map(existing_folder).transpose()?;
        check(&options.environment)?;
        let initializer = options.initializer.map(|encode| encode(options.max_message_size)).transpose();
        let initializer = initializer.map_err(|error| match error {
            TaskError::Encode(error) => ProcessPoolError::Initializer(error),
            error => ProcessPoolError::Initializer(CodecError::new(error.to_string())),
        })?;
        note_locations();
        let number = POOLS.fetch_add(1, Relaxed);
        Ok(Self {
            name: options.name.map_or_else(|| format!("ProcessPoolExecutor-{number}").into(), Arc::from),
            made_at,
            max_workers,
            program: Program {
                path,
                args,
                folder,
                environment: options.environment,
                capture_stdout: options.capture_stdout,
                capture_stderr: options.capture_stderr,
            },
            start_timeout: options.start_timeout,
            max_message_size: options.max_message_size,
            retries: options.retries,
            capacity: options.capacity,
            when_full: options.when_full,
            lifespan: options.lifespan,
            initializer,
            limits: options.limits,
        })
    }
}

/// Returns the absolute path of this folder.
fn existing_folder(path: PathBuf) -> Result<PathBuf, ProcessPoolError> {
    let absolute = std::path::absolute(&path).ok();
    absolute.filter(|path| path.is_dir()).ok_or(ProcessPoolError::NoWorkerDir { path })
}

/// Checks that these variables can be in a worker's environment.
fn check(environment: &Environment) -> Result<(), ProcessPoolError> {
    for (name, value) in &environment.variables {
        let bytes = name.as_bytes();
        let is_name = !bytes.is_empty() && !bytes.contains(&b'=') && !bytes.contains(&0);
        let is_value = value.as_ref().is_none_or(|value| !value.as_bytes().contains(&0));
        if !is_name || !is_value || bytes == mark::NAME.as_bytes() {
            return Err(ProcessPoolError::WorkerVariable { name: name.clone() });
        }
    }
    Ok(())
}
