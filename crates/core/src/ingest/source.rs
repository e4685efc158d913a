//! A document's text, read from its original a window at a time.

use crate::chunk::{Format, Language};
use crate::ports::ObjectStore;
use crate::{Error, Result, Tenant};
use std::ops::Range;

/// How much is read at a time.
const WINDOW: u64 = 1024 * 1024;
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A document's text as it is chunked, shown and pointed into by offsets: UTF-8 without a byte order mark, NULs as
/// spaces (`SQLite`'s text functions stop at a NUL).
#[derive(Debug)]
pub struct Text<'a, O> {
    objects: &'a O,
    tenant: Tenant,
    key: String,
    /// Bytes of the original before the text.
    skipped: u64,
    /// Bytes of the text.
    length: u64,
    /// Where the window begins in the text.
    start: u64,
    window: Vec<u8>,
}

impl<'a, O: ObjectStore> Text<'a, O> {
    /// The text of an original of this size.
    ///
    /// # Errors
    /// [`Error::Document`] `original_missing`; storage errors.
    pub async fn open(objects: &'a O, tenant: &Tenant, key: &str, bytes: u64) -> Result<Self> {
        let window = objects.read(tenant, key, 0..WINDOW.min(bytes)).await?.ok_or_else(missing)?;
        let mut text = Self {
            objects,
            tenant: tenant.clone(),
            key: key.to_owned(),
            skipped: 0,
            length: bytes,
            start: 0,
            window,
        };
        if text.window.starts_with(BOM) {
            text.window.drain(..BOM.len());
            text.skipped = BOM.len() as u64;
            text.length -= text.skipped;
        }
        without_nul(&mut text.window);
        Ok(text)
    }

    /// Bytes of the text.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The text in `range`, which begins at a character and is cut at the text's end; up to three bytes less when a
    /// character lies across its end.
    ///
    /// # Errors
    /// [`Error::Document`] `not_utf8` with the byte of the original, `original_missing`; storage errors.
    pub async fn read(&mut self, range: Range<u64>) -> Result<&str> {
        let end = range.end.min(self.length);
        let start = range.start.min(end);
        if start < self.start || end > self.start + self.window.len() as u64 {
            let until = end.max(start + WINDOW).min(self.length);
            let wanted = start + self.skipped..until + self.skipped;
            self.window = self.objects.read(&self.tenant, &self.key, wanted).await?.ok_or_else(missing)?;
            self.start = start;
            without_nul(&mut self.window);
            if self.start + (self.window.len() as u64) < end {
                return Err(missing());
            }
        }
        let bytes = &self.window[(start - self.start) as usize..(end - self.start) as usize];
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            // A character may lie across the end of what was asked for, but not across the end of the text.
            Err(error) if error.error_len().is_none() && end < self.length => {
                Ok(std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default())
            }
            Err(error) => Err(not_utf8(start + self.skipped + error.valid_up_to() as u64)),
        }
    }
}

fn without_nul(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
}

fn missing() -> Error {
    Error::Document {
        code: "original_missing".into(),
        message: "the stored original is gone; upload it again".into(),
    }
}

fn not_utf8(byte: u64) -> Error {
    Error::Document { code: "not_utf8".into(), message: format!("byte {byte} is not valid UTF-8") }
}

/// The text of an original that is in memory, and its format.
///
/// # Errors
/// [`Error::Document`]: `unsupported_type`, `not_utf8`.
pub fn extract(bytes: Vec<u8>, media_type: &str) -> Result<(String, Format)> {
    let format = readable(media_type)?;
    let mut text =
        String::from_utf8(bytes).map_err(|error| not_utf8(error.utf8_error().valid_up_to() as u64))?;
    if text.starts_with('\u{feff}') {
        text.drain(..BOM.len());
    }
    if text.contains('\0') {
        text = text.replace('\0', " ");
    }
    Ok((text, format))
}

/// # Errors
/// [`Error::Document`] `unsupported_type`.
pub(super) fn readable(media_type: &str) -> Result<Format> {
    format_of(media_type).ok_or_else(|| Error::Document {
        code: "unsupported_type".into(),
        message: format!("`{media_type}` can't be read"),
    })
}

/// How a media type is chunked; `None` when it can't be read.
pub fn format_of(media_type: &str) -> Option<Format> {
    match media_type {
        "text/plain" => Some(Format::Plain),
        "text/markdown" | "text/x-markdown" => Some(Format::Markdown),
        _ => media_type.strip_prefix("text/x-").and_then(Language::from_name).map(Format::Code),
    }
}
