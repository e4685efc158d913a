//! Word: headings by their styles, lists by their numbering, tables, notes, text boxes, equations as they are read aloud.

mod equation;
mod inline;
mod styles;

use super::chart;
use super::relations::{Relations, main_part};
use crate::package::Package;
use crate::tree::{self, Element, Node};
use crate::{Converted, Limits, Refusal, markdown};
use equation::equation;
use inline::Inline;
use std::collections::HashMap;
use styles::{Style, lists, numbering, styles};

/// What part of the text may be what is said elsewhere in it: it stands in memory more than once while it is written.
const COPIED: usize = 4;
/// Tables within tables.
const DEEPEST: usize = 8;

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let package = Package::open(bytes, "Word document", limits)?;
    let main = main_part(&package, "word/document.xml")?;
    let relations = Relations::of(&package, &main)?;
    let part = |kind: &str, usual: &str| package.xml(relations.part(&package, kind, usual));
    let styles = styles(part("styles", "word/styles.xml")?.as_ref());
    let lists = lists(part("numbering", "word/numbering.xml")?.as_ref());
    let [footnotes, endnotes, comments] = [
        ("footnotes", "word/footnotes.xml"),
        ("endnotes", "word/endnotes.xml"),
        ("comments", "word/comments.xml"),
    ]
    .map(|(kind, usual)| relations.part(&package, kind, usual).to_owned());
    let links = relations.targets();
    let mut writer = Writer {
        styles,
        lists,
        charts: charts(&package, &links)?,
        links,
        counters: HashMap::new(),
        notes: Vec::new(),
        numbers: HashMap::new(),
        shown: Vec::new(),
        copies: limits.text / COPIED,
        is_inner: false,
        out: String::new(),
    };
    let too_large = || Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 };
    // Block by block: a tree of a thousand pages would take all the memory there is.
    let document = package.text(&main)?;
    let rest = tree::read(&document, "Word document", limits, "body", &mut |block| {
        writer.blocks(&Element { children: vec![Node::Element(block)], ..Element::default() }, 0);
        if writer.out.len() > limits.text || writer.copies == 0 { Err(too_large()) } else { Ok(()) }
    })?;
    drop(document);
    if rest.child("body").is_none() {
        return Err(Refusal::broken("Word document", "it has no body"));
    }
    writer.end_block();
    for (part, name) in [(footnotes, "footnote"), (endnotes, "endnote")] {
        if let Some(notes) = package.xml(&part)? {
            writer.write_notes(&notes, name);
        }
    }
    if let Some(comments) = package.xml(&comments)? {
        writer.write_comments(&comments);
    }
    if writer.copies == 0 {
        return Err(too_large());
    }
    let core = package.xml("docProps/core.xml")?;
    let title =
        core.and_then(|core| core.child("title").map(Element::text)).map(|title| markdown::line(&title));
    Ok(Converted { title: title.filter(|title| !title.is_empty()), ..Converted::text(writer.out) })
}

/// The tables of a document's charts.
fn charts(
    package: &Package<'_>,
    links: &HashMap<String, String>,
) -> Result<HashMap<String, String>, Refusal> {
    let mut out = HashMap::new();
    for (id, path) in links.iter().filter(|(_, path)| path.starts_with("word/charts/")) {
        if let Some(chart) = package.xml(path)? {
            out.insert(id.clone(), chart::table(&chart));
        }
    }
    Ok(out)
}

