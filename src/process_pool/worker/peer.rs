//! The peer of the stream: whether the kernel says that this process may take its orders.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, getppid, getuid, pidfd_open};
use rustix::thread::capabilities;

use crate::process_pool::wire::exiting::all_threads_exit;

/// Checks that the process that made the stream is the parent, runs as the same user, and has every capability of this
/// process. Returns that process.
///
/// # Errors
///
/// It is another process or user, or it lacks a capability: this process takes no orders from it. `BrokenPipe`: it has ended,
/// or is about to.
pub(super) fn check(stream: &OwnedFd) -> io::Result<Pid> {
    let peer = credentials(stream)?;
    let Some(maker) = Pid::from_raw(peer.pid) else {
        return Err(io::Error::other("its orders come from a process that is not in its pid namespace"));
    };
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    if peer.pid != parent {
        // The descriptor last: it tells of a process that ends meanwhile.
        if all_threads_exit(peer.pid.cast_unsigned()).unwrap_or(false) || has_ended(maker) {
            // This process is an orphan already. (The stream need not be closed by then: a child that the parent was
            // starting has it until it executes its program.)
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        return Err(io::Error::other(format!(
            "its orders come from process {}, and it was started by process {parent}: a `worker_exe` that starts the \
             program has to become it (`exec`), and not to stay as its parent",
            peer.pid
        )));
    }
    let user = getuid().as_raw();
    if peer.uid != user || geteuid().as_raw() != user {
        return Err(io::Error::other(format!("its orders come from user {}, and it runs as user {user}", peer.uid)));
    }
    let own = capabilities(None)?.permitted;
    if !own.is_empty() {
        let parents = match capabilities(Some(maker)) {
            Err(Errno::SRCH) => return Err(io::ErrorKind::BrokenPipe.into()),
            parents => parents?.permitted,
        };
        let more = own.difference(parents);
        if !more.is_empty() {
            return Err(io::Error::other(format!(
                "it may do what its parent may not (capabilities {:#x}): whoever gives up capabilities and has workers \
                 gives them up in the bounding set, too",
                more.bits()
            )));
        }
    }
    Ok(maker)
}

/// Returns whether a process has ended, as far as the system tells.
fn has_ended(process: Pid) -> bool {
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => {
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
        }
        Err(error) => error == Errno::SRCH,
    }
}

/// Returns the credentials of the process that made the stream, by `socketpair`.
fn credentials(stream: &OwnedFd) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY:
    // - the descriptor is open, and there is room for as much as `length` says.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(peer) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::process::Command;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn a_process_has_ended_once_it_is_a_zombie_and_when_it_is_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = Pid::from_child(&child);
        assert!(!has_ended(pid) && !has_ended(rustix::process::getpid()));
        child.kill().expect("it is there");
        // Until it is a zombie, which it stays.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child");
        assert!(has_ended(pid));
        child.wait().expect("it ends");
        assert!(has_ended(pid));
    }
}
