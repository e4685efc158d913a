//! Whatever happens to a bucket, and whatever becomes of events, jobs and calls: after a last sync the documents are what
//! the objects are.
//!
//! Each history is made from a number: `SOURCES_SEED=n` runs one of them and prints it, `SOURCES_CASES` says how many.

#![allow(clippy::unwrap_used, reason = "a test")]

use futures::executor::block_on;
use futures::task::noop_waker;
use ragflare_core::document::{DocumentId, Failure};
use ragflare_core::identity::{content_hash, is_copy};
use ragflare_core::ingest::{Change, Ingest, NewUpload, Precondition, pending_generation};
use ragflare_core::media::Readers;
use ragflare_core::ports::{
    Clock, DocumentStore, Head, Job, ListQuery, ObjectState, ObjectStore, SourceTable, SyncState,
};
use ragflare_core::settings::{Field, FieldType, Settings, Source};
use ragflare_core::sources::{STALE_AFTER, Sources};
use ragflare_core::testing::MemorySources;
use ragflare_core::testing::contract::Contract;
use ragflare_core::{Result, Tenant};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

const KEYS: [&str; 10] = [
    "docs/a.md",
    "docs/b c.md",
    "docs/d.md",
    "docs/draft.md",
    "docs/e.png",
    "docs/f/g.md",
    "docs/h/",
    "originals/me/source.1",
    "other/i.md",
    // In the source `docs` it gives the same document as `docs/b c.md`. Last, for it is left out where there are only events:
    // of two at once, neither knows of the other's object.
    "docs/b-c-155ebe7d.md",
];
/// The largest object taken.
const MAX_BYTES: u64 = 60;

