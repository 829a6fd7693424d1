use std::thread;

use super::sync::atomic::{AtomicU32, Ordering::SeqCst};
use super::sync::{Barrier, BarrierWaitResult};
use crate::support::{LIMIT, watchdog};

#[test]
fn each_pass_has_one_leader() {
    let _watchdog = watchdog(LIMIT);
    static BARRIER: Barrier = Barrier::new(3);
    let arrived = AtomicU32::new(0);
    let leaders: u32 = thread::scope(|s| {
        let parties = [(); 3].map(|()| {
            s.spawn(|| {
                let mut leader_of = 0;
                for pass in 1..=10 {
                    arrived.fetch_add(1, SeqCst);
                    leader_of += u32::from(BARRIER.wait().is_leader());
                    assert!(arrived.load(SeqCst) >= 3 * pass);
                }
                leader_of
            })
        });
        parties.into_iter().map(|party| party.join().unwrap()).sum()
    });
    assert_eq!(leaders, 10);
}

#[test]
fn one_of_a_single_thread_or_of_none_waits_for_nobody() {
    let _watchdog = watchdog(LIMIT);
    for size in [0, 1] {
        let barrier = Barrier::new(size);
        assert!(barrier.wait().is_leader() && barrier.wait().is_leader());
    }
}

#[test]
fn it_is_shown() {
    let _watchdog = watchdog(LIMIT);
    let barrier = Barrier::new(1);
    let pass: BarrierWaitResult = barrier.wait();
    assert_eq!(format!("{barrier:?} {pass:?}"), "Barrier { .. } BarrierWaitResult { is_leader: true }");
}
