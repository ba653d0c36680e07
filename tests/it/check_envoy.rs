//! `spillway check --envoy`: an Envoy configuration beside the policies that it asks.

use crate::support::{command, directory};

const POLICY: &str = "\
domain: shop
descriptors:
- key: remote_address
  rate_limit: {unit: hour, requests_per_unit: 20}
- key: api_key
  rate_limit: {unit: hour, requests_per_unit: 10}
  descriptors:
  - key: bulk
    value: 'true'
    rate_limit: {unit: hour, requests_per_unit: 3}
";

const ENVOY: &str = r#"static_resources:
  listeners:
  - name: gateway
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: gateway
          use_remote_address: true
          xff_num_trusted_hops: 1
          http_filters:
          - name: keys
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth }
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: shop
              timeout: 0.1s
              failure_mode_deny: false
              rate_limit_service:
                transport_api_version: V3
                grpc_service: { envoy_grpc: { cluster_name: ratelimit } }
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: api
              domains: ["*"]
              routes:
              - match: { prefix: / }
                route: { cluster: upstream }
              rate_limits:
              - actions: [{ remote_address: {} }]
              - actions:
                - request_headers: { header_name: x-api-key, descriptor_key: api_key }
              - actions:
                - request_headers: { header_name: x-api-key, descriptor_key: api_key }
                - header_value_match: { descriptor_key: bulk, descriptor_value: "true", headers: [{ name: x-bulk }] }
  clusters:
  - name: ratelimit
    circuit_breakers: { thresholds: [{ max_requests: 100000 }] }
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
  - name: upstream
"#;

/// What `check` finds in these two, as `severity file:line message`, with the places that are related behind it; notes aside.
fn found(envoy: &str, policy: &str) -> Vec<String> {
    let root = directory(&[("envoy.yaml", envoy), ("shop.yaml", policy)]);
    let output = command(&["check", "--format", "json", "--envoy", "envoy.yaml", "shop.yaml"])
        .current_dir(root.path())
        .output()
        .unwrap();
    let printed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |one: &serde_json::Value| {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let places = one["related"].as_array().into_iter().flatten();
        let places = places.map(|place| format!(" ({}:{})", place["file"].as_str().unwrap(), place["line"]));
        let places = places.collect::<Vec<_>>().concat();
        let is_told = !text("hint").is_empty() || text("severity") == "note" || text("kind") == "syntax";
        assert!(is_told, "no fix is told: {one}");
        format!("{} {}:{} {}{places}", text("severity"), text("file"), one["line"], text("message"))
    };
    let mut found: Vec<_> = printed.iter().map(of).filter(|line| !line.starts_with("note")).collect();
    let is_wrong = found.iter().any(|line| line.starts_with("error"));
    assert_eq!(output.status.code(), Some(i32::from(is_wrong)), "{found:?}");
    found.sort();
    found
}

/// The line, from 1, on which `text` has `part`.
fn line(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no `{part}`")) + 1
}

/// A mistake: what is replaced by what, and what is told of which line of which file. `envoy:` stands before a line of the Envoy
/// configuration where the mistake is in the policy.
struct Planted {
    in_policy: bool,
    right: &'static str,
    wrong: &'static str,
    at: &'static str,
    told: &'static [&'static str],
}

const fn in_envoy(
    right: &'static str,
    wrong: &'static str,
    at: &'static str,
    told: &'static [&'static str],
) -> Planted {
    Planted { in_policy: false, right, wrong, at, told }
}

