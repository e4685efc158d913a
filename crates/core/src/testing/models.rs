//! Models that need no weights.

use crate::identity::{Fingerprint, digest};
use crate::ports::{Embedder, Embeddings, Finish, Generated, Prompt, Reranker, TextGenerator, Usage};
use crate::settings::EmbeddingSettings;
use crate::{Result, Tenant, keyword};
use futures::stream;
use std::cell::RefCell;

/// Texts as bags of hashed terms: equal words give near vectors. Dimensions and fingerprint of the default settings.
#[derive(Debug, Default)]
pub struct HashEmbedder {
    /// Texts of each call to embed documents.
    pub calls: RefCell<Vec<Vec<String>>>,
}

impl HashEmbedder {
    const DIMENSIONS: usize = 384;

    fn vector(text: &str) -> Vec<f32> {
        let mut vector = vec![0.0f32; Self::DIMENSIONS];
        for term in keyword::terms(text) {
            let digest = digest(&[term.as_bytes()]);
            vector[usize::from(u16::from_be_bytes([digest[0], digest[1]])) % Self::DIMENSIONS] += 1.0;
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }
}

impl Embedder for HashEmbedder {
    fn fingerprint(&self) -> Fingerprint {
        EmbeddingSettings::default().fingerprint()
    }

    async fn embed_documents(&self, _: &Tenant, texts: &[&str]) -> Result<Embeddings> {
        self.calls.borrow_mut().push(texts.iter().map(ToString::to_string).collect());
        let values = texts.iter().flat_map(|text| Self::vector(text)).collect();
        Ok(Embeddings { dimensions: Self::DIMENSIONS, values })
    }

    async fn embed_query(&self, _: &Tenant, query: &str) -> Result<Vec<f32>> {
        Ok(Self::vector(query))
    }
}

/// Counts the query's terms in each passage.
#[derive(Debug, Default)]
pub struct OverlapReranker;

impl Reranker for OverlapReranker {
    async fn rerank(&self, _: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>> {
        let query = keyword::query_terms(query);
        let score = |passage: &&str| {
            keyword::query_terms(passage).iter().filter(|term| query.contains(term)).count() as f32
        };
        Ok(passages.iter().map(score).collect())
    }
}

/// Says what the script says, in the pieces it has.
#[derive(Debug, Default)]
pub struct ScriptedGenerator {
    /// Pieces of the next replies.
    pub script: RefCell<Vec<String>>,
    /// Prompts seen.
    pub prompts: RefCell<Vec<Prompt>>,
}

impl TextGenerator for ScriptedGenerator {
    type Stream = stream::Iter<std::vec::IntoIter<Result<Generated>>>;

    async fn generate(&self, _: &Tenant, prompt: &Prompt) -> Result<Self::Stream> {
        self.prompts.borrow_mut().push(prompt.clone());
        let mut steps: Vec<Result<Generated>> =
            self.script.borrow().iter().map(|piece| Ok(Generated::Delta(piece.clone()))).collect();
        steps.push(Ok(Generated::Usage(Usage { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 })));
        steps.push(Ok(Generated::Done(Finish::Stop)));
        Ok(stream::iter(steps))
    }
}
