//! A tenant's documents are made anew.

use super::subject::{SETTINGS, Subject, embedding, fingerprint, vectors};
use super::{Checked, Contract};
use crate::document::{Generation, Status, Upload};
use crate::ports::{DocumentStore, Flip, Outdated, Ports, Progress};
use crate::settings::EmbeddingSettings;

/// Begins a generation with another embedding, and makes all of it.
async fn make<D: DocumentStore>(
    subject: &Subject<'_, D>,
    embedding: &EmbeddingSettings,
    text: &str,
) -> Checked<Generation> {
    let upload = Upload { fingerprint: fingerprint(embedding), ..subject.upload(text) };
    let generation = subject.begin_with(&upload).await?;
    subject.fill(generation, &[text]).await?;
    Ok(generation)
}

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn a_tenant_keeps_its_first_embedding(&self) -> Checked {
        let subject = self.subject("adopt")?;
        let (documents, tenant) = (subject.documents, &subject.tenant);
        let state = documents.tenant(tenant).await?;
        ensure!(state == crate::ports::TenantState::default(), "{state:?}");
        subject.begin("before").await?;
        ensure!(documents.tenant(tenant).await?.embedding.is_none());
        let (first, second) = (EmbeddingSettings::default(), embedding("second"));
        let state = documents.adopt(tenant, &first).await?;
        ensure!(state.embedding == Some(first.clone()), "{state:?}");
        ensure!(state.next.is_none() && !state.reindexing, "{state:?}");
        ensure!(documents.adopt(tenant, &second).await? == state);
        ensure!(documents.tenant(tenant).await? == state);
        Ok(())
    }

    pub(super) async fn staged_generations_are_served_together(&self) -> Checked {
        let subject = self.subject("staged")?;
        let (documents, tenant, now) = (subject.documents, &subject.tenant, subject.now);
        let (old, new) = (EmbeddingSettings::default(), embedding("new"));
        let (fox, owl, elk) = (subject.other("fox")?, subject.other("owl")?, subject.other("elk")?);
        documents.adopt(tenant, &old).await?;
        fox.serve(&["old fox"]).await?;
        owl.serve(&["old owl"]).await?;
        let gone = subject.other("gone")?;
        gone.serve(&["old elk"]).await?;
        ensure!(gone.delete(None).await?);
        ensure!(!documents.flip_tenant(tenant, &new, now).await?, "it is not the next one");
        documents.start_reindex(tenant, Some(&new), None, now).await?;
        documents.end_reindex(tenant, None).await?;
        let state = documents.tenant(tenant).await?;
        ensure!(state.embedding == Some(old.clone()) && state.next == Some(new.clone()), "{state:?}");
        ensure!(state.reindexing, "an embedding is still to be replaced");
        ensure!(documents.reindexing(10_000).await?.contains(tenant));

        let second = make(&fox, &new, "new fox").await?;
        ensure!(fox.flip(second).await? == Flip::Staged);
        ensure!(fox.flip(second).await? == Flip::Staged, "again");
        ensure!(fox.claim(second).await?.is_none(), "nothing is left to do");
        let document = fox.document().await?;
        ensure!(document.status == Status::Searchable && document.generation == Some(1), "{document:?}");
        let pending = document.pending.ok_or("no pending")?;
        ensure!((pending.generation, pending.status) == (second, Status::Staged), "{pending:?}");
        let overdue = documents.overdue(now, now, 10_000).await?;
        let moving = |id, generation| {
            overdue
                .iter()
                .any(|entry| (&entry.tenant, &entry.document, entry.generation) == (tenant, id, generation))
        };
        ensure!(!moving(&fox.id, second) && moving(&owl.id, 1), "{overdue:?}");
        let garbage = fox.clean(now + 1).await?;
        ensure!(garbage == crate::ports::Garbage::default(), "{garbage:?}");
        let first = make(&elk, &new, "new elk").await?;
        ensure!(elk.flip(first).await? == Flip::Staged);
        let document = elk.document().await?;
        ensure!(document.status == Status::Staged && document.generation.is_none(), "{document:?}");
        ensure!(document.chunk_count == 0 && document.pending.is_none(), "{document:?}");
        ensure!(!document.is_moving());
        ensure!(!documents.flip_tenant(tenant, &new, now).await?, "the owl is missing");
        let open = make(&owl, &new, "new owl").await?;
        ensure!(!documents.flip_tenant(tenant, &new, now).await?, "the owl is open");
        ensure!(owl.flip(open).await? == Flip::Staged);
        self.ensure_found(tenant, "old", 2).await?;
        self.ensure_found(tenant, "new", 0).await?;

        ensure!(documents.flip_tenant(tenant, &new, now).await?);
        ensure!(documents.flip_tenant(tenant, &new, now).await?, "again");
        ensure!(!documents.flip_tenant(tenant, &old, now).await?);
        self.ensure_found(tenant, "old", 0).await?;
        self.ensure_found(tenant, "new", 3).await?;
        for (subject, generation) in [(&fox, 2), (&owl, 2), (&elk, 1)] {
            let document = subject.document().await?;
            ensure!(document.status == Status::Searchable && document.pending.is_none(), "{document:?}");
            ensure!(document.generation == Some(generation) && document.chunk_count == 1, "{document:?}");
            ensure!(subject.flip(generation).await? == Flip::Served);
        }
        ensure!(fox.is_unclean(now).await?);
        let garbage = fox.clean(now).await?;
        ensure!(garbage.vectors == vectors(&fox.chunks(1, &["old fox"])), "{garbage:?}");
        ensure!(garbage.generations == [1], "{garbage:?}");
        documents.end_reindex(tenant, None).await?;
        let state = documents.tenant(tenant).await?;
        ensure!(state.embedding == Some(new.clone()), "{state:?}");
        ensure!(state.next.is_none() && !state.reindexing, "{state:?}");
        ensure!(!documents.reindexing(10_000).await?.contains(tenant));
        let third = make(&fox, &new, "newer fox").await?;
        ensure!(fox.flip(third).await? == Flip::Served, "no more waiting");
        Ok(())
    }

    pub(super) async fn a_failure_does_not_hold_up_a_reindex(&self) -> Checked {
        let subject = self.subject("staged-failure")?;
        let (documents, tenant, now) = (subject.documents, &subject.tenant, subject.now);
        let (fox, owl) = (subject.other("fox")?, subject.other("owl")?);
        documents.adopt(tenant, &EmbeddingSettings::default()).await?;
        fox.serve(&["old fox"]).await?;
        owl.serve(&["old owl"]).await?;
        let broken = owl.begin("broken").await?;
        owl.fail(broken).await?;
        let new = embedding("new");
        documents.start_reindex(tenant, Some(&new), None, now).await?;
        let staged = make(&fox, &new, "new fox").await?;
        ensure!(fox.flip(staged).await? == Flip::Staged);
        ensure!(!documents.flip_tenant(tenant, &new, now).await?, "it failed with the embedding of before");
        let broken = make(&owl, &new, "new owl").await?;
        owl.fail(broken).await?;
        ensure!(documents.flip_tenant(tenant, &new, now).await?);
        self.ensure_found(tenant, "new", 1).await?;
        self.ensure_found(tenant, "old owl", 1).await?;
        let document = owl.document().await?;
        ensure!(document.generation == Some(1) && document.current() == 1, "{document:?}");
        ensure!(document.pending.is_some_and(|pending| pending.status == Status::Failed));
        documents.end_reindex(tenant, None).await?;
        Ok(())
    }

    pub(super) async fn an_abandoned_reindex_loses_no_upload(&self) -> Checked {
        let subject = self.subject("abandoned")?;
        let (documents, tenant, now) = (subject.documents, &subject.tenant, subject.now);
        let (fox, owl, elk) = (subject.other("fox")?, subject.other("owl")?, subject.other("elk")?);
        let (old, abandoned, new) = (EmbeddingSettings::default(), embedding("abandoned"), embedding("new"));
        documents.adopt(tenant, &old).await?;
        fox.serve(&["old fox"]).await?;
        elk.begin("old elk").await?;
        documents.start_reindex(tenant, Some(&abandoned), None, now).await?;
        // Uploaded, and taken up by the re-index before it was served.
        let staged = make(&fox, &abandoned, "newer fox").await?;
        ensure!(fox.flip(staged).await? == Flip::Staged);
        let open = make(&owl, &abandoned, "newer owl").await?;
        documents.start_reindex(tenant, Some(&new), None, now).await?;
        ensure!(documents.tenant(tenant).await?.next == Some(new.clone()));
        elk.work(1).await?;
        for (subject, generation, text) in [(&fox, staged, "newer fox"), (&owl, open, "newer owl")] {
            ensure!(subject.claim(generation).await?.is_none());
            ensure!(subject.flip(generation).await? == Flip::No);
            let document = subject.document().await?;
            ensure!(document.newest == generation, "{document:?}");
            ensure!(document.pending.is_some_and(|pending| pending.status == Status::Queued), "made anew");
            let upload = documents.upload(tenant, &subject.id, generation).await?;
            ensure!(upload.is_some(), "what was uploaded last is not lost");
            ensure!(subject.is_unclean(now).await?);
            let garbage = subject.clean(now).await?;
            ensure!(garbage.vectors == vectors(&subject.chunks(generation, &[text])), "{garbage:?}");
            ensure!(garbage.generations.is_empty() && garbage.objects.is_empty(), "{garbage:?}");
            ensure!(!subject.is_unclean(now + 1).await?);
        }
        self.ensure_found(tenant, "old fox", 1).await?;
        for target in [&new, &abandoned] {
            // Even if the abandoned embedding is wanted after all.
            documents.start_reindex(tenant, Some(target), None, now).await?;
            let found = documents.outdated(tenant, SETTINGS, &fingerprint(target), None, 10).await?;
            let ids: Vec<_> = found.iter().map(|found| found.document.as_str()).collect();
            ensure!(ids == ["elk", "fox", "owl"], "{found:?}");
            ensure!(found.iter().all(|found| found.base == found.newest), "{found:?}");
            let progress = documents.progress(tenant, SETTINGS, &fingerprint(target)).await?;
            ensure!(progress == Progress { documents: 3, ..Progress::default() }, "{progress:?}");
            ensure!(!documents.flip_tenant(tenant, target, now).await?);
        }
        let again = make(&fox, &abandoned, "newer fox").await?;
        ensure!(fox.flip(again).await? == Flip::Staged);
        let garbage = fox.clean(now).await?;
        ensure!(garbage.generations == [staged] && garbage.objects.is_empty(), "{garbage:?}");
        documents.start_reindex(tenant, None, None, now).await?;
        documents.end_reindex(tenant, None).await?;
        let state = documents.tenant(tenant).await?;
        ensure!(state.embedding == Some(old) && state.next.is_none() && !state.reindexing, "{state:?}");
        Ok(())
    }

    pub(super) async fn outdated_documents_are_listed(&self) -> Checked {
        let subject = self.subject("outdated")?;
        let (documents, tenant) = (subject.documents, &subject.tenant);
        let fingerprint = fingerprint(&EmbeddingSettings::default());
        let with = |subject: &Subject<'_, P::Documents>, settings: &str, made_with: &str| Upload {
            settings: settings.into(),
            fingerprint: made_with.into(),
            ..subject.upload("made")
        };
        for (name, settings, made_with) in [
            ("a", SETTINGS, fingerprint.as_str()),
            ("b", "other", &fingerprint),
            ("c", SETTINGS, "other"),
            ("d", "other", "other"),
        ] {
            let other = subject.other(name)?;
            other.begin_with(&with(&other, settings, made_with)).await?;
        }
        ensure!(subject.other("d")?.delete(None).await?);
        let served = subject.other("e")?;
        served.serve(&["served bat"]).await?;
        let failed = served.begin_with(&with(&served, "other", &fingerprint)).await?;
        served.fail(failed).await?;
        for (name, settings) in [("f", "other"), ("g", SETTINGS)] {
            let other = subject.other(name)?;
            let failed = other.begin_with(&with(&other, settings, &fingerprint)).await?;
            other.fail(failed).await?;
        }
        let busy = subject.other("h")?;
        busy.serve(&["busy bat"]).await?;
        busy.begin_with(&with(&busy, "other", &fingerprint)).await?;
        let outdated = async |after: Option<&str>, limit| -> Checked<Vec<(String, u64, u64)>> {
            let after = after.map(crate::document::DocumentId::new).transpose()?;
            let found = documents.outdated(tenant, SETTINGS, &fingerprint, after.as_ref(), limit).await?;
            let row = |Outdated { document, newest, base }| (document.to_string(), newest, base);
            Ok(found.into_iter().map(row).collect())
        };
        let row = |id: &str, newest, base| (id.to_owned(), newest, base);
        let all = [row("b", 1, 1), row("c", 1, 1), row("e", 2, 1), row("f", 1, 1), row("h", 2, 2)];
        let found = outdated(None, 10).await?;
        ensure!(found == all, "{found:?}");
        ensure!(outdated(None, 2).await? == all[..2]);
        ensure!(outdated(Some("c"), 2).await? == all[2..4]);
        ensure!(outdated(Some("h"), 2).await?.is_empty());
        Ok(())
    }

    pub(super) async fn progress_is_counted(&self) -> Checked {
        let subject = self.subject("progress")?;
        let (documents, tenant, now) = (subject.documents, &subject.tenant, subject.now);
        let (old, new) = (EmbeddingSettings::default(), embedding("new"));
        documents.adopt(tenant, &old).await?;
        let progress = async |made_with: &EmbeddingSettings, settings| {
            documents.progress(tenant, settings, &fingerprint(made_with)).await
        };
        ensure!(progress(&old, SETTINGS).await? == Progress::default());
        for name in ["a", "b", "c", "d"] {
            subject.other(name)?.serve(&["bee"]).await?;
        }
        ensure!(subject.other("d")?.delete(None).await?);
        let done = Progress { documents: 3, done: 3, open: 0, failed: 0 };
        ensure!(progress(&old, SETTINGS).await? == done);
        ensure!(progress(&old, "other").await? == Progress { documents: 3, ..Progress::default() });
        documents.start_reindex(tenant, Some(&new), None, now).await?;
        let (staged, failed) = (subject.other("a")?, subject.other("b")?);
        let generation = make(&staged, &new, "bee").await?;
        ensure!(staged.flip(generation).await? == Flip::Staged);
        let generation = make(&failed, &new, "bee").await?;
        let found = progress(&new, SETTINGS).await?;
        ensure!(found == Progress { documents: 3, done: 1, open: 1, failed: 0 }, "{found:?}");
        failed.fail(generation).await?;
        let found = progress(&new, SETTINGS).await?;
        ensure!(found == Progress { documents: 3, done: 1, open: 0, failed: 1 }, "{found:?}");
        documents.start_reindex(tenant, None, None, now).await?;
        documents.end_reindex(tenant, None).await?;
        Ok(())
    }
}
