//! Colours, where they are wanted.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal};

/// Colours or none.
#[derive(Clone, Copy, Debug)]
pub(in crate::deadlock) struct Style {
    colour: bool,
}

/// What the colours are for, as the parameters of their escape sequences.
pub(in crate::deadlock) const HEADLINE: &str = "1;31";
pub(in crate::deadlock) const NAME: &str = "1";
pub(in crate::deadlock) const SOURCE: &str = "2";
pub(in crate::deadlock) const HELP: &str = "36";

impl Style {
    /// Returns the style without colours.
    pub(in crate::deadlock) fn plain() -> Self {
        Self { colour: false }
    }

    /// Returns the style with colours.
    #[cfg(test)]
    pub(in crate::deadlock) fn coloured() -> Self {
        Self { colour: true }
    }

    /// Returns colours if standard error is a terminal where they are wanted.
    pub(in crate::deadlock) fn of_stderr() -> Self {
        Self { colour: io::stderr().is_terminal() && wants_colour(env::var_os("NO_COLOR"), env::var_os("TERM")) }
    }

    pub(in crate::deadlock) fn paint(self, colour: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn wants_colour(no_color: Option<OsString>, terminal: Option<OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty()) && terminal.is_none_or(|name| name != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_off_where_they_are_not_wanted() {
        let set = |value: &str| Some(OsString::from(value));
        assert!(wants_colour(None, None));
        assert!(wants_colour(set(""), set("xterm")));
        assert!(!wants_colour(set("0"), set("xterm")));
        assert!(!wants_colour(None, set("dumb")));
    }
}
