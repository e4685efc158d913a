//! Cutting a document's text into chunks whose size is exact in the embedding model's own tokens.
//!
//! The text is tokenized once ([`WordPiece::index`]); all sizes after that are sums. Its structure comes first: Markdown
//! blocks, or paragraphs of plain text, are packed into chunks until the next one does not fit. Only a block that is
//! too big for a chunk of its own is cut, by [`text_splitter`] at rows, items, lines, sentences, words.
//!
//! - A heading begins a new chunk when the current one is at least half full, or when its section would not fit into
//!   the current chunk as a whole and that one is more than a line or two (an eighth of the target). Smaller sections
//!   share a chunk. A heading is never the end of a chunk whose next one begins with its text.
//! - A chunk carries the path of headings in force where it begins. Headings count at the top level of a document
//!   only: one inside a quote, a list or a code fence structures that, not the document.
//!
//! What holds for every text and every valid [`ChunkSettings`]: chunks are in order, lie on character boundaries and
//! together cover everything but blanks; without [`overlap`](ChunkSettings::overlap) they do not overlap; none has more
//! than [`ChunkSettings::max_tokens`] tokens or [`MAX_CHUNK_BYTES`] bytes; the same text gives the same chunks.
//!
//! ```
//! use ragflare_core::chunk::{Chunker, ChunkSettings, Format, embedded_text};
//!
//! # fn main() -> ragflare_core::Result<()> {
//! let text = "# Guide\n\nRagflare answers questions.\n\n## Install\n\nRun `cargo xtask up`.\n";
//! let settings = ChunkSettings { target: 32, ..ChunkSettings::default() };
//! let chunks = Chunker::new(settings)?.chunks(text, Format::Markdown);
//!
//! // Both sections together have 20 tokens.
//! assert_eq!(chunks.len(), 1);
//! assert_eq!(chunks[0].tokens, 20);
//! assert_eq!(chunks[0].headings, ["Guide"]);
//!
//! // What is embedded: the title and the headings, then the chunk as it stands in the text.
//! let body = &text[chunks[0].start..chunks[0].end];
//! let embedded = embedded_text(Some("handbook.md"), &chunks[0].headings, body, &settings);
//! assert!(embedded.starts_with("handbook.md > Guide\n\n# Guide\n\nRagflare answers"));
//! # Ok(())
//! # }
//! ```

mod outline;
mod overlap;
mod prefix;
mod split;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::settings::within;
use crate::tokens::wordpiece::{MAX_TOKENS, SPECIALS};
use crate::tokens::{TokenIndex, WordPiece};

use outline::{Block, Kind, Outline};
pub use prefix::embedded_text;

/// The most bytes a chunk can have, however few its tokens: a megabyte of one word is a single `[UNK]`, and a megabyte of
/// blanks between two words is no token at all.
pub const MAX_CHUNK_BYTES: usize = 8 * 1024;

/// How the structure of a text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Paragraphs between blank lines.
    #[default]
    Plain,
    /// `CommonMark` with tables, footnotes and YAML front matter.
    Markdown,
}

/// The sizes of chunks, in `WordPiece` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChunkSettings {
    /// How full a chunk is made, 32 to 510. A hard limit for its body, overlap included.
    pub target: usize,
    /// How much of the chunk before is repeated at most, 0 to half of `target`. A chunk that begins with a heading
    /// repeats nothing.
    pub overlap: usize,
    /// Room for title and headings before the body when it is embedded, 0 to 256. 0 embeds the body alone.
    pub prefix: usize,
}

impl Default for ChunkSettings {
    fn default() -> Self {
        Self { target: 256, overlap: 0, prefix: 64 }
    }
}

impl ChunkSettings {
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming the field, the value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        within("chunk.target", self.target, 32..=MAX_TOKENS - SPECIALS)?;
        within("chunk.overlap", self.overlap, 0..=self.target / 2)?;
        within("chunk.prefix", self.prefix, 0..=MAX_TOKENS / 2)
    }

    /// The most tokens a chunk's body can have: `target`, or what `prefix` and the model's special tokens leave of
    /// the model's window, if that is less.
    pub fn max_tokens(&self) -> usize {
        self.target.min((MAX_TOKENS - SPECIALS).saturating_sub(self.prefix))
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its place among the text's chunks, from 0.
    pub ordinal: u32,
    /// First byte in the text.
    pub start: usize,
    /// One past the last byte in the text.
    pub end: usize,
    /// `WordPiece` tokens of `text[start..end]`, special tokens not included.
    pub tokens: usize,
    /// The headings its first non-blank byte is under, outermost first; a heading it begins with is the last.
    pub headings: Vec<String>,
}

/// Cuts texts into chunks. The [module](self) says how and what it guarantees.
#[derive(Clone, Debug)]
pub struct Chunker {
    settings: ChunkSettings,
}

