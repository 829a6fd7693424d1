//! Which member of a deadlock is its victim.

use super::oracle::is_broken_by;
use super::*;

/// Returns the member that is found to free all of the deadlock that `at` is part of.
fn breaker(made: &mut Made, at: usize) -> Option<usize> {
    assert!(made.judge(at).kind.is_deadlock());
    // Looking for bystanders was a walk of its own.
    assert!(!matches!(made.judge.judge(&made.graph, made.contexts[at]), Judgement::NoCapacity));
    let breaker = made.judge.find_breaker(&made.graph, &mut 0, |_| true)?;
    made.contexts.iter().position(|&context| context == breaker)
}

#[test]
fn whoever_frees_all_of_a_deadlock_comes_before_one_who_frees_a_part() {
    // The first needs both of the others, and each of them needs the first.
    let contexts = [wait(Need::All, [on(1), on(2)]), wait(Need::One, [on(0)]), wait(Need::One, [on(0)])];
    let mut made = Made::new(&Picture { contexts: contexts.to_vec(), groups: Vec::new() });
    assert_eq!([0, 1, 2].map(|at| breaker(&mut made, at)), [Some(0); 3]);
    // The first has an alternative: anybody will do.
    let contexts = [wait(Need::Any, [on(1), on(2)]), wait(Need::One, [on(0)]), wait(Need::One, [on(0)])];
    let mut made = Made::new(&Picture { contexts: contexts.to_vec(), groups: Vec::new() });
    assert_eq!([0, 1, 2].map(|at| breaker(&mut made, at)), [Some(0), Some(1), Some(2)]);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn in_random_graphs_a_member_is_found_that_frees_all_if_there_is_one() {
    let seen = [0_u32; 3].map(std::cell::Cell::new);
    let mut runner = TestRunner::new(Config { cases: 4_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&picture(), |picture| {
        for (at, does) in picture.contexts.iter().enumerate() {
            if !matches!(does, Does::Wait(want) if !want.timed) {
                continue;
            }
            let mut made = Made::new(&picture);
            let found = made.judge(at);
            // An abandoned lock is one waiter's own.
            if !matches!(found.kind, Verdict::Relock | Verdict::Cycle | Verdict::Starvation) {
                continue;
            }
            let frees = |victim: usize| is_broken_by(&picture, at, &found.core, victim);
            match breaker(&mut made, at) {
                Some(victim) => {
                    proptest::prop_assert!(
                        found.core.contains(&victim) && frees(victim),
                        "judged {at}, found {victim}"
                    );
                    proptest::prop_assert!(victim == at || !frees(at), "the finder comes first, judged {at}");
                    seen[usize::from(victim == at)].update(|count| count + 1);
                }
                None => {
                    proptest::prop_assert!(!found.core.iter().any(|&member| frees(member)), "judged {at}");
                    seen[2].update(|count| count + 1);
                }
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let seen = seen.map(|count| count.get());
    assert!(seen.iter().all(|&count| count > 5), "another one, the finder, nobody: {seen:?}");
}
