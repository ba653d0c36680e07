//! `rate_limit`: so many hits in a window.

use std::sync::Arc;
use std::time::Duration;

use super::descriptor::Inherited;
use super::{DiagnosticKind, Document, Fields, Kind, Node, Replaced, Scope, Severity, did_you_mean, scalar};
use crate::algorithm::{ALGORITHMS, Algorithm, Calendar, Row, Written as Parameters};
use crate::config::words::choices;
use crate::model::Unit;
use crate::policy::{CountBy, Evaluate, Limit, LimitId, Requests, Rule, Source, Window};

/// The words that belong to one algorithm each.
fn parameters() -> impl Iterator<Item = &'static str> {
    ALGORITHMS.iter().flat_map(|row| row.words).copied()
}

/// The names of the algorithms.
pub(in crate::config) fn algorithm_names() -> Vec<&'static str> {
    ALGORITHMS.iter().map(|row| row.name).collect()
}

/// Periods of the calendar by name.
const CALENDARS: [(&str, Calendar); 4] = [
    ("calendar_day", Calendar::Day),
    ("calendar_week", Calendar::Week),
    ("calendar_month", Calendar::Month),
    ("calendar_year", Calendar::Year),
];

const BILLING_PERIOD: &str = "billing_period";

/// What `per` takes beside a length of time.
pub(in crate::config) fn periods() -> Vec<&'static str> {
    CALENDARS.iter().map(|(name, _)| *name).chain([BILLING_PERIOD]).collect()
}

/// Where a fixed window begins, by name.
const ANCHORS: [(&str, Anchor); 2] = [("clock", Anchor::Clock), ("first_hit", Anchor::FirstHit)];

/// The names of the anchors.
pub(in crate::config) fn anchors() -> Vec<&'static str> {
    ANCHORS.map(|(name, _)| name).to_vec()
}

/// What `unit` or `per` says.
#[derive(Clone, Copy)]
enum Written {
    Unit(Unit),
    Length(Duration),
    BillingPeriod,
    Calendar(Calendar),
}

impl Document<'_, '_> {
    /// One limit, or none by name.
    pub(super) fn rate_limit(&mut self, node: Node<'_>, inherited: &Inherited<'_>) -> Option<Rule> {
        let fields = self.fields(node, Scope::RateLimit)?;
        let unlimited = self.flag(&fields, "unlimited").unwrap_or_default();
        let limits = if unlimited {
            self.refuse_numbers_beside_unlimited(&fields);
            Vec::new()
        } else {
            vec![self.limit(node, &fields, inherited)?]
        };
        let name = self.name(&fields);
        let replaces = self.replaces(fields.get("replaces"), name.as_deref());
        Some(rule(name, limits, replaces, inherited))
    }

    /// Several limits on the same hits.
    pub(super) fn rate_limits(&mut self, list: Node<'_>, inherited: &Inherited<'_>) -> Rule {
        let items = self.items(list);
        if items.is_empty() && matches!(list.kind(), Kind::Sequence(_)) {
            self.error(list.span(), "there are no limits in the list", None);
        }
        let mut limits: Vec<Limit> = Vec::new();
        for item in items {
            let Some(fields) = self.fields(item, Scope::RateLimit) else { continue };
            if self.flag(&fields, "unlimited") == Some(true) {
                self.error(
                    item.span(),
                    "`unlimited` cannot be one of several",
                    Some("use `rate_limit` for it"),
                );
                continue;
            }
            let name = self.name(&fields);
            let replaces = self.replaces(fields.get("replaces"), name.as_deref());
            let Some(limit) = self.limit(item, &fields, inherited) else { continue };
            let limit = Limit { replaces, ..limit };
            if limits.iter().any(|other| other.id == limit.id) {
                self.error(item.span(), "two limits in this list are the same but for the number", None);
            }
            limits.push(limit);
        }
        rule(None, limits, Vec::new(), inherited)
    }

    fn name(&mut self, fields: &Fields<'_>) -> Option<String> {
        let name = self.text(fields, "name")?.to_owned();
        self.compiler.named.entry(self.domain.clone()).or_default().insert(name.clone());
        Some(name)
    }

