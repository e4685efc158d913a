//! `POST /v1/documents`: files, whose names become ids.

use crate::documents::{MAX_BYTES, Query, metadata, readable_type, readers, title};
use ragflare_cloudflare::core::document::{Document, DocumentId, Metadata};
use ragflare_cloudflare::core::identity::object_key;
use ragflare_cloudflare::core::ingest::{NewUpload, Precondition, Registered};
use ragflare_cloudflare::core::ports::Ports;
use ragflare_cloudflare::core::{Error, Tenant};
use ragflare_cloudflare::http::{ApiError, content_length, json, media_type, refuse_encoding};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::random;
use ragflare_cloudflare::upload::{Stored, id_of, read_body, store, store_stream};
use serde_json::{Value, json};
use std::collections::HashSet;
use worker::js_sys::{Promise, try_iter};
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Request, Response, ResponseBuilder, web_sys};

/// The largest form, in bytes: the runtime takes it apart in memory.
const MAX_FORM_BYTES: u64 = 25_000_000;
/// Files of a form at most: each costs some ten D1 statements, and a request has 1,000.
const MAX_FILES: usize = 80;

/// Where a file's bytes come from.
enum Source<'a> {
    Body(&'a Request),
    File(&'a web_sys::File),
}

/// A file and what it brings.
struct NewFile<'a> {
    name: String,
    /// `Content-Type`.
    declared: Option<String>,
    title: Option<String>,
    metadata: Metadata,
    source: Source<'a>,
}

/// Files of a form, or a body with `?filename=`.
pub(crate) async fn post(
    invocation: &Invocation,
    request: &mut Request,
    tenant: &Tenant,
    query: &Query,
) -> Result<Response, ApiError> {
    refuse_encoding(request)?;
    if media_type(request)?.as_deref() == Some("multipart/form-data") {
        return form(invocation, request, tenant).await;
    }
    let Some(name) = query.get("filename").filter(|name| !name.is_empty()) else {
        let message =
            "must be given with a body of bytes; or send a form (`multipart/form-data`) with `file` parts";
        return Err(Error::invalid("filename", message).into());
    };
    let file = NewFile {
        name: name.clone(),
        declared: request.headers().get("content-type")?,
        title: title(query.get("title").cloned())?,
        metadata: metadata(invocation, query.get("metadata").map(String::as_str))?,
        source: Source::Body(request),
    };
    let (status, document) = take(invocation, tenant, &id_of(name)?, file).await?;
    json(status, &json!({"documents": [entry(name, &document)]}))
}

async fn form(invocation: &Invocation, request: &mut Request, tenant: &Tenant) -> Result<Response, ApiError> {
    let (files, fields) = parts(&read_form(request).await?)?;
    let metadata = metadata(invocation, fields.as_deref())?;
    let (mut entries, mut taken, mut first, mut status) = (Vec::new(), HashSet::new(), None, 200);
    for file in &files {
        let name = file.name();
        let outcome = async {
            if name.is_empty() {
                return Err(Error::invalid("filename", "of a `file` part must not be empty").into());
            }
            let id = id_of(&name)?;
            if !taken.insert(id.clone()) {
                return Err(ApiError::new(
                    409,
                    "duplicate_file",
                    format!("`{name}` comes twice in this form"),
                ));
            }
            let declared = Some(file.type_()).filter(|declared| !declared.is_empty());
            let (name, metadata, source) = (name.clone(), metadata.clone(), Source::File(file));
            take(invocation, tenant, &id, NewFile { name, declared, title: None, metadata, source }).await
        };
        match outcome.await {
            Ok((one, document)) => {
                status = status.max(one);
                entries.push(entry(&name, &document));
            }
            Err(error) => {
                let body: Value =
                    serde_json::from_str(&error.to_json(&invocation.request_id)).unwrap_or_default();
                entries.push(json!({"filename": name, "error": body["error"]}));
                first.get_or_insert(error);
            }
        }
    }
    match first {
        // Nothing was taken: an error like any other, which names each.
        Some(error) if entries.iter().all(|entry| !entry["error"].is_null() && entry["id"].is_null()) => {
            let mut body: Value =
                serde_json::from_str(&error.to_json(&invocation.request_id)).unwrap_or_default();
            body["documents"] = entries.into();
            let mut reply = ResponseBuilder::new().with_status(error.status);
            if let Some(seconds) = error.retry_after {
                reply = reply.with_header("retry-after", &seconds.to_string())?;
            }
            Ok(reply.with_header("content-type", "application/json")?.fixed(body.to_string().into_bytes()))
        }
        _ => json(status, &json!({"documents": entries})),
    }
}

