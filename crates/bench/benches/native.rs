//! Our token engine and chunker, and their peers, on this machine. `RAGFLARE_BENCH_TEXTS` names the directory of the
//! texts; `cargo xtask bench` sets it.

#![allow(clippy::unwrap_used)]

use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use ragflare_bench::{TARGET, texts};
use ragflare_core::chunk::{ChunkSettings, Chunker, Format, Language};
use ragflare_core::tokens::{WordPiece, cl100k};
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};
use tokenizers::Tokenizer;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// One text.
struct Case(texts::Text);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.kind, self.0.size)
    }
}

impl Case {
    fn run<T>(&self, bencher: Bencher<'_, '_>, work: impl Fn(&str) -> T + Sync) {
        let text = self.0.read().unwrap();
        bencher.counter(BytesCount::of_str(&text)).bench(|| work(divan::black_box(&text)));
    }
}

/// The texts up to a size: of the ordinary kinds, of Markdown, of the worst cases.
fn upto(ordinary: usize, markdown: usize, worst: usize) -> Vec<Case> {
    let dir = std::env::var_os("RAGFLARE_BENCH_TEXTS").map(PathBuf::from);
    let all = texts::list(&dir.expect("RAGFLARE_BENCH_TEXTS is set: `cargo xtask bench`")).unwrap();
    let limit = |text: &texts::Text| {
        if text.kind == "markdown" {
            markdown
        } else if text.kind.starts_with("worst-") {
            worst
        } else {
            ordinary
        }
    };
    all.into_iter().filter(|text| text.bytes() <= limit(text)).map(Case).collect()
}

const KB: usize = 1_000;
const MB: usize = 1_000_000;

/// What takes time in proportion to the text, whatever is in it.
fn every() -> Vec<Case> {
    upto(30 * MB, 30 * MB, 30 * MB)
}

#[path = "bge.rs"]
mod reference;

static BGE: LazyLock<Tokenizer> = LazyLock::new(reference::tokenizer);

static TOKIE: LazyLock<tokie::Tokenizer> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("ragflare-bench-{}.json", std::process::id()));
    BGE.save(&file, false).unwrap();
    let tokenizer = tokie::Tokenizer::from_json(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    tokenizer
});

fn bge_tokens(text: &str) -> usize {
    BGE.encode_fast(text, false).unwrap().len()
}

fn tiktoken(text: &str) -> usize {
    tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len()
}

fn bpe(text: &str) -> usize {
    bpe_openai::cl100k_base().count(text)
}

/// Cutting into chunks of 256 tokens: BGE's, but for the rows that name a counter of `cl100k_base`.
mod chunk {
    use super::{
        Bencher, Case, ChunkConfig, ChunkSettings, ChunkSizer, Chunker, Format, KB, Language, MB,
        MarkdownSplitter, TARGET, TextSplitter, WordPiece, every, upto,
    };

    /// What text-splitter's own features for these tokenizers do, without the other features these would switch on.
    struct Sizer(fn(&str) -> usize);

    impl ChunkSizer for Sizer {
        fn size(&self, chunk: &str) -> usize {
            self.0(chunk)
        }
    }

    fn text_splitter(bencher: Bencher<'_, '_>, case: &Case, size: fn(&str) -> usize) {
        // Whatever the tokenizer prepares.
        size("word");
        let config = || ChunkConfig::new(TARGET).with_sizer(Sizer(size));
        if case.0.markdown {
            let splitter = MarkdownSplitter::new(config());
            case.run(bencher, |text| splitter.chunk_indices(text).count());
        } else {
            let splitter = TextSplitter::new(config());
            case.run(bencher, |text| splitter.chunk_indices(text).count());
        }
    }

    #[divan::bench(args = every(), sample_count = 11, max_time = 5)]
    fn ragflare(bencher: Bencher<'_, '_>, case: &Case) {
        let settings = ChunkSettings { target: TARGET, ..ChunkSettings::default() };
        let chunker = Chunker::new(settings).unwrap();
        let format = if case.0.markdown { Format::Markdown } else { Format::Plain };
        case.run(bencher, |text| chunker.chunks(text, format));
    }

    /// Read as code, whatever they are.
    #[divan::bench(args = upto(MB, MB, 0), sample_count = 11, max_time = 5)]
    fn ragflare_code(bencher: Bencher<'_, '_>, case: &Case) {
        let settings = ChunkSettings { code_target: TARGET, ..ChunkSettings::default() };
        let chunker = Chunker::new(settings).unwrap();
        case.run(bencher, |text| chunker.chunks(text, Format::Code(Language::Rust)));
    }

