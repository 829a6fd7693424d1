//! What every guard promises, shown on a toy: a lock of readers and writers with six guards. These are all that such a
//! lock has to write for them.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

use static_assertions::{assert_impl_all, assert_not_impl_any};

use super::{Exclusive, Guard, Guarded, Part, RawGuard, Shared, guard_type};

/// A raw lock that refuses instead of waiting.
#[derive(Default)]
pub(super) struct ToyRaw {
    /// The number of readers, or `WRITER`.
    state: AtomicI32,
    hand_overs: AtomicU32,
}

const WRITER: i32 = -1;

/// `Sync`, and not `Send`.
type Pinned = PhantomData<std::sync::MutexGuard<'static, ()>>;
pub(super) struct ToyRawRead(Pinned);
pub(super) struct ToyRawWrite(Pinned);

impl ToyRaw {
    fn read(&self) -> Option<ToyRawRead> {
        let state = self.state.load(Relaxed);
        let read = state != WRITER && self.state.compare_exchange(state, state + 1, Relaxed, Relaxed).is_ok();
        read.then_some(ToyRawRead(PhantomData))
    }

    fn write(&self) -> Option<ToyRawWrite> {
        self.state.compare_exchange(0, WRITER, Relaxed, Relaxed).ok().map(|_| ToyRawWrite(PhantomData))
    }

    fn downgrade(&self, _: ToyRawWrite) -> ToyRawRead {
        self.state.store(1, Relaxed);
        ToyRawRead(PhantomData)
    }
}

// SAFETY:
// - a writer is alone: see `read` and `write`.
unsafe impl RawGuard for ToyRawRead {
    type Raw = ToyRaw;
    type Access = Shared;

    unsafe fn release(self, raw: &ToyRaw) {
        assert!(raw.state.fetch_sub(1, Relaxed) > 0);
    }

    unsafe fn release_fair(self, raw: &ToyRaw) {
        raw.hand_overs.fetch_add(1, Relaxed);
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { self.release(raw) };
    }
}

// SAFETY:
// - a writer is alone: see `read` and `write`.
unsafe impl RawGuard for ToyRawWrite {
    type Raw = ToyRaw;
    type Access = Exclusive;

    unsafe fn release(self, raw: &ToyRaw) {
        assert_eq!(raw.state.swap(0, Relaxed), WRITER);
    }

    unsafe fn release_fair(self, raw: &ToyRaw) {
        raw.hand_overs.fetch_add(1, Relaxed);
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { self.release(raw) };
    }
}

pub(super) struct Toy<T: ?Sized> {
    raw: ToyRaw,
    data: UnsafeCell<T>,
}

// SAFETY:
// - the value is sent to writers and shared by readers.
unsafe impl<T: ?Sized + Send + Sync> Sync for Toy<T> {}

// SAFETY:
// - both are fields, and no method moves the value.
// - it is reached through guards only.
unsafe impl<T: ?Sized> Guarded for Toy<T> {
    type Raw = ToyRaw;
    type Value = T;

    fn raw(&self) -> &ToyRaw {
        &self.raw
    }

    fn value(&self) -> *mut T {
        self.data.get()
    }
}

guard_type! { pub(super) struct ToyReadGuard<'a, T>: shared Guard<&'a Toy<T>, ToyRawRead>; }
guard_type! { pub(super) struct ToyWriteGuard<'a, T>: exclusive Guard<&'a Toy<T>, ToyRawWrite>; }
guard_type! { pub(super) struct MappedToyReadGuard<'a, T>: shared Guard<Part<'a, ToyRaw, T>, ToyRawRead>; }
guard_type! { pub(super) struct MappedToyWriteGuard<'a, T>: exclusive Guard<Part<'a, ToyRaw, T>, ToyRawWrite>; }
guard_type! { pub(super) struct ArcToyReadGuard<T>: shared Guard<Arc<Toy<T>>, ToyRawRead>; }
guard_type! { pub(super) struct ArcToyWriteGuard<T>: exclusive Guard<Arc<Toy<T>>, ToyRawWrite>; }

impl<T> Toy<T> {
    fn new(value: T) -> Self {
        Self { raw: ToyRaw::default(), data: UnsafeCell::new(value) }
    }

