//! Why a process pool can't be made.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::task::error::CodecError;

/// The maximum of workers of one pool.
pub(in crate::process_pool) const MAX_WORKERS: usize = 16383;

/// Why a process pool was not made. No process was started.
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
/// use bowline::process_pool::ProcessPoolError;
///
/// let error = ProcessPoolExecutor::new(0).unwrap_err();
/// assert!(matches!(error, ProcessPoolError::MaxWorkers(0)));
/// assert_eq!(error.to_string(), "max_workers must be greater than 0");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProcessPoolError {
    /// The number of workers is 0, or more than 16383.
    MaxWorkers(usize),
    /// This process is a worker of a worker of a worker: one more level would make too many processes.
    TooDeep {
        /// The level of the new pool's workers: 1 for those of a pool outside of any worker.
        depth: u32,
        /// The maximum level of workers.
        max: u32,
    },
    /// This crate is part of a shared library, and the program that has loaded it can't be a worker: name a program
    /// that can, with `worker_exe`.
    NotTheProgram {
        /// The library.
        library: PathBuf,
        /// The program.
        program: PathBuf,
    },
    /// The executable of this program was not found: `/proc` is not mounted, or an emulator runs the program, or its
    /// file is gone. Name the program with `worker_exe`.
    NoOwnProgram {
        /// The file that was found in its place.
        found: Option<PathBuf>,
    },
    /// There is no such `worker_exe`: in the current directory if the path has a slash, else in `PATH`.
    NoWorkerProgram {
        /// The path that was given.
        path: PathBuf,
    },
    /// The `worker_dir` is no directory that this process can see.
    NoWorkerDir {
        /// The path that was given.
        path: PathBuf,
    },
    /// A variable can't be in a worker's environment: its name is empty, has a `=` or a NUL character, or is
    /// `BOWLINE_WORKER_FOR`, which only this crate sets; or its value has a NUL character.
    WorkerVariable {
        /// The name that was given.
        name: OsString,
    },
    /// A static initialiser of a worker process makes a pool before the process has become a worker: each worker would
    /// have workers, without end. Or `BOWLINE_WORKER_FOR` is set, which only this crate sets.
    InWorkerStartup,
    /// The initializer's arguments can't be encoded.
    Initializer(CodecError),
    /// This program has rights that the user who started it has not (set-user-id, capabilities), or a real user or
    /// group that is not the effective one: that user controls the environment and the standard input, which tell a
    /// worker what to run.
    Privileged,
    /// This system has no process pools: they need Linux.
    Unsupported,
}

impl fmt::Display for ProcessPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxWorkers(0) => f.write_str("max_workers must be greater than 0"),
            Self::MaxWorkers(many) => write!(f, "max_workers must be at most {MAX_WORKERS}, and is {many}"),
            Self::TooDeep { depth, max } => write!(
                f,
                "a pool in a worker of a pool in a worker goes too deep: its workers would be at level {depth}, and {max} \
is the last"
            ),
            Self::NotTheProgram { library, program } => write!(
                f,
                "the library '{}' has process pools, and the program '{}' that loaded it has not: name a program that can \
be a worker, with `worker_exe`",
                library.display(),
                program.display()
            ),
            Self::NoOwnProgram { found } => {
                f.write_str("the executable of this program was not found")?;
                match found {
                    Some(found) => write!(f, ", only '{}'", found.display())?,
                    None => f.write_str(" (is /proc mounted?)")?,
                }
                f.write_str(": name the program with `worker_exe`")
            }
            Self::NoWorkerProgram { path } => {
                let place = if path.as_os_str().as_encoded_bytes().contains(&b'/') { "the current directory" } else { "PATH" };
                write!(f, "there is no `worker_exe` '{}' in {place}", path.display())
            }
            Self::NoWorkerDir { path } => write!(f, "there is no directory '{}' for `worker_dir`", path.display()),
            Self::WorkerVariable { name } => write!(
                f,
                "the variable {name:?} can't be in a worker's environment: a name is not empty and has no `=`, neither name \
nor value has a NUL character, and BOWLINE_WORKER_FOR is set by the pool"
            ),
            Self::InWorkerStartup => f.write_str(
                "a worker process made a pool before it had begun: make it where it is needed, not in a static \
initialiser",
            ),
            Self::Privileged => f.write_str(
                "a program that has more rights than whoever started it (set-user-id, capabilities) has no process pools",
            ),
            Self::Unsupported => f.write_str("there are no process pools on this system, only on Linux: use threads here"),
            Self::Initializer(error) => write!(f, "the initializer's arguments could not be encoded: {error}"),
        }
    }
}

impl Error for ProcessPoolError {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_to_do_or_what_the_limit_is() {
        let library = ProcessPoolError::NotTheProgram { library: "/lib/plug.so".into(), program: "/bin/host".into() };
        for (error, parts) in [
            (ProcessPoolError::MaxWorkers(0), ["max_workers must be greater than 0", ""]),
            (ProcessPoolError::MaxWorkers(16384), ["must be at most 16383", "is 16384"]),
            (ProcessPoolError::TooDeep { depth: 4, max: 3 }, ["would be at level 4", "3 is the last"]),
            (ProcessPoolError::NoOwnProgram { found: None }, ["the executable of this program", "/proc"]),
            (
                ProcessPoolError::NoOwnProgram { found: Some("/bin/emulator".into()) },
                ["only '/bin/emulator'", "with `worker_exe`"],
            ),
            (ProcessPoolError::NoWorkerProgram { path: "worker".into() }, ["`worker_exe` 'worker'", "in PATH"]),
            (ProcessPoolError::NoWorkerProgram { path: "./worker".into() }, ["'./worker'", "in the current directory"]),
            (library, ["library '/lib/plug.so' has process pools, and the program '/bin/host'", "`worker_exe`"]),
            (ProcessPoolError::NoWorkerDir { path: "/no".into() }, ["no directory '/no'", "`worker_dir`"]),
            (ProcessPoolError::WorkerVariable { name: "A=\n".into() }, ["variable \"A=\\n\"", "has no `=`"]),
            (ProcessPoolError::InWorkerStartup, ["before it had begun", "not in a static initialiser"]),
            (ProcessPoolError::Unsupported, ["no process pools on this system", "use threads"]),
            (ProcessPoolError::Initializer(CodecError::new("no text")), ["the initializer's arguments", ": no text"]),
        ] {
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
        }
        assert_eq!(ProcessPoolError::MaxWorkers(0).to_string(), "max_workers must be greater than 0");
    }

    #[test]
    fn the_reason_of_the_codec_is_told_once() {
        assert!(ProcessPoolError::Initializer(CodecError::new("no text")).source().is_none());
    }
}
