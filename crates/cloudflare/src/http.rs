//! What every route answers with when it can't do what was asked: `{error: {type, code, message, param?}, request_id}`.

use crate::budget::TODAY;
use ragflare_core::{Error, Retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{Method, Request, Response, ResponseBuilder};

/// The largest JSON body, in bytes.
pub const MAX_JSON_BYTES: usize = 1024 * 1024;

/// A failure on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Stable code within the type.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Detail<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Detail<'a> {
    r#type: &'a str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

impl ApiError {
    /// A failure without a field.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), param: None, retry_after: None }
    }

    /// 404.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("there is no {what}"))
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "invalid_api_key", "send a valid key as `Authorization: Bearer KEY`")
    }

    /// 403.
    pub fn forbidden(scope: &str) -> Self {
        Self::new(403, "insufficient_scope", format!("the key lacks the scope `{scope}`"))
    }

    /// `OpenAI`'s name for the kind of failure.
    pub fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }

    /// The reply's JSON.
    pub fn to_json(&self, request_id: &str) -> String {
        let error = Detail {
            r#type: self.kind(),
            code: &self.code,
            message: &self.message,
            param: self.param.as_deref(),
        };
        serde_json::to_string(&Body { error, request_id }).unwrap_or_default()
    }

    /// The reply.
    ///
    /// # Errors
    /// When the runtime refuses a header.
    pub fn into_response(self, request_id: &str) -> worker::Result<Response> {
        let mut builder = ResponseBuilder::new()
            .with_status(self.status)
            .with_header("content-type", "application/json")?
            .with_header("x-request-id", request_id)?;
        if let Some(seconds) = self.retry_after {
            builder = builder.with_header("retry-after", &seconds.to_string())?;
        }
        if self.status == 401 {
            builder = builder.with_header("www-authenticate", "Bearer")?;
        }
        Ok(builder.fixed(self.to_json(request_id).into_bytes()))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        if let Error::Service { service, retry, code, .. } = &error {
            return unavailable(service, *retry, *code, &message);
        }
        match error {
            Error::Invalid { field, message } => {
                Self { param: Some(field), ..Self::new(400, "invalid_value", message) }
            }
            Error::FieldNotDeclared(field) => Self {
                param: Some(format!("filter.{field}")),
                ..Self::new(400, "filter_field_not_declared", message)
            },
            Error::Document { code, message } => Self::new(422, code, message),
            Error::Fingerprint { .. } => Self::new(409, "embedding_settings_changed", message),
            Error::Precondition { .. } => Self::new(412, "precondition_failed", message),
            Error::Full { .. } => Self::new(507, "database_full", message),
            Error::Budget { what: TODAY, .. } => Self {
                retry_after: Some(seconds_to_midnight()),
                ..Self::new(429, "daily_limit_exceeded", message)
            },
            Error::Budget { .. } => Self::new(400, "request_limit_exceeded", message),
            Error::TooLong { .. } => Self::new(400, "context_length_exceeded", message),
            Error::Format { .. } => Self::new(502, "format_not_met", message),
            _ => Self::new(500, "internal", message),
        }
    }
}

/// A service behind us failed. Its own words may hold statements and paths: they go to the log, its code to the client.
fn unavailable(service: &str, retry: Retry, code: Option<u32>, words: &str) -> ApiError {
    worker::console_error!("{words}");
    let too_long = code == Some(5021);
    let code = code.map(|code| format!(" (code {code})")).unwrap_or_default();
    if service == "generator" && too_long {
        let message = "the prompt and the answer room exceed the model's window (code 5021)";
        return ApiError::new(400, "context_length_exceeded", message);
    }
    match retry {
        Retry::Backoff | Retry::Busy => ApiError {
            retry_after: Some(5),
            ..ApiError::new(
                503,
                format!("{service}_unavailable"),
                format!("the {service} is unavailable{code}"),
            )
        },
        Retry::AfterMidnightUtc => ApiError {
            retry_after: Some(seconds_to_midnight()),
            ..ApiError::new(
                429,
                format!("{service}_quota_exceeded"),
                format!("the day's allowance of the {service} is used up{code}"),
            )
        },
        Retry::Never => {
            ApiError::new(502, format!("{service}_failed"), format!("the {service} refused the call{code}"))
        }
    }
}

