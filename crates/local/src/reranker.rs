//! Relevance of texts to a query, with a cross-encoder.

use std::path::Path;

use crate::error::{Error, Result};
use crate::onnx::OnnxModel;

/// A cross-encoder. In the twin it is ms-marco-MiniLM-L-12-v2, under that name, and standing in for bge-reranker-base.
#[derive(Debug)]
pub struct Reranker {
    model: OnnxModel,
}

impl Reranker {
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

    /// One score per text in the order given: raw logits (roughly -11 to 11), higher is more relevant. Pairs are cut
    /// at 512 tokens, the longer side first.
    ///
    /// # Errors
    /// [`Error::Model`] when the model fails.
    pub fn score<S: AsRef<str>>(&self, query: &str, texts: &[S]) -> Result<Vec<f32>> {
        let pairs: Vec<(&str, &str)> = texts.iter().map(|t| (query, t.as_ref())).collect();
        let encodings = self.model.encode(pairs)?;
        let scores = self.model.run(&encodings, |output| output.values.first().copied())?;
        scores
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| Error::model(self.name(), "the output holds no score"))
    }
}
