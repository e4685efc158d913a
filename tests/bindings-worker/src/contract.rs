//! `POST /contract`: core's contract suite against D1, R2, Vectorize and Workers AI as this worker has them.

use ragflare_cloudflare::core::settings::{Field, FieldType, Settings};
use ragflare_cloudflare::core::testing::contract::Contract;
use ragflare_cloudflare::keys::random;
use ragflare_cloudflare::ledger::Ledger;
use ragflare_cloudflare::{Bindings, Platform};
use serde_json::{Value, json};
use std::time::Duration;
use worker::{Delay, Env};

/// The cases and what went wrong in each.
pub(crate) async fn run(env: &Env) -> worker::Result<Value> {
    let fields = vec![Field { name: "lang".into(), r#type: FieldType::String }];
    let settings = Settings { fields: fields.clone(), ..Settings::default() };
    let platform = Platform::from_env(env, Bindings::default(), &settings, &Ledger::new())?;
    let run = random(6).map_err(|error| worker::Error::RustError(error.to_string()))?;
    let wait = async || Delay::from(Duration::from_millis(200)).await;
    let contract = Contract::new(&platform, run, fields);
    let mut cases = contract.run(wait).await;
    cases.extend(contract.run_sources().await);
    let cases: Vec<Value> =
        cases.into_iter().map(|case| json!({"name": case.name, "fault": case.fault})).collect();
    Ok(json!(cases))
}
