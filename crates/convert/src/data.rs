//! JSON: a list of objects as a table, everything else as its paths with their values.

use crate::{Converted, Limits, Refusal, markdown};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::borrow::Cow;
use std::fmt;

/// Columns that a table may have; objects with more are told one by one.
const WIDEST: usize = 12;

/// A value whose names keep the order that the file has them in. Its texts are the file's own where they stand there as they are.
#[derive(Debug)]
enum Value<'a> {
    Null,
    /// A text, a number, or true or false.
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Members(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// One value.
pub(crate) fn json(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    bounded(text, limits.nodes / 2, limits)?;
    let value: Value<'_> = serde_json::from_str(text).map_err(|error| Refusal::broken("JSON", error))?;
    told(&value, limits)
}

/// A value a line; lines without one are left out, unless none has any.
pub(crate) fn lines(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    bounded(text, limits.nodes / 2, limits)?;
    if text.lines().count() > limits.nodes {
        return Err(Refusal::too_many_nodes(limits));
    }
    let mut values = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = serde_json::from_str(line)
            .map_err(|error| Refusal::broken("JSON Lines", format!("line {}: {error}", at + 1)))?;
        values.push(value);
    }
    told(&Value::List(values), limits)
}

/// A value takes much more room than its text: they are counted by what separates them, before there are any.
pub(crate) fn bounded(text: &str, most: usize, limits: &Limits) -> Result<(), Refusal> {
    let (mut quoted, mut escaped, mut values) = (false, false, 1);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => values += 1,
            _ => {}
        }
    }
    if values > most { Err(Refusal::too_many_nodes(limits)) } else { Ok(()) }
}

fn told(value: &Value<'_>, limits: &Limits) -> Result<Converted, Refusal> {
    let mut out = String::new();
    match table(value) {
        Some(table) => out = table,
        None => write(&mut out, value, 0, None, limits)?,
    }
    Ok(Converted { title: title(value), ..Converted::text(out) })
}

fn title(value: &Value<'_>) -> Option<String> {
    let Value::Members(members) = value else { return None };
    let Value::Text(title) = get(members, "title").or_else(|| get(members, "name"))? else { return None };
    Some(markdown::line(title)).filter(|title| !title.is_empty() && title.chars().count() <= 200)
}

fn get<'v, 'a>(members: &'v [(Cow<'a, str>, Value<'a>)], name: &str) -> Option<&'v Value<'a>> {
    members.iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

fn plain<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Null => Some(Cow::Borrowed("")),
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::List(items) if items.len() <= 8 => {
            let item = |item| if matches!(item, &Value::List(_)) { None } else { plain(item) };
            let items: Option<Vec<Cow<'_, str>>> = items.iter().map(item).collect();
            Some(Cow::Owned(items?.join(", ")))
        }
        _ => None,
    }
}

/// A list of two and more flat objects that have most of their names in common.
fn table(value: &Value<'_>) -> Option<String> {
    let Value::List(items) = value else { return None };
    let mut objects = Vec::with_capacity(items.len());
    for item in items {
        let Value::Members(members) = item else { return None };
        objects.push(members);
    }
    let items = objects;
    if items.len() < 2 {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in items.iter().copied().flatten() {
        if !names.contains(&name.as_ref()) {
            names.push(name);
        }
        if names.len() > WIDEST {
            return None;
        }
    }
    let filled: usize = items.iter().map(|members| members.len()).sum();
    if filled * 2 < names.len() * items.len() {
        return None;
    }
    // Columns that no object has anything in are no columns.
    let mut used = vec![false; names.len()];
    for members in &items {
        for (used, name) in used.iter_mut().zip(&names) {
            *used |= !cell(members, name)?.trim().is_empty();
        }
    }
    let used = (0..names.len()).filter(|column| used[*column]).collect();
    let mut table = markdown::Table::new(used);
    table.row(|column| names[column]);
    for members in &items {
        let row: Vec<Cow<'_, str>> = names.iter().map(|name| cell(members, name)).collect::<Option<_>>()?;
        table.row(|column| &row[column]);
    }
    Some(table.out)
}

/// What a table shows of an object; `None` if it can't.
fn cell<'v>(members: &'v [(Cow<'_, str>, Value<'_>)], name: &str) -> Option<Cow<'v, str>> {
    get(members, name).map_or(Some(Cow::Borrowed("")), plain)
}

