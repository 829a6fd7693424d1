//! The wait-for graph as a value.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use petgraph::graph::{DiGraph, NodeIndex};

use super::render::{self, Style};
use super::scene::Scene;
use super::{Access, Identity, Purpose, Report, Resource, StuckThread, Task, Wait};
use crate::deadlock::detector;
use crate::deadlock::graph::resource::Site;

/// Takes a snapshot of who waits for what and who holds what, in the whole process.
///
/// Waits enter the graph after the [grace](crate::deadlock::set_grace), so shorter ones are not in it; nor are threads
/// that neither wait nor hold anything, nor are joined. All waits, and the owners of what they wait for, are from one moment. What
/// running threads hold is read while they run: a hold that is taken or released meanwhile may be missing. For a thread
/// with very many holds, a part of them is listed: see [`StuckThread::holds`]. A forgotten guard still holds its lock,
/// even if the lock no longer exists; if a lock that was made by the same line under the same name has taken its place,
/// the two count as one.
///
/// Takes time in proportion to the threads that hold something. Meanwhile no long wait can begin or end; free locks and
/// short waits are not delayed. If a thread that holds something is blocked outside of this crate, it takes twice the grace
/// longer, and at most 20 ms: that thread may be in a wait which is about to enter the graph. It never waits for a tracked lock, so it can be called at any time.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, deadlock};
///
/// let ledger = Lock::named("ledger", 0);
/// let guard = ledger.lock();
///
/// let snapshot = deadlock::snapshot();
/// assert_eq!(snapshot.graph().edge_count(), 1);
/// println!("{snapshot}"); // … holds Lock<i32> 'ledger', taken at src/main.rs:4:20
/// # assert!(snapshot.to_string().contains("holds Lock<i32> 'ledger', taken at "));
/// # drop(guard);
/// # assert_eq!(deadlock::snapshot().graph().node_count(), 0);
/// ```
#[must_use]
pub fn snapshot() -> WaitForGraph {
    let mut scene = Scene::new();
    while !detector::with(|graph| scene.copy_everything(graph)) {
        scene.grow();
    }
    WaitForGraph::new(scene.threads_and_activities(true))
}

/// The wait-for graph at one moment: see [`snapshot`].
///
/// [`Display`](fmt::Display) shows a paragraph for each thread, as a [`Report`](super::Report) does. With the feature `serde` it
/// serializes as `{"nodes": [...], "edges": [...]}`: each node has its `kind` and what distinguishes it from others,
/// and each edge is written as `{"from", "to", "kind", "site", ...}`, where `from` and `to` are positions among the
/// nodes.
///
/// A task that another process runs has no outgoing edge: what that process waits for is not known here. The edge from
/// its waiter names the process.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(());
/// let guard = lock.lock();
/// let deadlock = lock.acquire().unwrap_err();
/// let graph = deadlock.report().graph();
/// assert!(petgraph::algo::is_cyclic_directed(graph.graph()));
/// # drop(guard);
/// ```
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// let ledger = bowline::Lock::named("ledger", 0);
/// let guard = ledger.lock();
/// let graph = serde_json::to_value(bowline::deadlock::snapshot())?;
/// assert_eq!((&graph["nodes"][0]["kind"], &graph["nodes"][1]["name"]), (&"thread".into(), &"ledger".into()));
/// # drop(guard);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WaitForGraph {
    graph: DiGraph<Node, Edge>,
}

/// A node of a [`WaitForGraph`].
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, Node};
///
/// let ledger = bowline::Lock::named("ledger", 0);
/// let guard = ledger.lock();
/// let snapshot = deadlock::snapshot();
/// let mut nodes = snapshot.graph().node_weights();
/// assert!(nodes.any(|node| matches!(node, Node::Resource(lock) if lock.name() == Some("ledger"))));
/// # drop(guard);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "the nodes are few, and most of what they say is of threads")]
pub enum Node {
    /// A thread that waits, holds something, runs a task or is joined, or a task that runs in place.
    Thread(StuckThread),
    /// A task that is waited for or runs.
    Task(Task),
    /// A pool whose workers are waited for or are part of the graph.
    #[non_exhaustive]
    Pool {
        /// Its name.
        name: Arc<str>,
    },
    /// Something that is waited for or held; a thread that is joined and has not begun.
    Resource(Resource),
}

/// What kind of thing a [`Node`] is.
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, Node, NodeKind};
///
/// let lock = bowline::Lock::new(());
/// let guard = lock.lock();
/// let snapshot = deadlock::snapshot();
/// let kinds: Vec<_> = snapshot.graph().node_weights().map(Node::kind).collect();
/// assert_eq!(kinds, [NodeKind::Thread, NodeKind::Resource]);
/// # drop(guard);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NodeKind {
    /// A thread.
    Thread,
    /// A task.
    Task,
    /// A pool of workers.
    Pool,
    /// A lock.
    Resource,
}

