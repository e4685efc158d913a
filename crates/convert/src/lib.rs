//! Files of common formats as text: Markdown where the format has structure, with a map back to its pages.
//!
//! ```
//! use ragflare_convert::{Limits, convert, detect};
//!
//! let bytes = b"name,age\nAda,36\n";
//! let kind = detect("text/csv", "people.csv", bytes)?;
//! let converted = convert(bytes, kind, None, &Limits::default())?;
//! assert_eq!(converted.place(30).and_then(|place| place.row), Some(2));
//! assert_eq!(converted.text, "| name | age |\n| --- | --- |\n| Ada | 36 |\n");
//! # Ok::<(), ragflare_convert::Refusal>(())
//! ```
//!
//! Nothing here does I/O, and nothing trusts its input: what a file may unfold to is bounded by [`Limits`], and a file that
//! can't be read is a [`Refusal`] with a code and a sentence for the person who uploaded it.

// Text is what is made here: a second way of writing it would only be another one.
#![allow(clippy::format_push_string)]

mod chunks;
mod csv;
mod data;
mod feed;
mod html;
mod mail;
mod markdown;
mod notebook;
mod office;
mod package;
mod pdf;
mod sheets;
mod subtitles;
mod text;
mod tree;

pub use ragflare_core::conversion::{GivenChunk, Place};
pub use ragflare_core::kind::Kind;
use ragflare_core::kind::{self, Detected};
pub use text::decode;

use std::borrow::Cow;

/// Bytes that a kind is told by.
const HEAD: usize = 64 * 1024;

/// What a file may unfold to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all of its compressed parts may have unpacked.
    pub unpacked: u64,
    /// Bytes of text.
    pub text: usize,
    /// Elements of XML or HTML, values of JSON, and cells.
    pub nodes: usize,
}

impl Default for Limits {
    /// What a worker of 128 MB can carry.
    fn default() -> Self {
        Self { unpacked: 48 * 1024 * 1024, text: 24 * 1024 * 1024, nodes: 1_000_000 }
    }
}

/// A file's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Markdown, or plain text ([`Kind::is_markdown`]).
    pub text: String,
    /// The title that the file gives itself.
    pub title: Option<String>,
    /// Where pages and rows begin, by `at`. Empty when the format has neither.
    pub places: Vec<Place>,
    /// The chunks, where the uploader cut the text; else empty.
    pub chunks: Vec<GivenChunk>,
}

impl Converted {
    pub(crate) fn text(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// The place that an offset of the text, in bytes, belongs to.
    pub fn place(&self, at: usize) -> Option<Place> {
        ragflare_core::conversion::at(&self.places, at as u64).copied()
    }
}

/// Why a file can't be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody here reads such files.
    #[error("{0} can't be read")]
    Unsupported(String),
    /// It is not what it says it is, or damaged.
    #[error("this is no readable {kind}: {detail}")]
    Broken {
        /// What it was taken for.
        kind: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A password is needed.
    #[error("the file is encrypted; upload it without a password")]
    Encrypted,
    /// It has no text: pictures only, or nothing at all.
    #[error("{0}")]
    NoText(String),
    /// It unfolds to more than is taken.
    #[error("the file unfolds to more than {allowed} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        allowed: u64,
    },
}

impl Refusal {
    /// A stable code, as documents that failed have it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "unsupported_type",
            Self::Broken { .. } => "unreadable",
            Self::Encrypted => "encrypted",
            Self::NoText(_) => "no_text",
            Self::TooLarge { .. } => "too_large_expanded",
        }
    }

    pub(crate) fn broken(kind: &'static str, detail: impl std::fmt::Display) -> Self {
        // A parser's words may repeat the whole of what it could not parse.
        let detail: String = detail.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        Self::Broken { kind, detail }
    }

    pub(crate) fn too_many_nodes(limits: &Limits) -> Self {
        Self::TooLarge { what: "elements", allowed: limits.nodes as u64 }
    }
}

/// What a file is, by the rule of [`ragflare_core::kind`]; of archives, by what is in them.
///
/// # Errors
/// [`Refusal::Unsupported`], [`Refusal::Broken`], [`Refusal::Encrypted`], [`Refusal::NoText`] for an empty file.
pub fn detect(media_type: &str, name: &str, bytes: &[u8]) -> Result<Kind, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::NoText("the file is empty".into()));
    }
    match kind::detect(media_type, name, &bytes[..bytes.len().min(HEAD)]) {
        Detected::Kind(kind) => Ok(kind),
        Detected::Zip => package::kind(bytes),
        Detected::Compound => package::ole_kind(bytes),
        Detected::Unknown if text::is_text(bytes) => {
            let charset = kind::charset(media_type);
            Ok(kind::guessed(decode(bytes, charset.as_deref())?.as_bytes()))
        }
        Detected::Unknown => {
            let essence = kind::essence(media_type);
            let what =
                if essence.is_empty() { "a file of this type".to_owned() } else { format!("`{essence}`") };
            Err(Refusal::Unsupported(what))
        }
        Detected::Unsupported(what) => Err(Refusal::Unsupported(what)),
        Detected::Broken(wanted) => Err(Refusal::broken(wanted, "it does not begin like one")),
    }
}

/// The text of a file. `charset` is what its `Content-Type` says of its encoding. A file that is given away is not copied, which
/// is worth it for large PDFs.
///
/// # Errors
/// [`Refusal`].
pub fn convert<'a>(
    bytes: impl Into<Cow<'a, [u8]>>,
    kind: Kind,
    charset: Option<&str>,
    limits: &Limits,
) -> Result<Converted, Refusal> {
    let bytes = bytes.into();
    let decode = |bytes| text::decode_owned(bytes, charset);
    let converted = match kind {
        Kind::Plain | Kind::Markdown | Kind::Code(_) => Converted::text(decode(bytes)?),
        Kind::Html => html::convert(&decode(bytes)?, limits),
        Kind::Csv => csv::convert(&decode(bytes)?, limits)?,
        Kind::Json => data::json(&decode(bytes)?, limits)?,
        Kind::Chunks => chunks::convert(&decode(bytes)?, limits)?,
        Kind::JsonLines => data::lines(&decode(bytes)?, limits)?,
        Kind::Xml => feed::convert(&decode(bytes)?, limits)?,
        Kind::Notebook => notebook::convert(&decode(bytes)?, limits)?,
        Kind::Subtitles => subtitles::convert(&decode(bytes)?),
        Kind::Mail => mail::eml(&bytes, limits)?,
        Kind::OutlookMail => mail::msg(&bytes, limits)?,
        Kind::Docx => office::docx::convert(&bytes, limits)?,
        Kind::Pptx => office::pptx::convert(&bytes, limits)?,
        Kind::Sheets => sheets::convert(&bytes, limits)?,
        Kind::Epub => office::epub::convert(&bytes, limits)?,
        Kind::Pdf => pdf::convert(bytes, limits)?,
        // Models read these, where the operator has them do so.
        Kind::Image(_) => return Err(Refusal::Unsupported("an image".into())),
        Kind::Audio(_) => return Err(Refusal::Unsupported("a recording".into())),
    };
    if converted.text.len() > limits.text {
        return Err(Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 });
    }
    // Where a picture stands is no text.
    if converted.text.replace(markdown::PICTURE, "").trim().is_empty() {
        return Err(Refusal::NoText("the file has no text".into()));
    }
    Ok(converted)
}
