//! What a policy answers to a request: matched, charged and told as the reference says, with no thought of speed.

use std::collections::{BTreeMap, HashMap};

use super::counter::{Event, History, Terms, applied};
use super::policy::{
    Ask, Counting, DAY, Descriptor, Evaluate, FAMILIES, Limit, Limits, Node, Policy, Request, Rule, SECOND,
    Wanted,
};

/// What is reported about one limit of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) name: String,
    pub(super) admitted: bool,
    pub(super) limit: u64,
    pub(super) quota: u64,
    pub(super) used: u64,
    pub(super) attempted: u64,
    pub(super) remaining: u64,
    pub(super) window: u64,
    pub(super) reset: u64,
    pub(super) full: u64,
    pub(super) retry: Option<u64>,
    pub(super) refuses: bool,
}

/// What became of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Free,
    Unlimited,
    Replaced,
    Skipped,
    Counted(Vec<Reported>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Answer {
    pub(super) over_limit: bool,
    pub(super) statuses: Vec<Status>,
    pub(super) retry: Option<u64>,
    pub(super) headers: BTreeMap<String, String>,
    /// Whether one counter was asked for by several charges, some of which give hits back, refuse nothing, or are granted
    /// another number. The time to retry may be reported longer than it is then, or not at all.
    pub(super) is_rough: bool,
    /// Whether a limit was charged that counts whatever it is charged, so that a refusal takes something.
    pub(super) settles: bool,
    /// Whether all that was to be charged is one counter's, of rules that refuse by themselves.
    pub(super) one_counter: bool,
}

/// Which counter: what the limit is, and the values it counts by.
type Key = String;

/// A limit that is to be charged.
#[derive(Clone, Debug)]
struct Charge {
    key: Key,
    terms: Terms,
    ask: Ask,
    count_denied: bool,
    shadow: bool,
    quota_mode: bool,
    name: String,
    family: usize,
}

/// What a descriptor reached.
#[derive(Debug)]
enum MatchResult {
    Nothing,
    Exemption,
    Unlimited { shadow: bool },
    Charges { charges: Vec<Charge>, shadow: bool },
    Replaced { unlimited: bool },
}

#[derive(Clone, Default)]
pub(super) struct Model {
    counters: HashMap<Key, History>,
}

impl Model {
    pub(super) fn decide(&mut self, policy: &Policy, request: &Request, now: u64) -> Answer {
        let mut reached: Vec<MatchResult> = reach_all(policy, request);
        let mut passed_over = vec![false; reached.len()];
        if policy.evaluate == Evaluate::FirstMatch {
            let first = reached.iter().position(|one| match one {
                MatchResult::Nothing | MatchResult::Replaced { .. } => false,
                MatchResult::Exemption => true,
                MatchResult::Unlimited { shadow } | MatchResult::Charges { shadow, .. } => !shadow,
            });
            for (at, passed) in passed_over.iter_mut().enumerate() {
                *passed = first.is_some_and(|first| at > first);
            }
        }

        let stages: Vec<Vec<Charge>> = reached
            .iter_mut()
            .zip(&passed_over)
            .map(|(one, passed)| match one {
                MatchResult::Charges { charges, .. } if !passed => charges.clone(),
                _ => Vec::new(),
            })
            .collect();
        let (reported, is_rough) = self.charge_all(policy.evaluate, &stages, now);
        let mut reported = reported.into_iter();
        let mut statuses: Vec<Status> = Vec::new();
        let mut charged: Vec<Vec<Charge>> = Vec::new();
        for ((one, passed), stage) in reached.iter().zip(&passed_over).zip(&stages) {
            let reported: Vec<_> = reported.by_ref().take(stage.len()).collect();
            charged.push(if reported.iter().any(Option::is_none) { Vec::new() } else { stage.clone() });
            statuses.push(match one {
                MatchResult::Nothing | MatchResult::Exemption => Status::Free,
                _ if *passed => passed_over_status(&request.descriptors[statuses.len()]),
                MatchResult::Unlimited { .. } | MatchResult::Replaced { unlimited: true } => {
                    Status::Unlimited
                }
                MatchResult::Replaced { unlimited: false } => Status::Replaced,
                MatchResult::Charges { .. } if reported.iter().any(Option::is_none) => {
                    passed_over_status(&request.descriptors[statuses.len()])
                }
                MatchResult::Charges { .. } => Status::Counted(reported.into_iter().flatten().collect()),
            });
        }
        let all = stages.concat();
        Answer {
            settles: all.iter().any(|charge| charge.terms.settles),
            one_counter: all.windows(2).all(|pair| pair[0].key == pair[1].key)
                && all.iter().all(|charge| !charge.quota_mode),
            ..conclude(statuses, &charged, now, is_rough)
        }
    }

    /// What each charge reports, `None` where an earlier stage refused; and whether that is rough.
    fn charge_all(
        &mut self,
        evaluate: Evaluate,
        stages: &[Vec<Charge>],
        now: u64,
    ) -> (Vec<Option<Reported>>, bool) {
        let together = matches!(evaluate, Evaluate::AllOrNothing | Evaluate::FirstMatch);
        let stages = if together { vec![stages.concat()] } else { stages.to_vec() };
        let (mut all, mut is_over) = (Vec::new(), false);
        for stage in &stages {
            if is_over && evaluate == Evaluate::InOrder {
                all.extend(stage.iter().map(|_| None));
                continue;
            }
            let (reported, refused) = self.all_or_nothing(stage, now);
            is_over |= refused;
            all.extend(reported.into_iter().map(Some));
        }
        let is_rough = self.report_waits(&stages.concat(), &mut all, now);
        (all, is_rough)
    }

    /// All charges are counted, or none but the refusals of limits that count theirs.
    fn all_or_nothing(&mut self, charges: &[Charge], now: u64) -> (Vec<Reported>, bool) {
        // First in a copy, each beside those before it.
        let mut copy = self.counters.clone();
        let mut tried = Vec::new();
        for charge in charges {
            let history = copy.entry(charge.key.clone()).or_default();
            let used = charge.terms.state(history, now).used;
            let admitted = charge.terms.admits(history, charge.ask, now);
            let is_counted = admitted || charge.count_denied || charge.terms.settles;
            history.push(charge.event(is_counted, now));
            tried.push((admitted, applied(used, charge.ask)));
        }
        let refused = charges.iter().zip(&tried).any(|(charge, (admitted, _))| !charge.shadow && !admitted);

        let mut reported = Vec::new();
        for (charge, &(admitted, attempted)) in charges.iter().zip(&tried) {
            let is_counted = if refused {
                charge.terms.settles || (!admitted && charge.count_denied)
            } else {
                // Asked again, for what was counted before may be other than what was tried.
                admitted || charge.count_denied || charge.terms.settles
            };
            let history = self.counters.entry(charge.key.clone()).or_default();
            history.push(charge.event(is_counted, now));
            let state = charge.terms.state(history, now);
            let limit = charge.terms.limit();
            let mut reset = state.frees.first().map_or(0, |at| at - now);
            let is_sliding = charge.terms.counting == Counting::Sliding;
            if charge.terms.settles && is_sliding && charge.asks() && state.used >= limit {
                // When the next one passes.
                let next = Charge { ask: Ask::Charge(1), ..charge.clone() };
                reset = first_to_pass(history, &[], &next, now).unwrap_or(reset);
            }
            reported.push(Reported {
                name: charge.name.clone(),
                admitted,
                limit,
                quota: charge.terms.number,
                used: state.used,
                attempted,
                remaining: limit.saturating_sub(state.used),
                window: charge.terms.length,
                reset,
                full: state.frees.last().map_or(0, |at| at - now),
                retry: None,
                refuses: false,
            });
        }

        (reported, refused)
    }

    /// Reports to whoever was refused how long it takes until all charges of the request pass that share the counter. Says whether
    /// any of these is rough.
    fn report_waits(&self, charges: &[Charge], reported: &mut [Option<Reported>], now: u64) -> bool {
        let mut is_rough = false;
        for (charge, reported) in charges.iter().zip(reported) {
            let beside: Vec<&Charge> = charges.iter().filter(|other| other.key == charge.key).collect();
            let Some(reported) = reported.as_mut().filter(|reported| !reported.admitted) else { continue };
            let is_bucket = matches!(charge.terms.counting, Counting::Bucket { .. });
            let terms = |charge: &Charge| (charge.terms.number, charge.terms.burst);
            let rough = |other: &&Charge| {
                other.shadow || !other.asks() || (terms(other) != terms(charge) && is_bucket)
            };
            is_rough |= beside.len() > 1 && beside.iter().any(rough);
            let history = &self.counters[&charge.key];
            // What refuses nothing is waited for by itself.
            let nobody_waits = beside.iter().all(|other| other.shadow);
            reported.retry =
                first_to_pass(history, if nobody_waits { &beside[..0] } else { &beside }, charge, now);
            if let (Counting::Sliding, Some(retry)) = (charge.terms.counting, reported.retry) {
                reported.reset = retry;
            }
            is_rough |= beside.len() > 1 && reported.retry.is_none();
        }
        is_rough
    }
}

impl Charge {
    fn asks(&self) -> bool {
        !matches!(self.ask, Ask::Refund(_))
    }

    fn event(&self, is_counted: bool, now: u64) -> Event {
        Event { at: now, ask: if is_counted { self.ask } else { Ask::Look }, terms: self.terms }
    }
}

/// The first time at which `charge` passes together with those of its counter, if nobody else asks: it is a time at which
/// hits become free.
fn first_to_pass(history: &History, together: &[&Charge], charge: &Charge, now: u64) -> Option<u64> {
    let alone = Charge { shadow: false, ..charge.clone() };
    let charges = if together.is_empty() { vec![&alone] } else { together.to_vec() };
    let passes = |at: u64| {
        let mut history = history.clone();
        charges.iter().all(|charge| {
            let admitted = charge.terms.admits(&history, charge.ask, at);
            history.push(charge.event(admitted || charge.count_denied || charge.terms.settles, at));
            admitted || charge.shadow
        })
    };
    let mut times: Vec<u64> =
        charges.iter().flat_map(|charge| charge.terms.state(history, now).frees).collect();
    times.sort_unstable();
    times.into_iter().find(|at| passes(*at)).map(|at| at - now)
}

/// Judged and told.
fn conclude(mut statuses: Vec<Status>, charged: &[Vec<Charge>], now: u64, is_rough: bool) -> Answer {
    let mut rules = Vec::new();
    for (status, charges) in statuses.iter_mut().zip(charged) {
        let Status::Counted(reported) = status else { continue };
        for (reported, _) in reported.iter_mut().zip(charges).filter(|(_, charge)| charge.shadow) {
            if !reported.admitted {
                reported.remaining = 0;
            }
            (reported.admitted, reported.retry) = (true, None);
        }
        let is_over = reported.iter().any(|reported| !reported.admitted);
        let is_quota = charges.first().is_some_and(|charge| charge.quota_mode);
        rules.push((is_quota, is_over));
    }
    let ordinary = rules.iter().any(|(is_quota, is_over)| !is_quota && *is_over);
    let mut quotas = rules.iter().filter(|(is_quota, _)| *is_quota).peekable();
    let quotas = quotas.peek().is_some() && quotas.all(|(_, is_over)| *is_over);
    let over_limit = ordinary || quotas;

    let mut spoken: Vec<(Reported, &Charge)> = Vec::new();
    for (status, charges) in statuses.iter_mut().zip(charged) {
        let Status::Counted(reported) = status else { continue };
        for (reported, charge) in reported.iter_mut().zip(charges) {
            reported.refuses = !reported.admitted && if charge.quota_mode { quotas } else { ordinary };
            spoken.push((reported.clone(), charge));
        }
    }
    // The one to report first: what refuses, the longest time first, then the fewest hits left, then the longest window.
    spoken.sort_by_key(|(reported, charge)| {
        let retry = if reported.refuses { reported.retry.unwrap_or(u64::MAX) } else { 0 };
        (!reported.refuses, charge.shadow, u64::MAX - retry, reported.remaining, u64::MAX - reported.window)
    });
    let refusing =
        || spoken.iter().filter(|(reported, _)| reported.refuses).map(|(reported, _)| reported.retry);
    let retry = if refusing().any(|retry| retry.is_none()) { None } else { refusing().flatten().max() };
    let headers = headers(&spoken, retry, over_limit, now);
    Answer { over_limit, statuses, retry, headers, is_rough, settles: false, one_counter: false }
}

/// Each family reports its first limit; a header that two of them have is reported once.
fn headers(
    spoken: &[(Reported, &Charge)],
    retry: Option<u64>,
    over_limit: bool,
    now: u64,
) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let mut reported_by = Vec::new();
    for (reported, charge) in spoken {
        let (prefix, emit) = FAMILIES[charge.family];
        if reported_by.contains(&charge.family) {
            continue;
        }
        reported_by.push(charge.family);
        if emit == "on_limited" && !reported.refuses {
            continue;
        }
        let mut tell = |name: &str, value: u64| headers.insert(format!("{prefix}-{name}"), value.to_string());
        tell("Limit", reported.limit);
        tell("Quota", reported.quota);
        tell("Used", reported.used);
        tell("Attempted", reported.attempted);
        tell("Remaining", reported.remaining);
        tell("Reset", (now + reported.reset).div_ceil(1_000_000));
        tell("Full", reported.full.div_ceil(SECOND));
        tell("Window", reported.window.div_ceil(SECOND));
        headers.insert(format!("{prefix}-Name"), reported.name.clone());
        if let (Some(retry), true) = (retry, over_limit) {
            headers.insert(format!("{prefix}-Wait"), retry.div_ceil(1_000_000).to_string());
            headers.entry("Retry-After".to_owned()).or_insert(retry.div_ceil(SECOND).max(1).to_string());
        }
    }
    headers
}

