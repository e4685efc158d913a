//! Queued generations become served ones.

use super::batch::Batch;
use super::source::{NOT_UTF8, Readable, Text, file_name, missing};
use super::{Ingest, PART_CHUNKS, plain_fields};
use crate::chunk::{ChunkSettings, ChunkStream, Chunker, Format, MAX_CHUNK_BYTES};
use crate::conversion::{self, Conversion, Place, TextMap};
use crate::document::{DocumentId, Failure, Generation, Metadata, Millis, Status, Upload, Waiting};
use crate::identity::document_tag;
use crate::media;
use crate::ports::{
    Converter, DOCUMENT_FIELD, DocumentStore, Flip, Job, JobQueue, ObjectStore, Original, PlannedPart, Ports,
    Span, TenantState, Work,
};
use crate::settings::EmbeddingSettings;
use crate::tokens::WordPiece;
use crate::tokens::wordpiece::MAX_TOKENS;
use crate::{Error, Result, Retry, Tenant};
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};

/// Seconds until the first look whether vectors are visible.
const CONFIRM_DELAY: u32 = 2;
/// Parts planned, or read from the plan, at a time.
const PARTS: usize = 16;
/// Bytes of text looked at before what was planned so far is stored.
const PLAN_BYTES: usize = 8 * 1024 * 1024;
/// Seconds a generation waits at first; each further time it is twice as long.
const SHORTEST_WAIT: Millis = 10;
/// Seconds a generation waits at most.
const LONGEST_WAIT: Millis = 600;
/// How often an original is given to a converter that breaks or is stopped over it.
const CONVERSIONS: u32 = 3;
/// The converter's name in errors.
const CONVERTER: &str = "converter";
const DAY: Millis = 24 * 60 * 60 * 1000;

/// How processing a generation ended. Whatever is left to do, a job was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is served.
    Served,
    /// It is complete and will be served together with the tenant's other documents.
    Staged,
    /// It is no longer wanted: superseded, deleted, or done before.
    Obsolete,
    /// It was given up; the document says why.
    Failed,
    /// There is more to do than one invocation may.
    Unfinished,
    /// It waits: for capacity, for the next day's allowance, or for vectors. The document says for what.
    Postponed,
}

/// Where planning goes on.
#[derive(Serialize, Deserialize)]
struct Resume {
    stream: ChunkStream,
    /// Chunks that do not fill a part yet.
    spans: Vec<Span>,
}

/// A generation being processed.
pub(super) struct Open<'a, O> {
    slot: usize,
    pub(super) id: DocumentId,
    pub(super) generation: Generation,
    pub(super) work: Work,
    pub(super) embedding: EmbeddingSettings,
    pub(super) text: Text<'a, O>,
    format: Format,
    /// What a converter said of the text; `None` when it is the original.
    conversion: Option<Conversion>,
    /// What its vectors carry.
    pub(super) metadata: Metadata,
    /// Parts planned in this invocation, if these are all and few.
    parts: Option<VecDeque<PlannedPart>>,
    /// Whether all parts were taken up.
    taken_up: bool,
    /// Parts taken up and not written yet.
    pub(super) unwritten: usize,
    /// Whether another consumer has taken it over, or a newer upload.
    lost: bool,
    pub(super) waiting: Option<Waiting>,
    pub(super) error: Option<Error>,
}

/// A generation to be given up, postponed or gone on with.
struct Target<'a> {
    tenant: &'a Tenant,
    id: &'a DocumentId,
    generation: Generation,
    bytes: u64,
    postponed: u32,
    /// Whether others wait for it.
    staging: bool,
}

