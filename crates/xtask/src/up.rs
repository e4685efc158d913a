//! `cargo xtask up`: set-up, builds, and the stack until Ctrl-C.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Workers};
use crate::data::DataDir;
use crate::stack::{self, Stack, StackOptions};
use crate::{http, paths, report, setup};

/// The simulator fires no cron: this is the production configuration's.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How often to look whether the workers still answer.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Work that has not moved for so long is sent again.
const OVERDUE_AFTER: Duration = Duration::from_mins(5);

/// The secret of `answer.external`; of the workers when it is in the environment here.
const EXTERNAL_KEY: &str = "EXTERNAL_API_KEY";

/// What the user asked for.
#[derive(Debug)]
pub struct Up {
    /// Where to serve.
    pub port: u16,
    /// The data directory; `.ragflare` in the checkout when `None`.
    pub data: Option<PathBuf>,
    /// Start empty.
    pub fresh: bool,
    /// A JSON file with settings over those of the twin.
    pub settings: Option<PathBuf>,
}

/// Serves until a signal or until a part ends.
///
/// # Errors
/// When something does not start, or has ended by itself.
pub fn run(up: &Up) -> Result<()> {
    let path = up.data.clone().unwrap_or_else(|| paths::checkout().join(".ragflare"));
    // First what can be known at once. What a killed stack left may still have the port: it is ended first.
    let data = DataDir::open(&path, up.fresh)?;
    ensure_free(up.port)?;
    let settings = up.settings.as_deref().map(stack::settings_with).transpose()?;
    setup::run()?;
    build::run(Workers::Shipping)?;
    ensure_free(up.port)?;
    let mut options = StackOptions { port: Some(up.port), ..StackOptions::new(data.path()) };
    if let Some(settings) = settings {
        options = options.var("SETTINGS", &settings);
    }
    if let Ok(key) = std::env::var(EXTERNAL_KEY) {
        options = options.var(EXTERNAL_KEY, &key);
    }
    let mut stack = report::step("starting the twin and the workers", || Stack::start_on(data, &options))?;
    // Local queues live in memory: whatever was under way is sent again.
    sweep(&stack, Duration::ZERO)?;
    greet(&stack);
    let (mut swept, mut seen, mut missed) = (Instant::now(), Instant::now(), 0);
    loop {
        thread::sleep(Duration::from_millis(200));
        if let Some(dead) = stack.dead() {
            bail!(dead);
        }
        if seen.elapsed() >= LOOK_EVERY {
            // A runtime that crashed is restarted by wrangler, but may never answer again.
            let url = format!("{}/healthz", stack.url);
            let answers = matches!(http::get(&url, Duration::from_secs(20)), Ok(200));
            missed = if answers { 0 } else { missed + 1 };
            ensure!(
                missed < 3,
                "{url} does not answer any more; see {}\n  what to do: start it again, nothing is lost",
                stack.log().display()
            );
            seen = Instant::now();
        }
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            if let Err(error) = sweep(&stack, OVERDUE_AFTER) {
                report::line(&format!("warning: {error:#}"));
            }
        }
    }
}

fn ensure_free(port: u16) -> Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(
            "the port {port} of 127.0.0.1 cannot be had ({error})\n  what to do: end the program that has it, \
             or choose another one: cargo xtask up --port {}",
            port.checked_add(1).unwrap_or(8787)
        ),
    }
}

/// Runs the sweeper: what a crash left half done is taken up again.
fn sweep(stack: &Stack, older_than: Duration) -> Result<()> {
    let url = format!("{}/v1/admin/sweep?older_than={}", stack.url, older_than.as_secs());
    let (status, body) =
        http::post(&url, &stack.admin_key, Duration::from_secs(50)).context("the sweeper does not answer")?;
    ensure!((200..300).contains(&status), "the sweeper answered {status}: {body}");
    Ok(())
}

fn greet(stack: &Stack) {
    let url = &stack.url;
    let data = stack.data().display();
    let text = format!(
        "\nready {url}\n\n\
         upload:  curl -T README.md -H 'content-type: text/markdown' {url}/v1/documents/README.md\n\
         wait:    curl '{url}/v1/documents/README.md?wait=60'\n\
         ask:     curl -N {url}/v1/chat -H 'content-type: application/json' \\\n           \
         -d '{{\"messages\":[{{\"role\":\"user\",\"content\":\"What is Ragflare?\"}}]}}'\n\
         search:  curl {url}/v1/search -H 'content-type: application/json' -d '{{\"query\":\"offline twin\"}}'\n\n\
         Data, logs and the admin key are in {data}. Ctrl-C ends it.\n"
    );
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
