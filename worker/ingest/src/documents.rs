//! Routes of documents.

use crate::not_allowed;
use ragflare_cloudflare::core::document::{Document, DocumentId, Metadata, Status, Upload};
use ragflare_cloudflare::core::filter::check_metadata;
use ragflare_cloudflare::core::identity::object_key;
use ragflare_cloudflare::core::ingest::{Registered, extract, format_of};
use ragflare_cloudflare::core::ports::{DocumentStore, ListQuery, ObjectStore, Ports};
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::http::{ApiError, json, media_type, method, refuse_encoding};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::{Scope, random};
use ragflare_cloudflare::upload::store;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use worker::{Delay, Method, Request, Response, ResponseBuilder};

/// The largest document, in bytes. Bound by what one invocation may do: for 2 MiB of Markdown the ledger showed 306 D1
/// statements (of 1,000 allowed) and 9 MB of wasm memory (of 128).
pub(crate) const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of a page at most.
const MAX_LIMIT: usize = 100;
/// Longest time a request waits for a document, in seconds.
const MAX_WAIT: u64 = 60;

type Query = HashMap<String, String>;

/// `/v1/documents`
pub(crate) async fn collection(invocation: &Invocation, request: &mut Request) -> Result<Response, ApiError> {
    let query = query(request)?;
    match method(request)? {
        Method::Get => {
            let access = invocation.authorize(request, Scope::Read).await?;
            list(invocation, &access.tenant, &query).await
        }
        Method::Delete => {
            let access = invocation.authorize(request, Scope::Write).await?;
            delete_prefix(invocation, &access.tenant, &query).await
        }
        method => Err(not_allowed(&method, "GET, DELETE")),
    }
}

/// `/v1/documents/{id}` and what is below it. Ids may hold slashes, so a view is the last segment.
pub(crate) async fn single(
    invocation: &Invocation,
    request: &mut Request,
    rest: &str,
) -> Result<Response, ApiError> {
    let query = query(request)?;
    let method = method(request)?;
    let (id, view) = match rest.rsplit_once('/') {
        Some((id, view @ ("chunks" | "text" | "content"))) if method == Method::Get => (id, Some(view)),
        Some((_, view @ ("chunks" | "text" | "content"))) => {
            let message = format!("ends in `/{view}`, which shows a document; send its slash as `%2F`");
            return Err(Error::invalid("id", message).into());
        }
        _ => (rest, None),
    };
    let id = document_id(id)?;
    let scope = if method == Method::Get { Scope::Read } else { Scope::Write };
    let tenant = invocation.authorize(request, scope).await?.tenant;
    match (method, view) {
        (Method::Put, None) => put(invocation, request, &tenant, &id, &query).await,
        (Method::Get, None) => show(invocation, &tenant, &id, &query).await,
        (Method::Get, Some("chunks")) => chunks(invocation, &tenant, &id, &query).await,
        (Method::Get, Some("text")) => text(invocation, &tenant, &id).await,
        (Method::Get, Some(_)) => content(invocation, &tenant, &id).await,
        (Method::Delete, None) => {
            if !invocation.rag.pipeline().delete(&tenant, &id).await? {
                return Err(unknown(&id));
            }
            Ok(ResponseBuilder::new().with_status(204).empty())
        }
        (method, _) => Err(not_allowed(&method, "GET, PUT, DELETE")),
    }
}

