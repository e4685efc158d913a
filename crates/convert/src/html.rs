//! Web pages: what they are about, not what stands around it.

use crate::{Converted, Limits, Refusal, markdown};
use dom_query::Document;
use dom_smoothie::{Config, Readability, TextMode};

/// Share of a page's text, in hundredths, that main content has at least. With less, it was looked for in vain: short pages,
/// lists, tables.
const SHARE: usize = 5;
/// What is no text of the page's, and what stands around it.
const NEVER: [&str; 9] = ["script", "style", "noscript", "template", "svg", "iframe", "head", "button", "select"];
const AROUND: &str = "nav, header nav, footer, aside, [role=navigation], [role=banner], [role=contentinfo], [role=search], \
    [aria-hidden=true], [hidden], form";

/// A page: its main content if it has one, else all of it without menus.
pub(crate) fn convert(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    bounded(text, limits)?;
    let page = Document::from(text);
    clean_links(&page);
    let title = markdown::line(&page.select("title").first().text());
    page.select(AROUND).remove();
    let whole = markdown::tidy(&page.md(Some(&NEVER)));
    let main = main_content(&page.html()).filter(|main| main.len() * 100 >= whole.len() * SHARE);
    let title = Some(title).filter(|title| !title.is_empty());
    Ok(Converted { title, ..Converted::text(main.unwrap_or(whole)) })
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

/// Pictures that stand in the page itself say nothing, and a search engine's links lead where their parameter says.
fn clean_links(page: &Document) {
    for picture in page.select("img[src^='data:']").iter() {
        picture.remove_attr("src");
    }
    for link in page.select("a[href*='/ck/a?']").iter() {
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
pub(crate) fn fragment(text: &str, limits: &Limits) -> Result<String, Refusal> {
    bounded(text, limits)?;
    let piece = Document::fragment(text);
    clean_links(&piece);
    Ok(markdown::tidy(&piece.md(Some(&NEVER))))
}

/// A tree takes much more room than its text.
fn bounded(text: &str, limits: &Limits) -> Result<(), Refusal> {
    if text.bytes().filter(|byte| *byte == b'<').count() > limits.nodes {
        return Err(Refusal::too_many_nodes(limits));
    }
    Ok(())
}
