//! How a filter calls the rate limit service: for how long, where, and what follows when it cannot.

use std::time::Duration;

use http::uri::Authority;

use crate::config::DiagnosticKind::EnvoyService;
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::resources::Resources;
use crate::envoy::value::Value;
use crate::hint::did_you_mean;

/// Longer than this nobody should have to wait for a limiter.
const LONG: Duration = Duration::from_secs(1);

/// How many calls at once a cluster lets through where nothing is said.
const DEFAULT_REQUESTS: u64 = 1024;

/// Looks at `filter`, the configuration of an HTTP or a network filter.
pub(super) fn check(filter: Value<'_>, resources: &Resources<'_>, findings: &mut Findings) {
    let refuses = failure_mode(filter, findings);
    timeout(filter, refuses, findings);
    if filter.text_of("domain").is_none() {
        let wrong =
            Finding::error(EnvoyService, "this filter has no `domain`, and Envoy does not start with it")
                .hint("write `domain: NAME`, with the `domain:` of a policy");
        findings.at(filter, wrong);
    }
    let Some(service) = filter.get("rate_limit_service") else {
        let wrong = Finding::error(
            EnvoyService,
            "this filter has no `rate_limit_service`, and Envoy does not start with it",
        );
        findings.at(
            filter,
            wrong.hint("write `rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: …}}}`"),
        );
        return;
    };
    if service.text_of("transport_api_version") != Some("V3") {
        let at = service.get("transport_api_version").unwrap_or(service);
        let wrong = Finding::error(EnvoyService, "Envoy refuses every version of the protocol but V3");
        findings.at(at, wrong.hint("write `transport_api_version: V3`"));
    }
    let Some(grpc) = service.get("grpc_service") else {
        let wrong = Finding::error(EnvoyService, "it is not said where the service is");
        findings.at(service, wrong.hint("write `grpc_service: {envoy_grpc: {cluster_name: …}}`"));
        return;
    };
    if let Some(retries) = grpc.get("retry_policy") {
        let wrong = Finding::warning(EnvoyService, "a call that is tried again is counted twice");
        findings.at(
            retries,
            wrong.hint("leave `retry_policy` out: what a failed call leads to is `failure_mode_deny`"),
        );
    }
    if let Some(envoy) = grpc.get("envoy_grpc") {
        authority(envoy, findings);
        if let Some(name) = envoy.get("cluster_name") {
            match resources.cluster(name.text()) {
                Some(found) => cluster(found, name, findings),
                None if resources.more_clusters => {}
                None => no_cluster(name, resources, findings),
            }
        }
    }
}

fn timeout(filter: Value<'_>, refuses: bool, findings: &mut Findings) {
    let follows = if refuses { "is refused with 500" } else { "passes unlimited" };
    let Some(timeout) = filter.get("timeout") else {
        let wrong = Finding::warning(
            EnvoyService,
            format!(
                "there is no `timeout`, so Envoy waits for 20 ms: a hiccup of the network takes longer, and the request {follows}"
            ),
        );
        let at = filter.get("domain").unwrap_or(filter);
        return findings.at(at, wrong.hint("write `timeout: 0.1s`"));
    };
    let written = timeout.text();
    let found = match timeout.duration() {
        None => Finding::error(EnvoyService, format!("`{written}` is no time that Envoy reads"))
            .hint("write seconds, as in `timeout: 0.1s`"),
        Some(time) if time < Duration::from_millis(1) => Finding::error(
            EnvoyService,
            format!(
                "`{written}` has Envoy wait for ever, for it counts whole milliseconds and 0 is no timeout"
            ),
        )
        .hint("write `timeout: 0.1s`"),
        Some(time) if time > LONG => Finding::warning(
            EnvoyService,
            format!("while the service hangs, every request waits for `{written}` before it {follows}"),
        )
        .hint("write what a client can be kept waiting: `timeout: 0.1s`"),
        Some(_) => return,
    };
    findings.at(timeout, found);
}

