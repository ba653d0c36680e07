//! The counters of one subject, whatever requests they were charged for.

use super::Engine;
use super::plan::charge;
use crate::algorithm::Charge;
use crate::model::{Hits, Reading};
use crate::policy::{CountBy, Domain, Keys, Level, Limit, Place, Rule};
use crate::subjects::{Credential, Subject};

/// A limit that counts by the subject, or by one of its credentials, and by nothing else.
#[derive(Clone, Copy, Debug)]
pub struct SubjectCounter<'p> {
    /// The rule that has the limit.
    pub rule: &'p Rule,
    /// Where the rule was written.
    pub place: &'p Place,
    /// The limit.
    pub limit: &'p Limit,
    /// Which of the subject's credentials it counts by, from 0 on; `None` where it counts by the subject.
    pub credential: Option<usize>,
    /// What is asked of its counter.
    pub charge: Charge,
}

/// A limit that counts by other entries of a request as well: the subject has as many counters of it as there are values.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'p> {
    /// The rule that has the limit.
    pub rule: &'p Rule,
    /// Where the rule was written.
    pub place: &'p Place,
    /// The limit.
    pub limit: &'p Limit,
}

/// The limits of one subject.
#[derive(Clone, Debug, Default)]
pub struct OfSubject<'p> {
    /// Those with one counter for it, or one for each of its credentials, in no particular order.
    pub counters: Vec<SubjectCounter<'p>>,
    /// Those with counters that cannot be listed.
    pub elsewhere: Vec<Elsewhere<'p>>,
    /// Those that have no number for it, and so do not limit it.
    pub without_number: Vec<Elsewhere<'p>>,
    /// Limits that are left out, as there are too many.
    pub left_out: usize,
}

impl Engine {
    /// The limits of `domain` that are meant for `subject`, each with a charge of `hits` to its counter; `most` of them at most.
    pub fn of_subject<'p>(
        &self,
        domain: &'p Domain,
        subject: Subject<'p>,
        hits: Hits,
        most: usize,
        now: Reading,
    ) -> OfSubject<'p> {
        let credentials: Vec<Credential<'p>> =
            subject.credentials().filter(|(_, enabled)| *enabled).map(|(credential, _)| credential).collect();
        let mut search = Search {
            keys: self.keyer.read(),
            subject,
            credentials,
            hits,
            most,
            now,
            found: OfSubject::default(),
        };
        search.level(&domain.root, false);
        search.found
    }
}

struct Search<'p> {
    keys: Keys,
    subject: Subject<'p>,
    credentials: Vec<Credential<'p>>,
    hits: Hits,
    most: usize,
    now: Reading,
    found: OfSubject<'p>,
}

impl<'p> Search<'p> {
    /// Descriptors below one that asks for a credential are those that a subject's requests reach.
    fn level(&mut self, level: &'p Level, is_below: bool) {
        for node in level.nodes() {
            let is_theirs = is_below || node.subject.is_some();
            let is_exempt =
                |(name, value): &(String, _)| self.subject.attribute_at(name, self.now.wall) == Some(value);
            if is_theirs && node.exempt.iter().any(is_exempt) {
                continue;
            }
            if let (true, Some(rule)) = (is_theirs, &node.rule) {
                rule.limits.iter().for_each(|limit| self.limit(rule, &node.place, limit));
            }
            self.level(&node.children, is_theirs);
        }
    }

    fn limit(&mut self, rule: &'p Rule, place: &'p Place, limit: &'p Limit) {
        let whoever = self.subject.by_any_credential();
        match &*limit.count_by {
            [CountBy::Subject] => self.counter(rule, place, limit, None, whoever),
            [CountBy::Credential] => {
                for (at, credential) in self.credentials.clone().into_iter().enumerate() {
                    self.counter(rule, place, limit, Some(at), credential);
                }
            }
            _ if limit.requests.granted(Some(&whoever), self.now.wall).is_none() => {
                self.no_number(rule, place, limit);
            }
            _ if self.is_full() => self.found.left_out += 1,
            _ => self.found.elsewhere.push(Elsewhere { rule, place, limit }),
        }
    }

    fn counter(
        &mut self,
        rule: &'p Rule,
        place: &'p Place,
        limit: &'p Limit,
        number: Option<usize>,
        whose: Credential<'p>,
    ) {
        let Some(granted) = limit.requests.granted(Some(&whose), self.now.wall) else {
            return self.no_number(rule, place, limit);
        };
        if self.is_full() {
            self.found.left_out += 1;
            return;
        }
        let mut key = self.keys.start();
        match number {
            Some(_) => key.push(&self.keys.part(whose.id.as_bytes())),
            None => key.push(&self.keys.part(whose.subject.id().as_bytes())),
        }
        // Each is asked on its own, whatever the others answer.
        let stage = u32::try_from(self.found.counters.len()).unwrap_or(u32::MAX);
        let charge = charge(
            rule,
            limit,
            (key.finish().key(limit.id), granted),
            Some(&whose),
            self.hits,
            stage,
            self.now,
        );
        self.found.counters.push(SubjectCounter { rule, place, limit, credential: number, charge });
    }

    fn no_number(&mut self, rule: &'p Rule, place: &'p Place, limit: &'p Limit) {
        if self.is_full() {
            self.found.left_out += 1;
        } else {
            self.found.without_number.push(Elsewhere { rule, place, limit });
        }
    }

    fn is_full(&self) -> bool {
        let OfSubject { counters, elsewhere, without_number, .. } = &self.found;
        counters.len() + elsewhere.len() + without_number.len() >= self.most
    }
}