impl<'a, P: Ports> Ingest<'a, P> {
    /// Processes generations of one tenant together, so that their new chunks share embedding calls, as long as `go_on`
    /// says so. One result per job, in order; a failure of one does not stop the others. An `Err` is worth repeating; what
    /// can't succeed is recorded as [`Outcome::Failed`].
    pub async fn process(
        &self,
        tenant: &Tenant,
        jobs: &[(DocumentId, Generation)],
        go_on: &dyn Fn() -> bool,
    ) -> Vec<Result<Outcome>> {
        let mut results: Vec<Result<Outcome>> = jobs.iter().map(|_| Ok(Outcome::Obsolete)).collect();
        let state = match self.ports.documents().tenant(tenant).await {
            Ok(state) => state,
            Err(error) => return jobs.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        for (slot, (id, generation)) in jobs.iter().enumerate() {
            // The same message twice in one batch: the first takes care of it.
            if seen.insert((id, *generation)) {
                match self.open(tenant, &state, slot, id, *generation, go_on).await {
                    Ok(found) => open.extend(found),
                    Err(result) => results[slot] = result,
                }
            }
        }
        let mut halted: Vec<Option<Error>> = open.iter().map(|_| None).collect();
        let mut embeddings: Vec<EmbeddingSettings> = Vec::new();
        for document in &open {
            if !embeddings.contains(&document.embedding) {
                embeddings.push(document.embedding.clone());
            }
        }
        for embedding in embeddings {
            let mut batch = Batch::new(self.ports, self.settings, tenant, embedding.clone());
            let members: Vec<usize> =
                (0..open.len()).filter(|index| open[*index].embedding == embedding).collect();
            for index in &members {
                if let Err(error) = self.take_up(tenant, &mut open, *index, &mut batch, go_on).await {
                    open[*index].error = Some(error);
                }
            }
            batch.finish(&mut open).await;
            for index in members {
                halted[index].clone_from(&batch.halted);
            }
        }
        for (document, halted) in open.iter_mut().zip(halted) {
            results[document.slot] = self.conclude(tenant, &state, document, halted).await;
        }
        results
    }

    /// Claims a generation and opens its text; or says how that ended.
    async fn open(
        &self,
        tenant: &Tenant,
        state: &TenantState,
        slot: usize,
        id: &DocumentId,
        generation: Generation,
        go_on: &dyn Fn() -> bool,
    ) -> std::result::Result<Option<Open<'a, P::Objects>>, Result<Outcome>> {
        let documents = self.ports.documents();
        let now = self.now();
        let claim = async || documents.claim(tenant, id, generation, now).await;
        let Some(mut work) = claim().await.map_err(Err)? else { return Ok(None) };
        let settings = self.settings.ingest_hash();
        let fields = self.fields(&work.upload.metadata);
        let resumable = work.resume.as_ref().is_none_or(|json| serde_json::from_str::<Resume>(json).is_ok());
        if settings != work.upload.settings || fields != plain_fields(&work.upload) || !resumable {
            // The worker was deployed anew since the upload: parts cut by other rules do not fit together.
            let mark = work.upload.fields.find('~').map_or("", |at| &work.upload.fields[at..]);
            let fields = fields + mark;
            documents.restart(tenant, id, generation, &settings, &fields).await.map_err(Err)?;
            let Some(again) = claim().await.map_err(Err)? else { return Ok(None) };
            work = again;
        }
        let embedding = [&state.embedding, &state.next]
            .into_iter()
            .flatten()
            .find(|known| known.fingerprint().as_str() == work.upload.fingerprint)
            .cloned();
        let upload = &work.upload;
        let Some(embedding) = embedding else {
            // The tenant's embedding was replaced between the upload's look at it and its registration.
            let current = state.embedding.as_ref().unwrap_or(&self.settings.embedding);
            let job =
                self.renew(tenant, id, generation, generation, current, None, true).await.map_err(Err)?;
            self.ports.jobs().send(job.as_slice(), 0).await.map_err(Err)?;
            return Ok(None);
        };
        let original = original(id, upload);
        let objects = self.ports.objects();
        let opened = async {
            if let Some(readable) = Readable::find(objects, tenant, &original).await? {
                return Ok(Some(readable));
            }
            if !go_on() {
                return Ok(None);
            }
            match self.convert(tenant, &original, work.postponed).await? {
                Some(done) => Readable::converted(objects, tenant, &original, done).await.map(Some),
                None => Ok(None),
            }
        };
        match opened.await {
            Ok(None) => {
                let job = Self::process_job(tenant, id, generation, upload.bytes);
                Err(self.ports.jobs().send(&[job], 0).await.map(|()| Outcome::Unfinished))
            }
            Ok(Some(Readable { text, format, conversion })) => {
                let mut metadata = self.declared(&work.upload.metadata);
                metadata.insert(DOCUMENT_FIELD.into(), document_tag(tenant, id).into());
                Ok(Some(Open {
                    slot,
                    id: id.clone(),
                    generation,
                    work,
                    embedding,
                    text,
                    format,
                    conversion,
                    metadata,
                    parts: None,
                    taken_up: false,
                    unwritten: 0,
                    lost: false,
                    waiting: None,
                    error: None,
                }))
            }
            Err(error) => {
                let target = Target::new(tenant, state, id, generation, &work);
                Err(self.resolve(state, &target, error).await)
            }
        }
    }

