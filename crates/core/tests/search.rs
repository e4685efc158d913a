//! Retrieval over the in-memory ports: what reranker, filters, conversation and vectors of documents gone do to it.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use futures::executor::block_on;
use futures::{StreamExt, future};
use proptest::prelude::*;
use ragflare_core::answer::{self, AnswerEvent, AnswerRequest, Prepared};
use ragflare_core::citations::{Checked, CitationFilter};
use ragflare_core::document::{DocumentId, Metadata};
use ragflare_core::filter::{Filter, INDEXED_BYTES};
use ragflare_core::identity::content_hash;
use ragflare_core::ingest::{Ingest, NewUpload, Precondition};
use ragflare_core::models::Calibration;
use ragflare_core::ports::{Job, Message, ObjectStore, Reranker, Role};
use ragflare_core::search::{Hit, Mode, SearchRequest, SearchResponse, SearchUsage, Searcher};
use ragflare_core::settings::{Field, FieldType, Settings};
use ragflare_core::testing::{MemoryPorts, Mood, OverlapReranker};
use ragflare_core::tokens::WordPiece;
use ragflare_core::{Error, Tenant, prices};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;

const MINILM: &str = "ms-marco-MiniLM-L-12-v2";
/// A scale of its own, so that no fit of another's changes what is tested.
const EVEN_AT_ZERO: Calibration = Calibration { scale: 1.0, offset: 0.0 };

struct World {
    ports: Rc<MemoryPorts>,
    settings: Settings,
    tenant: Tenant,
    uploads: Cell<u32>,
}

impl World {
    fn new() -> Self {
        let field = |name: &str, r#type| Field { name: name.into(), r#type };
        let fields = vec![
            field("lang", FieldType::String),
            field("year", FieldType::Number),
            field("public", FieldType::Boolean),
        ];
        Self {
            ports: Rc::new(MemoryPorts::default()),
            settings: Settings { fields, ..Settings::default() },
            tenant: Tenant::new("t").unwrap(),
            uploads: Cell::new(0),
        }
    }

    fn put(&self, id: &str, text: &str) {
        self.put_with(id, text, Metadata::new());
    }

    fn put_with(&self, id: &str, text: &str, metadata: Metadata) {
        self.uploads.set(self.uploads.get() + 1);
        let upload = NewUpload {
            object_key: format!("originals/t/{}", self.uploads.get()),
            title: None,
            media_type: "text/markdown".into(),
            bytes: text.len() as u64,
            content_hash: content_hash(text.as_bytes()),
            metadata,
        };
        block_on(async {
            let ingest = Ingest::new(&*self.ports, &self.settings);
            let objects = &self.ports.objects;
            objects.put(&self.tenant, &upload.object_key, text.as_bytes(), &upload.media_type).await.unwrap();
            ingest.register(&self.tenant, &document(id), &upload, &Precondition::None).await.unwrap();
        });
        self.deliver();
    }

    fn delete(&self, id: &str) {
        let ingest = Ingest::new(&*self.ports, &self.settings);
        assert!(block_on(ingest.delete(&self.tenant, &document(id), &Precondition::None)).unwrap());
        self.deliver();
    }

    fn deliver(&self) {
        loop {
            let Some(job) = self.ports.jobs.jobs.borrow_mut().pop_front() else { return };
            let ingest = Ingest::new(&*self.ports, &self.settings);
            block_on(async {
                match job {
                    Job::Process { tenant, document, generation, .. } => {
                        for outcome in ingest.process(&tenant, &[(document, generation)], &|| true).await {
                            outcome.unwrap();
                        }
                    }
                    Job::Clean { tenant, document } => {
                        ingest.clean(&tenant, &document).await.unwrap();
                    }
                    Job::Confirm { .. } | Job::Reindex { .. } | Job::Look { .. } | Job::Sync { .. } => {}
                }
            });
        }
    }

    fn try_search(&self, request: &SearchRequest) -> Result<SearchResponse, Error> {
        block_on(Searcher::new(&*self.ports, &self.settings).search(&self.tenant, request))
    }

    fn search(&self, request: &SearchRequest) -> SearchResponse {
        self.try_search(request).unwrap()
    }

