//! PDF: the text of each page, in reading order as far as it can be told.

use crate::{Converted, Limits, Refusal, markdown};
use pdf_oxide::PdfDocument;

/// Pages that a file may have.
const MOST_PAGES: usize = 5000;

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let broken = |error: pdf_oxide::Error| match error.to_string() {
        words if words.to_ascii_lowercase().contains("password") || words.contains("ncrypt") => Refusal::Encrypted,
        words => Refusal::broken("PDF", words),
    };
    let document = PdfDocument::from_bytes(bytes.to_vec()).map_err(broken)?;
    let count = document.page_count().map_err(broken)?;
    if count > MOST_PAGES {
        return Err(Refusal::TooLarge { what: "pages", allowed: MOST_PAGES as u64 });
    }
    let mut out = String::new();
    let mut pages = Vec::with_capacity(count);
    let mut failed = None;
    for page in 0..count {
        pages.push(out.len());
        match document.extract_text(page) {
            Ok(text) => {
                out.push_str(&markdown::tidy(&text));
                out.push('\n');
            }
            // A page that can't be read takes no other with it.
            Err(error) => failed = failed.or(Some(error)),
        }
        if out.len() > limits.text {
            return Err(Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 });
        }
    }
    if out.trim().is_empty() {
        return Err(match failed {
            Some(error) => broken(error),
            None => Refusal::NoText("the pages are pictures: there is no text in them, and nothing here reads pictures".into()),
        });
    }
    Ok(Converted { pages, ..Converted::text(out) })
}
