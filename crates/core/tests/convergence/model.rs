//! What the store must hold, told from the calls that reached it.

use crate::script::Doc;
use crate::texts::{Body, id, tenant};
use ragflare_core::Tenant;
use ragflare_core::document::{Document, DocumentId, Generation, Metadata, Status, Upload};
use ragflare_core::identity::content_hash;
use ragflare_core::ingest::{Change, Precondition};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Documents of a case at most, per tenant.
pub(crate) const DOCUMENTS: u8 = 3;
/// Tenants of a case.
pub(crate) const TENANTS: u8 = 2;

/// An upload's bytes.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) body: Body,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
    pub(crate) hash: String,
}

impl Original {
    pub(crate) fn new(body: Body) -> Self {
        let bytes = body.bytes();
        let (text, hash) = (body.text(), content_hash(&bytes));
        Self { body, bytes, text, hash }
    }
}

/// A generation as its uploader means it.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) original: Rc<Original>,
    pub(crate) title: Option<String>,
    pub(crate) embedded_title: Option<String>,
    pub(crate) metadata: Metadata,
}

impl Version {
    fn is(&self, other: &Self) -> bool {
        self.original.hash == other.original.hash
            && self.original.body.media_type() == other.original.body.media_type()
            && self.title == other.title
            && self.metadata == other.metadata
    }

    fn changed(&self, change: &Change) -> Self {
        Self {
            title: change.title.clone().unwrap_or_else(|| self.title.clone()),
            metadata: change.metadata.clone().unwrap_or_else(|| self.metadata.clone()),
            ..self.clone()
        }
    }
}

/// One id of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) exists: bool,
    pub(crate) newest: Generation,
    pub(crate) versions: BTreeMap<Generation, Version>,
    /// As the store showed it last.
    pub(crate) shown: Option<Document>,
}

impl Life {
    fn failed(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| {
            let newest = shown.pending.as_ref().map_or(shown.status, |pending| pending.status);
            newest == Status::Failed
        })
    }

    fn served(&self) -> Option<Generation> {
        self.shown.as_ref().and_then(|shown| shown.generation)
    }

    fn current(&self) -> Generation {
        self.shown.as_ref().map_or(0, Document::current)
    }

    /// What a change may start from: the newest version, or the one served if that failed, or will.
    fn bases(&self) -> impl Iterator<Item = &Version> {
        let newest = self.versions.get(&self.newest);
        let failing = newest.is_some_and(|newest| newest.original.body.fault().is_some());
        let served = self.served().filter(|_| failing || self.failed());
        newest.into_iter().chain(served.and_then(|served| self.versions.get(&served)))
    }
}

/// Who makes calls.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Put { doc: Doc, version: Version, settings: String },
    Patch { doc: Doc, change: Change },
    Delete { doc: Doc },
    Retry { doc: Doc },
}

/// What was the case at some time between a call and its answer.
#[derive(Clone, Debug, Default)]
struct Seen {
    present: bool,
    absent: bool,
    /// It was already as wanted.
    same: bool,
    currents: BTreeSet<Generation>,
    /// How often it changed.
    changes: usize,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
struct Watch {
    role: Role,
    condition: Precondition,
    seen: Seen,
    /// What the call did.
    begun: Vec<Generation>,
    deleted: bool,
}

impl Role {
    fn doc(&self) -> Doc {
        match self {
            Self::Put { doc, .. } | Self::Patch { doc, .. } | Self::Delete { doc } | Self::Retry { doc } => {
                *doc
            }
        }
    }
}

/// How a call ended, as far as the model cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Unchanged,
    Queued,
    Deleted,
    Missing,
    Refused,
    /// An error that leaves open whether anything was done.
    Unsure,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) lives: BTreeMap<Doc, Life>,
    originals: BTreeMap<String, Rc<Original>>,
    watches: BTreeMap<usize, Watch>,
    /// Vectors whose ledger rows were dropped.
    pub(crate) forgotten: BTreeSet<String>,
    /// Vectors that the index holds, or will when it has caught up.
    pub(crate) index: BTreeSet<String>,
}

type Verdict = Result<(), String>;

macro_rules! must {
    ($condition:expr, $($why:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($why)+));
        }
    };
}
pub(crate) use must;

impl Model {
    pub(crate) fn new() -> Self {
        let docs = (0..TENANTS).flat_map(|tenant| (0..DOCUMENTS).map(move |id| Doc(tenant, id)));
        Self {
            lives: docs.map(|doc| (doc, Life::default())).collect(),
            originals: BTreeMap::new(),
            watches: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            index: BTreeSet::new(),
        }
    }