    fn found(&self, request: &SearchRequest) -> Vec<String> {
        self.search(request).hits.into_iter().map(|hit| hit.document_id.to_string()).collect()
    }

    fn prepare(&self, request: &AnswerRequest) -> Prepared {
        block_on(answer::prepare(&*self.ports, &self.settings, &self.tenant, request)).unwrap()
    }

    /// `future`, and time that passes beside it.
    fn while_time_passes<T>(&self, future: impl Future<Output = T>) -> T {
        let (made, ()) = block_on(future::join(future, async { self.ports.clock.advance(60_000) }));
        made
    }
}

fn document(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

fn vector(query: &str) -> SearchRequest {
    SearchRequest { mode: Mode::Vector, rerank: false, ..SearchRequest::new(query) }
}

fn metadata(value: &Value) -> Metadata {
    value.as_object().unwrap().clone()
}

/// Sections that are a chunk each, all about `topic`.
fn sections(count: usize, topic: &str) -> String {
    let section = |number| format!("# {topic}\n\n{}\n\n", format!("{topic} w{number} ").repeat(45));
    (0..count).map(section).collect()
}

fn three_foxes() -> World {
    let world = World::new();
    world.put("one", "The fox is here.");
    world.put("two", "The red fox hunts mice at night in the forest.");
    world.put("three", "A red fox is red.");
    world
}

// --- vectors of documents gone ---

#[test]
fn dead_vectors_of_a_deleted_document_hide_nothing() {
    let world = World::new();
    world.put("gone", &sections(150, "heron"));
    world.put("here", &format!("heron {}", "with many other words beside ".repeat(3)));
    assert!(world.ports.vectors.ids().len() > 150);
    world.ports.vectors.lag();
    world.delete("gone");
    assert!(world.ports.vectors.ids().len() > 150, "still there, and nearer");
    assert_eq!(world.found(&vector("heron")), ["here"]);
    world.ports.vectors.settle();
    assert_eq!(world.found(&vector("heron")), ["here"]);
}

#[test]
fn dead_vectors_of_a_replaced_document_hide_neither_it_nor_others() {
    let world = World::new();
    world.put("gone", &sections(150, "heron"));
    world.put("new", &sections(80, "heron"));
    world.put("here", &format!("heron {}", "with many other words beside ".repeat(3)));
    world.ports.vectors.settle();
    // The new text's vectors show, the deletion of the old one's does not yet.
    let before = world.ports.vectors.ids().len();
    let text = format!("heron {}", "in quite another text now ".repeat(3));
    world.ports.vectors.lag_deletes();
    world.put("new", &text);
    world.delete("gone");
    assert_eq!(world.ports.vectors.ids().len(), before + 1);
    let mut found = world.found(&vector("heron"));
    found.sort();
    assert_eq!(found, ["here", "new"]);
}

#[test]
fn seventy_small_documents_gone_hide_nothing_either() {
    let world = World::new();
    (0..70).for_each(|number| world.put(&format!("gone/{number}"), "heron heron"));
    world.put("here", &format!("heron {}", "with many other words beside ".repeat(3)));
    world.ports.vectors.lag();
    (0..70).for_each(|number| world.delete(&format!("gone/{number}")));
    assert_eq!(world.found(&vector("heron")), ["here"]);
}

#[test]
fn looking_again_keeps_to_the_filter() {
    let world = World::new();
    world.put_with("gone", &sections(150, "heron"), metadata(&json!({"lang": "en"})));
    world.put_with("here", "heron and more words", metadata(&json!({"lang": "en"})));
    world.put_with("other", "heron and more words", metadata(&json!({"lang": "de"})));
    world.ports.vectors.lag();
    world.delete("gone");
    let request = SearchRequest { filter: Some(json!({"lang": "en"})), ..vector("heron") };
    assert_eq!(world.found(&request), ["here"]);
}

// --- filters ---

/// Strings that differ within, at, and behind what Vectorize indexes.
fn a_string() -> impl Strategy<Value = String> {
    let long = |tail: &str| format!("{}{tail}", "x".repeat(INDEXED_BYTES - 2));
    prop::sample::select(vec![
        String::new(),
        "de".into(),
        "en".into(),
        "x".into(),
        "y".into(),
        long(""),
        long("a"),
        long("aa"),
        long("aab"),
        long("aac"),
        long("é"),
        long("éa"),
        long("€"),
        long("😀"),
        long("😀z"),
    ])
}

fn a_filter() -> impl Strategy<Value = Value> {
    let operator = |names: &'static [&'static str], value: BoxedStrategy<Value>| {
        (prop::sample::select(names), value).prop_map(|(name, value)| json!({ name: value })).boxed()
    };
    let text = a_string().prop_map(Value::from).boxed();
    let number = (0..4i32).prop_map(Value::from).boxed();
    let list = |value: &BoxedStrategy<Value>| {
        prop::collection::vec(value.clone(), 1..4).prop_map(Value::from).boxed()
    };
    let or_null =
        |value: &BoxedStrategy<Value>| prop_oneof![4 => value.clone(), 1 => Just(Value::Null)].boxed();
    let range = (number.clone(), number.clone()).prop_map(|(low, high)| json!({"$gte": low, "$lt": high}));
    let lang = prop_oneof![
        or_null(&text),
        operator(&["$eq", "$ne"], or_null(&text)),
        operator(&["$lt", "$lte", "$gt", "$gte"], text.clone()),
        operator(&["$in", "$nin"], list(&text)),
    ];
    let year = prop_oneof![
        operator(&["$eq", "$ne"], or_null(&number)),
        operator(&["$lt", "$lte", "$gt", "$gte"], number.clone()),
        operator(&["$in", "$nin"], list(&number)),
        range,
    ];
    let public = operator(&["$eq", "$ne"], any::<bool>().prop_map(Value::from).boxed());
    (prop::option::of(lang), prop::option::of(year), prop::option::weighted(0.3, public)).prop_map(
        |(lang, year, public)| {
            let fields = [("lang", lang), ("year", year), ("public", public)];
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        },
    )
}