    fn limit(&mut self, node: Node<'_>, fields: &Fields<'_>, inherited: &Inherited<'_>) -> Option<Limit> {
        let requests = self.requests(node, fields, inherited);
        let written = self.written(node, fields);
        let shape = self.shape(fields, &inherited.shape);
        let count_by = self.count_by(fields).or_else(|| inherited.count_by.clone());
        let count_by = count_by.unwrap_or_else(|| {
            Arc::new([if inherited.has_subject { CountBy::Subject } else { CountBy::Entries }])
        });
        self.known_keys(node, fields, &count_by, inherited);
        // In envoyproxy/ratelimit's words a refused request is counted too.
        let plain = matches!(written, Some(Written::Unit(_)))
            && ["algorithm", "anchor"].into_iter().chain(parameters()).all(|word| fields.get(word).is_none());
        let count_denied =
            self.flag(fields, "count_denied").unwrap_or(plain && inherited.evaluate == Evaluate::Each);
        let settles = self.flag(fields, "settle").unwrap_or_default();
        if let (true, Some(false), Some(node)) =
            (settles, self.flag(fields, "count_denied"), fields.get("count_denied"))
        {
            let hint = Some("remove one of the two");
            self.error(node.span(), "a limit with `settle` counts whatever it is charged", hint);
        }
        let window = self.window(written?, fields, inherited)?;

        let counter = self.text(fields, "counter");
        self.shared_counter(fields, counter, &window, &count_by);
        let id = self.identity(&window, counter, &count_by, inherited);
        let name = self.text(fields, "name");
        let is_named = name.is_some();
        let name = name.map_or_else(|| inherited.label(), str::to_owned);
        let replaces = Vec::new();
        let requests = requests?;
        self.of_kind(DiagnosticKind::MissingNumber, |this| {
            this.limit_coverage(node, fields, &name, &requests, inherited);
        });
        Some(Limit { id, name, is_named, replaces, requests, window, count_by, count_denied, settles, shape })
    }

    /// Domain, way, window and owner; or domain, counter, window and owner, where limits share a counter by its name.
    fn identity(
        &self,
        window: &Window,
        counter: Option<&str>,
        count_by: &[CountBy],
        inherited: &Inherited<'_>,
    ) -> LimitId {
        let (window, by) = (window.tag(), tag(count_by));
        let way: Vec<&str> = match counter {
            Some(counter) => vec!["counter", counter],
            None => inherited.parts(),
        };
        let parts = [self.domain.as_str()].into_iter().chain(way).chain([window.as_str(), by.as_str()]);
        LimitId::of(parts.map(str::as_bytes))
    }

    fn known_keys(
        &mut self,
        node: Node<'_>,
        fields: &Fields<'_>,
        count_by: &[CountBy],
        inherited: &Inherited<'_>,
    ) {
        if count_by.is_empty() {
            self.error_at(
                fields,
                "count_by",
                "`count_by` names nothing, so all would share one counter",
                None,
            );
        }
        for part in count_by {
            match part {
                CountBy::Entry(key) if key.contains('*') => {
                    let hint = "use `entries`, or give the descriptor a key without one";
                    self.error_at(fields, "count_by", "`count_by` cannot name a key with a `*`", Some(hint));
                }
                CountBy::Entry(key) if !inherited.keys().any(|known| known == key) => {
                    let span = fields.get("count_by").map_or(node.span(), Node::span);
                    let mut keys: Vec<&str> = inherited.keys().collect();
                    keys.reverse();
                    let hint = did_you_mean(key, keys.iter().copied()).unwrap_or_else(|| {
                        format!(
                            "it may be `subject`, `credential`, `entries` or a key on the way here: {}; several are a list, as in \
                             `[subject, {}]`",
                            super::subjects::listed(&keys),
                            keys.first().copied().unwrap_or_default()
                        )
                    });
                    self.error(
                        span,
                        &format!("`count_by` names `{key}`, which is no entry on the way here"),
                        Some(&hint),
                    );
                }
                CountBy::Subject | CountBy::Credential if !inherited.has_subject => {
                    self.needs_subject(node, "count_by");
                }
                _ => {}
            }
        }
    }

