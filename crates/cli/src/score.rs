//! From hits to numbers, one row per question.

use std::cell::OnceCell;

use ragflare_core::search::Hit;
use serde_json::Value;

use crate::metrics::{self, Gains};
use crate::sets::{Kind, Question, Set, Wanted};
use crate::spans::{CharIndex, Coverage, Span, overlap_len, precision_omega};

/// Hits that Chroma's evaluation retrieves.
const CHARACTERS_TOP_K: usize = 5;
/// Share of a golden chunk's characters that the hits must cover for it to count as found, when the chunks are our own.
const COVERED: f64 = 0.5;

impl Kind {
    /// Hits to ask for. 100 where recall at 100 is measured. Else what the default settings look at anyway, so that asking
    /// for so many changes no ranking.
    pub(crate) fn top_k(self) -> usize {
        match self {
            Self::Judged => 100,
            Self::Passages | Self::GivenChunks | Self::CoveredChunks => 50,
            Self::Characters => CHARACTERS_TOP_K,
        }
    }

    /// Names of the numbers, the one to compare by first.
    pub(crate) fn metrics(self, top_k: usize) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Judged => &["nDCG@10", "Recall@10", "Recall@100", "MRR@10", "MAP"],
            Self::Passages => &["hit@1", "hit@5", "hit@10", "MRR@10"],
            Self::GivenChunks => &["Pass@5", "Pass@10", "Pass@20", "MRR@10"],
            Self::CoveredChunks => &["Pass@5", "Pass@10", "Pass@20", "characters@20"],
            Self::Characters => {
                return ["recall", "precision", "IoU", "characters"]
                    .map(|name| format!("{name}@{top_k}"))
                    .into_iter()
                    .chain(["PrecisionΩ".to_owned()])
                    .collect();
            }
        };
        names.iter().map(ToString::to_string).collect()
    }

    /// How a number is written: as the literature on such sets does.
    pub(crate) fn format(self, metric: &str, value: f64) -> String {
        match self {
            _ if metric.starts_with("characters") => format!("{value:.0}"),
            Self::Judged | Self::Passages => format!("{value:.4}"),
            _ => format!("{:.2} %", value * 100.0),
        }
    }
}

/// Scores a set's questions.
pub(crate) struct Scorer<'s> {
    set: &'s Set,
    top_k: usize,
    /// Filled for documents that were hit.
    characters: Vec<OnceCell<CharIndex>>,
    /// Of the whole index; only [`Kind::Characters`] needs them.
    chunks: Vec<Span>,
}

impl<'s> Scorer<'s> {
    /// For hits of `top_k`; `chunks` are all that are in the index.
    pub(crate) fn new(set: &'s Set, top_k: usize, chunks: Vec<Span>) -> Self {
        let characters = set.documents.iter().map(|_| OnceCell::new()).collect();
        Self { set, top_k, characters, chunks }
    }

    /// The numbers of [`Kind::metrics`]; `None` for a question that nothing can be found for.
    pub(crate) fn score(&self, question: &Question, hits: &[Hit]) -> Option<Vec<f64>> {
        match (&question.wanted, self.set.kind) {
            (Wanted::Nothing, _) => None,
            (Wanted::Documents(gains), kind) => Some(self.ranked(kind, hits, gains)),
            (Wanted::Spans(wanted), Kind::CoveredChunks) => Some(self.covered(hits, wanted)),
            (Wanted::Spans(wanted), _) => Some(self.characters(hits, wanted)),
        }
    }

    fn ranked(&self, kind: Kind, hits: &[Hit], gains: &Gains) -> Vec<f64> {
        let ranking = self.documents(hits);
        let rr = metrics::reciprocal_rank(&ranking, gains, 10);
        let recall = |k| metrics::recall(&ranking, gains, k);
        let hit = |k| metrics::hit(&ranking, gains, k);
        match kind {
            Kind::Judged => {
                let ndcg = metrics::ndcg(&ranking, gains, 10);
                vec![ndcg, recall(10), recall(100), rr, metrics::average_precision(&ranking, gains)]
            }
            Kind::Passages => vec![hit(1), hit(5), hit(10), rr],
            _ => vec![recall(5), recall(10), recall(20), rr],
        }
    }

    fn covered(&self, hits: &[Hit], wanted: &[Span]) -> Vec<f64> {
        let spans = self.spans(hits);
        let pass = |k: usize| {
            let first = &spans[..k.min(spans.len())];
            let found =
                |golden: &&Span| overlap_len(first, &[**golden]) as f64 >= COVERED * golden.len() as f64;
            wanted.iter().filter(found).count() as f64 / wanted.len() as f64
        };
        let characters: usize = spans.iter().take(20).map(|span| span.len()).sum();
        vec![pass(5), pass(10), pass(20), characters as f64]
    }

    fn characters(&self, hits: &[Hit], wanted: &[Span]) -> Vec<f64> {
        let spans = self.spans(&hits[..self.top_k.min(hits.len())]);
        let coverage = Coverage::of(&spans, wanted);
        let characters: usize = spans.iter().map(|span| span.len()).sum();
        let omega = precision_omega(&self.chunks, wanted);
        vec![coverage.recall, coverage.precision, coverage.iou, characters as f64, omega]
    }

    /// Documents in the order of their best chunks. One that is not of the set keeps its place and is not wanted.
    fn documents(&self, hits: &[Hit]) -> Vec<usize> {
        let mut ranking: Vec<usize> = Vec::new();
        let mut strangers: Vec<&str> = Vec::new();
        for hit in hits {
            let place = self.set.position(&hit.document_id).unwrap_or_else(|| {
                let id = hit.document_id.as_str();
                let nth = strangers.iter().position(|known| *known == id).unwrap_or_else(|| {
                    strangers.push(id);
                    strangers.len() - 1
                });
                usize::MAX - nth
            });
            if !ranking.contains(&place) {
                ranking.push(place);
            }
        }
        ranking
    }

    fn spans(&self, hits: &[Hit]) -> Vec<Span> {
        hits.iter()
            .map(|hit| match self.set.position(&hit.document_id) {
                Some(document) => {
                    let index = self.characters[document]
                        .get_or_init(|| CharIndex::new(&self.set.documents[document].text));
                    Span { document, start: index.character(hit.start), end: index.character(hit.end) }
                }
                // Its characters count as retrieved, and cover nothing.
                None => Span { document: usize::MAX, start: 0, end: hit.text.chars().count() },
            })
            .collect()
    }
}

/// The scores by which an answerable question might be told from one that is not: that of the first hit, and the best of
/// each stage, by the stages' names in the API. No hits are a score of 0.
pub(crate) fn telling(hits: &[Hit]) -> Vec<(String, f64)> {
    let mut best = vec![("score".to_owned(), hits.first().map_or(0.0, |hit| f64::from(hit.score)))];
    for hit in hits {
        let Ok(Value::Object(scores)) = serde_json::to_value(hit.scores) else { continue };
        for (name, score) in scores {
            let Some(score) = score.as_f64() else { continue };
            match best.iter_mut().find(|(known, _)| *known == name) {
                Some((_, best)) => *best = best.max(score),
                None => best.push((name, score)),
            }
        }
    }
    best
}