fn some_metadata() -> impl Strategy<Value = Metadata> {
    let value = (
        prop::option::of(prop_oneof![a_string().prop_map(Value::from), Just(Value::Null)]),
        prop::option::of((0..4i32).prop_map(Value::from)),
        prop::option::of(any::<bool>().prop_map(Value::from)),
    );
    value.prop_map(|(lang, year, public)| {
        let fields = [("lang", lang), ("year", year), ("public", public)];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_legs_keep_to_a_filter_alike(
        documents in prop::collection::vec(some_metadata(), 1..8),
        filters in prop::collection::vec(a_filter(), 1..6),
    ) {
        let world = World::new();
        for (number, metadata) in documents.iter().enumerate() {
            world.put_with(&format!("d{number}"), "a grey heron", metadata.clone());
        }
        for filter in filters {
            let parsed = Filter::parse(&filter, &world.settings.fields).unwrap();
            let wanted: Vec<String> = (0..documents.len())
                .filter(|number| parsed.matches(&documents[*number]))
                .map(|number| format!("d{number}"))
                .collect();
            for mode in [Mode::Vector, Mode::Keyword, Mode::Hybrid] {
                let request = SearchRequest { mode, filter: Some(filter.clone()), ..SearchRequest::new("heron") };
                let mut found = world.found(&request);
                found.sort();
                prop_assert_eq!(&found, &wanted, "{:?} {}", mode, filter);
            }
        }
    }
}

#[test]
fn what_only_shares_its_beginning_crowds_nothing_out() {
    let world = World::new();
    let long = |tail: &str| format!("{}{tail}", "x".repeat(INDEXED_BYTES));
    world.put_with(
        "wanted",
        &format!("heron {}", "and other words ".repeat(4)),
        metadata(&json!({"lang": long("a")})),
    );
    world.put_with("alike", &sections(120, "heron"), metadata(&json!({"lang": long("b")})));
    for filter in
        [json!({"lang": long("a")}), json!({"lang": {"$ne": long("b")}}), json!({"lang": {"$lt": long("b")}})]
    {
        let request = SearchRequest { filter: Some(filter.clone()), ..vector("heron") };
        assert_eq!(world.found(&request), ["wanted"], "{filter}");
    }
}

// --- reranker ---

#[test]
fn the_scale_of_a_reranker_s_scores_changes_no_order() {
    let world = three_foxes();
    let request = SearchRequest::new("where does the red fox hunt mice");
    let logits = world.search(&request);
    world.ports.reranker.probabilities.set(true);
    let probabilities = world.search(&request);
    let order = |response: &SearchResponse| -> Vec<String> {
        response.hits.iter().map(|hit| hit.document_id.to_string()).collect()
    };
    assert_eq!(order(&logits), order(&probabilities));
    for (one, other) in logits.hits.iter().zip(&probabilities.hits) {
        assert!((one.score - other.score).abs() < 1e-3, "{one:?} {other:?}");
        assert_ne!(one.scores.rerank, other.scores.rerank, "shown as it came");
    }
}

#[test]
fn a_reranker_without_calibration_ranks_and_tells_nothing_else() {
    let mut world = three_foxes();
    let request = SearchRequest::new("the red fox");
    assert!(world.search(&request).hits.iter().all(|hit| hit.scores.relevance.is_none()));
    world.settings.search.rerank_model = MINILM.into();
    let hits = world.search(&request).hits;
    assert!(hits.iter().all(|hit| hit.scores.relevance.is_some_and(|share| (0.0..=1.0).contains(&share))));
}

#[test]
fn a_slow_reranker_is_not_waited_for() {
    let world = three_foxes();
    let request = SearchRequest::new("the red fox");
    let fused = world.search(&SearchRequest { rerank: false, ..request.clone() });
    for (mood, said) in [(Mood::Silent, "rerank_timeout"), (Mood::Failing, "rerank")] {
        world.ports.reranker.mood.set(mood);
        let searcher = Searcher::new(&*world.ports, &world.settings);
        let response = world.while_time_passes(searcher.search(&world.tenant, &request)).unwrap();
        assert_eq!(response.degraded, [said]);
        assert_eq!(response.hits, fused.hits, "the fused order stands");
        assert!(response.usage.rerank_tokens > 0, "it may be billed");
    }
}

#[test]
fn a_slow_vector_leg_is_not_waited_for() {
    let world = three_foxes();
    let request = SearchRequest { rerank: false, ..SearchRequest::new("the red fox") };
    let keywords = world.search(&SearchRequest { mode: Mode::Keyword, ..request.clone() });
    for mood in [Mood::Silent, Mood::Failing] {
        world.ports.embedder.mood.set(mood);
        let searcher = Searcher::new(&*world.ports, &world.settings);
        let response = world.while_time_passes(searcher.search(&world.tenant, &request)).unwrap();
        assert_eq!(response.degraded, ["vector"]);
        let chunks = |hits: &[Hit]| hits.iter().map(|hit| hit.chunk_id.clone()).collect::<Vec<_>>();
        assert_eq!(chunks(&response.hits), chunks(&keywords.hits));
        let failed = world.while_time_passes(searcher.search(&world.tenant, &vector("the red fox")));
        assert!(matches!(failed, Err(Error::Service { .. })), "{failed:?}");
    }
}

#[test]
fn a_long_passage_is_judged_by_its_best_part_and_read_whole() {
    let mut world = World::new();
    world.settings.chunk.target = 500;
    world.settings.chunk.prefix = 0;
    // The answer stands at the very end of a chunk that another vocabulary's tokens may overflow.
    world.put("long", &format!("{} The zebra drinks.", "word ".repeat(480)));
    world.put("short", "word word word");
    let response = world.search(&SearchRequest::new("zebra drinks"));
    assert_eq!(response.hits[0].document_id.as_str(), "long");
    assert_eq!(response.hits[0].scores.rerank, Some(2.0));
    let calls = world.ports.reranker.calls.borrow();
    let pieces: Vec<&String> = calls.iter().flatten().filter(|piece| piece.len() > 100).collect();
    assert!(pieces.len() >= 2, "{}", pieces.len());
    assert!(pieces.iter().all(|piece| WordPiece::count(piece) * 3 / 2 <= 508));
    drop(calls);
    world.settings.search.rerank_model = MINILM.into();
    world.ports.reranker.calls.borrow_mut().clear();
    world.search(&SearchRequest::new("zebra drinks"));
    assert_eq!(world.ports.reranker.calls.borrow().concat().len(), 2, "its tokens are counted exactly");
}

#[test]
fn passages_go_in_calls_of_a_limited_size() {
    let mut world = World::new();
    world.settings.search.rerank_candidates = 100;
    world.settings.search.candidates = 100;
    world.put("many", &sections(90, "heron"));
    world.search(&SearchRequest { top_k: 100, ..SearchRequest::new("heron") });
    let calls: Vec<usize> = world.ports.reranker.calls.borrow().iter().map(Vec::len).collect();
    assert!(calls.len() >= 3 && calls.iter().all(|size| *size <= OverlapReranker::BATCH), "{calls:?}");
}

#[test]
fn headings_are_read_with_a_passage_when_asked() {
    let mut world = World::new();
    world.put("a", "# Herons\n\n## Food\n\nFish, mostly.");
    let seen = |world: &World| {
        world.search(&SearchRequest::new("fish"));
        world.ports.reranker.calls.borrow_mut().pop().unwrap().remove(0)
    };
    assert!(seen(&world).starts_with("# Herons"));
    world.settings.search.rerank_headings = true;
    assert!(seen(&world).starts_with("Herons\n\n# Herons"), "{}", seen(&world));
}

#[test]
fn scores_below_the_least_are_left_out() {
    let world = three_foxes();
    let all = world.search(&SearchRequest::new("the red fox")).hits;
    let least = all[1].score;
    let some = world.search(&SearchRequest { min_score: Some(least), ..SearchRequest::new("the red fox") });
    assert_eq!(some.hits, all[..2]);
}

#[test]
fn nothing_relevant_is_an_empty_list() {
    let mut world = three_foxes();
    world.settings.search.rerank_model = MINILM.into();
    world.settings.search.rerank_calibration = Some(EVEN_AT_ZERO);
    let found = |world: &World, query: &str| {
        world.search(&SearchRequest { min_score: Some(0.6), ..SearchRequest::new(query) }).hits
    };
    assert!(found(&world, "quarterly revenue").is_empty());
    let hits = found(&world, "the red fox");
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.scores.relevance >= Some(0.6)), "{hits:?}");
    // What the cross-encoder did not see is not relevant.
    world.settings.search.rerank_candidates = 1;
    assert!(hits.len() > 1);
    assert_eq!(found(&world, "the red fox").len(), 1);
    // A question in another language is not for it.
    let judged = |query: &str| world.search(&SearchRequest::new(query)).hits[0].scores.rerank.is_some();
    assert!(judged("Where is the red fox?") && !judged("Wo ist der red fox?"));
}

