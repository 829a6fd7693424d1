//! What has to hold where a pool is made, and what is decided then.

use std::sync::Arc;

use super::core::{Core, Settings};
use super::process::Program;
use super::program;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;
use crate::process_pool::builder::ProcessPoolBuilder;
use crate::process_pool::error::{MAX_WORKERS, ProcessPoolError};
use crate::process_pool::wire::codec::CodecError;
use crate::process_pool::wire::identity::Identity;
use crate::process_pool::worker::{entry, peer};
use crate::task::error::TaskError;
use crate::task::panic::note_locations;

/// Workers that are inside of each other.
const MOST_DEPTH: u32 = 3;

/// What the handles of the pool share that the builder describes.
pub(in crate::process_pool) fn core(builder: ProcessPoolBuilder, made_at: Site) -> Result<Arc<Core>, ProcessPoolError> {
    static POOLS: AtomicU64 = AtomicU64::new(0);
    let default = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let max_workers = builder.max_workers.unwrap_or_else(default);
    if !(1..=MAX_WORKERS).contains(&max_workers) {
        return Err(ProcessPoolError::MaxWorkers(max_workers));
    }
    if peer::is_privileged() {
        return Err(ProcessPoolError::Privileged);
    }
    if entry::is_worker_to_be() {
        return Err(ProcessPoolError::InWorkerStartup);
    }
    let depth = entry::depth();
    if depth >= MOST_DEPTH {
        return Err(ProcessPoolError::TooDeep { depth: depth + 1, most: MOST_DEPTH });
    }
    let identity = Identity::of_this();
    if builder.worker_exe.is_none() && !identity.is_main_program() {
        let program = std::env::current_exe().unwrap_or_default();
        return Err(ProcessPoolError::NotTheProgram { library: identity.name().into(), program });
    }
    let (path, mut args) = match builder.worker_exe {
        Some(path) => (program::named(path)?, Vec::new()),
        None => program::own()?,
    };
    args.extend(builder.worker_args);
    let initializer = builder.initializer.map(|encode| encode(builder.most)).transpose();
    let initializer = initializer.map_err(|error| match error {
        TaskError::Encode(error) => ProcessPoolError::Initializer(error),
        error => ProcessPoolError::Initializer(CodecError::new(error.to_string())),
    })?;
    note_locations();
    let number = POOLS.fetch_add(1, Relaxed);
    Ok(Core::new(Settings {
        name: builder.name.map_or_else(|| format!("ProcessPoolExecutor-{number}").into(), Arc::from),
        made_at,
        max_workers,
        program: Program { path, args, capture_stderr: builder.capture_stderr },
        start_timeout: builder.start_timeout,
        most: builder.most,
        retries: builder.retries,
        initializer,
    }))
}
