//! The registry: contexts as threads, and bodies that run in place, take them and give them back.

use super::detector;
use super::graph::context::{Context, ContextId};
use super::graph::contexts::Level;
use super::graph::record::ThreadRecord;
use super::graph::thread_name::ThreadName;
use super::graph::{FIRST_SWEEP, Graph};
use crate::primitive::lasting::keep;
use crate::primitive::{
    Ingredient, copy_number, current_context, is_removed, os_thread_id, run_at_thread_end, set_current_context,
    thread_is_ending,
};

/// Returns the calling thread's context. It is made on first use: one piece of the system's memory for each thread that is alive at
/// the same time. The program's allocator may lock.
#[inline]
pub(crate) fn current() -> &'static Context {
    let context = current_context().cast::<Context>();
    if context.is_null() {
        return enter();
    }
    // SAFETY:
    // - the pointer is not null, so `enter` stored it: a context, which is never freed.
    unsafe { &*context }
}

#[cold]
#[inline(never)]
fn enter() -> &'static Context {
    let context = take_context(os_thread_id());
    set_current_context(std::ptr::from_ref(context).cast());
    // What allocates may lock: not before the thread has its context.
    match ThreadName::of_this() {
        ThreadName::None => {}
        name => detector::with(|graph| graph.record_mut(context).name = name),
    }
    if !run_at_thread_end(leave, std::ptr::from_ref(context).cast()) {
        expect_no_word_of(context);
    }
    #[cfg(not(all(test, loom)))]
    super::environment::obey();
    context
}

/// Arranges for `end(argument)` to run once on the calling thread, whose first context this is, after the destructors of
/// its thread-locals. Returns `false` if nothing announces the end of this thread: then `end` does not run.
///
/// `end` runs in the destructor of a thread-specific key: it must neither unwind nor wait.
pub(crate) fn run_at_end(first: &'static Context, end: fn(*const ()), argument: *const ()) -> bool {
    let is_announced = detector::with(|graph| !graph.thread(first).ended);
    if is_announced {
        first.at_end.set(Some((end, argument)));
    }
    is_announced
}

/// Ends a thread, after its thread-locals were destroyed: gives its context back, or, while it still holds something,
/// re-checks the waits for it, in each round of destructors.
///
/// A destructor still to come that locks after the context was given back takes another.
fn leave(context: *const ()) {
    if current_context() != context {
        return;
    }
    // SAFETY:
    // - only `enter` passes this pointer on: a context, which is never freed.
    let context: &'static Context = unsafe { &*context.cast() };
    if let Some((end, argument)) = context.at_end.take() {
        end(argument);
    }
    context.holds.give_void();
    if give_inside(context) && context.holds.is_empty() {
        set_current_context(std::ptr::null());
        give_context(context);
    } else {
        // Destructors that are still to come may release it, and still run in this context.
        end_thread(context);
        run_at_thread_end(leave, std::ptr::from_ref(context).cast());
    }
}

/// Runs the calling thread's last destructor, before the kernel says that the thread is gone.
#[cfg(all(test, loom))]
pub(crate) fn leave_early() {
    leave(current_context());
}

/// Ends the calling thread, as far as a model can: its last destructor runs, then the kernel says that it is gone.
#[cfg(all(test, loom))]
pub(crate) fn end_current() {
    let context = current();
    leave(std::ptr::from_ref(context).cast());
    if !current_context().is_null() {
        context.lifeline.cut();
    }
}

