//! The measured workers in workerd, timed from outside.
//!
//! A worker's clock stands still while it computes. So a text is posted twice, once to be worked on `n` times and once
//! not at all (`repeat=0`), and the difference is taken: what the request and the text's way into the worker cost is in
//! both.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::table::{OURS, Row, Times};
use super::workers::{self, Measured};
use crate::service::Service;
use crate::{group, report};

const SAMPLES: usize = 11;
/// A sample is made this long at least, by repeating the work: far above what requests differ by.
const SAMPLE_MS: f64 = 60.0;
const WARM_UP: Duration = Duration::from_millis(300);
/// No more samples are begun after this time.
const PATIENCE: Duration = Duration::from_secs(8);
/// What takes longer than this for a small text is not tried with a larger one.
const TOO_LONG_MS: f64 = 4_000.0;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
const COMPATIBILITY_DATE: &str = "2026-08-01";

/// A running workerd: each of its workers in an isolate of its own, behind a port of its own.
struct Workerd {
    service: Service,
    urls: Vec<String>,
    agent: ureq::Agent,
    took: Duration,
}

impl Workerd {
    /// Starts workers, named by their directories, and waits until all answer.
    fn start(work: &Path, dirs: &[PathBuf]) -> Result<Self> {
        let sockets = dirs.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
        let ports =
            sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
        drop(sockets);
        let config = work.join("config.capnp");
        fs::write(&config, configuration(dirs, &ports)?)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            // What ships has no bindings here, and says so.
            .http_status_as_error(false)
            .build()
            .into();
        let begun = Instant::now();
        let service =
            Service::start("workerd", &workers::workerd()?, &work.join("workerd.log"), |command| {
                command.arg("serve").arg(config);
            })?;
        let urls = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let mut workerd = Self { service, urls, agent, took: Duration::ZERO };
        for index in 0..workerd.urls.len() {
            while let Err(error) = workerd.post(index, "none?repeat=0", "") {
                ensure!(workerd.service.alive(), "workerd has ended:\n{}", workerd.service.tail(20));
                ensure!(begun.elapsed() < Duration::from_mins(1), "workerd does not answer: {error:#}");
                thread::sleep(Duration::from_millis(1));
            }
        }
        workerd.took = begun.elapsed();
        Ok(workerd)
    }

    /// Posts a text and returns how long the answer took, in milliseconds, and its status.
    fn post(&self, index: usize, path: &str, text: &str) -> Result<(f64, u16)> {
        let begun = Instant::now();
        let mut answer = self.agent.post(format!("{}/{path}", self.urls[index])).send(text)?;
        answer.body_mut().read_to_string()?;
        Ok((begun.elapsed().as_secs_f64() * 1e3, answer.status().as_u16()))
    }

    /// One more work on a text, `repeat` times, in milliseconds.
    fn sample(&self, index: usize, work: &str, repeat: usize, text: &str) -> Result<f64> {
        let (with, status) = self.post(index, &format!("{work}repeat={repeat}"), text)?;
        ensure!(status == 200, "{work} answers {status}:\n{}", self.service.tail(5));
        let (without, _) = self.post(index, &format!("{work}repeat=0"), text)?;
        Ok(((with - without) / repeat as f64).max(0.0))
    }
}

impl Drop for Workerd {
    fn drop(&mut self) {
        group::end(&[self.service.group().0]);
        self.service.reap();
    }
}

fn configuration(dirs: &[PathBuf], ports: &[u16]) -> Result<String> {
    let mut services = String::new();
    let mut sockets = String::new();
    for (number, (dir, port)) in dirs.iter().zip(ports).enumerate() {
        let dir_name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut modules = format!("(name = \"main.js\", esModule = embed \"{dir_name}/main.js\")");
        for wasm in workers::wasm_modules(dir)? {
            let name = wasm.file_name().unwrap_or_default().to_string_lossy().into_owned();
            write!(modules, ", (name = \"{name}\", wasm = embed \"{dir_name}/{name}\")")?;
        }
        writeln!(
            services,
            "    (name = \"w{number}\", worker = (modules = [{modules}],\n      \
             compatibilityDate = \"{COMPATIBILITY_DATE}\", compatibilityFlags = [\"nodejs_compat\"])),"
        )?;
        writeln!(
            sockets,
            "    (name = \"w{number}\", address = \"127.0.0.1:{port}\", http = (), service = \"w{number}\"),"
        )?;
    }
    Ok(format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\nconst config :Workerd.Config = (\n  \
         services = [\n{services}  ],\n  sockets = [\n{sockets}  ],\n);\n"
    ))
}

/// A text to work on.
#[derive(Debug)]
pub struct Text {
    /// Its kind.
    pub kind: String,
    /// The name of its size.
    pub size: String,
    /// Whether it is Markdown.
    pub markdown: bool,
    /// The text itself.
    pub text: String,
}

