//! What may be used on after a panic: nothing here is left half changed by one.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::vec::IntoIter;

use bowline::deadlock::report::LongWait;
use bowline::deadlock::{Deadlock, Hook, Report, WaitForGraph};
use bowline::process_pool::{ProcessPoolBuilder, ProcessPoolError};
use bowline::sync::{InitError, OnceState, Poisoned};
use bowline::task::{
    AsCompleted, CodecError, CustomError, DoneAndNotDone, DoneCallback, InvalidState, PanicInfo, Rejected, StartError,
    StartFailure, SubmitError, Unfinished, WorkerLost,
};
use bowline::thread_pool::{Map, Scope, ShutdownOptions, ShutdownReport, ThreadPoolBuilder};
use bowline::{
    Condition, Future, Json, LazyLock, Lock, Once, OnceLock, ProcessPoolExecutor, Promise, RLock, RwLock, SharedFuture,
    TaskError, ThreadPoolExecutor, promise,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

/// What is neither by itself.
type Neither = RefCell<Box<dyn FnMut() + Send>>;

assert_not_impl_any!(Neither: UnwindSafe, RefUnwindSafe);

macro_rules! unwind_safe {
    ($($type:ty),* $(,)?) => {
        $(assert_impl_all!($type: UnwindSafe, RefUnwindSafe);)*
    };
}

unwind_safe!(ThreadPoolExecutor, ThreadPoolBuilder, Scope<'static, 'static>, ShutdownOptions, ShutdownReport);
unwind_safe!(ProcessPoolExecutor, ProcessPoolBuilder, ProcessPoolError, StartError, StartFailure, WorkerLost);
unwind_safe!(TaskError, Rejected, PanicInfo, CodecError, Deadlock, Hook, Report, LongWait, WaitForGraph);
unwind_safe!(Future<Neither>, Promise<Neither>, AsCompleted<Future<Neither>>, Unfinished);
unwind_safe!(DoneAndNotDone<Future<Neither>>, DoneCallback, CustomError, AsCompleted<SharedFuture<u8>>);
unwind_safe!(Condition, Lock<Neither>, RLock<Neither>, RwLock<Neither>);
unwind_safe!(Once, OnceState, InitError, Poisoned, OnceLock<u8>, LazyLock<u8>);

// What gives out the user's value, or runs the user's iterator on the caller's thread, is as that is.
unwind_safe!(SharedFuture<u8>, InvalidState<u8>, Json<u8>, SubmitError<fn()>);
unwind_safe!(Map<IntoIter<u8>, fn(u8) -> u8, u8>, Map<IntoIter<u8>, fn(u8) -> u8, u8, ProcessPoolExecutor>);
assert_not_impl_any!(SharedFuture<Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(OnceLock<Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(LazyLock<Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(LazyLock<u8, Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(InvalidState<Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(SubmitError<Neither>: UnwindSafe, RefUnwindSafe);
assert_not_impl_any!(Map<IntoIter<Neither>, fn(Neither) -> u8, u8>: UnwindSafe, RefUnwindSafe);

#[test]
fn what_a_panic_interrupted_goes_on_afterwards() {
    let pool = ThreadPoolExecutor::new(1);
    let (promise, future) = promise::<u8>();
    let panic = catch_unwind(|| {
        pool.submit(|| 1).result().unwrap();
        assert!(!future.done());
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panic.is_err());
    promise.set_result(7).unwrap();
    let next = catch_unwind(move || future.result().unwrap()).unwrap();
    assert_eq!(pool.submit(move || next).result().unwrap(), 7);
    let items = AssertUnwindSafe(pool.map(|n: u8| n, [1, 2]));
    assert_eq!(catch_unwind(move || { items }.0.map(Result::unwrap).sum::<u8>()).unwrap(), 3);
}
