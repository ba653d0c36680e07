//! The tables, made of the code's own.

use std::sync::Arc;

use spillway::cli;
use spillway::config::{self, Options};
use spillway::model::{Hits, Timestamp, Unit};
use spillway::policy::Evaluate;
use spillway::policy_test::{InProcessLimiter, Target};
use spillway::response::{DIALECTS, Number, about};
use spillway::subjects;

/// The tables of `README.md` by their names.
pub(super) fn of_the_command() -> Vec<(&'static str, String)> {
    let rows = cli::variables()
        .into_iter()
        .map(|(name, flag, says)| [code(&name), flag.map_or("—".to_owned(), |flag| code(&flag)), says]);
    let ignored = cli::ignored_variables().into_iter().map(|(names, why)| {
        let names: Vec<_> = names.into_iter().map(code).collect();
        [names.join(", "), why.to_owned()]
    });
    vec![
        ("variables", table(["Variable", "Flag", "Says"], rows.collect::<Vec<_>>())),
        ("ignored variables", table(["Variables", "Why nothing is at stake"], ignored.collect::<Vec<_>>())),
    ]
}

/// The tables of `config/README.md` by their names.
pub(super) fn of_the_language() -> Vec<(&'static str, String)> {
    vec![
        ("words", words()),
        (
            "evaluate",
            table(
                ["Name", "Meaning"],
                Evaluate::NAMES.map(|(name, mode)| [code(name), mode.meaning().to_owned()]),
            ),
        ),
        (
            "algorithms",
            table(
                ["Name", "What it grants"],
                config::algorithms().map(|(name, meaning)| [code(name), meaning.to_owned()]),
            ),
        ),
        ("units", table(["Unit", "Length"], Unit::ALL.map(|unit| [code(unit.name()), length(unit)]))),
        ("numbers", numbers()),
        ("dialects", dialects()),
        ("subjects", people()),
    ]
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(N));
    let rows = rows.into_iter().map(|row| line(&row)).collect::<String>();
    line(&head.map(str::to_owned)) + &rule + &rows
}

/// A word of envoyproxy/ratelimit has a ring.
fn words() -> String {
    let sections = config::language().into_iter().map(|section| {
        let rows = section.words.iter().map(|word| {
            let ring = if word.is_peers { " °" } else { "" };
            [
                format!("`{}`{ring}", word.name),
                word.values.clone(),
                absent(word.default),
                word.meaning.to_owned(),
                code(word.example),
            ]
        });
        let rows = table(["Word", "Takes", "Without it", "Says", "Example"], rows);
        format!("### {}\n\n{rows}", heading(&section.place))
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn heading(place: &str) -> String {
    if place.starts_with("the top") { format!("At {place}") } else { format!("In {place}") }
}

fn absent(default: &str) -> String {
    if default.is_empty() { "**must be there**" } else { default }.to_owned()
}

fn people() -> String {
    let sections = subjects::language().into_iter().map(|(place, words)| {
        let rows = words.iter().map(|word| {
            [code(word.name), word.values.to_owned(), absent(word.default), word.meaning.to_owned()]
        });
        format!("### {}\n\n{}", heading(place), table(["Word", "Takes", "Without it", "Says"], rows))
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn length(unit: Unit) -> String {
    let seconds = unit.length().as_secs();
    if seconds < 86_400 {
        format!("{seconds} s")
    } else {
        format!("{} days", seconds / 86_400).replace("1 days", "1 day")
    }
}

/// The first request, and one that is refused: 60 a minute, of which the first came at 0 s and the others at 12 s; then
/// another one at 30 s. The hour beside it has enough left.
fn reported(headers: &str) -> [Vec<(String, String)>; 2] {
    let policy = format!(
        "domain: d\nheaders: {headers}\ndescriptors:\n  - key: api_key\n    rate_limits:\n      \
         - {{name: minute, requests_per_unit: 60, per: 60s, algorithm: sliding_window}}\n      \
         - {{name: hour, requests_per_unit: 1000, per: 1h, algorithm: sliding_window}}\n"
    );
    let load = Arc::new(policy);
    let reload = move || {
        let loaded = config::load_text("d.yaml", &load, Options::default());
        Some(loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false))).policy)
    };
    let mut target = InProcessLimiter::new("d", Box::new(reload)).unwrap();
    let request = [vec![("api_key".to_owned(), "key_1".to_owned())]];
    // 2026-01-01T00:00:00Z.
    let mut send = |seconds: u64, hits: u64| {
        target.send(Timestamp::from_secs(1_767_225_600 + seconds), &request, Some(Hits::charge(hits)))
    };
    let first = send(0, 1);
    assert!(!first.over_limit && !send(12, 59).over_limit);
    let refused = send(30, 1);
    assert!(refused.over_limit);
    [first.headers, refused.headers]
}

fn dialects() -> String {
    let blocks = DIALECTS.iter().map(|(name, _)| {
        let [admitted, refused] = reported(&format!("{{emit: always, dialect: {name}}}"));
        let lines = |status: &str, headers: &[(String, String)]| {
            let mut text = String::new();
            for (at, (name, value)) in headers.iter().enumerate() {
                let status = if at == 0 { status } else { "" };
                text += &format!("{status:<5}{name}: {value}\n");
            }
            if text.is_empty() { format!("{status:<5}(nothing)\n") } else { text }
        };
        format!(
            "`{name}`: {}.\n\n```text\n{}{}```\n",
            about(name).unwrap(),
            lines("200", &admitted),
            lines("429", &refused)
        )
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn numbers() -> String {
    let headers: Vec<_> = Number::names().map(|name| format!("x-{name}: {name}")).collect();
    let [admitted, refused] = reported(&format!("{{{}}}", headers.join(", ")));
    let value = |headers: &[(String, String)], name: &str| {
        let found = headers.iter().find(|(header, _)| *header == format!("x-{name}"));
        found.map_or("—".to_owned(), |(_, value)| code(value))
    };
    let rows = Number::names().map(|name| {
        let meaning = Number::from_name(name).unwrap().meaning();
        [code(name), meaning, value(&admitted, name), value(&refused, name)]
    });
    table(["Number", "Tells", "200", "429"], rows.collect::<Vec<_>>())
}