const PLANTED: &[Planted] = &[
    in_envoy(
        "descriptor_key: api_key }\n              - actions:",
        "descriptor_key: apikey }\n              - actions:",
        "descriptor_key: apikey",
        &["`apikey=…` reaches no rule of domain `shop`", "(shop.yaml:3)"],
    ),
    in_envoy(
        "descriptor_value: \"true\"",
        "descriptor_value: \"yes\"",
        "descriptor_value: \"yes\"",
        &[
            "`api_key=…, bulk=yes` reaches no rule",
            "below this descriptor there is no `bulk=yes`",
            "(shop.yaml:5)",
        ],
    ),
    in_envoy("domain: shop", "domain: shpo", "domain: shpo", &["no policy has the domain `shpo`"]),
    in_envoy("              timeout: 0.1s\n", "", "domain: shop", &["there is no `timeout`", "20 ms"]),
    in_envoy("timeout: 0.1s", "timeout: 0.0005s", "timeout: 0.0005s", &["wait for ever"]),
    in_envoy("timeout: 0.1s", "timeout: 30s", "timeout: 30s", &["every request waits for `30s`"]),
    in_envoy(
        "    circuit_breakers: { thresholds: [{ max_requests: 100000 }] }\n",
        "",
        "- name: ratelimit",
        &["Envoy makes 1024 calls at once", "(envoy.yaml:23)"],
    ),
    in_envoy(
        "explicit_http_config: { http2_protocol_options: {} }",
        "explicit_http_config: { http_protocol_options: {} }",
        "- name: ratelimit",
        &["speaks HTTP/1.1 to this cluster"],
    ),
    in_envoy(
        "          use_remote_address: true\n",
        "",
        "stat_prefix: gateway",
        &["X-Forwarded-For", "(envoy.yaml:33)"],
    ),
    in_envoy(
        "cluster_name: ratelimit }",
        "cluster_name: ratelimit, authority: 'a b' }",
        "authority: 'a b'",
        &["`a b` is no valid one"],
    ),
    in_envoy(
        "cluster_name: ratelimit }",
        "cluster_name: ratelimits }",
        "cluster_name: ratelimits",
        &["there is no cluster"],
    ),
    in_envoy(
        "transport_api_version: V3",
        "transport_api_version: V2",
        "transport_api_version: V2",
        &["but V3"],
    ),
    in_envoy(
        "              - actions: [{ remote_address: {} }]\n              - actions:\n                - request",
        "              - actions:\n                - request",
        "descriptor_key: api_key }",
        &["a request without the header `x-api-key` is not limited", "(shop.yaml:5)"],
    ),
    in_envoy(
        "- actions: [{ remote_address: {} }]",
        "- { stage: 1, actions: [{ remote_address: {} }] }",
        "stage: 1",
        &["this is of stage 1, and no filter is"],
    ),
    in_envoy(
        "          - name: keys\n            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth }\n",
        "",
        "descriptor_key: api_key }",
        &["a client may send `x-api-key` twice", "(shop.yaml:5)"],
    ),
    in_envoy(
        "- actions: [{ remote_address: {} }]",
        "- { hits_addend: { number: 5 }, actions: [{ remote_address: {} }] }",
        "hits_addend",
        &["ignores `hits_addend`"],
    ),
    in_envoy(
        "rate_limits:\n              - actions: [{ remote_address: {} }]",
        "rate_limits:\n              - actions: [{ request_headers: { header_name: ':path', descriptor_key: remote_address } }]",
        "header_name: ':path'",
        &["with the query string"],
    ),
    in_envoy(
        "grpc_service: { envoy_grpc",
        "grpc_service: { retry_policy: { retry_on: unavailable }, envoy_grpc",
        "retry_on: unavailable",
        &["a call that is tried again is counted twice"],
    ),
    in_envoy(
        "header_value_match: { descriptor_key: bulk, descriptor_value: \"true\", headers: [{ name: x-bulk }] }",
        "generic_key: { descriptor_key: bulk, descriptor_value: '%REQ(x-bulk)%' }",
        "%REQ(x-bulk)%",
        &["Envoy sends `%REQ(x-bulk)%` as it is written"],
    ),
    in_envoy(
        "                route: { cluster: upstream }\n",
        "                route: { cluster: upstream, rate_limits: [{ actions: [{ remote_address: {} }] }] }\n",
        "              - actions: [{ remote_address: {} }]",
        &["no route sends this: each has `rate_limits` of its own"],
    ),
    in_envoy(
        "                route: { cluster: upstream }\n",
        "                route: { cluster: upstream }\n                typed_per_filter_config:\n                  \
         envoy.filters.http.ratelimit:\n                    \"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute\n                    rate_limits: \
         [{ stage: 1, actions: [{ remote_address: {} }] }]\n",
        "stage: 1",
        &["Envoy refuses `stage` in a list of the filter's own"],
    ),
    in_envoy(
        "                route: { cluster: upstream }\n",
        "                route: { cluster: upstream }\n                typed_per_filter_config:\n                  \
         envoy.filters.http.ratelimit:\n                    \"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute\n                    rate_limits: \
         [{ hits_addend: { format: '%REQ(x-batch)%' }, actions: [{ remote_address: {} }] }]\n",
        "%REQ(x-batch)%",
        &["clients fill in this format"],
    ),
    in_envoy(
        "descriptor_key: api_key }\n              - actions:",
        "descriptor_key: api_key, skip_if_absent: true }\n                - request_headers: { header_name: x-no, descriptor_key: no }\n              - actions:",
        "header_name: x-no",
        &["`api_key=…, no=…` reaches no rule"],
    ),
    Planted {
        in_policy: true,
        right: "domain: shop\n",
        wrong: "domain: shop\nrequest_headers: {x-customer: '{{limit}}'}\n",
        at: "envoy:- name: envoy.filters.http.ratelimit",
        told: &["a client's own `x-customer` reaches the upstream", "(shop.yaml:2)"],
    },
    Planted {
        in_policy: true,
        right: "- key: remote_address\n",
        wrong: "- key: remote_address\n  value: 10.0.0.0/8\n",
        at: "key: remote_address",
        told: &["nothing that Envoy sends to domain `shop` reaches `remote_address=10.0.0.0/8`"],
    },
    Planted {
        in_policy: true,
        right: "- key: api_key\n  rate_limit: {unit: hour, requests_per_unit: 10}\n",
        wrong: "- key: api_key\n",
        at: "",
        told: &["`api_key=…` ends where domain `shop` has no limit", "(shop.yaml:5)"],
    },
    Planted {
        in_policy: true,
        right: "- key: remote_address\n",
        wrong: "- key: user\n  rate_limit: {unit: day, requests_per_unit: 1}\n- key: remote_address\n",
        at: "key: user",
        told: &["nothing that Envoy sends to domain `shop` reaches `user`", "(envoy.yaml:18)"],
    },
];

