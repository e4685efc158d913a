//! The limits of Vectorize, checked before anything is sent.
//!
//! From the documentation's limits page and its changelog (2026-03-16 for `topK`). The two limits on ids in one
//! call are not on that page: the service names them in error 40007, "too many ids in payload; max id count is …".

use serde_json::{Map, Value};

use super::error::VectorizeError;
use super::record::{QueryOptions, ReturnMetadata, VectorRecord};

/// Bytes of a vector's id.
pub const ID_BYTES: usize = 64;
/// Bytes of a namespace's name.
pub const NAMESPACE_BYTES: usize = 64;
/// Bytes of a vector's metadata as compact JSON.
pub const METADATA_BYTES: usize = 10 * 1024;
/// Values of a vector.
pub const DIMENSIONS: usize = 1536;
/// Matches of a query.
pub const TOP_K: u32 = 100;
/// Matches of a query that returns values or all metadata.
pub const TOP_K_WITH_CONTENT: u32 = 50;
/// Vectors in one write.
pub const WRITE_BATCH: usize = 1000;
/// Ids in one `getByIds`.
pub const GET_BATCH: usize = 20;
/// Ids in one `deleteByIds`.
pub const DELETE_BATCH: usize = 100;

fn limit(
    limit: &'static str,
    value: usize,
    allowed: usize,
    subject: Option<&str>,
) -> Result<(), VectorizeError> {
    if value <= allowed {
        return Ok(());
    }
    let subject = subject.map(crate::ai::shorten);
    Err(VectorizeError::Limit { limit, value: value as u64, allowed: allowed as u64, subject })
}

fn invalid(field: &'static str, detail: String) -> Result<(), VectorizeError> {
    Err(VectorizeError::Invalid { field, detail })
}

