//! Runs a case: tasks over the in-memory ports, polled as the script says, on one thread.

use crate::check;
use crate::model::{Answer, Model, Original, Role, Version, must};
use crate::script::{Condition, Doc, Op, Script, Step, Why, Wrong};
use crate::texts::{self, Body, id, tenant};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use ragflare_core::document::{Document, Failure, Millis};
use ragflare_core::identity::Namespace;
use ragflare_core::ingest::{Change, Ingest, NewUpload, Precondition, Registered, Reindex, SETTLED_AFTER};
use ragflare_core::keyword;
use ragflare_core::ports::{Clock, DocumentStore, Job, KeywordIndex, ObjectStore, Ports, VectorIndex};
use ragflare_core::settings::Settings;
use ragflare_core::testing::{Call, Chaos, Effect, Fate, Hand, MemoryPorts, Service};
use ragflare_core::{Error, Result, Retry};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Tasks at once.
const TASKS: usize = 3;
/// The longest a task lives: what Queues gives a consumer.
const LIFETIME: Millis = 15 * 60 * 1000;
/// Polls after which a task is taken to run in circles.
const POLLS: usize = 200_000;
/// Rounds of sweeping after which a case is taken to never come to rest.
const ROUNDS: usize = 40;
/// Why generations fail that are given up by hand.
const GIVEN_UP: &str = "given_up";
const DAY: Millis = 24 * 60 * 60 * 1000;

pub(crate) type Verdict = std::result::Result<(), String>;

/// A job on its way.
#[derive(Clone, Debug)]
struct Message {
    job: Job,
    due: Millis,
}

/// What the ports are in the hand of.
struct Control {
    ports: Rc<MemoryPorts>,
    model: RefCell<Model>,
    faults: RefCell<Vec<(u16, Wrong)>>,
    queue: RefCell<Vec<Message>>,
    crashed: RefCell<BTreeSet<usize>>,
    killed: Cell<bool>,
    stored: RefCell<BTreeMap<String, Millis>>,
    /// Writes to the vector index on their way, and since when.
    late: RefCell<Vec<(Millis, LocalBoxFuture<'static, ()>)>>,
    trouble: RefCell<Option<String>>,
    calls: Cell<u64>,
    /// What happened, when somebody wants to know.
    trace: Option<RefCell<Vec<String>>>,
}

/// How a task ended.
enum End {
    Answer(Answer),
    /// Of each message: in how many seconds it is to come again, if at all.
    Messages(Vec<Option<u64>>),
    Done,
    Wrong(String),
}

struct Task {
    number: usize,
    name: String,
    future: LocalBoxFuture<'static, End>,
    messages: Vec<Message>,
    started: Millis,
    held: bool,
}

/// A case being run.
pub(crate) struct World {
    pub(crate) ports: Rc<MemoryPorts>,
    control: Rc<Control>,
    pub(crate) settings: Rc<Settings>,
    tasks: Vec<Task>,
    callers: usize,
    uploads: usize,
    even: bool,
}

/// A case that failed.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

/// What a case took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) calls: u64,
    pub(crate) generations: u64,
}

/// Runs a case to its end and compares.
pub(crate) fn run(script: &Script, trace: bool) -> std::result::Result<Taken, Trouble> {
    let mut world = World::new(script.seed.is_multiple_of(2), trace);
    let verdict = world.play(script);
    let control = &world.control;
    match verdict {
        Ok(()) => {
            let model = control.model.borrow();
            let generations = model.lives.values().map(|life| life.versions.len() as u64).sum();
            Ok(Taken { calls: control.calls.get(), generations })
        }
        Err(what) => {
            let trace = control.trace.as_ref().map(|trace| trace.borrow().clone()).unwrap_or_default();
            Err(Trouble { what, trace })
        }
    }
}

/// The in-memory ports as the cases need them.
pub(crate) fn memory() -> MemoryPorts {
    let ports = MemoryPorts::default();
    *ports.embedder.refuse.borrow_mut() = Some(Body::REFUSED.into());
    ports.vectors.dimensions.borrow_mut().push(texts::settings(0, false).embedding.dimensions);
    ports
}

/// The answer of a call to ports that never wait.
pub(crate) fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().unwrap()
}