#[test]
fn a_sound_pair_is_sound() {
    assert_eq!(found(ENVOY, POLICY), [""; 0]);
}

#[test]
fn each_planted_mistake_is_found_in_its_line() {
    assert!(PLANTED.len() >= 12);
    for planted in PLANTED {
        let of = |text: &str, is_here: bool| {
            assert!(!is_here || text.contains(planted.right), "`{}` is not there", planted.right);
            if is_here { text.replacen(planted.right, planted.wrong, 1) } else { text.to_owned() }
        };
        let (envoy, policy) = (of(ENVOY, !planted.in_policy), of(POLICY, planted.in_policy));
        let (name, text) = if planted.in_policy { ("shop.yaml", &policy) } else { ("envoy.yaml", &envoy) };
        // Some mistakes of a policy show in what Envoy sends.
        let place = match planted.at {
            "" => format!("envoy.yaml:{} ", line(&envoy, "descriptor_key: api_key }")),
            at => match at.strip_prefix("envoy:") {
                Some(at) => format!("envoy.yaml:{} ", line(&envoy, at)),
                None => format!("{name}:{} ", line(text, at)),
            },
        };
        let found = found(&envoy, &policy);
        assert!(
            found
                .iter()
                .any(|one| one.contains(&place) && planted.told.iter().all(|part| one.contains(part))),
            "{}: expected {:?} at {place}, found {found:#?}",
            planted.wrong,
            planted.told
        );
    }
}

