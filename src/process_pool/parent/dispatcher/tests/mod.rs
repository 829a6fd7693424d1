//! Random histories of a pool, one step at a time, against what must hold after each: nobody is idle beside work,
//! nothing is run twice, started in vain or forgotten, and the end is told when it has come.

mod ahead;
mod world;

use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{StartAttempt, StartPolicy};
use crate::process_pool::parent::lifespan::Lifespan;
use world::{Step, Tally, World};

fn policy() -> impl Strategy<Value = StartPolicy> {
    let of = |as_needed| if as_needed { StartPolicy::AsNeeded } else { StartPolicy::OnlyIfNone };
    prop::bool::weighted(0.6).prop_map(of)
}

fn attempt() -> impl Strategy<Value = StartAttempt> {
    any::<bool>().prop_map(|is_last| if is_last { StartAttempt::Last } else { StartAttempt::MayRetry })
}

fn lifespan() -> impl Strategy<Value = Lifespan> {
    (prop::option::weighted(0.3, 1..5_u64), prop::option::weighted(0.5, 1..20_u64)).prop_map(|(tasks, idle)| Lifespan {
        max_tasks: tasks.and_then(NonZeroU64::new),
        idle_timeout: idle.map(|idle| Duration::from_micros(100 * idle)),
        max_age: idle.map(|idle| Duration::from_micros(500 * idle)),
        max_growth: None,
    })
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        24 => (policy(), 0..2_u32, prop::bool::weighted(0.2))
            .prop_map(|(policy, retries, has_limit)| Submit { policy, retries, has_limit }),
        12 => any::<usize>().prop_map(Up),
        8 => (any::<usize>(), attempt()).prop_map(|(which, attempt)| StartFails { which, attempt }),
        20 => any::<usize>().prop_map(Receives),
        16 => any::<usize>().prop_map(Replies),
        20 => any::<usize>().prop_map(Supervises),
        6 => any::<usize>().prop_map(Dies),
        12 => any::<usize>().prop_map(Leaves),
        14 => any::<usize>().prop_map(Cancel),
        5 => any::<usize>().prop_map(Ask),
        5 => any::<usize>().prop_map(Signal),
        3 => any::<usize>().prop_map(Retire),
        6 => any::<usize>().prop_map(|_| RetireIdle),
        6 => any::<usize>().prop_map(|_| Fail),
        6 => any::<usize>().prop_map(|_| TimePasses),
        1 => any::<usize>().prop_map(|_| CancelQueued),
        1 => any::<usize>().prop_map(|_| Close),
        1 => any::<usize>().prop_map(|_| CloseNow),
    ]
}

