//! Both legs side by side, and what the database says of their finds.

use super::{Mode, SearchRequest, SearchUsage, Searcher, Timings, longest};
use crate::document::ServedChunk;
use crate::filter::{Filter, Operator};
use crate::identity::Namespace;
use crate::keyword;
use crate::ports::{
    Clock, DocumentStore, Embedder, KeywordIndex, KeywordMatch, Ports, VectorIndex, VectorMatch, in_time,
};
use crate::settings::EmbeddingSettings;
use crate::tokens::WordPiece;
use crate::tokens::wordpiece::{MAX_TOKENS, SPECIALS};
use crate::{Error, Result, Retry, Tenant};
use futures::future::try_join_all;
use std::collections::{BTreeMap, HashSet};

/// Matches a query of the vector index gives at most.
const MOST_MATCHES: usize = 100;
/// How often the vector index is asked again.
const ROUNDS: usize = 2;
/// Documents in the way that are looked through each on its own.
const ALONE: usize = 4;

/// What the legs found and the database serves.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) chunks: Vec<ServedChunk>,
    pub(super) vectors: Vec<VectorMatch>,
    pub(super) keywords: Vec<KeywordMatch>,
}

impl Found {
    /// Leaves the best of the vectors that are served.
    fn keep_served(&mut self, most: usize) {
        let served = served(&self.chunks);
        self.vectors.retain(|hit| served.contains(hit.id.as_str()));
        self.vectors.truncate(most);
    }
}

/// The vectors that stand for chunks.
fn served(chunks: &[ServedChunk]) -> HashSet<&str> {
    chunks.iter().map(|chunk| chunk.vector.as_str()).collect()
}

/// What the vector index is asked.
#[derive(Debug)]
struct Asked {
    namespace: Namespace,
    vector: Vec<f32>,
    candidates: usize,
}

