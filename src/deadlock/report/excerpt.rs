//! The part of a source line around a call.

use std::ops::Range;

use unicode_width::UnicodeWidthChar;

/// A line of source, or the part of it around a call, without its indent and on one line whatever it contains.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    /// How many columns of the text are before the name that is called.
    pub(super) before: usize,
    /// How many columns that name has.
    pub(super) marked: usize,
}

impl Excerpt {
    /// Returns the line of a source text with this number. Of a line that takes more than `width` columns, this is the part
    /// around the call, which is at this column, counted in characters. Both count from one.
    ///
    /// `None` if there is no such line, or no code at that column.
    pub(super) fn of(text: &[u8], (line, column): (u32, u32), width: usize) -> Option<Self> {
        let line = text.split(|&byte| byte == b'\n').nth(index(line)?)?;
        let line = str::from_utf8(line).ok()?.trim_end();
        let called = index(column)?;
        // The compiler saw code at this column; where there is none, this is another file.
        line.chars().nth(called).filter(|c| !c.is_whitespace())?;
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let line: Vec<_> = line.chars().skip(indent).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let called = called - indent;
        let name = line[called..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count().max(1);
        Some(Self::around(&line, called..called + name, width))
    }

    fn around(line: &[char], name: Range<usize>, width: usize) -> Self {
        let columns = |range: Range<usize>| line[range].iter().map(|c| c.width().unwrap_or(0)).sum::<usize>();
        let shown = window(line, &name, width);
        let mut text: String = line[shown.clone()].iter().collect();
        let mut before = columns(shown.start..name.start);
        if shown.start > 0 {
            text.insert(0, '…');
            before += 1;
        }
        if shown.end < line.len() {
            text.push('…');
        }
        Self { text, before, marked: columns(name.start..name.end.min(shown.end)).max(1) }
    }
}

/// Returns which characters of a line are shown: all, or those around the middle of a part that fit into `width` columns
/// beside an ellipsis at each end.
fn window(line: &[char], part: &Range<usize>, width: usize) -> Range<usize> {
    let mut column = 0;
    // The column at which each character begins, and the line ends.
    let columns: Vec<_> = std::iter::once(0)
        .chain(line.iter().map(|c| {
            column += c.width().unwrap_or(0);
            column
        }))
        .collect();
    let total = column;
    if total <= width {
        return 0..line.len();
    }
    let room = width.saturating_sub(2);
    let middle = (columns[part.start] + columns[part.end]) / 2;
    let first = middle.saturating_sub(room / 2).min(total - room).min(columns[part.start]);
    let from = columns.partition_point(|&column| column < first);
    let to = columns.partition_point(|&column| column <= columns[from] + room) - 1;
    from..to
}

/// Converts the number of a line or column, which counts from one.
fn index(position: u32) -> Option<usize> {
    usize::try_from(position).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an excerpt as two lines.
    fn drawn(text: &[u8], line: u32, column: u32, width: usize) -> Option<String> {
        let excerpt = Excerpt::of(text, (line, column), width)?;
        Some(format!("{}\n{}{}", excerpt.text, " ".repeat(excerpt.before), "^".repeat(excerpt.marked)))
    }

    #[test]
    fn a_line_that_is_not_there_is_no_line() {
        let text = b"one\n  two\r\n\n\xff\xfe\n";
        let text_of = |line, column| Excerpt::of(text, (line, column), 80).map(|excerpt| excerpt.text);
        assert_eq!(text_of(1, 1).as_deref(), Some("one"));
        assert_eq!(text_of(2, 3).as_deref(), Some("two"));
        assert_eq!(text_of(2, 1), None, "no code at that column");
        assert_eq!(text_of(1, 4), None, "past the end of the line");
        assert_eq!(text_of(3, 1), None, "an empty line");
        assert_eq!(text_of(4, 1), None, "not UTF-8");
        for (line, column) in [(0, 1), (1, 0), (6, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(text_of(line, column), None);
        }
        assert_eq!(Excerpt::of(b"", (1, 1), 80), None);
    }

    #[test]
    fn the_name_that_is_called_is_marked() {
        assert_eq!(
            drawn(b"    let a = b.lock_arc();", 1, 15, 80).unwrap(),
            "let a = b.lock_arc();\n          ^^^^^^^^"
        );
        assert_eq!(drawn(b"*x += 1", 1, 1, 80).unwrap(), "*x += 1\n^");
        assert_eq!(drawn("漢字.lock()".as_bytes(), 1, 4, 80).unwrap(), "漢字.lock()\n     ^^^^");
        assert_eq!(drawn("e\u{301}.lock()".as_bytes(), 1, 4, 80).unwrap(), "e\u{301}.lock()\n  ^^^^");
    }

    #[test]
    fn a_line_never_carries_control_characters() {
        assert_eq!(Excerpt::of(b"a\tb\x1b[31m\x0cc", (1, 1), 80).unwrap().text, "a b [31m c");
    }

    #[test]
    fn a_long_line_is_shown_around_the_call() {
        let line = format!("{}.lock(){}", "x".repeat(50), "y".repeat(50));
        let at = |column| drawn(line.as_bytes(), 1, column, 20).unwrap();
        assert_eq!(at(52), "…xxxxxx.lock()yyyyy…\n        ^^^^");
        assert_eq!(at(1), "xxxxxxxxxxxxxxxxxx…\n^^^^^^^^^^^^^^^^^^", "from the beginning of a long name");
        assert_eq!(at(107), format!("…{}\n{}^", "y".repeat(18), " ".repeat(18)));
        let wide = format!("{}.lock()", "漢".repeat(30));
        assert_eq!(drawn(wide.as_bytes(), 1, 32, 20).unwrap(), "…漢漢漢漢漢.lock()\n            ^^^^");
    }

    #[test]
    fn every_part_of_every_line_fits() {
        use unicode_width::UnicodeWidthStr;
        let line: String = "a漢e\u{301}b字_c(".chars().cycle().take(60).collect();
        for width in 10..90 {
            for column in 1..=60 {
                let excerpt = Excerpt::of(line.as_bytes(), (1, column), width).unwrap();
                assert!(excerpt.text.width() <= width, "{width} {column} {excerpt:?}");
                assert!(excerpt.before + excerpt.marked <= width, "{width} {column} {excerpt:?}");
            }
        }
    }
}
