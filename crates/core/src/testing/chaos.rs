//! Ports that stop, refuse, or lose their replies where they are told to.

use crate::conversion::{Conversion, conversion_key, map_key, text_key};
use crate::document::{
    Document, DocumentId, Failure, Generation, Millis, ServedChunk, Status, Upload, Waiting,
};
use crate::filter::Filter;
use crate::identity::Namespace;
use crate::ports::{
    Collected, Converter, DocumentStore, Embedder, Embeddings, Flip, Garbage, Job, JobQueue, KeywordIndex,
    KeywordMatch, ListQuery, ObjectEntry, ObjectStore, Original, Outdated, Overdue, Part, PlannedPart, Ports,
    Progress, Reranker, Reusable, TenantState, Ticket, VectorEntry, VectorIndex, VectorMatch, Work,
};
use crate::settings::EmbeddingSettings;
use crate::{Error, Result, Tenant};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::future::{Future, pending, poll_fn};
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

/// Which service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// [`Embedder`].
    Embedder,
    /// [`VectorIndex`].
    Vectors,
    /// [`DocumentStore`], [`KeywordIndex`].
    Documents,
    /// [`ObjectStore`].
    Objects,
    /// [`Converter`].
    Converter,
    /// [`JobQueue`].
    Jobs,
    /// [`Reranker`].
    Reranker,
}

/// A call about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of which service.
    pub service: Service,
    /// Which method.
    pub name: &'static str,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is made and answered.
    GoOn,
    /// It is not made; the caller is told so.
    Refused(Error),
    /// It is made, but the caller is told that it failed.
    Denied(Error),
    /// The caller is told that it failed, but it is made later. Of [`VectorIndex::upsert`] and [`VectorIndex::delete`];
    /// other calls are refused.
    Late(Error),
    /// It is not made, and the caller never goes on.
    Crash,
    /// It is made, and the caller never goes on.
    CrashAfter,
    /// Of [`Embedder::collect`]: not ready yet.
    Running,
    /// Of [`Embedder::collect`]: lost.
    Lost,
}

