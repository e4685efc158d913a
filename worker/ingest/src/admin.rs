//! Routes of the administration: keys, the sweeper, dead letters.

use crate::{consumer, not_allowed};
use ragflare_cloudflare::core::Tenant;
use ragflare_cloudflare::core::ingest::SETTLED_AFTER;
use ragflare_cloudflare::core::ports::{Clock, Ports};
use ragflare_cloudflare::http::{ApiError, json, method, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::{Access, Scope};
use serde::Deserialize;
use serde_json::{Value, json};
use worker::{Method, Request, Response, ResponseBuilder};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    tenant: Option<Tenant>,
    #[serde(default)]
    name: String,
    #[serde(default = "reading")]
    scopes: Vec<Scope>,
}

fn reading() -> Vec<Scope> {
    vec![Scope::Read]
}

/// `/v1/admin/{rest}`
pub(crate) async fn route(
    invocation: &Invocation,
    request: &mut Request,
    rest: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Admin).await?;
    match (method(request)?, rest) {
        (Method::Post, "keys") => create_key(invocation, request, &access).await,
        (Method::Get, "keys") => {
            let tenant = (!access.operator).then_some(&access.tenant);
            json(200, &json!({"keys": invocation.keys().list(tenant).await?}))
        }
        (Method::Delete, path) if path.starts_with("keys/") => {
            let id = &path["keys/".len()..];
            let tenant = (!access.operator).then_some(&access.tenant);
            let now = invocation.rag.platform().clock().now();
            if !invocation.keys().revoke(id, tenant, now).await? {
                return Err(ApiError::not_found(format!("key `{id}`")));
            }
            Ok(ResponseBuilder::new().with_status(204).empty())
        }
        (Method::Post, "sweep") => {
            operator(&access)?;
            let query = request
                .url()?
                .query_pairs()
                .find(|(name, _)| name == "older_than")
                .map(|(_, value)| value.into_owned());
            let older_than = match query {
                None => SETTLED_AFTER,
                Some(seconds) => {
                    let seconds: u64 = seconds.parse().map_err(|_| {
                        ApiError::new(400, "invalid_value", "older_than must be a number of seconds")
                    })?;
                    seconds.saturating_mul(1000)
                }
            };
            json(200, &invocation.rag.pipeline().sweep(older_than, true).await?)
        }
        (Method::Get, "dead-letters") => {
            operator(&access)?;
            let letters: Vec<Value> = consumer::dead_letters(invocation).await?;
            json(200, &json!({"dead_letters": letters}))
        }
        (method, "keys" | "sweep" | "dead-letters") => Err(not_allowed(&method, "GET, POST, DELETE")),
        _ => Err(ApiError::not_found(format!("route `/v1/admin/{rest}`"))),
    }
}

async fn create_key(
    invocation: &Invocation,
    request: &mut Request,
    access: &Access,
) -> Result<Response, ApiError> {
    let wanted: NewKey = read_json(request).await?;
    let tenant = wanted.tenant.unwrap_or_else(|| access.tenant.clone());
    if tenant != access.tenant {
        operator(access)?;
    }
    let now = invocation.rag.platform().clock().now();
    let (key, info) = invocation.keys().create(&tenant, &wanted.name, &wanted.scopes, now).await?;
    let mut body = serde_json::to_value(&info).unwrap_or_default();
    body["key"] = key.into();
    json(201, &body)
}

fn operator(access: &Access) -> Result<(), ApiError> {
    if access.operator {
        return Ok(());
    }
    Err(ApiError::new(403, "operator_only", "this concerns all tenants: use the ADMIN_KEY"))
}
