//! Where a request came to, and from which page.

use ragflare_cloudflare::core::answer::Source;
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::search::Hit;
use ragflare_cloudflare::cors::Cors;
use ragflare_cloudflare::http::ApiError;
use serde_json::Value;
use worker::{Request, js_sys};

/// Hosts whose names no one else can let point elsewhere.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a page calls that may not: one that is not on the list of origins, nor this origin's own. Without TLS a page is
/// this origin's own on a local host only: an attacker may let any other name point here for a while, and the page that
/// came from there before would be of the same origin.
pub(crate) fn is_foreign(request: &Request, cors: &Cors) -> Result<bool, ApiError> {
    let Some(origin) = request.headers().get("origin")? else { return Ok(false) };
    if cors.allows() {
        return Ok(false);
    }
    let url = request.url()?;
    let proven = url.scheme() == "https" || url.host_str().is_some_and(|host| LOCAL.contains(&host));
    Ok(!(proven && url.origin().ascii_serialization() == origin))
}

/// 403.
pub(crate) fn refused() -> ApiError {
    let message = "pages of this origin may not call; CORS_ORIGINS lists those that may";
    ApiError::new(403, "origin_not_allowed", message)
}

/// Links to what was cited.
#[derive(Debug)]
pub(crate) struct Links {
    origin: String,
}

impl Links {
    /// To be followed where the request went.
    pub(crate) fn new(request: &Request) -> Result<Self, ApiError> {
        Ok(Self { origin: request.url()?.origin().ascii_serialization() })
    }

    /// The page that the source was taken from, or the document's text here, with the bytes of the sentence that was cited.
    pub(crate) fn to(&self, citation: &Citation, source: Option<&Source>) -> String {
        if let Some(page) = source.and_then(|source| page(&source.hit)) {
            return page.to_owned();
        }
        let (start, end) = match &citation.sentence {
            Some(sentence) => (sentence.start, sentence.end),
            None => (citation.start, citation.end),
        };
        let id = String::from(js_sys::encode_uri_component(citation.document_id.as_str()));
        format!("{}/v1/documents/{id}/text#bytes={start}-{end}", self.origin)
    }
}

/// The page of the web that a document was taken from, if its metadata name one.
pub(crate) fn page(hit: &Hit) -> Option<&str> {
    let url = hit.metadata.get("url").and_then(Value::as_str);
    url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}
