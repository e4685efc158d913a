//! Answers given again to the same question of the same tenant, kept in D1. A setting: `answer.cache_seconds`.

use crate::d1::{Database, Statement};
use ragflare_core::answer::{
    AnswerEvent, AnswerRequest, AnswerUsage, Outcome, Place, Prepared, Source, cache_key,
};
use ragflare_core::ports::Finish;
use ragflare_core::settings::Settings;
use ragflare_core::{Result, Tenant};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// Answers that a tenant has kept at most.
const MOST_ANSWERS: u64 = 1000;
/// Bytes of an answer with its sources that is kept, at most; a row of D1 takes 2 MB (limits page, 2026-04).
const MOST_BYTES: usize = 512 * 1024;

/// An answer as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) query: String,
    pub(crate) question: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) prompt_tokens: usize,
    /// After the sources.
    pub(crate) events: Vec<AnswerEvent>,
}

/// What is known of a question.
#[derive(Debug)]
pub(crate) enum Known {
    /// It was answered before.
    Answer(Box<Prepared>),
    /// Its answer may be kept here.
    Place(Place),
}

#[derive(Debug, Clone)]
pub(crate) struct AnswerCache {
    database: Database,
    settings: Rc<Settings>,
}

#[derive(Deserialize)]
struct Row {
    epoch: Option<u64>,
    body: Option<String>,
}

impl AnswerCache {
    pub(crate) fn new(database: Database, settings: Rc<Settings>) -> Self {
        Self { database, settings }
    }

    fn oldest(&self) -> u64 {
        worker::Date::now().as_millis().saturating_sub(u64::from(self.settings.answer.cache_seconds) * 1000)
    }

    /// What is known of a question; `None` when nothing is kept. One statement tells the epoch and reads what is kept for it.
    pub(crate) async fn look(&self, tenant: &Tenant, request: &AnswerRequest) -> Result<Option<Known>> {
        if self.settings.answer.cache_seconds == 0 {
            return Ok(None);
        }
        let key = cache_key(&self.settings, request);
        let statement = Statement::new(
            "WITH now (epoch) AS (SELECT coalesce((SELECT epoch FROM tenants WHERE tenant = ?1), 0)) \
             SELECT epoch, (SELECT body FROM answers WHERE tenant = ?1 AND key = ?2 AND epoch = now.epoch \
             AND created_at > ?3) AS body FROM now",
        );
        let statement = statement.bind(tenant.as_str()).bind(key.as_str()).number(self.oldest());
        let found: Vec<Row> = self.database.all(statement).await?;
        let row = found.into_iter().next();
        let (epoch, body) = row.map_or((0, None), |row| (row.epoch.unwrap_or_default(), row.body));
        // A record of another version of the program is none.
        let record = body.and_then(|body| serde_json::from_str::<Record>(&body).ok());
        Ok(Some(match record {
            None => Known::Place(Place { key, epoch }),
            Some(record) => Known::Answer(Box::new(Prepared {
                query: record.query,
                question: record.question,
                sources: record.sources,
                prompt_tokens: record.prompt_tokens,
                recorded: Some(record.events),
                ..Prepared::default()
            })),
        }))
    }

    /// Keeps an answer, unless the tenant's documents have changed since its search began.
    pub(crate) async fn keep(&self, tenant: &Tenant, place: &Place, record: &Record) -> Result<()> {
        let body = serde_json::to_string(record).unwrap_or_default();
        if body.is_empty() || body.len() > MOST_BYTES {
            return Ok(());
        }
        let room = Statement::new(
            "DELETE FROM answers WHERE tenant = ?1 AND (created_at <= ?2 OR key NOT IN \
             (SELECT key FROM answers WHERE tenant = ?1 ORDER BY created_at DESC LIMIT ?3))",
        );
        let keep = Statement::new(
            "INSERT OR REPLACE INTO answers (tenant, key, epoch, created_at, body) SELECT ?1, ?2, ?3, ?4, ?5 \
             WHERE coalesce((SELECT epoch FROM tenants WHERE tenant = ?1), 0) = ?3",
        );
        let statements = vec![
            room.bind(tenant.as_str()).number(self.oldest()).number(MOST_ANSWERS - 1),
            keep.bind(tenant.as_str())
                .bind(place.key.as_str())
                .number(place.epoch)
                .number(worker::Date::now().as_millis())
                .bind(body),
        ];
        self.database.batch(statements).await.map(drop)
    }
}

/// An answer on its way to be kept: what is given again costs nothing and says that it is given again.
#[derive(Debug, Default)]
pub(crate) struct Recording(Vec<AnswerEvent>);

impl Recording {
    /// Notes an event; at the end of an answer that may be kept, all of them.
    pub(crate) fn note(&mut self, event: &AnswerEvent) -> Option<Vec<AnswerEvent>> {
        match event {
            AnswerEvent::Sources(_) | AnswerEvent::Error(_) => None,
            AnswerEvent::Usage(_) => {
                let free = AnswerUsage { neurons: Some(0.0), usd: Some(0.0), ..AnswerUsage::default() };
                self.0.push(AnswerEvent::Usage(free));
                None
            }
            AnswerEvent::Done(ending) => {
                let whole = ending.finish_reason == Finish::Stop && ending.outcome != Outcome::Quoted;
                let mut again = ending.clone();
                again.cached = true;
                self.0.push(AnswerEvent::Done(again));
                (whole && ending.degraded.is_empty()).then(|| std::mem::take(&mut self.0))
            }
            event => {
                self.0.push(event.clone());
                None
            }
        }
    }
}
