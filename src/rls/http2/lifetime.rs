//! How long a connection is kept: whose client does nothing or does not go on, or which has become old.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;
use super::seldom::Seldom;
use super::state::ConnectionState;
use crate::model::any_part;

/// How long a client may take to send the preface of HTTP/2.
pub(super) const PREFACE_WITHIN: Duration = Duration::from_secs(10);
/// How often the server checks whether a client makes progress.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(50);
/// How long a connection is kept after its last call.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a connection is kept that never made a call.
pub(super) const NEVER_CALLED: Duration = Duration::from_secs(60);
/// How long a client may take to close the connection after GOAWAY.
pub(super) const GOES_WITHIN: Duration = Duration::from_secs(10);

/// What «never» may be written as, in place of a time that clocks cannot count to.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why the server ends a connection whose client does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The client has not sent the preface in time.
    NoPreface,
    /// The client does not read its answers, or does not finish its requests.
    Stalled,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPreface => "it has not begun to speak HTTP/2",
            Self::Stalled => "its client does not read the answers",
        })
    }
}

impl std::error::Error for Overdue {}

/// What has to happen to a connection now.
pub(super) enum Due {
    /// Nothing. The task is woken for the next check.
    Nothing,
    /// The client is idle, or the connection is old: it is asked to close the connection.
    GoAway,
    /// The connection ends, in order or because the client is overdue.
    End(Result<(), Overdue>),
}

/// How old a connection may become, so that clients find servers that came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// When the client is asked to open another one, give or take a tenth: connections that began together do not end together.
    pub age: Duration,
    /// How long after that calls may take that were made before.
    pub grace: Duration,
}

impl MaxAge {
    /// The least age. A connection is looked at for the first time when its client may have sent the preface.
    pub const LEAST: Duration = PREFACE_WITHIN;

    /// When a connection that begins `now` is asked to end, and when it does.
    fn from(self, now: Instant) -> (Instant, Instant) {
        let age = self.age.min(FOR_EVER).mul_f64(0.9 + any_part() / 5.0);
        (now + age, now + age + self.grace.min(FOR_EVER))
    }
}

/// Checks one connection from time to time.
pub(super) struct Lifetime {
    state: Rc<ConnectionState>,
    activity: Arc<Activity>,
    timer: Seldom<Sleep>,
    /// The client's progress at the last check.
    before: (u64, u64, u64),
    idle_since: Instant,
    asked_to_go: bool,
    /// When it is asked to end for its age, and when it does.
    ends: Option<(Instant, Instant)>,
    is_old: bool,
}

impl Lifetime {
    /// For a connection that was accepted just now.
    pub(super) fn new(
        state: &Rc<ConnectionState>,
        activity: &Arc<Activity>,
        max_age: Option<MaxAge>,
    ) -> Self {
        let mut lifetime = Self {
            state: Rc::clone(state),
            activity: Arc::clone(activity),
            timer: Seldom::new(sleep(PREFACE_WITHIN)),
            before: (0, 0, 0),
            idle_since: Instant::now(),
            asked_to_go: false,
            ends: max_age.map(|max_age| max_age.from(Instant::now())),
            is_old: false,
        };
        lifetime.before = lifetime.progress();
        lifetime
    }

    /// What has to happen now. The caller polls again until it is [`Due::Nothing`], and says whether calls wait for
    /// something.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, calls_wait: bool) -> Due {
        while self.timer.poll_unpin(context).is_ready() {
            let due = self.check(Instant::now(), calls_wait);
            if !matches!(due, Due::Nothing) {
                return due;
            }
        }
        Due::Nothing
    }

    fn check(&mut self, now: Instant, calls_wait: bool) -> Due {
        if !self.state.began.get() {
            return Due::End(Err(Overdue::NoPreface));
        }
        let progress = self.progress();
        let before = std::mem::replace(&mut self.before, progress);
        let goes_on = progress != before;
        if !goes_on && self.state.waits_for_its_client() {
            return Due::End(Err(Overdue::Stalled));
        }
        let mut due = Due::Nothing;
        // What is refused because it is no gRPC call keeps no connection open.
        let (.., calls) = progress;
        if calls != before.2 || calls_wait {
            self.idle_since = now;
        } else if now.duration_since(self.idle_since) >= self.kept_idle() {
            // The client was asked before, and need not agree.
            if std::mem::replace(&mut self.asked_to_go, true) {
                return Due::End(Ok(()));
            }
            due = Due::GoAway;
        }
        let mut next = now + if self.asked_to_go { GOES_WITHIN } else { LOOK_EVERY };
        if let Some((asked_at, ends_at)) = self.ends {
            if now >= ends_at {
                return Due::End(Ok(()));
            }
            if now >= asked_at && !std::mem::replace(&mut self.is_old, true) {
                due = Due::GoAway;
            }
            next = next.min(if self.is_old { ends_at } else { asked_at });
        }
        self.timer.get_mut().reset(next);
        self.timer.poll_again();
        due
    }

    /// Values that change whenever the client does something.
    fn progress(&self) -> (u64, u64, u64) {
        let (begun, done) = self.state.progress();
        (begun, done, self.activity.calls())
    }

    fn kept_idle(&self) -> Duration {
        if self.activity.last_call().is_some() { IDLE } else { NEVER_CALLED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_become_older_than_clocks_can_count() {
        let max_age = MaxAge { age: Duration::MAX, grace: Duration::MAX };
        let (asked_at, ends_at) = max_age.from(Instant::now());
        assert!(ends_at > asked_at);
    }

    #[test]
    fn connections_that_began_together_are_asked_to_go_at_different_times() {
        let max_age = MaxAge { age: Duration::from_secs(1000), grace: Duration::from_secs(30) };
        let now = Instant::now();
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let (asked_at, ends_at) = max_age.from(now);
                assert_eq!(ends_at - asked_at, max_age.grace);
                (asked_at - now).as_secs()
            })
            .collect();
        assert!(asked.iter().all(|seconds| (900..=1100).contains(seconds)), "{asked:?}");
        assert!(asked.iter().any(|seconds| *seconds != asked[0]), "{asked:?}");
    }
}
