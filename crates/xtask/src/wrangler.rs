//! The wrangler command, offline and quiet, writing nothing outside the data directory.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::npm;

/// The environment of every wrangler command. `place` is where it may keep its own files.
///
/// # Errors
/// When there is no place for the cache.
pub fn env(place: &Path) -> Result<Vec<(&'static str, OsString)>> {
    Ok(vec![
        ("PATH", npm::path()?),
        ("CI", "1".into()),
        ("NO_COLOR", "1".into()),
        ("WRANGLER_HIDE_BANNER", "true".into()),
        ("WRANGLER_SEND_METRICS", "false".into()),
        ("WRANGLER_SEND_ERROR_REPORTS", "false".into()),
        ("WRANGLER_CI_DISABLE_CONFIG_WATCHING", "true".into()),
        // No request for the `cf` object's example values.
        ("CLOUDFLARE_CF_FETCH_ENABLED", "false".into()),
        // Two stacks must not find each other's workers of the same name.
        ("WRANGLER_REGISTRY_PATH", place.join("registry").into()),
        ("WRANGLER_LOG_PATH", place.join("logs").into()),
        ("WRANGLER_CACHE_DIR", place.join("cache").into()),
        ("XDG_CONFIG_HOME", place.join("config").into()),
    ])
}
