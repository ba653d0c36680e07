//! Policies, rules and subjects as the API shows them.

use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::algorithm::{Durability, Outcomes};
use crate::config::{Diagnostic, Severity};
use crate::engine::{Elsewhere, OfSubject, SubjectCounter};
use crate::explain::Numbers;
use crate::model::{RuleIndex, Timestamp};
use crate::policy::{CountBy, Domain, Evaluate, Level, Limit, Node, OnStoreFailure, Place, Requests, Source};
use crate::subjects::{Subject, Value};
use crate::telemetry::RuleTotals;

/// A point in time as in RFC 3339.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(at.as_nanos().into())
        .map(|at| DateTimePrinter::new().timestamp_to_string(&at))
        .unwrap_or_default()
}

/// A mistake with its place and what stands there; lines of a subjects file are not shown.
#[derive(Debug, Serialize)]
pub(super) struct Mistake<'a> {
    severity: &'static str,
    message: &'a str,
    hint: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    length: Option<usize>,
    excerpt: Option<&'a str>,
}

/// The most mistakes that are shown; `spillway check` shows all.
pub(super) const MOST_MISTAKES: usize = 100;

/// The first mistakes, errors before warnings.
pub(super) fn mistakes(diagnostics: &[Diagnostic]) -> Vec<Mistake<'_>> {
    let of = |severity| diagnostics.iter().filter(move |one| one.severity == severity);
    of(Severity::Error).chain(of(Severity::Warning)).take(MOST_MISTAKES).map(mistake).collect()
}

fn mistake(diagnostic: &Diagnostic) -> Mistake<'_> {
    let excerpt = diagnostic.excerpt.as_ref();
    let place = excerpt.map(|excerpt| &excerpt.place);
    Mistake {
        severity: if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        message: &diagnostic.message,
        hint: diagnostic.hint.as_deref(),
        file: place.map(|place| &*place.file),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        length: excerpt.map(|excerpt| excerpt.length),
        excerpt: excerpt.and_then(|excerpt| excerpt.line.as_deref()),
    }
}

/// A rule of the policy in force.
#[derive(Debug)]
pub(super) struct RuleRow<'p> {
    pub(super) domain: &'p str,
    pub(super) path: String,
    pub(super) node: &'p Node,
}

/// The rules of `level` and below, in no particular order.
pub(super) fn rules<'p>(domain: &'p str, level: &'p Level, above: &str, found: &mut Vec<RuleRow<'p>>) {
    for node in level.nodes() {
        let path = if above.is_empty() { node.label.clone() } else { format!("{above} > {}", node.label) };
        rules(domain, &node.children, &path, found);
        if node.rule.is_some() {
            found.push(RuleRow { domain, path, node });
        }
    }
}

/// Hits, by what became of them.
#[derive(Debug, Serialize)]
pub(super) struct Hits {
    total: u64,
    within_limit: u64,
    near_limit: u64,
    over_limit: u64,
    shadow_mode: u64,
}

impl Hits {
    pub(super) fn of(counts: &[RuleTotals], index: Option<RuleIndex>) -> Self {
        let counted = index.and_then(|index| counts.get(index.0 as usize)).copied().unwrap_or_default();
        let RuleTotals { total, over, near, within, shadow } = counted;
        Self { total, within_limit: within, near_limit: near, over_limit: over, shadow_mode: shadow }
    }
}

impl RuleRow<'_> {
    pub(super) fn place(&self) -> &Place {
        &self.node.place
    }

    /// The label, the path and the place, for whoever looks for a word.
    pub(super) fn has(&self, word: &str) -> bool {
        let label = self.node.rule.as_ref().map_or("", |rule| &rule.label);
        [label, &self.path, &self.place().file].iter().any(|text| text.to_lowercase().contains(word))
    }

    pub(super) fn json(&self, counts: &[RuleTotals]) -> Json {
        let Some(rule) = &self.node.rule else { return Json::Null };
        let place = self.place();
        json!({
            "domain": self.domain,
            "rule": rule.label,
            "path": self.path,
            "file": &*place.file,
            "line": place.line,
            "column": place.column,
            "unlimited": rule.is_unlimited(),
            "shadow_mode": rule.shadow,
            "quota": rule.quota,
            "replaces": rule.replaces,
            "limits": rule.limits.iter().map(limit).collect::<Vec<_>>(),
            "hits": Hits::of(counts, rule.index),
        })
    }
}

fn limit(limit: &Limit) -> Json {
    json!({
        "name": limit.name,
        "requests": limit.requests.written(),
        "requests_from": requests_from(&limit.requests),
        "window": limit.window.to_string(),
        "window_seconds": limit.window.length().map(|length| length.as_secs_f64()),
        "count_by": limit.count_by.iter().map(count_by).collect::<Vec<_>>(),
        "count_denied": limit.count_denied,
        "settle": limit.settles,
        "durable": name(&Durability::NAMES, limit.durability),
        "on_store_failure": name(&OnStoreFailure::NAMES, limit.on_store_failure),
    })
}