#[test]
fn a_header_for_the_upstream_that_is_removed_before_the_filter_is_no_mistake() {
    let policy =
        POLICY.replacen("domain: shop\n", "domain: shop\nrequest_headers: {X-Customer: '{{limit}}'}\n", 1);
    assert_eq!(found(ENVOY, &policy).len(), 1);
    let filter = "          - name: envoy.filters.http.ratelimit\n";
    let removing = r#"          - name: strip
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: { request_mutations: [{ remove: x-customer }] }
"#;
    assert_eq!(found(&ENVOY.replacen(filter, &format!("{removing}{filter}"), 1), &policy), [""; 0]);
    let router = "          - name: envoy.filters.http.router\n";
    let behind = ENVOY.replacen(router, &format!("{removing}{router}"), 1);
    assert_eq!(found(&behind, &policy).len(), 1, "removed behind it, the policy's own goes as well");
    let of_route = ENVOY.replacen(
        "domains: [\"*\"]",
        "domains: [\"*\"]\n              request_headers_to_remove: [x-customer]",
        1,
    );
    assert_eq!(found(&of_route, &policy).len(), 1, "it is removed when the filters are done");
}

#[test]
fn routes_that_the_filter_never_sees_are_told() {
    let filter = &ENVOY[ENVOY.find("          - name: envoy.filters.http.ratelimit").unwrap()
        ..ENVOY.find("          - name: envoy.filters.http.router").unwrap()];
    let without = ENVOY.replacen(filter, "", 1);
    let found_without = found(&without, POLICY);
    let first =
        format!("envoy.yaml:{} no filter of this listener asks", line(&without, "remote_address: {}"));
    assert!(found_without.iter().any(|one| one.contains(&first)), "{found_without:#?}");

    let per_route = r#"              typed_per_filter_config:
                ratelimit:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                  rate_limits: [{ actions: [{ remote_address: {} }] }]
              rate_limits:
"#;
    let misnamed = ENVOY.replacen("              rate_limits:\n", per_route, 1);
    let found = found(&misnamed, POLICY);
    let first = format!(
        "envoy.yaml:{} no HTTP filter is called `ratelimit`",
        line(&misnamed, "                ratelimit:")
    );
    assert!(found.len() == 1 && found[0].contains(&first), "{found:#?}");
}

#[test]
fn headers_that_both_sides_write_are_told() {
    let envoy = ENVOY.replacen(
        "timeout: 0.1s\n",
        "timeout: 0.1s\n              enable_x_ratelimit_headers: DRAFT_VERSION_03\n",
        1,
    );
    assert_eq!(found(&envoy, POLICY), [""; 0]);
    let policy =
        POLICY.replacen("domain: shop\n", "domain: shop\nheaders: {emit: always, dialect: x-ratelimit}\n", 1);
    let found = found(&envoy, &policy);
    let first =
        format!("envoy.yaml:{} clients get `x-ratelimit-limit` twice", line(&envoy, "enable_x_ratelimit"));
    assert!(found.len() == 1 && found[0].contains(&first), "{found:#?}");
}

