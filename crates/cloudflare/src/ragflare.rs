//! Ingest, search, answer: the whole of Ragflare for a worker of one's own.

use crate::ai::AiGateway;
use crate::budget::{Amount, Budget};
use crate::cache::{AnswerCache, Known, Record, Recording};
use crate::feedback::Feedback;
use crate::ledger::Ledger;
use crate::platform::{Bindings, Platform};
use futures::{Stream, StreamExt};
use ragflare_core::answer::{self, AnswerEvent, AnswerRequest, AnswerUsage, Ending, Prepared, Source};
use ragflare_core::citations::Citation;
use ragflare_core::document::{Document, DocumentId, Metadata};
use ragflare_core::identity::{content_hash, object_key};
use ragflare_core::ingest::{Change, Ingest, NewUpload, Precondition, Registered, pending_generation};
use ragflare_core::ports::{DocumentStore, Ports, ToolCall};
use ragflare_core::search::{SearchRequest, SearchResponse, Searcher};
use ragflare_core::settings::Settings;
use ragflare_core::{Error, Result, Tenant, filter};
use std::rc::Rc;
use worker::Env;

/// A document handed over as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewDocument {
    /// Shown with hits and embedded before the text.
    pub title: Option<String>,
    /// The text; Markdown structure is used where there is some.
    pub text: String,
    /// What filters and readers see.
    pub metadata: Metadata,
}

/// Ragflare over a worker's bindings, for one invocation.
///
/// ```no_run
/// use ragflare_cloudflare::core::answer::AnswerRequest;
/// use ragflare_cloudflare::core::document::DocumentId;
/// use ragflare_cloudflare::core::search::SearchRequest;
/// use ragflare_cloudflare::core::settings::Settings;
/// use ragflare_cloudflare::core::{Result, Tenant};
/// use ragflare_cloudflare::{Bindings, NewDocument, Ragflare};
///
/// # async fn example(env: worker::Env) -> worker::Result<()> {
/// let rag = Ragflare::from_env(&env, Bindings::default(), Settings::default())?;
/// # let work = async || -> Result<()> {
/// let tenant = Tenant::new("me")?;
/// let note = NewDocument { text: "The cellar key hangs behind the clock.".into(), ..Default::default() };
/// rag.ingest(&tenant, &DocumentId::new("notes/1")?, note).await?;
/// let hits = rag.search(&tenant, &SearchRequest::new("where is the key?")).await?.hits;
/// let answer = rag.answer(&tenant, &AnswerRequest::new("Where is the cellar key?")).await?;
/// # Ok(()) };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Ragflare {
    platform: Rc<Platform>,
    settings: Rc<Settings>,
}

/// An answer, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text, citations checked.
    pub text: String,
    /// The passages it rests on, by the numbers in the text.
    pub sources: Vec<Source>,
    /// The markers in the text, in order.
    pub citations: Vec<Citation>,
    /// Tools that the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost.
    pub usage: Option<AnswerUsage>,
    /// How it ended.
    pub ending: Option<Ending>,
}

impl Ragflare {
    /// # Errors
    /// When settings are out of range, or a binding is missing or of another kind.
    pub fn from_env(env: &Env, bindings: Bindings<'_>, settings: Settings) -> worker::Result<Self> {
        settings.validate().map_err(|error| worker::Error::RustError(error.to_string()))?;
        let platform = Platform::from_env(env, bindings, &settings, &Ledger::new())?;
        Ok(Self { platform: Rc::new(platform), settings: Rc::new(settings) })
    }

    /// The ports.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What this invocation has spent.
    pub fn ledger(&self) -> &Ledger {
        self.platform.ledger()
    }

