//! What is asked of a subjects file once, when policies are held against it: who has credentials of which kind, and where
//! that is written.

use std::collections::{HashMap, HashSet};

use super::attributes::Run;
use super::credential::CredentialId;
use super::directory::{Credential, Directory, Subject};
use super::problem::Place;
use super::value::Value;
use crate::yaml::{Invisible, Span, invisible};

/// The places of a subjects file. Let go of when its policies are compiled: a request needs none of it.
#[derive(Default)]
pub(crate) struct Survey {
    /// Each kind of credential with its number and where the first one is.
    kinds: HashMap<Box<str>, (u32, Place)>,
    /// Where each subject's id is.
    pub(super) subjects: Vec<Place>,
    /// By subject, a bit for each kind of which it has a credential without attributes of its own.
    holders: Vec<u64>,
    /// Credentials with attributes of their own.
    own: Vec<Own>,
    /// The first credentials that are written with a scheme before them: `Bearer key_1`.
    schemes: Vec<(u32, Place)>,
    /// The first texts that hold a character nobody sees.
    unseen: Vec<(Place, Invisible)>,
}

/// How many places of one kind are noted: more nobody reads.
const MOST: usize = 1000;

/// A credential with attributes of its own.
#[derive(Clone, Copy)]
struct Own {
    kinds: u64,
    subject: u32,
    attributes: Run,
    place: Place,
}

/// Somebody who can be behind a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'d> {
    /// Whoever it is; of the credential only its attributes mean something.
    pub(crate) credential: Credential<'d>,
    /// Whether the credential has attributes of its own, which are not to be shown.
    pub(crate) has_own: bool,
    /// The subject's line, or the credential's.
    pub(crate) span: Span,
}

impl Survey {
    /// Notes that the enabled credential at `place` is written with a scheme before it.
    pub(super) fn scheme(&mut self, kind: &str, place: Place) {
        if let (Some((number, _)), true) = (self.kinds.get(kind), self.schemes.len() < MOST) {
            self.schemes.push((*number, place));
        }
    }

    /// Notes that the text at `place` holds a character that nobody sees, if it does.
    pub(super) fn unseen(&mut self, text: &str, place: Place) {
        if let (Some(character), true) = (invisible(text), self.unseen.len() < MOST) {
            self.unseen.push((place, character));
        }
    }

    /// The texts that hold a character nobody sees.
    pub(crate) fn unseen_characters(&self) -> impl Iterator<Item = (Span, Invisible)> {
        self.unseen.iter().map(|(place, character)| ((*place).into(), *character))
    }

    /// The places of credentials of this kind that are written with a scheme before them.
    pub(crate) fn schemes(&self, kind: &str) -> impl Iterator<Item = Span> {
        let number = self.kinds.get(kind).map(|(number, _)| *number);
        self.schemes.iter().filter(move |(of, _)| Some(*of) == number).map(|(_, place)| (*place).into())
    }

    /// Notes one credential of the subject with this number, and returns that of its kind.
    pub(super) fn credential(
        &mut self,
        kind: &str,
        subject: u32,
        attributes: Run,
        enabled: bool,
        place: Place,
    ) -> u32 {
        let next = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        let number = match self.kinds.get(kind) {
            Some((number, _)) => *number,
            None => self.kinds.entry(kind.into()).or_insert((next, place)).0,
        };
        if !enabled {
            return number;
        }
        let kinds = bit(number);
        if attributes.is_empty() {
            let at = subject as usize;
            self.holders.resize(self.holders.len().max(at + 1), 0);
            self.holders[at] |= kinds;
        } else {
            self.own.push(Own { kinds, subject, attributes, place });
        }
        number
    }

    /// Every kind, in the order of their numbers.
    pub(super) fn kinds_by_number(&self) -> Vec<Box<str>> {
        let mut kinds: Vec<_> =
            self.kinds.iter().map(|(kind, (number, _))| (*number, kind.clone())).collect();
        kinds.sort_unstable();
        kinds.into_iter().map(|(_, kind)| kind).collect()
    }