/// What a call did, told before its caller hears of it.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// A generation began.
    Begun(&'a Tenant, &'a DocumentId, Generation, &'a Upload),
    /// Documents were deleted.
    Deleted(&'a Tenant, &'a [DocumentId]),
    /// What is served, staged or failed may have changed: of a document, or of the tenant's all.
    Changed(&'a Tenant, Option<&'a DocumentId>),
    /// Ledger rows were dropped.
    Forgotten(&'a [String]),
    /// Vectors were written.
    Upserted(&'a Tenant, &'a Namespace, &'a [VectorEntry], &'a Embeddings),
    /// Vectors were deleted.
    Removed(&'a [String]),
    /// An object was written.
    Stored(&'a str),
    /// Objects were deleted.
    Dropped(&'a [String]),
    /// Jobs were sent, to be delivered after so many seconds.
    Sent(&'a [Job], u32),
}

/// Decides what becomes of calls, and hears what they did. `caller` is what [`Chaos::new`] was told.
pub trait Hand {
    /// What becomes of a call.
    fn fate(&self, caller: usize, call: Call) -> Fate;
    /// Hears what a call did.
    fn done(&self, caller: usize, effect: &Effect<'_>);
    /// Takes a call that is to be made later.
    fn later(&self, call: LocalBoxFuture<'static, ()>);
    /// When an object was written.
    fn uploaded(&self, key: &str) -> Millis;
}

/// Ports in a [`Hand`]. Each call gives way to other tasks twice, before it is made and before its caller goes on, so that
/// tasks interleave, and can be dropped, at every point.
pub struct Chaos<P> {
    ports: Rc<P>,
    hand: Rc<dyn Hand>,
    caller: usize,
}

impl<P> std::fmt::Debug for Chaos<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Chaos").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Lets other tasks run.
async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        // The executor polls of its own accord, a set of futures within a task does not.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<P: Ports + 'static> Chaos<P> {
    /// `ports` as one caller sees them.
    pub fn new(ports: Rc<P>, hand: Rc<dyn Hand>, caller: usize) -> Self {
        Self { ports, hand, caller }
    }

    fn done(&self, effect: &Effect<'_>) {
        self.hand.done(self.caller, effect);
    }

    async fn call<T>(
        &self,
        service: Service,
        name: &'static str,
        made: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        give_way().await;
        Self::meet(self.hand.fate(self.caller, Call { service, name }), made).await
    }

    async fn meet<T>(fate: Fate, made: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = match fate {
            Fate::Refused(error) | Fate::Late(error) => Err(error),
            Fate::Denied(error) => made.await.and(Err(error)),
            Fate::Crash => pending().await,
            Fate::CrashAfter => {
                let _ = made.await;
                pending().await
            }
            Fate::GoOn | Fate::Running | Fate::Lost => made.await,
        };
        give_way().await;
        answer
    }

    /// A call of the vector index that may also be made later.
    async fn call_or_later(
        &self,
        name: &'static str,
        made: impl Future<Output = Result<()>> + 'static,
    ) -> Result<()> {
        give_way().await;
        let fate = self.hand.fate(self.caller, Call { service: Service::Vectors, name });
        if let Fate::Late(error) = fate {
            self.hand.later(made.map(drop).boxed_local());
            give_way().await;
            return Err(error);
        }
        Self::meet(fate, made).await
    }

    async fn document<T>(&self, name: &'static str, made: impl Future<Output = Result<T>>) -> Result<T> {
        self.call(Service::Documents, name, made).await
    }
}

impl<P: Ports + 'static> Ports for Chaos<P> {
    type Embedder = Self;
    type Vectors = Self;
    type Keywords = Self;
    type Reranker = Self;
    type Generator = P::Generator;
    type Documents = Self;
    type Objects = Self;
    type Converter = Self;
    type Jobs = Self;
    type Clock = P::Clock;

    fn embedder(&self) -> &Self {
        self
    }
    fn vectors(&self) -> &Self {
        self
    }
    fn keywords(&self) -> &Self {
        self
    }
    fn reranker(&self) -> &Self {
        self
    }
    fn generator(&self) -> &P::Generator {
        self.ports.generator()
    }
    fn documents(&self) -> &Self {
        self
    }
    fn objects(&self) -> &Self {
        self
    }
    fn converter(&self) -> &Self {
        self
    }
    fn jobs(&self) -> &Self {
        self
    }
    fn clock(&self) -> &P::Clock {
        self.ports.clock()
    }
}

impl<P: Ports + 'static> Embedder for Chaos<P> {
    const BATCH: usize = P::Embedder::BATCH;

    async fn embed_documents(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> Result<Embeddings> {
        let made = self.ports.embedder().embed_documents(tenant, settings, texts);
        self.call(Service::Embedder, "embed_documents", made).await
    }

    async fn embed_query(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        query: &str,
    ) -> Result<Vec<f32>> {
        let made = self.ports.embedder().embed_query(tenant, settings, query);
        self.call(Service::Embedder, "embed_query", made).await
    }

    async fn submit(&self, tenant: &Tenant, settings: &EmbeddingSettings, texts: &[&str]) -> Result<String> {
        let made = self.ports.embedder().submit(tenant, settings, texts);
        self.call(Service::Embedder, "submit", made).await
    }

    async fn collect(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        ticket: &str,
    ) -> Result<Collected> {
        give_way().await;
        let call = Call { service: Service::Embedder, name: "collect" };
        match self.hand.fate(self.caller, call) {
            Fate::Running => Ok(Collected::Running),
            Fate::Lost => Ok(Collected::Lost),
            fate => Self::meet(fate, self.ports.embedder().collect(tenant, settings, ticket)).await,
        }
    }
}

impl<P: Ports + 'static> VectorIndex for Chaos<P> {
    const BATCH: usize = P::Vectors::BATCH;
    const LOOKUP_BATCH: usize = P::Vectors::LOOKUP_BATCH;

    async fn upsert(
        &self,
        tenant: &Tenant,
        namespace: &Namespace,
        entries: &[VectorEntry],
        values: &Embeddings,
    ) -> Result<()> {
        let (ports, hand, caller) = (self.ports.clone(), self.hand.clone(), self.caller);
        let (tenant, namespace) = (tenant.clone(), namespace.clone());
        let (entries, values) = (entries.to_vec(), values.clone());
        let made = async move {
            ports.vectors().upsert(&tenant, &namespace, &entries, &values).await?;
            hand.done(caller, &Effect::Upserted(&tenant, &namespace, &entries, &values));
            Ok(())
        };
        self.call_or_later("upsert", made).await
    }

    async fn query(
        &self,
        tenant: &Tenant,
        namespace: &Namespace,
        vector: &[f32],
        top_k: usize,
        filter: Option<&Filter>,
    ) -> Result<Vec<VectorMatch>> {
        let made = self.ports.vectors().query(tenant, namespace, vector, top_k, filter);
        self.call(Service::Vectors, "query", made).await
    }

    async fn fetch(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<(String, Vec<f32>)>> {
        self.call(Service::Vectors, "fetch", self.ports.vectors().fetch(tenant, ids)).await
    }

    async fn delete(&self, tenant: &Tenant, ids: &[String]) -> Result<()> {
        let (ports, hand, caller) = (self.ports.clone(), self.hand.clone(), self.caller);
        let (tenant, ids) = (tenant.clone(), ids.to_vec());
        let made = async move {
            ports.vectors().delete(&tenant, &ids).await?;
            hand.done(caller, &Effect::Removed(&ids));
            Ok(())
        };
        self.call_or_later("delete", made).await
    }

    async fn dimensions(&self) -> Result<Vec<usize>> {
        self.call(Service::Vectors, "dimensions", self.ports.vectors().dimensions()).await
    }
}

impl<P: Ports + 'static> KeywordIndex for Chaos<P> {
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>> {
        self.document("search", self.ports.keywords().search(tenant, terms, filter, limit)).await
    }
}

impl<P: Ports + 'static> Reranker for Chaos<P> {
    async fn rerank(&self, tenant: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>> {
        self.call(Service::Reranker, "rerank", self.ports.reranker().rerank(tenant, query, passages)).await
    }
}

impl<P: Ports + 'static> ObjectStore for Chaos<P> {
    async fn put(&self, tenant: &Tenant, key: &str, bytes: &[u8], media_type: &str) -> Result<()> {
        let made = async {
            self.ports.objects().put(tenant, key, bytes, media_type).await?;
            self.done(&Effect::Stored(key));
            Ok(())
        };
        self.call(Service::Objects, "put", made).await
    }

    async fn get(&self, tenant: &Tenant, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(Service::Objects, "get", self.ports.objects().get(tenant, key)).await
    }

    async fn read(&self, tenant: &Tenant, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        self.call(Service::Objects, "read", self.ports.objects().read(tenant, key, range)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        let made = async {
            self.ports.objects().delete(keys).await?;
            self.done(&Effect::Dropped(keys));
            Ok(())
        };
        self.call(Service::Objects, "delete", made).await
    }

    async fn list(&self, cursor: Option<String>) -> Result<(Vec<ObjectEntry>, Option<String>)> {
        let made = async {
            let (mut entries, cursor) = self.ports.objects().list(cursor).await?;
            entries.iter_mut().for_each(|entry| entry.uploaded = self.hand.uploaded(&entry.key));
            Ok((entries, cursor))
        };
        self.call(Service::Objects, "list", made).await
    }
}

impl<P: Ports + 'static> Converter for Chaos<P> {
    async fn convert(&self, tenant: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>> {
        let made = async {
            let conversion = self.ports.converter().convert(tenant, original).await?;
            for key in [text_key(original.key), map_key(original.key), conversion_key(original.key)] {
                self.done(&Effect::Stored(&key));
            }
            Ok(conversion)
        };
        self.call(Service::Converter, "convert", made).await
    }
}

impl<P: Ports + 'static> JobQueue for Chaos<P> {
    async fn send(&self, jobs: &[Job], delay_seconds: u32) -> Result<()> {
        let made = async {
            self.ports.jobs().send(jobs, delay_seconds).await?;
            self.done(&Effect::Sent(jobs, delay_seconds));
            Ok(())
        };
        self.call(Service::Jobs, "send", made).await
    }
}

impl<P: Ports + 'static> DocumentStore for Chaos<P> {
    async fn begin(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &Upload,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<Option<Generation>> {
        let made = async {
            let begun = self.ports.documents().begin(tenant, id, upload, expected, now).await?;
            if let Some(generation) = begun {
                self.done(&Effect::Begun(tenant, id, generation, upload));
            }
            Ok(begun)
        };
        self.document("begin", made).await
    }

    async fn sent(&self, generations: &[Overdue], now: Millis) -> Result<()> {
        self.document("sent", self.ports.documents().sent(generations, now)).await
    }

    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>> {
        self.document("get", self.ports.documents().get(tenant, id)).await
    }

    async fn upload(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
    ) -> Result<Option<Upload>> {
        self.document("upload", self.ports.documents().upload(tenant, id, generation)).await
    }

    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>> {
        self.document("list", self.ports.documents().list(tenant, query)).await
    }

    async fn claim(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Option<Work>> {
        self.document("claim", self.ports.documents().claim(tenant, id, generation, now)).await
    }

    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        fields: &str,
    ) -> Result<()> {
        let made = self.ports.documents().restart(tenant, id, generation, settings, fields);
        self.document("restart", made).await
    }

    async fn plan(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        planned: u32,
        parts: &[PlannedPart],
        resume: Option<&str>,
        now: Millis,
    ) -> Result<bool> {
        let made = self.ports.documents().plan(tenant, id, generation, settings, planned, parts, resume, now);
        self.document("plan", made).await
    }

    async fn open_parts(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<PlannedPart>> {
        let made = self.ports.documents().open_parts(tenant, id, generation, after, limit);
        self.document("open_parts", made).await
    }

    async fn note_ticket(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: u32,
        ticket: Option<&Ticket>,
        now: Millis,
    ) -> Result<()> {
        let made = self.ports.documents().note_ticket(tenant, id, generation, part, ticket, now);
        self.document("note_ticket", made).await
    }

    async fn reusable(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        hashes: &[String],
    ) -> Result<Vec<Reusable>> {
        self.document("reusable", self.ports.documents().reusable(tenant, id, generation, hashes)).await
    }

    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        self.document("intend", self.ports.documents().intend(tenant, id, generation, vectors, now)).await
    }

    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        self.document("written", self.ports.documents().written(tenant, id, generation, vectors, now)).await
    }

    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        part: &Part,
        now: Millis,
    ) -> Result<()> {
        let made = self.ports.documents().write_part(tenant, id, generation, settings, part, now);
        self.document("write_part", made).await
    }

    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Flip> {
        let made = async {
            let flip = self.ports.documents().flip(tenant, id, generation, now).await?;
            self.done(&Effect::Changed(tenant, Some(id)));
            Ok(flip)
        };
        self.document("flip", made).await
    }

    async fn postpone(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        status: Status,
        waiting: &Waiting,
        now: Millis,
    ) -> Result<u32> {
        let made = self.ports.documents().postpone(tenant, id, generation, status, waiting, now);
        self.document("postpone", made).await
    }

    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()> {
        let made = async {
            self.ports.documents().fail(tenant, id, generation, failure, now).await?;
            self.done(&Effect::Changed(tenant, Some(id)));
            Ok(())
        };
        self.document("fail", made).await
    }

    async fn last_vectors(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<String>> {
        let made = self.ports.documents().last_vectors(tenant, id, generation, limit);
        self.document("last_vectors", made).await
    }

    async fn indexed(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        self.document("indexed", self.ports.documents().indexed(tenant, id, generation, now)).await
    }

    async fn delete(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<bool> {
        let made = async {
            let deleted = self.ports.documents().delete(tenant, id, expected, now).await?;
            if deleted {
                self.done(&Effect::Deleted(tenant, std::slice::from_ref(id)));
            }
            Ok(deleted)
        };
        self.document("delete", made).await
    }

    async fn delete_prefix(
        &self,
        tenant: &Tenant,
        prefix: &str,
        limit: usize,
        now: Millis,
    ) -> Result<Vec<DocumentId>> {
        let made = async {
            let deleted = self.ports.documents().delete_prefix(tenant, prefix, limit, now).await?;
            self.done(&Effect::Deleted(tenant, &deleted));
            Ok(deleted)
        };
        self.document("delete_prefix", made).await
    }

    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage> {
        self.document("garbage", self.ports.documents().garbage(tenant, id, limit, settled)).await
    }

    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()> {
        let made = async {
            self.ports.documents().forget_vectors(tenant, id, vectors).await?;
            self.done(&Effect::Forgotten(vectors));
            Ok(())
        };
        self.document("forget_vectors", made).await
    }

    async fn forget_generations(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generations: &[Generation],
    ) -> Result<()> {
        let made = self.ports.documents().forget_generations(tenant, id, generations);
        self.document("forget_generations", made).await
    }

    async fn chunks(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<ServedChunk>> {
        self.document("chunks", self.ports.documents().chunks(tenant, id, after, limit)).await
    }

    async fn hydrate(&self, tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Result<Vec<ServedChunk>> {
        self.document("hydrate", self.ports.documents().hydrate(tenant, vectors, rows)).await
    }

    async fn overdue(&self, before: Millis, now: Millis, limit: usize) -> Result<Vec<Overdue>> {
        self.document("overdue", self.ports.documents().overdue(before, now, limit)).await
    }

    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>> {
        self.document("unclean", self.ports.documents().unclean(settled, limit)).await
    }

    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>> {
        self.document("unreferenced", self.ports.documents().unreferenced(objects)).await
    }

    async fn tenant(&self, tenant: &Tenant) -> Result<TenantState> {
        self.document("tenant", self.ports.documents().tenant(tenant)).await
    }

    async fn adopt(&self, tenant: &Tenant, configured: &EmbeddingSettings) -> Result<TenantState> {
        self.document("adopt", self.ports.documents().adopt(tenant, configured)).await
    }

    async fn start_reindex(
        &self,
        tenant: &Tenant,
        next: Option<&EmbeddingSettings>,
        force: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        let made = async {
            self.ports.documents().start_reindex(tenant, next, force, now).await?;
            self.done(&Effect::Changed(tenant, None));
            Ok(())
        };
        self.document("start_reindex", made).await
    }

    async fn end_reindex(&self, tenant: &Tenant, force: Option<Millis>) -> Result<()> {
        self.document("end_reindex", self.ports.documents().end_reindex(tenant, force)).await
    }

    async fn ready(
        &self,
        tenant: &Tenant,
        next: &EmbeddingSettings,
        since: Millis,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        self.document("ready", self.ports.documents().ready(tenant, next, since, limit)).await
    }

    async fn flip_tenant(&self, tenant: &Tenant, next: &EmbeddingSettings, now: Millis) -> Result<bool> {
        let made = async {
            let flipped = self.ports.documents().flip_tenant(tenant, next, now).await?;
            self.done(&Effect::Changed(tenant, None));
            Ok(flipped)
        };
        self.document("flip_tenant", made).await
    }

    async fn outdated(
        &self,
        tenant: &Tenant,
        settings: &str,
        fingerprint: &str,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<Outdated>> {
        let made = self.ports.documents().outdated(tenant, settings, fingerprint, after, limit);
        self.document("outdated", made).await
    }

    async fn progress(&self, tenant: &Tenant, settings: &str, fingerprint: &str) -> Result<Progress> {
        self.document("progress", self.ports.documents().progress(tenant, settings, fingerprint)).await
    }

    async fn reindexing(&self, limit: usize) -> Result<Vec<Tenant>> {
        self.document("reindexing", self.ports.documents().reindexing(limit)).await
    }

    async fn size(&self) -> Result<Option<(u64, u64)>> {
        self.document("size", self.ports.documents().size()).await
    }
}
