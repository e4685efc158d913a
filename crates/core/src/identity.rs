//! Hashes and ids: of contents, embedded texts, vectors, namespaces.

use crate::document::{DocumentId, Generation};
use crate::{Error, Result, Tenant};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What makes vectors comparable: model, pooling, dimensions, prefixes. Vectors of different fingerprints never mix,
/// since it is part of the namespace and of every vector's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// From the settings that decide what a vector means.
    pub fn new(
        model: &str,
        pooling: &str,
        dimensions: usize,
        query_prefix: &str,
        document_prefix: &str,
    ) -> Self {
        let prefixes = digest(&[query_prefix.as_bytes(), document_prefix.as_bytes()]);
        Self(format!("{model}:{pooling}:{dimensions}:{}", short(&prefixes, 6)))
    }

    /// The name, as shown in errors and stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Vectorize namespace, at most 64 bytes: a hash of the tenant and one of the fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Namespace(String);

impl Namespace {
    /// The namespace of a tenant's vectors of one fingerprint.
    pub fn new(tenant: &Tenant, fingerprint: &Fingerprint) -> Self {
        let tenant = digest(&[b"tenant", tenant.as_str().as_bytes()]);
        let fingerprint = digest(&[b"fingerprint", fingerprint.as_str().as_bytes()]);
        Self(format!("{}.{}", short(&tenant, 16), short(&fingerprint, 8)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hash of a text as it is embedded, title and heading prefix included.
pub fn text_hash(embedded: &str) -> String {
    short(&digest(&[embedded.as_bytes()]), 16)
}

/// SHA-256 of a document's bytes, hexadecimal.
pub fn content_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Id of the vector for a text: 22 characters. Same tenant, life of the document, birth generation, text, fingerprint and
/// metadata (`fields`): same id, so a repeated upsert changes nothing. A new birth gives a new id, so a late delete of a
/// dead one never hits a live one.
pub fn vector_id(
    tenant: &Tenant,
    document: &DocumentId,
    incarnation: Generation,
    born: Generation,
    text_hash: &str,
    fingerprint: &str,
    fields: &str,
) -> String {
    let digest = digest(&[
        tenant.as_str().as_bytes(),
        document.as_str().as_bytes(),
        &incarnation.to_be_bytes(),
        &born.to_be_bytes(),
        text_hash.as_bytes(),
        fingerprint.as_bytes(),
        fields.as_bytes(),
    ]);
    short(&digest, 16)
}

/// The value of the vectors' `document` metadata: Vectorize compares strings by their first 64 bytes only, so the id
/// itself (up to 128) would not do.
pub fn document_tag(tenant: &Tenant, document: &DocumentId) -> String {
    short(&digest(&[b"document", tenant.as_str().as_bytes(), document.as_str().as_bytes()]), 16)
}

/// Object key of an upload, fresh by `unique`.
///
/// # Errors
/// [`Error::Invalid`] when `unique` is empty.
pub fn object_key(tenant: &Tenant, unique: &str) -> Result<String> {
    if unique.is_empty() {
        return Err(Error::invalid("unique", "must not be empty"));
    }
    Ok(format!("{ORIGINALS}{tenant}/{unique}"))
}

/// What all keys of originals begin with.
pub(crate) const ORIGINALS: &str = "originals/";
/// What a copy's unique part begins with; no upload's has a point.
const COPY: &str = "source.";

/// Object key of a copy of a source's object, fresh by `unique`. The key says where a document comes from: so it is known in
/// the same transaction that begins a generation.
///
/// # Errors
/// As [`object_key`].
pub fn copy_key(tenant: &Tenant, unique: &str) -> Result<String> {
    object_key(tenant, unique)?;
    object_key(tenant, &format!("{COPY}{unique}"))
}

/// Whether an object key was made by [`copy_key`].
pub fn is_copy(object_key: &str) -> bool {
    object_key.rsplit('/').next().is_some_and(|unique| unique.starts_with(COPY))
}

/// Hash over parts, each preceded by its length so that no two lists collide.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first `bytes` bytes of a hash, base64url.
pub(crate) fn short(digest: &[u8; 32], bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(&digest[..bytes])
}
