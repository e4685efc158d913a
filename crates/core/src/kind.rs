//! What a file is.
//!
//! The rule: where a format has a signature, the bytes decide, so that a PDF called `notes.txt` is read as the PDF that it is.
//! Otherwise the declared media type decides, unless it says nothing (`application/octet-stream`, `text/plain`); then the name's
//! extension; then whether the bytes are text at all. A type or an extension whose format has a signature that the bytes lack
//! is refused as broken.

use crate::chunk::{Format, Language};

/// The media type of chunks of the uploader's own: `{"chunks": [{"text": …, "headings": […], "page": …, "row": …}]}`.
pub const CHUNKS: &str = "application/vnd.ragflare.chunks+json";

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Plain,
    /// Markdown, MDX included.
    Markdown,
    /// Source code in this language, as Markdown's fences name it.
    Code(&'static str),
    /// HTML, XHTML.
    Html,
    /// Tables: CSV, TSV.
    Csv,
    /// JSON.
    Json,
    /// Chunks of the uploader's own, as JSON.
    Chunks,
    /// A JSON value a line.
    JsonLines,
    /// XML; RSS and Atom among it.
    Xml,
    /// Jupyter notebooks.
    Notebook,
    /// SRT, `WebVTT`.
    Subtitles,
    /// E-mail as sent (`.eml`).
    Mail,
    /// E-mail as Outlook stores it (`.msg`).
    OutlookMail,
    /// PDF.
    Pdf,
    /// Word.
    Docx,
    /// `PowerPoint`.
    Pptx,
    /// Excel, old and new, and `OpenDocument` tables.
    Sheets,
    /// EPUB.
    Epub,
}

impl Kind {
    /// Whether the text is Markdown.
    pub fn is_markdown(self) -> bool {
        !matches!(self, Self::Plain | Self::Code(_) | Self::Subtitles | Self::Chunks)
    }

    /// Whether the bytes are the text, but for their encoding.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Plain | Self::Markdown | Self::Code(_))
    }

    /// How its text is cut into chunks.
    pub fn format(self) -> Format {
        match self {
            Self::Code(name) => Language::from_name(name).map_or(Format::Plain, Format::Code),
            kind if kind.is_markdown() => Format::Markdown,
            _ => Format::Plain,
        }
    }

    /// The media type that a file of it is stored with when its uploader named none.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain | Self::Code(_) => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::Chunks => CHUNKS,
            Self::JsonLines => "application/jsonl",
            Self::Xml => "application/xml",
            Self::Notebook => "application/x-ipynb+json",
            Self::Subtitles => "text/vtt",
            Self::Mail => "message/rfc822",
            Self::OutlookMail => "application/vnd.ms-outlook",
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Sheets => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Epub => "application/epub+zip",
        }
    }
}

const CODE: [(&str, &str); 42] = [
    ("rs", "rust"),
    ("py", "python"),
    ("pyi", "python"),
    ("js", "javascript"),
    ("mjs", "javascript"),
    ("cjs", "javascript"),
    ("jsx", "jsx"),
    ("ts", "typescript"),
    ("tsx", "tsx"),
    ("go", "go"),
    ("java", "java"),
    ("kt", "kotlin"),
    ("c", "c"),
    ("h", "c"),
    ("cc", "cpp"),
    ("cpp", "cpp"),
    ("hpp", "cpp"),
    ("cs", "csharp"),
    ("rb", "ruby"),
    ("php", "php"),
    ("swift", "swift"),
    ("scala", "scala"),
    ("sh", "bash"),
    ("bash", "bash"),
    ("sql", "sql"),
    ("lua", "lua"),
    ("pl", "perl"),
    ("r", "r"),
    ("dart", "dart"),
    ("ex", "elixir"),
    ("exs", "elixir"),
    ("erl", "erlang"),
    ("hs", "haskell"),
    ("ml", "ocaml"),
    ("clj", "clojure"),
    ("zig", "zig"),
    ("toml", "toml"),
    ("yaml", "yaml"),
    ("yml", "yaml"),
    ("css", "css"),
    ("vue", "vue"),
    ("svelte", "svelte"),
];

fn by_extension(name: &str) -> Option<Kind> {
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    Some(match extension.as_str() {
        "md" | "markdown" | "mdx" | "mkd" => Kind::Markdown,
        "txt" | "text" | "log" | "rst" | "adoc" | "asciidoc" | "org" | "tex" => Kind::Plain,
        "html" | "htm" | "xhtml" => Kind::Html,
        "csv" | "tsv" | "tab" => Kind::Csv,
        "json" | "geojson" | "webmanifest" => Kind::Json,
        "jsonl" | "ndjson" => Kind::JsonLines,
        "xml" | "rss" | "atom" | "xsd" | "svg" => Kind::Xml,
        "ipynb" => Kind::Notebook,
        "srt" | "vtt" => Kind::Subtitles,
        "eml" => Kind::Mail,
        "msg" => Kind::OutlookMail,
        "pdf" => Kind::Pdf,
        "docx" | "docm" | "dotx" => Kind::Docx,
        "pptx" | "pptm" | "ppsx" => Kind::Pptx,
        "xlsx" | "xlsm" | "xltx" | "xls" | "xlsb" | "ods" => Kind::Sheets,
        "epub" => Kind::Epub,
        other => Kind::Code(CODE.iter().find(|(name, _)| *name == other)?.1),
    })
}

