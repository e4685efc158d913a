//! What every implementation of the ports must do. Each case returns what went wrong instead of panicking, so that it
//! can run inside a Worker, where a panic would take the instance down.

use crate::document::{ChunkRow, DocumentId, Failure, Generation, Metadata, Status, Upload};
use crate::filter::Filter;
use crate::identity::{Namespace, text_hash, vector_id};
use crate::ports::{
    Clock, DOCUMENT_FIELD, DocumentStore, Embedder, KeywordIndex, ListQuery, ObjectStore, Part, Ports,
    Reranker, VectorEntry, VectorIndex,
};
use crate::settings::Field;
use crate::{Error, Tenant, keyword};
use serde_json::json;

/// What went wrong.
pub type Fault = String;

macro_rules! ensure {
    ($condition:expr) => {
        ensure!($condition, "")
    };
    ($condition:expr, $($detail:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!("{} (line {}) {}", stringify!($condition), line!(), format!($($detail)+)));
        }
    };
}

fn fault(error: Error) -> Fault {
    error.to_string()
}

/// One implementation under test.
#[derive(Debug)]
pub struct Contract<'a, P> {
    ports: &'a P,
    /// Makes this run's tenants its own in a store that keeps earlier runs' data.
    run: String,
    fields: Vec<Field>,
}

/// Result of a case.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What went wrong.
    pub fault: Option<Fault>,
}

struct Subject {
    tenant: Tenant,
    id: DocumentId,
}

impl<'a, P: Ports> Contract<'a, P> {
    /// `run` names this run; `fields` are the declared filter fields, among them a string `lang`.
    pub fn new(ports: &'a P, run: impl Into<String>, fields: Vec<Field>) -> Self {
        Self { ports, run: run.into(), fields }
    }

    /// Runs all cases. `wait` lets time pass until writes to the vector index may be visible.
    pub async fn run(&self, wait: impl AsyncFn()) -> Vec<Case> {
        let mut cases = Vec::new();
        macro_rules! case {
            ($name:ident $(, $argument:expr)?) => {
                cases.push(Case { name: stringify!($name), fault: self.$name($($argument)?).await.err() })
            };
        }
        case!(a_generation_is_served_only_when_complete);
        case!(a_superseded_generation_is_never_served);
        case!(a_deletion_hides_at_once_and_the_counter_goes_on);
        case!(a_failure_leaves_what_is_served);
        case!(a_late_copy_changes_nothing_that_is_served);
        case!(a_failed_generation_is_never_served);
        case!(a_restart_forgets_what_was_written);
        case!(a_vector_written_too_late_is_found);
        case!(a_prefix_is_deleted);
        case!(garbage_is_what_nothing_refers_to);
        case!(identical_chunks_hydrate_once);
        case!(listing_pages_by_id);
        case!(another_tenant_changes_no_score);
        case!(two_chinese_characters_find_their_text);
        case!(keyword_filters_hold);
        case!(overdue_work_is_found);
        case!(vectors_become_visible_and_go, &wait);
        case!(a_namespace_sees_only_itself, &wait);
        case!(vector_filters_hold, &wait);
        case!(objects_are_kept);
        case!(a_query_is_near_its_answer);
        case!(the_reranker_keeps_the_order_of_scores);
        cases
    }

    fn subject(&self, name: &str) -> Result<Subject, Fault> {
        Ok(Subject {
            tenant: Tenant::new(format!("{}.{name}", self.run)).map_err(fault)?,
            id: DocumentId::new("notes/a.md").map_err(fault)?,
        })
    }

    fn upload(&self, name: &str, metadata: &Metadata) -> Upload {
        Upload {
            object_key: format!("originals/{}/{name}", self.run),
            title: Some(name.to_owned()),
            media_type: "text/plain".into(),
            bytes: 3,
            content_hash: text_hash(name),
            metadata: metadata.clone(),
            settings: "s".into(),
        }
    }

    async fn begin(&self, subject: &Subject, name: &str) -> Result<Generation, Fault> {
        let upload = self.upload(name, &Metadata::new());
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let begun = documents.begin(&subject.tenant, &subject.id, &upload, now).await.map_err(fault)?;
        Ok(begun.generation)
    }

