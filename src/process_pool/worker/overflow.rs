//! A worker's last word when a task overflows its stack.
//!
//! The overflow is a SIGSEGV like any other, and the process dies of it: the handler only notes that the address is at
//! the end of the stack. It is needed because a worker runs before `main`, when the standard library's own handler,
//! which would print a line, is not installed yet.

use crate::primitive::quiet::AtomicU32;

/// Installs a handler that stores [`STACK_OVERFLOW`](crate::process_pool::wire::fate::STACK_OVERFLOW), or
/// [`STACK_REFUSED`](crate::process_pool::wire::fate::STACK_REFUSED), in `fate`, and
/// prints a line on standard error, when the calling thread overflows its stack. The process dies of that, and of any
/// other fault, as it would have done before.
///
/// It works for one thread of a process, the first that calls it. If the stack is unknown, or there is no memory for
/// another stack for the handler, nothing changes.
pub(super) fn install(fate: &'static AtomicU32) {
    let _ = linux::install(fate);
}

pub(super) use linux::stack;

mod linux {
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr::{null, null_mut};

    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

    use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
    use crate::primitive::quiet::{AtomicPtr, AtomicU32};
    use crate::primitive::without_write_signals;
    use crate::process_pool::wire::fate::{STACK_OVERFLOW, STACK_REFUSED};

    /// The end of a stack raises one of these, depending on the system.
    const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

    /// How much stack the handler, and a handler before it, may use beside the kernel's frame.
    const HANDLER_STACK: usize = 64 << 10;

    /// How far below the main thread's stack its end is: no guard page is there, and nothing else either.
    const BELOW_MAIN: usize = 64 << 10;

    /// How far from the lowest address of the watched memory a stack may end that was not refused more: what is
    /// [below](BELOW_MAIN) it, and what its limit is rounded by.
    const END: usize = 2 * BELOW_MAIN;

    /// The data of the handler.
    struct Watched {
        fate: &'static AtomicU32,
        /// The part of the address space that the stack can grow into, and the guard below it.
        stack: Range<usize>,
        /// The actions of these signals before.
        before: [libc::sigaction; 2],
    }

    /// Null, or a `Watched` that is never freed.
    static WATCHED: AtomicPtr<Watched> = AtomicPtr::new(null_mut());

    pub(super) fn install(fate: &'static AtomicU32) -> Option<()> {
        let stack = stack()?;
        let mut before = [MaybeUninit::uninit(); 2];
        for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
            // SAFETY:
            // - no action is set, and `before` is a place to write to.
            if unsafe { libc::sigaction(signal, null(), before.as_mut_ptr()) } != 0 {
                return None;
            }
        }
        // SAFETY:
        // - the calls above succeeded, and have filled both.
        let before = before.map(|before| unsafe { before.assume_init() });
        run_handlers_elsewhere()?;

