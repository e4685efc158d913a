//! `cargo xtask`: see `cargo xtask --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use xtask::backup::{self, Place, restore};
use xtask::bench::{self, Bench};
use xtask::build::{self, Workers};
use xtask::up::{self, Up};
use xtask::{process, report, setup, test};

/// Everything to run, build and test Ragflare. Each task does all of its own set-up.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Serve Ragflare on this machine: the two workers in the real runtime, with the offline twin behind them
    Up {
        /// The port on 127.0.0.1
        #[arg(long, default_value_t = 8787)]
        port: u16,
        /// Where documents, vectors and pending work are kept [default: .ragflare in the checkout]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Empty the data directory first
        #[arg(long)]
        fresh: bool,
        /// A JSON file with settings, put over those of the twin: an external chat service, limits, fields
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Check formatting and lints, build, run all tests, and try a deployment without an account
    Test {
        /// Only the tests with this in their name
        #[arg(long, value_name = "NAME")]
        filter: Option<String>,
    },
    /// Write the rows of the database to a file
    #[command(after_long_help = backup::HELP)]
    Backup {
        /// The file to write; it must not be there yet
        file: PathBuf,
        #[command(flatten)]
        database: Database,
    },
    /// Put the rows of a backup into an empty database
    #[command(after_long_help = restore::HELP)]
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        database: Database,
        /// Replace the database of the data directory; originals and vectors stay
        #[arg(long, conflicts_with = "remote")]
        fresh: bool,
    },
    /// Build the keyword index anew from the chunks, through workers that run
    RebuildKeywords {
        /// Where the query worker answers
        #[arg(default_value = "http://127.0.0.1:8787")]
        url: String,
        /// The workers' admin key
        #[arg(long, env = "ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
        admin_key: String,
    },
    /// Measure the token engine and the chunker against their peers, natively, in workerd and in Python
    Bench {
        /// A directory with more texts to measure on: .md and .txt, each file one
        #[arg(long, value_name = "DIR", env = "TEXTS")]
        texts: Option<PathBuf>,
        /// Only there
        #[arg(long, value_enum)]
        only: Option<bench::Place>,
        /// Only the native benchmarks with this in their names (a group, a peer, a kind of text)
        #[arg(long, value_name = "NAME", requires = "only")]
        filter: Option<String>,
        /// Only rewrite the snapshot of the workers' sizes
        #[arg(long, conflicts_with = "only")]
        bless: bool,
        /// Put the tables into docs/benchmarks.md
        #[arg(long, conflicts_with_all = ["only", "bless"])]
        save: bool,
    },
    /// Fetch the tools and the models into the cache outside the checkout
    Setup,
    /// Set up and build the twin and all workers
    Build,
    /// Format the checkout
    Fmt,
    /// Check formatting and lints
    Lint,
}

/// Which database.
#[derive(Debug, Args)]
struct Database {
    /// The data directory with the database; no stack may run on it [default: .ragflare in the checkout]
    #[arg(long, value_name = "DIR", conflicts_with = "remote")]
    data: Option<PathBuf>,
    /// The deployed database, through wrangler
    #[arg(long)]
    remote: bool,
}

impl Database {
    fn place(self) -> Place {
        if self.remote { Place::Remote } else { Place::Data(self.data) }
    }
}

fn run(task: Task) -> Result<()> {
    process::end_children_on_signals()?;
    match task {
        Task::Up { port, data, fresh, settings } => up::run(&Up { port, data, fresh, settings }),
        Task::Test { filter } => test::run(filter.as_deref()),
        Task::Backup { file, database } => backup::run(&file, &database.place()),
        Task::Restore { file, database, fresh } => restore::run(&file, &database.place(), fresh),
        Task::RebuildKeywords { url, admin_key } => restore::rebuild_keywords(&url, &admin_key).map(drop),
        Task::Bench { only, texts, filter, bless, save } => {
            bench::run(&Bench { only, texts, filter, bless, save })
        }
        Task::Setup => setup::run(),
        Task::Build => setup::run().and_then(|()| build::run(Workers::All)),
        Task::Fmt => test::format(),
        Task::Lint => setup::run().and_then(|()| test::lint()),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::line(&format!("\nerror: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
