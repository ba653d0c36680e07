//! Descriptors that no filter reads, and filters that never run.

use std::collections::HashSet;

use crate::config::DiagnosticKind::UnsentDescriptor;
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::proxy::{Filter, Proxy, Route};
use crate::envoy::value::Value;
use crate::hint::{did_you_mean, listed};

pub(super) fn check(proxy: &Proxy<'_>, findings: &mut Findings) {
    behind_the_router(proxy, findings);
    let routes = proxy.routes();
    unread(proxy, &routes, findings);
    for scope in proxy.scopes() {
        names(proxy, scope, findings);
    }
    for call in routes.iter().flat_map(|route| &route.calls) {
        for item in &call.items {
            misplaced(*item, call.is_filters_own, findings);
        }
    }
    unlimited(&routes, findings);
}

fn behind_the_router(proxy: &Proxy<'_>, findings: &mut Findings) {
    let Some(router) = proxy.filters.iter().position(Filter::is_router) else { return };
    for (_, filter) in proxy.limiters().filter(|(at, _)| *at > router) {
        let wrong =
            Finding::error(UnsentDescriptor, "this filter stands behind the router, where no request comes");
        findings.at(filter.item, wrong.hint("move it before `envoy.filters.http.router`, which is the last"));
    }
}

/// Configurations of a limiter under a name that no filter has.
fn names(proxy: &Proxy<'_>, scope: Value<'_>, findings: &mut Findings) {
    let configs = scope.get("typed_per_filter_config").into_iter().flat_map(Value::fields);
    for (name, config) in configs {
        let inner = config.get("config").unwrap_or(config);
        let is_limiters =
            [config, inner].iter().any(|one| one.type_name().ends_with(".ratelimit.v3.RateLimitPerRoute"));
        if !is_limiters || proxy.filters.iter().any(|filter| filter.name == name) {
            continue;
        }
        let limiters: Vec<_> = proxy.limiters().map(|(_, filter)| filter.name).collect();
        let wrong = Finding::error(
            UnsentDescriptor,
            format!(
                "no HTTP filter is called `{name}`, so nothing of this is ever sent, and Envoy does not say so"
            ),
        );
        let hint =
            did_you_mean(name, limiters.iter().copied()).unwrap_or_else(|| match limiters.as_slice() {
                [] => "add the filter `envoy.filters.http.ratelimit` to `http_filters`, before the router"
                    .to_owned(),
                limiters => {
                    format!("the filters that ask a rate limit service are called {}", listed(limiters))
                }
            });
        let wrong = wrong.hint(hint);
        findings.at(config, wrong);
    }
}

/// Items of routes and virtual hosts that no filter reads.
fn unread(proxy: &Proxy<'_>, routes: &[Route<'_>], findings: &mut Findings) {
    let read: HashSet<_> = routes
        .iter()
        .flat_map(|route| &route.calls)
        .flat_map(|call| &call.items)
        .map(|item| item.id())
        .collect();
    let limiters: Vec<_> = proxy.limiters().collect();
    let stages: Vec<_> =
        limiters.iter().map(|(_, filter)| filter.config.number("stage").unwrap_or_default()).collect();
    let of_hosts =
        proxy.hosts().flat_map(|host| host.list("rate_limits").map(move |item| (item, Some(host))));
    let of_routes = proxy.hosts().flat_map(|host| host.list("routes")).filter_map(|route| route.get("route"));
    let of_routes = of_routes.flat_map(|action| action.list("rate_limits").map(|item| (item, None)));
    for (item, host) in of_hosts.chain(of_routes).filter(|(item, _)| !read.contains(&item.id())) {
        let stage = item.number("stage").unwrap_or_default();
        let (message, hint) = if limiters.is_empty() {
            (
                "no filter of this listener asks a rate limit service, so this is never sent".to_owned(),
                "add the filter `envoy.filters.http.ratelimit` to `http_filters`, before the router"
                    .to_owned(),
            )
        } else if !stages.contains(&stage) {
            (
                format!("this is of stage {stage}, and no filter is, so it is never sent"),
                format!("write `stage: {stage}` into a filter, or leave `stage` out here"),
            )
        } else if let Some(host) = host {
            no_route_sends(host)
        } else {
            (
                "this is never sent: the filter, or what is configured of it here, has `rate_limits` of its own, or it does not run"
                    .to_owned(),
                "put it beside those".to_owned(),
            )
        };
        findings.at(item, Finding::error(UnsentDescriptor, message).hint(hint));
    }
}

/// What to say of an item of a virtual host that none of its routes sends.
fn no_route_sends(host: Value<'_>) -> (String, String) {
    let (to_upstreams, others): (Vec<_>, Vec<_>) =
        host.list("routes").partition(|route| route.get("route").is_some());
    let never = "a route with `direct_response` or `redirect` is never limited";
    let message = match (to_upstreams.is_empty(), others.is_empty()) {
        (true, _) => format!("no route sends this: {never}"),
        (_, true) => {
            "no route sends this: each has `rate_limits` of its own, or in its configuration of the filter"
                .to_owned()
        }
        _ => format!(
            "no route sends this: {never}, and each of the others has `rate_limits` of its own, or in its configuration of the filter"
        ),
    };
    let hint = if to_upstreams.is_empty() {
        "send requests that are to be limited to a cluster, by `route`"
    } else {
        "write `vh_rate_limits: INCLUDE` into the route's configuration of the filter, a `RateLimitPerRoute` in \
         `typed_per_filter_config`, or move it to the route"
    };
    (message, hint.to_owned())
}

/// Words that mean nothing where they stand.
fn misplaced(item: Value<'_>, is_filters_own: bool, findings: &mut Findings) {
    for word in ["stage", "disable_key"] {
        if let Some(value) = item.get(word).filter(|_| is_filters_own) {
            let wrong = Finding::error(
                UnsentDescriptor,
                format!("Envoy refuses `{word}` in a list of the filter's own"),
            );
            findings.at(value, wrong.hint("leave it out, or write the list into `rate_limits` of the route"));
        }
    }
    if let Some(hits) = item.get("hits_addend").filter(|_| !is_filters_own) {
        let wrong = Finding::error(
            UnsentDescriptor,
            "Envoy ignores `hits_addend` in the `rate_limits` of routes and virtual hosts: each request costs 1",
        );
        let hint = "move the list into `typed_per_filter_config`, as `RateLimitPerRoute`";
        findings.at(hits, wrong.hint(hint));
    }
}

/// Routes without a limit beside routes that have some.
fn unlimited(routes: &[Route<'_>], findings: &mut Findings) {
    for route in routes.iter().filter(|route| route.calls.is_empty() && !route.is_opted_out) {
        let has_neighbours =
            routes.iter().any(|other| other.host.id() == route.host.id() && !other.calls.is_empty());
        if has_neighbours {
            let found = Finding::note(
                UnsentDescriptor,
                "requests of this route are not limited: nothing is sent for them",
            );
            findings.at(
                route.item,
                found.hint("where that is meant, say so with `disabled: true` in `typed_per_filter_config`"),
            );
        }
    }
}