/// An edge of a [`WaitForGraph`]. Edges lead from a waiter to the resource, and from the resource to its holder; from a
/// task to the thread that runs it, or to the pool that it is queued in; from the pool to its workers; and from a waiter to
/// the thread that it joins. So a deadlock is a cycle.
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, Edge};
///
/// let lock = bowline::Lock::new(());
/// let (line, guard) = (line!(), lock.lock());
/// let snapshot = deadlock::snapshot();
/// let mut edges = snapshot.graph().edge_weights();
/// assert!(edges.any(|edge| matches!(edge, Edge::Holds { site, .. } if site.line() == line)));
/// # drop(guard);
/// ```
///
/// A lock is also held while it is formatted:
///
/// ```
/// use bowline::deadlock::{self, Edge, report::Purpose};
/// use std::fmt;
///
/// let lock = bowline::Lock::new(fmt::from_fn(|f| {
///     let snapshot = deadlock::snapshot();
///     let mut edges = snapshot.graph().edge_weights();
///     let is_formatted = |edge: &Edge| matches!(edge, Edge::Holds { purpose: Some(Purpose::Debug), .. });
///     write!(f, "{}", edges.any(is_formatted))
/// }));
/// assert!(format!("{lock:?}").contains("true"));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Edge {
    /// The thread waits for the resource, for the task, for room in the pool's queue, or for the end of the thread.
    #[non_exhaustive]
    Waits {
        /// The line that waits.
        #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize_site"))]
        site: Site,
        /// What the wait is for, if a trait implementation waits rather than a call in the program: see
        /// [`Wait::purpose`](crate::deadlock::report::Wait::purpose).
        purpose: Option<Purpose>,
        /// How the thread wants to hold a read-write lock.
        access: Option<Access>,
        /// How long the wait had lasted.
        waited: Duration,
        /// Whether the wait has a time-out, and so is part of no deadlock.
        timed: bool,
        /// The id of the process that runs the task, if it is another process.
        process: Option<u32>,
    },
    /// The resource is held by the thread.
    #[non_exhaustive]
    Holds {
        /// The line that acquired it.
        #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize_site"))]
        site: Site,
        /// The purpose of the acquisition, if a trait implementation acquired it rather than a call in the program: see
        /// [`Held::purpose`](crate::deadlock::report::Held::purpose).
        purpose: Option<Purpose>,
        /// How a read-write lock is held.
        access: Option<Access>,
    },
    /// The task is run by the thread.
    Runs,
    /// The task is queued in the pool.
    Queued,
    /// The pool has this worker.
    Worker,
}

impl Node {
    /// Returns what kind of thing this is.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        match self {
            Self::Thread(_) => NodeKind::Thread,
            Self::Task(_) => NodeKind::Task,
            Self::Pool { .. } => NodeKind::Pool,
            Self::Resource(_) => NodeKind::Resource,
        }
    }
}

impl Edge {
    fn of(wait: &Wait) -> Self {
        let &Wait { site, purpose, access, waited, timed, process, .. } = wait;
        Self::Waits { site, purpose, access, waited, timed, process }
    }
}

impl Report {
    /// Returns the report as a graph: the threads of the deadlock and its bystanders, what they wait for, and what they
    /// hold.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::Lock::new(());
    /// let guard = lock.lock();
    /// let deadlock = lock.acquire().unwrap_err();
    /// println!("{}", deadlock.report().graph().to_dot());
    /// # assert_eq!(deadlock.report().graph().graph().edge_count(), 2);
    /// # drop(guard);
    /// ```
    #[must_use]
    pub fn graph(&self) -> WaitForGraph {
        WaitForGraph::new(self.threads.iter().chain(&self.bystanders).cloned().collect())
    }
}

/// The nodes of a graph that is being built: each thing has one.
#[derive(Default)]
struct Nodes {
    graph: DiGraph<Node, Edge>,
    resources: HashMap<Identity, NodeIndex>,
    /// By the address of the name, which the pool's threads share: another pool may have the same.
    pools: HashMap<*const u8, NodeIndex>,
}

impl Nodes {
    fn resource(&mut self, resource: &Resource) -> NodeIndex {
        *self.resources.entry(resource.identity()).or_insert_with(|| {
            let resource = resource.clone();
            self.graph.add_node(if resource.is_task() {
                Node::Task(Task { resource })
            } else {
                Node::Resource(resource)
            })
        })
    }

    fn pool(&mut self, name: &Arc<str>) -> NodeIndex {
        let place = self.pools.entry(Arc::as_ptr(name).cast());
        *place.or_insert_with(|| self.graph.add_node(Node::Pool { name: Arc::clone(name) }))
    }
}