    fn requests(
        &mut self,
        node: Node<'_>,
        fields: &Fields<'_>,
        inherited: &Inherited<'_>,
    ) -> Option<Requests> {
        let source = match fields.get("requests_per_unit") {
            Some(table) if matches!(table.kind(), Kind::Mapping(_)) => {
                if !inherited.has_subject {
                    self.needs_subject(table, "requests_per_unit");
                }
                self.source(table)
            }
            Some(number) => {
                self.read(number, scalar::whole_number).map(|number| Source::Fixed(number.into()))
            }
            None if fields.misspelt => None,
            None => {
                let message = "the limit has no `requests_per_unit`, so it lets nothing pass";
                self.tolerate(node.span(), message, Some("write `requests_per_unit: 0` if that is meant"));
                Some(Source::Fixed(0))
            }
        };
        let mut attribute = |word| {
            let name = self.text(fields, word)?.to_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("`{word}` names an attribute of subjects, and `{name}` is a number");
                let hint = format!("for one number for all, write `requests_per_unit: {name}`");
                self.error_at(fields, word, &message, Some(&hint));
                return None;
            }
            if let (false, Some(node)) = (inherited.has_subject, fields.get(word)) {
                self.needs_subject(node, word);
            }
            Some(name)
        };
        let (instead, at_most) = (attribute("override"), attribute("at_most"));
        Some(Requests { source: source?, instead, at_most })
    }

    /// `{by: plan, values: {free: 5, pro: 50}}`, or `{attribute: rpm}`.
    fn source(&mut self, node: Node<'_>) -> Option<Source> {
        let fields = self.fields(node, Scope::Requests)?;
        if let Some(name) = self.text(&fields, "attribute") {
            for word in ["by", "values", "otherwise"] {
                if fields.get(word).is_some() {
                    let hint = "for a number that an attribute replaces, write `requests_per_unit: 5, override: NAME`";
                    let message =
                        format!("`attribute` and `{word}` are two ways to say where the number comes from");
                    self.error_at(&fields, word, &message, Some(hint));
                }
            }
            return Some(Source::Attribute(name.to_owned()));
        }
        let (Some(by), Some(values)) = (self.text(&fields, "by"), fields.get("values")) else {
            if !fields.misspelt {
                let hint = "write `{by: ATTRIBUTE, values: {VALUE: NUMBER}}`, or `{attribute: NAME}`";
                self.error(node.span(), "it is not said where the number comes from", Some(hint));
            }
            return None;
        };
        let mut table = Vec::new();
        for (value, number) in
            self.pairs(values, "values with their numbers", "write it as in `{free: 5, pro: 50}`")?
        {
            if let (Some(value), Some(number)) =
                (self.read(value, scalar::text), self.read(number, scalar::whole_number))
            {
                table.push((value.to_owned(), number.into()));
            }
        }
        if table.is_empty() && matches!(values.kind(), Kind::Mapping(_)) {
            self.error(values.span(), "`values` lists no value", Some("write it as in `{free: 5, pro: 50}`"));
        }
        let otherwise = fields.get("otherwise");
        let otherwise = otherwise.and_then(|number| self.read(number, scalar::whole_number)).map(u64::from);
        Some(Source::Table { by: by.to_owned(), values: table, otherwise })
    }

    /// `unit: minute`, or `per: 15m`.
    fn written(&mut self, node: Node<'_>, fields: &Fields<'_>) -> Option<Written> {
        match (fields.get("unit"), fields.get("per")) {
            (Some(unit), None) => self.unit(unit).map(Written::Unit),
            (None, Some(per)) => self.per(per),
            (Some(_), Some(per)) => {
                self.error(
                    per.span(),
                    "`unit` and `per` are two ways to say one thing",
                    Some("remove one of the two"),
                );
                None
            }
            (None, None) => {
                if !fields.misspelt {
                    let hint = "add `unit: minute` or `per: 15m`, or `unlimited: true`";
                    self.error(node.span(), "the limit has no window", Some(hint));
                }
                None
            }
        }
    }

    fn unit(&mut self, node: Node<'_>) -> Option<Unit> {
        let name = self.read(node, scalar::text)?;
        let unit = Unit::from_name(name);
        if unit.is_none() {
            let hint = choices(name, "units", &Unit::ALL.map(Unit::name));
            self.wrong_value(node.span(), &format!("unknown unit `{name}`"), Some(&hint));
        }
        unit
    }

    fn per(&mut self, node: Node<'_>) -> Option<Written> {
        let text = self.read(node, scalar::text)?;
        if text == BILLING_PERIOD {
            return Some(Written::BillingPeriod);
        }
        if let Some((_, calendar)) = CALENDARS.iter().find(|(name, _)| *name == text) {
            return Some(Written::Calendar(*calendar));
        }
        match scalar::duration(text) {
            Ok(length) => Some(Written::Length(length)),
            Err(wrong) => {
                let (message, hint) = not_a_length(text, wrong.message);
                self.error(node.span(), &message, Some(&hint));
                None
            }
        }
    }

    fn window(&mut self, written: Written, fields: &Fields<'_>, inherited: &Inherited<'_>) -> Option<Window> {
        let algorithm = self.algorithm(fields)?;
        let anchor = self.anchor(fields);
        let zone = self.zone(fields, written);
        let numbers = self.parameters(fields, algorithm);
        let length = match written {
            Written::Unit(unit) => Some(unit.length()),
            Written::Length(length) => Some(length),
            Written::BillingPeriod | Written::Calendar(_) => None,
        };
        if length.is_none() && !algorithm.has_periods {
            let message = "a period of the calendar is a fixed window";
            self.error_at(fields, "algorithm", message, Some("remove the algorithm"));
        }
        if let (Some(node), true) = (fields.get("anchor"), length.is_none() || !algorithm.has_periods) {
            self.error(node.span(), "`anchor` is for fixed windows of a given length", None);
        }
        if let (Written::BillingPeriod, false, Some(per)) =
            (written, inherited.has_subject, fields.get("per"))
        {
            self.needs_subject(per, "per: billing_period");
        }
        let counted = |window| Window::Length((algorithm.make)(&Parameters { window, numbers: &numbers }));
        Some(match written {
            Written::BillingPeriod => Window::BillingPeriod,
            Written::Calendar(calendar) => Window::Calendar(calendar, zone),
            Written::Unit(unit) if algorithm.has_periods && anchor != Some(Anchor::FirstHit) => {
                Window::Unit(unit, 1)
            }
            Written::Length(length) if algorithm.has_periods && anchor == Some(Anchor::Clock) => {
                Window::Length(Algorithm::aligned(length))
            }
            Written::Unit(unit) => counted(unit.length()),
            Written::Length(length) => counted(length),
        })
    }

    fn algorithm(&mut self, fields: &Fields<'_>) -> Option<&'static Row> {
        let Some(name) = self.text(fields, "algorithm") else { return ALGORITHMS.first() };
        let known = ALGORITHMS.iter().find(|row| row.name == name);
        if let (None, Some(node)) = (known, fields.get("algorithm")) {
            let hint = choices(name, "algorithms", &algorithm_names());
            self.wrong_value(node.span(), &format!("unknown algorithm `{name}`"), Some(&hint));
        }
        known
    }

    /// The numbers that belong to an algorithm. Those of other algorithms are mistakes.
    fn parameters(&mut self, fields: &Fields<'_>, algorithm: &Row) -> Vec<(&'static str, u64)> {
        let mut numbers = Vec::new();
        for row in ALGORITHMS {
            for &word in row.words {
                let Some(node) = fields.get(word) else { continue };
                if !algorithm.words.contains(&word) {
                    let message = format!("`{word}` needs `algorithm: {}`", row.name);
                    self.error(node.span(), &message, None);
                }
                let Some(number) = self.read(node, scalar::whole_number) else { continue };
                if number == 0 {
                    let message = format!("a `{word}` of 0 lets nothing pass");
                    self.error(node.span(), &message, None);
                }
                numbers.push((word, number.into()));
            }
        }
        numbers
    }

    fn anchor(&mut self, fields: &Fields<'_>) -> Option<Anchor> {
        let name = self.text(fields, "anchor")?;
        let known = ANCHORS.iter().find(|(known, _)| *known == name).map(|(_, anchor)| *anchor);
        if known.is_none() {
            let hint = choices(name, "anchors", &anchors());
            self.error_at(fields, "anchor", &format!("unknown anchor `{name}`"), Some(&hint));
        }
        known
    }

    fn zone(&mut self, fields: &Fields<'_>, written: Written) -> jiff::tz::TimeZone {
        let utc = jiff::tz::TimeZone::UTC;
        let (Some(name), Some(node)) = (self.text(fields, "time_zone"), fields.get("time_zone")) else {
            return utc;
        };
        if !matches!(written, Written::Calendar(_)) {
            let hint = "billing periods take the subject's";
            self.error(node.span(), "`time_zone` is for periods of the calendar", Some(hint));
        }
        jiff::tz::TimeZone::get(name).unwrap_or_else(|_| {
            let hint = "write its name in the IANA database, as in `Europe/Berlin`";
            self.wrong_value(node.span(), &format!("unknown time zone `{name}`"), Some(hint));
            utc
        })
    }

    fn refuse_numbers_beside_unlimited(&mut self, fields: &Fields<'_>) {
        for word in ["unit", "per"] {
            if let Some(node) = fields.get(word) {
                let message = "`unlimited: true` has no window";
                let is_unit =
                    matches!(node.kind(), Kind::Scalar { text, .. } if Unit::from_name(text).is_some());
                if word == "unit" && !is_unit {
                    // envoyproxy/ratelimit refuses only what is a unit.
                    self.tolerate(node.span(), message, Some("remove one of the two"));
                } else {
                    self.error(node.span(), message, Some("remove one of the two"));
                }
            }
        }
        let others = [
            "algorithm",
            "anchor",
            "time_zone",
            "override",
            "at_most",
            "count_denied",
            "settle",
            "counter",
            "count_by",
        ];
        for word in others.into_iter().chain(parameters()) {
            if let Some(node) = fields.get(word) {
                let message = format!("`unlimited: true` lets everything pass, so `{word}` means nothing");
                self.error(node.span(), &message, Some("remove one of the two"));
            }
        }
        if let Some(number) = fields.get("requests_per_unit") {
            self.tolerate(number.span(), "`unlimited: true` makes this number mean nothing", None);
        }
    }

    fn replaces(&mut self, list: Option<Node<'_>>, own_name: Option<&str>) -> Vec<String> {
        let Some(list) = list else { return Vec::new() };
        let mut names = Vec::new();
        for node in self.items(list) {
            let Some(fields) = self.fields(node, Scope::Replaces) else { continue };
            let name = fields.get("name").and_then(|name| self.read(name, scalar::text)).unwrap_or_default();
            let span = fields.get("name").map_or(node.span(), Node::span);
            if name.is_empty() {
                self.error(span, "nothing is named to be replaced", Some("write `- name: NAME`"));
            } else if own_name == Some(name) {
                self.error(span, &format!("`{name}` cannot replace itself"), None);
            } else {
                let message = format!("no rule of domain `{}` is named `{name}`", self.domain);
                let unknown = self.source.diagnose(Severity::Warning, span, message, None);
                let own = own_name.map(str::to_owned);
                let replaced = Replaced { domain: self.domain.clone(), own, name: name.to_owned(), unknown };
                self.compiler.replaced.push(replaced);
                names.push(name.to_owned());
            }
        }
        names
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Clock,
    FirstHit,
}

fn rule(name: Option<String>, limits: Vec<Limit>, replaces: Vec<String>, inherited: &Inherited<'_>) -> Rule {
    Rule {
        label: name.clone().unwrap_or_else(|| inherited.label()),
        index: None,
        name,
        limits,
        replaces,
        shadow: false,
        quota: false,
        detailed_metric: false,
        metadata: None,
    }
}

/// What to say of a `per` that is no length of time.
fn not_a_length(text: &str, otherwise: String) -> (String, String) {
    const WRITE: &str = "write a number and a unit, as in `15m`; units are ms, s, m, h, d and w";
    if let Some(number) = text.strip_suffix('M')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        let message = format!("`{text}` could be a minute or a month");
        return (message, format!("write `per: {number}m` for minutes, or `per: calendar_month`"));
    }
    if let Some(unit) = Unit::from_name(text) {
        let (name, length) = (unit.name(), unit.name().chars().next().unwrap_or_default());
        let other = CALENDARS
            .iter()
            .map(|(name, _)| *name)
            .find(|calendar| calendar.ends_with(name) && name.len() > 4);
        let other = other.filter(|_| matches!(unit, Unit::Month)).map_or(format!("1{length}"), str::to_owned);
        return (otherwise, format!("write `unit: {name}` instead of `per`, or `per: {other}`"));
    }
    if let Some(likely) = did_you_mean(text, periods()) {
        return (otherwise, likely);
    }
    let is_zero = text.contains('0') && !text.contains(|c: char| ('1'..='9').contains(&c));
    let message = if is_zero { format!("a window of `{text}` has no length") } else { otherwise };
    (message, WRITE.to_owned())
}

/// How a limit is written, with what `text` (`5/minute`) may have meant.
pub(super) fn example(text: &str) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse::<u32>().unwrap_or(5);
    let rest =
        text[digits..].trim_start().trim_start_matches('/').trim_start_matches("per ").trim().to_lowercase();
    let is_short = |unit: &Unit| !rest.is_empty() && unit.name().starts_with(&rest);
    let unit = Unit::ALL.into_iter().find(is_short).unwrap_or(Unit::Minute);
    format!("{{requests_per_unit: {number}, unit: {}}}", unit.name())
}

/// How `count_by` goes into a limit's identity; said only where it is not what envoyproxy/ratelimit does.
pub(super) fn tag(count_by: &[CountBy]) -> String {
    let tags = count_by.iter().map(|part| match part {
        CountBy::Entries => "entries".to_owned(),
        CountBy::Entry(key) => format!("entry {key}"),
        CountBy::Subject => "subject".to_owned(),
        CountBy::Credential => "credential".to_owned(),
    });
    if count_by == [CountBy::Entries] { String::new() } else { tags.collect::<Vec<_>>().join(", ") }
}