/// The texts of a directory, of up to 1 MB, by kind and then by size.
///
/// # Errors
/// When one cannot be read.
pub fn texts(dir: &Path) -> Result<Vec<Text>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let [kind, size, extension] = name.split('.').collect::<Vec<_>>()[..]
            && super::table::bytes(size) <= 1e6
        {
            all.push(Text {
                kind: kind.to_owned(),
                size: size.to_owned(),
                markdown: extension == "md",
                text: fs::read_to_string(&path)?,
            });
        }
    }
    all.sort_by_key(|text| (text.kind.clone(), text.text.len()));
    Ok(all)
}

/// Works on all texts, in order of their sizes; what was built is in `work`.
///
/// # Errors
/// When a worker does not start or answers with an error.
pub fn run(work: &Path, texts: &[Text]) -> Result<Vec<Row>> {
    let dirs: Vec<PathBuf> = workers::ALL.iter().map(|worker| work.join(worker.script)).collect();
    let mut workerd = Workerd::start(work, &dirs)?;
    let mut rows: Vec<Row> = Vec::new();
    for text in texts {
        report::line(&format!("    {} {}", text.kind, text.size));
        for (index, Measured { works, .. }) in workers::ALL.iter().enumerate() {
            for &(group, subject, path) in *works {
                let is_same =
                    |row: &&Row| (&*row.group, &*row.subject, &row.kind) == (group, subject, &text.kind);
                let before = rows.iter().rev().find(is_same);
                let growth = before.map_or(0.0, |row| row.times.median * ratio(&row.size, &text.size));
                if growth > TOO_LONG_MS {
                    continue;
                }
                let path = if text.markdown { format!("{path}?markdown&") } else { format!("{path}?") };
                let times = match measure(&workerd, index, &path, &text.text) {
                    Ok(times) => times,
                    Err(error) if subject != OURS => {
                        report::line(&format!("    no {subject} on {} {}: {error:#}", text.kind, text.size));
                        // What panicked is of no more use.
                        workerd = Workerd::start(work, &dirs)?;
                        continue;
                    }
                    Err(error) => return Err(error.context(format!("ours on {} {}", text.kind, text.size))),
                };
                rows.push(Row {
                    group: group.to_owned(),
                    subject: subject.to_owned(),
                    kind: text.kind.clone(),
                    size: text.size.clone(),
                    times,
                    allocations: None,
                });
            }
        }
    }
    rows.sort_by_key(|row| row.group != "chunk");
    Ok(rows)
}

fn ratio(small: &str, large: &str) -> f64 {
    super::table::bytes(large) / super::table::bytes(small)
}

fn measure(workerd: &Workerd, index: usize, path: &str, text: &str) -> Result<Times> {
    let begun = Instant::now();
    // The first works warm the engine up, as a worker that has served for a while is, and say how often is enough.
    let mut repeat = 1;
    loop {
        let took = workerd.sample(index, path, repeat, text)? * repeat as f64;
        if took < SAMPLE_MS {
            repeat *= 2;
        } else if begun.elapsed() >= WARM_UP {
            break;
        }
    }
    let mut samples = Vec::new();
    let begun = Instant::now();
    while samples.len() < SAMPLES && (samples.len() < 3 || begun.elapsed() < PATIENCE) {
        samples.push(workerd.sample(index, path, repeat, text)?);
    }
    Ok(Times::of(samples))
}

/// What the first count in `cl100k_base` takes in a fresh isolate, and the second; of each worker that can count so.
///
/// # Errors
/// As [`run`].
pub fn readiness(work: &Path) -> Result<Vec<(String, Times, Times)>> {
    let mut all = Vec::new();
    for worker in &workers::ALL {
        let Some((_, subject, path)) = worker.works.iter().find(|(group, ..)| *group == "cl100k_base") else {
            continue;
        };
        let workerd = Workerd::start(work, &vec![work.join(worker.script); SAMPLES])?;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for index in 0..SAMPLES {
            // The connection is made, and the way of a request through the worker is known.
            for _ in 0..3 {
                workerd.post(index, &format!("{path}?repeat=0"), "Hello, world!")?;
            }
            first.push(workerd.sample(index, &format!("{path}?"), 1, "Hello, world!")?);
            second.push(workerd.sample(index, &format!("{path}?"), 1, "Hello, world!")?);
        }
        all.push(((*subject).to_owned(), Times::of(first), Times::of(second)));
    }
    Ok(all)
}

/// From the start of workerd with one worker until it answers, for workers by their directories.
///
/// # Errors
/// As [`run`].
pub fn start_up(work: &Path, names: &[String]) -> Result<Vec<(String, Times)>> {
    let mut samples: Vec<(String, Vec<f64>)> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
    for _ in 0..SAMPLES {
        for (name, samples) in &mut samples {
            let workerd = Workerd::start(work, &[work.join(&*name)])?;
            samples.push(workerd.took.as_secs_f64() * 1e3);
        }
    }
    Ok(samples.into_iter().map(|(name, samples)| (name, Times::of(samples))).collect())
}
