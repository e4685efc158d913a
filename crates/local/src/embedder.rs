//! Text embeddings with a BGE model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::onnx::OnnxModel;

/// How the token vectors of a text become one vector. The two are not compatible with each other: an index must be
/// written and queried with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over all tokens; what Workers AI does when nothing is said.
    #[default]
    Mean,
    /// The vector of the first token, for which the BGE models were trained.
    Cls,
}

/// A BGE embedding model.
#[derive(Debug)]
pub struct Embedder {
    model: OnnxModel,
}

impl Embedder {
    /// Loads `model.onnx` and `tokenizer.json` from a folder. [`crate::onnx::init_runtime`] must have run before.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Model`].
    pub fn load(folder: &Path, threads: usize) -> Result<Self> {
        Ok(Self { model: OnnxModel::load(folder, threads)? })
    }

    /// The model's folder name.
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// One vector per text, of length 1, in the order given. A text longer than 512 tokens (two of them special) is
    /// cut there. The same text always gives the same vector, whatever it is sent with.
    ///
    /// # Errors
    /// [`Error::Model`] when the model fails.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S], pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        Ok(self.embed_counted(texts, pooling)?.0)
    }

    /// The same, and the number of tokens, special ones included.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    pub fn embed_counted<S: AsRef<str>>(
        &self,
        texts: &[S],
        pooling: Pooling,
    ) -> Result<(Vec<Vec<f32>>, usize)> {
        let encodings = self.model.encode(texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>())?;
        let vectors = self.model.run(&encodings, |output| pool(&output.values, &output.shape, pooling))?;
        let vectors = vectors
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| Error::model(self.name(), "the output is not [tokens, width]"))?;
        Ok((vectors, encodings.iter().map(tokenizers::Encoding::len).sum()))
    }
}

/// Pools `[tokens, width]` (no padding in it) to a vector of length 1.
fn pool(values: &[f32], shape: &[usize], pooling: Pooling) -> Option<Vec<f32>> {
    let &[tokens, width] = shape else { return None };
    if tokens == 0 || values.len() != tokens * width {
        return None;
    }
    let mut pooled = values[..width].to_vec();
    if pooling == Pooling::Mean {
        for row in values[width..].chunks_exact(width) {
            pooled.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
    }
    // Dividing by the number of tokens would be undone by the normalisation.
    let norm = pooled.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
    for v in &mut pooled {
        *v /= norm;
    }
    Some(pooled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_to_length_one() {
        let values = [3.0, 4.0, 0.0, 0.0, 1.0, 0.0];
        assert_eq!(pool(&values, &[3, 2], Pooling::Cls), Some(vec![0.6, 0.8]));
        let mean = pool(&values, &[3, 2], Pooling::Mean).unwrap();
        assert!((mean[0] - 4.0 / 32f32.sqrt()).abs() < 1e-6 && (mean[1] - 4.0 / 32f32.sqrt()).abs() < 1e-6);
        assert_eq!(pool(&values, &[6], Pooling::Mean), None);
    }
}
