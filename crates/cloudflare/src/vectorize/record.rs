//! What Vectorize takes and gives.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::filter::Filter;

/// A vector to write.
#[derive(Debug, Clone, Copy)]
pub struct VectorRecord<'a> {
    /// At most 64 bytes.
    pub id: &'a str,
    /// As many values as the index has dimensions, all finite. May be a row of
    /// [`Embeddings`](crate::ai::Embeddings).
    pub values: &'a [f32],
    /// The vector's namespace, at most 64 bytes. A query in a namespace sees only its vectors.
    pub namespace: Option<&'a str>,
    /// At most 10 KiB as compact JSON. A field is filterable if a metadata index for it existed *before* the vector
    /// was written.
    pub metadata: Option<&'a Map<String, Value>>,
}

/// How much metadata a query returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnMetadata {
    /// None.
    #[default]
    None,
    /// The fields with a metadata index, strings cut to 64 bytes.
    Indexed,
    /// Everything. At most 50 matches then.
    All,
}

/// What a query looks for, besides the vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryOptions {
    /// Most matches to return: 1 to 100, or to 50 with values or all metadata.
    pub top_k: u32,
    /// Only vectors of this namespace.
    pub namespace: Option<String>,
    /// Also returns the vectors' values. Scores are exact then, otherwise approximate.
    pub return_values: bool,
    /// Which metadata to return.
    pub return_metadata: ReturnMetadata,
    /// Only vectors whose metadata meets this. An empty filter is not sent.
    pub filter: Option<Filter>,
}

impl Default for QueryOptions {
    /// The service's defaults: 5 matches, ids and scores only.
    fn default() -> Self {
        Self {
            top_k: 5,
            namespace: None,
            return_values: false,
            return_metadata: ReturnMetadata::None,
            filter: None,
        }
    }
}

impl QueryOptions {
    /// The JSON to send. `returnMetadata` is always one of its three words: the boolean `false` that the types
    /// also allow passes the runtime unchanged, and the service refuses it (40026).
    pub(super) fn to_wire(&self) -> Value {
        let mut wire = Map::new();
        wire.insert("topK".into(), self.top_k.into());
        wire.insert("returnValues".into(), self.return_values.into());
        let metadata = match self.return_metadata {
            ReturnMetadata::None => "none",
            ReturnMetadata::Indexed => "indexed",
            ReturnMetadata::All => "all",
        };
        wire.insert("returnMetadata".into(), metadata.into());
        if let Some(namespace) = &self.namespace {
            wire.insert("namespace".into(), namespace.as_str().into());
        }
        if let Some(filter) = self.filter.as_ref().filter(|filter| !filter.is_empty()) {
            wire.insert("filter".into(), filter.to_json());
        }
        Value::Object(wire)
    }
}

/// One result of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The vector's id.
    pub id: String,
    /// How near it is, by the metric of the index: for `cosine` and `dot-product` higher is nearer, for
    /// `euclidean` lower.
    pub score: f64,
    /// Its values, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f32>>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its metadata, as much as was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The results of a query, nearest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Matches {
    /// The results.
    pub matches: Vec<Match>,
}

/// A vector as the index holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredVector {
    /// Its id.
    pub id: String,
    /// Its values.
    #[serde(default)]
    pub values: Vec<f32>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// A write that the service has accepted. Queries see it later: half of all writes within 30 s, nearly all within
/// two minutes (changelog 2026-06-30).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mutation {
    /// Identifies the write; compare with [`IndexInfo::processed_up_to_mutation`].
    pub mutation_id: String,
}

/// The state of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IndexInfo {
    /// Vectors in it.
    #[serde(deserialize_with = "null_is_default")]
    pub vector_count: u64,
    /// Values of each.
    pub dimensions: usize,
    /// When the latest processed write was made.
    #[serde(deserialize_with = "text_of_any")]
    pub processed_up_to_datetime: Option<String>,
    /// The latest processed write.
    #[serde(deserialize_with = "text_of_any")]
    pub processed_up_to_mutation: Option<String>,
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The types say number where the service sends a date or an id as text.
fn text_of_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn return_metadata_is_always_a_word() {
        let wire = QueryOptions::default().to_wire();
        assert_eq!(wire, json!({ "topK": 5, "returnValues": false, "returnMetadata": "none" }));
    }

    #[test]
    fn an_empty_filter_is_not_sent() {
        let filter = |filter| QueryOptions { filter: Some(filter), ..QueryOptions::default() }.to_wire();
        assert_eq!(filter(Filter::new()).get("filter"), None);
        assert_eq!(filter(Filter::new().equal("a", 1))["filter"], json!({ "a": { "$eq": 1 } }));
    }

    #[test]
    fn matches_with_and_without_extras() {
        let wire = json!({ "count": 2, "matches": [
            { "id": "a", "score": 0.5 },
            { "id": "b", "score": 1, "values": [0.25, 1], "namespace": "n", "metadata": { "k": ["x"] } }
        ] });
        let matches: Matches = serde_json::from_value(wire).unwrap();
        assert_eq!(matches.matches[0].values, None);
        assert_eq!(matches.matches[1].values, Some(vec![0.25, 1.0]));
    }

    #[test]
    fn index_info_of_either_type() {
        let wire = json!({ "vectorCount": 3, "dimensions": 384, "processedUpToDatetime": "2026-11-21T00:00:00Z",
            "processedUpToMutation": 17 });
        let info: IndexInfo = serde_json::from_value(wire).unwrap();
        assert_eq!((info.vector_count, info.dimensions), (3, 384));
        assert_eq!(info.processed_up_to_datetime.as_deref(), Some("2026-11-21T00:00:00Z"));
        assert_eq!(info.processed_up_to_mutation.as_deref(), Some("17"));
        let empty: IndexInfo =
            serde_json::from_value(json!({ "vectorCount": null, "dimensions": 8 })).unwrap();
        assert_eq!((empty.vector_count, empty.processed_up_to_mutation), (0, None));
    }
}
