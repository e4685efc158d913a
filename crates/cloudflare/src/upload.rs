//! Bodies on their way into R2, hashed by the runtime as they pass.

use crate::http::{ApiError, content_length, read_bytes};
use crate::r2::R2Objects;
use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use ragflare_core::Tenant;
use ragflare_core::identity::{content_hash, hex};
use ragflare_core::ports::ObjectStore;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{HttpMetadata, Request};

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub content_hash: String,
}

/// Stores a request's body under `key`. A body of known length goes from the client to R2 without touching wasm; one of
/// unknown length is read first, so that it can be refused as soon as it is too long.
///
/// # Errors
/// 413 above `limit` bytes, 422 for an empty body, 400 when the client breaks off, 503 when R2 fails.
pub async fn store(
    request: &mut Request,
    objects: &R2Objects,
    tenant: &Tenant,
    key: &str,
    media_type: &str,
    limit: u64,
) -> Result<Stored, ApiError> {
    let empty = || ApiError::new(422, "empty", "the body is empty");
    let Some(length) = content_length(request)? else {
        let bytes = read_bytes(request, limit as usize).await?;
        if bytes.is_empty() {
            return Err(empty());
        }
        objects.put(tenant, key, &bytes, media_type).await?;
        return Ok(Stored { bytes: bytes.len() as u64, content_hash: content_hash(&bytes) });
    };
    if length > limit {
        let message = format!("the body is {length} bytes long; allowed are {limit}");
        return Err(ApiError::new(413, "too_large", message));
    }
    let body = request.inner().body().filter(|_| length > 0).ok_or_else(empty)?;
    let broken = |error: JsValue| {
        worker::console_error!("upload: {error:?}");
        ApiError::new(400, "incomplete_body", "the body could not be read to its end")
    };
    let branches: Array = method(&body, "tee", &[]).map_err(broken)?.unchecked_into();
    let digest = digest_stream().map_err(broken)?;
    let hashed: Promise =
        method(&branches.get(0), "pipeTo", std::slice::from_ref(&digest)).map_err(broken)?.unchecked_into();
    let metadata = HttpMetadata { content_type: Some(media_type.to_owned()), ..HttpMetadata::default() };
    // A branch of a body of known length has a known length, which R2 insists on.
    let stream: web_sys::ReadableStream = branches.get(1).unchecked_into();
    let put = objects.bucket().put(key, stream).http_metadata(metadata).execute();
    let (hashed, put) = futures::join!(JsFuture::from(hashed), put);
    hashed.map_err(broken)?;
    put.map_err(|error| {
        worker::console_error!("upload: {error}");
        ApiError {
            retry_after: Some(5),
            ..ApiError::new(503, "objects_unavailable", "the body could not be stored")
        }
    })?;
    let sum: Promise = Reflect::get(&digest, &"digest".into()).map_err(broken)?.unchecked_into();
    let sum = JsFuture::from(sum).await.map_err(broken)?;
    Ok(Stored { bytes: length, content_hash: hex(&Uint8Array::new(&sum).to_vec()) })
}

/// `new crypto.DigestStream("SHA-256")`: the runtime's own, not part of the web's standard types.
fn digest_stream() -> Result<JsValue, JsValue> {
    let crypto = Reflect::get(&js_sys::global(), &"crypto".into())?;
    let class: Function = Reflect::get(&crypto, &"DigestStream".into())?.dyn_into()?;
    Reflect::construct(&class, &Array::of1(&"SHA-256".into()))
}

fn method(object: &JsValue, name: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let function: Function = Reflect::get(object, &name.into())?.dyn_into()?;
    function.apply(object, &arguments.iter().collect())
}
