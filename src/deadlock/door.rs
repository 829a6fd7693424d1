//! The door: the one function through which everything that blocks goes.
//!
//! See `README.md` beside this file for the protocol and its proof.

use std::cell::Cell;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::graph::Graph;
use super::graph::blocker::Need;
use super::graph::context::Context;
pub(crate) use super::graph::record::Failure;
use super::graph::record::{Entry, Summons, erase};
use super::graph::reported::Reported;
use super::graph::span_name::SpanName;
use super::graph::thread_name::thread_id;
use super::hook::Fate;
use super::judge::{Judge, Judgement};
use super::lateness::{self, GraceStart};
use super::policy::{self, Policy};
use super::report::scene::Scene;
pub(crate) use super::terms::{Limit, Terms, WaitError};
use super::victim::choose_victim;
use super::waitable::{HANDED_OVER, Park};
use super::{detector, hook, long_wait, trace};
use crate::primitive::{Ingredient, ParkResult, ParkToken, SpinWait, is_removed, now, park, runs_destructors};

/// Waits for `resource` on behalf of `me`.
///
/// The first part is what any lock does: spin a little, then park, for at most the grace. Nearly all waits end there,
/// and the graph never learns of them.
pub(crate) fn wait<W: Park>(me: &'static Context, resource: &W, terms: Terms) -> Result<(), WaitError> {
    let grace = policy::grace();
    if terms.relock || grace.is_zero() {
        return wait_registered(me, resource, terms, now());
    }
    let mut spin = SpinWait::new();
    let mut started: Option<GraceStart> = None;
    let mut pause = Pause::FIRST;
    loop {
        if resource.try_grant(me) {
            return Ok(());
        }
        if terms.limit.is_over() {
            return Err(WaitError::TimedOut);
        }
        if !resource.has_queue() && spin.spin() {
            continue;
        }
        if !resource.announce() {
            continue;
        }
        let is_first = started.is_none();
        let start = *started.get_or_insert_with(GraceStart::now);
        let grace = policy::grace();
        let grace_end = start.wake_at(grace);
        let until = [grace_end, terms.limit.instant()].into_iter().flatten().min();
        // A shortened grace is noticed at the end of a slice.
        let mut slice_end = if grace <= MAX_SLICE { until } else { earlier(until, now() + MAX_SLICE) };
        if resource.may_miss_wake_up() {
            slice_end = earlier(slice_end, now() + pause.next());
        }
        match park_on(me, resource, slice_end, || true) {
            ParkResult::Unparked(HANDED_OVER) => {
                resource.accept(me);
                return Ok(());
            }
            ParkResult::TimedOut if start.is_over(policy::grace()) && !terms.limit.is_over() => {
                // A later park may begin when the grace is over, and its timer would look late.
                if let Some(due) = slice_end.filter(|_| is_first && slice_end == grace_end) {
                    lateness::learn(due);
                }
                return wait_registered(me, resource, terms, start.at);
            }
            // A waiter that timed out tries once more: a wake-up that came at that moment may have been for this
            // waiter.
            ParkResult::TimedOut | ParkResult::Unparked(_) | ParkResult::Invalid => {}
        }
        spin.reset();
    }
}

fn earlier(limit: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(limit.map_or(other, |limit| limit.min(other)))
}

/// The longest sleep before a wait registers. A longer grace is slept in slices and read again at the end of each, so
/// that a wait under way notices when it is shortened.
const MAX_SLICE: Duration = Duration::from_millis(50);

/// Parks in the resource's queue while its announcement stands and `still` holds.
fn park_on<W: Park + ?Sized>(
    me: &'static Context,
    resource: &W,
    until: Option<Instant>,
    still: impl FnOnce() -> bool,
) -> ParkResult {
    // SAFETY:
    // - the key is an address that a primitive of ours controls.
    // - `validate` and `timed_out` only touch atomics: they neither unwind nor park nor unpark.
    // - `before_sleep` does nothing.
    unsafe {
        park(
            resource.key(),
            || resource.is_announced() && still(),
            || {},
            |_, last| resource.left_queue(last),
            ParkToken(me.address()),
            until,
        )
    }
}

/// What a registered wait does next, decided under the graph's mutex.
enum Step {
    Granted,
    TimedOut,
    Park {
        until: Option<Instant>,
        announced: bool,
    },
    /// Withdrawn, with the scene copied: be the victim.
    Victim(Judgement),
    /// Withdrawn, with the scene copied: report the deadlock, then go on waiting with this note of what was reported.
    LeaveStanding(Judgement, Reported),
    /// With the scene copied: no member can break this deadlock, or none may.
    Abort(Judgement),
    /// Withdrawn, with the scene copied: this wait has been long.
    Warn,
    /// The scene or the judge needs larger buffers: grow them, outside the mutex.
    Grow,
    /// This wait would be the victim by unwinding: see whether it can, outside the mutex.
    SeeWhetherItUnwinds,
}

