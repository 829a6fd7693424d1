//! The state of a thread of this process, as the kernel has it. It is known on Linux only, and not under Miri or in models.

use super::os_thread_id;

/// What the kernel says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// It runs, or is about to.
    Running,
    /// It is in the system call with this number.
    InCall(i64),
    /// It is stopped.
    Stopped,
}

impl ThreadState {
    /// Returns the state of the thread with this number, `None` if it is not known.
    pub(crate) fn of(os_id: u32) -> Option<Self> {
        if os_id == 0 || !cfg!(all(target_os = "linux", not(bowline_portable), not(miri), not(all(test, loom)))) {
            return None;
        }
        // A thread that reads its own state is in a `read`.
        if os_id == os_thread_id() {
            return Some(Self::Running);
        }
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/task/{os_id}/{file}")).ok();
        // `TID (NAME) STATE …`, and the name may have parentheses of its own.
        let stat = read("stat")?;
        let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
        if matches!(state, 'T' | 't') {
            return Some(Self::Stopped);
        }
        // `running`, or `NUMBER ARGUMENT…`; -1 between calls.
        let call = read("syscall")?;
        match call.split_whitespace().next()?.parse::<i64>() {
            Ok(number @ 0..) => Some(Self::InCall(number)),
            // In the kernel, and in no call: a page is fetched, for example.
            Ok(_) if state != 'R' => None,
            _ => Some(Self::Running),
        }
    }
}

#[cfg(all(test, not(loom), not(miri), target_os = "linux", not(bowline_portable)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_or_is_in_a_call() {
        assert_eq!(ThreadState::of(os_thread_id()), Some(ThreadState::Running));
        let (tell, told) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(os_thread_id()).unwrap();
            let _ = gone.recv();
        });
        let id = told.recv().unwrap();
        while ThreadState::of(id) != Some(ThreadState::InCall(libc::SYS_futex)) {
            std::thread::yield_now();
        }
        drop(go);
        thread.join().unwrap();
        assert_eq!(ThreadState::of(id), None);
        assert_eq!(ThreadState::of(0), None);
    }
}
