//! Converts every file below a folder, each in a process of its own, and compares what is refused with a list of what should be:
//! `cargo run --release -p ragflare-convert --example upload_files -- FOLDER LIST`.
//!
//! LIST has a path, a code and a reason a line, separated by tabs (`tests/expected/refused.tsv`). Printed are, for each format,
//! how many were accepted, refused as listed, refused otherwise, accepted although listed, and crashed; with bytes, seconds, and
//! the most memory that a file took. Exits with 1 unless all went as listed.

use ragflare_convert::{Limits, convert, detect};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Default)]
struct Row {
    files: usize,
    bytes: usize,
    milliseconds: f64,
    peak: u64,
    accepted: usize,
    as_listed: usize,
    otherwise: usize,
    wrongly_accepted: usize,
    crashed: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..) {
        Some([flag, path]) if flag == "--one" => one(path),
        Some([folder, list]) => all(Path::new(folder), list),
        _ => {
            eprintln!("usage: upload_files FOLDER LIST");
            ExitCode::from(2)
        }
    }
}

/// Converts a file; prints what came of it, milliseconds, and KiB of memory, separated by tabs.
fn one(path: &str) -> ExitCode {
    let bytes = std::fs::read(path).expect("a readable file");
    let before = peak_memory();
    let started = std::time::Instant::now();
    let result = detect("", path, &bytes).and_then(|kind| convert(bytes, kind, None, &Limits::default()));
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let said = match &result {
        Ok(converted) => format!("ok\t{} bytes of text", converted.text.len()),
        Err(refusal) => format!("{}\t{refusal}", refusal.code()),
    };
    println!("{said}\t{milliseconds}\t{}", peak_memory().saturating_sub(before));
    ExitCode::SUCCESS
}

/// The most memory that this process has had, in KiB, where the system says so.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn all(folder: &Path, list: &str) -> ExitCode {
    let list = std::fs::read_to_string(list).expect("a readable list");
    let listed: HashMap<&str, &str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some((line.split('\t').next()?, line.split('\t').nth(1)?)))
        .collect();
    let mut files = Vec::new();
    walk(folder, &mut files);
    files.sort();
    let program = std::env::current_exe().expect("a path");
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for file in &files {
        let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned();
        let format =
            file.extension().map_or_else(|| "(none)".into(), |it| it.to_string_lossy().to_lowercase());
        let row = rows.entry(format).or_default();
        row.files += 1;
        row.bytes += file.metadata().map_or(0, |it| usize::try_from(it.len()).unwrap_or(0));
        let output = Command::new(&program).arg("--one").arg(file).output().expect("this program");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said: Vec<&str> = said.trim_end().split('\t').collect();
        let (code, [sentence, milliseconds, memory]) = match said.as_slice() {
            [code, rest @ ..] if output.status.success() && rest.len() == 3 => {
                (*code, [rest[0], rest[1], rest[2]])
            }
            _ => {
                row.crashed += 1;
                println!(
                    "crashed: {name}: {}",
                    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default()
                );
                continue;
            }
        };
        row.milliseconds += milliseconds.parse().unwrap_or(0.0);
        row.peak = row.peak.max(memory.parse().unwrap_or(0));
        match (code, listed.get(name.as_str())) {
            ("ok", None) => row.accepted += 1,
            ("ok", Some(wanted)) => {
                row.wrongly_accepted += 1;
                println!("accepted, but listed as {wanted}: {name}: {sentence}");
            }
            (code, Some(wanted)) if code == *wanted => row.as_listed += 1,
            (code, wanted) => {
                row.otherwise += 1;
                println!(
                    "refused as {code} instead of {}: {name}: {sentence}",
                    wanted.unwrap_or(&"being read")
                );
            }
        }
    }
    println!(
        "format    files accepted as_listed otherwise wrongly_accepted crashed      bytes   seconds  MB/s peak_MiB"
    );
    let (mut wrong, mut count) = (0, 0);
    for (format, row) in &rows {
        let seconds = row.milliseconds / 1000.0;
        println!(
            "{format:<9} {:>5} {:>8} {:>9} {:>9} {:>16} {:>7} {:>10} {seconds:>9.3} {:>5.1} {:>8.1}",
            row.files,
            row.accepted,
            row.as_listed,
            row.otherwise,
            row.wrongly_accepted,
            row.crashed,
            row.bytes,
            row.bytes as f64 / 1e6 / seconds.max(1e-9),
            row.peak as f64 / 1024.0
        );
        wrong += row.otherwise + row.wrongly_accepted + row.crashed;
        count += row.files;
    }
    println!("{count} files, {wrong} not as listed");
    ExitCode::from(u8::from(wrong > 0))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}
