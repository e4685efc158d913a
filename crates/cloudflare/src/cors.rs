//! Which web pages of other origins may call: those in the variable `CORS_ORIGINS`.

use worker::{Env, Headers, Method, Request, Response, ResponseBuilder};

/// What a page may send, when it does not say what it wants to.
const HEADERS: &str =
    "authorization, content-type, if-match, if-none-match, mcp-protocol-version, mcp-session-id";
/// What a page may read beside the usual.
const EXPOSED: &str = "etag, retry-after, x-request-id, x-vercel-ai-ui-message-stream, mcp-session-id";
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// Seconds for which a browser may remember the answer; the longest that Chromium takes.
const REMEMBERED: &str = "7200";

/// The allow-list, and the origin of one request. Without the variable no other origin is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// What `access-control-allow-origin` says; nothing when the origin is not on the list.
    allowed: Option<String>,
    preflight: bool,
    /// The headers that the page wants to send: clients have many of their own, and none is harmful.
    wanted: Option<String>,
}

impl Cors {
    /// `CORS_ORIGINS` is `*`, or origins with commas between them: `https://a.example, http://localhost:3000`.
    ///
    /// # Errors
    /// When the runtime refuses to read a header.
    pub fn new(env: &Env, request: &Request) -> worker::Result<Self> {
        let headers = request.headers();
        let Some(origin) = headers.get("origin")? else { return Ok(Self::default()) };
        let list = env.var("CORS_ORIGINS").map(|list| list.to_string()).unwrap_or_default();
        let asks = headers.get("access-control-request-method")?.is_some();
        let wanted = headers.get("access-control-request-headers")?.filter(|wanted| !wanted.is_empty());
        let preflight = asks && request.method() == Method::Options;
        Ok(Self { allowed: allowed(&list, &origin), preflight, wanted })
    }

    /// Whether the request comes from a page of a listed origin.
    pub fn allows(&self) -> bool {
        self.allowed.is_some()
    }

    /// The reply to a browser that asks before it sends.
    ///
    /// # Errors
    /// When the runtime refuses a header.
    pub fn preflight(&self) -> worker::Result<Option<Response>> {
        if !self.preflight {
            return Ok(None);
        }
        let mut reply = ResponseBuilder::new().with_status(204).empty();
        if self.allowed.is_some() {
            let headers = reply.headers_mut();
            headers.set("access-control-allow-methods", METHODS)?;
            headers.set("access-control-allow-headers", self.wanted.as_deref().unwrap_or(HEADERS))?;
            headers.append("vary", "access-control-request-headers")?;
            headers.set("access-control-max-age", REMEMBERED)?;
        }
        self.mark(reply.headers_mut())?;
        Ok(Some(reply))
    }

    /// Lets the page read a reply.
    ///
    /// # Errors
    /// When the runtime refuses a header.
    pub fn mark(&self, headers: &mut Headers) -> worker::Result<()> {
        if let Some(origin) = &self.allowed {
            headers.set("access-control-allow-origin", origin)?;
            headers.set("access-control-expose-headers", EXPOSED)?;
            if origin != "*" {
                headers.append("vary", "origin")?;
            }
        }
        Ok(())
    }
}

fn allowed(list: &str, origin: &str) -> Option<String> {
    let mut listed = list.split(',').map(str::trim);
    if list.trim() == "*" {
        return Some("*".to_owned());
    }
    (!origin.is_empty() && listed.any(|listed| listed.trim_end_matches('/') == origin))
        .then(|| origin.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_let_in() {
        let list = "https://a.example, http://localhost:3000/";
        assert_eq!(allowed(list, "https://a.example"), Some("https://a.example".into()));
        assert_eq!(allowed(list, "http://localhost:3000"), Some("http://localhost:3000".into()));
        for other in ["https://a.example.evil", "https://b.example", "null", ""] {
            assert_eq!(allowed(list, other), None, "{other}");
        }
        assert_eq!(allowed("*", "https://b.example"), Some("*".into()));
        assert_eq!(allowed("", "https://b.example"), None);
    }
}
