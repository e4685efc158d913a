//! A look at one object: its document is made to be what it is now.

use super::{Action, MAX_TITLE, decide, metadata_of};
use crate::document::{DocumentId, Failure, Metadata, Millis};
use crate::ingest::{Ingest, NewUpload, Precondition, Registered};
use crate::media::Readers;
use crate::ports::{
    ANOTHERS, Clock, DocumentStore, Head, Known, Noted, ObjectState, Row, SourceBuckets, SourcePorts,
    SourceTable,
};
use crate::settings::{Settings, Source};
use crate::{Error, Result, Retry, Tenant};

/// How often a look is begun anew when something came in between.
const TRIES: usize = 5;

/// The media type to read an object as, by its declared `Content-Type` and its key; or why it can't be read.
pub type MediaType = fn(&Readers, Option<&str>, &str) -> std::result::Result<String, Failure>;

/// Documents from buckets.
#[derive(Debug)]
pub struct Sources<'a, P> {
    pub(super) ports: &'a P,
    pub(super) settings: &'a Settings,
    /// The largest object that is taken, in bytes.
    max_bytes: u64,
    media_type: MediaType,
}

/// What a document is to be made of.
struct Plan {
    media_type: String,
    title: Option<String>,
    metadata: Metadata,
    remark: Option<(String, String)>,
}

impl<'a, P: SourcePorts> Sources<'a, P> {
    /// Over `ports`; objects of more than `max_bytes` are skipped.
    pub fn new(ports: &'a P, settings: &'a Settings, max_bytes: u64, media_type: MediaType) -> Self {
        Self { ports, settings, max_bytes, media_type }
    }

