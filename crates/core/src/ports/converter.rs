//! Originals that are no text, as text.

use crate::conversion::Conversion;
use crate::{Result, Tenant};

/// An original to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original<'a> {
    /// Its key in the object store.
    pub key: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Its media type, with the `charset` that its uploader named.
    pub media_type: &'a str,
    /// Its file name, or the document's id.
    pub name: &'a str,
}

/// Originals that are no text, as text.
pub trait Converter {
    /// Makes a text of an original and stores it as [`text_key`](crate::conversion::text_key) says, then what it says of it
    /// as [`conversion_key`](crate::conversion::conversion_key) says. Repeating it changes nothing. `None` when there is more to
    /// do than one invocation may: it is asked again.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document) when the bytes are at fault; [`Error::Service`](crate::Error::Service)
    /// when the converter is.
    async fn convert(&self, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>>;
}
