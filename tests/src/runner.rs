//! Runs cases that share a world, and lets go of the world before the process exits: a static would leak its processes.

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// A named case.
pub type Case<W> = (&'static str, fn(&W) -> Result<()>);

/// Builds the world, runs the cases, drops the world.
pub fn run<W: Send + Sync + 'static>(build: impl FnOnce() -> Result<W>, cases: &[Case<W>]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two cores: more at once would only make each other late.
    arguments.test_threads.get_or_insert(2);
    let wanted = |name: &str| match &arguments.filter {
        Some(filter) if arguments.exact => name == filter,
        Some(filter) => name.contains(filter.as_str()),
        None => true,
    };
    if arguments.list || !cases.iter().any(|(name, _)| wanted(name)) {
        let trials = cases.iter().map(|(name, _)| Trial::test(*name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let world = match build() {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("the stack did not start: {error:?}");
            return ExitCode::FAILURE;
        }
    };
    let trials = cases
        .iter()
        .map(|(name, case)| {
            let (world, case) = (world.clone(), *case);
            Trial::test(*name, move || case(&world).map_err(|error| Failed::from(format!("{error:?}"))))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(world);
    conclusion.exit_code()
}
