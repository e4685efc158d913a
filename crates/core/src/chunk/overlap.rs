//! Repeating the end of one chunk at the beginning of the next.

use std::ops::Range;

use crate::chunk::border::{Border, MARGIN, borders};
use crate::chunk::outline::Kind;
use crate::chunk::pack::Ruler;
use crate::chunk::{ChunkSettings, MAX_CHUNK_BYTES};

/// Where a chunk begins that repeats up to `settings.overlap` tokens of the one before: at the beginning of a sentence,
/// else of a word.
pub(super) fn start(
    before: &Range<usize>,
    chunk: &Range<usize>,
    ruler: &Ruler<'_>,
    settings: &ChunkSettings,
) -> usize {
    let earliest = earliest(ruler, before, chunk, settings.overlap);
    let start = first_border(ruler.text, earliest..chunk.start);
    // A chunk cut inside a word counts anew with the rest of the word before it.
    let count = |range| ruler.index.count(ruler.text, range);
    let fits =
        count(start..chunk.start) <= settings.overlap && count(start..chunk.end) <= settings.max_tokens();
    if fits { start } else { chunk.start }
}

/// The first place in the chunk before from which there are no more than `overlap` tokens and no more bytes than a chunk
/// can have.
fn earliest(ruler: &Ruler<'_>, before: &Range<usize>, span: &Range<usize>, overlap: usize) -> usize {
    let text = ruler.text;
    let room = MAX_CHUNK_BYTES - span.len();
    let lowest = (before.start + 1).max(span.start.saturating_sub(room));
    let (mut low, mut high) = (text.ceil_char_boundary(lowest).min(span.start), span.start);
    while low < high {
        let middle = text.floor_char_boundary(low + (high - low) / 2);
        if ruler.index.count(text, middle..span.start) <= overlap {
            high = middle;
        } else {
            low = text.ceil_char_boundary(middle + 1);
        }
    }
    high
}

/// Where the first sentence begins in a range, else the first word, else the range.
fn first_border(text: &str, range: Range<usize>) -> usize {
    let seen = text.floor_char_boundary(range.start.saturating_sub(MARGIN))..range.end;
    let (mut sentence, mut word) = (None, None);
    borders(text, seen, range.clone(), Kind::Text, |at, border| {
        let first = if border <= Border::Sentence { &mut sentence } else { &mut word };
        *first = first.or(Some(at)).filter(|&at| at < range.end);
    });
    sentence.or(word).unwrap_or(range.start)
}
