//! Repeating the end of one chunk at the beginning of the next.

use std::ops::Range;

use crate::chunk::outline::Outline;
use crate::chunk::{ChunkSettings, MAX_CHUNK_BYTES, Ruler};

/// Moves the beginnings of chunks back by up to `settings.overlap` tokens, to the beginning of a sentence, else of a word.
pub(super) fn extend(
    spans: &mut [Range<usize>],
    ruler: &Ruler<'_>,
    settings: &ChunkSettings,
    outline: &Outline<'_>,
) {
    // From the back, so that the chunk before is still where it was.
    for position in (1..spans.len()).rev() {
        let (before, span) = (spans[position - 1].clone(), spans[position].clone());
        let first = span.end - ruler.text[span.clone()].trim_start().len();
        if outline.has_heading_at(first) {
            continue;
        }
        let earliest = earliest(ruler, &before, &span, settings.overlap);
        let start = border(ruler.text, earliest..span.start);
        // A chunk cut inside a word counts anew with the rest of the word before it.
        let count = |range| ruler.index.count(ruler.text, range);
        if count(start..span.start) <= settings.overlap && count(start..span.end) <= settings.max_tokens() {
            spans[position].start = start;
        }
    }
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
