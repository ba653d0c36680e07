//! A circuit breaker: while a store fails, nobody waits for it but one request now and then, which finds out whether it answers
//! again.
//!
//! Time is an argument: how long it is since an instant that stays the same.

use std::time::Duration;

/// It opens after so many failures in a row; those of requests that waited at the same time are one, for a moment's hitch is none of the
/// store's,
const IN_A_ROW: u32 = 5;
/// or when half of so many answers were failures.
const ANSWERS: u32 = 32;
/// How long it stays open at first. A probe that fails doubles it,
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether a store is asked.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// How often the state changed. What was asked in another state is not counted in this one.
    era: u64,
    pause: Duration,
    /// When a failure was counted last.
    last_failure: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everybody asks.
    Closed { in_a_row: u32, answers: u32, failures: u32 },
    /// Nobody asks until then; then one request does.
    Open { until: Duration },
    /// One request asks. When it has not said by then what came of it, it was given up, and another one asks.
    HalfOpen { until: Duration },
}

const CLOSED: State = State::Closed { in_a_row: 0, answers: 0, failures: 0 };

/// May ask the store once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    era: u64,
    asked: Duration,
}

/// What came of asking meant for those who come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody asks for a while.
    Opened,
    /// Everybody asks again.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: CLOSED, era: 0, pause: FIRST_PAUSE, last_failure: Duration::ZERO }
    }
}

