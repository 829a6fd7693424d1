//! A shared library with a pool of processes, for a program that is not Rust: Python loads it in `tests/process_pool/library.rs`.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bowline::ProcessPoolExecutor;
use bowline::process_pool::ProcessPoolError;

/// A task: the square, calculated on another thread than the worker's first.
fn square(n: u64) -> u64 {
    std::thread::scope(|s| s.spawn(|| n * n).join()).expect("it does not panic")
}

/// Tries to make a pool in the usual way, and prints what comes of it.
#[unsafe(no_mangle)]
pub extern "C" fn print_why_not() {
    match ProcessPoolExecutor::new(1) {
        Ok(pool) => println!("said: a pool {:?}", pool.submit(square, (2,)).result()),
        Err(error @ ProcessPoolError::NotTheProgram { .. }) => println!("said: no pool: {error}"),
        Err(error) => println!("said: {error:?}"),
    }
}

/// Prints what a worker returns that is started from this program with these two arguments.
///
/// # Safety
///
/// All three are pointers to C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn print_square(program: *const c_char, flag: *const c_char, value: *const c_char) {
    // SAFETY:
    // - these are C strings (caller).
    let pool = unsafe { pool(program, flag, value) };
    match pool.submit(square, (12,)).result() {
        Ok(square) => println!("said: square {square}"),
        Err(error) => println!("said: no square: {error}"),
    }
}

/// Has a worker say its number, and waits for it for ever.
///
/// # Safety
///
/// As of [`print_square`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wait_for_ever(program: *const c_char, flag: *const c_char, value: *const c_char) {
    fn park() {
        println!("said: ready {}", std::process::id());
        loop {
            std::thread::park();
        }
    }
    // SAFETY:
    // - these are C strings (caller).
    let pool = unsafe { pool(program, flag, value) };
    println!("said: {:?}", pool.submit(park, ()).result());
}

unsafe fn pool(program: *const c_char, flag: *const c_char, value: *const c_char) -> ProcessPoolExecutor {
    // SAFETY:
    // - these are C strings (caller).
    let [program, flag, value] = [program, flag, value].map(|text| unsafe { CStr::from_ptr(text) });
    let builder = ProcessPoolExecutor::builder().max_workers(1);
    let builder = builder.worker_exe(Path::new(OsStr::from_bytes(program.to_bytes())));
    builder.worker_args([flag, value].map(|text| OsStr::from_bytes(text.to_bytes()))).build().expect("a pool")
}

/// Becomes a worker, if this program was started as one.
#[unsafe(no_mangle)]
pub extern "C" fn serve() {
    ProcessPoolExecutor::init();
}