fn settings() -> Settings {
    let fields = vec![Field { name: "year".into(), r#type: FieldType::Number }];
    let mut settings = Settings { fields, ..Settings::default() };
    let source = json!({"name": "docs", "tenant": "me", "prefix": "docs/", "exclude": ["**/draft*"], "id_prefix": "b/"});
    let other = json!({"name": "all", "tenant": "you", "metadata": {"year": 7}});
    settings.ingest.sources =
        vec![serde_json::from_value(source).unwrap(), serde_json::from_value(other).unwrap()];
    settings.validate().unwrap();
    settings
}

fn media_type(_: &Readers, declared: Option<&str>, key: &str) -> std::result::Result<String, Failure> {
    if declared == Some("image/png") || key.contains(".png") {
        return Err(Failure {
            code: "unsupported_media_type".into(),
            message: "can't read `image/png`".into(),
        });
    }
    Ok("text/markdown".into())
}

fn sources<'a>(world: &'a MemorySources, settings: &'a Settings) -> Sources<'a, MemorySources> {
    Sources::new(world, settings, MAX_BYTES, media_type)
}

/// What a message asks for, done.
async fn work(world: &MemorySources, settings: &Settings, job: Job, slow: bool) -> Result<()> {
    let sources = sources(world, settings);
    let pipeline = Ingest::new(world, settings);
    match job {
        Job::Look { source, key } => sources.look(sources.find(&source).unwrap(), &key).await,
        Job::Sync { source, run, after, sweep } => {
            sources.step(sources.find(&source).unwrap(), run, after.as_deref(), sweep, &|| !slow).await
        }
        Job::Process { tenant, document, generation, .. } => {
            for outcome in pipeline.process(&tenant, &[(document, generation)], &|| true).await {
                outcome?;
            }
            Ok(())
        }
        Job::Clean { tenant, document } => pipeline.clean(&tenant, &document).await.map(drop),
        Job::Confirm { .. } | Job::Reindex { .. } => Ok(()),
    }
}

/// An upload over HTTP.
async fn upload(
    world: &MemorySources,
    settings: &Settings,
    tenant: &str,
    id: &str,
    number: u64,
) -> Result<()> {
    let tenant = Tenant::new(tenant)?;
    let bytes = format!("uploaded {number}");
    let object_key = format!("originals/{tenant}/u{number}");
    world.ports.objects.put(&tenant, &object_key, bytes.as_bytes(), "text/markdown").await?;
    let upload = NewUpload {
        object_key,
        media_type: "text/markdown".into(),
        bytes: bytes.len() as u64,
        content_hash: content_hash(bytes.as_bytes()),
        ..NewUpload::default()
    };
    Ingest::new(world, settings)
        .register(&tenant, &DocumentId::new(id)?, &upload, &Precondition::None)
        .await?;
    Ok(())
}

/// Numbers by chance, the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

type Task<'a> = (Option<Job>, Pin<Box<dyn Future<Output = Result<()>> + 'a>>);

/// The hashes of what was uploaded, by tenant and id.
type Uploads = BTreeMap<(String, String), String>;

/// A history: what happens to the bucket and over HTTP, with events, jobs and syncs in any order, several at once, each call
/// of which may fail, and each task of which may be cut off. With `lossless` there are only the bucket and its events, which
/// all arrive in the end, twice, late and out of order. `uploaded` is what was before; returns what
/// was uploaded and not deleted since.
fn history(
    world: &MemorySources,
    settings: &Settings,
    seed: u64,
    lossless: bool,
    aloud: bool,
    mut uploaded: Uploads,
) -> Uploads {
    let mut random = Random(seed);
    let mut tasks: Vec<Task<'_>> = Vec::new();
    let mut events: Vec<String> = Vec::new();
    let mut uploads = seed * 1000;
    let too_much = "far too much ".repeat(6);
    let say = |what: String| {
        if aloud {
            println!("{what}");
        }
    };
    for _ in 0..40 + random.below(120) {
        match random.below(14) {
            0..3 => {
                let key = KEYS[random.below(KEYS.len() - usize::from(lossless))];
                if random.percent(25) {
                    say(format!("bucket: delete {key}"));
                    world.objects.borrow_mut().remove(&("SOURCE".into(), key.into()));
                } else {
                    let text = ["", "one", "two", "three", too_much.as_str()][random.below(5)];
                    let mut head = Head::default();
                    match random.below(8) {
                        0 => head.content_type = Some("image/png".into()),
                        1 => head.content_encoding = Some("gzip".into()),
                        2 => drop(head.metadata.insert("year".into(), "1999".into())),
                        3 => drop(head.metadata.insert("year".into(), "MCM".into())),
                        _ => {}
                    }
                    say(format!("bucket: put {key} `{text}` {head:?}"));
                    world.put("SOURCE", key, head, text.as_bytes());
                }
                for _ in 0..[usize::from(lossless), 1, 1, 2][random.below(4)] {
                    events.push(key.to_owned());
                }
            }
            3 if !lossless => {
                let (tenant, id) =
                    [("me", "b/docs/a.md"), ("me", "b/docs/d.md"), ("you", "docs/a.md")][random.below(3)];
                let id_ = DocumentId::new(id).unwrap();
                let tenant_ = Tenant::new(tenant).unwrap();
                match random.below(3) {
                    0 => {
                        say(format!("http: delete {tenant} {id}"));
                        uploaded.remove(&(tenant.to_owned(), id.to_owned()));
                        block_on(Ingest::new(world, settings).delete(&tenant_, &id_, &Precondition::None))
                            .unwrap();
                    }
                    1 => {
                        say(format!("http: change {tenant} {id}"));
                        let change = Change { title: Some(Some(format!("title {uploads}"))), metadata: None };
                        block_on(Ingest::new(world, settings).patch(
                            &tenant_,
                            &id_,
                            &change,
                            &Precondition::None,
                        ))
                        .unwrap();
                    }
                    _ => {
                        uploads += 1;
                        say(format!("http: put {tenant} {id} {uploads}"));
                        let hash = content_hash(format!("uploaded {uploads}").as_bytes());
                        uploaded.insert((tenant.to_owned(), id.to_owned()), hash);
                        block_on(upload(world, settings, tenant, id, uploads)).unwrap();
                    }
                }
            }
            4 if !events.is_empty() => {
                let key = events.swap_remove(random.below(events.len()));
                for source in &settings.ingest.sources {
                    if key.starts_with(&source.prefix) {
                        say(format!("event: {} {key}", source.name()));
                        let job = Job::Look { source: source.name(), key: key.clone() };
                        tasks.push((Some(job.clone()), Box::pin(work(world, settings, job, false))));
                    }
                }
            }
            5 if !lossless && random.percent(40) => {
                let source = &settings.ingest.sources[random.below(settings.ingest.sources.len())];
                let confirm = random.percent(50);
                say(format!("sync {} {confirm}", source.name()));
                tasks.push((
                    None,
                    Box::pin(async move { sources(world, settings).start(source, confirm).await.map(drop) }),
                ));
            }
            6 | 7 => {
                let waiting = world.ports.jobs.jobs.borrow().len();
                if waiting > 0 {
                    let job = world.ports.jobs.jobs.borrow_mut().remove(random.below(waiting)).unwrap();
                    if !lossless && random.percent(10) {
                        say(format!("lost: {job:?}"));
                        continue;
                    }
                    if random.percent(10) {
                        world.ports.jobs.jobs.borrow_mut().push_back(job.clone());
                    }
                    say(format!("begun: {job:?}"));
                    let slow = random.percent(30);
                    tasks.push((Some(job.clone()), Box::pin(work(world, settings, job, slow))));
                }
            }
            11 if !lossless && random.percent(30) => {
                let code = ["retries_exhausted", "over_daily_limit", "no_text"][random.below(3)];
                fail_what_waits(world, code);
                say(format!("fails: {code}"));
            }
            8 if !lossless && random.percent(20) => world.failing.set(Some(random.below(30) as u32)),
            9 if !lossless && !tasks.is_empty() && random.percent(10) => {
                let (job, _) = tasks.swap_remove(random.below(tasks.len()));
                say(format!("cut off: {job:?}"));
                if random.percent(50) {
                    world.ports.jobs.jobs.borrow_mut().extend(job);
                }
            }
            10 if random.percent(10) => world.ports.clock.advance(STALE_AFTER),
            _ => {
                for _ in 0..=random.below(12) {
                    if tasks.is_empty() {
                        break;
                    }
                    let chosen = random.below(tasks.len());
                    let waker = noop_waker();
                    let (job, task) = &mut tasks[chosen];
                    if let Poll::Ready(outcome) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                        say(format!("ended: {job:?} {outcome:?}"));
                        if outcome.is_err() && random.percent(70) {
                            world.ports.jobs.jobs.borrow_mut().extend(job.clone());
                        }
                        drop(tasks.swap_remove(chosen));
                    }
                }
            }
        }
    }
    if lossless {
        for key in events {
            for source in settings.ingest.sources.iter().filter(|source| key.starts_with(&source.prefix)) {
                let job = Job::Look { source: source.name(), key: key.clone() };
                tasks.push((Some(job.clone()), Box::pin(work(world, settings, job, false))));
            }
        }
        while !tasks.is_empty() {
            let chosen = random.below(tasks.len());
            let (job, task) = &mut tasks[chosen];
            if let Poll::Ready(outcome) = task.as_mut().poll(&mut Context::from_waker(&noop_waker())) {
                if outcome.is_err() {
                    world.ports.jobs.jobs.borrow_mut().extend(job.clone());
                }
                drop(tasks.swap_remove(chosen));
            }
        }
    }
    uploaded
}