/// Waits in the graph, where registered means ungranted.
#[cold]
#[inline(never)]
fn wait_registered(me: &'static Context, resource: &dyn Park, terms: Terms, since: Instant) -> Result<(), WaitError> {
    let mut wait = Registered {
        me,
        resource,
        terms,
        since,
        scene: Scene::new(),
        reported: Reported::NEVER,
        can_unwind: None,
        pause: Pause::FIRST,
        alarm: if resource.is_sleep() { long_wait::Alarm::off() } else { long_wait::Alarm::new() },
        thread_id: thread_id(),
        // The subscriber's code: before the wait is in the graph.
        span: trace::current_span(),
    };
    // The first answer asks the environment: not under the graph's mutex.
    let _ = policy::policy();
    let mut handed_over = false;
    loop {
        wait.alarm.refresh();
        // A grant is listed under the graph's mutex, where nothing may be allocated. Again each time: a hook that ran
        // may have forgotten a guard.
        me.holds.give_void();
        me.holds.reserve();
        let step = detector::with_judge(|graph, judge| wait.step(graph, judge, handed_over));
        match step {
            Step::Granted => return Ok(()),
            Step::TimedOut => return Err(WaitError::TimedOut),
            Step::Park { announced: false, .. } => {}
            Step::Park { until, announced: true } => {
                let parked =
                    park_on(me, resource, until, || !me.is_summoned() || is_removed(Ingredient::ValidatedSummons));
                handed_over = parked == ParkResult::Unparked(HANDED_OVER);
                if parked != ParkResult::TimedOut {
                    // What comes next is something else.
                    wait.pause = Pause::FIRST;
                }
            }
            Step::Victim(judgement) => {
                let deadlock = wait.scene.report(judgement);
                hook::report_deadlock(deadlock.report(), Fate::Told);
                return Err(WaitError::Deadlock(deadlock));
            }
            Step::LeaveStanding(judgement, reported) => {
                let deadlock = wait.scene.report(judgement);
                hook::report_deadlock(deadlock.report(), Fate::LeftStanding);
                wait.reported = reported;
            }
            Step::Abort(judgement) => {
                let deadlock = wait.scene.report(judgement);
                hook::report_deadlock(deadlock.report(), Fate::Abort);
                std::process::abort();
            }
            Step::Warn => wait.alarm.run_due_hooks(&mut wait.scene, since),
            Step::Grow => {
                wait.scene.grow();
                detector::grow();
            }
            Step::SeeWhetherItUnwinds => wait.can_unwind = Some(!runs_destructors()),
        }
    }
}

/// How long a wait sleeps before it asks again whether an ending thread is gone, or looks again for a wake-up that was missed:
/// each time for longer.
struct Pause(Duration);

impl Pause {
    const FIRST: Self = Self(Duration::from_micros(50));
    const LONGEST: Duration = Duration::from_millis(20);

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = Self::LONGEST.min(pause * 2);
        pause
    }
}

/// A wait that lasted longer than the grace.
struct Registered<'a> {
    me: &'static Context,
    resource: &'a dyn Park,
    terms: Terms,
    since: Instant,
    scene: Scene,
    reported: Reported,
    /// Whether a panic may leave the wait; `None` while that does not matter.
    can_unwind: Option<bool>,
    pause: Pause,
    alarm: long_wait::Alarm,
    thread_id: Option<ThreadId>,
    span: Option<SpanName>,
}