    /// The ingest pipeline, for its single steps.
    pub fn pipeline(&self) -> Ingest<'_, Platform> {
        Ingest::new(&*self.platform, &self.settings)
    }

    /// Stores, chunks, embeds and serves a document, all in this invocation. The keyword leg finds it when this
    /// returns, the vector leg once Vectorize has caught up. The same text again costs nothing. When the model is out of
    /// capacity, the document is left with [`pending.waiting`](ragflare_core::document::Pending::waiting), and the queue goes
    /// on, if one is bound, or the same call again.
    ///
    /// # Errors
    /// Bad metadata; what fails on the way. The generation served before stays.
    pub async fn ingest(&self, tenant: &Tenant, id: &DocumentId, document: NewDocument) -> Result<Document> {
        filter::check_metadata(&document.metadata, &self.settings.fields)?;
        let bytes = document.text.as_bytes();
        let upload = NewUpload {
            object_key: object_key(tenant, &crate::keys::random(16)?)?,
            title: document.title,
            media_type: "text/markdown".into(),
            bytes: bytes.len() as u64,
            content_hash: content_hash(bytes),
            metadata: document.metadata,
        };
        processed(self.pipeline().put(tenant, id, &upload, bytes).await?)
    }

    /// Changes a document's title or metadata, all in this invocation; its text is not embedded again. `None` when there is
    /// no such document.
    ///
    /// # Errors
    /// As [`Self::ingest`].
    pub async fn patch(&self, tenant: &Tenant, id: &DocumentId, change: &Change) -> Result<Option<Document>> {
        if let Some(metadata) = &change.metadata {
            filter::check_metadata(metadata, &self.settings.fields)?;
        }
        let document = match self.pipeline().patch(tenant, id, change, &Precondition::None).await? {
            Some(Registered::Queued(document)) => document,
            Some(Registered::Unchanged(document)) => return Ok(Some(document)),
            None => return Ok(None),
        };
        if let Some(generation) = pending_generation(&document) {
            for outcome in self.pipeline().process(tenant, &[(id.clone(), generation)], &|| true).await {
                outcome?;
            }
        }
        let patched = self.platform.documents().get(tenant, id).await?;
        processed(patched.unwrap_or(document)).map(Some)
    }

    /// Removes a document from every answer at once.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn delete(&self, tenant: &Tenant, id: &DocumentId) -> Result<bool> {
        let found = self.pipeline().delete(tenant, id, &Precondition::None).await?;
        if found {
            // It is gone already; what is left of it is no longer the caller's concern.
            let _ = self.pipeline().clean(tenant, id).await;
        }
        Ok(found)
    }

    /// Finds passages.
    ///
    /// # Errors
    /// As [`Searcher::search`]; [`Error::Budget`].
    pub async fn search(&self, tenant: &Tenant, request: &SearchRequest) -> Result<SearchResponse> {
        let budget = self.budget();
        budget.check(tenant).await?;
        let found = Searcher::new(&*self.platform, &self.settings).search(tenant, request).await?;
        budget.spend(tenant, Amount::of_search(&found.usage)).await?;
        Ok(found)
    }

    /// Finds and packs what an answer needs; the model is not asked yet. A question that was answered before, as long as
    /// `answer.cache_seconds` says, comes with its answer.
    ///
    /// # Errors
    /// As [`answer::prepare`]; [`Error::Budget`].
    pub async fn prepare(&self, tenant: &Tenant, request: &AnswerRequest) -> Result<Prepared> {
        let known = if request.skip_cache { None } else { self.cache().look(tenant, request).await? };
        let place = match known {
            Some(Known::Answer(prepared)) => return Ok(*prepared),
            Some(Known::Place(place)) => Some(place),
            None => None,
        };
        let budget = self.budget();
        budget.check(tenant).await?;
        let prepared = answer::prepare(&*self.platform, &self.settings, tenant, request).await?;
        let once = Amount::most(&prepared, &self.settings);
        let most = Amount::most_with_repair(&prepared, &self.settings);
        if let Err(error) = budget.reserve(tenant, once, most).await {
            budget.spend(tenant, Amount::of_search(&prepared.usage)).await?;
            return Err(error);
        }
        Ok(Prepared { place, ..prepared })
    }

    /// Streams an answer that was prepared.
    pub fn stream(
        &self,
        tenant: &Tenant,
        mut prepared: Prepared,
    ) -> impl Stream<Item = AnswerEvent> + Unpin + 'static {
        let (budget, cache, paying) = (self.budget(), self.cache(), tenant.clone());
        let (reserved, searched) =
            (Amount::most_with_repair(&prepared, &self.settings), Amount::of_search(&prepared.usage));
        let mut open = prepared.recorded.is_none();
        let mut keeping = prepared.place.take().map(|place| {
            let record = Record {
                query: prepared.query.clone(),
                question: prepared.question.clone(),
                sources: prepared.sources.clone(),
                prompt_tokens: prepared.prompt_tokens,
                events: Vec::new(),
            };
            (place, record, Recording::default())
        });
        let events = answer::stream(self.platform.clone(), self.settings.clone(), tenant.clone(), prepared);
        // What was reserved and not used is given back, once; all of it stays spent when nobody waits for the end.
        events
            .then(move |event| {
                let unused = match &event {
                    AnswerEvent::Usage(usage) if open => reserved - Amount::of_answer(usage, searched),
                    AnswerEvent::Error(_) if open => reserved - searched,
                    _ => Amount::default(),
                };
                open &= !matches!(event, AnswerEvent::Usage(_) | AnswerEvent::Error(_));
                let whole = keeping.as_mut().and_then(|(.., recording)| recording.note(&event));
                let kept = whole.zip(keeping.take_if(|_| matches!(event, AnswerEvent::Done(_))));
                let (budget, cache, tenant) = (budget.clone(), cache.clone(), paying.clone());
                async move {
                    if budget.spend(&tenant, Amount::default() - unused).await.is_err() {
                        worker::console_error!("{unused:?} unused was not given back");
                    }
                    if let Some((events, (place, record, _))) = kept
                        && cache.keep(&tenant, &place, &Record { events, ..record }).await.is_err()
                    {
                        worker::console_error!("an answer was not kept");
                    }
                    event
                }
            })
            .boxed_local()
    }

    fn budget(&self) -> Budget {
        Budget::new(self.platform.database().clone(), self.settings.limits.clone())
    }

    fn cache(&self) -> AnswerCache {
        AnswerCache::new(self.platform.database().clone(), self.settings.clone())
    }

    /// Counts neurons that something other than searches and answers will cost, if the limits allow it.
    ///
    /// # Errors
    /// [`Error::Budget`]; storage errors.
    pub async fn reserve(&self, tenant: &Tenant, neurons: f64) -> Result<()> {
        let needed = Amount { neurons, tokens: 0.0 };
        self.budget().reserve(tenant, needed, needed).await.map(drop)
    }

    /// Counts neurons that were spent on other than searches and answers; gives back what is less than nothing.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn spend(&self, tenant: &Tenant, neurons: f64) -> Result<()> {
        self.budget().spend(tenant, Amount { neurons, tokens: 0.0 }).await
    }

    /// Notes what a reader says of an answer in the log of AI Gateway; `false` when there is no such log of the tenant's.
    ///
    /// # Errors
    /// [`Error::Invalid`] without `answer.gateway`, for a malformed id, and for values out of range; what the gateway fails
    /// with.
    pub async fn feedback(&self, tenant: &Tenant, feedback: &Feedback) -> Result<bool> {
        let Some(settings) = &self.settings.answer.gateway else {
            return Err(Error::invalid("answer.gateway", "is not configured, so there are no logs"));
        };
        feedback.note(&AiGateway::new(self.platform.ai().clone(), &settings.id), tenant).await
    }

    /// Answers a question, all at once.
    ///
    /// # Errors
    /// As [`answer::prepare`], and what the model fails with.
    pub async fn answer(&self, tenant: &Tenant, request: &AnswerRequest) -> Result<Answer> {
        let prepared = self.prepare(tenant, request).await?;
        let mut stream = self.stream(tenant, prepared);
        let mut answer = Answer::default();
        while let Some(event) = stream.next().await {
            match event {
                AnswerEvent::Sources(sources) => answer.sources = sources,
                AnswerEvent::Delta(text) => answer.text.push_str(&text),
                AnswerEvent::Citation(citation) => answer.citations.push(citation),
                AnswerEvent::ToolCalls(calls) => answer.tool_calls = calls,
                AnswerEvent::Usage(usage) => answer.usage = Some(usage),
                AnswerEvent::Done(ending) => answer.ending = Some(ending),
                AnswerEvent::Error(error) => return Err(error),
            }
        }
        Ok(answer)
    }
}

/// # Errors
/// The failure of the newest generation.
fn processed(document: Document) -> Result<Document> {
    let pending = document.pending.as_ref().and_then(|pending| pending.error.as_ref());
    match document.error.as_ref().or(pending) {
        Some(failure) => {
            Err(Error::Document { code: failure.code.clone().into(), message: failure.message.clone() })
        }
        None => Ok(document),
    }
}
