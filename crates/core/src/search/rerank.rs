//! The cross-encoder's opinion of the best hits: read whole, in time, and blended into their order.

use super::{Hit, SearchUsage, Searcher, longest};
use crate::chunk::{ChunkSettings, embedded_text, shown_text};
use crate::fusion::normalised;
use crate::models::{self, RerankModel};
use crate::ports::{Ports, Reranker, in_time};
use crate::tokens::WordPiece;
use crate::{Result, Tenant, language};
use futures::stream::{self, StreamExt, TryStreamExt};

/// Tokens of a query that the cross-encoder sees, so that there is room for the passage beside it.
const QUERY_TOKENS: usize = 128;
/// Tokens of title and headings before a passage, at most.
const PLACE_TOKENS: usize = 64;
/// Calls under way at once; the platform has six connections for an invocation.
const CALLS: usize = 4;

impl<P: Ports> Searcher<'_, P> {
    /// Orders the best hits anew. What went wrong is added to `degraded`; the order is left as it is then.
    pub(super) async fn rerank(
        &self,
        tenant: &Tenant,
        query: &str,
        hits: &mut [Hit],
        usage: &mut SearchUsage,
        degraded: &mut Vec<String>,
    ) {
        let settings = &self.settings.search;
        let seen = hits.len().min(settings.rerank_candidates);
        if seen == 0 {
            return;
        }
        let mut model = models::reranker(&settings.rerank_model);
        model.calibration = settings.rerank_calibration.or(model.calibration);
        if model.english && language::is_foreign(query) {
            return;
        }
        let judged = longest(query, |tokens, bytes| model.tokens(tokens, bytes) <= QUERY_TOKENS);
        if judged.len() < query.len() {
            degraded.push("rerank_query_truncated".to_owned());
        }
        let room = model.window - model.specials - size(&model, judged);
        let (mut pieces, mut owners) = (Vec::new(), Vec::new());
        for (owner, hit) in hits[..seen].iter().enumerate() {
            let place = if settings.rerank_headings { place(hit) } else { String::new() };
            let text = shown_text(hit.table_header.as_deref(), &hit.text);
            for piece in pieces_of(&model, room, &place, &text) {
                pieces.push(piece);
                owners.push(owner);
            }
        }
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        // Counted before it is sent: what is given up on may be billed all the same.
        let read: usize = pieces.iter().map(|piece| WordPiece::count(piece)).sum();
        usage.rerank_tokens = (read + pieces.len() * WordPiece::count(judged)) as u64;
        let scored = self.scores(tenant, judged, &pieces);
        match in_time(self.ports.clock(), settings.rerank_timeout_ms, scored).await {
            None => degraded.push("rerank_timeout".to_owned()),
            Some(Err(_)) => degraded.push("rerank".to_owned()),
            Some(Ok(scores)) => {
                let mut best = vec![f32::NEG_INFINITY; seen];
                owners.iter().zip(&scores).for_each(|(owner, score)| best[*owner] = best[*owner].max(*score));
                let logits = model.logits(&best);
                let judged: Vec<f32> = match model.calibration {
                    Some(calibration) => logits.iter().map(|logit| calibration.probability(*logit)).collect(),
                    None => normalised(&logits),
                };
                for ((hit, raw), judged) in hits.iter_mut().zip(&best).zip(&judged) {
                    hit.scores.rerank = Some(*raw);
                    hit.scores.relevance = model.calibration.map(|_| *judged);
                }
                // Without a calibration the best of the worst would look like the best of the best.
                let trust = if model.calibration.is_some() { 1.0 } else { 0.5 };
                blend(hits, &judged, settings.rerank_weight * trust);
            }
        }
    }

    /// A score for each piece, in order.
    async fn scores(&self, tenant: &Tenant, query: &str, pieces: &[&str]) -> Result<Vec<f32>> {
        let reranker = self.ports.reranker();
        let batches: Vec<Vec<f32>> = stream::iter(pieces.chunks(P::Reranker::BATCH))
            .map(|batch| reranker.rerank(tenant, query, batch))
            .buffered(CALLS)
            .try_collect()
            .await?;
        Ok(batches.concat())
    }
}

/// Mixes the cross-encoder's opinion of the first hits into the order of all; obeyed alone it makes rankings worse. What it
/// did not see counts as if it had found nothing in it.
fn blend(hits: &mut [Hit], judged: &[f32], weight: f32) {
    let judged = judged.iter().copied().chain(std::iter::repeat(0.0));
    for (hit, judged) in hits.iter_mut().zip(judged) {
        hit.score = (1.0 - weight) * hit.score + weight * judged;
    }
    hits.sort_by(|left, right| right.score.total_cmp(&left.score));
}

fn size(model: &RerankModel, text: &str) -> usize {
    model.tokens(WordPiece::count(text), text.len())
}

/// Title and headings on a line of their own.
fn place(hit: &Hit) -> String {
    let settings = ChunkSettings { prefix: PLACE_TOKENS, ..ChunkSettings::default() };
    embedded_text(hit.title.as_deref(), &hit.headings, None, "", &settings)
}

/// A passage in pieces that fit into `room` tokens, each with `place` before it: one if it fits as it is, else windows that
/// each begin half a window after the last, so that no sentence falls between two.
fn pieces_of(model: &RerankModel, room: usize, place: &str, text: &str) -> Vec<String> {
    let room = room.saturating_sub(size(model, place));
    let fits = |limit: usize| move |tokens, bytes| model.tokens(tokens, bytes) <= limit;
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let window = longest(rest, fits(room));
        if window.is_empty() {
            return pieces;
        }
        pieces.push(format!("{place}{window}"));
        if window.len() == rest.len() {
            return pieces;
        }
        let half = longest(window, fits(room / 2)).len();
        rest = &rest[if half == 0 { window.len() } else { half }..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_word_is_read_and_no_piece_is_too_long(
            words in prop::collection::vec("[a-zA-Z0-9]{1,14}|[äß]{1,4}|[检索很快]{1,9}|[.,;]", 1..300),
            room in 20usize..200, own in any::<bool>(),
        ) {
            let model = models::reranker(if own { "ms-marco-MiniLM-L-12-v2" } else { "other" });
            let text = words.join(" ");
            let pieces = pieces_of(&model, room, "Place\n\n", &text);
            let mut covered = 0;
            for piece in &pieces {
                prop_assert!(size(&model, piece) <= room, "{piece}");
                let body = piece.strip_prefix("Place\n\n").unwrap();
                // Each begins inside what the ones before it have read.
                let begin = (0..=covered).rev().find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(body)));
                prop_assert!(begin.is_some(), "a gap before {body}");
                covered = covered.max(begin.unwrap() + body.len());
            }
            prop_assert_eq!(covered, text.len());
        }
    }

    #[test]
    fn a_passage_that_fits_is_one_piece() {
        let model = models::reranker("ms-marco-MiniLM-L-12-v2");
        assert_eq!(pieces_of(&model, 100, "", "a few words"), ["a few words"]);
        let long = "word ".repeat(150);
        let pieces = pieces_of(&model, 100, "", &long);
        assert_eq!(pieces.len(), 2, "{pieces:?}");
    }
}
