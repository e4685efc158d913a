//! A client of the HTTP API that shows everything and throws at nothing.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};
use ureq::http::Request;
use ureq::{Agent, SendBody};

/// A client with or without a key.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    key: Option<String>,
    agent: Agent,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub bytes: Vec<u8>,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A server-sent event.
#[derive(Clone, Debug)]
pub struct Sse {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Time since the request was sent.
    pub after: Duration,
}

impl Sse {
    /// The data as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.data).with_context(|| format!("no JSON: {}", self.data))
    }
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON, if the status is as expected.
    ///
    /// # Errors
    /// When it is not, or the body is none.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "status {} instead of {status}: {}", self.status, self.text());
        if self.bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.bytes).with_context(|| format!("no JSON: {}", self.text()))
    }

    /// The error's code, if status and shape are those of an API error.
    ///
    /// # Errors
    /// When they are not.
    pub fn error(&self, status: u16) -> Result<String> {
        let body = self.expect(status)?;
        let (error, id) = (&body["error"], &body["request_id"]);
        let whole = error["type"].is_string() && error["message"].is_string() && id.is_string();
        ensure!(whole, "not the API's error shape: {body}");
        Ok(error["code"].as_str().with_context(|| format!("no code: {body}"))?.to_owned())
    }
}

impl Client {
    /// Of a server, without a key.
    pub fn new(base: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(10)))
            .build()
            .into();
        Self { base: base.to_owned(), key: None, agent }
    }

    /// The same with a key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        whole(self.open(method, path, headers, body)?)
    }

    /// Sends a body without saying how long it is.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn send_unsized(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        mut body: impl Read,
    ) -> Result<Reply> {
        let request = self.request(method, path, headers);
        let reply = self.agent.run(request.body(SendBody::from_reader(&mut body))?);
        whole(reply.with_context(|| format!("{method} {path}"))?)
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> ureq::http::request::Builder {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    /// Sends a request and hands the open reply over.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<ureq::http::Response<ureq::Body>> {
        let request = self.request(method, path, headers);
        let reply = if matches!(method, "GET" | "HEAD" | "DELETE") && body.is_empty() {
            self.agent.run(request.body(())?)
        } else {
            self.agent.run(request.body(body)?)
        };
        reply.with_context(|| format!("{method} {path}"))
    }

    /// GET.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.send("GET", path, &[], b"")
    }

    /// DELETE.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn delete(&self, path: &str) -> Result<Reply> {
        self.send("DELETE", path, &[], b"")
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// PATCH of JSON.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send("PATCH", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// POST of a form ([`form`]).
    ///
    /// # Errors
    /// When no reply comes.
    pub fn form(&self, path: &str, parts: &[(&str, &str, &str, &[u8])]) -> Result<Reply> {
        let (kind, body) = form(parts);
        self.send("POST", path, &[("content-type", &kind)], &body)
    }

    /// Uploads Markdown under a condition.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn put_if(&self, id: &str, text: &str, condition: (&str, &str)) -> Result<Reply> {
        let headers = [("content-type", "text/markdown"), condition];
        self.send("PUT", &format!("/v1/documents/{id}"), &headers, text.as_bytes())
    }

    /// Uploads Markdown.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn put(&self, id: &str, text: &str) -> Result<Reply> {
        self.put_as(id, "text/markdown", text.as_bytes())
    }

    /// Uploads bytes; `id` may have a query.
    ///
    /// # Errors
    /// When no reply comes.
    pub fn put_as(&self, id: &str, media_type: &str, bytes: &[u8]) -> Result<Reply> {
        self.send("PUT", &format!("/v1/documents/{id}"), &[("content-type", media_type)], bytes)
    }

    /// Waits until a document is processed.
    ///
    /// # Errors
    /// When it is not within two minutes.
    pub fn wait(&self, id: &str) -> Result<Value> {
        self.wait_for(id, |document| {
            let open = |value: &Value| matches!(value["status"].as_str(), Some("queued" | "processing"));
            !open(document) && !open(&document["pending"])
        })
    }

    /// Waits until a document is as wanted.
    ///
    /// # Errors
    /// When it is not within two minutes.
    pub fn wait_for(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let document = self.get(&format!("/v1/documents/{id}?wait=10"))?.expect(200)?;
            if wanted(&document) {
                return Ok(document);
            }
            ensure!(Instant::now() < deadline, "still {document}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Uploads Markdown and waits until it is found.
    ///
    /// # Errors
    /// When it fails.
    pub fn ingest(&self, id: &str, text: &str) -> Result<Value> {
        let reply = self.put(id, text)?;
        ensure!(matches!(reply.status, 200 | 202), "{}: {}", reply.status, reply.text());
        let document = self.wait(id.split('?').next().unwrap_or(id))?;
        let found = matches!(document["status"].as_str(), Some("searchable" | "indexed"));
        ensure!(found, "{document}");
        Ok(document)
    }

    /// The hits of a search.
    ///
    /// # Errors
    /// When it fails.
    pub fn search(&self, body: &Value) -> Result<Vec<Value>> {
        let reply = self.post("/v1/search", body)?.expect(200)?;
        Ok(reply["hits"].as_array().context("no hits")?.clone())
    }

    /// The events of a streamed reply.
    ///
    /// # Errors
    /// When the status is not 200 or the stream breaks off.
    pub fn stream(&self, path: &str, body: &Value) -> Result<Vec<Sse>> {
        let started = Instant::now();
        let headers = [("content-type", "application/json")];
        let mut reply = self.open("POST", path, &headers, body.to_string().as_bytes())?;
        if reply.status() != 200 {
            let text = reply.body_mut().read_to_string()?;
            anyhow::bail!("status {}: {text}", reply.status());
        }
        let kind =
            reply.headers().get("content-type").map(|kind| kind.to_str().unwrap_or_default().to_owned());
        ensure!(kind.as_deref().is_some_and(|kind| kind.starts_with("text/event-stream")), "{kind:?}");
        let mut events = Vec::new();
        let (mut name, mut data) = (String::new(), String::new());
        for line in BufReader::new(reply.body_mut().as_reader()).lines() {
            let line = line?;
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                data.push_str(text);
            } else if line.is_empty() && !data.is_empty() {
                let after = started.elapsed();
                events.push(Sse { name: std::mem::take(&mut name), data: std::mem::take(&mut data), after });
            }
        }
        Ok(events)
    }

    /// Makes a key for a tenant; this client must be allowed to.
    ///
    /// # Errors
    /// When it fails.
    pub fn tenant(&self, tenant: &str) -> Result<Self> {
        let body = json!({"tenant": tenant, "name": "test", "scopes": ["read", "write"]});
        let made = self.post("/v1/admin/keys", &body)?.expect(201)?;
        Ok(self.with_key(made["key"].as_str().context("no key")?))
    }
}

/// Reads a reply to its end.
fn whole(mut reply: ureq::http::Response<ureq::Body>) -> Result<Reply> {
    let mut bytes = Vec::new();
    reply.body_mut().as_reader().read_to_end(&mut bytes)?;
    let headers = reply
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Ok(Reply { status: reply.status().as_u16(), bytes, headers })
}

/// A form's `Content-Type` and body, of each part's name, file name and type (both empty for a plain field), and value.
pub fn form(parts: &[(&str, &str, &str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "ragflare-test-boundary";
    let mut body = Vec::new();
    for (name, file, kind, value) in parts {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
        if !file.is_empty() {
            head.extend(["; filename=\"", file, "\""]);
        }
        if !kind.is_empty() {
            head.extend(["\r\nContent-Type: ", kind]);
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
