//! Set-up: everything the builds and the stack need that is not in the checkout.

use anyhow::{Result, ensure};

use crate::lock::Lock;
use crate::{models, npm, paths, report, tools};

/// Makes everything ready: the wasm target, the Rust tools, the npm tools, the models. What is there is skipped.
///
/// # Errors
/// Names the step, the command that failed and what to do.
pub fn run() -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "set-up knows Linux on x86-64 only: the pinned ONNX Runtime, Node and workerd are built for it"
    );
    tools::wasm_target()?;
    if ready()? {
        return Ok(());
    }
    let cache = paths::cache()?;
    report::line(&format!("setting up in {}", cache.display()));
    let _lock = Lock::wait(&cache.join("setup.lock"))?;
    npm::install()?;
    models::install()?;
    tools::install()
}

fn ready() -> Result<bool> {
    Ok(npm::ready()? && models::ready()? && tools::ready()?)
}