/// Seconds until 00:00 UTC.
pub fn seconds_to_midnight() -> u32 {
    const DAY: u64 = 86_400;
    (DAY - worker::Date::now().as_millis() / 1000 % DAY) as u32
}

impl From<worker::Error> for ApiError {
    fn from(error: worker::Error) -> Self {
        // The runtime's words may hold paths and stack traces: they go to the log, not to the client.
        worker::console_error!("{error}");
        Self::new(500, "internal", "something went wrong here; the request id leads to the log")
    }
}

/// A JSON reply.
///
/// # Errors
/// When the runtime refuses a header.
pub fn json<T: Serialize>(status: u16, body: &T) -> Result<Response, ApiError> {
    let text = serde_json::to_string(body)
        .map_err(|error| ApiError::new(500, "internal", format!("the reply can't be written: {error}")))?;
    let builder =
        ResponseBuilder::new().with_status(status).with_header("content-type", "application/json")?;
    Ok(builder.fixed(text.into_bytes()))
}

/// Reads a JSON body of at most [`MAX_JSON_BYTES`].
///
/// # Errors
/// 400, 413, 415.
pub async fn read_json<T: DeserializeOwned>(request: &mut Request) -> Result<T, ApiError> {
    let media_type = media_type(request)?.unwrap_or_else(|| "application/json".into());
    if media_type != "application/json" {
        let message = format!("send `application/json`, not `{media_type}`");
        return Err(ApiError::new(415, "unsupported_media_type", message));
    }
    refuse_encoding(request)?;
    let bytes = read_bytes(request, MAX_JSON_BYTES).await?;
    let wrong = |error: serde_json::Error| {
        ApiError::new(400, "invalid_json", format!("the body is not as expected: {error}"))
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    if !value.is_object() {
        return Err(ApiError::new(400, "invalid_json", "the body must be a JSON object"));
    }
    serde_json::from_value(value).map_err(wrong)
}

/// Bodies are taken as they are.
///
/// # Errors
/// 415 for a compressed body.
pub fn refuse_encoding(request: &Request) -> Result<(), ApiError> {
    match request.headers().get("content-encoding")?.as_deref() {
        None | Some("" | "identity") => Ok(()),
        Some(other) => {
            let message = format!("send the body as it is, not with `Content-Encoding: {other}`");
            Err(ApiError::new(415, "unsupported_encoding", message))
        }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413.
pub async fn read_bytes(request: &mut Request, limit: usize) -> Result<Vec<u8>, ApiError> {
    use futures::StreamExt;
    let too_large = || ApiError::new(413, "too_large", format!("the body is larger than {limit} bytes"));
    if content_length(request)?.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    if request.inner().body().is_none() {
        return Ok(Vec::new());
    }
    let mut stream = request.stream()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > limit {
            return Err(too_large());
        }
    }
    Ok(bytes)
}

/// The `Content-Length` header.
///
/// # Errors
/// When the runtime refuses to read it.
pub fn content_length(request: &Request) -> Result<Option<u64>, ApiError> {
    Ok(request.headers().get("content-length")?.and_then(|length| length.parse().ok()))
}

/// The request's method, if it is one that routes know: `worker` takes any other for GET.
///
/// # Errors
/// 405.
pub fn method(request: &Request) -> Result<Method, ApiError> {
    let name = request.inner().method();
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    match name.as_str() {
        // The runtime leaves the body of a reply to HEAD out.
        "HEAD" => Ok(Method::Get),
        name if known.contains(&name) => Ok(request.method()),
        other => Err(ApiError::new(405, "method_not_allowed", format!("{other} is not allowed here"))),
    }
}

/// The media type of the body, in lower case, without parameters.
///
/// # Errors
/// When the runtime refuses to read it.
pub fn media_type(request: &Request) -> Result<Option<String>, ApiError> {
    let header = request.headers().get("content-type")?;
    Ok(header
        .map(|header| header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|media_type| !media_type.is_empty()))
}
