//! Web pages: what they are about, not what stands around it.

mod plain;

use crate::{Converted, Limits, markdown};
use dom_query::Document;
use dom_smoothie::{Config, Readability, TextMode};

/// Share of a page's text, in hundredths, that main content has at least. With less, it was looked for in vain: short pages,
/// lists, tables.
const SHARE: usize = 5;
/// What is no text of the page's, and what stands around it.
const NEVER: [&str; 9] =
    ["script", "style", "noscript", "template", "svg", "iframe", "head", "button", "select"];
const AROUND: &str = "nav, header nav, footer, aside, [role=navigation], [role=banner], [role=contentinfo], [role=search], \
    [aria-hidden=true], [hidden], form";

/// Bytes of a page in which its main content is looked for.
const LONGEST_ARTICLE: usize = 4 * 1024 * 1024;
/// Elements within elements of a page that a tree is made of: it is walked by recursion.
const DEEPEST: usize = 200;
/// The same before there is a tree, told by tags alone: pages forget to end some.
const DEEPEST_TAGS: usize = 2000;

/// A page: its main content if it has one, else all of it without menus; of a page that no tree can be made of, its words.
pub(crate) fn convert(text: &str, limits: &Limits) -> Converted {
    let Some(page) = tree(text, limits, false) else {
        return Converted::text(plain::text(text));
    };
    clean(&page);
    let title = markdown::line(&page.select("title").first().text());
    page.select(AROUND).remove();
    let whole = markdown::tidy(&page.md(Some(&NEVER)));
    // What is as long as several books is no article, and to look for one takes several times as much room.
    let main = (text.len() <= LONGEST_ARTICLE).then(|| main_content(&page.html())).flatten();
    let main = main.filter(|main| main.len() * 100 >= whole.len() * SHARE);
    let title = Some(title).filter(|title| !title.is_empty());
    Converted { title, ..Converted::text(main.unwrap_or(whole)) }
}

/// What a page is about, if it looks like one that is about something.
fn main_content(text: &str) -> Option<String> {
    let config = Config { text_mode: TextMode::Markdown, ..Config::default() };
    let mut page = Readability::new(text, None, Some(config)).ok()?;
    if !page.is_probably_readable() {
        return None;
    }
    let article = page.parse().ok()?;
    Some(markdown::tidy(&article.text_content)).filter(|text| !text.is_empty())
}

/// Cells keep their words apart, pictures that stand in the page itself say nothing, and a search engine's links lead where their parameter says.
fn clean(page: &Document) {
    // Lines in a cell would be one word: a Markdown cell has one line.
    for end in &page.select("td br, th br, td p, th p, td div, th div, td li, th li") {
        end.after_html(" ");
    }
    for cell in &page.select("td td, td th, th td") {
        cell.append_html(" ");
    }
    for picture in &page.select("img[src^='data:']") {
        picture.remove_attr("src");
    }
    for link in &page.select("a[href*='/ck/a?']") {
        if let Some(target) = link.attr("href").and_then(|href| redirected(&href)) {
            link.set_attr("href", &target);
        }
    }
}

/// The address in Bing's `u=a1…`, which is base64.
fn redirected(href: &str) -> Option<String> {
    let encoded = href.split(['?', '&']).find_map(|part| part.strip_prefix("u=a1"))?;
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in encoded.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf8(bytes).ok().filter(|target| target.starts_with("http"))
}

/// A piece of HTML, all of it.
pub(crate) fn fragment(text: &str, limits: &Limits) -> String {
    let Some(piece) = tree(text, limits, true) else { return plain::text(text) };
    clean(&piece);
    markdown::tidy(&piece.md(Some(&NEVER)))
}

/// A page or an XML document without its tags, a line for each block.
pub(crate) fn words(text: &str) -> String {
    plain::text(text)
}

/// A page's tree, unless it has too many elements or too deep ones. It takes much more room than its text, and the search for the
/// main content makes another one.
fn tree(text: &str, limits: &Limits, is_piece: bool) -> Option<Document> {
    if text.bytes().filter(|byte| *byte == b'<').count() > limits.nodes / 8
        || plain::depth(text) > DEEPEST_TAGS
    {
        return None;
    }
    let page = if is_piece { Document::fragment(text) } else { Document::from(text) };
    if is_deep(&page) { None } else { Some(page) }
}

fn is_deep(page: &Document) -> bool {
    let mut node = page.root();
    let mut depth = 0;
    loop {
        if let Some(child) = node.first_child() {
            node = child;
            depth += 1;
            if depth > DEEPEST {
                return true;
            }
            continue;
        }
        loop {
            if let Some(next) = node.next_sibling() {
                node = next;
                break;
            }
            let Some(parent) = node.parent() else { return false };
            node = parent;
            depth -= 1;
        }
    }
}
