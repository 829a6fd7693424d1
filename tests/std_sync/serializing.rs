//! serde's traits, which serde itself has for std's locks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bowline::std_sync::{Mutex, RwLock};

#[test]
fn locks_are_serialized_as_their_values_and_made_of_them() {
    assert_eq!(serde_json::to_string(&Mutex::new([40, 2])).unwrap(), "[40,2]");
    assert_eq!(serde_json::to_string(&RwLock::new([40, 2])).unwrap(), "[40,2]");
    assert_eq!(serde_json::from_str::<Mutex<[u8; 2]>>("[40,2]").unwrap().into_inner().unwrap(), [40, 2]);
    assert_eq!(serde_json::from_str::<RwLock<[u8; 2]>>("[40,2]").unwrap().into_inner().unwrap(), [40, 2]);
}

#[test]
fn poison_and_a_deadlock_are_errors_of_the_serializer() {
    let (mutex, lock) = (Mutex::new(1), RwLock::new(1));
    let (guard, writer) = (mutex.lock().unwrap(), lock.write().unwrap());
    for error in [serde_json::to_string(&mutex), serde_json::to_string(&lock)].map(Result::unwrap_err) {
        assert!(error.to_string().contains("deadlock: "), "{error}");
    }
    drop((guard, writer));
    let panics = || -> () {
        let _both = (mutex.lock().unwrap(), lock.write().unwrap());
        panic!("under the guards")
    };
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    for error in [serde_json::to_string(&mutex), serde_json::to_string(&lock)].map(Result::unwrap_err) {
        assert_eq!(error.to_string(), "lock poisoned while serializing");
    }
}
