//! What was remarked on cells of a workbook.

use crate::package::Package;
use crate::tree::Element;
use crate::{Refusal, markdown};
use std::collections::HashMap;
use std::fmt::Write;

/// Comments as a list, with their cells and who wrote them. Conversations are kept twice, the second time for older programs.
pub(super) fn all(package: &Package<'_>) -> Result<String, Refusal> {
    let mut names = package.names();
    names.sort();
    let has_threads = names.iter().any(|name| name.starts_with("xl/threadedComments/"));
    let folder = if has_threads { "xl/threadedComments/" } else { "xl/comments" };
    let mut people = HashMap::new();
    for person in package.xml("xl/persons/person.xml")?.iter().flat_map(Element::elements) {
        if let (Some(id), Some(name)) = (person.attribute("id"), person.attribute("displayName")) {
            people.insert(id.to_owned(), name.to_owned());
        }
    }
    let mut out = String::new();
    for name in names.iter().filter(|name| name.starts_with(folder)) {
        let Some(part) = package.xml(name)? else { continue };
        let authors: Vec<String> =
            part.child("authors").into_iter().flat_map(Element::elements).map(Element::text).collect();
        let mut found = Vec::new();
        part.all("comment", &mut found);
        part.all("threadedComment", &mut found);
        for comment in found {
            let person = comment.attribute("personId").and_then(|id| people.get(id));
            let author = comment.attribute("authorId").and_then(|at| authors.get(at.parse::<usize>().ok()?));
            let text = comment.child("text").map(Element::text).unwrap_or_default();
            if !text.trim().is_empty() {
                let who = person.or(author).map_or("Comment", String::as_str);
                let cell = comment.attribute("ref").unwrap_or_default();
                let _ = writeln!(out, "- {cell}, {}: {}", markdown::line(who), markdown::line(&text));
            }
        }
    }
    Ok(if out.is_empty() { out } else { format!("{}{out}", markdown::heading(2, "Comments")) })
}