    fn read(&self) -> Option<ToyReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(ToyReadGuard::of(unsafe { Guard::new(self, self.raw.read()?) }))
    }

    fn write(&self) -> Option<ToyWriteGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(ToyWriteGuard::of(unsafe { Guard::new(self, self.raw.write()?) }))
    }

    fn read_arc(self: &Arc<Self>) -> Option<ArcToyReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(ArcToyReadGuard::of(unsafe { Guard::new(Arc::clone(self), self.raw.read()?) }))
    }

    fn write_arc(self: &Arc<Self>) -> Option<ArcToyWriteGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(ArcToyWriteGuard::of(unsafe { Guard::new(Arc::clone(self), self.raw.write()?) }))
    }

    fn state(&self) -> i32 {
        self.raw.state.load(Relaxed)
    }
}

impl<'a, T: ?Sized> ToyWriteGuard<'a, T> {
    fn downgrade(guard: Self) -> ToyReadGuard<'a, T> {
        let (toy, raw_guard) = guard.inner.into_parts();
        // SAFETY:
        // - the raw guard is of this lock.
        ToyReadGuard::of(unsafe { Guard::new(toy, toy.raw.downgrade(raw_guard)) })
    }
}

assert_not_impl_any!(ToyReadGuard<'static, i32>: Send, Clone);
assert_not_impl_any!(MappedToyReadGuard<'static, i32>: Send, Clone);
assert_not_impl_any!(ArcToyReadGuard<i32>: Send, Clone);
assert_not_impl_any!(ToyWriteGuard<'static, i32>: Send, Clone);
assert_not_impl_any!(MappedToyWriteGuard<'static, i32>: Send, Clone);
assert_not_impl_any!(ArcToyWriteGuard<i32>: Send, Clone);
assert_impl_all!(ToyReadGuard<'static, i32>: Sync);
assert_impl_all!(MappedToyReadGuard<'static, i32>: Sync);
assert_impl_all!(ArcToyReadGuard<i32>: Sync);
assert_impl_all!(ToyWriteGuard<'static, i32>: Sync);
assert_impl_all!(MappedToyWriteGuard<'static, i32>: Sync);
assert_impl_all!(ArcToyWriteGuard<i32>: Sync);
assert_not_impl_any!(MappedToyReadGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(MappedToyWriteGuard<'static, Cell<i32>>: Sync);
assert_not_impl_any!(ToyReadGuard<'static, i32>: std::ops::DerefMut);
assert_not_impl_any!(MappedToyReadGuard<'static, i32>: std::ops::DerefMut);
assert_not_impl_any!(ArcToyReadGuard<i32>: std::ops::DerefMut);

/// A mapped guard that is shared is covariant in its value. That an exclusive one is not is shown in `lock/guard.rs`.
fn shorten<'s>(guard: MappedToyReadGuard<'static, &'static str>) -> MappedToyReadGuard<'s, &'s str> {
    guard
}

#[test]
fn a_guard_looks_like_its_value() {
    let toy = Toy::new("text");
    let guard = toy.read().unwrap();
    assert_eq!((format!("{guard:?}"), format!("{guard}"), guard.len()), ("\"text\"".to_owned(), "text".to_owned(), 4));
    let mut guard = ArcToyWriteGuard::of(Arc::new(Toy::new(vec![1])).write_arc().unwrap().inner);
    guard.push(2);
    assert_eq!(format!("{guard:?}"), "[1, 2]");
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let toy = Toy::new(1);
    let readers = [toy.read().unwrap(), toy.read().unwrap()];
    assert_eq!((*readers[0] + *readers[1], toy.state()), (2, 2));
    assert!(toy.write().is_none());
    drop(readers);
    let mut writer = toy.write().unwrap();
    *writer += 1;
    assert!(toy.read().is_none() && toy.write().is_none());
    assert!(std::ptr::eq(*writer.inner.guarded(), &raw const toy));
    drop(writer);
    assert_eq!((toy.state(), *toy.read().unwrap()), (0, 2));
}

#[test]
fn a_mapped_guard_holds_the_lock_and_releases_it_once() {
    let toy = Toy::new((1, [2, 3]));
    let pair = MappedToyWriteGuard::of(toy.write().unwrap().inner.map_mut(|value| &mut value.1));
    let mut last = MappedToyWriteGuard::of(pair.inner.map_mut(|pair| &mut pair[1]));
    *last += 10;
    assert_eq!(toy.state(), WRITER);
    drop(last);
    let first = MappedToyReadGuard::of(toy.read().unwrap().inner.map(|value| &value.0));
    let pair = MappedToyReadGuard::of(toy.read().unwrap().inner.map(|value| &value.1));
    let last = MappedToyReadGuard::of(pair.inner.map(|pair| &pair[1]));
    assert_eq!((*first, *last, toy.state()), (1, 13, 2));
    drop((first, last));
    assert_eq!(toy.state(), 0);
    static TEXT: std::sync::OnceLock<Toy<(&'static str, i32)>> = std::sync::OnceLock::new();
    let toy = TEXT.get_or_init(|| Toy::new(("text", 0)));
    assert_eq!(*shorten(MappedToyReadGuard::of(toy.read().unwrap().inner.map(|value| &value.0))), "text");
}

#[test]
fn a_guard_comes_back_when_there_is_no_part_to_map_to() {
    let toy = Toy::new([4, 5]);
    let held = toy.read().unwrap().inner.try_map(|pair| pair.get(2)).err().expect("there is no third");
    assert_eq!((*held, toy.state()), ([4, 5], 1));
    assert_eq!(*held.try_map(|pair| pair.get(1)).ok().expect("there is a second"), 5);
    let held = toy.write().unwrap().inner.try_map_mut(|pair| pair.get_mut(2)).err().expect("there is no third");
    assert_eq!((*held, toy.state()), ([4, 5], WRITER));
    *held.try_map_mut(|pair| pair.get_mut(1)).ok().expect("there is a second") += 1;
    assert_eq!((toy.state(), *toy.read().unwrap()), (0, [4, 6]));
}

#[test]
fn a_lock_is_released_when_mapping_panics() {
    let toy = Toy::new(0);
    let maps: [&dyn Fn(); 2] = [&|| drop(toy.read().unwrap().inner.map::<i32>(|_| panic!("no part"))), &|| {
        drop(toy.write().unwrap().inner.map_mut::<i32>(|_| panic!("no part")))
    }];
    for map in maps {
        assert!(catch_unwind(AssertUnwindSafe(map)).is_err());
        assert_eq!(toy.state(), 0);
    }
}

#[test]
fn a_fair_release_hands_over_and_any_other_does_not() {
    let toy = Toy::new(0);
    toy.read().unwrap().inner.release();
    drop((toy.read(), toy.read()));
    drop(toy.write());
    assert_eq!(toy.raw.hand_overs.load(Relaxed), 0);
    toy.read().unwrap().inner.release_fair();
    toy.write().unwrap().inner.map_mut(|value| value).release_fair();
    assert_eq!((toy.raw.hand_overs.load(Relaxed), toy.state()), (2, 0));
}

#[test]
fn a_guard_turns_into_one_of_another_kind_without_a_release() {
    let toy = Toy::new(1);
    let mut writer = toy.write().unwrap();
    *writer += 1;
    let reader = ToyWriteGuard::downgrade(writer);
    assert_eq!((*reader, toy.state()), (2, 1));
    drop(reader);
    assert_eq!(toy.state(), 0);
}

#[test]
fn an_arc_guard_keeps_the_lock_alive_until_it_is_released() {
    let guard = Arc::new(Toy::new(Arc::new(7))).read_arc().unwrap();
    let value = Arc::clone(&guard);
    assert_eq!((**guard, Arc::strong_count(&value)), (7, 2));
    let toy = guard.inner.release();
    assert_eq!((toy.state(), Arc::strong_count(&toy)), (0, 1));
    let guard = toy.write_arc().unwrap();
    assert_eq!(Arc::strong_count(&toy), 2);
    drop(guard);
    assert_eq!((toy.state(), Arc::strong_count(&toy)), (0, 1));
    drop(toy);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_leaked_or_forgotten_guard_leaves_the_lock_held() {
    let toy = Toy::new(1);
    *toy.write().unwrap().inner.leak() += 1;
    assert_eq!(toy.state(), WRITER);
    let toy = Toy::new(1);
    std::mem::forget(toy.read());
    assert_eq!((toy.state(), toy.write().is_none()), (1, true));
}

#[test]
fn a_guard_is_a_pointer_to_what_it_guards_and_the_raw_guard() {
    let word = size_of::<usize>();
    assert_eq!(size_of::<ToyReadGuard<'_, i32>>(), word);
    assert_eq!(size_of::<Option<ArcToyWriteGuard<i32>>>(), word);
    assert_eq!(size_of::<Option<MappedToyWriteGuard<'_, i32>>>(), 2 * word);
}
