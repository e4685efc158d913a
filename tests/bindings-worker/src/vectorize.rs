//! The routes of the Vectorize client.

use ragflare_cloudflare::ledger::Ledger;
use ragflare_cloudflare::vectorize::{QueryOptions, VectorRecord, Vectorize};
use serde::Deserialize;
use serde_json::{Map, Value};
use worker::Env;

use crate::{Failure, Outcome, input, output, retry};

#[derive(Deserialize)]
struct Records {
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    values: Vec<Option<f32>>,
    namespace: Option<String>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Query {
    vector: Vec<Option<f32>>,
    #[serde(default)]
    options: QueryOptions,
}

#[derive(Deserialize)]
struct QueryById {
    id: String,
    #[serde(default)]
    options: QueryOptions,
}

#[derive(Deserialize)]
struct Ids {
    ids: Vec<String>,
}

pub(crate) async fn route(route: &str, body: &Value, env: &Env, ledger: &Ledger) -> Outcome {
    let index = Vectorize::from_env(env, "VECTORIZE", ledger.clone())?.with_retry(retry(body));
    match route {
        "/insert" | "/upsert" | "/upsert-many" => {
            let Records { records } = input(body)?;
            let values: Vec<_> = records.iter().map(|record| numbers(&record.values)).collect();
            let records: Vec<_> =
                records.iter().zip(&values).map(|(record, values)| record.with(values)).collect();
            match route {
                "/insert" => output(&index.insert(&records).await?),
                "/upsert" => output(&index.upsert(&records).await?),
                _ => output(&index.upsert_many(&records).await?),
            }
        }
        "/query" => {
            let Query { vector, options } = input(body)?;
            output(&index.query(&numbers(&vector), &options).await?)
        }
        "/query-by-id" => {
            let QueryById { id, options } = input(body)?;
            output(&index.query_by_id(&id, &options).await?)
        }
        "/get-by-ids" | "/get-many" | "/delete-by-ids" | "/delete-many" => {
            let Ids { ids } = input(body)?;
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            match route {
                "/get-by-ids" => output(&index.get_by_ids(&ids).await?),
                "/get-many" => output(&index.get_many(&ids).await?),
                "/delete-by-ids" => output(&index.delete_by_ids(&ids).await?),
                _ => output(&index.delete_many(&ids).await?),
            }
        }
        "/describe" => output(&index.describe().await?),
        _ => Err(Failure::Body(format!("no route /vectorize{route}"))),
    }
}

impl Record {
    fn with<'a>(&'a self, values: &'a [f32]) -> VectorRecord<'a> {
        let (namespace, metadata) = (self.namespace.as_deref(), self.metadata.as_ref());
        VectorRecord { id: &self.id, values, namespace, metadata }
    }
}

fn numbers(values: &[Option<f32>]) -> Vec<f32> {
    values.iter().map(|value| value.unwrap_or(f32::NAN)).collect()
}
