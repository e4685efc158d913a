//! What a file is.
//!
//! The rule: where a format has a signature, the bytes decide, so that a PDF called `notes.txt` is read as the PDF that it is.
//! Otherwise the declared media type decides, unless it says nothing (`application/octet-stream`, `text/plain`); then the name's
//! extension; then whether the bytes are text at all. A type or an extension whose format has a signature that the bytes lack
//! is refused as broken.

use crate::chunk::{Format, Language};
use crate::media::mp3;
use std::ops::Range;

/// The media type of chunks of the uploader's own: `{"chunks": [{"text": …, "headings": […], "page": …, "row": …}]}`.
pub const CHUNKS: &str = "application/vnd.ragflare.chunks+json";

/// A format of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

/// A format of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// WAV.
    Wav,
    /// MP3.
    Mp3,
    /// Vorbis or Opus in Ogg.
    Ogg,
    /// FLAC.
    Flac,
    /// AAC or ALAC in MP4 (`.m4a`).
    Mp4,
    /// Opus or Vorbis in `WebM`.
    Webm,
}

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
    /// An image; its text is what a model sees in it.
    Image(Image),
    /// A recording; its text is what a model hears in it.
    Audio(Audio),
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
            Self::Image(Image::Png) => "image/png",
            Self::Image(Image::Jpeg) => "image/jpeg",
            Self::Image(Image::Gif) => "image/gif",
            Self::Image(Image::Webp) => "image/webp",
            Self::Audio(Audio::Wav) => "audio/wav",
            Self::Audio(Audio::Mp3) => "audio/mpeg",
            Self::Audio(Audio::Ogg) => "audio/ogg",
            Self::Audio(Audio::Flac) => "audio/flac",
            Self::Audio(Audio::Mp4) => "audio/mp4",
            Self::Audio(Audio::Webm) => "audio/webm",
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
        "png" => Kind::Image(Image::Png),
        "jpg" | "jpeg" => Kind::Image(Image::Jpeg),
        "gif" => Kind::Image(Image::Gif),
        "webp" => Kind::Image(Image::Webp),
        "wav" => Kind::Audio(Audio::Wav),
        "mp3" => Kind::Audio(Audio::Mp3),
        "ogg" | "oga" | "opus" => Kind::Audio(Audio::Ogg),
        "flac" => Kind::Audio(Audio::Flac),
        "m4a" | "m4b" => Kind::Audio(Audio::Mp4),
        "weba" => Kind::Audio(Audio::Webm),
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
        "image/png" => Kind::Image(Image::Png),
        "image/jpeg" | "image/jpg" => Kind::Image(Image::Jpeg),
        "image/gif" => Kind::Image(Image::Gif),
        "image/webp" => Kind::Image(Image::Webp),
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Kind::Audio(Audio::Wav),
        "audio/mpeg" | "audio/mp3" => Kind::Audio(Audio::Mp3),
        "audio/ogg" | "audio/opus" | "application/ogg" => Kind::Audio(Audio::Ogg),
        "audio/flac" | "audio/x-flac" => Kind::Audio(Audio::Flac),
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => Kind::Audio(Audio::Mp4),
        "audio/webm" => Kind::Audio(Audio::Webm),
        "application/x-python" => Kind::Code("python"),
        "text/javascript" | "application/javascript" => Kind::Code("javascript"),
        "application/typescript" | "text/typescript" => Kind::Code("typescript"),
        "text/xml" | "application/xml" | "application/rss+xml" | "application/atom+xml" => Kind::Xml,
        other if let Some(language) = other.strip_prefix("text/x-").and_then(Language::from_name) => {
            Kind::Code(language.name())
        }
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

/// A PDF's signature may stand anywhere in its first KiB; but so may it in a text about PDF.
fn begins_pdf(head: &[u8], said: Option<Kind>) -> bool {
    let Some(at) = head[..head.len().min(1024)].windows(5).position(|window| window == b"%PDF-") else {
        return false;
    };
    let begins_line = at == 0 || matches!(head[at - 1], b'\n' | b'\r');
    match said {
        _ if at == 0 => true,
        Some(Kind::Pdf) => true,
        None | Some(Kind::Plain) => begins_line || !is_utf8(head),
        Some(_) => !is_utf8(head),
    }
}