/// A rule that was not charged is reported as that; a limit of Envoy's as nothing.
fn passed_over_status(descriptor: &Descriptor) -> Status {
    if descriptor.sent.is_some() { Status::Free } else { Status::Skipped }
}

/// What each descriptor reaches, without what others replace.
fn reach_all(policy: &Policy, request: &Request) -> Vec<MatchResult> {
    let ways: Vec<Vec<&Node>> =
        request.descriptors.iter().map(|descriptor| walk(&policy.nodes, &descriptor.entries)).collect();
    let rule = |at: usize| ways[at].last().and_then(|node| node.rule.as_ref());
    // A limit that comes with the request has no name and replaces nothing.
    let written = (0..ways.len()).filter(|at| request.descriptors[*at].sent.is_none()).filter_map(rule);
    let replaced: Vec<&String> = written
        .flat_map(|rule| match &rule.limits {
            Limits::Unlimited { replaces, .. } | Limits::One(Limit { replaces, .. }) => {
                replaces.iter().collect()
            }
            Limits::Several(limits) => limits.iter().flat_map(|limit| &limit.replaces).collect::<Vec<_>>(),
        })
        .collect();
    let is_replaced = |name: &Option<String>| name.as_ref().is_some_and(|name| replaced.contains(&name));

    let reach = |at: usize| {
        let descriptor = &request.descriptors[at];
        if let Some((number, unit, many)) = descriptor.sent {
            return sent(policy, descriptor, &ways[at], number.into(), (unit.0, unit.1), many);
        }
        let Some(node) = ways[at].last() else { return MatchResult::Nothing };
        let Some(rule) = &node.rule else { return MatchResult::Exemption };
        let limits: Vec<&Limit> = match &rule.limits {
            Limits::Unlimited { name, .. } if is_replaced(name) => {
                return MatchResult::Replaced { unlimited: true };
            }
            Limits::Unlimited { .. } => return MatchResult::Unlimited { shadow: rule.shadow },
            Limits::One(limit) => vec![limit],
            Limits::Several(limits) => limits.iter().collect(),
        };
        let left = limits.iter().filter(|limit| !is_replaced(&limit.name));
        let charges: Vec<Charge> =
            left.map(|limit| charge(policy, descriptor, &ways[at], rule, limit)).collect();
        if charges.is_empty() {
            return MatchResult::Replaced { unlimited: false };
        }
        MatchResult::Charges { charges, shadow: rule.shadow }
    };
    (0..ways.len()).map(reach).collect()
}

/// The nodes that the entries land on; none when one of them finds none. An exact value is looked for first, then a star,
/// then the key alone.
fn walk<'p>(nodes: &'p [Node], entries: &[(&str, &str)]) -> Vec<&'p Node> {
    let Some((key, value)) = entries.first() else { return Vec::new() };
    let at_level =
        |wanted: &dyn Fn(&Wanted) -> bool| nodes.iter().find(|node| node.key == *key && wanted(&node.wanted));
    let node = at_level(&|wanted| matches!(wanted, Wanted::Exact(exact) if exact == value))
        .or_else(|| at_level(&|wanted| matches!(wanted, Wanted::Star { .. }) && value.starts_with('w')))
        .or_else(|| at_level(&|wanted| *wanted == Wanted::Any));
    let Some(node) = node else { return Vec::new() };
    if entries.len() == 1 {
        return vec![node];
    }
    let rest = walk(&node.children, &entries[1..]);
    if rest.is_empty() { rest } else { [vec![node], rest].concat() }
}

fn label(way: &[&Node]) -> String {
    let labels = way.iter().map(|node| match node.wanted {
        Wanted::Exact(value) => format!("{}={value}", node.key),
        Wanted::Star { .. } => format!("{}=w*", node.key),
        Wanted::Any => node.key.to_owned(),
    });
    labels.collect::<Vec<_>>().join(" > ")
}

/// The counter of a limit: where it stands, how it counts, and the values on the way to it.
fn key(descriptor: &Descriptor, way: &[&Node], limit: &Limit) -> Key {
    if limit.pooled {
        let value = descriptor.entries.iter().find(|(key, _)| *key == "s").map(|(_, value)| value);
        return format!("pool {value:?}");
    }
    let values = way.iter().zip(&descriptor.entries).map(|(node, (_, value))| match node.wanted {
        Wanted::Star { shared: true } => "w*",
        _ => value,
    });
    let counting = match limit.counting {
        Counting::Bucket { .. } => "Bucket".to_owned(),
        counting => format!("{counting:?} {:?}", limit.unit.filter(|_| counting == Counting::Clock)),
    };
    format!("{} {counting} {} {:?}", label(way), limit.length, values.collect::<Vec<_>>())
}

fn terms(limit: &Limit, number: u64) -> Terms {
    let burst = match limit.counting {
        // Whoever is granted less than is written saves up less.
        Counting::Bucket { burst: Some(burst) } if number < limit.number => {
            (burst * number / limit.number).max(u64::from(number > 0))
        }
        Counting::Bucket { burst } => burst.unwrap_or(number),
        _ => 0,
    };
    let length = if limit.counting == Counting::Day { DAY } else { limit.length };
    Terms { counting: limit.counting, length, number, burst, settles: limit.settles }
}

