//! The ingest and answer pipelines over the in-memory ports, and the contract of those ports.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use futures::StreamExt;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::task::noop_waker_ref;
use ragflare_core::answer::{self, AnswerEvent, AnswerRequest};
use ragflare_core::chunk::ChunkSettings;
use ragflare_core::conversion::text_key;
use ragflare_core::document::{Document, DocumentId, Failure, Metadata, Status};
use ragflare_core::identity::content_hash;
use ragflare_core::ingest::{
    Change, Ingest, NewUpload, Outcome, PART_CHUNKS, Precondition, Registered, Reindex, SETTLED_AFTER,
};
use ragflare_core::ports::{DocumentStore, Finish, Job, Message, ObjectStore, Role};
use ragflare_core::search::{Mode, SearchRequest, Searcher};
use ragflare_core::settings::{Field, FieldType, Settings};
use ragflare_core::testing::contract::Contract;
use ragflare_core::testing::{Call, Chaos, Effect, Fate, Hand, MemoryPorts};
use ragflare_core::{Error, Tenant};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

struct World {
    ports: Rc<MemoryPorts>,
    settings: Rc<Settings>,
    tenant: Tenant,
    uploads: Cell<u32>,
}

impl World {
    fn new() -> Self {
        let fields = vec![Field { name: "lang".into(), r#type: FieldType::String }];
        // What the tests' texts are made for.
        let chunk = ChunkSettings { target: 256, ..ChunkSettings::default() };
        Self {
            ports: Rc::new(MemoryPorts::default()),
            settings: Rc::new(Settings { fields, chunk, ..Settings::default() }),
            tenant: Tenant::new("t").unwrap(),
            uploads: Cell::new(0),
        }
    }

    fn ingest(&self) -> Ingest<'_, MemoryPorts> {
        Ingest::new(&*self.ports, &self.settings)
    }

    fn register(&self, id: &str, bytes: &[u8], media_type: &str, metadata: Metadata) -> Registered {
        self.try_register(id, bytes, media_type, metadata, &Precondition::None).unwrap()
    }

    fn try_register(
        &self,
        id: &str,
        bytes: &[u8],
        media_type: &str,
        metadata: Metadata,
        condition: &Precondition,
    ) -> Result<Registered, Error> {
        self.uploads.set(self.uploads.get() + 1);
        let upload = NewUpload {
            object_key: format!("originals/t/{}", self.uploads.get()),
            title: None,
            media_type: media_type.into(),
            bytes: bytes.len() as u64,
            content_hash: content_hash(bytes),
            metadata,
        };
        block_on(async {
            self.ports.objects.put(&self.tenant, &upload.object_key, bytes, media_type).await.unwrap();
            self.ingest().register(&self.tenant, &document(id), &upload, condition).await
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
                        let jobs = [(document, generation)];
                        for outcome in self.ingest().process(&tenant, &jobs, &|| true).await {
                            outcomes.push(outcome.unwrap());
                        }
                    }
                    Job::Reindex { tenant, after, force } => {
                        self.ingest().reindex_step(&tenant, after.as_ref(), force, &|| true).await.unwrap();
                    }
                    Job::Confirm { tenant, document, generation } => {
                        self.ingest().confirm(&tenant, &document, generation).await.unwrap();
                    }
                    Job::Clean { tenant, document } => {
                        self.ingest().clean(&tenant, &document).await.unwrap();
                    }
                    job @ (Job::Look { .. } | Job::Sync { .. }) => panic!("no source sent {job:?}"),
                }
            });
        }
    }

    fn get(&self, id: &str) -> Option<Document> {
        block_on(self.ports.documents.get(&self.tenant, &document(id))).unwrap()
    }

    fn status(&self, id: &str) -> Option<Status> {
        self.get(id).map(|document| document.status)
    }

    fn patch(&self, id: &str, change: &Change) -> Option<Registered> {
        block_on(self.ingest().patch(&self.tenant, &document(id), change, &Precondition::None)).unwrap()
    }

    /// Texts of all calls to embed documents.
    fn embedded(&self) -> usize {
        self.ports.embedder.calls.borrow().iter().map(Vec::len).sum()
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
    assert!(cases.len() >= 35, "{}", cases.len());
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
    assert!(block_on(world.ingest().delete(&world.tenant, &document("a"), &Precondition::None)).unwrap());
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
    block_on(world.ingest().delete(&world.tenant, &document("a"), &Precondition::None)).unwrap();
    world.put("a", "the fox");
    let after = world.ports.vectors.ids();
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
    assert_eq!(world.search(&query("fox")), ["a"]);
}

