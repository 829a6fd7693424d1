//! How far the memory of a worker has grown.

use std::fs;
use std::time::{Duration, Instant};

/// How often to read how much memory a worker has.
const READ_EACH: Duration = Duration::from_millis(5);

/// The growth of a worker's memory, which is that of its process alone.
pub(super) struct Growth {
    pid: u32,
    at_first: u64,
    max: u64,
    read_at: Instant,
}

impl Growth {
    /// Begins to watch a worker that is ready. `None` if its memory may grow.
    pub(super) fn watch(pid: u32, max: Option<u64>) -> Option<Self> {
        let max = max?;
        Some(Self { pid, at_first: resident(pid)?, max, read_at: Instant::now() })
    }

    /// Returns whether it has grown too far. Reads that now and then: a few microseconds.
    pub(super) fn is_too_far(&mut self) -> bool {
        if self.read_at.elapsed() < READ_EACH {
            return false;
        }
        self.read_at = Instant::now();
        resident(self.pid).is_some_and(|now| now.saturating_sub(self.at_first) > self.max)
    }
}

/// Returns how many bytes of memory a process has that are its own.
fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = statm.split(' ').skip(1).map(|number| number.parse::<u64>().ok());
    // What others share is not its own: the program's code, and memory in which data came.
    let pages = pages.next()??.saturating_sub(pages.next()??);
    // SAFETY:
    // - no preconditions.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_size).ok()?)
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_known() {
        let grows = || {
            let before = resident(std::process::id()).expect("it is there");
            let mut more = memmap2::MmapMut::map_anon(32 << 20).expect("memory");
            more.fill(1);
            resident(std::process::id()).expect("it is there") > before + (16 << 20)
        };
        // Other tests free memory meanwhile.
        assert!((0..100).any(|_| grows()));
        assert_eq!(resident(u32::MAX), None);
    }
}
