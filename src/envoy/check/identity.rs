//! Whom a request is counted for: what clients can choose, leave out or send twice.

use crate::config::DiagnosticKind::Bypass;
use crate::envoy::action::{Content, Descriptor, Entry, Presence};
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::proxy::{Filter, Proxy};
use crate::envoy::reach::{Asked, Reach, reach};
use crate::envoy::value::Value;
use crate::policy::{Domain, Place, Rule};

/// Tells where an address that is limited is what the client says it is.
pub(super) fn check_address(proxy: &Proxy<'_>, findings: &mut Findings) {
    let items = proxy.routes().into_iter().flat_map(|route| route.calls).flat_map(|call| call.items);
    let entries = items.flat_map(|item| Descriptor::of(item, false).entries);
    let of_address = |entry: &Entry<'_>| matches!(entry.content, Content::Address | Content::Network);
    let Some(action) = entries.filter(of_address).map(|entry| entry.action).next() else { return };
    let detects = proxy.config.list("original_ip_detection_extensions").next().is_some();
    let word = proxy.config.get("use_remote_address");
    let at = word.or(proxy.config.get("stat_prefix")).unwrap_or(proxy.config);
    let what = "the address is sent here";
    if !proxy.config.is_true("use_remote_address") && !detects {
        let wrong = Finding::warning(
            Bypass,
            "without `use_remote_address: true` the client's address is the last one in X-Forwarded-For, which clients write \
             themselves: each request can have a counter of its own",
        );
        let hint = "write `use_remote_address: true`, and `xff_num_trusted_hops: N` with N proxies of your own in front";
        findings.at(at, wrong.hint(hint).related(what, action.place()));
    } else if !detects && proxy.config.get("xff_num_trusted_hops").is_none() {
        let found = Finding::note(
            Bypass,
            "the client's address is the peer of the connection: behind a load balancer all clients have one, and share their limits",
        );
        let hint = "with N proxies of your own in front write `xff_num_trusted_hops: N`, and with none 0";
        findings.at(at, found.hint(hint).related(what, action.place()));
    }
}

