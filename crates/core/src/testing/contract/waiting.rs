//! Work that waits, and work that was forgotten.

use super::subject::{SETTINGS, Subject};
use super::{Checked, Contract};
use crate::Result;
use crate::document::{Millis, Status, Waiting};
use crate::ports::{DocumentStore, Flip, Overdue, Ports};

const MINUTE: Millis = 60_000;

fn waiting(until: Millis) -> Waiting {
    Waiting { code: "out_of_capacity".into(), message: "3040".into(), until }
}

/// The tenant's overdue work.
async fn overdue<D: DocumentStore>(
    subject: &Subject<'_, D>,
    before: Millis,
    now: Millis,
) -> Result<Vec<Overdue>> {
    let found = subject.documents.overdue(before, now, 10_000).await?;
    Ok(found.into_iter().filter(|entry| entry.tenant == subject.tenant).collect())
}

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn work_that_waits_says_so(&self) -> Checked {
        let subject = self.subject("postpone")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let postpone = async |generation, status, until| {
            documents.postpone(tenant, id, generation, status, &waiting(until), now).await
        };
        let first = subject.begin("first").await?;
        ensure!(postpone(first, Status::Parked, now + MINUTE).await? == 1);
        let document = subject.document().await?;
        ensure!(document.status == Status::Parked && !document.is_moving(), "{document:?}");
        let pending = document.pending.ok_or("no pending")?;
        ensure!(pending.status == Status::Parked, "{pending:?}");
        ensure!(pending.waiting == Some(waiting(now + MINUTE)), "{pending:?}");
        ensure!(overdue(&subject, now + MINUTE, now).await?.is_empty(), "it need not move yet");
        ensure!(overdue(&subject, now + MINUTE, now + MINUTE - 1).await?.is_empty());
        let found = overdue(&subject, now + MINUTE, now + MINUTE).await?;
        ensure!(found.len() == 1 && found[0].status == Status::Parked, "{found:?}");
        subject.work(first).await?;
        let document = subject.document().await?;
        ensure!(document.status == Status::Processing, "{document:?}");
        ensure!(document.pending.is_some_and(|pending| pending.waiting.is_none()), "it moves");
        ensure!(overdue(&subject, now + MINUTE, now).await?.len() == 1, "its consumer may have died");

        ensure!(postpone(first, Status::Queued, now + MINUTE).await? == 2);
        ensure!(subject.document().await?.status == Status::Queued);
        subject.fill(first, &["patient crab"]).await?;
        ensure!(subject.flip(first).await? == Flip::Served);
        ensure!(postpone(first, Status::Parked, now + MINUTE).await? == 0, "served");
        ensure!(subject.document().await?.status == Status::Searchable);
        ensure!(overdue(&subject, now + MINUTE, now).await?.len() == 1, "it waits for nothing");

        let second = subject.begin("second").await?;
        ensure!(postpone(second, Status::Queued, now + MINUTE).await? == 1);
        let pending = subject.document().await?.pending.ok_or("no pending")?;
        ensure!(pending.waiting.is_some(), "beside what is served: {pending:?}");
        subject.fail(second).await?;
        let pending = subject.document().await?.pending.ok_or("no pending")?;
        ensure!(pending.waiting.is_none() && pending.error.is_some(), "{pending:?}");
        ensure!(postpone(second, Status::Queued, now + MINUTE).await? == 0, "failed");
        Ok(())
    }

    pub(super) async fn waiting_is_counted_until_work_gets_on(&self) -> Checked {
        let subject = self.subject("postponed")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let generation = subject.begin("parts").await?;
        let postpone =
            async || documents.postpone(tenant, id, generation, Status::Queued, &waiting(now), now).await;
        ensure!(subject.work(generation).await?.postponed == 0);
        ensure!(postpone().await? == 1);
        ensure!(subject.work(generation).await?.postponed == 1);
        ensure!(postpone().await? == 2, "claiming it is no progress");
        ensure!(subject.plan(generation, 2).await?);
        ensure!(postpone().await? == 1, "it was planned");
        ensure!(postpone().await? == 2);
        ensure!(!subject.plan(generation, 2).await?);
        subject.write(generation, "other", 0, &[]).await?;
        ensure!(postpone().await? == 3, "nothing was done");
        let chunks = [subject.chunk(generation, 0, "busy crab")];
        subject.write(generation, SETTINGS, 0, &chunks).await?;
        ensure!(subject.work(generation).await?.postponed == 0);
        ensure!(postpone().await? == 1, "a part was finished");
        subject.write(generation, SETTINGS, 0, &chunks).await?;
        ensure!(postpone().await? == 2, "it was finished before");
        Ok(())
    }

    pub(super) async fn overdue_work_is_found(&self) -> Checked {
        let subject = self.subject("overdue")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let generation = subject.begin("lost").await?;
        let found = async |before| -> Result<Option<Status>> {
            let found = overdue(&subject, before, now).await?;
            Ok(found.into_iter().find(|entry| entry.generation == generation).map(|entry| entry.status))
        };
        ensure!(found(now - MINUTE).await?.is_none(), "too young");
        ensure!(found(now).await? == Some(Status::Queued));
        subject.work(generation).await?;
        ensure!(found(now).await? == Some(Status::Processing));
        subject.fill(generation, &["small wren"]).await?;
        ensure!(subject.flip(generation).await? == Flip::Served);
        ensure!(found(now).await? == Some(Status::Searchable));
        documents.indexed(tenant, id, generation, now).await?;
        ensure!(found(now + MINUTE).await?.is_none(), "done");
        let failed = subject.begin("failed").await?;
        let dead = subject.other("dead")?;
        dead.begin("older").await?;
        let newer = dead.begin("newer").await?;
        subject.fail(failed).await?;
        let left: Vec<_> =
            overdue(&subject, now, now).await?.into_iter().map(|left| left.generation).collect();
        ensure!(left == [newer], "neither failed nor dead ones: {left:?}");
        Ok(())
    }

    pub(super) async fn work_that_was_sent_is_not_overdue(&self) -> Checked {
        let subject = self.subject("sent")?;
        let (documents, now) = (subject.documents, subject.now);
        let mut ids = Vec::new();
        for (name, age) in [("middle", 2), ("young", 1), ("old", 3)] {
            let mut other = subject.other(name)?;
            other.now = now - age * MINUTE;
            ids.push(other.id.clone());
            if name == "old" {
                other.serve(&["old wren"]).await?
            } else {
                other.begin(name).await?
            };
        }
        let found = async || -> Result<Vec<_>> {
            let found = overdue(&subject, now, now).await?;
            Ok(found.into_iter().map(|entry| entry.document).collect())
        };
        let (middle, young, old) = (ids[0].clone(), ids[1].clone(), ids[2].clone());
        ensure!(found().await? == [old, middle.clone(), young.clone()], "longest unmoved first");
        let sent: Vec<Overdue> = overdue(&subject, now - 3 * MINUTE, now).await?;
        ensure!(sent.len() == 1 && sent[0].status == Status::Searchable && sent[0].bytes == 3, "{sent:?}");
        documents.sent(&sent, now + MINUTE).await?;
        ensure!(found().await? == [middle.clone(), young.clone()]);
        let sent: Vec<Overdue> = overdue(&subject, now, now).await?.into_iter().take(1).collect();
        documents.sent(&sent, now + 2 * MINUTE).await?;
        ensure!(found().await? == [young]);
        let later = overdue(&subject, now + 2 * MINUTE, now).await?;
        ensure!(later.len() == 3 && later[2].document == middle, "{later:?}");
        Ok(())
    }
}