/// As a list of names and values, nested as the value is.
fn write(
    out: &mut String,
    value: &Value<'_>,
    depth: usize,
    name: Option<&str>,
    limits: &Limits,
) -> Result<(), Refusal> {
    let indent = "  ".repeat(depth.min(20));
    let label = name.map(|name| format!("{}: ", markdown::line(name))).unwrap_or_default();
    let plain = plain(value);
    if plain.is_none() && name.is_some() {
        out.push_str(&format!("{indent}- {}\n", label.trim_end()));
    }
    let depth = depth + usize::from(name.is_some());
    match (plain, value) {
        (Some(text), _) => {
            let text = text.trim();
            if name.is_some() || !text.is_empty() {
                out.push_str(&format!("{indent}- {label}"));
                // Each line is indented: a text of line ends alone would be many times as long.
                for (at, line) in text.split('\n').enumerate() {
                    let before = if at == 0 { String::new() } else { format!("\n{indent}  ") };
                    out.push_str(&before);
                    out.push_str(line);
                    fits(out, limits)?;
                }
                out.push('\n');
            }
        }
        (None, Value::List(items)) => {
            for (at, item) in items.iter().enumerate() {
                let number = (at + 1).to_string();
                let is_nested = matches!(item, Value::List(_) | Value::Members(_));
                write(out, item, depth, is_nested.then_some(number.as_str()), limits)?;
            }
        }
        (None, Value::Members(members)) => {
            for (name, member) in members {
                write(out, member, depth, Some(name), limits)?;
            }
        }
        (None, _) => {}
    }
    fits(out, limits)
}

fn fits(out: &str, limits: &Limits) -> Result<(), Refusal> {
    if out.len() <= limits.text {
        return Ok(());
    }
    Err(Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 })
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(if value { "true" } else { "false" })))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, |number| Value::Text(Cow::Owned(number.to_string()))))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some((name, value)) = members.next_entry()? {
            // Names are texts, and nothing else.
            let Value::Text(name) = name else { continue };
            list.push((name, value));
        }
        Ok(Value::Members(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        super::json(json, &Limits::default()).unwrap().text
    }

    #[test]
    fn lists_of_objects_are_tables_and_other_values_lists() {
        assert_eq!(
            text(r#"[{"b": 1, "a": "x\n"}, {"b": 2.50}]"#),
            "| b | a |\n| --- | --- |\n| 1 | x |\n| 2.5 |  |\n"
        );
        assert_eq!(text(r#"{"a": {"b": [1, 2]}, "c": null}"#), "- a:\n  - b: 1, 2\n- c: \n");
        let lines = lines("{\"a\":1}\n\n{\"a\":2}\n", &Limits::default()).unwrap();
        assert_eq!(lines.text, "| a |\n| --- |\n| 1 |\n| 2 |\n");
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(json(&deep, &Limits::default()).unwrap_err().code(), "unreadable");
        let short = Limits { text: 1000, ..Limits::default() };
        let lines = format!("{}\"a{}b\"{}", "[{\"a\": ".repeat(10), "\\n".repeat(200), "}]".repeat(10));
        assert_eq!(json(&lines, &short).unwrap_err().code(), "too_large_expanded");
        let many = Limits { nodes: 10, ..Limits::default() };
        assert_eq!(json("[1,2,3,4,5,6,7,8,9,10]", &many).unwrap_err().code(), "too_large_expanded");
    }
}
