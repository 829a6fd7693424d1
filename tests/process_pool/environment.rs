//! The folder and the environment variables of workers, where the pool chooses them.

#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bowline::ProcessPoolExecutor;
use bowline::process_pool::{ProcessPoolBuilder, ProcessPoolError};

use crate::support::folder::Folder;
use crate::support::workers::{builder, exit, lost};
use crate::support::{LIMIT, alone, within};

/// A task: the folder.
fn folder() -> PathBuf {
    env::current_dir().expect("a folder")
}

/// A task: the environment.
fn variables() -> BTreeMap<String, String> {
    env::vars().collect()
}

/// Asserts that the variables of a worker are these. The message has names only: values may be secrets.
#[track_caller]
fn assert_variables(builder: ProcessPoolBuilder, expected: &BTreeMap<String, String>) {
    let found = builder.build().expect("a pool").submit(variables, ()).result().unwrap();
    let names: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let wrong: Vec<_> = names.into_iter().filter(|&name| found.get(name) != expected.get(name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn workers_start_in_the_chosen_folder_wherever_the_parent_is() {
    alone(|| {
        let chosen = Folder::new();
        let path = PathBuf::from(chosen.path()).canonicalize().unwrap();
        env::set_current_dir(path.parent().unwrap()).unwrap();
        // A relative path is resolved when the pool is made.
        let absolute = builder(1).worker_dir(&path).build().unwrap();
        let relative = builder(1).worker_dir(path.file_name().unwrap()).build().unwrap();
        env::set_current_dir("/").unwrap();
        for pool in [absolute, relative] {
            for _ in 0..2 {
                assert_eq!(pool.submit(folder, ()).result().unwrap(), path);
                lost(pool.submit(exit, (1,)).result());
            }
        }
        assert_eq!(builder(1).build().unwrap().submit(folder, ()).result().unwrap(), PathBuf::from("/"));
        assert_eq!(folder(), PathBuf::from("/"), "the parent's own");
    });
}

#[test]
fn a_folder_that_is_not_there_is_an_error_when_the_pool_is_made() {
    let file = env::current_exe().unwrap();
    for path in [PathBuf::from("/no/such/folder"), "no-such-folder".into(), "".into(), file, "a\0b".into()] {
        match builder(1).worker_dir(&path).build() {
            Err(ProcessPoolError::NoWorkerDir { path: told }) => assert_eq!(told, path),
            other => panic!("{path:?}: {other:?}"),
        }
    }
}

#[test]
fn a_folder_that_is_removed_later_is_what_the_error_names() {
    within(LIMIT, || {
        let chosen = Folder::new();
        let path = chosen.path();
        let pool = builder(1).worker_dir(&path).build().unwrap();
        drop(chosen);
        let error = pool.submit(folder, ()).result().unwrap_err();
        let source = std::error::Error::source(&error).expect("the system's error").to_string();
        assert!(source.contains("`worker_dir`") && source.contains(&path), "{error}: {source}");
    });
}

#[test]
fn variables_are_set_and_removed_in_workers_and_the_rest_is_inherited() {
    alone(|| {
        // SAFETY:
        // - this process is for this test, whose other threads read no variable.
        unsafe {
            env::set_var("BOWLINE_TEST_KEPT", "kept");
            env::set_var("BOWLINE_TEST_GONE", "there");
            env::set_var("BOWLINE_TEST_CHANGED", "old");
        }
        let own = variables();
        let mut expected = own.clone();
        expected.remove("BOWLINE_TEST_GONE");
        expected.insert("BOWLINE_TEST_CHANGED".into(), "new".into());
        expected.insert("BOWLINE_TEST_EMPTY".into(), String::new());
        let builder = builder(1)
            .worker_env("BOWLINE_TEST_GONE", "set first")
            .worker_env_remove("BOWLINE_TEST_GONE")
            .worker_env("BOWLINE_TEST_CHANGED", "newer")
            .worker_env("BOWLINE_TEST_CHANGED", "new")
            .worker_env("BOWLINE_TEST_EMPTY", "");
        assert_variables(builder, &expected);
        assert!(variables() == own, "the parent's own");
    });
}

#[test]
fn a_cleared_environment_has_what_is_set_after_that_and_no_mark() {
    within(LIMIT, || {
        let mut builder = builder(1).worker_env("BOWLINE_TEST_BEFORE", "1").worker_env_clear();
        let mut expected = BTreeMap::from([("BOWLINE_TEST_AFTER".to_owned(), "2".to_owned())]);
        // The program may need it to find its libraries.
        if let Ok(path) = env::var("LD_LIBRARY_PATH") {
            builder = builder.worker_env("LD_LIBRARY_PATH", &path);
            expected.insert("LD_LIBRARY_PATH".into(), path);
        }
        assert_variables(builder.worker_env("BOWLINE_TEST_AFTER", "2"), &expected);
    });
}

#[test]
fn variables_that_cannot_be_are_an_error_when_the_pool_is_made() {
    let new = ProcessPoolExecutor::builder;
    for name in ["", "=", "A=B", "A\0B", "BOWLINE_WORKER_FOR"] {
        for builder in [new().worker_env(name, "x"), new().worker_env_remove(name)] {
            match builder.build() {
                Err(ProcessPoolError::WorkerVariable { name: told }) => assert_eq!(told, name),
                other => panic!("{name:?}: {other:?}"),
            }
        }
    }
    let no_value = new().worker_env("A", OsString::from_vec(b"x\0".to_vec())).build();
    assert!(matches!(no_value, Err(ProcessPoolError::WorkerVariable { .. })), "{no_value:?}");
}
