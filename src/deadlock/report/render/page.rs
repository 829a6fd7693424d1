//! A page of text: lines of a limited width, with an indent of their own.

use std::fmt;

use unicode_width::UnicodeWidthStr;

use super::style::Style;

/// The width of a page, in columns, where nobody says another.
pub(in crate::deadlock) const WIDTH: usize = 100;
/// Narrower pages are laid out for this many columns.
const MIN_WIDTH: usize = 40;
/// The indent of the lines on which a broken line goes on, beside its own.
const HANG: usize = 4;

/// A space at which no line is broken. It is written as a space.
pub(in crate::deadlock) const GLUE: char = '\u{a0}';

/// A page that is being written. It does not end with a line break: each line begins with the break that ends the one
/// before it.
pub(super) struct Page<'f, 'b> {
    out: &'f mut fmt::Formatter<'b>,
    pub(super) style: Style,
    width: usize,
    is_empty: bool,
}

impl<'f, 'b> Page<'f, 'b> {
    /// Makes a page of the width that the formatter was given, as in `{report:80}`.
    pub(super) fn new(out: &'f mut fmt::Formatter<'b>, style: Style) -> Self {
        let width = out.width().unwrap_or(WIDTH).max(MIN_WIDTH);
        Self { out, style, width, is_empty: true }
    }

    /// Writes an empty line if something follows.
    pub(super) fn gap_before(&mut self, follows: bool) -> fmt::Result {
        if follows { self.gap() } else { Ok(()) }
    }

    /// Returns how many columns there are beside an indent.
    pub(super) fn room(&self, indent: usize) -> usize {
        self.width.saturating_sub(indent)
    }

    /// Writes an empty line, or nothing at the top of the page.
    pub(super) fn gap(&mut self) -> fmt::Result {
        if self.is_empty { Ok(()) } else { self.out.write_str("\n") }
    }

    /// Writes a line, broken where that is needed.
    pub(super) fn line(&mut self, indent: usize, text: &str) -> fmt::Result {
        self.hanging(indent, indent + HANG, text)
    }

    /// Writes a line, whose further lines have an indent of their own.
    pub(super) fn hanging(&mut self, indent: usize, hang: usize, text: &str) -> fmt::Result {
        self.begin_line(indent)?;
        let mut column = indent;
        for (at, word) in text.split(' ').enumerate() {
            let width = columns(word);
            if at == 0 {
                column += width;
            } else if column + 1 + width <= self.width || column <= hang {
                self.out.write_str(" ")?;
                column += 1 + width;
            } else {
                self.begin_line(hang)?;
                column = hang + width;
            }
            word.split(GLUE).enumerate().try_for_each(|(at, part)| {
                self.out.write_str(if at == 0 { "" } else { " " })?;
                self.out.write_str(part)
            })?;
        }
        Ok(())
    }

    /// Writes a line as it is.
    pub(super) fn verbatim(&mut self, indent: usize, text: &str) -> fmt::Result {
        self.begin_line(indent)?;
        self.out.write_str(text)
    }

    fn begin_line(&mut self, indent: usize) -> fmt::Result {
        let line_break = if std::mem::take(&mut self.is_empty) { "" } else { "\n" };
        write!(self.out, "{line_break}{:indent$}", "")
    }
}

/// Returns how many columns a text takes on a terminal, without its escape sequences.
fn columns(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().map_or(0, UnicodeWidthStr::width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.width())).sum::<usize>()
}

/// Cuts a text that takes more than `width` columns.
pub(super) fn clip(mut text: String, width: usize) -> String {
    use unicode_width::UnicodeWidthChar;
    if text.width() <= width {
        return text;
    }
    let mut taken = 0;
    let cut = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken + 1 > width
    });
    text.truncate(cut.map_or(0, |(at, _)| at));
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, write: impl Fn(&mut Page<'_, '_>) -> fmt::Result) -> String {
        let text = fmt::from_fn(|f| write(&mut Page::new(f, Style::plain())));
        format!("{text:width$}")
    }

    #[test]
    fn a_line_is_broken_at_blanks_and_never_within_a_word() {
        let long = "x".repeat(60);
        let text = format!("one two {long} three four five six seven eight nine ten eleven");
        let expected = format!("  one two\n      {long}\n      three four five six seven eight\n      nine ten eleven");
        assert_eq!(page(40, |page| page.line(2, &text)), expected);
    }

    #[test]
    fn glue_holds_two_words_together() {
        let at = |glue: char| page(40, |page| page.line(0, &format!("{} at{glue}src/main.rs", "x".repeat(35))));
        assert_eq!(at(' '), format!("{} at\n    src/main.rs", "x".repeat(35)));
        assert_eq!(at(GLUE), format!("{}\n    at src/main.rs", "x".repeat(35)));
    }

    #[test]
    fn escapes_take_no_columns_and_wide_characters_two() {
        assert_eq!(columns("\x1b[1mab\x1b[0m c"), 4);
        assert_eq!(columns("漢字"), 4);
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn a_text_is_cut_at_columns_not_bytes() {
        assert_eq!(clip("äöü".to_owned(), 3), "äöü");
        assert_eq!(clip("äöüß".to_owned(), 3), "äö…");
        assert_eq!(clip("漢字漢".to_owned(), 6), "漢字漢");
        assert_eq!(clip("漢字漢字".to_owned(), 6), "漢字…");
    }
}