// --- nothing relevant ---

#[test]
fn nothing_relevant_costs_no_model() {
    let mut world = three_foxes();
    world.settings.search.rerank_model = MINILM.into();
    world.settings.search.rerank_calibration = Some(EVEN_AT_ZERO);
    world.settings.answer.min_relevance = 0.6;
    // No word in common: a logit of 0, even odds.
    let request = AnswerRequest::new("quarterly revenue");
    let prepared = world.prepare(&request);
    assert!(prepared.prompt.is_none() && prepared.sources.is_empty());
    let stream =
        answer::stream(world.ports.clone(), Rc::new(world.settings.clone()), world.tenant.clone(), prepared);
    let events: Vec<AnswerEvent> = block_on(stream.collect());
    let Some(AnswerEvent::Done(ending)) = events.last() else { panic!("{events:?}") };
    assert!(!ending.grounded && ending.model.is_none());
    assert!(world.ports.generator.prompts.borrow().is_empty());
    assert!(world.prepare(&AnswerRequest::new("the red fox")).prompt.is_some());
    // Of a reranker that was not heard, or has no calibration, nothing follows.
    world.ports.reranker.mood.set(Mood::Failing);
    assert!(world.prepare(&request).prompt.is_some());
    world.ports.reranker.mood.set(Mood::Fine);
    world.settings.search.rerank_model = "another".into();
    world.settings.search.rerank_calibration = None;
    assert!(world.prepare(&request).prompt.is_some());
}

