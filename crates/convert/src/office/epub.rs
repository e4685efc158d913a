//! EPUB: the chapters of the spine. Its pages are those of the reader's screen: there are none to cite.

use super::relations::resolved;
use crate::package::Package;
use crate::tree::Element;
use crate::{Converted, Limits, Refusal, decode, html, markdown};
use std::collections::HashMap;

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let package = Package::open(bytes, "EPUB", limits)?;
    if package
        .bytes("META-INF/encryption.xml")?
        .is_some_and(|bytes| bytes.windows(9).any(|part| part == b"rights.xm"))
    {
        return Err(Refusal::Encrypted);
    }
    let container = package.required("META-INF/container.xml")?;
    let mut roots = Vec::new();
    container.all("rootfile", &mut roots);
    let path = roots.first().and_then(|root| root.attribute("full-path")).unwrap_or("content.opf").to_owned();
    let opf = package.required(&path)?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);

    let metadata = opf.child("metadata");
    let said = |name: &str| -> Vec<String> {
        let found = metadata.into_iter().flat_map(Element::elements).filter(|element| element.name == name);
        found.map(|element| markdown::line(&element.text())).filter(|text| !text.is_empty()).collect()
    };
    let title = said("title").into_iter().next();
    let mut out = String::new();
    for (label, name) in [
        ("Title", "title"),
        ("Authors", "creator"),
        ("Language", "language"),
        ("Publisher", "publisher"),
        ("Date", "date"),
        ("Description", "description"),
    ] {
        let values = said(name);
        if !values.is_empty() {
            out.push_str(&format!("**{label}:** {}  \n", values.join(", ")));
        }
    }
    out.push('\n');

    let items: HashMap<&str, &Element> = opf
        .child("manifest")
        .into_iter()
        .flat_map(Element::elements)
        .filter_map(|item| Some((item.attribute("id")?, item)))
        .collect();
    let mut chapters = 0;
    for reference in opf.child("spine").into_iter().flat_map(Element::elements) {
        let item = reference.attribute("idref").and_then(|id| items.get(id));
        let Some(href) = item.and_then(|item| item.attribute("href")) else { continue };
        if item.is_some_and(|item| {
            item.attribute("properties").is_some_and(|it| it.split(' ').any(|it| it == "nav"))
        }) {
            continue;
        }
        let Some(bytes) = package.bytes(&resolved(folder, &unescaped(href)))? else { continue };
        let chapter = html::fragment(&decode(&bytes, None)?, limits);
        if !chapter.trim().is_empty() {
            chapters += 1;
            out.push_str(&chapter);
            out.push('\n');
        }
    }
    if chapters == 0 {
        return Err(Refusal::NoText("the book has no chapter with text".into()));
    }
    Ok(Converted { title, ..Converted::text(out) })
}

/// Without percent signs.
fn unescaped(href: &str) -> String {
    let href = href.split('#').next().unwrap_or_default().as_bytes();
    let mut bytes = Vec::with_capacity(href.len());
    let mut at = 0;
    while at < href.len() {
        let hex = href.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if href[at] == b'%' => {
                bytes.push(byte);
                at += 3;
            }
            _ => {
                bytes.push(href[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
