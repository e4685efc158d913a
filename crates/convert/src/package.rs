//! Archives that hold documents: what is in them, how much of it is unpacked, and what they are.

use crate::tree::{self, Element};
use crate::{Kind, Limits, Refusal, text};
use std::cell::Cell;
use std::io::{Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

/// Parts that an archive may have.
const MOST_PARTS: usize = 20_000;

/// A ZIP archive, of which no more than so many bytes are unpacked.
pub(crate) struct Package<'a> {
    archive: std::cell::RefCell<ZipArchive<Cursor<&'a [u8]>>>,
    left: Cell<u64>,
    limits: Limits,
    kind: &'static str,
}

impl<'a> Package<'a> {
    pub(crate) fn open(bytes: &'a [u8], kind: &'static str, limits: &Limits) -> Result<Self, Refusal> {
        // Counted before they are listed: a list of a million names is large, and most of them may be lies.
        if memchr::memmem::find_iter(bytes, b"PK\x01\x02").nth(MOST_PARTS).is_some() {
            return Err(Refusal::TooLarge { what: "parts", allowed: MOST_PARTS as u64 });
        }
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| Refusal::broken(kind, error))?;
        Ok(Self { archive: archive.into(), left: Cell::new(limits.unpacked), limits: *limits, kind })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.archive.borrow().file_names().map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.archive.borrow().index_for_name(name).is_some()
    }

    /// A part's bytes; `None` when there is no such part.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        // Growing takes half as much again as there is. What the archive says may be a lie, but no larger one than what is left.
        let told = self.archive.borrow_mut().by_name(name).map_or(0, |part| part.size());
        let mut bytes = Vec::with_capacity(usize::try_from(told.min(self.left.get() + 1)).unwrap_or(0));
        Ok(self.copy(name, &mut bytes)?.map(|_| bytes))
    }

    /// Takes what a part has unpacked from what may be, without keeping it.
    pub(crate) fn count(&self, name: &str) -> Result<(), Refusal> {
        self.copy(name, &mut std::io::sink()).map(|_| ())
    }

    fn copy(&self, name: &str, to: &mut impl std::io::Write) -> Result<Option<u64>, Refusal> {
        let mut archive = self.archive.borrow_mut();
        let part = match archive.by_name(name) {
            Ok(part) => part,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => return Err(Refusal::Encrypted),
            Err(error) => return Err(Refusal::broken(self.kind, error)),
        };
        // What the archive says of its size is not believed.
        let copied = std::io::copy(&mut part.take(self.left.get() + 1), to);
        let copied = copied.map_err(|error| Refusal::broken(self.kind, error))?;
        let left = self
            .left
            .get()
            .checked_sub(copied)
            .ok_or(Refusal::TooLarge { what: "unpacked bytes", allowed: self.limits.unpacked })?;
        self.left.set(left);
        Ok(Some(copied))
    }

    /// A part as a tree of XML.
    pub(crate) fn xml(&self, name: &str) -> Result<Option<Element>, Refusal> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        tree::parse(&text::decode_owned(bytes.into(), None)?, self.kind, &self.limits).map(Some)
    }

    /// A part that must be there, as text.
    pub(crate) fn text(&self, name: &str) -> Result<String, Refusal> {
        let bytes = self
            .bytes(name)?
            .ok_or_else(|| Refusal::broken(self.kind, format!("it has no part `{name}`")))?;
        text::decode_owned(bytes.into(), None)
    }

    /// A part that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<Element, Refusal> {
        self.xml(name)?.ok_or_else(|| Refusal::broken(self.kind, format!("it has no part `{name}`")))
    }
}

/// What a ZIP archive is, by its parts.
pub(crate) fn kind(bytes: &[u8]) -> Result<Kind, Refusal> {
    let package = Package::open(bytes, "archive", &Limits::default())?;
    let names = package.names();
    let has = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    if has("word/") {
        Ok(Kind::Docx)
    } else if has("ppt/") {
        Ok(Kind::Pptx)
    } else if has("xl/") {
        Ok(Kind::Sheets)
    } else if has("META-INF/container.xml") {
        Ok(Kind::Epub)
    } else if has("mimetype") && has("content.xml") {
        match package.bytes("mimetype")?.as_deref() {
            Some(b"application/vnd.oasis.opendocument.spreadsheet") => Ok(Kind::Sheets),
            _ => Err(Refusal::Unsupported("this OpenDocument file".into())),
        }
    } else {
        Err(Refusal::Unsupported("an archive; upload the files in it one by one: it".into()))
    }
}

/// What an OLE compound file is, by its streams.
pub(crate) fn ole_kind(bytes: &[u8]) -> Result<Kind, Refusal> {
    let file =
        cfb::CompoundFile::open(Cursor::new(bytes)).map_err(|error| Refusal::broken("Office file", error))?;
    let has = |name: &str| file.exists(name);
    if has("/EncryptedPackage") {
        Err(Refusal::Encrypted)
    } else if has("/Workbook") || has("/Book") {
        Ok(Kind::Sheets)
    } else if has("/__properties_version1.0") {
        Ok(Kind::OutlookMail)
    } else if has("/WordDocument") {
        Err(Refusal::Unsupported("Word's format of before 2007; save it as DOCX: it".into()))
    } else if has("/PowerPoint Document") {
        Err(Refusal::Unsupported("PowerPoint's format of before 2007; save it as PPTX: it".into()))
    } else {
        Err(Refusal::Unsupported("a compound file of an unknown kind".into()))
    }
}
