//! Cutting a block that is too big for a chunk.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::chunk::MAX_CHUNK_BYTES;
use crate::chunk::border::{Border, borders};
use crate::chunk::outline::{Block, Kind};
use crate::chunk::pack::Ruler;

/// How much of what is left of a block decides about the next cut. What is longer makes more than two chunks.
const WINDOW: usize = 2 * MAX_CHUNK_BYTES;

/// Cuts `block`, with the headings before it from `from` on in its first piece, into ranges that join up. Of a block that
/// goes on, they leave out the end, so that the cuts are where they would be if all of it were seen.
pub(super) fn block(ruler: &Ruler<'_>, from: usize, block: &Block) -> Vec<Range<usize>> {
    let goes_on = block.goes_on && block.end - from > WINDOW;
    let mut pieces = Vec::new();
    let mut start = from;
    while if goes_on { block.end - start > WINDOW } else { !ruler.fits(start..block.end) } {
        let mut end = cut(ruler, block.kind, start..block.end, block.start);
        if block.is_table {
            end = between_rows(ruler, start..end, block.end);
        }
        pieces.push(start..end);
        start = end;
    }
    if !goes_on {
        pieces.push(start..block.end);
    }
    pieces
}

/// Where to cut a range that does not fit, so that its first part does: after `from`, at the best border there is. If two
/// parts are enough, they are about even. Else the first is filled, at least by half, or by a quarter up to a line.
pub(super) fn cut(ruler: &Ruler<'_>, kind: Kind, range: Range<usize>, from: usize) -> usize {
    let text = ruler.text;
    let Range { start, end } = range;
    let most = reach(ruler, start..end);
    let after = |at: usize| text.ceil_char_boundary(at + 1);
    let part = |at: usize| text.floor_char_boundary(at).max(after(from.max(start)));
    let (quarter, half) = (part(start + (most - start) / 4), part(start + (most - start) / 2));
    // What it is, how far from the best place, and where.
    let mut best: Option<(Border, usize, usize)> = None;
    let better =
        |found: (Border, usize, usize), best: Option<_>| Some(best.map_or(found, |best| found.min(best)));
    if end - start <= WINDOW && ruler.size(start..end) <= 2 * ruler.limit {
        let middle = start + (end - start) / 2;
        borders(text, start..end, quarter..most, kind, |at, border| {
            if border <= Border::Sentence && ruler.fits(at..end) {
                best = better((border, at.abs_diff(middle), at), best);
            }
        });
    }
    if best.is_none() {
        borders(text, start..end, quarter..most, kind, |at, border| {
            if at >= half || border < Border::Sentence {
                best = better((border, most - at, at), best);
            }
        });
    }
    let cut = best.map_or_else(|| within_word(text, start, half..most), |(_, _, at)| at);
    // A part of a word can have more tokens than the word.
    if ruler.fits(start..cut) { cut } else { most }
}

/// Where to cut a table rather than at the end of the range: before the row that this is in, if that fits into a chunk.
fn between_rows(ruler: &Ruler<'_>, range: Range<usize>, end: usize) -> usize {
    let text = ruler.text;
    let Some(row) = text[range.clone()].rfind('\n').map(|at| range.start + at + 1) else { return range.end };
    let seen = text.floor_char_boundary((row + MAX_CHUNK_BYTES + 1).min(end));
    let rest = &text[row..seen];
    let row_end = rest.find('\n').map_or(seen, |at| row + at);
    let first = row + rest.len() - rest.trim_start().len();
    let is_whole = text[first.min(range.end)..range.end].trim().is_empty();
    if is_whole || !ruler.fits(first..row_end) { range.end } else { first }
}

/// The furthest place up to which a range fits, after one character at least.
pub(super) fn reach(ruler: &Ruler<'_>, range: Range<usize>) -> usize {
    let text = ruler.text;
    let after = |at: usize| text.ceil_char_boundary(at + 1);
    // It fits up to `fits` (one character is three tokens at most) and not up to `too_far`.
    let mut fits = after(range.start);
    let mut too_far = range.end.min(text.ceil_char_boundary(range.start + MAX_CHUNK_BYTES + 1));
    while after(fits) < too_far {
        let middle = text.floor_char_boundary(fits + (too_far - fits) / 2).max(after(fits));
        if ruler.fits(range.start..middle) {
            fits = middle;
        } else {
            too_far = middle;
        }
    }
    fits
}

/// Where to cut a range without blanks: at its last border of words, else of what one sees as characters, else at its
/// end. What comes before it, from `from` on, decides which letters of a row of flags make one.
fn within_word(text: &str, from: usize, range: Range<usize>) -> usize {
    let seen = &text[from..text.ceil_char_boundary((range.end + 1).min(text.len()))];
    let inside = |at: &usize| (range.start + 1..=range.end).contains(at);
    let word = seen.split_word_bound_indices().map(|(at, _)| from + at).rfind(inside);
    let border = word.or_else(|| seen.grapheme_indices(true).map(|(at, _)| from + at).rfind(inside));
    border.unwrap_or(range.end)
}
