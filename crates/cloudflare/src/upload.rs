//! Bodies on their way into R2, a part at a time: they stay on the runtime's side, which also hashes them.

mod conditions;

pub use conditions::precondition;
pub use ragflare_core::file_name::id_of;

use crate::http::{ApiError, content_length};
use crate::r2::R2Objects;
use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use ragflare_core::identity::hex;
use ragflare_core::ports::ObjectStore;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::Request;

/// Bytes of a part: the least that R2 takes, and what an upload has in memory, however long it is.
const PART: u32 = 5 * 1024 * 1024;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub content_hash: String,
}

/// Stores a request's body under `key`. After an error there is no object.
///
/// # Errors
/// 413 above `limit` bytes, 422 for an empty body, 400 when the client breaks off, 503 when R2 fails.
pub async fn store(
    request: &Request,
    objects: &R2Objects,
    key: &str,
    media_type: &str,
    limit: u64,
) -> Result<Stored, ApiError> {
    let length = content_length(request)?;
    let body = request.inner().body().ok_or_else(empty)?;
    store_stream(&body, length, objects, key, media_type, limit).await
}

/// [`store`] of any byte stream of the runtime, such as a file's of a form.
///
/// # Errors
/// As [`store`].
pub async fn store_stream(
    body: &JsValue,
    length: Option<u64>,
    objects: &R2Objects,
    key: &str,
    media_type: &str,
    limit: u64,
) -> Result<Stored, ApiError> {
    match length {
        Some(0) => return Err(empty()),
        Some(length) if length > limit => return Err(too_large(limit)),
        _ => {}
    }
    let mut parts = Parts { objects, key, media_type, written: false, upload: None, done: Array::new() };
    let stored = copy(body, length, &mut parts, limit).await;
    if stored.is_err() {
        parts.discard().await;
    }
    stored
}

/// A request's body whose length is not known, left on the runtime's side.
///
/// # Errors
/// 413 above `limit` bytes, 400 when the client breaks off.
pub async fn read_body(request: &Request, limit: u32) -> Result<Uint8Array, ApiError> {
    let Some(body) = request.inner().body() else { return Ok(Uint8Array::new_with_length(0)) };
    let reader = reader(&body).map_err(broken)?;
    let read = read(&reader, limit + 1).await.map_err(broken)?;
    if read.length() > limit {
        let _ = call(&reader, "cancel", &[]).await;
        return Err(too_large(u64::from(limit)));
    }
    Ok(read)
}

async fn copy(
    body: &JsValue,
    length: Option<u64>,
    parts: &mut Parts<'_>,
    limit: u64,
) -> Result<Stored, ApiError> {
    let reader = reader(body).map_err(broken)?;
    let digest = digest_stream().map_err(broken)?;
    let hasher = method(&digest, "getWriter", &[]).map_err(broken)?;
    let room = length.map_or(PART, |length| u64::from(PART).min(length) as u32);
    let mut bytes = 0;
    loop {
        let piece = read(&reader, room).await.map_err(broken)?;
        if piece.length() == 0 {
            break;
        }
        bytes += u64::from(piece.length());
        if bytes > limit {
            let _ = call(&reader, "cancel", &[]).await;
            return Err(too_large(limit));
        }
        call(&hasher, "write", &[(&piece).into()]).await.map_err(broken)?;
        let last = piece.length() < room || length == Some(bytes);
        parts.add(&piece, last).await.map_err(refused)?;
        if last {
            break;
        }
    }
    if bytes == 0 {
        return Err(empty());
    }
    if length.is_some_and(|length| length != bytes) {
        return Err(broken(JsValue::from_str("the body is not as long as announced")));
    }
    parts.complete().await.map_err(refused)?;
    call(&hasher, "close", &[]).await.map_err(broken)?;
    let sum: Promise = Reflect::get(&digest, &"digest".into()).map_err(broken)?.unchecked_into();
    let sum = JsFuture::from(sum).await.map_err(broken)?;
    Ok(Stored { bytes, content_hash: hex(&Uint8Array::new(&sum).to_vec()) })
}

