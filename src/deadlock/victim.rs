//! The victim of a deadlock: the member whose wait fails.

use super::graph::Graph;
use super::graph::context::Context;
use super::graph::record::{Entry, Failure, Summons};
use super::judge::{Judge, Judgement};
use super::policy::Policy;

/// Returns the member of the deadlock just found that is to be its victim, if any can fail.
///
/// A member whose failing lets all others go on comes first; where there is none, or the search takes too long, the
/// rest is judged again and has a victim of its own. A wait that would unwind from a destructor comes last. Among
/// several the finder comes first, except that in a starvation a wait that fails by value comes before all others: the
/// verdict is for the waits for what is queued, not for a lock that one of the workers holds. `is_chosen` says whether somebody chose
/// the policy.
pub(super) fn choose_victim(
    graph: &Graph,
    judge: &mut Judge,
    found: Judgement,
    summons: Summons,
    policy: Policy,
    is_chosen: bool,
) -> Option<&'static Context> {
    let finder = *judge.core().members().first()?;
    let can_fail = |entry: &Entry| entry.can_fail(policy, is_chosen);
    let finder_can = graph.entry(finder).is_some_and(can_fail);
    // Another finder chose this one already.
    if summons == Summons::Victim && finder_can {
        return Some(finder);
    }
    if policy == Policy::Abort {
        return finder_can.then_some(finder);
    }
    let by_value = |entry: &Entry| found == Judgement::Starvation && matches!(entry.failure, Failure::Value);
    let mut work = 0;
    judge.find_breaker(graph, &mut work, by_value).or_else(|| judge.find_breaker(graph, &mut work, can_fail)).or_else(
        || {
            let first = |accepts: &dyn Fn(&Entry) -> bool| {
                judge.core().members().iter().copied().find(|&member| graph.entry(member).is_some_and(accepts))
            };
            let last = |entry: &Entry| policy == Policy::Panic && matches!(entry.failure, Failure::UnwindLast);
            first(&by_value).or_else(|| first(&can_fail)).or_else(|| first(&last))
        },
    )
}

impl Entry {
    /// Returns whether this wait can end with a deadlock: return it, or unwind from it.
    fn can_fail(&self, policy: Policy, is_chosen: bool) -> bool {
        match self.failure {
            Failure::Value => true,
            Failure::Unwind => policy == Policy::Panic,
            Failure::Foreign { may_unwind } => is_chosen && policy == Policy::Panic && may_unwind(self.site),
            Failure::UnwindLast | Failure::Never => false,
        }
    }
}