fn by_media_type(media_type: &str) -> Option<Kind> {
    let office = "application/vnd.openxmlformats-officedocument.";
    if let Some(part) = media_type.strip_prefix(office) {
        return match part.split('.').next() {
            Some("wordprocessingml") => Some(Kind::Docx),
            Some("presentationml") => Some(Kind::Pptx),
            Some("spreadsheetml") => Some(Kind::Sheets),
            _ => None,
        };
    }
    Some(match media_type {
        "text/markdown" | "text/x-markdown" | "text/mdx" => Kind::Markdown,
        "text/html" | "application/xhtml+xml" => Kind::Html,
        "text/csv" | "text/tab-separated-values" => Kind::Csv,
        "application/json" | "application/ld+json" | "application/geo+json" => Kind::Json,
        "application/jsonl"
        | "application/x-ndjson"
        | "application/x-jsonlines"
        | "application/jsonlines" => Kind::JsonLines,
        CHUNKS => Kind::Chunks,
        "application/x-ipynb+json" => Kind::Notebook,
        "text/vtt" | "application/x-subrip" | "text/srt" => Kind::Subtitles,
        "message/rfc822" => Kind::Mail,
        "application/vnd.ms-outlook" => Kind::OutlookMail,
        "application/pdf" | "application/x-pdf" => Kind::Pdf,
        "application/vnd.ms-excel"
        | "application/vnd.ms-excel.sheet.macroenabled.12"
        | "application/vnd.oasis.opendocument.spreadsheet" => Kind::Sheets,
        "application/epub+zip" => Kind::Epub,
        "text/x-python" | "application/x-python" => Kind::Code("python"),
        "text/x-rust" => Kind::Code("rust"),
        "text/javascript" | "application/javascript" => Kind::Code("javascript"),
        "application/typescript" | "text/typescript" => Kind::Code("typescript"),
        "text/xml" | "application/xml" | "application/rss+xml" | "application/atom+xml" => Kind::Xml,
        other if other.ends_with("+xml") => Kind::Xml,
        other if other.ends_with("+json") => Kind::Json,
        _ => return None,
    })
}

/// What is known of a file by its type, its name and its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It is this.
    Kind(Kind),
    /// A ZIP archive: the parts in it say what it is.
    Zip,
    /// An OLE compound file: the streams in it say what it is.
    Compound,
    /// Not UTF-8, and nothing says what it is: text in another encoding, or no text.
    Unknown,
    /// Something that nobody here reads.
    Unsupported(String),
    /// It says that it is this, and does not begin like one.
    Broken(&'static str),
}

