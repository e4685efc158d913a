//! Routes of the administration: keys, re-indexing, sources, the sweeper, what keeps the database right.

use crate::consumer::Budget;
use crate::{letters, not_allowed, sources};
use ragflare_cloudflare::core::document::DocumentId;
use ragflare_cloudflare::core::ingest::{Reindex, SETTLED_AFTER};
use ragflare_cloudflare::core::ports::{Clock, DocumentStore, Ports, Progress, TenantState};
use ragflare_cloudflare::core::settings::EmbeddingSettings;
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::d1::{Audit, Rebuild};
use ragflare_cloudflare::http::{ApiError, content_length, json, method, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::{Access, Scope};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use worker::{Method, Request, Response, ResponseBuilder};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    tenant: Option<Tenant>,
    #[serde(default)]
    name: String,
    #[serde(default = "reading")]
    scopes: Vec<Scope>,
}

fn reading() -> Vec<Scope> {
    vec![Scope::Read]
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewReindex {
    tenant: Option<Tenant>,
    document: Option<DocumentId>,
    #[serde(default)]
    force: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: i64,
}

/// Chunks of a slice of a rebuild of the keyword index.
const REBUILD_ROWS: usize = 500;
/// Statements that a slice costs at most.
const REBUILD: u32 = 50;
/// Milliseconds after which a rebuild is left to the next request.
const REBUILD_TIME: u64 = 20_000;

/// `/v1/admin/{rest}`
pub(crate) async fn route(
    invocation: &Invocation,
    request: &mut Request,
    rest: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Admin).await?;
    let method = method(request)?;
    if rest == "dead-letters" || rest.starts_with("dead-letters/") {
        operator(&access)?;
        return letters::route(invocation, &method, rest.trim_start_matches("dead-letters")).await;
    }
    match (method, rest) {
        (Method::Post, "keys") => create_key(invocation, request, &access).await,
        (Method::Get, "keys") => {
            let tenant = (!access.operator).then_some(&access.tenant);
            json(200, &json!({"keys": invocation.keys().list(tenant).await?}))
        }
        (Method::Delete, path) if path.starts_with("keys/") => {
            let id = &path["keys/".len()..];
            let tenant = (!access.operator).then_some(&access.tenant);
            let now = invocation.rag.platform().clock().now();
            if !invocation.keys().revoke(id, tenant, now).await? {
                return Err(ApiError::not_found(format!("key `{id}`")));
            }
            Ok(ResponseBuilder::new().with_status(204).empty())
        }
        (Method::Post, "reindex") => start_reindex(invocation, request, &access).await,
        (Method::Get, "reindex") => {
            let tenant = parameter(request, "tenant")?.map(Tenant::new).transpose()?;
            let tenant = allowed(&access, tenant)?;
            let (state, progress) = invocation.rag.pipeline().reindex_progress(&tenant).await?;
            json(200, &shown(&state, progress))
        }
        (Method::Post, "sweep") => {
            operator(&access)?;
            let older_than = match parameter(request, "older_than")? {
                None => SETTLED_AFTER,
                Some(seconds) => {
                    let seconds: u64 = seconds
                        .parse()
                        .map_err(|_| Error::invalid("older_than", "must be a number of seconds"))?;
                    seconds.saturating_mul(1000)
                }
            };
            let swept = invocation.rag.pipeline().sweep(older_than, true).await?;
            sources::start_due(invocation).await;
            json(200, &swept)
        }
        (Method::Get, "sources") => sources::list(invocation, &access).await,
        (Method::Post, "sources/sync") => {
            let wanted = read_or_default(request).await?;
            sources::sync(invocation, &access, wanted).await
        }
        (Method::Get, "audit") => {
            operator(&access)?;
            let audit = Audit::new(invocation.rag.platform().database().clone());
            json(200, &audit.run().await?)
        }
        (Method::Post, "rebuild-keywords") => {
            operator(&access)?;
            rebuild_keywords(invocation, request).await
        }
        (
            method,
            "keys" | "reindex" | "audit" | "sweep" | "rebuild-keywords" | "sources" | "sources/sync",
        ) => Err(not_allowed(&method)),
        (method, path) if path.starts_with("keys/") => Err(not_allowed(&method)),
        _ => Err(ApiError::not_found(format!("route `/v1/admin/{rest}`"))),
    }
}

