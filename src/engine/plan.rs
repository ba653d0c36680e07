//! Before the counters: what each descriptor reaches, and what it costs which counter.

use std::num::NonZeroU32;

use super::disposition::{Disposition, dispositions, put_aside};
use super::sent::sent_candidate;
use super::series::series;
use super::{Engine, RuleRef, Scratch, Unmatched};
use crate::algorithm::{Charge, Mode, Share};
use crate::model::{CellKey, Descriptor, Entry, Few, Hits, NoMatch, Reading, Request, Timestamp, recycled};
use crate::policy::{
    CountBy, Domain, Evaluate, KeyStem, Keys, Limit, MatchResult, MatchedPath, Part, Policy, Rule,
    Scratch as Search,
};
use crate::subjects::Credential;

/// A request that was matched. A store settles its [`charges`](Self::charges) as its [`mode`](Self::mode) has them go together;
/// [`conclude`](Self::conclude) judges by their outcomes.
#[derive(Debug)]
pub struct Plan<'p> {
    /// What the wall clock showed at the one reading behind every number.
    pub(super) now: Timestamp,
    /// `None` where no policy has the domain.
    pub(super) domain: Option<&'p Domain>,
    pub(super) mode: Mode,
    pub(super) matched: Vec<Matched<'p>>,
    pub(super) somebody: Option<(usize, Credential<'p>)>,
    pub(super) unmatched: Unmatched,
    /// The request's values would take too long to match: nothing is charged, and it is refused.
    pub(super) too_costly: bool,
    /// Holds what has no lifetime: the charges, and what is to become of each rule.
    pub(super) scratch: Scratch,
}

impl Plan<'_> {
    /// How the charges go together.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What is to be charged to which counter. There may be nothing to charge.
    pub fn charges(&self) -> &[Charge] {
        &self.scratch.0.charges
    }

    /// The buffers, of a plan whose charges could not be made.
    pub fn into_scratch(self) -> Scratch {
        let mut scratch = self.scratch;
        scratch.0.matched = recycled(self.matched);
        scratch
    }
}

/// A descriptor matched, before anything is charged.
#[derive(Debug)]
pub(super) enum Matched<'p> {
    Nothing,
    /// A node without a limit.
    Exemption,
    Exempt(Credential<'p>),
    Rule(Candidate<'p>),
}

/// A rule that was reached, with the counters of those of its limits that are meant for whoever asks.
#[derive(Debug)]
pub(super) struct Candidate<'p> {
    pub(super) rule: RuleRef<'p>,
    pub(super) credential: Option<Credential<'p>>,
    /// Each with the number it grants.
    pub(super) limits: Few<(usize, CellKey, u64)>,
    /// Whether another rule of the request replaces it, or all of its limits.
    pub(super) is_replaced: bool,
    /// What its metrics name of the request.
    pub(super) series: Option<Box<str>>,
}

impl Engine {
    /// Matches `request` with `policy` at `now`, the one reading of the clock behind every number of the answer.
    pub fn plan<'p>(
        &self,
        mut scratch: Scratch,
        policy: &'p Policy,
        request: &Request<'_>,
        now: Reading,
    ) -> Plan<'p> {
        let mut matched: Vec<Matched<'p>> = recycled(std::mem::take(&mut scratch.0.matched));
        scratch.0.charges.clear();
        scratch.0.dispositions.clear();
        let Some(domain) = policy.domain(request.domain) else {
            matched.extend(request.descriptors.iter().map(|_| Matched::Nothing));
            scratch.0.dispositions.extend(matched.iter().map(|_| Disposition::Charged));
            let unmatched = Unmatched { many: request.descriptors.len(), ..Unmatched::default() };
            return Plan {
                now: now.wall,
                domain: None,
                mode: Mode::Each,
                matched,
                somebody: None,
                unmatched,
                too_costly: false,
                scratch,
            };
        };
        scratch.0.search.begin();
        let (mut somebody, mut unmatched) = (None, Unmatched::default());
        let keys = &self.keyer.read();
        matched.extend(request.descriptors.iter().enumerate().map(|(at, descriptor)| {
            let missed = |reason| unmatched.add(at, reason);
            let (one, credential) =
                reach((domain, keys), descriptor, now.wall, &mut scratch.0.search, missed);
            somebody = somebody.or(credential.map(|credential| (at, credential)));
            one
        }));
        let too_costly = scratch.0.search.is_exhausted();
        if too_costly {
            for one in &mut matched {
                *one = Matched::Nothing;
            }
            (somebody, unmatched) = (None, Unmatched::default());
        }
        put_aside(&mut matched);
        dispositions(&matched, domain.evaluate, &mut scratch.0.dispositions);

        let buffers = &mut *scratch.0;
        let charged = matched.iter().zip(&buffers.dispositions).zip(&request.descriptors);
        for (stage, ((one, disposition), descriptor)) in (0..).zip(charged) {
            if let (Matched::Rule(candidate), Disposition::Charged) = (one, disposition) {
                buffers.charges.extend(candidate.charges(descriptor.hits, stage, NonZeroU32::MIN, now));
            }
        }
        let mode = match domain.evaluate {
            Evaluate::Each => Mode::Each,
            Evaluate::AllOrNothing | Evaluate::FirstMatch => Mode::AllOrNothing,
            Evaluate::InOrder => Mode::InOrder,
        };
        Plan { now: now.wall, domain: Some(domain), mode, matched, somebody, unmatched, too_costly, scratch }
    }
}

