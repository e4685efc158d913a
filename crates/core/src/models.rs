//! What is known of models, by name, in one dated place: windows of chat models, and how rerankers read and score.

use serde::{Deserialize, Serialize};

/// As of 2026-11-21, tokens of prompt and answer together. `llama-3.3-70b-instruct-fp8-fast` is documented with 24,000;
/// for `llama-3.1-8b-instruct-fp8-fast` no figure was confirmed, so it is taken to be the same.
const WINDOWS: [(&str, usize); 2] = [
    ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", 24_000),
    ("@cf/meta/llama-3.1-8b-instruct-fp8-fast", 24_000),
];

/// For a model that is not listed.
const UNKNOWN: usize = 7_000;

/// Tokens of prompt and answer together that a model takes.
pub fn window(model: &str) -> usize {
    WINDOWS.iter().find(|(name, _)| *name == model).map_or(UNKNOWN, |(_, window)| *window)
}

/// Embedders that have learnt English alone.
const ENGLISH: [&str; 3] =
    ["@cf/baai/bge-small-en-v1.5", "@cf/baai/bge-base-en-v1.5", "@cf/baai/bge-large-en-v1.5"];

/// Whether an embedder has learnt English alone.
pub fn is_english(embedder: &str) -> bool {
    ENGLISH.contains(&embedder)
}

/// How a cross-encoder reads and scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RerankModel {
    /// Tokens of query, passage and specials together that it reads; the rest is cut off unseen.
    pub window: usize,
    /// Tokens that frame a pair: `[CLS] query [SEP] passage [SEP]`, or `<s> query </s></s> passage </s>`.
    pub specials: usize,
    /// Its tokens for one of [`WordPiece`](crate::tokens::WordPiece)'s, at most; 1 when that is its own tokenizer.
    pub factor: f32,
    /// Whether it has learnt English alone; it is not asked about questions in another language.
    pub english: bool,
    /// What its scores are.
    pub scores: Scale,
    /// From logits to a probability. Without one the model ranks and tells nothing else.
    pub calibration: Option<Calibration>,
}

/// What a reranker's scores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Any number, 0 for even odds.
    Logits,
    /// Between 0 and 1.
    Probabilities,
    /// Not documented: logits when a reply has a score outside of 0–1, else probabilities.
    Unknown,
}

/// `1 / (1 + e^-(scale · logit + offset))` is the probability that a passage answers the query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Factor of the logit.
    pub scale: f32,
    /// Added to it.
    pub offset: f32,
}

/// What is assumed of a model of which nothing else is known; made for `bge-reranker-base`.
///
/// That has XLM-R's vocabulary: on 1,684 pieces of up to 600 characters its tokens were 1.12 (English), 0.70 (German),
/// 0.75 (Chinese), 0.39 (Arabic) and 1.03 (code) times `WordPiece`'s; 99 % were below 1.3, the worst, a piece of code,
/// had 2.9, and words all in capitals 2.0: such passages may lose their end. Its model page says that a sigmoid maps its
/// scores to 0–1, others call them by such thresholds.
const CAUTIOUS: RerankModel = RerankModel {
    window: 512,
    specials: 4,
    factor: 1.5,
    english: false,
    scores: Scale::Unknown,
    calibration: None,
};

/// By name. Both windows are the models' own; Workers AI does not say what it does with more.
const RERANKERS: [(&str, RerankModel); 2] = [
    ("@cf/baai/bge-reranker-base", CAUTIOUS),
    (
        // What the twin has in its place, under its own name.
        "ms-marco-MiniLM-L-12-v2",
        RerankModel {
            specials: 3,
            factor: 1.0,
            english: true,
            scores: Scale::Logits,
            // Fitted on the first 20 passages of questions of CLAPNQ, SciFact and a code set, docs/evaluation.md.
            calibration: Some(Calibration { scale: 0.368, offset: -1.555 }),
            ..CAUTIOUS
        },
    ),
];

/// How a reranker reads and scores; one that is not listed, with caution.
pub fn reranker(model: &str) -> RerankModel {
    RERANKERS.iter().find(|(name, _)| *name == model).map_or(CAUTIOUS, |(_, found)| *found)
}

/// Beyond this a probability is as good as certain; it also bounds what a probability of 0 or 1 stands for.
const CERTAIN: f32 = 15.0;

impl RerankModel {
    /// Its tokens for a text, estimated from above: of `WordPiece` tokens, and of bytes where another vocabulary may
    /// make many tokens of what is one (`[UNK]`) to that.
    pub fn tokens(&self, word_pieces: usize, bytes: usize) -> usize {
        if self.factor <= 1.0 {
            return word_pieces;
        }
        ((word_pieces as f32 * self.factor).ceil() as usize).max(bytes.div_ceil(3))
    }

    /// The scores of one query's passages as logits, whatever scale they came in.
    pub fn logits(&self, scores: &[f32]) -> Vec<f32> {
        let probabilities = match self.scores {
            Scale::Logits => false,
            Scale::Probabilities => true,
            Scale::Unknown => scores.iter().all(|score| (0.0..=1.0).contains(score)),
        };
        let logit = |score: &f32| if probabilities { (score / (1.0 - score)).ln() } else { *score };
        scores.iter().map(|score| logit(score).clamp(-CERTAIN, CERTAIN)).collect()
    }
}

impl Calibration {
    /// The probability that a passage with this logit answers the query.
    pub fn probability(&self, logit: f32) -> f32 {
        1.0 / (1.0 + (-(self.scale * logit + self.offset)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_and_logits_come_to_the_same() {
        let model = reranker("@cf/baai/bge-reranker-base");
        let logits = [-9.0f32, -1.0, 0.0, 2.5, 9.0];
        let probabilities = logits.map(|logit| 1.0 / (1.0 + (-logit).exp()));
        for (read, logit) in model.logits(&probabilities).iter().zip(model.logits(&logits)) {
            assert!((read - logit).abs() < 0.01, "{read} {logit}");
        }
        let certain = model.logits(&[0.0, 1.0]);
        assert_eq!(certain, [-CERTAIN, CERTAIN]);
        // One that is known to give logits is believed, although these could be probabilities.
        assert_eq!(reranker("ms-marco-MiniLM-L-12-v2").logits(&[0.5, 0.9]), [0.5, 0.9]);
    }

    #[test]
    fn a_calibration_gives_probabilities() {
        let calibration = Calibration { scale: 0.5, offset: -1.0 };
        assert!((calibration.probability(2.0) - 0.5).abs() < 1e-6);
        assert!(calibration.probability(15.0) > 0.99 && calibration.probability(-15.0) < 0.01);
    }

    #[test]
    fn another_vocabulary_is_estimated_from_above() {
        let other = reranker("another");
        assert_eq!(other.tokens(100, 100), 150);
        assert_eq!(other.tokens(1, 9_000), 3_000, "one [UNK]");
        assert_eq!(reranker("ms-marco-MiniLM-L-12-v2").tokens(100, 9_000), 100);
    }
}
