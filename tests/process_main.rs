//! A program of its own, with a `main` that no worker ever comes to: no test harness is around it.
//!
//! It says what a harness would (`--list`, the name and `ok`), so that whatever runs tests runs this too.

use std::fs::{File, read_to_string, remove_file};
use std::io::Write;
use std::path::Path;
use std::process::{self, Command};

/// Where every `main` of this program notes that it has begun.
const MAINS: &str = "BOWLINE_TEST_MAINS";
/// Whether `main` calls `init` first.
const INIT: &str = "BOWLINE_TEST_INIT";

const TEST: &str = "no_worker_comes_to_main";

fn main() {
    match (std::env::var(MAINS), std::env::args().any(|arg| arg == "--list")) {
        #[cfg(target_os = "linux")]
        (Ok(mains), _) => program(&mains),
        (_, true) if !std::env::args().any(|arg| arg == "--ignored") => println!("{TEST}: test"),
        (_, true) => {}
        _ => test(),
    }
}

#[cfg(target_os = "linux")]
fn program(mains: &str) {
    use bowline::ProcessPoolExecutor;

    /// Returns the worker's number and the arguments that its process was started with.
    fn worker() -> (u32, Vec<String>) {
        (process::id(), std::env::args().skip(1).collect())
    }

    // SAFETY:
    // - no preconditions: it ends what would hang.
    unsafe { libc::alarm(60) };
    if std::env::var_os(INIT).is_some() {
        ProcessPoolExecutor::init();
    }
    // In one piece: whoever else is in `main` writes there as well.
    let mut file = File::options().append(true).create(true).open(mains).expect("a file");
    file.write_all(format!("{}\n", process::id()).as_bytes()).expect("a line");

    let pool = ProcessPoolExecutor::new(2).expect("a pool");
    let (first, args) = pool.submit(worker, ()).result().expect("a worker");
    assert_ne!(first, process::id());
    assert!(args.is_empty(), "a worker gets none of the program's arguments: {args:?}");
    assert!(pool.submit(|code: i32| -> () { process::exit(code) }, (7,)).result().is_err());
    let squares: Result<Vec<u64>, _> = pool.map(|n: u64| n * n, 0..100).collect();
    assert_eq!(squares.expect("squares").iter().sum::<u64>(), 328_350);
}

fn test() {
    println!("running 1 test");
    let mains = std::env::temp_dir().join(format!("bowline-mains-{}", process::id()));
    for init in [false, true] {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        program.arg("an argument").env(MAINS, &mains);
        if init {
            program.env(INIT, "1");
        }
        if cfg!(target_os = "linux") {
            assert_main_ran_once(program, &mains);
        }
    }
    println!("test {TEST} ... ok");
}

fn assert_main_ran_once(mut program: Command, mains: &Path) {
    let child = program.spawn().expect("a process");
    let pid = child.id();
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(read_to_string(mains).expect("a file"), format!("{pid}\n"));
    remove_file(mains).expect("it is there");
}
