//! The closure around a token.

use super::Syntax;

impl Syntax<'_> {
    /// Returns whether a token is in the body of a closure that is itself within a block.
    pub(super) fn is_in_closure(&self, at: usize, block: usize) -> bool {
        let mut part = at;
        while part != block {
            if self.is_in_closure_here(part) {
                return true;
            }
            let Some(around) = self.around(part) else { return false };
            part = around;
        }
        false
    }

    /// Returns whether a closure's parameters are before a token, between the same delimiters, and no separator ends its body.
    fn is_in_closure_here(&self, part: usize) -> bool {
        // The last bar to the right of the one that is looked at, and whether that one is before any separator.
        let mut bar: Option<usize> = None;
        let mut separator: Option<usize> = None;
        for at in self.leftwards(part) {
            match self.word(at) {
                ";" | "=>" => return false,
                "," => separator = separator.or(Some(at)),
                "||" if !self.follows_operand(at) => return separator.is_none(),
                "|" => {
                    let ends_parameters = bar.is_some_and(|bar| separator.is_none_or(|separator| separator < bar));
                    if ends_parameters && !self.follows_operand(at) {
                        return true;
                    }
                    bar = Some(at);
                }
                _ => {}
            }
        }
        false
    }
}
