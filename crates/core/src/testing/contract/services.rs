//! Vectors, objects and models.

use super::{Checked, Contract};
use crate::Tenant;
use crate::document::Metadata;
use crate::filter::{Filter, INDEXED_BYTES, Operator};
use crate::identity::{Namespace, object_key, text_hash};
use crate::ports::{
    Collected, DOCUMENT_FIELD, DocumentStore, Embedder, Embeddings, ObjectStore, Ports, Reranker,
    VectorEntry, VectorIndex,
};
use crate::settings::EmbeddingSettings;
use serde_json::json;

fn near(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn namespace(tenant: &Tenant) -> Namespace {
    Namespace::new(tenant, &EmbeddingSettings::default().fingerprint())
}

impl<P: Ports> Contract<'_, P> {
    /// A text's vector, tagged with a language.
    async fn entry(&self, tenant: &Tenant, text: &str, lang: &str) -> Checked<(VectorEntry, Embeddings)> {
        let settings = EmbeddingSettings::default();
        let values = self.ports.embedder().embed_documents(tenant, &settings, &[text]).await?;
        let mut metadata = Metadata::new();
        metadata.insert(DOCUMENT_FIELD.into(), "d".into());
        metadata.insert("lang".into(), lang.into());
        let id = text_hash(&format!("{tenant} {text}"));
        Ok((VectorEntry { id, metadata }, values))
    }

    async fn appears(
        &self,
        tenant: &Tenant,
        id: &str,
        wait: &impl AsyncFn(),
        there: bool,
    ) -> Checked<Vec<(String, Vec<f32>)>> {
        for _ in 0..100 {
            let found = self.ports.vectors().fetch(tenant, &[id.to_owned()]).await?;
            if found.iter().any(|(found, _)| found == id) == there {
                return Ok(found);
            }
            wait().await;
        }
        Err(format!("{id} never became {}", if there { "visible" } else { "invisible" }).into())
    }

    pub(super) async fn vectors_become_visible_and_go(&self, wait: &impl AsyncFn()) -> Checked {
        let tenant = self.subject("visible")?.tenant;
        let namespace = namespace(&tenant);
        let (entry, values) = self.entry(&tenant, "a quick brown fox", "en").await?;
        let vectors = self.ports.vectors();
        ensure!(vectors.dimensions().await?.contains(&values.dimensions));
        for _ in 0..2 {
            vectors.upsert(&tenant, &namespace, std::slice::from_ref(&entry), &values).await?;
        }
        let fetched = self.appears(&tenant, &entry.id, wait, true).await?;
        ensure!(fetched.len() == 1 && fetched[0].1.len() == values.dimensions, "{fetched:?}");
        ensure!(near(&fetched[0].1, values.row(0)) > 0.99, "with its values");
        let found = vectors.query(&tenant, &namespace, values.row(0), 5, None).await?;
        ensure!(found.len() == 1 && found[0].id == entry.id && found[0].score > 0.99, "{found:?}");
        let gone = [entry.id.clone(), "never-there".to_owned()];
        let fetched = vectors.fetch(&tenant, &gone).await?;
        ensure!(fetched.len() == 1, "only what is there: {fetched:?}");
        vectors.delete(&tenant, &gone).await?;
        self.appears(&tenant, &entry.id, wait, false).await?;
        let found = vectors.query(&tenant, &namespace, values.row(0), 5, None).await?;
        ensure!(found.is_empty());
        Ok(())
    }

    pub(super) async fn a_namespace_sees_only_itself(&self, wait: &impl AsyncFn()) -> Checked {
        let (own, other) = (self.subject("space-own")?.tenant, self.subject("space-other")?.tenant);
        let (vectors, settings) = (self.ports.vectors(), EmbeddingSettings::default());
        let mut ids = Vec::new();
        for tenant in [&own, &other] {
            let (entry, values) = self.entry(tenant, "a quick brown fox", "en").await?;
            ids.push(entry.id.clone());
            vectors.upsert(tenant, &namespace(tenant), &[entry], &values).await?;
        }
        self.appears(&own, &ids[0], wait, true).await?;
        self.appears(&other, &ids[1], wait, true).await?;
        let query = self.ports.embedder().embed_query(&own, &settings, "quick fox").await?;
        let found = vectors.query(&own, &namespace(&own), &query, 100, None).await?;
        ensure!(found.iter().map(|hit| &hit.id).eq([&ids[0]]), "{found:?}");
        Ok(())
    }

    pub(super) async fn vector_filters_hold(&self, wait: &impl AsyncFn()) -> Checked {
        let tenant = self.subject("vector-filters")?.tenant;
        let (vectors, settings) = (self.ports.vectors(), EmbeddingSettings::default());
        let mut last = String::new();
        for lang in ["en", "de", "fr"] {
            let (entry, values) = self.entry(&tenant, &format!("fox {lang}"), lang).await?;
            last.clone_from(&entry.id);
            vectors.upsert(&tenant, &namespace(&tenant), &[entry], &values).await?;
        }
        self.appears(&tenant, &last, wait, true).await?;
        let query = self.ports.embedder().embed_query(&tenant, &settings, "fox").await?;
        for (filter, wanted) in [
            (json!({"lang": "en"}), 1),
            (json!({"lang": {"$ne": "en"}}), 2),
            (json!({"lang": {"$in": ["en", "de"]}}), 2),
            (json!({"lang": {"$nin": ["en", "de"]}}), 1),
            (json!({"lang": {"$gte": "de", "$lt": "en"}}), 1),
        ] {
            let parsed = Filter::parse(&filter, &self.fields)?;
            let found = vectors.query(&tenant, &namespace(&tenant), &query, 10, Some(&parsed)).await?;
            ensure!(found.len() == wanted, "{filter}: {} instead of {wanted}", found.len());
        }
        Ok(())
    }

    /// What is left out and what is asked for by document, together with a filter, and strings too long for an index.
    pub(super) async fn documents_are_left_out(&self, wait: &impl AsyncFn()) -> Checked {
        let tenant = self.subject("left-out")?.tenant;
        let (vectors, settings) = (self.ports.vectors(), EmbeddingSettings::default());
        let long = |tail: &str| format!("{}{tail}", "x".repeat(INDEXED_BYTES));
        let mut last = String::new();
        for (document, lang) in [("a", "en"), ("b", "en"), ("c", &long("a")), ("d", &long("b"))] {
            let (mut entry, values) = self.entry(&tenant, &format!("fox {document}"), lang).await?;
            entry.metadata.insert(DOCUMENT_FIELD.into(), document.into());
            last.clone_from(&entry.id);
            vectors.upsert(&tenant, &namespace(&tenant), &[entry], &values).await?;
        }
        self.appears(&tenant, &last, wait, true).await?;
        let query = self.ports.embedder().embed_query(&tenant, &settings, "fox").await?;
        let tags = |tags: &[&str]| -> Vec<String> { tags.iter().map(ToString::to_string).collect() };
        for (filter, operator, documents, wanted) in [
            (json!({}), Operator::Nin, tags(&["a", "c"]), tags(&["b", "d"])),
            (json!({}), Operator::In, tags(&["a", "c"]), tags(&["a", "c"])),
            (json!({"lang": "en"}), Operator::Nin, tags(&["a"]), tags(&["b"])),
            // The index can't tell the two: both must come, so that neither is lost.
            (json!({"lang": long("a")}), Operator::Nin, tags(&["a"]), tags(&["c", "d"])),
            (json!({"lang": {"$ne": long("a")}}), Operator::Nin, tags(&["a"]), tags(&["b", "c", "d"])),
        ] {
            let asked = Filter::parse(&filter, &self.fields)?.for_vectors();
            let asked = asked.and_documents(operator, &documents).ok_or("no room")?;
            let found = vectors.query(&tenant, &namespace(&tenant), &query, 10, Some(&asked)).await?;
            let mut named: Vec<String> = found.into_iter().filter_map(|hit| hit.document).collect();
            named.sort();
            ensure!(named == wanted, "{filter} {operator:?} {documents:?}: {named:?}");
        }
        Ok(())
    }

    pub(super) async fn objects_are_kept(&self) -> Checked {
        let tenant = self.subject("kept-objects")?.tenant;
        let objects = self.ports.objects();
        let key = object_key(&tenant, "x")?;
        objects.put(&tenant, &key, b"bytes\0", "text/plain").await?;
        ensure!(objects.get(&tenant, &key).await?.as_deref() == Some(b"bytes\0"));
        let (mut found, mut cursor) = (false, None);
        loop {
            let (page, next) = objects.list(cursor).await?;
            found |= page.iter().any(|entry| entry.key == key);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        ensure!(found);
        let lost = self.ports.documents().unreferenced(std::slice::from_ref(&key)).await?;
        ensure!(lost == [key.clone()]);
        objects.delete(&[key.clone(), "originals/never".into()]).await?;
        ensure!(objects.get(&tenant, &key).await?.is_none());
        Ok(())
    }

    pub(super) async fn objects_are_read_by_range(&self) -> Checked {
        let tenant = self.subject("ranges")?.tenant;
        let objects = self.ports.objects();
        let key = object_key(&tenant, "range")?;
        objects.put(&tenant, &key, b"0123456789", "text/plain").await?;
        for (range, wanted) in [
            (0..4, "0123"),
            (4..5, "4"),
            (0..10, "0123456789"),
            (8..12, "89"),
            (10..12, ""),
            (100..200, ""),
            (3..3, ""),
        ] {
            let read = objects.read(&tenant, &key, range.clone()).await?;
            ensure!(read.as_deref() == Some(wanted.as_bytes()), "{range:?}: {read:?}");
        }
        let never = object_key(&tenant, "never")?;
        ensure!(objects.read(&tenant, &never, 0..4).await?.is_none());
        objects.delete(&[key]).await?;
        Ok(())
    }

    pub(super) async fn a_query_is_near_its_answer(&self) -> Checked {
        let tenant = self.subject("embedder")?.tenant;
        let (embedder, settings) = (self.ports.embedder(), EmbeddingSettings::default());
        let texts = ["The capital of France is Paris.", "Bread is baked from flour and water."];
        let rows = embedder.embed_documents(&tenant, &settings, &texts).await?;
        ensure!(rows.len() == 2 && rows.dimensions == settings.dimensions);
        let query = embedder.embed_query(&tenant, &settings, "capital of France").await?;
        ensure!(near(rows.row(0), &query) > near(rows.row(1), &query));
        let length = near(rows.row(0), rows.row(0));
        ensure!((length - 1.0).abs() < 1e-3, "{length}");
        Ok(())
    }

    pub(super) async fn texts_handed_in_are_collected(&self, wait: &impl AsyncFn()) -> Checked {
        let tenant = self.subject("submit")?.tenant;
        let (embedder, settings) = (self.ports.embedder(), EmbeddingSettings::default());
        let texts = ["The capital of France is Paris.", "Bread is baked from flour and water."];
        let ticket = embedder.submit(&tenant, &settings, &texts).await?;
        let mut collected = Collected::Running;
        for _ in 0..100 {
            collected = embedder.collect(&tenant, &settings, &ticket).await?;
            if collected != Collected::Running {
                break;
            }
            wait().await;
        }
        let Collected::Done(rows) = collected else { return Err(format!("{collected:?}").into()) };
        let wanted = embedder.embed_documents(&tenant, &settings, &texts).await?;
        ensure!(rows.len() == 2 && rows.dimensions == settings.dimensions);
        for row in 0..2 {
            ensure!(near(rows.row(row), wanted.row(row)) > 0.99, "row {row} is another text's");
        }
        let lost = embedder.collect(&tenant, &settings, "00000000-0000-4000-8000-000000000000").await?;
        ensure!(lost == Collected::Lost, "{lost:?}");
        Ok(())
    }

    pub(super) async fn the_reranker_keeps_the_order_of_scores(&self) -> Checked {
        let tenant = self.subject("reranker")?.tenant;
        let passages = ["Bread is baked from flour.", "Paris is the capital of France.", "Wolves hunt."];
        let query = "What is the capital of France?";
        let scores = self.ports.reranker().rerank(&tenant, query, &passages).await?;
        ensure!(scores.len() == 3);
        ensure!(scores[1] > scores[0] && scores[1] > scores[2], "{scores:?}");
        Ok(())
    }
}
