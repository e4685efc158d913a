//! What is known of sources' objects, and how syncs come and go.

use super::{Case, Checked, Contract};
use crate::Tenant;
use crate::document::{DocumentId, Millis};
use crate::identity::copy_key;
use crate::ports::{
    ANOTHERS, Clock, DocumentStore, Known, Noted, ObjectState, Page, SourcePorts, SourceTable, SyncState,
};
use crate::settings::Source;

const MINUTE: Millis = 60_000;

/// A source that no other case has.
struct Place<'a, T> {
    table: &'a T,
    source: Source,
    now: Millis,
}

impl<T: SourceTable> Place<'_, T> {
    fn name(&self) -> String {
        self.source.name()
    }

    fn key(&self, key: &str) -> Checked<(String, DocumentId)> {
        Ok((key.to_owned(), self.source.document_id(key)?))
    }

    async fn pend(&self, keys: &[&str]) -> Checked {
        let keys = keys.iter().map(|key| self.key(key)).collect::<Checked<Vec<_>>>()?;
        Ok(self.table.pend(&self.name(), &self.source.tenant, &keys, self.now).await?)
    }

    async fn known(&self, key: &str) -> Checked<Known> {
        let keys = [self.key(key)?];
        let mut known = self.table.known(&self.name(), &self.source.tenant, &keys).await?;
        ensure!(known.len() == 1 && known[0].key == key, "{known:?}");
        Ok(known.remove(0))
    }

    fn noted(&self, key: &str, state: ObjectState) -> Checked<Noted> {
        Ok(Noted {
            document: self.source.document_id(key)?,
            state,
            version: Some("v1".into()),
            stamp: "stamp".into(),
            bytes: 7,
            original: Some("originals/x/source.1".into()),
            remark: None,
        })
    }

    async fn note(&self, key: &str, noted: &Noted) -> Checked {
        Ok(self.table.note(&self.name(), &self.source.tenant, key, noted, self.now).await?)
    }

    async fn begin(&self, confirm_empty: bool, stale: Millis) -> Checked<(u64, bool)> {
        let (sync, fresh) = self.table.begin(&self.source, confirm_empty, stale, self.now).await?;
        Ok((sync.run, fresh))
    }

    async fn turn(&self, run: u64, after: Option<&str>, until: Option<&str>, present: &[&str]) -> Checked {
        let page = Page {
            after: after.map(ToOwned::to_owned),
            until: until.map(ToOwned::to_owned),
            present: present.iter().map(|key| (*key).to_owned()).collect(),
            listed: 10,
            excluded: 2,
            changed: 1,
        };
        Ok(self.table.turn(&self.name(), run, &page, self.now).await?)
    }

    async fn missing(&self, run: u64, after: Option<&str>, limit: usize) -> Checked<Vec<String>> {
        Ok(self.table.missing(&self.name(), run, after, limit).await?)
    }
}

impl<'a, P: SourcePorts> Contract<'a, P> {
    /// Runs the cases about sources.
    pub async fn run_sources(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        macro_rules! case {
            ($name:ident) => {
                let fault = self.$name().await.err().map(|flaw| flaw.0);
                cases.push(Case { name: stringify!($name), fault });
            };
        }
        case!(a_row_is_as_it_was_noted);
        case!(a_row_that_was_written_since_is_not_forgotten);
        case!(a_document_is_known_by_its_newest_original);
        case!(keys_that_give_one_document_know_of_each_other);
        case!(one_sync_of_a_source_at_a_time);
        case!(rows_that_a_listing_does_not_have_are_missing);
        cases
    }

