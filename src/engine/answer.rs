//! What a verdict looks like to the client and to the upstream: headers and a body, in the policy's words.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Charged, Counted, Decision, Verdict, urgency};
use crate::model::Request;
use crate::policy::{Entries, Limit, Policy};
use crate::shape::{Context, HeaderSet, Told};

/// The mutations that Envoy is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For the client, in order; no name comes twice.
    pub response_headers: Vec<(String, String)>,
    /// For the upstream, on a request that passes.
    pub request_headers: Vec<(String, String)>,
    /// Of a refusal.
    pub body: Vec<u8>,
}

/// A limit that was charged, wherever it stands in the request.
struct Spoken<'v> {
    descriptor: usize,
    counted: &'v Counted<'v>,
    limit: &'v Limit,
    charged: &'v Charged,
}

/// How `verdict` is told to those who asked `request` of `policy`.
pub fn answer(policy: &Policy, request: &Request<'_>, verdict: &Verdict<'_>) -> Answer {
    let mut answer = Answer::default();
    let mut spoken: Vec<Spoken<'_>> = verdict.decisions.iter().enumerate().flat_map(speak).collect();
    // The one that decides comes first, and is the one whose word stands where two would say the same header.
    spoken.sort_by_key(|one| urgency(one.charged));

    let mut taken = HashSet::new();
    let mut families: Vec<_> = families(&spoken, verdict)
        .into_iter()
        .map(|(descriptor, headers, limited, told)| {
            let mut lines = Vec::new();
            headers.render(&told, limited, &mut lines);
            lines.retain(|(name, _)| taken.insert(name.to_ascii_lowercase()));
            (descriptor, lines)
        })
        .collect();
    families.sort_by_key(|(descriptor, _)| *descriptor);
    let lines = families.into_iter().flat_map(|(_, lines)| lines);
    answer.response_headers.extend(lines.map(|(name, value)| (name.to_owned(), value)));

    if verdict.over_limit {
        if let Some(decisive) = spoken.first()
            && let Some(denial) = &decisive.limit.shape.denial
        {
            let body =
                with_context(policy, request, verdict, decisive, |context| denial.body.render_body(context));
            answer.body = body.into_bytes();
            answer.response_headers.push(("Content-Type".to_owned(), denial.content_type.clone()));
        }
    } else if let Some(domain) = policy.domain(request.domain)
        && let Some(somebody) = spoken.iter().find(|one| one.counted.credential.is_some())
    {
        answer.request_headers = with_context(policy, request, verdict, somebody, |context| {
            let each = domain.request_headers.iter();
            each.filter_map(|(name, value)| Some((name.clone(), value.render_header(context)?))).collect()
        });
    }
    answer
}

fn speak<'v>((descriptor, decision): (usize, &'v Decision<'v>)) -> Vec<Spoken<'v>> {
    let Decision::Counted(counted) = decision else { return Vec::new() };
    let limits = counted.limits.iter().map(|charged| Spoken {
        descriptor,
        counted,
        limit: &counted.rule.limits[charged.limit],
        charged,
    });
    limits.collect()
}

/// Each family of headers with the first descriptor it belongs to, whether one of its limits refuses the request, and the
/// limits it tells about, the one to report first. The family of the limit that decides comes first.
fn families<'v>(
    spoken: &'v [Spoken<'v>],
    verdict: &Verdict<'_>,
) -> Vec<(usize, &'v Arc<HeaderSet>, bool, Vec<Told<'v>>)> {
    let mut families: Vec<(usize, &Arc<HeaderSet>, bool, Vec<Told<'_>>)> = Vec::new();
    for one in spoken {
        let told = Told { name: &one.limit.name, outcome: &one.charged.outcome, now: verdict.now };
        for headers in &one.limit.shape.headers {
            match families.iter_mut().find(|(_, family, ..)| Arc::ptr_eq(family, headers)) {
                Some((first, _, _, all)) => {
                    *first = (*first).min(one.descriptor);
                    all.push(told);
                }
                None => families.push((one.descriptor, headers, one.charged.refuses, vec![told])),
            }
        }
    }
    families
}

/// Calls `render` with all that a template may name.
fn with_context<T>(
    policy: &Policy,
    request: &Request<'_>,
    verdict: &Verdict<'_>,
    one: &Spoken<'_>,
    render: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let descriptor = &request.descriptors[one.descriptor];
    let domain = policy.domain(request.domain);
    let read = domain.map(|domain| domain.entries(&descriptor.entries));
    // As rules see them, and then as they came: `endpoint` as well as the `path` that it was made of.
    let mut entries = read.as_ref().map(Entries::as_slice).unwrap_or_default();
    entries.extend(&descriptor.entries);
    if let Some(domain) = domain {
        entries.retain(|entry| !domain.is_secret(entry.key));
    }
    let credential = one.counted.credential.as_ref();
    let attribute =
        |name: &str| credential?.attribute_at(name, verdict.now).map(|value| value.as_text().into_owned());
    render(&Context {
        told: Some(Told { name: &one.limit.name, outcome: &one.charged.outcome, now: verdict.now }),
        entries: &entries,
        subject: credential.map(|credential| credential.subject.id()),
        attribute: &attribute,
    })
}