struct Writer {
    styles: HashMap<String, Style>,
    lists: HashMap<u32, Vec<bool>>,
    links: HashMap<String, String>,
    /// Tables of charts, by the relation that shows them, and those that come after this paragraph.
    charts: HashMap<String, String>,
    shown: Vec<String>,
    /// How far each level of each list has counted.
    counters: HashMap<(u32, usize), u32>,
    /// Ids of notes in the order in which they are referred to first, and their numbers in it, from 1.
    notes: Vec<(&'static str, String)>,
    numbers: HashMap<(&'static str, String), usize>,
    /// Bytes that what is said once may still take where it is written again. Without any, the document is refused.
    copies: usize,
    /// Whether a cell, a note or a comment is written, which becomes one line.
    is_inner: bool,
    out: String,
}

impl Writer {
    /// An empty line, unless there is one.
    fn end_block(&mut self) {
        while self.out.ends_with('\n') {
            self.out.pop();
        }
        if !self.out.is_empty() {
            self.out.push_str("\n\n");
        }
    }

    fn blocks(&mut self, parent: &Element, depth: usize) {
        for block in parent.elements() {
            match block.name.as_str() {
                "p" => self.paragraph(block),
                "tbl" => {
                    let table = self.table(block, depth);
                    self.end_block();
                    self.out.push_str(&table);
                    self.end_block();
                }
                // Content controls, changes, alternatives.
                "sdt" => {
                    if let Some(content) = block.child("sdtContent") {
                        self.blocks(content, depth);
                    }
                }
                "ins" | "smartTag" | "customXml" | "moveTo" => self.blocks(block, depth),
                _ => {}
            }
        }
    }

    fn paragraph(&mut self, paragraph: &Element) {
        let properties = paragraph.child("pPr");
        let style = properties.and_then(|it| it.child("pStyle")?.attribute("val"));
        let style = style.and_then(|id| self.styles.get(id)).copied().unwrap_or_default();
        let outline =
            properties.and_then(|it| it.child("outlineLvl")?.attribute("val")?.parse::<usize>().ok());
        let heading = style.heading.or(outline.filter(|level| *level < 9).map(|level| (level + 1).min(6)));
        let mut inline = Inline::default();
        let mut boxes = Vec::new();
        self.inline(paragraph, &mut inline, heading.is_some() || style.is_code, &mut boxes);
        inline.close();
        let text = inline.text;
        let list = numbering(paragraph).or(style.list).filter(|(list, _)| *list != 0);
        if text.trim().is_empty() {
            // Nothing is said, but what comes next is another block.
            if list.is_none() {
                self.end_block();
            }
        } else if let Some(level) = heading {
            self.end_block();
            self.out.push_str(&markdown::heading(level, &text));
        } else if style.is_code {
            self.code(&text);
        } else if let Some((list, level)) = list {
            self.item(list, level, &text);
        } else {
            self.end_block();
            self.out.push_str(if style.is_quote { "> " } else { "" });
            // Within a cell it stands on a line with other text.
            let text = if self.is_inner { text } else { markdown::literal(text.trim()) };
            self.out.push_str(text.trim());
            self.end_block();
        }
        for chart in std::mem::take(&mut self.shown) {
            self.end_block();
            self.out.push_str(&chart);
            self.end_block();
        }
        for content in boxes {
            self.end_block();
            self.blocks(content, DEEPEST);
        }
    }

    /// Lines of code after each other share a fence.
    fn code(&mut self, text: &str) {
        const END: &str = "\n```\n\n";
        if self.out.ends_with(END) {
            self.out.truncate(self.out.len() - END.len());
            self.out.push('\n');
        } else {
            self.end_block();
            self.out.push_str("```\n");
        }
        self.out.push_str(&text.replace("```", "'''"));
        self.out.push_str(END);
    }

    fn item(&mut self, list: u32, level: usize, text: &str) {
        let level = level.min(8);
        let numbered = self.lists.get(&list).and_then(|levels| levels.get(level)).copied().unwrap_or(false);
        for deeper in level + 1..=8 {
            self.counters.remove(&(list, deeper));
        }
        let count = self.counters.entry((list, level)).or_default();
        *count += 1;
        let mark = if numbered { format!("{count}.") } else { "-".to_owned() };
        // Items of one list stand on lines after each other.
        let last = self.out.trim_end().rsplit('\n').next().unwrap_or_default().trim_start();
        let digits = last.trim_start_matches(|c: char| c.is_ascii_digit());
        let follows = last.starts_with("- ") || (digits.len() < last.len() && digits.starts_with(". "));
        self.end_block();
        if follows {
            self.out.pop();
        }
        self.out.push_str(&format!("{}{mark} {}\n\n", "   ".repeat(level), markdown::line(text)));
    }

    fn inline<'a>(
        &mut self,
        parent: &'a Element,
        out: &mut Inline,
        plain: bool,
        boxes: &mut Vec<&'a Element>,
    ) {
        for child in parent.elements() {
            match child.name.as_str() {
                "r" => self.run(child, out, plain, boxes),
                "hyperlink" => {
                    let mut label = Inline::default();
                    self.inline(child, &mut label, plain, boxes);
                    label.close();
                    let target = child.attribute("id").and_then(|id| self.links.get(id));
                    match target.filter(|target| target.contains("://") || target.starts_with("mailto:")) {
                        Some(target) if !label.text.trim().is_empty() && !plain => {
                            let link = format!(
                                "[{}]({})",
                                label.text.trim(),
                                copy(target, &mut self.copies).replace(' ', "%20").replace(')', "%29")
                            );
                            out.push(&link, false, false);
                        }
                        _ => out.push(&label.text, false, false),
                    }
                }
                "oMath" | "oMathPara" => {
                    let equation = equation(child);
                    out.push(&format!(" {} ", equation.trim()), false, false);
                }
                "sdt" => {
                    if let Some(content) = child.child("sdtContent") {
                        self.inline(content, out, plain, boxes);
                    }
                }
                "ins" | "smartTag" | "fldSimple" | "customXml" | "moveTo" | "dir" | "bdo" => {
                    self.inline(child, out, plain, boxes);
                }
                _ => {}
            }
        }
    }

    fn run<'a>(&mut self, run: &'a Element, out: &mut Inline, plain: bool, boxes: &mut Vec<&'a Element>) {
        let properties = run.child("rPr");
        let on = |name: &str| {
            let set = properties.and_then(|properties| properties.child(name));
            !plain
                && set
                    .is_some_and(|set| !matches!(set.attribute("val"), Some("0" | "false" | "off" | "none")))
        };
        if properties.is_some_and(|properties| properties.child("vanish").is_some()) {
            return;
        }
        let (bold, italic) = (on("b"), on("i"));
        for child in run.elements() {
            match child.name.as_str() {
                "t" => out.push(&child.text(), bold, italic),
                "tab" => out.push("\t", bold, italic),
                "br" | "cr" => out.push("\n", bold, italic),
                "noBreakHyphen" => out.push("-", bold, italic),
                "sym" => {
                    let code = child.attribute("char").and_then(|code| u32::from_str_radix(code, 16).ok());
                    // Symbol fonts have theirs in the private area.
                    let letter =
                        code.and_then(char::from_u32).filter(|c| !matches!(*c, '\u{E000}'..='\u{F8FF}'));
                    out.push(&letter.map(String::from).unwrap_or_default(), bold, italic);
                }
                "footnoteReference" | "endnoteReference" => {
                    let kind = if child.name == "footnoteReference" { "footnote" } else { "endnote" };
                    if let Some(id) = child.attribute("id") {
                        let key = (kind, id.to_owned());
                        let number = *self.numbers.entry(key.clone()).or_insert_with(|| {
                            self.notes.push(key);
                            self.notes.len()
                        });
                        out.push(&format!("[^{number}]"), false, false);
                    }
                }
                "drawing" | "pict" | "object" | "AlternateContent" => self.drawing(child, out, boxes),
                _ => {}
            }
        }
    }

