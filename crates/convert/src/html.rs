//! Web pages: what they are about, not what stands around it.

mod plain;

use crate::{Converted, Limits, markdown};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dom_query::Document;
use dom_smoothie::{Config, Readability, TextMode};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, QualName, local_name, ns};

/// Share of a page's text, in hundredths, that main content has at least. With less, it was looked for in vain: short pages,
/// lists, tables.
const SHARE: usize = 5;
/// What is no text of the page's, and what stands around it.
const NEVER: [&str; 10] =
    ["script", "style", "noscript", "template", "svg", "iframe", "head", "title", "button", "select"];
const AROUND: &str = "nav, header nav, footer, aside, [role=navigation], [role=banner], [role=contentinfo], [role=search], \
    [aria-hidden=true], [hidden]";
/// Share of a page's text, in hundredths, that is left at least when its forms are taken for what stands around it. With less,
/// one of them is the page: some servers put all of it into one.
const SHARE_WITHOUT_FORMS: usize = 75;

/// Bytes of a page in which its main content is looked for.
const LONGEST_ARTICLE: usize = 4 * 1024 * 1024;
/// Elements within elements of a page that a tree is made of: it is walked by recursion.
const DEEPEST: usize = 200;
/// The same before there is a tree, told by tags alone: pages forget to end some.
const DEEPEST_TAGS: usize = 2000;
/// Comparisons of the names of attributes: less than a second of them.
const MOST_COMPARISONS: usize = 200_000_000;

/// A page: its main content if it has one, else all of it without menus; of a page that no tree can be made of, its words.
pub(crate) fn convert(text: &str, limits: &Limits) -> Converted {
    let Some(page) = tree(text, limits, false) else {
        return Converted::text(plain::text(text));
    };
    clean(&page);
    let title = markdown::line(&page.select("title").first().text());
    page.select(AROUND).remove();
    let forms = page.select("form");
    if forms.exists() {
        let length = |skipped: &[&str]| page.md(Some(skipped)).len();
        if length(&[&NEVER[..], &["form"]].concat()) * 100 < length(&NEVER) * SHARE_WITHOUT_FORMS {
            // By its name it would still be taken for one.
            forms.rename("div");
        } else {
            forms.remove();
        }
    }
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

/// The address in Bing's `u=a1…`.
fn redirected(href: &str) -> Option<String> {
    let encoded = href.split(['?', '&', '#']).find_map(|part| part.strip_prefix("u=a1"))?;
    let target = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    String::from_utf8(target).ok().filter(|target| target.starts_with("http"))
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
        || plain::comparisons(text) > MOST_COMPARISONS
    {
        return None;
    }
    parsed(text, is_piece, limits.nodes / 4).filter(|page| !is_deep(page))
}

/// A page's tree, unless it has more nodes than so many.
fn parsed(text: &str, is_piece: bool, most: usize) -> Option<Document> {
    let tree_builder =
        TreeBuilderOpts { scripting_enabled: false, drop_doctype: is_piece, ..TreeBuilderOpts::default() };
    let options = ParseOpts { tree_builder, ..ParseOpts::default() };
    let mut parser = if is_piece {
        let body = QualName::new(None, ns!(html), local_name!("body"));
        html5ever::parse_fragment(Document::fragment_sink(), options, body, Vec::new(), false)
    } else {
        html5ever::parse_document(Document::default(), options)
    };
    // Tag by tag: those that nobody ended are made again in each paragraph, hundreds of nodes for a few letters.
    let all = StrTendril::from(text);
    let mut from = 0;
    for piece in text.split_inclusive('<') {
        parser.process(all.subtendril(u32::try_from(from).ok()?, u32::try_from(piece.len()).ok()?));
        from += piece.len();
        if parser.tokenizer.sink.sink.tree.len() > most {
            return None;
        }
    }
    Some(parser.finish())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_be_the_page() {
        let words = "The lamp is lit at dusk, and the keeper writes down when. ".repeat(20);
        let article = format!("<h1>Lamp</h1><p>{words}</p><p>{words}</p>");
        let text = |page: &str| convert(page, &Limits::default()).text;
        let page = text(&format!(
            "<body><a href='#m'>Skip</a><form id=f><nav>Menu</nav><div>{article}</div></form></body>"
        ));
        assert!(page.contains("# Lamp") && page.contains("the keeper writes"), "{page}");
        assert!(!page.contains("Menu"), "{page}");
        let page = text("<body><form><h1>Lamp</h1><p>Lit at dusk.</p></form></body>");
        assert_eq!(page, "# Lamp\n\nLit at dusk.\n");
        let page = text(&format!("<body>{article}<form>Your name <input> and what you think</form></body>"));
        assert!(page.contains("the keeper writes") && !page.contains("Your name"), "{page}");
    }

    #[test]
    fn links_of_a_search_lead_where_they_lead() {
        let target = URL_SAFE_NO_PAD.encode("https://lighthouse.example/a?b=1");
        let link = format!("https://search.example/ck/a?!&&p=00&u=a1{target}&ntb=1#x");
        assert_eq!(redirected(&link).as_deref(), Some("https://lighthouse.example/a?b=1"));
        assert_eq!(redirected("https://search.example/ck/a?u=a1%%%"), None);
        let page = format!("<p>See <a href='{}'>the tides</a>.</p>", link.replace('&', "&amp;"));
        let text = convert(&page, &Limits::default()).text;
        assert_eq!(text.trim(), "See [the tides](https://lighthouse.example/a?b=1).");
    }
}