async fn put(
    invocation: &Invocation,
    request: &mut Request,
    tenant: &Tenant,
    id: &DocumentId,
    query: &Query,
) -> Result<Response, ApiError> {
    let metadata: Metadata = match query.get("metadata") {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Error::invalid("metadata", format!("must be a JSON object: {error}")))?,
        None => Metadata::new(),
    };
    check_metadata(&metadata, &invocation.rag.settings().fields)?;
    let title = query.get("title").filter(|title| !title.is_empty());
    if title.is_some_and(|title| title.len() > 512) {
        return Err(Error::invalid("title", "is longer than 512 bytes").into());
    }
    refuse_encoding(request)?;
    refuse_charset(request)?;
    let media_type = readable_type(media_type(request)?, id)?;
    let key = object_key(tenant, &random(16)?)?;
    let objects = invocation.rag.platform().objects();
    let stored = store(request, objects, tenant, &key, &media_type, MAX_BYTES).await?;
    let upload = Upload {
        object_key: key,
        title: title.cloned(),
        media_type,
        bytes: stored.bytes,
        content_hash: stored.content_hash,
        settings: invocation.rag.pipeline().upload_settings(&metadata),
        metadata,
    };
    match invocation.rag.pipeline().register(tenant, id, &upload).await? {
        Registered::Unchanged(document) => json(200, &document),
        Registered::Queued(document) => json(202, &document),
    }
}

/// Text is read as UTF-8.
fn refuse_charset(request: &Request) -> Result<(), ApiError> {
    let header = request.headers().get("content-type")?.unwrap_or_default().to_ascii_lowercase();
    let charset = header.split(';').find_map(|part| part.trim().strip_prefix("charset="));
    match charset.map(|charset| charset.trim_matches('"')) {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(other) => {
            Err(ApiError::new(415, "unsupported_charset", format!("send UTF-8 text, not `{other}`")))
        }
    }
}

/// The type to read the body as: as declared, or by the id's ending where the declaration says nothing.
fn readable_type(declared: Option<String>, id: &DocumentId) -> Result<String, ApiError> {
    let ending = id.as_str().rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let media_type = match declared.as_deref() {
        None | Some("application/octet-stream" | "application/x-www-form-urlencoded") => {
            match ending.as_deref() {
                Some("md" | "markdown" | "mdx") => "text/markdown".to_owned(),
                Some("txt" | "text") => "text/plain".to_owned(),
                _ => declared.unwrap_or_default(),
            }
        }
        Some(declared) => declared.to_owned(),
    };
    if format_of(&media_type).is_some() {
        return Ok(media_type);
    }
    let what = if media_type.is_empty() { "a body without a type".into() } else { format!("`{media_type}`") };
    let message = format!("can't read {what}; send `text/plain` or `text/markdown`");
    Err(ApiError::new(415, "unsupported_media_type", message))
}

async fn show(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
    query: &Query,
) -> Result<Response, ApiError> {
    let wait = number(query, "wait", 0, 0, MAX_WAIT)?;
    let documents = invocation.rag.platform().documents();
    let deadline = worker::Date::now().as_millis() + wait * 1000;
    let mut pause = 50;
    loop {
        let document = documents.get(tenant, id).await?.ok_or_else(|| unknown(id))?;
        let now = worker::Date::now().as_millis();
        if !document.is_open() || now >= deadline {
            return json(200, &document);
        }
        Delay::from(Duration::from_millis(pause.min(deadline - now))).await;
        pause = (pause * 2).min(1000);
    }
}

async fn list(invocation: &Invocation, tenant: &Tenant, query: &Query) -> Result<Response, ApiError> {
    let limit = number(query, "limit", 20, 1, MAX_LIMIT)?;
    let listing = ListQuery {
        after: query.get("cursor").cloned(),
        limit: limit + 1,
        status: query.get("status").map(|status| Status::parse(status)).transpose()?,
        prefix: query.get("prefix").cloned(),
    };
    let mut documents = invocation.rag.platform().documents().list(tenant, &listing).await?;
    let more = documents.len() > limit;
    documents.truncate(limit);
    let next_cursor = documents.last().filter(|_| more).map(|document| document.id.to_string());
    json(200, &json!({"documents": documents, "next_cursor": next_cursor}))
}

async fn delete_prefix(
    invocation: &Invocation,
    tenant: &Tenant,
    query: &Query,
) -> Result<Response, ApiError> {
    let Some(prefix) = query.get("prefix").filter(|prefix| !prefix.is_empty()) else {
        return Err(Error::invalid("prefix", "must be given: it names what is deleted").into());
    };
    let deleted = invocation.rag.pipeline().delete_prefix(tenant, prefix).await?;
    json(200, &json!({"deleted": deleted}))
}

