//! Requests that are repeated while the deployment is busy.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// How often a request is sent while the deployment says that it is busy.
const TRIES: u32 = 8;
/// Pause when the deployment does not say how long.
const PAUSE: Duration = Duration::from_secs(2);

/// One address, one key.
#[derive(Debug)]
pub(super) struct Client {
    base: String,
    key: Option<String>,
    agent: Agent,
}

impl Client {
    pub(super) fn new(base: &str, key: Option<&str>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(2)))
            .build()
            .into();
        Self { base: base.to_owned(), key: key.map(str::to_owned), agent }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, None)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value> {
        self.send("DELETE", path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, Some(("application/json", body.to_string().as_bytes())))
    }

    pub(super) fn put(&self, path: &str, media_type: &str, body: &[u8]) -> Result<()> {
        self.send("PUT", path, Some((media_type, body))).map(drop)
    }

    fn send(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Result<Value> {
        let what = || format!("{method} {}{path}", self.base);
        for attempt in 1.. {
            let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
            if let Some(key) = &self.key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let reply = match body {
                Some((kind, bytes)) => self.agent.run(request.header("content-type", kind).body(bytes)?),
                None => self.agent.run(request.body(())?),
            };
            let mut reply = reply.with_context(what)?;
            let status = reply.status().as_u16();
            let after =
                reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let text =
                reply.body_mut().with_config().limit(100_000_000).read_to_string().with_context(what)?;
            match status {
                200..=299 if text.is_empty() => return Ok(Value::Null),
                200..=299 => {
                    return serde_json::from_str(&text).with_context(|| format!("{}: no JSON", what()));
                }
                429 | 502 | 503 if attempt < TRIES => thread::sleep(after.map_or(PAUSE, Duration::from_secs)),
                _ => bail!("{}: {status} {}", what(), explained(&text)),
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// The message of an API error, or the beginning of whatever else came.
fn explained(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let message = json.as_ref().and_then(|json| json.pointer("/error/message")?.as_str());
    message.map_or_else(|| text.chars().take(200).collect(), str::to_owned)
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_parts_of_an_address() {
        assert_eq!(encode("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }

    #[test]
    fn an_error_s_message_is_shown() {
        assert_eq!(explained(r#"{"error":{"message":"no such thing"}}"#), "no such thing");
        assert_eq!(explained("Bad gateway"), "Bad gateway");
    }
}
