//! `unit`, `per`, `algorithm` and the words beside them: which hits count, and for how long.

use std::time::Duration;

use super::{Document, Fields, Inherited, Node, did_you_mean, scalar};
use crate::algorithm::{ALGORITHMS, Algorithm, Calendar, Row, Written as Parameters};
use crate::config::words::choices;
use crate::model::Unit;
use crate::policy::Window;

/// The words that belong to one algorithm each.
pub(super) fn parameters() -> impl Iterator<Item = &'static str> {
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
pub(in crate::config::compile) enum Written {
    Unit(Unit),
    Length(Duration),
    BillingPeriod,
    Calendar(Calendar),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Clock,
    FirstHit,
}

impl Document<'_, '_> {
    /// `unit: minute`, or `per: 15m`.
    pub(super) fn written(&mut self, node: Node<'_>, fields: &Fields<'_>) -> Option<Written> {
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

    /// The window, of the algorithm with the parameters that stand beside it.
    pub(super) fn window(
        &mut self,
        written: Written,
        fields: &Fields<'_>,
        inherited: &Inherited<'_>,
    ) -> Option<Window> {
        let algorithm = self.algorithm(fields)?;
        let anchor = self.anchor(fields);
        let zone = self.zone(fields, written);
        let numbers = self.parameters(fields, algorithm);
        self.refuse_words_of_other_windows(written, fields, algorithm);
        if let (Written::BillingPeriod, false, Some(per)) =
            (written, inherited.has_subject, fields.get("per"))
        {
            self.needs_subject(per, "per: billing_period");
        }
        let counted = |window| Window::Length((algorithm.make)(&Parameters { window, numbers: &numbers }));
        Some(match (written, anchor) {
            (Written::BillingPeriod, _) => Window::BillingPeriod,
            (Written::Calendar(calendar), _) => Window::Calendar(calendar, zone),
            (Written::Unit(unit), None | Some(Anchor::Clock)) if algorithm.has_periods => {
                Window::Unit(unit, 1)
            }
            (Written::Length(length), Some(Anchor::Clock)) if algorithm.has_periods => {
                Window::Length(Algorithm::aligned(length))
            }
            (Written::Unit(unit), _) => counted(unit.length()),
            (Written::Length(length), _) => counted(length),
        })
    }

    /// Periods of the calendar are fixed windows, and only fixed windows of a given length have an anchor.
    fn refuse_words_of_other_windows(&mut self, written: Written, fields: &Fields<'_>, algorithm: &Row) {
        let is_period = matches!(written, Written::BillingPeriod | Written::Calendar(_));
        if is_period && !algorithm.has_periods {
            let message = "a period of the calendar is a fixed window";
            self.error_at(fields, "algorithm", message, Some("remove the algorithm"));
        }
        if let (Some(node), true) = (fields.get("anchor"), is_period || !algorithm.has_periods) {
            self.error(node.span(), "`anchor` is for fixed windows of a given length", None);
        }
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
