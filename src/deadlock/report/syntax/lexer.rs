//! A Rust source text, cut into tokens.

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword. A raw name has its `r#`.
    Word,
    Lifetime,
    /// A number, a character or a string.
    Literal,
    /// An operator or another sign.
    Sign,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
}

/// A token: not a comment, and not blank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Where it begins and ends in the text, in bytes.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Of a delimiter: the index of the one that it belongs to. Of another token: its own index.
    pub(super) partner: usize,
    /// The index of the opening delimiter around it.
    pub(super) around: Option<usize>,
}

/// The signs of several characters that mean something else than one after the other. `>>` may end two lists of generic
/// arguments.
const SIGNS: [&str; 20] = [
    "..=", "...", "=>", "->", "::", "&&", "||", "==", "!=", "<=", ">=", "..", "+=", "-=", "*=", "/=", "%=", "^=", "&=",
    "|=",
];

/// Returns the tokens of a text, or `None` if its delimiters don't match.
pub(super) fn lex(text: &str) -> Option<Vec<Token>> {
    let mut cursor = Cursor { text, at: 0 };
    if text.starts_with("#!") && !text.starts_with("#![") {
        cursor.skip_line();
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    while let Some((kind, begin)) = cursor.token() {
        let index = tokens.len();
        let mut token = Token { kind, begin, end: cursor.at, partner: index, around: open.last().copied() };
        match kind {
            Kind::Open => open.push(index),
            Kind::Close => {
                token.partner = open.pop()?;
                token.around = open.last().copied();
                let partner = tokens.get_mut(token.partner)?;
                partner.partner = index;
                let is_pair = matches!(
                    (char_at(text, partner.begin)?, char_at(text, begin)?),
                    ('(', ')') | ('[', ']') | ('{', '}')
                );
                is_pair.then_some(())?;
            }
            _ => {}
        }
        tokens.push(token);
    }
    open.is_empty().then_some(tokens)
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// A place in a text. It is always between two characters.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_while(&mut self, belongs: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.next();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| c != '\n');
    }

    /// Skips a token, and returns its kind and where it begins. `None` at the end of the text.
    fn token(&mut self) -> Option<(Kind, usize)> {
        self.skip_blanks();
        let begin = self.at;
        let kind = match self.next()? {
            '(' | '[' | '{' => Kind::Open,
            ')' | ']' | '}' => Kind::Close,
            '"' => self.string(),
            '\'' => self.quote(),
            c if is_name_start(c) => {
                self.skip_while(is_in_name);
                self.after_name(begin)
            }
            c if c.is_ascii_digit() => self.number(),
            _ => {
                self.at = begin;
                let sign = SIGNS.iter().find(|sign| self.rest().starts_with(**sign));
                self.at += sign.map_or_else(|| self.peek().map_or(0, char::len_utf8), |sign| sign.len());
                Kind::Sign
            }
        };
        Some((kind, begin))
    }

    fn skip_blanks(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.skip_line();
            } else if self.rest().starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// Skips a comment, with the comments in it.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                self.at += 2;
                depth += 1;
            } else if rest.starts_with("*/") {
                self.at += 2;
                depth -= 1;
                if depth == 0 {
                    return;
                }
            } else if self.next().is_none() {
                return;
            }
        }
    }

    /// Skips what follows a name that is the prefix of a literal, or of a raw name.
    fn after_name(&mut self, begin: usize) -> Kind {
        let name = self.text.get(begin..self.at).unwrap_or_default();
        let (is_prefix, is_raw) = (matches!(name, "b" | "c"), matches!(name, "r" | "br" | "cr"));
        match self.peek() {
            Some('"') if is_prefix => {
                self.next();
                self.string()
            }
            Some('\'') if name == "b" => {
                self.next();
                self.character()
            }
            Some('"' | '#') if is_raw => self.raw(name == "r"),
            _ => Kind::Word,
        }
    }

    /// Skips the rest of `r"…"` or `r#"…"#`, or of a raw name. Of anything else, skips nothing.
    fn raw(&mut self, may_be_name: bool) -> Kind {
        let rest = self.rest();
        let after = rest.trim_start_matches('#');
        let hashes = rest.len() - after.len();
        if let Some(text) = after.strip_prefix('"') {
            let end = format!("\"{}", &rest[..hashes]);
            self.at += hashes + 1 + text.find(&end).map_or(text.len(), |at| at + end.len());
            return Kind::Literal;
        }
        if may_be_name && hashes == 1 && after.starts_with(is_name_start) {
            self.at += 1;
            self.skip_while(is_in_name);
        }
        Kind::Word
    }

    /// Skips the rest of a string.
    fn string(&mut self) -> Kind {
        while let Some(c) = self.next() {
            match c {
                '"' => break,
                '\\' => _ = self.next(),
                _ => {}
            }
        }
        Kind::Literal
    }

    /// Skips the rest of a character or a lifetime.
    fn quote(&mut self) -> Kind {
        let mut chars = self.rest().chars();
        match (chars.next(), chars.next()) {
            (Some(first), second) if is_name_start(first) && second != Some('\'') => {
                self.skip_while(is_in_name);
                // `'r#name`
                if self.rest().starts_with('#') && self.text.get(..self.at).is_some_and(|before| before.ends_with("'r"))
                {
                    self.next();
                    self.skip_while(is_in_name);
                }
                Kind::Lifetime
            }
            (Some('\\'), _) | (Some(_), Some('\'')) => self.character(),
            _ => Kind::Sign,
        }
    }

    /// Skips the rest of a character, which is on one line.
    fn character(&mut self) -> Kind {
        while let Some(c) = self.peek().filter(|&c| c != '\n') {
            self.next();
            match c {
                '\'' => break,
                '\\' => _ = self.next(),
                _ => {}
            }
        }
        Kind::Literal
    }

    /// Skips the rest of a number. An exponent's sign ends it: the exponent is then a number of its own.
    fn number(&mut self) -> Kind {
        self.skip_while(is_in_name);
        let mut chars = self.rest().chars();
        if chars.next() == Some('.') && chars.next().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
            self.skip_while(is_in_name);
        }
        Kind::Literal
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_in_name(c: char) -> bool {
    // Combining marks, too, are part of a name.
    c == '_' || c.is_alphanumeric() || !c.is_ascii() && !c.is_whitespace() && !c.is_control()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<&str>> {
        Some(lex(text)?.iter().map(|token| &text[token.begin..token.end]).collect())
    }

    #[test]
    fn a_text_is_cut_where_the_compiler_cuts_it() {
        for (text, expected) in [
            ("a.lock().get(0)", "a . lock ( ) . get ( 0 )"),
            ("x.0.lock()", "x . 0 . lock ( )"),
            ("0..n 1.5e3 0x_ff 1.max(2)", "0 .. n 1.5e3 0x_ff 1 . max ( 2 )"),
            ("a=>b->c::d&&e||f==g", "a => b -> c :: d && e || f == g"),
            ("Vec<Vec<u8>>", "Vec < Vec < u8 > >"),
            ("'a' 'a 'ab '\\'' '\"' '漢' b'x' b'\\'' '_ '{'", "'a' 'a 'ab '\\'' '\"' '漢' b'x' b'\\'' '_ '{'"),
            ("&'a str; 'r#if x", "& 'a str ; 'r#if x"),
            (
                r##"r"a" r#"a"b"# r#match br#"{"# c"{" b"\"}" "//" cr"{""##,
                r##"r"a" r#"a"b"# r#match br#"{"# c"{" b"\"}" "//" cr"{""##,
            ),
            ("a // { \" '\nb /* { /* nested } */ \" */ c", "a b c"),
            ("a\r\n\tb // c\r\nd", "a b d"),
            ("#!/usr/bin/env run-cargo-script {\nfn", "fn"),
            ("#![allow(x)]", "# ! [ allow ( x ) ]"),
            ("größe.e\u{301}", "größe . e\u{301}"),
            ("r # x br 'b br#x r##x 'a#b r#\"a\"#", "r # x br 'b br # x r # # x 'a # b r#\"a\"#"),
        ] {
            assert_eq!(words(text).map(|words| words.join(" ")).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        for text in ["", "\"a", "r#\"a\"", "/* a", "// a", "'", "'a", "b'", "b'\\", "\"\\", "'\\", "r#", "1."] {
            assert!(lex(text).is_some(), "{text}");
        }
    }

    #[test]
    fn delimiters_know_their_partners_and_what_is_within() {
        let text = "f(a, [b]) { c }";
        let tokens = lex(text).unwrap();
        let partners: Vec<_> = tokens.iter().map(|token| token.partner).collect();
        assert_eq!(partners, [0, 7, 2, 3, 6, 5, 4, 1, 10, 9, 8]);
        let around: Vec<_> = tokens.iter().map(|token| token.around).collect();
        let [file, call, list, block] = [None, Some(1), Some(4), Some(8)];
        assert_eq!(around, [file, file, call, call, call, list, call, file, file, block, file]);
        for text in ["(", ")", "(]", "{(})"] {
            assert!(lex(text).is_none(), "{text}");
        }
    }
}
