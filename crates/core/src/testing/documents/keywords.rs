//! BM25 over the chunks of one tenant.

use super::{MemoryDocuments, StoredChunk};
use crate::filter::Filter;
use crate::keyword;
use crate::ports::{KeywordIndex, KeywordMatch};
use crate::{Error, Result, Retry, Tenant};
use std::collections::BTreeMap;

impl KeywordIndex for MemoryDocuments {
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>> {
        if terms.is_empty() {
            return Err(Error::Service {
                service: "keywords",
                retry: Retry::Never,
                code: None,
                message: "no terms".into(),
            });
        }
        let state = self.state.borrow();
        let rows: Vec<(i64, &StoredChunk)> = state.served_rows(tenant).collect();
        let count = rows.len() as f64;
        let average = rows.iter().map(|(_, chunk)| chunk.chunk.terms.len()).sum::<usize>() as f64 / count;
        let mut scores: BTreeMap<i64, f64> = BTreeMap::new();
        for term in terms {
            let found: Vec<(i64, f64, f64)> = rows
                .iter()
                .map(|(row, chunk)| {
                    let times = chunk.chunk.terms.iter().filter(|own| *own == term).count();
                    (*row, times as f64, chunk.chunk.terms.len() as f64)
                })
                .filter(|(_, times, _)| *times > 0.0)
                .collect();
            let matching = found.len() as f64;
            let idf = (1.0 + (count - matching + 0.5) / (matching + 0.5)).ln();
            for (row, times, length) in found {
                let norm = keyword::K1 * (1.0 - keyword::B + keyword::B * length / average);
                *scores.entry(row).or_default() += idf * times * (keyword::K1 + 1.0) / (times + norm);
            }
        }
        let matches_filter = |row: &i64| {
            filter.is_none_or(|filter| {
                state.chunks.get(row).is_some_and(|chunk| {
                    let generation = state.generation(&chunk.key, chunk.generation);
                    generation.is_some_and(|found| filter.matches(&found.upload.metadata))
                })
            })
        };
        let mut matches: Vec<KeywordMatch> = scores
            .into_iter()
            .filter(|(row, _)| matches_filter(row))
            .map(|(row, score)| KeywordMatch { row, score: score as f32 })
            .collect();
        matches.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.row.cmp(&right.row)));
        matches.truncate(limit);
        Ok(matches)
    }
}
