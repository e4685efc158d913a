//! Embeddings: vectors for texts.

use js_sys::{Array, Float32Array, JSON, Reflect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};

use super::error::{AiError, error_in_json, shorten};

/// Most texts in one call (`maxItems` in the JSON schema of the `bge` models).
pub const EMBED_BATCH: usize = 100;

/// How the vectors of a text's tokens become one.
///
/// Vectors of different pooling must not meet in one index: they are not comparable. The service's default is
/// `mean`, `cls` is recommended (workers-types); so it is always sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's vector.
    Cls,
    /// The mean of all.
    Mean,
}

impl Pooling {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        }
    }
}

/// Vectors of equal dimension, one for each text, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    dimensions: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Values of one vector. 0 if there is none.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All values, vector after vector.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, vector after vector.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dimensions).unwrap_or(0)
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The vector of the text at this index.
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        self.rows().nth(index)
    }

    /// The vectors in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dimensions.max(1))
    }

    /// Appends those of another call.
    pub(super) fn append(&mut self, other: Self) -> Result<(), AiError> {
        if self.dimensions == 0 {
            *self = other;
        } else if other.dimensions == self.dimensions {
            self.values.extend_from_slice(&other.values);
        } else if !other.is_empty() {
            let detail = format!("vectors of {} and of {} values", self.dimensions, other.dimensions);
            return Err(AiError::Malformed { what: "embedding", detail, request_id: None });
        }
        Ok(())
    }

    /// Reads the reply `{data: number[][], pooling?}`; each row is copied at once, not number by number.
    /// `expected` is how many texts there were and how they were to be pooled, where that is still known.
    pub(super) fn from_wire(
        reply: &JsValue,
        expected: Option<(usize, Pooling)>,
        request_id: Option<String>,
    ) -> Result<Self, AiError> {
        let malformed =
            |detail: String| AiError::Malformed { what: "embedding", detail, request_id: request_id.clone() };
        let field = |name: &str| Reflect::get(reply, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED);
        // `bge-m3` is documented with `data` and with `response`.
        let rows = field("data").dyn_into::<Array>().or_else(|_| field("response").dyn_into::<Array>());
        let Ok(rows) = rows else {
            let text = JSON::stringify(reply).map(String::from).unwrap_or_default();
            if let Some((code, message)) =
                serde_json::from_str::<Value>(&text).ok().and_then(|reply| error_in_json(&reply))
            {
                return Err(AiError::Platform { code, status: 200, message, request_id });
            }
            return Err(malformed(format!("no `data` in {}", shorten(&text))));
        };
        if let Some((_, pooling)) = expected
            && let Some(other) = field("pooling").as_string()
            && other != pooling.as_str()
        {
            return Err(malformed(format!("pooled by `{other}` where `{}` was asked for", pooling.as_str())));
        }
        let count = rows.length() as usize;
        match expected {
            Some((texts, _)) if count != texts => {
                return Err(malformed(format!("{count} vectors for {texts} texts")));
            }
            None if count == 0 => return Err(malformed("no vectors".into())),
            _ => {}
        }
        let mut embeddings = Self::default();
        for (index, row) in rows.iter().enumerate() {
            if !Array::is_array(&row) {
                return Err(malformed(format!("vector {index} is no list")));
            }
            let row = Float32Array::new(&row);
            let length = row.length() as usize;
            if index == 0 {
                if length == 0 {
                    return Err(malformed("empty vectors".into()));
                }
                embeddings.dimensions = length;
                embeddings.values = vec![0.0; length * count];
            }
            if length != embeddings.dimensions {
                let expected = embeddings.dimensions;
                return Err(malformed(format!(
                    "vector {index} has {length} values, the first has {expected}"
                )));
            }
            row.copy_to(&mut embeddings.values[index * length..(index + 1) * length]);
        }
        if let Some(at) = embeddings.values.iter().position(|value| !value.is_finite()) {
            return Err(malformed(format!(
                "vector {} holds a value that is no number",
                at / embeddings.dimensions
            )));
        }
        Ok(embeddings)
    }
}

/// What is to be embedded.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    text: &'a [&'a str],
    pooling: Pooling,
}

impl<'a> Request<'a> {
    /// Checks the texts.
    pub(super) fn new(texts: &'a [&'a str], pooling: Pooling) -> Result<Self, AiError> {
        if texts.len() > EMBED_BATCH {
            return Err(AiError::Limit {
                limit: "texts of an embedding call",
                value: texts.len() as u64,
                allowed: EMBED_BATCH as u64,
            });
        }
        match texts.iter().position(|text| text.is_empty()) {
            Some(index) => Err(AiError::Invalid { field: "texts", detail: format!("text {index} is empty") }),
            None => Ok(Self { text: texts, pooling }),
        }
    }
}

/// The JSON of a request.
pub(super) fn to_wire(texts: &[&str], pooling: Pooling) -> Result<String, AiError> {
    json(&Request::new(texts, pooling)?)
}

/// The JSON of inputs, from a struct.
pub(super) fn json(inputs: &impl Serialize) -> Result<String, AiError> {
    serde_json::to_string(inputs)
        .map_err(|error| AiError::Invalid { field: "inputs", detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embeddings(dimensions: usize, values: &[f32]) -> Embeddings {
        Embeddings { dimensions, values: values.to_vec() }
    }

    #[test]
    fn rows_are_slices_of_the_flat_values() {
        let embeddings = embeddings(2, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(embeddings.len(), 2);
        assert_eq!(embeddings.rows().collect::<Vec<_>>(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!((embeddings.row(1), embeddings.row(2)), (Some(&[3.0, 4.0][..]), None));
        assert_eq!((Embeddings::default().len(), Embeddings::default().rows().len()), (0, 0));
    }

    #[test]
    fn batches_join_if_their_dimensions_agree() {
        let mut all = Embeddings::default();
        all.append(embeddings(2, &[1.0, 2.0])).unwrap();
        all.append(Embeddings::default()).unwrap();
        all.append(embeddings(2, &[3.0, 4.0])).unwrap();
        assert_eq!(all, embeddings(2, &[1.0, 2.0, 3.0, 4.0]));
        assert!(matches!(all.append(embeddings(1, &[1.0])), Err(AiError::Malformed { .. })));
    }

    #[test]
    fn the_pooling_is_always_sent() {
        assert_eq!(to_wire(&["a", "b"], Pooling::Cls).unwrap(), r#"{"text":["a","b"],"pooling":"cls"}"#);
        assert_eq!(to_wire(&["a"], Pooling::Mean).unwrap(), r#"{"text":["a"],"pooling":"mean"}"#);
    }

    #[test]
    fn too_many_and_empty_texts_are_refused() {
        assert!(to_wire(&["a"; 100], Pooling::Cls).is_ok());
        let error = to_wire(&["a"; 101], Pooling::Cls).unwrap_err();
        assert_eq!(error.to_string(), "texts of an embedding call: 101 is above the allowed 100");
        assert_eq!(to_wire(&["a", ""], Pooling::Cls).unwrap_err().to_string(), "`texts` text 1 is empty");
    }
}
