//! What is probably not meant in a change of a subject.

use std::collections::BTreeSet;

use crate::hint::{did_you_mean, near};
use crate::policy::{Asked, Domain};
use crate::subjects::SubjectChange;

/// A sentence for each attribute that nothing in `domain` uses and nobody in its files has, for each kind of credential that nothing
/// asks for, and for each value that is nearly one that limits list.
pub fn slips(domain: &Domain, change: &SubjectChange) -> Vec<String> {
    let asked = domain.asked();
    let by_files = domain.files_directory.as_ref().or(domain.directory.as_ref());
    let mut known = asked.attributes.clone();
    known.extend(by_files.iter().flat_map(|directory| directory.attributes()));
    let own = change.credentials.iter().flat_map(|credential| credential.attributes.iter());
    let set = change.attributes.iter().chain(own).filter(|(_, value)| !value.is_null());
    let names: BTreeSet<&str> = set.map(|(name, _)| name.as_str()).collect();
    let attributes = names.difference(&known).map(|name| {
        let meant =
            did_you_mean(name, known.iter().copied()).map_or_else(String::new, |hint| format!("; {hint}"));
        format!("no limit uses the attribute `{name}`, and nobody in the subjects file has it{meant}")
    });
    let kinds: BTreeSet<&str> =
        change.credentials.iter().filter(|one| one.enabled).map(|one| one.kind.as_str()).collect();
    let kinds = kinds.difference(&asked.kinds).map(|kind| {
        let meant = did_you_mean(kind, asked.kinds.iter().copied())
            .map_or_else(String::new, |hint| format!("; {hint}"));
        format!("no descriptor asks for a credential of the kind `{kind}`{meant}")
    });
    attributes.chain(kinds).chain(mistyped(&asked, change)).collect()
}

/// Values that are nearly what limits list, where these have a number for all others. A credential's own are not shown.
fn mistyped(asked: &Asked<'_>, change: &SubjectChange) -> BTreeSet<String> {
    let own = change.credentials.iter().flat_map(|credential| credential.attributes.iter());
    let set = change.attributes.iter().map(|set| (set, false)).chain(own.map(|set| (set, true)));
    set.filter_map(|((name, value), is_own)| {
        let listed = asked.listed.get(name.as_str())?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let values: Vec<&str> = listed.values.iter().map(AsRef::as_ref).collect();
        let meant = near(&value, &values).filter(|_| !values.contains(&value.as_str()))?;
        let what = if is_own {
            format!("a credential's own `{name}` is a value that no limit lists")
        } else {
            format!("`{name}` is `{value}`, which no limit lists")
        };
        Some(format!("{what}, so the number of `otherwise` holds; did you mean `{meant}`?"))
    })
    .collect()
}