    /// Text boxes come after their paragraph; of pictures there is what is said of them.
    fn drawing<'a>(&mut self, drawing: &'a Element, out: &mut Inline, boxes: &mut Vec<&'a Element>) {
        // Of alternatives the first: the other one is the same for older programs.
        let drawing = drawing.child("Choice").unwrap_or(drawing);
        drawing.all("txbxContent", boxes);
        let mut charts = Vec::new();
        drawing.all("chart", &mut charts);
        let known = charts.iter().filter_map(|chart| self.charts.get(chart.attribute("id")?));
        self.shown.extend(known.map(|table| copy(table, &mut self.copies)));
        let mut about = Vec::new();
        drawing.all("docPr", &mut about);
        let said =
            about.iter().find_map(|about| about.attribute("descr")).map(markdown::line).unwrap_or_default();
        let mut pictures = Vec::new();
        drawing.all("pic", &mut pictures);
        drawing.all("imagedata", &mut pictures);
        if !pictures.is_empty() {
            // Where it stands, and what is said of it; the picture itself is no text.
            let said = said.replace(['[', ']'], " ");
            out.push(&format!("![{said}](data:image/png;base64...)"), false, false);
        }
    }

    fn table(&mut self, table: &Element, depth: usize) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut found = Vec::new();
        rows_of(table, &mut found);
        for row in found {
            let mut cells = Vec::new();
            let mut these = Vec::new();
            cells_of(row, &mut these);
            for cell in these {
                let properties = cell.child("tcPr");
                let span = properties
                    .and_then(|it| it.child("gridSpan")?.attribute("val")?.parse().ok())
                    .unwrap_or(1);
                let merge = properties.and_then(|it| it.child("vMerge"));
                let goes_on =
                    merge.is_some_and(|merge| merge.attribute("val").is_none_or(|val| val == "continue"));
                let above = rows.last().and_then(|row| row.get(cells.len()));
                let text = match above.filter(|_| goes_on) {
                    Some(text) => copy(text, &mut self.copies),
                    None => self.cell(cell, depth),
                };
                // A cell over several columns says the same of each.
                for _ in 1..usize::min(span, 64) {
                    cells.push(copy(&text, &mut self.copies));
                }
                cells.push(text);
                if self.copies == 0 {
                    // The document is refused: more cells only take room.
                    return String::new();
                }
            }
            rows.push(cells);
        }
        markdown::table(&rows)
    }

    fn cell(&mut self, cell: &Element, depth: usize) -> String {
        if depth >= DEEPEST {
            return markdown::line(&cell.text());
        }
        let plain = self.inner(cell, depth + 1).replace("| --- ", " ").replace('|', " ");
        markdown::line(&plain)
    }

    fn write_notes(&mut self, part: &Element, kind: &'static str) {
        let known: HashMap<&str, &Element> =
            part.elements().filter_map(|note| Some((note.attribute("id")?, note))).collect();
        // What a note refers to is not in it.
        for at in 0..self.notes.len() {
            let (of, id) = &self.notes[at];
            let note = known.get(id.as_str()).filter(|_| *of == kind);
            let text = note.map(|note| self.said(note)).unwrap_or_default();
            if !text.is_empty() {
                self.out.push_str(&format!("[^{}]: {text}\n\n", at + 1));
            }
        }
    }

    fn write_comments(&mut self, part: &Element) {
        let comments: Vec<String> = part
            .elements()
            .filter(|comment| comment.name == "comment")
            .map(|comment| (comment.attribute("author").unwrap_or("Comment"), self.said(comment)))
            .filter(|(_, text)| !text.is_empty())
            .map(|(author, text)| format!("- {}: {text}\n", markdown::line(author)))
            .collect();
        if !comments.is_empty() {
            self.out.push_str(&markdown::heading(2, "Comments"));
            self.out.push_str(&comments.concat());
        }
    }

    fn said(&mut self, element: &Element) -> String {
        markdown::line(&self.inner(element, 1))
    }

    /// Blocks that are not written where the others are.
    fn inner(&mut self, element: &Element, depth: usize) -> String {
        let before = (std::mem::take(&mut self.out), std::mem::replace(&mut self.is_inner, true));
        self.blocks(element, depth);
        self.is_inner = before.1;
        std::mem::replace(&mut self.out, before.0)
    }
}

/// What is said elsewhere too: a short part can ask for a long one again and again. With nothing left it is empty.
fn copy(text: &str, left: &mut usize) -> String {
    // An empty one takes room as well.
    *left = left.saturating_sub(text.len() + size_of::<String>());
    if *left == 0 { String::new() } else { text.to_owned() }
}

fn rows_of<'a>(table: &'a Element, rows: &mut Vec<&'a Element>) {
    for child in table.elements() {
        match child.name.as_str() {
            "tr" => rows.push(child),
            "sdt" | "sdtContent" | "ins" | "customXml" => rows_of(child, rows),
            _ => {}
        }
    }
}

fn cells_of<'a>(row: &'a Element, cells: &mut Vec<&'a Element>) {
    for child in row.elements() {
        match child.name.as_str() {
            "tc" => cells.push(child),
            "sdt" | "sdtContent" | "ins" | "customXml" => cells_of(child, cells),
            _ => {}
        }
    }
}
