//! Cutting a document's text into chunks whose size is exact in the embedding model's own tokens.
//!
//! The text is tokenized once, a piece at a time ([`WordPiece::index`](crate::tokens::WordPiece::index)); all sizes
//! after that are sums. Its structure comes first: Markdown blocks, or paragraphs of plain text, are packed into chunks
//! until the next one does not fit. Only a block that is too big for a chunk of its own is cut: before titles and other
//! lines, those indented less first, else between sentences, else at commas and the like, words, characters. If two
//! chunks can take what is left of it, they get about half each.
//!
//! - A heading begins a new chunk when the current one is at least half full, or when its section would not fit into
//!   the current chunk as a whole and that one is more than a line or two (an eighth of the target). Smaller sections
//!   share a chunk.
//! - Headings go with what follows them, and so does a line that ends with a colon; unless they have more than half of a
//!   chunk, or code or a table that fits into a chunk would have to be cut for it.
//! - Code blocks and tables at the top level of a document are cut only if they do not fit into a chunk.
//! - A chunk is not filled up with blocks if one in its second half is indented less than the next: code ends between
//!   functions rather than in one.
//! - If the last chunk of a section or of the text is smaller than a quarter of the limit, and the one before was filled
//!   with whole blocks, it gets some of these, where that makes the two more even.
//! - A chunk carries the path of headings in force where it begins, or, if that is front matter, after that. Headings
//!   count at the top level of a document only: one inside a quote, a list or a code fence structures that, not the
//!   document.
//!
//! - A chunk that begins in a table, below its header row, carries that ([`Chunk::table_header`]). A row is cut only if it does
//!   not fit into a chunk.
//!
//! Source code ([`Format::Code`]) is cut between items, with the comments and annotations before them, as many as fit; an item that
//! does not, between those in it, else between statements. Its headings are the items it is in.
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
//! let embedded = embedded_text(Some("handbook.md"), &chunks[0].headings, None, body, &settings);
//! assert!(embedded.starts_with("handbook.md > Guide\n\n# Guide\n\nRagflare answers"));
//! # Ok(())
//! # }
//! ```

mod border;
mod code;
mod outline;
mod overlap;
mod pack;
mod prefix;
mod split;
mod stream;
mod table;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::settings::within;
use crate::tokens::wordpiece::{MAX_TOKENS, SPECIALS};

pub use code::Language;
pub use prefix::embedded_text;
pub use stream::ChunkStream;
pub use table::shown_text;

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
    /// Source code.
    Code(Language),
}

/// The sizes of chunks, in `WordPiece` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChunkSettings {
    /// How full a chunk is made, 32 to 510. A hard limit for its body, overlap included.
    pub target: usize,
    /// The same for source code: a function or more.
    pub code_target: usize,
    /// How much of the chunk before is repeated at most, 0 to half of `target`. A chunk that begins with a heading
    /// repeats nothing.
    pub overlap: usize,
    /// Room for title and headings before the body when it is embedded, 0 to 256. 0 embeds the body alone.
    pub prefix: usize,
}

impl Default for ChunkSettings {
    fn default() -> Self {
        Self { target: 160, code_target: 416, overlap: 0, prefix: 64 }
    }
}

impl ChunkSettings {
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) naming the field, the value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        within("chunk.target", self.target, 32..=MAX_TOKENS - SPECIALS)?;
        within("chunk.code_target", self.code_target, 32..=MAX_TOKENS - SPECIALS)?;
        within("chunk.overlap", self.overlap, 0..=self.max_tokens() / 2)?;
        within("chunk.prefix", self.prefix, 0..=MAX_TOKENS / 2)
    }

    /// What holds for texts of a format: for source code, [`code_target`](Self::code_target) is the target, and `overlap` at
    /// most half of that.
    pub fn of(&self, format: Format) -> Self {
        let Format::Code(_) = format else { return *self };
        let of_code = Self { target: self.code_target, ..*self };
        Self { overlap: self.overlap.min(of_code.max_tokens() / 2), ..of_code }
    }

    /// The most tokens a chunk's body can have, but in source code: `target`, or what `prefix` and the model's special tokens leave of
    /// the model's window, if that is less.
    pub fn max_tokens(&self) -> usize {
        self.target.min((MAX_TOKENS - SPECIALS).saturating_sub(self.prefix))
    }
}

/// Where other headings than a chunk's own begin to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, Vec<String>)", into = "(usize, Vec<String>)")]
pub struct Section {
    /// A byte, counted from the chunk's first.
    pub at: usize,
    /// The headings there, outermost first.
    pub headings: Vec<String>,
}

impl From<(usize, Vec<String>)> for Section {
    fn from((at, headings): (usize, Vec<String>)) -> Self {
        Self { at, headings }
    }
}

impl From<Section> for (usize, Vec<String>) {
    fn from(section: Section) -> Self {
        (section.at, section.headings)
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
    /// The headings its first non-blank byte is under, outermost first; a heading it begins with is the last. If it
    /// begins with front matter, the first non-blank byte after that counts.
    /// In source code, the items it begins in, outermost first, written shortly (`impl Parser`, `fn next`); one that it begins
    /// with is the last.
    pub headings: Vec<String>,
    /// What begins in it further down: headings, or items of code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    /// If it begins in a table, below its header row: that row and the line below it, as `| a | b |` and `|---|---|`, 96 tokens
    /// at most in the row. Wider ones lose the ends of their cells, then their last columns. [`shown_text`] puts it before the
    /// chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_header: Option<String>,
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

    /// Begins to cut a text that is read a piece at a time, or in several invocations.
    pub fn stream(&self, format: Format) -> ChunkStream {
        ChunkStream::new(self.settings, format)
    }

    /// The chunks of a text, which begins with no byte order mark. A blank one has none.
    ///
    /// Works through the text in pieces of 128 KiB, so that it needs some 20 MiB at most besides the text and the
    /// result, however long the text and whatever is in it; 3 MiB if that is ordinary Markdown.
    pub fn chunks(&self, text: &str, format: Format) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut stream = self.stream(format);
        loop {
            let Range { start, end } = stream.wants();
            let end = text.floor_char_boundary(end);
            let last = end == text.len();
            stream.feed(&text[start..end], last, |chunk| chunks.push(chunk));
            if last {
                return chunks;
            }
        }
    }
}