    /// Has an original converted. A converter that broke or was stopped over it gets a second and a third try, later.
    async fn convert(
        &self,
        tenant: &Tenant,
        original: &Original<'_>,
        postponed: u32,
    ) -> Result<Option<Conversion>> {
        match self.ports.converter().convert(tenant, original).await {
            Err(Error::Service { service: CONVERTER, message, .. }) if postponed + 1 >= CONVERSIONS => {
                Err(Error::Document {
                    code: "conversion_failed".into(),
                    message: format!(
                        "reading it takes more than there is, or breaks the converter: {message}"
                    ),
                })
            }
            other => other,
        }
    }

    /// Plans a document's parts and hands them to the batch.
    async fn take_up(
        &self,
        tenant: &Tenant,
        open: &mut [Open<'a, P::Objects>],
        index: usize,
        batch: &mut Batch<'_, P>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        if batch.halted.is_some() {
            return Ok(());
        }
        match self.plan(tenant, &mut open[index], go_on).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // Only its beginning was UTF-8.
            Err(Error::Document { code, .. }) if code == NOT_UTF8 && open[index].conversion.is_none() => {
                return self.begin_anew(tenant, &open[index]).await;
            }
            Err(error) => return Err(error),
        }
        let documents = self.ports.documents();
        let mut after = None;
        loop {
            let document = &mut open[index];
            let (id, generation) = (&document.id, document.generation);
            let (page, last): (VecDeque<PlannedPart>, bool) = if let Some(parts) = document.parts.take() {
                (parts, true)
            } else {
                let page = documents.open_parts(tenant, id, generation, after, PARTS).await?;
                let last = page.len() < PARTS;
                (page.into(), last)
            };
            after = page.back().map(|part| part.number).or(after);
            for part in page {
                if batch.halted.is_some() || open[index].error.is_some() || !go_on() {
                    return Ok(());
                }
                batch.take(open, index, part).await?;
            }
            if last {
                open[index].taken_up = true;
                return Ok(());
            }
        }
    }

    /// Has a text converted that turned out to be none, and forgets what was planned of it.
    async fn begin_anew(&self, tenant: &Tenant, document: &Open<'a, P::Objects>) -> Result<()> {
        let upload = &document.work.upload;
        self.convert(tenant, &original(&document.id, upload), document.work.postponed).await?;
        let (id, generation) = (&document.id, document.generation);
        self.ports.documents().restart(tenant, id, generation, &upload.settings, &upload.fields).await
    }

    /// Where what is in the text.
    async fn map(&self, tenant: &Tenant, document: &Open<'a, P::Objects>) -> Result<TextMap> {
        let Some(conversion) = document.conversion.filter(|conversion| conversion.mapped) else {
            return Ok(TextMap::default());
        };
        let key = conversion::map_key(&document.work.upload.object_key);
        let json = self.ports.objects().get(tenant, &key).await?.ok_or_else(missing)?;
        TextMap::read(&json, conversion.bytes)
    }

    /// Divides the document into parts, from where it was left. Returns whether all of it is planned.
    async fn plan(
        &self,
        tenant: &Tenant,
        document: &mut Open<'a, P::Objects>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool> {
        if document.work.complete {
            return Ok(true);
        }
        let stored = document.work.resume.as_ref().and_then(|json| serde_json::from_str::<Resume>(json).ok());
        let mut resume = if let Some(resume) = stored {
            resume
        } else {
            Chunker::new(self.settings.chunk)?;
            Resume { stream: ChunkStream::new(self.settings.chunk, document.format), spans: Vec::new() }
        };
        let mut all = (document.work.planned == 0).then(VecDeque::new);
        let map = self.map(tenant, document).await?;
        loop {
            let last = if map.chunks.is_empty() {
                cut(document, &mut resume, &map.places).await?
            } else {
                self.take_given(document, &mut resume, &map).await?
            };
            let planned = document.work.planned;
            let full = if last { resume.spans.len() } else { resume.spans.len() / PART_CHUNKS * PART_CHUNKS };
            let rest = resume.spans.split_off(full);
            let parts: Vec<PlannedPart> = resume
                .spans
                .chunks(PART_CHUNKS)
                .zip(planned..)
                .map(|(spans, number)| PlannedPart { number, spans: spans.to_vec(), ticket: None })
                .collect();
            resume.spans = rest;
            if last && planned == 0 && parts.is_empty() {
                return Err(Error::Document {
                    code: "no_text".into(),
                    message: "the document contains no text".into(),
                });
            }
            let json = if last { None } else { serde_json::to_string(&resume).ok() };
            let (id, generation, settings) =
                (&document.id, document.generation, &document.work.upload.settings);
            let noted = self
                .ports
                .documents()
                .plan(tenant, id, generation, settings, planned, &parts, json.as_deref(), self.now())
                .await?;
            if !noted {
                document.lost = true;
                return Ok(false);
            }
            document.work.planned += parts.len() as u32;
            document.work.complete = last;
            match &mut all {
                Some(all) if all.len() + parts.len() <= PARTS => all.extend(parts),
                all => *all = None,
            }
            if last {
                document.parts = all;
                return Ok(true);
            }
            if !go_on() {
                return Ok(false);
            }
        }
    }

    /// Plans chunks that the uploader cut. Returns whether these were the last.
    async fn take_given(
        &self,
        document: &mut Open<'a, P::Objects>,
        resume: &mut Resume,
        map: &TextMap,
    ) -> Result<bool> {
        let settings = &self.settings.chunk;
        let most = ChunkSettings { target: MAX_TOKENS, ..*settings }.max_tokens();
        let mut looked_at = 0;
        let first = document.work.planned as usize * PART_CHUNKS + resume.spans.len();
        for (ordinal, given) in (0..).zip(&map.chunks).skip(first) {
            if looked_at >= PLAN_BYTES || resume.spans.len() >= PARTS * PART_CHUNKS {
                return Ok(false);
            }
            let text = document.text.read(given.start..given.end).await?;
            let tokens = WordPiece::count(text);
            if tokens > most || text.len() > MAX_CHUNK_BYTES {
                return Err(Error::Document {
                    code: "chunk_too_long".into(),
                    message: format!(
                        "chunk {ordinal} has {tokens} tokens and {} bytes; a chunk may have {most} tokens and \
                         {MAX_CHUNK_BYTES} bytes",
                        text.len()
                    ),
                });
            }
            looked_at += text.len();
            resume.spans.push(Span {
                ordinal,
                start: given.start,
                end: given.end,
                tokens: tokens as u64,
                headings: given.headings.clone(),
                sections: Vec::new(),
                places: conversion::within(&map.places, given.start..given.end),
                table_header: None,
            });
        }
        Ok(true)
    }

    /// What became of a document: serves it, or sees to it that what is left to do is done.
    async fn conclude(
        &self,
        tenant: &Tenant,
        state: &TenantState,
        document: &mut Open<'a, P::Objects>,
        halted: Option<Error>,
    ) -> Result<Outcome> {
        let target = Target::new(tenant, state, &document.id, document.generation, &document.work);
        if let Some(error) = document.error.take() {
            return self.resolve(state, &target, error).await;
        }
        if document.taken_up && document.unwritten == 0 && document.waiting.is_none() {
            return self.serve(state, &target).await;
        }
        if let Some(error) = halted {
            return self.resolve(state, &target, error).await;
        }
        if let Some(waiting) = &document.waiting {
            return self.postpone(&target, Status::Queued, waiting).await;
        }
        let delay = if document.lost { SHORTEST_WAIT as u32 } else { 0 };
        self.ports.jobs().send(&[target.job::<P>()], delay).await?;
        Ok(Outcome::Unfinished)
    }

    async fn serve(&self, state: &TenantState, target: &Target<'_>) -> Result<Outcome> {
        let (tenant, id, generation) = (target.tenant, target.id, target.generation);
        let flip = self.ports.documents().flip(tenant, id, generation, self.now()).await?;
        match flip {
            Flip::Served => {
                let (tenant, document) = (tenant.clone(), id.clone());
                let job = Job::Confirm { tenant, document, generation };
                // Lost or refused: the sweeper looks at it.
                let _ = self.ports.jobs().send(&[job], CONFIRM_DELAY).await;
            }
            Flip::Staged => self.finish_reindex(tenant, state).await?,
            Flip::No => {}
        }
        if let (Flip::Served, Some(next)) = (flip, &state.next) {
            // Uploaded while the tenant is being re-indexed: it has to be there with the next embedding, too.
            let job = self.renew(tenant, id, generation, generation, next, None, true).await?;
            let _ = self.ports.jobs().send(job.as_slice(), 0).await;
        }
        // Of the generation replaced, or of this one when it came too late. What fails, the sweeper takes.
        if let Ok((_, true)) = self.clean(tenant, id).await {
            let job = Job::Clean { tenant: tenant.clone(), document: id.clone() };
            let _ = self.ports.jobs().send(&[job], 0).await;
        }
        Ok(match flip {
            Flip::Served => Outcome::Served,
            Flip::Staged => Outcome::Staged,
            Flip::No => Outcome::Obsolete,
        })
    }

    /// Records a failure that repeating would not mend, postpones what only time mends; hands any other back.
    async fn resolve(&self, state: &TenantState, target: &Target<'_>, error: Error) -> Result<Outcome> {
        let now = self.now();
        let code = |what: &str| match &error {
            Error::Service { service, .. } => format!("{service}_{what}"),
            _ => what.to_owned(),
        };
        match error.retry() {
            // Who called the model counts its failures, and does not come back with the last one.
            Retry::Backoff if media::is_failure(&error) => {
                let waiting = target.waiting(&code("failed"), error.to_string(), now);
                self.postpone(target, Status::Queued, &waiting).await
            }
            Retry::Backoff if matches!(error, Error::Service { service: CONVERTER, .. }) => {
                let waiting = target.waiting("converter_failed", error.to_string(), now);
                self.postpone(target, Status::Queued, &waiting).await
            }
            Retry::Backoff => Err(error),
            Retry::Busy => {
                let waiting = target.waiting("out_of_capacity", error.to_string(), now);
                self.postpone(target, Status::Queued, &waiting).await
            }
            Retry::AfterMidnightUtc => {
                let waiting = Waiting {
                    code: "daily_allowance_used_up".into(),
                    message: error.to_string(),
                    until: (now / DAY + 1) * DAY,
                };
                self.postpone(target, Status::Parked, &waiting).await
            }
            Retry::Never if super::batch::is_of_the_account(&error) || media::is_refused(&error) => {
                // A model, an account or a plan is at fault: every document would fail, and none has to once that is mended.
                let waiting = target.waiting(&code("refused"), error.to_string(), now);
                self.postpone(target, Status::Queued, &waiting).await
            }
            Retry::Never => {
                let failure = failure(error);
                let (tenant, id) = (target.tenant, target.id);
                self.ports.documents().fail(tenant, id, target.generation, &failure, now).await?;
                if target.staging {
                    self.finish_reindex(tenant, state).await?;
                }
                // What earlier parts wrote. What fails, the sweeper takes.
                let _ = self.clean(tenant, id).await;
                Ok(Outcome::Failed)
            }
        }
    }

    async fn postpone(&self, target: &Target<'_>, status: Status, waiting: &Waiting) -> Result<Outcome> {
        let now = self.now();
        let times = self
            .ports
            .documents()
            .postpone(target.tenant, target.id, target.generation, status, waiting, now)
            .await?;
        if times == 0 {
            return Ok(Outcome::Obsolete);
        }
        let seconds = waiting.until.saturating_sub(now).div_ceil(1000).min(DAY / 1000);
        self.ports.jobs().send(&[target.job::<P>()], seconds as u32).await?;
        Ok(Outcome::Postponed)
    }
}

