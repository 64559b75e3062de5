//! The variables that a macro sees.

use std::collections::{BTreeMap, BTreeSet};

use super::Piece;
use super::tokens::{BETWEEN_OPERANDS, Kind, Tag};

/// Names in alphabetical order.
pub(super) type Names<'s> = BTreeSet<&'s str>;

/// The names in the body of each macro, by the place of the tag that opens it.
///
/// minijinja hands a macro the variables of its surroundings that it reads,
/// but does not find them in every expression: not what is sliced, nor a
/// namespace that is only set, nor the old value in `{% set x = x + 1 %}`.
/// Mentioned once more, they are found.
pub(super) fn names_in_macros<'s>(pieces: &[Piece<'s>]) -> BTreeMap<usize, Names<'s>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(usize, Names<'s>)> = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        let Piece::Tag(tag) = piece else { continue };
        if matches!(
            tag.statement(),
            Some("endmacro" | "endcall" | "endgeneration")
        ) {
            found.extend(open.pop());
        } else if let Some((_, names)) = open.last_mut() {
            names.extend(names_in(tag));
        }
        if opens_macro(tag) {
            open.push((place, Names::new()));
        }
    }
    found
}

fn opens_macro(tag: &Tag<'_>) -> bool {
    matches!(tag.statement(), Some("macro" | "call" | "generation"))
}

/// All words of a tag that may be variables.
fn names_in<'t, 's>(tag: &'t Tag<'s>) -> impl Iterator<Item = &'s str> + 't {
    let keyword = usize::from(tag.statement().is_some());
    let names = (keyword..tag.tokens.len()).filter(|&nth| {
        let token = tag.tokens[nth];
        let behind_dot = nth > 0 && tag.tokens[nth - 1].text == ".";
        token.kind == Kind::Word && !behind_dot && !BETWEEN_OPERANDS.contains(&token.text)
    });
    names.map(|nth| tag.tokens[nth].text)
}
