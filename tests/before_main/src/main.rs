//! A program that does all kinds of things before `main`, and whose workers find them done. It has two copies of the crate.

use std::ffi::{c_char, c_int};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

unsafe extern "C" {
    fn static_crc(bytes: *const u8, length: usize) -> u32;
    fn static_plugins() -> u32;
    fn static_constructed() -> u32;
    fn shared_crc(bytes: *const u8, length: usize) -> u32;
    fn shared_plugins() -> u32;
    fn shared_constructed() -> u32;
}

/// Counts what ran, bit by bit, and how often.
static RAN: AtomicU32 = AtomicU32::new(0);

/// The first argument that a plain entry was given.
static NAME: OnceLock<String> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static PLAIN: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = plain;

extern "C" fn plain(count: c_int, arguments: *const *const c_char, _: *const *const c_char) {
    RAN.fetch_add(1, SeqCst);
    assert!(count >= 1);
    // SAFETY:
    // - the C library gives the program's arguments, of which there is one.
    let name = unsafe { std::ffi::CStr::from_ptr(arguments.read()) };
    NAME.set(name.to_string_lossy().into_owned()).expect("it runs once");
}

#[used]
#[unsafe(link_section = ".init_array.65500")]
static LATE: extern "C" fn() = late;

extern "C" fn late() {
    RAN.fetch_add(0x10, SeqCst);
}

#[ctor::ctor(unsafe)]
fn by_ctor() {
    RAN.fetch_add(0x100, SeqCst);
}

#[ctor_0_2::ctor]
fn by_ctor_0_2() {
    RAN.fetch_add(0x1000, SeqCst);
}

struct Plugin(u32);
inventory::collect!(Plugin);
inventory::submit!(Plugin(30));
inventory::submit!(Plugin(12));

#[linkme::distributed_slice]
static LINKED: [u32];
#[linkme::distributed_slice(LINKED)]
static LINKED_ONE: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
struct Seen {
    ran: u32,
    name: Option<String>,
    plugins: u32,
    linked: u32,
    crcs: [u32; 2],
    cxx_plugins: [u32; 2],
    constructed: [u32; 2],
}

/// A task: what it finds done.
#[inline(never)]
fn a_task_that_is_counted() -> Seen {
    let text = b"123456789";
    // SAFETY:
    // - the functions read these bytes, and nothing else.
    let crcs = unsafe { [static_crc(text.as_ptr(), text.len()), shared_crc(text.as_ptr(), text.len())] };
    // SAFETY:
    // - the functions read what was written before `main`.
    let (cxx_plugins, constructed) =
        unsafe { ([static_plugins(), shared_plugins()], [static_constructed(), shared_constructed()]) };
    Seen {
        ran: RAN.load(SeqCst),
        name: NAME.get().cloned(),
        plugins: inventory::iter::<Plugin>().map(|plugin| plugin.0).sum(),
        linked: LINKED.iter().sum(),
        crcs,
        cxx_plugins,
        constructed,
    }
}

fn twice(n: u64) -> u64 {
    n * 2
}

fn squared(n: u64) -> u64 {
    n * n
}

fn main() {
    let pool = bowline::ProcessPoolExecutor::new(1).expect("a pool");
    let other = other_bowline::ProcessPoolExecutor::new(1).expect("a pool of the other copy");

    let name = std::env::args().next();
    let done = Seen {
        ran: 0x1111,
        name,
        plugins: 42,
        linked: 1,
        crcs: [0xcbf4_3926; 2],
        cxx_plugins: [2; 2],
        constructed: [3; 2],
    };
    assert_eq!(a_task_that_is_counted(), done);
    // Their own path is what workers are started with.
    let done = Seen { name: std::env::current_exe().ok().map(|path| path.display().to_string()), ..done };
    assert_eq!(pool.submit(a_task_that_is_counted, ()).result().expect("a worker"), done);
    assert_eq!(other.submit(a_task_that_is_counted, ()).result().expect("a worker of the other copy"), done);

    for n in 0..100 {
        let (one, two) = (pool.submit(twice, (n,)), other.submit(squared, (n,)));
        assert_eq!((one.result().ok(), two.result().ok()), (Some(n * 2), Some(n * n)));
        let (one, two) = (pool.submit(|n: u64| n + 7, (n,)), other.submit(|n: u64| n + 9, (n,)));
        assert_eq!((one.result().ok(), two.result().ok()), (Some(n + 7), Some(n + 9)));
    }
    // What counts the coverage writes at the end of a process.
    assert!(pool.shutdown().is_complete() && other.shutdown().is_complete());
    println!("before main: ok");
}
