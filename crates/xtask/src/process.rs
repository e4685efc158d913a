//! Child processes. Each runs in a process group of its own, and all of them are ended when a signal ends us.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::group;
use crate::report;

/// The groups that run now, and whether a signal has closed the house.
#[derive(Debug)]
struct Running {
    groups: Vec<u32>,
    closing: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { groups: Vec::new(), closing: false });

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on INT, TERM and HUP end every child group and then this process. A second signal does not wait.
///
/// # Errors
/// When the signals cannot be caught.
pub fn end_children_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    thread::spawn(move || {
        let mut ending = false;
        for signal in &mut signals {
            let groups = {
                let mut running = running();
                running.closing = true;
                running.groups.clone()
            };
            if ending {
                group::kill(&groups);
            } else {
                ending = true;
                report::line("\nstopping …");
                thread::spawn(move || {
                    group::end(&groups);
                    report::line("stopped");
                    std::process::exit(128 + signal);
                });
            }
        }
    });
    Ok(())
}

/// Starts a command as the leader of a new group that a signal to us ends.
pub(crate) fn spawn_group(command: &mut Command) -> io::Result<Child> {
    let mut running = running();
    if running.closing {
        drop(running);
        wait_for_the_end();
    }
    let child = command.process_group(0).spawn()?;
    running.groups.push(child.id());
    Ok(child)
}

/// The group is no longer ours to end.
pub(crate) fn forget_group(group: u32) {
    running().groups.retain(|other| *other != group);
}

/// After a signal the thread that handles it ends the process; the others only wait for that, so that nothing
/// they would do or say about their ended children is in the way.
fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

/// A command with what to say when it fails.
#[derive(Debug)]
pub struct Run {
    command: Command,
    shown: String,
    advice: String,
}

impl Run {
    /// A program, looked for on PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, shown, advice: String::new() }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown += &quoted(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs<V: AsRef<OsStr>>(mut self, vars: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        self.command.envs(vars);
        self
    }

    /// Runs it in this directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What the user can do when it fails.
    pub fn advice(mut self, advice: &str) -> Self {
        advice.clone_into(&mut self.advice);
        self
    }

    /// Runs it to its end, its output being ours.
    ///
    /// # Errors
    /// When it cannot be started or does not succeed; the message names the command and the advice.
    pub fn run(mut self) -> Result<()> {
        report::line(&format!("    $ {}", self.shown));
        // What a child prints is progress: standard output is kept for results.
        self.command.stdout(io::stderr());
        let mut child = self.start()?;
        let status = child.wait();
        settle(child.id());
        self.judge(status?)
    }

    /// Runs it to its end with its standard output on ours: for what reports its own results.
    ///
    /// # Errors
    /// As [`Run::run`].
    pub fn run_aloud(mut self) -> Result<()> {
        report::line(&format!("    $ {}", self.shown));
        let mut child = self.start()?;
        let status = child.wait();
        settle(child.id());
        self.judge(status?)
    }

    /// Runs it to its end; all that it prints goes into this file.
    ///
    /// # Errors
    /// As [`Run::run`], and when the file cannot be written.
    pub fn run_into(mut self, log: &Path) -> Result<()> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        self.command.stdout(file.try_clone()?).stderr(file);
        let mut child = self.start()?;
        let status = child.wait();
        settle(child.id());
        self.judge(status?)
    }

    /// Runs it to its end and returns what it printed on standard output.
    ///
    /// # Errors
    /// As [`Run::run`].
    pub fn output(mut self) -> Result<Vec<u8>> {
        self.command.stdout(Stdio::piped());
        let child = self.start()?;
        let group = child.id();
        let output = child.wait_with_output();
        settle(group);
        let Output { status, stdout, .. } = output?;
        self.judge(status)?;
        Ok(stdout)
    }

    /// Runs it to its end; what it prints is shown only when it fails.
    ///
    /// # Errors
    /// As [`Run::run`].
    pub fn run_quietly(mut self) -> Result<()> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.start()?;
        let group = child.id();
        let output = child.wait_with_output();
        settle(group);
        let Output { status, stdout, stderr } = output?;
        if !status.success() {
            report::line(&String::from_utf8_lossy(&stdout));
            report::line(&String::from_utf8_lossy(&stderr));
        }
        self.judge(status)
    }

    /// Whether it can be started and succeeds; what it prints is thrown away.
    pub fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = self.start() else { return false };
        let status = child.wait();
        settle(child.id());
        status.is_ok_and(|status| status.success())
    }

    fn start(&mut self) -> Result<Child> {
        spawn_group(&mut self.command)
            .with_context(|| format!("`{}` cannot be started{}", self.shown, self.advice_line()))
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{}` failed ({status}){}", self.shown, self.advice_line());
        }
        Ok(())
    }

    fn advice_line(&self) -> String {
        if self.advice.is_empty() { String::new() } else { format!("\n  what to do: {}", self.advice) }
    }
}

/// A child has ended: its group is not ours any more, unless a signal is ending us.
fn settle(group: u32) {
    if running().closing {
        wait_for_the_end();
    }
    forget_group(group);
}

/// An argument as it would be typed.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%^".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else if arg.contains('\n') {
        "'…'".to_owned()
    } else {
        format!("'{}'", arg.replace('\'', "'\\''"))
    }
}

/// PATH with directories put first.
///
/// # Errors
/// When a directory's name cannot stand in PATH.
pub fn path_with(first: &[PathBuf]) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.iter().cloned().chain(std::env::split_paths(&old)))
        .context("a directory with a colon in its name cannot be put on PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_the_advice() {
        let error = Run::new("sh").args(["-c", "exit 3"]).advice("install it").run().unwrap_err().to_string();
        assert!(error.contains("`sh -c 'exit 3'` failed"), "{error}");
        assert!(error.contains("what to do: install it"), "{error}");
        let error = format!("{:#}", Run::new("no-such-program-here").advice("get it").run().unwrap_err());
        assert!(error.contains("cannot be started") && error.contains("get it"), "{error}");
    }

    #[test]
    fn output_is_returned() {
        assert_eq!(Run::new("echo").arg("a b").output().unwrap(), b"a b\n");
        assert!(!Run::new("false").succeeds());
    }

    #[test]
    fn arguments_are_shown_as_typed() {
        assert_eq!(quoted("--a=b"), "--a=b");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