// --- conversation ---

fn conversation(question: &str) -> AnswerRequest {
    let said = |role, content: &str| Message::new(role, content);
    let messages = vec![
        said(Role::User, "What does the red fox eat?"),
        said(Role::Assistant, "Mice [S1]."),
        said(Role::User, question),
    ];
    AnswerRequest { messages, ..AnswerRequest::new("") }
}

fn condenser(world: &World) -> String {
    world.settings.search.condense_model.clone().unwrap()
}

#[test]
fn a_follow_up_is_searched_for_as_a_whole_query() {
    let world = three_foxes();
    let model = condenser(&world);
    world
        .ports
        .generator
        .replies
        .borrow_mut()
        .insert(model.clone(), "When does the red fox hunt at night?".into());
    let prepared = world.prepare(&conversation("And when does it hunt?"));
    assert_eq!(prepared.query, "When does the red fox hunt at night?");
    assert_eq!(prepared.usage.condense_prompt_tokens, 1);
    let free = SearchUsage { condense_prompt_tokens: 0, condense_completion_tokens: 0, ..prepared.usage };
    let condensing = prices::neurons(&model, 1, 1).unwrap();
    let searching = free.priced(&world.settings).neurons.unwrap();
    assert!((prepared.usage.neurons.unwrap() - searching - condensing).abs() < 1e-9 && condensing > 0.0);
    assert!(prepared.degraded.is_empty(), "{:?}", prepared.degraded);
    let prompts = world.ports.generator.prompts.borrow();
    assert_eq!((prompts.len(), &prompts[0].model), (1, &model));
    assert!(prompts[0].messages[1].content.contains("Assistant: Mice"));
    let prompt = prepared.prompt.unwrap();
    let last = &prompt.messages.last().unwrap().content;
    assert!(last.ends_with("Question: And when does it hunt?"), "the user's own words: {last}");
}

