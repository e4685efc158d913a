//! `ragflare`: see `ragflare --help`.

mod args;
mod config;
mod engine;
mod eval;
mod metrics;
mod places;
mod progress;
mod report;
mod run;
mod score;
mod search;
mod sets;
mod spans;
mod stats;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

/// Writes to standard output. Nobody reads on after `| head`: that is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Search(arguments) => search::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