    #[divan::bench(args = upto(100 * KB, MB, 100 * KB), sample_count = 5, max_time = 8)]
    fn text_splitter_tokenizers(bencher: Bencher<'_, '_>, case: &Case) {
        text_splitter(bencher, case, super::bge_tokens);
    }

    #[divan::bench(args = upto(100 * KB, MB, 10 * KB), sample_count = 5, max_time = 8)]
    fn text_splitter_tiktoken(bencher: Bencher<'_, '_>, case: &Case) {
        text_splitter(bencher, case, super::tiktoken);
    }

    #[divan::bench(args = upto(100 * KB, MB, 100 * KB), sample_count = 5, max_time = 8)]
    fn text_splitter_bpe(bencher: Bencher<'_, '_>, case: &Case) {
        text_splitter(bencher, case, super::bpe);
    }

    /// The same splitter with our counter: what is won by the counter alone, and what by counting once.
    #[divan::bench(args = upto(100 * KB, MB, 100 * KB), sample_count = 5, max_time = 8)]
    fn text_splitter_ragflare(bencher: Bencher<'_, '_>, case: &Case) {
        text_splitter(bencher, case, WordPiece::count);
    }
}

/// Counting in BGE's tokens.
mod bge {
    use super::{BGE, Bencher, Case, LazyLock, MB, TOKIE, WordPiece, every, upto};

    #[divan::bench(args = every(), sample_count = 11, max_time = 5)]
    fn ragflare(bencher: Bencher<'_, '_>, case: &Case) {
        case.run(bencher, WordPiece::count);
    }

    #[divan::bench(args = every(), sample_count = 11, max_time = 5)]
    fn ragflare_index(bencher: Bencher<'_, '_>, case: &Case) {
        case.run(bencher, WordPiece::index);
    }

    #[divan::bench(args = upto(MB, MB, MB), sample_count = 5, max_time = 5)]
    fn tokenizers(bencher: Bencher<'_, '_>, case: &Case) {
        LazyLock::force(&BGE);
        case.run(bencher, super::bge_tokens);
    }

    /// On all cores, and with what it remembers of the times before. Not on Chinese: tokie 0.1.4 cuts a long text at blanks,
    /// and where there is none inside a character.
    #[divan::bench(args = latin(), sample_count = 11, max_time = 5)]
    fn tokie(bencher: Bencher<'_, '_>, case: &Case) {
        LazyLock::force(&TOKIE);
        case.run(bencher, |text| TOKIE.count_tokens(text));
    }

    fn latin() -> Vec<Case> {
        upto(MB, 30 * MB, 0).into_iter().filter(|case| case.0.kind != "chinese").collect()
    }
}

/// Counting in `cl100k_base`. Texts of up to 64 KiB are counted twice by ours: tiktoken-rs has the last word.
mod cl100k_base {
    use super::{Bencher, Case, KB, MB, bpe, cl100k, every, tiktoken, upto};

    #[divan::bench(args = every(), sample_count = 11, max_time = 5)]
    fn ragflare(bencher: Bencher<'_, '_>, case: &Case) {
        cl100k::count("word");
        case.run(bencher, cl100k::count);
    }

    #[divan::bench(args = upto(MB, 30 * MB, 100 * KB), sample_count = 11, max_time = 5)]
    fn tiktoken_rs(bencher: Bencher<'_, '_>, case: &Case) {
        tiktoken("word");
        case.run(bencher, tiktoken);
    }

    #[divan::bench(args = upto(MB, 30 * MB, MB), sample_count = 11, max_time = 5)]
    fn bpe_openai(bencher: Bencher<'_, '_>, case: &Case) {
        bpe("word");
        case.run(bencher, bpe);
    }
}

/// What nothing that looks at the whole text can be faster than.
mod floor {
    use super::{Bencher, Case, MB, upto};

    /// Every byte read once.
    #[divan::bench(args = upto(MB, 30 * MB, 0), sample_count = 11, max_time = 2)]
    fn sum(bencher: Bencher<'_, '_>, case: &Case) {
        case.run(bencher, |text| text.bytes().map(u64::from).sum::<u64>());
    }

    /// Every byte read once and checked to be UTF-8.
    #[divan::bench(args = upto(MB, 30 * MB, 0), sample_count = 11, max_time = 2)]
    fn utf8(bencher: Bencher<'_, '_>, case: &Case) {
        case.run(bencher, |text| std::str::from_utf8(text.as_bytes()).is_ok());
    }

    /// The parser that the chunker reads Markdown with, alone.
    #[divan::bench(args = upto(0, 30 * MB, MB), sample_count = 11, max_time = 2)]
    fn pulldown_cmark(bencher: Bencher<'_, '_>, case: &Case) {
        case.run(bencher, |text| pulldown_cmark::Parser::new(text).count());
    }
}

fn main() {
    divan::main();
}
