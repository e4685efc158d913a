//! docs/guarantees.md names tests: each must be there.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::fs;
use std::path::Path;

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let mut text = String::new();
    for folder in ["crates/core/src/testing", "crates/core/tests", "crates/convert/tests", "tests/tests"] {
        sources(&root.join(folder), &mut text);
    }
    let rows: String = page.lines().filter(|line| line.starts_with('|')).collect();
    let functions: Vec<&str> =
        rows.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 2).collect();
    let cases: Vec<&str> = rows
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|name| name.split(' ').count() > 2 && !name.contains(':') && *name != "out of capacity")
        .collect();
    assert!(functions.len() > 10 && cases.len() > 15, "{functions:?} {cases:?}");
    for name in functions {
        assert!(text.contains(&format!("fn {name}(")), "{name}");
    }
    for name in cases {
        assert!(text.contains(&format!("(\"{name}\"")), "{name}");
    }
}
