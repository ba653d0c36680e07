//! What is in force, and what becomes of requests under it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Problem, ok, read};
use super::api::Api;
use super::asked::{ExplainBody, LookupBody, Question, Used, known};
use super::shown::{self, RuleRow, time};
use crate::config::Diagnostic;
use crate::control::{Event, Latest, Remote};
use crate::explain::{Match, why_unmatched};
use crate::model::NoMatch;
use crate::policy::Policy;
use crate::telemetry::{Denial, Seen, Unmatched, build};

/// How many rows are given where nothing is said, and at most.
const ROWS: (usize, usize) = (200, 1_000);

/// Which rows of a table are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    domain: Option<String>,
    search: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

impl Wanted {
    pub(super) fn rows<T>(&self, all: Vec<T>) -> impl Iterator<Item = T> {
        let limit = self.limit.unwrap_or(ROWS.0).min(ROWS.1);
        all.into_iter().skip(self.offset.unwrap_or(0)).take(limit)
    }

    pub(super) fn word(&self) -> String {
        self.search.as_deref().unwrap_or_default().to_lowercase()
    }

    pub(super) fn is_in(&self, domain: &str) -> bool {
        self.domain.as_deref().is_none_or(|wanted| wanted == domain)
    }
}

pub(super) type Rows = Result<Query<Wanted>, axum::extract::rejection::QueryRejection>;

/// What was asked for, or what is wrong with it.
pub(super) fn wanted(rows: Rows) -> Result<Wanted, Problem> {
    let wrong = |_| {
        Problem::wrong("the query is not understood")
            .hint("it may have `domain`, `search`, `limit` and `offset`".to_owned())
    };
    rows.map(|Query(wanted)| wanted).map_err(wrong)
}

/// Which configuration is in force, what is wrong with a newer one, and what became of the last ones.
pub(super) async fn config(State(api): State<Arc<Api>>) -> Response {
    let policy = api.served.engine().policy();
    ok(&told_config(&api.latest, &policy, api.metrics.is_shadow_mode()))
}

pub(super) fn told_config(latest: &Latest, policy: &Policy, is_shadow_mode: bool) -> Value {
    let status = latest.status();
    let event = |event: &Event| {
        json!({
            "at": time(event.at),
            "result": if event.generation.is_some() { "applied" } else { "rejected" },
            "generation": event.generation,
            "rules": event.rules,
            "domains_added": event.added,
            "domains_removed": event.removed,
            "mistakes": event.mistakes,
            "first_mistake": event.first_mistake,
        })
    };
    json!({
        "version": build::VERSION,
        "commit": build::COMMIT,
        "generation": status.generation,
        "since": time(status.since),
        "stale": status.stale,
        "shadow_mode": is_shadow_mode,
        "files": &*status.files,
        "domains": policy.domains().count(),
        "rules": policy.rules(),
        "diagnostics": shown::mistakes(&status.refusal),
        "diagnostics_left_out": status.refusal.len().saturating_sub(shown::MOST_MISTAKES),
        "xds": xds(latest),
        "history": latest.history().iter().map(event).collect::<Vec<_>>(),
    })
}

fn xds(latest: &Latest) -> Vec<Value> {
    let refusals = latest.refusals();
    let of = |one: &Remote| remote(one, refusals.get(&one.name).map(|why| &**why).unwrap_or_default());
    latest.remotes().iter().map(of).collect()
}

fn remote(remote: &Remote, refusal: &[Diagnostic]) -> Value {
    json!({
        "source": remote.name,
        "connected": remote.is_connected,
        "failure": remote.failure,
        "answered": remote.has_answered,
        "version": remote.version,
        "resources": remote.resources,
        "updated": remote.updated.map(time),
        "stale": remote.is_refused,
        "diagnostics": shown::mistakes(refusal),
        "updates": remote.accepted,
        "nacks": remote.refused,
    })
}

/// Every domain, in alphabetical order.
pub(super) async fn domains(State(api): State<Arc<Api>>) -> Response {
    let policy = api.served.engine().policy();
    let counts = api.metrics.counts(policy.catalog());
    let mut domains: Vec<_> = policy.domains().collect();
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = domains.into_iter().map(|domain| {
        let asked = counts.domains.get(domain.index.0 as usize).copied().unwrap_or_default();
        let people = domain.directory.as_ref();
        json!({
            "name": domain.name,
            "rules": domain.root.rules(),
            "evaluate": shown::evaluate(domain.evaluate),
            "on_store_failure": shown::on_store_failure(domain.on_store_failure),
            "endpoints": domain.endpoints.is_some(),
            "subjects": people.map(|people| people.subjects()),
            "credentials": people.map(|people| people.credentials()),
            "requests": {"ok": asked.ok, "over_limit": asked.over_limit},
        })
    });
    ok(&json!({"domains": shown.collect::<Vec<_>>()}))
}

/// The rules with their limits and what was counted for them, in the order of the files.
pub(super) async fn rules(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let policy = api.served.engine().policy();
    let counts = api.metrics.counts(policy.catalog());
    let mut found: Vec<RuleRow<'_>> = Vec::new();
    for domain in policy.domains().filter(|domain| wanted.is_in(&domain.name)) {
        shown::rules(&domain.name, &domain.root, "", &mut found);
    }
    let word = wanted.word();
    found.retain(|rule| rule.has(&word));
    found.sort_by(|a, b| {
        let key =
            |rule: &RuleRow<'_>| (Arc::clone(&rule.place().file), rule.place().line, rule.place().column);
        key(a).cmp(&key(b))
    });
    let total = found.len();
    let rules: Vec<_> = wanted.rows(found).map(|rule| rule.json(&counts.rules)).collect();
    Ok(ok(&json!({"total": total, "rules": rules})))
}