/// `said` is what type and name say: of a container that holds films as well as recordings, only they tell.
fn signature(head: &[u8], said: Option<Kind>) -> Option<Detected> {
    let other = |what: &str| Detected::Unsupported(what.to_owned());
    let image = |format| Detected::Kind(Kind::Image(format));
    let audio = |format| Detected::Kind(Kind::Audio(format));
    let is_said = |format| said == Some(Kind::Audio(format));
    if begins_pdf(head, said) {
        return Some(Detected::Kind(Kind::Pdf));
    }
    let starts = |prefix: &[u8]| head.starts_with(prefix);
    // Beside letters alone, which a text may begin with as well.
    let is_binary =
        |range| head.get::<Range<usize>>(range).is_some_and(|bytes| bytes.iter().any(u8::is_ascii_control));
    Some(match () {
        () if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Detected::Zip,
        () if starts(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") => Detected::Compound,
        () if starts(b"{\\rtf") => other("RTF"),
        () if starts(b"\x89PNG") => image(Image::Png),
        () if starts(b"\xFF\xD8\xFF") => image(Image::Jpeg),
        () if starts(b"GIF87a") || starts(b"GIF89a") => image(Image::Gif),
        () if starts(b"RIFF") && head.get(8..12) == Some(b"WEBP") => image(Image::Webp),
        () if starts(b"RIFF") && head.get(8..12) == Some(b"WAVE") => audio(Audio::Wav),
        () if starts(b"RIFF") && is_binary(4..8) => other("audio or video of this format"),
        () if starts(b"ID3") && is_binary(3..5) || mp3::begins(head) => audio(Audio::Mp3),
        () if starts(b"OggS\0") => audio(Audio::Ogg),
        () if starts(b"fLaC") && is_binary(4..8) => audio(Audio::Flac),
        () if head.get(4..8) == Some(b"ftyp") && is_binary(0..4) => match head.get(8..12) {
            Some(b"M4A " | b"M4B ") => audio(Audio::Mp4),
            Some(b"heic" | b"heix" | b"mif1" | b"avif") => other("an image of this format (HEIC, AVIF)"),
            _ if is_said(Audio::Mp4) => audio(Audio::Mp4),
            _ => other("video"),
        },
        () if starts(b"\x1A\x45\xDF\xA3") && is_said(Audio::Webm) => audio(Audio::Webm),
        () if starts(b"\x1A\x45\xDF\xA3") => other("video"),
        () if starts(b"\x1F\x8B") || starts(b"7z\xBC\xAF") || starts(b"Rar!\x1A") => other("an archive"),
        () if starts(b"\x7FELF") || starts(b"MZ\x90") || starts(b"\0asm") => other("a program"),
        () => return None,
    })
}

/// What a file is, by the rule above. `media_type` may have parameters; `name` is a file name or an id; `head` are the file's
/// first bytes, some KiB of them at least.
pub fn detect(media_type: &str, name: &str, head: &[u8]) -> Detected {
    let essence = essence(media_type);
    let (declared, named) = (by_media_type(&essence), by_extension(name));
    if let Some(found) = signature(head, declared.or(named)) {
        return found;
    }
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
        Some(Kind::Image(_)) => "image",
        Some(Kind::Audio(_)) => "recording",
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
    valid && is_text(head) && !head.windows(2).any(|pair| pair[0] == 0x1B && matches!(pair[1], b'$' | b'('))
}

/// Whether bytes that are UTF-8 can be text: with few NULs, and not mostly of controls.
pub fn is_text(bytes: &[u8]) -> bool {
    let control = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0C);
    let nul = bytes.iter().filter(|byte| matches!(byte, 0)).count();
    nul * 10 <= bytes.len() && bytes.iter().filter(control).count() * 2 <= bytes.len()
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
        assert_eq!(detect("", "a.rtf", b"{\\rtf1"), Detected::Unsupported("RTF".into()));
        assert_eq!(
            detect("application/octet-stream", "random.bin", &[0, 159, 146, 150, 3, 0, 1]),
            Detected::Unknown
        );
        assert_eq!(detect("", "a.docx", b"PK\x03\x04"), Detected::Zip);
    }

    #[test]
    fn images_and_recordings_are_told_by_their_signatures() {
        let image = |format| Detected::Kind(Kind::Image(format));
        let audio = |format| Detected::Kind(Kind::Audio(format));
        assert_eq!(detect("text/plain", "a.txt", b"\x89PNG\r\n"), image(Image::Png));
        assert_eq!(detect("", "a", b"\xFF\xD8\xFF\xE0"), image(Image::Jpeg));
        assert_eq!(detect("", "a", b"GIF89a"), image(Image::Gif));
        assert_eq!(detect("", "a", b"RIFF\x10\0\0\0WEBPVP8 "), image(Image::Webp));
        assert_eq!(detect("", "a", b"RIFF\x10\0\0\0WAVEfmt "), audio(Audio::Wav));
        assert_eq!(detect("", "a", b"ID3\x04\0\0"), audio(Audio::Mp3));
        assert_eq!(detect("", "a", b"\xFF\xFB\x90\x64\0\0"), audio(Audio::Mp3));
        assert_eq!(detect("", "a", b"OggS\0"), audio(Audio::Ogg));
        assert_eq!(detect("", "a", b"fLaC\0\0\0\x22"), audio(Audio::Flac));
        assert_eq!(detect("", "a", b"\0\0\0\x20ftypM4A "), audio(Audio::Mp4));
        // A container of films, too.
        let webm = b"\x1A\x45\xDF\xA3\x01";
        assert_eq!(detect("audio/webm", "a.webm", webm), audio(Audio::Webm));
        assert_eq!(detect("video/webm", "a.webm", webm), Detected::Unsupported("video".into()));
        let mp4 = b"\0\0\0\x20ftypisom";
        assert_eq!(detect("audio/mp4", "a", mp4), audio(Audio::Mp4));
        assert_eq!(detect("", "a.mp4", mp4), Detected::Unsupported("video".into()));
        assert_eq!(detect("image/png", "a.png", b"no image"), Detected::Broken("image"));
        // UTF-16 begins like MPEG audio, but for the layer.
        assert_eq!(detect("", "a.txt", b"\xFF\xFEa\0b\0"), Detected::Kind(Kind::Plain));
    }

    #[test]
    fn texts_about_formats_are_texts() {
        let code = b"//! Files.\npub const PDF: &[u8] = b\"%PDF-1.7\n%PDF-1.7\";";
        assert_eq!(detect("", "made.rs", code), Detected::Kind(Kind::Code("rust")));
        assert_eq!(
            detect("text/markdown", "pdf.md", b"# PDF\n%PDF-1.4 begins"),
            Detected::Kind(Kind::Markdown)
        );
        assert_eq!(detect("", "notes", b"A file begins with %PDF-"), Detected::Kind(Kind::Plain));
        // Some servers leave their own lines before it.
        assert_eq!(detect("", "notes", b"\n\n%PDF-1.4\n"), Detected::Kind(Kind::Pdf));
        assert_eq!(detect("", "a.md", b"\0\xFF junk %PDF-1.4\n"), Detected::Kind(Kind::Pdf));
        for text in [
            "ID3,name\n1,2\n",
            "RIFFS and songs\n",
            "GIF8 is a prefix",
            "OggS, fLaC",
            "fLaC files",
            "Rar! it said",
            "the ftyp box",
        ] {
            assert_eq!(detect("", "a.txt", text.as_bytes()), Detected::Kind(Kind::Plain), "{text}");
        }
    }

    #[test]
    fn parameters_are_told_from_types() {
        assert_eq!(essence("Text/Plain; charset=UTF-8"), "text/plain");
        assert_eq!(charset("text/plain; format=flowed; charset=\"Shift_JIS\""), Some("shift_jis".into()));
        assert_eq!(charset("text/plain;charset=utf-8"), None);
        assert!(is_utf8("Gr\u{f6}ße".as_bytes()) && !is_utf8(b"Gr\xF6\xDFe"));
        assert!(!is_utf8(b"\x1B$B$3$l\x1B(B") && !is_utf8(b"a\0b\0c\0"));
        assert!(is_utf8(b"Bell, bell:\x07\x07\x07\x07\x07") && !is_utf8(b"\x01\x02\x03\x04a"));
        assert!(is_utf8("é".as_bytes().split_last().unwrap().1));
    }
}
