//! The builds: the twin for this machine, the workers for wasm.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::Run;
use crate::workspace::{self, Package};
use crate::{hash, lanes, npm, paths, report, tools};

/// Which workers to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// Those that ship.
    Shipping,
    /// The examples and the tests' own as well.
    All,
}

/// Builds the twin and the workers.
///
/// # Errors
/// When something does not compile.
pub fn run(which: Workers) -> Result<()> {
    report::step("building the twin", twin)?;
    report::step("building the workers", || workers(which))
}

/// The environment of every cargo command that builds for this machine.
pub fn native_env() -> [(&'static str, OsString); 2] {
    [("CARGO_TARGET_DIR", paths::native_target().into()), ("RUSTFLAGS", native_flags().into())]
}

/// The models run several times faster with AVX2, and what is built here runs here.
fn native_flags() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("f16c")
    {
        return "-C target-cpu=x86-64-v3";
    }
    ""
}

/// The environment of every cargo command that builds for wasm, directly or through `worker-build` and wrangler.
///
/// # Errors
/// When there is no place for the cache.
pub fn wasm_env() -> Result<Vec<(&'static str, OsString)>> {
    let worker_build = tools::worker_build()?;
    let bin = worker_build.parent().map(PathBuf::from).unwrap_or_default();
    let node = npm::node()?.parent().map(PathBuf::from).unwrap_or_default();
    Ok(vec![
        ("CARGO_TARGET_DIR", paths::wasm_target().into()),
        ("RUSTFLAGS", OsString::new()),
        // `worker-build` sets it: another value would compile everything again.
        ("WASM_BINDGEN_USE_JS_SYS", "1".into()),
        ("WASM_BINDGEN_BIN", tools::wasm_bindgen()?.into()),
        ("WASM_OPT_BIN", npm::wasm_opt()?.into()),
        ("ESBUILD_BIN", npm::esbuild()?.into()),
        ("PATH", crate::process::path_with(&[node, bin])?),
    ])
}

/// Builds the twin.
///
/// # Errors
/// When it does not compile.
pub fn twin() -> Result<()> {
    Run::new("cargo")
        .args(["build", "--profile", "native", "--package", "ragflare-local", "--bin", "ragflare-local"])
        .dir(&paths::checkout())
        .envs(native_env())
        .advice("a C++ compiler must be installed (Debian: g++); the compiler's own message above says more")
        .run()
}

/// Builds the workers.
///
/// # Errors
/// When one does not compile.
pub fn workers(which: Workers) -> Result<()> {
    let all: Vec<Package> = workspace::packages()?.into_iter().filter(|package| package.worker).collect();
    let (mut built, others): (Vec<_>, Vec<_>) = all.into_iter().partition(Package::ships);
    compile(&built)?;
    if which == Workers::All {
        // One at a time: together, what one asks of a library's features the other would get too.
        for worker in &others {
            compile(std::slice::from_ref(worker))?;
        }
        built.extend(others);
    }
    // All marks first: worker-build links again, and may do so a little differently.
    let mut missing = Vec::new();
    for worker in built {
        let mark = mark(&worker)?;
        if !is_bundled(&worker, &mark) {
            missing.push((worker, mark));
        }
    }
    // wasm-opt, which takes most of the time, uses one core.
    lanes::each(lanes::LANES, missing, |(worker, mark)| bundle(&worker, &mark)).into_iter().collect()
}

/// The environment in which a worker is compiled: one of the tests' own in less time.
fn worker_env(worker: &Package) -> Result<Vec<(&'static str, OsString)>> {
    let mut env = wasm_env()?;
    if worker.is_test() {
        env.push(("CARGO_PROFILE_RELEASE_LTO", "off".into()));
        env.push(("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16".into()));
    }
    Ok(env)
}

/// Compiles these workers together; they are of one kind.
fn compile(workers: &[Package]) -> Result<()> {
    let Some(first) = workers.first() else { return Ok(()) };
    let mut cargo =
        Run::new("cargo").args(["build", "--release", "--target", "wasm32-unknown-unknown", "--lib"]);
    for worker in workers {
        cargo = cargo.arg("--package").arg(&worker.name);
    }
    cargo.dir(&paths::checkout()).envs(worker_env(first)?).run()
}

fn stamp(worker: &Package) -> PathBuf {
    paths::dev().join("built").join(&worker.name)
}

/// Whether `worker-build` saw this very wasm last.
fn is_bundled(worker: &Package, mark: &str) -> bool {
    fs::read_to_string(stamp(worker)).is_ok_and(|old| old == mark)
        && worker.build().join("index.js").is_file()
        && worker.build().join("index_bg.wasm").is_file()
}

fn bundle(worker: &Package, mark: &str) -> Result<()> {
    report::line(&format!("    worker-build {}", worker.name));
    Run::new(tools::worker_build()?)
        .arg("--release")
        .args(worker.is_test().then_some("--no-opt"))
        .dir(&worker.dir)
        .envs(worker_env(worker)?)
        .advice("see the message above; the tools it uses are in the cache, and removing that has them set up anew")
        .run_quietly()?;
    fs::create_dir_all(paths::dev().join("built"))?;
    let stamp = stamp(worker);
    fs::write(&stamp, mark).with_context(|| format!("cannot write {}", stamp.display()))
}

/// What the bundle is made from: the wasm and the tools.
fn mark(worker: &Package) -> Result<String> {
    let tools = [tools::worker_build()?, tools::wasm_bindgen()?, npm::wasm_opt()?];
    let tools: Vec<_> = tools.iter().map(|path| path.display().to_string()).collect();
    Ok(format!("{}\n{}\n", hash::of_file(&worker.wasm())?, tools.join("\n")))
}
