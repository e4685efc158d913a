//! Equations as they are read aloud.

use crate::tree::{Element, Node};

/// An equation on one line: fractions with a stroke, powers with `^`, indices with `_`, roots and functions by name.
pub(super) fn equation(element: &Element) -> String {
    let part = |name: &str| element.child(name).map(equation).unwrap_or_default();
    let grouped = |text: String| if text.chars().count() > 1 { format!("({text})") } else { text };
    match element.name.as_str() {
        "f" => format!("{}/{}", grouped(part("num")), grouped(part("den"))),
        "sSup" => format!("{}^{}", part("e"), grouped(part("sup"))),
        "sSub" => format!("{}_{}", part("e"), grouped(part("sub"))),
        "sSubSup" => format!("{}_{}^{}", part("e"), grouped(part("sub")), grouped(part("sup"))),
        "rad" => match part("deg") {
            degree if degree.is_empty() => format!("√{}", grouped(part("e"))),
            degree => format!("root({degree}, {})", part("e")),
        },
        "nary" => {
            let sign = element.path(&["naryPr", "chr"]).and_then(|sign| sign.attribute("val")).unwrap_or("∫");
            let (from, to) = (part("sub"), part("sup"));
            let from = if from.is_empty() { from } else { format!("_{}", grouped(from)) };
            let to = if to.is_empty() { to } else { format!("^{}", grouped(to)) };
            format!("{sign}{from}{to} {}", part("e"))
        }
        "func" => format!("{} {}", part("fName"), part("e")),
        "d" => {
            let sign = |name: &str| element.path(&["dPr", name]).and_then(|sign| sign.attribute("val"));
            let inner: Vec<String> =
                element.elements().filter(|child| child.name == "e").map(equation).collect();
            format!("{}{}{}", sign("begChr").unwrap_or("("), inner.join(", "), sign("endChr").unwrap_or(")"))
        }
        "m" => {
            let rows = element.elements().filter(|row| row.name == "mr");
            let row = |row: &Element| row.elements().map(equation).collect::<Vec<_>>().join(", ");
            format!("[{}]", rows.map(row).collect::<Vec<_>>().join("; "))
        }
        "t" => element.text(),
        name if name.ends_with("Pr") => String::new(),
        _ => element
            .children
            .iter()
            .map(|child| match child {
                Node::Element(child) => equation(child),
                Node::Text(_) => String::new(),
            })
            .collect(),
    }
}
