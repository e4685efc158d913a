//! A document's text, read a window at a time.

use crate::chunk::Format;
use crate::conversion::{Conversion, conversion_key, text_key};
use crate::document::DocumentId;
use crate::kind::{self, Detected};
use crate::ports::{ObjectStore, Original};
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
        Ok(Self::over(objects, tenant, &Original { key, bytes, media_type: "", name: "" }, window))
    }

    /// A text that a converter made. A byte order mark at its beginning is a character of it: the map counts it.
    async fn made(objects: &'a O, tenant: &Tenant, key: &str, bytes: u64) -> Result<Self> {
        let window = objects.read(tenant, key, 0..WINDOW.min(bytes)).await?.ok_or_else(missing)?;
        Ok(Self::begun(objects, tenant, key, bytes, window))
    }

    /// An original that is text, of which the first window was read.
    fn over(objects: &'a O, tenant: &Tenant, original: &Original<'_>, window: Vec<u8>) -> Self {
        let mut text = Self::begun(objects, tenant, original.key, original.bytes, window);
        if text.window.starts_with(BOM) {
            text.window.drain(..BOM.len());
            text.skipped = BOM.len() as u64;
            text.length -= text.skipped;
        }
        text
    }

    fn begun(objects: &'a O, tenant: &Tenant, key: &str, bytes: u64, window: Vec<u8>) -> Self {
        let mut text = Self {
            objects,
            tenant: tenant.clone(),
            key: key.to_owned(),
            skipped: 0,
            length: bytes,
            start: 0,
            window,
        };
        without_nul(&mut text.window);
        text
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

pub(super) fn missing() -> Error {
    Error::Document {
        code: "original_missing".into(),
        message: "the stored original is gone; upload it again".into(),
    }
}

/// Code of a text that is not UTF-8 as far as it was read.
pub(super) const NOT_UTF8: &str = "not_utf8";

fn not_utf8(byte: u64) -> Error {
    Error::Document { code: NOT_UTF8.into(), message: format!("byte {byte} is not valid UTF-8") }
}

/// A document's text, and how it is cut.
#[derive(Debug)]
pub struct Readable<'a, O> {
    /// The text.
    pub text: Text<'a, O>,
    /// How it is cut.
    pub format: Format,
    /// What a converter said of it; `None` when it is the original.
    pub conversion: Option<Conversion>,
}

impl<'a, O: ObjectStore> Readable<'a, O> {
    /// What a converter made of an original.
    ///
    /// # Errors
    /// [`Error::Document`] `original_missing`, `conversion_failed`; storage errors.
    pub async fn converted(
        objects: &'a O,
        tenant: &Tenant,
        original: &Original<'_>,
        conversion: Conversion,
    ) -> Result<Self> {
        let text = Text::made(objects, tenant, &text_key(original.key), conversion.bytes).await?;
        Ok(Self { text, format: conversion.format, conversion: Some(conversion) })
    }

    /// A document's text: its original, if that is UTF-8 text, Markdown or code, else what a converter made of it; `None` while
    /// none has.
    ///
    /// # Errors
    /// [`Error::Document`]: `unsupported_type`, `unreadable`, `original_missing`; storage errors.
    pub async fn find(objects: &'a O, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Self>> {
        let window = WINDOW.min(original.bytes);
        let head = objects.read(tenant, original.key, 0..window).await?.ok_or_else(missing)?;
        let kind = match kind::detect(original.media_type, original.name, &head) {
            Detected::Unsupported(what) => {
                let message = format!("{what} can't be read");
                return Err(Error::Document { code: "unsupported_type".into(), message });
            }
            Detected::Broken(what) => {
                let message = format!("this is no readable {what}: it does not begin like one");
                return Err(Error::Document { code: "unreadable".into(), message });
            }
            Detected::Kind(kind) if kind.is_text() && kind::charset(original.media_type).is_none() => {
                Some(kind)
            }
            Detected::Kind(_) | Detected::Zip | Detected::Compound | Detected::Unknown => None,
        };
        let whole = original.bytes <= WINDOW;
        let utf8 = if whole { std::str::from_utf8(&head).is_ok() } else { true };
        let kind = kind.filter(|_| utf8 && kind::is_utf8(&head));
        if let Some(kind) = kind.filter(|_| whole) {
            let text = Text::over(objects, tenant, original, head);
            return Ok(Some(Self { text, format: kind.format(), conversion: None }));
        }
        // Of a long text only the beginning was seen: it may have been converted for what comes later.
        if let Some(json) = objects.get(tenant, &conversion_key(original.key)).await? {
            let conversion: Conversion = serde_json::from_slice(&json).map_err(|error| Error::Document {
                code: "conversion_failed".into(),
                message: format!("what the converter said of the text can't be read: {error}"),
            })?;
            return Self::converted(objects, tenant, original, conversion).await.map(Some);
        }
        Ok(kind.map(|kind| {
            let text = Text::over(objects, tenant, original, head);
            Self { text, format: kind.format(), conversion: None }
        }))
    }
}

/// What names a document's file: its id, or its title where only that ends like a file's name.
pub fn file_name<'a>(id: &'a DocumentId, title: Option<&'a str>) -> &'a str {
    let tells = |name: &str| kind::declared("", name).is_some();
    title.filter(|title| !tells(id.as_str()) && tells(title)).unwrap_or(id.as_str())
}
