//! XML: feeds as their entries, other documents as their text.

use crate::tree::{self, Element, Node};
use crate::{Converted, Limits, Refusal, html, markdown};

/// A feed, a page, or any other document.
pub(crate) fn convert(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    // Of what is left of the room, the half: a tree is larger here than that of a document, whose blocks are read one by one.
    let root = match tree::parse(text, "XML", &Limits { nodes: limits.nodes / 2, ..*limits }) {
        Err(Refusal::TooLarge { what: "elements", .. }) => return Ok(Converted::text(html::words(text))),
        // Much that is called XML is not well-formed: read as a browser would.
        Err(Refusal::Broken { .. }) if text.contains('<') => return Ok(html::convert(text, limits)),
        root => root?,
    };
    match root.name.as_str() {
        "rss" | "RDF" => {
            let channel = root.child("channel");
            // RSS 1.0 has its entries beside the channel.
            let entries: Vec<&Element> = channel
                .into_iter()
                .chain([&root])
                .flat_map(Element::elements)
                .filter(|element| element.name == "item")
                .collect();
            Ok(feed(channel.unwrap_or(&root), &entries, limits))
        }
        "feed" => {
            let entries: Vec<&Element> = root.elements().filter(|element| element.name == "entry").collect();
            Ok(feed(&root, &entries, limits))
        }
        "html" => Ok(html::convert(text, limits)),
        _ => {
            let mut out = String::new();
            write(&mut out, &root, 0);
            Ok(Converted { title: child_line(&root, "title"), ..Converted::text(out) })
        }
    }
}

fn child_line(element: &Element, name: &str) -> Option<String> {
    element.child(name).map(|child| markdown::line(&child.text())).filter(|text| !text.is_empty())
}

fn feed(about: &Element, entries: &[&Element], limits: &Limits) -> Converted {
    let title = child_line(about, "title");
    let mut out = markdown::heading(1, title.as_deref().unwrap_or_default());
    for name in ["description", "subtitle"] {
        if let Some(said) = about.child(name) {
            out.push_str(&body(said, limits));
        }
    }
    for entry in entries {
        let link = entry
            .child("link")
            .map(|link| link.attribute("href").map_or_else(|| markdown::line(&link.text()), str::to_owned));
        out.push_str(&markdown::heading(2, &child_line(entry, "title").or(link.clone()).unwrap_or_default()));
        let date =
            ["pubDate", "published", "updated", "date"].iter().find_map(|name| child_line(entry, name));
        let facts: Vec<String> = date.into_iter().chain(link.filter(|link| !link.is_empty())).collect();
        if !facts.is_empty() {
            out.push_str(&format!("{}\n\n", facts.join(" · ")));
        }
        // The whole text where there is one, else what stands for it.
        let said = ["encoded", "content", "description", "summary"].iter().find_map(|name| entry.child(name));
        if let Some(said) = said {
            out.push_str(&body(said, limits));
        }
    }
    Converted { title, ..Converted::text(out) }
}

/// What is said in an entry, which may be HTML in text.
fn body(element: &Element, limits: &Limits) -> String {
    let text = element.text();
    let text = if text.contains('<') { html::fragment(&text, limits) } else { markdown::literal(&text) };
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("{text}\n\n") }
}

/// Elements with text of their own as lines with their names, others as what they hold.
fn write(out: &mut String, element: &Element, depth: usize) {
    let indent = "  ".repeat(depth.min(20));
    let own =
        element.children.iter().any(|child| matches!(child, Node::Text(text) if !text.trim().is_empty()));
    let attributes: Vec<String> = element
        .attributes
        .iter()
        .filter(|(name, value)| !value.trim().is_empty() && !name.as_str().starts_with("xmlns"))
        .map(|(name, value)| format!("{name} {}", markdown::line(value)))
        .collect();
    let note = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    if own {
        out.push_str(&format!("{indent}- {}{note}: {}\n", element.name, markdown::line(&element.text())));
        return;
    }
    if element.elements().next().is_some() || !note.is_empty() {
        out.push_str(&format!("{indent}- {}{note}\n", element.name));
    }
    for child in element.elements() {
        write(out, child, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_read_by_their_entries() {
        let rss = "<rss><channel><title>News</title><item><title>One</title><pubDate>Mon</pubDate>\
                   <description>&lt;p&gt;A &lt;b&gt;bold&lt;/b&gt; word&lt;/p&gt;</description></item></channel></rss>";
        let converted = convert(rss, &Limits::default()).unwrap();
        assert_eq!(converted.text, "# News\n\n## One\n\nMon\n\nA **bold** word\n\n");
        assert_eq!(converted.title.as_deref(), Some("News"));
        let bare = "<rss><item><title>One</title><description># 1\n# and more</description></item></rss>";
        let text = convert(bare, &Limits::default()).unwrap().text;
        assert_eq!(text, "## One\n\n\\# 1\n\\# and more\n\n");
    }

    #[test]
    fn other_documents_are_lists() {
        let text = convert("<a k='v'><b>x</b><c><d>y</d></c></a>", &Limits::default()).unwrap().text;
        assert_eq!(text, "- a (k v)\n  - b: x\n  - c\n    - d: y\n");
    }
}
