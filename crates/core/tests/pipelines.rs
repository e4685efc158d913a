//! The ingest and answer pipelines over the in-memory ports, and the contract of those ports.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use futures::StreamExt;
use futures::executor::block_on;
use ragflare_core::answer::{self, AnswerEvent, AnswerRequest};
use ragflare_core::document::{DocumentId, Metadata, Status, Upload};
use ragflare_core::identity::content_hash;
use ragflare_core::ingest::{Ingest, Outcome, Registered, SETTLED_AFTER};
use ragflare_core::ports::{DocumentStore, Finish, Job, Message, ObjectStore, Role};
use ragflare_core::search::{Mode, SearchRequest, Searcher};
use ragflare_core::settings::{Field, FieldType, Settings};
use ragflare_core::testing::MemoryPorts;
use ragflare_core::testing::contract::Contract;
use ragflare_core::{Error, Tenant};
use std::cell::Cell;
use std::rc::Rc;

struct World {
    ports: Rc<MemoryPorts>,
    settings: Rc<Settings>,
    tenant: Tenant,
    uploads: Cell<u32>,
}

impl World {
    fn new() -> Self {
        let fields = vec![Field { name: "lang".into(), r#type: FieldType::String }];
        Self {
            ports: Rc::new(MemoryPorts::default()),
            settings: Rc::new(Settings { fields, ..Settings::default() }),
            tenant: Tenant::new("t").unwrap(),
            uploads: Cell::new(0),
        }
    }

    fn ingest(&self) -> Ingest<'_, MemoryPorts> {
        Ingest::new(&*self.ports, &self.settings)
    }

    fn register(&self, id: &str, bytes: &[u8], media_type: &str, metadata: Metadata) -> Registered {
        self.uploads.set(self.uploads.get() + 1);
        let upload = Upload {
            object_key: format!("originals/t/{}", self.uploads.get()),
            title: None,
            media_type: media_type.into(),
            bytes: bytes.len() as u64,
            content_hash: content_hash(bytes),
            settings: self.ingest().upload_settings(&metadata),
            metadata,
        };
        block_on(async {
            self.ports.objects.put(&self.tenant, &upload.object_key, bytes, media_type).await.unwrap();
            self.ingest().register(&self.tenant, &document(id), &upload).await.unwrap()
        })
    }

    fn put(&self, id: &str, text: &str) {
        self.register(id, text.as_bytes(), "text/markdown", Metadata::new());
        self.deliver();
    }

    /// Delivers all jobs, each on its own.
    fn deliver(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let Some(job) = self.ports.jobs.jobs.borrow_mut().pop_front() else { return outcomes };
            block_on(async {
                match job {
                    Job::Process { tenant, document, generation, .. } => {
                        for outcome in self.ingest().process(&tenant, &[(document, generation)]).await {
                            outcomes.push(outcome.unwrap());
                        }
                    }
                    Job::Confirm { tenant, document, generation } => {
                        self.ingest().confirm(&tenant, &document, generation).await.unwrap();
                    }
                    Job::Clean { tenant, document } => {
                        self.ingest().clean(&tenant, &document).await.unwrap();
                    }
                }
            });
        }
    }

    fn status(&self, id: &str) -> Option<Status> {
        let found = block_on(self.ports.documents.get(&self.tenant, &document(id))).unwrap();
        found.map(|document| document.status)
    }

    fn search(&self, request: &SearchRequest) -> Vec<String> {
        let searcher = Searcher::new(&*self.ports, &self.settings);
        let response = block_on(searcher.search(&self.tenant, request)).unwrap();
        response.hits.into_iter().map(|hit| hit.document_id.to_string()).collect()
    }

    fn ask(&self, request: &AnswerRequest) -> Result<Vec<AnswerEvent>, Error> {
        let prepared = block_on(answer::prepare(&*self.ports, &self.settings, &self.tenant, request))?;
        let stream = answer::stream(self.ports.clone(), self.settings.clone(), self.tenant.clone(), prepared);
        Ok(block_on(stream.collect()))
    }
}

