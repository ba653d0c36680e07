//! The import rule: a module imports only modules listed above it, and some crates are named in one place only.

use std::fs;
use std::path::Path;

const MODULES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("yaml", &[]),
    ("hint", &["yaml"]),
    ("regular", &[]),
    ("channel", &[]),
    ("clock", &["model"]),
    ("telemetry", &["model", "hint"]),
    ("tls", &["regular", "telemetry"]),
    ("traces", &["model", "channel", "telemetry", "tls"]),
    ("algorithm", &["model"]),
    ("response", &["model"]),
    ("subjects", &["model", "yaml", "hint"]),
    ("policy", &["model", "algorithm", "response", "subjects"]),
    ("store", &["model", "regular", "tls", "algorithm"]),
    ("engine", &["model", "algorithm", "response", "subjects", "policy"]),
    ("limiter", &["model", "clock", "algorithm", "policy", "store", "engine"]),
    ("explain", &["model", "hint", "clock", "algorithm", "subjects", "policy", "store", "engine", "limiter"]),
    ("rls", &["model", "clock", "telemetry", "traces", "response", "policy", "store", "engine", "limiter"]),
    ("config", &["model", "yaml", "hint", "regular", "algorithm", "response", "subjects", "policy"]),
    (
        "policy_test",
        &["model", "yaml", "hint", "clock", "subjects", "policy", "store", "engine", "limiter", "config"],
    ),
    ("envoy", &["yaml", "hint", "policy", "config"]),
    ("migrate", &["model", "yaml", "hint", "policy", "config"]),
    ("control", &["model", "hint", "clock", "telemetry", "subjects", "policy", "store", "limiter", "config"]),
    ("xds", &["model", "channel", "tls", "clock", "telemetry", "store", "config", "control"]),
    (
        "admin",
        &[
            "model",
            "hint",
            "clock",
            "telemetry",
            "algorithm",
            "response",
            "subjects",
            "policy",
            "store",
            "engine",
            "limiter",
            "explain",
            "config",
            "control",
        ],
    ),
    (
        "app",
        &[
            "model",
            "clock",
            "telemetry",
            "tls",
            "traces",
            "policy",
            "store",
            "limiter",
            "rls",
            "config",
            "control",
            "xds",
            "admin",
        ],
    ),
    ("top", &[]),
    (
        "cli",
        &[
            "model",
            "hint",
            "clock",
            "telemetry",
            "tls",
            "traces",
            "response",
            "subjects",
            "policy",
            "store",
            "engine",
            "limiter",
            "explain",
            "rls",
            "config",
            "policy_test",
            "envoy",
            "migrate",
            "control",
            "xds",
            "admin",
            "app",
            "top",
        ],
    ),
];

/// Crates that only some modules may name.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("tonic", &["rls", "app", "xds", "traces", "channel"]),
    ("prost", &["rls", "xds", "traces/collector", "traces/proto"]),
    ("hyper", &["rls", "app/http", "xds/connection", "traces/collector", "channel"]),
    ("h2", &["rls"]),
    ("sha2", &["admin/token", "subjects/credential", "tls/server"]),
    ("libyaml_safer", &["yaml/events"]),
    ("annotate_snippets", &["config"]),
    ("hashbrown", &["policy/matcher", "policy/mod", "store/lease", "store/memory"]),
    ("redb", &["store/disk"]),
    ("axum", &["admin", "app"]),
    ("subtle", &["admin/token"]),
    ("clap", &["cli"]),
    ("tracing", &["telemetry", "cli"]),
    ("tracing_appender", &["telemetry/log"]),
    ("prometheus_client", &["telemetry/exposition"]),
    ("procfs", &["telemetry/process"]),
    ("cadence", &["telemetry/statsd"]),
    ("heavykeeper", &["telemetry/heavy"]),
    ("ratatui", &["top"]),
    ("redis", &["store"]),
    (
        "rustls",
        &["cli/mod", "tls", "app/certificates", "app/rotated", "xds/error", "xds/tls", "traces/collector"],
    ),
    ("tokio_rustls", &["app", "xds", "traces/collector"]),
    ("rustls_native_certs", &["tls/client"]),
    ("x509_cert", &["tls/certificate", "tls/revocation"]),
];

