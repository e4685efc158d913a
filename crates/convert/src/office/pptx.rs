//! `PowerPoint`: each slide a heading and a page; titles, texts, tables, charts, pictures by what is said of them, notes.

use super::{chart, relations};
use crate::package::Package;
use crate::tree::Element;
use crate::{Converted, Limits, Place, Refusal, markdown};
use std::collections::{BTreeSet, HashMap};

/// Levels of a list.
const LEVELS: usize = 9;
/// Letters of a name.
const LONGEST_NAME: usize = 200;

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let package = Package::open(bytes, "presentation", limits)?;
    let main = relations::main_part(&package, "ppt/presentation.xml")?;
    let presentation = package.required(&main)?;
    let targets = relations::of(&package, &main)?;
    let mut out = String::new();
    let mut places = Vec::new();
    let slides = presentation.child("sldIdLst");
    for (at, slide) in slides.into_iter().flat_map(Element::elements).enumerate() {
        // Two attributes are called `id`: the slide's number, and with a prefix that of the relation.
        let mut ids = slide.attributes.iter().filter(|(name, _)| name == "id").map(|(_, id)| id);
        let Some(path) = ids.find_map(|id| targets.get(id)) else { continue };
        let Some(root) = package.xml(path)? else { continue };
        places.push(Place { at: out.len() as u64, page: u32::try_from(at + 1).ok(), row: None });
        out.push_str(&one(&package, path, &root, at + 1)?);
    }
    let title = package.xml("docProps/core.xml")?.and_then(|core| core.child("title").map(Element::text));
    let title = title.map(|title| markdown::line(&title)).filter(|title| !title.is_empty());
    Ok(Converted { text: out, title, places, ..Converted::default() })
}

fn one(package: &Package<'_>, path: &str, root: &Element, number: usize) -> Result<String, Refusal> {
    let targets = relations::of(package, path)?;
    let tree = root.path(&["cSld", "spTree"]);
    let mut shapes = Vec::new();
    tree.into_iter().for_each(|tree| gather(tree, &mut shapes));
    let mut title = None;
    let mut body = String::new();
    for shape in shapes {
        let placeholder = placeholder(shape);
        match shape.name.as_str() {
            "sp" => {
                // In a slide's content what has no bullet of its own has its layout's.
                let text = listed(shape.child("txBody"), placeholder == Some("obj"));
                if matches!(placeholder, Some("title" | "ctrTitle")) && title.is_none() {
                    title = Some(markdown::line(&text)).filter(|title| !title.is_empty());
                } else if !matches!(placeholder, Some("sldNum" | "dt" | "ftr")) && !text.trim().is_empty() {
                    body.push_str(&format!("{}\n\n", markdown::literal(&text).trim_end()));
                }
            }
            "pic" => {
                let about = shape.path(&["nvPicPr", "cNvPr"]);
                let said = about.and_then(|about| about.attribute("descr")).unwrap_or_default();
                let name = about.and_then(|about| about.attribute("name")).unwrap_or("picture");
                let said = markdown::line(said).replace(['[', ']'], " ");
                let file: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
                body.push_str(&format!("![{said}]({file}.jpg)\n\n"));
            }
            _ => {
                let mut tables = Vec::new();
                shape.all("tbl", &mut tables);
                for table in tables {
                    body.push_str(&format!("{}\n", table_of(table)));
                }
                let mut charts = Vec::new();
                shape.all("chart", &mut charts);
                for chart in charts {
                    let path = chart.attribute("id").and_then(|id| targets.get(id));
                    if let Some(chart) = path.map(|path| package.xml(path)).transpose()?.flatten() {
                        body.push_str(&chart::table(&chart));
                    }
                }
            }
        }
    }
    let mut out = match title {
        Some(title) => markdown::heading(2, &format!("Slide {number}: {title}")),
        None => markdown::heading(2, &format!("Slide {number}")),
    };
    out.push_str(&body);
    out.push_str(&comments(package, &targets)?);
    if let Some(path) = under(&targets, "ppt/notesSlides/").first()
        && let Some(notes) = package.xml(path)?
    {
        let mut shapes = Vec::new();
        notes.path(&["cSld", "spTree"]).into_iter().for_each(|tree| gather(tree, &mut shapes));
        let said: Vec<String> = shapes
            .into_iter()
            .filter(|shape| placeholder(shape) == Some("body"))
            .map(|shape| paragraphs(shape.child("txBody")))
            .filter(|text| !text.trim().is_empty())
            .collect();
        if !said.is_empty() {
            let said = markdown::literal(&said.join("\n"));
            out.push_str(&format!("{}{}\n\n", markdown::heading(3, "Notes"), said.trim_end()));
        }
    }
    Ok(out)
}

/// Targets in a folder, each once and always in the same order.
fn under<'a>(targets: &'a HashMap<String, String>, folder: &str) -> BTreeSet<&'a String> {
    targets.values().filter(|path| path.starts_with(folder)).collect()
}