fn document(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

fn query(text: &str) -> SearchRequest {
    SearchRequest::new(text)
}

#[test]
fn the_in_memory_ports_keep_the_contract() {
    let ports = MemoryPorts::default();
    let fields = vec![Field { name: "lang".into(), r#type: FieldType::String }];
    let cases = block_on(Contract::new(&ports, "run", fields).run(async || {}));
    let faults: Vec<_> = cases.iter().filter(|case| case.fault.is_some()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(cases.len() >= 22);
}

#[test]
fn a_document_is_found_by_both_legs_and_indexed_when_its_vectors_show() {
    let world = World::new();
    world.ports.vectors.lag();
    world.register("fox", b"# Foxes\n\nThe fox hunts mice at night.", "text/markdown", Metadata::new());
    assert_eq!(world.status("fox"), Some(Status::Queued));
    assert_eq!(world.deliver(), [Outcome::Served]);
    assert_eq!(world.status("fox"), Some(Status::Searchable));
    assert_eq!(world.search(&query("what does the fox hunt")), ["fox"], "by keywords, although vectors lag");
    assert!(world.search(&SearchRequest { mode: Mode::Vector, ..query("fox") }).is_empty());
    world.ports.vectors.settle();
    assert_eq!(world.search(&SearchRequest { mode: Mode::Vector, ..query("fox") }), ["fox"]);
    world.ports.clock.advance(60_000);
    assert_eq!(block_on(world.ingest().sweep(1_000, false)).unwrap().resent, 1);
    world.deliver();
    assert_eq!(world.status("fox"), Some(Status::Indexed));
}

#[test]
fn the_same_upload_again_changes_nothing_and_leaves_no_object() {
    let world = World::new();
    world.put("a", "one text");
    let again = world.register("a", b"one text", "text/markdown", Metadata::new());
    assert!(matches!(again, Registered::Unchanged(_)));
    assert_eq!(world.ports.objects.objects.borrow().len(), 1);
    assert_eq!(world.ports.embedder.calls.borrow().len(), 1);
}

#[test]
fn only_changed_chunks_are_embedded_and_vanished_vectors_go() {
    let world = World::new();
    let section = |name: &str| format!("# {name}\n\n{}\n\n", format!("{name} word ").repeat(120));
    let text = |names: &[&str]| names.iter().map(|name| section(name)).collect::<String>();
    world.put("a", &text(&["alpha", "beta", "gamma"]));
    let before = world.ports.vectors.ids();
    world.put("a", &text(&["alpha", "delta", "gamma"]));
    let calls = world.ports.embedder.calls.borrow();
    assert!(calls[1].len() < calls[0].len(), "{} then {}", calls[0].len(), calls[1].len());
    assert!(calls[1].iter().all(|text| text.contains("delta")));
    let after = world.ports.vectors.ids();
    assert_eq!(after.len(), before.len());
    assert!(before.iter().any(|id| after.contains(id)) && before.iter().any(|id| !after.contains(id)));
}

#[test]
fn changed_filter_metadata_gives_new_vectors() {
    let world = World::new();
    let lang = |lang: &str| serde_json::from_str(&format!("{{\"lang\":\"{lang}\"}}")).unwrap();
    world.register("a", b"one text", "text/plain", lang("en"));
    world.deliver();
    world.register("a", b"one text", "text/plain", lang("de"));
    world.deliver();
    for (lang, found) in [("en", 0), ("de", 1)] {
        let filter = Some(serde_json::json!({"lang": lang}));
        let request = SearchRequest { filter, mode: Mode::Vector, ..query("text") };
        assert_eq!(world.search(&request).len(), found, "{lang}");
    }
}

#[test]
fn a_deleted_document_is_gone_although_its_vectors_linger() {
    let world = World::new();
    world.put("a", "the fox");
    world.ports.vectors.lag();
    assert!(block_on(world.ingest().delete(&world.tenant, &document("a"))).unwrap());
    world.deliver();
    assert!(world.search(&query("fox")).is_empty());
    assert_eq!(world.ports.vectors.ids().len(), 1, "deleted, but not visibly so yet");
    world.ports.vectors.settle();
    assert!(world.ports.vectors.ids().is_empty());
    assert!(world.ports.objects.objects.borrow().is_empty());
}

#[test]
fn a_document_deleted_and_put_again_gets_vectors_of_its_own() {
    let world = World::new();
    world.put("a", "the fox");
    let before = world.ports.vectors.ids();
    block_on(world.ingest().delete(&world.tenant, &document("a"))).unwrap();
    world.put("a", "the fox");
    let after = world.ports.vectors.ids();
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
    assert_eq!(world.search(&query("fox")), ["a"]);
}

#[test]
fn what_cannot_be_read_fails_with_a_reason_and_alone() {
    let world = World::new();
    world.register("bad", b"\xff\xfe\x00x", "text/plain", Metadata::new());
    world.register("blank", b" \n\t ", "text/plain", Metadata::new());
    world.register("pdf", b"%PDF", "application/pdf", Metadata::new());
    world.register("good", b"the fox", "text/plain", Metadata::new());
    assert_eq!(world.deliver(), [Outcome::Failed, Outcome::Failed, Outcome::Failed, Outcome::Served]);
    for (id, code) in [("bad", "not_utf8"), ("blank", "no_text"), ("pdf", "unsupported_type")] {
        let found = block_on(world.ports.documents.get(&world.tenant, &document(id))).unwrap().unwrap();
        assert_eq!((found.status, found.error.unwrap().code.as_str()), (Status::Failed, code));
    }
}

#[test]
fn documents_processed_together_share_an_embedding_call() {
    let world = World::new();
    let jobs: Vec<_> = (0..30).map(|number| (document(&format!("d{number}")), 1)).collect();
    for number in 0..30 {
        world.register(
            &format!("d{number}"),
            format!("text {number}").as_bytes(),
            "text/plain",
            Metadata::new(),
        );
    }
    let outcomes = block_on(world.ingest().process(&world.tenant, &jobs));
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Served)));
    assert_eq!(world.ports.embedder.calls.borrow().len(), 1);
}

#[test]
fn the_sweeper_repairs_lost_messages_and_lost_objects() {
    let world = World::new();
    world.register("a", b"the fox", "text/plain", Metadata::new());
    world.ports.jobs.jobs.borrow_mut().clear();
    block_on(world.ports.objects.put(&world.tenant, "originals/t/lost", b"x", "text/plain")).unwrap();
    world.ports.clock.advance(SETTLED_AFTER);
    let swept = block_on(world.ingest().sweep(60_000, true)).unwrap();
    assert_eq!((swept.resent, swept.objects), (1, 1));
    assert_eq!(world.deliver(), [Outcome::Served]);
    assert_eq!(world.search(&query("fox")), ["a"]);
}

#[test]
fn an_answer_streams_sources_text_citations_usage_and_the_end() {
    let world = World::new();
    world.put("fox.md", "# Foxes\n\nThe fox hunts mice at night.");
    *world.ports.generator.script.borrow_mut() =
        ["Mi", "ce [", "S1", "], not owls [S7]."].map(String::from).to_vec();
    let events = world.ask(&AnswerRequest::new("What does the fox hunt?")).unwrap();
    let AnswerEvent::Sources(sources) = &events[0] else { panic!("{events:?}") };
    assert_eq!(sources[0].hit.document_id, document("fox.md"));
    let text: String = events
        .iter()
        .filter_map(|event| if let AnswerEvent::Delta(text) = event { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(text, "Mice [S1], not owls .");
    let Some(AnswerEvent::Done(ending)) = events.last() else { panic!("{events:?}") };
    assert_eq!((ending.finish_reason, ending.cited.as_slice()), (Finish::Stop, [1].as_slice()));
    let prompts = world.ports.generator.prompts.borrow();
    assert!(prompts[0].messages[1].content.contains("[S1] Foxes\n"));
    assert_eq!(prompts[0].max_tokens, world.settings.answer.max_tokens);
}

#[test]
fn without_documents_no_model_is_asked() {
    let world = World::new();
    let events = world.ask(&AnswerRequest::new("Anything?")).unwrap();
    assert!(matches!(&events[2], AnswerEvent::Done(ending) if !ending.grounded && ending.model.is_none()));
    assert!(world.ports.generator.prompts.borrow().is_empty());
}

#[test]
fn bad_questions_are_refused() {
    let world = World::new();
    let ask = |change: fn(&mut AnswerRequest)| {
        let mut request = AnswerRequest::new("Why?");
        change(&mut request);
        world.ask(&request).unwrap_err()
    };
    let last = |role| Message { role, content: "x".into() };
    for error in [
        ask(|request| request.messages.clear()),
        ask(|request| request.top_k = Some(100_000)),
        ask(|request| request.max_tokens = Some(0)),
        ask(|request| request.temperature = Some(-1.0)),
        ask(|request| request.messages[0].content = "  ".into()),
    ] {
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let request = AnswerRequest { messages: vec![last(Role::Assistant)], ..AnswerRequest::new("") };
    assert!(matches!(world.ask(&request), Err(Error::Invalid { .. })));
    assert!(matches!(
        ask(|request| request.filter = Some(serde_json::json!({"owner": "me"}))),
        Error::FieldNotDeclared(_)
    ));
}

#[test]
fn tenants_do_not_meet() {
    let world = World::new();
    world.put("a", "the fox");
    let stranger = World { tenant: Tenant::new("s").unwrap(), ports: world.ports.clone(), ..World::new() };
    assert!(stranger.search(&query("fox")).is_empty());
    assert!(stranger.status("a").is_none());
}