impl Registered<'_> {
    fn step(&mut self, graph: &mut Graph, judge: &mut Judge, handed_over: bool) -> Step {
        let me = self.me;
        if handed_over {
            self.resource.accept(me);
            graph.withdraw(me);
            return Step::Granted;
        }
        if self.resource.try_grant(me) {
            graph.withdraw(me);
            return Step::Granted;
        }
        // Before the limit: a long wait is reported even if it wakes too late for anything else.
        if graph.entry(me).is_some() && self.alarm.due(self.since).is_some_and(|due| now() >= due) {
            if !self.scene.copy_wait(graph, me) {
                return Step::Grow;
            }
            // A deadlock that was reported and left standing is not reported again on the way back.
            self.reported = graph.withdraw(me).map_or(Reported::NEVER, |entry| entry.reported);
            return Step::Warn;
        }
        if self.terms.limit.is_over() {
            graph.withdraw(me);
            return Step::TimedOut;
        }
        if graph.entry(me).is_none() {
            let entry = self.entry();
            graph.register(me, entry);
        } else if let Some(entry) = graph.record_mut(me).entry.as_mut() {
            // A wait for several parks on one after the other.
            entry.key = self.resource.key();
        }
        if self.alarm.is_stale() {
            // A hook was installed since the last look at the hooks: look again, without the mutex.
            return Step::Park { until: None, announced: false };
        }
        let summons = graph.answer_summons(me);
        let mut until = self.terms.limit.instant();
        if summons != Summons::None && !self.terms.limit.is_timed() {
            match judge.judge(graph, me) {
                Judgement::NotDeadlocked => graph.mark_live(me),
                Judgement::Bystander => graph.mark_stuck(me),
                Judgement::NoCapacity => {
                    graph.put_back(me, summons);
                    return Step::Grow;
                }
                Judgement::OwnerEnding { stuck } => {
                    if stuck {
                        graph.mark_stuck(me);
                    } else {
                        graph.mark_live(me);
                    }
                    let again = now() + self.pause.next();
                    graph.put_back(me, Summons::Recheck);
                    until = earlier(until, again);
                }
                found => {
                    if let Some(step) = self.react(graph, judge, found, summons) {
                        return step;
                    }
                    // It stands in a deadlock that was told of, and is to be told of that thread's end, too.
                    if judge.met_an_end() {
                        let again = now() + self.pause.next();
                        graph.put_back(me, Summons::Recheck);
                        until = earlier(until, again);
                    }
                }
            }
        }
        if let Some(due) = self.alarm.due(self.since) {
            until = earlier(until, due);
        }
        let announced = self.resource.announce();
        if announced && self.resource.may_miss_wake_up() && !is_removed(Ingredient::LookAgain) {
            until = earlier(until, now() + self.pause.next());
        }
        Step::Park { until, announced }
    }

    fn entry(&self) -> Entry {
        Entry {
            blocker: erase(self.resource),
            key: self.resource.key(),
            held_key: self.resource.facts(0).key,
            is_chained: self.resource.is_chained(),
            site: self.terms.site,
            since: self.since,
            timed: self.terms.limit.is_timed(),
            failure: self.failure(policy::is_chosen()),
            // A new wait is judged once: it may close a deadlock.
            summons: Summons::Recheck,
            reported: self.reported,
            not_handed_over: Cell::new(!self.resource.may_be_handed_over()),
            is_stuck: false,
            finder: None,
            thread_id: self.thread_id,
            span: self.span,
        }
    }

    /// Returns how the wait can end; `is_chosen` says whether somebody chose the policy.
    fn failure(&self, is_chosen: bool) -> Failure {
        match self.asked_failure(is_chosen) {
            Failure::Unwind if std::thread::panicking() => Failure::Never,
            Failure::Unwind if self.can_unwind == Some(false) => Failure::UnwindLast,
            failure => failure,
        }
    }

    /// Returns how the wait can end where a panic can leave it.
    fn asked_failure(&self, is_chosen: bool) -> Failure {
        match self.terms.failure {
            Failure::Foreign { may_unwind } if is_chosen && may_unwind(self.terms.site) => Failure::Unwind,
            failure => failure,
        }
    }

    /// Decides what to do about a deadlock that this wait is part of. `None`: go on waiting.
    fn react(&mut self, graph: &mut Graph, judge: &mut Judge, found: Judgement, summons: Summons) -> Option<Step> {
        let me = self.me;
        // In this order: a policy that is known to be chosen is the one that was.
        let is_chosen = policy::is_chosen();
        let policy = policy::policy();
        if policy == Policy::Off {
            return None;
        }
        if let Some(entry) = graph.record_mut(me).entry.as_mut() {
            entry.failure = self.failure(is_chosen);
        }
        let victim = choose_victim(graph, judge, found, summons, policy, is_chosen);
        let is_left = policy == Policy::Report || is_left_standing(graph, judge, policy, is_chosen);
        match victim {
            Some(victim)
                if victim == me
                    && matches!(self.asked_failure(is_chosen), Failure::Unwind)
                    && self.can_unwind.is_none() =>
            {
                graph.put_back(me, summons);
                return Some(Step::SeeWhetherItUnwinds);
            }
            Some(victim) if victim != me => {
                graph.make_victim(victim, me);
                return None;
            }
            // Reported before, and left standing.
            None if is_left && graph.is_reported(judge.core().members(), found.is_abandoned()) => {
                if found.is_abandoned() && self.resource.need() != Need::One {
                    graph.mark_abandoned(me);
                } else {
                    graph.mark_stuck(me);
                }
                return None;
            }
            _ => {}
        }
        if !self.scene.copy(graph, judge, me, found) {
            graph.put_back(me, summons);
            return Some(Step::Grow);
        }
        match victim {
            Some(_) => {
                graph.withdraw(me);
                Some(Step::Victim(found))
            }
            None if is_left => {
                let reported = graph.mark_reported(judge.core().members(), found.is_abandoned());
                graph.withdraw(me);
                Some(Step::LeaveStanding(found, reported))
            }
            None => {
                graph.withdraw(me);
                Some(Step::Abort(found))
            }
        }
    }
}

/// Returns whether the deadlock just found is left standing if nobody can be its victim, whatever the default policy says: it
/// has a wait of code that knows nothing of deadlocks that are found, and nobody chose a policy, or that wait must not unwind and nobody
/// chose to abort.
fn is_left_standing(graph: &Graph, judge: &Judge, policy: Policy, is_chosen: bool) -> bool {
    let is_left = |entry: &Entry| match entry.failure {
        Failure::Foreign { may_unwind } => !is_chosen || policy != Policy::Abort && !may_unwind(entry.site),
        _ => false,
    };
    judge.core().members().iter().filter_map(|&member| graph.entry(member)).any(is_left)
}
