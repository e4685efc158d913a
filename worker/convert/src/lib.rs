//! The converter: reads an original from the bucket and stores its text beside it. Reachable by service binding only.

use ragflare_cloudflare::convert::{self, Answered, Asked};
use ragflare_cloudflare::core::conversion::{Conversion, TextMap};
use ragflare_cloudflare::core::kind::{Kind, charset};
use ragflare_cloudflare::ledger::Ledger;
use ragflare_convert::{Converted, Limits, Refusal, detect};
use serde_json::json;
use worker::{Bucket, Context, Date, Env, Method, Request, Response, event};

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
    let begun = Date::now().as_millis();
    let answered = match read_and_store(&bucket, &asked).await {
        Ok(Ok(conversion)) => Answered::Converted(conversion),
        Ok(Err(refusal)) => Answered::Refused { code: refusal.code().into(), message: refusal.to_string() },
        // No fault of the file.
        Err(error) => Answered::BucketFailed { message: error.to_string() },
    };
    report(&env, &asked, Date::now().as_millis() - begun);
    Response::from_json(&answered)
}

async fn read_and_store(bucket: &Bucket, asked: &Asked) -> worker::Result<Result<Conversion, Refusal>> {
    if asked.bytes > MAX_BYTES {
        return Ok(Err(Refusal::TooLarge { what: "bytes", allowed: MAX_BYTES }));
    }
    let object = bucket.get(&asked.key).execute().await?;
    let Some(body) = object.as_ref().and_then(worker::Object::body) else {
        return Err(worker::Error::RustError("the original is gone".into()));
    };
    let bytes = body.bytes().await?;
    // Given away: the text may be as large.
    match read(bytes, asked) {
        Ok(converted) => store(bucket, &asked.key, converted).await.map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn read(bytes: Vec<u8>, asked: &Asked) -> Result<(Converted, Kind), Refusal> {
    let kind = detect(&asked.media_type, &asked.name, &bytes)?;
    let charset = charset(&asked.media_type);
    Ok((ragflare_convert::convert(bytes, kind, charset.as_deref(), &Limits::default())?, kind))
}

async fn store(
    bucket: &Bucket,
    key: &str,
    (converted, kind): (Converted, Kind),
) -> worker::Result<Conversion> {
    let map = TextMap { places: converted.places, chunks: converted.chunks };
    convert::store(bucket, key, converted.text, &map, kind.format()).await
}

/// Prints what was spent, where the test harness reads it; does nothing in a deployment.
fn report(env: &Env, asked: &Asked, milliseconds: u64) {
    if env.var("LEDGER").is_ok_and(|value| value.to_string() == "1") {
        let ledger = Ledger::new();
        // The original, its text, where what is in it, what is said of both.
        (0..4).for_each(|_| ledger.count_r2());
        let line = json!({
            "invocation": "convert", "request_id": asked.key, "spent": ledger.snapshot(),
            "bytes": asked.bytes, "name": asked.name, "ms": milliseconds,
        });
        worker::console_log!("ragflare-ledger {line}");
    }
}
