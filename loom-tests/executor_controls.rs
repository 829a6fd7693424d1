//! Negative controls of the executor: each takes one ingredient out of a model that passes with it.

use super::executor_deadlock::{last_alternative, room_taken, started_by_somebody_else};
use super::explore;
use super::future::completed_while_awaited;
use super::pool_rest::{
    cancelled_while_joined, ended_idle, joined_while_a_callback_is_added, submitted_after_a_result,
};
use super::thread_pool::{close_with_two_workers, detached_in_a_scope, grown_while_submitted};
use crate::primitive::Ingredient;

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_the_end_of_a_task_is_missed() {
    explore(3, || completed_while_awaited(Some(Ingredient::ValidatedAnnouncement)));
}

#[test]
#[should_panic(expected = "what the result borrows may go away now")]
fn without_a_look_at_who_takes_it_a_result_outlives_its_scope() {
    explore(3, || detached_in_a_scope(Some(Ingredient::SeenDetachment)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_sentinel_passed_on_a_worker_sleeps_for_ever() {
    explore(2, || close_with_two_workers(Some(Ingredient::SentinelPassedOn)));
}

#[test]
#[should_panic(expected = "1 of 2 workers")]
fn without_a_second_look_at_the_limit_there_are_too_few_workers() {
    explore(2, || grown_while_submitted(Some(Ingredient::SecondLookAtLimit)));
}

#[test]
#[should_panic(expected = "a false alarm")]
fn without_expecting_it_first_a_worker_on_its_way_is_not_counted_on() {
    explore(2, || started_by_somebody_else(Some(Ingredient::ExpectedFirst)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_subscribing_first_the_last_alternative_goes_between_the_look_and_the_announcement() {
    explore(2, || last_alternative(Some(Ingredient::SubscribedFirst)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_another_look_the_last_alternative_to_go_completes_a_deadlock_unseen() {
    explore(2, || last_alternative(Some(Ingredient::RecheckOfAlternatives)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn full_without_another_look_room_that_was_taken_stays_a_way_out() {
    explore(2, || room_taken(Some(Ingredient::RecheckOfRoom)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_being_told_a_joiner_misses_the_end_of_the_last_task() {
    explore(2, || cancelled_while_joined(Some(Ingredient::JoinersTold)));
}

#[test]
#[should_panic(expected = "it joined too early")]
fn without_another_look_a_join_misses_a_worker_that_is_busy_again() {
    explore(2, || joined_while_a_callback_is_added(Some(Ingredient::RestSeenAgain)));
}

#[test]
#[should_panic(expected = "a second worker")]
fn without_rest_before_the_result_the_next_task_starts_a_worker() {
    explore(2, || submitted_after_a_result(Some(Ingredient::RestedFirst)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_leaving_in_one_step_an_idle_worker_leaves_a_task_behind() {
    explore(2, || ended_idle(Some(Ingredient::LeftInOneStep)));
}
