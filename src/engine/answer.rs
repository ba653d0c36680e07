//! What a verdict looks like to the client and to the upstream: headers and a body, in the policy's words.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Charged, Counted, Decision, Verdict, report_priority};
use crate::model::{CellKey, Entry, Few, Request};
use crate::policy::{Domain, Entries, Limit, UpstreamHeader};
use crate::response::{Context, HeaderSet, Headers, Reported};
use crate::subjects::Credential;

/// The mutations that Envoy is asked for.
#[derive(Clone, Debug, Default)]
pub struct Answer<'v> {
    /// For the client, in order; no name comes twice.
    pub response_headers: Headers<'v>,
    /// For the upstream, on a request that passes.
    pub request_headers: Headers<'v>,
    /// Of a refusal.
    pub body: String,
}

/// The buffers that the texts of an answer are written into.
#[derive(Debug, Default)]
pub struct Texts {
    headers: String,
    body: String,
}

/// The most bytes that are kept of them; a rare long answer is not to be paid for ever after.
const KEPT: usize = 64 << 10;

impl Answer<'_> {
    /// The buffers of its texts, for the next answer: [`Verdict::reclaim`].
    pub fn into_texts(self) -> Texts {
        let texts = Texts { headers: self.response_headers.into_room(), body: self.body };
        if texts.headers.capacity() + texts.body.capacity() > KEPT { Texts::default() } else { texts }
    }
}

/// A limit that was charged, wherever it stands in the request.
struct Spoken<'v, 'p> {
    descriptor: usize,
    counted: &'v Counted<'p>,
    limit: &'v Limit,
    charged: &'v Charged,
}

impl<'v> Spoken<'v, '_> {
    fn reported(&self, verdict: &Verdict<'_>, retry_after: Option<Duration>) -> Reported<'v> {
        Reported {
            name: &self.limit.name,
            outcome: &self.charged.outcome,
            now: verdict.now,
            retry_after,
            counter: self.charged.key,
            shares_name: false,
            refuses: self.charged.refuses,
        }
    }
}

/// How `verdict` is reported to those who asked `request`, in the texts of its scratch.
pub fn answer<'v>(request: &Request<'_>, verdict: &'v Verdict<'_>) -> Answer<'v> {
    let texts = verdict.texts.take();
    let mut answer = Answer {
        response_headers: Headers::in_room_of(texts.headers),
        request_headers: Headers::default(),
        body: texts.body,
    };
    answer.body.clear();
    let mut spoken: Few<Spoken<'_, '_>> = verdict.decisions.iter().enumerate().flat_map(speak).collect();
    // The one that decides comes first, and is the one whose word stands where two would say the same header.
    sort(&mut spoken);

    for (descriptor, headers, refuses, reported) in &families(&spoken, verdict) {
        if !headers.is_sent(*refuses) {
            continue;
        }
        let from = answer.response_headers.iter().len();
        headers.render(reported, verdict.over_limit, &mut answer.response_headers);
        answer.response_headers.rank(from, *descriptor);
    }
    answer.response_headers.sort_by_rank();

    if let Some(closed) = &verdict.closed {
        if let Some(denial) = &closed.shape.denial {
            let (body, entries) = (&mut answer.body, entries(request, verdict, closed.descriptor));
            with_context(verdict, None, &entries.as_slice(), closed.credential.as_ref(), |context| {
                denial.body.write_body(context, body);
            });
            answer.response_headers.add("Content-Type", |value| {
                value.push_str(&denial.content_type);
                true
            });
        }
    } else if verdict.over_limit {
        if let Some(decisive) = spoken.first()
            && let Some(denial) = &decisive.limit.shape.denial
        {
            let body = &mut answer.body;
            let reported = Some(decisive.reported(verdict, verdict.retry_after()));
            let credential = decisive.counted.credential.as_ref();
            let entries = entries(request, verdict, decisive.descriptor);
            with_context(verdict, reported, &entries.as_slice(), credential, |context| {
                denial.body.write_body(context, body);
            });
            answer.response_headers.add("Content-Type", |value| {
                value.push_str(&denial.content_type);
                true
            });
        }
    } else if let Some(domain) = verdict.domain
        && !domain.request_headers.is_empty()
    {
        answer.request_headers = for_upstream(domain, request, verdict, &spoken);
    }
    answer
}

/// What the upstream is reported of a request that passes, with all that is known of it: the limit that was charged to whoever is
/// asking, or else to anybody; who is asking, be they counted or not; and every entry of the request.
fn for_upstream<'v>(
    domain: &'v Domain,
    request: &Request<'_>,
    verdict: &Verdict<'_>,
    spoken: &[Spoken<'_, '_>],
) -> Headers<'v> {
    let mut headers = Headers::default();
    let one = spoken.iter().find(|one| one.counted.credential.is_some()).or(spoken.first());
    let counted = one.and_then(|one| one.counted.credential.as_ref());
    let credential = counted.or(verdict.somebody.as_ref().map(|(_, credential)| credential));
    let first = one.map(|one| one.descriptor).or(verdict.somebody.map(|(at, _)| at)).unwrap_or_default();
    let others = (0..request.descriptors.len()).filter(|at| *at != first);
    let all: Vec<_> = std::iter::once(first)
        .filter(|at| *at < request.descriptors.len())
        .chain(others)
        .map(|at| entries(request, verdict, at))
        .collect();
    let all: Vec<Entry<'_>> = all.iter().flat_map(Known::as_slice).collect();
    with_context(
        verdict,
        one.map(|one| one.reported(verdict, verdict.retry_after())),
        &all,
        credential,
        |context| {
            for UpstreamHeader { name, template, .. } in &domain.request_headers {
                headers.add(name, |value| template.write_header(context, value));
            }
        },
    );
    headers
}

