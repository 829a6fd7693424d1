//! The author of a line: the program, std, or this crate.

use crate::deadlock::graph::resource::Site;

/// The author of a line of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deadlock) enum Author {
    /// A line of the program, or of a library that it uses.
    Program,
    /// A line of std: it called a function of ours, as `Arc::default` does.
    Std,
    /// A line of this crate: a function of ours was called by a pointer.
    Ours,
}

/// The path of this file, from the folder of the sources on.
const THIS: &str = "deadlock/report/author.rs";

/// The rooms whose functions tell the line of their callers.
const ROOMS: [&str; 7] = ["facade/", "process_pool/", "std_sync/", "sync/", "task/", "thread/", "thread_pool/"];

impl Author {
    /// Returns the author of a line.
    pub(in crate::deadlock) fn of(site: Site) -> Self {
        Self::of_file(site.file(), file!())
    }

    /// Returns whether a file is of a package that cargo has downloaded, which nobody edits.
    pub(in crate::deadlock) fn is_downloaded(file: &str) -> bool {
        let file = file.replace('\\', "/");
        file.contains("/registry/src/") || file.contains("/git/checkouts/")
    }

    fn of_file(file: &str, this: &str) -> Self {
        // As std is delivered; and as a compiler names it that has its sources.
        if file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/library/") {
            return Self::Std;
        }
        let sources = this.strip_suffix(THIS).unwrap_or(this);
        let within = file.strip_prefix(sources);
        let is_ours = within.is_some_and(|file| ROOMS.iter().any(|room| file.starts_with(room)));
        if is_ours { Self::Ours } else { Self::Program }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_std_and_of_this_crate_are_told_from_those_of_the_program() {
        assert!(file!().ends_with(THIS));
        let registry = "/home/me/.cargo/registry/src/index/bowline-1.0.0/src/";
        for (file, author) in [
            ("src/main.rs", Author::Program),
            ("src/sync/lock.rs", Author::Program),
            ("/home/me/app/src/sync/lock.rs", Author::Program),
            ("/rustc/59807616e1fa/library/alloc/src/sync.rs", Author::Std),
            ("/home/me/.rustup/toolchains/x/lib/rustlib/src/rust/library/alloc/src/sync.rs", Author::Std),
            (&format!("{registry}sync/lock/mod.rs"), Author::Ours),
            (&format!("{registry}thread/handle.rs"), Author::Ours),
            (&format!("{registry}std_sync/mutex.rs"), Author::Ours),
            (&format!("{registry}facade/mutex.rs"), Author::Ours),
            (&format!("{registry}thread_pool/mod.rs"), Author::Ours),
        ] {
            assert_eq!(Author::of_file(file, &format!("{registry}{THIS}")), author, "{file}");
        }
    }

    #[test]
    fn files_of_packages_that_cargo_downloads_are_told_from_those_that_one_edits() {
        for file in [
            "/home/me/.cargo/registry/src/index/moka-0.12.10/src/sync/key_lock.rs",
            "/home/me/.cargo/git/checkouts/moka/abc/src/lib.rs",
            r"C:\Users\me\.cargo\registry\src\index\moka-0.12.10\src\lib.rs",
        ] {
            assert!(Author::is_downloaded(file), "{file}");
        }
        for file in ["src/main.rs", "/home/me/registry/src/main.rs", "/home/me/app/src/registry/src.rs"] {
            assert_eq!(Author::is_downloaded(file), file.contains("/registry/src/"), "{file}");
        }
    }
}
