//! What becomes of a request whose store failed, as `on_store_failure` says.
//!
//! A request may reach limits of all three kinds. One `closed` limit refuses it. Else the `local` ones are counted here, and decide;
//! of the others nothing is known, so they are left out. Where all are `open` there is no answer.

use super::Verdict;
use super::disposition::Disposition;
use super::plan::{Candidate, Matched, Plan};
use crate::algorithm::{Charge, Outcomes};
use crate::model::{Few, Hits, Reading, Request};
use crate::policy::{Limit, OnStoreFailure, Shape};
use crate::subjects::Credential;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The limit because of which a request was refused without its counter. Its numbers are not known, and are not told.
#[derive(Debug)]
pub struct Closed<'p> {
    /// The place of the descriptor that reached it.
    pub descriptor: usize,
    /// Its name.
    pub limit: String,
    /// How it refuses.
    pub(super) shape: Arc<Shape>,
    /// Who was to be charged.
    pub(super) credential: Option<Credential<'p>>,
}

impl<'p> Plan<'p> {
    /// What becomes of the request when its store fails.
    pub fn on_store_failure(&self) -> OnStoreFailure {
        let mut limits = self.candidates().flat_map(|(_, one)| limits(one));
        if self.closed().is_some() {
            OnStoreFailure::Closed
        } else if limits.any(|limit| limit.on_store_failure == OnStoreFailure::Local) {
            OnStoreFailure::Local
        } else {
            OnStoreFailure::Open
        }
    }

    /// For each charge the one that is made here instead, to this replica's share of the limit; `None` where the limit is not
    /// `local`.
    pub fn local_charges(
        &self,
        request: &Request<'_>,
        replicas: NonZeroU32,
        now: Reading,
    ) -> Few<Option<Charge>> {
        let mut charges = Few::new();
        for (at, candidate) in self.candidates() {
            let stage = u32::try_from(at).unwrap_or(u32::MAX);
            let hits = request.descriptors[at].hits;
            let made = candidate.charges(hits, stage, replicas, now);
            let local = limits(candidate).map(|limit| limit.on_store_failure == OnStoreFailure::Local);
            charges.extend(made.zip(local).map(|(charge, is_local)| is_local.then_some(charge)));
        }
        charges
    }

    /// Refuses the request without its counters, if a `closed` limit is among those it reached.
    pub fn refuse(self) -> Verdict<'p> {
        let closed = self.closed();
        let unknown = self.charges().iter().map(|_| None).collect::<Outcomes>();
        let verdict = self.conclude(&unknown);
        Verdict { over_limit: closed.is_some(), closed, ..verdict }
    }

    /// The first limit that refuses: one of an ordinary rule, or else of a quota rule, where every quota rule has such a limit.
    fn closed(&self) -> Option<Closed<'p>> {
        let refusing = |at: usize, one: &Candidate<'p>| {
            // A refund asks for nothing that could be refused.
            if self.gives_back(at) {
                return None;
            }
            let mut limits = limits(one);
            limits.find(|limit| limit.on_store_failure == OnStoreFailure::Closed && !one.rule.shadow).cloned()
        };
        let first = |is_quota: bool| {
            let mut rules = self.candidates().filter(move |(_, one)| one.rule.quota == is_quota);
            rules.find_map(|(at, one)| Some((at, one, refusing(at, one)?)))
        };
        let mut quotas = self.candidates().filter(|(_, one)| one.rule.quota);
        let (descriptor, one, limit) = first(false).or_else(|| {
            if quotas.all(|(at, one)| refusing(at, one).is_some()) { first(true) } else { None }
        })?;
        Some(Closed { descriptor, limit: limit.name, shape: limit.shape, credential: one.credential })
    }

    /// Whether the charges of this descriptor are refunds.
    fn gives_back(&self, descriptor: usize) -> bool {
        let charges = self.charges();
        let first = charges.partition_point(|charge| (charge.share.stage as usize) < descriptor);
        let of_it = charges.get(first).filter(|charge| charge.share.stage as usize == descriptor);
        of_it.is_some_and(|charge| matches!(charge.share.hits, Hits::Refund(_)))
    }

    /// The rules that are charged, each with the place of its descriptor.
    fn candidates(&self) -> impl Iterator<Item = (usize, &Candidate<'p>)> {
        let all = self.matched.iter().zip(&self.scratch.0.dispositions).enumerate();
        all.filter_map(|(at, one)| match one {
            (Matched::Rule(candidate), Disposition::Charged) => Some((at, candidate)),
            _ => None,
        })
    }
}

fn limits<'c>(candidate: &'c Candidate<'_>) -> impl Iterator<Item = &'c Limit> {
    candidate.limits.iter().map(|&(at, ..)| &candidate.rule.limits[at])
}
