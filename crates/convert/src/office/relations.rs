//! What parts of a package refer to, by id.

use crate::Refusal;
use crate::package::Package;
use std::collections::HashMap;

/// Targets by id: paths in the package, or addresses elsewhere.
pub(crate) fn of(package: &Package<'_>, part: &str) -> Result<HashMap<String, String>, Refusal> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let Some(relations) = package.xml(&format!("{folder}/_rels/{name}.rels"))? else {
        return Ok(HashMap::new());
    };
    let one = |relation: &crate::tree::Element| {
        let (id, target) = (relation.attribute("Id")?, relation.attribute("Target")?);
        let elsewhere = relation.attribute("TargetMode") == Some("External");
        Some((id.to_owned(), if elsewhere { target.to_owned() } else { resolved(folder, target) }))
    };
    Ok(relations.elements().filter_map(one).collect())
}

/// A path as seen from a folder.
pub(super) fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_their_folder() {
        assert_eq!(resolved("ppt/slides", "../notesSlides/notes1.xml"), "ppt/notesSlides/notes1.xml");
        assert_eq!(resolved("word", "/word/media/a.png"), "word/media/a.png");
        assert_eq!(resolved("", "../../x"), "x");
    }
}
