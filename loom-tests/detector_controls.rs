//! Negative controls of the judge and the door: each takes one ingredient out of a model that passes with it.

use super::detector::{timed_cycle, verdict_for_another, verdict_while_barged};
use super::explore;
use crate::primitive::{Ingredient, remove};

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_look_at_the_summons_a_verdict_is_lost() {
    explore(3, || {
        remove(Ingredient::ValidatedSummons);
        verdict_for_another()
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_look_at_the_summons_a_verdict_on_a_dequeued_waiter_is_lost() {
    explore(2, || {
        remove(Ingredient::ValidatedSummons);
        verdict_while_barged()
    });
}

#[test]
#[should_panic(expected = "false alarm")]
fn without_the_exception_for_limits_a_timed_wait_is_a_false_alarm() {
    explore(3, || {
        remove(Ingredient::TimedIsLive);
        timed_cycle()
    });
}
