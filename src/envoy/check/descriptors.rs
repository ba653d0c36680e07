//! Descriptors and rules that do not meet.

use std::collections::{HashMap, HashSet};
use std::ptr;

use super::{identity, upstream, values};
use crate::config::DiagnosticKind::{EnvoyService, UnmatchedDescriptor, UnreachableRule};
use crate::envoy::action::Descriptor;
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::proxy::{Call, Proxy};
use crate::envoy::reach::{Asked, Lost, Reach, reach};
use crate::envoy::resources::Resources;
use crate::envoy::value::Value;
use crate::hint::did_you_mean;
use crate::policy::{Domain, Level, Node, Place, Policy};

/// How a rule is reached.
#[derive(Default)]
struct Reached<'p, 'f> {
    /// By which domains it was asked, and where they are named.
    domains: HashMap<&'p str, Value<'f>>,
    nodes: HashSet<*const Node>,
    /// By descriptors that can refuse.
    in_time: HashSet<*const Node>,
    /// The first descriptor that comes late, for each.
    late: HashMap<*const Node, Value<'f>>,
}

pub(super) fn check<'f>(
    proxies: &[Proxy<'f>],
    of_network: &[Value<'f>],
    resources: &Resources<'f>,
    policy: &Policy,
    findings: &mut Findings,
) {
    let formats = resources.runtime(values::FORMATS).is_some_and(|flag| flag.text() == "true");
    let mut reached = Reached::default();
    // What many routes share is looked at once.
    let mut looked_at = HashSet::new();
    for proxy in proxies {
        for route in proxy.routes() {
            for call in &route.calls {
                let Some(domain) = domain_of(call.domain, policy, findings) else { continue };
                reached.domains.entry(&domain.name).or_insert(call.domain);
                let ids: Vec<_> = call.items.iter().map(|item| item.id()).collect();
                if looked_at.insert((call.filter, proxy.config.id(), domain.name.clone(), ids)) {
                    look_at(call, proxy, domain, formats, &mut reached, findings);
                }
            }
        }
    }
    for config in of_network {
        let Some(word) = config.get("domain") else { continue };
        let Some(domain) = domain_of(word, policy, findings) else { continue };
        reached.domains.entry(&domain.name).or_insert(word);
        for item in config.list("descriptors") {
            let descriptor = Descriptor::of_entries(item);
            match_one(&descriptor, domain, &mut reached, findings);
        }
    }
    for domain in policy.domains() {
        match reached.domains.get(domain.name.as_str()) {
            Some(asked) => unreached(domain, &domain.root, *asked, &reached, findings),
            None => unasked(domain, findings),
        }
    }
}

fn domain_of<'p>(word: Value<'_>, policy: &'p Policy, findings: &mut Findings) -> Option<&'p Domain> {
    let found = policy.domain(word.text().as_bytes());
    if found.is_none() && !word.text().is_empty() {
        let wrong = Finding::error(
            UnmatchedDescriptor,
            format!("no policy has the domain `{}`, so nothing that is sent to it is limited", word.text()),
        );
        let known: Vec<&str> = policy.domains().map(|domain| domain.name.as_str()).collect();
        let hint = did_you_mean(word.text(), known.iter().copied())
            .unwrap_or_else(|| format!("write a policy with `domain: {}`, or check it as well", word.text()));
        findings.at_value(word, wrong.hint(hint));
    }
    found
}

fn look_at<'p, 'f>(
    call: &Call<'f>,
    proxy: &Proxy<'f>,
    domain: &'p Domain,
    formats: bool,
    reached: &mut Reached<'p, 'f>,
    findings: &mut Findings,
) {
    let Some(filter) = proxy.filters.get(call.filter) else { return };
    let descriptors: Vec<_> = call.items.iter().map(|item| Descriptor::of(*item, formats)).collect();
    let known = descriptors.iter().filter(|descriptor| descriptor.is_known);
    for descriptor in known {
        let nodes = match_one(descriptor, domain, reached, findings);
        values::check(descriptor, domain, formats, findings);
        let option = descriptor.item.text_of("x_ratelimit_option").filter(|option| *option != "UNSPECIFIED");
        let by_filter = filter.config.get("enable_x_ratelimit_headers");
        let is_on =
            option.or(by_filter.map(Value::text)).is_some_and(|text| text.starts_with("DRAFT_VERSION"));
        if is_on && !descriptor.is_late {
            let word = descriptor.item.get("x_ratelimit_option").filter(|_| option.is_some()).or(by_filter);
            values::doubled_headers(word.unwrap_or(descriptor.item), &nodes, findings);
        }
        identity::twice(descriptor, domain, proxy, call.filter, findings);
    }
    identity::absent(&descriptors, domain, findings);
    identity::chosen(&descriptors, domain, proxy, call.filter, findings);
    upstream::check(proxy, call.filter, domain, findings);
}

/// Follows a descriptor and tells where it is lost. The nodes that it reaches otherwise.
fn match_one<'p, 'f>(
    descriptor: &Descriptor<'f>,
    domain: &'p Domain,
    reached: &mut Reached<'p, 'f>,
    findings: &mut Findings,
) -> Vec<&'p Node> {
    let Reach { nodes, lost } = reach(domain, &descriptor.entries, Asked::default());
    for node in &nodes {
        reached.nodes.insert(ptr::from_ref(*node));
        if descriptor.is_late {
            reached.late.entry(ptr::from_ref(*node)).or_insert(descriptor.item);
        } else {
            reached.in_time.insert(ptr::from_ref(*node));
        }
    }
    if !descriptor.has_limit && !descriptor.entries.is_empty() {
        if let Some(lost) = &lost {
            is_lost(descriptor, lost, domain, findings);
        } else if let Some(first) = nodes.first()
            && nodes.iter().all(|node| node.rule.is_none() && node.children.rules() > 0)
        {
            let wrong = Finding::error(
                UnmatchedDescriptor,
                format!(
                    "`{}` ends where domain `{}` has no limit, only below it, so nothing is limited by it",
                    descriptor.shown(),
                    domain.name
                ),
            );
            let next = crate::hint::listed(first.children.keys());
            let wrong =
                wrong.hint(format!("send one of {next} as well, or give `{}` a `rate_limit`", first.label));
            findings.at(last_action(descriptor), wrong.related("it ends here", first.place.clone()));
        }
    }
    nodes
}

