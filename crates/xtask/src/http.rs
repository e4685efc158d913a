//! Short requests to the stack's own address.

use std::time::Duration;

use anyhow::{Context, Result};

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout)).build().into()
}

/// GETs and returns the status.
///
/// # Errors
/// When nothing answers in time.
pub fn get(url: &str, timeout: Duration) -> Result<u16> {
    Ok(agent(timeout).get(url).call().with_context(|| format!("GET {url}"))?.status().as_u16())
}

/// POSTs nothing with a key and returns the status and the body.
///
/// # Errors
/// When nothing answers in time.
pub fn post(url: &str, key: &str, timeout: Duration) -> Result<(u16, String)> {
    let mut reply = agent(timeout)
        .post(url)
        .header("authorization", &format!("Bearer {key}"))
        .send_empty()
        .with_context(|| format!("POST {url}"))?;
    let body = reply.body_mut().read_to_string().unwrap_or_default();
    Ok((reply.status().as_u16(), body))
}
