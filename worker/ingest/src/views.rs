//! What a document consists of: its chunks, its text, its original.

use crate::documents::{MAX_LIMIT, Query, find, number, unknown};
use futures::channel::mpsc;
use futures::future::poll_fn;
use futures::stream::{self, Stream, StreamExt};
use ragflare_cloudflare::R2Objects;
use ragflare_cloudflare::core::conversion::Rows;
use ragflare_cloudflare::core::document::{Document, DocumentId};
use ragflare_cloudflare::core::ingest::{Readable, file_name};
use ragflare_cloudflare::core::ports::{DocumentStore, Original, Ports};
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use serde_json::json;
use worker::{Response, ResponseBuilder};

/// Bytes of text handed on at a time.
const PIECE: u64 = 256 * 1024;

/// `/v1/documents/{id}/chunks`
pub(crate) async fn chunks(
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
            if let Some(page) = chunk.places.first().and_then(|place| place.page) {
                shown["page"] = page.into();
            }
            if let Some(rows) = Rows::of(&chunk.places) {
                shown["rows"] = json!(rows);
            }
            if let Some(header) = &chunk.table_header {
                shown["table_header"] = header.as_str().into();
            }
            shown
        })
        .collect();
    json(200, &json!({"chunks": chunks, "next_cursor": next_cursor}))
}

/// `/v1/documents/{id}/text`
pub(crate) async fn text(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
) -> Result<Response, ApiError> {
    let document = find(invocation, tenant, id).await?;
    let objects = invocation.rag.platform().objects().clone();
    let mut pieces = Box::pin(pieces(objects, tenant.clone(), document));
    // What is wrong at the beginning can still be said.
    let first = pieces.next().await.transpose()?.unwrap_or_default();
    let rest = pieces.map(|piece| piece.map_err(|error| worker::Error::RustError(error.to_string())));
    let body = stream::once(async { Ok(first) }).chain(rest);
    let reply = ResponseBuilder::new().with_header("content-type", "text/plain; charset=utf-8")?;
    Ok(safe(reply)?.from_stream(body)?)
}

/// A document's text, a window at a time. The text borrows the bucket, so it is read by a future of its own, polled with
/// the stream.
fn pieces(
    objects: R2Objects,
    tenant: Tenant,
    document: Document,
) -> impl Stream<Item = Result<Vec<u8>, Error>> + 'static {
    let (mut sender, receiver) = mpsc::channel(0);
    let reading = async move {
        let mut failures = sender.clone();
        let read = async {
            let key = key(&document).unwrap_or_default();
            let title = document.upload.as_ref().and_then(|upload| upload.embedded_title.as_deref());
            let original = Original {
                key: &key,
                bytes: document.bytes,
                media_type: &document.media_type,
                name: file_name(&document.id, title),
            };
            let readable = Readable::find(&objects, &tenant, &original).await?;
            let mut text = readable.ok_or_else(not_converted)?.text;
            let mut start = 0;
            while start < text.len() {
                let piece = text.read(start..start + PIECE).await?.as_bytes().to_vec();
                start += piece.len() as u64;
                // A reader that has left drops both ends.
                if poll_fn(|context| sender.poll_ready(context)).await.is_err() || piece.is_empty() {
                    break;
                }
                let _ = sender.start_send(Ok(piece));
            }
            Ok(())
        };
        if let Err(error) = read.await {
            let _ = poll_fn(|context| failures.poll_ready(context)).await;
            let _ = failures.start_send(Err(error));
        }
    };
    stream::select(receiver, stream::once(reading).filter_map(|()| async { None }))
}

fn not_converted() -> Error {
    Error::Document {
        code: "not_converted".into(),
        message: "its text was not taken from it (yet): the document's `status` and `error` say more".into(),
    }
}

/// `/v1/documents/{id}/content`
pub(crate) async fn content(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
) -> Result<Response, ApiError> {
    let document = find(invocation, tenant, id).await?;
    let objects = invocation.rag.platform().objects();
    let object = objects.bucket().get(key(&document)?).execute().await?.ok_or_else(|| unknown(id))?;
    let body = object.body().ok_or_else(|| unknown(id))?.response_body()?;
    let reply = ResponseBuilder::new().with_header("content-type", &document.media_type)?;
    Ok(safe(reply)?.body(body))
}

/// Where the original is.
fn key(document: &Document) -> Result<String, ApiError> {
    document
        .upload
        .as_ref()
        .map(|upload| upload.object_key.clone())
        .ok_or_else(|| ApiError::new(500, "internal", "the document has no original"))
}

/// An uploader's content must not run in the reader's browser with this origin's rights.
fn safe(reply: ResponseBuilder) -> worker::Result<ResponseBuilder> {
    reply.with_header("x-content-type-options", "nosniff")?.with_header("content-security-policy", "sandbox")
}
