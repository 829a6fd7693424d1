//! The objects that are loaded in this process (the executable, each shared library), as the loader knows them.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

#[cfg(target_pointer_width = "64")]
pub(in crate::process_pool) type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
pub(in crate::process_pool) type ProgramHeader = libc::Elf32_Phdr;

/// A loaded object, while it stays loaded.
pub(in crate::process_pool) struct Object<'l> {
    /// The difference between its addresses in memory and in its file.
    pub(in crate::process_pool) base: usize,
    pub(in crate::process_pool) headers: &'l [ProgramHeader],
    /// Its file; empty for the main program.
    pub(in crate::process_pool) name: &'l OsStr,
    pub(in crate::process_pool) is_main_program: bool,
}

impl Object<'_> {
    /// Returns the places of the segments of this kind with these flags, and their alignments.
    pub(in crate::process_pool) fn segments(
        &self,
        kind: u32,
        flags: u32,
    ) -> impl Iterator<Item = (Range<usize>, usize)> {
        let matching =
            self.headers.iter().filter(move |header| header.p_type == kind && header.p_flags & flags == flags);
        matching.map(|header| {
            let start = self.base.wrapping_add(header.p_vaddr as usize);
            (start..start.saturating_add(header.p_memsz as usize), header.p_align as usize)
        })
    }

    /// Returns whether all of this is in a part that was loaded with these flags.
    pub(in crate::process_pool) fn has_loaded(&self, part: &Range<usize>, flags: u32) -> bool {
        self.segments(libc::PT_LOAD, flags).any(|(whole, _)| whole.start <= part.start && part.end <= whole.end)
    }
}

/// Calls `look` with each object, and returns its first result. The main program comes first.
pub(in crate::process_pool) fn find<R, F: FnMut(&Object<'_>) -> Option<R>>(look: F) -> Option<R> {
    struct Search<R, F> {
        look: F,
        is_first: bool,
        found: Option<R>,
    }
    extern "C" fn each<R, F>(info: *mut libc::dl_phdr_info, _size: usize, search: *mut c_void) -> c_int
    where
        F: FnMut(&Object<'_>) -> Option<R>,
    {
        // SAFETY:
        // - this is called with valid information about one loaded object, which stays loaded meanwhile, and with the
        //   `Search` that was handed in below.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<R, F>>()) };
        let headers = match info.dlpi_phdr.is_null() {
            true => &[],
            // SAFETY:
            // - there are this many headers, as valid as the information.
            false => unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) },
        };
        let name = match info.dlpi_name.is_null() {
            true => OsStr::new(""),
            // SAFETY:
            // - a name that ends with a zero, as valid as the information.
            false => OsStr::from_bytes(unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()),
        };
        let base = info.dlpi_addr as usize;
        let object = Object { base, headers, name, is_main_program: std::mem::take(&mut search.is_first) };
        search.found = (search.look)(&object);
        search.found.is_some().into()
    }
    let mut search = Search { look, is_first: true, found: None };
    // SAFETY:
    // - `each` does not unwind but ends the process, should it panic, and `search` is what it expects.
    unsafe { libc::dl_iterate_phdr(Some(each::<R, F>), (&raw mut search).cast()) };
    search.found
}
