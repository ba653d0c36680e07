//! Ends the connections of clients that keep the server busy with frames that ask for nothing.
//!
//! Such a frame is cheap to send and costs the server an answer or some bookkeeping: calls that are cancelled as soon as they
//! are made (CVE-2023-44487, «rapid reset»), PING and SETTINGS, which must be acknowledged, and empty frames. An honest
//! client sends few of them for each call, so they are compared with its calls. A fixed bound would end the connections of
//! an Envoy whose calls time out, when they are needed most.
//!
//! When all calls of an Envoy time out, all are cancelled, but each one after others were made. The number of calls between
//! a call and its cancellation is the same however late the server reads them, so it distinguishes the two cases without a
//! clock.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::authority::{FrameHead, HEADERS};

/// The time after which the counts start again.
const WINDOW: Duration = Duration::from_secs(1);
/// The frames of a kind in a window that are never too many.
const FREE: u32 = 1_000;
/// A call is cancelled at once when at most this many calls were made between it and its cancellation. At 1,000 calls a
/// second, these come within 16 ms; Envoy's default timeout is 20 ms.
const NEWEST: u32 = 16;
/// The most control frames for each call. An honest client sends two or three.
const CONTROL_PER_CALL: u32 = 10;

/// Types and flags of frames (RFC 9113 §6).
const DATA: u8 = 0x0;
const RST_STREAM: u8 = 0x3;
const END_STREAM: u8 = 0x1;

/// Counts the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the counts started.
    since: Option<Instant>,
    /// The stream of the newest call.
    newest: u32,
    calls: u32,
    /// Calls that were cancelled as soon as they were made.
    cancelled_at_once: u32,
    /// Calls that were cancelled later.
    cancelled_later: u32,
    control: u32,
}

/// The kind of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// The client cancels more than nine in ten of its calls as soon as it makes them.
    RapidReset,
    /// The client sends many more control frames than calls.
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
    /// Frames were read at `now`. The caller counts them next.
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
            // A client's streams have odd numbers.
            RST_STREAM if self.newest.saturating_sub(frame.stream) <= 2 * NEWEST => {
                self.cancelled_at_once += 1;
            }
            // No call is cancelled twice, but calls of the window before may be cancelled in this one.
            RST_STREAM if self.cancelled_later < self.calls.max(FREE) => self.cancelled_later += 1,
            _ => self.control += 1,
        }
    }

    /// Fails when the counted frames are a flood.
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