fn signature(head: &[u8]) -> Option<Detected> {
    let other = |what: &str| Detected::Unsupported(what.to_owned());
    // A PDF's may stand anywhere in its first KiB.
    if head[..head.len().min(1024)].windows(5).any(|window| window == b"%PDF-") {
        return Some(Detected::Kind(Kind::Pdf));
    }
    let starts = |prefix: &[u8]| head.starts_with(prefix);
    Some(match () {
        () if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Detected::Zip,
        () if starts(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") => Detected::Compound,
        () if starts(b"{\\rtf") => other("RTF"),
        () if starts(b"\x89PNG") || starts(b"\xFF\xD8\xFF") || starts(b"GIF8") => other("an image"),
        () if starts(b"RIFF") && head.get(8..12) == Some(b"WEBP") => other("an image"),
        () if starts(b"RIFF") || starts(b"ID3") || starts(b"OggS") || starts(b"fLaC") => other("audio"),
        () if head.get(4..8) == Some(b"ftyp") => other("audio or video"),
        () if starts(b"\x1F\x8B") || starts(b"7z\xBC\xAF") || starts(b"Rar!") => other("an archive"),
        () if starts(b"\x7FELF") || starts(b"MZ\x90") || starts(b"\0asm") => other("a program"),
        () => return None,
    })
}

/// What a file is, by the rule above. `media_type` may have parameters; `name` is a file name or an id; `head` are the file's
/// first bytes, some KiB of them at least.
pub fn detect(media_type: &str, name: &str, head: &[u8]) -> Detected {
    if let Some(found) = signature(head) {
        return found;
    }
    let essence = essence(media_type);
    let (declared, named) = (by_media_type(&essence), by_extension(name));
    // Some declare JSON for what is a notebook, and XML for what is a feed or a page: the name knows more.
    let kind = match (declared, named) {
        (Some(Kind::Json), Some(Kind::Notebook | Kind::JsonLines)) | (Some(Kind::Xml), Some(Kind::Html)) => {
            named
        }
        (None, named) => named,
        (declared, _) => declared,
    };
    let wanted = match kind {
        Some(Kind::Pdf) => "PDF",
        Some(Kind::Docx | Kind::Pptx | Kind::Sheets) => "Office file",
        Some(Kind::Epub) => "EPUB",
        Some(Kind::OutlookMail) => "Outlook mail",
        Some(kind) => return Detected::Kind(kind),
        None if is_utf8(head) => return Detected::Kind(guessed(head)),
        None => return Detected::Unknown,
    };
    Detected::Broken(wanted)
}

/// What a file is by its declared type and its name alone: enough to refuse at once what nobody reads, before its bytes are
/// taken. `None` when only the bytes can tell.
pub fn declared(media_type: &str, name: &str) -> Option<Kind> {
    by_media_type(&essence(media_type)).or_else(|| by_extension(name))
}

/// Whether a type is one of those that hold no text that is read here, whatever the bytes are.
pub fn is_no_document(essence: &str) -> bool {
    let family = essence.split('/').next().unwrap_or_default();
    let container = [
        "application/zip",
        "application/gzip",
        "application/x-tar",
        "application/x-7z-compressed",
        "application/vnd.rar",
        "application/wasm",
    ];
    matches!(family, "image" | "audio" | "video" | "font" | "multipart" | "model")
        || container.contains(&essence)
}

/// The type without its parameters.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The `charset` of a type, if it is not UTF-8.
pub fn charset(media_type: &str) -> Option<String> {
    let parameters = media_type.to_ascii_lowercase();
    let named = parameters
        .split(';')
        .skip(1)
        .find_map(|part| part.trim().strip_prefix("charset=").map(str::to_owned))?;
    let named = named.trim_matches(['"', '\'']).to_owned();
    (!matches!(named.as_str(), "" | "utf-8" | "utf8" | "us-ascii" | "ascii")).then_some(named)
}

/// Whether bytes are UTF-8, but for a character that is cut off at their end, and no binary data.
pub fn is_utf8(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    // UTF-16 of ASCII is UTF-8 with NULs; ISO-2022 has escapes that stand for other letters.
    let strange = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0C);
    valid
        && head.iter().filter(strange).count() * 10 <= head.len()
        && !head.windows(2).any(|pair| pair[0] == 0x1B && matches!(pair[1], b'$' | b'('))
}

/// What text without a type is.
pub fn guessed(bytes: &[u8]) -> Kind {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_lowercase();
    let head = head.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        Kind::Html
    } else if head.starts_with("<?xml") {
        Kind::Xml
    } else if head.starts_with("webvtt") {
        Kind::Subtitles
    } else {
        Kind::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_before_types_and_types_before_names() {
        let kind = |media_type, name, head: &[u8]| match detect(media_type, name, head) {
            Detected::Kind(kind) => kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind("text/plain", "notes.txt", b"%PDF-1.7\n"), Kind::Pdf);
        assert_eq!(kind("text/html; charset=utf-8", "page.txt", b"<p>x"), Kind::Html);
        assert_eq!(kind("text/plain", "a.csv", b"a,b"), Kind::Csv);
        assert_eq!(kind("", "main.rs", b"fn main() {}"), Kind::Code("rust"));
        assert_eq!(kind("application/json", "n.ipynb", b"{}"), Kind::Notebook);
        assert_eq!(kind("", "unknown", b"<!DOCTYPE html><p>x"), Kind::Html);
        assert_eq!(kind("", "unknown", b"words"), Kind::Plain);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert_eq!(detect("", "a.pdf", b"not one"), Detected::Broken("PDF"));
        assert_eq!(detect("text/plain", "a.png", b"\x89PNG\r\n"), Detected::Unsupported("an image".into()));
        assert_eq!(detect("", "a.rtf", b"{\\rtf1"), Detected::Unsupported("RTF".into()));
        assert_eq!(
            detect("application/octet-stream", "random.bin", &[0, 159, 146, 150, 3, 0, 1]),
            Detected::Unknown
        );
        assert_eq!(detect("", "a.docx", b"PK\x03\x04"), Detected::Zip);
    }

    #[test]
    fn parameters_are_told_from_types() {
        assert_eq!(essence("Text/Plain; charset=UTF-8"), "text/plain");
        assert_eq!(charset("text/plain; format=flowed; charset=\"Shift_JIS\""), Some("shift_jis".into()));
        assert_eq!(charset("text/plain;charset=utf-8"), None);
        assert!(is_utf8("Gr\u{f6}ße".as_bytes()) && !is_utf8(b"Gr\xF6\xDFe"));
        assert!(!is_utf8(b"\x1B$B$3$l\x1B(B"));
        assert!(is_utf8("é".as_bytes().split_last().unwrap().1));
    }
}
