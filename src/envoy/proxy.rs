//! HTTP connection managers, their filters, and the calls that each route makes of them.

use super::resources::Resources;
use super::value::Value;

/// One HTTP connection manager.
#[derive(Debug)]
pub(super) struct Proxy<'f> {
    pub(super) config: Value<'f>,
    pub(super) filters: Vec<Filter<'f>>,
    /// `None` where it comes from elsewhere.
    pub(super) routes: Option<Value<'f>>,
}

/// One HTTP filter.
#[derive(Clone, Debug)]
pub(super) struct Filter<'f> {
    pub(super) item: Value<'f>,
    pub(super) name: &'f str,
    /// Its own configuration, taken out of what is wrapped around it.
    pub(super) config: Value<'f>,
    /// It runs for routes that name it.
    pub(super) is_disabled: bool,
}

impl Filter<'_> {
    /// Whether it is the filter that asks a rate limit service.
    pub(super) fn is_limiter(&self) -> bool {
        self.config.type_name().ends_with(".http.ratelimit.v3.RateLimit")
    }

    /// Whether it is the filter that calls upstreams.
    pub(super) fn is_router(&self) -> bool {
        self.config.type_name().ends_with(".http.router.v3.Router")
    }
}

/// Descriptors that one route sends to one domain in one call.
#[derive(Debug)]
pub(super) struct Call<'f> {
    /// Which of the connection manager's filters makes it.
    pub(super) filter: usize,
    /// The word that says so.
    pub(super) domain: Value<'f>,
    /// The items of `rate_limits`.
    pub(super) items: Vec<Value<'f>>,
    /// Whether they stand in a list of the filter's, and not in one that routes had before.
    pub(super) is_filters_own: bool,
}

/// A route, with what its requests send.
#[derive(Debug)]
pub(super) struct Route<'f> {
    pub(super) item: Value<'f>,
    /// Its virtual host.
    pub(super) host: Value<'f>,
    pub(super) calls: Vec<Call<'f>>,
    /// Whether it is said that a limiter has nothing to do here.
    pub(super) is_opted_out: bool,
}

/// What a route's configuration of a filter says.
enum PerRoute<'f> {
    Silent,
    Disabled,
    Enabled(Value<'f>),
}

impl<'f> Proxy<'f> {
    /// Every HTTP connection manager of `resources`.
    pub(super) fn all(resources: &Resources<'f>) -> Vec<Self> {
        let of = |config: Value<'f>| Self::of(config, resources);
        network_filters(resources)
            .filter(|config| config.type_name().ends_with(".HttpConnectionManager"))
            .map(of)
            .collect()
    }

    fn of(config: Value<'f>, resources: &Resources<'f>) -> Self {
        let filters = config.list("http_filters").map(|item| Filter {
            item,
            name: item.text_of("name").unwrap_or_default(),
            config: unwrapped(item),
            is_disabled: item.is_true("disabled"),
        });
        let named = config.at(&["rds", "route_config_name"]).map(Value::text);
        let found = named.and_then(|name| {
            resources.routes.iter().copied().find(|routes| routes.text_of("name") == Some(name))
        });
        Self { config, filters: filters.collect(), routes: config.get("route_config").or(found) }
    }

    /// The filters that ask a rate limit service, with their places in the chain.
    pub(super) fn limiters(&self) -> impl Iterator<Item = (usize, &Filter<'f>)> {
        self.filters.iter().enumerate().filter(|(_, filter)| filter.is_limiter())
    }

