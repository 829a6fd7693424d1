//! What a pool is asked to be.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::lifespan::Lifespan;
use crate::process_pool::wire::call::Call;
use crate::process_pool::wire::limits::Limits;
use crate::task::error::TaskError;
use crate::thread_pool::WhenFull;

/// How long a worker may take to be ready, unless the builder says otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of a message, unless the builder says otherwise.
const MAX_MESSAGE_SIZE: usize = 1 << 30;

/// Encodes the call of an initializer, which may have this many bytes.
pub(in crate::process_pool) type EncodeInitializer = dyn FnOnce(usize) -> Result<Call, TaskError>;

/// What the builder collects. It was not checked yet.
pub(in crate::process_pool) struct Options {
    pub(in crate::process_pool) max_workers: Option<usize>,
    pub(in crate::process_pool) name: Option<String>,
    pub(in crate::process_pool) worker_exe: Option<PathBuf>,
    pub(in crate::process_pool) worker_args: Vec<OsString>,
    pub(in crate::process_pool) start_timeout: Duration,
    pub(in crate::process_pool) capture_stdout: bool,
    pub(in crate::process_pool) capture_stderr: bool,
    pub(in crate::process_pool) max_message_size: usize,
    pub(in crate::process_pool) retries: u32,
    pub(in crate::process_pool) capacity: Option<NonZeroUsize>,
    pub(in crate::process_pool) when_full: WhenFull,
    pub(in crate::process_pool) lifespan: Lifespan,
    pub(in crate::process_pool) initializer: Option<Box<EncodeInitializer>>,
    pub(in crate::process_pool) limits: Limits,
    pub(in crate::process_pool) folder: Option<PathBuf>,
    pub(in crate::process_pool) environment: Environment,
}

/// What is different in the environment of a worker.
#[derive(Clone, Debug, Default)]
pub(in crate::process_pool) struct Environment {
    /// It has only what is set here.
    pub(in crate::process_pool) is_cleared: bool,
    /// Variables and their values, or `None` for those that it does not have.
    pub(in crate::process_pool) variables: BTreeMap<OsString, Option<OsString>>,
}

impl Environment {
    pub(in crate::process_pool) fn set(&mut self, name: OsString, value: Option<OsString>) {
        self.variables.insert(name, value);
    }

    pub(in crate::process_pool) fn clear(&mut self) {
        *self = Self { is_cleared: true, variables: BTreeMap::new() };
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_workers: None,
            name: None,
            worker_exe: None,
            worker_args: Vec::new(),
            start_timeout: START_TIMEOUT,
            capture_stdout: false,
            capture_stderr: false,
            max_message_size: MAX_MESSAGE_SIZE,
            retries: 0,
            capacity: None,
            when_full: WhenFull::default(),
            lifespan: Lifespan::default(),
            initializer: None,
            limits: Limits::default(),
            folder: None,
            environment: Environment::default(),
        }
    }
}
