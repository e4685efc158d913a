//! R2 buckets as sources, behind core's `SourceBuckets`.

use crate::http::ApiError;
use crate::keys::random;
use crate::ledger::Ledger;
use crate::r2::R2Objects;
use crate::upload::store_stream;
use ragflare_core::identity::copy_key;
use ragflare_core::ports::{Copied, Head, Listed, SourceBuckets};
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::Deserialize;
use worker::{Bucket, Env, ResponseBody};

/// A worker's buckets by their bindings, and where originals are.
#[derive(Clone, Debug)]
pub struct R2Sources {
    env: Env,
    originals: R2Objects,
    ledger: Ledger,
}

impl R2Sources {
    /// Bindings are looked up when they are used: the query worker has the same settings and no such bucket.
    pub fn new(env: &Env, originals: R2Objects, ledger: Ledger) -> Self {
        Self { env: env.clone(), originals, ledger }
    }

    /// A bucket, counted as one operation.
    fn bucket(&self, binding: &str) -> Result<Bucket> {
        self.ledger.count_r2();
        self.env.bucket(binding).map_err(|_| {
            let message = format!("the ingest worker has no R2 bucket bound as `{binding}`");
            Error::invalid("ingest.sources.binding", message)
        })
    }
}

fn fault(error: impl std::fmt::Display) -> Error {
    Error::Service { service: "source", retry: Retry::Backoff, code: None, message: error.to_string() }
}

/// What kept a copy from being made passes: the object is of the right size and not empty.
fn not_copied(error: ApiError) -> Error {
    fault(error.message)
}

impl SourceBuckets for R2Sources {
    async fn list(
        &self,
        binding: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool)> {
        let bucket = self.bucket(binding)?;
        let mut request = bucket.list().limit(limit as u32);
        if !prefix.is_empty() {
            request = request.prefix(prefix);
        }
        // Not a cursor: a job may come again, or be sent again, days later.
        if let Some(after) = after {
            request = request.start_after(after);
        }
        let page = request.execute().await.map_err(fault)?;
        let objects = page.objects();
        let listed = objects.iter().map(|object| Listed { key: object.key(), version: object.version() });
        Ok((listed.collect(), page.truncated()))
    }

    async fn head(&self, binding: &str, key: &str) -> Result<Option<Head>> {
        let Some(object) = self.bucket(binding)?.head(key).await.map_err(fault)? else { return Ok(None) };
        let http = object.http_metadata();
        Ok(Some(Head {
            version: object.version(),
            bytes: object.size(),
            content_type: http.content_type,
            content_encoding: http.content_encoding,
            metadata: object.custom_metadata().map_err(fault)?.into_iter().collect(),
        }))
    }

    async fn copy(
        &self,
        binding: &str,
        key: &str,
        head: &Head,
        tenant: &Tenant,
        media_type: &str,
    ) -> Result<Option<Copied>> {
        let object = self.bucket(binding)?.get(key).execute().await.map_err(fault)?;
        let Some(object) = object.filter(|object| object.version() == head.version) else { return Ok(None) };
        let Some(body) = object.body() else { return Ok(None) };
        let ResponseBody::Stream(stream) = body.response_body().map_err(fault)? else {
            return Err(fault("the object is no stream"));
        };
        let object_key = copy_key(tenant, &random(16)?)?;
        let stored =
            store_stream(&stream, Some(head.bytes), &self.originals, &object_key, media_type, head.bytes)
                .await
                .map_err(not_copied)?;
        Ok(Some(Copied { object_key, bytes: stored.bytes, content_hash: stored.content_hash }))
    }
}

/// A message of R2's event notifications, as far as it is of use: that something happened to a key. What there is now is
/// looked up. (Shape: R2 docs, "Event notifications", 2026-04; `fixtures/r2_events.json`.)
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct R2Event {
    /// `PutObject`, `CopyObject`, `CompleteMultipartUpload`, `DeleteObject`, `LifecycleDeletion`.
    pub action: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object.
    pub object: R2EventObject,
}

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct R2EventObject {
    /// Its key.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        let recorded = include_str!("../../../fixtures/r2_events.json");
        let recorded: serde_json::Value = serde_json::from_str(recorded).unwrap();
        let events: Vec<R2Event> = serde_json::from_value(recorded["messages"].clone()).unwrap();
        let read: Vec<_> = events.iter().map(|event| (&*event.action, &*event.object.key)).collect();
        assert_eq!(
            read,
            [
                ("PutObject", "handbook/lamp.md"),
                ("CompleteMultipartUpload", "handbook/charts.pdf"),
                ("CopyObject", "handbook/lamp-copy.md"),
                ("DeleteObject", "handbook/lamp.md"),
                ("LifecycleDeletion", "handbook/old log.txt"),
            ]
        );
        assert!(events.iter().all(|event| event.bucket == "lighthouse"));
    }
}