/// Checks one write.
pub(super) fn check_records(records: &[VectorRecord<'_>]) -> Result<(), VectorizeError> {
    limit("vectors in one write", records.len(), WRITE_BATCH, None)?;
    let dimensions = records.first().map_or(0, |record| record.values.len());
    for record in records {
        check_id(record.id)?;
        check_namespace(record.namespace)?;
        if record.values.len() != dimensions {
            let found = record.values.len();
            return invalid(
                "values",
                format!("of `{}` are {found}, those of the first are {dimensions}", record.id),
            );
        }
        check_values(record.values, Some(record.id))?;
        if let Some(metadata) = record.metadata {
            check_metadata(metadata, record.id)?;
        }
    }
    Ok(())
}

/// Checks a query.
pub(super) fn check_query(options: &QueryOptions) -> Result<(), VectorizeError> {
    if options.top_k == 0 {
        return invalid("top_k", "must be at least 1".into());
    }
    if options.return_values || options.return_metadata == ReturnMetadata::All {
        let name = "matches of a query with values or all metadata";
        limit(name, options.top_k as usize, TOP_K_WITH_CONTENT as usize, None)?;
    }
    limit("matches of a query", options.top_k as usize, TOP_K as usize, None)?;
    check_namespace(options.namespace.as_deref())?;
    match &options.filter {
        Some(filter) => Ok(filter.check()?),
        None => Ok(()),
    }
}

/// Checks the ids of one call.
pub(super) fn check_ids(ids: &[&str], name: &'static str, allowed: usize) -> Result<(), VectorizeError> {
    limit(name, ids.len(), allowed, None)?;
    ids.iter().try_for_each(|id| check_id(id))
}

/// Checks an id.
pub(super) fn check_id(id: &str) -> Result<(), VectorizeError> {
    if id.is_empty() {
        return invalid("id", "must not be empty".into());
    }
    limit("bytes of an id", id.len(), ID_BYTES, Some(id))
}

/// Checks the values of a vector. The one of a query has no id.
pub(super) fn check_values(values: &[f32], id: Option<&str>) -> Result<(), VectorizeError> {
    limit("values of a vector", values.len(), DIMENSIONS, id)?;
    let of = || id.map_or_else(|| "of the query".to_owned(), |id| format!("of `{id}`"));
    if values.is_empty() {
        return invalid("values", format!("{} must not be empty", of()));
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => invalid("values", format!("{} hold {} at {at}", of(), values[at])),
        None => Ok(()),
    }
}

fn check_namespace(namespace: Option<&str>) -> Result<(), VectorizeError> {
    match namespace {
        Some("") => invalid("namespace", "must not be empty; leave it out instead".into()),
        Some(name) => limit("bytes of a namespace", name.len(), NAMESPACE_BYTES, Some(name)),
        None => Ok(()),
    }
}

fn check_metadata(metadata: &Map<String, Value>, id: &str) -> Result<(), VectorizeError> {
    check_keys(metadata, id)?;
    let mut bytes = Bytes(0);
    // Counting cannot fail, and a map with text keys always serializes.
    let _ = serde_json::to_writer(&mut bytes, metadata);
    limit("bytes of metadata", bytes.0, METADATA_BYTES, Some(id))
}

fn check_keys(object: &Map<String, Value>, id: &str) -> Result<(), VectorizeError> {
    for (key, value) in object {
        if key.is_empty() || key.starts_with('$') || key.contains(['.', '"']) {
            let rule = "a key is not empty, holds no `.` or `\"` and does not begin with `$`";
            return invalid("metadata", format!("of `{id}` has the key `{key}`; {rule}"));
        }
        if let Value::Object(inner) = value {
            check_keys(inner, id)?;
        }
    }
    Ok(())
}

/// Counts what is written to it.
struct Bytes(usize);

impl std::io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectorize::Filter;
    use serde_json::json;

    fn check<'a>(change: impl FnOnce(&mut VectorRecord<'a>)) -> Result<(), VectorizeError> {
        let mut record = VectorRecord { id: "a", values: &[1.0, 2.0], namespace: None, metadata: None };
        change(&mut record);
        check_records(&[record])
    }

    fn names(outcome: Result<(), VectorizeError>) -> String {
        outcome.unwrap_err().to_string()
    }

    #[test]
    fn bytes_not_characters_are_counted() {
        let (fits, over) = ("é".repeat(32), format!("{}x", "é".repeat(32)));
        assert_eq!(check(|record| record.id = &fits), Ok(()));
        assert_eq!(check(|record| record.namespace = Some(&fits)), Ok(()));
        assert!(
            names(check(|record| record.id = &over))
                .starts_with("bytes of an id: 65 is above the allowed 64")
        );
        assert!(
            names(check(|record| record.namespace = Some(&over))).starts_with("bytes of a namespace: 65")
        );
    }

    #[test]
    fn ids_and_namespaces_are_not_empty() {
        assert_eq!(names(check(|record| record.id = "")), "`id` must not be empty");
        assert!(check(|record| record.namespace = Some("")).is_err());
    }

    #[test]
    fn values_are_finite_some_and_not_too_many() {
        assert_eq!(names(check(|record| record.values = &[1.0, f32::NAN])), "`values` of `a` hold NaN at 1");
        assert!(check(|record| record.values = &[f32::INFINITY]).is_err());
        assert!(check(|record| record.values = &[]).is_err());
        assert_eq!(check(|record| record.values = &[0.5; 1536]), Ok(()));
        assert!(names(check(|record| record.values = &[0.5; 1537])).starts_with("values of a vector: 1537"));
    }

    #[test]
    fn all_vectors_of_a_write_have_the_same_dimension() {
        let record = |values| VectorRecord { id: "a", values, namespace: None, metadata: None };
        let outcome = check_records(&[record(&[1.0, 2.0]), record(&[1.0])]);
        assert_eq!(names(outcome), "`values` of `a` are 1, those of the first are 2");
    }

    #[test]
    fn a_write_has_at_most_a_thousand_vectors() {
        let record = VectorRecord { id: "a", values: &[1.0], namespace: None, metadata: None };
        assert_eq!(check_records(&vec![record; 1000]), Ok(()));
        assert!(names(check_records(&vec![record; 1001])).starts_with("vectors in one write: 1001"));
    }

    #[test]
    fn metadata_keys_and_size() {
        for key in ["", ".", "a.b", "a\"b", "$a"] {
            let metadata = Map::from_iter([("k".into(), json!({ key: 1 }))]);
            assert!(
                names(check(|record| record.metadata = Some(&metadata))).contains("has the key"),
                "{key}"
            );
        }
        let of = |n: usize| Map::from_iter([("k".into(), json!("x".repeat(n)))]);
        let frame = r#"{"k":""}"#.len();
        let (fits, over) = (of(METADATA_BYTES - frame), of(METADATA_BYTES - frame + 1));
        assert_eq!(check(|record| record.metadata = Some(&fits)), Ok(()));
        assert!(names(check(|record| record.metadata = Some(&over))).starts_with("bytes of metadata: 10241"));
    }

    #[test]
    fn the_number_of_matches_depends_on_what_is_returned() {
        use ReturnMetadata::{All, Indexed, None as Nothing};
        let query = |top_k, return_values, return_metadata| {
            check_query(&QueryOptions { top_k, return_values, return_metadata, ..QueryOptions::default() })
                .is_ok()
        };
        assert!(query(100, false, Nothing) && query(100, false, Indexed) && query(50, true, All));
        assert!(!query(0, false, Nothing) && !query(101, false, Nothing));
        assert!(!query(51, true, Nothing) && !query(51, false, All));
    }

    #[test]
    fn filters_are_checked_with_the_query() {
        let filter = Some(Filter::new().equal("$bad", 1));
        let error = check_query(&QueryOptions { filter, ..QueryOptions::default() });
        assert_eq!(names(error), "`filter` at `$bad`: a field name must not begin with `$`");
    }

    #[test]
    fn ids_of_a_call_are_limited() {
        assert_eq!(check_ids(&["a"; 20], "ids of a read", GET_BATCH), Ok(()));
        assert!(names(check_ids(&["a"; 21], "ids of a read", GET_BATCH)).starts_with("ids of a read: 21"));
        assert!(check_ids(&[""], "ids of a read", GET_BATCH).is_err());
    }
}
