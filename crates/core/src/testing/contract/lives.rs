//! Generations begin, are served, fail, and die.

use super::subject::SETTINGS;
use super::{Checked, Contract};
use crate::document::{DocumentId, Status};
use crate::ports::{DocumentStore, Flip, Ports};

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn a_generation_is_served_only_when_complete(&self) -> Checked {
        let subject = self.subject("complete")?;
        let (documents, tenant, id) = (subject.documents, &subject.tenant, &subject.id);
        ensure!(subject.get().await?.is_none());
        let generation = subject.begin("one").await?;
        ensure!(generation == 1);
        let document = subject.document().await?;
        ensure!(document.status == Status::Queued && document.generation.is_none());
        ensure!(document.pending.is_some());
        let work = subject.work(generation).await?;
        ensure!(work.incarnation == 1 && work.upload == subject.upload("one"), "{work:?}");
        ensure!(work.planned == 0 && work.resume.is_none() && !work.complete, "{work:?}");
        ensure!(subject.document().await?.status == Status::Processing);
        ensure!(subject.flip(generation).await? == Flip::No, "without any part");
        ensure!(subject.plan(generation, 2).await?);
        for number in 0..2 {
            ensure!(subject.flip(generation).await? == Flip::No, "with part {number} unfinished");
            let chunks = [subject.chunk(generation, number, &format!("zebra {number}"))];
            subject.make(generation, &chunks).await?;
            subject.write(generation, SETTINGS, number, &chunks).await?;
            self.ensure_found(tenant, "zebra", 0).await?;
            let pending = subject.document().await?.pending.ok_or("no pending")?;
            ensure!((pending.parts_done, pending.parts_total) == (u64::from(number) + 1, 2), "{pending:?}");
        }
        ensure!(documents.last_vectors(tenant, id, generation, 1).await?.is_empty(), "not served yet");
        ensure!(subject.flip(generation).await? == Flip::Served);
        ensure!(subject.flip(generation).await? == Flip::Served, "again");
        let document = subject.document().await?;
        ensure!(document.status == Status::Searchable && document.generation == Some(1));
        ensure!(document.pending.is_none());
        ensure!(document.chunk_count == 2 && document.tokens == 4, "{document:?}");
        ensure!(document.counts.embedded == 2);
        self.ensure_found(tenant, "zebra", 2).await?;
        let chunks = documents.chunks(tenant, id, Some(0), 10).await?;
        ensure!(chunks.len() == 1 && chunks[0].text == "zebra 1" && chunks[0].headings == ["Heading"]);
        let written = subject.chunk(generation, 1, "zebra 1");
        ensure!(chunks[0].places == written.places && chunks[0].sections == written.sections);
        ensure!(chunks[0].table_header.is_some());
        ensure!(subject.claim(generation).await?.is_none(), "done before");
        let last = documents.last_vectors(tenant, id, generation, 1).await?;
        ensure!(last == [subject.chunk(generation, 1, "zebra 1").vector], "{last:?}");
        documents.indexed(tenant, id, generation, subject.now).await?;
        ensure!(subject.document().await?.status == Status::Indexed);
        ensure!(subject.flip(generation).await? == Flip::Served);
        ensure!(subject.document().await?.status == Status::Indexed, "a late flip changes nothing");
        Ok(())
    }

    pub(super) async fn a_superseded_generation_is_never_served(&self) -> Checked {
        let subject = self.subject("superseded")?;
        let served = subject.serve(&["old lion"]).await?;
        let older = subject.begin("older").await?;
        let newer = subject.begin("newer").await?;
        ensure!(served < older && older < newer);
        ensure!(subject.claim(older).await?.is_none());
        subject.fill(older, &["late tiger"]).await?;
        ensure!(subject.flip(older).await? == Flip::No);
        self.ensure_found(&subject.tenant, "lion", 1).await?;
        subject.work(newer).await?;
        subject.fill(newer, &["new panther"]).await?;
        ensure!(subject.flip(newer).await? == Flip::Served);
        ensure!(subject.flip(served).await? == Flip::No, "dead by now");
        let last = subject.documents.last_vectors(&subject.tenant, &subject.id, served, 10).await?;
        ensure!(last.is_empty(), "of a dead one: {last:?}");
        self.ensure_found(&subject.tenant, "lion", 0).await?;
        self.ensure_found(&subject.tenant, "tiger", 0).await?;
        self.ensure_found(&subject.tenant, "panther", 1).await
    }

    pub(super) async fn a_beginning_is_conditional(&self) -> Checked {
        let subject = self.subject("begin")?;
        ensure!(subject.begin_after(1, "too new").await?.is_none());
        ensure!(subject.get().await?.is_none(), "nothing is changed");
        ensure!(subject.begin_after(0, "first").await? == Some(1));
        ensure!(subject.begin_after(0, "not the first").await?.is_none());
        ensure!(subject.begin_after(2, "too new").await?.is_none());
        let document = subject.document().await?;
        ensure!(document.newest == 1 && document.upload == Some(subject.upload("first")), "{document:?}");
        subject.work(1).await?;
        subject.fill(1, &["first hare"]).await?;
        ensure!(subject.flip(1).await? == Flip::Served);
        ensure!(subject.begin_after(1, "second").await? == Some(2));
        ensure!(subject.begin_after(1, "also second").await?.is_none(), "served, but not the newest");
        subject.fail(2).await?;
        ensure!(subject.begin_after(2, "third").await? == Some(3), "a failed one is the newest, too");
        ensure!(subject.delete(None).await?);
        ensure!(subject.begin_after(3, "fourth").await?.is_none(), "deleted");
        ensure!(subject.get().await?.is_none());
        ensure!(subject.begin_after(0, "fourth").await? == Some(4));
        ensure!(subject.work(4).await?.incarnation == 4);
        Ok(())
    }

    pub(super) async fn a_deletion_is_conditional(&self) -> Checked {
        let subject = self.subject("delete")?;
        ensure!(!subject.delete(None).await?);
        ensure!(!subject.delete(Some(0)).await?);
        ensure!(!subject.delete(Some(1)).await?);
        subject.serve(&["first mole"]).await?;
        let second = subject.begin("second").await?;
        for other in [0, 1, 3] {
            ensure!(!subject.delete(Some(other)).await?, "{other} is not the newest");
        }
        self.ensure_found(&subject.tenant, "mole", 1).await?;
        subject.work(second).await?;
        ensure!(subject.delete(Some(second)).await?);
        ensure!(!subject.delete(Some(second)).await?, "again");
        ensure!(subject.get().await?.is_none());
        self.ensure_found(&subject.tenant, "mole", 0).await
    }

    pub(super) async fn a_deletion_hides_at_once_and_the_counter_goes_on(&self) -> Checked {
        let subject = self.subject("deletion")?;
        let (documents, tenant) = (subject.documents, &subject.tenant);
        let first = subject.serve(&["brown bear"]).await?;
        let vector = subject.chunk(first, 0, "brown bear").vector;
        ensure!(documents.hydrate(tenant, std::slice::from_ref(&vector), &[]).await?.len() == 1);
        let pending = subject.begin("pending").await?;
        ensure!(subject.delete(None).await?);
        ensure!(!subject.delete(None).await?, "again");
        ensure!(subject.get().await?.is_none());
        ensure!(documents.hydrate(tenant, &[vector], &[]).await?.is_empty());
        self.ensure_found(tenant, "bear", 0).await?;
        ensure!(subject.claim(pending).await?.is_none());
        ensure!(subject.flip(pending).await? == Flip::No);
        ensure!(subject.flip(first).await? == Flip::No);
        let again = subject.begin("again").await?;
        ensure!(again == pending + 1);
        ensure!(subject.work(again).await?.incarnation == again);
        ensure!(subject.reusable(again, &["brown bear"]).await?.is_empty());
        Ok(())
    }

    pub(super) async fn a_prefix_is_deleted_in_slices(&self) -> Checked {
        let subject = self.subject("prefix")?;
        for name in ["a/1", "a/2", "a/3", "ab", "a", "b"] {
            subject.other(name)?.serve(&[&format!("goose {name}")]).await?;
        }
        for wanted in [2, 1, 0] {
            let deleted = subject.documents.delete_prefix(&subject.tenant, "a/", 2, subject.now).await?;
            ensure!(deleted.len() == wanted, "{deleted:?}");
            ensure!(deleted.iter().map(DocumentId::as_str).all(|id| id.starts_with("a/")), "{deleted:?}");
            for id in deleted {
                let gone = subject.other(id.as_str())?;
                ensure!(gone.get().await?.is_none());
                ensure!(gone.is_unclean(subject.now).await?);
            }
        }
        self.ensure_found(&subject.tenant, "goose", 3).await
    }

    pub(super) async fn a_failure_leaves_what_is_served(&self) -> Checked {
        let subject = self.subject("failure")?;
        let served = subject.serve(&["grey wolf"]).await?;
        let broken = subject.begin("broken").await?;
        let failure = subject.fail(broken).await?;
        let document = subject.document().await?;
        ensure!(document.status == Status::Searchable && document.error.is_none());
        ensure!(document.newest == broken && document.current() == served, "{document:?}");
        let pending = document.pending.ok_or("no pending")?;
        ensure!(pending.status == Status::Failed && pending.error == Some(failure));
        self.ensure_found(&subject.tenant, "wolf", 1).await?;
        let fresh = subject.other("fresh")?;
        let broken = fresh.begin("broken").await?;
        let failure = fresh.fail(broken).await?;
        let document = fresh.document().await?;
        ensure!(document.status == Status::Failed && document.error == Some(failure), "{document:?}");
        ensure!(document.current() == broken);
        Ok(())
    }

    pub(super) async fn a_late_copy_changes_nothing_that_is_served(&self) -> Checked {
        let subject = self.subject("late-copy")?;
        let (documents, tenant, id) = (subject.documents, &subject.tenant, &subject.id);
        let generation = subject.serve(&["black swan"]).await?;
        // Another consumer got the same message and is behind.
        subject.fill(generation, &["other swan"]).await?;
        documents.restart(tenant, id, generation, "other", "other").await?;
        subject.fail(generation).await?;
        ensure!(subject.flip(generation).await? == Flip::Served);
        let garbage = subject.clean(subject.now).await?;
        ensure!(garbage.vectors == [subject.chunk(generation, 0, "other swan").vector], "{garbage:?}");
        let chunks = documents.chunks(tenant, id, None, 10).await?;
        ensure!(chunks.len() == 1 && chunks[0].text == "black swan", "{chunks:?}");
        self.ensure_found(tenant, "black", 1).await?;
        self.ensure_found(tenant, "other", 0).await?;
        let document = subject.document().await?;
        ensure!(document.status == Status::Searchable && document.chunk_count == 1, "{document:?}");
        ensure!(document.counts.deleted == 0, "the other text was never served: {:?}", document.counts);
        ensure!(document.upload.is_some_and(|upload| upload.settings == SETTINGS));
        Ok(())
    }

    pub(super) async fn a_failed_generation_is_never_served(&self) -> Checked {
        let subject = self.subject("failed-flip")?;
        let generation = subject.begin("failed").await?;
        subject.fill(generation, &["tired heron"]).await?;
        subject.fail(generation).await?;
        ensure!(subject.flip(generation).await? == Flip::No);
        ensure!(subject.claim(generation).await?.is_none());
        self.ensure_found(&subject.tenant, "heron", 0).await
    }

    pub(super) async fn an_upload_is_known_until_its_generation_is_dead(&self) -> Checked {
        let subject = self.subject("upload")?;
        let (documents, tenant, id) = (subject.documents, &subject.tenant, &subject.id);
        let known = async |generation| documents.upload(tenant, id, generation).await;
        ensure!(known(1).await?.is_none());
        let mut upload = subject.upload("first");
        upload.embedded_title = Some("what stands before the text".into());
        upload.metadata.insert("lang".into(), "en".into());
        let first = subject.serve_with(&upload, &["first lynx"]).await?;
        let second = subject.begin("second").await?;
        let document = subject.document().await?;
        ensure!(document.upload == Some(upload.clone()), "what is described: {document:?}");
        ensure!((document.generation, document.newest, document.current()) == (Some(first), second, second));
        ensure!(known(first).await? == Some(upload.clone()));
        ensure!(known(second).await? == Some(subject.upload("second")));
        subject.fail(second).await?;
        ensure!(known(second).await?.is_some(), "failed is not dead");
        let third = subject.begin("third").await?;
        ensure!(known(second).await?.is_none(), "superseded");
        ensure!(known(first).await?.is_some(), "still served");
        subject.fill(third, &["third lynx"]).await?;
        ensure!(subject.flip(third).await? == Flip::Served);
        ensure!(known(first).await?.is_none(), "served no more");
        ensure!(subject.delete(None).await?);
        ensure!(known(third).await?.is_none(), "deleted");
        Ok(())
    }
}
