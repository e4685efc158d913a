//! What a tenant may spend on searches, answers, and on having images and recordings read, counted in D1. Without a daily limit nothing is counted.

use crate::d1::{Database, Statement};
use ragflare_core::answer::{AnswerUsage, Prepared, REPAIR_TOKENS};
use ragflare_core::ports::Prompt;
use ragflare_core::search::SearchUsage;
use ragflare_core::settings::{Limits, Settings};
use ragflare_core::{Error, Result, Tenant, prices};
use serde::Deserialize;

/// [`Error::Budget`]'s word for the daily limit.
pub(crate) const TODAY: &str = "today";
/// [`Error::Budget`]'s word for the limit of one request.
const ONE_REQUEST: &str = "one request";

/// Neurons, and tokens of chat models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Amount {
    pub(crate) neurons: f64,
    pub(crate) tokens: f64,
}

impl Amount {
    /// What a search cost.
    pub(crate) fn of_search(usage: &SearchUsage) -> Self {
        let tokens = usage.condense_prompt_tokens + usage.condense_completion_tokens;
        Self { neurons: usage.neurons.unwrap_or(0.0), tokens: tokens as f64 }
    }

    /// The most that an answer can cost, its search included: whichever of the account's models gives it.
    pub(crate) fn most(prepared: &Prepared, settings: &Settings) -> Self {
        let searched = Self::of_search(&prepared.usage);
        let Some(prompt) = &prepared.prompt else { return searched };
        let answered = Self::of_models(prompt, prepared.prompt_tokens as u64, settings);
        Self { neurons: searched.neurons + answered.neurons, tokens: searched.tokens + answered.tokens }
    }

    /// The same with what a second try costs, where there may be one: a form that was not met is asked for again, behind
    /// the first try's words.
    pub(crate) fn most_with_repair(prepared: &Prepared, settings: &Settings) -> Self {
        let once = Self::most(prepared, settings);
        let Some(prompt) = prepared.prompt.as_ref().filter(|prompt| prompt.format.is_some()) else {
            return once;
        };
        let written = u64::from(prompt.max_tokens);
        let again =
            Self::of_models(prompt, prepared.prompt_tokens as u64 + written + REPAIR_TOKENS, settings);
        Self { neurons: once.neurons + again.neurons, tokens: once.tokens + again.tokens }
    }

    /// One prompt and its whole answer room, with the dearest of the models that may answer.
    fn of_models(prompt: &Prompt, read: u64, settings: &Settings) -> Self {
        let written = u64::from(prompt.max_tokens);
        let models = [&prompt.model, &settings.answer.fallback_model];
        let prices = models.iter().filter_map(|model| prices::neurons(model, read, written));
        Self { neurons: prices.fold(0.0, f64::max), tokens: (read + written) as f64 }
    }

    /// What it did cost.
    pub(crate) fn of_answer(usage: &AnswerUsage, search: Self) -> Self {
        let tokens = search.tokens + usage.tokens.total_tokens as f64;
        Self { neurons: usage.neurons.unwrap_or(search.neurons), tokens }
    }
}

impl std::ops::Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { neurons: self.neurons - other.neurons, tokens: self.tokens - other.tokens }
    }
}

/// The limits and where spending is counted.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    database: Database,
    limits: Limits,
}

impl Budget {
    pub(crate) fn new(database: Database, limits: Limits) -> Self {
        Self { database, limits }
    }

    fn counts(&self) -> bool {
        self.limits.neurons_per_day.is_some() || self.limits.tokens_per_day.is_some()
    }

    /// The most neurons of a day, if there is a limit.
    pub(crate) fn neurons_per_day(&self) -> Option<f64> {
        self.limits.neurons_per_day
    }

    fn daily(&self) -> Amount {
        let tokens = self.limits.tokens_per_day.map_or(f64::MAX, |tokens| tokens as f64);
        Amount { neurons: self.limits.neurons_per_day.unwrap_or(f64::MAX), tokens }
    }

