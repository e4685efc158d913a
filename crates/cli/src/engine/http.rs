//! A deployment, through its HTTP API.

mod client;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ragflare_core::document::{DocumentId, Status};
use ragflare_core::identity::content_hash;
use ragflare_core::search::{SearchRequest, SearchResponse};
use serde::Deserialize;
use serde_json::json;

use self::client::{Client, encode};
use super::{Engine, Indexed, Reply, STAGES, stages};
use crate::args::Target;
use crate::config::Config;
use crate::progress::Progress;
use crate::sets::{Document, Set};
use crate::spans::{CharIndex, Span};

/// Uploads under way at once.
const UPLOADS: usize = 4;
/// Entries of a listing's page.
const PAGE: usize = 100;
/// How long nothing may get on before the wait is given up: longer than the longest pause of a busy deployment.
const PATIENCE: Duration = Duration::from_mins(15);

/// A deployment and the tenant that is asked.
pub(crate) struct Http {
    url: String,
    admin: Option<Client>,
    client: Client,
    /// Path of the set that is uploaded, and what there is of it.
    indexed: Option<(String, Indexed)>,
    /// Id of a key made for this run.
    made: Option<String>,
}

/// A document as the API lists it.
#[derive(Deserialize)]
struct Listed {
    id: DocumentId,
    status: Status,
    title: Option<String>,
    content_hash: String,
    chunk_count: usize,
    tokens: u64,
    pending: Option<Pending>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Pending {
    status: Status,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Documents {
    documents: Vec<Listed>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Chunk {
    start: u64,
    end: u64,
}

#[derive(Deserialize)]
struct Chunks {
    chunks: Vec<Chunk>,
    next_cursor: Option<String>,
}

impl Http {
    /// Of an address; says at once when nothing answers there.
    pub(crate) fn new(url: &str, target: &Target) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let client = Client::new(&url, target.key.as_deref());
        client.get("/healthz").with_context(|| format!("{url} does not answer as Ragflare"))?;
        let admin = target.admin_key.as_deref().map(|key| Client::new(&url, Some(key)));
        Ok(Self { url, admin, client, indexed: None, made: None })
    }

    /// A key for a tenant of the set's own.
    fn enter(&mut self, set: &str) -> Result<()> {
        self.leave();
        let Some(admin) = &self.admin else { return Ok(()) };
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let tenant: String = format!("eval-{set}").chars().map(plain).take(64).collect();
        let body = json!({"tenant": tenant, "name": "ragflare eval", "scopes": ["read", "write"]});
        let made = admin.post("/v1/admin/keys", &body).context("cannot make a key for the set's tenant")?;
        let key = made["key"].as_str().context("the deployment made no key")?;
        self.made = made["id"].as_str().map(str::to_owned);
        self.client = Client::new(&self.url, Some(key));
        Ok(())
    }

    /// The key made for the last set is of no more use.
    fn leave(&mut self) {
        if let (Some(admin), Some(id)) = (&self.admin, self.made.take()) {
            // A key too many does no harm.
            let _ = admin.delete(&format!("/v1/admin/keys/{}", encode(&id)));
        }
    }

    fn list(&self) -> Result<Vec<Listed>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/documents?limit={PAGE}{cursor}");
            let page: Documents = serde_json::from_value(self.client.get(&path)?)?;
            all.extend(page.documents);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", encode(&next)),
                None => return Ok(all),
            }
        }
    }

    /// Uploads what is not there as it should be.
    fn upload(&self, set: &Set) -> Result<()> {
        let there: HashMap<DocumentId, Listed> =
            self.list()?.into_iter().map(|listed| (listed.id.clone(), listed)).collect();
        let strangers = there.keys().filter(|id| set.position(id).is_none()).count();
        if strangers > 0 {
            eprintln!(
                "warning: the tenant has {strangers} documents that are not of `{}`: they take places of its own \
                 documents. An empty tenant, or --admin-key, gives comparable numbers",
                set.name
            );
        }
        let missing: Vec<&Document> =
            set.documents.iter().filter(|document| !is_there(there.get(&document.id), document)).collect();
        let progress = Progress::new(&format!("{}: uploading", set.name), missing.len());
        let (next, fault) = (AtomicUsize::new(0), Mutex::new(None));
        thread::scope(|scope| {
            for _ in 0..UPLOADS {
                scope.spawn(|| {
                    while let Some(document) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.put(document) {
                            // The others stop, too.
                            next.store(missing.len(), Ordering::Relaxed);
                            if let Ok(mut fault) = fault.lock() {
                                fault
                                    .get_or_insert(error.context(format!("cannot upload `{}`", document.id)));
                            }
                            return;
                        }
                        progress.advance(1);
                    }
                });
            }
        });
        progress.finish();
        fault.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    fn put(&self, document: &Document) -> Result<()> {
        let title =
            document.title.as_deref().map_or_else(String::new, |title| format!("?title={}", encode(title)));
        let id = document.id.as_str().split('/').map(encode).collect::<Vec<_>>().join("/");
        self.client.put(&format!("/v1/documents/{id}{title}"), document.media_type, document.text.as_bytes())
    }

    /// Waits until every document's vectors are visible.
    fn wait(&self, set: &Set) -> Result<Indexed> {
        let progress = Progress::new(&format!("{}: waiting for the index", set.name), set.documents.len());
        let (mut done, mut moved) = (0, Instant::now());
        loop {
            let looked = Instant::now();
            let mut size = Indexed::default();
            for listed in self.list()?.iter().filter(|listed| set.position(&listed.id).is_some()) {
                let failed = listed.status == Status::Failed
                    || listed.pending.as_ref().is_some_and(|pending| pending.status == Status::Failed);
                if failed {
                    let why = listed
                        .error
                        .as_ref()
                        .map_or_else(String::new, |error| format!("{}: {}", error.code, error.message));
                    bail!("the deployment cannot index `{}`: {why}", listed.id);
                }
                if listed.status == Status::Indexed && listed.pending.is_none() {
                    size.documents += 1;
                    size.chunks += listed.chunk_count;
                    size.tokens += listed.tokens;
                }
            }
            progress.advance(size.documents.saturating_sub(done));
            if size.documents == set.documents.len() {
                progress.finish();
                return Ok(size);
            }
            if size.documents > done {
                (done, moved) = (size.documents, Instant::now());
            }
            ensure!(
                moved.elapsed() < PATIENCE,
                "only {done} of {} documents are indexed, and none was in the last {} minutes",
                set.documents.len(),
                PATIENCE.as_secs() / 60
            );
            // A large set's listing is many requests: no more than half of the time goes into looking.
            thread::sleep(looked.elapsed().max(Duration::from_secs(1)));
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.leave();
    }
}

