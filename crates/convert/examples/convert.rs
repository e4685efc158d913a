//! Prints a file as text: `cargo run -p ragflare-convert --example convert -- FILE`.

use ragflare_convert::{Limits, convert, detect};

fn main() {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).expect("a readable file");
        let started = std::time::Instant::now();
        let result = detect("", &path, &bytes)
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
