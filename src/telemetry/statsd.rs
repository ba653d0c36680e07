//! The statistics of envoyproxy/ratelimit, sent to `StatsD` or `DogStatsD` by UDP from time to time.
//!
//! What is sent are differences of the counts that `/metrics` reports, so a call does nothing for it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, StatsdClient};

use super::compatibility::{Statistics, sanitized};

/// Bytes of a datagram: no link between two machines has to cut it.
const DATAGRAM: usize = 1_432;

/// How tags are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// In the name, `….total_hits.__region=eu`, as envoyproxy/ratelimit does: `StatsD` has no tags.
    #[default]
    Statsd,
    /// As tags of `DogStatsD`: `….total_hits:1|c|#region:eu`.
    DogStatsd,
}

/// Where statistics are sent, and what goes with each of them.
#[derive(Clone, Debug)]
pub struct StatsdOptions {
    /// The name or the address of a host. It is looked up anew each time, so it may move.
    pub host: String,
    /// Its UDP port.
    pub port: u16,
    /// The time between two sendings.
    pub interval: Duration,
    /// How tags are written.
    pub dialect: Dialect,
    /// Names and values of the tags of each statistic.
    pub tags: Vec<(String, String)>,
}

/// Sends what was counted since it was asked last.
#[derive(Debug)]
pub(super) struct Statsd {
    options: StatsdOptions,
    /// What was sent so far, by name.
    sent: HashMap<String, u64>,
    pub(super) is_failing: bool,
}

impl Statsd {
    pub(super) fn new(options: StatsdOptions) -> Self {
        Self { options, sent: HashMap::new(), is_failing: false }
    }

    pub(super) fn options(&self) -> &StatsdOptions {
        &self.options
    }

    /// Sends how much the `statistics` are more than the last time. Nobody waits for a datagram, and none is sent again.
    ///
    /// # Errors
    ///
    /// When the host has no address, or no socket can be had. What was counted is sent the next time then.
    pub(super) fn send(&mut self, statistics: &Statistics) -> io::Result<()> {
        let StatsdOptions { host, port, .. } = &self.options;
        let to = (host.as_str(), *port).to_socket_addrs()?.next();
        let to = to.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(from)?;
        socket.set_nonblocking(true)?;
        let sink = BufferedUdpMetricSink::with_capacity(to, socket, DATAGRAM).map_err(io::Error::other)?;
        let mut client = StatsdClient::builder("", sink).with_error_handler(|_| {});
        let mut suffix = String::new();
        for (name, value) in &self.options.tags {
            match self.options.dialect {
                Dialect::Statsd => suffix.push_str(&format!(".__{}={}", sanitized(name), sanitized(value))),
                Dialect::DogStatsd => client = client.with_tag(sanitized(name), sanitized(value)),
            }
        }
        let client = client.build();
        let mut sent = HashMap::with_capacity(self.sent.len());
        for (name, count) in flattened(statistics) {
            let before = self.sent.get(&name).copied().unwrap_or_default();
            // A rule that was away began anew.
            let more = if count < before { count } else { count - before };
            if more > 0 {
                // Where no line fits into the system's buffers, the network is worse off than these numbers are.
                let _ = client.count(&format!("{name}{suffix}"), more);
            }
            sent.insert(name, count);
        }
        let _ = client.flush();
        self.sent = sent;
        Ok(())
    }
}

/// Each count by its name. Two rules of one name are one.
fn flattened(statistics: &Statistics) -> HashMap<String, u64> {
    let rules = statistics.rules.iter().flat_map(|(key, counted)| {
        let named = counted.named().into_iter();
        named.map(move |(stat, count)| (format!("ratelimit.service.rate_limit.{key}.{stat}"), count))
    });
    let of_service = [
        ("ratelimit.service.call.should_rate_limit.redis_error", statistics.redis_errors),
        ("ratelimit.service.call.should_rate_limit.service_error", statistics.service_errors),
        ("ratelimit.service.config_load_success", statistics.loads),
        ("ratelimit.service.config_load_error", statistics.load_errors),
        ("ratelimit_server.ShouldRateLimit.total_requests", statistics.calls),
    ];
    let of_service = of_service.map(|(name, count)| (name.to_owned(), count));
    let mut counts = HashMap::new();
    for (name, count) in rules.chain(of_service) {
        *counts.entry(name).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::hits::RuleTotals;

    /// Where statistics are sent, and who sends them.
    fn pair(dialect: Dialect) -> (UdpSocket, Statsd) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let options = StatsdOptions {
            host: "127.0.0.1".to_owned(),
            port: socket.local_addr().unwrap().port(),
            interval: Duration::from_secs(1),
            dialect,
            tags: vec![("region".to_owned(), "eu:1".to_owned())],
        };
        (socket, Statsd::new(options))
    }

    fn statistics(total: u64, over: u64) -> Statistics {
        let counted = RuleTotals { total, over, within: total - over, ..RuleTotals::default() };
        Statistics { rules: vec![("d.key".to_owned(), counted)], calls: total, ..Statistics::default() }
    }

    /// The lines of the next datagram, in order.
    fn lines(socket: &UdpSocket) -> Vec<String> {
        let mut datagram = [0; DATAGRAM];
        let length = socket.recv(&mut datagram).unwrap();
        let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn what_is_sent_is_how_much_was_counted_since() {
        let (socket, mut statsd) = pair(Dialect::Statsd);
        statsd.send(&statistics(5, 2)).unwrap();
        assert_eq!(
            lines(&socket),
            [
                "ratelimit.service.rate_limit.d.key.over_limit.__region=eu_1:2|c",
                "ratelimit.service.rate_limit.d.key.total_hits.__region=eu_1:5|c",
                "ratelimit.service.rate_limit.d.key.within_limit.__region=eu_1:3|c",
                "ratelimit_server.ShouldRateLimit.total_requests.__region=eu_1:5|c",
            ]
        );
        statsd.send(&statistics(5, 2)).unwrap();
        statsd.send(&statistics(7, 2)).unwrap();
        assert_eq!(
            lines(&socket),
            [
                "ratelimit.service.rate_limit.d.key.total_hits.__region=eu_1:2|c",
                "ratelimit.service.rate_limit.d.key.within_limit.__region=eu_1:2|c",
                "ratelimit_server.ShouldRateLimit.total_requests.__region=eu_1:2|c",
            ],
            "of a time in which nothing happened nothing is sent"
        );
    }

    #[test]
    fn dogstatsd_has_tags() {
        let (socket, mut statsd) = pair(Dialect::DogStatsd);
        statsd.send(&statistics(1, 1)).unwrap();
        let expected = "ratelimit.service.rate_limit.d.key.over_limit:1|c|#region:eu_1";
        assert!(lines(&socket).contains(&expected.to_owned()));
    }

    #[test]
    fn what_could_not_be_sent_is_sent_the_next_time() {
        let (socket, mut statsd) = pair(Dialect::Statsd);
        let host = std::mem::replace(&mut statsd.options.host, "no.such.host.invalid".to_owned());
        statsd.send(&statistics(5, 2)).unwrap_err();
        statsd.options.host = host;
        statsd.send(&statistics(6, 2)).unwrap();
        let expected = "ratelimit.service.rate_limit.d.key.total_hits.__region=eu_1:6|c";
        assert!(lines(&socket).contains(&expected.to_owned()));
    }
}
