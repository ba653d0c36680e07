//! TLS: certificates and handshakes, of the ports that speak it.

use std::fmt;
use std::sync::atomic::Ordering;

use super::families::Families;
use crate::model::Timestamp;
use crate::telemetry::Metrics;
use crate::telemetry::tls::{TlsCounts, TlsPort};

const DAY: i64 = 24 * 3_600;

pub(super) fn tls(metrics: &Metrics, now: Timestamp, to: &mut Families<'_>) -> fmt::Result {
    let ports: Vec<(&str, &TlsCounts)> = TlsPort::ALL
        .into_iter()
        .map(|port| (port.label(), metrics.tls(port)))
        .filter(|(_, counts)| counts.not_after.load(Ordering::Relaxed) > 0)
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let now = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    let days = ports.iter().map(|(port, counts)| {
        let not_after = i64::try_from(counts.not_after.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        ([("port", *port)], not_after.saturating_sub(now).div_euclid(DAY))
    });
    to.signed_gauges(
        "spillway_tls_certificate_expiry_days",
        "Whole days until the server's certificate expires, by port; less than 0 when it has.",
        days,
    )?;
    let lists = ports.iter().filter_map(|(port, counts)| {
        let until = counts.lists_until.load(Ordering::Relaxed);
        let until = i64::try_from(until).unwrap_or(i64::MAX);
        (until > 0).then(|| ([("port", *port)], until.saturating_sub(now).div_euclid(DAY)))
    });
    let lists: Vec<_> = lists.collect();
    if !lists.is_empty() {
        to.signed_gauges(
            "spillway_tls_crl_expiry_days",
            "Whole days until a list of revoked certificates is out of date (its nextUpdate), by port; less than 0 when it is.",
            lists,
        )?;
    }
    to.gauges(
        "spillway_tls_certificate_stale",
        "Whether newer files for TLS were refused, so that older ones are in force, by port.",
        ports
            .iter()
            .map(|(port, counts)| ([("port", *port)], u64::from(counts.is_stale.load(Ordering::Relaxed)))),
    )?;
    to.labelled(
        "spillway_tls_certificate_loads",
        "Times that certificates were put in force, by port.",
        ports.iter().map(|(port, counts)| ([("port", *port)], counts.loads.load(Ordering::Relaxed))),
    )?;
    to.labelled(
        "spillway_tls_certificate_load_failures",
        "Times that files for TLS could not be used, by port.",
        ports.iter().map(|(port, counts)| ([("port", *port)], counts.refused.load(Ordering::Relaxed))),
    )?;
    to.gauge(
        "spillway_tls_handshakes",
        "Handshakes for gRPC that have begun and not ended.",
        metrics.handshakes.load(Ordering::Relaxed),
    )?;
    let failures: Vec<_> = ports
        .iter()
        .flat_map(|(port, counts)| {
            let known = metrics.tls_reasons.get().copied().unwrap_or_default();
            counts
                .failures
                .with(known.iter().copied())
                .into_iter()
                .map(|(reason, count)| (*port, reason, count))
        })
        .collect();
    to.labelled(
        "spillway_tls_handshake_failures",
        "TLS handshakes that failed, by port and reason.",
        failures.iter().map(|(port, reason, count)| ([("port", *port), ("reason", &**reason)], *count)),
    )
}
