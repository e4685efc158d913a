//! The measured workers: ours and its peers, each a directory with a `main.js` and, in Rust, a wasm module.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Run;
use crate::scratch::{self, Scratch};
use crate::{build, hash, npm, paths, report, tools, workspace};

const PACKAGE: &str = include_str!("../../../bench/js/package.json");
const LOCK: &str = include_str!("../../../bench/js/package-lock.json");

/// A worker with the rows it gives.
#[derive(Debug)]
pub struct Measured {
    /// Its script in `crates/bench/js`.
    pub script: &'static str,
    /// Group, subject and the path that does the work.
    pub works: &'static [(&'static str, &'static str, &'static str)],
    /// The cargo profile, if it is in Rust: ours is built as it ships, the peers for speed.
    profile: Option<&'static str>,
}

/// All of them, ours first.
pub const ALL: [Measured; 3] = [
    Measured {
        script: "ragflare",
        works: &[
            ("chunk", "ragflare", "chunk"),
            ("bge", "ragflare", "bge"),
            ("cl100k_base", "ragflare", "cl100k"),
            ("floor", "sum", "floor"),
        ],
        profile: Some("release"),
    },
    Measured {
        script: "rust-peers",
        works: &[
            ("chunk", "text_splitter_tokenizers", "chunk_tokenizers"),
            ("chunk", "text_splitter_tiktoken", "chunk_tiktoken"),
            ("bge", "tokenizers", "bge"),
            ("cl100k_base", "tiktoken_rs", "cl100k"),
        ],
        profile: Some("bench"),
    },
    Measured {
        script: "js-peers",
        works: &[("chunk", "langchain_gpt_tokenizer", "chunk"), ("cl100k_base", "gpt_tokenizer", "cl100k")],
        profile: None,
    },
];

/// The worker that does nothing.
pub const EMPTY: &str = "empty";

impl Measured {
    /// Builds it below `out`.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn build(&self, out: &Path) -> Result<()> {
        let dir = out.join(self.script);
        scratch::remove(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        if let Some(profile) = self.profile {
            self.wasm(profile, &dir)?;
        }
        bundle(self.script, &dir)
    }

    fn wasm(&self, profile: &str, dir: &Path) -> Result<()> {
        let (feature, example) = match self.script {
            "ragflare" => ("worker-ragflare", "worker_ragflare"),
            _ => ("worker-peers", "worker_peers"),
        };
        Run::new("cargo")
            .args(["build", "--profile", profile, "--target", "wasm32-unknown-unknown"])
            .args(["--package", "ragflare-bench", "--example", example, "--features", feature])
            .dir(&paths::checkout())
            .envs(build::wasm_env()?)
            .run()?;
        let made = format!("wasm32-unknown-unknown/release/examples/{example}.wasm");
        let name = self.script.replace('-', "_");
        Run::new(tools::wasm_bindgen()?)
            .args(["--target", "web", "--no-typescript", "--out-dir"])
            .arg(dir)
            .args(["--out-name", &format!("{name}_bindings")])
            .arg(paths::wasm_target().join(made))
            .run()?;
        // As `worker-build` does it.
        let bound = dir.join(format!("{name}_bindings_bg.wasm"));
        Run::new(npm::wasm_opt()?)
            .args([
                "-O",
                "--enable-mutable-globals",
                "--enable-sign-ext",
                "--enable-nontrapping-float-to-int",
            ])
            .args(["--enable-bulk-memory", "--enable-multivalue", "--enable-reference-types"])
            .args(["--enable-exception-handling", "--debuginfo", "-o"])
            .arg(dir.join(format!("{name}.wasm")))
            .arg(&bound)
            .env("PATH", npm::path()?)
            .run()?;
        fs::remove_file(&bound).with_context(|| format!("cannot remove {}", bound.display()))
    }
}

/// Puts a script with all it imports into one file.
///
/// # Errors
/// When esbuild fails.
pub fn bundle(script: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for name in [script, "serve"] {
        let from = paths::checkout().join("crates/bench/js").join(format!("{name}.js"));
        fs::copy(&from, dir.join(format!("{name}.js")))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Run::new(npm::esbuild()?)
        .arg(dir.join(format!("{script}.js")))
        .args(["--bundle", "--format=esm", "--platform=neutral", "--main-fields=module,main", "--minify"])
        .args(["--conditions=worker,browser", "--external:*.wasm", "--external:node:*", "--log-level=error"])
        .arg(format!("--outfile={}", dir.join("main.js").display()))
        .env("NODE_PATH", modules()?)
        .run()
}

/// The wasm modules of a built worker, by the names it imports them with.
///
/// # Errors
/// When its directory cannot be read.
pub fn wasm_modules(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect())
}

fn modules() -> Result<PathBuf> {
    let id = hash::of_parts([PACKAGE.as_bytes(), LOCK.as_bytes()]);
    Ok(paths::cache()?.join(format!("bench-npm-{}", &id[..12])).join("node_modules"))
}

/// Installs the peers in JavaScript into the cache, when they are missing.
///
/// # Errors
/// When npm fails.
pub fn install() -> Result<()> {
    let modules = modules()?;
    if modules.is_dir() {
        return Ok(());
    }
    report::step("installing LangChain.js and gpt-tokenizer with npm", || {
        let work = Scratch::new("bench-npm")?;
        fs::write(work.path().join("package.json"), PACKAGE)?;
        fs::write(work.path().join("package-lock.json"), LOCK)?;
        Run::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .dir(work.path())
            .advice("the npm registry must be reachable")
            .run()?;
        scratch::put(work.path(), modules.parent().unwrap_or(&modules))
    })
}

/// Copies the workers that ship, built, to where the measured ones are, and returns their names.
///
/// # Errors
/// When one is not built.
pub fn shipping(out: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for package in workspace::packages()?.iter().filter(|package| package.ships()) {
        let dir = out.join(&package.name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for (from, to) in [("index.js", "main.js"), ("index_bg.wasm", "index_bg.wasm")] {
            let from = package.build().join(from);
            fs::copy(&from, dir.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        names.push(package.name.clone());
    }
    Ok(names)
}

/// The sizes of each worker in bytes: its script, its wasm, and both compressed.
///
/// # Errors
/// When one is not built.
pub fn sizes(out: &Path, names: &[String]) -> Result<Vec<(String, [u64; 3])>> {
    let size = |name: &String| {
        let dir = out.join(name);
        let script = dir.join("main.js");
        let mut gzip = super::sizes::gzip(&script)?;
        let mut plain = 0;
        for wasm in wasm_modules(&dir)? {
            plain += fs::metadata(&wasm)?.len();
            gzip += super::sizes::gzip(&wasm)?;
        }
        Ok((name.clone(), [fs::metadata(&script)?.len(), plain, gzip]))
    };
    names.iter().map(size).collect()
}

/// The runtime.
///
/// # Errors
/// When there is no place for the cache.
pub fn workerd() -> Result<PathBuf> {
    let wrangler = npm::wrangler()?;
    let modules = wrangler.ancestors().nth(3).context("wrangler is in node_modules/wrangler/bin")?;
    Ok(modules.join("@cloudflare/workerd-linux-64/bin/workerd"))
}
