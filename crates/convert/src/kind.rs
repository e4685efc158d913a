//! What a file is.
//!
//! The rule: where a format has a signature, the bytes decide, so that a PDF called `notes.txt` is read as the PDF that it is.
//! Otherwise the declared media type decides, unless it says nothing (`application/octet-stream`, `text/plain`); then the name's
//! extension; then whether the bytes are text at all. A type or an extension whose format has a signature that the bytes lack
//! is refused as broken.

use crate::{Refusal, text};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Plain,
    /// Markdown, MDX included.
    Markdown,
    /// Source code.
    Code(Language),
    /// HTML, XHTML.
    Html,
    /// Tables: CSV, TSV.
    Csv,
    /// JSON.
    Json,
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

/// A programming language, as Markdown's fences name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(pub &'static str);

impl Kind {
    /// Whether the text is Markdown.
    pub fn is_markdown(self) -> bool {
        !matches!(self, Self::Plain | Self::Code(_) | Self::Subtitles)
    }

    /// Whether the bytes are the text, but for their encoding.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Plain | Self::Markdown | Self::Code(_))
    }
}

const CODE: [(&str, &str); 42] = [
    ("rs", "rust"), ("py", "python"), ("pyi", "python"), ("js", "javascript"), ("mjs", "javascript"),
    ("cjs", "javascript"), ("jsx", "jsx"), ("ts", "typescript"), ("tsx", "tsx"), ("go", "go"), ("java", "java"),
    ("kt", "kotlin"), ("c", "c"), ("h", "c"), ("cc", "cpp"), ("cpp", "cpp"), ("hpp", "cpp"), ("cs", "csharp"),
    ("rb", "ruby"), ("php", "php"), ("swift", "swift"), ("scala", "scala"), ("sh", "bash"), ("bash", "bash"),
    ("sql", "sql"), ("lua", "lua"), ("pl", "perl"), ("r", "r"), ("dart", "dart"), ("ex", "elixir"),
    ("exs", "elixir"), ("erl", "erlang"), ("hs", "haskell"), ("ml", "ocaml"), ("clj", "clojure"), ("zig", "zig"),
    ("toml", "toml"), ("yaml", "yaml"), ("yml", "yaml"), ("css", "css"), ("vue", "vue"), ("svelte", "svelte"),
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
        other => Kind::Code(Language(CODE.iter().find(|(name, _)| *name == other)?.1)),
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
        "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines" | "application/jsonlines" => {
            Kind::JsonLines
        }
        "application/x-ipynb+json" => Kind::Notebook,
        "text/vtt" | "application/x-subrip" | "text/srt" => Kind::Subtitles,
        "message/rfc822" => Kind::Mail,
        "application/vnd.ms-outlook" => Kind::OutlookMail,
        "application/pdf" | "application/x-pdf" => Kind::Pdf,
        "application/vnd.ms-excel"
        | "application/vnd.ms-excel.sheet.macroenabled.12"
        | "application/vnd.oasis.opendocument.spreadsheet" => Kind::Sheets,
        "application/epub+zip" => Kind::Epub,
        "text/x-python" | "application/x-python" => Kind::Code(Language("python")),
        "text/x-rust" => Kind::Code(Language("rust")),
        "text/javascript" | "application/javascript" => Kind::Code(Language("javascript")),
        "application/typescript" | "text/typescript" => Kind::Code(Language("typescript")),
        "text/xml" | "application/xml" | "application/rss+xml" | "application/atom+xml" => Kind::Xml,
        other if other.ends_with("+xml") => Kind::Xml,
        other if other.ends_with("+json") => Kind::Json,
        _ => return None,
    })
}