/// The word of a table for a value.
fn name<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| *name)
}

/// Where the number of a limit comes from, for people.
fn requests_from(requests: &Requests) -> String {
    let mut from = match &requests.source {
        Source::Fixed(number) => number.to_string(),
        Source::Attribute(name) => format!("attribute {name}"),
        Source::Table { by, values, otherwise } => {
            let rows = values.iter().map(|(value, number)| format!("{value}: {number}"));
            let otherwise = otherwise.map(|number| format!("otherwise: {number}"));
            format!("by {by} ({})", rows.chain(otherwise).collect::<Vec<_>>().join(", "))
        }
    };
    if let Some(name) = &requests.instead {
        from.push_str(&format!(", or attribute {name}"));
    }
    if let Some(name) = &requests.at_most {
        from.push_str(&format!(", at most attribute {name}"));
    }
    from
}

fn count_by(by: &CountBy) -> String {
    match by {
        CountBy::Entries => "entries".to_owned(),
        CountBy::Entry(key) => format!("entry {key}"),
        CountBy::Subject => "subject".to_owned(),
        CountBy::Credential => "credential".to_owned(),
        CountBy::Domain => "domain".to_owned(),
    }
}

/// What is said of a whole domain.
pub(super) fn evaluate(evaluate: Evaluate) -> &'static str {
    name(&Evaluate::NAMES, evaluate)
}

/// The word for what becomes of requests when the store fails.
pub(super) fn on_store_failure(on: OnStoreFailure) -> &'static str {
    name(&OnStoreFailure::NAMES, on)
}

fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(&**text),
        Value::Number(number) => json!(number),
        Value::Bool(is_so) => json!(is_so),
    }
}

/// A subject with its limits and what is used of them. No credential is in it, and no hash of one.
pub(super) fn subject(
    domain: &Domain,
    subject: Subject<'_>,
    limits: &OfSubject<'_>,
    outcomes: &Outcomes,
    now: Timestamp,
) -> Json {
    let attributes: serde_json::Map<String, Json> =
        subject.attributes().map(|(name, of)| (name.to_owned(), value(of))).collect();
    let tier =
        subject.derived_tier(now).map(|(name, tier)| json!({"attribute": name, "value": tier.map(value)}));
    let (spend, first_payment) = subject.facts();
    let enabled = subject.credentials().filter(|(_, enabled)| *enabled).count();
    let mut shown: Vec<(&str, usize, &str, Json)> = limits.counters.iter().zip(outcomes).map(|(counter, outcome)| {
        let SubjectCounter { rule, place, limit, credential, .. } = counter;
        let told = json!({
            "rule": rule.label,
            "file": &*place.file,
            "line": place.line,
            "limit": limit.name,
            "window": limit.window.to_string(),
            "counter": credential.map_or("subject".to_owned(), |number| format!("credential {}", number + 1)),
            "shadow_mode": rule.shadow,
            "numbers": outcome.as_ref().map(Numbers::of),
        });
        (&*place.file, place.line, limit.name.as_str(), told)
    }).collect();
    shown.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
    json!({
        "domain": domain.name,
        "id": subject.id(),
        "enabled": subject.is_enabled(),
        "billing_anchor": subject.billing_anchor().map(time),
        "time_zone": subject.time_zone().and_then(|zone| zone.iana_name()),
        "attributes": attributes,
        "tier": tier,
        "facts": {"spend": spend.map(money), "first_payment": first_payment.map(time)},
        "credentials": {"enabled": enabled, "disabled": subject.credentials().count() - enabled},
        "limits": shown.into_iter().map(|(.., told)| told).collect::<Vec<_>>(),
        "other_limits": without_counter(&limits.elsewhere),
        "limits_without_number": without_counter(&limits.without_number),
        "limits_left_out": limits.left_out,
    })
}

fn without_counter(limits: &[Elsewhere<'_>]) -> Vec<Json> {
    let mut limits: Vec<&Elsewhere<'_>> = limits.iter().collect();
    limits.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
    let shown = limits.into_iter().map(|Elsewhere { rule, place, limit }| {
        json!({
            "rule": rule.label,
            "file": &*place.file,
            "line": place.line,
            "limit": limit.name,
            "count_by": limit.count_by.iter().map(count_by).collect::<Vec<_>>(),
        })
    });
    shown.collect()
}

/// Millionths as a decimal number in a text, which loses nothing: `12.5`.
fn money(millionths: u64) -> String {
    let (whole, part) = (millionths / 1_000_000, format!(".{:06}", millionths % 1_000_000));
    format!("{whole}{}", part.trim_end_matches('0').trim_end_matches('.'))
}
