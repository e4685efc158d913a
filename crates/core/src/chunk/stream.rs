//! The chunks of a text that is seen a piece at a time.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chunk::code::{Cutter, LOOKAHEAD};
use crate::chunk::outline::{Cut, Outline, Path};
use crate::chunk::pack::{After, Filling, Packer, Ruler};
use crate::chunk::table::{MAX_HEADER_TOKENS, Tables};
use crate::chunk::{Chunk, ChunkSettings, Format, MAX_CHUNK_BYTES, Section, overlap};
use crate::tokens::WordPiece;
use crate::tokens::wordpiece::{MAX_TOKENS, SPECIALS};

/// How much of a text is looked at anew at a time. The Markdown parser needs up to 150 bytes for one of the text.
const PIECE: usize = 128 * 1024;

/// The most blanks a chunk's first line is indented with.
const MAX_INDENTATION: usize = 64;

/// Finds the chunks of a text that is [fed](Self::feed) to it in pieces, as it [wants](Self::wants) them.
///
/// A piece ends where a top-level block begins that is sure to be one, and the next begins there, with what the chunk
/// being filled already has before it. So the chunks are those of the whole text, except after a single block longer than a
/// piece (128 KiB), link definitions one after another being such a block, too: its rest is read after a line that makes
/// the parser see the rest of such a block, and structure nested in it may be seen otherwise.
///
/// Of source code, a piece ends where some 25 KB behind it are known, and the chunks are always those of the whole text.
///
/// Between two pieces it is small (some KiB) and can be stored: to go on later takes this and the rest of the text.
///
/// ```
/// use ragflare_core::chunk::{ChunkSettings, ChunkStream, Chunker, Format};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "# Guide\n\nRagflare answers questions.\n".repeat(10_000);
/// let chunker = Chunker::new(ChunkSettings::default())?;
/// let mut stream = chunker.stream(Format::Markdown);
/// let mut chunks = Vec::new();
/// loop {
///     let wanted = stream.wants();
///     let last = wanted.end >= text.len();
///     let end = text.floor_char_boundary(wanted.end);
///     stream.feed(&text[wanted.start..end], last, |chunk| chunks.push(chunk));
///     if last {
///         break;
///     }
///     // Here another invocation may go on.
///     let stored = serde_json::to_string(&stream)?;
///     stream = serde_json::from_str(&stored)?;
/// }
/// assert_eq!(chunks, chunker.chunks(&text, Format::Markdown));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChunkStream {
    settings: ChunkSettings,
    format: Format,
    piece: usize,
    /// Where in the text the next piece begins. All offsets below are counted from there.
    base: usize,
    /// Where in the next piece the first block begins that is not packed.
    from: usize,
    /// What makes the parser go on with the block that was cut there.
    lead_in: String,
    filling: Filling,
    path: Path,
    #[serde(default)]
    tables: Tables,
    /// Of source code, instead of what is above but `base` and `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cutter>,
    /// The last chunk, without overlap.
    previous: Option<Range<usize>>,
    ordinal: u32,
}

impl ChunkStream {
    pub(crate) fn new(settings: ChunkSettings, format: Format) -> Self {
        Self {
            settings: settings.of(format),
            format,
            piece: PIECE,
            base: 0,
            from: 0,
            lead_in: String::new(),
            filling: Filling::default(),
            path: Path::default(),
            tables: Tables::default(),
            code: match format {
                Format::Code(language) => Some(Cutter::new(language)),
                Format::Plain | Format::Markdown => None,
            },
            previous: None,
            ordinal: 0,
        }
    }

    /// The part of the text to feed next; it can end some bytes earlier, so as to end with a character, and ends with the
    /// text if that is shorter.
    pub fn wants(&self) -> Range<usize> {
        let ahead = if self.code.is_some() { LOOKAHEAD } else { 0 };
        self.base..self.base + self.from + self.piece + ahead
    }

