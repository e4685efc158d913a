//! The converter: reads an original from the bucket and stores its text beside it. Reachable by service binding only.

use ragflare_cloudflare::convert::{Answered, Asked};
use ragflare_cloudflare::core::conversion::{Conversion, Place, TextMap, conversion_key, map_key, text_key};
use ragflare_convert::{Converted, Limits, Refusal};
use serde_json::json;
use worker::{Bucket, Context, Env, HttpMetadata, Method, Request, Response, event};

/// The largest original that is read, in bytes: it is held in memory with what it unfolds to, and a worker has 128 MB.
const MAX_BYTES: u64 = 25_000_000;

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    if request.method() != Method::Post {
        return Response::ok("ok");
    }
    let asked: Asked = match request.json().await {
        Ok(asked) => asked,
        Err(error) => return Response::error(format!("not what is asked here: {error}"), 400),
    };
    let bucket = env.bucket("BUCKET")?;
    let answered = match convert(&bucket, &asked).await? {
        Ok(conversion) => Answered::Converted(conversion),
        Err(refusal) => Answered::Refused { code: refusal.code().into(), message: refusal.to_string() },
    };
    report(&env, &asked);
    Response::from_json(&answered)
}

async fn convert(bucket: &Bucket, asked: &Asked) -> worker::Result<Result<Conversion, Refusal>> {
    if asked.bytes > MAX_BYTES {
        return Ok(Err(Refusal::TooLarge { what: "bytes", allowed: MAX_BYTES }));
    }
    let object = bucket.get(&asked.key).execute().await?;
    let Some(body) = object.as_ref().and_then(worker::Object::body) else {
        return Err(worker::Error::RustError("the original is gone".into()));
    };
    let bytes = body.bytes().await?;
    let converted = match read(&bytes, asked) {
        Ok(converted) => converted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // No longer needed; the text may be as large.
    drop(bytes);
    store(bucket, &asked.key, converted).await.map(Ok)
}

fn read(bytes: &[u8], asked: &Asked) -> Result<(Converted, ragflare_convert::Kind), Refusal> {
    let kind = ragflare_convert::detect(&asked.media_type, &asked.name, bytes)?;
    Ok((ragflare_convert::convert(bytes, kind, &Limits::default())?, kind))
}

/// Stores the text, then where what is in it, then what says that both are there.
async fn store(
    bucket: &Bucket,
    key: &str,
    (converted, kind): (Converted, ragflare_convert::Kind),
) -> worker::Result<Conversion> {
    let places: Vec<Place> = (1..)
        .zip(&converted.pages)
        .map(|(page, at)| Place { at: *at as u64, page: Some(page), row: None })
        .chain(converted.places)
        .collect();
    let map = TextMap { places, chunks: converted.chunks };
    let mapped = map != TextMap::default();
    let conversion = Conversion { format: kind.format(), bytes: converted.text.len() as u64, mapped };
    put(bucket, &text_key(key), converted.text.into_bytes(), "text/plain; charset=utf-8").await?;
    if mapped {
        put(bucket, &map_key(key), serde_json::to_vec(&map)?, "application/json").await?;
    }
    put(bucket, &conversion_key(key), serde_json::to_vec(&conversion)?, "application/json").await?;
    Ok(conversion)
}

async fn put(bucket: &Bucket, key: &str, bytes: Vec<u8>, media_type: &str) -> worker::Result<()> {
    let metadata = HttpMetadata { content_type: Some(media_type.to_owned()), ..HttpMetadata::default() };
    bucket.put(key, bytes).http_metadata(metadata).execute().await.map(drop)
}

/// Prints what was spent, where the test harness reads it; does nothing in a deployment.
fn report(env: &Env, asked: &Asked) {
    if env.var("LEDGER").is_ok_and(|value| value.to_string() == "1") {
        let memory = ragflare_cloudflare::ledger::Ledger::new().snapshot().wasm_memory_bytes;
        let line = json!({
            "invocation": "convert", "request_id": asked.key,
            "spent": {"subrequests": 4, "r2_operations": 4, "wasm_memory_bytes": memory},
            "bytes": asked.bytes, "name": asked.name,
        });
        worker::console_log!("ragflare-ledger {line}");
    }
}
