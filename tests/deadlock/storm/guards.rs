//! Guards that note when they are dropped, and those that the end of a thread drops.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bowline::sync::{
    ArcLockGuard, ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, LockGuard, MappedLockGuard,
    MappedRLockGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard, RLockGuard, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

use super::log::{Event, Hold, note};
use super::script::{Keeper, Step};
use super::world::{World, fault};

/// Under a lock both numbers are the same.
#[derive(Debug, Default)]
pub(crate) struct Data(u64, u64);

impl Data {
    fn touch(&mut self) {
        if self.0 != self.1 {
            fault(format!("two are in at once: {self:?}"));
        }
        self.0 += 1;
        self.1 += 1;
    }

    fn look(&self) {
        if self.0 != self.1 {
            fault(format!("somebody writes what is read: {self:?}"));
        }
    }
}

#[expect(dead_code, reason = "guards are kept to be dropped")]
pub(crate) enum Guard<'w> {
    Plain(LockGuard<'w, Data>),
    Mapped(MappedLockGuard<'w, u64>),
    Again(RLockGuard<'w, Data>),
    MappedAgain(MappedRLockGuard<'w, u64>),
    Read(RwLockReadGuard<'w, Data>),
    MappedRead(MappedRwLockReadGuard<'w, u64>),
    Upgradable(RwLockUpgradableReadGuard<'w, Data>),
    Write(RwLockWriteGuard<'w, Data>),
    MappedWrite(MappedRwLockWriteGuard<'w, u64>),
}

impl<'w> Guard<'w> {
    pub(crate) fn plain(mut guard: LockGuard<'w, Data>) -> Self {
        guard.touch();
        Self::Plain(guard)
    }

    pub(crate) fn again(guard: RLockGuard<'w, Data>) -> Self {
        Self::Again(guard)
    }

    pub(crate) fn read(guard: RwLockReadGuard<'w, Data>) -> Self {
        guard.look();
        Self::Read(guard)
    }

    pub(crate) fn upgradable(guard: RwLockUpgradableReadGuard<'w, Data>) -> Self {
        guard.look();
        Self::Upgradable(guard)
    }

    pub(crate) fn write(mut guard: RwLockWriteGuard<'w, Data>) -> Self {
        guard.touch();
        Self::Write(guard)
    }

    fn hold(&self) -> Hold {
        match self {
            Self::Plain(_) | Self::Mapped(_) | Self::Again(_) | Self::MappedAgain(_) => Hold::Whole,
            Self::Read(_) | Self::MappedRead(_) => Hold::Read,
            Self::Upgradable(_) => Hold::Upgradable,
            Self::Write(_) | Self::MappedWrite(_) => Hold::Write,
        }
    }

    fn unlock_fair(self) {
        match self {
            Self::Plain(guard) => LockGuard::unlock_fair(guard),
            Self::Mapped(guard) => MappedLockGuard::unlock_fair(guard),
            Self::Again(guard) => RLockGuard::unlock_fair(guard),
            Self::MappedAgain(guard) => MappedRLockGuard::unlock_fair(guard),
            shared => drop(shared),
        }
    }

    fn narrow(self) -> Self {
        match self {
            Self::Plain(guard) => Self::Mapped(LockGuard::map(guard, |data| &mut data.0)),
            Self::Again(guard) => Self::MappedAgain(RLockGuard::map(guard, |data| &data.0)),
            Self::Read(guard) => Self::MappedRead(RwLockReadGuard::map(guard, |data| &data.0)),
            Self::Write(guard) => Self::MappedWrite(RwLockWriteGuard::map(guard, |data| &mut data.0)),
            mapped => mapped,
        }
    }
}

/// A lock that is held, noted as released before it is.
pub(crate) struct Holding<'w> {
    lock: usize,
    guard: Option<Guard<'w>>,
}

impl<'w> Holding<'w> {
    pub(crate) fn new(lock: usize, guard: Guard<'w>) -> Self {
        Self { lock, guard: Some(guard) }
    }

    pub(crate) fn into_parts(mut self) -> (usize, Guard<'w>) {
        (self.lock, self.guard.take().expect("taken once"))
    }

    pub(crate) fn is_upgradable(&self) -> bool {
        matches!(self.guard, Some(Guard::Upgradable(_)))
    }

    pub(crate) fn can_downgrade(&self) -> bool {
        matches!(self.guard, Some(Guard::Upgradable(_) | Guard::Write(_)))
    }

    /// Lets others in, as a reader or an upgradable one.
    pub(crate) fn downgrade(self, to_upgradable: bool) -> Self {
        let (lock, guard) = self.into_parts();
        let from = guard.hold();
        let to = if to_upgradable && from == Hold::Write { Hold::Upgradable } else { Hold::Read };
        note(Event::Downgrades { lock, from, to });
        let guard = match guard {
            Guard::Write(guard) if to_upgradable => Guard::upgradable(RwLockWriteGuard::downgrade_to_upgradable(guard)),
            Guard::Write(guard) => Guard::read(RwLockWriteGuard::downgrade(guard)),
            Guard::Upgradable(guard) => Guard::read(RwLockUpgradableReadGuard::downgrade(guard)),
            _ => unreachable!("it can be downgraded"),
        };
        Self::new(lock, guard)
    }

    pub(crate) fn narrow(&mut self) {
        self.guard = self.guard.take().map(Guard::narrow);
    }

    /// Whether it can be unlocked for a while.
    pub(crate) fn can_unlock(&self) -> bool {
        matches!(self.guard, Some(Guard::Plain(_) | Guard::Read(_) | Guard::Write(_)))
    }

    pub(crate) fn release(self, fair: bool) {
        if fair {
            let (lock, guard) = self.into_parts();
            note(Event::Releases(lock, guard.hold()));
            guard.unlock_fair();
        }
    }

    pub(crate) fn forget(self) {
        let (lock, guard) = self.into_parts();
        note(Event::Forgets(lock, guard.hold()));
        std::mem::forget(guard);
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            note(Event::Releases(self.lock, guard.hold()));
            drop(guard);
        }
    }
}

/// A guard that borrows nothing.
pub(crate) enum ArcGuard {
    Plain(ArcLockGuard<Data>),
    Read(ArcRwLockReadGuard<Data>),
    Upgradable(ArcRwLockUpgradableReadGuard<Data>),
    Write(ArcRwLockWriteGuard<Data>),
}

/// As [`Holding`], for a guard that borrows nothing.
pub(crate) struct Kept {
    lock: usize,
    hold: Hold,
    number: u64,
    guard: Option<ArcGuard>,
}

impl Kept {
    pub(crate) fn new(lock: usize, mut guard: ArcGuard) -> Self {
        let hold = match &mut guard {
            ArcGuard::Plain(guard) => {
                guard.touch();
                Hold::Whole
            }
            ArcGuard::Read(guard) => {
                guard.look();
                Hold::Read
            }
            ArcGuard::Upgradable(guard) => {
                guard.look();
                Hold::Upgradable
            }
            ArcGuard::Write(guard) => {
                guard.touch();
                Hold::Write
            }
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { lock, hold, number: NEXT.fetch_add(1, Relaxed), guard: Some(guard) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        note(Event::DropsKept(self.lock, self.hold, self.number));
        drop(self.guard.take());
    }
}

/// Steps that are left for the end of a thread.
struct Late {
    world: Arc<World>,
    steps: Vec<Step>,
}

impl Drop for Late {
    fn drop(&mut self) {
        self.world.run_late(&self.steps);
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
    static LATE: RefCell<Vec<Late>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a guard until the thread ends.
pub(crate) fn keep(kept: Kept, keeper: Keeper) {
    note(Event::Keeps(kept.lock, kept.hold, kept.number));
    match keeper {
        Keeper::Local => KEPT.with_borrow_mut(|guards| guards.push(kept)),
        Keeper::Key(rounds) => {
            // Whatever the key has already goes with it.
            let mut guards = take_key().map_or_else(Vec::new, |keyed| keyed.guards);
            guards.push(kept);
            set_key(Box::new(Keyed { rounds, guards }));
        }
    }
}

/// One of the guards that the thread-local keeps.
pub(crate) fn take_kept() -> Option<Kept> {
    KEPT.try_with(|guards| guards.borrow_mut().pop()).ok().flatten()
}

/// Leaves steps for the end of the thread.
pub(crate) fn run_late(world: Arc<World>, steps: Vec<Step>) {
    LATE.with_borrow_mut(|late| late.push(Late { world, steps }));
}

/// Guards that the destructor of a thread-specific key drops, when it has run so often.
struct Keyed {
    rounds: u32,
    guards: Vec<Kept>,
}

static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Makes the key, after or before the crate makes its own.
pub(crate) fn make_key() {
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY:
        // - `key` is a place to write to.
        // - the destructor is called with values of the key alone, which come from `set_key`.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
        key
    });
}

unsafe extern "C" fn destroy(value: *mut c_void) {
    // SAFETY:
    // - the value came from `set_key`, and the key forgot it before this call.
    let mut keyed = unsafe { Box::from_raw(value.cast::<Keyed>()) };
    keyed.rounds -= 1;
    if keyed.rounds > 0 {
        set_key(keyed);
    }
}

fn key() -> libc::pthread_key_t {
    *KEY.get().expect("made before the first round")
}

fn set_key(keyed: Box<Keyed>) {
    // SAFETY:
    // - the key was made and is never deleted.
    assert_eq!(unsafe { libc::pthread_setspecific(key(), Box::into_raw(keyed).cast()) }, 0);
}

fn take_key() -> Option<Box<Keyed>> {
    // SAFETY:
    // - the key was made and is never deleted; a value that is there came from `set_key`, and is taken out of it.
    unsafe {
        let value = libc::pthread_getspecific(key());
        libc::pthread_setspecific(key(), std::ptr::null());
        (!value.is_null()).then(|| Box::from_raw(value.cast()))
    }
}