    /// The virtual hosts of its routes.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Value<'f>> {
        self.routes.into_iter().flat_map(|routes| routes.list("virtual_hosts"))
    }

    /// Whatever may have configurations of filters.
    pub(super) fn scopes(&self) -> Vec<Value<'f>> {
        let mut scopes: Vec<Value<'f>> = self.routes.into_iter().collect();
        for host in self.hosts() {
            scopes.push(host);
            for route in host.list("routes") {
                scopes.push(route);
                let weighted = route.at(&["route", "weighted_clusters"]);
                scopes.extend(weighted.into_iter().flat_map(|weighted| weighted.list("clusters")));
            }
        }
        scopes
    }

    /// Every route that leads to an upstream, with its calls in the order of the filters.
    pub(super) fn routes(&self) -> Vec<Route<'f>> {
        let mut routes = Vec::new();
        for host in self.hosts() {
            for route in host.list("routes").filter(|route| route.get("route").is_some()) {
                let own: Vec<_> = [Some(route), Some(host), self.routes].into_iter().flatten().collect();
                let weighted = route.at(&["route", "weighted_clusters"]);
                let weighted = weighted.into_iter().flat_map(|weighted| weighted.list("clusters"));
                let weighted: Vec<_> =
                    weighted.filter(|cluster| cluster.get("typed_per_filter_config").is_some()).collect();
                if weighted.is_empty() {
                    routes.push(self.route(route, host, &own));
                }
                for cluster in weighted {
                    let scopes: Vec<_> = std::iter::once(cluster).chain(own.iter().copied()).collect();
                    routes.push(self.route(route, host, &scopes));
                }
            }
        }
        routes
    }

    fn route(&self, route: Value<'f>, host: Value<'f>, scopes: &[Value<'f>]) -> Route<'f> {
        let mut found = Route { item: route, host, calls: Vec::new(), is_opted_out: false };
        for (at, filter) in self.limiters() {
            let own = match per_route(filter.name, scopes) {
                PerRoute::Disabled => {
                    found.is_opted_out = true;
                    continue;
                }
                PerRoute::Silent if filter.is_disabled => continue,
                PerRoute::Silent => None,
                PerRoute::Enabled(config) => Some(config),
            };
            let domain = own.and_then(|own| own.get("domain")).or(filter.config.get("domain"));
            let Some(domain) = domain else { continue };
            let (items, is_filters_own) = items(filter, own, route, host);
            if !items.is_empty() {
                found.calls.push(Call { filter: at, domain, items, is_filters_own });
            }
        }
        found
    }
}

/// Which `rate_limits` a filter reads: its route's configuration of it, else its own, else those that stand in the route and
/// the virtual host, of its stage.
fn items<'f>(
    filter: &Filter<'f>,
    own: Option<Value<'f>>,
    route: Value<'f>,
    host: Value<'f>,
) -> (Vec<Value<'f>>, bool) {
    let list =
        |of: Option<Value<'f>>| -> Vec<_> { of.into_iter().flat_map(|of| of.list("rate_limits")).collect() };
    for of in [own, Some(filter.config)] {
        let items = list(of);
        if !items.is_empty() {
            return (items, true);
        }
    }
    let action = route.get("route");
    let of_route = list(action);
    let option = own.and_then(|own| own.text_of("vh_rate_limits")).unwrap_or("OVERRIDE");
    let includes =
        action.is_some_and(|action| action.is_true("include_vh_rate_limits")) || option == "INCLUDE";
    let takes_host = includes || option != "IGNORE" && of_route.is_empty();
    let of_host = if takes_host { list(Some(host)) } else { Vec::new() };
    let stage = filter.config.number("stage").unwrap_or_default();
    let is_of_stage = |item: &Value<'f>| item.number("stage").unwrap_or_default() == stage;
    (of_route.into_iter().chain(of_host).filter(is_of_stage).collect(), false)
}

fn per_route<'f>(name: &str, scopes: &[Value<'f>]) -> PerRoute<'f> {
    let of = |scope: &Value<'f>| scope.get("typed_per_filter_config")?.fields().find(|(key, _)| *key == name);
    let Some((_, config)) = scopes.iter().find_map(of) else { return PerRoute::Silent };
    if !config.type_name().ends_with(".route.v3.FilterConfig") {
        return PerRoute::Enabled(config);
    }
    if config.is_true("disabled") {
        PerRoute::Disabled
    } else {
        PerRoute::Enabled(config.get("config").unwrap_or(config))
    }
}

/// The configurations of all network filters.
pub(super) fn network_filters<'f>(resources: &Resources<'f>) -> impl Iterator<Item = Value<'f>> {
    let chains = |listener: &Value<'f>| {
        let default = listener.get("default_filter_chain").or(listener.get("api_listener"));
        listener.list("filter_chains").chain(default).collect::<Vec<_>>()
    };
    resources.listeners.iter().flat_map(chains).flat_map(|chain| {
        let of_api = chain.get("api_listener");
        chain.list("filters").map(unwrapped).chain(of_api).collect::<Vec<_>>()
    })
}

/// What a filter is configured with, without a matcher around it.
fn unwrapped(item: Value<'_>) -> Value<'_> {
    let config = item.get("typed_config").unwrap_or(item);
    if config.type_name().ends_with(".ExtensionWithMatcher") {
        return config.at(&["extension_config", "typed_config"]).unwrap_or(config);
    }
    config
}