impl<'a> Target<'a> {
    fn new(
        tenant: &'a Tenant,
        state: &TenantState,
        id: &'a DocumentId,
        generation: Generation,
        work: &Work,
    ) -> Self {
        let next = state.next.as_ref().map(EmbeddingSettings::fingerprint);
        Self {
            tenant,
            id,
            generation,
            bytes: work.upload.bytes,
            postponed: work.postponed,
            staging: next.is_some_and(|next| next.as_str() == work.upload.fingerprint),
        }
    }

    fn job<P: Ports>(&self) -> Job {
        Ingest::<P>::process_job(self.tenant, self.id, self.generation, self.bytes)
    }

    /// The pause doubles with each time that nothing got on in between.
    fn waiting(&self, code: &str, message: String, now: Millis) -> Waiting {
        wait(self.postponed, code, message, now)
    }
}

/// Why and until when a generation is left alone that was `postponed` so often before.
pub(super) fn wait(postponed: u32, code: &str, message: String, now: Millis) -> Waiting {
    let seconds = (SHORTEST_WAIT << postponed.min(10)).min(LONGEST_WAIT);
    Waiting { code: code.into(), message, until: now + seconds * 1000 }
}

/// Cuts some of the text. Returns whether that was the last of it.
async fn cut<O: ObjectStore>(
    document: &mut Open<'_, O>,
    resume: &mut Resume,
    places: &[Place],
) -> Result<bool> {
    let mut looked_at = 0;
    loop {
        let Resume { stream, spans } = &mut *resume;
        let wanted = stream.wants();
        let end = document.text.len();
        let piece = document.text.read(wanted.start as u64..wanted.end as u64).await?;
        let length = piece.len();
        let last = (wanted.start + length) as u64 == end;
        stream.feed(piece, last, |chunk| {
            let (start, end) = (chunk.start as u64, chunk.end as u64);
            spans.push(Span {
                ordinal: chunk.ordinal,
                start,
                end,
                tokens: chunk.tokens as u64,
                headings: chunk.headings,
                sections: chunk.sections,
                places: conversion::within(places, start..end),
                table_header: chunk.table_header,
            });
        });
        looked_at += length;
        if last || looked_at >= PLAN_BYTES || spans.len() >= PARTS * PART_CHUNKS {
            return Ok(last);
        }
    }
}

fn original<'a>(id: &'a DocumentId, upload: &'a Upload) -> Original<'a> {
    Original {
        key: &upload.object_key,
        bytes: upload.bytes,
        media_type: &upload.media_type,
        name: file_name(id, upload.embedded_title.as_deref()),
    }
}

fn failure(error: Error) -> Failure {
    let code = match &error {
        Error::Document { code, .. } => code.to_string(),
        Error::Fingerprint { .. } => "embedding_settings_changed".to_owned(),
        Error::Service { service, code, .. } => {
            code.map_or_else(|| format!("{service}_failed"), |code| format!("{service}_{code}"))
        }
        _ => "not_processable".to_owned(),
    };
    let message = match error {
        Error::Document { message, .. } => message,
        other => other.to_string(),
    };
    Failure { code, message }
}
