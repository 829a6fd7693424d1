//! Colours where they are wanted, and the width of a page.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal};

use super::page::WIDTH;
use crate::primitive::terminal_width;

/// Colours or none, and the width of a page.
#[derive(Clone, Copy, Debug)]
pub(in crate::deadlock) struct Style {
    colour: bool,
    width: usize,
}

/// Wider terminals do not make wider pages: long lines are hard to read.
const MAX_WIDTH: usize = 140;

/// What the colours are for, as the parameters of their escape sequences.
pub(in crate::deadlock) const HEADLINE: &str = "1;31";
pub(in crate::deadlock) const NAME: &str = "1";
pub(in crate::deadlock) const SOURCE: &str = "2";
pub(in crate::deadlock) const CARET: &str = "1;31";
pub(in crate::deadlock) const HELP: &str = "36";

impl Style {
    /// Returns the style without colours.
    pub(in crate::deadlock) fn plain() -> Self {
        Self { colour: false, width: WIDTH }
    }

    /// Returns the style with colours.
    #[cfg(test)]
    pub(in crate::deadlock) fn coloured() -> Self {
        Self { colour: true, width: WIDTH }
    }

    /// Returns the style of standard error: the width of the terminal, and colours where they are wanted.
    pub(in crate::deadlock) fn of_stderr() -> Self {
        let variable = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let is_terminal = io::stderr().is_terminal();
        let wishes = ["NO_COLOR", "CLICOLOR_FORCE", "TERM"].map(variable);
        let columns = if is_terminal { terminal_width().unwrap_or(WIDTH) } else { WIDTH };
        Self { colour: wants_colour(is_terminal, wishes), width: columns.min(MAX_WIDTH) }
    }

    /// Returns the width of a page, in columns.
    pub(in crate::deadlock) fn width(self) -> usize {
        self.width
    }

    pub(in crate::deadlock) fn paint(self, colour: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn wants_colour(is_terminal: bool, [no_color, force, terminal]: [Option<OsString>; 3]) -> bool {
    let is_forced = force.is_some_and(|value| value != "0");
    no_color.is_none() && (is_forced || is_terminal && terminal.is_none_or(|name| name != "dumb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_where_they_are_wanted() {
        let set = |value: &str| Some(OsString::from(value));
        assert!(wants_colour(true, [None, None, set("xterm")]));
        assert!(wants_colour(true, [None, None, None]));
        assert!(!wants_colour(true, [None, None, set("dumb")]));
        assert!(!wants_colour(false, [None, None, set("xterm")]));
        assert!(wants_colour(false, [None, set("1"), None]));
        assert!(!wants_colour(false, [None, set("0"), None]));
        assert!(!wants_colour(true, [set("0"), None, None]));
        assert!(!wants_colour(true, [set("1"), set("1"), None]));
    }
}
