//! Process groups: who is in one, and ending all of it. Reads `/proc`, so it is for Linux.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a group may take to end by itself after TERM.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What `/proc/PID/stat` says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: u32,
    state: char,
    group: u32,
    started: u64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the command in parentheses, which may itself hold spaces and parentheses.
    let pid = text.split(' ').next()?.parse().ok()?;
    let mut rest = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = rest.next()?.chars().next()?;
    let group = rest.nth(1)?.parse().ok()?;
    let started = rest.nth(16)?.parse().ok()?;
    Some(Stat { pid, state, group, started })
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When the process started, in clock ticks since boot: with the pid it names a process for good.
pub fn started(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.started)
}

/// The running processes of a group (a zombie no longer runs).
fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|stat| stat.group == group && !matches!(stat.state, 'Z' | 'X'))
        .map(|stat| stat.pid)
        .collect()
}

/// Whether anything of the group still runs.
pub fn alive(group: u32) -> bool {
    !members(group).is_empty()
}

/// Whether the group is the one whose leader started then, and not a later one with the same number.
pub fn is_same(group: u32, leader_started: u64) -> bool {
    // A number is not given again while a group of that number has members, so a group without its leader is the old one.
    started(group).is_none_or(|now| now == leader_started) && alive(group)
}

fn signal(group: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // The only failure is that the group is gone.
        let _ = kill_process_group(pid, signal);
    }
}

/// Ends the groups: TERM, then KILL for what is left after [`PATIENCE`]. Returns once none of them runs.
pub fn end(groups: &[u32]) {
    let mut left: Vec<u32> = groups.iter().copied().filter(|group| alive(*group)).collect();
    for group in &left {
        signal(*group, Signal::TERM);
    }
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(25));
        left.retain(|group| alive(*group));
    }
    kill(&left);
}

/// Ends the groups with KILL at once. Returns once none of them runs.
pub fn kill(groups: &[u32]) {
    for group in groups {
        signal(*group, Signal::KILL);
    }
    let deadline = Instant::now() + PATIENCE;
    while groups.iter().any(|group| alive(*group)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn reads_a_stat_line_with_parentheses_in_the_command() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let mut fields = fields;
        fields[0] = "S".into();
        let text = format!("42 (a b) c) {}", fields.join(" "));
        assert_eq!(parse_stat(&text), Some(Stat { pid: 42, state: 'S', group: 5, started: 22 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn ends_a_group_that_ignores_term_with_its_grandchildren() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; sleep 100 & sleep 100"])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = child.id();
        let since = started(group).unwrap();
        while members(group).len() < 3 {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(is_same(group, since));
        assert!(!is_same(group, since + 1));
        kill(&[group]);
        assert!(!alive(group));
        child.wait().unwrap();
    }
}
