//! Everything that is looked at.

mod chain;
mod descriptors;
mod identity;
mod service;
mod upstream;
mod values;

use std::path::PathBuf;

use super::findings::Findings;
use super::proxy::{Proxy, network_filters};
use super::resources::Resources;
use super::value::File;
use crate::config::{Diagnostic, DiagnosticKind, read_text};
use crate::policy::Policy;

/// What is wrong, or probably not meant, in the Envoy configuration that `paths` are together, and between it and `policy`. Each
/// file is a bootstrap, what Envoy's admin port answers to `/config_dump`, or resources as they are put on a disk for Envoy, in
/// YAML or JSON. Without a policy only that is looked at which needs none.
pub fn check(paths: &[PathBuf], policy: Option<&Policy>) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => match File::read(&name, text) {
                Ok(file) => files.push(file),
                Err(wrong) => findings.push(wrong),
            },
            Err(error) => {
                let wrong = Diagnostic::error(format!("cannot read `{name}`: {error}"));
                findings.push(wrong.kind(DiagnosticKind::UnreadableFile));
            }
        }
    }
    // What is missing from half of a configuration is no mistake.
    look(&files, policy.filter(|_| files.len() == paths.len()), &mut findings);
    let names: Vec<&str> = files.iter().map(|file| &*file.source.file).collect();
    findings.finish(&names)
}

/// The same of files that were read.
fn look(files: &[File], policy: Option<&Policy>, findings: &mut Findings) {
    let mut resources = Resources::default();
    let mut policy = policy;
    for file in files {
        if let Err(wrong) = resources.add(file) {
            findings.push(wrong);
            policy = None;
        }
    }
    let proxies = Proxy::all(&resources);
    for proxy in &proxies {
        for (_, filter) in proxy.limiters() {
            service::check(filter.config, &resources, findings);
        }
        chain::check(proxy, findings);
        identity::check_address(proxy, findings);
    }
    let of_network: Vec<_> = network_filters(&resources)
        .filter(|config| config.type_name().ends_with(".network.ratelimit.v3.RateLimit"))
        .collect();
    for config in &of_network {
        service::check(*config, &resources, findings);
    }
    if let Some(policy) = policy {
        descriptors::check(&proxies, &of_network, &resources, policy, findings);
    }
}