    /// Every kind of credential that there is, with the place of the first one, in no particular order.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&str, Span)> {
        self.kinds.iter().map(|(kind, (_, place))| (&**kind, (*place).into()))
    }
}

/// The bit of a kind; all from the 64th on share one, so that of those more is asked than need be.
fn bit(number: u32) -> u64 {
    1 << number.min(63)
}

impl Directory {
    /// Everybody enabled who has an enabled credential of one of `kinds`: once for all credentials without attributes of
    /// their own, and once for each other.
    pub(crate) fn holders<'d>(
        &'d self,
        survey: &'d Survey,
        kinds: &[&str],
    ) -> impl Iterator<Item = Holder<'d>> + use<'d> {
        let numbers = kinds.iter().filter_map(|kind| survey.kinds.get(*kind));
        let wanted = numbers.fold(0, |all, (number, _)| all | bit(*number));
        let id = CredentialId::of("", b"");
        let holder = move |subject: usize, own: Run, place: Place, has_own| {
            let subject = Subject { directory: self, at: subject };
            let credential = Credential { subject, id, own };
            subject.is_enabled().then(|| Holder { credential, has_own, span: place.into() })
        };
        let plain = survey.holders.iter().zip(&survey.subjects).enumerate();
        let plain = plain.filter(move |(_, (held, _))| **held & wanted != 0);
        let plain = plain.filter_map(move |(at, (_, place))| holder(at, Run::default(), *place, false));
        let own = survey.own.iter().filter(move |own| own.kinds & wanted != 0);
        plain.chain(own.filter_map(move |own| holder(own.subject as usize, own.attributes, own.place, true)))
    }

    /// The kinds of which somebody enabled has an enabled credential, in no particular order. Of more than 63 kinds, those
    /// beyond are reported alike.
    pub(crate) fn live_kinds<'s>(&self, survey: &'s Survey) -> impl Iterator<Item = &'s str> + use<'s> {
        let is_enabled = |at: usize| Subject { directory: self, at }.is_enabled();
        let subjects = survey.holders.iter().enumerate().filter(|(at, _)| is_enabled(*at));
        let own = survey.own.iter().filter(|own| is_enabled(own.subject as usize));
        let live =
            subjects.map(|(_, held)| *held).chain(own.map(|own| own.kinds)).fold(0, |all, held| all | held);
        survey.kinds.iter().filter(move |(_, (number, _))| bit(*number) & live != 0).map(|(kind, _)| &**kind)
    }

    /// The name of every attribute that a subject or a credential has, or can come to have, in no particular order.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.names().chain(self.tiers().map(|(name, _)| name))
    }

    /// At most `most` different values that subjects and their credentials have of `attribute`.
    pub(crate) fn values(&self, survey: &Survey, attribute: &str, most: usize) -> Vec<Value> {
        let subjects =
            (0..self.roster.len()).filter_map(|at| Subject { directory: self, at }.attribute(attribute));
        let own = survey.own.iter().filter_map(|own| self.attributes.get(own.attributes, attribute));
        let tiers =
            self.tiers().into_iter().filter(|(name, _)| *name == attribute).flat_map(|(_, tiers)| tiers);
        let (mut seen, mut values) = (HashSet::new(), Vec::new());
        for value in subjects.chain(own).chain(tiers) {
            if values.len() < most && seen.insert(value) {
                values.push(value.clone());
            }
        }
        values
    }

    /// The attribute that follows from facts, and each tier that there is a rule for.
    pub(crate) fn tiers(&self) -> Option<(&str, impl Iterator<Item = &Value>)> {
        let tiers = self.tiers.as_ref()?;
        Some((&*tiers.attribute, tiers.rules.iter().map(|rule| &rule.tier)))
    }
}