    /// Refuses a tenant whose day is used up, before anything is spent on it.
    pub(crate) async fn check(&self, tenant: &Tenant) -> Result<()> {
        if !self.counts() {
            return Ok(());
        }
        let (spent, allowed) = (self.spent(tenant).await?, self.daily());
        for (unit, spent, allowed) in
            [("neurons", spent.neurons, allowed.neurons), ("tokens", spent.tokens, allowed.tokens)]
        {
            if spent >= allowed {
                return Err(Error::Budget { what: TODAY, unit, needed: 0.0, allowed: 0.0 });
            }
        }
        Ok(())
    }

    async fn spent(&self, tenant: &Tenant) -> Result<Amount> {
        let statement = Statement::new("SELECT neurons, tokens FROM spending WHERE tenant = ?1 AND day = ?2")
            .bind(tenant.as_str())
            .number(today());
        let spent: Vec<Amount> = self.database.all(statement).await?;
        Ok(spent.first().copied().unwrap_or_default())
    }

    /// Counts what was spent; what is less than nothing is given back.
    pub(crate) async fn spend(&self, tenant: &Tenant, amount: Amount) -> Result<()> {
        self.spend_on(today(), tenant, amount).await
    }

    /// The same for the [day](Self::reserve) that something was reserved on.
    pub(crate) async fn spend_on(&self, day: u64, tenant: &Tenant, amount: Amount) -> Result<()> {
        if !self.counts() || amount == Amount::default() {
            return Ok(());
        }
        let statement = Statement::new(
            "INSERT INTO spending (tenant, day, neurons, tokens) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (tenant, day) DO UPDATE SET neurons = neurons + excluded.neurons, \
             tokens = tokens + excluded.tokens",
        );
        let statement = statement.bind(tenant.as_str()).number(day);
        self.database.run(statement.bind(amount.neurons).bind(amount.tokens)).await
    }

    /// Counts the most that a request can cost, `once` for its own limit and `needed` for the day's. One statement decides, so that answers at the same time can't pass the limit
    /// together. Gives the day that it is counted on.
    pub(crate) async fn reserve(&self, tenant: &Tenant, once: Amount, needed: Amount) -> Result<u64> {
        let day = today();
        let tokens = self.limits.tokens_per_request.map(|tokens| tokens as f64);
        for (unit, needed, allowed) in
            [("neurons", once.neurons, self.limits.neurons_per_request), ("tokens", once.tokens, tokens)]
        {
            if let Some(allowed) = allowed.filter(|allowed| needed > *allowed) {
                return Err(Error::Budget { what: ONE_REQUEST, unit, needed, allowed });
            }
        }
        if !self.counts() {
            return Ok(day);
        }
        let daily = self.daily();
        let statement = Statement::new(
            "INSERT INTO spending (tenant, day, neurons, tokens) SELECT ?1, ?2, ?3, ?4 WHERE \
             ?3 + coalesce((SELECT neurons FROM spending WHERE tenant = ?1 AND day = ?2), 0) <= ?5 AND \
             ?4 + coalesce((SELECT tokens FROM spending WHERE tenant = ?1 AND day = ?2), 0) <= ?6 \
             ON CONFLICT (tenant, day) DO UPDATE SET neurons = neurons + excluded.neurons, \
             tokens = tokens + excluded.tokens RETURNING neurons, tokens",
        );
        let statement = statement.bind(tenant.as_str()).number(day);
        let statement =
            statement.bind(needed.neurons).bind(needed.tokens).bind(daily.neurons).bind(daily.tokens);
        if !self.database.all::<Amount>(statement).await?.is_empty() {
            return Ok(day);
        }
        let spent = self.spent(tenant).await?;
        let left = Amount {
            neurons: (daily.neurons - spent.neurons).max(0.0),
            tokens: (daily.tokens - spent.tokens).max(0.0),
        };
        Err(if needed.neurons > left.neurons {
            Error::Budget { what: TODAY, unit: "neurons", needed: needed.neurons, allowed: left.neurons }
        } else {
            Error::Budget { what: TODAY, unit: "tokens", needed: needed.tokens, allowed: left.tokens }
        })
    }
}

fn today() -> u64 {
    worker::Date::now().as_millis() / 86_400_000
}
