//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::vectorize::store::{FieldType, IndexConfig, Metric};

/// The offline twin of Workers AI and Vectorize.
///
/// Prints one line, `ragflare-local listening on http://ADDRESS`, once the models are loaded and it answers.
#[derive(Debug, Clone, Parser)]
#[command(name = "ragflare-local", version)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one. Of several the last counts.
    #[arg(long, default_value = "127.0.0.1:8791", overrides_with = "listen")]
    pub listen: String,
    /// Folder of the models, one folder each.
    #[arg(long, env = "RAGFLARE_MODELS")]
    pub models: PathBuf,
    /// The ONNX Runtime shared library.
    #[arg(long, env = "RAGFLARE_ONNXRUNTIME")]
    pub onnxruntime: PathBuf,
    /// Folder for the vectors; created if absent.
    #[arg(long)]
    pub data: PathBuf,
    /// An index to create if absent: `NAME:DIMENSIONS:METRIC[:FIELD=TYPE,…]`, with the metrics cosine, euclidean and
    /// dot-product and the types string, number and boolean. Repeatable.
    #[arg(long = "index", value_name = "INDEX")]
    pub indexes: Vec<IndexArg>,
    /// How long a write stays invisible, in milliseconds. Vectorize takes seconds to minutes.
    #[arg(long, default_value_t = 2000)]
    pub mutation_delay_ms: u64,
    /// How long an asynchronous batch is not done, at least, in milliseconds. Workers AI takes minutes.
    #[arg(long, default_value_t = 1000)]
    pub batch_delay_ms: u64,
    /// Threads for each model; all cores when absent. (The passes over a chat prompt use all cores, or what the
    /// environment variable `RAYON_NUM_THREADS` says.)
    #[arg(long)]
    pub threads: Option<usize>,
    /// Exit when standard input ends, so as never to outlive the process that holds its other end.
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// The value of `--index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexArg {
    /// The index's name.
    pub name: String,
    /// What it is created with.
    pub config: IndexConfig,
}

impl FromStr for IndexArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(4, ':');
        let (Some(name), Some(dimensions), Some(metric)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("{text:?} is not NAME:DIMENSIONS:METRIC[:FIELD=TYPE,…]"));
        };
        let dimensions = dimensions.parse().map_err(|e| format!("dimensions {dimensions:?}: {e}"))?;
        let metric = match metric {
            "cosine" => Metric::Cosine,
            "euclidean" => Metric::Euclidean,
            "dot-product" => Metric::DotProduct,
            other => return Err(format!("metric {other:?} is none of cosine, euclidean, dot-product")),
        };
        let mut metadata_indexes = BTreeMap::new();
        for field in parts.next().unwrap_or("").split(',').filter(|f| !f.is_empty()) {
            let (field, kind) =
                field.split_once('=').ok_or_else(|| format!("metadata index {field:?} is not FIELD=TYPE"))?;
            let kind = match kind {
                "string" => FieldType::String,
                "number" => FieldType::Number,
                "boolean" => FieldType::Boolean,
                other => {
                    return Err(format!("type {other:?} of {field:?} is none of string, number, boolean"));
                }
            };
            metadata_indexes.insert(field.to_owned(), kind);
        }
        Ok(Self { name: name.to_owned(), config: IndexConfig { dimensions, metric, metadata_indexes } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read() {
        let arg: IndexArg = "chunks:384:cosine:lang=string,author.age=number".parse().unwrap();
        assert_eq!(
            (arg.name.as_str(), arg.config.dimensions, arg.config.metric),
            ("chunks", 384, Metric::Cosine)
        );
        assert_eq!(arg.config.metadata_indexes["author.age"], FieldType::Number);
        let arg: IndexArg = "plain:3:dot-product".parse().unwrap();
        assert!(arg.config.metadata_indexes.is_empty());
        for bad in ["", "a:b:cosine", "a:3", "a:3:hamming", "a:3:cosine:x", "a:3:cosine:x=date"] {
            assert!(bad.parse::<IndexArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
