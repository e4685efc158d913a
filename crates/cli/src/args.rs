//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ModeArg};
use crate::sets::Format;

/// Measure and look at Ragflare's retrieval.
#[derive(Debug, Parser)]
#[command(name = "ragflare", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure retrieval on evaluation sets
    #[command(after_long_help = EVAL_HELP)]
    Eval(Box<Eval>),
    /// Search a folder or a deployment and show how each hit got its score
    #[command(after_long_help = SEARCH_HELP)]
    Search(Box<Search>),
}

/// `ragflare eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// Folders with a set each, or files of `SQuAD`'s format
    #[arg(required = true, value_name = "DIR")]
    pub sets: Vec<PathBuf>,
    /// How the sets are laid out
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Code sets: cut the files with our own chunker instead of taking the set's chunks
    #[arg(long)]
    pub own_chunks: bool,
    /// Give documents no titles
    #[arg(long)]
    pub no_titles: bool,
    /// Ask only N questions of each set, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Compare two configurations by a paired test; each is words as for --set, `""` for none
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "ablation")]
    pub compare: Vec<String>,
    /// Measure keyword, vector, hybrid, and (without --no-rerank) hybrid with the reranker, and test the later against
    /// the earlier
    #[arg(long)]
    pub ablation: bool,
    /// Below this score a question counts as refused (sets with unanswerable questions); the product's is 0.02
    #[arg(long, default_value_t = 0.02, value_parser = share, value_name = "SCORE")]
    pub threshold: f64,
    /// Write everything, each question included, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// How to search.
    #[command(flatten)]
    pub asking: Asking,
    /// What answers.
    #[command(flatten)]
    pub target: Target,
}

/// `ragflare search`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What to look for
    pub query: String,
    /// Search the Markdown and text files of this folder, on this machine
    #[arg(long, value_name = "FOLDER", required_unless_present = "url", conflicts_with = "url")]
    pub dir: Option<PathBuf>,
    /// Print the reply as JSON
    #[arg(long)]
    pub json: bool,
    /// How to search.
    #[command(flatten)]
    pub asking: Asking,
    /// What answers.
    #[command(flatten)]
    pub target: Target,
}

/// How to search.
#[derive(Debug, Args)]
#[command(next_help_heading = "How to search")]
pub(crate) struct Asking {
    /// Which legs look
    #[arg(long, value_enum)]
    pub mode: Option<ModeArg>,
    /// Leave the cross-encoder out
    #[arg(long)]
    pub no_rerank: bool,
    /// Hits to ask for, 1 to 100 [default: by the set]
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Change settings: words `path=value`, e.g. `search.vector_weight=0.3`, or JSON files of settings
    #[arg(long, value_name = "WORDS")]
    pub set: Vec<String>,
}

/// What answers.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What answers")]
pub(crate) struct Target {
    /// A deployment's address, e.g. <http://127.0.0.1:8787>; without it, the pipelines in this process
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The API key of a tenant, for --url
    #[arg(long, value_name = "KEY", env = "RAGFLARE_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// The admin key, for --url: each set gets a tenant of its own
    #[arg(long, value_name = "KEY", env = "ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,
    /// The folder of the models [default: the cache of `cargo xtask setup`]
    #[arg(long, value_name = "DIR", env = "RAGFLARE_MODELS")]
    pub models: Option<PathBuf>,
    /// The ONNX Runtime library [default: the cache of `cargo xtask setup`]
    #[arg(long, value_name = "FILE", env = "RAGFLARE_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// Ask the models anew instead of keeping what they said in the cache
    #[arg(long)]
    pub no_cache: bool,
}

impl Asking {
    /// The configuration that these say.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::default();
        for words in &self.set {
            config = config.with(words)?;
        }
        if let Some(mode) = self.mode {
            config.mode = mode.into();
        }
        config.rerank &= !self.no_rerank;
        if let Some(top_k) = self.top_k {
            config = config.with(&format!("top_k={top_k}"))?;
        }
        Ok(config)
    }
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 1".to_owned()) }
}

const EVAL_HELP: &str = "\
Formats, as their authors publish them:
  beir    BEIR and everything in its layout: corpus.jsonl {_id, title, text}, queries.jsonl {_id, text}, and
          qrels.tsv, qrels/test.tsv or qrels/dev.tsv (question, document, gain, in the order of the header; or
          TREC's four columns). nDCG@10, Recall@10 and @100, MRR@10, MAP. A document's rank is its best chunk's.
  chroma  Chroma's chunking_evaluation: corpora/*.md and questions_df.csv. Recall, precision and IoU of the
          characters in the first 5 hits, their number, and PrecisionΩ; as in \"Evaluating Chunking Strategies\".
  code    Anthropic's contextual retrieval cookbook: codebase_chunks.json and evaluation_set.jsonl. Pass@k, the
          mean share of golden chunks among the first k. Each chunk of the set is one document; with --own-chunks
          the files are cut by Ragflare, and a golden chunk is found when half of its characters are in the hits.
  qa      CLAP NQ: *_answerable.jsonl and *_unanswerable.jsonl. hit@1, @5, @10 over the pool of distinct passages;
          how well the first hit's score tells the two kinds apart, and what a threshold refuses wrongly.
  squad   SQuAD, XQuAD: each *.json a set. hit@1, @5, @10 over the distinct paragraphs.

Your own questions: write a folder in BEIR's layout.

Examples:
  ragflare eval sets/scifact
  ragflare eval sets/* --ablation --markdown table.md --json table.json
  ragflare eval sets/scifact --compare search.vector_weight=0.3 search.vector_weight=0.6
  ragflare eval sets/scifact --compare 'mode=keyword' 'mode=hybrid rerank=false'
  ragflare eval sets/code --set chunk.target=128 --own-chunks
  ragflare eval sets/mine --url https://rag.example.com --key $RAGFLARE_KEY

Against a deployment the set is uploaded first; what is there already is not uploaded again. Settings are the
deployment's; mode, rerank and top_k can be chosen. The tenant must hold nothing but the set, or hits of other
documents take places. With --admin-key each set gets a tenant of its own, named eval-SET.

Intervals are the middle 95 % of 10,000 bootstrap resamples of the questions; p is two-sided, from the paired
bootstrap of the differences. Both always use the same random numbers.
";

const SEARCH_HELP: &str = "\
Examples:
  ragflare search 'how are tenants kept apart' --dir docs
  ragflare search 'how are tenants kept apart' --dir docs --set chunk.target=128 --no-rerank
  ragflare search 'how are tenants kept apart' --url http://127.0.0.1:8787 --mode keyword
";
