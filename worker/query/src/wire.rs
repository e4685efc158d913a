//! Requests read strictly.

use ragflare_cloudflare::http::{ApiError, read_json};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use worker::Request;

/// Reads a JSON body. What stands at `objects` is no list there: serde would read a list as the fields of a struct, in order.
/// A place is written as the names that lead to it, `*` for each member of a list: `messages/*`.
///
/// # Errors
/// Those of [`read_json`].
pub(crate) async fn read<T: DeserializeOwned>(
    request: &mut Request,
    objects: &[&str],
) -> Result<T, ApiError> {
    let wrong =
        |why: String| ApiError::new(400, "invalid_json", format!("the body is not as expected: {why}"));
    let body = Value::Object(read_json::<Map<String, Value>>(request).await?);
    if let Some(place) = objects.iter().find(|place| is_list(&body, place.split('/'))) {
        return Err(wrong(format!("a list stands at `{place}`, where an object should")));
    }
    serde_json::from_value(body).map_err(|error| wrong(error.to_string()))
}

fn is_list<'a>(value: &Value, mut place: impl Iterator<Item = &'a str> + Clone) -> bool {
    match (place.next(), value) {
        (None, value) => value.is_array(),
        (Some("*"), Value::Array(members)) => members.iter().any(|member| is_list(member, place.clone())),
        (Some(name), value) => value.get(name).is_some_and(|value| is_list(value, place)),
    }
}
