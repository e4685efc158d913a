//! How long something took.

use std::time::{Duration, Instant};

/// Time this thread has run for, where the system tells (Linux): other programs do not count.
pub(crate) struct Clock(Instant, Option<Duration>);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), Self::running())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        match (self.1, Self::running()) {
            (Some(start), Some(now)) => now.saturating_sub(start),
            _ => self.0.elapsed(),
        }
    }

    fn running() -> Option<Duration> {
        // proc(5): nanoseconds on a CPU, waiting for one, number of time slices.
        let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(Duration::from_nanos(schedule.split(' ').next()?.parse().ok()?))
    }
}