#[test]
fn the_choice_for_failures_is_told_and_is_no_mistake() {
    let root = directory(&[("envoy.yaml", ENVOY), ("shop.yaml", POLICY)]);
    let told = |format: &str| {
        let output =
            command(&["check", "--strict", "--format", format, "--envoy", "envoy.yaml", "shop.yaml"])
                .current_dir(root.path())
                .output()
                .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let message = "while the service of domain `shop` cannot be asked, requests pass unlimited";
    let text = told("text");
    assert!(text.contains(message) && text.contains("1 Envoy configuration, 1 note\n"), "{text}");
    assert!(told("json").contains("\"severity\": \"note\""));
    assert!(told("sarif").contains("\"level\": \"note\""));
    assert!(told("github").starts_with("::notice file=envoy.yaml,line=20"));
}

#[test]
fn a_file_that_is_no_envoy_configuration_is_told() {
    for (text, told) in
        [("domain: d\n", "this is no Envoy configuration"), ("static_resources: [\n", "not YAML")]
    {
        let found = found(text, POLICY);
        assert!(found.len() == 1 && found[0].contains(told), "{found:?}");
    }
}

/// A dump has what its listeners are now, in JSON, whose words may be in camel case.
#[test]
fn a_dump_is_read_as_the_configuration_is() {
    let bootstrap: serde_json::Value = serde_yaml::from_str(ENVOY).unwrap();
    let resources = &bootstrap["static_resources"];
    let mut listener = resources["listeners"][0].clone();
    let connections = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let routes = connections["route_config"].take();
    connections["rds"] = serde_json::json!({"route_config_name": "api"});
    let mut route_config = routes;
    route_config["name"] = "api".into();
    let clusters = resources["clusters"].as_array().unwrap().iter();
    let clusters: Vec<_> = clusters.map(|cluster| serde_json::json!({"cluster": cluster})).collect();
    let dump = serde_json::json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {}},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": clusters},
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
         "dynamic_listeners": [{"name": "gateway", "active_state": {"listener": listener}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
         "dynamic_route_configs": [{"route_config": route_config}]},
    ]});
    let dump = format!("{dump:#}");
    assert_eq!(found(&dump, POLICY), [""; 0]);
    let camel = dump.replace("descriptor_key", "descriptorKey").replace("\"bulk\"", "\"bulks\"");
    let found = found(&camel, POLICY);
    assert!(found.iter().any(|one| one.contains("`api_key=…, bulks=true` reaches no rule")), "{found:#?}");
}

/// Rules that are only charged when responses are complete refuse nobody.
#[test]
fn what_is_only_charged_too_late_is_told() {
    let late = "              - { apply_on_stream_done: true, actions: [{ remote_address: {} }] }\n";
    let envoy = ENVOY.replacen("              - actions: [{ remote_address: {} }]\n", late, 1);
    let found = found(&envoy, POLICY);
    let told = format!(
        "shop.yaml:3 `remote_address` is only charged for responses, when it is too late to refuse anything \
                        (envoy.yaml:{})",
        line(&envoy, "apply_on_stream_done")
    );
    assert!(found.iter().any(|one| one.contains(&told)), "{found:#?}");
}