fn next_job(world: &MemorySources) -> Option<Job> {
    world.ports.jobs.jobs.borrow_mut().pop_front()
}

/// Does all that waits to be done.
fn settle(world: &MemorySources, settings: &Settings) {
    world.failing.set(None);
    for _ in 0..10_000 {
        let Some(job) = next_job(world) else { return };
        block_on(work(world, settings, job, false)).unwrap();
    }
    panic!("it never ends");
}

/// A whole sync; how many objects differed.
fn sync(world: &MemorySources, settings: &Settings, source: &Source) -> u64 {
    world.ports.clock.advance(STALE_AFTER);
    block_on(sources(world, settings).start(source, true)).unwrap();
    settle(world, settings);
    let sync = block_on(world.sync(&source.name())).unwrap().unwrap();
    assert_eq!(sync.state, SyncState::Done);
    sync.changed
}

/// Whatever a source has in the works fails for this.
fn fail_what_waits(world: &MemorySources, code: &str) {
    let failure = Failure { code: code.into(), message: "as the test says".into() };
    for tenant in ["me", "you"] {
        let tenant = Tenant::new(tenant).unwrap();
        let listing = ListQuery { limit: 5000, ..ListQuery::default() };
        for found in block_on(world.ports.documents.list(&tenant, &listing)).unwrap() {
            let Some(generation) = pending_generation(&found) else { continue };
            let upload = block_on(world.ports.documents.upload(&tenant, &found.id, generation)).unwrap();
            if is_copy(&upload.unwrap().object_key) {
                let now = world.ports.clock.now();
                block_on(world.ports.documents.fail(&tenant, &found.id, generation, &failure, now)).unwrap();
            }
        }
    }
}