async fn chunks(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
    query: &Query,
) -> Result<Response, ApiError> {
    let limit = number(query, "limit", 20, 1, MAX_LIMIT)?;
    let after = query.get("cursor").map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(|_| Error::invalid("cursor", "is not one that was given out"))?;
    let documents = invocation.rag.platform().documents();
    if documents.get(tenant, id).await?.is_none() {
        return Err(unknown(id));
    }
    let mut chunks = documents.chunks(tenant, id, after, limit + 1).await?;
    let more = chunks.len() > limit;
    chunks.truncate(limit);
    let next_cursor = chunks.last().filter(|_| more).map(|chunk| chunk.ordinal.to_string());
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| {
            let mut shown = json!({
                "id": chunk.id(), "ordinal": chunk.ordinal, "text": chunk.text, "tokens": chunk.tokens,
                "start": chunk.start, "end": chunk.end, "headings": chunk.headings,
            });
            if let Some(page) = chunk.page {
                shown["page"] = page.into();
            }
            shown
        })
        .collect();
    json(200, &json!({"chunks": chunks, "next_cursor": next_cursor}))
}

async fn text(invocation: &Invocation, tenant: &Tenant, id: &DocumentId) -> Result<Response, ApiError> {
    let document = find(invocation, tenant, id).await?;
    let objects = invocation.rag.platform().objects();
    let bytes = objects.get(tenant, &document.object_key).await?.ok_or_else(|| unknown(id))?;
    let (text, _) = extract(bytes, &document.media_type)?;
    let reply = ResponseBuilder::new().with_header("content-type", "text/plain; charset=utf-8")?;
    Ok(safe(reply)?.fixed(text.into_bytes()))
}

async fn content(invocation: &Invocation, tenant: &Tenant, id: &DocumentId) -> Result<Response, ApiError> {
    let document = find(invocation, tenant, id).await?;
    let objects = invocation.rag.platform().objects();
    let object = objects.bucket().get(&document.object_key).execute().await?.ok_or_else(|| unknown(id))?;
    let body = object.body().ok_or_else(|| unknown(id))?.response_body()?;
    let reply = ResponseBuilder::new().with_header("content-type", &document.media_type)?;
    Ok(safe(reply)?.body(body))
}

/// An uploader's content must not run in the reader's browser with this origin's rights.
fn safe(reply: ResponseBuilder) -> worker::Result<ResponseBuilder> {
    reply.with_header("x-content-type-options", "nosniff")?.with_header("content-security-policy", "sandbox")
}

async fn find(invocation: &Invocation, tenant: &Tenant, id: &DocumentId) -> Result<Document, ApiError> {
    invocation.rag.platform().documents().get(tenant, id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &DocumentId) -> ApiError {
    ApiError::not_found(format!("document `{id}`"))
}

fn document_id(encoded: &str) -> Result<DocumentId, ApiError> {
    let decoded =
        decode(encoded).ok_or_else(|| Error::invalid("id", "is not valid percent-encoded UTF-8"))?;
    Ok(DocumentId::new(decoded)?)
}

/// Percent-decoding; `+` stays itself in a path.
fn decode(encoded: &str) -> Option<String> {
    let bytes = encoded.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        if bytes[position] == b'%' {
            let digits = encoded.get(position + 1..position + 3)?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            position += 3;
        } else {
            decoded.push(bytes[position]);
            position += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

fn query(request: &Request) -> Result<Query, ApiError> {
    Ok(request.url()?.query_pairs().into_owned().collect())
}

fn number<N>(query: &Query, name: &str, default: N, least: N, most: N) -> Result<N, ApiError>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = query.get(name) else { return Ok(default) };
    let wrong = || Error::invalid(name, format!("is `{text}`; allowed are {least} to {most}"));
    let value: N = text.parse().map_err(|_| wrong())?;
    if value < least || value > most { Err(wrong().into()) } else { Ok(value) }
}
