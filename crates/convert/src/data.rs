//! JSON: a list of objects as a table, everything else as its paths with their values.

use crate::{Converted, Limits, Refusal, markdown};
use serde_json::Value;

/// Columns that a table may have; objects with more are told one by one.
const WIDEST: usize = 12;

/// One value.
pub(crate) fn json(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    bounded(text, limits)?;
    let value: Value = serde_json::from_str(text).map_err(|error| Refusal::broken("JSON", error))?;
    Ok(told(&value))
}

/// A value a line; lines without one are left out, unless none has any.
pub(crate) fn lines(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    bounded(text, limits)?;
    if text.lines().count() > limits.nodes {
        return Err(Refusal::too_many_nodes(limits));
    }
    let mut values = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = serde_json::from_str(line)
            .map_err(|error| Refusal::broken("JSON Lines", format!("line {}: {error}", at + 1)))?;
        values.push(value);
    }
    Ok(told(&Value::Array(values)))
}

/// A value takes much more room than its text: they are counted by what separates them, before there are any.
pub(crate) fn bounded(text: &str, limits: &Limits) -> Result<(), Refusal> {
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
    // What an object takes is several times what a cell or an element does.
    if values > limits.nodes / 4 { Err(Refusal::too_many_nodes(limits)) } else { Ok(()) }
}

fn told(value: &Value) -> Converted {
    let mut out = String::new();
    match table(value) {
        Some(table) => out = table,
        None => write(&mut out, value, 0, None),
    }
    Converted { title: title(value), ..Converted::text(out) }
}

fn title(value: &Value) -> Option<String> {
    let title = value.get("title").or_else(|| value.get("name"))?.as_str()?;
    Some(markdown::line(title)).filter(|title| !title.is_empty() && title.chars().count() <= 200)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) if items.len() <= 8 => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| if item.is_array() { None } else { plain(item) }).collect();
            Some(items?.join(", "))
        }
        _ => None,
    }
}

/// A list of two and more flat objects that have most of their names in common.
fn table(value: &Value) -> Option<String> {
    let items = value.as_array().filter(|items| items.len() > 1)?;
    let mut names: Vec<&String> = Vec::new();
    let mut filled = 0;
    for item in items {
        let members = item.as_object()?;
        filled += members.len();
        for name in members.keys() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > WIDEST {
            return None;
        }
    }
    if filled * 2 < names.len() * items.len() {
        return None;
    }
    // Columns that no object has anything in are no columns.
    let shown = |item: &Value, name: &str| item.get(name).map_or(Some(String::new()), plain);
    let mut used = vec![false; names.len()];
    for item in items {
        for (used, name) in used.iter_mut().zip(&names) {
            *used |= !shown(item, name)?.trim().is_empty();
        }
    }
    let used = (0..names.len()).filter(|column| used[*column]).collect();
    let mut table = markdown::Table::new(used);
    table.row(|column| names[column].as_str());
    for item in items {
        let row: Vec<String> = names.iter().map(|name| shown(item, name)).collect::<Option<_>>()?;
        table.row(|column| &row[column]);
    }
    Some(table.out)
}

/// As a list of names and values, nested as the value is.
fn write(out: &mut String, value: &Value, depth: usize, name: Option<&str>) {
    let indent = "  ".repeat(depth.min(20));
    let label = name.map(|name| format!("{}: ", markdown::line(name))).unwrap_or_default();
    match (plain(value), value) {
        (Some(text), _) => match text.trim() {
            "" if name.is_none() => {}
            text => {
                out.push_str(&format!("{indent}- {label}{}\n", text.replace('\n', &format!("\n{indent}  "))));
            }
        },
        (None, Value::Array(items)) => {
            if name.is_some() {
                out.push_str(&format!("{indent}- {}\n", label.trim_end()));
            }
            let depth = depth + usize::from(name.is_some());
            for (at, item) in items.iter().enumerate() {
                let number = (at + 1).to_string();
                write(
                    out,
                    item,
                    depth,
                    if item.is_object() || item.is_array() { Some(&number) } else { None },
                );
            }
        }
        (None, Value::Object(members)) => {
            if name.is_some() {
                out.push_str(&format!("{indent}- {}\n", label.trim_end()));
            }
            let depth = depth + usize::from(name.is_some());
            for (name, member) in members {
                write(out, member, depth, Some(name));
            }
        }
        (None, _) => {}
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
            text(r#"[{"a": 1, "b": "x"}, {"a": 2}]"#),
            "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 |  |\n"
        );
        assert_eq!(text(r#"{"a": {"b": [1, 2]}, "c": null}"#), "- a:\n  - b: 1, 2\n- c: \n");
        let lines = lines("{\"a\":1}\n\n{\"a\":2}\n", &Limits::default()).unwrap();
        assert_eq!(lines.text, "| a |\n| --- |\n| 1 |\n| 2 |\n");
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(json(&deep, &Limits::default()).unwrap_err().code(), "unreadable");
        let many = Limits { nodes: 18, ..Limits::default() };
        assert_eq!(json("[1,2,3,4,5,6,7,8,9,10]", &many).unwrap_err().code(), "too_large_expanded");
    }
}
