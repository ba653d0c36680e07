//! Ends the connections of clients that keep the server busy with frames that ask for nothing.
//!
//! Each such frame is cheap to send and costs an answer or some book-keeping here: calls that are taken back as soon as
//! they are begun (CVE-2023-44487, «rapid reset»), PING and SETTINGS, which must be acknowledged, and frames that only
//! say that there are more to come. What an honest client sends of them goes with its calls, so they are weighed against
//! those: a count alone would end the connections of an Envoy whose calls time out, when they are needed most.
//!
//! When all of them time out, all are taken back, but each has waited while others were begun. Where it stands among those
//! is the same however late it is read, so that is what tells the two apart, and no clock.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::authority::{FrameHead, HEADERS};

/// How long frames are counted before the count starts over.
const WINDOW: Duration = Duration::from_secs(1);
/// So many frames of a kind in a window are nobody's concern.
const FREE: u32 = 1_000;
/// A call is taken back as soon as it is begun when no more than so many were begun after it. At a thousand calls a
/// second, that many come within 16 ms; Envoy waits for 20 by default.
const NEWEST: u32 = 16;
/// More control frames for each call than this are too many. An honest client sends two or three.
const CONTROL_PER_CALL: u32 = 10;

/// Types and flags of frames (RFC 9113 §6).
const DATA: u8 = 0x0;
const RST_STREAM: u8 = 0x3;
const END_STREAM: u8 = 0x1;

/// Counts the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the count began.
    since: Option<Instant>,
    /// The stream of the call that was begun last.
    newest: u32,
    calls: u32,
    /// Those that were taken back as soon as they were begun.
    cancelled_at_once: u32,
    /// Those that were taken back later.
    cancelled_later: u32,
    control: u32,
}

/// What a client does that is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// It takes back more than nine in ten of its calls as soon as they are begun.
    RapidReset,
    /// It sends many more frames that are no part of a call than calls.
    Control,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RapidReset => "the client cancels its calls as soon as it makes them (rapid reset)",
            Self::Control => "the client floods with control frames",
        })
    }
}

impl std::error::Error for Flood {}

impl Meter {
    /// Frames were read at `now`, and are about to be counted.
    pub(super) fn read(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *self = Self { since: Some(now), newest: self.newest, ..Self::default() };
        }
    }

    /// Counts a frame.
    pub(super) fn see(&mut self, frame: FrameHead) {
        match frame.kind {
            HEADERS => {
                self.calls += 1;
                self.newest = frame.stream;
            }
            DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => {}
            // A client's streams have every other number.
            RST_STREAM if self.newest.saturating_sub(frame.stream) <= 2 * NEWEST => {
                self.cancelled_at_once += 1;
            }
            // No call is given up twice, but those of the second before may be.
            RST_STREAM if self.cancelled_later < self.calls.max(FREE) => self.cancelled_later += 1,
            _ => self.control += 1,
        }
    }

    /// Fails once the frames that were counted are too many.
    pub(super) fn judge(&self) -> Result<(), Flood> {
        if self.cancelled_at_once >= FREE
            && u64::from(self.cancelled_at_once) * 10 > u64::from(self.calls) * 9
        {
            return Err(Flood::RapidReset);
        }
        if self.control >= FREE && self.control / CONTROL_PER_CALL > self.calls {
            return Err(Flood::Control);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many frames of each kind in each of some seconds: whether that is a flood.
    fn judged(seconds: usize, calls: usize, cancelled_at_once: usize, control: usize) -> Result<(), Flood> {
        let frame = |kind| FrameHead { kind, flags: 0, length: 8, stream: 1 };
        let (ping, start) = (0x6, Instant::now());
        let mut meter = Meter::default();
        for second in 0..seconds {
            meter.read(start + WINDOW * u32::try_from(second).unwrap());
            let frames = [(HEADERS, calls), (RST_STREAM, cancelled_at_once), (ping, control)];
            for (kind, times) in frames {
                (0..times).for_each(|_| meter.see(frame(kind)));
            }
            meter.judge()?;
        }
        Ok(())
    }

    #[test]
    fn calls_may_be_taken_back_as_long_as_one_in_ten_is_meant() {
        assert_eq!(judged(1, 999, 999, 0), Ok(()), "few are nobody's concern");
        assert_eq!(judged(1, 1_000, 1_000, 0), Err(Flood::RapidReset));
        assert_eq!(judged(3, 10_000, 9_000, 0), Ok(()), "an Envoy whose calls time out");
        assert_eq!(judged(1, 10_000, 9_001, 0), Err(Flood::RapidReset));
    }

    #[test]
    fn calls_that_time_out_together_are_all_taken_back() {
        let mut meter = Meter::default();
        meter.read(Instant::now());
        let mut see = |kind, n: u32| meter.see(FrameHead { kind, flags: 0, length: 8, stream: 2 * n + 1 });
        for first in (0..20_000).step_by(1_000) {
            (first..first + 1_000).for_each(|n| see(HEADERS, n));
            (first..first + 1_000).for_each(|n| see(RST_STREAM, n));
        }
        assert_eq!(meter.judge(), Ok(()));
    }

    #[test]
    fn resets_of_no_call_are_control_frames() {
        let mut meter = Meter::default();
        meter.read(Instant::now());
        let mut see = |kind, stream| meter.see(FrameHead { kind, flags: 0, length: 4, stream });
        see(HEADERS, 2_001);
        (0..3_000).for_each(|_| see(RST_STREAM, 1));
        assert_eq!(meter.judge(), Err(Flood::Control));
    }

    #[test]
    fn control_frames_go_with_calls() {
        assert_eq!(judged(100, 0, 0, 50), Ok(()), "a client that only keeps its connection alive");
        assert_eq!(judged(1, 0, 0, 1_000), Err(Flood::Control));
        assert_eq!(judged(3, 1_000, 0, 9_000), Ok(()));
        assert_eq!(judged(1, 99, 0, 1_000), Err(Flood::Control));
    }

    #[test]
    fn what_lies_more_than_a_second_back_is_forgotten() {
        assert_eq!(judged(100, 0, 900, 900), Ok(()));
    }

    #[test]
    fn data_counts_only_when_it_is_empty_and_not_the_last() {
        let mut meter = Meter::default();
        for (flags, length) in [(0, 1), (END_STREAM, 0), (END_STREAM, 1), (0, 0)] {
            meter.see(FrameHead { kind: DATA, flags, length, stream: 1 });
        }
        assert_eq!(meter.control, 1);
    }
}
