//! Random texts, made from real ones by rough treatment, under random settings.
//!
//! A short run with the same texts every time is among the tests. A long one, of so many minutes on a CPU, with other
//! texts every time, `TEXTS` being a directory of files to begin with:
//!
//! ```sh
//! FUZZ_MINUTES=30 TEXTS=directory cargo test -p ragflare-core --test chunk_fuzz --profile native -- --nocapture
//! ```
//!
//! What breaks a promise is shrunk, written to the directory for temporary files, and belongs into `fixtures/fuzz` when
//! it is mended.

#![allow(clippy::unwrap_used)]

mod promises;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use promises::{Clock, check};
use ragflare_core::chunk::{ChunkSettings, Format, Language};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/fuzz");

/// What has a meaning in Markdown, to a splitter of sentences or to a tokenizer, or is but odd.
const FRAGMENTS: [&str; 100] = [
    "# ",
    "\n\n# A heading of some words\n\n",
    "\n\n## Another one below it\n\n",
    "\n\n```\nlet x = a;\nlet y = b(c, d);\n```\n\n",
    "\n\n|some|cells|\n|-|-|\n|of|two|\n|by|three|\n\n",
    "## ",
    "###### ",
    "\n\n",
    "\n",
    "\r\n",
    "\r",
    "\r\r",
    "\n---\n",
    "\n===\n",
    "```",
    "```rust\n",
    "\n```\n",
    "~~~\n",
    "- ",
    "* ",
    "+ ",
    "1. ",
    "9) ",
    "  - ",
    "> ",
    ">",
    "> > ",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "|",
    "|-",
    "| x |\n",
    "[link](https://example.com/a) ",
    "[id]: <x>\n",
    "[id]: x '",
    "[^1]: ",
    "[^1]",
    "[",
    "]",
    "](",
    "![",
    "[a][",
    "**",
    "*",
    "_",
    "`",
    "``",
    "<div>\n",
    "</div>\n",
    "<!-- ",
    "-->",
    "<a b='",
    "<?",
    "<![CDATA[",
    "&amp;",
    "&#",
    "---\ntitle: x\n---\n",
    "    ",
    "\t",
    " ",
    "  \n",
    "\\",
    "\\\n",
    "\\n",
    "\\n\\n",
    "{#a .b}",
    "{",
    "}",
    "{},",
    "},{",
    "a. ",
    "A. ",
    "Dr. Smith went. Then he slept! Why? ",
    "…. ",
    ")",
    "\u{ff09}",
    "向量数据库，可以。",
    "한국어. ",
    "क\u{94d}",
    "🙂👩‍👩‍👧",
    "🇩🇪",
    "Ünï",
    "\u{301}",
    "\u{0}",
    "\u{202e}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{fffd}",
    "\u{2028}",
    "\u{85}",
    "\u{c}",
    "\u{b}",
    "\u{a0}",
    "\u{3000}",
    "\\ud83d",
    "=",
    "~",
    "$",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "\u{10ffff}",
];