impl Control {
    fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.borrow_mut().push(what());
        }
    }

    fn judge(&self, verdict: Verdict) {
        if let Err(what) = verdict {
            self.note(|| format!("!!! {what}"));
            self.trouble.borrow_mut().get_or_insert(what);
        }
    }

    fn now(&self) -> Millis {
        self.ports.clock.now()
    }

    fn shown(&self, doc: Doc) -> Option<Document> {
        now(self.ports.documents.get(&tenant(doc.0), &id(doc.1))).unwrap()
    }

    fn look(&self, doc: Doc) {
        let shown = self.shown(doc);
        self.judge(self.model.borrow_mut().show(doc, shown));
    }

    /// Does what was to be done later, if that was decided before this time.
    fn land(&self, before: Millis) {
        let (due, late): (Vec<_>, Vec<_>) =
            self.late.take().into_iter().partition(|(since, _)| *since < before);
        self.late.replace(late);
        for (_, call) in due {
            self.note(|| "  late:".into());
            now(call);
        }
    }

    fn verdict(&self) -> Verdict {
        self.trouble.borrow().clone().map_or(Ok(()), Err)
    }
}

fn error(service: Service, why: Why) -> Error {
    let (service, code) = match service {
        Service::Embedder => ("embedder", 3040),
        Service::Vectors => ("vectors", 40041),
        Service::Documents => ("database", 7500),
        Service::Objects => ("objects", 10001),
        Service::Converter => ("converter", 500),
        Service::Jobs => ("queue", 11000),
        Service::Reranker => ("reranker", 3040),
    };
    let retry = match why {
        Why::Busy => Retry::Busy,
        Why::Backoff => Retry::Backoff,
        Why::Midnight => Retry::AfterMidnightUtc,
    };
    Error::Service { service, retry, code: Some(code), message: "injected".into() }
}

/// The error a service gives when it must give one.
fn usual(service: Service) -> Error {
    let busy = matches!(service, Service::Embedder | Service::Vectors);
    error(service, if busy { Why::Busy } else { Why::Backoff })
}

impl Hand for Control {
    fn fate(&self, caller: usize, call: Call) -> Fate {
        self.calls.set(self.calls.get() + 1);
        if self.killed.get() {
            return Fate::Crash;
        }
        let mut faults = self.faults.borrow_mut();
        let mut struck = None;
        faults.retain_mut(|(after, wrong)| {
            let applies = match wrong {
                Wrong::Refused(service, _) | Wrong::Denied(service, _) => *service == call.service,
                Wrong::Running | Wrong::Lost => call.name == "collect",
                Wrong::Late(_) => {
                    call.service == Service::Vectors && matches!(call.name, "upsert" | "delete")
                }
                _ => true,
            };
            if !applies {
                return true;
            }
            if *after == 0 && struck.is_none() {
                struck = Some(*wrong);
                return false;
            }
            *after = after.saturating_sub(1);
            true
        });
        let fate = match struck {
            None => Fate::GoOn,
            Some(Wrong::Crash | Wrong::Kill) => Fate::Crash,
            Some(Wrong::CrashAfter | Wrong::KillAfter) => Fate::CrashAfter,
            Some(Wrong::Refused(service, why)) => Fate::Refused(error(service, why)),
            Some(Wrong::Denied(service, why)) => Fate::Denied(error(service, why)),
            Some(Wrong::AnyRefused) => Fate::Refused(usual(call.service)),
            Some(Wrong::AnyDenied) => Fate::Denied(usual(call.service)),
            Some(Wrong::Late(why)) => Fate::Late(error(call.service, why)),
            Some(Wrong::Running) => Fate::Running,
            Some(Wrong::Lost) => Fate::Lost,
        };
        if matches!(struck, Some(Wrong::Kill | Wrong::KillAfter)) {
            self.killed.set(true);
        }
        if matches!(fate, Fate::Crash | Fate::CrashAfter) {
            self.crashed.borrow_mut().insert(caller);
        }
        self.note(|| {
            let how = struck.map(|wrong| format!("  <- {wrong:?}")).unwrap_or_default();
            format!("    {caller}: {:?}.{}{how}", call.service, call.name)
        });
        fate
    }

