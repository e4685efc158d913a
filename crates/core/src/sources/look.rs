//! A look at one object: its document is made to be what it is now.

use super::{Action, decide, metadata_of};
use crate::document::{DocumentId, Failure, Metadata, Millis};
use crate::ingest::{Ingest, NewUpload, Precondition, Registered};
use crate::media::Readers;
use crate::ports::{
    Clock, DocumentStore, Head, Holder, Noted, ObjectState, Row, SourceBuckets, SourcePorts, SourceTable,
};
use crate::settings::{Settings, Source};
use crate::{Error, Result, Retry, Tenant};

/// How often a look is begun anew when something came in between.
const TRIES: usize = 5;
/// Longest title, in bytes.
const MAX_TITLE: usize = 512;

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
        let head =
            if source.takes(key) { self.ports.buckets().head(&source.binding, key).await? } else { None };
        let (row, holder) = (known.row.as_ref(), known.holder.as_ref());
        let stamp = source.stamp(self.settings);
        let version = head.as_ref().map(|head| head.version.as_str());
        match (decide(version, row, holder, &stamp), head) {
            (Action::Keep, _) => {
                if row.is_some_and(|row| row.pending) {
                    table.settle(&name, key).await?;
                }
            }
            (Action::Remove, _) => {
                if !self.remove(&source.tenant, &id, holder).await? {
                    return Ok(false);
                }
                if let Some(row) = row {
                    table.forget(&name, key, row.edition).await?;
                }
            }
            (Action::Take, Some(head)) => return self.take(source, key, row, holder, &head, stamp).await,
            (Action::Refuse, Some(head)) => {
                let message = format!(
                    "the document `{id}` was uploaded; delete it, or give the source an `id_prefix`, to have the object"
                );
                let remark = Some(("id_taken".to_owned(), message));
                let original = holder.map(|holder| holder.original.clone());
                let noted = Noted {
                    document: id,
                    state: ObjectState::Skipped,
                    version: Some(head.version),
                    stamp,
                    bytes: head.bytes,
                    original,
                    remark,
                };
                table.note(&name, &source.tenant, key, &noted, self.now()).await?;
            }
            (Action::Forget | Action::Take | Action::Refuse, _) => {
                if let Some(row) = row {
                    table.forget(&name, key, row.edition).await?;
                }
            }
        }
        Ok(true)
    }

    /// Copies an object and registers the copy like an upload.
    async fn take(
        &self,
        source: &Source,
        key: &str,
        row: Option<&Row>,
        holder: Option<&Holder>,
        head: &Head,
        stamp: String,
    ) -> Result<bool> {
        let (table, name, tenant) = (self.ports.table(), source.name(), &source.tenant);
        let id = source.document_id(key)?;
        if row.is_none() {
            table.pend(&name, tenant, &[(key.to_owned(), id.clone())], self.now()).await?;
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
                let noted = noted(ObjectState::Skipped, current, before, remark);
                table.note(&name, tenant, key, &noted, self.now()).await?;
                return Ok(true);
            }
        };
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
        let pipeline = Ingest::new(self.ports, self.settings);
        let noted = match pipeline.register(tenant, &id, &upload, &condition).await {
            Ok(Registered::Unchanged(document) | Registered::Queued(document)) => {
                // Not always this copy: what is like the document there is was not needed.
                let made = self.ports.documents().upload(tenant, &id, document.newest).await?;
                let Some(made) = made else { return Ok(false) };
                noted(ObjectState::Taken, current, Some(made.object_key), plan.remark)
            }
            Err(Error::Precondition { .. }) => return Ok(false),
            Err(error) if error.retry() == Retry::Never => {
                noted(ObjectState::Failed, None, before, Some((code(&error).into(), error.to_string())))
            }
            Err(error) => return Err(error),
        };
        table.note(&name, tenant, key, &noted, self.now()).await?;
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
        let (metadata, wrong) = metadata_of(source, &head.metadata, &self.settings.fields);
        let title = head.metadata.get("title").filter(|title| !title.is_empty() && title.len() <= MAX_TITLE);
        let remark = (!wrong.is_empty()).then(|| {
            let message = format!("left out of its metadata: {}", wrong.join("; "));
            ("metadata_ignored".to_owned(), message)
        });
        Ok(Plan { media_type, title: title.cloned(), metadata, remark })
    }

    /// Deletes a source's document. `false` when it changed meanwhile.
    async fn remove(&self, tenant: &Tenant, id: &DocumentId, holder: Option<&Holder>) -> Result<bool> {
        let Some(holder) = holder.filter(|holder| holder.is_from_source()) else { return Ok(true) };
        let condition = Precondition::Current(vec![holder.current]);
        match Ingest::new(self.ports, self.settings).delete(tenant, id, &condition).await {
            Err(Error::Precondition { .. }) => Ok(false),
            deleted => deleted.map(|_| true),
        }
    }

    /// Takes leave of the document that an object was before its source got another tenant or `id_prefix`.
    async fn leave(&self, name: &str, key: &str, row: &Row) -> Result<()> {
        let place = [(key.to_owned(), row.document.clone())];
        let known = self.ports.table().known(name, &row.tenant, &place).await?;
        let holder = known.first().and_then(|known| known.holder.as_ref());
        if self.remove(&row.tenant, &row.document, holder).await? {
            self.ports.table().forget(name, key, row.edition).await?;
        }
        Ok(())
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
