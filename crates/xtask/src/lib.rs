//! The tasks of this checkout, `cargo xtask …`, and the harness with which the tests start a stack.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use xtask::{Stack, StackOptions};
//!
//! let stack = Stack::start(&StackOptions::new("target/tmp/one").var("LEDGER", "1"))?;
//! println!("{} with the key {}", stack.url, stack.admin_key);
//! stack.stop();
//! # Ok(())
//! # }
//! ```

pub mod backup;
pub mod bench;
pub mod build;
pub mod clients;
pub mod data;
pub mod devconfig;
pub mod group;
pub mod hash;
pub mod http;
pub mod indexes;
pub mod lanes;
pub mod lock;
pub mod migrations;
pub mod models;
pub mod npm;
pub mod paths;
pub mod process;
pub mod report;
pub mod scratch;
pub mod service;
pub mod setup;
pub mod stack;
pub mod test;
pub mod tools;
pub mod up;
pub mod workspace;
pub mod wrangler;

pub use stack::{Stack, StackOptions};
