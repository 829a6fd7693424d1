//! The entry before `main`: a worker takes over there, after everything else that the program runs before `main`.

use std::ffi::{c_char, c_int};
use std::io;
use std::ops::Range;

use super::entry;
use crate::process_pool::wire::object;

/// A function of the program's `.init_array`, with the arguments that glibc passes. (Other C libraries pass none; then
/// these are passed on as they are.)
type Initialiser = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Its number is among the first, which are reserved for the system: the mark is out of the environment before any
/// other code starts a process.
#[used]
#[unsafe(link_section = ".init_array.00100")]
static ENTRY: Initialiser = before_main;

extern "C" fn before_main(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) {
    entry::before_main(|| run_the_rest(argc, argv, envp));
}

/// Runs the initialisers that come after [`ENTRY`], as the caller of this one would.
fn run_the_rest(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) -> io::Result<()> {
    let entry = (&raw const ENTRY).addr();
    let array = [dynamic_array(), static_array()].into_iter().flatten().find(|array| array.contains(&entry));
    let array = array.ok_or_else(|| io::Error::other("what the program runs before `main` was not found"))?;
    for place in (entry..array.end).step_by(size_of::<Initialiser>()).skip(1) {
        // SAFETY:
        // - the place is one of the array's, as the loader has it: functions of this type.
        let initialiser = unsafe { std::ptr::with_exposed_provenance::<Option<Initialiser>>(place).read() };
        if let Some(initialiser) = initialiser {
            initialiser(argc, argv, envp);
        }
    }
    Ok(())
}

/// Returns the array's place, from where the loader has it. A static program at a fixed address has no such section.
fn dynamic_array() -> Option<Range<usize>> {
    const DT_NULL: usize = 0;
    const DT_INIT_ARRAY: usize = 25;
    const DT_INIT_ARRAYSZ: usize = 27;

    object::find(|program| {
        let (dynamic, _) = program.segments(libc::PT_DYNAMIC, 0).next().unwrap_or_default();
        let (mut start, mut size) = (None, None);
        if program.has_loaded(&dynamic, libc::PF_R) {
            for place in dynamic.step_by(size_of::<[usize; 2]>()) {
                // SAFETY:
                // - the object has loaded it as readable: pairs of words, which only the loader has written.
                let [tag, value] = unsafe { std::ptr::with_exposed_provenance::<[usize; 2]>(place).read() };
                match tag {
                    DT_NULL => break,
                    DT_INIT_ARRAY => start = Some(program.base.wrapping_add(value)),
                    DT_INIT_ARRAYSZ => size = Some(value),
                    _ => {}
                }
            }
        }
        // Only the first object counts: the main program.
        Some(start.zip(size).map(|(start, size)| start..start.saturating_add(size)))
    })
    .flatten()
}

/// Returns the array's place, from the linker's symbols, as the C library of a static program does.
#[cfg(all(target_feature = "crt-static", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn static_array() -> Option<Range<usize>> {
    unsafe extern "C" {
        static __init_array_start: Initialiser;
        static __init_array_end: Initialiser;
    }
    // Weak: in a library there is no such symbol, and no need for it.
    // SAFETY:
    // - no instruction.
    unsafe {
        std::arch::asm!(
            ".weak __init_array_start",
            ".weak __init_array_end",
            ".hidden __init_array_start",
            ".hidden __init_array_end",
            options(nomem, nostack, preserves_flags)
        );
    }
    Some((&raw const __init_array_start).addr()..(&raw const __init_array_end).addr())
}

#[cfg(not(all(target_feature = "crt-static", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn static_array() -> Option<Range<usize>> {
    None
}

#[cfg(all(test, not(target_feature = "crt-static")))]
mod tests {
    use super::*;
    use crate::primitive::Ordering::Relaxed;
    use crate::primitive::quiet::AtomicU32;

    #[test]
    fn the_entry_is_in_the_array_that_the_loader_knows_and_so_is_every_other() {
        static RAN: AtomicU32 = AtomicU32::new(0);
        #[used]
        #[unsafe(link_section = ".init_array.65535")]
        static OTHER: Initialiser = other;
        extern "C" fn other(_: c_int, _: *const *const c_char, _: *const *const c_char) {
            RAN.fetch_add(1, Relaxed);
        }

        let array = dynamic_array().expect("a dynamic program");
        let [entry, other] = [&raw const ENTRY, &raw const OTHER].map(|entry| entry.addr());
        assert!(array.contains(&entry) && array.contains(&other) && entry < other);
        assert_eq!(RAN.load(Relaxed), 1);
    }
}