/// Tells where a client passes unlimited by leaving something out.
pub(super) fn absent(descriptors: &[Descriptor<'_>], domain: &Domain, findings: &mut Findings) {
    for descriptor in descriptors.iter().filter(|descriptor| descriptor.is_known && !descriptor.is_late) {
        for (at, entry) in descriptor.entries.iter().enumerate() {
            let Presence::Drops(what) = &entry.presence else { continue };
            // Where only credentials that are known reach a rule, none is as good as one that is not.
            let asked = Asked { nobody_at: Some(at), ..Asked::default() };
            let Some(place) = limited(&reach(domain, &descriptor.entries, asked)) else { continue };
            if descriptors.iter().any(|other| remains(other, descriptor, what, domain)) {
                continue;
            }
            // What limits some values only, as `path=/login` does, lets all others pass.
            let some = descriptors
                .iter()
                .any(|other| is_sent_without(other, descriptor, what) && limits(other, domain, false));
            let others = if some {
                "and what it sends beside it limits some values only"
            } else {
                "and sends it no other"
            };
            let wrong = Finding::warning(
                Bypass,
                format!(
                    "a request without {what} is not limited by domain `{}`: Envoy leaves the whole descriptor out, {others}",
                    domain.name
                ),
            );
            let hint = "add an item that every request has, such as `- actions: [{remote_address: {}}]` with a rule for it, or write \
                        `skip_if_absent: true` and a rule for what remains";
            findings.at(entry.action, wrong.hint(hint).related("the limit that is got round", place));
        }
    }
    for descriptor in descriptors.iter().filter(|descriptor| descriptor.is_known && !descriptor.is_late) {
        let optional = descriptor.entries.iter().find(|entry| entry.presence == Presence::Optional);
        let Some(optional) = optional.filter(|_| descriptor.droppers().is_empty()) else { continue };
        let Some(place) = limited(&reach(domain, &descriptor.entries, Asked::default())) else { continue };
        let is_covered = descriptors.iter().any(|other| remains(other, descriptor, "", domain));
        if is_covered || descriptor.is_conditional() {
            continue;
        }
        let wrong = Finding::warning(
            Bypass,
            format!(
                "a request without `{}` and whatever else may be absent is not limited by domain `{}`: what remains reaches no rule",
                optional.key, domain.name
            ),
        );
        let hint = "give the policy a rule for what remains, or add an item that every request has";
        findings.at(optional.action, wrong.hint(hint).related("the limit that is got round", place));
    }
}

/// Whether `other` still limits every request that `descriptor` limits, when `what` is absent from it.
fn remains(other: &Descriptor<'_>, descriptor: &Descriptor<'_>, what: &str, domain: &Domain) -> bool {
    is_sent_without(other, descriptor, what) && limits(other, domain, true)
}

/// Whether `other` is sent for every request that `descriptor` is sent for, also when `what` is absent from it.
fn is_sent_without(other: &Descriptor<'_>, descriptor: &Descriptor<'_>, what: &str) -> bool {
    let has = descriptor.droppers();
    let is_sent = other.droppers().iter().all(|dropper| *dropper != what && has.contains(dropper));
    other.is_known && !other.is_late && !other.is_conditional() && is_sent
}

/// Whether `descriptor` reaches a limit, with values that no rule lists where `unlisted`.
fn limits(descriptor: &Descriptor<'_>, domain: &Domain, unlisted: bool) -> bool {
    let asked = Asked { without_optional: true, unlisted, ..Asked::default() };
    descriptor.has_limit || limited(&reach(domain, &descriptor.entries, asked)).is_some()
}

/// Tells which values of headers that clients choose are unlimited, where nothing else limits such a request.
pub(super) fn chosen(
    descriptors: &[Descriptor<'_>],
    domain: &Domain,
    proxy: &Proxy<'_>,
    limiter: usize,
    findings: &mut Findings,
) {
    for descriptor in descriptors.iter().filter(|descriptor| descriptor.is_known && !descriptor.is_late) {
        let Some(entry) = descriptor.entries.last() else { continue };
        let Some(header) = entry.header.as_deref().filter(|header| !header.starts_with(':')) else {
            continue;
        };
        let mut before = proxy.filters.iter().take(limiter);
        if is_credential(header) || before.any(|filter| is_guarded(filter, header)) {
            continue;
        }
        let is_limited_otherwise = descriptors
            .iter()
            .any(|other| other.item.id() != descriptor.item.id() && remains(other, descriptor, "", domain));
        for node in reach(domain, &descriptor.entries, Asked::default()).nodes {
            let value = node.label.strip_prefix(entry.key.as_str()).and_then(|rest| rest.strip_prefix('='));
            let is_unlimited = node.rule.as_ref().is_some_and(Rule::is_unlimited);
            let Some(value) = value.filter(|_| is_unlimited && !is_limited_otherwise) else { continue };
            let wrong = Finding::warning(
                Bypass,
                format!("a client that sends `{header}: {value}` is not limited by domain `{}`", domain.name),
            );
            let hint = format!(
                "have a filter before this one write `{header}`, or remove what clients send, or add an item that every request has, such \
                 as `- actions: [{{remote_address: {{}}}}]` with a rule for it"
            );
            findings.at(entry.action, wrong.hint(hint).related("it is unlimited here", node.place.clone()));
        }
    }
}

/// Whether a header is by its name what somebody is known by.
fn is_credential(header: &str) -> bool {
    header == "authorization" || header.ends_with("api-key") || header.ends_with("apikey")
}

/// Where a rule is that may be reached.
fn limited(reach: &Reach<'_>) -> Option<Place> {
    reach
        .nodes
        .iter()
        .find(|node| node.rule.as_ref().is_some_and(|rule| !rule.is_unlimited()))
        .map(|node| node.place.clone())
}

/// Tells where a credential may come twice, and another one be believed by whoever checks it.
pub(super) fn twice(
    descriptor: &Descriptor<'_>,
    domain: &Domain,
    proxy: &Proxy<'_>,
    limiter: usize,
    findings: &mut Findings,
) {
    for (at, entry) in descriptor.entries.iter().enumerate() {
        let Some(header) = entry.header.as_deref().filter(|header| !header.starts_with(':')) else {
            continue;
        };
        let asked = Asked { nobody_at: Some(at), ..Asked::default() };
        let all = reach(domain, &descriptor.entries, Asked::default());
        let is_subject =
            all.lost.is_none() && reach(domain, &descriptor.entries, asked).nodes.len() < all.nodes.len();
        let is_credential = is_subject || is_credential(header);
        let before = proxy.filters.iter().take(limiter);
        if !is_credential || all.lost.is_some() || before.into_iter().any(|filter| is_guarded(filter, header))
        {
            continue;
        }
        let wrong = Finding::warning(
            Bypass,
            format!(
                "a client may send `{header}` twice: Envoy counts by the first, and whoever checks it may believe the other, whose \
                 limit is then never used up"
            ),
        );
        let hint = format!(
            "refuse such requests before this filter, as the Lua filter `ambiguous-requests` in envoy/envoy.yaml does, or have \
             a filter that authenticates write `{header}`"
        );
        let place = all.nodes.first().map(|node| node.place.clone());
        let wrong = place
            .into_iter()
            .fold(wrong.hint(hint), |wrong, place| wrong.related("it is counted by here", place));
        findings.at(entry.action, wrong);
    }
}

/// Whether `filter` sees to it that `header` is one: it authenticates, or names the header.
fn is_guarded(filter: &Filter<'_>, header: &str) -> bool {
    const AUTHENTICATE: [&str; 10] = [
        ".jwt_authn.",
        ".ext_authz.",
        ".ext_proc.",
        ".api_key_auth.",
        ".basic_auth.",
        ".oauth2.",
        ".wasm.",
        ".golang.",
        ".dynamic_modules.",
        ".credential_injector.",
    ];
    let kind = filter.config.type_name();
    let names = [".lua.", ".header_mutation.", ".rbac."].iter().any(|part| kind.contains(part));
    !filter.is_disabled && AUTHENTICATE.iter().any(|part| kind.contains(part))
        || names && Value::mentions_name(filter.config, header)
}
