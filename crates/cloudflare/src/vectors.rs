//! Vectorize behind core's `VectorIndex`.

use crate::ai::RetryClass;
use crate::vectorize::{Filter, QueryOptions, VectorRecord, Vectorize, VectorizeError};
use ragflare_core::filter::Filter as CoreFilter;
use ragflare_core::identity::Namespace;
use ragflare_core::ports::{Embeddings, VectorEntry, VectorIndex, VectorMatch};
use ragflare_core::{Error, Result, Retry, Tenant};

/// One Vectorize index.
#[derive(Clone, Debug)]
pub struct VectorizeVectors {
    index: Vectorize,
}

impl VectorizeVectors {
    /// Over a client.
    pub fn new(index: Vectorize) -> Self {
        Self { index }
    }
}

fn fault(error: &VectorizeError) -> Error {
    let passing = matches!(
        error,
        VectorizeError::SubrequestLimit { .. }
            | VectorizeError::Malformed { .. }
            | VectorizeError::Platform { code: None, .. }
    );
    let retry = match error.retry_class() {
        // Another invocation has subrequests of its own; what has no code is no refusal of the input.
        _ if passing => Retry::Backoff,
        RetryClass::Never => Retry::Never,
        RetryClass::AfterMidnightUtc => Retry::AfterMidnightUtc,
        RetryClass::Backoff | RetryClass::Once => Retry::Backoff,
    };
    Error::Service { service: "vectors", retry, code: error.code(), message: error.to_string() }
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
        self.index.upsert_many(&records).await.map(drop).map_err(|error| fault(&error))
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
            filter,
            ..QueryOptions::default()
        };
        let found = self.index.query(vector, &options).await.map_err(|error| fault(&error))?;
        Ok(found.into_iter().map(|hit| VectorMatch { id: hit.id, score: hit.score as f32 }).collect())
    }

    async fn visible(&self, _: &Tenant, ids: &[String]) -> Result<Vec<String>> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let found = self.index.get_many(&ids).await.map_err(|error| fault(&error))?;
        Ok(found.into_iter().map(|vector| vector.id).collect())
    }

    async fn delete(&self, _: &Tenant, ids: &[String]) -> Result<()> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        self.index.delete_many(&ids).await.map(drop).map_err(|error| fault(&error))
    }
}