fn counts_refusals(policy: &Policy, limit: &Limit) -> bool {
    let is_plain = limit.unit.is_some() && limit.counting == Counting::Clock;
    limit.count_denied.unwrap_or(is_plain && policy.evaluate == Evaluate::Each)
}

fn charge(policy: &Policy, descriptor: &Descriptor, way: &[&Node], rule: &Rule, limit: &Limit) -> Charge {
    Charge {
        key: key(descriptor, way, limit),
        terms: terms(limit, limit.number),
        ask: descriptor.ask,
        count_denied: counts_refusals(policy, limit),
        shadow: rule.shadow,
        quota_mode: rule.quota,
        name: limit.name.clone().unwrap_or_else(|| label(way)),
        family: limit.family.unwrap_or(0),
    }
}

/// A limit that comes with the request: it has the counter of the limit with the same window, or else one of its own.
fn sent(
    policy: &Policy,
    descriptor: &Descriptor,
    way: &[&Node],
    number: u64,
    (unit, length): (&'static str, u64),
    many: u32,
) -> MatchResult {
    let limits: &[Limit] = match way.last().and_then(|node| node.rule.as_ref()).map(|rule| &rule.limits) {
        Some(Limits::One(limit)) => std::slice::from_ref(limit),
        Some(Limits::Several(limits)) => limits,
        Some(Limits::Unlimited { .. }) | None => &[],
    };
    let length = length * u64::from(many);
    let same = limits.iter().find(|limit| limit.counting != Counting::Day && limit.length == length);
    let overridden = same.or(limits.first());
    let keys: Vec<_> = descriptor.entries.iter().map(|(key, _)| *key).collect();
    let settles = overridden.is_some_and(|limit| limit.settles);
    let own = Terms { counting: Counting::Clock, length, number, burst: 0, settles };
    let charge = Charge {
        key: same.map_or_else(
            || format!("sent {unit} {many} {:?}", descriptor.entries),
            |limit| key(descriptor, way, limit),
        ),
        terms: same.map_or(own, |limit| terms(limit, number)),
        ask: descriptor.ask,
        count_denied: overridden
            .map_or(policy.evaluate == Evaluate::Each, |limit| counts_refusals(policy, limit)),
        shadow: false,
        quota_mode: false,
        name: format!("{} (limit from Envoy)", keys.join(" > ")),
        family: overridden.and_then(|limit| limit.family).unwrap_or(0),
    };
    MatchResult::Charges { charges: vec![charge], shadow: false }
}
