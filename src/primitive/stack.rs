//! The place of the calling thread's stack, as the system tells it.

pub(crate) use system::{SYSTEM_TELLS_STACKS, mapping_around, stack_of_thread};

/// Returns roughly the current stack pointer. The stack grows downwards wherever threads have stacks of this kind.
#[inline(never)]
pub(crate) fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    /// Whether the bounds of a thread's stack can be known.
    pub(crate) const SYSTEM_TELLS_STACKS: bool = true;

    /// Returns the bounds of the stack that the system gave the calling thread, without the guard at its bottom.
    pub(crate) fn stack_of_thread() -> Option<Range<usize>> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY:
        // - the thread is the calling one, and the attributes are written to.
        if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
            return None;
        }
        let (mut bottom, mut size, mut guard) = (ptr::null_mut(), 0, 0);
        // SAFETY:
        // - the attributes were made above, and are not used after the last call.
        // - the places are written to.
        let is_known = unsafe {
            let is_known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut bottom, &raw mut size) == 0
                && libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            is_known
        };
        // Some C libraries count the guard as part of the stack. (For a main thread, glibc tells how large it would
        // like the guard to be.)
        let bounds = bottom.addr().checked_add(guard)?..bottom.addr().checked_add(size)?;
        (is_known && !bounds.is_empty()).then_some(bounds)
    }

    /// Returns the mapping that contains this address. Reads all of the process's mappings.
    #[cold]
    pub(crate) fn mapping_around(address: usize) -> Option<Range<usize>> {
        let maps = BufReader::new(File::open("/proc/self/maps").ok()?);
        maps.lines().map_while(Result::ok).find_map(|line| {
            let (first, rest) = line.split_once('-')?;
            let (end, _) = rest.split_once(' ')?;
            let mapping = usize::from_str_radix(first, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
            mapping.contains(&address).then_some(mapping)
        })
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    use std::ops::Range;

    /// Whether the bounds of a thread's stack can be known.
    pub(crate) const SYSTEM_TELLS_STACKS: bool = false;

    /// Returns `None`: the bounds of the stack are not known.
    pub(crate) fn stack_of_thread() -> Option<Range<usize>> {
        None
    }

    /// Returns `None`: the mapping is not known.
    pub(crate) fn mapping_around(_: usize) -> Option<Range<usize>> {
        None
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_the_stack_that_this_runs_on() {
        let (known, here) = (stack_of_thread().unwrap(), stack_pointer());
        assert!(known.contains(&here), "{here:x} in {known:x?}");
        let mapping = mapping_around(here).unwrap();
        assert!(mapping.contains(&here) && mapping.contains(&known.start), "{known:x?} in {mapping:x?}");
        assert_eq!(mapping_around(0), None);
    }
}
