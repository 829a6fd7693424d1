//! The function that a line is in, and what a reader calls it.

use std::fmt::{self, Display};

use super::call::{Call, Guard, may_take};
use super::{Kind, Syntax};

/// Traits of std whose `fmt` no program calls by its name.
const FORMATS: [&str; 9] =
    ["Binary", "Debug", "Display", "LowerExp", "LowerHex", "Octal", "Pointer", "UpperExp", "UpperHex"];

/// A function, or the closures of one.
#[derive(Clone, Copy, Debug)]
pub(in crate::deadlock) struct Function<'t> {
    /// The token of its name.
    at: usize,
    name: &'t str,
    /// The brace that begins its body.
    body: usize,
    /// The trait and the type that it is implemented for.
    of_trait: Option<&'t str>,
    of_type: Option<&'t str>,
    /// Whether the line is in a closure of the function.
    is_closure: bool,
}

impl<'t> Function<'t> {
    /// Returns the innermost function around a call. Its closures are part of it.
    pub(in crate::deadlock) fn around(syntax: &Syntax<'t>, call: Call) -> Option<Self> {
        let mut heads =
            (0..call.at).rev().filter(|&at| syntax.word(at) == "fn" && syntax.kind(at + 1) == Some(Kind::Word));
        let (head, body) = heads.find_map(|head| {
            let is_next = |at: usize| at > head && syntax.word(at) == "fn" && syntax.kind(at + 1) == Some(Kind::Word);
            let body = syntax.rightwards(head).find(|&at| matches!(syntax.word(at), "{" | ";") || is_next(at))?;
            syntax.is_within(call.at, body).then_some((head, body))
        })?;
        let (of_trait, of_type) = syntax.around(head).and_then(|block| syntax.implemented(block)).unwrap_or_default();
        let (at, is_closure) = (head + 1, syntax.is_in_closure(call.at, body));
        Some(Self { at, name: syntax.word(at), body, of_trait, of_type, is_closure })
    }

    /// Returns what tells it from the other functions of its file.
    pub(in crate::deadlock) fn position(&self) -> usize {
        self.at
    }

    /// Returns whether it can have a `#[track_caller]`, of which its callers can make use.
    pub(in crate::deadlock) fn may_track_its_caller(&self) -> bool {
        !self.is_closure && self.name != "main"
    }

    /// Returns whether it is the `drop` of a type, which runs wherever a value drops.
    pub(in crate::deadlock) fn is_drop(&self) -> bool {
        self.unnamed_trait() == Some("Drop") && !self.is_closure
    }

    /// Returns the trait of std that it implements, if std or the compiler calls it and no program names it.
    fn unnamed_trait(&self) -> Option<&'t str> {
        self.of_trait.filter(|name| match self.name {
            "drop" => *name == "Drop",
            "fmt" => FORMATS.contains(name),
            "next" => *name == "Iterator",
            _ => false,
        })
    }

    /// Returns whether the guard that a call in this function returns drops in this function: it is a temporary, or is bound by a
    /// `let` and then only used where it is.
    pub(in crate::deadlock) fn keeps(&self, syntax: &Syntax<'t>, call: Call) -> bool {
        let (after, guard) = call.guard(syntax);
        match guard {
            Guard::Temporary { may_be_extended: false } => true,
            Guard::Temporary { may_be_extended: true } => false,
            Guard::Value => {
                let Some(names) = syntax.bound(call, after) else { return false };
                let mut rest = after..syntax.partner(self.body);
                let mut has_moved = false;
                !names.is_empty()
                    && rest.all(|at| {
                        // A closure or a block that takes what it names, and may outlive the function.
                        has_moved |= syntax.word(at) == "move";
                        !names.contains(&syntax.word(at)) || syntax.is_used_in_place(at) && !has_moved
                    })
            }
        }
    }
}

impl Display for Function<'_> {
    /// Formats it as `` `Board::publish` ``, `` a closure of `main` `` or `` the `Drop` of `Value` ``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_closure {
            f.write_str("a closure of ")?;
        }
        match (self.unnamed_trait(), self.of_type, self.name) {
            (Some(unnamed), Some(of_type), _) => write!(f, "the `{unnamed}` of `{of_type}`"),
            (_, Some(of_type), name) => write!(f, "`{of_type}::{name}`"),
            (_, None, name) => write!(f, "`{name}`"),
        }
    }
}

impl<'t> Syntax<'t> {
    /// Returns the trait and the type of the `impl` that a block belongs to; of a trait's own block, the trait as the type.
    fn implemented(&self, block: usize) -> Option<(Option<&'t str>, Option<&'t str>)> {
        let is_item =
            |at: usize| matches!(self.word_before(at), "" | ";" | "{" | "}" | "]" | ")" | "unsafe" | "default" | "pub");
        let head = self
            .leftwards(block)
            .take_while(|&at| !matches!(self.word(at), ";" | "}" | "fn"))
            .find(|&at| matches!(self.word(at), "impl" | "trait") && is_item(at))?;
        if self.word(head) == "trait" {
            return Some((None, Some(self.word(head + 1))));
        }
        let mut depth = 0_usize;
        let (mut of_trait, mut last) = (None, None);
        for at in self.rightwards(head + 1).take_while(|&at| at < block) {
            match self.word(at) {
                "<" => depth += 1,
                ">" => depth = depth.checked_sub(1)?,
                _ if depth > 0 => {}
                "for" if self.word(at + 1) != "<" => of_trait = std::mem::take(&mut last),
                "where" | "+" => break,
                _ if self.is_name(at) => last = Some(self.word(at)),
                _ => {}
            }
        }
        Some((of_trait, last))
    }

    /// Returns the names that the value of a call is bound to by a `let`, be it one of an `if`, a `while` or with an `else`.
    fn bound(&self, call: Call, after: usize) -> Option<Vec<&'t str>> {
        let equals = call.first.checked_sub(1).filter(|&at| self.word(at) == "=")?;
        matches!(self.word(after), ";" | "else" | "{" | "&&").then_some(())?;
        let head = self
            .leftwards(equals)
            .take_while(|&at| !matches!(self.word(at), ";" | "=" | "=>"))
            .find(|&at| self.word(at) == "let")?;
        let of_pattern =
            (head + 1..equals).take_while(|&at| self.word(at) != ":" || self.around(at) != self.around(head));
        let is_bound =
            |at: &usize| self.is_name(*at) && self.word(*at).starts_with(|c: char| c == '_' || c.is_lowercase());
        Some(of_pattern.filter(is_bound).map(|at| self.word(at)).filter(|name| *name != "_").collect())
    }

    /// Returns whether a name, where it is used, neither moves its value nor hands it on, as far as can be told.
    fn is_used_in_place(&self, at: usize) -> bool {
        let (before, next) = (self.word_before(at), self.word(at + 1));
        let is_dropped = || before == "(" && at >= 2 && self.word(at - 2) == "drop" && next == ")";
        let is_another = matches!(before, "." | "let" | "fn" | "'") || matches!(next, ":" | "::" | "(" | "!");
        let is_borrowed = matches!(before, "*" | "&") || before == "mut" && at >= 2 && self.word(at - 2) == "&";
        let is_looked_at = matches!(next, "[" | "=") || next == "." && !may_take(self.word(at + 2));
        is_another || is_borrowed || is_looked_at || is_dropped()
    }
}