async fn create_key(
    invocation: &Invocation,
    request: &mut Request,
    access: &Access,
) -> Result<Response, ApiError> {
    let wanted: NewKey = read_json(request).await?;
    let tenant = allowed(access, wanted.tenant)?;
    let now = invocation.rag.platform().clock().now();
    let (key, info) = invocation.keys().create(&tenant, &wanted.name, &wanted.scopes, now).await?;
    let mut body = serde_json::to_value(&info).unwrap_or_default();
    body["key"] = key.into();
    json(201, &body)
}

async fn start_reindex(
    invocation: &Invocation,
    request: &mut Request,
    access: &Access,
) -> Result<Response, ApiError> {
    let wanted: NewReindex = read_or_default(request).await?;
    let tenant = allowed(access, wanted.tenant)?;
    if let Some(id) = &wanted.document
        && invocation.rag.platform().documents().get(&tenant, id).await?.is_none()
    {
        return Err(ApiError::not_found(format!("document `{id}`")));
    }
    let reindex = Reindex { document: wanted.document, force: wanted.force };
    let progress = invocation.rag.pipeline().reindex(&tenant, &reindex).await?;
    let state = invocation.rag.platform().documents().tenant(&tenant).await?;
    json(202, &shown(&state, progress))
}

/// Slice by slice: `next` is the `after` of the next request, if there is more to do.
async fn rebuild_keywords(invocation: &Invocation, request: &mut Request) -> Result<Response, ApiError> {
    let After { after } = read_or_default(request).await?;
    let budget = Budget::new(invocation);
    let rebuild = Rebuild::new(invocation.rag.platform().database().clone());
    let (mut rows, mut next) = (0, Some(after));
    while let Some(after) = next {
        let slice = rebuild.step(after, REBUILD_ROWS).await?;
        (rows, next) = (rows + slice.done_rows, slice.next);
        if budget.spent() >= REBUILD_TIME || !budget.has(REBUILD) {
            break;
        }
    }
    json(200, &json!({"rows": rows, "next": next}))
}

/// How far a re-index is, embeddings by their fingerprints.
fn shown(state: &TenantState, progress: Progress) -> serde_json::Value {
    let embedding = state.embedding.as_ref().map(EmbeddingSettings::fingerprint);
    let next = state.next.as_ref().map(EmbeddingSettings::fingerprint);
    json!({
        "reindexing": state.reindexing,
        "embedding": embedding, "next": next,
        "documents": progress.documents, "done": progress.done, "open": progress.open, "failed": progress.failed,
    })
}

/// The caller's tenant, or, for an operator, any.
fn allowed(access: &Access, tenant: Option<Tenant>) -> Result<Tenant, ApiError> {
    let tenant = tenant.unwrap_or_else(|| access.tenant.clone());
    if tenant != access.tenant {
        operator(access)?;
    }
    Ok(tenant)
}

fn operator(access: &Access) -> Result<(), ApiError> {
    if access.operator {
        return Ok(());
    }
    Err(ApiError::new(403, "operator_only", "this concerns all tenants: use the ADMIN_KEY"))
}

fn parameter(request: &Request, name: &str) -> Result<Option<String>, ApiError> {
    Ok(request.url()?.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()))
}

/// A JSON body; without one, what its fields are then.
async fn read_or_default<T: Default + DeserializeOwned>(request: &mut Request) -> Result<T, ApiError> {
    if request.inner().body().is_none() || content_length(request)? == Some(0) {
        return Ok(T::default());
    }
    read_json(request).await
}