#[test]
fn what_stands_alone_is_not_rewritten() {
    let mut world = three_foxes();
    world.prepare(&AnswerRequest::new("And when does it hunt?"));
    world.prepare(&conversation("Which animals hunt mice in the forest at night?"));
    assert!(world.ports.generator.prompts.borrow().is_empty(), "no history, or no need");
    world.settings.search.condense_model = None;
    let prepared = world.prepare(&conversation("And when does it hunt?"));
    assert!(world.ports.generator.prompts.borrow().is_empty() && prepared.degraded.is_empty(), "turned off");
}

#[test]
fn without_a_usable_query_the_question_is_searched_for() {
    let world = three_foxes();
    let (model, question) = (condenser(&world), "And when does it hunt?");
    for reply in ["", "I cannot help with that.", "<script>hunt</script>", "hunt\nhunt", &"hunt ".repeat(100)]
    {
        world.ports.generator.replies.borrow_mut().insert(model.clone(), reply.into());
        let prepared = world.prepare(&conversation(question));
        assert_eq!(
            (prepared.query.as_str(), &prepared.degraded[..]),
            (question, &["condense".to_owned()][..])
        );
        assert!(!prepared.sources.is_empty());
    }
    for mood in [Mood::Failing, Mood::Silent] {
        world.ports.generator.moods.borrow_mut().insert(model.clone(), mood);
        let request = conversation(question);
        let prepared = answer::prepare(&*world.ports, &world.settings, &world.tenant, &request);
        let prepared = world.while_time_passes(prepared).unwrap();
        assert_eq!(
            (prepared.query.as_str(), &prepared.degraded[..]),
            (question, &["condense".to_owned()][..])
        );
        if mood == Mood::Silent {
            assert_eq!(prepared.timings_ms.condense, 60_000);
        }
    }
}

// --- context ---

