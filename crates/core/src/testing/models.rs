//! Models that need no weights.

use crate::identity::digest;
use crate::ports::{
    Collected, Embedder, Embeddings, Finish, Generated, Prompt, Reranker, TextGenerator, Usage,
};
use crate::settings::EmbeddingSettings;
use crate::{Error, Result, Retry, Tenant, keyword};
use futures::stream::{self, LocalBoxStream, StreamExt};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

/// Texts as bags of hashed terms: equal words give near vectors. The settings' fingerprint is hashed with them, so that
/// vectors of different settings are not near.
#[derive(Debug)]
pub struct HashEmbedder {
    /// Texts of each call to embed documents.
    pub calls: RefCell<Vec<Vec<String>>>,
    /// Texts of each call that hands some in.
    pub submitted: RefCell<Vec<Vec<String>>>,
    /// A call with a text that contains this is refused, as Workers AI refuses invalid input (5004).
    pub refuse: RefCell<Option<String>>,
    /// Whether texts handed in are embedded by now.
    pub ready: Cell<bool>,
    /// What becomes of calls to embed a query.
    pub mood: Cell<Mood>,
    tickets: RefCell<BTreeMap<String, Embeddings>>,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self {
            calls: RefCell::default(),
            submitted: RefCell::default(),
            refuse: RefCell::default(),
            ready: Cell::new(true),
            mood: Cell::default(),
            tickets: RefCell::default(),
        }
    }
}

impl HashEmbedder {
    /// Forgets all texts handed in.
    pub fn lose_tickets(&self) {
        self.tickets.borrow_mut().clear();
    }

    fn vector(settings: &EmbeddingSettings, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0f32; settings.dimensions];
        let fingerprint = settings.fingerprint();
        for term in keyword::terms(text) {
            let digest = digest(&[fingerprint.as_str().as_bytes(), term.as_bytes()]);
            vector[usize::from(u16::from_be_bytes([digest[0], digest[1]])) % settings.dimensions] += 1.0;
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }

    fn embed(&self, settings: &EmbeddingSettings, texts: &[&str]) -> Result<Embeddings> {
        let refused = |message: String| {
            Err(Error::Service { service: "embedder", retry: Retry::Never, code: Some(5004), message })
        };
        if texts.len() > Self::BATCH {
            return refused(format!("{} texts; at most {}", texts.len(), Self::BATCH));
        }
        if let Some(refuse) = &*self.refuse.borrow()
            && texts.iter().any(|text| text.contains(refuse))
        {
            return refused(format!("a text contains `{refuse}`"));
        }
        let values = texts.iter().flat_map(|text| Self::vector(settings, text)).collect();
        Ok(Embeddings { dimensions: settings.dimensions, values })
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

impl Embedder for HashEmbedder {
    async fn embed_documents(
        &self,
        _: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> Result<Embeddings> {
        self.calls.borrow_mut().push(owned(texts));
        self.embed(settings, texts)
    }

    async fn embed_query(&self, _: &Tenant, settings: &EmbeddingSettings, query: &str) -> Result<Vec<f32>> {
        self.mood.get().meet("embedder").await?;
        Ok(Self::vector(settings, query))
    }

    async fn submit(&self, _: &Tenant, settings: &EmbeddingSettings, texts: &[&str]) -> Result<String> {
        let mut submitted = self.submitted.borrow_mut();
        submitted.push(owned(texts));
        let ticket = format!("ticket-{}", submitted.len());
        self.tickets.borrow_mut().insert(ticket.clone(), self.embed(settings, texts)?);
        Ok(ticket)
    }

    async fn collect(&self, _: &Tenant, _: &EmbeddingSettings, ticket: &str) -> Result<Collected> {
        let tickets = self.tickets.borrow();
        Ok(match tickets.get(ticket) {
            None => Collected::Lost,
            Some(_) if !self.ready.get() => Collected::Running,
            Some(values) => Collected::Done(values.clone()),
        })
    }
}

/// Counts the query's terms in each passage.
#[derive(Debug, Default)]
pub struct OverlapReranker {
    /// Passages of each call.
    pub calls: RefCell<Vec<Vec<String>>>,
    /// Scores between 0 and 1 instead of any number.
    pub probabilities: Cell<bool>,
    /// What becomes of calls.
    pub mood: Cell<Mood>,
}

/// What becomes of calls to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// They are answered.
    #[default]
    Fine,
    /// They fail.
    Failing,
    /// They are never answered.
    Silent,
    /// They fail, since the day's allowance is used up.
    UsedUp,
}

impl Mood {
    async fn meet(self, service: &'static str) -> Result<()> {
        match self {
            Self::Fine => Ok(()),
            Self::Failing => Err(Error::Service {
                service,
                retry: Retry::Busy,
                code: Some(3040),
                message: "out of capacity".into(),
            }),
            Self::Silent => std::future::pending().await,
            Self::UsedUp => Err(Error::Service {
                service,
                retry: Retry::AfterMidnightUtc,
                code: Some(3036),
                message: "used up".into(),
            }),
        }
    }
}

impl Reranker for OverlapReranker {
    async fn rerank(&self, _: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>> {
        self.calls.borrow_mut().push(owned(passages));
        self.mood.get().meet("reranker").await?;
        let query = keyword::query_terms(query);
        let score = |passage: &&str| {
            let found =
                keyword::query_terms(passage).iter().filter(|term| query.contains(term)).count() as f32;
            if self.probabilities.get() { 1.0 / (1.0 + (-found).exp()) } else { found }
        };
        Ok(passages.iter().map(score).collect())
    }
}

/// Says what the script says, in the pieces it has.
#[derive(Debug, Default)]
pub struct ScriptedGenerator {
    /// Pieces of the next replies.
    pub script: RefCell<Vec<String>>,
    /// What the next calls are answered with, step by step, before all else. A reply without an end is never ended.
    pub next: RefCell<VecDeque<Vec<Result<Generated>>>>,
    /// What a model of this name says instead.
    pub replies: RefCell<BTreeMap<String, String>>,
    /// What becomes of calls to a model of this name.
    pub moods: RefCell<BTreeMap<String, Mood>>,
    /// Prompts seen.
    pub prompts: RefCell<Vec<Prompt>>,
}

impl TextGenerator for ScriptedGenerator {
    type Stream = LocalBoxStream<'static, Result<Generated>>;

    async fn generate(&self, _: &Tenant, prompt: &Prompt) -> Result<Self::Stream> {
        self.prompts.borrow_mut().push(prompt.clone());
        let mood = self.moods.borrow().get(&prompt.model).copied().unwrap_or_default();
        mood.meet("generator").await?;
        if let Some(steps) = self.next.borrow_mut().pop_front() {
            let ends = |step: &Result<Generated>| matches!(step, Ok(Generated::Done(_)) | Err(_));
            let is_ended = steps.last().is_some_and(ends);
            let rest = if is_ended { stream::empty().boxed_local() } else { stream::pending().boxed_local() };
            return Ok(stream::iter(steps).chain(rest).boxed_local());
        }
        let pieces = match self.replies.borrow().get(&prompt.model) {
            Some(reply) => vec![reply.clone()],
            None => self.script.borrow().clone(),
        };
        let mut steps: Vec<Result<Generated>> =
            pieces.into_iter().map(|piece| Ok(Generated::Delta(piece))).collect();
        steps.push(Ok(Generated::Usage(Usage {
            prompt_tokens: 1,
            completion_tokens: 1,
            total_tokens: 2,
            cached_tokens: 0,
        })));
        steps.push(Ok(Generated::Done(Finish::Stop)));
        Ok(stream::iter(steps).boxed_local())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    fn near(left: &[f32], right: &[f32]) -> f32 {
        left.iter().zip(right).map(|(left, right)| left * right).sum()
    }

    #[test]
    fn vectors_of_different_settings_are_not_near() {
        let (embedder, tenant) = (HashEmbedder::default(), Tenant::new("t").unwrap());
        let settings = EmbeddingSettings::default();
        let other = EmbeddingSettings { model: "other".into(), ..settings.clone() };
        let text = "the quick brown fox";
        let rows = block_on(embedder.embed_documents(&tenant, &settings, &[text])).unwrap();
        let query =
            |settings: &EmbeddingSettings| block_on(embedder.embed_query(&tenant, settings, text)).unwrap();
        assert!(near(rows.row(0), &query(&settings)) > 0.99);
        assert!(near(rows.row(0), &query(&other)) < 0.5);
        let short = EmbeddingSettings { dimensions: 8, ..settings.clone() };
        assert_eq!(query(&short).len(), 8);
    }

    #[test]
    fn a_call_with_a_text_at_fault_is_refused() {
        let (embedder, tenant) = (HashEmbedder::default(), Tenant::new("t").unwrap());
        let settings = EmbeddingSettings::default();
        *embedder.refuse.borrow_mut() = Some("bad".into());
        let error =
            block_on(embedder.embed_documents(&tenant, &settings, &["good", "a bad one"])).unwrap_err();
        assert!(matches!(error, Error::Service { code: Some(5004), retry: Retry::Never, .. }), "{error}");
        assert!(block_on(embedder.embed_documents(&tenant, &settings, &["good"])).is_ok());
    }

    #[test]
    fn what_is_handed_in_is_collected_unless_lost() {
        let (embedder, tenant) = (HashEmbedder::default(), Tenant::new("t").unwrap());
        let settings = EmbeddingSettings::default();
        let ticket = block_on(embedder.submit(&tenant, &settings, &["fox"])).unwrap();
        let collect = || block_on(embedder.collect(&tenant, &settings, &ticket)).unwrap();
        embedder.ready.set(false);
        assert_eq!(collect(), Collected::Running);
        embedder.ready.set(true);
        assert!(matches!(collect(), Collected::Done(rows) if rows.len() == 1));
        embedder.lose_tickets();
        assert_eq!(collect(), Collected::Lost);
    }
}