    fn done(&self, caller: usize, effect: &Effect<'_>) {
        match effect {
            Effect::Begun(tenant, document, generation, upload) => {
                let doc = self.model.borrow().doc(tenant, document);
                self.note(|| format!("        {doc}@{generation} begun"));
                self.judge(self.model.borrow_mut().begun(caller, doc, *generation, upload));
                self.look(doc);
            }
            Effect::Deleted(tenant, documents) => {
                for document in *documents {
                    let doc = self.model.borrow().doc(tenant, document);
                    self.note(|| format!("        {doc} deleted"));
                    self.judge(self.model.borrow_mut().deleted(caller, doc));
                    self.look(doc);
                }
            }
            Effect::Changed(tenant, Some(document)) => {
                let doc = self.model.borrow().doc(tenant, document);
                self.look(doc);
            }
            Effect::Changed(tenant, None) => {
                let docs: Vec<Doc> = self.model.borrow().lives.keys().copied().collect();
                docs.into_iter()
                    .filter(|doc| texts::tenant(doc.0) == **tenant)
                    .for_each(|doc| self.look(doc));
            }
            Effect::Forgotten(vectors) => {
                self.model.borrow_mut().forgotten.extend(vectors.iter().cloned());
            }
            Effect::Upserted(_, _, entries, _) => {
                self.note(|| {
                    let ids: Vec<&str> = entries.iter().map(|entry| &entry.id[..6]).collect();
                    format!("        upserted {ids:?}")
                });
                self.model.borrow_mut().index.extend(entries.iter().map(|entry| entry.id.clone()));
            }
            Effect::Removed(ids) => {
                self.note(|| {
                    format!("        removed {:?}", ids.iter().map(|id| &id[..6]).collect::<Vec<_>>())
                });
                let mut model = self.model.borrow_mut();
                model.index.retain(|vector| !ids.contains(vector));
            }
            Effect::Stored(key) => drop(self.stored.borrow_mut().insert((*key).to_owned(), self.now())),
            Effect::Dropped(keys) => {
                self.note(|| format!("        dropped {keys:?}"));
                self.judge(self.model.borrow().dropped(keys));
            }
            Effect::Sent(jobs, seconds) => {
                self.ports.jobs.jobs.borrow_mut().clear();
                self.ports.jobs.sent.borrow_mut().clear();
                let due = self.now() + u64::from(*seconds) * 1000;
                let messages = jobs.iter().map(|job| Message { job: job.clone(), due });
                self.queue.borrow_mut().extend(messages);
            }
        }
    }

    fn later(&self, call: LocalBoxFuture<'static, ()>) {
        self.late.borrow_mut().push((self.now(), call));
    }

    fn uploaded(&self, key: &str) -> Millis {
        self.stored.borrow().get(key).copied().unwrap_or_default()
    }
}

impl World {
    fn new(even: bool, trace: bool) -> Self {
        let ports = Rc::new(memory());
        let control = Rc::new(Control {
            ports: ports.clone(),
            model: RefCell::new(Model::new()),
            faults: RefCell::default(),
            queue: RefCell::default(),
            crashed: RefCell::default(),
            killed: Cell::default(),
            stored: RefCell::default(),
            late: RefCell::default(),
            trouble: RefCell::default(),
            calls: Cell::default(),
            trace: trace.then(RefCell::default),
        });
        let settings = Rc::new(texts::settings(0, false));
        Self { ports, control, settings, tasks: Vec::new(), callers: 0, uploads: 0, even }
    }

