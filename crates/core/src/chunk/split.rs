//! Cutting what structure alone does not: a block that is too big for a chunk.

use std::borrow::Cow;
use std::ops::Range;

use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use crate::chunk::MAX_CHUNK_BYTES;
use crate::chunk::outline::{Block, Kind, Outline};
use crate::chunk::pack::Ruler;
use crate::tokens::WordPiece;

/// How much text-splitter gets to see at a time: for each chunk it looks through all the rest, so its time grows with
/// the square of what it is given.
const WINDOW: usize = 2 * MAX_CHUNK_BYTES;

/// Cuts `block`, with the headings before it from `from` on in its first piece, into ranges that join up. Of a block that
/// goes on, they leave out the end, so that the cuts are where they would be if all of it were seen.
pub(super) fn block(
    ruler: &Ruler<'_>,
    outline: &Outline<'_>,
    from: usize,
    block: &Block,
) -> Vec<Range<usize>> {
    let mut starts = Vec::new();
    let mut at = block.start;
    let all = |at| if block.goes_on { block.end - at <= WINDOW } else { at == block.end };
    while !all(at) {
        let end = window_end(ruler.text, at, block.end);
        let found = starts.len();
        let lead = (at == block.start).then_some(from);
        starts.extend(splits(ruler, outline.view(at..end), at..end, block.kind, lead));
        at = if end < block.end && starts.len() > found + 1 {
            // The last piece was cut by the window: it is made anew with what follows.
            starts.pop().unwrap_or(end)
        } else {
            end
        };
    }
    let end = if at > block.start { at } else { block.end };
    match starts.first_mut() {
        Some(first) => *first = from,
        None => starts.push(from),
    }
    let ends = starts[1..].iter().copied().chain([end]);
    starts.iter().zip(ends).map(|(&start, end)| start..end).collect()
}

/// The end of a window at `start`: the last line end, else the last blank, in its second half, else anywhere.
fn window_end(text: &str, start: usize, end: usize) -> usize {
    if end - start <= WINDOW {
        return end;
    }
    let half = text.floor_char_boundary(start + WINDOW / 2);
    let end = text.floor_char_boundary(start + WINDOW);
    let tail = &text[half..end];
    let border = tail.rfind('\n').or_else(|| tail.rfind(char::is_whitespace));
    border.map_or(end, |border| text.ceil_char_boundary(half + border + 1))
}

/// Where text-splitter's chunks of a window begin, of which the parser saw `view`.
fn splits(
    ruler: &Ruler<'_>,
    view: &str,
    window: Range<usize>,
    kind: Kind,
    lead: Option<usize>,
) -> Vec<usize> {
    let seen: Cow<'_, str> = match kind {
        // Hard-wrapped lines are no units of a paragraph, sentences are. Blanks of one byte keep the offsets.
        Kind::Paragraph | Kind::Heading => view.replace(['\n', '\r'], " ").into(),
        Kind::Markup | Kind::Lines => view.into(),
    };
    let sizer = Sizer { ruler: *ruler, base: seen.as_ptr().addr(), window: window.clone(), lead };
    let config = ChunkConfig::new(ruler.limit).with_sizer(sizer);
    let start_of = |(offset, _)| window.start + offset;
    match kind {
        Kind::Markup => MarkdownSplitter::new(config).chunk_indices(&seen).map(start_of).collect(),
        Kind::Paragraph | Kind::Heading | Kind::Lines => {
            TextSplitter::new(config).chunk_indices(&seen).map(start_of).collect()
        }
    }
}

/// Sizes for text-splitter from the one count of the text: the slices it asks about are parts of the window it was
/// given, so their addresses tell where they are.
struct Sizer<'a> {
    ruler: Ruler<'a>,
    /// The address of the window, as text-splitter sees it.
    base: usize,
    /// Where the window is in the text.
    window: Range<usize>,
    /// Where the headings begin that come before the window's first chunk and count as a part of it.
    lead: Option<usize>,
}

impl ChunkSizer for Sizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        let offset = chunk.as_ptr().addr().wrapping_sub(self.base);
        if offset > self.window.len() || chunk.len() > self.window.len() - offset {
            return WordPiece::count(chunk);
        }
        let start = self.window.start + offset;
        let end = start + chunk.len();
        // A block begins with a non-blank, so nothing that begins before or with it is trimmed.
        let start = self.lead.filter(|_| offset == 0).unwrap_or(start);
        self.ruler.size(start..end)
    }
}

/// Where to cut a range that breaks a limit, so that its first part does not: at the last blank of its second half, or
/// else at the last character possible.
pub(super) fn hard_cut(ruler: &Ruler<'_>, range: &Range<usize>) -> usize {
    let text = ruler.text;
    let after = |at: usize| text.ceil_char_boundary(at + 1);
    // The first part fits up to `fits` (one character is three tokens at most) and not up to `too_far`.
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
    let half = text.ceil_char_boundary(range.start + (fits - range.start) / 2);
    let blank = text[half..fits].rfind(char::is_whitespace);
    blank.map_or(fits, |blank| after(half + blank))
}
