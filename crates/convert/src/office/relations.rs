//! What parts of a package refer to, by id.

use crate::Refusal;
use crate::package::Package;
use crate::tree::Element;
use std::collections::HashMap;

/// What a part refers to.
pub(crate) struct Relations(Vec<Relation>);

struct Relation {
    id: String,
    kind: String,
    /// A path in the package, or an address elsewhere.
    target: String,
}

impl Relations {
    /// Those of a part; those of the package if it has no name.
    pub(crate) fn of(package: &Package<'_>, part: &str) -> Result<Self, Refusal> {
        let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
        let path = resolved(folder, &format!("_rels/{name}.rels"));
        let one = |relation: &Element| {
            let target = relation.attribute("Target")?;
            let elsewhere = relation.attribute("TargetMode") == Some("External");
            Some(Relation {
                id: relation.attribute("Id")?.to_owned(),
                kind: relation.attribute("Type").unwrap_or_default().to_owned(),
                target: if elsewhere { target.to_owned() } else { resolved(folder, target) },
            })
        };
        Ok(Self(package.xml(&path)?.iter().flat_map(Element::elements).filter_map(one).collect()))
    }

    /// The part that is something to this one, as the type says at its end; the usual one if none is that is there.
    pub(crate) fn part<'a>(&'a self, package: &Package<'_>, kind: &str, usual: &'a str) -> &'a str {
        let is_kind = |relation: &&Relation| {
            relation.kind.rsplit('/').next() == Some(kind) && package.has(&relation.target)
        };
        self.0.iter().find(is_kind).map_or(usual, |relation| &relation.target)
    }

    /// Targets by id.
    pub(crate) fn targets(self) -> HashMap<String, String> {
        self.0.into_iter().map(|relation| (relation.id, relation.target)).collect()
    }
}

/// The path of a package's main part. Programs name it otherwise too: `word/document2.xml`.
pub(crate) fn main_part(package: &Package<'_>, usual: &str) -> Result<String, Refusal> {
    match Relations::of(package, "") {
        Ok(relations) => Ok(relations.part(package, "officeDocument", usual).to_owned()),
        // Nobody else minds what else the package says of itself.
        Err(Refusal::Broken { .. }) => Ok(usual.to_owned()),
        Err(refusal) => Err(refusal),
    }
}

/// Targets of a part's relations by id.
pub(crate) fn of(package: &Package<'_>, part: &str) -> Result<HashMap<String, String>, Refusal> {
    Ok(Relations::of(package, part)?.targets())
}

/// A path as seen from a folder.
pub(crate) fn resolved(folder: &str, target: &str) -> String {
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
