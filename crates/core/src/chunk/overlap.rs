//! Repeating the end of one chunk at the beginning of the next.

use std::ops::Range;

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
    let start = border(ruler.text, earliest..chunk.start);
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
fn border(text: &str, range: Range<usize>) -> usize {
    let mut before = text[..range.start].chars().next_back();
    let mut ends_sentence = false;
    let mut word = None;
    for (offset, c) in text[range.clone()].char_indices() {
        match before {
            Some('\n' | '。' | '！' | '？') => ends_sentence = true,
            Some('.' | '!' | '?') if c.is_whitespace() => ends_sentence = true,
            Some(before) if !before.is_whitespace() => ends_sentence = false,
            _ => {}
        }
        if !c.is_whitespace() {
            if ends_sentence {
                return range.start + offset;
            }
            if before.is_none_or(char::is_whitespace) {
                word = word.or(Some(range.start + offset));
            }
        }
        before = Some(c);
    }
    word.unwrap_or(range.start)
}
