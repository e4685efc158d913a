//! API keys: stored hashed, each for one tenant, with scopes.

use crate::d1::{Database, Statement};
use ragflare_core::identity::content_hash;
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Search, ask, read documents.
    Read,
    /// Upload, change, delete documents.
    Write,
    /// Keys, sweeper, dead letters.
    Admin,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose data.
    pub tenant: Tenant,
    /// What may be done.
    pub scopes: Vec<Scope>,
    /// May act for every tenant: the `ADMIN_KEY`, or nobody's key where none is configured and that is allowed.
    pub operator: bool,
    /// Under which name calls are counted: the key's id, `operator`, or `anonymous`.
    pub caller: String,
}

/// A key as it is listed. The key itself is shown once, when it is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id, for revocation.
    pub id: String,
    /// Whose data.
    pub tenant: String,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; a revoked key opens nothing.
    pub revoked_at: Option<u64>,
}

/// Who is let in without a key in the table.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// The secret `ADMIN_KEY`.
    pub admin_key: Option<String>,
    /// `ANONYMOUS_TENANT`: served to everybody while no key exists. Set in the twin's configuration only.
    pub anonymous: Option<Tenant>,
}

/// The keys in D1.
#[derive(Clone, Debug)]
pub struct Keys {
    database: Database,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    tenant: String,
    name: String,
    scopes: String,
    created_at: u64,
    revoked_at: Option<u64>,
}

#[derive(Deserialize)]
struct Found {
    id: Option<String>,
    tenant: Option<String>,
    scopes: Option<String>,
    any: u8,
}

const ALL: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Admin];

impl Keys {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Who calls with this `Authorization` header; `None` when nobody may.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn access(&self, authorization: Option<&str>, doors: &Doors) -> Result<Option<Access>> {
        let key = authorization.and_then(|header| {
            let (scheme, key) = header.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        if authorization.is_some() && key.is_none_or(str::is_empty) {
            return Ok(None);
        }
        // Hashes are compared, never keys: how long that takes says nothing about a key.
        let hash = key.map(|key| content_hash(key.as_bytes()));
        if let (Some(hash), Some(admin)) = (&hash, &doors.admin_key)
            && *hash == content_hash(admin.as_bytes())
        {
            let tenant = doors.anonymous.clone().map_or_else(|| Tenant::new("default"), Ok)?;
            let caller = "operator".to_owned();
            return Ok(Some(Access { tenant, scopes: ALL.to_vec(), operator: true, caller }));
        }
        let statement = Statement::new(
            "SELECT k.id, k.tenant, k.scopes, EXISTS (SELECT 1 FROM keys) AS any \
             FROM (SELECT 1) LEFT JOIN keys k ON k.hash = ?1 AND k.revoked_at IS NULL",
        );
        let found: Vec<Found> =
            self.database.all(statement.bind(hash.as_deref().unwrap_or_default())).await?;
        let Some(found) = found.into_iter().next() else { return Ok(None) };
        if let (Some(caller), Some(tenant), Some(scopes)) = (found.id, found.tenant, found.scopes) {
            let scopes = serde_json::from_str(&scopes).map_err(|error| corrupt(&error))?;
            return Ok(Some(Access { tenant: Tenant::new(tenant)?, scopes, operator: false, caller }));
        }
        let open = key.is_none() && found.any == 0;
        Ok(doors.anonymous.clone().filter(|_| open).map(|tenant| Access {
            tenant,
            scopes: ALL.to_vec(),
            operator: true,
            caller: "anonymous".to_owned(),
        }))
    }

    /// Makes a key: its text, shown this once, and its entry.
    ///
    /// # Errors
    /// Bad name; storage errors.
    pub async fn create(
        &self,
        tenant: &Tenant,
        name: &str,
        scopes: &[Scope],
        now: u64,
    ) -> Result<(String, KeyInfo)> {
        if name.len() > 128 {
            return Err(Error::invalid("name", format!("is {} bytes long; allowed are 128", name.len())));
        }
        if scopes.is_empty() {
            return Err(Error::invalid("scopes", "must name at least one of read, write, admin"));
        }
        let (key, id) = (format!("rf_{}", random(32)?), random(9)?);
        let statement = Statement::new(
            "INSERT INTO keys (hash, id, tenant, name, scopes, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(content_hash(key.as_bytes()))
        .bind(id.as_str())
        .bind(tenant.as_str())
        .bind(name)
        .bind(serde_json::to_string(scopes).map_err(|error| corrupt(&error))?)
        .number(now);
        self.database.run(statement).await?;
        let info = KeyInfo {
            id,
            tenant: tenant.to_string(),
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            created_at: now / 1000,
            revoked_at: None,
        };
        Ok((key, info))
    }

    /// The keys of a tenant, or all.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<KeyInfo>> {
        let statement = Statement::new(
            "SELECT id, tenant, name, scopes, created_at, revoked_at FROM keys \
             WHERE ?1 IS NULL OR tenant = ?1 ORDER BY created_at, id LIMIT 1000",
        );
        let rows: Vec<Row> =
            self.database.all(statement.bind(crate::d1::optional(tenant.map(Tenant::as_str)))).await?;
        rows.into_iter()
            .map(|row| {
                Ok(KeyInfo {
                    id: row.id,
                    tenant: row.tenant,
                    name: row.name,
                    scopes: serde_json::from_str(&row.scopes).map_err(|error| corrupt(&error))?,
                    created_at: row.created_at / 1000,
                    revoked_at: row.revoked_at.map(|at| at / 1000),
                })
            })
            .collect()
    }

    /// Revokes a key, of a tenant or any; in force with the next request. Returns whether there was one to revoke.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn revoke(&self, id: &str, tenant: Option<&Tenant>, now: u64) -> Result<bool> {
        #[derive(Deserialize)]
        struct Gone {}
        let statement = Statement::new(
            "UPDATE keys SET revoked_at = ?3 WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2) \
             AND revoked_at IS NULL RETURNING id",
        );
        let statement = statement.bind(id).bind(crate::d1::optional(tenant.map(Tenant::as_str))).number(now);
        Ok(!self.database.all::<Gone>(statement).await?.is_empty())
    }
}

/// Random bytes as base64url.
///
/// # Errors
/// When the runtime gives none.
pub fn random(bytes: usize) -> Result<String> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|error| Error::Service {
        service: "random",
        retry: Retry::Backoff,
        code: None,
        message: error.to_string(),
    })?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}

fn corrupt(error: &serde_json::Error) -> Error {
    Error::Service { service: "database", retry: Retry::Never, code: None, message: error.to_string() }
}
