//! The wait-for graph in Graphviz's language.

use std::fmt::{self, Write};

use super::render::{self, Humane, Names, Style};
use super::snapshot::{Edge, Node, WaitForGraph};
use super::{Access, Purpose};

impl WaitForGraph {
    /// Returns the graph in Graphviz's DOT language: threads as boxes, tasks as hexagons, pools as folders, resources
    /// as ellipses, waits in red.
    ///
    /// # Examples
    ///
    /// ```
    /// let dot = bowline::deadlock::snapshot().to_dot();
    /// assert!(dot.starts_with("digraph"));
    /// ```
    #[must_use]
    pub fn to_dot(&self) -> String {
        fmt::from_fn(|f| self.write_dot(f)).to_string()
    }

    fn write_dot(&self, dot: &mut fmt::Formatter<'_>) -> fmt::Result {
        dot.write_str("digraph wait_for {\n")?;
        let names = Names::new(self.threads(), std::iter::empty(), Style::plain());
        for (index, node) in self.graph().raw_nodes().iter().enumerate() {
            let (label, shape) = match &node.weight {
                Node::Thread(thread) => (names.thread(thread), "box"),
                Node::Task(task) => (names.resource(&task.resource), "hexagon"),
                Node::Pool { name } => (names.pool(name), "folder"),
                Node::Resource(resource) => (names.resource_and_type(resource), "ellipse"),
            };
            writeln!(dot, "    n{index} [shape={shape}, label={}];", Quoted(&label))?;
        }
        for edge in self.graph().raw_edges() {
            let (label, colour) = match &edge.weight {
                Edge::Waits { site, purpose, access, waited, process, .. } => {
                    let runs = process.map_or(String::new(), |process| format!("\nfor process {process}"));
                    let to = access.map_or(String::new(), |access| format!("\nto {}", access.phrase("it")));
                    let waits = format!("waits {}{runs}{to}", Humane(*waited));
                    (format!("{waits}\n{}{site}", purpose_label(*purpose)), ", color=red")
                }
                Edge::Holds { site, purpose, access } => {
                    let is_once = |node: &Node| matches!(node, Node::Resource(resource) if resource.is_once());
                    let held = match access {
                        None if is_once(&self.graph()[edge.source()]) => "initialised",
                        None => "held",
                        Some(Access::Read) => "read",
                        Some(Access::UpgradableRead) => "read upgradably",
                        Some(Access::Write) => "written",
                    };
                    (format!("{held} by\n{}{site}", purpose_label(*purpose)), "")
                }
                Edge::Runs => ("run by".to_owned(), ""),
                Edge::Queued => ("queued in".to_owned(), ""),
                Edge::Worker => ("worked for by".to_owned(), ""),
            };
            let (from, to) = (edge.source().index(), edge.target().index());
            writeln!(dot, "    n{from} -> n{to} [label={}{colour}];", Quoted(&label))?;
        }
        dot.write_str("}\n")
    }
}

/// Returns what a lock was taken for, as it stands before the line that made it.
fn purpose_label(purpose: Option<Purpose>) -> &'static str {
    match purpose {
        None => "",
        Some(Purpose::Debug) => "to format it, made at\n",
        Some(Purpose::Serialize) => "to serialize it, made at\n",
    }
}

/// A string of the DOT language.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                render::GLUE => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::{A, B, lock, thread};

    #[test]
    fn dot_quotes_what_the_user_wrote() {
        let a = lock(1, Some("a\"\\\n"), A);
        let graph = WaitForGraph::new(vec![thread("x", 1).waits(&a, B), thread("y", 2).holding(&a, A)]);
        let expected = format!(
            r#"digraph wait_for {{
    n0 [shape=box, label="thread 'x'"];
    n1 [shape=ellipse, label="Lock<Vec<u64>> 'a\"\\\\n'"];
    n2 [shape=box, label="thread 'y'"];
    n0 -> n1 [label="waits 1.2 ms\n{B}", color=red];
    n1 -> n2 [label="held by\n{A}"];
}}
"#
        );
        assert_eq!(graph.to_dot(), expected);
    }
}