fn is_there(listed: Option<&Listed>, document: &Document) -> bool {
    listed.is_some_and(|listed| {
        matches!(listed.status, Status::Searchable | Status::Indexed)
            && listed.pending.is_none()
            && listed.title == document.title
            && listed.content_hash == content_hash(document.text.as_bytes())
    })
}

impl Engine for Http {
    fn describe(&self) -> String {
        format!("the deployment at {}", self.url)
    }

    fn takes_settings(&self) -> bool {
        false
    }

    fn index(&mut self, set: &Set, _: &Config) -> Result<Indexed> {
        if let Some((_, size)) = self.indexed.as_ref().filter(|(path, _)| *path == set.path) {
            return Ok(*size);
        }
        self.enter(&set.name)?;
        self.upload(set)?;
        let size = self.wait(set)?;
        self.indexed = Some((set.path.clone(), size));
        Ok(size)
    }

    fn search(&mut self, _: &Config, request: &SearchRequest) -> Result<Reply> {
        let started = Instant::now();
        let reply = self.client.post("/v1/search", &serde_json::to_value(request)?)?;
        let total = started.elapsed().as_secs_f64() * 1000.0;
        let response: SearchResponse = serde_json::from_value(reply).context("an unexpected reply")?;
        // With the way there and back.
        let mut stages = stages(&response);
        stages[STAGES.len() - 1] = total;
        Ok(Reply { response, stages })
    }

    fn chunks(&mut self, set: &Set) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for (document, source) in set.documents.iter().enumerate() {
            let characters = CharIndex::new(&source.text);
            let id = source.id.as_str().split('/').map(encode).collect::<Vec<_>>().join("/");
            let mut cursor = String::new();
            loop {
                let path = format!("/v1/documents/{id}/chunks?limit={PAGE}{cursor}");
                let page: Chunks = serde_json::from_value(self.client.get(&path)?)?;
                spans.extend(page.chunks.iter().map(|chunk| Span {
                    document,
                    start: characters.character(chunk.start),
                    end: characters.character(chunk.end),
                }));
                match page.next_cursor {
                    Some(next) => cursor = format!("&cursor={}", encode(&next)),
                    None => break,
                }
            }
        }
        Ok(spans)
    }
}
