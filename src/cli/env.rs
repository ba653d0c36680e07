//! `spillway env`: every variable of the environment, what becomes of it, and what it says now.

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::json;

use super::args::Env;
use super::compatibility::Environment;
use super::reading::shown;
use super::variables::{REFUSED, ignored_variables, misspelt, variables};
use super::wrong;
use super::{WRONG_COMMAND, complain, print};
use crate::model::lossy;

/// What becomes of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Honoured,
    Ignored,
    Refused,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        }
    }
}

/// One variable.
#[derive(Debug)]
struct Row {
    name: String,
    flag: Option<String>,
    fate: Fate,
    says: String,
    /// Its value, unless that is nobody's business.
    value: Option<String>,
    source: Source,
}

/// Where what holds now comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Default,
    Environment,
    /// It is set, and another variable prevails.
    Overridden(&'static str),
}

/// Which variable prevails where both are set.
const PREVAIL: &[(&str, &[&str])] = &[
    ("SPILLWAY_CONFIG", &["RUNTIME_ROOT", "RUNTIME_SUBDIRECTORY", "RUNTIME_APPDIRECTORY"]),
    ("SPILLWAY_GRPC_ADDR", &["GRPC_UDS", "GRPC_HOST", "GRPC_PORT"]),
    ("GRPC_UDS", &["GRPC_HOST", "GRPC_PORT"]),
    ("SPILLWAY_GRPC_TLS_CERT", &["GRPC_SERVER_TLS_CERT"]),
    ("SPILLWAY_GRPC_TLS_KEY", &["GRPC_SERVER_TLS_KEY"]),
    ("SPILLWAY_GRPC_TLS_CLIENT_CA", &["GRPC_CLIENT_TLS_CACERT"]),
    ("SPILLWAY_GRPC_TLS_CLIENT_SAN", &["GRPC_CLIENT_TLS_SAN"]),
    ("SPILLWAY_HTTP_ADDR", &["HOST", "PORT"]),
    ("SPILLWAY_STORE", &["REDIS_URL", "REDIS_AUTH", "STATE_DIRECTORY"]),
    ("REDIS_URL", &["STATE_DIRECTORY"]),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &["OTEL_EXPORTER_OTLP_ENDPOINT"]),
    ("TRACING_EXPORTER_PROTOCOL", &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &["OTEL_EXPORTER_OTLP_PROTOCOL"]),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", &["OTEL_EXPORTER_OTLP_HEADERS"]),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", &["OTEL_EXPORTER_OTLP_TIMEOUT"]),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &["OTEL_EXPORTER_OTLP_CERTIFICATE"]),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", &["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"]),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", &["OTEL_EXPORTER_OTLP_CLIENT_KEY"]),
    ("TRACING_SAMPLING_RATE", &["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"]),
    ("TRACING_SERVICE_NAME", &["OTEL_SERVICE_NAME"]),
    ("SPILLWAY_MAX_CONNECTION_AGE", &["GRPC_MAX_CONNECTION_AGE"]),
    ("SPILLWAY_LOG_LEVEL", &["LOG_LEVEL"]),
    ("SPILLWAY_LOG_FORMAT", &["LOG_FORMAT"]),
];

pub(super) fn run(args: &Env) -> ExitCode {
    let rows = rows(&set);
    let shown: Vec<&Row> = rows.iter().filter(|row| !args.set || row.source != Source::Default).collect();
    let printed = if args.json { as_json(&shown) } else { as_text(&shown) };
    let written = print(&printed);
    let Values { ignored, wrong } = Values::read();
    let told = ignored.iter().map(|one| ("warning", one)).chain(wrong.iter().map(|one| ("error", one)));
    for (kind, message) in told {
        complain(&format!("{kind}: {}\n", lossy(message.as_bytes())));
    }
    if wrong.is_empty() { written } else { ExitCode::from(WRONG_COMMAND) }
}

