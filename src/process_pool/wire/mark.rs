//! The mark of a process that is to be a worker, in its environment. It says which copy of this crate makes a worker of
//! it: there may be several in a program.
//!
//! ```text
//! 2 program 5f1c… 0.1.0 2f4b80              the copy in the program itself: build, version of the crate, the anchor's place
//! 2 library 5f1c… 0.1.0 2f4b80 /lib/plug.so the copy in this library: when the program calls its `init`
//! ```

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::identity::Identity;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU8;

/// The name of the variable. A version of this crate that knows no such marks must use another name: it would take a
/// mark for a mistake.
pub(in crate::process_pool) const NAME: &str = "BOWLINE_WORKER_FOR";

/// The version of the mark, and of the protocol that the parent speaks.
const VERSION: &str = "2";

/// The value of the variable.
pub(in crate::process_pool) struct Mark(OsString);

/// The copy of the crate that a mark is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::process_pool) enum Addressee {
    /// This copy of the crate.
    This,
    /// Another copy or another build, in the program itself.
    AnotherInProgram,
    /// Another copy, in a library.
    AnotherInLibrary,
    /// A copy that knows another version of marks.
    Unknown,
}

/// Renames the variable in place, to a name that no code looks for: nothing in the environment is moved or freed, since
/// other threads may read it.
fn rename() {
    unsafe extern "C" {
        static mut environ: *const *mut libc::c_char;
    }
    // SAFETY:
    // - the C library's, which every program has: null, or an array of texts that end with a zero, with a null behind
    //   the last.
    // - as for any look at the environment: no other thread changes it meanwhile. The write is atomic, as other threads
    //   may read it.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = std::ffi::CStr::from_ptr(*entry).to_bytes();
            if text.strip_prefix(NAME.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')) {
                AtomicU8::from_ptr((*entry).cast()).store(b'_', Relaxed);
            }
            entry = entry.add(1);
        }
    }
}

impl Mark {
    /// Returns the mark for a worker of this process.
    pub(in crate::process_pool) fn of_workers() -> Self {
        let this = Identity::of_this();
        Self(match this.is_main_program() {
            true => format!("{VERSION} program {this}").into(),
            false => {
                let mut mark = format!("{VERSION} library {this} ").into_bytes();
                mark.extend(this.name().as_os_str().as_bytes());
                OsString::from_vec(mark)
            }
        })
    }

    /// Returns the mark of this process, if it has one.
    pub(in crate::process_pool) fn of_this_process() -> Option<Self> {
        env::var_os(NAME).map(Self)
    }

    /// Removes the mark from the environment: a process that this one starts is no worker of its parent.
    pub(in crate::process_pool) fn remove() {
        // Constructors may have started threads, and `init` may come late.
        let threads = std::fs::read_dir("/proc/self/task");
        if threads.is_ok_and(|threads| threads.count() > 1) {
            return rename();
        }
        // SAFETY:
        // - no other thread reads the environment: this is the only one, or, where that is unknown, the program has
        //   hardly begun.
        unsafe { env::remove_var(NAME) };
    }

    pub(in crate::process_pool) fn text(&self) -> &OsStr {
        &self.0
    }

    /// Returns which copy it is for.
    pub(in crate::process_pool) fn addressee(&self) -> Addressee {
        let this = Identity::of_this();
        let mut words = self.0.as_bytes().splitn(6, |&byte| byte == b' ');
        let [version, place, build, crate_version, anchor, file] = std::array::from_fn(|_| words.next());
        if version != Some(VERSION.as_bytes()) {
            return Addressee::Unknown;
        }
        let own = this.to_string();
        let mut own = own.as_bytes().splitn(3, |&byte| byte == b' ').map(Some);
        let is_this_build = own.next() == Some(build);
        let is_this = is_this_build && own.eq([crate_version, anchor]);
        match (place, this.is_main_program()) {
            (Some(b"program"), true) if is_this => Addressee::This,
            (Some(b"program"), _) => Addressee::AnotherInProgram,
            // A library that was replaced sends the parent its present identity.
            (Some(b"library"), false)
                if is_this || !is_this_build && file == Some(this.name().as_os_str().as_bytes()) =>
            {
                Addressee::This
            }
            (Some(b"library"), _) => Addressee::AnotherInLibrary,
            _ => Addressee::Unknown,
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::process::Command;

    use super::*;

    fn addressee(mark: &str) -> Addressee {
        Mark(mark.into()).addressee()
    }

    #[test]
    fn a_mark_that_is_removed_beside_other_threads_reaches_no_child() {
        const ROLE: &str = "BOWLINE_TEST_MARK";
        let test = concat!(module_path!(), "::a_mark_that_is_removed_beside_other_threads_reaches_no_child");
        let (_, test) = test.split_once("::").expect("the crate's name comes first");
        if env::var_os(ROLE).is_none() {
            let mut again = Command::new(env::current_exe().expect("this binary"));
            let output = again.args(["--exact", test, "--nocapture"]).env(ROLE, "yes").output().expect("a process");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        // SAFETY:
        // - this process is for this test: the harness, which waits, looks at no variable meanwhile.
        unsafe { env::set_var(NAME, "2 program") };
        assert!(
            std::fs::read_dir("/proc/self/task").expect("Linux").count() > 1,
            "the harness has a thread of its own"
        );
        assert!(Mark::of_this_process().is_some());
        Mark::remove();
        assert!(Mark::of_this_process().is_none());
        let child = Command::new("env").output().expect("a child");
        assert!(!String::from_utf8_lossy(&child.stdout).lines().any(|line| line.starts_with(NAME)));
    }

    #[test]
    fn a_mark_is_for_the_copy_that_made_it_and_for_no_other() {
        let own = Mark::of_workers();
        assert_eq!(own.addressee(), Addressee::This);
        let own = own.text().to_str().expect("text");
        let words: Vec<_> = own.split(' ').collect();
        let [_, _, build, version, place] = words[..] else { panic!("{own}") };
        for (mark, expected) in [
            (format!("2 program {build} {version} {place}0"), Addressee::AnotherInProgram),
            (format!("2 program {build} 9.9.9 {place}"), Addressee::AnotherInProgram),
            (format!("2 program {build}00 {version} {place}"), Addressee::AnotherInProgram),
            (format!("2 program {build} {version}"), Addressee::AnotherInProgram),
            (format!("2 library {build} {version} {place} /lib/plug.so"), Addressee::AnotherInLibrary),
            (format!("3 program {build} {version} {place}"), Addressee::Unknown),
            (format!("2 something {build} {version} {place}"), Addressee::Unknown),
            (format!("{own} "), Addressee::This),
            (String::new(), Addressee::Unknown),
        ] {
            assert_eq!(addressee(&mark), expected, "{mark}");
        }
    }
}