#[test]
fn neighbours_are_one_source_that_citations_find() {
    let mut world = World::new();
    world.settings.chunk.target = 64;
    let part = |word: &str| format!("{word} {}.", "heron and fish together ".repeat(10));
    let text = format!("{}\n\n{}\n\n{}", part("First"), part("Second"), part("Third"));
    world.put("a", &text);
    let prepared = world.prepare(&AnswerRequest::new("heron fish"));
    assert_eq!(prepared.sources.len(), 1);
    let source = &prepared.sources[0];
    assert!(source.chunk_ids.len() >= 3, "{:?}", source.chunk_ids);
    assert_eq!(source.chunk_ids[0], source.hit.chunk_id);
    assert_eq!((source.hit.start, source.hit.end), (0, text.len() as u64));
    assert_eq!(source.hit.text, text);
    // A citation points at the chunk that has the sentence, not at the first of the source.
    let mut citations = CitationFilter::new(&prepared.sources);
    let mut steps = citations.push("Third heron and fish together [S1].");
    steps.extend(citations.finish());
    let cited = steps.iter().find_map(|step| match step {
        Checked::Citation(citation) => Some(citation),
        Checked::Text(_) => None,
    });
    let (cited, at) = (cited.unwrap(), text.find("Third").unwrap() as u64);
    assert_eq!(cited.sentence.as_ref().unwrap().start, at);
    let chunk = source.parts.iter().rfind(|part| part.start <= at).unwrap();
    assert_eq!(cited.chunk_id, chunk.chunk_id);
    assert_ne!(cited.chunk_id, source.hit.chunk_id);
}

#[test]
fn a_copy_in_another_document_is_no_second_source() {
    let world = World::new();
    let text: String = (b'a'..b'n')
        .map(|letter| format!("Herons wait for fish near {0}land in {0}ville. ", letter as char))
        .collect();
    world.put("a", &text);
    world.put("b", &format!("{text}Thank you for reading."));
    world.put("c", "Fish have no herons. They wait for nobody in the water.");
    let prepared = world.prepare(&AnswerRequest::new("what does the heron wait for in the water"));
    let documents: Vec<&str> =
        prepared.sources.iter().map(|source| source.hit.document_id.as_str()).collect();
    assert_eq!(documents.len(), 2, "{documents:?}");
    assert!(documents.contains(&"c"));
}

// --- bad input ---

#[test]
fn bad_requests_name_what_is_wrong() {
    let world = three_foxes();
    let refused = |request: &SearchRequest, field: &str| match world.try_search(request) {
        Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{field}: {other:?}"),
    };
    let query = |text: &str| SearchRequest::new(text);
    refused(&query(""), "query");
    refused(&query(" \n\t "), "query");
    refused(&query(&"x".repeat(100_000)), "query");
    refused(&SearchRequest { top_k: 0, ..query("fox") }, "top_k");
    refused(&SearchRequest { top_k: 101, ..query("fox") }, "top_k");
    refused(&SearchRequest { min_score: Some(1.5), ..query("fox") }, "min_score");
    refused(&SearchRequest { min_score: Some(f32::NAN), ..query("fox") }, "min_score");
    refused(&SearchRequest { filter: Some(json!({"lang": "x".repeat(2048)})), ..query("fox") }, "filter");
    refused(&SearchRequest { filter: Some(json!({"lang": {"$gt": null}})), ..query("fox") }, "filter.lang");
    let undeclared = SearchRequest { filter: Some(json!({"document": "x"})), ..query("fox") };
    assert!(matches!(world.try_search(&undeclared), Err(Error::FieldNotDeclared(_))));
}

#[test]
fn odd_queries_find_what_is_in_them() {
    let world = three_foxes();
    let many: String = (0..500).map(|number| format!("w{number} ")).collect();
    for query in [
        "fox",
        "\"fox\" OR NEAR(fox* -b) ^ {col}: fox",
        "fox'; DROP TABLE chunks; --",
        "fox\0\0 \u{1}fox",
        "(fox) AND NOT \"\"",
        "fox%_*?",
        &format!("fox {many}"),
        &format!("fox {}", "🦊".repeat(1000)),
        &"fox ".repeat(2000),
    ] {
        for mode in [Mode::Hybrid, Mode::Vector, Mode::Keyword] {
            let response = world.search(&SearchRequest { mode, top_k: 100, ..SearchRequest::new(query) });
            assert_eq!(response.hits.len(), 3, "{mode:?} {query:.40}");
        }
    }
    for query in ["\"", "*", "''", "\0", "()", "-", "🦊", "the"] {
        for mode in [Mode::Hybrid, Mode::Vector, Mode::Keyword] {
            world.search(&SearchRequest { mode, ..SearchRequest::new(query) });
        }
    }
}
