//! What a source file says around a call: which construct keeps a guard, and which function the call is in.
//!
//! This is no parser. A file is cut into tokens once, with the partner of each delimiter, and every question is answered by
//! a walk from a token outwards. A walk that meets what it does not know ends without an answer. Each is linear in the
//! length of the file, and none is recursive.

mod call;
mod closure;
mod extent;
mod function;
mod lexer;

pub(super) use call::Call;
pub(super) use extent::Extent;
pub(super) use function::Function;
use lexer::{Kind, Token, lex};

/// Longer texts are not looked at.
const MAX_LENGTH: usize = 1 << 20;

/// Words that are never a name.
const KEYWORDS: [&str; 33] = [
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "false", "fn", "for", "if",
    "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct", "trait",
    "true", "type", "unsafe", "where", "while",
];

/// Keywords that end an expression, as a name does.
const OPERANDS: [&str; 3] = ["await", "false", "true"];

/// The tokens of a source file.
pub(super) struct Syntax<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Syntax<'t> {
    /// Returns the tokens of a text. `None` if it is too long, is not UTF-8, or has delimiters that don't match: this is not
    /// what was compiled.
    pub(super) fn of(text: &'t [u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LENGTH)?;
        // The compiler counts no columns for it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Some(Self { text, tokens: lex(text)?, lines })
    }

    /// Returns the token that begins at a line and a column, which is counted in characters. Both count from one.
    fn token_at(&self, line: u32, column: u32) -> Option<usize> {
        let index = |position: u32| usize::try_from(position).ok()?.checked_sub(1);
        let line = self.text.get(*self.lines.get(index(line)?)?..)?;
        let (column, _) = line.split('\n').next()?.char_indices().nth(index(column)?)?;
        let begin = self.text.len() - line.len() + column;
        self.tokens.binary_search_by_key(&begin, |token| token.begin).ok()
    }

    /// Returns the text of a token; of no token, an empty text.
    fn word(&self, at: usize) -> &'t str {
        self.tokens.get(at).and_then(|token| self.text.get(token.begin..token.end)).unwrap_or_default()
    }

    /// Returns the text of the token before another one, in whatever delimiter.
    fn word_before(&self, at: usize) -> &'t str {
        at.checked_sub(1).map_or("", |before| self.word(before))
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    /// Returns the partner of a delimiter; any other token is its own.
    fn partner(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(at, |token| token.partner)
    }

    /// Returns the opening delimiter around a token, if it is in one.
    fn around(&self, at: usize) -> Option<usize> {
        self.tokens.get(at)?.around
    }

    /// Returns whether a token is between a delimiter and its partner.
    fn is_within(&self, at: usize, open: usize) -> bool {
        open < at && at < self.partner(open)
    }

    /// Returns the tokens before one, from right to left, up to the delimiter around it. Of a pair of delimiters, the
    /// closing one stands for all that is within.
    fn leftwards(&self, from: usize) -> impl Iterator<Item = usize> {
        let first = self.around(from).map_or(0, |open| open + 1);
        let mut at = from;
        std::iter::from_fn(move || {
            let close = at.checked_sub(1).filter(|&before| before >= first)?;
            at = self.partner(close).min(close);
            Some(close)
        })
    }

    /// Returns the tokens from one on, from left to right, up to the delimiter around it. Of a pair of delimiters, the
    /// opening one stands for all that is within.
    fn rightwards(&self, from: usize) -> impl Iterator<Item = usize> {
        let end = self.around(from).map_or(self.tokens.len(), |open| self.partner(open));
        let mut next = from;
        std::iter::from_fn(move || {
            let at = Some(next).filter(|&at| at < end)?;
            next = self.partner(at).max(at) + 1;
            Some(at)
        })
    }

    /// Returns whether a token is a name. `self`, `Self`, `crate` and `super` are.
    fn is_name(&self, at: usize) -> bool {
        self.kind(at) == Some(Kind::Word) && !KEYWORDS.contains(&self.word(at))
    }

    /// Returns whether an operand may end with the token before this one, so that an operator here is between two operands.
    fn follows_operand(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        match self.kind(before) {
            Some(Kind::Word) => self.is_name(before) || OPERANDS.contains(&self.word(before)),
            Some(Kind::Literal | Kind::Close) => true,
            Some(Kind::Sign) => self.word(before) == "?",
            Some(Kind::Lifetime | Kind::Open) | None => false,
        }
    }

    /// Returns the name of the macro that is called with this opening delimiter, if one is; an empty name if it is not known.
    fn macro_of(&self, open: usize) -> Option<&'t str> {
        let sign = open.checked_sub(1)?;
        // `macro_rules! name { … }`
        let is_definition = self.is_name(sign) && self.word_before(sign) == "!";
        match self.word(sign) {
            _ if is_definition => Some(""),
            "!" if sign > 0 && self.is_name(sign - 1) => Some(self.word(sign - 1)),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
