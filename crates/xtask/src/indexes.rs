//! The Vectorize indexes the twin makes: from the workers' bindings and the filter fields they declare.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::devconfig::Production;

/// What the default embedder makes; `wrangler vectorize create` gets the same.
const DIMENSIONS: u32 = 384;
const METRIC: &str = "cosine";
/// The variable of a worker that declares its filter fields: a JSON object of field → `string`, `number` or `boolean`.
const FILTER_FIELDS: &str = "FILTER_FIELDS";

/// What every vector carries besides the declared fields: Ragflare leaves documents out by it.
const OWN_FIELD: &str = "document=string";

/// The twin's `--index` values: `name:dimensions:metric[:field=type,…]`, each index once.
///
/// # Errors
/// When the filter fields are not declared as they should be.
pub fn of(workers: &[Production]) -> Result<Vec<String>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for worker in workers {
        let fields = worker.var(FILTER_FIELDS).map(|text| fields(&text)).transpose()?.unwrap_or_default();
        for index in worker.indexes() {
            match all.iter_mut().find(|(name, _)| *name == index) {
                // A worker that only reads need not declare them.
                Some((_, known)) if known.is_empty() => known.clone_from(&fields),
                Some((_, known)) if !fields.is_empty() && *known != fields => {
                    bail!(
                        "two workers declare other filter fields for the index {index}: {known} and {fields}"
                    )
                }
                Some(_) => {}
                None => all.push((index, fields.clone())),
            }
        }
    }
    Ok(all
        .into_iter()
        .map(|(name, fields)| {
            let comma = if fields.is_empty() { "" } else { "," };
            format!("{name}:{DIMENSIONS}:{METRIC}:{OWN_FIELD}{comma}{fields}")
        })
        .collect())
}

fn fields(text: &str) -> Result<String> {
    let value: Value =
        serde_json::from_str(text).with_context(|| format!("{FILTER_FIELDS} is not JSON: {text}"))?;
    let object = value.as_object().with_context(|| format!("{FILTER_FIELDS} is not an object: {text}"))?;
    let pairs = object
        .iter()
        .map(|(field, kind)| {
            let kind = kind.as_str().with_context(|| format!("{FILTER_FIELDS}: {field} has no type"))?;
            Ok(format!("{field}={kind}"))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(vars: &str) -> Production {
        let text = format!(
            r#"{{ "name": "w", "vectorize": [{{ "binding": "V", "index_name": "ragflare" }}], {vars} }}"#
        );
        Production::parse_for_test(&text)
    }

    #[test]
    fn each_index_once_with_its_fields() {
        let plain = worker("");
        let typed = worker(r#""vars": { "FILTER_FIELDS": { "year": "number", "lang": "string" } }"#);
        let text = worker(r#""vars": { "FILTER_FIELDS": "{\"year\":\"number\",\"lang\":\"string\"}" }"#);
        assert_eq!(of(std::slice::from_ref(&plain)).unwrap(), ["ragflare:384:cosine:document=string"]);
        let both = ["ragflare:384:cosine:document=string,lang=string,year=number"];
        assert_eq!(of(&[plain, typed, text]).unwrap(), both);
    }

    #[test]
    fn a_contradiction_is_named() {
        let one = worker(r#""vars": { "FILTER_FIELDS": { "year": "number" } }"#);
        let other = worker(r#""vars": { "FILTER_FIELDS": { "year": "string" } }"#);
        assert!(of(&[one, other]).unwrap_err().to_string().contains("ragflare"));
        assert!(of(&[worker(r#""vars": { "FILTER_FIELDS": "year" }"#)]).is_err());
    }
}
