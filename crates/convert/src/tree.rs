//! XML as a tree, of bounded size. Entities of a file's own are not unfolded: they stand as they are written.

use crate::{Limits, Refusal};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Decoder, Reader};
use std::collections::HashSet;
use std::rc::Rc;

/// Elements within elements: no document is nested deeper, and a tree is walked by recursion.
const DEEPEST: usize = 200;

/// A name: one of the few that a document has, shared by all that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(Rc<str>);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

/// The names of a document.
#[derive(Default)]
struct Names(HashSet<Rc<str>>);

impl Names {
    fn name(&mut self, bytes: &[u8]) -> Name {
        let name = String::from_utf8_lossy(bytes);
        if let Some(known) = self.0.get(&*name) {
            return Name(known.clone());
        }
        let new: Rc<str> = name.into();
        self.0.insert(new.clone());
        Name(new)
    }
}

/// An element. Names are without their prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: Name,
    pub(crate) attributes: Vec<(Name, String)>,
    pub(crate) children: Vec<Node>,
}

/// A child of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of a name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.name == name)
    }

    /// The element below, name by name.
    pub(crate) fn path(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |element, name| element.child(name))
    }

    /// Elements of a name at any depth, in order; what is within one is not looked through.
    pub(crate) fn all<'a>(&'a self, name: &str, found: &mut Vec<&'a Self>) {
        for element in self.elements() {
            if element.name == name {
                found.push(element);
            } else {
                element.all(name, found);
            }
        }
    }

    /// All text in it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.add_text(&mut out);
        out
    }

    fn add_text(&self, out: &mut String) {
        for child in &self.children {
            match child {
                Node::Element(element) => element.add_text(out),
                Node::Text(text) => out.push_str(text),
            }
        }
    }
}

/// Reads a document; the element returned is its root.
pub(crate) fn parse(text: &str, kind: &'static str, limits: &Limits) -> Result<Element, Refusal> {
    read(text, kind, limits, "", &mut |_| Ok(()))
}