    pub(crate) fn doc(&self, of: &Tenant, document: &DocumentId) -> Doc {
        let found = self.lives.keys().find(|doc| tenant(doc.0) == *of && id(doc.1) == *document);
        *found.unwrap()
    }

    pub(crate) fn upload(&mut self, key: &str, original: Rc<Original>) {
        self.originals.insert(key.to_owned(), original);
    }

    /// From now on this caller's call is judged.
    pub(crate) fn watch(&mut self, caller: usize, role: Role, condition: Precondition) {
        let watch = Watch { role, condition, seen: Seen::default(), begun: Vec::new(), deleted: false };
        self.watches.insert(caller, watch);
        let doc = self.watches[&caller].role.doc();
        self.look(doc);
    }

    pub(crate) fn drop_watch(&mut self, caller: usize) {
        self.watches.remove(&caller);
    }

    fn look(&mut self, doc: Doc) {
        let life = &self.lives[&doc];
        for watch in self.watches.values_mut().filter(|watch| watch.role.doc() == doc) {
            let seen = &mut watch.seen;
            seen.present |= life.exists;
            seen.absent |= !life.exists;
            seen.currents.insert(life.current());
            seen.changes += 1;
            seen.same |= match &watch.role {
                Role::Put { version, settings, .. } => {
                    let newest = life.versions.get(&life.newest).filter(|_| life.exists && !life.failed());
                    let made_so = life.shown.as_ref().is_some_and(|shown| {
                        shown.pending.is_some()
                            || shown.upload.as_ref().is_some_and(|upload| upload.settings == *settings)
                    });
                    made_so
                        && newest.is_some_and(|newest| {
                            newest.is(version) && newest.embedded_title == version.embedded_title
                        })
                }
                Role::Patch { change, .. } => {
                    life.exists && life.bases().any(|base| base.is(&base.changed(change)))
                }
                Role::Delete { .. } | Role::Retry { .. } => false,
            };
        }
    }

    /// A generation began: it must be what its beginner was asked for.
    pub(crate) fn begun(
        &mut self,
        caller: usize,
        doc: Doc,
        generation: Generation,
        upload: &Upload,
    ) -> Verdict {
        let Some(original) = self.originals.get(&upload.object_key).cloned() else {
            return Err(format!("{doc}@{generation} names `{}`, which nobody uploaded", upload.object_key));
        };
        let version = Version {
            key: upload.object_key.clone(),
            original,
            title: upload.title.clone(),
            embedded_title: upload.embedded_title.clone(),
            metadata: upload.metadata.clone(),
        };
        must!(
            version.original.hash == upload.content_hash
                && version.original.bytes.len() as u64 == upload.bytes
                && version.original.body.media_type() == upload.media_type,
            "{doc}@{generation} is described wrongly: {upload:?}"
        );
        let Self { lives, watches, .. } = self;
        let life = lives.get_mut(&doc).unwrap();
        must!(generation > life.newest, "{doc}@{generation} comes after {}", life.newest);
        let watch = watches.get_mut(&caller);
        if let Some(watch) = &watch {
            let current = life.current();
            let holds = match &watch.condition {
                Precondition::None => true,
                Precondition::Exists => life.exists,
                Precondition::Absent => !life.exists,
                Precondition::Current(wanted) => {
                    life.exists && (wanted.contains(&current) || wanted.contains(&life.newest))
                }
            };
            must!(holds, "{doc}@{generation} began although {:?}, current {current}", watch.condition);
        }
        let as_asked = match watch.as_ref().map(|watch| &watch.role) {
            Some(Role::Put { version: wanted, .. }) if version.key == wanted.key => {
                version.is(wanted) && version.embedded_title == wanted.title
            }
            Some(Role::Patch { change, .. }) => {
                life.exists
                    && life.bases().any(|base| {
                        version.is(&base.changed(change)) && version.embedded_title == base.embedded_title
                    })
            }
            Some(Role::Retry { .. }) => {
                let newest = life.versions.get(&life.newest).filter(|_| life.exists && life.failed());
                newest.is_some_and(|newest| {
                    version.is(newest) && version.embedded_title == newest.embedded_title
                })
            }
            // Consumers and the like, an upload processed at once among them, may begin generations, but not change what
            // a document says.
            Some(Role::Put { .. } | Role::Delete { .. }) | None => {
                life.exists
                    && life.bases().any(|base| version.is(base) && version.embedded_title == version.title)
            }
        };
        must!(
            as_asked,
            "{doc}@{generation} is {} {:?} {:?}, not what its beginner ({:?}) was asked for",
            version.original.body,
            version.title,
            version.metadata,
            watch.map(|watch| &watch.role)
        );
        if let Some(watch) = watches.get_mut(&caller) {
            watch.begun.push(generation);
        }
        life.versions.insert(generation, version);
        (life.exists, life.newest) = (true, generation);
        Ok(())
    }