/// `SplitMix64`: enough for this, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Small numbers as often as big ones.
    fn size(&mut self, most: usize) -> usize {
        let bits = self.below(most.ilog2() as usize + 1);
        self.below(2 << bits).min(most)
    }

    fn settings(&mut self) -> ChunkSettings {
        let target = match self.below(4) {
            0 => 32,
            1 => 32 + self.below(32),
            2 => 32 + self.below(479),
            _ => self.one_of(&[256, 510]),
        };
        let prefix = match self.below(3) {
            0 => 0,
            1 => 64,
            _ => self.below(257),
        };
        let most = ChunkSettings { target, code_target: target, overlap: 0, prefix }.max_tokens() / 2;
        let overlap = match self.below(4) {
            0 => most,
            1 => self.below(most + 1),
            _ => 0,
        };
        ChunkSettings { target, code_target: target, overlap, prefix }
    }

    /// A part of a text.
    fn part<'a>(&mut self, text: &'a str, most: usize) -> &'a str {
        let start = text.floor_char_boundary(self.below(text.len() + 1));
        let len = self.size(most);
        &text[start..text.floor_char_boundary((start + len).min(text.len()))]
    }

    /// A text of `most` bytes or not many more.
    fn text(&mut self, seeds: &[String], most: usize) -> String {
        let mut text = String::new();
        if self.below(3) > 0 {
            let seed = self.below(seeds.len());
            text.push_str(self.part(&seeds[seed], most));
        }
        for _ in 0..=self.size(24) {
            self.treat(&mut text, seeds, most);
        }
        text.truncate(text.floor_char_boundary(2 * most));
        text
    }

    fn treat(&mut self, text: &mut String, seeds: &[String], most: usize) {
        let at = text.floor_char_boundary(self.below(text.len() + 1));
        let room = most.saturating_sub(text.len()).max(1);
        match self.below(12) {
            0..=2 => text.insert_str(at, self.one_of(&FRAGMENTS)),
            3 => {
                let unit: String = (0..=self.below(3)).map(|_| self.one_of(&FRAGMENTS)).collect();
                text.insert_str(at, &unit.repeat(self.size(room / unit.len() + 1)));
            }
            4 => {
                let unit = self.part(text, most).to_owned();
                let count = if unit.is_empty() { 0 } else { self.size(room / unit.len() + 1) };
                text.insert_str(at, &unit.repeat(count));
            }
            5 => {
                let seed = self.below(seeds.len());
                let part = self.part(&seeds[seed], room);
                text.insert_str(at, part);
            }
            6 => {
                let end = text.floor_char_boundary((at + self.size(most)).min(text.len()));
                text.replace_range(at..end, "");
            }
            7 => {
                let from = self.one_of(&["\n", " ", "\n\n", ". ", "a", "- "]);
                let to = self.one_of(&FRAGMENTS);
                let count = self.size(1 << 16);
                if text.matches(from).count().min(count) * to.len() < room {
                    *text = text.replacen(from, to, count);
                }
            }
            8 => {
                let mark = self.one_of(&["> ", "- ", "  ", "    ", "\t", "| ", "1. ", "[^a]: "]);
                if (text.len() + mark.len() * text.matches('\n').count()) < 2 * most {
                    *text = text.split_inclusive('\n').flat_map(|line| [mark, line]).collect();
                }
            }
            9 => {
                let word = self.one_of(&["a", "Word ", "word. ", "\u{301}", "向", "x\n", "\n"]);
                text.insert_str(at, &word.repeat(self.size(room / word.len() + 1)));
            }
            10 => {
                text.extend((0..self.size(64)).filter_map(|_| char::from_u32(self.below(0x11_0000) as u32)));
            }
            _ => text.truncate(at),
        }
    }
}

/// The files of a directory and those below it, parts of long ones, with what is not UTF-8 replaced.
fn read(directory: &Path, into: &mut Vec<String>) {
    const MOST: usize = 1 << 18;
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read(&path, into);
        } else {
            let bytes = std::fs::read(path).unwrap();
            into.extend(bytes.chunks(MOST).take(4).map(|part| String::from_utf8_lossy(part).into_owned()));
        }
    }
}

fn breaks(text: &str, format: Format, settings: ChunkSettings) -> bool {
    catch_unwind(AssertUnwindSafe(|| check(text, format, settings))).is_err()
}

/// The text without most of what does not matter for its breaking a promise.
fn shrunk(text: &str, format: Format, settings: ChunkSettings) -> String {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut text = text.to_owned();
    let mut len = text.len().next_power_of_two();
    while len > 0 && Instant::now() < deadline {
        let (mut at, before) = (0, text.len());
        while at < text.len() && Instant::now() < deadline {
            let end = text.ceil_char_boundary((at + len).min(text.len()));
            let without = [&text[..at], &text[end..]].concat();
            if breaks(&without, format, settings) { text = without } else { at = end }
        }
        if text.len() == before {
            len /= 2;
        }
    }
    text
}

/// What a run has seen.
#[derive(Default)]
struct Seen {
    texts: usize,
    bytes: usize,
    broken: usize,
    /// Seconds for a mebibyte, in the worst case, and where that is written.
    slowest: f64,
}

