//! The crate's one error: variants are what a caller can act on.

use std::borrow::Cow;
use thiserror::Error;

/// When a failed call to a service is worth repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Repeating gives the same failure.
    Never,
    /// Repeat a few times after a growing pause.
    Backoff,
    /// The service is out of capacity and takes the same call later: repeat as often as it takes (429, Workers AI 3040,
    /// Vectorize 40041).
    Busy,
    /// The day's allowance is used up: not before 00:00 UTC (Workers AI 3036).
    AfterMidnightUtc,
}

/// Why a pipeline or a port could not do what it was asked to.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The caller's input is at fault; nothing was changed.
    #[error("{field}: {message}")]
    Invalid {
        /// The field at fault, as the caller knows it.
        field: String,
        /// The value and what is allowed.
        message: String,
    },
    /// A filter names a field that the configuration does not declare.
    #[error("filter field `{0}` is not declared")]
    FieldNotDeclared(String),
    /// The document's bytes can't be turned into text or chunks; the same bytes will fail again.
    #[error("{code}: {message}")]
    Document {
        /// A stable code, e.g. `not_utf8`, `no_text`.
        code: Cow<'static, str>,
        /// A sentence for the person who uploaded it.
        message: String,
    },
    /// A service behind a port failed.
    #[error("{service}: {message}")]
    Service {
        /// Which port, e.g. `embedder`.
        service: &'static str,
        /// Whether repeating helps.
        retry: Retry,
        /// The platform's own code, e.g. 3040.
        code: Option<u32>,
        /// The platform's own words.
        message: String,
    },
    /// The vectors of a tenant were made with other embedding settings.
    #[error(
        "tenant is indexed with `{stored}` but the configuration says `{configured}`: re-index the tenant"
    )]
    Fingerprint {
        /// Fingerprint of the stored vectors.
        stored: String,
        /// Fingerprint of the configuration.
        configured: String,
    },
    /// The document is not the one that the caller's precondition names, or changes faster than it can be changed.
    #[error("the document's current generation is {current}")]
    Precondition {
        /// The generation there is; 0 for none.
        current: u64,
    },
    /// The database has no room for what was to be stored.
    #[error(
        "the database takes {used} of {allowed} bytes, waiting uploads included, and this upload needs {needed}"
    )]
    Full {
        /// Bytes taken, with what waiting uploads will take.
        used: u64,
        /// Bytes that uploads may take.
        allowed: u64,
        /// Bytes the upload is estimated to take.
        needed: u64,
    },
    /// The question does not fit the model's window even without sources, or no source fits beside it.
    #[error("{needed} tokens are needed, {available} are available")]
    TooLong {
        /// Tokens counted.
        needed: usize,
        /// Tokens of the window that are not reserved.
        available: usize,
    },
    /// What the model answered is not of the form that was asked for, also when it was asked again.
    #[error("the model's answer is not of the form asked for: {message}")]
    Format {
        /// What is wrong, and where.
        message: String,
    },
    /// A request would cost more than the settings allow.
    #[error("this would cost up to {needed:.1} {unit}; {allowed:.1} are left for {what}")]
    Budget {
        /// What the limit is for: `one request` or `today`.
        what: &'static str,
        /// `neurons` or `tokens`.
        unit: &'static str,
        /// What is needed, with the whole answer room counted.
        needed: f64,
        /// What is left.
        allowed: f64,
    },
}

impl Error {
    /// Bad input in `field`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Service { retry, .. } => *retry,
            _ => Retry::Never,
        }
    }
}
