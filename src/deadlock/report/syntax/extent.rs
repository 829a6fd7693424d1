//! The construct at the end of which a temporary drops.
//!
//! A temporary drops at the end of the innermost *temporary scope* around it (the Rust Reference, "Destructors"): mostly its
//! statement, so that one in the head of a `match` or a `for` lives through the body. What is in the head of an `if let` is gone
//! in its `else` since the edition of 2024. But whoever asks knows that the guard was still there.

use std::fmt::{self, Display};

use super::Syntax;
use super::call::{Call, Guard};

/// Macros of std that evaluate their arguments in one expression.
const MACROS: [&str; 18] = [
    "assert_eq",
    "assert_ne",
    "dbg",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "matches",
    "panic",
    "print",
    "println",
    "todo",
    "unreachable",
    "vec",
    "write",
    "writeln",
];
/// Macros of std that evaluate their first argument, and drop its temporaries before they evaluate the others.
const ASSERTIONS: [&str; 2] = ["assert", "debug_assert"];

/// A construct that keeps the temporaries of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deadlock) enum Extent<'t> {
    Match,
    MatchArm,
    IfLet,
    /// An `if let` and all that its `else` leads to.
    IfLetElse,
    WhileLet,
    For,
    /// The condition of an `if`, a `while` or a `match` arm.
    Condition,
    Statement,
    /// A macro of std.
    Macro(&'t str),
}

impl Display for Extent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Match => "`match`",
            Self::MatchArm => "`match` arm",
            Self::IfLet => "`if let` block",
            Self::IfLetElse => "`if let … else`",
            Self::WhileLet => "`while let` block",
            Self::For => "`for` loop",
            Self::Condition => "condition",
            Self::Statement => "statement",
            Self::Macro(name) => return write!(f, "`{name}!`"),
        })
    }
}

impl<'t> Extent<'t> {
    /// Returns the innermost construct that keeps the guard of a call as a temporary and has this token in it.
    ///
    /// `None` if the guard is no temporary, or drops before that token runs, or if that is not known.
    pub(in crate::deadlock) fn of(syntax: &Syntax<'t>, call: Call, waits: Call) -> Option<Self> {
        let (after, guard) = call.guard(syntax);
        let Guard::Temporary { may_be_extended } = guard else { return None };
        if call.is_argument(syntax, waits.at) {
            return None;
        }
        let mut walk = Walk { syntax, waits: waits.at, first: call.first, after, may_be_extended };
        loop {
            if let Step::End(extent) = walk.out_of_level() {
                return extent;
            }
        }
    }
}

/// A walk from a temporary outwards, through the parentheses and brackets around it.
struct Walk<'s, 't> {
    syntax: &'s Syntax<'t>,
    /// What is looked for: the call that waits.
    waits: usize,
    /// The part that was walked through: its first token, and the one after its last.
    first: usize,
    after: usize,
    may_be_extended: bool,
}

/// What a walk does next.
enum Step<'t> {
    /// It goes on outside of a delimiter, or of a `match`.
    Out,
    End(Option<Extent<'t>>),
}

/// What was met of a head, from its end on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// The `=` of a binding or an assignment.
    Equals,
    /// After it, what may be a part of what is bound by a `let`; or of a closure, or of a statement before.
    Pattern,
    /// The `let` of a condition.
    Let,
    In,
}

