//! Retries: when to try a failed call again, and how long to wait before it.
//!
//! The choice is pure ([`Backoff`]); the loop that waits lives in [`run`], which only works inside a worker.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use serde::Serialize;
use worker::Delay;

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// The same call fails again: bad input, no access, no such model.
    Never,
    /// Out of capacity or a passing fault: try again after a growing pause.
    Backoff,
    /// The day's free allocation is used up. It returns at 00:00 UTC; nothing before then helps.
    AfterMidnightUtc,
    /// One more try is worth it, preferably smaller. (Seen: a timeout after two to four minutes.)
    Once,
}

/// How often and for how long a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included. 0 counts as 1.
    pub attempts: u32,
    /// Upper bound of the pause after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The pause never exceeds this.
    pub cap: Duration,
    /// Time for everything: tries and pauses. A try that is still running then is aborted.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    /// 4 tries, pauses below 0.5, 1 and 2 s, two minutes in all.
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            deadline: Duration::from_mins(2),
        }
    }
}

impl RetryPolicy {
    /// One try, under the same deadline.
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::default() }
    }
}

/// The state of one call's retries. Pure: time and chance come in as arguments.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    once_spent: bool,
}

impl Backoff {
    /// Before the first try.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, once_spent: false }
    }

    /// After a failure of this class: how long to wait before the next try, or `None` to give up.
    ///
    /// `elapsed` is the time since the first try began, `unit` a random number in `0.0..1.0`. The pause is
    /// "full jitter": uniform between zero and `min(cap, base · 2ⁿ)`, so that workers which failed together do
    /// not come back together. A pause that would pass the deadline gives up at once.
    pub fn next(&mut self, class: RetryClass, elapsed: Duration, unit: f64) -> Option<Duration> {
        let again = match class {
            RetryClass::Never | RetryClass::AfterMidnightUtc => false,
            RetryClass::Backoff => true,
            RetryClass::Once => !std::mem::replace(&mut self.once_spent, true),
        };
        self.failures += 1;
        if !again || self.failures >= self.policy.attempts {
            return None;
        }
        let doublings = (self.failures - 1).min(31);
        let ceiling = self.policy.base.saturating_mul(1 << doublings).min(self.policy.cap);
        let pause = ceiling.mul_f64(unit.clamp(0.0, 1.0));
        (elapsed.saturating_add(pause) < self.policy.deadline).then_some(pause)
    }
}

/// An error that [`run`] can handle.
pub(crate) trait Retryable {
    /// What to do about it.
    fn retry_class(&self) -> RetryClass;
    /// The error for a deadline that passed before any other error was seen.
    fn timed_out(after: Duration) -> Self;
}

/// Tries until success, a final error, or the deadline. A try that outlives the deadline is dropped, and the
/// result is then the last error seen before it, or else `timed_out`.
pub(crate) async fn run<T, E: Retryable>(
    policy: RetryPolicy,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    let started = js_sys::Date::now();
    let elapsed = || Duration::from_secs_f64(((js_sys::Date::now() - started) / 1000.0).max(0.0));
    let mut backoff = Backoff::new(policy);
    let mut last: Option<E> = None;
    loop {
        // `setTimeout` takes a signed 32-bit number of milliseconds and fires at once for more.
        let left = policy.deadline.saturating_sub(elapsed()).min(Duration::from_millis(i32::MAX as u64));
        let outcome = match select(pin!(attempt()), pin!(Delay::from(left))).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return Err(last.unwrap_or_else(|| E::timed_out(policy.deadline))),
        };
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match backoff.next(error.retry_class(), elapsed(), js_sys::Math::random()) {
            None => return Err(error),
            Some(pause) => {
                last = Some(error);
                Delay::from(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        base: Duration::from_millis(100),
        cap: Duration::from_millis(250),
        deadline: Duration::from_secs(10),
    };

    #[test]
    fn the_pause_doubles_up_to_the_cap_and_the_tries_run_out() {
        let mut backoff = Backoff::new(POLICY);
        let mut next = || backoff.next(RetryClass::Backoff, Duration::ZERO, 1.0);
        assert_eq!(next(), Some(Duration::from_millis(100)));
        assert_eq!(next(), Some(Duration::from_millis(200)));
        assert_eq!(next(), Some(Duration::from_millis(250)));
        assert_eq!(next(), None);
    }

    #[test]
    fn jitter_spans_from_zero_to_the_ceiling() {
        for (unit, expected) in [(0.0, 0), (0.25, 25), (1.0, 100)] {
            let pause = Backoff::new(POLICY).next(RetryClass::Backoff, Duration::ZERO, unit);
            assert_eq!(pause, Some(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn final_classes_are_never_tried_again() {
        for class in [RetryClass::Never, RetryClass::AfterMidnightUtc] {
            assert_eq!(Backoff::new(POLICY).next(class, Duration::ZERO, 0.5), None);
        }
    }

    #[test]
    fn once_is_once_also_between_other_failures() {
        let mut backoff = Backoff::new(POLICY);
        assert!(backoff.next(RetryClass::Backoff, Duration::ZERO, 0.5).is_some());
        assert!(backoff.next(RetryClass::Once, Duration::ZERO, 0.5).is_some());
        assert_eq!(backoff.next(RetryClass::Once, Duration::ZERO, 0.5), None);
    }

    #[test]
    fn a_pause_past_the_deadline_gives_up_at_once() {
        let mut backoff = Backoff::new(POLICY);
        assert_eq!(backoff.next(RetryClass::Backoff, Duration::from_millis(9_950), 1.0), None);
        let mut backoff = Backoff::new(POLICY);
        assert!(backoff.next(RetryClass::Backoff, Duration::from_millis(9_850), 1.0).is_some());
    }

    #[test]
    fn a_policy_of_one_try_never_retries() {
        for attempts in [0, 1] {
            let mut backoff = Backoff::new(RetryPolicy { attempts, ..POLICY });
            assert_eq!(backoff.next(RetryClass::Backoff, Duration::ZERO, 0.0), None);
        }
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(RetryPolicy { attempts: u32::MAX, ..POLICY });
        for _ in 0..100 {
            assert!(backoff.next(RetryClass::Backoff, Duration::ZERO, 1.0).is_some());
        }
    }
}