/// Returns the context that is to run inside of another one of the calling thread.
pub(super) fn inner_of(outer: &'static Context) -> &'static Context {
    if let Some(inner) = outer.nesting.inner.get() {
        return inner;
    }
    let inner = take_retired(outer).unwrap_or_else(|| take_inner_context(outer));
    outer.nesting.inner.set(Some(inner));
    inner
}

/// Gives back, at the end of a thread, the contexts that ran inside of its first one and hold nothing. Returns whether
/// these are all of them.
fn give_inside(first: &'static Context) -> bool {
    give_inner_ones(first);
    let mut kept = None;
    while let Some(retired) = take_any_retired(first) {
        give_inner_ones(retired);
        retired.holds.give_void();
        if retired.holds.is_empty() {
            give_inner_context(retired);
        } else {
            // Linked through the field that otherwise has the context inside.
            retired.nesting.inner.set(kept.replace(retired));
        }
    }
    let is_all = kept.is_none();
    while let Some(retired) = kept {
        kept = retired.nesting.inner.take();
        retire(retired);
    }
    is_all
}

/// Gives back the contexts inside of `context`. They hold nothing: one that did was retired when its body ended.
fn give_inner_ones(context: &'static Context) {
    let mut next = context.nesting.inner.take();
    while let Some(inner) = next {
        next = inner.nesting.inner.take();
        give_inner_context(inner);
    }
}

/// Returns a first context for the calling thread, which holds its lifeline from now on.
fn take_context(os_id: u32) -> &'static Context {
    let context = unused_context();
    // SAFETY:
    // - contexts are never freed or moved.
    // - this one is on no list, so that nobody holds its lifeline.
    unsafe { context.lifeline.hold() };
    let old_name = detector::with(|graph| {
        let record = graph.record_mut(context);
        // Taken by a destructor after all of ours: nothing will announce this thread's end.
        record.thread = ThreadRecord::new();
        record.first = None;
        if thread_is_ending() {
            graph.mark_ended(context);
        }
        graph.name_context(context, ThreadName::None, os_id, false)
    });
    drop(old_name);
    context
}

/// Returns a new context to run inside of `outer`, the calling thread's.
fn take_inner_context(outer: &'static Context) -> &'static Context {
    let context = unused_context();
    let old_name = detector::with(|graph| {
        let (name, os_id) = (graph.record(outer).name.clone(), graph.record(outer).os_id);
        graph.record_mut(context).first = Some(graph.first_of(outer));
        graph.name_context(context, name, os_id, true)
    });
    drop(old_name);
    context
}

impl Graph {
    /// Gives a context its number and its thread's name. Returns the name of the thread that had it before, to be
    /// dropped without the mutex.
    fn name_context(&mut self, context: &'static Context, name: ThreadName, os_id: u32, nested: bool) -> ThreadName {
        let record = self.record_mut(context);
        let old_name = std::mem::replace(&mut record.name, name);
        record.os_id = os_id;
        record.nested = nested;
        let id = record.last_id;
        context.set_id(self, id);
        old_name
    }

    /// Adds a context of no thread, which waits for what a test says.
    #[cfg(all(test, not(loom)))]
    pub(super) fn add_for_test(&mut self) -> &'static Context {
        let context = keep(Context::new());
        if let Some(level) = self.contexts.wanted() {
            self.contexts.grow(Level::new(level));
        }
        let id = ContextId::first(self.contexts.len(), copy_number());
        self.add(context, id);
        context.set_id(self, id);
        context
    }

    /// Adds a context to those that nobody has.
    fn free(&mut self, context: &'static Context) {
        self.unmark_ended(context);
        let free = self.free.replace(context);
        self.record_mut(context).next_free = free;
    }

    /// Frees the contexts of threads that are gone, where nothing announces a thread's end. Takes time linear in the
    /// contexts, and is done when there are twice as many as were left the last time.
    fn sweep(&mut self) {
        if !self.has_untold || self.contexts.len() < self.swept * 2 {
            return;
        }
        for at in 0..self.contexts.len() {
            let first = self.contexts.at(at);
            if first.id().get() != 0 && self.record(first).first.is_none() {
                self.free_if_gone(first);
            }
        }
        self.swept = self.contexts().count().max(FIRST_SWEEP);
    }

    /// Frees the contexts of a thread that is gone, if none of them holds anything.
    pub(super) fn free_if_gone(&mut self, of: &'static Context) {
        let first = self.first_of(of);
        let holds = |context: &'static Context| {
            context.holds.give_void();
            !context.holds.is_empty()
        };
        let inside = || std::iter::successors(Some(first), |context| context.nesting.inner());
        if self.is_gone(first) && !inside().any(holds) && !self.retired(first).any(holds) {
            while let Some(retired) = self.pop_retired(first) {
                self.free_gone(retired);
            }
            first.lifeline.mend();
            self.free_gone(first);
        }
    }

    /// Frees a context of a thread that is gone, and those that ran inside of it.
    fn free_gone(&mut self, mut context: &'static Context) {
        loop {
            let inner = context.nesting.clear();
            if let Some(group) = self.record(context).group {
                self.remove_member(group, context);
                self.recheck_group(group);
            }
            self.unlink(context);
            context.set_id(self, None);
            self.free(context);
            match inner {
                Some(inner) => context = inner,
                None => return,
            }
        }
    }

    /// Takes the thread's first retired context off the list.
    fn pop_retired(&mut self, first: &'static Context) -> Option<&'static Context> {
        let retired = self.record(first).thread.retired?;
        let record = self.record_mut(retired);
        record.is_retired = false;
        let next = record.next_retired.take();
        self.record_mut(first).thread.retired = next;
        Some(retired)
    }

    /// Adds a retired context behind the others of its thread.
    fn push_retired(&mut self, first: &'static Context, retired: &'static Context) {
        self.record_mut(retired).is_retired = true;
        let thread = &mut self.record_mut(first).thread;
        let last = thread.last_retired.replace(retired).filter(|_| thread.retired.is_some());
        match last {
            Some(last) => self.record_mut(last).next_retired = Some(retired),
            None => thread.retired = Some(retired),
        }
    }
}