    fn play(&mut self, script: &Script) -> Verdict {
        for (number, step) in script.steps.iter().enumerate() {
            self.control.note(|| format!("{step:?}"));
            self.step(step);
            self.control.verdict()?;
            if number % 4 == 3 {
                self.search()?;
            }
        }
        self.control.note(|| "the end of the script".into());
        self.settle()?;
        check::check(self, &self.control.model.borrow())
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Start(op) => self.start(op),
            Step::Deliver { which, count, keep, early, budget } => {
                self.deliver(usize::from(*which), usize::from(*count), *keep, *early, *budget);
            }
            Step::DeliverAll => self.deliver_all(),
            Step::Run { which, polls } => {
                let free: Vec<usize> = (0..self.tasks.len()).filter(|at| !self.tasks[*at].held).collect();
                if let Some(at) = free.get(usize::from(*which) % free.len().max(1)) {
                    let _ = (0..*polls).any(|_| self.poll(*at));
                }
            }
            Step::Hold { polls } => {
                let at = self.tasks.len().wrapping_sub(1);
                let held = self.tasks.iter().any(|task| task.held);
                if !held && at < self.tasks.len() && !(0..*polls).any(|_| self.poll(at)) {
                    self.control.note(|| format!("  {} is held", self.tasks[at].number));
                    self.tasks[at].held = true;
                }
            }
            Step::Release(wrong) => {
                if let Some(at) = self.tasks.iter().position(|task| task.held) {
                    self.control.note(|| format!("  {} is released", self.tasks[at].number));
                    self.control.faults.borrow_mut().extend(wrong.map(|wrong| (0, wrong)));
                    self.run_out(at);
                }
            }
            Step::Finish => self.finish(),
            Step::Fault { after, wrong } => self.control.faults.borrow_mut().push((*after, *wrong)),
            Step::Kill => self.kill(),
            Step::Lag(true) => self.ports.vectors.lag(),
            Step::Lag(false) => self.ports.vectors.settle(),
            Step::Wait(seconds) => {
                let by = u64::from(*seconds) * 1000;
                let until = self.control.now() + by;
                while let Some(at) = self.tasks.iter().position(|task| task.started + LIFETIME < until) {
                    self.run_out(at);
                }
                self.control.land(until.saturating_sub(LIFETIME));
                self.ports.clock.advance(by);
            }
            Step::Land => self.control.land(Millis::MAX),
            Step::WaitLong(hours) => {
                self.step(&Step::Release(None));
                self.finish();
                self.control.land(Millis::MAX);
                self.ports.clock.advance(u64::from(*hours) * 60 * 60 * 1000);
            }
            Step::Configure { variant, batch_api } => {
                self.settings = Rc::new(texts::settings(*variant, *batch_api));
            }
        }
    }

    fn spawn(&mut self, name: String, messages: Vec<Message>, future: LocalBoxFuture<'static, End>) {
        let number = self.callers - 1;
        self.control.note(|| format!("  {number}: {name}"));
        let started = self.control.now();
        self.tasks.push(Task { number, name, future, messages, started, held: false });
    }

    /// Ports and settings for a new task.
    fn caller(&mut self) -> (usize, Chaos<MemoryPorts>, Rc<Settings>) {
        while self.tasks.len() >= TASKS {
            let free = self.tasks.iter().position(|task| !task.held);
            self.run_out(free.unwrap_or(0));
        }
        self.callers += 1;
        let number = self.callers - 1;
        let ports = Chaos::new(self.ports.clone(), self.control.clone(), number);
        (number, ports, self.settings.clone())
    }

    fn condition(&self, doc: Doc, condition: Condition) -> Precondition {
        let current = self.control.shown(doc).map_or(0, |shown| shown.current());
        match condition {
            Condition::None => Precondition::None,
            Condition::Exists => Precondition::Exists,
            Condition::Absent => Precondition::Absent,
            Condition::Current => Precondition::Current(vec![current]),
            Condition::Stale => Precondition::Current(vec![current.saturating_sub(1)]),
        }
    }

    fn watch(&self, number: usize, role: Role, condition: &Precondition) {
        self.control.model.borrow_mut().watch(number, role, condition.clone());
    }

    fn start(&mut self, op: &Op) {
        match op {
            Op::Put { doc, body, title, meta, condition, at_once } => {
                self.put(*doc, body, title.map(texts::title), *meta, *condition, *at_once);
            }
            Op::Patch { doc, title, meta, condition } => {
                let (number, ports, settings) = self.caller();
                let condition = self.condition(*doc, *condition);
                let change = Change {
                    title: title.map(|title| title.map(texts::title)),
                    metadata: meta.map(texts::Meta::json),
                };
                self.watch(number, Role::Patch { doc: *doc, change: change.clone() }, &condition);
                let (tenant, document) = (tenant(doc.0), id(doc.1));
                let future = async move {
                    let ingest = Ingest::new(&ports, &settings);
                    let answer = match ingest.patch(&tenant, &document, &change, &condition).await {
                        Ok(None) => Answer::Missing,
                        Ok(Some(Registered::Unchanged(_))) => Answer::Unchanged,
                        Ok(Some(Registered::Queued(_))) => Answer::Queued,
                        Err(error) => refusal(&error),
                    };
                    End::Answer(answer)
                };
                self.spawn(format!("patch {doc}"), Vec::new(), future.boxed_local());
            }
            Op::Delete { doc, condition } => {
                let (number, ports, settings) = self.caller();
                let condition = self.condition(*doc, *condition);
                self.watch(number, Role::Delete { doc: *doc }, &condition);
                let (tenant, document) = (tenant(doc.0), id(doc.1));
                let future = async move {
                    let ingest = Ingest::new(&ports, &settings);
                    let answer = match ingest.delete(&tenant, &document, &condition).await {
                        Ok(true) => Answer::Deleted,
                        Ok(false) => Answer::Missing,
                        Err(error) => refusal(&error),
                    };
                    End::Answer(answer)
                };
                self.spawn(format!("delete {doc}"), Vec::new(), future.boxed_local());
            }
            Op::DeletePrefix { tenant: number } => {
                let (_, ports, settings) = self.caller();
                let tenant = tenant(*number);
                let future = async move {
                    let _ = Ingest::new(&ports, &settings).delete_prefix(&tenant, "notes/").await;
                    End::Done
                };
                self.spawn("delete notes/".into(), Vec::new(), future.boxed_local());
            }
            Op::Sweep { older_than, objects } => {
                let (_, ports, settings) = self.caller();
                let (older_than, objects) = (*older_than, *objects);
                let future = async move {
                    let _ = Ingest::new(&ports, &settings).sweep(older_than, objects).await;
                    End::Done
                };
                self.spawn("sweep".into(), Vec::new(), future.boxed_local());
            }
            Op::Reindex { tenant: number, document, force } => {
                let (_, ports, settings) = self.caller();
                let tenant = tenant(*number);
                let request = Reindex { document: document.map(id), force: *force };
                let name = format!("reindex {request:?}");
                let future = async move {
                    let _ = Ingest::new(&ports, &settings).reindex(&tenant, &request).await;
                    End::Done
                };
                self.spawn(name, Vec::new(), future.boxed_local());
            }
            Op::GiveUp { doc } => {
                let Some(shown) = self.control.shown(*doc) else { return };
                let generation = shown.newest;
                let (_, ports, _) = self.caller();
                let (tenant, document) = (tenant(doc.0), id(doc.1));
                let future = async move {
                    let failure = Failure { code: GIVEN_UP.into(), message: "by hand".into() };
                    let now = ports.clock().now();
                    let _ = ports.documents().fail(&tenant, &document, generation, &failure, now).await;
                    End::Done
                };
                self.spawn(format!("give {doc}@{generation} up"), Vec::new(), future.boxed_local());
            }
            Op::Replay { doc } => self.replay(*doc),
        }
    }

    fn put(
        &mut self,
        doc: Doc,
        body: &Body,
        title: Option<String>,
        meta: texts::Meta,
        condition: Condition,
        at_once: bool,
    ) {
        let (number, ports, settings) = self.caller();
        self.uploads += 1;
        let key = format!("originals/t{}/{}", doc.0, self.uploads);
        let original = Rc::new(Original::new(body.clone()));
        self.control.model.borrow_mut().upload(&key, original.clone());
        let version = Version {
            key: key.clone(),
            original: original.clone(),
            title: title.clone(),
            embedded_title: title.clone(),
            metadata: meta.json(),
        };
        let condition = self.condition(doc, condition);
        self.watch(number, Role::Put { doc, version, settings: settings.ingest_hash() }, &condition);
        let upload = NewUpload {
            object_key: key,
            title,
            media_type: body.media_type().into(),
            bytes: original.bytes.len() as u64,
            content_hash: original.hash.clone(),
            metadata: meta.json(),
        };
        let (tenant, document) = (tenant(doc.0), id(doc.1));
        let future = async move {
            let ingest = Ingest::new(&ports, &settings);
            let answer = if at_once {
                match ingest.put(&tenant, &document, &upload, &original.bytes).await {
                    Ok(_) => Answer::Unsure,
                    Err(error) => refusal(&error),
                }
            } else {
                let (key, bytes) = (&upload.object_key, &original.bytes);
                match ports.objects().put(&tenant, key, bytes, &upload.media_type).await {
                    Err(_) => Answer::Unsure,
                    Ok(()) => match ingest.register(&tenant, &document, &upload, &condition).await {
                        Ok(Registered::Unchanged(_)) => Answer::Unchanged,
                        Ok(Registered::Queued(_)) => Answer::Queued,
                        Err(error) => refusal(&error),
                    },
                }
            };
            End::Answer(answer)
        };
        self.spawn(format!("put {doc}"), Vec::new(), future.boxed_local());
    }

    /// What the replay of a dead letter does.
    fn replay(&mut self, doc: Doc) {
        let Some(shown) = self.control.shown(doc) else { return };
        let generation = shown.newest;
        let (number, ports, settings) = self.caller();
        self.watch(number, Role::Retry { doc }, &Precondition::None);
        let (tenant, document) = (tenant(doc.0), id(doc.1));
        let future = async move {
            let _ = Ingest::new(&ports, &settings).retry(&tenant, &document, generation).await;
            End::Answer(Answer::Unsure)
        };
        self.spawn(format!("replay {doc}@{generation}"), Vec::new(), future.boxed_local());
    }

    fn deliver(&mut self, which: usize, count: usize, keep: bool, early: bool, budget: Option<u8>) {
        let now = self.control.now();
        let (_, ports, settings) = self.caller();
        let mut queue = self.control.queue.borrow_mut();
        let due: Vec<usize> = (0..queue.len()).filter(|at| early || queue[*at].due <= now).collect();
        let Some(first) = due.get(which % due.len().max(1)).copied() else { return };
        let mut taken = vec![first];
        if let Job::Process { tenant: owner, .. } = &queue[first].job {
            let others = due.iter().cycle().skip(which % due.len() + 1).take(due.len() - 1);
            let alike = others
                .filter(|at| matches!(&queue[**at].job, Job::Process { tenant, .. } if tenant == owner));
            taken.extend(alike.take(count - 1));
        }
        let messages: Vec<Message> = taken.iter().map(|at| queue[*at].clone()).collect();
        if !keep {
            taken.sort_unstable();
            taken.iter().rev().for_each(|at| drop(queue.remove(*at)));
        }
        drop(queue);
        let jobs: Vec<Job> = messages.iter().map(|message| message.job.clone()).collect();
        let name = format!("consume {}", jobs.iter().map(name_of).collect::<Vec<_>>().join(", "));
        self.spawn(name, messages, consume(ports, settings, jobs, budget).boxed_local());
    }

    fn deliver_all(&mut self) {
        for _ in 0..2000 {
            let now = self.control.now();
            let Some(which) = self.control.queue.borrow().iter().position(|message| message.due <= now)
            else {
                return;
            };
            // Counted among those due; the first is.
            let _ = which;
            self.deliver(0, 1, false, false, None);
            self.finish();
            if self.control.verdict().is_err() {
                return;
            }
        }
        self.control.judge(Err("the queue never gets empty".into()));
    }

    /// Polls a task once. Returns whether it is gone.
    fn poll(&mut self, at: usize) -> bool {
        let task = &mut self.tasks[at];
        let polled = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if self.control.killed.replace(false) {
            self.kill();
            return true;
        }
        if self.control.crashed.borrow_mut().remove(&task.number) {
            let task = self.tasks.remove(at);
            self.control.note(|| format!("  {} is gone: {}", task.number, task.name));
            self.control.model.borrow_mut().drop_watch(task.number);
            let due = self.control.now() + 1000;
            let again = task.messages.into_iter().map(|message| Message { due, ..message });
            self.control.queue.borrow_mut().extend(again);
            return true;
        }
        let Poll::Ready(end) = polled else { return false };
        let task = self.tasks.remove(at);
        match end {
            End::Done => {}
            End::Wrong(what) => self.control.judge(Err(what)),
            End::Answer(answer) => {
                self.control.note(|| format!("  {}: {answer:?}", task.number));
                self.control.judge(self.control.model.borrow_mut().answered(task.number, answer));
            }
            End::Messages(again) => {
                self.control.note(|| format!("  {}: again {again:?}", task.number));
                let now = self.control.now();
                for (message, seconds) in task.messages.into_iter().zip(again) {
                    if let Some(seconds) = seconds {
                        let due = now + seconds * 1000;
                        self.control.queue.borrow_mut().push(Message { due, ..message });
                    }
                }
            }
        }
        true
    }

    fn run_out(&mut self, at: usize) {
        for _ in 0..POLLS {
            if self.poll(at) {
                return;
            }
        }
        self.control.judge(Err(format!("{} never ends", self.tasks[at].name)));
        self.tasks.remove(at);
    }

    fn finish(&mut self) {
        let mut turn = 0;
        for _ in 0..POLLS {
            let free: Vec<usize> = (0..self.tasks.len()).filter(|at| !self.tasks[*at].held).collect();
            if free.is_empty() {
                return;
            }
            turn += 1;
            self.poll(free[turn % free.len()]);
        }
        self.control.judge(Err("tasks never end".into()));
        self.tasks.clear();
    }

    /// The process is gone, and the queue with it.
    fn kill(&mut self) {
        for task in self.tasks.drain(..) {
            self.control.model.borrow_mut().drop_watch(task.number);
        }
        self.control.crashed.borrow_mut().clear();
        self.control.queue.borrow_mut().clear();
    }

    /// No search finds what is not served, and what it finds is what the document says.
    fn search(&self) -> Verdict {
        let model = self.control.model.borrow();
        for number in 0..crate::model::TENANTS {
            let tenant = tenant(number);
            if model.lives.iter().all(|(doc, life)| doc.0 != number || life.newest == 0) {
                continue;
            }
            let documents = &self.ports.documents;
            let terms = keyword::query_terms("harbour lantern meadow compass");
            let rows: Vec<i64> = now(KeywordIndex::search(documents, &tenant, &terms, None, 12))
                .unwrap()
                .iter()
                .map(|hit| hit.row)
                .collect();
            let mut vectors = Vec::new();
            let state = now(documents.tenant(&tenant)).unwrap();
            if let Some(embedding) = state.embedding {
                let namespace = Namespace::new(&tenant, &embedding.fingerprint());
                let nowhere = vec![0.0; embedding.dimensions];
                let hits = now(self.ports.vectors.query(&tenant, &namespace, &nowhere, 40, None)).unwrap();
                vectors.extend(hits.into_iter().map(|hit| hit.id));
            }
            for chunk in now(documents.hydrate(&tenant, &vectors, &rows)).unwrap() {
                let doc = model.doc(&tenant, &chunk.document);
                let life = &model.lives[&doc];
                let served = life.shown.as_ref().and_then(|shown| shown.generation);
                let version = served.and_then(|served| life.versions.get(&served));
                let Some(version) = version.filter(|_| life.exists) else {
                    return Err(format!("{doc} is found, but not served"));
                };
                let text = version.original.text.get(chunk.start as usize..chunk.end as usize);
                must!(
                    text == Some(&chunk.text)
                        && chunk.title == version.title
                        && chunk.metadata == version.metadata,
                    "a search finds what {doc}@{served:?} does not say: {chunk:?}"
                );
                let vector = &chunk.vector;
                must!(model.index.contains(vector), "{doc}@{served:?}: vector {vector} is not in the index");
                must!(!model.forgotten.contains(vector), "{doc}@{served:?}: vector {vector} was forgotten");
            }
        }
        Ok(())
    }

    /// Lets everything come to rest.
    fn settle(&mut self) -> Verdict {
        self.control.faults.borrow_mut().clear();
        self.step(&Step::Release(None));
        self.finish();
        self.control.land(Millis::MAX);
        self.ports.vectors.settle();
        self.rest()?;
        for tenant in 0..crate::model::TENANTS {
            let state = now(self.ports.documents.tenant(&texts::tenant(tenant))).unwrap();
            if state.embedding.is_some() {
                self.start(&Op::Reindex { tenant, document: None, force: false });
                self.finish();
            }
        }
        self.rest()?;
        self.search()?;
        // What was given up by hand is opened again, or uploaded again.
        for doc in self.given_up() {
            if self.even {
                self.replay(doc);
            } else {
                let version = {
                    let model = self.control.model.borrow();
                    let life = &model.lives[&doc];
                    life.versions[&life.newest].clone()
                };
                self.again(doc, &version);
            }
            self.finish();
        }
        self.rest()?;
        self.search()
    }

    /// Documents whose newest generation was given up by hand.
    fn given_up(&self) -> Vec<Doc> {
        let model = self.control.model.borrow();
        let given_up = model.lives.iter().filter(|(_, life)| {
            let error = life.shown.as_ref().and_then(|shown| {
                shown.pending.as_ref().map_or(shown.error.as_ref(), |pending| pending.error.as_ref())
            });
            life.exists && error.is_some_and(|error| error.code == GIVEN_UP)
        });
        given_up.map(|(doc, _)| *doc).collect()
    }

    /// Uploads a version's bytes again.
    fn again(&mut self, doc: Doc, version: &Version) {
        let (number, ports, settings) = self.caller();
        self.uploads += 1;
        let key = format!("originals/t{}/{}", doc.0, self.uploads);
        let original = version.original.clone();
        self.control.model.borrow_mut().upload(&key, original.clone());
        let version = Version { key: key.clone(), embedded_title: version.title.clone(), ..version.clone() };
        let upload = NewUpload {
            object_key: key,
            title: version.title.clone(),
            media_type: original.body.media_type().into(),
            bytes: original.bytes.len() as u64,
            content_hash: original.hash.clone(),
            metadata: version.metadata.clone(),
        };
        let role = Role::Put { doc, version, settings: settings.ingest_hash() };
        self.watch(number, role, &Precondition::None);
        let (tenant, document) = (tenant(doc.0), id(doc.1));
        let future = async move {
            let ingest = Ingest::new(&ports, &settings);
            match ingest.put(&tenant, &document, &upload, &original.bytes).await {
                Ok(_) => End::Answer(Answer::Unsure),
                Err(error) => End::Wrong(format!("the same bytes again: {error}")),
            }
        };
        self.spawn(format!("put {doc} again"), Vec::new(), future.boxed_local());
    }

    /// Delivers and sweeps until nothing happens any more.
    fn rest(&mut self) -> Verdict {
        for _ in 0..ROUNDS {
            self.deliver_all();
            self.control.verdict()?;
            let next = self.control.queue.borrow().iter().map(|message| message.due).min();
            if let Some(next) = next {
                self.ports.clock.advance(next.saturating_sub(self.control.now()));
                continue;
            }
            self.ports.clock.advance(DAY + SETTLED_AFTER);
            let quiet = Rc::new(Cell::new(false));
            let (_, ports, settings) = self.caller();
            let told = quiet.clone();
            let future = async move {
                match Ingest::new(&ports, &settings).sweep(60_000, true).await {
                    Ok(swept) => {
                        told.set(swept == ragflare_core::ingest::Swept::default());
                        End::Done
                    }
                    Err(error) => End::Wrong(format!("a sweep without faults: {error}")),
                }
            };
            self.spawn("sweep".into(), Vec::new(), future.boxed_local());
            self.finish();
            self.control.verdict()?;
            if quiet.get() && self.control.queue.borrow().is_empty() {
                return Ok(());
            }
        }
        Err("it never comes to rest".into())
    }
}