        let watched = Box::into_raw(Box::new(Watched { fate, stack, before }));
        // ORDERING: Release, for the Acquire of `fault`. A second installation would take this handler for the one
        // before it, so there is none.
        if WATCHED.compare_exchange(null_mut(), watched, AcqRel, Acquire).is_err() {
            // SAFETY:
            // - made above, and no other code has it.
            drop(unsafe { Box::from_raw(watched) });
            return None;
        }
        for signal in SIGNALS {
            // SAFETY:
            // - zeroes are an action. The handler has the type that `SA_SIGINFO` requires, calls nothing that a signal
            //   handler must not, and runs on another stack than the one that overflowed.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = fault as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(signal, &raw const action, null_mut());
            }
        }
        Some(())
    }

    /// Handles a fault, which may be anywhere: calls only async-signal-safe functions, and does not panic.
    extern "C" fn fault(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        const LINE: &[u8] = b"bowline: a task overflowed the stack of its worker process\n";
        // ORDERING: Acquire, for the Release of `install`, which was before this handler was set.
        // SAFETY:
        // - not null since then, and never freed or changed.
        let watched = unsafe { &*WATCHED.load(Acquire) };
        // SAFETY:
        // - the kernel's, valid during the handler. These signals have an address, if a fault caused them.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        // Codes above zero are the kernel's, for faults. Other signals were sent by a process, without an address.
        let is_fault = code > 0;
        if is_fault && watched.stack.contains(&address) {
            // Further up the stack had room to grow, and the system has refused the memory.
            let is_at_end = address < watched.stack.start.saturating_add(END);
            // ORDERING: Relaxed: the parent reads it when it knows of the process's end, which comes after this.
            watched.fate.store(if is_at_end { STACK_OVERFLOW } else { STACK_REFUSED }, Relaxed);
            // The overflow ends the process, not a signal of this write.
            without_write_signals(|| {
                // SAFETY:
                // - this many bytes are there. The result does not matter.
                unsafe { libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len()) }
            });
        }
        let which = usize::from(signal != SIGNALS[0]);
        // SAFETY:
        // - an action that was in place before.
        unsafe { libc::sigaction(signal, &raw const watched.before[which], null_mut()) };
        // The instruction that caused a fault causes it again, now that this handler is gone. A signal that was sent
        // comes again when this handler has returned.
        if !is_fault {
            // SAFETY:
            // - `raise` has no preconditions.
            unsafe { libc::raise(signal) };
        }
    }

    /// Returns the place of this thread's stack, with its guard.
    pub(in crate::process_pool::worker) fn stack() -> Option<Range<usize>> {
        let mut attributes = MaybeUninit::uninit();
        let (mut start, mut size, mut guard) = (null_mut(), 0, 0);
        // SAFETY:
        // - the attributes are filled by the first call if it succeeds, read only then, and destroyed by the last.
        // - the others are places to write to.
        let is_known = unsafe {
            libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
                let known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size) == 0
                    && libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard) == 0;
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
                known
            }
        };
        if !is_known {
            return None;
        }
        let mut low = start as usize;
        let end = low + size;
        let is_main =
            rustix::process::getpid().as_raw_nonzero().get() == crate::primitive::os_thread_id().cast_signed();
        if is_main {
            guard = BELOW_MAIN;
            // musl knows the pages that are there so far, and not how far the stack may grow.
            if cfg!(target_env = "musl")
                && let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Stack).current
            {
                low = low.min(end.saturating_sub(usize::try_from(limit).unwrap_or(0)));
            }
        }
        Some(low.saturating_sub(guard)..end)
    }

    pub(super) fn page_size() -> usize {
        // SAFETY:
        // - `sysconf` has no preconditions, and knows this on every system.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
    }

    /// Gives this thread a second stack for its signal handlers, for the rest of the process's life.
    fn run_handlers_elsewhere() -> Option<()> {
        let page = page_size();
        // SAFETY:
        // - `getauxval` has no preconditions. It returns 0 for an unknown value.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let size = (frame.max(libc::MINSIGSTKSZ) + HANDLER_STACK).next_multiple_of(page);
        // SAFETY:
        // - the kernel chooses a free place.
        let memory = unsafe {
            mmap_anonymous(null_mut(), page + size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).ok()?
        };
        // SAFETY:
        // - the first page of what was mapped above, which no code uses.
        unsafe { mprotect(memory, page, MprotectFlags::empty()).ok()? };
        let stack = libc::stack_t { ss_sp: memory.wrapping_byte_add(page), ss_flags: 0, ss_size: size };
        // SAFETY:
        // - memory that is never freed, and used for nothing else.
        (unsafe { libc::sigaltstack(&raw const stack, null_mut()) } == 0).then_some(())
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::hint::black_box;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;
    use crate::primitive::Ordering::Relaxed;
    use crate::primitive::{join_thread, spawn_thread};
    use crate::process_pool::wire::fate::{STACK_OVERFLOW, STACK_REFUSED};
    use crate::process_pool::wire::page::Page;

    const ROLE: &str = "BOWLINE_TEST_OVERFLOW";
    const LINE: &str = "bowline: a task overflowed the stack of its worker process\n";

    /// Before `main`, as in a worker: the standard library's own handler isn't there yet.
    #[ctor::ctor(unsafe)]
    fn other_processes() {
        if let Ok(role) = std::env::var(ROLE) {
            play(&role);
            std::process::exit(3);
        }
    }

    /// Dies as the role says.
    fn play(role: &str) {
        // SAFETY:
        // - `alarm` has no preconditions: it ends what would fault for ever.
        unsafe { libc::alarm(60) };
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, none).expect("no core files");
        let page = Page::open(std::io::stdin().as_fd().try_clone_to_owned().expect("a page")).expect("a page").leak();
        if role == "earlier" {
            extern "C" fn leave(_: libc::c_int) {
                // SAFETY:
                // - `_exit` has no preconditions.
                unsafe { libc::_exit(42) }
            }
            // SAFETY:
            // - zeroes are an action, and so is this one: it does nothing but end the process.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = leave as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_ONSTACK;
                libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut());
            }
        }
        if role == "thread" {
            let run = || {
                install(page.fate());
                black_box(descend(0));
            };
            join_thread(spawn_thread("overflows".to_owned(), 1 << 20, run).expect("a thread"));
            return;
        }
        install(page.fate());
        match role {
            "main" | "earlier" => drop(black_box(descend(0))),
            "unlimited" => {
                // What stops such a stack is that there is no memory any more.
                let pages = std::fs::read_to_string("/proc/self/statm").expect("what is in use");
                let pages: u64 =
                    pages.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
                let bytes = pages * linux::page_size() as u64 + (32 << 20);
                setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) }).expect("a limit");
                black_box(descend(0));
            }
            // SAFETY:
            // - none: the process is to die of this.
            "null" => unsafe { black_box(std::ptr::without_provenance_mut::<u8>(8)).write_volatile(1) },
            "sent" => {
                // By a sender that puts an address of the stack into the signal: a signal that was sent has no address.
                let word = if cfg!(target_pointer_width = "64") { 2 } else { 3 };
                // SAFETY:
                // - zeroes are such information, which has more words than these.
                // - the call takes the information, and lets a process say what it likes to itself.
                unsafe {
                    let mut info: libc::siginfo_t = std::mem::zeroed();
                    info.si_code = libc::SI_QUEUE;
                    (&raw mut info).cast::<usize>().add(word).write(&raw const info as usize);
                    let (process, thread) = (libc::getpid(), libc::gettid());
                    libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, libc::SIGSEGV, &raw const info);
                }
            }
            "bus" => {
                let file = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
                let map = memmap2::MmapOptions::new().len(1).map_raw(&file).expect("a page beyond the end");
                // SAFETY:
                // - none: the process is to die of this.
                unsafe { map.as_mut_ptr().write_volatile(1) };
            }
            role => panic!("the role {role} is unknown"),
        }
    }

    #[inline(never)]
    fn descend(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { descend(depth + 1) + black_box(frame)[7] }
    }

    /// How a process ended: its signal or exit code, its fate and what it wrote to standard error.
    #[derive(PartialEq, Debug)]
    struct End {
        signal: Option<i32>,
        code: Option<i32>,
        fate: u32,
        said: String,
    }

    impl End {
        fn of(role: &str) -> Self {
            let (page, file) = Page::new().expect("a page");
            let mut command = Command::new(std::env::current_exe().expect("this binary"));
            command.env(ROLE, role).env("RUST_BACKTRACE", "0").stdin(Stdio::from(file)).stderr(Stdio::piped());
            if role == "unlimited" {
                let limit = Rlimit { current: None, maximum: getrlimit(Resource::Stack).maximum };
                // SAFETY:
                // - between fork and exec there is one system call.
                unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Stack, limit)?)) };
            }
            let mut child = command.spawn().expect("a process");
            let mut said = String::new();
            child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("a text");
            let status = child.wait().expect("its end");
            Self { signal: status.signal(), code: status.code(), fate: page.fate().load(Relaxed), said }
        }

        fn by(signal: i32, fate: u32, said: &str) -> Self {
            Self { signal: Some(signal), code: None, fate, said: said.to_owned() }
        }
    }

    #[test]
    fn an_overflow_of_the_main_thread_is_told_and_deadly() {
        assert_eq!(End::of("main"), End::by(libc::SIGSEGV, STACK_OVERFLOW, LINE));
    }

    #[test]
    fn an_overflow_of_another_thread_is_told_and_deadly() {
        assert_eq!(End::of("thread"), End::by(libc::SIGSEGV, STACK_OVERFLOW, LINE));
    }

    #[test]
    fn a_stack_without_limit_that_finds_no_memory_was_refused_it() {
        if getrlimit(Resource::Stack).maximum.is_none() {
            assert_eq!(End::of("unlimited"), End::by(libc::SIGSEGV, STACK_REFUSED, LINE));
        }
    }

    #[test]
    fn other_faults_are_deadly_and_no_overflow() {
        assert_eq!(End::of("null"), End::by(libc::SIGSEGV, 0, ""));
        assert_eq!(End::of("bus"), End::by(libc::SIGBUS, 0, ""));
    }

    #[test]
    fn a_signal_that_somebody_sent_is_deadly_and_no_overflow() {
        assert_eq!(End::of("sent"), End::by(libc::SIGSEGV, 0, ""));
    }

    #[test]
    fn a_handler_from_before_is_asked_next() {
        let end = End { signal: None, code: Some(42), fate: STACK_OVERFLOW, said: LINE.to_owned() };
        assert_eq!(End::of("earlier"), end);
    }
}
