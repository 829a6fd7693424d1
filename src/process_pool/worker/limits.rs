//! The limits of a worker, which it sets itself: its parent has none of them.

use std::fmt::Display;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::allocation;
use crate::primitive::quiet::AtomicU32;
use crate::process_pool::wire::limits::{Limits, max_cpu_seconds};

/// The least that a worker may take beside what it has when it is up.
const MIN_ADDRESS_SPACE: u64 = 2 << 20;

/// Limits the calling process; the nice value and the processors are those of the calling thread and of what it starts.
/// A failed allocation under a limit of the address space leaves a last word in `fate`.
///
/// # Errors
///
/// The system refuses a limit, or this process takes more already. The text says which.
pub(super) fn apply(limits: &Limits, fate: &'static AtomicU32) -> io::Result<()> {
    if let Some(files) = limits.open_files {
        limit("limit of open files", Resource::Nofile, files, files, files)?;
    }
    if let Some(nice) = limits.nice {
        setpriority_process(None, nice).map_err(|error| refused("nice value", nice, error.into()))?;
    }
    if !limits.processors.is_empty() {
        run_on(&limits.processors)?;
    }
    if let Some(seconds) = limits.cpu_seconds {
        let maximum = max_cpu_seconds(seconds, getrlimit(Resource::Cpu).maximum);
        limit("limit of CPU time", Resource::Cpu, seconds, maximum, format_args!("{seconds} s"))?;
    }
    // Last, so that there is memory to say what is wrong.
    if let Some(bytes) = limits.address_space {
        let taken = address_space().unwrap_or(0);
        if bytes < taken.saturating_add(MIN_ADDRESS_SPACE) {
            let text = format!(
                "its limit of address space can't be {bytes} bytes: it takes {taken} bytes before its first task"
            );
            return Err(io::Error::other(text));
        }
        allocation::install(fate);
        limit("limit of address space", Resource::As, bytes, bytes, format_args!("{bytes} bytes"))?;
    }
    Ok(())
}

fn limit(what: &str, resource: Resource, current: u64, maximum: u64, shown: impl Display) -> io::Result<()> {
    let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(resource, limit).map_err(|error| {
        let own = getrlimit(resource).maximum.filter(|&own| own < maximum);
        let own = own.map(|own| format!(", and may not be more than {own}")).unwrap_or_default();
        refused(what, format_args!("{shown}{own}"), error.into())
    })
}

fn refused(what: &str, value: impl Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("its {what} can't be {value}: {error}"))
}

/// Runs the calling thread on these processors.
///
/// # Errors
///
/// One of them is not there, or is not this process's to use.
fn run_on(processors: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    let numbers = || processors.iter().map(|&number| number as usize).filter(|&number| number < CpuSet::MAX_CPU);
    numbers().for_each(|number| set.set(number));
    let result = sched_setaffinity(None, &set);
    // The system leaves out those that are not there, and refuses only if none is left.
    let has = if result.is_ok() { sched_getaffinity(None)? } else { CpuSet::new() };
    match (result, numbers().find(|&number| !has.is_set(number))) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(number)) => {
            let text = format!("it can't run on processor {number}, which is not there or not for this process");
            Err(io::Error::other(text))
        }
        (Err(error), _) => Err(refused("processors", format_args!("{processors:?}"), error.into())),
    }
}

/// Returns the size of this process's address space in bytes.
fn address_space() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse::<u64>().ok()?;
    // SAFETY:
    // - `sysconf` has no preconditions, and knows this on every system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(size).ok()?)
}