/// A filter of TCP connections asks the same service, and its descriptors are written down as they are.
#[test]
fn a_network_filter_is_looked_at_as_well() {
    let envoy = |key: &str| {
        format!(
            r#"static_resources:
  listeners:
  - filter_chains:
    - filters:
      - name: envoy.filters.network.ratelimit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.ratelimit.v3.RateLimit
          domain: tcp
          timeout: 0.1s
          descriptors: [{{ entries: [{{ key: {key}, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" }}] }}]
          rate_limit_service: {{ transport_api_version: V3, grpc_service: {{ envoy_grpc: {{ cluster_name: ratelimit }} }} }}
{}"#,
            &ENVOY[ENVOY.find("  clusters:").unwrap()..]
        )
    };
    let policy = "domain: tcp\ndescriptors: [{key: remote_address, rate_limit: {unit: hour, requests_per_unit: 20}}]\n";
    assert_eq!(found(&envoy("remote_address"), policy), [""; 0]);
    let found = found(&envoy("remote_adress"), policy);
    assert!(
        found.iter().any(|one| one.contains("envoy.yaml:10 `remote_adress=…` reaches no rule")),
        "{found:#?}"
    );
}

/// One of several clusters of a route may have a configuration of its own.
#[test]
fn weighted_clusters_are_routes_of_their_own() {
    let weighted = r#"                route:
                  weighted_clusters:
                    clusters:
                    - name: upstream
                      weight: 1
                      typed_per_filter_config:
                        envoy.filters.http.ratelimit:
                          "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                          domain: shpo
"#;
    let envoy = ENVOY.replacen("                route: { cluster: upstream }\n", weighted, 1);
    let found = found(&envoy, POLICY);
    let told = format!("envoy.yaml:{} no policy has the domain `shpo`", line(&envoy, "domain: shpo"));
    assert!(found.iter().any(|one| one.contains(&told)), "{found:#?}");
}

#[test]
fn the_projects_own_configuration_is_clean() {
    let output = command(&["check", "--strict", "--envoy", "envoy/envoy.yaml", "config"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !told.contains("warning:"), "{told}");
}

#[test]
fn a_direct_response_is_never_limited_and_nobody_is_told_to_include_anything() {
    let direct = ENVOY.replacen("route: { cluster: upstream }", "direct_response: { status: 200 }", 1);
    let found = found(&direct, POLICY);
    let told = "no route sends this: a route with `direct_response` or `redirect` is never limited";
    assert!(found.iter().any(|one| one.contains(told)), "{found:#?}");
}

#[test]
fn a_path_with_a_query_is_told_as_what_the_rules_make_of_it() {
    let all = "- actions: [{ remote_address: {} }]\n";
    let path = "- actions: [{ request_headers: { header_name: ':path', descriptor_key: path } }]\n";
    let envoy = ENVOY.replacen(all, &format!("{all}              {path}"), 1);
    let of = |rule: &str| {
        let found = found(&envoy, &format!("{POLICY}- {rule}\n"));
        let told: Vec<_> = found.into_iter().filter(|one| one.contains("query string")).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        told.concat()
    };
    let exact = of("{key: path, value: /login, rate_limit: {unit: hour, requests_per_unit: 5}}");
    assert!(exact.contains("so `/login?a=1` is not `/login` and reaches no rule"), "{exact}");
    let each = of("{key: path, rate_limit: {unit: hour, requests_per_unit: 5}}");
    assert!(each.contains("has a counter of its own"), "{each}");
}

#[test]
fn a_limit_of_some_values_is_none_of_every_request() {
    let items =
        &ENVOY[ENVOY.find("              rate_limits:\n").unwrap()..ENVOY.find("  clusters:\n").unwrap()];
    let of = |rate_limits: &str, policy: &str| {
        let rate_limits = format!("              rate_limits:\n{rate_limits}");
        let envoy = ENVOY.replacen(items, &rate_limits, 1);
        // Nobody authenticates there.
        let keys = envoy.find("          - name: keys\n").unwrap()
            ..envoy.find("          - name: envoy.filters.http.ratelimit").unwrap();
        found(&envoy.replacen(&envoy[keys], "", 1), policy)
    };
    let item = |header: &str, key: &str| {
        format!(
            "              - actions: [{{ request_headers: {{ header_name: '{header}', descriptor_key: {key} }} }}]\n"
        )
    };
    let both = item(":path", "path") + &item("x-tenant", "tenant");
    let policy = |path: &str, free: &str| {
        format!(
            "domain: shop\ndescriptors:\n- {{key: path{path}, rate_limit: {{unit: hour, requests_per_unit: 5}}}}\n\
             - {{key: tenant, rate_limit: {{unit: day, requests_per_unit: 10}}}}\n{free}"
        )
    };
    let free = "- {key: tenant, value: free, rate_limit: {unlimited: true}}\n";
    let absent = "a request without the header `x-tenant` is not limited by domain `shop`";
    let chosen = "a client that sends `x-tenant: free` is not limited by domain `shop`";
    let has = |found: &[String], part: &str| found.iter().any(|one| one.contains(part));
    let some = of(&both, &policy(", value: /login", free));
    assert!(has(&some, absent) && has(&some, "limits some values only"), "{some:#?}");
    assert!(has(&some, chosen), "{some:#?}");
    let every = of(&both, &policy("", free));
    assert!(!has(&every, absent) && !has(&every, chosen), "{every:#?}");
}
