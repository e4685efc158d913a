//! What the styles and lists of a Word document mean.

use crate::tree::Element;
use std::collections::HashMap;

/// What a paragraph style means.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Style {
    /// Level of a heading.
    pub(super) heading: Option<usize>,
    pub(super) is_code: bool,
    pub(super) is_quote: bool,
    /// Numbering: list and level.
    pub(super) list: Option<(u32, usize)>,
}

/// Styles by id, with what they have from the one that they are based on.
pub(super) fn styles(part: Option<&Element>) -> HashMap<String, Style> {
    let mut known: HashMap<String, Style> = HashMap::new();
    let all: Vec<&Element> =
        part.into_iter().flat_map(Element::elements).filter(|element| element.name == "style").collect();
    // A style may stand before the one it is based on.
    for _ in 0..4 {
        for style in &all {
            let Some(id) = style.attribute("styleId") else { continue };
            let value = |name: &str| style.child(name).and_then(|child| child.attribute("val"));
            let mut meant = value("basedOn").and_then(|base| known.get(base)).copied().unwrap_or_default();
            let name = value("name").unwrap_or(id).to_ascii_lowercase();
            let level = name.strip_prefix("heading ").and_then(|level| level.trim().parse::<usize>().ok());
            let outline =
                style.path(&["pPr", "outlineLvl"]).and_then(|it| it.attribute("val")?.parse::<usize>().ok());
            match (level, name.as_str(), outline) {
                (Some(level), _, _) => meant.heading = Some(level.clamp(1, 6)),
                (None, "title", _) => meant.heading = Some(1),
                (None, _, Some(level)) if level < 9 => meant.heading = Some((level + 1).min(6)),
                _ => {}
            }
            meant.is_code |= name.contains("code") || name.contains("preformatted") || name == "macro text";
            meant.is_quote |= name == "quote" || name == "intense quote";
            meant.list = numbering(style).or(meant.list);
            known.insert(id.to_owned(), meant);
        }
    }
    known
}

/// The list and level that a paragraph or style names; list 0 takes it out of any.
pub(super) fn numbering(owner: &Element) -> Option<(u32, usize)> {
    let numbering = owner.path(&["pPr", "numPr"])?;
    let value = |name: &str| numbering.child(name).and_then(|child| child.attribute("val"));
    Some((value("numId")?.parse().ok()?, value("ilvl").and_then(|level| level.parse().ok()).unwrap_or(0)))
}

/// Whether a list's levels are numbered, by list.
pub(super) fn lists(part: Option<&Element>) -> HashMap<u32, Vec<bool>> {
    let all = |name: &'static str| {
        part.into_iter().flat_map(Element::elements).filter(move |element| element.name == name)
    };
    let levels = |list: &Element| -> Vec<bool> {
        let format = |level: &Element| {
            level.child("numFmt").and_then(|it| it.attribute("val")).unwrap_or("decimal").to_owned()
        };
        let levels = list.elements().filter(|level| level.name == "lvl");
        levels.map(|level| !matches!(format(level).as_str(), "bullet" | "none")).collect()
    };
    let drafts: HashMap<&str, Vec<bool>> = all("abstractNum")
        .filter_map(|list| Some((list.attribute("abstractNumId")?, levels(list))))
        .collect();
    all("num")
        .filter_map(|list| {
            let draft = list.child("abstractNumId")?.attribute("val")?;
            Some((list.attribute("numId")?.parse().ok()?, drafts.get(draft)?.clone()))
        })
        .collect()
}