impl Chunker {
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the settings are not [valid](ChunkSettings::validate).
    pub fn new(settings: ChunkSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings })
    }

    /// The chunks of a text. A blank one has none.
    ///
    /// # Panics
    /// If `text` is 4 GiB or longer.
    pub fn chunks(&self, text: &str, format: Format) -> Vec<Chunk> {
        let index = WordPiece::index(text);
        let outline = match format {
            Format::Plain => Outline::plain(text),
            Format::Markdown => Outline::markdown(text),
        };
        let settings = &self.settings;
        let ruler = Ruler { text, index: &index, limit: settings.max_tokens() - settings.overlap };
        let mut spans = Packer { ruler, outline: &outline, done: Vec::new() }.pack();
        if format == Format::Markdown {
            restore_indentation(text, &mut spans);
        }
        if settings.overlap > 0 {
            overlap::extend(&mut spans, &ruler, settings, &outline);
        }
        let mut path = outline.path();
        (0..)
            .zip(spans)
            .map(|(ordinal, Range { start, end })| {
                let first = end - text[start..end].trim_start().len();
                let headings = path.at(first);
                Chunk { ordinal, start, end, tokens: index.count(text, start..end), headings }
            })
            .collect()
    }
}

/// Measures ranges of one text.
#[derive(Clone, Copy, Debug)]
struct Ruler<'a> {
    text: &'a str,
    index: &'a TokenIndex,
    limit: usize,
}

impl Ruler<'_> {
    /// Tokens, or, where these are few, bytes on a scale on which [`MAX_CHUNK_BYTES`] is the limit.
    fn size(&self, range: Range<usize>) -> usize {
        let by_bytes = range.len().saturating_mul(self.limit).div_ceil(MAX_CHUNK_BYTES);
        if by_bytes > self.limit {
            // Too big in any case: not worth counting.
            return by_bytes;
        }
        by_bytes.max(self.index.count(self.text, range))
    }

    fn fits(&self, range: Range<usize>) -> bool {
        self.size(range) <= self.limit
    }

    fn trim(&self, range: Range<usize>) -> Range<usize> {
        let part = &self.text[range.clone()];
        let start = range.end - part.trim_start().len();
        start..(range.start + part.trim_end().len()).max(start)
    }
}

/// Fills chunks with blocks.
struct Packer<'a> {
    ruler: Ruler<'a>,
    outline: &'a Outline<'a>,
    done: Vec<Range<usize>>,
}

impl Packer<'_> {
    fn pack(mut self) -> Vec<Range<usize>> {
        let blocks = &self.outline.blocks;
        // The chunk being filled, and where the headings at its end begin, if it ends with any: they go with what follows.
        let mut current = 0..0;
        let mut lead = None;
        for (position, block) in blocks.iter().enumerate() {
            let is_heading = block.kind == Kind::Heading;
            if is_heading && lead.is_none() && self.begins_chunk(&current, &blocks[position..]) {
                self.finish(std::mem::take(&mut current));
            }
            if current.is_empty() {
                current = block.start..block.start;
            }
            if self.ruler.fits(current.start..block.end) {
                current.end = block.end;
                lead = is_heading.then(|| lead.unwrap_or(block.start));
                continue;
            }
            // Headings that fill half a chunk by themselves stay behind.
            let from = lead
                .filter(|&lead| self.ruler.size(lead..block.start) <= self.ruler.limit / 2)
                .unwrap_or(block.start);
            self.finish(current.start..from);
            current = from..block.end;
            lead = is_heading.then_some(from);
            if !self.ruler.fits(current.clone()) {
                let mut pieces = split::block(&self.ruler, self.outline, from, block);
                // The last piece has room for what follows.
                current = pieces.pop().unwrap_or(current);
                lead = None;
                for piece in pieces {
                    self.finish(piece);
                }
            }
        }
        self.finish(current);
        self.done
    }

    /// Whether the heading that `blocks` begin with begins a new chunk.
    fn begins_chunk(&self, current: &Range<usize>, blocks: &[Block]) -> bool {
        let size = self.ruler.size(current.clone());
        if current.is_empty() || size >= self.ruler.limit / 2 {
            return true;
        }
        let section = blocks[1..].iter().take_while(|block| block.kind != Kind::Heading);
        let end = section.last().unwrap_or(&blocks[0]).end;
        size >= self.ruler.limit / 8 && !self.ruler.fits(current.start..end)
    }

    /// Takes a range as a chunk, or as several if it breaks a limit: structure and text-splitter have done what they
    /// could, this makes it certain.
    fn finish(&mut self, range: Range<usize>) {
        let mut rest = self.ruler.trim(range);
        while !self.ruler.fits(rest.clone()) {
            let cut = split::hard_cut(&self.ruler, &rest);
            self.done.push(self.ruler.trim(rest.start..cut));
            rest = self.ruler.trim(cut..rest.end);
        }
        if !rest.is_empty() {
            self.done.push(rest);
        }
    }
}

/// Lets a chunk of several lines begin where its first line begins, so that its lines are indented alike.
fn restore_indentation(text: &str, spans: &mut [Range<usize>]) {
    const MAX_INDENTATION: usize = 64;
    let mut free_from = 0;
    for span in spans {
        let before = &text.as_bytes()[free_from..span.start];
        let indentation = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let at_line_start = before.len() > indentation && before[before.len() - indentation - 1] == b'\n'
            || before.len() == indentation && free_from == 0;
        if at_line_start
            && indentation <= MAX_INDENTATION
            && span.len() + indentation <= MAX_CHUNK_BYTES
            && text[span.clone()].contains('\n')
        {
            span.start -= indentation;
        }
        free_from = span.end;
    }
}