    pub(crate) fn deleted(&mut self, caller: usize, doc: Doc) -> Verdict {
        let Self { lives, watches, .. } = self;
        let life = lives.get_mut(&doc).unwrap();
        must!(life.exists, "{doc} was deleted, but was not there");
        if let Some(watch) = watches.get_mut(&caller) {
            let current = life.current();
            let holds = match &watch.condition {
                Precondition::None | Precondition::Exists => true,
                Precondition::Absent => false,
                Precondition::Current(wanted) => wanted.contains(&current) || wanted.contains(&life.newest),
            };
            must!(holds, "{doc} was deleted although {:?}, current {current}", watch.condition);
            watch.deleted = true;
        }
        life.exists = false;
        life.shown = None;
        Ok(())
    }

    /// What the store shows of a document after a change.
    pub(crate) fn show(&mut self, doc: Doc, shown: Option<Document>) -> Verdict {
        let life = self.lives.get_mut(&doc).unwrap();
        must!(shown.is_some() == life.exists, "{doc} is {}there", if life.exists { "not " } else { "" });
        if let Some(shown) = &shown {
            must!(shown.newest == life.newest, "{doc}: {} is newest, not {}", shown.newest, life.newest);
            let (before, after) = (life.served(), shown.generation);
            must!(before.is_none() || after >= before, "{doc}: {before:?} was served, now {after:?}");
            if before != after {
                must!(after == Some(life.newest), "{doc}: {after:?} is served now, not {}", life.newest);
            }
            let described = after.unwrap_or(life.newest);
            let Some(version) = life.versions.get(&described) else {
                return Err(format!("{doc}: nobody began {described}"));
            };
            must!(
                after.is_none() || version.original.body.fault().is_none(),
                "{doc}@{described} can't be read, but is served"
            );
            must!(
                shown.title == version.title
                    && shown.metadata == version.metadata
                    && shown.content_hash == version.original.hash
                    && shown.bytes == version.original.bytes.len() as u64
                    && shown.media_type == version.original.body.media_type(),
                "{doc}@{described} is described wrongly: {shown:?}"
            );
            must!(after.is_none() || shown.chunk_count > 0, "{doc}@{described} is served without chunks");
        }
        life.shown = shown;
        self.look(doc);
        Ok(())
    }

    /// An object goes: nothing that lives may need it.
    pub(crate) fn dropped(&self, keys: &[String]) -> Verdict {
        for (doc, life) in self.lives.iter().filter(|(_, life)| life.exists) {
            for number in [Some(life.newest), life.served()].into_iter().flatten() {
                let needed = life.versions.get(&number).is_some_and(|version| keys.contains(&version.key));
                must!(!needed, "the original of {doc}@{number} was deleted");
            }
        }
        Ok(())
    }

    /// An answer must be true of some moment between call and answer.
    pub(crate) fn answered(&mut self, caller: usize, answer: Answer) -> Verdict {
        let Some(watch) = self.watches.remove(&caller) else { return Ok(()) };
        let Watch { role, condition, seen, begun, deleted } = &watch;
        let holds = match answer {
            Answer::Unsure => true,
            Answer::Unchanged => seen.same && begun.is_empty(),
            Answer::Queued => !begun.is_empty() || (seen.same && matches!(role, Role::Put { .. })),
            Answer::Deleted => *deleted,
            Answer::Missing => seen.absent && begun.is_empty() && !deleted,
            Answer::Refused => {
                let could_fail = match condition {
                    Precondition::None => false,
                    Precondition::Exists => seen.absent,
                    Precondition::Absent => seen.present,
                    Precondition::Current(wanted) => {
                        seen.absent || seen.currents.iter().any(|current| !wanted.contains(current))
                    }
                };
                // Or it changed faster than it could be changed.
                begun.is_empty() && !deleted && (could_fail || seen.changes > 5)
            }
        };
        must!(holds, "answered {answer:?}, but {watch:?}");
        Ok(())
    }
}