/// Tells what becomes of requests that the service was not asked about; `true` if they are refused.
fn failure_mode(filter: Value<'_>, findings: &mut Findings) -> bool {
    let at = ["failure_mode_deny_percent", "failure_mode_deny", "domain"];
    let at = at.into_iter().find_map(|name| filter.get(name)).unwrap_or(filter);
    let percent = filter
        .get("failure_mode_deny_percent")
        .and_then(|percent| percent.at(&["default_value", "numerator"]));
    let refuses = percent.map_or(filter.is_true("failure_mode_deny"), |percent| percent.text() != "0");
    let domain = filter.text_of("domain").unwrap_or_default();
    let (follows, other) = if refuses {
        (
            "are refused with 500, unless `status_on_error` says otherwise",
            "`failure_mode_deny: false` lets them pass",
        )
    } else {
        ("pass unlimited", "`failure_mode_deny: true` refuses them")
    };
    let found = Finding::note(
        EnvoyService,
        format!("while the service of domain `{domain}` cannot be asked, requests {follows}"),
    );
    findings.at(at, found.hint(other));
    refuses
}

fn authority(envoy: Value<'_>, findings: &mut Findings) {
    let own = envoy.get("authority").filter(|authority| !authority.text().is_empty());
    let Some(sent) = own.or(envoy.get("cluster_name")) else { return };
    if sent.text().parse::<Authority>().is_ok() {
        return;
    }
    let what = if own.is_some() { "this" } else { "the cluster's name" };
    let wrong = Finding::warning(
        EnvoyService,
        format!(
            "Envoy sends {what} as `:authority`, and `{}` is no valid one: strict HTTP/2 servers reset every call, and Spillway does \
             with `--invalid-authority reset`",
            sent.text()
        ),
    );
    findings.at(sent, wrong.hint("write `authority: ratelimit` beside `cluster_name`"));
}

fn no_cluster(name: Value<'_>, resources: &Resources<'_>, findings: &mut Findings) {
    let known = resources.clusters.iter().filter_map(|cluster| cluster.text_of("name"));
    let wrong = Finding::error(
        EnvoyService,
        format!("there is no cluster `{}`, so nobody is asked and Envoy does not start", name.text()),
    );
    let hint = did_you_mean(name.text(), known).unwrap_or_else(|| "add it to `clusters`".to_owned());
    findings.at_value(name, wrong.hint(hint));
}

fn cluster(cluster: Value<'_>, named: Value<'_>, findings: &mut Findings) {
    let name = cluster.get("name").unwrap_or(cluster);
    let related = |finding: Finding| finding.related("the filter that calls it", named.place());
    let defaults = |threshold: &Value<'_>| threshold.text_of("priority").is_none_or(|text| text == "DEFAULT");
    let breakers = cluster.get("circuit_breakers");
    let threshold = breakers.into_iter().flat_map(|breakers| breakers.list("thresholds")).find(defaults);
    let most = threshold.and_then(|threshold| threshold.get("max_requests"));
    let number = most.map_or(Some(DEFAULT_REQUESTS), |most| most.text().parse().ok());
    if number.is_some_and(|number| number <= DEFAULT_REQUESTS) {
        let number = number.unwrap_or(DEFAULT_REQUESTS);
        let wrong = Finding::warning(
            EnvoyService,
            format!(
                "Envoy makes {number} calls at once and fails what exceeds that, just when there is most to limit"
            ),
        );
        let hint =
            "write `circuit_breakers: {thresholds: [{max_requests: 100000, max_pending_requests: 100000}]}`";
        findings.at(most.or(breakers).unwrap_or(name), related(wrong.hint(hint)));
    }
    let options = cluster.get("typed_extension_protocol_options");
    let options = options.into_iter().flat_map(Value::fields).map(|(_, options)| options);
    let speaks = options.into_iter().any(|options| {
        options.at(&["explicit_http_config", "http2_protocol_options"]).is_some()
            || options.get("auto_config").is_some()
            || options.get("use_downstream_protocol_config").is_some()
    });
    if !speaks && cluster.get("http2_protocol_options").is_none() {
        let wrong = Finding::error(
            EnvoyService,
            "gRPC is HTTP/2, and Envoy speaks HTTP/1.1 to this cluster: every call fails",
        );
        let hint = "write `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": \
                    type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
                    {http2_protocol_options: {}}}}`";
        findings.at(name, related(wrong.hint(hint)));
    }
}
