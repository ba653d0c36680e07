//! Headers that a policy sets for the upstream, and that clients may send as well.

use crate::config::DiagnosticKind::Bypass;
use crate::envoy::findings::{Finding, Findings};
use crate::envoy::proxy::Proxy;
use crate::envoy::value::Value;
use crate::policy::Domain;

/// Tells which headers for the upstream may be a client's own: Envoy adds those of an answer to what the client sent, and the
/// policy sets none where it knows nothing.
pub(super) fn check(proxy: &Proxy<'_>, limiter: usize, domain: &Domain, findings: &mut Findings) {
    let Some(filter) = proxy.filters.get(limiter) else { return };
    for header in &domain.request_headers {
        if is_seen_to(proxy, limiter, &header.name.to_lowercase()) {
            continue;
        }
        let name = &header.name;
        let wrong = Finding::warning(
            Bypass,
            format!(
                "a client's own `{name}` reaches the upstream: Envoy keeps it beside the one that domain `{}` sets, and where the \
                 policy sets none it is the only one",
                domain.name
            ),
        );
        let hint = format!(
            "remove it before this filter, with the filter `envoy.filters.http.header_mutation` and `mutations: \
             {{request_mutations: [{{remove: {name}}}]}}`; `request_headers_to_remove` comes too late, and would remove the policy's \
             as well"
        );
        findings.at(filter.item, wrong.hint(hint).related("the policy sets it here", header.place.clone()));
    }
}

/// Whether something before the limiter names the header `name`, in lower case: whoever does so removes or writes it.
fn is_seen_to(proxy: &Proxy<'_>, limiter: usize, name: &str) -> bool {
    let early = proxy.config.list("early_header_mutation_extensions").any(|one| one.mentions_name(name));
    early
        || proxy.filters.iter().take(limiter).any(|filter| {
            let of_scopes = proxy.scopes().into_iter().any(|scope| {
                let configs = scope.get("typed_per_filter_config").into_iter().flat_map(Value::fields);
                configs.filter(|(of, _)| *of == filter.name).any(|(_, config)| config.mentions_name(name))
            });
            of_scopes || !filter.is_disabled && filter.config.mentions_name(name)
        })
}