/// `place` is a path below `src` without its ending: `store/memory`, `engine/mod`.
fn check(place: &str, text: &str, broken: &mut Vec<String>) {
    let module = place.split('/').next().unwrap();
    let Some((_, imports)) = MODULES.iter().find(|(name, _)| *name == module) else {
        return broken.push(format!("src/{place}: `{module}` is not a module; add it to MODULES"));
    };
    // Tests may import anything.
    if place.split('/').any(|part| part == "tests") {
        return;
    }
    let code = text.split("mod tests {").next().unwrap();
    for (n, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap();
        let mut flag = |what: String| broken.push(format!("src/{place}:{}: {what}", n + 1));
        if line.contains("super::super") || (place == module && line.contains("super::")) {
            flag("`super::` leaves the module; write `crate::`".into());
        }
        for rest in line.split("crate::").skip(1) {
            let import = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if import.is_empty() {
                flag("write one `use crate::module::…` line for each module".into());
            } else if import != module && !imports.contains(&import) {
                flag(format!("`{module}` may not import `{import}`"));
            }
        }
        for (dependency, hosts) in DEPENDENCIES {
            let named = line
                .match_indices(&format!("{dependency}::"))
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            let hosted = hosts.iter().any(|host| place == *host || place.starts_with(&format!("{host}/")));
            if named && !hosted {
                flag(format!("only {hosts:?} may name `{dependency}`"));
            }
        }
    }
}

fn visit(directory: &Path, below: &str, broken: &mut Vec<String>) -> usize {
    let mut visited = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            visited += visit(&entry.path(), &format!("{below}{name}/"), broken);
        } else if let Some(stem) = name.strip_suffix(".rs")
            && !matches!(format!("{below}{stem}").as_str(), "lib" | "main")
        {
            check(&format!("{below}{stem}"), &fs::read_to_string(entry.path()).unwrap(), broken);
            visited += 1;
        }
    }
    visited
}

#[test]
fn every_module_imports_only_what_it_may() {
    let mut broken = Vec::new();
    let visited = visit(Path::new("src"), "", &mut broken);
    assert!(visited > 30, "only {visited} files found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_module_is_listed_after_every_module_it_imports() {
    for (at, (module, imports)) in MODULES.iter().enumerate() {
        for import in *imports {
            assert!(
                MODULES[..at].iter().any(|(above, _)| above == import),
                "`{module}` imports `{import}` from below"
            );
        }
    }
}

#[test]
fn planted_violations_are_all_reported() {
    for (place, line, complaint) in [
        ("model/time", "use crate::store::Store;", "`model` may not import `store`"),
        ("policy/rule", "let x = crate::engine::decide();", "`policy` may not import `engine`"),
        ("engine/mod", "use crate::rls::NAME;", "`engine` may not import `rls`"),
        ("clock", "use super::store::Store;", "`super::` leaves the module; write `crate::`"),
        ("store/memory", "use super::super::engine;", "`super::` leaves the module; write `crate::`"),
        (
            "config/load",
            "use crate::{model, engine};",
            "write one `use crate::module::…` line for each module",
        ),
        (
            "engine/mod",
            "use hashbrown::HashMap;",
            "only [\"policy/matcher\", \"policy/mod\", \"store/lease\", \"store/memory\"] may name `hashbrown`",
        ),
        ("attic/mod", "", "`attic` is not a module; add it to MODULES"),
    ] {
        let mut broken = Vec::new();
        check(place, line, &mut broken);
        assert_eq!(broken.len(), 1, "{place}: {line}: {broken:?}");
        assert!(broken[0].ends_with(complaint), "{}", broken[0]);
    }
}
