//! PDF: what each page says, as Markdown, in the order it is read in. Headings are told by the size of their letters, tables by
//! their lines and columns.

mod bounded;
mod render;

use crate::{Converted, Limits, Refusal, markdown};
use bounded::Bounded;
use pdfboss_core::source::block_on;
use pdfboss_core::{Document, Immediate};
use pdfboss_output::{
    FontCache, LayoutOptions, ReadingOrder, Ruling, TextSpan, document_layout_opts, retain_rulings_on_page,
    retain_spans_on_page, structure_for,
};
use pdfboss_text::extract_spans_and_rulings_reporting_cached_with as spans_of;
use std::borrow::Cow;

/// Pages that a file may have.
const MOST_PAGES: usize = 5000;
/// Pieces of text that are laid out together: with all of a long file's, memory would be spent on them.
const BATCH: usize = 10_000;
/// Pages that are laid out together: headers that repeat are told by what their neighbours have.
const BATCH_PAGES: usize = 64;
/// What all pages together may unfold to, as a multiple of what one may: this bounds time, not memory.
const PAGES_UNFOLD: u64 = 16;

/// The name under which a file says how it is encrypted.
const ENCRYPT: &[u8] = b"/Encrypt";

/// A page's pieces of text and lines, and the order they are in.
type Laid = (Vec<TextSpan>, Vec<Ruling>, ReadingOrder);

pub(crate) fn convert(bytes: Cow<'_, [u8]>, limits: &Limits) -> Result<Converted, Refusal> {
    bounded::checked(&bytes, limits)?;
    let copy = memchr::memmem::find(&bytes, ENCRYPT).map(|_| bytes.to_vec());
    let document = match Document::load(bytes.into_owned()) {
        Err(pdfboss_core::Error::Encrypted) => return unlocked(copy.unwrap_or_default(), limits),
        Err(error) => return Err(Refusal::broken("PDF", error)),
        Ok(document) => document,
    };
    match read(&document, limits) {
        // What says where its objects stand may be all that is damaged.
        Err(refusal @ Refusal::Broken { .. }) => {
            let bytes = document.bytes().to_vec();
            drop(document);
            unindexed(bytes, limits).map_err(|_| refusal)
        }
        result => result,
    }
}

/// A file whose index is not believed: its objects are looked for.
fn unindexed(mut bytes: Vec<u8>, limits: &Limits) -> Result<Converted, Refusal> {
    for name in [&b"startxref"[..], b"trailer"] {
        let places: Vec<usize> = memchr::memmem::find_iter(&bytes, name).collect();
        for at in places {
            bytes[at..at + name.len()].fill(b'x');
        }
    }
    bounded::checked(&bytes, limits)?;
    let document = Document::load(bytes).map_err(|error| Refusal::broken("PDF", error))?;
    read(&document, limits)
}

/// A file that needs a password, read as if it needed none: some have only their attachments encrypted.
///
/// # Errors
/// [`Refusal::Encrypted`] when that yields no text.
fn unlocked(mut bytes: Vec<u8>, limits: &Limits) -> Result<Converted, Refusal> {
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, ENCRYPT).collect();
    for at in places {
        bytes[at + 1..at + ENCRYPT.len()].copy_from_slice(b"Ignored");
    }
    bounded::checked(&bytes, limits)?;
    let document = Document::load(bytes).map_err(|_| Refusal::Encrypted)?;
    read(&document, limits).map_err(|_| Refusal::Encrypted)
}

fn read(document: &Document, limits: &Limits) -> Result<Converted, Refusal> {
    let seed = document.seed();
    let fresh = || Document::from_seed(seed.clone());
    bounded::objects(&fresh(), limits)?;
    let count = document.page_count();
    if count > MOST_PAGES {
        return Err(Refusal::TooLarge { what: "pages", allowed: MOST_PAGES as u64 });
    }
    let mut reader =
        Reader { limits, writer: render::Writer::default(), left: limits.unpacked * PAGES_UNFOLD };
    let mut next = 0;
    while next < count {
        // What a document has read it keeps: another one for each batch.
        next = reader.batch(&fresh(), next..count)?;
    }
    let (text, places) = reader.writer.finish();
    if text.trim().is_empty() {
        return Err(match count {
            0 => Refusal::broken("PDF", "it has no page"),
            _ => Refusal::NoText(
                "the pages are pictures or empty: there is no text in them, and nothing here reads pictures"
                    .into(),
            ),
        });
    }
    let title =
        document.metadata().title.map(|title| markdown::line(&title)).filter(|title| !title.is_empty());
    Ok(Converted { text, title, places, ..Converted::default() })
}

struct Reader<'a> {
    limits: &'a Limits,
    writer: render::Writer,
    /// Bytes that the pages to come may unfold to.
    left: u64,
}

impl Reader<'_> {
    /// Reads pages until there is enough to lay out; returns the number of the next one.
    fn batch(&mut self, document: &Document, pages: std::ops::Range<usize>) -> Result<usize, Refusal> {
        let fonts = FontCache::default();
        let layers = document.oc_state();
        let structure = structure_for(document, ReadingOrder::StructureTree);
        let first = pages.start;
        let mut laid: Vec<Laid> = Vec::new();
        let mut pieces = 0;
        for number in pages {
            // A page that can't be read takes no other with it.
            let Ok(page) = document.page(number) else {
                laid.push((Vec::new(), Vec::new(), ReadingOrder::Content));
                continue;
            };
            let allowed = (self.limits.unpacked / 2).min(self.left);
            let source = Bounded::new(document, allowed);
            let spans = spans_of(
                Immediate(&source),
                &page,
                &fonts,
                layers.as_ref(),
                structure.as_ref(),
                ReadingOrder::StructureTree,
            );
            let (mut spans, mut rulings, report) = block_on(spans).unwrap_or_default();
            if source.exceeded() {
                // Without the pages that are too large it would look whole.
                let page = self.limits.unpacked / 2;
                let (what, allowed) = if allowed == page {
                    ("unpacked bytes on a page", page)
                } else {
                    ("unpacked bytes", self.limits.unpacked * PAGES_UNFOLD)
                };
                return Err(Refusal::TooLarge { what, allowed });
            }
            self.left -= allowed - source.left();
            // What lies beside the page is not shown, unless there is nothing else.
            let mut shown = spans.clone();
            retain_spans_on_page(&mut shown, &page);
            if !shown.is_empty() {
                spans = shown;
            }
            retain_rulings_on_page(&mut rulings, &page);
            pieces += spans.len() + rulings.len() / 4;
            laid.push((spans, rulings, report.order));
            if pieces >= BATCH || laid.len() >= BATCH_PAGES {
                break;
            }
        }
        for (at, layout) in document_layout_opts(&laid, &LayoutOptions::default()).iter().enumerate() {
            self.writer.page(u32::try_from(first + at + 1).unwrap_or(u32::MAX), layout);
        }
        if self.writer.len() > self.limits.text {
            return Err(Refusal::TooLarge { what: "bytes of text", allowed: self.limits.text as u64 });
        }
        Ok(first + laid.len())
    }
}
