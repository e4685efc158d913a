//! `cargo xtask test`: formatting, lints, builds, all tests, and what would be deployed.

use anyhow::{Result, bail};

use crate::bench::sizes;
use crate::build::{self, Workers};
use crate::process::Run;
use crate::report::{self, Table};
use crate::workspace::{self, Package};
use crate::{lanes, models, npm, paths, setup, wrangler};

/// Runs everything, the later steps also when an earlier one failed.
///
/// # Errors
/// When any step failed; its name is in the message.
pub fn run(filter: Option<&str>) -> Result<()> {
    let mut table = Table::default();
    if table.step("set-up", setup::run).is_some() {
        let packages = workspace::packages()?;
        table.step("format", format_check);
        table.step("lint (native)", || lint_native(&packages));
        table.step("lint (wasm)", || lint_wasm(&packages));
        for package in native(&packages).filter(|package| !package.is_test()) {
            // One at a time: each is compiled with the features it has in the product, so what the twin needs is
            // compiled once.
            table.step(&format!("tests of {}", package.name), || cargo_test(package, filter));
        }
        let twin = table.step("build the twin", build::twin);
        let workers = table.step("build the workers", || build::workers(Workers::All));
        if twin.is_some() && workers.is_some() {
            for package in native(&packages).filter(|package| package.is_test()) {
                table.step("tests end to end", || lanes::test(package, filter));
            }
            table.step("deploy --dry-run", || {
                let ships = packages.iter().filter(|package| package.ships()).collect();
                lanes::each(lanes::LANES, ships, dry_run).into_iter().collect::<Result<()>>()
            });
            table.step("sizes", || sizes::check(&packages));
        }
    }
    report::line(&format!("\n{}", table.render()));
    let failed = table.failed();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Formatting and lints only.
///
/// # Errors
/// When any of them failed.
pub fn lint() -> Result<()> {
    let packages = workspace::packages()?;
    report::step("format", format_check)?;
    report::step("lint (native)", || lint_native(&packages))?;
    report::step("lint (wasm)", || lint_wasm(&packages))
}

/// Formats the checkout.
///
/// # Errors
/// When a file cannot be read as Rust.
pub fn format() -> Result<()> {
    Run::new("cargo").args(["fmt", "--all"]).dir(&paths::checkout()).advice(COMPONENTS).run()
}

const COMPONENTS: &str =
    "`cargo xtask fmt` formats; if the command itself is missing: rustup component add rustfmt clippy";

fn format_check() -> Result<()> {
    Run::new("cargo").args(["fmt", "--all", "--check"]).dir(&paths::checkout()).advice(COMPONENTS).run()
}

fn native(packages: &[Package]) -> impl Iterator<Item = &Package> {
    packages.iter().filter(|package| !package.worker)
}

/// The arguments that choose these packages, with their `testing` feature where they have one.
fn choose<'a>(packages: impl Iterator<Item = &'a Package>) -> Vec<String> {
    let mut args = Vec::new();
    let mut features = Vec::new();
    for package in packages {
        args.extend(["--package".to_owned(), package.name.clone()]);
        if package.features.iter().any(|feature| feature == "testing") {
            features.push(format!("{}/testing", package.name));
        }
    }
    if !features.is_empty() {
        args.extend(["--features".to_owned(), features.join(",")]);
    }
    args
}

fn lint_native(packages: &[Package]) -> Result<()> {
    Run::new("cargo")
        .args(["clippy", "--profile", "native", "--all-targets"])
        .args(choose(native(packages)))
        .args(["--", "-D", "warnings"])
        .dir(&paths::checkout())
        .envs(build::native_env())
        .advice(COMPONENTS)
        .run()
}

fn lint_wasm(packages: &[Package]) -> Result<()> {
    let mut cargo =
        Run::new("cargo").args(["clippy", "--release", "--lib", "--target", "wasm32-unknown-unknown"]);
    for package in packages.iter().filter(|package| {
        package.worker || matches!(package.name.as_str(), "ragflare-core" | "ragflare-cloudflare")
    }) {
        cargo = cargo.arg("--package").arg(&package.name);
    }
    cargo
        .args(["--", "-D", "warnings"])
        .dir(&paths::checkout())
        .envs(build::wasm_env()?)
        .advice(COMPONENTS)
        .run()
}

fn cargo_test(package: &Package, filter: Option<&str>) -> Result<()> {
    Run::new("cargo")
        .args(["test", "--profile", "native", "--no-fail-fast"])
        .args(choose(std::iter::once(package)))
        .args(filter)
        .dir(&paths::checkout())
        .envs(build::native_env())
        .envs(models::env()?)
        .advice("the failed tests are named above; `cargo xtask test --filter NAME` runs only those with NAME in theirs")
        .run_aloud()
}

/// What a deployment would upload, from the production configuration, without network and login.
fn dry_run(worker: &Package) -> Result<()> {
    let out = paths::checkout().join("target/dry-run").join(&worker.name);
    let run = Run::new(npm::node()?)
        .arg(npm::wrangler()?)
        .args(["deploy", "--dry-run", "--outdir"])
        .arg(&out)
        .arg("--config")
        .arg(worker.config())
        .dir(&worker.dir)
        .envs(wrangler::env(&paths::dev().join("wrangler"))?)
        .envs(build::wasm_env()?)
        .advice("the production configuration is wrong: see the message above");
    lanes::apart(&format!("deploy-{}", worker.name), run)
}
