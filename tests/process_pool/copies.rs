//! Two copies of the crate in one process: each has workers of its own, which run its own functions.

#![cfg(target_os = "linux")]

use std::ffi::{CString, c_char};

use crate::support::alone::with_module;
use crate::support::library::{function, library};
use crate::support::workers::pool_of;
use crate::support::{LIMIT, in_fresh_process, stderr, within};

/// What a worker of the library's copy is told: the test that serves it.
const SERVES: &str = "a_program_and_its_library_each_have_workers_that_run_their_own_functions";
/// The library, for its worker.
const LIBRARY: &str = "BOWLINE_TEST_LIBRARY";
/// What a worker has in its environment until it takes over.
const MARK: &str = "BOWLINE_WORKER_FOR";

fn twice(n: u64) -> u64 {
    n * 2
}

#[test]
fn a_program_and_its_library_each_have_workers_that_run_their_own_functions() {
    if std::env::var_os(MARK).is_some() {
        // A worker of the library, if the library takes it for one: the program's copy has left it alone.
        let library = std::env::var_os(LIBRARY).expect("a path");
        // SAFETY:
        // - that is its type.
        let serve: extern "C" fn() = unsafe { std::mem::transmute(function(library.as_ref(), "copy_serves")) };
        serve();
        panic!("the library has no worker here");
    }
    let Some(library) = library("second_copy") else { return };
    let path = library.to_str().expect("text").to_owned();
    let body = || {
        within(LIMIT * 3 / 4, || {
            type Squares = unsafe extern "C" fn(*const c_char, *const c_char, u64) -> u64;
            // SAFETY:
            // - that is its type.
            let squares: Squares = unsafe { std::mem::transmute(function(&library, "copy_sums_squares")) };
            let [program, test] = [std::env::current_exe().unwrap().to_str().unwrap(), &with_module(SERVES)]
                .map(|text| CString::new(text).expect("text without a zero"));
            let pool = pool_of(1);
            assert_eq!(pool.submit(twice, (4,)).result().unwrap(), 8);
            std::thread::scope(|s| {
                // SAFETY:
                // - these are C strings.
                let sum = s.spawn(|| unsafe { squares(program.as_ptr(), test.as_ptr(), 100) });
                for n in 0..100 {
                    assert_eq!(pool.submit(twice, (n,)).result().unwrap(), n * 2);
                }
                assert_eq!(sum.join().unwrap(), 328_350);
            });
        });
    };
    let Some(output) = in_fresh_process(SERVES, &[(LIBRARY, &path)], body) else { return };
    assert!(output.status.success(), "{}", stderr(&output));
}