#[test]
fn what_cannot_be_read_fails_with_a_reason_and_alone() {
    let world = World::new();
    world.register("bad", b"!\xff refused", "text/plain", Metadata::new());
    world.register("blank", b" \n\t ", "text/plain", Metadata::new());
    world.register("pdf", b"%PDF", "application/pdf", Metadata::new());
    world.register("rich", b"{\\rtf1 x}", "text/plain", Metadata::new());
    world.register("good", b"the fox", "text/plain", Metadata::new());
    assert_eq!(world.deliver(), {
        let failed = Outcome::Failed;
        [failed, failed, failed, failed, Outcome::Served]
    });
    let codes =
        [("bad", "unreadable"), ("blank", "no_text"), ("pdf", "unreadable"), ("rich", "unsupported_type")];
    for (id, code) in codes {
        let found = block_on(world.ports.documents.get(&world.tenant, &document(id))).unwrap().unwrap();
        assert_eq!((found.status, found.error.unwrap().code.as_str()), (Status::Failed, code));
    }
}

#[test]
fn what_is_no_text_is_converted_once_and_its_pages_are_known() {
    let world = World::new();
    world.register("paper", b"%PDF-1 the fox\x0c# Second\n\nthe owl", "application/pdf", Metadata::new());
    assert_eq!(world.deliver(), [Outcome::Served]);
    let chunks = block_on(world.ports.documents.chunks(&world.tenant, &document("paper"), None, 9)).unwrap();
    let places: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.places).map(|place| place.page).collect();
    assert_eq!(places, [Some(1), Some(2)]);
    assert_eq!(
        world.ports.objects.objects.borrow().len(),
        4,
        "the original, text, map, what is said of both"
    );
    block_on(world.ingest().delete(&world.tenant, &document("paper"), &Precondition::None)).unwrap();
    world.deliver();
    assert!(world.ports.objects.objects.borrow().is_empty());
}

#[test]
fn a_text_that_turns_out_to_be_none_is_converted_and_begun_anew() {
    let world = World::new();
    let mut bytes = "The lamp is lit at dusk, and the fox sleeps.\n\n".repeat(25_000).into_bytes();
    bytes.extend(b"Der W\xe4rter.");
    world.register("late", &bytes, "text/plain", Metadata::new());
    let outcomes = world.deliver();
    assert_eq!(outcomes.last(), Some(&Outcome::Served), "{outcomes:?}");
    let upload =
        block_on(world.ports.documents.upload(&world.tenant, &document("late"), 1)).unwrap().unwrap();
    let text = world.ports.objects.objects.borrow()[&text_key(&upload.object_key)].0.clone();
    assert!(String::from_utf8(text).unwrap().trim_end().ends_with("Der Wärter."));
}

#[test]
fn a_file_that_breaks_the_converter_fails_in_the_end_and_alone() {
    let world = World::new();
    world.register("breaks", b"? \xff", "text/plain", Metadata::new());
    world.register("good", b"the fox", "text/plain", Metadata::new());
    let outcomes = world.deliver();
    assert_eq!(outcomes, [Outcome::Postponed, Outcome::Served, Outcome::Postponed, Outcome::Failed]);
    let found = block_on(world.ports.documents.get(&world.tenant, &document("breaks"))).unwrap().unwrap();
    assert_eq!((found.status, found.error.unwrap().code.as_str()), (Status::Failed, "conversion_failed"));
}