/// What was remarked on a slide: in either of the two ways that programs write it.
fn comments(package: &Package<'_>, targets: &HashMap<String, String>) -> Result<String, Refusal> {
    let paths = under(targets, "ppt/comments/");
    if paths.is_empty() {
        return Ok(String::new());
    }
    let mut authors = HashMap::new();
    for part in ["ppt/commentAuthors.xml", "ppt/authors.xml"] {
        for author in package.xml(part)?.iter().flat_map(Element::elements) {
            if let (Some(id), Some(name)) = (author.attribute("id"), author.attribute("name")) {
                // It stands before each of their comments.
                authors.insert(id.to_owned(), name.chars().take(LONGEST_NAME).collect());
            }
        }
    }
    let mut said = String::new();
    for path in paths {
        if let Some(part) = package.xml(path)? {
            add_comments(&part, &authors, &mut said);
        }
    }
    Ok(if said.is_empty() { said } else { format!("{}{said}\n", markdown::heading(3, "Comments")) })
}

/// Comments, and replies within them.
fn add_comments(parent: &Element, authors: &HashMap<String, String>, out: &mut String) {
    for comment in parent.elements() {
        if matches!(comment.name.as_str(), "cm" | "reply") {
            let text = match comment.child("text") {
                Some(text) => text.text(),
                None => paragraphs(comment.child("txBody")),
            };
            let author = comment
                .attribute("authorId")
                .and_then(|id| authors.get(id))
                .map_or("Comment", String::as_str);
            if !text.trim().is_empty() {
                out.push_str(&format!("- {}: {}\n", markdown::line(author), markdown::line(&text)));
            }
        }
        if matches!(comment.name.as_str(), "cm" | "replyLst") {
            add_comments(comment, authors, out);
        }
    }
}

/// Shapes, those of groups too, from top to bottom and left to right as far as they say where they are.
fn gather<'a>(tree: &'a Element, found: &mut Vec<&'a Element>) {
    let mut here: Vec<&Element> = tree
        .elements()
        .filter(|shape| matches!(shape.name.as_str(), "sp" | "pic" | "graphicFrame" | "grpSp" | "cxnSp"))
        .collect();
    here.sort_by_key(|shape| place(shape));
    for shape in here {
        if shape.name == "grpSp" { gather(shape, found) } else { found.push(shape) }
    }
}

fn place(shape: &Element) -> (i64, i64) {
    let frame = ["spPr", "grpSpPr"]
        .iter()
        .find_map(|name| shape.path(&[*name, "xfrm"]))
        .or_else(|| shape.child("xfrm"));
    let offset = frame.and_then(|frame| frame.child("off"));
    let number = |name: &str| offset.and_then(|offset| offset.attribute(name)?.parse().ok()).unwrap_or(0);
    (number("y"), number("x"))
}

fn placeholder(shape: &Element) -> Option<&str> {
    let kind = shape.path(&["nvSpPr", "nvPr", "ph"])?;
    Some(kind.attribute("type").unwrap_or("obj"))
}

fn paragraphs(body: Option<&Element>) -> String {
    listed(body, false)
}

/// Text, with lists where paragraphs are indented or have a bullet or a number; if `is_list`, unless they say that they have none.
fn listed(body: Option<&Element>, is_list: bool) -> String {
    let mut out = String::new();
    let mut numbers = [0_usize; LEVELS];
    let paragraphs = body.into_iter().flat_map(Element::elements).filter(|element| element.name == "p");
    let texts: Vec<_> = paragraphs.map(|paragraph| (paragraph, run_text(paragraph))).collect();
    let is_list = is_list && texts.iter().filter(|(_, text)| !text.trim().is_empty()).count() > 1;
    for (paragraph, text) in &texts {
        if text.trim().is_empty() {
            continue;
        }
        let properties = paragraph.child("pPr");
        let has = |name: &str| properties.is_some_and(|it| it.child(name).is_some());
        let level: usize = properties.and_then(|it| it.attribute("lvl")?.parse().ok()).unwrap_or(0);
        let level = level.min(LEVELS - 1);
        let number = if has("buAutoNum") { numbers[level] + 1 } else { 0 };
        numbers[level] = number;
        numbers[level + 1..].fill(0);
        let indent = if number > 0 { "   " } else { "  " }.repeat(level);
        let text = if level > 0 || number > 0 || has("buChar") || is_list && !has("buNone") {
            let mark = if number > 0 { format!("{number}.") } else { "-".to_owned() };
            format!("{indent}{mark} {}", markdown::line(text))
        } else {
            text.trim().to_owned()
        };
        out.push_str(&text);
        out.push('\n');
    }
    out
}

fn run_text(paragraph: &Element) -> String {
    let mut text = String::new();
    for run in paragraph.elements() {
        match run.name.as_str() {
            "r" | "fld" => text.push_str(&run.child("t").map(Element::text).unwrap_or_default()),
            "br" => text.push('\n'),
            _ => {}
        }
    }
    text
}

fn table_of(table: &Element) -> String {
    let cells = |row: &Element| {
        let cells = row.elements().filter(|cell| cell.name == "tc");
        cells.map(|cell| paragraphs(cell.child("txBody"))).collect()
    };
    let rows: Vec<Vec<String>> = table.elements().filter(|row| row.name == "tr").map(cells).collect();
    markdown::table(&rows)
}
