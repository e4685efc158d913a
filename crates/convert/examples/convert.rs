//! Prints a file as text: `cargo run -p ragflare-convert --example convert -- FILE`. `--text` reads it as text whatever its name
//! says; `--article` prints what `dom_smoothie` alone finds in a page, to compare with.

use dom_smoothie::{Config, Readability, TextMode};
use ragflare_convert::{Limits, convert, detect};

fn main() {
    let (options, paths): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let is_on = |option: &str| options.iter().any(|given| given == option);
    for path in paths {
        let bytes = std::fs::read(&path).expect("a readable file");
        if is_on("--article") {
            println!("{}", article(&String::from_utf8_lossy(&bytes)));
            continue;
        }
        let name = if is_on("--text") { "file.txt" } else { &path };
        let started = std::time::Instant::now();
        let result = detect("", name, &bytes)
            .and_then(|kind| Ok((kind, convert(&bytes, kind, None, &Limits::default())?)));
        let milliseconds = started.elapsed().as_millis();
        match result {
            Ok((kind, converted)) => {
                eprintln!("{path}\t{kind:?}\tok\t{}\t{milliseconds} ms", converted.text.len());
                println!("{}", converted.text);
            }
            Err(refusal) => eprintln!("{path}\t-\t{}\t{refusal}\t{milliseconds} ms", refusal.code()),
        }
    }
}

fn article(page: &str) -> String {
    let config = Config { text_mode: TextMode::Markdown, ..Config::default() };
    let article = Readability::new(page, None, Some(config)).and_then(|mut page| page.parse());
    article.map(|article| article.text_content.to_string()).unwrap_or_default()
}