#[test]
fn what_a_media_model_says_of_the_account_waits_and_of_the_file_does_not() {
    let world = World::new();
    for (id, bytes) in [
        ("licence", &b"speech 5016 \xff"[..]),
        ("plan", b"speech 5035 \xff"),
        ("model", b"speech 5007 \xff"),
        ("data", b"speech 5004 \xff"),
        ("failing", b"speech \xff"),
        ("long", b"more \xff"),
        ("good", b"the fox"),
    ] {
        world.register(id, bytes, "text/plain", Metadata::new());
    }
    let jobs = ["licence", "plan", "model", "data", "failing", "long", "good"].map(|id| (document(id), 1));
    let outcomes = block_on(world.ingest().process(&world.tenant, &jobs, &|| true));
    let waits = Ok(Outcome::Postponed);
    let fails = Ok(Outcome::Failed);
    let expected = [&waits, &waits, &fails, &fails, &waits, &Ok(Outcome::Unfinished), &Ok(Outcome::Served)]
        .map(Clone::clone);
    assert_eq!(outcomes, expected);
    let found = |id| world.get(id).unwrap();
    for (id, code) in
        [("licence", "speech_refused"), ("plan", "speech_refused"), ("failing", "speech_failed")]
    {
        assert_eq!(found(id).pending.unwrap().waiting.unwrap().code, code, "{id}");
    }
    for (id, code) in [("model", "speech_5007"), ("data", "speech_5004")] {
        assert_eq!(found(id).error.unwrap().code, code, "{id}");
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
    let outcomes = block_on(world.ingest().process(&world.tenant, &jobs, &|| true));
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

/// Markdown of this many sections, each a chunk of its own; `changed` is another one.
fn sections(count: usize, changed: Option<usize>) -> String {
    (0..count)
        .map(|number| {
            let word = if changed == Some(number) { "wand" } else { "word" };
            format!("# Section {number}\n\n{}\n\n", format!("{word}{number} and more ").repeat(42))
        })
        .collect()
}

#[test]
fn new_chunks_cost_no_more_calls_than_they_must_however_they_lie_in_documents() {
    let world = World::new();
    let mut jobs = Vec::new();
    for number in 0..7 {
        let text = sections(20 + 30 * number, None);
        world.register(&format!("d{number}"), text.as_bytes(), "text/markdown", Metadata::new());
        jobs.push((document(&format!("d{number}")), 1));
    }
    let outcomes = block_on(world.ingest().process(&world.tenant, &jobs, &|| true));
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Served)), "{outcomes:?}");
    let chunks: u64 = (0..7).map(|number| world.get(&format!("d{number}")).unwrap().chunk_count).sum();
    assert!(chunks as usize > 3 * PART_CHUNKS);
    assert_eq!(world.embedded(), chunks as usize);
    assert_eq!(world.ports.embedder.calls.borrow().len(), (chunks as usize).div_ceil(100));
}

#[test]
fn texts_that_repeat_themselves_hold_no_more_back_than_can_be_written_at_the_end() {
    let world = World::new();
    // Fewer different texts than a call takes: they alone would never be sent before the end.
    let text = sections(90, None).repeat(60);
    world.register("a", text.as_bytes(), "text/markdown", Metadata::new());
    let (taken, held) = (Cell::new(0), Cell::new(0));
    let go_on = || {
        taken.set(taken.get() + 1);
        if world.ports.embedder.calls.borrow().is_empty() {
            held.set(taken.get());
        }
        true
    };
    let outcomes = block_on(world.ingest().process(&world.tenant, &[(document("a"), 1)], &go_on));
    assert_eq!(outcomes, [Ok(Outcome::Served)]);
    assert!(taken.get() >= 54 && held.get() <= 24 + 8, "{} of {} parts held back", held.get(), taken.get());
    assert_eq!(world.embedded(), 90);
}

#[test]
fn one_changed_section_of_many_costs_one_chunk() {
    let world = World::new();
    world.put("a", &sections(250, None));
    let before = world.embedded();
    world.put("a", &sections(250, Some(120)));
    assert_eq!(world.embedded() - before, 1);
    let counts = world.get("a").unwrap().counts;
    assert_eq!((counts.embedded, counts.reused, counts.deleted), (1, 249, 1));
}

