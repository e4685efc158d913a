//! Writes the benchmarks' texts: `ragflare-bench OUT [TEXTS]`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ragflare_bench::texts;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = args.next() else {
        eprintln!("usage: ragflare-bench OUT [TEXTS]");
        return ExitCode::FAILURE;
    };
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match texts::write(&out, &checkout, args.next().as_deref(), &texts::SIZES) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot make the texts: {error}");
            ExitCode::FAILURE
        }
    }
}
