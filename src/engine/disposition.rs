//! Which of the rules that a request reaches are charged: some replace others, and under `first_match` one is enough.

use std::collections::HashSet;

use super::RuleRef;
use super::plan::Matched;
use crate::policy::{Evaluate, Limit, Rule};

/// What is to become of a rule that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Charged,
    Replaced,
    Skipped,
}

/// A rule that another one replaces is put aside. Of the others, under `first_match` the first one that says something about
/// whoever asks settles the request: a rule, or an exemption. A rule that is only watched settles nothing. One for each is added
/// to `dispositions`.
pub(super) fn dispositions(matched: &[Matched<'_>], evaluate: Evaluate, dispositions: &mut Vec<Disposition>) {
    let settles = |one: &Matched<'_>| match one {
        Matched::Nothing => false,
        Matched::Exemption | Matched::Exempt(_) => true,
        Matched::Rule(candidate) => candidate.applies() && !candidate.is_replaced && !candidate.rule.shadow,
    };
    let first = match evaluate {
        Evaluate::FirstMatch => matched.iter().position(settles),
        Evaluate::Each | Evaluate::AllOrNothing | Evaluate::InOrder => None,
    };
    let disposition = |(at, one): (usize, &Matched<'_>)| match one {
        _ if first.is_some_and(|first| at > first) => Disposition::Skipped,
        Matched::Rule(candidate) if candidate.is_replaced => Disposition::Replaced,
        _ => Disposition::Charged,
    };
    dispositions.extend(matched.iter().enumerate().map(disposition));
}

/// Puts aside the rules that others of the request replace by their names, and single limits of a list.
pub(super) fn put_aside(matched: &mut [Matched<'_>]) {
    let names_some = |one: &Matched<'_>| match one {
        Matched::Rule(candidate) => {
            let rule: &Rule = &candidate.rule;
            !rule.replaces.is_empty() || rule.limits.iter().any(|limit| !limit.replaces.is_empty())
        }
        _ => false,
    };
    // Most policies have no such rule.
    if !matched.iter().any(names_some) {
        return;
    }
    let replaced = replaced(matched);
    for one in matched {
        let Matched::Rule(candidate) = one else { continue };
        let RuleRef::Written(rule) = candidate.rule else { continue };
        let granted = !candidate.limits.is_empty();
        candidate.limits.retain(|(at, ..)| {
            let limit = &rule.limits[*at];
            !(limit.is_named && replaced.contains(limit.name.as_str()))
        });
        let whole = rule.name.as_deref().is_some_and(|name| replaced.contains(name));
        candidate.is_replaced = whole || (granted && candidate.limits.is_empty());
    }
}

/// The names that rules and limits of the request replace. Each is asked once, however many descriptors reach it.
fn replaced<'p>(matched: &[Matched<'p>]) -> HashSet<&'p str> {
    let (mut rules, mut limits): (HashSet<*const Rule>, HashSet<*const Limit>) = Default::default();
    let mut names = HashSet::new();
    for one in matched {
        let Matched::Rule(candidate) = one else { continue };
        let RuleRef::Written(rule) = candidate.rule else { continue };
        if !rule.replaces.is_empty() && candidate.applies() && rules.insert(rule) {
            names.extend(rule.replaces.iter().map(String::as_str));
        }
        for limit in candidate.limits.iter().map(|(at, ..)| &rule.limits[*at]) {
            if !limit.replaces.is_empty() && limits.insert(limit) {
                names.extend(limit.replaces.iter().map(String::as_str));
            }
        }
    }
    names
}
