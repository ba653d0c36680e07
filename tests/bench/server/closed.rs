//! A closed loop: so many calls are in flight on each connection, and each answer brings the next call.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::calls::{Calls, Keys, Shape};
use crate::http2::Answer;
use crate::wire::Connection;

/// Without an answer for so long a server is taken for dead.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// How much load: connections, and calls in flight on each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

/// When a run issues no more calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    Calls(u64),
}

/// What a run did. Every call was answered as expected; otherwise there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) answers: u64,
    pub(crate) elapsed: Duration,
}

/// Connections that are kept from one run to the next.
#[derive(Debug)]
pub(crate) struct Closed {
    connections: Vec<Connection>,
    in_flight: usize,
    calls: Calls,
    expected: Answer,
    buffer: Vec<u8>,
}

impl Closed {
    pub(crate) fn open(
        server: SocketAddr,
        load: Load,
        shape: &Shape,
        keys: Keys,
        expected: Answer,
    ) -> io::Result<Self> {
        let connections =
            (0..load.connections).map(|_| Connection::open(server, None)).collect::<io::Result<_>>()?;
        let (calls, buffer) = (Calls::new(shape, keys), vec![0; 1 << 18]);
        Ok(Self { connections, in_flight: load.in_flight, calls, expected, buffer })
    }

    /// Runs until calls are no longer issued and all are answered, so that nothing is left over for the next run.
    pub(crate) fn run(&mut self, until: Until) -> io::Result<Ran> {
        let started = Instant::now();
        let (mut issued, mut answers, mut unexpected) = (0, 0, None);
        let mut over = false;
        loop {
            over = over
                || match until {
                    Until::Elapsed(time) => started.elapsed() >= time,
                    Until::Calls(calls) => issued >= calls,
                };
            for connection in &mut self.connections {
                let http2 = &mut connection.http2;
                while !over && http2.open() < self.in_flight && http2.has_room(self.calls.length()) {
                    http2.call(self.calls.next(), 0);
                    issued += 1;
                    over = matches!(until, Until::Calls(calls) if issued >= calls);
                }
                connection.write()?;
            }
            if over && answers == issued {
                return Ok(Ran { answers, elapsed: started.elapsed() });
            }
            for at in self.ready()? {
                self.connections[at].read(&mut self.buffer, &mut |_, answer| {
                    answers += 1;
                    if answer != self.expected {
                        unexpected = Some(answer);
                    }
                })?;
            }
            if let Some(answer) = unexpected {
                let expected = self.expected;
                return Err(io::Error::other(format!(
                    "expected {expected:?}, and one answer was {answer:?}"
                )));
            }
        }
    }

    /// Sleeps until connections can be read, or written where bytes wait.
    fn ready(&self) -> io::Result<Vec<usize>> {
        let wanted = |connection: &Connection| {
            if connection.is_behind() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
        };
        let mut polled: Vec<_> = self
            .connections
            .iter()
            .map(|connection| PollFd::new(&connection.socket, wanted(connection)))
            .collect();
        if poll(&mut polled, Some(&PATIENCE))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
        }
        let readable = |polled: &PollFd<'_>| !(polled.revents() - PollFlags::OUT).is_empty();
        Ok((0..polled.len()).filter(|&at| readable(&polled[at])).collect())
    }
}