fn entry(name: &str, document: &Document) -> Value {
    let mut entry = json!(document);
    entry["filename"] = name.into();
    entry
}

/// Stores and registers a file; 200 when all is as it was, 202 otherwise.
async fn take(
    invocation: &Invocation,
    tenant: &Tenant,
    id: &DocumentId,
    file: NewFile<'_>,
) -> Result<(u16, Document), ApiError> {
    let media_type = readable_type(&readers(invocation), file.declared.as_deref(), &file.name)?;
    // Nothing may be refused from here on, except by what cleans up: the object is there.
    let object_key = object_key(tenant, &random(16)?)?;
    let objects = invocation.rag.platform().objects();
    let Stored { bytes, content_hash } = match file.source {
        Source::Body(request) => store(request, objects, &object_key, &media_type, MAX_BYTES).await?,
        Source::File(file) => {
            let length = Some(file.size() as u64);
            store_stream(&file.stream(), length, objects, &object_key, &media_type, MAX_FORM_BYTES).await?
        }
    };
    let (title, metadata) = (file.title, file.metadata);
    let upload = NewUpload { object_key, title, media_type, bytes, content_hash, metadata };
    Ok(match invocation.rag.pipeline().register(tenant, id, &upload, &Precondition::None).await? {
        Registered::Unchanged(document) => (200, document),
        Registered::Queued(document) => (202, document),
    })
}

/// The form, taken apart by the runtime.
async fn read_form(request: &mut Request) -> Result<web_sys::FormData, ApiError> {
    let malformed = |error: JsValue| {
        worker::console_error!("form: {error:?}");
        let message = "the body is no `multipart/form-data`, or not all of it arrived";
        ApiError::new(400, "invalid_form", message)
    };
    let length = content_length(request)?;
    if length.is_some_and(|length| length > MAX_FORM_BYTES) {
        let message =
            format!("the form is larger than {MAX_FORM_BYTES} bytes; send large files with PUT, one by one");
        return Err(ApiError::new(413, "too_large", message));
    }
    let read: Promise = if length.is_some() {
        request.inner().form_data().map_err(malformed)?
    } else {
        // Of unknown length: it is read here, so that it can be refused as soon as it is too long.
        let bytes = read_body(request, MAX_FORM_BYTES as u32).await?;
        let init = web_sys::ResponseInit::new();
        init.set_headers(&request.inner().headers());
        web_sys::Response::new_with_opt_js_u8_array_and_init(Some(&bytes), &init)
            .and_then(|form| form.form_data())
            .map_err(malformed)?
    };
    Ok(JsFuture::from(read).await.map_err(malformed)?.unchecked_into())
}

/// The `file` parts and the `metadata`.
fn parts(form: &web_sys::FormData) -> Result<(Vec<web_sys::File>, Option<String>), ApiError> {
    let wrong = |field: &str, message: &str| ApiError::from(Error::invalid(field, message));
    let (mut files, mut metadata) = (Vec::new(), None);
    for pair in try_iter(form).ok().flatten().into_iter().flatten() {
        let pair: worker::js_sys::Array = pair.map_err(|_| wrong("file", "can't be read"))?.unchecked_into();
        let (name, value) = (pair.get(0).as_string().unwrap_or_default(), pair.get(1));
        match (name.as_str(), value.as_string()) {
            ("file", None) => files.push(value.unchecked_into()),
            ("file", Some(_)) => return Err(wrong("file", "must be a file: its part needs a `filename`")),
            ("metadata", Some(text)) if metadata.is_none() => metadata = Some(text),
            ("metadata", _) => return Err(wrong("metadata", "must be one JSON object, for all files")),
            (other, _) => {
                return Err(wrong(other, "is no part of this form; there are `file` and `metadata`"));
            }
        }
    }
    match files.len() {
        0 => Err(wrong("file", "is missing: the form needs at least one `file` part")),
        1..=MAX_FILES => Ok((files, metadata)),
        _ => Err(wrong("file", &format!("comes too often: a form has at most {MAX_FILES}"))),
    }
}
