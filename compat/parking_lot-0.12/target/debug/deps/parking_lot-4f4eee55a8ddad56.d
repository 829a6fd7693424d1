/work/main/compat/parking_lot-0.12/target/debug/deps/parking_lot-4f4eee55a8ddad56.d: src/lib.rs src/condvar.rs src/fair_mutex.rs src/mutex.rs src/once.rs src/remutex.rs src/rwlock.rs

/work/main/compat/parking_lot-0.12/target/debug/deps/libparking_lot-4f4eee55a8ddad56.rmeta: src/lib.rs src/condvar.rs src/fair_mutex.rs src/mutex.rs src/once.rs src/remutex.rs src/rwlock.rs

src/lib.rs:
src/condvar.rs:
src/fair_mutex.rs:
src/mutex.rs:
src/once.rs:
src/remutex.rs:
src/rwlock.rs:
