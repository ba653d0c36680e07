//! Why a request is answered as it is: plain data, which is shown as [text](Explanation::text) to people and serialized for
//! programs. Both are made of the same fields, and no credential is in any of them.

mod limit;
mod live;
mod pasted;
mod path;
mod text;
mod typed;

use serde::{Serialize, Serializer};

pub use limit::{Granted, LimitExplained, NotCharged, Numbers, Subject};
pub use live::{LiveExplanation, Next, explain_live, look};
pub use pasted::{Answered, LineOfLog, NotAsked, line_of_log, written_descriptor};
pub use path::{Below, Match, Step, why_unmatched};
pub use typed::{Typed, typed};

use crate::clock::Clock;
use crate::engine::{Decision, Scratch, Trace, Verdict, answer, trace};
use crate::limiter::Worker;
use crate::model::{Descriptor, Hits, Request, Timestamp, lossy};
use crate::policy::{Domain, Entries, MatchResult, MatchedPath, Policy};
use crate::store::Store;
use path::{match_of, path_of, shown_entries};

/// What is answered to a request, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The domain that was asked.
    pub domain: String,
    /// When it was decided, by the wall clock (RFC 3339).
    pub at: String,
    /// What is answered.
    #[serde(flatten)]
    pub call: CallExplained,
    /// What a call that costs one hit is answered afterwards, where this one is refused and costs more, and
    /// [`decide_and_then`] was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<CallExplained>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallExplained {
    /// One for each descriptor of the request, in order.
    pub descriptors: Vec<DescriptorExplained>,
    /// What is answered to the whole request.
    pub overall: Code,
    /// Headers for the client, in order.
    pub response_headers: Vec<(String, String)>,
    /// Headers for the upstream, in order.
    pub request_headers: Vec<(String, String)>,
    /// The body of a refusal; empty where there is none.
    pub body: String,
}

/// One descriptor of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescriptorExplained {
    /// Its entries, with `…` for credentials.
    pub descriptor: String,
    /// What each entry matched, up to the first that matched nothing. Not serialized: `rule` says where the path ends.
    #[serde(skip)]
    pub path: Vec<Step>,
    /// The rule at the end of the path, or why there is none.
    pub rule: Match,
    /// Who is asking, where the policy wants to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Why no limit of the rule was charged.
    #[serde(rename = "limit", skip_serializing_if = "Option::is_none")]
    pub not_charged: Option<NotCharged>,
    /// Every limit that was charged, in the order of the policy.
    pub limits: Vec<LimitExplained>,
    /// What is answered to this descriptor.
    pub answer: Code,
}

/// What is answered, in the words of `ratelimit.v3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Code {
    /// It passes.
    #[serde(rename = "OK")]
    Ok,
    /// It is refused.
    #[serde(rename = "OVER_LIMIT")]
    OverLimit,
}

impl Code {
    fn of(over_limit: bool) -> Self {
        if over_limit { Self::OverLimit } else { Self::Ok }
    }
}

/// Decides `request` by `policy`, charges what it costs on the counters of `worker` once, and says why. `None` when the store
/// needs waiting, and then nothing was charged. `…` stands for the credentials of the subject `stand_in`, if there is one.
pub fn decide<S: Store, C: Clock>(
    worker: &Worker<S, C>,
    policy: &Policy,
    request: &Request<'_>,
    stand_in: Option<&str>,
) -> Option<Explanation> {
    let verdict = worker.decide_now(Scratch::standing_in(stand_in), policy, request).ok()?;
    Some(explain(policy, request, &verdict))
}

/// The same, and [`then`](Explanation::then). What is only supposed to come afterwards is charged as well, so this is for
/// counters that count nobody's requests.
pub fn decide_and_then<S: Store, C: Clock>(
    worker: &Worker<S, C>,
    policy: &Policy,
    request: &Request<'_>,
    stand_in: Option<&str>,
) -> Option<Explanation> {
    let mut explanation = decide(worker, policy, request, stand_in)?;
    let mut of_one = request.clone();
    let dear = of_one.descriptors.iter_mut().filter(|descriptor| descriptor.hits.cost() > 1);
    let costs_more = dear.map(|descriptor| descriptor.hits = Hits::ONE).count() > 0;
    if explanation.call.overall == Code::OverLimit && costs_more {
        let verdict = worker.decide_now(Scratch::standing_in(stand_in), policy, &of_one).ok();
        explanation.then = verdict.map(|verdict| call(policy, &of_one, &verdict));
    }
    Some(explanation)
}

/// Why `verdict` is what `policy` says to `request`.
pub fn explain(policy: &Policy, request: &Request<'_>, verdict: &Verdict<'_>) -> Explanation {
    Explanation {
        domain: lossy(request.domain).into_owned(),
        at: readable(verdict.now),
        call: call(policy, request, verdict),
        then: None,
    }
}

fn call(policy: &Policy, request: &Request<'_>, verdict: &Verdict<'_>) -> CallExplained {
    let answer = answer(request, verdict);
    let context = Context {
        policy,
        asked: request.domain,
        domain: verdict.domain,
        now: verdict.now,
        is_too_costly: verdict.too_costly,
        stand_in: verdict.stand_in(),
    };
    let each = request.descriptors.iter().zip(&verdict.decisions);
    CallExplained {
        descriptors: each.map(|(descriptor, decision)| context.descriptor(descriptor, decision)).collect(),
        overall: Code::of(verdict.over_limit),
        response_headers: answer.response_headers.to_vec(),
        request_headers: answer.request_headers.to_vec(),
        body: answer.body,
    }
}

/// What a descriptor is explained by.
struct Context<'p, 'r> {
    policy: &'p Policy,
    asked: &'r [u8],
    domain: Option<&'p Domain>,
    now: Timestamp,
    is_too_costly: bool,
    /// Whose credentials `…` stands for.
    stand_in: Option<&'r str>,
}

impl Context<'_, '_> {
    fn descriptor(&self, descriptor: &Descriptor<'_>, decision: &Decision<'_>) -> DescriptorExplained {
        let entries = self.domain.map(|domain| domain.entries(&descriptor.entries));
        let entries = entries.as_ref().map(Entries::as_slice).unwrap_or_default();
        let trace = trace(self.policy, self.asked, descriptor, self.now, self.stand_in);
        let matched = matched(&trace);
        DescriptorExplained {
            descriptor: shown_entries(&descriptor.entries, self.policy),
            path: path_of(&trace, &entries, self),
            rule: match_of(&trace, &entries, self),
            subject: matched.and_then(|matched| Subject::of(matched, self.now)),
            not_charged: if self.is_too_costly {
                Some(NotCharged::TooCostly)
            } else {
                NotCharged::of(decision, &trace)
            },
            limits: limit::charged(decision, &trace, &entries, self),
            answer: Code::of(matches!(decision, Decision::Counted(counted) if counted.over_limit())),
        }
    }
}

/// The node that all entries led to, exempt or not.
fn matched<'t, 'p>(trace: &'t Trace<'p>) -> Option<&'t MatchedPath<'p>> {
    match trace {
        Trace::Walked(MatchResult::Node(matched) | MatchResult::Exempt(matched)) => Some(matched),
        _ => None,
    }
}

/// To the millisecond: nobody reads more.
fn readable(time: Timestamp) -> String {
    let millis = i64::try_from(time.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// What is shown in words is serialized in the same words.
macro_rules! serialized_as_shown {
    ($($shown:ty),+) => {
        $(impl Serialize for $shown {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+
    };
}
serialized_as_shown!(Match, Subject, NotCharged, Granted);

#[cfg(test)]
mod tests;
