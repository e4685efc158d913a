//! Vectorize's limits and the errors for exceeding them.
//!
//! Sources: Cloudflare's "Vectorize limits" page and changelog (2026-03-16 for topK 50), error texts and codes seen in
//! public issues. Where no code is known for a limit, [`CODE_BODY`] is used, and the place says so.

use serde_json::{Map, Value};

use super::store::Vector;
use super::wire::WireError;

/// A query vector of the wrong length.
pub const CODE_QUERY_DIMENSIONS: u32 = 40006;
/// Too many ids in one call (seen: "too many ids in payload; max id count is …").
pub const CODE_TOO_MANY_IDS: u32 = 40007;
/// A vector id that is too long.
pub const CODE_ID_LENGTH: u32 = 40008;
/// An inserted vector of the wrong length.
pub const CODE_VECTOR_DIMENSIONS: u32 = 40010;
/// A vector that does not parse.
pub const CODE_VECTOR_PARSE: u32 = 40023;
/// A `topK` out of range.
pub const CODE_TOP_K: u32 = 40025;
/// A body that does not parse; here also any limit without a known code.
pub const CODE_BODY: u32 = 40026;
/// Too many requests.
pub const CODE_TOO_MANY_REQUESTS: u32 = 40041;

/// Bytes in a vector id.
pub const ID_BYTES: usize = 64;
/// Bytes in a namespace.
pub const NAMESPACE_BYTES: usize = 64;
/// Bytes of metadata per vector, as compact JSON.
pub const METADATA_BYTES: usize = 10 * 1024;
/// Numbers per vector.
pub const DIMENSIONS: usize = 1536;
/// Vectors per insert or upsert from a worker.
pub const BATCH: usize = 1000;
/// Bytes of a request body.
pub const BODY_BYTES: usize = 100_000_000;
/// `topK` of a plain query.
pub const TOP_K: usize = 100;
/// `topK` with `returnValues` or `returnMetadata: "all"`.
pub const TOP_K_WITH_DATA: usize = 50;
/// `topK` when the query does not say.
pub const TOP_K_DEFAULT: usize = 5;
/// Ids per `deleteByIds` (seen in public issues with code 40007).
pub const DELETE_IDS: usize = 100;
/// Ids per `getByIds`. Not on the limits page and not verified; 20 is the cautious reading.
pub const GET_IDS: usize = 20;
/// Bytes of a filter as compact JSON; it must stay below.
pub const FILTER_BYTES: usize = 2048;
/// Characters of a filter key.
pub const FILTER_KEY_CHARS: usize = 512;
/// Bytes of a string that a metadata index sees.
pub const INDEXED_STRING_BYTES: usize = 64;
/// Metadata indexes per index.
pub const METADATA_INDEXES: usize = 10;

/// Checks one vector that is to be written.
///
/// # Errors
/// 40008, 40010 or 40026.
pub fn check_vector(vector: &Vector, dimensions: usize) -> Result<(), WireError> {
    if vector.id.is_empty() || vector.id.len() > ID_BYTES {
        return Err(WireError::bad(
            CODE_ID_LENGTH,
            format!("id too long; max is {ID_BYTES} bytes, got {} bytes", vector.id.len()),
        ));
    }
    if vector.values.len() != dimensions {
        return Err(WireError::bad(
            CODE_VECTOR_DIMENSIONS,
            format!(
                "invalid vector for id=\"{}\", expected {dimensions} dimensions, and got {} dimensions",
                vector.id,
                vector.values.len()
            ),
        ));
    }
    if vector.namespace.as_ref().is_some_and(|n| n.len() > NAMESPACE_BYTES) {
        // The code for this is not documented.
        return Err(WireError::bad(
            CODE_BODY,
            format!("namespace of vector id=\"{}\" too long; max is {NAMESPACE_BYTES} bytes", vector.id),
        ));
    }
    vector.metadata.as_ref().map_or(Ok(()), |m| check_metadata(&vector.id, m))
}

/// Metadata: at most 10 KiB; keys not empty, without `.` and `"`, not starting with `$`. The codes are not documented.
fn check_metadata(id: &str, metadata: &Map<String, Value>) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |b| b.len());
    if bytes > METADATA_BYTES {
        return Err(WireError::bad(
            CODE_BODY,
            format!(
                "metadata of vector id=\"{id}\" too large; max is {METADATA_BYTES} bytes, got {bytes} bytes"
            ),
        ));
    }
    check_keys(id, metadata)
}

