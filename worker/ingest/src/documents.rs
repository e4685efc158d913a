//! Routes of documents.

use crate::{files, not_allowed, views};
use ragflare_cloudflare::core::document::{Document, DocumentId, Metadata, Status};
use ragflare_cloudflare::core::filter::check_metadata;
use ragflare_cloudflare::core::identity::object_key;
use ragflare_cloudflare::core::ingest::{Change, NewUpload, Registered};
use ragflare_cloudflare::core::kind::{self, Kind};
use ragflare_cloudflare::core::media::Readers;
use ragflare_cloudflare::core::ports::{DocumentStore, ListQuery, Ports};
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::http::{ApiError, json, method, read_json, refuse_encoding};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::{Scope, random};
use ragflare_cloudflare::upload::{precondition, store};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use worker::{Delay, Method, Request, Response, ResponseBuilder};

/// The largest document, in bytes: what Workers take as a request's body on the Free and Pro plans.
pub(crate) const MAX_BYTES: u64 = 100_000_000;
/// Longest title, in bytes.
const MAX_TITLE: usize = 512;
/// Rows of a page at most.
pub(crate) const MAX_LIMIT: usize = 100;
/// Longest time a request waits for a document, in seconds.
const MAX_WAIT: u64 = 60;

pub(crate) type Query = HashMap<String, String>;

/// `/v1/documents`
pub(crate) async fn collection(invocation: &Invocation, request: &mut Request) -> Result<Response, ApiError> {
    let query = query(request)?;
    match method(request)? {
        Method::Get => {
            let access = invocation.authorize(request, Scope::Read).await?;
            list(invocation, &access.tenant, &query).await
        }
        Method::Post => {
            let access = invocation.authorize(request, Scope::Write).await?;
            files::post(invocation, request, &access.tenant, &query).await
        }
        Method::Delete => {
            let access = invocation.authorize(request, Scope::Write).await?;
            delete_prefix(invocation, &access.tenant, &query).await
        }
        method => Err(not_allowed(&method)),
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
        (Method::Patch, None) => patch(invocation, request, &tenant, &id).await,
        (Method::Get, None) => show(invocation, &tenant, &id, &query).await,
        (Method::Get, Some("chunks")) => views::chunks(invocation, &tenant, &id, &query).await,
        (Method::Get, Some("text")) => views::text(invocation, &tenant, &id).await,
        (Method::Get, Some(_)) => views::content(invocation, &tenant, &id).await,
        (Method::Delete, None) => {
            let condition = precondition(request)?;
            if !invocation.rag.pipeline().delete(&tenant, &id, &condition).await? {
                return Err(unknown(&id));
            }
            Ok(ResponseBuilder::new().with_status(204).empty())
        }
        (method, _) => Err(not_allowed(&method)),
    }
}

async fn put(
    invocation: &Invocation,
    request: &mut Request,
    tenant: &Tenant,
    id: &DocumentId,
    query: &Query,
) -> Result<Response, ApiError> {
    let metadata = metadata(invocation, query.get("metadata").map(String::as_str))?;
    let title = title(query.get("title").cloned())?;
    let condition = precondition(request)?;
    refuse_encoding(request)?;
    let declared = request.headers().get("content-type")?;
    let media_type = readable_type(&readers(invocation), declared.as_deref(), id.as_str())?;
    // Nothing may be refused from here on, except by what cleans up: the object is there.
    let object_key = object_key(tenant, &random(16)?)?;
    let objects = invocation.rag.platform().objects();
    let stored = store(request, objects, &object_key, &media_type, MAX_BYTES).await?;
    let (bytes, content_hash) = (stored.bytes, stored.content_hash);
    let upload = NewUpload { object_key, title, media_type, bytes, content_hash, metadata };
    shown(invocation.rag.pipeline().register(tenant, id, &upload, &condition).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default, deserialize_with = "given")]
    #[allow(clippy::option_option, reason = "`null` is not the same as nothing")]
    title: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
}

/// A field that is there, be it `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

