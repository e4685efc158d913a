//! Generations are planned and written part by part.

use super::subject::{FIELDS, SETTINGS, planned};
use super::{Checked, Contract};
use crate::document::ChunkRow;
use crate::ports::{DocumentStore, Flip, PlannedPart, Ports, Ticket};

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn parts_are_planned_in_slices(&self) -> Checked {
        let subject = self.subject("plan")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let generation = subject.begin("long").await?;
        let plan = async |so_far, parts: &[PlannedPart], resume| {
            documents.plan(tenant, id, generation, SETTINGS, so_far, parts, resume, now).await
        };
        ensure!(plan(0, &[], Some("a way in")).await?, "nothing found yet");
        let work = subject.work(generation).await?;
        ensure!(work.planned == 0 && work.resume.as_deref() == Some("a way in"), "{work:?}");
        ensure!(plan(0, &[planned(0), planned(1)], Some("half")).await?);
        ensure!(!plan(0, &[planned(0)], None).await?, "a copy");
        ensure!(!plan(3, &[planned(3)], None).await?, "a gap");
        let work = subject.work(generation).await?;
        ensure!((work.planned, work.complete) == (2, false), "{work:?}");
        ensure!(work.resume.as_deref() == Some("half"), "{work:?}");
        for number in 0..2 {
            let chunks = [subject.chunk(generation, number, &format!("yak {number}"))];
            subject.make(generation, &chunks).await?;
            subject.write(generation, SETTINGS, number, &chunks).await?;
        }
        ensure!(subject.flip(generation).await? == Flip::No, "the plan is not complete");
        let pending = subject.document().await?.pending.ok_or("no pending")?;
        ensure!((pending.parts_done, pending.parts_total) == (2, 0), "nobody knows how many: {pending:?}");
        ensure!(plan(2, &[planned(2)], None).await?);
        let work = subject.work(generation).await?;
        ensure!((work.planned, work.complete, work.resume.is_none()) == (3, true, true), "{work:?}");
        ensure!(!plan(3, &[planned(3)], None).await?, "it is complete");
        ensure!(subject.flip(generation).await? == Flip::No, "a part is unfinished");
        subject.write(generation, SETTINGS, 2, &[subject.chunk(generation, 2, "yak 2")]).await?;
        ensure!(subject.flip(generation).await? == Flip::Served);
        self.ensure_found(tenant, "yak", 3).await
    }

    pub(super) async fn a_plan_takes_only_what_fits(&self) -> Checked {
        let subject = self.subject("plan-guards")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let older = subject.begin("older").await?;
        let newer = subject.begin("newer").await?;
        let plan = async |generation, settings| {
            documents.plan(tenant, id, generation, settings, 0, &[planned(0)], None, now).await
        };
        ensure!(!plan(older, SETTINGS).await?, "dead");
        ensure!(!plan(newer + 1, SETTINGS).await?, "there is none");
        ensure!(!plan(newer, "other").await?, "other settings");
        ensure!(documents.open_parts(tenant, id, newer, None, 10).await?.is_empty());
        ensure!(!subject.work(newer).await?.complete);
        subject.fail(newer).await?;
        ensure!(!plan(newer, SETTINGS).await?, "failed");
        let empty = subject.other("empty")?;
        let generation = empty.begin("empty").await?;
        ensure!(empty.plan(generation, 0).await?);
        ensure!(empty.flip(generation).await? == Flip::No, "complete, but without any part");
        Ok(())
    }

    pub(super) async fn unfinished_parts_are_listed(&self) -> Checked {
        let subject = self.subject("open-parts")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let generation = subject.begin("parts").await?;
        ensure!(documents.open_parts(tenant, id, generation, None, 10).await?.is_empty());
        ensure!(subject.plan(generation, 5).await?);
        subject.write(generation, SETTINGS, 1, &[subject.chunk(generation, 1, "newt")]).await?;
        let open = async |after, limit| documents.open_parts(tenant, id, generation, after, limit).await;
        let parts = open(None, 10).await?;
        ensure!(parts == [planned(0), planned(2), planned(3), planned(4)], "{parts:?}");
        ensure!(open(None, 2).await? == [planned(0), planned(2)]);
        ensure!(open(Some(2), 2).await? == [planned(3), planned(4)]);
        ensure!(open(Some(4), 2).await?.is_empty());

        let ticket = Ticket { id: "t-1".into(), hashes: vec!["one".into(), "two".into()] };
        let note =
            async |part, ticket| documents.note_ticket(tenant, id, generation, part, ticket, now).await;
        note(2, Some(&ticket)).await?;
        note(1, Some(&ticket)).await?;
        let parts = open(None, 10).await?;
        let noted = PlannedPart { ticket: Some(ticket.clone()), ..planned(2) };
        ensure!(parts == [planned(0), noted, planned(3), planned(4)], "{parts:?}");
        note(2, None).await?;
        ensure!(open(Some(0), 1).await? == [planned(2)]);
        subject.fail(generation).await?;
        note(3, Some(&ticket)).await?;
        ensure!(open(None, 10).await?.iter().all(|part| part.ticket.is_none()), "it is not open");
        Ok(())
    }

    pub(super) async fn a_part_is_written_once(&self) -> Checked {
        let subject = self.subject("write-once")?;
        let generation = subject.begin("part").await?;
        let early = [subject.chunk(generation, 0, "early crane")];
        subject.make(generation, &early).await?;
        subject.write(generation, SETTINGS, 0, &early).await?;
        ensure!(subject.plan(generation, 1).await?);
        ensure!(subject.flip(generation).await? == Flip::No, "a part is written after it was planned");
        let first = subject.chunks(generation, &["first crane", "second crane"]);
        let late = [subject.chunk(generation, 0, "late crane")];
        subject.make(generation, &first).await?;
        subject.make(generation, &late).await?;
        for chunks in [&first[..], &first, &late] {
            subject.write(generation, SETTINGS, 0, chunks).await?;
        }
        // There is no such part.
        subject.write(generation, SETTINGS, 1, &[ChunkRow { ordinal: 9, ..late[0].clone() }]).await?;
        ensure!(subject.flip(generation).await? == Flip::Served);
        let chunks = subject.documents.chunks(&subject.tenant, &subject.id, None, 10).await?;
        let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        ensure!(texts == ["first crane", "second crane"], "{texts:?}");
        self.ensure_found(&subject.tenant, "crane", 2).await?;
        let document = subject.document().await?;
        ensure!(document.chunk_count == 2 && document.counts.embedded == 2, "{document:?}");
        Ok(())
    }

    pub(super) async fn a_part_of_other_settings_is_not_written(&self) -> Checked {
        let subject = self.subject("write-settings")?;
        let (documents, tenant, id) = (subject.documents, &subject.tenant, &subject.id);
        let generation = subject.begin("part").await?;
        ensure!(subject.plan(generation, 1).await?);
        let old = subject.chunks(generation, &["old stork"]);
        subject.make(generation, &old).await?;
        // A second consumer, deployed since, starts anew; the first is still at it.
        documents.restart(tenant, id, generation, "new", FIELDS).await?;
        let parts = [planned(0)];
        ensure!(documents.plan(tenant, id, generation, "new", 0, &parts, None, subject.now).await?);
        subject.write(generation, SETTINGS, 0, &old).await?;
        ensure!(subject.flip(generation).await? == Flip::No, "nothing is written");
        let new = subject.chunks(generation, &["new stork"]);
        subject.make(generation, &new).await?;
        subject.write(generation, "new", 0, &new).await?;
        ensure!(subject.flip(generation).await? == Flip::Served);
        self.ensure_found(tenant, "old", 0).await?;
        self.ensure_found(tenant, "new", 1).await
    }

    pub(super) async fn a_restart_forgets_what_was_written(&self) -> Checked {
        let subject = self.subject("restart")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let generation = subject.begin("restart").await?;
        ensure!(subject.plan(generation, 3).await?);
        let old = subject.chunks(generation, &["one crane"]);
        subject.make(generation, &old).await?;
        subject.write(generation, SETTINGS, 0, &old).await?;
        documents.restart(tenant, id, generation, "new", "other").await?;
        let work = subject.work(generation).await?;
        ensure!(work.upload.settings == "new" && work.upload.fields == "other", "{work:?}");
        ensure!(work.planned == 0 && work.resume.is_none() && !work.complete, "{work:?}");
        ensure!(documents.open_parts(tenant, id, generation, None, 10).await?.is_empty());
        ensure!(subject.reusable(generation, &["one crane"]).await?.is_empty(), "it carries other metadata");
        ensure!(documents.plan(tenant, id, generation, "new", 0, &[planned(0)], None, now).await?);
        let new = subject.chunks(generation, &["other crane"]);
        subject.make(generation, &new).await?;
        subject.write(generation, "new", 0, &new).await?;
        ensure!(subject.flip(generation).await? == Flip::Served, "the parts of before are forgotten");
        self.ensure_found(tenant, "crane", 1).await
    }
}
