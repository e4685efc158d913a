//! The converter behind core's `Converter`: a worker of its own, by service binding, so that what PDF and Office need is not
//! loaded by those that never see one. What the two say to each other is here, for both sides.

use crate::ledger::Ledger;
use crate::r2;
use ragflare_core::chunk::Format;
use ragflare_core::conversion::{Conversion, TextMap, conversion_key, map_key, text_key};
use ragflare_core::ports::{Converter, Original};
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use wasm_bindgen::JsValue;
use worker::{Bucket, Env, Fetcher, HttpMetadata, Method, Request, RequestInit};

/// What is asked, as a POST with JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The original's key in the bucket that both have.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Its media type.
    pub media_type: String,
    /// Its file name.
    pub name: String,
}

/// What is answered, with status 200. Any other status is a fault of the converter, or of the file that broke it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// The text is stored.
    Converted(Conversion),
    /// The bucket did not give the original, or did not take its text.
    BucketFailed {
        /// What it said.
        message: String,
    },
    /// The bytes can't be read.
    Refused {
        /// A stable code.
        code: String,
        /// A sentence.
        message: String,
    },
}

/// R2 operations of [`store`] at most.
pub(crate) const STORE_OPERATIONS: u32 = 3;

/// Stores a text made of an original, then where what is in it, then what says that both are there.
///
/// # Errors
/// R2's.
pub async fn store(
    bucket: &Bucket,
    original: &str,
    text: String,
    map: &TextMap,
    format: Format,
) -> worker::Result<Conversion> {
    let mapped = *map != TextMap::default();
    let conversion = Conversion { format, bytes: text.len() as u64, mapped };
    put(bucket, &text_key(original), text.into_bytes(), "text/plain; charset=utf-8").await?;
    if mapped {
        put(bucket, &map_key(original), serde_json::to_vec(map)?, "application/json").await?;
    }
    put(bucket, &conversion_key(original), serde_json::to_vec(&conversion)?, "application/json").await?;
    Ok(conversion)
}

async fn put(bucket: &Bucket, key: &str, bytes: Vec<u8>, media_type: &str) -> worker::Result<()> {
    let metadata = HttpMetadata { content_type: Some(media_type.to_owned()), ..HttpMetadata::default() };
    bucket.put(key, bytes).http_metadata(metadata).execute().await.map(drop)
}

/// The converter that is bound, if one is.
#[derive(Clone, Debug)]
pub struct ServiceConverter {
    service: Option<Rc<Fetcher>>,
    ledger: Ledger,
}

impl ServiceConverter {
    /// The worker bound as `binding`; without one, only UTF-8 text, Markdown and code are read.
    pub fn from_env(env: &Env, binding: &str, ledger: Ledger) -> Self {
        Self { service: env.service(binding).ok().map(Rc::new), ledger }
    }
}

impl Converter for ServiceConverter {
    async fn convert(&self, _: &Tenant, original: &Original<'_>) -> Result<Option<Conversion>> {
        let Some(service) = &self.service else {
            return Err(Error::Document {
                code: "unsupported_type".into(),
                message: "no converter is bound here: only UTF-8 text, Markdown and source code are read"
                    .into(),
            });
        };
        let asked = Asked {
            key: original.key.to_owned(),
            bytes: original.bytes,
            media_type: original.media_type.to_owned(),
            name: original.name.to_owned(),
        };
        let body = serde_json::to_string(&asked).map_err(|error| fault(None, error.to_string()))?;
        self.ledger.count_subrequest();
        let broken = |error: worker::Error| fault(None, error.to_string());
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(JsValue::from_str(&body)));
        let request = Request::new_with_init("http://convert/", &init).map_err(broken)?;
        let mut reply = service.fetch_request(request).await.map_err(broken)?;
        let status = reply.status_code();
        let text = reply.text().await.map_err(broken)?;
        if status != 200 {
            let told: String = text.chars().take(200).collect();
            return Err(fault(Some(u32::from(status)), format!("status {status}: {told}")));
        }
        match serde_json::from_str(&text).map_err(|error| fault(None, error.to_string()))? {
            Answered::Converted(conversion) => Ok(Some(conversion)),
            Answered::Refused { code, message } => Err(Error::Document { code: code.into(), message }),
            Answered::BucketFailed { message } => Err(r2::failed(message)),
        }
    }
}

fn fault(code: Option<u32>, message: String) -> Error {
    Error::Service { service: "converter", retry: Retry::Backoff, code, message }
}
