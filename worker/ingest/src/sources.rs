//! Buckets as sources: their routes, R2's events, and the syncs that are due.

use crate::consumer::Budget;
use crate::documents::{MAX_BYTES, readable_type};
use ragflare_cloudflare::Platform;
use ragflare_cloudflare::core::document::Failure;
use ragflare_cloudflare::core::media::Readers;
use ragflare_cloudflare::core::ports::{Job, JobQueue, Ports, SourcePorts, SourceTable, Sync};
use ragflare_cloudflare::core::settings::Source;
use ragflare_cloudflare::core::sources::Sources;
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Access;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::Response;

/// Problems shown of a source.
const PROBLEMS: usize = 20;
/// Sources shown that are not in the settings any more: each costs five statements, as a configured one does.
const GONE: usize = 20;
/// Statements that a look costs at most: twice as many as when nothing comes in between.
const LOOK: u32 = 40;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSync {
    source: Option<String>,
    #[serde(default)]
    confirm_empty: bool,
}

fn sources(invocation: &Invocation) -> Sources<'_, Platform> {
    Sources::new(invocation.rag.platform(), invocation.rag.settings(), MAX_BYTES, media_type)
}

/// What an upload of this type and name would be read as.
fn media_type(readers: &Readers, declared: Option<&str>, key: &str) -> Result<String, Failure> {
    readable_type(readers, declared, key)
        .map_err(|error| Failure { code: error.code, message: error.message })
}

/// `GET /v1/admin/sources`: those of the settings, and the last of those that were in them once.
pub(crate) async fn list(invocation: &Invocation, access: &Access) -> Result<Response, ApiError> {
    let settings = &invocation.rag.settings().ingest;
    let table = invocation.rag.platform().table();
    let mut shown = Vec::new();
    for source in visible(invocation, access) {
        let mut entry = json!(source);
        entry["configured"] = true.into();
        shown.push(describe(invocation, &source.name(), &source.tenant, entry).await?);
    }
    let configured: Vec<String> = settings.sources.iter().map(Source::name).collect();
    let tenant = (!access.operator).then_some(&access.tenant);
    for (name, tenant) in table.others(&configured, tenant, GONE).await? {
        let entry = json!({"tenant": tenant, "configured": false});
        let mut entry = describe(invocation, &name, &tenant, entry).await?;
        // Its jobs have nothing to do any more: it stays where it was.
        if let Some(state) = entry.pointer_mut("/last_sync/state")
            && matches!(state.as_str(), Some("listing" | "sweeping"))
        {
            *state = "removed".into();
        }
        shown.push(entry);
    }
    json(200, &json!({"sources": shown, "sync_minutes": settings.sync_minutes}))
}

/// `POST /v1/admin/sources/sync`
pub(crate) async fn sync(
    invocation: &Invocation,
    access: &Access,
    wanted: NewSync,
) -> Result<Response, ApiError> {
    let all: Vec<&Source> = match &wanted.source {
        Some(name) => visible(invocation, access).filter(|source| source.name() == *name).collect(),
        None => visible(invocation, access).collect(),
    };
    if let (Some(name), true) = (&wanted.source, all.is_empty()) {
        return Err(ApiError::not_found(format!("source `{name}`")));
    }
    if all.is_empty() {
        return Err(
            Error::invalid("source", "none is configured: see `ingest.sources` of the settings").into()
        );
    }
    if wanted.confirm_empty && wanted.source.is_none() {
        let message = "must be named to have an empty listing delete its documents";
        return Err(Error::invalid("source", message).into());
    }
    let mut syncs = Vec::new();
    for source in all {
        let sync = sources(invocation).start(source, wanted.confirm_empty).await?;
        let mut entry = shown(&sync);
        entry["source"] = source.name().into();
        syncs.push(entry);
    }
    json(202, &json!({"syncs": syncs}))
}

/// Adds what became of a source's objects to what is said of it.
async fn describe(
    invocation: &Invocation,
    name: &str,
    tenant: &Tenant,
    mut entry: Value,
) -> Result<Value, ApiError> {
    let table = invocation.rag.platform().table();
    let (counts, problems) = table.report(name, tenant, PROBLEMS).await?;
    entry["name"] = name.into();
    if let (Value::Object(entry), Value::Object(counts)) = (&mut entry, json!(counts)) {
        entry.extend(counts);
    }
    entry["last_sync"] = table.sync(name).await?.as_ref().map_or(Value::Null, shown);
    entry["problems"] = json!(problems);
    Ok(entry)
}

/// Times in seconds, as everywhere in the API.
fn shown(sync: &Sync) -> Value {
    let mut shown = json!(sync);
    for at in ["started_at", "moved_at"] {
        shown[at] = (shown[at].as_u64().unwrap_or_default() / 1000).into();
    }
    shown
}

fn may_see(access: &Access, tenant: &Tenant) -> bool {
    access.operator || access.tenant == *tenant
}

/// The caller's sources; an operator's are all.
fn visible<'a>(invocation: &'a Invocation, access: &'a Access) -> impl Iterator<Item = &'a Source> {
    let all = invocation.rag.settings().ingest.sources.iter();
    all.filter(|source| may_see(access, &source.tenant))
}

/// Starts the syncs that are due.
pub(crate) async fn start_due(invocation: &Invocation) {
    if invocation.rag.settings().ingest.sources.is_empty() {
        return;
    }
    match sources(invocation).start_due().await {
        Ok(0) => {}
        Ok(started) => worker::console_log!("started {started} syncs"),
        // The next tick tries again.
        Err(error) => worker::console_error!("syncs: {error}"),
    }
}

/// Looks at the object that an event names, for each source that it may concern.
pub(crate) async fn take_event(invocation: &Invocation, budget: &Budget<'_>, key: &str) -> Result<(), Error> {
    for source in &invocation.rag.settings().ingest.sources {
        if !key.starts_with(&source.prefix) {
            continue;
        }
        if budget.has(LOOK) {
            sources(invocation).look(source, key).await?;
        } else {
            let job = Job::Look { source: source.name(), key: key.to_owned() };
            invocation.rag.platform().jobs().send(&[job], 0).await?;
        }
    }
    Ok(())
}

/// A source that left the settings is not looked at any more: its documents stay.
pub(crate) async fn look(invocation: &Invocation, source: &str, key: &str) -> Result<(), Error> {
    let sources = sources(invocation);
    match sources.find(source) {
        Some(source) => sources.look(source, key).await,
        None => Ok(()),
    }
}

pub(crate) async fn step(
    invocation: &Invocation,
    source: &str,
    run: u64,
    after: Option<&str>,
    sweep: bool,
    go_on: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let sources = sources(invocation);
    match sources.find(source) {
        Some(source) => sources.step(source, run, after, sweep, go_on).await,
        None => Ok(()),
    }
}