/// What the first bytes say.
enum Signature {
    Kind(Kind),
    /// Something that nobody here reads.
    Other(&'static str),
    /// An archive or a compound file: which one, the parts in it say.
    Zip,
    Ole,
}

fn signature(bytes: &[u8]) -> Option<Signature> {
    use Signature::{Ole, Other, Zip};
    // A PDF's may stand anywhere in its first KiB.
    let head = &bytes[..bytes.len().min(1024)];
    if head.windows(5).any(|window| window == b"%PDF-") {
        return Some(Signature::Kind(Kind::Pdf));
    }
    let starts = |prefix: &[u8]| bytes.starts_with(prefix);
    Some(match () {
        () if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Zip,
        () if starts(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") => Ole,
        () if starts(b"{\\rtf") => Other("RTF"),
        () if starts(b"\x89PNG") || starts(b"\xFF\xD8\xFF") || starts(b"GIF8") => Other("an image"),
        () if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Other("an image"),
        () if starts(b"RIFF") || starts(b"ID3") || starts(b"OggS") || starts(b"fLaC") => Other("audio"),
        () if bytes.get(4..8) == Some(b"ftyp") => Other("audio or video"),
        () if starts(b"\x1F\x8B") || starts(b"7z\xBC\xAF") || starts(b"Rar!") => Other("an archive"),
        () if starts(b"\x7FELF") || starts(b"MZ\x90") || starts(b"\0asm") => Other("a program"),
        () => return None,
    })
}

/// What a file is, by the rule above.
///
/// # Errors
/// [`Refusal::Unsupported`], [`Refusal::Broken`], [`Refusal::Encrypted`], [`Refusal::NoText`] for an empty file.
pub fn detect(media_type: Option<&str>, name: &str, bytes: &[u8]) -> Result<Kind, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::NoText("the file is empty".into()));
    }
    let declared = media_type.and_then(by_media_type);
    let named = by_extension(name);
    match signature(bytes) {
        Some(Signature::Kind(kind)) => return Ok(kind),
        Some(Signature::Other(what)) => return Err(Refusal::Unsupported(what.into())),
        Some(Signature::Zip) => return crate::package::kind(bytes),
        Some(Signature::Ole) => return crate::package::ole_kind(bytes),
        None => {}
    }
    // Some declare JSON for what is a notebook, and XML for what is a feed or a page: the name knows more.
    let kind = match (declared, named) {
        (Some(Kind::Json), Some(Kind::Notebook | Kind::JsonLines)) | (Some(Kind::Xml), Some(Kind::Html)) => named,
        (None, named) => named,
        (declared, _) => declared,
    };
    let wanted = match kind {
        Some(Kind::Pdf) => "PDF",
        Some(Kind::Docx | Kind::Pptx | Kind::Sheets) => "Office file",
        Some(Kind::Epub) => "EPUB",
        Some(Kind::OutlookMail) => "Outlook mail",
        Some(kind) => return Ok(kind),
        None if text::is_text(bytes) => return Ok(guessed(bytes)),
        None => {
            let what = media_type.filter(|name| !name.is_empty()).unwrap_or("a file of this type");
            return Err(Refusal::Unsupported(format!("`{what}`")));
        }
    };
    Err(Refusal::broken(wanted, "it does not begin like one"))
}

/// Of text without a type.
fn guessed(bytes: &[u8]) -> Kind {
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
        let pdf = b"%PDF-1.7\n";
        assert_eq!(detect(Some("text/plain"), "notes.txt", pdf), Ok(Kind::Pdf));
        assert_eq!(detect(Some("text/html"), "page.txt", b"<p>x"), Ok(Kind::Html));
        assert_eq!(detect(Some("text/plain"), "a.csv", b"a,b"), Ok(Kind::Csv));
        assert_eq!(detect(None, "main.rs", b"fn main() {}"), Ok(Kind::Code(Language("rust"))));
        assert_eq!(detect(Some("application/json"), "n.ipynb", b"{}"), Ok(Kind::Notebook));
        assert_eq!(detect(None, "unknown", b"<!DOCTYPE html><p>x"), Ok(Kind::Html));
        assert_eq!(detect(None, "unknown", b"words"), Ok(Kind::Plain));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let code = |media_type, name, bytes: &[u8]| detect(media_type, name, bytes).map_err(|error| error.code());
        assert_eq!(code(None, "a.pdf", b"not one"), Err("unreadable"));
        assert_eq!(code(None, "a.txt", b" \n\t "), Err("no_text"));
        assert_eq!(code(None, "a.png", b"\x89PNG\r\n"), Err("unsupported_type"));
        assert_eq!(code(Some("application/octet-stream"), "random.bin", &[0, 159, 146, 150, 3, 0, 1]), Err("unsupported_type"));
        assert_eq!(code(None, "a.rtf", b"{\\rtf1"), Err("unsupported_type"));
    }
}