impl Breaker {
    /// Whether a request may ask the store at `now`.
    pub fn ask(&mut self, now: Duration) -> Option<Permit> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } | State::HalfOpen { until } if now < until => return None,
            State::Open { .. } | State::HalfOpen { .. } => {
                self.enter(State::HalfOpen { until: now.saturating_add(self.pause) });
            }
        }
        Some(Permit { era: self.era, asked: now })
    }

    /// Tells that the store answered at once.
    pub fn answers(&mut self) {
        if let State::Closed { in_a_row, .. } = &mut self.state {
            *in_a_row = 0;
        }
    }

    /// Tells whether the store answered a request that asked by `permit`.
    pub fn record(&mut self, permit: Permit, answered: bool, now: Duration) -> Option<Change> {
        if permit.era != self.era {
            return None;
        }
        match &mut self.state {
            State::Closed { .. } if !answered && permit.asked < self.last_failure => None,
            State::Closed { in_a_row, answers, failures } => {
                if *answers == ANSWERS {
                    (*answers, *failures) = (0, 0);
                }
                *answers += 1;
                if answered {
                    *in_a_row = 0;
                    return None;
                }
                self.last_failure = now;
                *in_a_row += 1;
                *failures += 1;
                if *in_a_row < IN_A_ROW && *failures < ANSWERS / 2 {
                    return None;
                }
                self.pause = FIRST_PAUSE;
                self.open(now);
                Some(Change::Opened)
            }
            // Nobody has a permit of this era.
            State::Open { .. } => None,
            State::HalfOpen { .. } if answered => {
                self.enter(CLOSED);
                Some(Change::Closed)
            }
            State::HalfOpen { .. } => {
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
                self.open(now);
                None
            }
        }
    }

    fn open(&mut self, now: Duration) {
        self.enter(State::Open { until: now.saturating_add(self.pause) });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Asks and fails until it opens; tells how often.
    fn fail(breaker: &mut Breaker, now: Duration) -> u32 {
        for times in 1.. {
            let permit = breaker.ask(now).expect("it is closed");
            if breaker.record(permit, false, now) == Some(Change::Opened) {
                return times;
            }
        }
        unreachable!()
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_a_probe_closes_it() {
        let mut breaker = Breaker::default();
        assert_eq!(fail(&mut breaker, ms(0)), IN_A_ROW);
        assert_eq!(breaker.ask(ms(99)), None, "nobody waits while it is open");
        let probe = breaker.ask(ms(100)).expect("a probe");
        assert_eq!(breaker.ask(ms(100)), None, "one probe at a time");
        assert_eq!(breaker.record(probe, true, ms(101)), Some(Change::Closed));
        assert!(breaker.ask(ms(101)).is_some());
    }

    #[test]
    fn requests_that_fail_at_the_same_time_are_one_failure() {
        let mut breaker = Breaker::default();
        let mut opened = Vec::new();
        for round in 0..10 {
            let (asked, failed) = (ms(20 * round), ms(20 * round + 10));
            let permits: Vec<_> = (0..100).map_while(|_| breaker.ask(asked)).collect();
            for permit in permits {
                opened.extend(breaker.record(permit, false, failed).map(|change| (round, change)));
            }
        }
        assert_eq!(opened, [(4, Change::Opened)]);
    }

    #[test]
    fn it_opens_when_half_of_the_answers_are_failures() {
        let mut breaker = Breaker::default();
        let mut changes = Vec::new();
        for answered in [true, false].into_iter().cycle().take(ANSWERS as usize) {
            let permit = breaker.ask(ms(0)).expect("it is closed");
            changes.extend(breaker.record(permit, answered, ms(0)));
        }
        assert_eq!(changes, [Change::Opened]);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, ms(0));
        let mut now = ms(0);
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(breaker.ask(now + ms(pause - 1)), None);
            now += ms(pause);
            let probe = breaker.ask(now).expect("a probe");
            assert_eq!(breaker.record(probe, false, now), None);
        }
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_another() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, ms(0));
        let given_up = breaker.ask(ms(100)).expect("a probe");
        assert_eq!(breaker.ask(ms(199)), None);
        let probe = breaker.ask(ms(200)).expect("another probe");
        assert_eq!(breaker.record(given_up, true, ms(201)), None, "too late");
        assert_eq!(breaker.record(probe, true, ms(202)), Some(Change::Closed));
    }

    #[test]
    fn what_was_asked_before_it_opened_does_not_count_afterwards() {
        let mut breaker = Breaker::default();
        let early = breaker.ask(ms(0)).expect("it is closed");
        fail(&mut breaker, ms(0));
        assert_eq!(breaker.record(early, true, ms(50)), None);
        assert_eq!(breaker.ask(ms(50)), None);
    }

    proptest! {
        /// Requests ask, and some say later what came of it.
        #[test]
        fn it_never_stays_shut_and_never_lets_many_in_while_open(
            steps in prop::collection::vec((0u64..300, prop::option::of((any::<bool>(), 0usize..8))), 0..400),
        ) {
            let mut breaker = Breaker::default();
            let mut now = Duration::ZERO;
            let mut permits: Vec<Permit> = Vec::new();
            let mut is_open = false;
            let mut last_probe: Option<Duration> = None;
            for (later, step) in steps {
                now += ms(later);
                match step {
                    None => match breaker.ask(now) {
                        Some(permit) => {
                            if is_open {
                                let since = last_probe.map(|last| now.saturating_sub(last));
                                prop_assert!(since.is_none_or(|since| since >= FIRST_PAUSE), "{since:?}");
                                last_probe = Some(now);
                            }
                            permits.push(permit);
                        }
                        None => prop_assert!(is_open, "a closed one lets everybody ask"),
                    },
                    Some((answered, which)) if which < permits.len() => {
                        match breaker.record(permits.swap_remove(which), answered, now) {
                            Some(Change::Opened) => {
                                prop_assert!(!is_open && !answered);
                                (is_open, last_probe) = (true, Some(now));
                            }
                            Some(Change::Closed) => {
                                prop_assert!(is_open && answered);
                                is_open = false;
                            }
                            None => {}
                        }
                    }
                    Some(_) => {}
                }
            }
            // The store is well again.
            now += LONGEST_PAUSE;
            let probe = breaker.ask(now);
            prop_assert!(probe.is_some());
            breaker.record(probe.unwrap(), true, now);
            prop_assert!(breaker.ask(now).is_some() && breaker.ask(now).is_some());
        }
    }
}
