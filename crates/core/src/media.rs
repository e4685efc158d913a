//! Images and recordings: who reads them, by the operator's settings, and what that costs.

pub mod cut;
pub mod mp3;
pub mod transcript;

use crate::kind::{self, Kind};
use crate::prices;
use crate::settings::within;
use crate::{Error, Result, Retry};
use serde::{Deserialize, Serialize};

/// Vision models that may be named: those of Workers AI's list (2026-09) that take an image as a data URL in a message, and
/// have a published price. What they cost is in [`prices`].
pub const VISION_MODELS: [&str; 4] = [
    "@cf/google/gemma-4-26b-a4b-it",
    // Its licence must be agreed to once per account, or it answers 5016.
    "@cf/meta/llama-3.2-11b-vision-instruct",
    "@cf/meta/llama-4-scout-17b-16e-instruct",
    "@cf/mistralai/mistral-small-3.1-24b-instruct",
];
/// Speech models that may be named, of the same list.
pub const SPEECH_MODELS: [&str; 2] = ["@cf/openai/whisper-large-v3-turbo", "@cf/openai/whisper"];
/// Formats that may be handed to `toMarkdown`: those of Workers AI's page "Supported formats" (2026-04) that are documents.
pub const MARKDOWN_FORMATS: [&str; 6] = ["pdf", "docx", "xlsx", "html", "xml", "csv"];

/// The services that models read with, as errors name them.
pub const SERVICES: [&str; 3] = ["vision", "speech", "to_markdown"];
/// How often in a row one of them may fail over the same document, or the same part of a recording.
pub const TRIES: u32 = 3;
/// Their refusals that whoever owns the account can end: blocked, no access to a model, a licence not agreed to, a plan that
/// does not do; without a code of Workers AI's, the status.
const OF_THE_ACCOUNT: [u32; 7] = [3023, 3041, 5016, 5018, 5035, 401, 403];

/// Whether one of the [`SERVICES`] failed in a way that is worth another try.
pub fn is_failure(error: &Error) -> bool {
    matches!(error, Error::Service { service, retry: Retry::Backoff, .. } if SERVICES.contains(service))
}

/// Whether one of the [`SERVICES`] reads nothing for this account as it is.
pub fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Service { service, retry: Retry::Never, code: Some(code), .. }
        if SERVICES.contains(service) && OF_THE_ACCOUNT.contains(code))
}

/// Tokens that a vision model may be allowed to write.
pub const MOST_TOKENS: u32 = 8192;

/// What a vision model is asked for.
const PROMPT: &str = "Write down all text that can be read in this image, word for word, as Markdown: keep headings, lists \
    and tables. Then say in a few sentences what the image shows. Write nothing else.";

/// Who reads images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageReader {
    /// A vision model, asked for text and description. An image costs at most 88 neurons with the default model.
    Vision {
        /// One of [`VISION_MODELS`].
        #[serde(default = "vision_model")]
        model: String,
        /// What it is asked for.
        #[serde(default = "prompt")]
        prompt: String,
        /// Tokens that it may write, 16–8192.
        #[serde(default = "max_tokens")]
        max_tokens: u32,
    },
    /// The AI binding's `toMarkdown`: a description by models of Cloudflare's choice. They are billed, but no figure is
    /// published, so it counts against no limit.
    ToMarkdown {},
}

/// Who reads recordings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum AudioReader {
    /// Whisper. An hour costs 2,800 neurons with the default model.
    Whisper {
        /// One of [`SPEECH_MODELS`].
        #[serde(default = "speech_model")]
        model: String,
        /// The language that is spoken, as an ISO 639-1 code; found out by the model, part by part, when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
}

fn vision_model() -> String {
    VISION_MODELS[0].into()
}

fn speech_model() -> String {
    SPEECH_MODELS[0].into()
}

fn prompt() -> String {
    PROMPT.into()
}

fn max_tokens() -> u32 {
    1024
}

/// Who reads what the converter does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// Images.
    pub image: Option<ImageReader>,
    /// Recordings.
    pub audio: Option<AudioReader>,
    /// Formats that `toMarkdown` reads instead of the converter.
    pub to_markdown: Vec<String>,
}

