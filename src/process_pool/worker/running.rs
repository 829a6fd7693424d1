//! The task that this worker runs.

use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet::{AtomicPtr, AtomicU64};
use crate::process_pool::wire::page::Page;

/// The page, once this process is a worker that serves.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());
/// The number of the task that it runs; 0 between tasks.
static ID: AtomicU64 = AtomicU64::new(0);

/// A task, by its number.
#[derive(Clone, Copy)]
pub(in crate::process_pool) struct Running {
    page: &'static Page,
    id: u64,
}

impl Running {
    pub(in crate::process_pool) fn should_stop(&self) -> bool {
        self.page.is_asked_to_stop(self.id)
    }

    pub(in crate::process_pool) fn attempt(&self) -> u32 {
        self.page.attempt(self.id)
    }
}

/// Returns the task that this process runs.
pub(in crate::process_pool) fn running() -> Option<Running> {
    let id = ID.load(Relaxed);
    // ORDERING: Acquire pairs with the Release in `serves_by`.
    //
    // SAFETY:
    // - null, or a page that lasts (`serves_by`).
    let page = unsafe { PAGE.load(Acquire).as_ref() }?;
    (id != 0).then_some(Running { page, id })
}

/// Notes the page by which this process serves.
pub(super) fn serves_by(page: &'static Page) {
    // ORDERING: Release publishes the page.
    PAGE.store(std::ptr::from_ref(page).cast_mut(), Release);
}

/// Notes that a task begins; returns what notes its end when it is dropped.
pub(super) fn begin(id: u64) -> impl Drop {
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            ID.store(0, Relaxed);
        }
    }
    ID.store(id, Relaxed);
    End
}
