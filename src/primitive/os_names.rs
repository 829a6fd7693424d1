//! The system's names of threads. They are known on Linux only, and not under Miri or in models.

use std::borrow::Cow;
use std::io::Read;

/// Whether the system can be asked for names.
const IS_KNOWN: bool = cfg!(all(target_os = "linux", not(bowline_portable), not(miri), not(all(test, loom))));

/// A name as the system has it: at most 15 bytes, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct OsName([u8; 16]);

impl OsName {
    /// Reads the name from a file of `/proc`.
    fn read(path: impl AsRef<std::path::Path>) -> Option<Self> {
        let mut name = [0; 16];
        let length = std::fs::File::open(path).ok()?.read(&mut name).ok()?;
        name[length.saturating_sub(1)..].fill(0);
        Some(Self(name))
    }

    /// Returns what the system knows of a name that std gave to a thread.
    pub(crate) fn of_given(name: &str) -> Self {
        let mut bytes = [0; 16];
        let length = name.len().min(bytes.len() - 1);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self(bytes)
    }

    /// Returns the name as text, `None` if it is empty.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        let name = self.0.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(name))
    }
}

/// Returns the calling thread's name. Allocates nothing.
pub(crate) fn os_thread_name() -> Option<OsName> {
    #[cfg(all(target_os = "linux", not(bowline_portable)))]
    if IS_KNOWN {
        let mut name = [0_u8; 16];
        // SAFETY:
        // - there is room for the 16 bytes that this writes at most.
        if unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) } == 0 {
            // The bytes after the end are zero already, or not part of the name.
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            name[end..].fill(0);
            return Some(OsName(name));
        }
    }
    None
}

/// Returns the name of the process, which is that of its first thread.
pub(crate) fn process_name() -> Option<OsName> {
    IS_KNOWN.then(|| OsName::read("/proc/self/comm"))?
}

/// The names of all threads of this process at one time.
pub(crate) struct ThreadNames(Vec<(u32, OsName)>);

impl ThreadNames {
    /// Returns the names as they are now.
    pub(crate) fn now() -> Self {
        let threads = IS_KNOWN.then(|| std::fs::read_dir("/proc/self/task").ok()).flatten();
        let named = threads.into_iter().flatten().flatten().filter_map(|thread| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            Some((id, OsName::read(thread.path().join("comm"))?))
        });
        Self(named.collect())
    }

    /// Returns the name of the thread with this number.
    pub(crate) fn of(&self, os_id: u32) -> Option<OsName> {
        self.0.iter().find(|(id, _)| *id == os_id).map(|&(_, name)| name)
    }

    /// Returns the threads that have this name.
    pub(crate) fn namesakes(&self, name: OsName) -> impl Iterator<Item = u32> {
        self.0.iter().filter(move |(_, other)| *other == name).map(|&(id, _)| id)
    }
}
