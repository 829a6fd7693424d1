//! A call, and what becomes of the guard that it returns.

use super::{Kind, Syntax};

/// Methods of a `Result` or an `Option` that return what is in it, or one with the same in it.
const PASSES: [&str; 9] =
    ["await", "expect", "map_err", "ok", "ok_or", "ok_or_else", "unwrap", "unwrap_or_else", "unwrap_unchecked"];

/// Other methods of those that take the guard away from where it is. So may every method that begins with `into_`.
const TAKES: [&str; 17] = [
    "and",
    "and_then",
    "filter",
    "flatten",
    "inspect",
    "is_none_or",
    "is_ok_and",
    "is_some_and",
    "leak",
    "map",
    "map_or",
    "map_or_else",
    "or",
    "or_else",
    "transpose",
    "unwrap_or",
    "zip",
];

/// Returns whether a method of this name may take a guard, or a `Result` or an `Option` with one, by value.
pub(super) fn may_take(method: &str) -> bool {
    PASSES.contains(&method) || TAKES.contains(&method) || method.starts_with("into_")
}

/// A call in a source text.
#[derive(Clone, Copy, Debug)]
pub(in crate::deadlock) struct Call {
    /// The token that its line and column name: of `a.lock()` the `lock`, of `Lock::lock(&a)` the first of the path.
    pub(super) at: usize,
    /// Where the whole expression begins: of `*self.a.lock()` the `self`.
    pub(super) first: usize,
    /// The parenthesis with the arguments.
    arguments: usize,
}

/// What becomes of the guard that a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// It is used where it is, as in `a.lock().len()`, and drops with the temporaries.
    Temporary {
        /// Whether it may outlive its statement: `let first = &a.lock()[0];`.
        may_be_extended: bool,
    },
    /// It is the value of the expression, which may be bound, passed on or stored, or a method may take it.
    Value,
}

impl Call {
    /// Returns the call at a line and a column, if there is one: a line in a macro may have anything else there.
    pub(in crate::deadlock) fn at(syntax: &Syntax<'_>, line: u32, column: u32) -> Option<Self> {
        let at = syntax.token_at(line, column).filter(|&at| syntax.is_name(at) && syntax.word_before(at) != "::")?;
        let is_method = syntax.word_before(at) == ".";
        let mut name = at;
        loop {
            let mut next = name + 1;
            if syntax.word(next) == "::" && syntax.word(next + 1) == "<" {
                next = syntax.after_generics(next + 1)?;
            }
            if syntax.word(next) == "(" {
                let first = if is_method { syntax.first_of_receiver(at)? } else { at };
                return Some(Self { at, first, arguments: next });
            }
            name = Some(next + 1).filter(|&part| !is_method && syntax.word(next) == "::" && syntax.is_name(part))?;
        }
    }

    /// Returns whether a token is among its arguments, and runs before there is a guard.
    pub(super) fn is_argument(&self, syntax: &Syntax<'_>, at: usize) -> bool {
        syntax.is_within(at, self.arguments)
    }

    /// Returns the token after it and after what unwraps its value, and what becomes of the guard then.
    pub(super) fn guard(&self, syntax: &Syntax<'_>) -> (usize, Guard) {
        let mut next = syntax.partner(self.arguments) + 1;
        let mut is_used = false;
        loop {
            let method = syntax.word(next + 1);
            next = match (syntax.word(next), syntax.arguments_of(next + 1)) {
                ("?", _) => next + 1,
                (".", None) if method == "await" => next + 2,
                // A field or an index.
                (".", None) => {
                    is_used = true;
                    next + 2
                }
                ("[", _) => {
                    is_used = true;
                    syntax.partner(next) + 1
                }
                (".", Some(_)) if is_used || !may_take(method) => {
                    return (next, Guard::Temporary { may_be_extended: false });
                }
                (".", Some(arguments)) if PASSES.contains(&method) => syntax.partner(arguments) + 1,
                (".", Some(_)) => return (next, Guard::Value),
                _ => break,
            };
        }
        let has_prefix = |sign: &str| self.prefixes(syntax).any(|prefix| syntax.word(prefix) == sign);
        let guard = match (is_used || has_prefix("*"), has_prefix("&")) {
            (false, false) => Guard::Value,
            (_, may_be_extended) => Guard::Temporary { may_be_extended },
        };
        (next, guard)
    }

    /// Returns the operators before the whole expression, from right to left.
    fn prefixes(&self, syntax: &Syntax<'_>) -> impl Iterator<Item = usize> {
        syntax.leftwards(self.first).take_while(|&at| match syntax.word(at) {
            "mut" => true,
            "*" | "&" | "!" | "-" => !syntax.follows_operand(at),
            _ => false,
        })
    }
}

impl Syntax<'_> {
    /// Returns the parenthesis with the arguments of a method, if the name is that of one.
    fn arguments_of(&self, method: usize) -> Option<usize> {
        let next = method + 1;
        let next = if self.word(next) == "::" { self.after_generics(next + 1)? } else { next };
        (self.is_name(method) && self.word(next) == "(").then_some(next)
    }

    /// Returns the token after a list of generic arguments that begins at `<`.
    fn after_generics(&self, from: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in self.rightwards(from).take_while(|_| self.word(from) == "<") {
            match self.word(at) {
                "<" => depth += 1,
                ">" => depth -= 1,
                ";" | "=>" | ">=" => return None,
                _ => {}
            }
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    /// Returns where the expression begins of which a method is called: of `self.a(b)[c].lock()` the `self`.
    fn first_of_receiver(&self, method: usize) -> Option<usize> {
        let before = |at: usize, sign: &str| at.checked_sub(2).filter(|_| self.word_before(at) == sign);
        // The last token of what is before the dot.
        let mut at = method.checked_sub(2)?;
        loop {
            let first = self.partner(at);
            at = match (self.word(at), self.kind(at)?) {
                ("?", _) => at.checked_sub(1)?,
                (")" | "]", _) if self.follows_operand(first) => first.checked_sub(1)?,
                (")" | "]", _) => match self.word_before(first) {
                    // The arguments of a macro, and of `name::<T>(…)`.
                    "!" => first.checked_sub(2)?,
                    ">" => match self.before_generics(first - 1)? {
                        (_, Some(path)) => path,
                        (_, None) => return Some(first),
                    },
                    _ => return Some(first),
                },
                (">", _) => match self.before_generics(at)? {
                    (_, Some(path)) => path,
                    (first, None) => return Some(first),
                },
                (word, kind) if kind == Kind::Literal || word == "await" || self.is_name(at) => {
                    match before(at, ".").or_else(|| before(at, "::")) {
                        Some(receiver) => receiver,
                        None => return Some(at),
                    }
                }
                _ => return None,
            };
        }
    }

    /// Returns where the generic arguments that end at `>` begin, and the last token of the path before their `::`.
    fn before_generics(&self, end: usize) -> Option<(usize, Option<usize>)> {
        let mut depth = 0_usize;
        let begin = std::iter::once(end).chain(self.leftwards(end)).find(|&at| {
            match self.word(at) {
                ">" => depth += 1,
                "<" => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        Some((begin, begin.checked_sub(2).filter(|_| self.word_before(begin) == "::")))
    }
}