/// Reads a document whose elements within elements of a name are given away one by one, and are not in what is returned: a long
/// one's tree takes several times as much room as its text.
pub(crate) fn read(
    text: &str,
    kind: &'static str,
    limits: &Limits,
    within: &str,
    take: &mut dyn FnMut(Element) -> Result<(), Refusal>,
) -> Result<Element, Refusal> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    let mut open = vec![Element::default()];
    let (mut left, mut attributes) = (limits.nodes, limits.nodes);
    let mut names = Names::default();
    loop {
        let event = reader.read_event().map_err(|error| Refusal::broken(kind, error))?;
        left = left.checked_sub(1).ok_or_else(|| Refusal::too_many_nodes(limits))?;
        match event {
            Event::Start(start) => {
                if open.len() > DEEPEST {
                    return Err(Refusal::TooLarge {
                        what: "elements within elements",
                        allowed: DEEPEST as u64,
                    });
                }
                open.push(
                    element(&start, reader.decoder(), &mut names, &mut attributes)
                        .ok_or_else(|| Refusal::too_many_nodes(limits))?,
                );
            }
            Event::Empty(start) => {
                let element = element(&start, reader.decoder(), &mut names, &mut attributes)
                    .ok_or_else(|| Refusal::too_many_nodes(limits))?;
                if open.last().is_some_and(|parent| parent.name == within && !within.is_empty()) {
                    take(element)?;
                    attributes = limits.nodes;
                } else if let Some(parent) = open.last_mut() {
                    parent.children.push(Node::Element(element));
                }
            }
            Event::End(_) if open.len() > 2 && !within.is_empty() && open[open.len() - 2].name == within => {
                if let Some(done) = open.pop() {
                    take(done)?;
                    attributes = limits.nodes;
                }
            }
            Event::End(_) => close(&mut open),
            Event::Text(part) => add(&mut open, &part.decode().unwrap_or_default()),
            Event::CData(part) => add(&mut open, &String::from_utf8_lossy(&part)),
            Event::GeneralRef(reference) => {
                let name = String::from_utf8_lossy(&reference).into_owned();
                add(&mut open, &entity(&name).unwrap_or_else(|| format!("&{name};")));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    while open.len() > 1 {
        if !within.is_empty() && open[open.len() - 2].name == within {
            take(open.pop().unwrap_or_default())?;
        } else {
            close(&mut open);
        }
    }
    let document = open.pop().unwrap_or_default();
    let root = document.children.into_iter().find_map(|child| match child {
        Node::Element(element) => Some(element),
        Node::Text(_) => None,
    });
    root.ok_or_else(|| Refusal::broken(kind, "it has no element"))
}

/// An element without what is in it; each attribute that is kept is taken from what is left. `None` when nothing is.
fn element(start: &BytesStart<'_>, decoder: Decoder, names: &mut Names, left: &mut usize) -> Option<Element> {
    let mut attributes = Vec::new();
    for attribute in start.attributes().with_checks(false).flatten() {
        let name = attribute.key.local_name();
        // Who changed what when is most of what Word writes.
        if name.as_ref().starts_with(b"rsid") || matches!(name.as_ref(), b"paraId" | b"textId") {
            continue;
        }
        *left = left.checked_sub(1)?;
        let value = attribute.decode_and_unescape_value(decoder).map_or_else(
            |_| String::from_utf8_lossy(&attribute.value).into_owned(),
            std::borrow::Cow::into_owned,
        );
        attributes.push((names.name(name.as_ref()), value));
    }
    attributes.shrink_to_fit();
    Some(Element { name: names.name(start.local_name().as_ref()), attributes, children: Vec::new() })
}

fn close(open: &mut Vec<Element>) {
    // An end too many closes nothing.
    if open.len() > 1
        && let Some(mut done) = open.pop()
        && let Some(parent) = open.last_mut()
    {
        // Room is made for four at once, and most have one.
        done.children.shrink_to_fit();
        parent.children.push(Node::Element(done));
    }
}

fn add(open: &mut [Element], text: &str) {
    if let Some(parent) = open.last_mut() {
        match parent.children.last_mut() {
            Some(Node::Text(last)) => last.push_str(text),
            _ => parent.children.push(Node::Text(text.to_owned())),
        }
    }
}

/// What a reference stands for: those that XML and HTML name, and numbers.
fn entity(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    quick_xml::escape::resolve_html5_entity(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_tree() {
        let root = parse(
            "<?xml version='1.0'?><a x:k='1&amp;2'>t&#x41;&eacute;<b/><!-- no --><![CDATA[<c>]]></a>",
            "XML",
            &Limits::default(),
        );
        let root = root.unwrap();
        assert_eq!((root.name.as_str(), root.attribute("k")), ("a", Some("1&2")));
        assert_eq!(root.text(), "tAé<c>");
        assert!(root.child("b").is_some());
    }

    #[test]
    fn nothing_unfolds_and_nothing_is_too_deep() {
        let bomb = "<!DOCTYPE a [<!ENTITY l \"ha\"><!ENTITY m \"&l;&l;&l;&l;\">]><a>&m;</a>";
        assert_eq!(parse(bomb, "XML", &Limits::default()).unwrap().text(), "&m;");
        let deep = "<a>".repeat(100_000);
        assert_eq!(parse(&deep, "XML", &Limits::default()).unwrap_err().code(), "too_large_expanded");
        let few = Limits { nodes: 5, ..Limits::default() };
        assert_eq!(parse(&"<a/>".repeat(9), "XML", &few).unwrap_err().code(), "too_large_expanded");
        let wide = format!("<a{}/>", " b=''".repeat(9));
        assert_eq!(parse(&wide, "XML", &few).unwrap_err().code(), "too_large_expanded");
    }
}