/// An object that is being written: at once when one part is all, by R2's multipart upload otherwise.
struct Parts<'a> {
    objects: &'a R2Objects,
    key: &'a str,
    media_type: &'a str,
    /// Whether anything may be there.
    written: bool,
    upload: Option<JsValue>,
    done: Array,
}

impl Parts<'_> {
    async fn add(&mut self, piece: &Uint8Array, last: bool) -> Result<(), JsValue> {
        let metadata = object(&[("contentType", self.media_type.into())])?;
        let options = object(&[("httpMetadata", metadata)])?;
        self.written = true;
        let bucket: &JsValue = self.objects.bucket().as_ref();
        let upload = match &self.upload {
            Some(upload) => upload,
            None if last => {
                call(bucket, "put", &[self.key.into(), piece.into(), options]).await?;
                return Ok(());
            }
            None => {
                let begun = call(bucket, "createMultipartUpload", &[self.key.into(), options]).await?;
                // The part below is an operation of its own.
                self.objects.bucket();
                self.upload.insert(begun)
            }
        };
        let number = self.done.length() + 1;
        let part = call(upload, "uploadPart", &[number.into(), piece.into()]).await?;
        self.done.push(&part);
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), JsValue> {
        if let Some(upload) = &self.upload {
            self.objects.bucket();
            call(upload, "complete", &[self.done.clone().into()]).await?;
        }
        Ok(())
    }

    /// Best effort: R2 drops unfinished uploads after a week, and the sweeper objects that nothing names.
    async fn discard(self) {
        if let Some(upload) = &self.upload {
            let _ = call(upload, "abort", &[]).await;
        }
        if self.written {
            let _ = self.objects.delete(&[self.key.to_owned()]).await;
        }
    }
}

fn empty() -> ApiError {
    ApiError::new(422, "empty", "the body is empty")
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(413, "too_large", format!("the body is larger than {limit} bytes"))
}

fn broken(error: JsValue) -> ApiError {
    worker::console_error!("upload: {error:?}");
    ApiError::new(400, "incomplete_body", "the body could not be read to its end")
}

fn refused(error: JsValue) -> ApiError {
    worker::console_error!("upload: {error:?}");
    let message = "the body could not be stored";
    ApiError { retry_after: Some(5), ..ApiError::new(503, "objects_unavailable", message) }
}

/// `new crypto.DigestStream("SHA-256")`: the runtime's own, not part of the web's standard types.
fn digest_stream() -> Result<JsValue, JsValue> {
    let crypto = Reflect::get(&js_sys::global(), &"crypto".into())?;
    let class: Function = Reflect::get(&crypto, &"DigestStream".into())?.dyn_into()?;
    Reflect::construct(&class, &Array::of1(&"SHA-256".into()))
}

fn reader(body: &JsValue) -> Result<JsValue, JsValue> {
    method(body, "getReader", &[object(&[("mode", "byob".into())])?])
}

/// So many bytes; less only where the body ends.
async fn read(reader: &JsValue, bytes: u32) -> Result<Uint8Array, JsValue> {
    let buffer = Uint8Array::new_with_length(bytes);
    let read = call(reader, "readAtLeast", &[bytes.into(), buffer.into()]).await?;
    Ok(Reflect::get(&read, &"value".into())?.dyn_into().unwrap_or_else(|_| Uint8Array::new_with_length(0)))
}

fn object(fields: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &(*name).into(), value)?;
    }
    Ok(object.into())
}

fn method(object: &JsValue, name: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let function: Function = Reflect::get(object, &name.into())?.dyn_into()?;
    function.apply(object, &arguments.iter().collect())
}

/// A method that returns a promise.
async fn call(object: &JsValue, name: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    JsFuture::from(Promise::resolve(&method(object, name, arguments)?)).await
}