fn check_keys(id: &str, object: &Map<String, Value>) -> Result<(), WireError> {
    for (key, value) in object {
        if key.is_empty() || key.contains(['.', '"']) || key.starts_with('$') {
            return Err(WireError::bad(
                CODE_BODY,
                format!(
                    "metadata key {key:?} of vector id=\"{id}\" must not be empty, contain '.' or '\"', or start with '$'"
                ),
            ));
        }
        if let Value::Object(inner) = value {
            check_keys(id, inner)?;
        }
    }
    Ok(())
}

/// Checks the number of ids and their lengths.
///
/// # Errors
/// 40007 or 40008.
pub fn check_ids(ids: &[String], limit: usize) -> Result<(), WireError> {
    if ids.len() > limit {
        return Err(WireError::bad(
            CODE_TOO_MANY_IDS,
            format!("too many ids in payload; max id count is {limit}, got {}", ids.len()),
        ));
    }
    match ids.iter().find(|id| id.is_empty() || id.len() > ID_BYTES) {
        Some(id) => Err(WireError::bad(
            CODE_ID_LENGTH,
            format!("id too long; max is {ID_BYTES} bytes, got {} bytes", id.len()),
        )),
        None => Ok(()),
    }
}

/// Checks `topK` against what is asked to be returned.
///
/// # Errors
/// 40025.
pub fn check_top_k(top_k: i64, with_data: bool) -> Result<usize, WireError> {
    let limit = if with_data { TOP_K_WITH_DATA } else { TOP_K };
    match usize::try_from(top_k) {
        Ok(k) if (1..=limit).contains(&k) => Ok(k),
        Ok(k) if k > limit => Err(WireError::bad(CODE_TOP_K, format!("max top K is {limit}, but got {k}"))),
        _ => Err(WireError::bad(CODE_TOP_K, format!("min top K is 1, but got {top_k}"))),
    }
}

/// The part of a string a metadata index sees: its first 64 bytes, cut at a character.
pub fn indexed_part(text: &str) -> &str {
    let mut end = text.len().min(INDEXED_STRING_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector(id: &str, metadata: &Value) -> Vector {
        Vector {
            id: id.to_owned(),
            values: vec![0.0; 3],
            namespace: None,
            metadata: metadata.as_object().cloned(),
        }
    }

    fn code(vector: &Vector) -> Option<u32> {
        check_vector(vector, 3).err().map(|e| e.code)
    }

    #[test]
    fn vectors_are_checked() {
        assert_eq!(code(&vector(&"x".repeat(64), &json!({}))), None);
        assert_eq!(code(&vector(&"x".repeat(65), &json!({}))), Some(CODE_ID_LENGTH));
        assert_eq!(code(&vector(&"ü".repeat(33), &json!({}))), Some(CODE_ID_LENGTH));
        let long = Vector { values: vec![0.0; 4], ..vector("a", &json!({})) };
        assert_eq!(code(&long), Some(CODE_VECTOR_DIMENSIONS));
        let namespace = Vector { namespace: Some("n".repeat(65)), ..vector("a", &json!({})) };
        assert_eq!(code(&namespace), Some(CODE_BODY));
        for bad in ["", "a.b", "a\"b", "$a"] {
            assert_eq!(code(&vector("a", &json!({bad: 1}))), Some(CODE_BODY), "{bad}");
            assert_eq!(code(&vector("a", &json!({"outer": {bad: 1}}))), Some(CODE_BODY), "{bad}");
        }
        assert_eq!(code(&vector("a", &json!({"k": "v".repeat(METADATA_BYTES - 8)}))), None);
        assert_eq!(code(&vector("a", &json!({"k": "v".repeat(METADATA_BYTES - 7)}))), Some(CODE_BODY));
    }

    #[test]
    fn top_k_depends_on_what_is_returned() {
        assert_eq!(check_top_k(100, false).ok(), Some(100));
        assert_eq!(check_top_k(50, true).ok(), Some(50));
        for (k, data) in [(101, false), (51, true), (0, false), (-1, false)] {
            assert_eq!(check_top_k(k, data).err().map(|e| e.code), Some(CODE_TOP_K));
        }
    }

    #[test]
    fn strings_are_cut_at_a_character() {
        assert_eq!(indexed_part("short"), "short");
        assert_eq!(indexed_part(&"€".repeat(40)).len(), 63);
    }
}