/// What a variable says; an empty one says nothing.
#[expect(clippy::disallowed_methods, reason = "only `cli` reads the environment")]
fn set(name: &str) -> Option<String> {
    let value: OsString = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// What is not understood of the environment.
struct Values {
    /// What `serve` would do without.
    ignored: Vec<String>,
    /// What would end its start.
    wrong: Vec<String>,
}

impl Values {
    fn read() -> Self {
        let mut wrong: Vec<String> = wrong::of_serve().into_iter().collect();
        let mut ignored = Vec::new();
        match Environment::read(true) {
            Ok(environment) => {
                if let Some((name, what)) = environment.missing {
                    wrong.push(format!("the environment has {name}, which asks for {what}"));
                }
                let values = environment.traces.ignored().iter();
                ignored.extend(values.map(|value| format!("{value}; it is ignored")));
            }
            Err(values) => wrong.extend(values.iter().map(ToString::to_string)),
        }
        let misspelt = misspelt().into_iter();
        wrong.extend(misspelt.map(|(name, meant)| {
            format!("the environment has {name}, which nobody reads; did you mean `{meant}`?")
        }));
        Self { ignored, wrong }
    }
}

fn rows(set: &dyn Fn(&str) -> Option<String>) -> Vec<Row> {
    let row = |name: &str, flag: Option<String>, fate, says: &str| {
        let value = set(name);
        let over = PREVAIL.iter().find(|(over, names)| names.contains(&name) && set(over).is_some());
        let source = match (&value, over) {
            (None, _) => Source::Default,
            (Some(_), Some((over, _))) => Source::Overridden(over),
            (Some(_), None) => Source::Environment,
        };
        let value = value.map(|value| shown(name, &value));
        Row { name: name.to_owned(), flag, fate, says: says.to_owned(), value, source }
    };
    let known = variables().into_iter().map(|(name, flag, says)| {
        let fate = if REFUSED.contains(&name.as_str()) { Fate::Refused } else { Fate::Honoured };
        row(&name, flag, fate, &says)
    });
    let ignored = ignored_variables()
        .into_iter()
        .flat_map(|(names, why)| names.into_iter().map(move |name| (name, why)));
    let ignored = ignored.map(|(name, why)| row(name, None, Fate::Ignored, why));
    known.chain(ignored).collect()
}

fn as_json(rows: &[&Row]) -> String {
    let each = |row: &&Row| {
        let source = match row.source {
            Source::Default => "default",
            Source::Environment => "environment",
            Source::Overridden(_) => "overridden",
        };
        let mut object =
            json!({"name": row.name, "status": row.fate.word(), "meaning": row.says, "source": source});
        if let Some(flag) = &row.flag {
            object["flag"] = flag.as_str().into();
        }
        if let Some(value) = &row.value {
            object["value"] = value.as_str().into();
        }
        if let Source::Overridden(by) = row.source {
            object["by"] = by.into();
        }
        object
    };
    format!("{:#}\n", rows.iter().map(each).collect::<serde_json::Value>())
}

fn as_text(rows: &[&Row]) -> String {
    let sections = [
        (Fate::Honoured, "Honoured"),
        (Fate::Refused, "Refused: set to anything but «no», they end the start of `serve`"),
        (Fate::Ignored, "Ignored: variables of envoyproxy/ratelimit that change no limit here"),
    ];
    let mut text = String::new();
    if rows.is_empty() {
        return "none of them is set\n".to_owned();
    }
    for (fate, title) in sections {
        let mut of_fate = rows.iter().filter(|row| row.fate == fate).peekable();
        if of_fate.peek().is_none() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &format!("{title}\n");
        for row in of_fate {
            let now = match (&row.value, &row.source) {
                (Some(value), Source::Overridden(by)) => {
                    format!("={}  ({by} prevails)", lossy(value.as_bytes()))
                }
                (Some(value), _) => format!("={}", lossy(value.as_bytes())),
                (None, _) => String::new(),
            };
            let flag = row.flag.as_ref().map_or(String::new(), |flag| format!(" ({flag})"));
            text += &format!("  {}{now}\n      {}{flag}\n", row.name, row.says);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::variables::others;

    fn with(values: &[(&str, &str)], name: &str) -> Row {
        let set = |name: &str| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        rows(&set).into_iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn where_a_value_comes_from_is_told() {
        assert_eq!(with(&[], "GRPC_PORT").source, Source::Default);
        let set = [("GRPC_PORT", "9000")];
        assert_eq!(with(&set, "GRPC_PORT").source, Source::Environment);
        let both = [("GRPC_PORT", "9000"), ("SPILLWAY_GRPC_ADDR", ":1")];
        assert_eq!(with(&both, "GRPC_PORT").source, Source::Overridden("SPILLWAY_GRPC_ADDR"));
        assert_eq!(with(&both, "SPILLWAY_GRPC_ADDR").source, Source::Environment);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (name, value, told) in [
            ("REDIS_AUTH", "geheim", "…"),
            ("REDIS_SENTINEL_AUTH", "geheim", "…"),
            ("SPILLWAY_STORE", "redis://ann:geheim@cache:6379/0", "redis://…@cache:6379/0"),
            ("REDIS_URL", "redis://:geheim@cache:6379", "redis://…@cache:6379"),
            (
                "SPILLWAY_STORE",
                "redis-sentinel://a,b/?master=m&sentinel_auth=ge@heim",
                "redis-sentinel://a,b/?master=m&sentinel_auth=…",
            ),
            ("REDIS_URL", "cache:6379", "cache:6379"),
        ] {
            assert_eq!(with(&[(name, value)], name).value.as_deref(), Some(told), "{name}={value}");
        }
    }

    #[test]
    fn each_variable_is_there_once() {
        let mut names: Vec<String> = rows(&|_| None).into_iter().map(|row| row.name).collect();
        let many = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), many);
        assert!(REFUSED.iter().all(|name| others().any(|(known, _)| known == *name)));
    }
}