fn speak<'v, 'p>((descriptor, decision): (usize, &'v Decision<'p>)) -> impl Iterator<Item = Spoken<'v, 'p>> {
    let counted = match decision {
        Decision::Counted(counted) => Some(counted),
        _ => None,
    };
    counted.into_iter().flat_map(move |counted| {
        counted.limits.iter().map(move |charged| Spoken {
            descriptor,
            counted,
            limit: &counted.rule.limits[charged.limit],
            charged,
        })
    })
}

/// Sorts by [`report_priority`]; equals stay in order. Most answers speak of one limit, and of a few this takes no allocation.
fn sort(spoken: &mut [Spoken<'_, '_>]) {
    if spoken.len() > 20 {
        return spoken.sort_by_key(|one| report_priority(one.charged));
    }
    for at in 1..spoken.len() {
        let before = spoken[..at]
            .iter()
            .rposition(|one| report_priority(one.charged) <= report_priority(spoken[at].charged));
        spoken[before.map_or(0, |before| before + 1)..=at].rotate_right(1);
    }
}

/// See [`families`].
type Family<'v> = (usize, &'v Arc<HeaderSet>, bool, Few<Reported<'v>>);

/// How many families are compared with each other rather than looked up.
const NEAR: usize = 8;

/// Each family of headers with the first descriptor it belongs to, whether one of its limits refuses the request, and the
/// limits it reports, the one to report first. The family of the limit that decides comes first.
fn families<'v>(spoken: &[Spoken<'v, '_>], verdict: &Verdict<'_>) -> Few<Family<'v>> {
    let retry_after = verdict.retry_after();
    let mut families: Few<Family<'_>> = Few::new();
    // Most answers have one or two, which are compared with each other; the places of the others are looked up.
    let mut later: HashMap<*const HeaderSet, usize> = HashMap::new();
    for one in spoken {
        let reported = one.reported(verdict, retry_after);
        for headers in &one.limit.shape.headers {
            let near = families.iter().take(NEAR).position(|(_, family, ..)| Arc::ptr_eq(family, headers));
            let place = near.or_else(|| later.get(&Arc::as_ptr(headers)).copied());
            if let Some((first, _, _, all)) = place.map(|place| &mut families[place]) {
                *first = (*first).min(one.descriptor);
                all.push(reported);
            } else {
                if families.len() >= NEAR {
                    later.insert(Arc::as_ptr(headers), families.len());
                }
                families.push((one.descriptor, headers, one.charged.refuses, Few::from_iter([reported])));
            }
        }
    }
    for (_, headers, _, all) in &mut families {
        if all.len() > 1 && headers.names_counters() {
            name_apart(all);
        }
    }
    families
}

/// Marks those whose name another counter has, too. A counter that is there twice is reported once, as it is in the end.
fn name_apart(all: &mut Few<Reported<'_>>) {
    let mut counters: HashMap<&str, HashSet<CellKey>> = HashMap::new();
    all.retain(|reported| counters.entry(reported.name).or_default().insert(reported.counter));
    for reported in all {
        reported.shares_name = counters[reported.name].len() > 1;
    }
}

/// The entries of one descriptor that may be shown.
struct Known<'a> {
    domain: Option<&'a Domain>,
    read: Option<Entries<'a>>,
    sent: &'a [Entry<'a>],
}

/// What the descriptor at this place reports.
fn entries<'a>(request: &'a Request<'_>, verdict: &Verdict<'a>, descriptor: usize) -> Known<'a> {
    let sent: &'a [Entry<'a>] = &request.descriptors[descriptor].entries;
    let domain = verdict.domain;
    Known { domain, read: domain.map(|domain| domain.entries(sent)), sent }
}

impl Known<'_> {
    /// As rules see them, and then as they came: `endpoint` as well as the `path` that it was made of. No credentials.
    fn as_slice(&self) -> Few<Entry<'_>> {
        let mut entries = self.read.as_ref().map(Entries::as_slice).unwrap_or_default();
        entries.extend(self.sent.iter().copied());
        if let Some(domain) = self.domain {
            entries.retain(|entry| !domain.is_secret(entry.key));
        }
        entries
    }
}

/// Calls `render` with all that a template may name.
fn with_context<T>(
    verdict: &Verdict<'_>,
    reported: Option<Reported<'_>>,
    entries: &[Entry<'_>],
    credential: Option<&Credential<'_>>,
    render: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let attribute =
        |name: &str| credential?.attribute_at(name, verdict.now).map(|value| value.as_text().into_owned());
    let subject = credential.map(|credential| credential.subject.id());
    render(&Context { reported, entries, subject, attribute: &attribute })
}
