//! What is kept of each format: the files in `fixtures/formats` against `tests/expected/formats`, byte by byte. Where a page or a
//! row begins, the expected text has it in braces. `BLESS=1` writes anew what is expected: read the difference.

#![allow(clippy::unwrap_used)]

use ragflare_convert::{Converted, Limits, convert, detect};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The text, with the places put into it.
fn shown(converted: &Converted) -> String {
    let mut out = format!("title: {}\n---\n", converted.title.as_deref().unwrap_or_default());
    let mut from = 0;
    for place in &converted.places {
        let at = place.at as usize;
        out.push_str(&converted.text[from..at]);
        let told = [("page", place.page), ("row", place.row)];
        for (name, number) in told.into_iter().filter_map(|(name, number)| Some((name, number?))) {
            write!(out, "{{{name} {number}}}").unwrap();
        }
        from = at;
    }
    out + &converted.text[from..]
}

#[test]
fn each_format_keeps_what_it_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (fixtures, expected) = (root.join("fixtures/formats"), root.join("tests/expected/formats"));
    let bless = std::env::var_os("BLESS").is_some();
    let mut names: Vec<String> = fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let bytes = fs::read(fixtures.join(&name)).unwrap();
        let kind = detect("", &name, &bytes).unwrap();
        let found = shown(&convert(bytes, kind, None, &Limits::default()).unwrap());
        let path = expected.join(format!("{name}.txt"));
        if bless {
            fs::create_dir_all(&expected).unwrap();
            fs::write(&path, &found).unwrap();
        }
        let expected =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == expected, "{name}:\n{found}\nbut expected was:\n{expected}");
    }
}