    /// The source of this name.
    pub fn find(&self, name: &str) -> Option<&'a Source> {
        self.settings.ingest.sources.iter().find(|source| source.name() == name)
    }

    /// Looks at an object and does what is to be done about it. Repeating it, or doing it late, does no harm.
    ///
    /// # Errors
    /// Errors of the bucket, the table and the pipeline that pass; what is wrong with the object is noted instead.
    pub async fn look(&self, source: &Source, key: &str) -> Result<()> {
        for _ in 0..TRIES {
            if self.attempt(source, key).await? {
                return Ok(());
            }
        }
        let message = format!("`{key}` changes faster than it can be looked at");
        Err(Error::Service { service: "source", retry: Retry::Busy, code: None, message })
    }

    /// Whether it came to an end; otherwise the object or its document changed meanwhile.
    async fn attempt(&self, source: &Source, key: &str) -> Result<bool> {
        let (table, name) = (self.ports.table(), source.name());
        let id = source.document_id(key)?;
        // The document first, then the object: whatever replaces the document from here on, the write below is refused; so
        // what is written is never older than what was there.
        let known = table.known(&name, &source.tenant, &[(key.to_owned(), id.clone())]).await?;
        let Some(known) = known.into_iter().next() else { return Ok(true) };
        if let Some(row) = known.row.as_ref().filter(|row| row.tenant != source.tenant || row.document != id)
        {
            self.leave(&name, key, row).await?;
            return Ok(false);
        }
        let head = if source.takes(key) {
            match self.ports.buckets().head(&source.binding, key).await {
                Err(Error::Invalid { message, .. }) => {
                    self.note_misconfigured(source, key, id, &known, message).await?;
                    return Ok(true);
                }
                head => head?,
            }
        } else {
            None
        };
        let stamp = source.stamp(self.settings);
        let version = head.as_ref().map(|head| head.version.as_str());
        match (decide(version, &known, &stamp), head) {
            (Action::Keep, _) => {
                if known.row.as_ref().is_some_and(|row| row.pending) {
                    table.settle(&name, key).await?;
                }
                Ok(true)
            }
            (Action::Remove | Action::Forget, _) | (_, None) => {
                self.part(&name, &source.tenant, &id, &known).await
            }
            (Action::Take, Some(head)) => self.take(source, id, &known, &head, stamp).await,
            (Action::Refuse, Some(head)) => {
                let rival = known.rival.as_ref().filter(|_| known.yields());
                let message = rival.map_or_else(
                    || {
                        format!(
                            "the document `{id}` was uploaded; delete it, or give the source an `id_prefix`, to have the \
                             object"
                        )
                    },
                    |rival| format!("the object `{rival}` gives the same document, `{id}`; rename one of the two"),
                );
                let original = known.holder.as_ref().map(|holder| holder.original.clone());
                let noted = Noted {
                    document: id,
                    state: ObjectState::Skipped,
                    version: Some(head.version),
                    stamp,
                    bytes: head.bytes,
                    original: rival.map(|_| ANOTHERS.to_owned()).or(original),
                    remark: Some(("id_taken".to_owned(), message)),
                };
                self.note(source, &known, &noted).await?;
                Ok(true)
            }
        }
    }

    /// Writes an object's row. The key that gives the same document, if it is to leave it to this one, is told.
    async fn note(&self, source: &Source, known: &Known, noted: &Noted) -> Result<()> {
        let name = source.name();
        self.ports.table().note(&name, &source.tenant, &known.key, noted, self.now()).await?;
        if known.yields() { Ok(()) } else { self.send_looks(&name, known.rival.iter().cloned()).await }
    }

    /// There is no such bucket, and there will be none when the message comes again.
    async fn note_misconfigured(
        &self,
        source: &Source,
        key: &str,
        document: DocumentId,
        known: &Known,
        message: String,
    ) -> Result<()> {
        let row = known.row.as_ref();
        let noted = Noted {
            document,
            state: ObjectState::Failed,
            version: None,
            stamp: String::new(),
            bytes: 0,
            original: row.and_then(|row| row.original.clone()),
            remark: Some(("misconfigured".to_owned(), message)),
        };
        self.ports.table().note(&source.name(), &source.tenant, key, &noted, self.now()).await
    }

    /// Copies an object and registers the copy like an upload.
    async fn take(
        &self,
        source: &Source,
        id: DocumentId,
        known: &Known,
        head: &Head,
        stamp: String,
    ) -> Result<bool> {
        let (key, tenant, holder) = (known.key.as_str(), &source.tenant, known.holder.as_ref());
        if known.row.is_none() {
            let place = [(key.to_owned(), id.clone())];
            self.ports.table().pend(&source.name(), tenant, &place, self.now()).await?;
        }
        let noted = |state, version, original, remark| Noted {
            document: id.clone(),
            state,
            version,
            stamp: stamp.clone(),
            bytes: head.bytes,
            original,
            remark,
        };
        let before = holder.map(|holder| holder.original.clone());
        let current = Some(head.version.clone());
        let plan = match self.plan(source, key, head) {
            Ok(plan) => plan,
            Err(failure) => {
                let remark = Some((failure.code, failure.message));
                self.note(source, known, &noted(ObjectState::Skipped, current, before, remark)).await?;
                return Ok(true);
            }
        };
        let refused = |error: &Error| {
            noted(ObjectState::Failed, None, before.clone(), Some((code(error).into(), error.to_string())))
        };
        let pipeline = Ingest::new(self.ports, self.settings);
        // Each sync tries again: not with a copy each time.
        if let Err(error) = pipeline.check_entry(tenant, head.bytes).await {
            if error.retry() != Retry::Never {
                return Err(error);
            }
            self.note(source, known, &refused(&error)).await?;
            return Ok(true);
        }
        let buckets = self.ports.buckets();
        let copied = buckets.copy(&source.binding, key, head, tenant, &plan.media_type).await?;
        let Some(copied) = copied else { return Ok(false) };
        let upload = NewUpload {
            object_key: copied.object_key,
            title: plan.title,
            media_type: plan.media_type,
            bytes: copied.bytes,
            content_hash: copied.content_hash,
            metadata: plan.metadata,
        };
        let condition =
            holder.map_or(Precondition::Absent, |holder| Precondition::Current(vec![holder.current]));
        let noted = match pipeline.register(tenant, &id, &upload, &condition).await {
            Ok(Registered::Unchanged(document) | Registered::Queued(document)) => {
                // Not always this copy: what is like the document there is was not needed.
                let made = self.ports.documents().upload(tenant, &id, document.newest).await?;
                let Some(made) = made else { return Ok(false) };
                noted(ObjectState::Taken, current, Some(made.object_key), plan.remark)
            }
            Err(Error::Precondition { .. }) => return Ok(false),
            Err(error) if error.retry() == Retry::Never => refused(&error),
            Err(error) => return Err(error),
        };
        self.note(source, known, &noted).await?;
        Ok(true)
    }

    /// What is to be made of an object.
    fn plan(&self, source: &Source, key: &str, head: &Head) -> std::result::Result<Plan, Failure> {
        let failure = |code: &str, message: String| Failure { code: code.into(), message };
        if head.bytes == 0 {
            return Err(failure("empty", "the object is empty".into()));
        }
        if head.bytes > self.max_bytes {
            let message = format!("the object has {} bytes; allowed are {}", head.bytes, self.max_bytes);
            return Err(failure("too_large", message));
        }
        let encoding = head.content_encoding.as_deref().unwrap_or_default().trim();
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
            let message = format!("the object is encoded as `{encoding}`; store it as it is");
            return Err(failure("unsupported_encoding", message));
        }
        let media_type =
            (self.media_type)(&self.settings.ingest.readers(), head.content_type.as_deref(), key)?;
        let (metadata, mut wrong) = metadata_of(source, &head.metadata, &self.settings.fields);
        let title = head.metadata.get("title").filter(|title| !title.is_empty());
        let title = title.filter(|title| {
            let fits = title.len() <= MAX_TITLE;
            if !fits {
                wrong.push(format!("`title` is longer than {MAX_TITLE} bytes"));
            }
            fits
        });
        let remark = (!wrong.is_empty()).then(|| {
            let message = format!("left out of its metadata: {}", wrong.join("; "));
            ("metadata_ignored".to_owned(), message)
        });
        Ok(Plan { media_type, title: title.cloned(), metadata, remark })
    }

    /// Takes leave of the document that an object was before its source got another tenant or `id_prefix`.
    async fn leave(&self, name: &str, key: &str, row: &Row) -> Result<()> {
        let place = [(key.to_owned(), row.document.clone())];
        let known = self.ports.table().known(name, &row.tenant, &place).await?;
        let Some(known) = known.into_iter().next() else { return Ok(()) };
        // The row that is there by now may be of its new place.
        let known = Known { row: Some(row.clone()), ..known };
        self.part(name, &row.tenant, &row.document, &known).await.map(drop)
    }

    /// There is no such object any more, or it is not meant: deletes the document that was made of it, and then forgets it.
    /// `false` when the document changed meanwhile.
    async fn part(&self, name: &str, tenant: &Tenant, id: &DocumentId, known: &Known) -> Result<bool> {
        let (table, key) = (self.ports.table(), &known.key);
        if let Some(holder) = known.holder.as_ref().filter(|holder| holder.is_from_source() && !known.shared)
        {
            let heir = self.settings.ingest.sources.iter().find(|other| {
                other.name() != name
                    && other.tenant == *tenant
                    && other.takes(key)
                    && other.document_id(key).is_ok_and(|given| given == *id)
            });
            if let Some(heir) = heir {
                // Its row first: what has a document has a row. Whether the object is there, its look sees.
                let heir = heir.name();
                table.pend(&heir, tenant, &[(key.clone(), id.clone())], self.now()).await?;
                self.send_looks(&heir, std::iter::once(key.clone())).await?;
            } else {
                let condition = Precondition::Current(vec![holder.current]);
                match Ingest::new(self.ports, self.settings).delete(tenant, id, &condition).await {
                    Err(Error::Precondition { .. }) => return Ok(false),
                    deleted => drop(deleted?),
                }
            }
        }
        // Another key may have the id now.
        self.send_looks(name, known.rival.iter().cloned()).await?;
        if let Some(row) = &known.row {
            table.forget(name, key, row.edition).await?;
        }
        Ok(true)
    }

    pub(super) fn now(&self) -> Millis {
        self.ports.clock().now()
    }
}

/// A stable code of what a document could not be registered for.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Full { .. } => "database_full",
        Error::Fingerprint { .. } => "embedding_settings_changed",
        _ => "not_registered",
    }
}
