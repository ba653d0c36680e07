//! A configuration of envoyproxy/ratelimit, which is a configuration of ours. What is reported is what counts otherwise.

use std::path::Path;

use super::migration::Migration;
use crate::config::{Diagnostic, Excerpt, Options, Related, Severity, load};
use crate::model::Unit;
use crate::policy::{Domain, Level, Node, Place, Window};

const WHAT: &str = "a configuration of envoyproxy/ratelimit, or of Spillway";

pub(super) fn migrate(from: &Path, options: Options) -> Migration {
    let loaded = match load(&[from], options) {
        Ok(loaded) => loaded,
        Err(found) => return Migration { found, files: Vec::new(), what: WHAT },
    };
    let mut found = loaded.warnings;
    let mut domains: Vec<&Domain> = loaded.policy.domains().collect();
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    for domain in domains {
        let mut notes = Notes { domain, found: &mut found, months: None };
        notes.level(&domain.root);
        notes.months();
    }
    Migration { found, files: Vec::new(), what: WHAT }
}

struct Notes<'p, 'f> {
    domain: &'p Domain,
    found: &'f mut Vec<Diagnostic>,
    /// The first limit that is counted by months or years.
    months: Option<Place>,
}

impl Notes<'_, '_> {
    fn add(&mut self, place: &Place, message: String, hint: &str, related: Option<(&str, &Place)>) {
        let excerpt = Excerpt { place: place.clone(), line: None, length: 1 };
        let related =
            related.map(|(what, place)| Box::new(Related { what: what.to_owned(), place: place.clone() }));
        let note = Diagnostic {
            severity: Severity::Note,
            excerpt: Some(excerpt),
            related,
            ..Diagnostic::error(message)
        };
        self.found.push(note.hint(Some(hint.to_owned())));
    }

    fn level(&mut self, level: &Level) {
        let mut nodes: Vec<&Node> = level.nodes().collect();
        nodes.sort_by_key(|node| (node.place.file.to_string(), node.place.line, node.place.column));
        self.joined(&nodes);
        self.wildcards(&nodes);
        for node in nodes {
            let limits = node.rule.iter().flat_map(|rule| &rule.limits);
            let is_long = |unit: &Unit| matches!(unit, Unit::Month | Unit::Year);
            let mut units = limits.filter_map(|limit| unit(&limit.window));
            if self.months.is_none() && units.any(|unit| is_long(&unit)) {
                self.months = Some(node.place.clone());
            }
            self.level(&node.children);
        }
    }

    /// Keys that run together with values there: `user` with the value `id` is looked up as `user_id`.
    fn joined(&mut self, nodes: &[&Node]) {
        for node in nodes {
            let (key, value) = split(&node.label);
            for other in nodes {
                let (short, of_other) = split(&other.label);
                let Some(rest) = key.strip_prefix(short).and_then(|rest| rest.strip_prefix('_')) else {
                    continue;
                };
                if value.is_empty() && of_other.is_empty() {
                    let message = format!(
                        "domain `{}`: `{short}` with the value `{rest}` comes to `{key}` in envoyproxy/ratelimit, which joins keys and \
                         values with `_`; here it comes to `{short}`",
                        self.domain.name
                    );
                    let hint =
                        "nothing has to be done, unless requests of that kind were to have the other limit";
                    self.add(&node.place, message, hint, Some(("the shorter key", &other.place)));
                }
            }
        }
    }

    /// Wildcards of several files, of which there the first in the order of the file system wins.
    fn wildcards(&mut self, nodes: &[&Node]) {
        let wild: Vec<&&Node> = nodes.iter().filter(|node| node.label.contains('*')).collect();
        let Some(first) = wild.first() else { return };
        if let Some(other) = wild.iter().find(|node| node.place.file != first.place.file) {
            let message = format!(
                "domain `{}` has wildcards in several files: here the first one wins that fits, in the order of the names of the files",
                self.domain.name
            );
            let hint = "put wildcards that may fit one value into one file, the narrower first";
            self.add(&other.place, message, hint, Some(("the first of them", &first.place)));
        }
    }

    fn months(&mut self) {
        if let Some(place) = self.months.take() {
            let message = format!(
                "domain `{}`: a `unit` of `month` is 30 days and one of `year` 365, counted from 1970, here as there",
                self.domain.name
            );
            let hint =
                "write `per: calendar_month` for months as people know them; the count begins anew with that";
            self.add(&place, message, hint, None);
        }
    }
}

/// The key and the value of a node's label.
fn split(label: &str) -> (&str, &str) {
    label.split_once('=').unwrap_or((label, ""))
}

/// The unit that a window is written with.
fn unit(window: &Window) -> Option<Unit> {
    if let Window::Unit(unit, _) = window { Some(*unit) } else { None }
}