impl Readers {
    /// # Errors
    /// [`Error::Invalid`] naming the field, the value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        if let Some(ImageReader::Vision { model, prompt, max_tokens }) = &self.image {
            one_of("ingest.image.model", model, &VISION_MODELS)?;
            within("ingest.image.max_tokens", *max_tokens, 16..=MOST_TOKENS)?;
            within("ingest.image.prompt (its bytes)", prompt.len(), 1..=4000)?;
        }
        if let Some(AudioReader::Whisper { model, language }) = &self.audio {
            one_of("ingest.audio.model", model, &SPEECH_MODELS)?;
            let is_code =
                |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase());
            if language.as_ref().is_some_and(|code| !is_code(code)) {
                return Err(Error::invalid(
                    "ingest.audio.language",
                    "must be an ISO 639-1 code, such as `en`",
                ));
            }
            if language.is_some() && model != SPEECH_MODELS[0] {
                return Err(Error::invalid("ingest.audio.language", format!("`{model}` takes none")));
            }
        }
        self.to_markdown.iter().try_for_each(|format| one_of("ingest.to_markdown", format, &MARKDOWN_FORMATS))
    }

    /// # Errors
    /// [`Error::Document`] `unsupported_type` for an image or a recording that nobody reads, naming the setting.
    pub fn check(&self, kind: Kind) -> Result<()> {
        let (what, setting, example) = match kind {
            Kind::Image(_) if self.image.is_none() => ("images", "image", r#"{"with": "vision"}"#),
            Kind::Audio(_) if self.audio.is_none() => ("recordings", "audio", r#"{"with": "whisper"}"#),
            _ => return Ok(()),
        };
        let message = format!(
            "{what} are not read here: the setting `ingest.{setting}` turns that on, for example with {example}"
        );
        Err(Error::Document { code: "unsupported_type".into(), message })
    }

    /// Whether `toMarkdown` reads this file. It goes by the type it is told, so it gets what is of that very type: no other
    /// sort of table is handed over as XLSX, no tabs as CSV.
    pub fn has_markdown_of(&self, kind: Kind, media_type: &str, name: &str) -> bool {
        let (format, only) = match kind {
            Kind::Image(_) => return matches!(self.image, Some(ImageReader::ToMarkdown {})),
            Kind::Pdf => ("pdf", None),
            Kind::Docx => ("docx", Some("docx")),
            Kind::Sheets => ("xlsx", Some("xlsx")),
            Kind::Html => ("html", None),
            Kind::Xml => ("xml", None),
            Kind::Csv => ("csv", Some("csv")),
            _ => return false,
        };
        let is_it = only.is_none_or(|extension| {
            let named = name.rsplit_once('.').map(|(_, named)| named.to_ascii_lowercase());
            let by_name = kind::declared("", name) == Some(kind);
            let by_type = kind::declared(media_type, "") == Some(kind);
            // Each that says something must say this, and one has to.
            (by_name || by_type)
                && (!by_name || named.as_deref() == Some(extension))
                && (!by_type || kind::essence(media_type) == kind.media_type())
        });
        is_it && self.to_markdown.iter().any(|known| known == format)
    }
}

fn one_of(field: &str, value: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let allowed: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
    Err(Error::invalid(field, format!("is `{value}`; allowed are {}", allowed.join(", "))))
}

/// The most neurons that one image can cost with a model that may write so much.
pub fn neurons_of_image(model: &str, prompt: &str, max_tokens: u32) -> Option<f64> {
    // A token is hardly ever less than two bytes.
    prices::neurons(model, prices::IMAGE_TOKENS + prompt.len() as u64 / 2, max_tokens.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Audio, Image};
    use crate::settings::Settings;

    fn settings(json: &str) -> Result<Settings, String> {
        let settings: Settings =
            serde_json::from_str(&format!(r#"{{"ingest": {json}}}"#)).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn a_reader_is_named_with_its_model() {
        let read =
            settings(r#"{"image": {"with": "vision"}, "audio": {"with": "whisper", "language": "de"}}"#)
                .unwrap();
        let expected =
            ImageReader::Vision { model: VISION_MODELS[0].into(), prompt: PROMPT.into(), max_tokens: 1024 };
        assert_eq!(read.ingest.image, Some(expected));
        settings(r#"{"image": {"with": "to_markdown"}, "to_markdown": ["pdf", "docx"]}"#).unwrap();
        for (wrong, why) in [
            (
                r#"{"image": {"with": "vision", "model": "@cf/other"}}"#,
                "ingest.image.model: is `@cf/other`; allowed are",
            ),
            (r#"{"image": {"with": "vision", "max_tokens": 0}}"#, "ingest.image.max_tokens"),
            (r#"{"image": {"with": "vision", "prompt": ""}}"#, "ingest.image.prompt"),
            (r#"{"image": {"with": "vision", "modle": "x"}}"#, "modle"),
            (r#"{"image": {"with": "to_markdown", "model": "x"}}"#, "model"),
            (r#"{"image": {"with": "eyes"}}"#, "eyes"),
            (r#"{"audio": {"with": "whisper", "model": "@cf/baai/bge-m3"}}"#, "ingest.audio.model"),
            (r#"{"audio": {"with": "whisper", "language": "German"}}"#, "ingest.audio.language"),
            (
                r#"{"audio": {"with": "whisper", "model": "@cf/openai/whisper", "language": "de"}}"#,
                "takes none",
            ),
            (r#"{"to_markdown": ["pdf", "exe"]}"#, "ingest.to_markdown: is `exe`"),
        ] {
            let error = settings(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn without_a_setting_it_is_named() {
        let nobody = Readers::default();
        for (kind, setting) in
            [(Kind::Image(Image::Png), "`ingest.image`"), (Kind::Audio(Audio::Mp3), "`ingest.audio`")]
        {
            let Err(Error::Document { code, message }) = nobody.check(kind) else { panic!("{kind:?}") };
            assert!(code == "unsupported_type" && message.contains(setting), "{message}");
        }
        assert_eq!(nobody.check(Kind::Pdf), Ok(()));
        let markdown =
            Readers { image: Some(ImageReader::ToMarkdown {}), to_markdown: vec!["pdf".into()], ..nobody };
        assert_eq!(markdown.check(Kind::Image(Image::Png)), Ok(()));
        let reads = |kind| markdown.has_markdown_of(kind, "", "a");
        assert!(reads(Kind::Image(Image::Gif)) && reads(Kind::Pdf));
        assert!(!reads(Kind::Docx) && !reads(Kind::Audio(Audio::Wav)));
    }

    #[test]
    fn to_markdown_is_handed_what_is_of_the_type_it_is_told() {
        let readers = Readers {
            to_markdown: ["xlsx", "csv", "docx", "html"].map(str::to_owned).into(),
            ..Readers::default()
        };
        let office = "application/vnd.openxmlformats-officedocument";
        let template = format!("{office}.spreadsheetml.template");
        let sheet = format!("{office}.spreadsheetml.sheet");
        let word = format!("{office}.wordprocessingml.document");
        for (kind, media_type, name, expected) in [
            (Kind::Sheets, "", "a.xlsx", true),
            (Kind::Sheets, "application/octet-stream", "A.XLSX", true),
            (Kind::Sheets, &*sheet, "a", true),
            (Kind::Sheets, &sheet, "a.xls", false),
            (Kind::Sheets, &template, "a.xlsx", false),
            (Kind::Sheets, "application/vnd.ms-excel", "a.xlsx", false),
            (Kind::Sheets, "", "a.xlsb", false),
            (Kind::Sheets, "", "a.ods", false),
            (Kind::Sheets, "", "a", false),
            (Kind::Csv, "text/csv; charset=utf-8", "a", true),
            (Kind::Csv, "text/plain", "a.csv", true),
            (Kind::Csv, "text/csv", "a.tsv", false),
            (Kind::Csv, "text/tab-separated-values", "a", false),
            (Kind::Docx, &word, "a.docx", true),
            (Kind::Docx, "", "a.docm", false),
            (Kind::Html, "application/xhtml+xml", "a.htm", true),
        ] {
            assert_eq!(readers.has_markdown_of(kind, media_type, name), expected, "{media_type} {name}");
        }
    }

    #[test]
    fn each_model_has_a_price() {
        for model in VISION_MODELS {
            assert!(neurons_of_image(model, PROMPT, 1024).is_some_and(|neurons| neurons > 15.0), "{model}");
        }
        for model in SPEECH_MODELS {
            assert!(prices::neurons_of_audio(model, 60.0).is_some_and(|neurons| neurons > 40.0), "{model}");
        }
        // As the setting's description has it.
        let most = neurons_of_image(VISION_MODELS[0], PROMPT, 1024).unwrap();
        assert!((85.0..88.0).contains(&most), "{most}");
    }
}