/// Samples of what was refused, the newest first.
pub(super) async fn denials(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let shown = |denial: Denial| {
        json!({
            "at": time(denial.at),
            "domain": denial.domain,
            "descriptor": denial.descriptor,
            "rule": denial.rule,
            "limit": denial.limit,
            "subject": denial.subject,
            "granted": denial.granted,
            "used": denial.used,
            "retry_after_ms": denial.retry_after_ms,
        })
    };
    let word = wanted.word();
    let has = |denial: &Denial| {
        let subject = denial.subject.as_deref().unwrap_or_default();
        [&*denial.descriptor, &*denial.rule, subject].iter().any(|text| text.to_lowercase().contains(&word))
    };
    let mut found = api.metrics.denials();
    found.retain(|denial| wanted.is_in(&denial.domain) && has(denial));
    Ok(ok(&json!({"denials": wanted.rows(found).map(shown).collect::<Vec<_>>()})))
}

/// Descriptors that reached no rule, those seen last first, with what was probably meant.
pub(super) async fn unmatched(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let policy = api.served.engine().policy();
    let word = wanted.word();
    let mut found = api.metrics.unmatched();
    found.retain(|seen| {
        wanted.is_in(&seen.what.domain) && seen.what.descriptor.to_lowercase().contains(&word)
    });
    // What many have in common is looked for once: there may be very many rules to compare with.
    let mut known: BTreeMap<String, Option<Match>> = BTreeMap::new();
    let shown = wanted.rows(found).map(|seen: Seen| {
        let Unmatched { domain, descriptor, entry, below, reason } = &seen.what;
        let why = known.entry(format!("{domain}\n{reason:?}\n{entry:?}\n{below:?}")).or_insert_with(|| {
            let entry = entry.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            let below = below.as_ref().map(|(file, line, column)| (file.as_str(), *line, *column));
            // Where no policy had the domain and one has it now, it is not known what it would have reached.
            if reason.is_some() || policy.domain(domain.as_bytes()).is_none() {
                why_unmatched(&policy, domain, entry, below)
            } else {
                None
            }
        });
        let hint = match &*why {
            Some(Match::Nothing { hint, .. }) => Some(hint.as_str()),
            Some(Match::UnknownDomain { hint, .. }) => hint.as_deref(),
            _ => None,
        };
        json!({
            "first": time(seen.first),
            "last": time(seen.last),
            "samples": seen.samples,
            "domain": domain,
            "descriptor": descriptor,
            "reason": reason.map_or("unknown_domain", NoMatch::name),
            "why": why.as_ref().map(ToString::to_string),
            "hint": hint,
        })
    });
    Ok(ok(&json!({"unmatched": shown.collect::<Vec<_>>()})))
}

/// Where counters are kept, how many there are, and how the store answers.
pub(super) async fn store_state(State(api): State<Arc<Api>>) -> Response {
    ok(&store(&api))
}

pub(super) fn store(api: &Api) -> Value {
    let (kept, health, bounds) = (api.served.statistics(), api.metrics.store_health(), api.metrics.bounds());
    json!({
        "kind": api.store.kind,
        "place": api.store.place,
        "counters": kept.counters,
        "bytes": kept.bytes,
        "evicted": kept.evicted,
        "most_counters": bounds.counters,
        "most_bytes": bounds.counter_bytes,
        "failures": health.failures,
        "breakers_open": health.breakers_open,
        "refused_without_store": health.refused_without,
        "counted_without_store": health.counted_without,
    })
}

/// Why a request is answered as it is, by the counters as they are.
pub(super) async fn explain(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    let question = read::<ExplainBody>(&body)?.question(&api.served.engine().policy())?;
    Ok(ok(&api.ask(question).await?))
}

/// How the counters of a descriptor stand.
pub(super) async fn lookup(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    let question = read::<LookupBody>(&body)?.question(&api.served.engine().policy())?;
    Ok(ok(&api.ask(question).await?))
}

/// Subjects by id, in alphabetical order of domains and in the order of their files.
pub(super) async fn subjects(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let policy = api.served.engine().policy();
    if let Some(domain) = &wanted.domain {
        known(domain, &policy)?;
    }
    let mut domains: Vec<_> = policy.domains().filter(|domain| wanted.is_in(&domain.name)).collect();
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    let word = wanted.word();
    let mut found = Vec::new();
    for domain in domains {
        let Some(directory) = &domain.directory else { continue };
        let ids = directory.ids().filter(|id| word.is_empty() || id.to_lowercase().contains(&word));
        found.extend(ids.map(|id| (domain, directory, id)));
    }
    let total = found.len();
    let shown = wanted.rows(found).map(|(domain, directory, id)| {
        let enabled = directory.subject(id).is_some_and(|subject| subject.is_enabled());
        json!({"domain": domain.name, "id": id, "enabled": enabled})
    });
    Ok(ok(&json!({"total": total, "subjects": shown.collect::<Vec<_>>()})))
}

/// One subject, with its limits and what it has used of them.
pub(super) async fn subject(
    State(api): State<Arc<Api>>,
    Path((domain, id)): Path<(String, String)>,
) -> Answer {
    Ok(ok(&api.ask(Question::Subject { domain, id, used: Used::Needed }).await?))
}