    /// Reads the part of the text that it [wants](Self::wants) and passes on the chunks that are finished. `last` says
    /// that the text ends with it.
    pub fn feed(&mut self, text: &str, last: bool, mut on_chunk: impl FnMut(Chunk)) {
        let index = WordPiece::index(text);
        let limit = self.settings.max_tokens() - self.settings.overlap;
        let Self { settings, .. } = self;
        let window = MAX_TOKENS - SPECIALS - settings.prefix - settings.overlap;
        let ruler = Ruler { text, index: &index, limit, window };
        if let Some(mut code) = self.code.take() {
            let at = code.cut(&ruler, self.from, last, |cut| {
                let repeats = !cut.is_item;
                on_chunk(self.chunk(cut.span, &ruler, Some((cut.path, cut.sections)), repeats));
            });
            let lead_in = String::new();
            let start = self.go_on(text, Cut { at, lead_in }, Filling::default());
            code.rebase(start);
            self.code = Some(code);
            return;
        }
        let mut outline = Outline::new(self.format, text, self.from, &self.lead_in);
        let mut packer = Packer::new(ruler, std::mem::take(&mut self.filling), self.tables.tokens());
        let cut = if last {
            packer.pack(&outline, outline.blocks.len(), After::Nothing);
            packer.end();
            Cut { at: text.len(), lead_in: String::new() }
        } else {
            let packed = packer.pack(&outline, outline.settled(), After::More);
            if let Some(at) = outline.cut_before(packed)
                && packed > 0
            {
                Cut { at, lead_in: String::new() }
            } else {
                let (blocks, cut) = outline.force_cut();
                packer.pack(&outline, blocks, After::Unknown);
                packer.within().map_or(cut, |end| outline.cut_within(end))
            }
        };
        self.path.extend(&mut outline, cut.at);
        self.tables.extend(&mut outline, cut.at);
        drop(outline);
        let (done, filling) = packer.settle(cut.at);
        for span in done {
            let first = span.end - text[span.clone()].trim_start().len();
            let repeats = !self.path.has_heading_at(first);
            on_chunk(self.chunk(span, &ruler, None, repeats));
        }
        self.go_on(text, cut, filling);
    }

    /// The chunk made of a span, under these symbols or the headings of the path. `repeats` says whether it may begin with the end of
    /// the one before.
    fn chunk(
        &mut self,
        mut span: Range<usize>,
        ruler: &Ruler<'_>,
        symbols: Option<(Vec<String>, Vec<Section>)>,
        repeats: bool,
    ) -> Chunk {
        let text = ruler.text;
        let begun = span.start;
        if self.format != Format::Plain {
            span.start -= self.indentation(text, &span);
        }
        let without_overlap = span.clone();
        if let Some(previous) = &self.previous
            && self.settings.overlap > 0
            && repeats
        {
            span.start = overlap::start(previous, &span, ruler, &self.settings);
        }
        self.previous = Some(without_overlap);
        let tokens = ruler.index.count(text, span.clone());
        let first = span.end - text[span.clone()].trim_start().len();
        let room = (MAX_TOKENS - SPECIALS - self.settings.prefix).saturating_sub(tokens);
        let (headings, sections) = if let Some((headings, mut sections)) = symbols {
            sections.iter_mut().for_each(|section| section.at += begun - span.start);
            (headings, sections)
        } else {
            (self.path.at(text, &span), self.path.sections(&span))
        };
        let chunk = Chunk {
            ordinal: self.ordinal,
            start: self.base + span.start,
            end: self.base + span.end,
            tokens,
            headings,
            sections,
            table_header: self.tables.at(first, room.min(MAX_HEADER_TOKENS)),
        };
        self.ordinal += 1;
        chunk
    }

    /// How many blanks come before a chunk of several lines in its first one, so that its lines are indented alike.
    fn indentation(&self, text: &str, span: &Range<usize>) -> usize {
        let free_from = self.previous.as_ref().map_or(0, |previous| previous.end);
        let before = &text.as_bytes()[free_from..span.start];
        let indentation = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let at_line_start = match before.len() - indentation {
            0 => self.base == 0 && self.previous.is_none(),
            rest => before[rest - 1] == b'\n',
        };
        let restore = at_line_start
            && indentation <= MAX_INDENTATION
            && span.len() + indentation <= MAX_CHUNK_BYTES
            && text[span.clone()].contains('\n');
        if restore { indentation } else { 0 }
    }

    /// Forgets the text but for what the rest needs.
    /// Returns where the next piece begins.
    fn go_on(&mut self, text: &str, cut: Cut, filling: Filling) -> usize {
        let repeated = if self.settings.overlap > 0 { MAX_CHUNK_BYTES } else { 0 };
        let needed = filling.start().unwrap_or(cut.at).min(cut.at);
        let start = text.floor_char_boundary(needed.saturating_sub(repeated + 2 * MAX_INDENTATION));
        self.base += start;
        self.from = cut.at - start;
        self.lead_in = cut.lead_in;
        self.filling = filling;
        self.filling.rebase(start);
        self.path.rebase(start);
        self.tables.rebase(start);
        if let Some(previous) = &mut self.previous {
            *previous = previous.start.saturating_sub(start)..previous.end.saturating_sub(start);
        }
        start
    }
}

#[cfg(test)]
mod tests;