/// By tenant and id, what the newest generations failed for.
fn failures(world: &MemorySources) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for source in ["me", "you"] {
        let tenant = Tenant::new(source).unwrap();
        let listing = ListQuery { limit: 5000, ..ListQuery::default() };
        for found in block_on(world.ports.documents.list(&tenant, &listing)).unwrap() {
            let failure = found.pending.map_or(found.error, |pending| pending.error);
            all.extend(failure.map(|failure| ((tenant.to_string(), found.id.to_string()), failure.code)));
        }
    }
    all
}

/// Documents by tenant and id: the hash of their newest original.
fn documents(world: &MemorySources) -> BTreeMap<(String, String), (String, String, String)> {
    let mut all = BTreeMap::new();
    for tenant in ["me", "you"] {
        let tenant = Tenant::new(tenant).unwrap();
        let listing = ListQuery { limit: 5000, ..ListQuery::default() };
        for found in block_on(world.ports.documents.list(&tenant, &listing)).unwrap() {
            let upload =
                block_on(world.ports.documents.upload(&tenant, &found.id, found.newest)).unwrap().unwrap();
            let metadata = json!(upload.metadata).to_string();
            all.insert(
                (tenant.to_string(), found.id.to_string()),
                (upload.content_hash, metadata, upload.object_key),
            );
        }
    }
    all
}

