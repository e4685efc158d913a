//! Vectorize behind core's `VectorIndex`.

use crate::ai::RetryClass;
use crate::vectorize::{
    Filter, Match, QueryOptions, ReturnMetadata, VectorRecord, Vectorize, VectorizeError,
};
use futures::future::try_join_all;
use ragflare_core::filter::Filter as CoreFilter;
use ragflare_core::identity::Namespace;
use ragflare_core::ports::{DOCUMENT_FIELD, Embeddings, VectorEntry, VectorIndex, VectorMatch};
use ragflare_core::{Error, Result, Retry, Tenant};
use std::cell::Cell;
use std::rc::Rc;

/// One Vectorize index for each length of vector.
#[derive(Clone, Debug)]
pub struct VectorizeVectors {
    indexes: Rc<[Index]>,
}

#[derive(Debug)]
struct Index {
    client: Vectorize,
    /// As it says itself, once asked.
    dimensions: Cell<Option<usize>>,
}

impl VectorizeVectors {
    /// Over a client.
    pub fn new(index: Vectorize) -> Self {
        Self::over(vec![index])
    }

    /// Over several clients. Which index takes which vectors, they are asked in this order.
    pub fn over(indexes: Vec<Vectorize>) -> Self {
        Self {
            indexes: indexes
                .into_iter()
                .map(|client| Index { client, dimensions: Cell::new(None) })
                .collect(),
        }
    }

    /// The index for vectors of this length. Where there is but one, it is not asked: the platform refuses what it does not
    /// take.
    async fn index_for(&self, dimensions: usize) -> Result<&Vectorize> {
        if let [only] = &*self.indexes {
            return Ok(&only.client);
        }
        let mut known = Vec::new();
        for index in &*self.indexes {
            let own = index.dimensions().await?;
            if own == dimensions {
                return Ok(&index.client);
            }
            known.push(own);
        }
        let message = format!("vectors of {dimensions} values, but the indexes take {known:?}");
        Err(Error::Service { service: "vectors", retry: Retry::Never, code: None, message })
    }
}

impl Index {
    async fn dimensions(&self) -> Result<usize> {
        if let Some(known) = self.dimensions.get() {
            return Ok(known);
        }
        let found = self.client.describe().await.map_err(|error| fault(&error))?.dimensions;
        self.dimensions.set(Some(found));
        Ok(found)
    }
}

/// Codes by which Vectorize refuses an input (seen in public reports: of a dimension, an id, a body).
const REFUSALS: std::ops::RangeInclusive<u32> = 40_001..=40_040;

fn fault(error: &VectorizeError) -> Error {
    let passing = matches!(
        error,
        VectorizeError::SubrequestLimit { .. }
            | VectorizeError::Malformed { .. }
            | VectorizeError::Platform { code: None, .. }
    );
    let busy = matches!(
        error,
        VectorizeError::Platform { code: Some(40041), .. }
            | VectorizeError::Platform { status: Some(429), .. }
    );
    let retry = match error.retry_class() {
        _ if busy => Retry::Busy,
        // Another invocation has subrequests of its own; what has no code is no refusal of the input.
        _ if passing => Retry::Backoff,
        // The binding hides the status: what is not known to be a refusal of the input may pass.
        _ if matches!(error, VectorizeError::Platform { code: Some(code), .. } if !REFUSALS.contains(code)) => {
            Retry::Backoff
        }
        RetryClass::Never => Retry::Never,
        RetryClass::AfterMidnightUtc => Retry::AfterMidnightUtc,
        RetryClass::Backoff | RetryClass::Once => Retry::Backoff,
    };
    Error::Service { service: "vectors", retry, code: error.code(), message: error.to_string() }
}

fn to_match(found: Match) -> VectorMatch {
    let document = found.metadata.as_ref().and_then(|metadata| metadata.get(DOCUMENT_FIELD)?.as_str());
    let document = document.map(str::to_owned);
    VectorMatch { id: found.id, score: found.score as f32, document }
}

fn texts(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

impl VectorIndex for VectorizeVectors {
    async fn upsert(
        &self,
        _: &Tenant,
        namespace: &Namespace,
        entries: &[VectorEntry],
        values: &Embeddings,
    ) -> Result<()> {
        let records: Vec<VectorRecord<'_>> = entries
            .iter()
            .enumerate()
            .map(|(position, entry)| VectorRecord {
                id: &entry.id,
                values: values.row(position),
                namespace: Some(namespace.as_str()),
                metadata: Some(&entry.metadata),
            })
            .collect();
        let index = self.index_for(values.dimensions).await?;
        index.upsert_many(&records).await.map(drop).map_err(|error| fault(&error))
    }

    async fn query(
        &self,
        _: &Tenant,
        namespace: &Namespace,
        vector: &[f32],
        top_k: usize,
        filter: Option<&CoreFilter>,
    ) -> Result<Vec<VectorMatch>> {
        let filter = filter
            .map(|filter| Filter::parse(&filter.to_json()))
            .transpose()
            .map_err(|error| Error::invalid("filter", error.to_string()))?;
        let options = QueryOptions {
            top_k: top_k as u32,
            namespace: Some(namespace.as_str().to_owned()),
            // The indexed fields leave `topK` at 100; all of them would halve it.
            return_metadata: ReturnMetadata::Indexed,
            filter,
            ..QueryOptions::default()
        };
        let index = self.index_for(vector.len()).await?;
        let found = index.query(vector, &options).await.map_err(|error| fault(&error))?;
        Ok(found.into_iter().map(to_match).collect())
    }

    async fn fetch(&self, _: &Tenant, ids: &[String]) -> Result<Vec<(String, Vec<f32>)>> {
        let ids = texts(ids);
        let found = try_join_all(self.indexes.iter().map(|index| index.client.get_many(&ids)))
            .await
            .map_err(|error| fault(&error))?;
        Ok(found.into_iter().flatten().map(|vector| (vector.id, vector.values)).collect())
    }

    async fn delete(&self, _: &Tenant, ids: &[String]) -> Result<()> {
        let ids = texts(ids);
        try_join_all(self.indexes.iter().map(|index| index.client.delete_many(&ids)))
            .await
            .map(drop)
            .map_err(|error| fault(&error))
    }

    async fn dimensions(&self) -> Result<Vec<usize>> {
        try_join_all(self.indexes.iter().map(Index::dimensions)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_index_is_busy() {
        let retry = |message: &str| fault(&VectorizeError::from_message(message)).retry();
        assert_eq!(retry("VECTOR_UPSERT_ERROR (code = 40041): Too Many Requests"), Retry::Busy);
        assert_eq!(retry("VECTOR_UPSERT_ERROR: Status + 429"), Retry::Busy);
        assert_eq!(retry("VECTOR_UPSERT_ERROR: Status + 503"), Retry::Backoff);
        assert_eq!(retry("VECTOR_UPSERT_ERROR (code = 40012): invalid vector"), Retry::Never);
        assert_eq!(retry("Network connection lost."), Retry::Backoff);
    }
}
