//! What is served is found, listed and read.

use super::{Checked, Contract};
use crate::document::Status;
use crate::filter::Filter;
use crate::keyword;
use crate::ports::{DocumentStore, KeywordIndex, ListQuery, Ports};
use crate::{Result, Tenant};
use serde_json::json;

impl<P: Ports> Contract<'_, P> {
    pub(super) async fn identical_chunks_hydrate_once(&self) -> Checked {
        let subject = self.subject("identical")?;
        let generation = subject.serve(&["same seal", "same seal"]).await?;
        let vector = subject.chunk(generation, 0, "same seal").vector;
        let documents = subject.documents;
        let chunks = documents.hydrate(&subject.tenant, &[vector], &[]).await?;
        ensure!(chunks.len() == 1 && chunks[0].ordinal == 0, "{chunks:?}");
        let rows: Vec<i64> =
            self.keyword(&subject.tenant, "seal").await?.into_iter().map(|(row, _)| row).collect();
        ensure!(documents.hydrate(&subject.tenant, &[], &rows).await?.len() == 2);
        let stranger = Tenant::new(format!("{}.stranger", self.run))?;
        ensure!(documents.hydrate(&stranger, &[], &rows).await?.is_empty());
        Ok(())
    }

    pub(super) async fn listing_pages_by_id(&self) -> Checked {
        let subject = self.subject("listing")?;
        for name in ["b/2", "a_1", "b/1", "axb", "c"] {
            subject.other(name)?.begin(name).await?;
        }
        ensure!(subject.other("c")?.delete(None).await?);
        let ids = async |query: ListQuery| -> Result<Vec<String>> {
            let listed = subject.documents.list(&subject.tenant, &query).await?;
            Ok(listed.into_iter().map(|document| document.id.to_string()).collect())
        };
        let page = ListQuery { limit: 2, ..ListQuery::default() };
        ensure!(ids(page.clone()).await? == ["a_1", "axb"]);
        ensure!(ids(ListQuery { after: Some("axb".into()), ..page.clone() }).await? == ["b/1", "b/2"]);
        ensure!(ids(ListQuery { prefix: Some("b/".into()), ..page.clone() }).await? == ["b/1", "b/2"]);
        ensure!(
            ids(ListQuery { prefix: Some("a_".into()), ..page.clone() }).await? == ["a_1"],
            "no wildcard"
        );
        ensure!(ids(ListQuery { status: Some(Status::Failed), ..page.clone() }).await?.is_empty());
        ensure!(ids(ListQuery { status: Some(Status::Queued), ..page }).await? == ["a_1", "axb"]);
        Ok(())
    }

    pub(super) async fn another_tenant_changes_no_score(&self) -> Checked {
        let own = self.subject("scores")?;
        let other = self.subject("other-scores")?;
        own.serve(&["red fox and red deer", "red squirrel", "a blue whale far out"]).await?;
        let before = self.keyword(&own.tenant, "red fox").await?;
        ensure!(before.len() == 2 && before[0].1 > before[1].1, "{before:?}");
        other.serve(&["red red red", "fox", "many words that make the average length another one"]).await?;
        ensure!(self.keyword(&own.tenant, "red fox").await? == before);
        // Nor does a generation of one's own that is not served.
        let unserved = own.other("unserved")?;
        let generation = unserved.begin("unserved").await?;
        unserved.fill(generation, &["red red fox fox"]).await?;
        ensure!(self.keyword(&own.tenant, "red fox").await? == before);
        Ok(())
    }

    pub(super) async fn two_chinese_characters_find_their_text(&self) -> Checked {
        let subject = self.subject("chinese")?;
        subject.serve(&["全文检索很快", "天气很好"]).await?;
        self.ensure_found(&subject.tenant, "检索", 1).await?;
        self.ensure_found(&subject.tenant, "检", 1).await?;
        self.ensure_found(&subject.tenant, "索检", 0).await
    }

    pub(super) async fn keyword_filters_hold(&self) -> Checked {
        let subject = self.subject("filters")?;
        for (name, lang) in [("en", json!("en")), ("de", json!("de")), ("null", json!(null))] {
            let other = subject.other(name)?;
            let mut upload = other.upload(name);
            upload.metadata.insert("lang".into(), lang);
            other.serve_with(&upload, &["white stork"]).await?;
        }
        for (filter, wanted) in [
            (json!({"lang": "en"}), 1),
            (json!({"lang": {"$ne": "en"}}), 2),
            (json!({"lang": {"$in": ["en", "de"]}}), 2),
            (json!({"lang": {"$nin": ["en", "de"]}}), 1),
            (json!({"lang": {"$gt": "de"}}), 1),
            (json!({"lang": {"$gte": "de", "$lt": "en"}}), 1),
            (json!({"lang": null}), 1),
            (json!({"lang": {"$ne": null}}), 2),
            (json!({"lang": "fr"}), 0),
        ] {
            let parsed = Filter::parse(&filter, &self.fields)?;
            let terms = keyword::query_terms("stork");
            let matches = self.ports.keywords().search(&subject.tenant, &terms, Some(&parsed), 10).await?;
            ensure!(matches.len() == wanted, "{filter}: {} instead of {wanted}", matches.len());
        }
        Ok(())
    }
}