#[test]
fn metadata_change_without_embedding_and_filters_follow() {
    let world = World::new();
    let lang =
        |lang: &str| -> Metadata { serde_json::from_str(&format!("{{\"lang\":\"{lang}\"}}")).unwrap() };
    world.register("a", sections(30, None).as_bytes(), "text/markdown", lang("en"));
    world.deliver();
    let (before, ids) = (world.embedded(), world.ports.vectors.ids());
    let title = Change { title: Some(Some("New".into())), ..Change::default() };
    assert!(matches!(world.patch("a", &title), Some(Registered::Queued(_))));
    world.deliver();
    assert_eq!(world.get("a").unwrap().title.as_deref(), Some("New"));
    assert_eq!(world.ports.vectors.ids(), ids, "no filter sees the title");
    assert!(matches!(world.patch("a", &title), Some(Registered::Unchanged(_))));
    let metadata = Change { metadata: Some(lang("de")), ..Change::default() };
    assert!(matches!(world.patch("a", &metadata), Some(Registered::Queued(_))));
    world.deliver();
    assert_eq!(world.embedded(), before);
    assert!(world.ports.vectors.ids().iter().all(|id| !ids.contains(id)));
    let counts = world.get("a").unwrap().counts;
    assert_eq!((counts.embedded, counts.reused, counts.deleted), (0, 30, 0));
    for (lang, found) in [("en", false), ("de", true)] {
        let filter = Some(serde_json::json!({"lang": lang}));
        let request = SearchRequest { filter, mode: Mode::Vector, ..query("section word7") };
        assert_eq!(!world.search(&request).is_empty(), found, "{lang}");
    }
    assert!(world.patch("b", &title).is_none());
}

