//! What a tenant may spend on searches and answers, counted in D1. Without a daily limit nothing is counted.

use crate::d1::{Database, Statement};
use ragflare_core::answer::Prepared;
use ragflare_core::ports::{Prompt, Usage};
use ragflare_core::settings::Limits;
use ragflare_core::{Error, Result, Tenant, prices};
use serde::Deserialize;

/// [`Error::Budget`]'s word for the daily limit.
pub(crate) const TODAY: &str = "today";

/// The limits and where spending is counted.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    database: Database,
    limits: Limits,
}

#[derive(Deserialize)]
struct Spent {
    neurons: f64,
}

impl Budget {
    pub(crate) fn new(database: Database, limits: Limits) -> Self {
        Self { database, limits }
    }

    /// Refuses a tenant whose day is used up, before anything is spent on it.
    pub(crate) async fn check(&self, tenant: &Tenant) -> Result<()> {
        let Some(allowed) = self.limits.neurons_per_day else { return Ok(()) };
        let spent = self.spent(tenant).await?;
        if spent < allowed { Ok(()) } else { Err(Error::Budget { what: TODAY, needed: 0.0, allowed: 0.0 }) }
    }

    async fn spent(&self, tenant: &Tenant) -> Result<f64> {
        let statement = Statement::new("SELECT neurons FROM spending WHERE tenant = ?1 AND day = ?2")
            .bind(tenant.as_str())
            .number(today());
        let spent: Vec<Spent> = self.database.all(statement).await?;
        Ok(spent.first().map_or(0.0, |spent| spent.neurons))
    }

    /// Counts what was spent, or gives back what was not.
    pub(crate) async fn spend(&self, tenant: &Tenant, neurons: f64) -> Result<()> {
        if self.limits.neurons_per_day.is_none() || neurons == 0.0 {
            return Ok(());
        }
        let statement = Statement::new(
            "INSERT INTO spending (tenant, day, neurons) VALUES (?1, ?2, ?3) \
             ON CONFLICT (tenant, day) DO UPDATE SET neurons = neurons + excluded.neurons",
        );
        self.database.run(statement.bind(tenant.as_str()).number(today()).bind(neurons)).await
    }

    /// Counts the most that an answer can cost. One statement decides, so that answers at the same time can't pass the limit
    /// together.
    pub(crate) async fn reserve(&self, tenant: &Tenant, needed: f64) -> Result<()> {
        if let Some(allowed) = self.limits.neurons_per_request.filter(|allowed| needed > *allowed) {
            return Err(Error::Budget { what: "one request", needed, allowed });
        }
        let Some(allowed) = self.limits.neurons_per_day else { return Ok(()) };
        let statement = Statement::new(
            "INSERT INTO spending (tenant, day, neurons) SELECT ?1, ?2, ?3 \
             WHERE ?3 + coalesce((SELECT neurons FROM spending WHERE tenant = ?1 AND day = ?2), 0) <= ?4 \
             ON CONFLICT (tenant, day) DO UPDATE SET neurons = neurons + excluded.neurons RETURNING neurons",
        );
        let statement = statement.bind(tenant.as_str()).number(today()).bind(needed).bind(allowed);
        if !self.database.all::<Spent>(statement).await?.is_empty() {
            return Ok(());
        }
        let left = (allowed - self.spent(tenant).await?).max(0.0);
        Err(Error::Budget { what: TODAY, needed, allowed: left })
    }
}

/// The most that the model's answer can cost.
pub(crate) fn room(prepared: &Prepared) -> f64 {
    let cost = |prompt: &Prompt| {
        prices::neurons(&prompt.model, prepared.prompt_tokens as u64, prompt.max_tokens.into())
    };
    prepared.prompt.as_ref().and_then(cost).unwrap_or(0.0)
}

/// What it did cost, at the price of the model that was asked first.
pub(crate) fn cost(prepared: &Prepared) -> impl Fn(&Usage) -> f64 + use<> {
    let model = prepared.prompt.as_ref().map(|prompt| prompt.model.clone()).unwrap_or_default();
    move |usage| prices::neurons(&model, usage.prompt_tokens, usage.completion_tokens).unwrap_or(0.0)
}

fn today() -> u64 {
    worker::Date::now().as_millis() / 86_400_000
}