impl<'t> Walk<'_, 't> {
    /// Walks to the left until something begins that the temporary is in.
    fn out_of_level(&mut self) -> Step<'t> {
        let syntax = self.syntax;
        let open = syntax.around(self.first);
        let in_block = open.is_none_or(|open| syntax.word(open) == "{");
        let mut seen = Seen::Nothing;
        // Blocks that were passed and whose heads are still to come.
        let mut blocks = 0_usize;
        let mut may_be_generic = false;
        let mut begin = open.map_or(0, |open| open + 1);
        for at in syntax.leftwards(self.first) {
            let next = syntax.word(at + 1);
            match syntax.word(at) {
                ")" | "]" => {}
                // Of a pattern.
                "}" if seen == Seen::Equals && next == "=" => seen = Seen::Pattern,
                "}" if seen == Seen::In && next == "in" => {}
                // Of a statement before this one; or of a part of this one, which is then taken for shorter than it is.
                "}" if in_block => {
                    begin = at + 1;
                    break;
                }
                "}" => blocks += 1,
                "let" if matches!(syntax.word_before(at), "if" | "while" | "&&") => seen = Seen::Let,
                "let" => {
                    (begin, seen) = (at, Seen::Nothing);
                    break;
                }
                "|" | "," if matches!(seen, Seen::Equals | Seen::Pattern) => seen = Seen::Pattern,
                "|" | "," if seen == Seen::In => {}
                "match" | "if" | "while" | "for" if blocks > 0 => blocks -= 1,
                "else" | "loop" | "unsafe" | "async" | "move" | "const" if next == "{" => {
                    blocks = blocks.saturating_sub(1);
                }
                "match" | "if" | "while" | "for" | "=>" | ";" | "=" if seen == Seen::Pattern => return Step::End(None),
                "match" => return self.out_of_match(at),
                "if" if seen == Seen::Let => return Step::End(self.if_let(at)),
                "while" if seen == Seen::Let => return Step::End(self.with_body(at, &["&&"], Extent::WhileLet)),
                "if" | "while" => return Step::End(self.condition(at)),
                "in" if seen == Seen::Nothing => seen = Seen::In,
                "for" if seen == Seen::In => return Step::End(self.with_body(at, &[], Extent::For)),
                "=" if seen == Seen::Nothing => seen = Seen::Equals,
                // Of a chain of conditions, in which each may bind.
                "&&" if seen == Seen::Let => {}
                ">" => may_be_generic = true,
                "," if !in_block && !may_be_generic => break,
                ";" if in_block => {
                    begin = at + 1;
                    break;
                }
                "=>" if in_block => return Step::End(self.until_separator(at + 1, Extent::MatchArm)),
                "fn" | "impl" | "&&" | "||" | "|" | "," | ";" | "=>" | "for" => return Step::End(None),
                _ => {}
            }
        }
        match open {
            Some(open) if !matches!(seen, Seen::Pattern | Seen::In | Seen::Let) => {
                if in_block {
                    Step::End(self.statement(begin, open))
                } else {
                    self.out_of_group(open)
                }
            }
            _ => Step::End(None),
        }
    }

    /// Leaves a parenthesis or a bracket, if what is in it is evaluated as a part of what is around it.
    fn out_of_group(&mut self, open: usize) -> Step<'t> {
        let syntax = self.syntax;
        // The operands of lazy operators have temporaries of their own.
        let Some(end) = self.end(&[",", ")", "]"]) else { return Step::End(None) };
        let is_here = |first, end| first <= self.waits && self.waits < end;
        match syntax.macro_of(open) {
            Some(name) if ASSERTIONS.contains(&name) && syntax.is_of_std(open) => {
                let is_first = syntax.leftwards(self.first).all(|at| syntax.word(at) != ",");
                Step::End((is_first && is_here(open + 1, end)).then_some(Extent::Condition))
            }
            Some(name) if MACROS.contains(&name) && syntax.is_of_std(open) => {
                Step::End(is_here(open, syntax.partner(open)).then_some(Extent::Macro(name)))
            }
            Some(_) => Step::End(None),
            // `[0; n]`, where a constant is expected; or an attribute.
            None if matches!(syntax.word_before(open), "#" | "!") && syntax.word(open) == "[" => Step::End(None),
            None => {
                (self.first, self.after) = (open, syntax.partner(open) + 1);
                Step::Out
            }
        }
    }

    /// The temporary is in the head of a `match`, which may itself be a part of something.
    fn out_of_match(&mut self, head: usize) -> Step<'t> {
        let Some(body) = self.end(&["{"]) else { return Step::End(None) };
        let after = self.syntax.partner(body) + 1;
        if head < self.waits && self.waits < after {
            return Step::End(Some(Extent::Match));
        }
        (self.first, self.after) = (head, after);
        Step::Out
    }

    /// Returns the extent if what waits is in the rest of a head or in the body behind it.
    fn with_body(&self, head: usize, between: &[&str], extent: Extent<'t>) -> Option<Extent<'t>> {
        let body = self.end_beyond(between, &["{"])?;
        (head < self.waits && self.waits < self.syntax.partner(body)).then_some(extent)
    }

    /// Returns the extent if what waits is in the rest of the head of an `if let`, in its block, or in what follows after an `else`.
    fn if_let(&self, head: usize) -> Option<Extent<'t>> {
        let syntax = self.syntax;
        let mut end = syntax.partner(self.end_beyond(&["&&"], &["{"])?);
        if head < self.waits && self.waits < end {
            return Some(Extent::IfLet);
        }
        while syntax.word(end + 1) == "else" {
            let body = syntax.rightwards(end + 2).find(|&at| matches!(syntax.word(at), "{" | ";"))?;
            if syntax.word(body) == ";" {
                return None;
            }
            if end < self.waits && self.waits < syntax.partner(body) {
                return Some(Extent::IfLetElse);
            }
            end = syntax.partner(body);
        }
        None
    }

    /// Returns the extent if what waits is in a condition, at the end of which its temporaries drop.
    fn condition(&self, head: usize) -> Option<Extent<'t>> {
        let end = self.end(&["{", "=>"])?;
        (head < self.waits && self.waits < end).then_some(Extent::Condition)
    }

    /// Returns the extent if what waits is between `begin` and the next separator.
    fn until_separator(&self, begin: usize, extent: Extent<'t>) -> Option<Extent<'t>> {
        let end = self.end(&[",", "}"])?;
        (begin <= self.waits && self.waits < end).then_some(extent)
    }

    /// Returns the statement if what waits is in it.
    fn statement(&self, begin: usize, open: usize) -> Option<Extent<'t>> {
        let syntax = self.syntax;
        let binds = syntax.word(begin) == "let";
        if syntax.macro_of(open).is_some() || binds && self.may_be_extended {
            return None;
        }
        let end = if binds {
            // Its blocks are a part of it, but for that of `let … else`.
            let of_let = syntax.rightwards(self.after).find(|&at| {
                let is_else = syntax.word(at) == "else" && syntax.word_before(at) != "}";
                is_else || matches!(syntax.word(at), ";" | "&&" | "||" | "=>")
            })?;
            Some(of_let).filter(|&end| matches!(syntax.word(end), ";" | "else"))?
        } else if syntax.word(self.first) == "match" {
            // It has ended with its block.
            return None;
        } else {
            self.end(&[";", "{", "}"])?
        };
        (begin <= self.waits && self.waits < end).then_some(Extent::Statement)
    }

    /// Returns the first of these tokens behind the part that was walked through. `None` if there is another one before that
    /// ends an expression or an operand.
    fn end(&self, ends: &[&str]) -> Option<usize> {
        self.end_beyond(&[], ends)
    }

    fn end_beyond(&self, passed: &[&str], ends: &[&str]) -> Option<usize> {
        const OTHERS: [&str; 6] = [",", ";", "=>", "&&", "||", "{"];
        let syntax = self.syntax;
        let of_level = syntax.around(self.first).map(|open| syntax.partner(open));
        let mut tokens = syntax.rightwards(self.after).chain(of_level);
        let end = tokens.find(|&at| {
            let word = syntax.word(at);
            !passed.contains(&word) && (OTHERS.contains(&word) || Some(at) == of_level)
        })?;
        ends.contains(&syntax.word(end)).then_some(end)
    }
}

impl Syntax<'_> {
    /// Returns whether the macro that is called with this delimiter has no path, or one of std.
    fn is_of_std(&self, open: usize) -> bool {
        let Some(name) = open.checked_sub(2) else { return false };
        self.word_before(name) != "::" || name >= 2 && matches!(self.word(name - 2), "std" | "core" | "alloc")
    }
}
