//! Vectors are entered, reused, and forgotten; so are generations and their objects.

use super::subject::{FIELDS, SETTINGS, embedding, fingerprint, planned, sorted, vectors};
use super::{Checked, Contract};
use crate::document::ChunkRow;
use crate::ports::{DocumentStore, Flip, Garbage, Ports, Reusable};

fn reusable(chunk: &ChunkRow, as_is: bool, own: bool) -> Reusable {
    Reusable { hash: chunk.hash.clone(), vector: chunk.vector.clone(), as_is, own }
}

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn own_vectors_are_reusable_once_written(&self) -> Checked {
        let subject = self.subject("own")?;
        let first = subject.begin("first").await?;
        let chunks = subject.chunks(first, &["own owl", "same owl", "same owl"]);
        let texts = ["own owl", "same owl", "unknown owl"];
        ensure!(subject.reusable(first, &texts).await?.is_empty());
        ensure!(subject.reusable(first, &[]).await?.is_empty());
        subject.intend(first, &chunks).await?;
        ensure!(subject.reusable(first, &texts).await?.is_empty(), "intents may not be there");
        subject.written(first, &chunks).await?;
        let found = subject.reusable(first, &texts).await?;
        let wanted = chunks[..2].iter().map(|chunk| reusable(chunk, true, true)).collect::<Vec<_>>();
        ensure!(found.len() == 2 && wanted.iter().all(|one| found.contains(one)), "{found:?}");
        subject.intend(first, &chunks[..1]).await?;
        let found = subject.reusable(first, &texts).await?;
        ensure!(found.len() == 2, "another writer at work takes nothing away: {found:?}");
        let stranger = subject.other("stranger")?;
        let other = stranger.begin("other").await?;
        ensure!(stranger.reusable(other, &texts).await?.is_empty(), "another document's");
        let second = subject.begin("second").await?;
        ensure!(subject.reusable(second, &texts).await?.is_empty(), "of a generation never served");
        Ok(())
    }

    pub(super) async fn served_vectors_are_reusable(&self) -> Checked {
        let subject = self.subject("reusable")?;
        let texts = ["kept owl", "other owl"];
        let first = subject.serve(&texts).await?;
        let chunks = subject.chunks(first, &texts);
        let kept = chunks[0].clone();

        let second = subject.begin("second").await?;
        let found = subject.reusable(second, &["kept owl", "new owl"]).await?;
        ensure!(found == [reusable(&kept, true, false)], "{found:?}");
        let own = subject.chunks(second, &["kept owl"]);
        subject.make(second, &own).await?;
        let found = subject.reusable(second, &["kept owl"]).await?;
        ensure!(found == [reusable(&own[0], true, true)], "one of its own comes first: {found:?}");

        let mut upload = subject.upload("third");
        upload.fields = "other".into();
        let third = subject.begin_with(&upload).await?;
        let found = subject.reusable(third, &["kept owl"]).await?;
        ensure!(found == [reusable(&kept, false, false)], "with other metadata, to be copied: {found:?}");
        let own = subject.chunks(third, &["kept owl"]);
        subject.make(third, &own).await?;
        let found = subject.reusable(third, &texts).await?;
        let wanted = [reusable(&own[0], true, true), reusable(&chunks[1], false, false)];
        ensure!(found.len() == 2 && wanted.iter().all(|one| found.contains(one)), "{found:?}");

        let mut upload = subject.upload("fourth");
        upload.fingerprint = fingerprint(&embedding("another"));
        let fourth = subject.begin_with(&upload).await?;
        ensure!(subject.reusable(fourth, &texts).await?.is_empty(), "another fingerprint");

        // Carried forward twice: the vector's own generation is not the one served.
        let fifth = subject.carry(&subject.upload("fifth"), std::slice::from_ref(&kept)).await?;
        let sixth = subject.begin("sixth").await?;
        let found = subject.reusable(sixth, &texts).await?;
        ensure!(found == [reusable(&kept, true, false)], "{found:?}");
        // A late copy of the first generation's message.
        subject.intend(first, std::slice::from_ref(&kept)).await?;
        let found = subject.reusable(sixth, &texts).await?;
        ensure!(found == [reusable(&kept, true, false)], "written, and served by {fifth}: {found:?}");
        Ok(())
    }

    pub(super) async fn a_vector_written_too_late_is_found(&self) -> Checked {
        let subject = self.subject("too-late")?;
        let now = subject.now;
        let generation = subject.begin("late").await?;
        let chunks = subject.chunks(generation, &["late ibis"]);
        // Its first attempt got as far as the vectors, a second is on its way when the document is deleted.
        subject.make(generation, &chunks).await?;
        subject.intend(generation, &chunks).await?;
        ensure!(subject.delete(None).await?);
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors.is_empty(), "its writer may be at work: {garbage:?}");
        ensure!(garbage.generations == [generation], "{garbage:?}");
        subject.written(generation, &chunks).await?;
        ensure!(subject.is_unclean(now + 1).await?);
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.vectors == vectors(&chunks), "{garbage:?}");
        ensure!(!subject.is_unclean(now + 1).await?);
        Ok(())
    }

    pub(super) async fn garbage_is_what_nothing_refers_to(&self) -> Checked {
        let subject = self.subject("garbage")?;
        let now = subject.now;
        let first = subject.serve(&["kept owl", "gone hawk"]).await?;
        ensure!(subject.garbage(now + 1).await? == Garbage::default());
        ensure!(!subject.is_unclean(now + 1).await?);
        let chunks = subject.chunks(first, &["kept owl", "gone hawk"]);
        let (kept, gone) = (&chunks[..1], &chunks[1..]);
        let second = subject.begin("second").await?;
        let half = subject.chunks(second, &["half lark"]);
        subject.make(second, &half).await?;
        ensure!(subject.garbage(now + 1).await? == Garbage::default(), "it is open");
        ensure!(subject.plan(second, 1).await?);
        subject.write(second, SETTINGS, 0, kept).await?;
        ensure!(subject.flip(second).await? == Flip::Served);
        let late = subject.chunks(first, &["late intent"]);
        subject.intend(first, &late).await?;
        ensure!(subject.is_unclean(now).await?, "the sweeper sees it");
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors == sorted([vectors(gone), vectors(&half)].concat()), "{garbage:?}");
        ensure!(garbage.generations == [first] && !garbage.more, "{garbage:?}");
        ensure!(garbage.objects == [subject.upload("kept owl").object_key], "{garbage:?}");
        ensure!(!subject.is_unclean(now).await?, "the intent is too young");
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.vectors == vectors(&late), "it goes once its writer is surely gone: {garbage:?}");
        ensure!(!subject.is_unclean(now + 1).await?);
        ensure!(subject.garbage(now + 1).await? == Garbage::default());
        // Only dead ones are forgotten.
        subject.documents.forget_generations(&subject.tenant, &subject.id, &[second]).await?;
        ensure!(subject.documents.chunks(&subject.tenant, &subject.id, None, 10).await?.len() == 1);
        let kept = [kept[0].vector.clone()];
        ensure!(subject.documents.hydrate(&subject.tenant, &kept, &[]).await?.len() == 1);
        // A generation that never wrote anything.
        let third = subject.begin("third").await?;
        subject.begin("fourth").await?;
        ensure!(subject.is_unclean(now).await?, "the sweeper sees it");
        let garbage = subject.clean(now).await?;
        ensure!(garbage.generations == [third] && garbage.vectors.is_empty(), "{garbage:?}");
        ensure!(garbage.objects == [subject.upload("third").object_key], "{garbage:?}");
        ensure!(!subject.is_unclean(now).await?);
        Ok(())
    }

    pub(super) async fn garbage_comes_in_slices(&self) -> Checked {
        let subject = self.subject("slices")?;
        let texts = ["crow 1", "crow 2", "crow 3", "crow 4", "crow 5"];
        let generation = subject.serve(&texts).await?;
        subject.begin("second").await?;
        ensure!(subject.delete(None).await?);
        let (mut named, mut generations, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0.. {
            ensure!(round < 10, "{named:?} {generations:?}");
            let garbage = subject.garbage_within(subject.now + 1, 2).await?;
            ensure!(garbage.vectors.len() <= 2 && garbage.generations.len() <= 2, "{garbage:?}");
            subject.forget(&garbage).await?;
            ensure!(generations.is_empty() || garbage.vectors.is_empty(), "generations go last: {garbage:?}");
            named.extend(garbage.vectors);
            generations.extend(garbage.generations);
            objects.extend(garbage.objects);
            if !garbage.more {
                break;
            }
            ensure!(subject.is_unclean(subject.now + 1).await? || generations.len() == 2);
        }
        ensure!(sorted(named) == vectors(&subject.chunks(generation, &texts)));
        ensure!(sorted(generations) == [1, 2]);
        let wanted = [subject.upload("crow 1").object_key, subject.upload("second").object_key];
        ensure!(sorted(objects) == wanted);
        ensure!(!subject.is_unclean(subject.now + 1).await?);

        // Identical chunks: the one vector can go when the last of them went.
        let alike = subject.other("alike")?;
        alike.serve(&["same crow"; 5]).await?;
        ensure!(alike.delete(None).await?);
        for _ in 0..2 {
            let garbage = alike.garbage_within(subject.now + 1, 2).await?;
            ensure!(garbage == Garbage { more: true, ..Garbage::default() }, "rows are left: {garbage:?}");
        }
        let garbage = alike.garbage_within(subject.now + 1, 2).await?;
        ensure!(garbage.vectors.len() == 1 && garbage.generations == [1], "{garbage:?}");
        ensure!(!garbage.more, "{garbage:?}");
        Ok(())
    }

    pub(super) async fn what_a_failure_left_is_garbage(&self) -> Checked {
        let subject = self.subject("failed-rest")?;
        let now = subject.now;
        let generation = subject.begin("failed").await?;
        let chunks = subject.chunks(generation, &["tired heron"]);
        subject.make(generation, &chunks).await?;
        ensure!(subject.plan(generation, 2).await?);
        subject.write(generation, SETTINGS, 0, &chunks).await?;
        subject.fail(generation).await?;
        ensure!(subject.is_unclean(now).await?, "the sweeper sees it");
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors == vectors(&chunks), "{garbage:?}");
        ensure!(garbage.generations.is_empty() && garbage.objects.is_empty(), "{garbage:?}");
        ensure!(!subject.is_unclean(now + 1).await?);
        // Another consumer was at it.
        let late = subject.chunks(generation, &["late heron"]);
        subject.write(generation, SETTINGS, 1, &late).await?;
        ensure!(!subject.is_unclean(now + 1).await?, "nothing is written any more");
        subject.make(generation, &late).await?;
        ensure!(subject.is_unclean(now + 1).await?);
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.vectors == vectors(&late), "{garbage:?}");
        ensure!(!subject.is_unclean(now + 1).await?);
        ensure!(subject.documents.upload(&subject.tenant, &subject.id, generation).await?.is_some());
        Ok(())
    }

    pub(super) async fn what_a_restart_left_is_garbage(&self) -> Checked {
        let subject = self.subject("restart-rest")?;
        let (documents, tenant, id, now) = (subject.documents, &subject.tenant, &subject.id, subject.now);
        let restarted = async |name| -> Checked<Vec<String>> {
            let generation = subject.begin(name).await?;
            let left = subject.fill(generation, &["left kite"]).await?;
            documents.restart(tenant, id, generation, "new", FIELDS).await?;
            ensure!(subject.garbage(now + 1).await?.vectors.is_empty(), "it is open");
            ensure!(documents.plan(tenant, id, generation, "new", 0, &[planned(0)], None, now).await?);
            let right = subject.chunks(generation, &["right kite"]);
            subject.make(generation, &right).await?;
            subject.write(generation, "new", 0, &right).await?;
            ensure!(subject.flip(generation).await? == Flip::Served);
            Ok(vectors(&left))
        };
        let left = restarted("first").await?;
        ensure!(subject.is_unclean(now + 1).await?, "the sweeper sees it");
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.vectors == left && garbage.generations.is_empty(), "{garbage:?}");
        ensure!(subject.document().await?.counts.deleted == 0, "it was never served");
        ensure!(!subject.is_unclean(now + 1).await?);
        restarted("second").await?;
        subject.clean(now).await?;
        subject.serve(&["last kite"]).await?;
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.vectors.len() == 2, "{garbage:?}");
        let document = subject.document().await?;
        ensure!(document.counts.deleted == 1, "of these two, one was served: {:?}", document.counts);
        Ok(())
    }

    pub(super) async fn vanished_texts_are_counted(&self) -> Checked {
        let subject = self.subject("counts")?;
        let now = subject.now;
        let first = subject.serve(&["kept owl", "gone hawk", "moved lark"]).await?;
        // Its metadata changed: what stays gets another vector.
        let mut upload = subject.upload("second");
        upload.fields = "other".into();
        let second = subject.serve_with(&upload, &["kept owl", "moved lark"]).await?;
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors.len() == 3 && garbage.generations == [first], "{garbage:?}");
        let document = subject.document().await?;
        ensure!(document.counts.deleted == 1, "only the hawk is gone: {:?}", document.counts);

        let third = subject.begin_with(&upload).await?;
        subject.fill(third, &["unserved finch"]).await?;
        let kept = subject.chunk(second, 0, "kept owl");
        let fourth = subject.carry(&upload, std::slice::from_ref(&kept)).await?;
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors.len() == 2 && garbage.generations == [second, third], "{garbage:?}");
        let document = subject.document().await?;
        ensure!(document.counts.deleted == 1, "the lark, not the finch: {:?}", document.counts);

        subject.serve_with(&upload, &["last crow"]).await?;
        let garbage = subject.clean(now).await?;
        ensure!(garbage.vectors == [kept.vector] && garbage.generations == [fourth], "{garbage:?}");
        let document = subject.document().await?;
        ensure!(document.counts.deleted == 1, "carried forward, and gone now: {:?}", document.counts);
        subject.forget(&garbage).await?;
        let again = subject.document().await?;
        ensure!(again.counts.deleted == 1, "what is forgotten counts no more: {:?}", again.counts);
        Ok(())
    }

    pub(super) async fn a_shared_object_outlives_its_first_generation(&self) -> Checked {
        let subject = self.subject("objects")?;
        let (documents, now) = (subject.documents, subject.now);
        let shared = subject.upload("shared");
        let object = [shared.object_key.clone()];
        let first = subject.serve_with(&shared, &["first gull"]).await?;
        let renamed = crate::document::Upload { title: Some("renamed".into()), ..shared.clone() };
        let second = subject.begin_with(&renamed).await?;
        let third = subject.serve_with(&renamed, &["third gull"]).await?;
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.generations == [first, second] && garbage.objects.is_empty(), "{garbage:?}");
        ensure!(documents.unreferenced(&object).await?.is_empty());
        let fourth = subject.begin_with(&renamed).await?;
        let failed = subject.begin_with(&renamed).await?;
        subject.fail(failed).await?;
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.generations == [fourth] && garbage.objects.is_empty(), "{garbage:?}");
        let last = subject.serve(&["last gull"]).await?;
        let garbage = subject.garbage(now + 1).await?;
        ensure!(garbage.generations == [third, failed] && garbage.objects == object, "{garbage:?}");
        ensure!(documents.unreferenced(&object).await?.is_empty(), "not forgotten yet");
        subject.forget(&garbage).await?;
        ensure!(documents.unreferenced(&object).await? == object);
        ensure!(documents.unreferenced(&[]).await?.is_empty());
        ensure!(subject.delete(None).await?);
        let garbage = subject.clean(now + 1).await?;
        ensure!(garbage.generations == [last], "{garbage:?}");
        ensure!(garbage.objects == [subject.upload("last gull").object_key], "{garbage:?}");
        Ok(())
    }
}
