//! The table of words. A word is added here, and nowhere else, to be known to the loader, the schema and the reference page.

use super::Origin::{Compatible, Own};
use super::{Origin, Scope, Word};
use crate::algorithm::Durability;
use crate::config::compile::{MOST_SEGMENTS, algorithm_names, anchors, empties};
use crate::config::takes::Takes;
use crate::policy::{Evaluate, OnStoreFailure};
use crate::response::Emit;

const ROOT: &[Scope] = &[Scope::Root];
const DESCRIPTOR: &[Scope] = &[Scope::Descriptor];
const LIMIT: &[Scope] = &[Scope::RateLimit];
/// What may stand at the top, on a descriptor and on a limit; the nearest one holds.
const NEAREST: &[Scope] = &[Scope::Root, Scope::Descriptor, Scope::RateLimit];

/// Where, and what; then the default, the meaning and an example.
const fn word(
    name: &'static str,
    origin: Origin,
    scopes: &'static [Scope],
    takes: Takes,
    [default, meaning, example]: [&'static str; 3],
) -> Word {
    Word { name, origin, scopes, takes, default, meaning, example }
}

// One row a word, which is easier to look through than one line a field.
#[rustfmt::skip]
pub(super) const WORDS: &[Word] = &[
    word("domain", Compatible, ROOT, Takes::Text("text"), [
        "",
        "the name that Envoy's filter sends. One YAML document describes one domain; a file may hold several documents",
        "domain: shop",
    ]),
    word("descriptors", Compatible, &[Scope::Root, Scope::Descriptor], Takes::List(Scope::Descriptor), [
        "none",
        "what a request's entries are compared with: at the top the first entry of each descriptor, below a descriptor the \
         next one",
        "descriptors: [{key: path, value: /login, rate_limit: {unit: minute, requests_per_unit: 5}}]",
    ]),
    word("key", Compatible, DESCRIPTOR, Takes::Text("text"), [
        "",
        "the key of the entry. One that ends in `*`, with no `value` beside it, stands for every key that begins so",
        "key: remote_address",
    ]),
    word("value", Compatible, DESCRIPTOR, Takes::Text("text"), [
        "any value",
        "the value of the entry. Each `*` stands for any text, none included",
        "value: /api/*",
    ]),
    word("rate_limit", Compatible, DESCRIPTOR, Takes::Mapping(Scope::RateLimit), [
        "no limit: an exemption",
        "the limit of the requests whose last entry lands here",
        "rate_limit: {unit: minute, requests_per_unit: 60}",
    ]),
    word("rate_limits", Own, DESCRIPTOR, Takes::List(Scope::RateLimit), [
        "no limit: an exemption",
        "several limits of the same requests. What one of them refuses, none of the others counts",
        "rate_limits: [{requests_per_unit: 60, per: 1m}, {requests_per_unit: 1000, per: 1h}]",
    ]),
    word("shadow_mode", Compatible, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "the limits of this descriptor are counted and reported, and refuse nothing",
        "shadow_mode: true",
    ]),
    word("quota_mode", Compatible, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "the limits of this descriptor refuse a request only when every other rule in quota mode that it reached is over its \
         limit as well. Needs `evaluate: each`",
        "quota_mode: true",
    ]),
    word("share_threshold", Compatible, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "all values that fit the `*` have one counter together. Otherwise each has its own",
        "value: /api/*, share_threshold: true",
    ]),
    word("metadata", Compatible, DESCRIPTOR, Takes::Anything, [
        "none",
        "what Envoy is told as dynamic metadata while the rule is not over its limit",
        "metadata: {class: bulk}",
    ]),
    word("detailed_metric", Compatible, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "the metrics of the rule have a series for each combination of values that reach it, in the label `entries`. A \
         domain has 1,000 such series at most; further hits are in `entries=\"other\"`. Credentials of a `subject` are `…`",
        "detailed_metric: true",
    ]),
    word("value_to_metric", Compatible, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "the same for the values of this descriptor alone, in the metrics of its rule and of those nested in it. Not beside \
         `subject`: a credential is never shown",
        "value_to_metric: true",
    ]),
    word("subject", Own, DESCRIPTOR, Takes::Text("a kind of credential"), [
        "the value is no credential",
        "the value is a credential of this kind: the descriptor matches when somebody in the `subjects` file has it and both \
         are enabled. A second credential on the way must belong to the same subject",
        "subject: api_key",
    ]),
    word("strip_scheme", Own, DESCRIPTOR, Takes::Flag, [
        "`false`",
        "a leading `Bearer` or `Basic`, in any case, is no part of the credential",
        "subject: api_key, strip_scheme: true",
    ]),
    word("exempt", Own, DESCRIPTOR, Takes::Attributes, [
        "nobody",
        "a subject, or a credential, with one of these attributes passes uncounted",
        "subject: api_key, exempt: {internal: true}",
    ]),
    word("empty", Own, DESCRIPTOR, Takes::OneOf(empties), [
        "`value`",
        "`absent`: an entry with an empty value does not match. For a descriptor without a `value`",
        "empty: absent",
    ]),
    word("unit", Compatible, LIMIT, Takes::Unit, [
        "`unit` or `per` must be there",
        "the window, from one multiple of the unit since 1970 (UTC) to the next",
        "unit: minute",
    ]),
    word("per", Own, LIMIT, Takes::Window, [
        "`unit` or `per` must be there",
        "the window: a length of time, or a period of the calendar or of the subject's subscription",
        "per: 15m",
    ]),
    word("requests_per_unit", Compatible, LIMIT, Takes::Requests, [
        "",
        "how many hits a window grants: one number for all, or one that depends on who asks. 0 refuses everything",
        "requests_per_unit: 60",
    ]),
    word("algorithm", Own, LIMIT, Takes::OneOf(algorithm_names), [
        "`fixed_window`",
        "how hits are counted in the window",
        "algorithm: sliding_window",
    ]),
    word("burst", Own, LIMIT, Takes::Number { least: 1, most: u32::MAX }, [
        "`requests_per_unit`",
        "how many hits a token bucket holds when it is full",
        "algorithm: token_bucket, burst: 20",
    ]),
    word("anchor", Own, LIMIT, Takes::OneOf(anchors), [
        "`clock` with `unit`, `first_hit` with `per`",
        "where a fixed window begins: at a multiple of its length since 1970 (UTC), or at the first hit",
        "anchor: clock",
    ]),
    word("time_zone", Own, LIMIT, Takes::Text("a time zone of the IANA database"), [
        "`UTC`",
        "where a `calendar_…` period begins and ends. A `billing_period` has the subject's",
        "per: calendar_day, time_zone: Europe/Berlin",
    ]),
    word("name", Compatible, &[Scope::RateLimit, Scope::Replaces], Takes::Text("text"), [
        "the way to it, as in `api_key > path=/login`; in `replaces` it must be there",
        "what the limit is called in headers, bodies, logs and `explain`, and what `replaces` names it by",
        "name: login",
    ]),
    word("unlimited", Compatible, LIMIT, Takes::Flag, [
        "`false`",
        "everything passes, uncounted. Stands instead of a number and a window",
        "unlimited: true",
    ]),
    word("replaces", Compatible, LIMIT, Takes::List(Scope::Replaces), [
        "none",
        "limits, by their names, that do not count for a request that reaches this one too",
        "replaces: [{name: per-address}]",
    ]),
    word("override", Own, LIMIT, Takes::Text("an attribute"), [
        "none",
        "whoever has this attribute has its number instead of `requests_per_unit`",
        "override: agreed_per_minute",
    ]),
    word("at_most", Own, LIMIT, Takes::Text("an attribute"), [
        "none",
        "whoever has this attribute is granted no more than its number",
        "at_most: own_cap",
    ]),
    word("count_denied", Own, LIMIT, Takes::Flag, [
        "`true` for a plain `unit` under `evaluate: each`, as in envoyproxy/ratelimit; otherwise `false`",
        "what this limit itself refuses is counted as well, so that `used` may exceed `limit`",
        "count_denied: true",
    ]),
    word("settle", Own, LIMIT, Takes::Flag, [
        "`false`",
        "for charges that come after the fact (Envoy's `apply_on_stream_done`, token budgets): they are always counted, beyond \
         the limit too, and a request is refused once the limit is reached",
        "settle: true",
    ]),
    word("durable", Own, LIMIT, Takes::OneOf(|| Durability::NAMES.map(|(name, _)| name).to_vec()), [
        "`reserve` for windows and periods of a day or longer, otherwise `none`",
        "whether a count survives a crash, where counters are kept on disk. `reserve`: it is never lower than it was, and at \
         most 64 hits higher; `exact`: it is what it was, and a request is answered when its charge is on the disk; `none`: it \
         begins anew",
        "durable: exact",
    ]),
    word("on_store_failure", Own, NEAREST, Takes::OneOf(|| OnStoreFailure::NAMES.map(|(name, _)| name).to_vec()), [
        "`open`",
        "what becomes of a request when its counters cannot be reached. `open`: it is answered by an error, and Envoy's failure \
         mode lets it pass; `closed`: it is refused; `local`: it is counted in memory, against this replica's share of the limit",
        "on_store_failure: closed",
    ]),
    word("counter", Own, LIMIT, Takes::Text("text"), [
        "a counter of its own",
        "limits of the domain that name one counter share it. They have one window, and one `count_by` other than `entries`",
        "counter: writes, count_by: subject",
    ]),
    word("count_by", Own, &[Scope::Descriptor, Scope::RateLimit], Takes::CountBy, [
        "`subject` below a `subject:`, otherwise `entries`",
        "what has a counter of its own: each combination of the entries' values, each subject, each credential, the whole \
         domain, or each value of the entries whose keys are named",
        "count_by: [credential, endpoint]",
    ]),
    word("subjects", Own, ROOT, Takes::Text("a file, beside this one"), [
        "nobody is known",
        "who is behind a credential, and what they bought",
        "subjects: shop.subjects.yaml",
    ]),
    word("evaluate", Own, ROOT, Takes::OneOf(|| Evaluate::NAMES.map(|(name, _)| name).to_vec()), [
        "`each`",
        "how the limits that one request reaches go together",
        "evaluate: all_or_nothing",
    ]),
    word("endpoints", Own, ROOT, Takes::Endpoints, [
        "methods and paths are compared as they come",
        "names for what is asked for: an entry `method` with the `path` after it, or an entry `endpoint` (`GET /leads?page=2`), \
         becomes one entry `endpoint` whose value is the name of the template that fits best",
        "endpoints: [GET /leads/:id, {chat: [POST /v1/chat/**]}]",
    ]),
    word("undeclared", Own, ROOT, Takes::Undeclared, [
        "`one`",
        "endpoints that fit no template are one endpoint, called `undeclared`, or are told apart by method and first segments",
        "undeclared: {segments: 2}",
    ]),
    word("segments", Own, &[Scope::Undeclared], Takes::Number { least: 1, most: MOST_SEGMENTS }, [
        "",
        "how many segments: with 2, all that begins with `/v1/tags` is `GET /v1/tags`",
        "segments: 2",
    ]),
    word("ignore_case", Own, ROOT, Takes::Flag, [
        "`false`",
        "`/Leads` and `/leads` are one endpoint, as they are to the upstream",
        "ignore_case: true",
    ]),
    word("request_headers", Own, ROOT, Takes::Templates, [
        "none",
        "headers that Envoy adds to a request that passes, on its way to the upstream",
        "request_headers: {x-tenant: '{{subject}}'}",
    ]),
    word("headers", Own, NEAREST, Takes::Headers, [
        "none",
        "response headers: one family, or a list of families. The nearest `headers` holds, whole",
        "headers: {emit: always, dialect: x-ratelimit, X-Plan-Used: used}",
    ]),
    word("deny", Own, NEAREST, Takes::Mapping(Scope::Deny), [
        "no body",
        "what a refused caller reads. The nearest `deny` holds",
        "deny: {body: '{\"retry_in\":{{retry_after_s}}}'}",
    ]),
    word("by", Own, &[Scope::Requests], Takes::Text("an attribute"), [
        "`by` with `values`, or `attribute`",
        "the attribute that the number depends on",
        "by: plan, values: {free: 100, pro: 5000}",
    ]),
    word("values", Own, &[Scope::Requests], Takes::Numbers, [
        "`by` with `values`, or `attribute`",
        "the number for each of its values",
        "by: plan, values: {free: 100, pro: 5000}",
    ]),
    word("otherwise", Own, &[Scope::Requests], Takes::Number { least: 0, most: u32::MAX }, [
        "a subject with none of the values is a mistake",
        "the number for a subject whose value is not listed, or who has none",
        "by: plan, values: {free: 100, pro: 5000}, otherwise: 100",
    ]),
    word("attribute", Own, &[Scope::Requests], Takes::Text("an attribute"), [
        "`by` with `values`, or `attribute`",
        "the attribute that is the number. Whoever lacks it does not have this limit",
        "attribute: rpm",
    ]),
    word("emit", Own, &[Scope::Headers], Takes::OneOf(|| Emit::names().collect()), [
        "`always`",
        "on which answers the family is sent",
        "emit: on_limited, dialect: retry-after",
    ]),
    word("dialect", Own, &[Scope::Headers], Takes::Dialects, [
        "none",
        "well-known headers, by the name of their dialect",
        "dialect: [draft-11, retry-after]",
    ]),
    word("body", Own, &[Scope::Deny], Takes::Text("text"), [
        "",
        "the body of a refusal, a template",
        "body: '{\"retry_in\":{{retry_after_s}}}'",
    ]),
    word("content_type", Own, &[Scope::Deny], Takes::Text("text"), [
        "`application/json` for a body that is JSON, otherwise `text/plain`",
        "its media type, which decides how values are escaped in it",
        "body: Slow down., content_type: text/plain",
    ]),
];