/// Checks one random text. `keep` says where to write what is remarkable.
fn run(random: &mut Random, seeds: &[String], seen: &mut Seen, keep: Option<&Path>) {
    let most = match random.below(50) {
        0 => 600_000,
        1..=5 => 64_000,
        6..=20 => 8_000,
        _ => 1_500,
    };
    let text = random.text(seeds, most);
    let code = Format::Code(random.one_of(Language::ALL));
    let format = random.one_of(&[Format::Plain, Format::Markdown, Format::Markdown, code]);
    let settings = random.settings();
    seen.texts += 1;
    seen.bytes += text.len();
    match catch_unwind(AssertUnwindSafe(|| check(&text, format, settings))) {
        Err(panic) if keep.is_none() => std::panic::resume_unwind(panic),
        Err(_) => {
            seen.broken += 1;
            let text = shrunk(&text, format, settings);
            println!("BROKEN {format:?} {settings:?}: {} bytes {text:.300?}", text.len());
            write(keep, &format!("broken_{}.txt", seen.broken), &text);
        }
        Ok(time) if text.len() > 40_000 => {
            let pace = time.as_secs_f64() / (text.len() as f64 / f64::from(1 << 20));
            if pace > seen.slowest {
                seen.slowest = pace;
                println!("{pace:.2} s/MiB: {} bytes as {format:?} {settings:?}", text.len());
                write(keep, &format!("slow_{pace:.2}.txt"), &text);
            }
        }
        Ok(_) => {}
    }
}

fn write(directory: Option<&Path>, name: &str, text: &str) {
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn what_once_broke_keeps_the_promises() {
    let mut texts = Vec::new();
    read(Path::new(CORPUS), &mut texts);
    assert!(!texts.is_empty());
    for text in &texts {
        for format in [Format::Plain, Format::Markdown, Format::Code(Language::Rust)] {
            for (target, overlap, prefix) in
                [(32, 0, 0), (32, 16, 64), (40, 7, 256), (256, 0, 64), (510, 255, 0)]
            {
                check(text, format, ChunkSettings { target, code_target: target, overlap, prefix });
            }
        }
    }
}

/// For three seconds always the same; for `FUZZ_MINUTES` of a CPU others each time, or those of `FUZZ_SEED`.
#[test]
fn random_texts_keep_the_promises() {
    let minutes: Option<f64> = std::env::var("FUZZ_MINUTES").ok().map(|minutes| minutes.parse().unwrap());
    let time = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let any = || if minutes.is_some() { time() } else { 1 };
    let seed = std::env::var("FUZZ_SEED").map_or_else(|_| any(), |seed| seed.parse().unwrap());
    let mut seeds = FRAGMENTS.map(str::to_owned).to_vec();
    read(Path::new(CORPUS), &mut seeds);
    if let Some(texts) = std::env::var_os("TEXTS") {
        read(Path::new(&texts), &mut seeds);
    }
    let keep = std::env::temp_dir().join(format!("ragflare_fuzz_{seed}"));
    println!("FUZZ_SEED={seed}, {} texts to begin with, {}", seeds.len(), keep.display());
    let (start, clock) = (Instant::now(), Clock::start());
    let (mut random, mut seen) = (Random(seed), Seen::default());
    let seconds = minutes.map_or(3.0, |minutes| minutes * 60.0);
    while clock.elapsed().as_secs_f64() < seconds && seen.broken < 20 {
        run(&mut random, &seeds, &mut seen, Some(&keep));
        if seen.texts.is_multiple_of(10_000) {
            println!("{} texts, {} bytes, {:.1?} on a CPU", seen.texts, seen.bytes, clock.elapsed());
        }
    }
    println!(
        "{} texts, {:.1} MB, {:.1} minutes ({:.1} on a CPU), {} broken, {:.2} s/MiB at most",
        seen.texts,
        seen.bytes as f64 / 1e6,
        start.elapsed().as_secs_f64() / 60.0,
        clock.elapsed().as_secs_f64() / 60.0,
        seen.broken,
        seen.slowest
    );
    assert!(seen.texts > 10 && seen.broken == 0);
    // Hundreds of times what real texts take.
    assert!(seen.slowest < 2.0);
}