fn last_action<'f>(descriptor: &Descriptor<'f>) -> Value<'f> {
    descriptor.entries.last().map_or(descriptor.item, |entry| entry.action)
}

fn is_lost(descriptor: &Descriptor<'_>, lost: &Lost<'_>, domain: &Domain, findings: &mut Findings) {
    let above = lost.above();
    let place = above.or_else(|| first_node(&domain.root).map(|node| &node.place));
    let beneath = if above.is_some() { "below this descriptor" } else { "at the top" };
    let wrong = Finding::error(
        UnmatchedDescriptor,
        format!(
            "`{}` reaches no rule of domain `{}`, so nothing is limited by it: {beneath} there is no `{}`",
            descriptor.shown(),
            domain.name,
            lost.shown()
        ),
    );
    let what = if above.is_some() {
        "it is looked for below this descriptor"
    } else {
        "the first descriptor of the domain"
    };
    let wrong =
        place.into_iter().fold(wrong.hint(lost.hint()), |wrong, place| wrong.related(what, place.clone()));
    let at = descriptor.entries.get(lost.at).map_or(descriptor.item, |entry| entry.action);
    findings.at(at, wrong);
}

/// The node that is listed first.
fn first_node(level: &Level) -> Option<&Node> {
    level.nodes().min_by_key(|node| (node.place.file.to_string(), node.place.line, node.place.column))
}

/// Rules of a domain that is asked for which nothing is sent.
fn unreached(
    domain: &Domain,
    level: &Level,
    asked: Value<'_>,
    reached: &Reached<'_, '_>,
    findings: &mut Findings,
) {
    for node in level.nodes() {
        let at = ptr::from_ref(node);
        let what = "Envoy asks for the domain here";
        if !any_reached(node, reached) {
            let rules = usize::from(node.rule.is_some()) + node.children.rules();
            if rules > 0 {
                let more =
                    if rules > 1 { format!(" and the {rules} rules from here on") } else { String::new() };
                let wrong = Finding::warning(
                    UnreachableRule,
                    format!(
                        "nothing that Envoy sends to domain `{}` reaches `{}`{more}",
                        domain.name, node.label
                    ),
                );
                let hint =
                    "add an item with these keys, in this order, to `rate_limits`, or leave the rule out";
                findings.in_policy(&node.place, wrong.hint(hint).related(what, asked.place()));
            }
            continue;
        }
        if node.rule.is_some() && !reached.nodes.contains(&at) {
            let wrong = Finding::warning(
                UnreachableRule,
                format!(
                    "no descriptor that Envoy sends to domain `{}` ends at `{}`, so only what is below it is limited",
                    domain.name, node.label
                ),
            );
            let hint = "add an item that ends with this key to `rate_limits`, or leave the limit out";
            findings.in_policy(&node.place, wrong.hint(hint).related(what, asked.place()));
        }
        if let Some(item) = reached.late.get(&at)
            && !reached.in_time.contains(&at)
            && node.rule.is_some()
        {
            let wrong = Finding::warning(
                UnreachableRule,
                format!(
                    "`{}` is only charged for responses, when it is too late to refuse anything",
                    node.label
                ),
            );
            let hint = "send the same actions without `apply_on_stream_done` as well, with `hits_addend: {number: 0}` to look only";
            findings.in_policy(
                &node.place,
                wrong.hint(hint).related("`apply_on_stream_done` is here", item.place()),
            );
        }
        unreached(domain, &node.children, asked, reached, findings);
    }
}

fn any_reached(node: &Node, reached: &Reached<'_, '_>) -> bool {
    reached.nodes.contains(&ptr::from_ref(node))
        || node.children.nodes().any(|node| any_reached(node, reached))
}

fn unasked(domain: &Domain, findings: &mut Findings) {
    let Some(first) = first_node(&domain.root) else { return };
    let place: &Place = &first.place;
    let found = Finding::note(
        EnvoyService,
        format!("nothing in this Envoy configuration asks for domain `{}`", domain.name),
    );
    findings.in_policy(place, found);
}