    fn chunk(&self, subject: &Subject, born: Generation, ordinal: u32, text: &str) -> ChunkRow {
        let hash = text_hash(text);
        let fingerprint = self.ports.embedder().fingerprint();
        ChunkRow {
            ordinal,
            vector: vector_id(&subject.tenant, &subject.id, 1, born, &hash, &fingerprint),
            hash,
            text: text.to_owned(),
            start: 0,
            end: text.len() as u64,
            tokens: 2,
            page: None,
            headings: vec!["Heading".into()],
            terms: keyword::terms(text),
        }
    }

    async fn fill(
        &self,
        subject: &Subject,
        generation: Generation,
        texts: &[&str],
    ) -> Result<Vec<String>, Fault> {
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let chunks: Vec<ChunkRow> = texts
            .iter()
            .enumerate()
            .map(|(ordinal, text)| self.chunk(subject, generation, ordinal as u32, text))
            .collect();
        let vectors: Vec<String> = chunks.iter().map(|chunk| chunk.vector.clone()).collect();
        let (tenant, id) = (&subject.tenant, &subject.id);
        documents.plan(tenant, id, generation, 1).await.map_err(fault)?;
        documents.intend(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        documents.written(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        let part = Part { number: 0, chunks, embedded: texts.len() as u64, reused: 0 };
        documents.write_part(tenant, id, generation, &part, now).await.map_err(fault)?;
        Ok(vectors)
    }

    async fn flip(&self, subject: &Subject, generation: Generation) -> Result<bool, Fault> {
        let now = self.ports.clock().now();
        self.ports.documents().flip(&subject.tenant, &subject.id, generation, now).await.map_err(fault)
    }

    async fn serve(&self, subject: &Subject, texts: &[&str]) -> Result<Generation, Fault> {
        let generation = self.begin(subject, texts.first().unwrap_or(&"empty")).await?;
        self.fill(subject, generation, texts).await?;
        ensure!(self.flip(subject, generation).await?);
        Ok(generation)
    }

    async fn keyword(&self, tenant: &Tenant, query: &str) -> Result<Vec<(i64, f32)>, Fault> {
        let terms = keyword::query_terms(query);
        let matches = self.ports.keywords().search(tenant, &terms, None, 10).await.map_err(fault)?;
        Ok(matches.into_iter().map(|hit| (hit.row, hit.score)).collect())
    }

    async fn a_generation_is_served_only_when_complete(&self) -> Result<(), Fault> {
        let subject = self.subject("complete")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        ensure!(documents.get(tenant, id).await.map_err(fault)?.is_none());
        let generation = self.begin(&subject, "one").await?;
        ensure!(generation == 1);
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.status == Status::Queued && document.generation.is_none());
        ensure!(document.pending.is_some());
        let work = documents.claim(tenant, id, generation, now).await.map_err(fault)?.ok_or("no work")?;
        ensure!(work.incarnation == 1 && work.parts_done.is_empty() && work.reusable.is_empty());
        ensure!(!self.flip(&subject, generation).await?, "without any part");
        documents.plan(tenant, id, generation, 2).await.map_err(fault)?;
        for number in 0..2 {
            ensure!(!self.flip(&subject, generation).await?, "with part {number} unfinished");
            let chunk = self.chunk(&subject, generation, number, &format!("zebra {number}"));
            let vectors = [chunk.vector.clone()];
            let part = Part { number, chunks: vec![chunk], embedded: 1, reused: 0 };
            documents.intend(tenant, id, generation, &vectors, now).await.map_err(fault)?;
            documents.written(tenant, id, generation, &vectors, now).await.map_err(fault)?;
            // Twice: a message may come again.
            documents.write_part(tenant, id, generation, &part, now).await.map_err(fault)?;
            documents.write_part(tenant, id, generation, &part, now).await.map_err(fault)?;
            ensure!(self.keyword(tenant, "zebra").await?.is_empty(), "invisible before the flip");
        }
        ensure!(self.flip(&subject, generation).await?);
        ensure!(self.flip(&subject, generation).await?, "again");
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.status == Status::Searchable && document.generation == Some(1));
        ensure!(document.pending.is_none());
        ensure!(document.chunk_count == 2 && document.tokens == 4, "{document:?}");
        ensure!(document.counts.embedded == 2);
        ensure!(self.keyword(tenant, "zebra").await?.len() == 2);
        let chunks = documents.chunks(tenant, id, Some(0), 10).await.map_err(fault)?;
        ensure!(chunks.len() == 1 && chunks[0].text == "zebra 1" && chunks[0].headings == ["Heading"]);
        ensure!(documents.claim(tenant, id, generation, now).await.map_err(fault)?.is_none(), "done before");
        documents.indexed(tenant, id, generation, now).await.map_err(fault)?;
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.status == Status::Indexed);
        Ok(())
    }

    async fn a_superseded_generation_is_never_served(&self) -> Result<(), Fault> {
        let subject = self.subject("superseded")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let served = self.serve(&subject, &["old lion"]).await?;
        let older = self.begin(&subject, "older").await?;
        let newer = self.begin(&subject, "newer").await?;
        ensure!(served < older && older < newer);
        ensure!(documents.claim(tenant, id, older, now).await.map_err(fault)?.is_none());
        self.fill(&subject, older, &["late tiger"]).await?;
        ensure!(!self.flip(&subject, older).await?);
        ensure!(self.keyword(tenant, "lion").await?.len() == 1, "the old one is served until the flip");
        let work = documents.claim(tenant, id, newer, now).await.map_err(fault)?.ok_or("no work")?;
        ensure!(work.reusable.contains_key(&text_hash("old lion")), "{:?}", work.reusable);
        self.fill(&subject, newer, &["new panther"]).await?;
        ensure!(self.flip(&subject, newer).await?);
        ensure!(self.keyword(tenant, "lion").await?.is_empty());
        ensure!(self.keyword(tenant, "panther").await?.len() == 1);
        Ok(())
    }

    async fn a_deletion_hides_at_once_and_the_counter_goes_on(&self) -> Result<(), Fault> {
        let subject = self.subject("deletion")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let first = self.serve(&subject, &["brown bear"]).await?;
        let vector = self.chunk(&subject, first, 0, "brown bear").vector;
        ensure!(
            documents.hydrate(tenant, std::slice::from_ref(&vector), &[]).await.map_err(fault)?.len() == 1
        );
        let pending = self.begin(&subject, "pending").await?;
        ensure!(documents.delete(tenant, id, now).await.map_err(fault)?);
        ensure!(!documents.delete(tenant, id, now).await.map_err(fault)?, "again");
        ensure!(documents.get(tenant, id).await.map_err(fault)?.is_none());
        ensure!(documents.hydrate(tenant, &[vector], &[]).await.map_err(fault)?.is_empty());
        ensure!(self.keyword(tenant, "bear").await?.is_empty());
        ensure!(documents.claim(tenant, id, pending, now).await.map_err(fault)?.is_none());
        ensure!(!self.flip(&subject, pending).await?);
        let again = self.begin(&subject, "again").await?;
        ensure!(again == pending + 1);
        let work = documents.claim(tenant, id, again, now).await.map_err(fault)?.ok_or("no work")?;
        ensure!(work.incarnation == again && work.reusable.is_empty());
        Ok(())
    }

    async fn a_failure_leaves_what_is_served(&self) -> Result<(), Fault> {
        let subject = self.subject("failure")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        self.serve(&subject, &["grey wolf"]).await?;
        let broken = self.begin(&subject, "broken").await?;
        let failure = Failure { code: "not_utf8".into(), message: "no".into() };
        documents.fail(tenant, id, broken, &failure, now).await.map_err(fault)?;
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.status == Status::Searchable && document.error.is_none());
        let pending = document.pending.ok_or("no pending")?;
        ensure!(pending.status == Status::Failed && pending.error == Some(failure));
        ensure!(self.keyword(tenant, "wolf").await?.len() == 1);
        Ok(())
    }

    async fn a_late_copy_changes_nothing_that_is_served(&self) -> Result<(), Fault> {
        let subject = self.subject("late-copy")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let generation = self.serve(&subject, &["black swan"]).await?;
        // Another consumer got the same message and is behind.
        self.fill(&subject, generation, &["other swan"]).await?;
        documents.restart(tenant, id, generation, "other").await.map_err(fault)?;
        let failure = Failure { code: "late".into(), message: "late".into() };
        documents.fail(tenant, id, generation, &failure, now).await.map_err(fault)?;
        ensure!(self.flip(&subject, generation).await?);
        documents.garbage(tenant, id, 100, now).await.map_err(fault)?;
        let chunks = documents.chunks(tenant, id, None, 10).await.map_err(fault)?;
        ensure!(chunks.len() == 1 && chunks[0].text == "black swan", "{chunks:?}");
        ensure!(self.keyword(tenant, "black").await?.len() == 1);
        ensure!(self.keyword(tenant, "other").await?.is_empty());
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.status == Status::Searchable && document.chunk_count == 1, "{document:?}");
        Ok(())
    }

    async fn a_failed_generation_is_never_served(&self) -> Result<(), Fault> {
        let subject = self.subject("failed-flip")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let generation = self.begin(&subject, "failed").await?;
        self.fill(&subject, generation, &["tired heron"]).await?;
        let failure = Failure { code: "retries_exhausted".into(), message: "no".into() };
        documents.fail(tenant, id, generation, &failure, now).await.map_err(fault)?;
        ensure!(!self.flip(&subject, generation).await?);
        ensure!(self.keyword(tenant, "heron").await?.is_empty());
        let garbage = documents.garbage(tenant, id, 100, now).await.map_err(fault)?;
        ensure!(garbage.vectors.len() == 1 && garbage.objects.is_empty(), "{garbage:?}");
        Ok(())
    }

    async fn a_restart_forgets_what_was_written(&self) -> Result<(), Fault> {
        let subject = self.subject("restart")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let generation = self.begin(&subject, "restart").await?;
        documents.plan(tenant, id, generation, 3).await.map_err(fault)?;
        documents.restart(tenant, id, generation, "new").await.map_err(fault)?;
        let work = documents.claim(tenant, id, generation, now).await.map_err(fault)?.ok_or("no work")?;
        ensure!(work.upload.settings == "new" && work.parts_done.is_empty(), "{work:?}");
        self.fill(&subject, generation, &["one crane"]).await?;
        ensure!(self.flip(&subject, generation).await?, "the three parts of before are forgotten");
        Ok(())
    }

    async fn a_vector_written_too_late_is_found(&self) -> Result<(), Fault> {
        let subject = self.subject("too-late")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let generation = self.begin(&subject, "late").await?;
        let vectors = [self.chunk(&subject, generation, 0, "late ibis").vector];
        // Its first attempt got as far as the vectors, a second is on its way when the document is deleted.
        documents.intend(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        documents.written(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        documents.intend(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        documents.delete(tenant, id, now).await.map_err(fault)?;
        let garbage = documents.garbage(tenant, id, 100, now).await.map_err(fault)?;
        ensure!(garbage.vectors.is_empty(), "its writer may be at work: {garbage:?}");
        documents.forget_objects(tenant, id, &garbage.objects).await.map_err(fault)?;
        documents.written(tenant, id, generation, &vectors, now).await.map_err(fault)?;
        let unclean = documents.unclean(now + 1, 1000).await.map_err(fault)?;
        ensure!(unclean.contains(&(tenant.clone(), id.clone())));
        let garbage = documents.garbage(tenant, id, 100, now + 1).await.map_err(fault)?;
        ensure!(garbage.vectors == vectors, "{garbage:?}");
        Ok(())
    }

    async fn a_prefix_is_deleted(&self) -> Result<(), Fault> {
        let mut subject = self.subject("prefix")?;
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        for name in ["a/1", "a/2", "ab", "b"] {
            subject.id = DocumentId::new(name).map_err(fault)?;
            self.serve(&subject, &[&format!("goose {name}")]).await?;
        }
        let mut deleted = documents.delete_prefix(&subject.tenant, "a/", now).await.map_err(fault)?;
        deleted.sort();
        ensure!(deleted.iter().map(DocumentId::as_str).eq(["a/1", "a/2"]), "{deleted:?}");
        ensure!(documents.delete_prefix(&subject.tenant, "a/", now).await.map_err(fault)?.is_empty());
        ensure!(self.keyword(&subject.tenant, "goose").await?.len() == 2);
        Ok(())
    }

    async fn garbage_is_what_nothing_refers_to(&self) -> Result<(), Fault> {
        let subject = self.subject("garbage")?;
        let (tenant, id) = (&subject.tenant, &subject.id);
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let first = self.serve(&subject, &["kept owl", "gone hawk"]).await?;
        let kept = self.chunk(&subject, first, 0, "kept owl");
        let gone = self.chunk(&subject, first, 1, "gone hawk").vector;
        let second = self.begin(&subject, "second").await?;
        ensure!(documents.garbage(tenant, id, 100, now).await.map_err(fault)?.vectors.is_empty());
        documents.plan(tenant, id, second, 1).await.map_err(fault)?;
        let part = Part { number: 0, chunks: vec![kept.clone()], embedded: 0, reused: 1 };
        documents.write_part(tenant, id, second, &part, now).await.map_err(fault)?;
        let late = ["late-intent-of-the-second".to_owned() + &self.run];
        ensure!(self.flip(&subject, second).await?);
        documents.intend(tenant, id, first, &late, now).await.map_err(fault)?;
        ensure!(
            documents.unclean(now, 1000).await.map_err(fault)?.contains(&(tenant.clone(), id.clone())),
            "the sweeper sees it"
        );
        let garbage = documents.garbage(tenant, id, 100, now).await.map_err(fault)?;
        ensure!(garbage.vectors == [gone.clone()], "{garbage:?}");
        ensure!(garbage.objects.len() == 1, "{garbage:?}");
        documents.forget_vectors(tenant, id, &garbage.vectors).await.map_err(fault)?;
        documents.forget_objects(tenant, id, &garbage.objects).await.map_err(fault)?;
        let document = documents.get(tenant, id).await.map_err(fault)?.ok_or("no document")?;
        ensure!(document.counts.deleted == 1, "{:?}", document.counts);
        let garbage = documents.garbage(tenant, id, 100, now + 1).await.map_err(fault)?;
        ensure!(garbage.vectors == late, "an intent goes once its writer is surely gone: {garbage:?}");
        documents.forget_vectors(tenant, id, &garbage.vectors).await.map_err(fault)?;
        ensure!(
            !documents.unclean(now + 1, 1000).await.map_err(fault)?.contains(&(tenant.clone(), id.clone()))
        );
        ensure!(documents.chunks(tenant, id, None, 10).await.map_err(fault)?.len() == 1);
        ensure!(documents.hydrate(tenant, &[kept.vector], &[]).await.map_err(fault)?.len() == 1);
        Ok(())
    }

    async fn identical_chunks_hydrate_once(&self) -> Result<(), Fault> {
        let subject = self.subject("identical")?;
        let generation = self.serve(&subject, &["same seal", "same seal"]).await?;
        let vector = self.chunk(&subject, generation, 0, "same seal").vector;
        let documents = self.ports.documents();
        let chunks = documents.hydrate(&subject.tenant, &[vector], &[]).await.map_err(fault)?;
        ensure!(chunks.len() == 1 && chunks[0].ordinal == 0, "{chunks:?}");
        let rows: Vec<i64> =
            self.keyword(&subject.tenant, "seal").await?.into_iter().map(|(row, _)| row).collect();
        ensure!(documents.hydrate(&subject.tenant, &[], &rows).await.map_err(fault)?.len() == 2);
        let stranger = Tenant::new(format!("{}.stranger", self.run)).map_err(fault)?;
        ensure!(documents.hydrate(&stranger, &[], &rows).await.map_err(fault)?.is_empty());
        Ok(())
    }

    async fn listing_pages_by_id(&self) -> Result<(), Fault> {
        let mut subject = self.subject("listing")?;
        for name in ["b/2", "a_1", "b/1", "axb", "c"] {
            subject.id = DocumentId::new(name).map_err(fault)?;
            self.begin(&subject, name).await?;
        }
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        documents.delete(&subject.tenant, &subject.id, now).await.map_err(fault)?;
        let ids = async |query: ListQuery| -> Result<Vec<String>, Fault> {
            let listed = documents.list(&subject.tenant, &query).await.map_err(fault)?;
            Ok(listed.into_iter().map(|document| document.id.to_string()).collect())
        };
        let page = ListQuery { limit: 2, ..ListQuery::default() };
        ensure!(ids(page.clone()).await? == ["a_1", "axb"]);
        ensure!(ids(ListQuery { after: Some("axb".into()), ..page.clone() }).await? == ["b/1", "b/2"]);
        ensure!(ids(ListQuery { prefix: Some("b/".into()), ..page.clone() }).await? == ["b/1", "b/2"]);
        ensure!(
            ids(ListQuery { prefix: Some("a_".into()), ..page.clone() }).await? == ["a_1"],
            "no wildcard"
        );
        ensure!(ids(ListQuery { status: Some(Status::Failed), ..page }).await?.is_empty());
        Ok(())
    }

    async fn another_tenant_changes_no_score(&self) -> Result<(), Fault> {
        let own = self.subject("own")?;
        let other = self.subject("other")?;
        self.serve(&own, &["red fox and red deer", "red squirrel", "a blue whale far out"]).await?;
        let before = self.keyword(&own.tenant, "red fox").await?;
        ensure!(before.len() == 2 && before[0].1 > before[1].1, "{before:?}");
        self.serve(&other, &["red red red", "fox", "many words that make the average length another one"])
            .await?;
        ensure!(self.keyword(&own.tenant, "red fox").await? == before);
        // Nor does a generation of one's own that is not served.
        let unserved = DocumentId::new("unserved").map_err(fault)?;
        let subject = Subject { tenant: own.tenant.clone(), id: unserved };
        let generation = self.begin(&subject, "unserved").await?;
        self.fill(&subject, generation, &["red red fox fox"]).await?;
        ensure!(self.keyword(&own.tenant, "red fox").await? == before);
        Ok(())
    }

    async fn two_chinese_characters_find_their_text(&self) -> Result<(), Fault> {
        let subject = self.subject("chinese")?;
        self.serve(&subject, &["全文检索很快", "天气很好"]).await?;
        ensure!(self.keyword(&subject.tenant, "检索").await?.len() == 1);
        ensure!(self.keyword(&subject.tenant, "检").await?.len() == 1);
        ensure!(self.keyword(&subject.tenant, "索检").await?.is_empty());
        Ok(())
    }

    async fn keyword_filters_hold(&self) -> Result<(), Fault> {
        let mut subject = self.subject("filters")?;
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        for lang in [json!("en"), json!("de"), json!(null)] {
            let name = format!("d{lang}").replace('"', "");
            subject.id = DocumentId::new(&name).map_err(fault)?;
            let mut metadata = Metadata::new();
            metadata.insert("lang".into(), lang);
            let upload = self.upload(&name, &metadata);
            let begun = documents.begin(&subject.tenant, &subject.id, &upload, now).await.map_err(fault)?;
            self.fill(&subject, begun.generation, &["white stork"]).await?;
            ensure!(self.flip(&subject, begun.generation).await?);
        }
        for (filter, wanted) in [
            (json!({"lang": "en"}), 1),
            (json!({"lang": {"$ne": "en"}}), 2),
            (json!({"lang": {"$in": ["en", "de"]}}), 2),
            (json!({"lang": {"$nin": ["en", "de"]}}), 1),
            (json!({"lang": {"$gt": "de"}}), 1),
            (json!({"lang": {"$gte": "de", "$lt": "en"}}), 1),
            (json!({"lang": null}), 1),
            (json!({"lang": {"$ne": null}}), 2),
            (json!({"lang": "fr"}), 0),
        ] {
            let parsed = Filter::parse(&filter, &self.fields).map_err(fault)?;
            let terms = keyword::query_terms("stork");
            let matches = self
                .ports
                .keywords()
                .search(&subject.tenant, &terms, Some(&parsed), 10)
                .await
                .map_err(fault)?;
            ensure!(matches.len() == wanted, "{filter}: {} instead of {wanted}", matches.len());
        }
        Ok(())
    }

    async fn overdue_work_is_found(&self) -> Result<(), Fault> {
        let subject = self.subject("overdue")?;
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let generation = self.begin(&subject, "lost").await?;
        let found = async |before| -> Result<Option<Status>, Fault> {
            let overdue = documents.overdue(before, 10_000).await.map_err(fault)?;
            let mut own = overdue
                .into_iter()
                .filter(|entry| entry.tenant == subject.tenant && entry.generation == generation);
            Ok(own.next().map(|entry| entry.status))
        };
        ensure!(found(now.saturating_sub(60_000)).await?.is_none(), "too young");
        ensure!(found(now + 60_000).await? == Some(Status::Queued));
        self.fill(&subject, generation, &["small wren"]).await?;
        ensure!(self.flip(&subject, generation).await?);
        ensure!(found(now + 60_000).await? == Some(Status::Searchable));
        documents.indexed(&subject.tenant, &subject.id, generation, now).await.map_err(fault)?;
        ensure!(found(now + 60_000).await?.is_none());
        Ok(())
    }

    async fn entry(
        &self,
        subject: &Subject,
        name: &str,
        lang: &str,
    ) -> Result<(VectorEntry, crate::ports::Embeddings), Fault> {
        let values = self.ports.embedder().embed_documents(&subject.tenant, &[name]).await.map_err(fault)?;
        let id = self.chunk(subject, 1, 0, name).vector;
        let mut metadata = Metadata::new();
        metadata.insert(DOCUMENT_FIELD.into(), "d".into());
        metadata.insert("lang".into(), lang.into());
        Ok((VectorEntry { id, metadata }, values))
    }

    async fn appears(
        &self,
        subject: &Subject,
        id: &str,
        wait: &impl AsyncFn(),
        there: bool,
    ) -> Result<(), Fault> {
        for _ in 0..100 {
            let visible =
                self.ports.vectors().visible(&subject.tenant, &[id.to_owned()]).await.map_err(fault)?;
            if (visible == [id]) == there {
                return Ok(());
            }
            wait().await;
        }
        Err(format!("{id} never became {}", if there { "visible" } else { "invisible" }))
    }

    async fn vectors_become_visible_and_go(&self, wait: &impl AsyncFn()) -> Result<(), Fault> {
        let subject = self.subject("visible")?;
        let namespace = Namespace::new(&subject.tenant, &self.ports.embedder().fingerprint());
        let (entry, values) = self.entry(&subject, "a quick brown fox", "en").await?;
        let vectors = self.ports.vectors();
        for _ in 0..2 {
            vectors
                .upsert(&subject.tenant, &namespace, std::slice::from_ref(&entry), &values)
                .await
                .map_err(fault)?;
        }
        self.appears(&subject, &entry.id, wait, true).await?;
        let found =
            vectors.query(&subject.tenant, &namespace, values.row(0), 5, None).await.map_err(fault)?;
        ensure!(found.len() == 1 && found[0].id == entry.id && found[0].score > 0.99, "{found:?}");
        let gone = [entry.id.clone(), "never-there".to_owned()];
        vectors.delete(&subject.tenant, &gone).await.map_err(fault)?;
        self.appears(&subject, &entry.id, wait, false).await?;
        let found =
            vectors.query(&subject.tenant, &namespace, values.row(0), 5, None).await.map_err(fault)?;
        ensure!(found.is_empty());
        Ok(())
    }

    async fn a_namespace_sees_only_itself(&self, wait: &impl AsyncFn()) -> Result<(), Fault> {
        let (own, other) = (self.subject("space-own")?, self.subject("space-other")?);
        let fingerprint = self.ports.embedder().fingerprint();
        let vectors = self.ports.vectors();
        let mut ids = Vec::new();
        for subject in [&own, &other] {
            let (entry, values) = self.entry(subject, "a quick brown fox", "en").await?;
            let namespace = Namespace::new(&subject.tenant, &fingerprint);
            ids.push(entry.id.clone());
            vectors.upsert(&subject.tenant, &namespace, &[entry], &values).await.map_err(fault)?;
        }
        self.appears(&own, &ids[0], wait, true).await?;
        self.appears(&other, &ids[1], wait, true).await?;
        let query = self.ports.embedder().embed_query(&own.tenant, "quick fox").await.map_err(fault)?;
        let namespace = Namespace::new(&own.tenant, &fingerprint);
        let found = vectors.query(&own.tenant, &namespace, &query, 100, None).await.map_err(fault)?;
        ensure!(found.iter().map(|hit| &hit.id).eq([&ids[0]]), "{found:?}");
        Ok(())
    }

    async fn vector_filters_hold(&self, wait: &impl AsyncFn()) -> Result<(), Fault> {
        let subject = self.subject("vector-filters")?;
        let namespace = Namespace::new(&subject.tenant, &self.ports.embedder().fingerprint());
        let vectors = self.ports.vectors();
        let mut last = String::new();
        for lang in ["en", "de", "fr"] {
            let (entry, values) = self.entry(&subject, &format!("fox {lang}"), lang).await?;
            last.clone_from(&entry.id);
            vectors.upsert(&subject.tenant, &namespace, &[entry], &values).await.map_err(fault)?;
        }
        self.appears(&subject, &last, wait, true).await?;
        let query = self.ports.embedder().embed_query(&subject.tenant, "fox").await.map_err(fault)?;
        for (filter, wanted) in [
            (json!({"lang": "en"}), 1),
            (json!({"lang": {"$ne": "en"}}), 2),
            (json!({"lang": {"$in": ["en", "de"]}}), 2),
            (json!({"lang": {"$nin": ["en", "de"]}}), 1),
            (json!({"lang": {"$gte": "de", "$lt": "en"}}), 1),
        ] {
            let parsed = Filter::parse(&filter, &self.fields).map_err(fault)?;
            let found =
                vectors.query(&subject.tenant, &namespace, &query, 10, Some(&parsed)).await.map_err(fault)?;
            ensure!(found.len() == wanted, "{filter}: {} instead of {wanted}", found.len());
        }
        Ok(())
    }

    async fn objects_are_kept(&self) -> Result<(), Fault> {
        let subject = self.subject("objects")?;
        let objects = self.ports.objects();
        let key = crate::identity::object_key(&subject.tenant, "x").map_err(fault)?;
        objects.put(&subject.tenant, &key, b"bytes\0", "text/plain").await.map_err(fault)?;
        ensure!(objects.get(&subject.tenant, &key).await.map_err(fault)?.as_deref() == Some(b"bytes\0"));
        let (mut found, mut cursor) = (false, None);
        loop {
            let (page, next) = objects.list(cursor).await.map_err(fault)?;
            found |= page.iter().any(|entry| entry.key == key);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        ensure!(found);
        let lost = self.ports.documents().unreferenced(std::slice::from_ref(&key)).await.map_err(fault)?;
        ensure!(lost == [key.clone()]);
        objects.delete(&[key.clone(), "originals/never".into()]).await.map_err(fault)?;
        ensure!(objects.get(&subject.tenant, &key).await.map_err(fault)?.is_none());
        Ok(())
    }

    async fn a_query_is_near_its_answer(&self) -> Result<(), Fault> {
        let tenant = self.subject("embedder")?.tenant;
        let embedder = self.ports.embedder();
        let texts = ["The capital of France is Paris.", "Bread is baked from flour and water."];
        let rows = embedder.embed_documents(&tenant, &texts).await.map_err(fault)?;
        ensure!(rows.len() == 2);
        let query = embedder.embed_query(&tenant, "capital of France").await.map_err(fault)?;
        let near = |row: &[f32]| row.iter().zip(&query).map(|(left, right)| left * right).sum::<f32>();
        ensure!(near(rows.row(0)) > near(rows.row(1)));
        let length = rows.row(0).iter().map(|value| value * value).sum::<f32>();
        ensure!((length - 1.0).abs() < 1e-3, "{length}");
        Ok(())
    }

    async fn the_reranker_keeps_the_order_of_scores(&self) -> Result<(), Fault> {
        let tenant = self.subject("reranker")?.tenant;
        let passages = ["Bread is baked from flour.", "Paris is the capital of France.", "Wolves hunt."];
        let scores = self
            .ports
            .reranker()
            .rerank(&tenant, "What is the capital of France?", &passages)
            .await
            .map_err(fault)?;
        ensure!(scores.len() == 3);
        ensure!(scores[1] > scores[0] && scores[1] > scores[2], "{scores:?}");
        Ok(())
    }
}