#[test]
fn whatever_happens_each_task_ends_once_and_nobody_is_idle_beside_work() {
    let tally = Tally::default();
    let cases = if cfg!(miri) { 4 } else { 1_000 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let histories = (1..4_usize, lifespan(), prop::bool::weighted(0.3), prop::collection::vec(step(), 0..120));
    let result = runner.run(&histories, |(max_workers, lifespan, starts_at_will, steps)| {
        let mut world = World::of_lifespan(max_workers, lifespan, &tally);
        for step in steps {
            match step {
                Step::StartFails { .. } if starts_at_will => {}
                Step::Submit { retries, has_limit, .. } if starts_at_will => {
                    world.step(Step::Submit { policy: StartPolicy::AsNeeded, retries, has_limit })
                }
                step => world.step(step),
            }
        }
        world.finish();
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let tally = tally.into_inner();
    assert!(
        cfg!(miri) || tally.len() == 12 && tally.values().all(|&count| count > 4),
        "everything is reached: {tally:?}"
    );
}

/// One step after the other, and what holds after each.
fn history(max_workers: usize, steps: &[Step]) {
    let tally = Tally::default();
    let mut world = World::new(max_workers, &tally);
    steps.iter().for_each(|&step| world.step(step));
    world.finish();
}

#[test]
fn what_lies_behind_a_task_is_not_left_there_when_another_worker_dies() {
    let both_busy = [SUBMIT, Step::Up(0), SUBMIT, Step::Up(0), Step::Receives(0), Step::Receives(1)];
    let dies = [Step::Dies(0), Step::Supervises(0)];
    let other_dies = [Step::Dies(1), Step::Supervises(0)];
    // Sent before it died, or before it left.
    history(2, &[&both_busy[..], &[SUBMIT], &other_dies, &[Step::Leaves(0)]].concat());
    history(2, &[&both_busy[..], &dies, &[SUBMIT, Step::Leaves(0)]].concat());
}

#[test]
fn nobody_is_started_for_what_was_begun_while_somebody_is_idle() {
    let up = [SUBMIT, Step::Up(0)];
    let begun_and_not_known = [SUBMIT, Step::Receives(0), Step::Replies(0), Step::Receives(0)];
    let one_is_idle = [Step::Receives(0), Step::Receives(0), Step::Replies(1), Step::Replies(1)];
    let another_dies = [Step::Supervises(1), Step::Supervises(1), Step::Dies(2), Step::Supervises(1), Step::Leaves(0)];
    history(3, &[&up[..], &up, &up, &begun_and_not_known, &one_is_idle, &another_dies].concat());
}

#[test]
fn who_cancels_in_order_or_the_other_way_round_leaves_nothing_in_the_queue() {
    let tally = Tally::default();
    let mut world = World::new(1, &tally);
    // Nobody takes them as long as the worker is being started.
    (0..9).for_each(|_| world.step(SUBMIT));
    for (cancelled, left) in [(0, 8), (1, 7), (8, 6), (7, 5), (4, 5), (2, 4), (3, 2), (5, 1), (6, 0)] {
        world.step(Step::Cancel(cancelled));
        assert_eq!(world.queued(), left, "when {cancelled} is cancelled");
    }
    world.finish();
}

#[test]
fn nobody_is_started_after_a_kill() {
    let up = [SUBMIT, Step::Up(0)];
    let begun_and_not_known = [SUBMIT, Step::Receives(0), Step::Replies(0), Step::Receives(0)];
    let killed = [Step::CloseNow, Step::Dies(1), Step::Supervises(1), Step::Leaves(0)];
    history(2, &[&up[..], &up, &begun_and_not_known, &killed].concat());
}

#[test]
fn who_submits_while_starts_fail_does_not_keep_tasks_from_their_end() {
    let tally = Tally::default();
    let mut world = World::new(4, &tally);
    world.step(SUBMIT);
    for attempt in 0..3 {
        world.step(SUBMIT);
        let attempt = if attempt == 2 { StartAttempt::Last } else { StartAttempt::MayRetry };
        world.step(Step::StartFails { which: 0, attempt });
        world.step(Step::Leaves(0));
    }
    assert_eq!(tally.borrow().get("tasks fail for want of a worker"), Some(&1));
    world.finish();
}

#[test]
fn what_was_queued_while_starts_failed_gets_as_many_workers_as_it_needs() {
    let tally = Tally::default();
    let mut world = World::new(4, &tally);
    for step in [SUBMIT, Step::StartFails { which: 0, attempt: StartAttempt::Last }, Step::Leaves(0)]
        .into_iter()
        .chain([SUBMIT; 8])
    {
        world.step(step);
    }
    assert_eq!(world.workers(), (0, 1), "nobody joins who may fail as well");
    for up in 1..=4 {
        world.step(Step::Up(0));
        assert_eq!(world.workers(), (up, usize::from(up < 4)));
    }
    world.finish();
}

#[test]
fn a_start_is_tried_again_beside_a_worker_that_was_told_to_stop() {
    let tally = Tally::default();
    let mut world = World::new(2, &tally);
    let one_will_stop = [SUBMIT, Step::Up(0), Step::Receives(0), Step::Replies(0), SUBMIT, Step::Up(0), Step::Close];
    let the_other_is_replaced = [Step::Supervises(0), Step::Dies(1), Step::Supervises(0), Step::Leaves(0)];
    for step in one_will_stop.into_iter().chain(the_other_is_replaced) {
        world.step(step);
    }
    assert_eq!(world.workers(), (1, 1));
    world.step(Step::StartFails { which: 0, attempt: StartAttempt::MayRetry });
    assert_eq!(world.workers(), (1, 1), "nobody else would run what is left");
    world.finish();
}

const SUBMIT: Step = Step::Submit { policy: StartPolicy::AsNeeded, retries: 0, has_limit: false };

#[test]
fn what_lies_behind_long_tasks_comes_first_wherever_it_lay() {
    let tally = Tally::default();
    let mut world = World::new(2, &tally);
    let both_up = [SUBMIT, Step::Up(0), SUBMIT, Step::Up(0)];
    // One ahead of each, and one in the queue.
    for step in both_up.into_iter().chain([SUBMIT; 3]).chain([Step::Receives(0), Step::Receives(1), Step::TimePasses]) {
        world.step(step);
    }
    // The next submit takes both back; the first worker that replies gets the first of them.
    world.step(SUBMIT);
    for step in [Step::Replies(1), Step::Supervises(1)] {
        world.step(step);
    }
    assert_eq!(world.running(1), Some(2));
    world.finish();
}

#[test]
fn a_worker_whose_task_is_to_end_gets_no_other_one() {
    // One before it in the stream, which was taken back, and one that waits for a worker.
    let one_is_asked = [
        SUBMIT,
        Step::Up(0),
        SUBMIT,
        SUBMIT,
        Step::Receives(0),
        Step::Cancel(1),
        Step::Replies(0),
        Step::Supervises(0),
        Step::Ask(2),
        SUBMIT,
    ];
    let the_other_is_skipped = [Step::Receives(0), Step::Supervises(0)];
    history(1, &[&one_is_asked[..], &the_other_is_skipped].concat());
}

#[test]
fn a_task_that_is_to_be_run_again_and_lies_behind_another_one_ends_without_that() {
    let first_dies = [
        Step::Submit { policy: StartPolicy::AsNeeded, retries: 1, has_limit: false },
        Step::Up(0),
        SUBMIT,
        Step::Up(0),
        Step::Receives(0),
        Step::Receives(1),
        Step::Dies(0),
        Step::Supervises(0),
    ];
    // The next one that is submitted has it sent to the worker that is left.
    history(2, &[&first_dies[..], &[SUBMIT, Step::Ask(0), Step::Signal(0)]].concat());
}

#[test]
fn a_task_whose_workers_die_before_they_begin_it_is_not_given_to_others_for_ever() {
    let dies_before = [Step::Up(0), Step::Dies(0), Step::Supervises(0), Step::Leaves(0)];
    let tally = Tally::default();
    let mut world = World::new(1, &tally);
    world.step(SUBMIT);
    for starts in [1, 1, 1, 0] {
        dies_before.into_iter().for_each(|step| world.step(step));
        assert_eq!(world.workers(), (0, starts));
    }
    world.finish();
}

#[test]
fn a_task_behind_one_that_kills_its_workers_is_given_to_others_as_often_as_that_is_run() {
    let one_behind_it =
        [Step::Submit { policy: StartPolicy::AsNeeded, retries: 5, has_limit: false }, Step::Up(0), SUBMIT];
    let dies_and_is_replaced =
        [Step::Receives(0), Step::Dies(0), Step::Supervises(0), Step::Leaves(0), Step::Up(0)].repeat(5);
    history(1, &[&one_behind_it[..], &dies_and_is_replaced].concat());
}

#[test]
fn a_cancelled_task_does_not_outlive_the_last_worker() {
    let cancelled_in_the_queue = [
        SUBMIT,
        Step::Up(0),
        Step::Receives(0),
        SUBMIT,
        SUBMIT,
        Step::Cancel(1),
        Step::Cancel(2),
        Step::Dies(0),
        Step::Supervises(0),
    ];
    history(1, &cancelled_in_the_queue);
}

#[test]
fn a_worker_that_skips_a_task_while_it_is_idle_is_idle_once() {
    let skipped_by_an_idle_worker = [
        SUBMIT,
        Step::Up(0),
        SUBMIT,
        Step::Up(0),
        // Sent ahead, behind the first.
        SUBMIT,
        Step::Receives(1),
        Step::Replies(1),
        // It takes the third, and begins it.
        Step::Supervises(1),
        Step::Receives(0),
        Step::Replies(0),
        Step::Supervises(0),
        // The third again, which was taken back.
        Step::Receives(0),
        Step::Supervises(0),
        SUBMIT,
        SUBMIT,
    ];
    history(2, &skipped_by_an_idle_worker);
}

#[test]
fn what_the_dispatcher_gives_up_is_not_a_cancellers_any_more() {
    for gives_up in [Step::CloseNow, Step::StartFails { which: 0, attempt: StartAttempt::Last }, Step::CancelQueued] {
        history(1, &[SUBMIT, SUBMIT, gives_up, Step::Cancel(0), Step::Cancel(1), SUBMIT]);
    }
}

#[test]
fn each_worker_that_retires_gets_one_successor() {
    let tally = Tally::default();
    let lifespan = Lifespan { max_tasks: NonZeroU64::new(1), ..Lifespan::default() };
    let mut world = World::of_lifespan(3, lifespan, &tally);
    let mut workers_after = |steps: &[Step]| {
        steps.iter().for_each(|&step| world.step(step));
        world.workers()
    };
    assert_eq!(workers_after(&[SUBMIT, Step::Up(0)]), (1, 1), "it has its last task");
    assert_eq!(workers_after(&[Step::Up(0), SUBMIT]), (2, 1), "and so has its successor");
    assert_eq!(workers_after(&[Step::Receives(0), Step::Replies(0), Step::Supervises(0)]), (2, 1));
    world.finish();
}

#[test]
fn a_worker_is_idle_since_its_last_task_and_not_since_it_was_idle_before() {
    let tally = Tally::default();
    let lifespan = Lifespan { idle_timeout: Some(Duration::from_secs(1)), ..Lifespan::default() };
    let mut world = World::of_lifespan(1, lifespan, &tally);
    let runs = [Step::Receives(0), Step::Replies(0), Step::Supervises(0)];
    // Each look is 2 ms later than the one before.
    let most_of_the_time = [&[Step::RetireIdle; 300][..], &[Step::Receives(0), Step::Supervises(0)]].concat();
    let mut is_there_after = |steps: &[Step]| {
        steps.iter().for_each(|&step| world.step(step));
        world.workers() == (1, 0)
    };
    assert!(is_there_after(&[&[SUBMIT, Step::Up(0)], &runs[..], &most_of_the_time].concat()));
    assert!(is_there_after(&[&[SUBMIT], &runs[..], &most_of_the_time].concat()));
    assert!(!is_there_after(&most_of_the_time));
    world.finish();
}