impl<P: Ports> Searcher<'_, P> {
    pub(super) async fn retrieve(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        filter: Option<&Filter>,
        usage: &mut SearchUsage,
        timings: &mut Timings,
        degraded: &mut Vec<String>,
    ) -> Result<Found> {
        let clock = self.ports.clock();
        let started = clock.now();
        let prefix = WordPiece::count(&self.settings.embedding.query_prefix);
        let room = MAX_TOKENS - SPECIALS - prefix.min(MAX_TOKENS / 2);
        let embedded = longest(&request.query, |tokens, _| tokens <= room);
        if embedded.len() < request.query.len() && request.mode != Mode::Keyword {
            degraded.push("query_truncated".to_owned());
        }
        let mut keywords_ms = 0;
        let (vectors, keywords) =
            futures::join!(self.vectors_in_time(tenant, request, embedded, filter, usage, timings), async {
                let found = self.keyword_leg(tenant, request, filter).await;
                keywords_ms = clock.now().saturating_sub(started);
                found
            });
        timings.keywords = keywords_ms;
        let (vectors, keywords) = match (vectors, keywords) {
            (Ok(vectors), Ok(keywords)) => (vectors, keywords),
            (Err(error @ (Error::Fingerprint { .. } | Error::Invalid { .. })), _) => return Err(error),
            (Err(_), Ok(keywords)) if request.mode == Mode::Hybrid => {
                degraded.push("vector".to_owned());
                (None, keywords)
            }
            (Ok(vectors), Err(_)) if request.mode == Mode::Hybrid => {
                degraded.push("keyword".to_owned());
                (vectors, Vec::new())
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let retrieved = clock.now();
        timings.retrieve = retrieved.saturating_sub(started);

        let (mut asked, vectors) = vectors.unzip();
        let mut found = Found { chunks: Vec::new(), vectors: vectors.unwrap_or_default(), keywords };
        self.hydrate(tenant, filter, &mut found).await?;
        if let Some(before) = &asked
            && served(&found.chunks).is_disjoint(&found.vectors.iter().map(|hit| hit.id.as_str()).collect())
            && Namespace::new(tenant, &self.embedding(tenant).await?.fingerprint()) != before.namespace
        {
            // A re-index to another embedding became complete in between, and the old vectors may be gone, too.
            let again = self.vectors_in_time(tenant, request, embedded, filter, usage, timings).await?;
            (asked, found.vectors) = again.map(|(asked, vectors)| (Some(asked), vectors)).unwrap_or_default();
            self.hydrate(tenant, filter, &mut found).await?;
        }
        if let Some(asked) = asked {
            let looked = self.look_again(tenant, request, filter, &asked, &mut found);
            if in_time(clock, self.settings.search.vector_timeout_ms, looked)
                .await
                .is_none_or(|it| it.is_err())
            {
                degraded.push("vector".to_owned());
            }
            found.keep_served(asked.candidates);
        }
        timings.hydrate = clock.now().saturating_sub(retrieved);
        Ok(found)
    }

    /// The vector leg, or an error when it takes longer than `search.vector_timeout_ms`: neither of its two services is worth
    /// more waiting than its absence costs.
    async fn vectors_in_time(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        query: &str,
        filter: Option<&Filter>,
        usage: &mut SearchUsage,
        timings: &mut Timings,
    ) -> Result<Option<(Asked, Vec<VectorMatch>)>> {
        let milliseconds = self.settings.search.vector_timeout_ms;
        let leg = self.vector_leg(tenant, request, query, filter, usage, timings);
        in_time(self.ports.clock(), milliseconds, leg).await.unwrap_or_else(|| {
            Err(Error::Service {
                service: "vectors",
                retry: Retry::Backoff,
                code: None,
                message: format!("nothing came within {milliseconds} ms"),
            })
        })
    }

    async fn vector_leg(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        query: &str,
        filter: Option<&Filter>,
        usage: &mut SearchUsage,
        timings: &mut Timings,
    ) -> Result<Option<(Asked, Vec<VectorMatch>)>> {
        if request.mode == Mode::Keyword {
            return Ok(None);
        }
        let clock = self.ports.clock();
        let started = clock.now();
        let (configured, embedder) = (&self.settings.embedding, self.ports.embedder());
        let (stored, vector) =
            futures::join!(self.embedding(tenant), embedder.embed_query(tenant, configured, query));
        let stored = stored?;
        let vector = if stored.fingerprint() == configured.fingerprint() {
            vector?
        } else {
            embedder.embed_query(tenant, &stored, query).await?
        };
        usage.embedding_tokens = (WordPiece::count(query) + SPECIALS) as u64;
        let embedded = clock.now();
        timings.embed = embedded.saturating_sub(started);
        let namespace = Namespace::new(tenant, &stored.fingerprint());
        let candidates = self.settings.search.candidates.max(request.top_k).min(MOST_MATCHES);
        let asked = Asked { namespace, vector, candidates };
        let matches = self.nearest(tenant, &asked, candidates, filter.map(Filter::for_vectors)).await;
        timings.vectors = clock.now().saturating_sub(embedded);
        Ok(Some((asked, matches?)))
    }

    /// How the vectors that are searched were made: until a re-index to the configured embedding is complete, in another
    /// way.
    async fn embedding(&self, tenant: &Tenant) -> Result<EmbeddingSettings> {
        let state = self.ports.documents().tenant(tenant).await?;
        Ok(state.embedding.unwrap_or_else(|| self.settings.embedding.clone()))
    }

    async fn nearest(
        &self,
        tenant: &Tenant,
        asked: &Asked,
        top_k: usize,
        filter: Option<Filter>,
    ) -> Result<Vec<VectorMatch>> {
        let filter = filter.filter(|filter| !filter.is_empty());
        self.ports.vectors().query(tenant, &asked.namespace, &asked.vector, top_k, filter.as_ref()).await
    }

    async fn keyword_leg(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        filter: Option<&Filter>,
    ) -> Result<Vec<KeywordMatch>> {
        let terms = keyword::query_terms(&request.query);
        if request.mode == Mode::Vector || terms.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = self.settings.search.candidates.max(request.top_k);
        self.ports.keywords().search(tenant, &terms, filter, candidates).await
    }

    /// Reads the chunks of all finds at once, so that those of a document are of one generation. What is not served is not
    /// among them, nor what the filter excludes: Vectorize compares strings by 64 bytes and lags behind, the row decides.
    async fn hydrate(&self, tenant: &Tenant, filter: Option<&Filter>, found: &mut Found) -> Result<()> {
        let ids: Vec<String> = found.vectors.iter().map(|hit| hit.id.clone()).collect();
        let rows: Vec<i64> = found.keywords.iter().map(|hit| hit.row).collect();
        if ids.is_empty() && rows.is_empty() {
            return Ok(());
        }
        found.chunks = self.ports.documents().hydrate(tenant, &ids, &rows).await?;
        found.chunks.retain(|chunk| filter.is_none_or(|filter| filter.matches(&chunk.metadata)));
        Ok(())
    }

    /// Vectors of replaced and deleted documents are in the index until their deletion shows there, seconds to minutes
    /// later, and those of a document that is just being replaced before it is served. Where they took so many of the
    /// places that too few hits are left, the index is asked again, without those documents, and, since some of them
    /// may be served in another generation, for those documents: the ones with the most dead vectors each on its own, the
    /// others together. So what is served is found behind any number of dead vectors of other documents (as many
    /// documents as a filter takes, some 75), and behind a hundred of its own; behind more, by its keywords only.
    async fn look_again(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        filter: Option<&Filter>,
        asked: &Asked,
        found: &mut Found,
    ) -> Result<()> {
        let wanted = request.top_k.max(self.settings.search.rerank_candidates).min(asked.candidates);
        let base = filter.map(Filter::for_vectors).unwrap_or_default();
        let mut full = found.vectors.len() >= asked.candidates;
        let mut left_out: Vec<String> = Vec::new();
        for _ in 0..ROUNDS {
            let served = served(&found.chunks);
            let (live, dead): (Vec<_>, Vec<_>) =
                found.vectors.iter().partition(|hit| served.contains(hit.id.as_str()));
            if !full || live.len() >= wanted {
                return Ok(());
            }
            let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
            for tag in dead.iter().filter_map(|hit| hit.document.as_ref()) {
                *counts.entry(tag).or_default() += 1;
            }
            let mut fresh: Vec<(&String, usize)> =
                counts.into_iter().filter(|(tag, _)| !left_out.contains(tag)).collect();
            fresh.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let fresh: Vec<String> = fresh.into_iter().map(|(tag, _)| tag.clone()).collect();
            left_out.extend(fresh.iter().cloned());
            let Some(without) = base.and_documents(Operator::Nin, &left_out).filter(|_| !fresh.is_empty())
            else {
                return Ok(());
            };
            let (alone, together) = fresh.split_at(fresh.len().min(ALONE));
            let within = alone.chunks(1).chain([together]);
            let within = within.filter_map(|tags| base.and_documents(Operator::In, tags));
            let asks = std::iter::once(without)
                .chain(within)
                .map(|filter| self.nearest(tenant, asked, MOST_MATCHES, Some(filter)));
            let replies = try_join_all(asks).await?;
            full = replies.first().is_some_and(|rest| rest.len() >= MOST_MATCHES);
            let mut known: HashSet<String> = found.vectors.iter().map(|hit| hit.id.clone()).collect();
            found.vectors.extend(replies.into_iter().flatten().filter(|hit| known.insert(hit.id.clone())));
            found.vectors.sort_by(|left, right| right.score.total_cmp(&left.score));
            self.hydrate(tenant, filter, found).await?;
        }
        Ok(())
    }
}