#[test]
fn metadata_changed_before_the_vectors_show_wait_for_them() {
    let world = World::new();
    world.ports.vectors.lag();
    world.put("a", "the fox");
    let metadata = serde_json::from_str(r#"{"lang":"de"}"#).unwrap();
    world.patch("a", &Change { metadata: Some(metadata), ..Change::default() });
    let Some(job) = world.ports.jobs.jobs.borrow_mut().pop_back() else { panic!("no job") };
    let Job::Process { document: id, generation, .. } = job else { panic!("{job:?}") };
    let outcomes = block_on(world.ingest().process(&world.tenant, &[(id.clone(), generation)], &|| true));
    assert_eq!(outcomes, [Ok(Outcome::Postponed)]);
    let waiting = world.get("a").unwrap().pending.unwrap().waiting.unwrap();
    assert_eq!(waiting.code, "vectors_not_visible");
    world.ports.vectors.settle();
    let outcomes = block_on(world.ingest().process(&world.tenant, &[(id, generation)], &|| true));
    assert_eq!(outcomes, [Ok(Outcome::Served)]);
    assert_eq!(world.embedded(), 1);
}

#[test]
fn one_bad_chunk_fails_alone() {
    let world = World::new();
    *world.ports.embedder.refuse.borrow_mut() = Some("poison".into());
    let mut jobs = Vec::new();
    for number in 0..40 {
        let text = if number == 17 { "some poison" } else { "something else" };
        world.register(
            &format!("d{number}"),
            format!("{text} {number}").as_bytes(),
            "text/plain",
            Metadata::new(),
        );
        jobs.push((document(&format!("d{number}")), 1));
    }
    let outcomes = block_on(world.ingest().process(&world.tenant, &jobs, &|| true));
    for (number, outcome) in outcomes.iter().enumerate() {
        let expected = if number == 17 { Outcome::Failed } else { Outcome::Served };
        assert_eq!(*outcome, Ok(expected), "{number}");
    }
    assert_eq!(world.get("d17").unwrap().error.unwrap().code, "embedding_refused");
    // 40, and 20 20, 10 10, 5 5, 2 3, 1 1 around the bad one.
    assert!(world.ports.embedder.calls.borrow().len() <= 13, "{}", world.ports.embedder.calls.borrow().len());
}

#[test]
fn an_invocation_that_may_do_little_gets_on_all_the_same() {
    let world = World::new();
    world.register("a", sections(450, None).as_bytes(), "text/markdown", Metadata::new());
    let mut runs = 0;
    loop {
        let Some(job) = world.ports.jobs.jobs.borrow_mut().pop_front() else { break };
        let Job::Process { document, generation, .. } = job else { continue };
        let looks = Cell::new(0);
        let go_on = || {
            looks.set(looks.get() + 1);
            looks.get() <= 2
        };
        runs += 1;
        assert!(runs < 10);
        let outcomes = block_on(world.ingest().process(&world.tenant, &[(document, generation)], &go_on));
        assert!(matches!(outcomes[0], Ok(Outcome::Unfinished | Outcome::Served)), "{outcomes:?}");
    }
    assert!(runs > 2);
    let found = world.get("a").unwrap();
    assert_eq!((found.chunk_count, found.counts.embedded), (450, 450));
    assert_eq!(world.embedded(), 450);
}

#[test]
fn conditional_writes_hold_to_the_generation() {
    let world = World::new();
    let put = |text: &str, condition| {
        let registered = world.try_register("a", text.as_bytes(), "text/plain", Metadata::new(), &condition);
        world.deliver();
        registered.map(|_| ())
    };
    assert_eq!(put("x", Precondition::Exists), Err(Error::Precondition { current: 0 }));
    assert_eq!(put("x", Precondition::Current(vec![1])), Err(Error::Precondition { current: 0 }));
    put("one", Precondition::Absent).unwrap();
    assert_eq!(put("x", Precondition::Absent), Err(Error::Precondition { current: 1 }));
    put("two", Precondition::Current(vec![1])).unwrap();
    assert_eq!(put("x", Precondition::Current(vec![1])), Err(Error::Precondition { current: 2 }));
    put("three", Precondition::Exists).unwrap();
    assert_eq!(world.ports.objects.objects.borrow().len(), 1, "refused uploads leave no object");
    let delete = |condition| block_on(world.ingest().delete(&world.tenant, &document("a"), &condition));
    assert_eq!(delete(Precondition::Current(vec![1, 2])), Err(Error::Precondition { current: 3 }));
    assert_eq!(delete(Precondition::Current(vec![3])), Ok(true));
    assert_eq!(delete(Precondition::None), Ok(false));
}

#[test]
fn the_same_upload_again_while_it_waits_is_the_same_generation() {
    let world = World::new();
    for _ in 0..3 {
        let registered = world.register("a", b"one text", "text/plain", Metadata::new());
        let Registered::Queued(document) = registered else { panic!("{registered:?}") };
        assert_eq!(document.pending.unwrap().generation, 1);
    }
    assert_eq!(world.ports.objects.objects.borrow().len(), 1);
    assert_eq!(world.deliver(), [Outcome::Served]);
}

#[test]
fn other_chunk_settings_reindex_beside_what_is_served() {
    let world = World::new();
    world.put("a", &sections(20, None));
    world.put("b", &sections(3, None));
    let mut settings = (*world.settings).clone();
    settings.chunk.target = 64;
    let world = World { settings: Rc::new(settings), ..world };
    let before = world.get("a").unwrap();
    let progress = block_on(world.ingest().reindex(&world.tenant, &Reindex::default())).unwrap();
    assert_eq!((progress.documents, progress.done), (2, 0));
    assert_eq!(world.search(&query("word7"))[0], "a");
    world.deliver();
    let (state, progress) = block_on(world.ingest().reindex_progress(&world.tenant)).unwrap();
    assert_eq!((progress.documents, progress.done, state.reindexing), (2, 2, false));
    let after = world.get("a").unwrap();
    assert!(after.chunk_count > before.chunk_count && after.generation == Some(2));
    assert_eq!(world.search(&query("word7"))[0], "a");
}

/// Lets every call through.
struct Open;

impl Hand for Open {
    fn fate(&self, _: usize, _: Call) -> Fate {
        Fate::GoOn
    }
    fn done(&self, _: usize, _: &Effect<'_>) {}
    fn later(&self, _: LocalBoxFuture<'static, ()>) {}
    fn uploaded(&self, _: &str) -> u64 {
        0
    }
}

#[test]
fn a_search_finds_whenever_another_embedding_takes_over_in_its_middle() {
    let mut held_at = 0;
    loop {
        let world = World::new();
        world.put("a", "the fox hunts mice");
        let mut settings = (*world.settings).clone();
        settings.embedding.document_prefix = "passage: ".into();
        let world = World { settings: Rc::new(settings), ..world };
        block_on(world.ingest().reindex(&world.tenant, &Reindex::default())).unwrap();

        let ports = Chaos::new(world.ports.clone(), Rc::new(Open), 0);
        let searcher = Searcher::new(&ports, &world.settings);
        let request = SearchRequest { mode: Mode::Vector, ..query("fox") };
        let mut search = pin!(searcher.search(&world.tenant, &request));
        let mut context = Context::from_waker(noop_waker_ref());
        let mut steps = 0;
        let found = loop {
            if steps == held_at {
                world.deliver();
            }
            steps += 1;
            if let Poll::Ready(found) = search.as_mut().poll(&mut context) {
                break found.unwrap();
            }
        };
        assert_eq!(found.hits.len(), 1, "taken over before step {held_at}");
        let (state, _) = block_on(world.ingest().reindex_progress(&world.tenant)).unwrap();
        if state.next.is_some() {
            assert!(held_at > 4, "the search has several steps");
            return;
        }
        held_at += 1;
    }
}

#[test]
fn another_embedding_is_made_beside_the_old_one_and_served_for_all_at_once() {
    let world = World::new();
    world.put("a", "the fox hunts mice");
    world.put("b", "the owl hunts mice, too");
    let old = world.ports.vectors.ids();
    let mut settings = (*world.settings).clone();
    settings.embedding.document_prefix = "passage: ".into();
    let world = World { settings: Rc::new(settings), ..world };
    let vector = |text: &str| SearchRequest { mode: Mode::Vector, ..query(text) };
    assert_eq!(world.search(&vector("fox"))[0], "a", "with the embedding there is");
    let refused = world.try_register("c", b"x", "text/plain", Metadata::new(), &Precondition::None);
    assert!(matches!(refused, Err(Error::Fingerprint { .. })));
    block_on(world.ingest().reindex(&world.tenant, &Reindex::default())).unwrap();
    // The walk, and the first of the two documents.
    for _ in 0..2 {
        let Some(job) = world.ports.jobs.jobs.borrow_mut().pop_front() else { panic!("no job") };
        block_on(async {
            match job {
                Job::Reindex { tenant, .. } => {
                    world.ingest().reindex_step(&tenant, None, None, &|| true).await.unwrap();
                }
                Job::Process { tenant, document, generation, .. } => {
                    let outcomes = world.ingest().process(&tenant, &[(document, generation)], &|| true).await;
                    assert_eq!(outcomes, [Ok(Outcome::Staged)]);
                }
                other => panic!("{other:?}"),
            }
        });
    }
    assert_eq!(world.search(&vector("fox"))[0], "a");
    assert_eq!(world.get("a").unwrap().pending.unwrap().status, Status::Staged);
    world.register("c", b"the lynx came in between", "text/plain", Metadata::new());
    world.deliver();
    let (state, progress) = block_on(world.ingest().reindex_progress(&world.tenant)).unwrap();
    assert_eq!((progress.documents, progress.done, state.next), (3, 3, None));
    assert_eq!(state.embedding.unwrap().document_prefix, "passage: ");
    for (text, id) in [("fox", "a"), ("owl", "b"), ("lynx", "c")] {
        assert_eq!(world.search(&vector(text))[0], id);
    }
    world.ports.clock.advance(2 * SETTLED_AFTER);
    block_on(world.ingest().sweep(0, false)).unwrap();
    world.deliver();
    let left = world.ports.vectors.ids();
    assert!(left.len() == 3 && left.iter().all(|id| !old.contains(id)), "{left:?}");
}

#[test]
fn another_length_of_vectors_needs_another_index() {
    let world = World::new();
    world.put("a", "the fox");
    let mut settings = (*world.settings).clone();
    settings.embedding.dimensions = 768;
    let world = World { settings: Rc::new(settings), ..world };
    let refused = block_on(world.ingest().reindex(&world.tenant, &Reindex::default())).unwrap_err();
    assert!(refused.to_string().contains("create a second index of 768 dimensions"), "{refused}");
    assert_eq!(world.search(&query("fox")), ["a"]);
}

#[test]
fn a_forced_reindex_brings_lost_vectors_back() {
    let world = World::new();
    world.put("a", "the fox");
    world.deliver();
    block_on(async {
        use ragflare_core::ports::VectorIndex;
        world.ports.vectors.delete(&world.tenant, &world.ports.vectors.ids()).await.unwrap();
    });
    let force = Reindex { force: true, document: None };
    block_on(world.ingest().reindex(&world.tenant, &force)).unwrap();
    world.deliver();
    assert_eq!(world.search(&SearchRequest { mode: Mode::Vector, ..query("fox") }), ["a"]);
    assert_eq!(world.embedded(), 2);
    let again = world.register("a", b"the fox", "text/markdown", Metadata::new());
    assert!(matches!(again, Registered::Unchanged(_)), "{again:?}");
}

#[test]
fn a_forced_reindex_outlives_a_sweep_and_a_lost_message() {
    let world = World::new();
    for number in 0..120 {
        world.put(&format!("d{number:03}"), &format!("text {number}"));
    }
    block_on(world.ingest().reindex(&world.tenant, &Reindex { force: true, document: None })).unwrap();
    world.ports.jobs.jobs.borrow_mut().clear();
    block_on(world.ingest().sweep(0, false)).unwrap();
    world.deliver();
    let generation = |number: u32| world.get(&format!("d{number:03}")).unwrap().generation;
    assert!((0..120).all(|number| generation(number) == Some(2)));
    let (state, _) = block_on(world.ingest().reindex_progress(&world.tenant)).unwrap();
    assert!(!state.reindexing && state.force.is_none());
}

#[test]
fn a_reindex_starts_from_the_last_upload_although_it_failed() {
    let world = World::new();
    world.put("a", "the fox");
    world.register("a", b"the owl", "text/markdown", Metadata::new());
    let failure = Failure { code: "retries_exhausted".into(), message: "again and again".into() };
    block_on(world.ports.documents.fail(&world.tenant, &document("a"), 2, &failure, 0)).unwrap();
    world.deliver();
    assert_eq!(world.get("a").unwrap().generation, Some(1));
    block_on(world.ingest().reindex(&world.tenant, &Reindex { force: true, document: None })).unwrap();
    world.deliver();
    assert_eq!(world.search(&query("owl")), ["a"]);
    // Bytes that can't be read are not tried again.
    world.register("a", b"\xff", "text/plain", Metadata::new());
    world.deliver();
    block_on(world.ingest().reindex(&world.tenant, &Reindex { force: true, document: None })).unwrap();
    world.deliver();
    assert_eq!(world.search(&query("owl")), ["a"]);
    assert_eq!(world.status("a"), Some(Status::Indexed));
}

#[test]
fn a_full_database_takes_no_more_but_lets_go() {
    let world = World::new();
    world.put("a", "the fox");
    world.ports.documents.set_size(Some((8_999_999_000, 0)));
    let upload = || world.try_register("b", &[b'x'; 400], "text/plain", Metadata::new(), &Precondition::None);
    assert!(matches!(upload(), Err(Error::Full { allowed: 9_000_000_000, needed: 1600, .. })));
    assert_eq!(world.ports.objects.objects.borrow().len(), 1);
    world.ports.documents.set_size(Some((8_999_000_000, 249_700)));
    assert!(matches!(upload(), Err(Error::Full { .. })), "what waits counts, too");
    block_on(world.ingest().delete(&world.tenant, &document("a"), &Precondition::None)).unwrap();
    world.ports.documents.set_size(Some((8_000_000_000, 0)));
    upload().unwrap();
}

#[test]
fn texts_can_be_handed_in_to_be_embedded_later() {
    let world = World::new();
    let mut settings = (*world.settings).clone();
    settings.ingest.batch_api = true;
    let world = World { settings: Rc::new(settings), ..world };
    world.ports.embedder.ready.set(false);
    world.register("a", sections(150, None).as_bytes(), "text/markdown", Metadata::new());
    let process = || {
        let jobs = [(document("a"), 1)];
        block_on(world.ingest().process(&world.tenant, &jobs, &|| true)).remove(0)
    };
    assert_eq!(process(), Ok(Outcome::Postponed));
    assert_eq!(process(), Ok(Outcome::Postponed));
    assert_eq!(world.get("a").unwrap().pending.unwrap().waiting.unwrap().code, "embedding_queued");
    world.ports.embedder.ready.set(true);
    assert_eq!(process(), Ok(Outcome::Served));
    assert_eq!(world.get("a").unwrap().counts.embedded, 150);
}

#[test]
fn a_database_that_was_lost_costs_no_original() {
    let world = World::new();
    block_on(world.ports.objects.put(&world.tenant, "originals/t/kept", b"x", "text/plain")).unwrap();
    world.ports.clock.advance(100 * SETTLED_AFTER);
    assert_eq!(block_on(world.ingest().sweep(60_000, true)).unwrap().objects, 0);
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
    assert!(matches!(&events[2], AnswerEvent::Usage(usage) if usage.tokens.total_tokens == 0));
    assert!(matches!(&events[3], AnswerEvent::Done(ending) if !ending.grounded && ending.model.is_none()));
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
    let last = |role| Message::new(role, "x");
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