/// What `descriptor` reaches, and who is behind it. Says to `missed` why it reaches nothing.
fn reach<'p>(
    (domain, keys): (&'p Domain, &Keys),
    descriptor: &Descriptor<'_>,
    now: Timestamp,
    search: &mut Search,
    missed: impl FnOnce(NoMatch),
) -> (Matched<'p>, Option<Credential<'p>>) {
    let entries = domain.entries(&descriptor.entries);
    let entries = entries.as_slice();
    let reached = domain.walk(&entries, now, search);
    if let Some(sent) = descriptor.limit {
        return (Matched::Rule(sent_candidate((domain, keys), &entries, sent, reached)), None);
    }
    let path = match reached {
        MatchResult::Nothing { at, level, .. } => {
            missed(level.no_match(entries.get(at)));
            return (Matched::Nothing, None);
        }
        MatchResult::Exempt(path) => {
            let exempt = path.credential.map_or(Matched::Exemption, Matched::Exempt);
            return (exempt, path.credential);
        }
        MatchResult::Node(path) => path,
    };
    let credential = path.credential;
    let matched = match path.node().and_then(|node| node.rule.as_ref()) {
        None => Matched::Exemption,
        Some(rule) => {
            // Limits of one rule nearly always count by the same: what they share is hashed once.
            let mut shared: Option<(&[CountBy], KeyStem)> = None;
            let path_entries = path_entries(keys, &entries, &path);
            let granted = rule.limits.iter().enumerate().filter_map(|(at, limit)| {
                let granted = limit.requests.granted(path.credential.as_ref(), now)?;
                let stem = match &shared {
                    Some((by, stem)) if **by == *limit.count_by => *stem,
                    _ => shared.insert((&limit.count_by, stem(keys, limit, &path_entries, &path))).1,
                };
                Some((at, stem.key(limit.id), granted))
            });
            let limits = granted.collect();
            Matched::Rule(Candidate {
                rule: RuleRef::Written(rule),
                credential,
                limits,
                is_replaced: false,
                series: series(domain, rule, &entries, &path),
            })
        }
    };
    (matched, credential)
}

/// What `limit` counts by, of whoever and whatever the entries on the path are.
pub(super) fn stem(keys: &Keys, limit: &Limit, entries: &[PathEntry<'_>], path: &MatchedPath<'_>) -> KeyStem {
    let mut key = keys.start();
    for part in limit.count_by.iter() {
        match (part, &path.credential) {
            (CountBy::Entries, _) => {
                for entry in entries {
                    key.push(&entry.key);
                    key.push(&entry.value);
                }
            }
            (CountBy::Entry(name), _) => {
                for entry in entries.iter().filter(|entry| entry.name == name.as_bytes()) {
                    key.push(&entry.key);
                    key.push(&entry.value);
                }
            }
            (CountBy::Subject, Some(credential)) => {
                key.push(&keys.part(credential.subject.id().as_bytes()));
            }
            (CountBy::Credential, Some(credential)) => {
                key.push(&keys.part(credential.id.as_bytes()));
            }
            (CountBy::Subject | CountBy::Credential, None) | (CountBy::Domain, _) => {}
        }
    }
    key.finish()
}

/// The entries on the path, ready to be counted by: long ones are read once for all limits.
pub(super) fn path_entries<'e>(
    keys: &Keys,
    entries: &[Entry<'e>],
    path: &'e MatchedPath<'_>,
) -> Few<PathEntry<'e>> {
    let parts = path.steps(entries).map(|(entry, node)| PathEntry {
        name: entry.key,
        key: keys.part(entry.key),
        value: keys.part(node.counted(entry.value)),
    });
    parts.collect()
}

/// An entry that matched a node, and what is counted of it.
pub(super) struct PathEntry<'e> {
    name: &'e [u8],
    key: Part<'e>,
    value: Part<'e>,
}

impl Candidate<'_> {
    /// Whether it says something about whoever asks: one of its limits is meant for them, or that there is none.
    pub(super) fn applies(&self) -> bool {
        !self.limits.is_empty() || self.rule.is_unlimited()
    }

    /// One charge for each limit, to the share that one of so many `replicas` has of it: at least one hit, of a limit that grants
    /// any.
    pub(super) fn charges(
        &self,
        hits: Hits,
        stage: u32,
        replicas: NonZeroU32,
        now: Reading,
    ) -> impl Iterator<Item = Charge> {
        self.limits.iter().map(move |&(at, key, granted)| {
            let granted = (granted / u64::from(replicas.get())).max(granted.min(1));
            let limit = &self.rule.limits[at];
            charge(&self.rule, limit, (key, granted), self.credential.as_ref(), hits, stage, now)
        })
    }
}

/// The charge of `hits` to the counter `key` of one limit of `rule`, which grants that many.
pub(super) fn charge(
    rule: &Rule,
    limit: &Limit,
    (key, granted): (CellKey, u64),
    credential: Option<&Credential<'_>>,
    hits: Hits,
    stage: u32,
    now: Reading,
) -> Charge {
    let share = Share {
        algorithm: limit.window.algorithm(granted, limit.requests.written(), credential, now),
        limit: granted,
        hits,
        count_denied: limit.count_denied,
        settles: limit.settles,
        enforced: !rule.shadow,
        stage,
        cell: 0,
    };
    Charge { key, durability: limit.durability, share }
}
