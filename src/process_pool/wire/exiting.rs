//! Whether the system is taking a process down, as far as `/proc` tells: that can take long.

use std::fs;
use std::io;
use std::path::Path;

/// In the flags of a thread: it executes no more of its program.
const PF_EXITING: u32 = 4;

/// Returns whether the main thread of a process is exiting.
///
/// # Errors
///
/// There is no such process, or `/proc` does not tell.
pub(in crate::process_pool) fn main_thread_exits(process: u32) -> io::Result<bool> {
    thread_exits(Path::new(&format!("/proc/{process}")))
}

/// Returns whether all threads of a process are exiting. From then on its children are orphans, although it has not ended
/// before the last of its threads has, which gives its memory back.
///
/// # Errors
///
/// There is no such process, or `/proc` does not tell.
pub(in crate::process_pool) fn all_threads_exit(process: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let exits = match thread_exits(&thread?.path()) {
            // It is gone since the folder was read, or since its file was opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => true,
            exits => exits?,
        };
        if !exits {
            return Ok(false);
        }
    }
    Ok(true)
}

fn thread_exits(folder: &Path) -> io::Result<bool> {
    let stat = fs::read_to_string(folder.join("stat"))?;
    // The name is in parentheses and may contain anything.
    let flags = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(6)?.parse::<u32>().ok());
    flags.map(|flags| flags & PF_EXITING != 0).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn a_process_exits_with_the_last_of_its_threads() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = child.id();
        assert!(!all_threads_exit(pid).unwrap() && !main_thread_exits(pid).unwrap());
        child.kill().expect("it is there");
        // Until it is a zombie, which it stays.
        waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child");
        assert!(all_threads_exit(pid).unwrap() && main_thread_exits(pid).unwrap());
        child.wait().expect("it ends");
        assert!(all_threads_exit(pid).is_err() && main_thread_exits(pid).is_err());
    }

    #[test]
    fn a_process_whose_main_thread_has_exited_goes_on_with_the_others() {
        const PROGRAM: &str = "import ctypes, threading, time\n\
            threading.Thread(target=time.sleep, args=(60,)).start()\n\
            ctypes.CDLL(None).pthread_exit(None)";
        let Ok(mut child) = Command::new("python3").args(["-c", PROGRAM]).spawn() else {
            println!("skipped: there is no python3");
            return;
        };
        let pid = child.id();
        let end = Instant::now() + Duration::from_secs(60);
        while !main_thread_exits(pid).unwrap() {
            assert!(child.try_wait().expect("a child").is_none(), "the program ended");
            assert!(Instant::now() < end, "its main thread goes on");
            std::thread::yield_now();
        }
        assert!(!all_threads_exit(pid).unwrap());
        child.kill().expect("it is there");
        child.wait().expect("it ends");
    }
}