async fn patch(
    invocation: &Invocation,
    request: &mut Request,
    tenant: &Tenant,
    id: &DocumentId,
) -> Result<Response, ApiError> {
    let condition = precondition(request)?;
    let wanted: Patch = read_json(request).await?;
    if let Some(metadata) = &wanted.metadata {
        check_metadata(metadata, &invocation.rag.settings().fields)?;
    }
    let change = Change { title: wanted.title.map(title).transpose()?, metadata: wanted.metadata };
    let patched = invocation.rag.pipeline().patch(tenant, id, &change, &condition).await?;
    shown(patched.ok_or_else(|| unknown(id))?)
}

/// 200 when all is as it was, 202 when there is something to be done.
fn shown(registered: Registered) -> Result<Response, ApiError> {
    match registered {
        Registered::Unchanged(document) => tagged(200, &document),
        Registered::Queued(document) => tagged(202, &document),
    }
}

/// A document, with what `If-Match` takes.
fn tagged(status: u16, document: &Document) -> Result<Response, ApiError> {
    let mut reply = json(status, document)?;
    reply.headers_mut().set("etag", &format!("\"{}\"", document.current()))?;
    Ok(reply)
}

/// # Errors
/// [`Error::Invalid`] when it is too long; an empty one is none.
pub(crate) fn title(title: Option<String>) -> Result<Option<String>, Error> {
    let title = title.filter(|title| !title.is_empty());
    if title.as_ref().is_some_and(|title| title.len() > MAX_TITLE) {
        return Err(Error::invalid("title", format!("is longer than {MAX_TITLE} bytes")));
    }
    Ok(title)
}

/// # Errors
/// [`Error::Invalid`] when it is no object, or of other types than declared.
pub(crate) fn metadata(invocation: &Invocation, text: Option<&str>) -> Result<Metadata, Error> {
    let metadata: Metadata = match text {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Error::invalid("metadata", format!("must be a JSON object: {error}")))?,
        None => Metadata::new(),
    };
    check_metadata(&metadata, &invocation.rag.settings().fields)?;
    Ok(metadata)
}

/// Who reads what the converter does not.
pub(crate) fn readers(invocation: &Invocation) -> Readers {
    invocation.rag.settings().ingest.readers()
}

/// The type to read bytes as: as declared, with a charset that is not UTF-8; or by the name's ending where the declaration
/// says nothing.
///
/// # Errors
/// 415 for what is known to be read by nobody here; what the bytes are is looked at later.
pub(crate) fn readable_type(
    readers: &Readers,
    declared: Option<&str>,
    name: &str,
) -> Result<String, ApiError> {
    let declared = declared.unwrap_or_default();
    let essence = kind::essence(declared);
    if let "" | "application/octet-stream" | "application/x-www-form-urlencoded" = essence.as_str() {
        let named = kind::declared("", name).map_or("application/octet-stream", Kind::media_type);
        return Ok(named.to_owned());
    }
    let unsupported = |message: String| ApiError::new(415, "unsupported_media_type", message);
    match kind::declared(&essence, name) {
        Some(kind) => {
            readers.check(kind).map_err(|error| match error {
                Error::Document { message, .. } => unsupported(message),
                other => other.into(),
            })?;
        }
        None if kind::is_no_document(&essence) => {
            let message =
                format!("can't read `{essence}`: it is none of the formats that text is taken from");
            return Err(unsupported(message));
        }
        None => {}
    }
    Ok(match kind::charset(declared) {
        Some(charset) => format!("{essence}; charset={charset}"),
        None => essence,
    })
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
        if !document.is_moving() || now >= deadline {
            return tagged(200, &document);
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

pub(crate) async fn find(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
) -> Result<Document, ApiError> {
    invocation.rag.platform().documents().get(tenant, id).await?.ok_or_else(|| unknown(id))
}

pub(crate) fn unknown(id: &DocumentId) -> ApiError {
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

pub(crate) fn number<N>(query: &Query, name: &str, default: N, least: N, most: N) -> Result<N, ApiError>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = query.get(name) else { return Ok(default) };
    let wrong = || Error::invalid(name, format!("is `{text}`; allowed are {least} to {most}"));
    let value: N = text.parse().map_err(|_| wrong())?;
    if value < least || value > most { Err(wrong().into()) } else { Ok(value) }
}