impl WaitForGraph {
    pub(super) fn new(threads: Vec<StuckThread>) -> Self {
        let mut nodes = Nodes::default();
        let joined = |thread: &StuckThread| Some(thread.waits_for.as_ref()?.joined.as_ref()?.context);
        let joined: HashSet<_> = threads.iter().filter_map(joined).collect();
        let is_part = |thread: &StuckThread| {
            thread.waits_for.is_some()
                || !thread.holds.is_empty()
                || thread.task.is_some()
                || joined.contains(&thread.context)
        };
        let (mut places, mut joins) = (HashMap::new(), Vec::new());
        for thread in threads.into_iter().filter(is_part) {
            // A thread that is waited for twice is there twice.
            if joined.contains(&thread.context) && places.contains_key(&thread.context) {
                continue;
            }
            let me = nodes.graph.add_node(Node::Thread(thread.clone()));
            places.insert(thread.context, me);
            if let Some(task) = &thread.task {
                let task = nodes.resource(&task.resource);
                nodes.graph.add_edge(task, me, Edge::Runs);
            }
            if let Some(pool) = &thread.pool {
                let pool = nodes.pool(pool);
                nodes.graph.add_edge(pool, me, Edge::Worker);
            }
            if let Some((wait, joined)) = thread.waits_for.as_ref().and_then(|wait| Some((wait, wait.joined.as_ref()?)))
            {
                joins.push((me, wait.clone(), joined.context));
            } else if let Some(wait) = &thread.waits_for {
                let pool = wait.queued_in.as_ref().map(|pool| nodes.pool(pool));
                let provided = match pool {
                    Some(pool) if !wait.resource.is_task() => pool,
                    _ => nodes.resource(&wait.resource),
                };
                nodes.graph.add_edge(me, provided, Edge::of(wait));
                if let Some(pool) = pool.filter(|&pool| pool != provided) {
                    nodes.graph.update_edge(provided, pool, Edge::Queued);
                }
            }
            for held in &thread.holds {
                let resource = nodes.resource(&held.resource);
                nodes.graph.add_edge(
                    resource,
                    me,
                    Edge::Holds { site: held.site, purpose: held.purpose, access: held.access },
                );
            }
        }
        for (waiter, wait, context) in joins {
            let joined = places.get(&context).copied().unwrap_or_else(|| nodes.resource(&wait.resource));
            nodes.graph.add_edge(waiter, joined, Edge::of(&wait));
        }
        Self { graph: nodes.graph }
    }

    /// Returns the graph itself, for the algorithms of [`petgraph`].
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::Lock::new(());
    /// let guard = lock.lock();
    /// let snapshot = bowline::deadlock::snapshot();
    /// assert_eq!(snapshot.graph().node_count(), 2); // the thread and its lock
    /// # drop(guard);
    /// ```
    #[must_use]
    pub fn graph(&self) -> &DiGraph<Node, Edge> {
        &self.graph
    }

    pub(super) fn render(&self, style: Style, debugger: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.graph.node_count() == 0 {
            return f.write_str("no thread waits or holds anything");
        }
        render::threads(self.threads(), style, debugger, f)
    }

    pub(super) fn threads(&self) -> impl Iterator<Item = &StuckThread> + Clone {
        self.graph.raw_nodes().iter().filter_map(|node| match &node.weight {
            Node::Thread(thread) => Some(thread),
            _ => None,
        })
    }
}

impl fmt::Display for WaitForGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(Style::plain(), false, f)
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use serde::{Serialize, Serializer, ser::SerializeStruct};

    use super::{Edge, Node, NodeKind, Resource, StuckThread, Task, WaitForGraph};
    use crate::deadlock::report::{Activity, Suspicion};

    #[derive(Serialize)]
    struct PoolNode<'g> {
        kind: NodeKind,
        name: &'g str,
    }

    /// What distinguishes a thread from others; its waits and holds are edges.
    #[derive(Serialize)]
    struct ThreadNode<'g> {
        kind: NodeKind,
        name: Option<&'g str>,
        os_id: u32,
        is_gone: bool,
        omitted_holds: usize,
        activity: Option<Activity>,
        suspicions: &'g [Suspicion],
    }

    #[derive(Serialize)]
    struct ResourceNode<'g> {
        kind: NodeKind,
        #[serde(flatten)]
        resource: &'g Resource,
    }

    #[derive(Serialize)]
    struct EdgeBetween<'g> {
        from: usize,
        to: usize,
        #[serde(flatten)]
        edge: &'g Edge,
    }

    impl Serialize for Node {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let kind = self.kind();
            match self {
                Self::Thread(thread) => {
                    let &StuckThread { os_id, is_gone, omitted_holds, activity, .. } = thread;
                    let (name, suspicions) = (thread.name(), thread.suspicions());
                    ThreadNode { kind, name, os_id, is_gone, omitted_holds, activity, suspicions }.serialize(serializer)
                }
                Self::Task(Task { resource }) | Self::Resource(resource) => {
                    ResourceNode { kind, resource }.serialize(serializer)
                }
                Self::Pool { name } => PoolNode { kind, name }.serialize(serializer),
            }
        }
    }

    impl Serialize for WaitForGraph {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let nodes: Vec<_> = self.graph.node_weights().collect();
            let edges = self.graph.raw_edges().iter().map(|edge| EdgeBetween {
                from: edge.source().index(),
                to: edge.target().index(),
                edge: &edge.weight,
            });
            let edges: Vec<_> = edges.collect();
            let mut fields = serializer.serialize_struct("WaitForGraph", 2)?;
            fields.serialize_field("nodes", &nodes)?;
            fields.serialize_field("edges", &edges)?;
            fields.end()
        }
    }
}

#[cfg(test)]
mod tests;