/// Holds the documents against the objects; once there was a sync, also what is said of objects that are no documents: the note
/// of a late look may stand until then.
fn check(world: &MemorySources, settings: &Settings, uploaded: &Uploads, synced: bool) {
    let (mut found, failures) = (documents(world), failures(world));
    for (id, hash) in uploaded {
        assert_eq!(found.get(id).map(|(found, ..)| found), Some(hash), "{id:?} was uploaded");
    }
    for source in &settings.ingest.sources {
        let mut given = BTreeSet::new();
        for ((_, key), object) in world.objects.borrow().iter().filter(|((_, key), _)| source.takes(key)) {
            let id = source.document_id(key).unwrap();
            let place = (source.tenant.to_string(), id.to_string());
            let document = found.remove(&place);
            let row = world.rows.borrow().get(&(source.name(), key.clone())).cloned().expect(key);
            if !given.insert(id.clone()) {
                assert_eq!(row.row.state, ObjectState::Skipped, "{key}");
                assert!(row.remark.is_some_and(|(code, _)| code == "id_taken"), "{key}");
                continue;
            }
            let readable = (1..=MAX_BYTES).contains(&object.head.bytes)
                && object.head.content_encoding.is_none()
                && media_type(&Readers::default(), object.head.content_type.as_deref(), key).is_ok();
            let uploaded = document.as_ref().is_some_and(|(.., original)| !original.contains("source."));
            if uploaded || !readable {
                assert!(!synced || row.row.state == ObjectState::Skipped, "{key}");
                assert!(!synced || row.remark.is_some() && !row.row.pending, "{key}");
                continue;
            }
            let failure = failures.get(&place).map(String::as_str);
            assert!(matches!(failure, None | Some("no_text")), "{key}: {failure:?}");
            let (hash, metadata, original) = document.unwrap_or_else(|| panic!("{key} has no document"));
            assert_eq!(hash, content_hash(&object.bytes), "{key}");
            let year = object.head.metadata.get("year").map(String::as_str);
            let expected = match (source.name().as_str(), year) {
                ("all", _) => json!({"year": 7}),
                (_, Some("1999")) => json!({"year": 1999}),
                _ => json!({}),
            };
            assert_eq!(metadata, expected.to_string(), "{key}");
            assert_eq!(row.row.state, ObjectState::Taken, "{key}");
            assert_eq!(row.row.original.as_deref(), Some(original.as_str()), "{key}");
            let ignored = row.remark.as_ref().is_some_and(|(code, _)| code == "metadata_ignored");
            assert_eq!(ignored, year == Some("MCM"), "{key}");
        }
    }
    // Whatever else there is was uploaded.
    for (id, (.., original)) in &found {
        assert!(!original.contains("source."), "{id:?} has no object");
    }
    for ((name, key), _) in world.rows.borrow().iter() {
        assert!(world.objects.borrow().contains_key(&("SOURCE".into(), key.clone())), "row {name} {key}");
        let mut sources = settings.ingest.sources.iter();
        assert!(sources.any(|source| source.name() == *name && source.takes(key)), "row {name} {key}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Histories, each under these settings one after the other, and then a last sync.
fn histories(chapters: &[Settings], cases: u64) {
    let (start, cases) = match number("SOURCES_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SOURCES_CASES").unwrap_or(cases)),
    };
    let settings = chapters.last().unwrap();
    for seed in start..start + cases {
        let outcome = std::panic::catch_unwind(|| {
            let (world, mut uploaded) = (MemorySources::default(), Uploads::new());
            for (chapter, seed) in chapters.iter().zip(seed..) {
                let aloud = number("SOURCES_SEED").is_some();
                uploaded = history(&world, chapter, seed, false, aloud, uploaded);
            }
            settle(&world, settings);
            for source in &settings.ingest.sources {
                sync(&world, settings, source);
            }
            check(&world, settings, &uploaded, true);
            let before = (documents(&world), world.written.get());
            // What is as it was costs nothing.
            for source in &settings.ingest.sources {
                assert_eq!(sync(&world, settings, source), 0, "{}", source.name());
            }
            assert_eq!((documents(&world), world.written.get()), before);
        });
        if let Err(panic) = outcome {
            println!(
                "to repeat: SOURCES_SEED={seed} cargo test -p ragflare-core --features testing --test sources"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn documents_are_what_objects_are_after_a_last_sync() {
    histories(&[settings()], 3000);
}

#[test]
fn documents_are_what_objects_are_although_a_source_was_split() {
    let mut split = settings();
    split.ingest.sources[0].prefix = "docs/a".into();
    for prefix in ["docs/b", "docs/d"] {
        let source =
            Source { name: Some(prefix.into()), prefix: prefix.into(), ..split.ingest.sources[0].clone() };
        split.ingest.sources.push(source);
    }
    split.validate().unwrap();
    histories(&[settings(), split], 1000);
}

/// Looks one after the other would always do; these overlap.
#[test]
fn events_alone_do_as_long_as_none_is_lost() {
    let settings = settings();
    for seed in 0..3000 {
        let world = MemorySources::default();
        history(&world, &settings, seed, true, false, Uploads::new());
        settle(&world, &settings);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&world, &settings, &Uploads::new(), false);
        }));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_in_memory_sources_keep_the_contract() {
    let world = MemorySources::default();
    let cases = block_on(Contract::new(&world, "run", Vec::new()).run_sources());
    let faults: Vec<_> = cases.iter().filter(|case| case.fault.is_some()).collect();
    assert!(faults.is_empty() && cases.len() >= 5, "{faults:?}");
}

#[test]
fn a_bucket_that_lists_nothing_deletes_nothing_unless_it_is_meant() {
    let (world, settings) = (MemorySources::default(), settings());
    let source = &settings.ingest.sources[1];
    let last = || block_on(world.sync("all")).unwrap().unwrap();
    assert_eq!(sync(&world, &settings, source), 0);
    for key in ["x/1.md", "x/2.md"] {
        world.put("SOURCE", key, Head::default(), key.as_bytes());
    }
    assert_eq!(sync(&world, &settings, source), 2);
    world.objects.borrow_mut().clear();
    let sources = sources(&world, &settings);
    for _ in 0..2 {
        block_on(sources.start(source, false)).unwrap();
        settle(&world, &settings);
        assert_eq!((last().state, last().code.as_deref()), (SyncState::Refused, Some("empty_listing")));
        assert!(last().message.unwrap().contains("2 documents came from it"));
        assert_eq!(documents(&world).len(), 2);
    }
    block_on(sources.start(source, true)).unwrap();
    settle(&world, &settings);
    assert_eq!(last().state, SyncState::Done);
    assert!(documents(&world).is_empty() && world.rows.borrow().is_empty());
}

#[test]
fn a_sync_that_is_asked_for_twice_is_done_once_more() {
    let (world, settings) = (MemorySources::default(), settings());
    let source = &settings.ingest.sources[1];
    let sources = sources(&world, &settings);
    assert_eq!(block_on(sources.start(source, false)).unwrap().run, 1);
    assert_eq!(block_on(sources.start(source, false)).unwrap().run, 1);
    assert_eq!(block_on(sources.start(source, false)).unwrap().run, 1);
    settle(&world, &settings);
    assert_eq!(block_on(world.sync("all")).unwrap().unwrap().run, 2);
    // By itself only when its time has come; one that lost its job, earlier.
    assert_eq!(block_on(sources.start_due()).unwrap(), 1, "the other one");
    world.ports.jobs.jobs.borrow_mut().clear();
    assert_eq!(block_on(sources.start_due()).unwrap(), 0);
    world.ports.clock.advance(STALE_AFTER);
    assert_eq!(block_on(sources.start_due()).unwrap(), 1);
    settle(&world, &settings);
    world.ports.clock.advance(60 * 60_000 - STALE_AFTER);
    assert_eq!(block_on(sources.start_due()).unwrap(), 1);
}

#[test]
fn pages_are_gone_through_in_order_and_a_moved_source_leaves_nothing() {
    let (world, mut settings) = (MemorySources::default(), settings());
    settings.ingest.sources.remove(0);
    for number in 0..1234 {
        let key = format!("{number:05}.md");
        world.put("SOURCE", &key, Head::default(), key.as_bytes());
    }
    let source = settings.ingest.sources[0].clone();
    assert_eq!(sync(&world, &settings, &source), 1234);
    let sync_of = || block_on(world.sync("all")).unwrap().unwrap();
    assert_eq!((sync_of().listed, sync_of().excluded), (1234, 0));
    world.objects.borrow_mut().retain(|(_, key), _| !key.ends_with("7.md"));
    assert_eq!(sync(&world, &settings, &source), 0);
    assert_eq!((documents(&world).len(), world.rows.borrow().len()), (1111, 1111));
    settings.ingest.sources[0].tenant = Tenant::new("me").unwrap();
    settings.ingest.sources[0].exclude = vec!["*5.md".into()];
    let source = settings.ingest.sources[0].clone();
    sync(&world, &settings, &source);
    assert_eq!((sync_of().listed, sync_of().excluded), (1111, 123));
    let found = documents(&world);
    assert_eq!((found.len(), world.rows.borrow().len()), (988, 988));
    assert!(found.keys().all(|(tenant, id)| tenant == "me" && !id.ends_with("5.md")));
}

/// A source over everything, of the tenant `you`.
fn one_source() -> Settings {
    let mut settings = settings();
    settings.ingest.sources.remove(0);
    settings
}

/// The code noted for an object.
fn remark(world: &MemorySources, source: &str, key: &str) -> Option<String> {
    let rows = world.rows.borrow();
    rows[&(source.to_owned(), key.to_owned())].remark.as_ref().map(|(code, _)| code.clone())
}

#[test]
fn what_failed_for_a_passing_reason_is_taken_by_the_next_sync() {
    let (world, settings) = (MemorySources::default(), one_source());
    let source = &settings.ingest.sources[0];
    for key in ["a.md", "b.md"] {
        world.put("SOURCE", key, Head::default(), key.as_bytes());
    }
    for (code, again) in [("retries_exhausted", 2), ("over_daily_limit", 2), ("no_text", 0)] {
        let sources = sources(&world, &settings);
        for key in ["a.md", "b.md"] {
            world.put("SOURCE", key, Head::default(), format!("{code} {key}").as_bytes());
            block_on(sources.look(source, key)).unwrap();
        }
        fail_what_waits(&world, code);
        settle(&world, &settings);
        assert_eq!(failures(&world).len(), 2);
        assert_eq!(sync(&world, &settings, source), again, "{code}");
        assert_eq!(failures(&world).len(), 2 - again as usize);
        assert_eq!(sync(&world, &settings, source), 0, "{code}");
    }
}

#[test]
fn a_source_that_is_split_loses_no_document() {
    let (world, mut settings) = (MemorySources::default(), one_source());
    for key in ["docs/a.md", "docs/b.md", "notes/c.md"] {
        world.put("SOURCE", key, Head::default(), key.as_bytes());
    }
    sync(&world, &settings, &settings.ingest.sources[0].clone());
    let before: Vec<_> = documents(&world).into_keys().collect();
    // The part that is left keeps the name.
    settings.ingest.sources[0].prefix = "notes/".into();
    let split = json!({"name": "docs", "tenant": "you", "prefix": "docs/"});
    settings.ingest.sources.push(serde_json::from_value(split).unwrap());
    settings.validate().unwrap();
    // Gone before its new source was ever synced.
    world.objects.borrow_mut().remove(&("SOURCE".into(), "docs/b.md".into()));
    world.ports.clock.advance(STALE_AFTER);
    block_on(sources(&world, &settings).start(&settings.ingest.sources[0], false)).unwrap();
    while let Some(job) = next_job(&world) {
        block_on(work(&world, &settings, job, false)).unwrap();
        assert!(documents(&world).contains_key(&("you".into(), "docs/a.md".into())));
    }
    let after: Vec<_> = documents(&world).into_keys().collect();
    assert_eq!(after, [before[0].clone(), before[2].clone()]);
    let rows: Vec<_> = world.rows.borrow().keys().cloned().collect();
    assert_eq!(rows, [("all".into(), "notes/c.md".into()), ("docs".into(), "docs/a.md".into())]);
    check(&world, &settings, &Uploads::new(), true);
}

#[test]
fn a_sync_stands_behind_a_bounded_number_of_its_own_looks() {
    let (world, settings) = (MemorySources::default(), one_source());
    let source = &settings.ingest.sources[0];
    for number in 0..7000 {
        world.put("SOURCE", &format!("{number:05}.md"), Head::default(), b"");
    }
    // A listing, and then the sweeping of what is gone.
    for emptied in [false, true] {
        if emptied {
            world.objects.borrow_mut().clear();
        }
        world.ports.clock.advance(STALE_AFTER);
        block_on(sources(&world, &settings).start(source, true)).unwrap();
        let mut looks = 0;
        while let Some(job) = next_job(&world) {
            if matches!(job, Job::Sync { .. }) {
                world.ports.clock.advance(STALE_AFTER / 2);
                block_on(work(&world, &settings, job, false)).unwrap();
                let now = world.ports.clock.now();
                assert_eq!(block_on(world.sync("all")).unwrap().unwrap().moved_at, now);
                let asked = world.ports.jobs.jobs.borrow().len();
                assert!(asked <= 5001, "{asked} jobs");
                looks += asked - usize::from(looks == 0);
            } else {
                block_on(work(&world, &settings, job, false)).unwrap();
            }
        }
        assert_eq!(looks, 7000);
        assert_eq!(block_on(world.sync("all")).unwrap().unwrap().state, SyncState::Done);
    }
    assert!(world.rows.borrow().is_empty());
}

#[test]
fn another_reader_copies_nothing() {
    let (world, mut settings) = (MemorySources::default(), one_source());
    world.put("SOURCE", "a.md", Head::default(), b"text");
    world.put("SOURCE", "b.png", Head::default(), b"image");
    sync(&world, &settings, &settings.ingest.sources[0].clone());
    settings.ingest.to_markdown = vec!["application/pdf".into()];
    let source = settings.ingest.sources[0].clone();
    assert_eq!((sync(&world, &settings, &source), world.copied.get()), (1, 1), "the image only");
    assert_eq!(sync(&world, &settings, &source), 0);
}

#[test]
fn what_is_refused_is_not_copied_before() {
    let (world, mut settings) = (MemorySources::default(), one_source());
    let source = settings.ingest.sources[0].clone();
    world.put("SOURCE", "a.md", Head::default(), b"text");
    world.ports.documents.set_size(Some((9_000_000_000, 0)));
    for _ in 0..2 {
        assert_eq!(sync(&world, &settings, &source), 1);
        assert_eq!(remark(&world, "all", "a.md").as_deref(), Some("database_full"));
    }
    assert_eq!(world.copied.get(), 0);
    world.ports.documents.set_size(None);
    sync(&world, &settings, &source);
    assert_eq!((remark(&world, "all", "a.md"), world.copied.get()), (None, 1));
    settings.embedding.document_prefix = "passage: ".into();
    world.put("SOURCE", "a.md", Head::default(), b"other text");
    sync(&world, &settings, &source);
    assert_eq!(remark(&world, "all", "a.md").as_deref(), Some("embedding_settings_changed"));
    assert_eq!(world.copied.get(), 1);
}

#[test]
fn a_binding_that_is_missing_is_noted_and_deletes_nothing() {
    let (world, settings) = (MemorySources::default(), one_source());
    let source = &settings.ingest.sources[0];
    world.put("SOURCE", "a.md", Head::default(), b"text");
    sync(&world, &settings, source);
    *world.unbound.borrow_mut() = Some("SOURCE".into());
    for key in ["a.md", "b.md"] {
        block_on(sources(&world, &settings).look(source, key)).unwrap();
        assert_eq!(remark(&world, "all", key).as_deref(), Some("misconfigured"));
    }
    assert_eq!(documents(&world).len(), 1);
    // Bound again, to the wrong bucket.
    *world.unbound.borrow_mut() = None;
    let object = world.objects.borrow_mut().pop_first().unwrap();
    block_on(sources(&world, &settings).start(source, false)).unwrap();
    settle(&world, &settings);
    assert_eq!(block_on(world.sync("all")).unwrap().unwrap().state, SyncState::Refused);
    world.objects.borrow_mut().insert(object.0, object.1);
    sync(&world, &settings, source);
    check(&world, &settings, &Uploads::new(), true);
    assert_eq!(sync(&world, &settings, source), 0);
}

#[test]
fn of_keys_that_give_one_id_the_first_is_the_document() {
    let (world, settings) = (MemorySources::default(), one_source());
    let source = &settings.ingest.sources[0];
    let first = "a b.md";
    let second = source.document_id(first).unwrap().to_string();
    let look = |key: &str| block_on(sources(&world, &settings).look(source, key)).unwrap();
    let is = |text: &str| {
        settle(&world, &settings);
        let found = documents(&world);
        assert_eq!(found[&("you".into(), second.clone())].0, content_hash(text.as_bytes()));
    };
    world.put("SOURCE", &second, Head::default(), b"second");
    look(&second);
    is("second");
    world.put("SOURCE", first, Head::default(), b"first");
    look(first);
    is("first");
    assert_eq!(remark(&world, "all", &second).as_deref(), Some("id_taken"));
    assert_eq!(sync(&world, &settings, source), 0);
    // What was refused goes, and its going deletes nothing.
    world.objects.borrow_mut().remove(&("SOURCE".into(), second.clone()));
    look(&second);
    is("first");
    world.put("SOURCE", &second, Head::default(), b"second");
    look(&second);
    is("first");
    world.objects.borrow_mut().remove(&("SOURCE".into(), first.into()));
    look(first);
    is("second");
    assert_eq!(sync(&world, &settings, source), 0);
}

#[test]
fn a_title_that_is_too_long_is_left_out_with_a_remark() {
    let (world, settings) = (MemorySources::default(), one_source());
    for (length, code) in [(512, None), (513, Some("metadata_ignored"))] {
        let metadata = BTreeMap::from([("title".to_owned(), "x".repeat(length))]);
        world.put("SOURCE", "a.md", Head { metadata, ..Head::default() }, b"text");
        sync(&world, &settings, &settings.ingest.sources[0]);
        assert_eq!(remark(&world, "all", "a.md").as_deref(), code);
    }
}

#[test]
fn ids_that_move_over_one_another_end_where_they_belong() {
    let (world, mut settings) = (MemorySources::default(), one_source());
    for key in ["a.md", "docs/a.md", "docs/docs/a.md", "z.md"] {
        world.put("SOURCE", key, Head::default(), key.as_bytes());
    }
    for id_prefix in ["", "docs/", "docs/docs/", "", "docs/"] {
        settings.ingest.sources[0].id_prefix = id_prefix.into();
        let source = settings.ingest.sources[0].clone();
        sync(&world, &settings, &source);
        check(&world, &settings, &Uploads::new(), true);
        assert_eq!(sync(&world, &settings, &source), 0, "{id_prefix}");
    }
}
