//! Documents: texts from numbered paragraphs, so that versions and documents share some.

use ragflare_core::Tenant;
use ragflare_core::chunk::Format;
use ragflare_core::conversion::Place;
use ragflare_core::document::{DocumentId, Metadata};
use ragflare_core::settings::{Field, FieldType, Pooling, Settings};
use serde_json::json;
use std::fmt::{self, Write};

const WORDS: [&str; 32] = [
    "harbour",
    "lantern",
    "river",
    "größer",
    "naïve",
    "检索系统",
    "orchard",
    "granite",
    "copper",
    "meadow",
    "signal",
    "thread",
    "winter",
    "ember",
    "compass",
    "falcon",
    "marble",
    "saddle",
    "timber",
    "anchor",
    "violet",
    "кедр",
    "beacon",
    "cinder",
    "drift",
    "engine",
    "fossil",
    "glacier",
    "hollow",
    "island",
    "jasper",
    "kettle",
];

/// How the bytes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Markdown,
    Plain,
    /// Markdown after a byte order mark.
    Bom,
    /// Markdown in Latin-1, which has to be converted.
    Latin,
    /// Converted, with a page for each paragraph.
    Pdf,
    Blank,
    /// Says that it is a PDF.
    Broken,
}

/// A document's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) kind: Kind,
    pub(crate) paragraphs: Vec<u16>,
}

impl Body {
    /// A paragraph that the embedder refuses.
    pub(crate) const POISON: u16 = u16::MAX;
    pub(crate) const REFUSED: &str = "unembeddable";

    pub(crate) fn media_type(&self) -> &'static str {
        match self.kind {
            Kind::Plain | Kind::Blank => "text/plain",
            Kind::Pdf | Kind::Broken => "application/pdf",
            Kind::Markdown | Kind::Bom | Kind::Latin => "text/markdown",
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = match self.kind {
            Kind::Bom => "\u{feff}".to_owned(),
            Kind::Blank => return b" \n\t\n ".to_vec(),
            Kind::Pdf => "%PDF-1".to_owned(),
            _ => String::new(),
        };
        for number in &self.paragraphs {
            if !bytes.is_empty() && bytes != "\u{feff}" {
                bytes.push_str(if self.kind == Kind::Pdf { "\u{c}" } else { "\n\n" });
            }
            paragraph(*number, &mut bytes);
        }
        let mut bytes = bytes.into_bytes();
        if self.kind == Kind::Latin {
            bytes.extend_from_slice(b" \xff\xfe");
        }
        bytes
    }

    /// The text as it is to be chunked and shown.
    pub(crate) fn text(&self) -> String {
        if self.is_converted() {
            let page = |page: &[u8]| page.iter().copied().map(char::from).chain(['\n']).collect::<String>();
            let text: String = self.bytes().split(|byte| *byte == 0x0C).map(page).collect();
            return text.replace('\0', " ");
        }
        String::from_utf8_lossy(&self.bytes()).trim_start_matches('\u{feff}').replace('\0', " ")
    }

    pub(crate) fn is_converted(&self) -> bool {
        matches!(self.kind, Kind::Latin | Kind::Pdf)
    }

    /// Where the text's pages begin.
    pub(crate) fn places(&self) -> Vec<Place> {
        if !self.is_converted() {
            return Vec::new();
        }
        let (mut at, mut places) = (0, Vec::new());
        for (page, bytes) in (1..).zip(self.bytes().split(|byte| *byte == 0x0C)) {
            places.push(Place { at, page: Some(page), row: None });
            at += bytes.iter().map(|byte| char::from(*byte).len_utf8() as u64).sum::<u64>() + 1;
        }
        places
    }

    pub(crate) fn format(&self) -> Format {
        if self.media_type() == "text/plain" { Format::Plain } else { Format::Markdown }
    }

    /// Why it can't be processed.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Blank => Some("no_text"),
            Kind::Broken => Some("unreadable"),
            Kind::Pdf if self.paragraphs.contains(&Self::POISON) => Some("embedding_refused"),
            Kind::Pdf => None,
            Kind::Latin if self.paragraphs.is_empty() => None,
            _ if self.paragraphs.is_empty() => Some("no_text"),
            _ if self.paragraphs.contains(&Self::POISON) => Some("embedding_refused"),
            _ => None,
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}[", self.kind)?;
        for (position, number) in self.paragraphs.iter().enumerate() {
            let blank = if position == 0 { "" } else { " " };
            if position > 30 {
                return write!(formatter, " … {} in all]", self.paragraphs.len());
            }
            if *number == Self::POISON {
                write!(formatter, "{blank}poison")?;
            } else {
                write!(formatter, "{blank}{number}")?;
            }
        }
        write!(formatter, "]")
    }
}

fn paragraph(number: u16, text: &mut String) {
    if number % 7 == 3 {
        text.push_str(if number.is_multiple_of(2) { "# " } else { "## " });
        text.push_str(WORDS[usize::from(number) % 5]);
        text.push_str("\n\n");
    }
    let mut mixed = u32::from(number).wrapping_mul(2_654_435_761) | 1;
    for _ in 0..16 + number % 9 {
        mixed = mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[(mixed >> 20) as usize % WORDS.len()]);
        text.push(if number % 31 == 5 && mixed & 0x1_0000 > 0 { '\0' } else { ' ' });
    }
    match number {
        Body::POISON => text.push_str(Body::REFUSED),
        number => drop(write!(text, "p{number}.")),
    }
}

/// A document's metadata by number; 0: the field is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Declared in all settings.
    pub(crate) lang: u8,
    /// Declared in some.
    pub(crate) kind: u8,
    /// Never declared.
    pub(crate) note: u8,
}

impl Meta {
    pub(crate) fn json(self) -> Metadata {
        let mut metadata = Metadata::new();
        match self.lang {
            0 => {}
            1 => drop(metadata.insert("lang".into(), json!(null))),
            lang => drop(metadata.insert("lang".into(), json!(["en", "de"][usize::from(lang) % 2]))),
        }
        if self.kind > 0 {
            metadata.insert("kind".into(), json!(self.kind));
        }
        if self.note > 0 {
            metadata.insert("note".into(), json!("seen"));
        }
        metadata
    }
}

pub(crate) fn tenant(number: u8) -> Tenant {
    Tenant::new(format!("t{number}")).unwrap()
}

pub(crate) fn id(number: u8) -> DocumentId {
    DocumentId::new(["notes/a", "notes/b", "c"][usize::from(number)]).unwrap()
}

pub(crate) fn title(number: u8) -> String {
    format!("Title {number}")
}

/// Settings by number: 1 cuts longer chunks, 2 pools otherwise, 3 does both and has a prefix, 4 declares another field.
pub(crate) fn settings(variant: u8, batch_api: bool) -> Settings {
    let mut settings = Settings::default();
    settings.chunk.target = if matches!(variant, 1 | 3) { 48 } else { 32 };
    settings.chunk.overlap = if variant == 1 { 8 } else { 0 };
    settings.embedding.dimensions = 16;
    if matches!(variant, 2 | 3) {
        settings.embedding.pooling = Pooling::Mean;
    }
    if variant == 3 {
        settings.embedding.document_prefix = "passage: ".into();
    }
    settings.fields.push(Field { name: "lang".into(), r#type: FieldType::String });
    if variant == 4 {
        settings.fields.push(Field { name: "kind".into(), r#type: FieldType::Number });
    }
    settings.ingest.batch_api = batch_api;
    settings
}
