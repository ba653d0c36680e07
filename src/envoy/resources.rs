//! The listeners, routes and clusters of a configuration, in whatever form it was written down.

use super::value::{File, Value};
use crate::config::{Diagnostic, Severity};

/// What Envoy is configured with.
#[derive(Debug, Default)]
pub(super) struct Resources<'f> {
    pub(super) listeners: Vec<Value<'f>>,
    /// Route configurations that listeners name.
    pub(super) routes: Vec<Value<'f>>,
    pub(super) clusters: Vec<Value<'f>>,
    /// Layers of the runtime that are written down.
    pub(super) runtime: Vec<Value<'f>>,
    /// Whether clusters may come from elsewhere.
    pub(super) more_clusters: bool,
    /// Whether route configurations may come from elsewhere.
    pub(super) more_routes: bool,
}

impl<'f> Resources<'f> {
    /// Adds what is in `file`: a bootstrap, an answer of the admin port's `/config_dump`, or resources as an xDS server sends them.
    pub(super) fn add(&mut self, file: &'f File) -> Result<(), Diagnostic> {
        let mut is_known = false;
        for document in file.documents() {
            if document.get("static_resources").or(document.get("dynamic_resources")).is_some() {
                self.bootstrap(document, true);
                is_known = true;
            } else if let Some(configs) = document.get("configs") {
                self.dump(configs);
                is_known = true;
            } else if document.get("resources").is_some() {
                document.list("resources").for_each(|one| self.resource(one));
                (self.more_clusters, is_known) = (true, true);
            } else if !document.type_name().is_empty() {
                self.resource(document);
                (self.more_clusters, is_known) = (true, true);
            }
        }
        if is_known {
            return Ok(());
        }
        let message =
            "this is no Envoy configuration: it has no `static_resources`, `configs` or `resources`"
                .to_owned();
        let hint =
            "name the file that Envoy is started with, or what `curl 127.0.0.1:9901/config_dump` writes";
        let start = crate::yaml::Span::START;
        Err(file.source.diagnose(Severity::Error, start, message, Some(hint.to_owned())))
    }

    fn bootstrap(&mut self, bootstrap: Value<'f>, with_resources: bool) {
        let layers = bootstrap.get("layered_runtime").into_iter().flat_map(|runtime| runtime.list("layers"));
        self.runtime.extend(layers.filter_map(|layer| layer.get("static_layer")));
        if !with_resources {
            return;
        }
        if let Some(resources) = bootstrap.get("static_resources") {
            self.listeners.extend(resources.list("listeners"));
            self.clusters.extend(resources.list("clusters"));
        }
        if let Some(dynamic) = bootstrap.get("dynamic_resources") {
            let (clusters, any) = (dynamic.get("cds_config"), dynamic.get("ads_config"));
            self.more_clusters |= clusters.or(any).is_some();
            self.more_routes |= any.is_some();
        }
    }

    fn dump(&mut self, configs: Value<'f>) {
        let of_type = |name: &str| configs.items().find(|one| one.type_name().ends_with(name));
        let listeners = of_type("ListenersConfigDump");
        if let Some(bootstrap) = of_type("BootstrapConfigDump").and_then(|dump| dump.get("bootstrap")) {
            self.bootstrap(bootstrap, listeners.is_none());
        }
        if let Some(dump) = listeners {
            self.listeners.extend(dump.list("static_listeners").filter_map(|one| one.get("listener")));
            let active =
                dump.list("dynamic_listeners").filter_map(|one| one.at(&["active_state", "listener"]));
            self.listeners.extend(active);
        }
        if let Some(dump) = of_type("ClustersConfigDump") {
            for list in ["static_clusters", "dynamic_active_clusters"] {
                self.clusters.extend(dump.list(list).filter_map(|one| one.get("cluster")));
            }
            self.more_clusters = false;
        }
        for dump in configs.items().filter(|one| one.type_name().ends_with(".RoutesConfigDump")) {
            self.routes.extend(dump.list("dynamic_route_configs").filter_map(|one| one.get("route_config")));
        }
    }

    fn resource(&mut self, resource: Value<'f>) {
        // As a configuration on disk has them, or with a name and a version around them.
        let resource = resource.get("resource").unwrap_or(resource);
        match resource.type_name().rsplit('.').next() {
            Some("Listener") => self.listeners.push(resource),
            Some("RouteConfiguration") => self.routes.push(resource),
            Some("Cluster") => self.clusters.push(resource),
            Some("Bootstrap") => self.bootstrap(resource, true),
            _ => {}
        }
    }

    /// The value of a key of the runtime, the last layer's first. Keys may be written with dots, or as mappings in each other.
    pub(super) fn runtime(&self, key: &str) -> Option<Value<'f>> {
        self.runtime.iter().rev().find_map(|layer| nested(*layer, key))
    }

    pub(super) fn cluster(&self, name: &str) -> Option<Value<'f>> {
        self.clusters.iter().copied().find(|cluster| cluster.text_of("name") == Some(name))
    }
}

fn nested<'f>(layer: Value<'f>, key: &str) -> Option<Value<'f>> {
    layer.fields().find_map(|(name, value)| {
        if name == key {
            return Some(value);
        }
        nested(value, key.strip_prefix(name)?.strip_prefix('.')?)
    })
}
