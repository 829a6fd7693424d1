//! Hazards as text.

use super::*;

fn hazard_of(kind: HazardKind, wanted: Resource, held: Resource) -> Hazard {
    Hazard {
        kind,
        thread_name: Some("main".into()),
        os_id: 1,
        is_in_place: false,
        task: None,
        wanted,
        mode: HoldMode::Exclusive,
        is_again: false,
        site: B,
        purpose: None,
        held: Held { resource: held, site: A, purpose: None, access: None, left_behind: false, permits: 1 },
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_lock_that_is_read_twice_by_one_thread() {
    let shared = |name| Resource { primitive: "RwLock", ..lock(1, name, MADE) };
    let read = hazard_of(HazardKind::RepeatedRead, shared(Some("a")), shared(Some("a")));
    let read = Hazard { mode: HoldMode::Read, ..read };
    Picture::Hazard(&read).is_golden("repeated-read");
    Picture::HazardWithSources(&read).is_golden("repeated-read-with-sources");
    let mut upgradable = hazard_of(HazardKind::RepeatedRead, shared(None), shared(None));
    (upgradable.mode, upgradable.thread_name) = (HoldMode::UpgradableRead, None);
    upgradable.held = Held { site: MADE, purpose: Some(Purpose::Debug), ..upgradable.held };
    Picture::Hazard(&upgradable).is_golden("repeated-read-upgradable");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_lock_of_a_lower_rank_after_one_of_a_higher() {
    let ranked = |at: usize, rank| Resource { rank: Some(rank), ..named()[at].clone() };
    let lower = hazard_of(HazardKind::Rank, ranked(0, 2), ranked(1, 3));
    Picture::Hazard(&lower).is_golden("rank");
    Picture::Hazard(&Hazard { is_again: true, ..lower.clone() }).is_golden("rank-after-a-wait");
    Picture::Hazard(&Hazard { is_again: true, mode: HoldMode::Write, ..lower.clone() }).is_golden("rank-of-an-upgrade");
    let task = Some(Box::new(Task { resource: task(9, Some("sum"), C) }));
    let by_task = Hazard { task, is_in_place: true, thread_name: Some("pool_0".into()), ..lower };
    Picture::Hazard(&by_task).is_golden("rank-by-task");
    let equal = hazard_of(HazardKind::Rank, ranked(0, 65_535), ranked(1, 65_535));
    Picture::Hazard(&Hazard { mode: HoldMode::Write, ..equal }).is_golden("rank-equal");
    let [a, b] = [ranked(0, 2), ranked(1, 3)];
    let right = thread("right", 2).waits(&a, B).holding(&b, A);
    let left = thread("left", 1).waits(&b, D).holding(&a, C);
    Picture::Report(&made(Kind::Cycle, [right, left], Vec::new())).is_golden("two-locks-with-ranks");
}
