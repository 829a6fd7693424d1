//! A test suite that hangs, as suites do: nothing in it is meant to help find out why.

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
    use std::thread;
    use std::time::Duration;

    use bowline::Lock;

    /// A ledger that something waits for, so that the lock is wanted.
    fn ledger() -> Arc<Lock<Vec<u64>>> {
        Arc::new(Lock::named("ledger", vec![1, 2, 3]))
    }

    /// Wants the ledger on a thread of its own.
    fn audit(ledger: &Arc<Lock<Vec<u64>>>) {
        let ledger = Arc::clone(ledger);
        thread::Builder::new().name("auditor".to_owned()).spawn(move || ledger.lock().len()).unwrap();
        thread::sleep(Duration::from_millis(100));
    }

    #[test]
    fn two_locks() {
        let (ledger, audit) = (ledger(), Arc::new(Lock::named("audit", ())));
        let (theirs, its) = (Arc::clone(&ledger), Arc::clone(&audit));
        let other = thread::Builder::new().name("auditor".to_owned()).spawn(move || {
            let _audit = its.lock();
            thread::sleep(Duration::from_millis(100));
            // With a time-out, so that it is no deadlock, though it takes as long.
            theirs.try_lock_for(Duration::from_secs(3600)).is_some()
        });
        thread::sleep(Duration::from_millis(50));
        let _ledger = ledger.lock();
        drop(audit.lock());
        assert!(other.unwrap().join().unwrap());
    }

    #[test]
    fn a_condition_that_nobody_notifies() {
        let ledger = ledger();
        let _guard = ledger.lock();
        audit(&ledger);
        let (ready, changed) = (Mutex::new(false), Condvar::new());
        let _ready = changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
    }

    #[test]
    fn a_join() {
        let ledger = ledger();
        let _guard = ledger.lock();
        let theirs = Arc::clone(&ledger);
        let auditor = thread::Builder::new().name("auditor".to_owned()).spawn(move || theirs.lock().len());
        assert_eq!(auditor.unwrap().join().unwrap(), 3);
    }

    #[test]
    fn a_lock_of_std() {
        let ledger = ledger();
        let table = RwLock::new(());
        let _reads = table.read().unwrap();
        let _guard = ledger.lock();
        audit(&ledger);
        let _writes = table.write().unwrap();
    }

    #[test]
    fn a_channel() {
        let ledger = ledger();
        let (_sender, receiver) = mpsc::channel::<u64>();
        let _guard = ledger.lock();
        audit(&ledger);
        receiver.recv().unwrap();
    }
}
