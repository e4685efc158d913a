//! Jupyter notebooks: text cells as they are, code in fences, what it printed below it.

use crate::{Converted, Limits, Refusal, data, markdown};
use serde_json::Value;

/// Characters of one output at most: what a program printed may be without end.
const OUTPUT_CHARS: usize = 4000;

pub(crate) fn convert(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    // A value that is kept by its type takes several times what a cell or an element does.
    data::bounded(text, limits.nodes / 4, limits)?;
    let notebook: Value = serde_json::from_str(text).map_err(|error| Refusal::broken("notebook", error))?;
    let sheets = notebook.get("worksheets").and_then(|sheets| sheets.get(0));
    let cells = notebook
        .get("cells")
        .or_else(|| sheets.and_then(|sheet| sheet.get("cells")))
        .and_then(Value::as_array);
    let Some(cells) = cells else {
        return Err(Refusal::broken("notebook", "it has no cells"));
    };
    let named = ["/metadata/kernelspec/language", "/metadata/language_info/name"];
    let language = named.iter().find_map(|path| notebook.pointer(path)?.as_str()).unwrap_or("python");
    let mut out = String::new();
    for cell in cells {
        let source = joined(cell.get("source").or_else(|| cell.get("input")));
        if source.trim().is_empty() {
            continue;
        }
        match cell["cell_type"].as_str() {
            Some("code") => {
                out.push_str(&markdown::fenced(language, &source));
                for output in cell["outputs"].as_array().into_iter().flatten() {
                    let text = output.get("text").or_else(|| output.pointer("/data/text~1plain"));
                    let text = joined(text);
                    if !text.trim().is_empty() {
                        let short: String = text.chars().take(OUTPUT_CHARS).collect();
                        out.push_str(&markdown::fenced("", &short));
                    }
                }
            }
            Some("heading") => {
                let level = cell["level"].as_u64().unwrap_or(1);
                out.push_str(&markdown::heading(usize::try_from(level).unwrap_or(6), &source));
            }
            _ => {
                out.push_str(source.trim());
                out.push_str("\n\n");
            }
        }
    }
    let title = notebook.pointer("/metadata/title").and_then(Value::as_str).map(markdown::line);
    Ok(Converted { title, ..Converted::text(out) })
}

/// A text, or its lines.
fn joined(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_text_and_fences() {
        let notebook = r##"{"nbformat": 4, "metadata": {"kernelspec": {"language": "julia"}}, "cells": [
            {"cell_type": "markdown", "source": ["# Title\n", "text"]},
            {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]}]}"##;
        let converted = convert(notebook, &Limits::default()).unwrap();
        assert_eq!(converted.text, "# Title\ntext\n\n```julia\nprint(1)\n```\n\n```\n1\n```\n\n");
    }
}
