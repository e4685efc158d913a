//! A long-lived child (the twin, wrangler) that writes to a log file and never outlives its parent.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use crate::group;
use crate::process::{forget_group, spawn_group};

/// Leads the group. When its standard input ends (the parent is gone, even by KILL) or the program ends, the
/// whole group is ended. TERM reaches the program, not the guard.
const GUARD: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
trap '' TERM INT HUP
{ cat <&3 >/dev/null; kill -TERM 0; sleep 5; kill -KILL 0; } &
exec 3<&-
wait "$program"
echo "[ended with status $?]"
kill -KILL 0
"#;

/// One long-lived child and its group.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    log: PathBuf,
    group: u32,
    started: u64,
    guard: Child,
    lifeline: Option<ChildStdin>,
}

impl Service {
    /// Starts the program, its output going to a new file at `log` (the one before it is kept beside it).
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(
        name: &'static str,
        program: &Path,
        log: &Path,
        set: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        if log.exists() {
            fs::rename(log, log.with_extension("log.1")).context("cannot keep the log before this one")?;
        }
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]).arg(program);
        set(&mut command);
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut guard = spawn_group(&mut command).with_context(|| format!("cannot start {name}"))?;
        let group = guard.id();
        Ok(Self {
            name,
            log: log.to_path_buf(),
            group,
            started: group::started(group).unwrap_or_default(),
            lifeline: guard.stdin.take(),
            guard,
        })
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The number of its process group, and when its leader started.
    pub fn group(&self) -> (u32, u64) {
        (self.group, self.started)
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// After its group has been ended.
    pub fn reap(&mut self) {
        self.lifeline = None;
        let _ = self.guard.wait();
        forget_group(self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ragflare-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join("a.log")
    }

    fn ends(group: u32, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while group::alive(group) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        !group::alive(group)
    }

    #[test]
    fn ends_with_its_parent() {
        let log = scratch("parent");
        let mut service = Service::start("sleeper", Path::new("sh"), &log, |command| {
            command.args(["-c", "echo up; sleep 100 & sleep 100"]);
        })
        .unwrap();
        while service.tail(1) != "up" {
            thread::sleep(Duration::from_millis(5));
        }
        let (group, _) = service.group();
        assert!(service.alive() && group::alive(group));
        drop(service.lifeline.take());
        assert!(ends(group, Duration::from_secs(8)));
        service.reap();
    }

    #[test]
    fn says_how_its_program_ended_and_takes_the_rest_with_it() {
        let log = scratch("end");
        let mut service = Service::start("short", Path::new("sh"), &log, |command| {
            command.args(["-c", "sleep 100 & exit 7"]);
        })
        .unwrap();
        let (group, _) = service.group();
        assert!(ends(group, Duration::from_secs(8)));
        assert_eq!(service.tail(1), "[ended with status 7]");
        assert!(!service.alive());
        service.reap();
    }
}
