//! What a process wrote last.

use std::fmt;

use crate::deadlock::render::printable;

/// The last lines that a process wrote to its standard streams, as far as those are captured.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

/// The lines of each stream, indented, below a line that begins a line of its own. Nothing if there are none.
impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stream, lines) in [("output", &self.stdout), ("error", &self.stderr)] {
            if !lines.is_empty() {
                write!(f, "\n  last lines of its standard {stream}:")?;
            }
            lines.iter().map(|line| printable(line.trim_end())).try_for_each(|line| {
                let indent = if line.is_empty() { "" } else { "    " };
                write!(f, "\n{indent}{line}")
            })?;
        }
        Ok(())
    }
}