/// Returns a context that nobody has, with its next number.
fn unused_context() -> &'static Context {
    reuse_context().unwrap_or_else(add_context)
}

fn reuse_context() -> Option<&'static Context> {
    detector::with(|graph| {
        if graph.free.is_none() {
            graph.sweep();
        }
        loop {
            let context = graph.free?;
            let record = graph.record_mut(context);
            let next = record.next_free.take();
            if !is_removed(Ingredient::FreshNumber) {
                record.last_id = record.last_id.and_then(ContextId::next);
            }
            let has_number = record.last_id.is_some();
            graph.free = next;
            if has_number {
                return Some(context);
            }
        }
    })
}

fn add_context() -> &'static Context {
    let context = keep(Context::new());
    let copy = copy_number();
    let mut made = None;
    loop {
        let wanted = detector::with(|graph| {
            made = made.take().and_then(|level| graph.contexts.grow(level));
            let wanted = graph.contexts.wanted();
            if wanted.is_none() {
                let id = ContextId::first(graph.contexts.len(), copy);
                graph.add(context, Some(id.expect("more than 2^24 threads own locks at once")));
                context.let_writers_find();
            }
            wanted
        });
        match wanted {
            None => return context,
            Some(level) => made = Some(Level::new(level)),
        }
    }
}

/// Notes that nothing will announce the end of the thread that has this context: its waiters have to ask, now and
/// again.
#[cold]
fn expect_no_word_of(first: &'static Context) {
    detector::with(|graph| {
        graph.mark_ended(first);
        graph.has_untold = true;
    });
}

/// Marks a thread as ended while one of its contexts holds something, and re-checks the waits for it.
pub(super) fn end_thread(first: &'static Context) {
    detector::with(|graph| {
        graph.mark_ended(first);
        if !is_removed(Ingredient::SummonsAtEnd) {
            graph.recheck_waits_for(first);
        }
    });
}

/// Gives the first context of a thread back at its end: none of its contexts holds anything.
fn give_context(first: &'static Context) {
    let name = take_name(first);
    drop(name);
    // SAFETY:
    // - the calling thread took this context, and holds its lifeline since.
    if !unsafe { first.lifeline.release() } {
        // The next thread to take this context would wait for the lifeline for ever, so it is not freed.
        return;
    }
    detector::with(|graph| graph.free(first));
}

/// Gives back a context that ran inside of another one: it holds nothing.
fn give_inner_context(context: &'static Context) {
    let name = take_name(context);
    drop(name);
    detector::with(|graph| graph.free(context));
}

fn take_name(context: &'static Context) -> ThreadName {
    detector::with(|graph| {
        context.set_id(graph, None);
        std::mem::take(&mut graph.record_mut(context).name)
    })
}

/// Keeps a context of the calling thread that still holds something when its body has ended.
#[cold]
pub(super) fn retire(context: &'static Context) {
    detector::with(|graph| {
        let first = graph.first_of(context);
        graph.push_retired(first, context);
    });
}

/// Takes a retired context of the calling thread that has released everything since, if there is one among the next
/// few. Those that still hold something are looked at again after all the others.
fn take_retired(of: &'static Context) -> Option<&'static Context> {
    const LOOKED_AT: usize = 4;
    detector::with(|graph| {
        let first = graph.first_of(of);
        for _ in 0..LOOKED_AT {
            let retired = graph.pop_retired(first)?;
            retired.holds.give_void();
            if retired.holds.is_empty() {
                return Some(retired);
            }
            graph.push_retired(first, retired);
        }
        None
    })
}

/// Takes the calling thread's next retired context, whatever it holds.
fn take_any_retired(first: &'static Context) -> Option<&'static Context> {
    detector::with(|graph| graph.pop_retired(first))
}
