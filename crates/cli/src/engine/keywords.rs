//! The keyword index of this process. The core's own in memory looks at every term of every chunk for each question,
//! which is plain but takes a second per question on 100,000 chunks; this one looks at the terms asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;

use ragflare_core::document::DocumentId;
use ragflare_core::filter::Filter;
use ragflare_core::ports::{DocumentStore, KeywordIndex, KeywordMatch};
use ragflare_core::testing::MemoryDocuments;
use ragflare_core::{Result, Tenant, keyword};

/// BM25 over the chunks that were served when it was [built](Self::build); until then, the core's own.
#[derive(Debug)]
pub(super) struct Keywords {
    documents: Rc<MemoryDocuments>,
    built: RefCell<Option<Index>>,
    /// Milliseconds of all searches since last looked at.
    spent: Cell<f64>,
}

#[derive(Debug)]
struct Index {
    tenant: Tenant,
    /// Positions of the chunks with a term, and how often they have it.
    postings: HashMap<String, Vec<(u32, u32)>>,
    /// Row and number of terms, by position.
    chunks: Vec<(i64, u32)>,
    /// Terms of a chunk on average.
    average: f64,
}

impl Keywords {
    /// Over documents.
    pub(super) fn new(documents: Rc<MemoryDocuments>) -> Self {
        Self { documents, built: RefCell::default(), spent: Cell::default() }
    }

    /// Makes it fast for a tenant whose documents will not change any more. Only the first generations are looked at: there
    /// are no others here.
    pub(super) async fn build(&self, tenant: &Tenant) -> Result<()> {
        let dump = self.documents.dump();
        let vectors: Vec<String> = dump.vectors.keys().cloned().collect();
        let mut rows: HashMap<(DocumentId, u32), i64> = HashMap::new();
        for chunk in self.documents.hydrate(tenant, &vectors, &[]).await? {
            rows.insert((chunk.document, chunk.ordinal), chunk.row);
        }
        let mut index =
            Index { tenant: tenant.clone(), postings: HashMap::new(), chunks: Vec::new(), average: 0.0 };
        let mut total = 0;
        for dumped in dump.chunks {
            let place = (dumped.document, dumped.chunk.ordinal);
            if !rows.contains_key(&place) {
                // Chunks with the same text share a vector, which stands for the first.
                for chunk in self.documents.chunks(tenant, &place.0, None, usize::MAX).await? {
                    rows.insert((chunk.document, chunk.ordinal), chunk.row);
                }
            }
            let Some(row) = rows.get(&place) else { continue };
            let position = index.chunks.len() as u32;
            index.chunks.push((*row, dumped.chunk.terms.len() as u32));
            total += dumped.chunk.terms.len();
            let mut times: HashMap<String, u32> = HashMap::new();
            for term in dumped.chunk.terms {
                *times.entry(term).or_default() += 1;
            }
            for (term, times) in times {
                index.postings.entry(term).or_default().push((position, times));
            }
        }
        index.average = total as f64 / index.chunks.len() as f64;
        self.built.replace(Some(index));
        Ok(())
    }

    /// Milliseconds of all searches since the last call.
    pub(super) fn take_millis(&self) -> f64 {
        self.spent.take()
    }
}

impl Index {
    /// As the core's: the same sums in the same order.
    fn search(&self, terms: &[String], limit: usize) -> Vec<KeywordMatch> {
        let count = self.chunks.len() as f64;
        let mut scores: BTreeMap<i64, f64> = BTreeMap::new();
        for found in terms.iter().filter_map(|term| self.postings.get(term)) {
            let matching = found.len() as f64;
            let idf = (1.0 + (count - matching + 0.5) / (matching + 0.5)).ln();
            for (position, times) in found {
                let (row, length) = self.chunks[*position as usize];
                let times = f64::from(*times);
                let norm = keyword::K1 * (1.0 - keyword::B + keyword::B * f64::from(length) / self.average);
                *scores.entry(row).or_default() += idf * times * (keyword::K1 + 1.0) / (times + norm);
            }
        }
        let mut matches: Vec<KeywordMatch> =
            scores.into_iter().map(|(row, score)| KeywordMatch { row, score: score as f32 }).collect();
        matches.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.row.cmp(&right.row)));
        matches.truncate(limit);
        matches
    }
}

impl KeywordIndex for Keywords {
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>> {
        let started = Instant::now();
        let fast = match &*self.built.borrow() {
            Some(index) if index.tenant == *tenant && filter.is_none() && !terms.is_empty() => {
                Some(index.search(terms, limit))
            }
            _ => None,
        };
        let found = match fast {
            Some(found) => found,
            None => self.documents.search(tenant, terms, filter, limit).await?,
        };
        self.spent.set(self.spent.get() + started.elapsed().as_secs_f64() * 1000.0);
        Ok(found)
    }
}
