//! The deployment files in `envoy/`: what their flags, variables, ports and probes mean to the program. Whether they are what
//! Kubernetes, Helm, Istio, systemd and so on take, `make check-deploy` asks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use crate::support::{Spillway, command, directory, get};

const POLICY: &str = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 5}}]\n";

/// How a deployment file runs the program.
#[derive(Debug, Default)]
struct Deployed {
    args: Vec<String>,
    variables: Vec<(String, String)>,
    ports: Vec<u64>,
    /// Paths that have to answer 200.
    paths: Vec<String>,
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_sequence().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn variables(list: &Value) -> Vec<(String, String)> {
    let pair = |one: &Value| Some((one["name"].as_str()?.to_owned(), one["value"].as_str()?.to_owned()));
    list.as_sequence().unwrap().iter().filter_map(pair).collect()
}

fn kubernetes() -> Deployed {
    let deployment = yaml("envoy/kubernetes/deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let monitor = yaml("envoy/kubernetes/prometheus-operator/service-monitor.yaml");
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
    let paths = probes.iter().map(|probe| &container[probe]["httpGet"]["path"]);
    let paths = paths.chain([&monitor["spec"]["endpoints"][0]["path"]]);
    let ports = container["ports"].as_sequence().unwrap().iter();
    Deployed {
        args: texts(&container["args"]),
        variables: variables(&container["env"]),
        ports: ports.map(|port| port["containerPort"].as_u64().unwrap()).collect(),
        paths: paths.filter_map(|path| path.as_str().map(str::to_owned)).collect(),
    }
}

fn compose() -> Deployed {
    let args = texts(&yaml("envoy/compose.yaml")["services"]["spillway"]["command"]);
    Deployed { args, ..Deployed::default() }
}

fn systemd() -> Deployed {
    let unit = read("envoy/systemd/spillway.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let args = line.split(' ').skip(1).map(str::to_owned).collect();
    Deployed { args, ..Deployed::default() }
}

fn image() -> Deployed {
    let dockerfile = read("envoy/docker/Dockerfile");
    let line = |word| dockerfile.lines().find_map(|line| line.strip_prefix(word)).unwrap();
    let ports = line("EXPOSE ").split(' ').map(|port| port.parse().unwrap()).collect();
    Deployed { args: serde_json::from_str(line("CMD ")).unwrap(), ports, ..Deployed::default() }
}

fn envoy_gateway() -> Deployed {
    let values = yaml("envoy/gateway/values.yaml");
    let provider = &values["config"]["envoyGateway"]["provider"];
    let container = &provider["kubernetes"]["rateLimitDeployment"]["container"];
    Deployed {
        args: vec!["serve".to_owned()],
        variables: variables(&container["env"]),
        ..Deployed::default()
    }
}

/// What is of the place where it is deployed, and is none here.
const OF_THE_PLACE: &[(&str, Option<&str>)] =
    &[("--grpc-addr", Some("127.0.0.1:8081")), ("--http-addr", Some("127.0.0.1:8080")), ("--store", None)];

/// The arguments, with files that are here, ports that are free, and counters in memory.
fn here(args: &[String], config: &Path) -> Vec<String> {
    let mut words = args.iter().flat_map(|arg| match arg.split_once('=') {
        Some((flag, value)) => vec![flag.to_owned(), value.to_owned()],
        None => vec![arg.clone()],
    });
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--config" {
            words.next().unwrap();
            kept.extend([word, config.display().to_string()]);
        } else if let Some((_, usual)) = OF_THE_PLACE.iter().find(|(flag, _)| *flag == word) {
            let value = words.next().unwrap();
            assert!(usual.is_none_or(|usual| usual == value), "{word} {value}");
        } else {
            kept.push(word);
        }
    }
    if !kept.iter().any(|word| word == "--config") {
        kept.extend(["--config".to_owned(), config.display().to_string()]);
    }
    kept.extend(
        ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--store", "memory"].map(str::to_owned),
    );
    kept
}

/// A flag that has another name now, a value that it does not take, and a probe of a path that is not there, all fail.
#[test]
fn the_program_starts_as_each_deployment_file_has_it() {
    let help = command(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for deployed in [kubernetes(), compose(), systemd(), image(), envoy_gateway()] {
        let config = directory(&[("d.yaml", POLICY)]);
        let args = here(&deployed.args, config.path());
        let mut serve = command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let spillway = Spillway::running(serve.envs(deployed.variables.iter().cloned()));
        for path in &deployed.paths {
            let answer = get(spillway.http, path);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
        for port in &deployed.ports {
            let is_default = [format!("[default: 0.0.0.0:{port}]"), format!("[default: 127.0.0.1:{port}]")];
            assert!(is_default.iter().any(|text| help.contains(text)), "{port}: {help}");
        }
    }
}

/// Also where nothing starts it as it stands: in the chart's templates, in what is commented on.
#[test]
fn every_flag_and_every_variable_that_a_deployment_file_names_is_there() {
    let help = command(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: BTreeSet<&str> = help
        .split([' ', '\n'])
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_matches(['`', ',', '.']))
        .collect();
    let rows = command(&["env", "--json"]).output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&rows.stdout).unwrap();
    let known: BTreeSet<&str> =
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    let folders = [
        "kubernetes",
        "kubernetes/tls",
        "kubernetes/disk",
        "helm/spillway",
        "helm/spillway/templates",
        "istio",
        "gateway",
        "systemd",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| files(&Path::new("envoy").join(folder)))
        .chain(["envoy/compose.yaml".into()]);
    let mut seen = 0;
    for file in files {
        for line in read(&file).lines() {
            // Lines for a shell are of other programs.
            if ["docker ", "helm ", "kubectl ", "install ", "systemctl ", "useradd ", "valkey-server"]
                .iter()
                .any(|of| line.contains(of))
            {
                continue;
            }
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
            for word in words.filter(|word| word.len() > 3) {
                let is_flag = word.starts_with("--") && word.as_bytes()[2].is_ascii_lowercase();
                let is_variable = word.starts_with("SPILLWAY_") && !word.ends_with('_');
                assert!(!is_flag || flags.contains(word), "{}: no flag {word}", file.display());
                assert!(!is_variable || known.contains(word), "{}: no variable {word}", file.display());
                seen += usize::from(is_flag) + usize::from(is_variable);
            }
        }
    }
    assert!(seen >= 20, "{seen}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// What is served is what the policies are, in the `ConfigMap` and in the chart.
#[test]
fn the_policies_of_the_deployment_files_are_sound() {
    let of_manifest = yaml("envoy/kubernetes/policies.yaml")["data"].clone();
    let of_chart = yaml("envoy/helm/spillway/values.yaml")["policies"].clone();
    for policies in [of_manifest, of_chart] {
        for (name, text) in policies.as_mapping().unwrap() {
            let config = directory(&[(name.as_str().unwrap(), text.as_str().unwrap())]);
            let output = command(&["check", "--strict"]).arg(config.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
