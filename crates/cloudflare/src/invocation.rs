//! One request, batch or tick of a Ragflare worker: its settings, its ports, who calls, what it spends.

use crate::http::ApiError;
use crate::keys::{Access, Doors, Keys, Scope, random};
use crate::platform::Bindings;
use crate::ragflare::Ragflare;
use ragflare_core::Tenant;
use ragflare_core::settings::{Field, FieldType, Settings};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;
use worker::{Env, RateLimiter, Request};

/// One invocation of a worker.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The pipelines.
    pub rag: Ragflare,
    /// Names this invocation in replies and logs.
    pub request_id: String,
    doors: Doors,
    limiter: Option<Rc<RateLimiter>>,
    report: bool,
}

/// The binding that counts calls by key, if there is one.
const RATE_LIMITER: &str = "RATE_LIMITER";
/// The longer of the two periods that the binding can count over, in seconds.
const RATE_PERIOD: u32 = 60;

impl Invocation {
    /// From the worker's bindings and variables: `SETTINGS` ([`Settings`], an object or its text), `FILTER_FIELDS`
    /// (`{name: type}`), `CONTEXT_TOKENS`, `MODEL_WINDOW`, the secret `ADMIN_KEY`; the rate limit `RATE_LIMITER`, if bound; in the twin's configuration also `ANONYMOUS_TENANT` and `LEDGER`.
    ///
    /// # Errors
    /// When the configuration is wrong, naming what and why.
    pub fn new(env: &Env, request: Option<&Request>) -> Result<Self, ApiError> {
        let rag = Ragflare::from_env(env, Bindings::default(), settings(env)?).map_err(misconfigured)?;
        let anonymous = text(env, "ANONYMOUS_TENANT").map(Tenant::new).transpose()?;
        let ray = match request {
            Some(request) => request.headers().get("cf-ray")?,
            None => None,
        };
        Ok(Self {
            rag,
            request_id: ray.map_or_else(|| random(12), Ok)?,
            doors: Doors { admin_key: text(env, "ADMIN_KEY"), anonymous },
            limiter: limiter(env)?.map(Rc::new),
            report: text(env, "LEDGER").is_some_and(|value| value == "1"),
        })
    }

    /// The API keys.
    pub fn keys(&self) -> Keys {
        Keys::new(self.rag.platform().database().clone())
    }

    /// Who calls, if they may, and not too often.
    ///
    /// # Errors
    /// 401, 403, 429.
    pub async fn authorize(&self, request: &Request, scope: Scope) -> Result<Access, ApiError> {
        let header = request.headers().get("authorization")?;
        let access =
            self.keys().access(header.as_deref(), &self.doors).await?.ok_or_else(ApiError::unauthorized)?;
        if !access.scopes.contains(&scope) {
            return Err(ApiError::forbidden(match scope {
                Scope::Read => "read",
                Scope::Write => "write",
                Scope::Admin => "admin",
            }));
        }
        if let Some(limiter) = &self.limiter
            && !limiter.limit(access.caller.clone()).await?.success
        {
            let message = "this key was used too often in the last minute";
            let error = ApiError::new(429, "rate_limit_exceeded", message);
            return Err(ApiError { retry_after: Some(RATE_PERIOD), ..error });
        }
        Ok(access)
    }

    /// Prints what was spent, where the test harness reads it; does nothing in a deployment.
    pub fn report(&self, what: &str) {
        if self.report {
            let spent = self.rag.ledger().snapshot();
            let line = json!({"invocation": what, "request_id": self.request_id, "spent": spent});
            worker::console_log!("ragflare-ledger {line}");
        }
    }
}

fn limiter(env: &Env) -> Result<Option<RateLimiter>, ApiError> {
    let bound = js_sys::Reflect::has(env.as_ref(), &RATE_LIMITER.into()).unwrap_or(false);
    Ok(if bound { Some(env.rate_limiter(RATE_LIMITER).map_err(misconfigured)?) } else { None })
}

fn settings(env: &Env) -> Result<Settings, ApiError> {
    let mut settings: Settings = object(env, "SETTINGS")?.unwrap_or_default();
    if let Some(fields) = object::<BTreeMap<String, FieldType>>(env, "FILTER_FIELDS")? {
        settings.fields = fields.into_iter().map(|(name, r#type)| Field { name, r#type }).collect();
    }
    if let Some(tokens) = number(env, "CONTEXT_TOKENS")? {
        settings.answer.context_tokens = tokens;
    }
    settings.answer.window = number(env, "MODEL_WINDOW")?.or(settings.answer.window);
    Ok(settings)
}

fn number(env: &Env, name: &str) -> Result<Option<usize>, ApiError> {
    text(env, name)
        .map(|value| {
            value.parse().map_err(|_| {
                ApiError::new(500, "misconfigured", format!("{name} is `{value}`, not a number"))
            })
        })
        .transpose()
}

/// A variable or secret; empty counts as absent.
fn text(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string()).filter(|value| !value.is_empty())
}

/// A JSON variable, or a text that is JSON; empty counts as absent.
fn object<T: DeserializeOwned>(env: &Env, name: &str) -> Result<Option<T>, ApiError> {
    use js_sys::{JSON, Reflect};
    let value = Reflect::get(env.as_ref(), &name.into()).unwrap_or_default();
    if value.is_undefined() || value.as_string().is_some_and(|text| text.is_empty()) {
        return Ok(None);
    }
    let wrong =
        |why: String| ApiError::new(500, "misconfigured", format!("the variable {name} is wrong: {why}"));
    let json = match value.as_string() {
        Some(text) => text,
        None => JSON::stringify(&value).map_err(|_| wrong("it is no JSON".into()))?.into(),
    };
    serde_json::from_str(&json).map(Some).map_err(|error| wrong(error.to_string()))
}

fn misconfigured(error: worker::Error) -> ApiError {
    ApiError::new(500, "misconfigured", error.to_string())
}
