//! The binding's `toMarkdown`: a file of one of Cloudflare's formats as Markdown.
//!
//! Unlike `run` it gives no `Response`: it throws `AiInternalError` with the service's text, and no status (read in
//! `cloudflare-internal:to-markdown-api`, workerd 1.20261117.1). Results are those of Cloudflare's page "Markdown Conversion,
//! Workers Binding" (2026-04).

use super::binding::{Binding, is_subrequest_limit, name_of, text_of};
use super::error::{AiError, code_in_text, shorten};
use crate::ledger::Ledger;
use js_sys::{Array, JSON, Object, Reflect, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use web_sys::{Blob, BlobPropertyBag};

/// The service's answer for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Markdown {
    /// Its text, and the tokens that the service counts.
    Text {
        /// Markdown.
        text: String,
        /// Estimated by the service; 0 when it does not say.
        tokens: u64,
    },
    /// It can't be converted, in the service's words.
    Refused(String),
}

/// No metadata of PDFs: producers and dates, which every question about either would find.
const OPTIONS: &str = r#"{"conversionOptions":{"pdf":{"metadata":false}}}"#;

pub(super) async fn convert(
    binding: &Binding,
    ledger: &Ledger,
    name: &str,
    media_type: &str,
    bytes: &[u8],
) -> Result<Markdown, AiError> {
    ledger.count_ai();
    let broken = |error: JsValue| failure(&error);
    let options = BlobPropertyBag::new();
    options.set_type(media_type);
    let parts = Array::of1(&Uint8Array::from(bytes));
    let blob = Blob::new_with_u8_array_sequence_and_options(&parts, &options).map_err(broken)?;
    let file = Object::new();
    Reflect::set(&file, &JsValue::from_str("name"), &JsValue::from_str(name)).map_err(broken)?;
    Reflect::set(&file, &JsValue::from_str("blob"), &blob).map_err(broken)?;
    let arguments = Array::of2(&Array::of1(&file), &JSON::parse(OPTIONS).map_err(broken)?);
    let reply = binding.call("toMarkdown", &arguments).await.map_err(broken)?;
    let text = JSON::stringify(&reply).ok().and_then(|text| text.as_string()).unwrap_or_default();
    from_wire(&text)
}

fn failure(error: &JsValue) -> AiError {
    let message = text_of(error);
    if is_subrequest_limit(&message) {
        return AiError::SubrequestLimit { message };
    }
    match name_of(error).as_str() {
        "AiInternalError" => thrown(message),
        _ => AiError::Network { message },
    }
}

/// The service's own error. Its status is not told: without a code it is taken for a fault of the moment.
fn thrown(message: String) -> AiError {
    AiError::Platform {
        code: code_in_text(&message),
        status: 500,
        message: shorten(&message),
        request_id: None,
    }
}

#[derive(Deserialize)]
#[serde(tag = "format", rename_all = "lowercase")]
enum Wire {
    #[serde(alias = "text")]
    Markdown {
        data: String,
        #[serde(default)]
        tokens: u64,
    },
    Error {
        error: String,
    },
}

/// Reads the result for one file.
fn from_wire(body: &str) -> Result<Markdown, AiError> {
    let malformed = |detail: String| AiError::Malformed { what: "conversion", detail, request_id: None };
    let results: Vec<Wire> =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", shorten(body))))?;
    match <[Wire; 1]>::try_from(results) {
        Ok([Wire::Markdown { data, tokens }]) => Ok(Markdown::Text { text: data, tokens }),
        Ok([Wire::Error { error }]) => Ok(Markdown::Refused(shorten(&error))),
        Err(results) => Err(malformed(format!("{} results for one file", results.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::RetryClass;

    #[test]
    fn results_are_texts_or_refusals() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/wire/ai-markdown.txt");
        let file = std::fs::read_to_string(path).unwrap();
        let mut seen = 0;
        for line in file.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (expected, body) = line.split_once('\t').unwrap();
            let found = match from_wire(body) {
                Ok(Markdown::Text { text, tokens }) => format!("text {} {tokens}", text.len()),
                Ok(Markdown::Refused(why)) => format!("refused {why}"),
                Err(error) => format!("error {}", matches!(error, AiError::Malformed { .. })),
            };
            assert_eq!(found, expected, "{body}");
            seen += 1;
        }
        assert!(seen >= 5, "{seen} lines");
    }

    #[test]
    fn a_code_in_what_is_thrown_decides() {
        assert_eq!(thrown("5007: no such model".into()).retry_class(), RetryClass::Never);
        assert_eq!(thrown("3036: used up".into()).retry_class(), RetryClass::AfterMidnightUtc);
        assert_eq!(thrown("Internal Error".into()).retry_class(), RetryClass::Backoff);
    }
}
