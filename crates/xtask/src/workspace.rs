//! The packages of the workspace, and which of them are workers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths;
use crate::process::Run;

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The directory of its manifest.
    pub dir: PathBuf,
    /// The features it declares.
    pub features: Vec<String>,
    /// Whether it is a worker: built for wasm only.
    pub worker: bool,
}

impl Package {
    /// The wasm file cargo makes of it.
    pub fn wasm(&self) -> PathBuf {
        let file = format!("{}.wasm", self.name.replace('-', "_"));
        paths::wasm_target().join("wasm32-unknown-unknown/release").join(file)
    }

    /// The directory of what `worker-build` makes of it.
    pub fn build(&self) -> PathBuf {
        self.dir.join("build")
    }

    /// The production configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("wrangler.jsonc")
    }

    /// Whether it ships: a worker directly below `worker/`.
    pub fn ships(&self) -> bool {
        self.worker && self.dir.parent() == Some(&paths::checkout().join("worker"))
    }

    /// Whether it is of the tests package's family, not of the product.
    pub fn is_test(&self) -> bool {
        self.dir.starts_with(paths::checkout().join("tests"))
    }
}

/// All packages of the workspace.
///
/// # Errors
/// When cargo cannot read the manifests.
pub fn packages() -> Result<Vec<Package>> {
    let json = Run::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .dir(&paths::checkout())
        .output()?;
    parse(&serde_json::from_slice(&json).context("cargo metadata printed something else than JSON")?)
}

fn parse(metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("cargo metadata named no packages")?;
    packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().with_context(|| format!("a package without {key}"));
            let manifest = Path::new(text("manifest_path")?);
            let kinds = package["targets"].as_array().into_iter().flatten();
            Ok(Package {
                name: text("name")?.to_owned(),
                dir: manifest.parent().unwrap_or(manifest).to_path_buf(),
                features: package["features"]
                    .as_object()
                    .map(|f| f.keys().cloned().collect())
                    .unwrap_or_default(),
                worker: kinds
                    .filter_map(|target| target["kind"].as_array())
                    .flatten()
                    .any(|kind| kind == "cdylib"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_workers_from_the_rest() {
        let packages = packages().unwrap();
        let find = |name: &str| packages.iter().find(|package| package.name == name).unwrap();
        assert!(find("ragflare-query").worker && find("ragflare-query").ships());
        assert!(find("ragflare-example-notes").worker && !find("ragflare-example-notes").ships());
        assert!(!find("ragflare-core").worker);
        assert!(find("ragflare-core").features.contains(&"testing".to_owned()));
        assert!(find("ragflare-ingest").wasm().ends_with("ragflare_ingest.wasm"));
    }
}
