//! The one error type of this crate.

use std::path::PathBuf;

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the engines and in the set-up of the twin. The wire errors of the two services are built from
/// these in [`crate::ai::wire`] and [`crate::vectorize::wire`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file in question.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// A model could not be loaded, or failed while running.
    #[error("model {model}: {detail}")]
    Model {
        /// The model's name.
        model: String,
        /// What happened.
        detail: String,
    },
    /// The caller's input is not acceptable.
    #[error("{0}")]
    Input(String),
    /// The prompt and the tokens to generate do not fit the model's context window.
    #[error(
        "prompt of {prompt} tokens and max_tokens of {max_tokens} exceeded this model context window limit ({window})"
    )]
    ContextWindow {
        /// Tokens of the prompt, chat template included.
        prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// The model's window, in tokens.
        window: usize,
    },
    /// The vector store failed.
    #[error("vector store: {0}")]
    Store(String),
    /// A setting is wrong; the message names it, its value and what is allowed.
    #[error("{0}")]
    Config(String),
    /// A socket or process operation failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    /// A [`Error::Model`] from anything that can be printed.
    pub fn model(model: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::Model { model: model.into(), detail: detail.to_string() }
    }
}

macro_rules! store_error {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Error {
            fn from(error: $kind) -> Self {
                Self::Store(error.to_string())
            }
        }
    )*};
}
store_error!(
    redb::Error,
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
