//! What a `tracing` subscriber sees of deadlocks, long waits and hazards: an event each, where the hooks run. Without the feature,
//! nothing.

use super::graph::span_name::SpanName;
use super::report::{Hazard, LongWait, Report};

/// Returns the span that the calling thread is in. Runs the subscriber's code.
pub(super) fn current_span() -> Option<SpanName> {
    #[cfg(feature = "tracing")]
    {
        thread_local! {
            static IS_ASKING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        // The subscriber may wait for a lock in turn.
        if IS_ASKING.replace(true) {
            return None;
        }
        let mut name = None;
        crate::primitive::contain(|| {
            let span = tracing::Span::current();
            let id = span.id().map_or(0, |id| id.into_u64());
            name = span.metadata().map(|metadata| SpanName { name: metadata.name(), id });
        });
        IS_ASKING.set(false);
        name
    }
    #[cfg(not(feature = "tracing"))]
    None
}

/// Emits the event that a deadlock was found, on the thread that is its victim. Returns whether a subscriber wanted it.
///
/// Its fields say who, what and where. The whole report is a field if `is_whole`, which is for a deadlock that becomes
/// neither a panic nor an error.
pub(super) fn deadlock(report: &Report, is_whole: bool) -> bool {
    #[cfg(feature = "tracing")]
    {
        if !tracing::event_enabled!(target: "bowline", tracing::Level::ERROR) {
            return false;
        }
        let (kind, fields) = (report.kind(), Fields::of(report.threads()));
        let whole = is_whole.then(|| report.to_string());
        tracing::error!(
            target: "bowline",
            ?kind,
            threads = fields.threads,
            locks = fields.resources,
            lines = fields.lines,
            tasks = fields.tasks,
            spans = fields.spans,
            report = whole,
            "{}",
            report.headline(),
        );
        true
    }
    #[cfg(not(feature = "tracing"))]
    {
        let _ = (report, is_whole);
        false
    }
}

/// Emits the event that a wait is longer than expected, on the thread that waits.
pub(super) fn long_wait(wait: &LongWait) {
    #[cfg(feature = "tracing")]
    {
        let suspects = wait.waiter().suspicions().iter().map(|suspicion| suspicion.waiter());
        let threads: Vec<_> = std::iter::once(wait.waiter()).chain(wait.owner()).chain(suspects).cloned().collect();
        let fields = Fields::of(&threads);
        tracing::warn!(
            target: "bowline",
            threads = fields.threads,
            locks = fields.resources,
            lines = fields.lines,
            tasks = fields.tasks,
            spans = fields.spans,
            "{}",
            wait.headline(),
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _ = wait;
}

/// Emits the event that a thread breaks the contract of a lock, on that thread.
pub(super) fn hazard(hazard: &Hazard) {
    #[cfg(feature = "tracing")]
    {
        use super::report::render::{label, line};
        let thread = hazard.thread_name().map_or_else(|| hazard.os_id().to_string(), str::to_owned);
        let locks = [hazard.wanted(), hazard.held().resource()].map(label);
        let lines = [hazard.site(), hazard.held().site()].map(line);
        tracing::warn!(
            target: "bowline",
            kind = ?hazard.kind(),
            threads = thread,
            locks = if locks[0] == locks[1] { locks[0].clone() } else { locks.join(", ") },
            lines = lines.join(", "),
            "{}",
            hazard.headline(),
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _ = hazard;
}

/// The fields of an event, each a list.
#[cfg(feature = "tracing")]
struct Fields {
    threads: String,
    resources: String,
    lines: String,
    /// The ids of the tasks that run or are waited for.
    tasks: String,
    spans: String,
}

#[cfg(feature = "tracing")]
impl Fields {
    fn of(threads: &[super::report::StuckThread]) -> Self {
        let joined = |items: Vec<String>| items.join(", ");
        let names =
            threads.iter().map(|thread| thread.name().map_or_else(|| thread.os_id().to_string(), str::to_owned));
        let mut resources = Vec::new();
        let mut lines = Vec::new();
        let mut tasks = Vec::new();
        for thread in threads {
            let run = thread.task().and_then(|task| task.id());
            let awaited = thread.waits_for().and_then(|wait| wait.resource().task_id());
            for id in run.into_iter().chain(awaited).map(|id| id.to_string()) {
                if !tasks.contains(&id) {
                    tasks.push(id);
                }
            }
            let wait = thread.waits_for().map(|wait| (wait.resource(), wait.site()));
            let held = thread.holds().iter().map(|held| (held.resource(), held.site()));
            for (resource, line) in wait.into_iter().chain(held) {
                let name = super::report::render::label(resource);
                if !resources.contains(&name) {
                    resources.push(name);
                }
                lines.push(super::report::render::line(line));
            }
        }
        let spans = threads.iter().filter_map(|thread| Some(thread.waits_for()?.span?.to_string()));
        Self {
            threads: joined(names.collect()),
            resources: joined(resources),
            lines: joined(lines),
            tasks: joined(tasks),
            spans: joined(spans.collect()),
        }
    }
}