    fn place(&self, name: &str) -> Checked<Place<'a, P::Table>> {
        let tenant = Tenant::new(format!("{}.{name}", self.run))?;
        let source = Source {
            name: Some(format!("{}.{name}", self.run)),
            binding: "SOURCE".into(),
            prefix: String::new(),
            tenant,
            include: Vec::new(),
            exclude: Vec::new(),
            id_prefix: String::new(),
            metadata: crate::document::Metadata::new(),
        };
        Ok(Place { table: self.ports.table(), source, now: self.ports.clock().now() })
    }

    async fn a_row_is_as_it_was_noted(&self) -> Checked {
        let place = self.place("rows")?;
        let key = "a 'quoted' \"key\" %_ \u{e9}\u{1f600}.md";
        let known = place.known(key).await?;
        ensure!(known.row.is_none() && known.holder.is_none(), "{known:?}");
        place.pend(&[key, "b.md"]).await?;
        let row = place.known(key).await?.row.ok_or("no row")?;
        ensure!(row.state == ObjectState::New && row.pending && row.version.is_none(), "{row:?}");
        ensure!(row.tenant == place.source.tenant && row.document == place.source.document_id(key)?);
        let noted = place.noted(key, ObjectState::Taken)?;
        place.note(key, &noted).await?;
        let row = place.known(key).await?.row.ok_or("no row")?;
        ensure!(row.state == ObjectState::Taken && !row.pending, "{row:?}");
        ensure!(
            row.version == noted.version && row.stamp == noted.stamp && row.original == noted.original,
            "{row:?}"
        );
        place.pend(&[key]).await?;
        let row = place.known(key).await?.row.ok_or("no row")?;
        ensure!(row.pending && row.state == ObjectState::Taken && row.version == noted.version, "{row:?}");
        place.table.settle(&place.name(), key).await?;
        ensure!(place.known(key).await?.row.is_some_and(|row| !row.pending));
        let remark = Some(("empty".to_owned(), "the object is empty".to_owned()));
        let skipped =
            Noted { version: None, original: None, remark, ..place.noted("b.md", ObjectState::Skipped)? };
        place.note("b.md", &skipped).await?;
        let row = place.known("b.md").await?.row.ok_or("no row")?;
        ensure!(
            row.state == ObjectState::Skipped && row.version.is_none() && row.original.is_none(),
            "{row:?}"
        );
        ensure!(place.table.taken(&place.name()).await? == 1);
        // Another source's are its own.
        let other = self.place("other rows".replace(' ', "-").as_str())?;
        ensure!(other.known(key).await?.row.is_none() && other.table.taken(&other.name()).await? == 0);
        Ok(())
    }

    async fn a_row_that_was_written_since_is_not_forgotten(&self) -> Checked {
        let place = self.place("forget")?;
        let name = place.name();
        let edition =
            async || -> Checked<u64> { Ok(place.known("a.md").await?.row.ok_or("no row")?.edition) };
        place.pend(&["a.md"]).await?;
        let mut editions = vec![edition().await?];
        place.note("a.md", &place.noted("a.md", ObjectState::Taken)?).await?;
        editions.push(edition().await?);
        place.pend(&["a.md"]).await?;
        editions.push(edition().await?);
        place.table.settle(&name, "a.md").await?;
        editions.push(edition().await?);
        ensure!(editions.is_sorted_by(|one, next| one < next), "{editions:?}");
        place.table.forget(&name, "a.md", editions[2]).await?;
        place.table.forget(&name, "a.md", editions[3]).await?;
        ensure!(place.known("a.md").await?.row.is_none());
        place.table.forget(&name, "a.md", editions[3]).await?;
        Ok(())
    }

    async fn a_document_is_known_by_its_newest_original(&self) -> Checked {
        let place = self.place("holders")?;
        let mut subject = self.subject("holders")?;
        subject.id = place.source.document_id("a.md")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let first = subject.begin("first").await?;
        let original = async |generation| -> Checked<Option<String>> {
            Ok(documents.upload(tenant, id, generation).await?.map(|upload| upload.object_key))
        };
        let holder = place.known("a.md").await?.holder.ok_or("no holder")?;
        ensure!(
            holder.current == first && Some(&holder.original) == original(first).await?.as_ref(),
            "{holder:?}"
        );
        ensure!(!holder.is_from_source() && holder.failure.is_none(), "{holder:?}");
        subject.fill(first, &["patient crab"]).await?;
        subject.flip(first).await?;
        let upload = documents.upload(tenant, id, first).await?.ok_or("no upload")?;
        let copied = crate::document::Upload { object_key: copy_key(tenant, "copied")?, ..upload };
        let second = documents.begin(tenant, id, &copied, None, now).await?.ok_or("not begun")?;
        let holder = place.known("a.md").await?.holder.ok_or("no holder")?;
        ensure!(holder.current == second && holder.is_from_source(), "{holder:?}");
        let failure = crate::document::Failure { code: "no_text".into(), message: "there is no text".into() };
        documents.fail(tenant, id, second, &failure, now).await?;
        let holder = place.known("a.md").await?.holder.ok_or("no holder")?;
        let document = subject.document().await?;
        ensure!(holder.current == document.current() && holder.current == first, "{holder:?}");
        ensure!(holder.original == copied.object_key, "{holder:?}");
        ensure!(holder.failure.as_deref() == Some("no_text"), "{holder:?}");
        let third = documents.begin(tenant, id, &copied, None, now).await?.ok_or("not begun")?;
        let holder = place.known("a.md").await?.holder.ok_or("no holder")?;
        ensure!(holder.current == third && holder.failure.is_none(), "{holder:?}");
        let other = self.place("holders-of-another")?;
        ensure!(other.known("a.md").await?.holder.is_none());
        documents.delete(tenant, id, None, now).await?;
        ensure!(place.known("a.md").await?.holder.is_none());
        Ok(())
    }

    async fn keys_that_give_one_document_know_of_each_other(&self) -> Checked {
        let place = self.place("rivals")?;
        let first = "a b.md";
        let mut subject = self.subject("rivals")?;
        subject.id = place.source.document_id(first)?;
        let second = subject.id.to_string();
        ensure!(place.source.document_id(&second)? == subject.id);
        let alone = place.known(&second).await?;
        ensure!(alone.rival.is_none() && !alone.shared && !alone.yields(), "{alone:?}");
        place.pend(&[first, &second, "c.md"]).await?;
        let known = place.known(first).await?;
        ensure!(known.rival.as_ref() == Some(&second) && !known.shared && !known.yields(), "{known:?}");
        let known = place.known(&second).await?;
        ensure!(known.rival.as_deref() == Some(first) && !known.shared && known.yields(), "{known:?}");
        ensure!(place.known("c.md").await?.rival.is_none());
        let generation = subject.begin("first").await?;
        let upload = subject.documents.upload(&subject.tenant, &subject.id, generation).await?;
        let original = upload.map(|upload| upload.object_key);
        for (state, original, shared) in [
            (ObjectState::Taken, original.clone(), true),
            (ObjectState::Skipped, original, false),
            (ObjectState::Taken, Some("originals/x/source.1".into()), false),
        ] {
            place.note(first, &Noted { original, ..place.noted(first, state)? }).await?;
            let known = place.known(&second).await?;
            ensure!(known.shared == shared, "{known:?}");
        }
        let refused = place.noted(&second, ObjectState::Skipped)?;
        place.note(&second, &Noted { original: Some(ANOTHERS.into()), ..refused }).await?;
        let row = place.known(&second).await?.row.ok_or("no row")?;
        ensure!(row.original.as_deref() == Some(ANOTHERS), "{row:?}");
        // What has a document, although its object could not be taken anew, counts as one.
        ensure!(place.table.taken(&place.name()).await? == 1);
        for (original, count) in [(Some("originals/x/source.1"), 2), (Some(ANOTHERS), 1), (None, 1)] {
            let failed = place.noted("c.md", ObjectState::Failed)?;
            place.note("c.md", &Noted { original: original.map(ToOwned::to_owned), ..failed }).await?;
            ensure!(place.table.taken(&place.name()).await? == count, "{original:?}");
        }
        Ok(())
    }

    async fn one_sync_of_a_source_at_a_time(&self) -> Checked {
        let place = self.place("syncs")?;
        let (name, now) = (place.name(), place.now);
        let end = async |run, state, remark| place.table.end(&name, run, state, remark, now).await;
        ensure!(place.table.sync(&name).await?.is_none());
        ensure!(place.begin(false, now - MINUTE).await? == (1, true));
        ensure!(place.begin(false, now - MINUTE).await? == (1, false));
        let sync = place.table.sync(&name).await?.ok_or("no sync")?;
        ensure!(
            sync.state == SyncState::Listing && sync.started_at == now && !sync.confirm_empty,
            "{sync:?}"
        );
        place.table.sweep(&name, 7, now).await?;
        ensure!(place.table.sync(&name).await?.is_some_and(|sync| sync.state == SyncState::Listing));
        place.table.sweep(&name, 1, now).await?;
        ensure!(place.table.sync(&name).await?.is_some_and(|sync| sync.state == SyncState::Sweeping));
        ensure!(place.begin(false, now - MINUTE).await? == (1, false), "sweeping is running, too");
        place.table.sweep(&name, 1, now + MINUTE).await?;
        ensure!(place.table.sync(&name).await?.is_some_and(|sync| sync.moved_at == now + MINUTE));
        ensure!(end(7, SyncState::Done, None).await?.is_none());
        ensure!(end(1, SyncState::Refused, Some(("empty_listing", "nothing"))).await? == Some(false));
        ensure!(end(1, SyncState::Done, None).await?.is_none(), "it is over");
        let sync = place.table.sync(&name).await?.ok_or("no sync")?;
        ensure!(
            sync.state == SyncState::Refused && sync.code.as_deref() == Some("empty_listing"),
            "{sync:?}"
        );
        ensure!(sync.message.as_deref() == Some("nothing"), "{sync:?}");
        ensure!(place.begin(true, now - MINUTE).await? == (2, true));
        let sync = place.table.sync(&name).await?.ok_or("no sync")?;
        ensure!(sync.confirm_empty && sync.code.is_none() && sync.message.is_none(), "{sync:?}");
        ensure!(place.begin(true, now - MINUTE).await? == (2, false));
        ensure!(place.begin(false, now - MINUTE).await? == (2, false));
        ensure!(end(2, SyncState::Done, None).await? == Some(true), "it was meant once");
        ensure!(place.begin(false, now - MINUTE).await? == (3, true));
        ensure!(end(3, SyncState::Done, None).await?.is_none(), "nobody asked");
        ensure!(place.begin(false, now - MINUTE).await? == (4, true));
        ensure!(place.begin(false, now).await? == (5, true), "it has not moved since");
        ensure!(end(4, SyncState::Done, None).await?.is_none());
        ensure!(end(5, SyncState::Done, None).await?.is_none());
        Ok(())
    }

    async fn rows_that_a_listing_does_not_have_are_missing(&self) -> Checked {
        let place = self.place("missing")?;
        let name = place.name();
        // In the order of their bytes.
        let keys = ["A", "a", "a/b", "b", "c", "\u{e9}", "\u{fffd}", "\u{10000}"];
        place.pend(&keys).await?;
        let other = self.place("missing-of-another")?;
        other.pend(&keys).await?;
        let (run, _) = place.begin(false, place.now - MINUTE).await?;
        place.turn(run + 1, None, None, &[]).await?;
        ensure!(place.missing(run + 1, None, 10).await?.is_empty(), "there is no such run");
        for _ in 0..2 {
            place.turn(run, None, Some("b"), &["A", "a/b"]).await?;
        }
        ensure!(
            place.missing(run, None, 10).await? == ["a", "b"],
            "{:?}",
            place.missing(run, None, 10).await?
        );
        place.turn(run, Some("b"), None, &["\u{fffd}"]).await?;
        let missing = ["a", "b", "c", "\u{e9}", "\u{10000}"];
        ensure!(place.missing(run, None, 10).await? == missing, "{:?}", place.missing(run, None, 10).await?);
        ensure!(place.missing(run, Some("b"), 2).await? == missing[2..4]);
        let sync = place.table.sync(&name).await?.ok_or("no sync")?;
        ensure!((sync.listed, sync.excluded, sync.changed) == (20, 4, 2), "a page counts once: {sync:?}");
        place.note("c", &place.noted("c", ObjectState::Taken)?).await?;
        ensure!(!place.missing(run, None, 10).await?.contains(&"c".to_owned()), "it is there again");
        place.table.sweep(&name, run, place.now).await?;
        place.turn(run, None, None, &[]).await?;
        ensure!(place.missing(run, None, 10).await?.len() == 4, "the listing is over");
        place.table.end(&name, run, SyncState::Done, None, place.now).await?;
        let (next, _) = place.begin(false, place.now - MINUTE).await?;
        ensure!(place.missing(next, None, 10).await?.is_empty());
        let sync = place.table.sync(&name).await?.ok_or("no sync")?;
        ensure!((sync.listed, sync.excluded, sync.changed) == (0, 0, 0), "{sync:?}");
        ensure!(other.missing(run, None, 10).await?.is_empty());
        Ok(())
    }
}