fn refusal(error: &Error) -> Answer {
    match error {
        Error::Precondition { .. } => Answer::Refused,
        _ => Answer::Unsure,
    }
}

fn name_of(job: &Job) -> String {
    match job {
        Job::Process { tenant, document, generation, .. } => {
            format!("process {tenant}:{document}@{generation}")
        }
        Job::Confirm { tenant, document, generation } => format!("confirm {tenant}:{document}@{generation}"),
        Job::Clean { tenant, document } => format!("clean {tenant}:{document}"),
        Job::Reindex { tenant, after, force } => format!("reindex {tenant} {after:?} {force:?}"),
        // Sources have histories of their own (`tests/sources.rs`).
        Job::Look { source, key } => format!("look {source}:{key}"),
        Job::Sync { source, run, .. } => format!("sync {source}:{run}"),
    }
}

/// What the ingest worker's consumer does.
async fn consume(
    ports: Chaos<MemoryPorts>,
    settings: Rc<Settings>,
    jobs: Vec<Job>,
    budget: Option<u8>,
) -> End {
    const AGAIN: u64 = 10;
    let left = Cell::new(budget.unwrap_or(0));
    let go_on = || budget.is_none() || left.replace(left.get().saturating_sub(1)) > 0;
    let ingest = Ingest::new(&ports, &settings);
    let one = |result: Result<bool>, pause| match result {
        Ok(true) => End::Messages(vec![None]),
        Ok(false) => End::Messages(vec![Some(pause)]),
        Err(error) if error.retry() == Retry::Never => End::Wrong(format!("a job fails for good: {error}")),
        Err(_) => End::Messages(vec![Some(AGAIN)]),
    };
    match &jobs[0] {
        Job::Process { tenant, .. } => {
            let generations: Vec<_> = jobs
                .iter()
                .filter_map(|job| match job {
                    Job::Process { document, generation, .. } => Some((document.clone(), *generation)),
                    _ => None,
                })
                .collect();
            let outcomes = ingest.process(tenant, &generations, &go_on).await;
            if let Some(Err(error)) =
                outcomes.iter().find(|outcome| matches!(outcome, Err(error) if error.retry() == Retry::Never))
            {
                return End::Wrong(format!("processing fails for good, but is not noted: {error}"));
            }
            End::Messages(outcomes.iter().map(|outcome| outcome.is_err().then_some(AGAIN)).collect())
        }
        Job::Confirm { tenant, document, generation } => {
            one(ingest.confirm(tenant, document, *generation).await, 5)
        }
        Job::Clean { tenant, document } => loop {
            match ingest.clean(tenant, document).await {
                Ok((_, true)) => {}
                result => return one(result.map(|_| true), AGAIN),
            }
        },
        Job::Reindex { tenant, after, force } => {
            one(ingest.reindex_step(tenant, after.as_ref(), *force, &go_on).await.map(|()| true), AGAIN)
        }
        Job::Look { .. } | Job::Sync { .. } => End::Wrong("there is no source".into()),
    }
}
