//! The program as a person runs it: what it prints, and its exit code.

use std::net::TcpListener;
use std::process::Output;

use crate::support::{Spillway, command, directory, get, serve};

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn five_mistakes_in_a_directory_are_five_places() {
    let config = directory(&[
        (
            "a.yaml",
            "domain: a\ndescriptors:\n  - key: user\n    rate_limit:\n      unit: fortnight\n      requests_per_unit: 5\n  \
             - kee: user\n    rate_limit: {unit: minute, requests_per_unit: -5}\n",
        ),
        ("b.yaml", "domain: b\ndescriptors:\n  - key: x\n  - key: x\n"),
        ("c.yaml", "domain: c\ndescriptors: [\n"),
        ("notes.txt", "not read"),
    ]);
    let (code, stdout, stderr) = run(&["check", config.path().to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let root = config.path().display().to_string();
    let places: Vec<_> = stderr
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--> "))
        .map(|place| place.replace(&format!("{root}/"), ""))
        .collect();
    assert_eq!(places, ["a.yaml:5:13", "a.yaml:7:5", "a.yaml:8:51", "b.yaml:4:5", "c.yaml:3:1"], "{stderr}");
}

#[test]
fn a_mistake_is_shown_with_its_line_and_what_to_do() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors:\n  - key: user\n    rate_limt: {unit: minute, requests_per_unit: 5}\n",
    )]);
    let file = config.path().join("a.yaml");
    let (code, _, stderr) = run(&["check", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    let expected = format!(
        "error: unknown word `rate_limt` in a descriptor
 --> {}:4:5
  |
4 |     rate_limt: {{unit: minute, requests_per_unit: 5}}
  |     ^^^^^^^^^
  |
  = help: did you mean `rate_limit`?

1 error
",
        file.display()
    );
    assert_eq!(stderr, expected);
}

#[test]
fn a_sound_directory_is_counted() {
    let config = directory(&[
        ("a.yaml", "domain: a\ndescriptors: [{key: x, rate_limit: {unit: day, requests_per_unit: 1}}]"),
        ("b.yaml", "domain: b\ndescriptors: [{key: x}]"),
    ]);
    let (code, stdout, stderr) = run(&["check", config.path().to_str().unwrap()]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "ok: 1 rule in 2 files\n", ""));
}

#[test]
fn explain_tells_the_rule_the_counter_the_numbers_and_the_answer() {
    let config = directory(&[(
        "d.yaml",
        "domain: d\ndescriptors:\n  - key: user\n    descriptors:\n      - {key: path, value: '/a*', rate_limit: {unit: \
         minute, requests_per_unit: 5}}\n",
    )]);
    let file = config.path().join("d.yaml");
    let file = file.to_str().unwrap();
    let at = ["--at", "2026-01-01T00:00:18Z"];
    let (code, stdout, stderr) = run(&[
        &["explain", "--config", file, "--domain", "d", "user=u,path=/abc", "user=u,paht=/x"],
        &at[..],
    ]
    .concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let expected = format!(
        "domain d, at 2026-01-01T00:00:18Z

user=u, path=/abc
  rule     user > path=/a* ({file}:5:9)
  limit    5 per minute
  counter  user=u, path=/abc
  numbers  used 1 of 5, 4 left, resets in 42s
  answer   OK

user=u, paht=/x
  rule     none: `paht=/x` matches nothing below `user` ({file}:3:5) (did you mean `path`?)
  answer   OK

overall  OK
"
    );
    assert_eq!(stdout, expected);

    let (_, stdout, _) = run(&[
        &["explain", "--config", file, "--domain", "d", "--json", "--hits", "6", "user=u,path=/a"],
        &at[..],
    ]
    .concat());
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["overall"], "OVER_LIMIT");
    let numbers = &json["descriptors"][0]["limits"][0]["numbers"];
    assert_eq!((&numbers["used"], &numbers["retry_after_ms"]), (&6.into(), &serde_json::Value::Null));

    let (code, _, stderr) = run(&["explain", "--config", file, "--domain", "dd", "user=u"]);
    assert_eq!((code, stderr.as_str()), (1, "error: no domain `dd` is configured; did you mean `d`?\n"));
}

#[test]
fn serve_refuses_a_wrong_configuration_with_every_mistake() {
    let config = directory(&[("a.yaml", "domain: a\ndescriptors: [{key: x, oops: 1}, {kee: y}]")]);
    let (code, _, stderr) = run(&["serve", "--config", config.path().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("`oops`") && stderr.contains("`kee`") && stderr.ends_with("2 errors\n"),
        "{stderr}"
    );
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let config = directory(&[("a.yaml", "domain: a")]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&[
        "serve",
        "--log-level",
        "error",
        "--config",
        config.path().to_str().unwrap(),
        "--grpc-addr",
        &address,
    ]);
    assert_eq!(
        (code, stderr),
        (70, format!("error: cannot listen for gRPC on `{address}`: the address is in use\n"))
    );
}

#[test]
fn the_command_line_is_helped_along() {
    let (code, _, stderr) = run(&["serve", "--grpc-adr", "x"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--grpc-addr"), "{stderr}");
    let (code, _, stderr) = run(&["chekc"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("check"), "{stderr}");
    let (code, _, stderr) = run(&["check", "no-such-directory"]);
    assert_eq!(code, 1);
    assert_eq!(
        stderr,
        "error: cannot read `no-such-directory`: there is no such file or directory\n\n1 error\n"
    );
    let (code, stdout, _) = run(&["completions", "bash"]);
    assert!(code == 0 && stdout.contains("spillway"), "{stdout}");
}

#[test]
fn a_deployment_of_envoyproxy_ratelimit_starts_unchanged() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("ratelimit/config");
    std::fs::create_dir_all(&config).unwrap();
    // Without an ending, which that server does not ask for.
    let policy = config.join("limits");
    std::fs::write(
        &policy,
        "domain: a\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 5}}]",
    )
    .unwrap();
    let deployment = || {
        let mut serve = command(&["serve"]);
        serve
            .env("RUNTIME_ROOT", root.path())
            .env("RUNTIME_SUBDIRECTORY", "ratelimit")
            .env("LOG_LEVEL", "info");
        serve.env("GRPC_HOST", "localhost").env("GRPC_PORT", "0").env("HOST", "127.0.0.1").env("PORT", "0");
        serve.env("USE_STATSD", "false").env("SHADOW_MODE", "false").env("BACKEND_TYPE", "memory");
        serve
    };
    let spillway = Spillway::running(&mut deployment());
    assert!(spillway.seen.iter().any(|line| line.contains("files=1 rules=1")), "{:?}", spillway.seen);
    assert!(get(spillway.http, "/healthcheck").ends_with("OK"));
    drop(spillway);

    std::fs::write(&policy, "domain: a\ndescriptors: [{oops: 1}]").unwrap();
    let output = deployment().output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("ratelimit/config/limits:2:16"), "{stderr}");
}

#[test]
fn headers_that_envoyproxy_ratelimit_was_told_to_send_are_sent() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors: [{key: x, rate_limit: {unit: hour, requests_per_unit: 5}}]",
    )]);
    let output = command(&["explain", "--domain", "a", "--at", "2026-01-01T00:00:00Z", "x=1", "--config"])
        .arg(config.path())
        .env("LIMIT_RESPONSE_HEADERS_ENABLED", "true")
        .env("LIMIT_RESET_HEADER", "X-Reset")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let headers = "  RateLimit-Limit: 5\n  RateLimit-Remaining: 4\n  X-Reset: 3600\n";
    assert!(stdout.ends_with(headers), "{stdout}");
}

#[test]
fn a_variable_that_is_not_understood_ends_the_start_by_its_name() {
    for (name, value, reported) in [
        ("SHADOW_MODE", "maybe", r#"SHADOW_MODE="maybe": expected `true` or `false`"#),
        ("MERGE_DOMAIN_CONFIG", "ja", "MERGE_DOMAIN_CONFIG"),
        ("GRPC_PORT", "31083x", "expected a port"),
        ("GRPC_HOST", "no.such.host.invalid", "GRPC_HOST"),
        ("LOG_LEVEL", "verbose", "expected `error`, `warn`"),
        ("LOG_FORMAT", "xml", "expected `text` or `json`"),
        ("LIMIT_RESET_HEADER", "no header", "the name of a header"),
        ("REDIS_PERSECOND_URL", "redis:6379", "REDIS_PERSECOND_URL asks for a second Redis"),
        ("REDIS_PERSECOND", "true", "REDIS_PERSECOND asks for a second Redis for limits of a second"),
        ("MEMCACHE_HOST_PORT", "memcached:11211", "MEMCACHE_HOST_PORT asks for counters in memcached"),
        ("BACKEND_TYPE", "memcache", "BACKEND_TYPE asks for counters in memcached"),
        ("BACKEND_TYPE", "redis", "REDIS_URL does not say where"),
        ("GRPC_SERVER_USE_TLS", "true", "GRPC_SERVER_USE_TLS asks for TLS, and there is no certificate"),
        ("GRPC_UDS", "@ratelimit", "expected the file of a Unix socket"),
        ("GRPC_CLIENT_TLS_SAN", "a b", "expected a DNS name, an address or a URI"),
        ("CONFIG_TYPE", "ETCD", "CONFIG_TYPE asks for configurations from where Spillway gets none"),
        ("CONFIG_GRPC_XDS_SERVER_URL", "ftp://gateway", "CONFIG_GRPC_XDS_SERVER_URL"),
        ("CONFIG_GRPC_XDS_NODE_METADATA", "eu", "expected names and values"),
        ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "secret", "ADDITIONAL_HEADERS=\"…\": expected headers"),
        ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "soon", "expected a time, as in `10s`"),
        ("FORCE_START_WITHOUT_INITIAL_CONFIG", "maybe", "expected `true` or `false`"),
    ] {
        let mut command = command(&["serve", "--config", "config"]);
        let output = command.env(name, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // A name may have an address in a moment.
        let code = if name == "GRPC_HOST" { 70 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        assert!(stderr.contains(reported), "{name}: {stderr}");
    }
}

#[test]
fn what_redis_url_does_not_reach_ends_the_start() {
    for (name, value, reported) in [
        ("REDIS_TYPE", "ring", "REDIS_TYPE asks for servers that go together"),
        ("REDIS_SOCKET_TYPE", "unix", "REDIS_SOCKET_TYPE asks for another way to Redis than TCP"),
        ("REDIS_PERSECOND", "true", "REDIS_PERSECOND asks for"),
    ] {
        let mut command = command(&["serve", "--config", "config"]);
        let output = command.env("REDIS_URL", "127.0.0.1:1").env(name, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains(reported), "{name}: {stderr}");
    }
}

#[test]
fn check_names_what_a_restart_forgets_and_that_is_no_mistake() {
    let directory = directory(&[(
        "a.yaml",
        "{domain: a, descriptors: [{key: x, rate_limit: {unit: day, requests_per_unit: 5}}]}",
    )]);
    let path = directory.path().to_str().unwrap();
    let run = |args: &[&str]| {
        let output = command(&[&["check", "--strict", path], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run(&["--store", "memory"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("a restart forgets the counts of `a: x`"), "{told}");
    for args in [&[][..], &["--store", "disk:/var/lib/spillway"]] {
        assert_eq!(run(args), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn check_names_what_a_cluster_may_refuse_needlessly() {
    let two = "rate_limits: [{unit: day, requests_per_unit: 5, count_by: [x]}, {unit: day, requests_per_unit: 9, count_by: [y]}]";
    let one = "rate_limit: {unit: day, requests_per_unit: 5}";
    let directory = directory(&[
        (
            "a.yaml",
            &format!(
                "{{domain: a, descriptors: [{{key: x, descriptors: [{{key: y, {two}}}]}}, {{key: z, {one}}}]}}"
            ),
        ),
        (
            "b.yaml",
            &format!(
                "{{domain: b, evaluate: all_or_nothing, descriptors: [{{key: x, {one}}}, {{key: y, {one}}}]}}"
            ),
        ),
    ]);
    let path = directory.path().to_str().unwrap();
    let told = |store: &str| {
        let output = command(&["check", "--store", store, path]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let cluster = told("redis-cluster://a:1,b:2");
    assert!(cluster.contains("may refuse another one needlessly: `a: x > y`, `b`"), "{cluster}");
    assert_eq!(told("redis://a:1"), "");
}

#[test]
fn a_store_that_is_not_there_ends_the_start() {
    for (store, told) in [
        ("disk:Cargo.toml", "cannot"),
        ("rediss://user:hidden@localhost:6379#insecure", "`#insecure` would trust anybody who answers"),
        (
            "rediss://user:hidden@localhost:6379?tls_ca=no-such-file",
            "cannot read `no-such-file`: there is no such file",
        ),
        ("redis://user:hidden@localhost:6379?lease=perhaps", "`lease=perhaps` means nothing"),
        ("reddis://user:hidden@localhost:6379", "did you mean `redis`?"),
        ("memroy", "did you mean `memory`?"),
        ("disk:", "the directory is missing, as in `disk:/var/lib/spillway`"),
    ] {
        let typed = command(&["serve", "--config", "config", "--store", store]).output().unwrap();
        let set = command(&["serve", "--config", "config"]).env("SPILLWAY_STORE", store).output().unwrap();
        for output in [typed, set] {
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{store}: {stderr}");
            assert!(stderr.contains(told) && !stderr.contains("hidden"), "{store}: {stderr}");
        }
    }
}

#[test]
fn a_misspelt_variable_ends_the_start() {
    for (name, meant) in [
        ("SPILLWAY_DRAINDELAY", "SPILLWAY_DRAIN_DELAY"),
        ("SPILLWAY_MAX_COUNTER", "SPILLWAY_MAX_COUNTERS"),
        ("SPILLWAY_CONFG", "SPILLWAY_CONFIG"),
    ] {
        let output = command(&["serve", "--config", "config"]).env(name, "15s").output().unwrap();
        let reported = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{reported}");
        assert!(
            reported.contains(&format!("the environment has {name}")) && reported.contains(meant),
            "{reported}"
        );
    }
    // What Kubernetes sets for a service that is called `spillway`.
    let mut checked = command(&["check", "config"]);
    checked.env("SPILLWAY_SERVICE_HOST", "10.0.0.1").env("SPILLWAY_PORT", "tcp://10.0.0.1:8081");
    assert!(checked.output().unwrap().status.success());
}

#[test]
fn variables_that_change_nothing_are_named() {
    let mut serve = serve();
    serve.arg("config").env("EXPIRATION_JITTER_MAX_SECONDS", "9").env("TRACING_ENABLED", "false");
    serve.env("CONFIG_TYPE", "FILE").env("GRPC_SERVER_USE_TLS", "n").env("REDIS_POOL_SIZE", "9");
    serve.env("GRPC_SERVER_TLS_KEY", "tls.key");
    let spillway = Spillway::running(&mut serve);
    let line = spillway.seen.iter().find(|line| line.contains("without effect here"));
    let line = line.unwrap_or_else(|| panic!("{:?}", spillway.seen));
    assert!(
        line.contains("EXPIRATION_JITTER_MAX_SECONDS GRPC_SERVER_TLS_KEY REDIS_POOL_SIZE")
            && !line.contains("TRACING"),
        "{line}"
    );
}

#[test]
fn addresses_are_taken_as_people_write_them() {
    let serve = |address: &str| {
        let mut serve =
            command(&["serve", "--http-addr", "127.0.0.1:0", "--config", "config", "--grpc-addr"]);
        serve.arg(address);
        serve
    };
    for address in ["localhost:0", ":0"] {
        drop(Spillway::running(&mut serve(address)));
    }
    for wrong in ["8081", "localhost"] {
        let output = serve(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let reported = String::from_utf8(output.stderr).unwrap();
        assert!(reported.contains("expected an address and a port, as in `0.0.0.0:8081`"), "{reported}");
    }
}

#[test]
fn a_deployment_in_shadow_mode_refuses_nothing() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors: [{key: x, rate_limit: {unit: hour, requests_per_unit: 0}}]",
    )]);
    let explain = |shadow: &str| {
        let mut command = command(&["explain", "--domain", "a", "x=1", "--config"]);
        let output = command.arg(config.path()).env("SHADOW_MODE", shadow).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explain("true").contains("overall  OK"), "{}", explain("true"));
    assert!(explain("yes").contains("overall  OK"), "{}", explain("yes"));
    assert!(explain("false").contains("overall  OVER_LIMIT"), "{}", explain("false"));
}

/// As there, and all at once: with one limit of two used up, a request is counted by that one alone.
#[test]
fn with_stop_cache_key_increment_only_limits_that_refuse_count() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors:\n- {key: x, rate_limit: {unit: hour, requests_per_unit: 2}}\n\
         - {key: y, rate_limit: {unit: hour, requests_per_unit: 0}}",
    )]);
    let used = |value: &str| {
        let mut command = command(&["explain", "--json", "--domain", "a", "x=1", "y=1", "--config"]);
        let command = command.arg(config.path()).env("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", value);
        let told: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        [0, 1].map(|n| told["descriptors"][n]["limits"][0]["numbers"]["used"].as_u64().unwrap())
    };
    assert_eq!(used("false"), [1, 1]);
    assert_eq!(used("true"), [0, 1]);
}

#[test]
fn a_second_redis_that_is_not_used_ends_no_start() {
    let mut command = command(&["env", "--set"]);
    let output =
        command.env("REDIS_PERSECOND", "false").env("REDIS_PERSECOND_URL", "redis:6379").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn explain_tells_what_a_bucket_grants_and_what_it_holds() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors: [{key: x, rate_limit: {requests_per_unit: 1000, per: 1h, algorithm: token_bucket, burst: \
         100}}]",
    )]);
    let output =
        command(&["explain", "--domain", "a", "x=1", "--config"]).arg(config.path()).output().unwrap();
    let reported = String::from_utf8(output.stdout).unwrap();
    assert!(reported.contains("1000 per 1h, little by little, up to 100 at once"), "{reported}");
    assert!(reported.contains("used 1 of 100, 99 left"), "{reported}");
}

#[test]
fn warnings_may_count_as_mistakes_and_be_read_by_machines() {
    let config = directory(&[(
        "d.yaml",
        "domain: d\ndescriptors:\n- {key: a, value: '*', rate_limit: {unit: day, requests_per_unit: 1}}\n\
         - {key: a, value: 'b*', rate_limit: {unit: day, requests_per_unit: 1}}\n",
    )]);
    let check = |more: &[&str]| {
        let output = command(&["check"]).arg(config.path()).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check(&[]).0, Some(0));
    assert_eq!(check(&["--strict"]), (Some(1), String::new()));
    let (code, json) = check(&["--strict", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &found[0]["severity"], &found[0]["line"]), (Some(1), &"error".into(), &4.into()));
    let (code, sarif) = check(&["--format", "sarif"]);
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!((code, &sarif["runs"][0]["results"][0]["level"]), (Some(0), &"warning".into()));
    let (_, github) = check(&["--format", "github"]);
    assert!(github.starts_with("::warning file=") && github.contains(",line=4,"), "{github}");
}

#[test]
fn explain_takes_dates_and_says_which_domain_there_is() {
    let explain = |args: &[&str]| {
        let output = command(&["explain", "--config", "config"]).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, reported) = explain(&["--domain", "demo", "api_key=a"]);
    let (first, _) = reported.split_once('\n').unwrap();
    assert!(code == Some(0) && first.len() <= "domain demo, at 2026-01-31T00:00:00.000Z".len(), "{first}");
    let (code, reported) = explain(&["--domain", "demo", "--at", "2026-01-31", "api_key=a"]);
    assert!(code == Some(0) && reported.starts_with("domain demo, at 2026-01-31T00:00:00Z"), "{reported}");
    let (code, reported) = explain(&["--domain", "dmeo", "api_key=a"]);
    assert_eq!(
        (code, reported.as_str()),
        (Some(1), "error: no domain `dmeo` is configured; did you mean `demo`?\n")
    );
    let (_, reported) = explain(&["--domain", "nothing-like-it", "api_key=a"]);
    let listed = "there is campaigns, demo, leadping, leadron, leaperone, llm, mega, starter\n";
    assert!(reported.ends_with(listed), "{reported}");
    let (code, reported) = explain(&["--domain", "demo", "--at", "yesterday", "api_key=a"]);
    assert!(code == Some(2) && reported.contains("write a date, `2026-01-31`"), "{reported}");
    // Only `\,` and `\\` are escapes.
    let (_, reported) = explain(&["--domain", "demo", r"remote_address=CORP\alice\, inc\\"]);
    assert!(reported.contains(r"remote_address=CORP\alice, inc\"), "{reported}");
}

#[test]
fn a_number_of_counters_is_told_how_it_is_written() {
    for flag in ["--max-counters", "--max-connections"] {
        let output = command(&["serve", flag, "10,000"]).output().unwrap();
        let reported = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && reported.contains("write the digits alone, `10000`"),
            "{reported}"
        );
    }
    let output = command(&["explain", "--config", "config", "--domain", "demo", "api_key"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "the command line is wrong");
    // Bytes, if it has no unit.
    let output = command(&["serve", "--max-counter-memory", "512"]).output().unwrap();
    let reported = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && reported.contains("write `512MiB` if"), "{reported}");
}

#[test]
fn a_log_in_json_is_json_from_its_first_line_to_its_last() {
    let lines = |grpc: &str, files: &[(&str, &str)]| {
        let config = directory(files);
        let args =
            ["serve", "--log-format", "json", "--http-addr", "127.0.0.1:0", "--grpc-addr", grpc, "--config"];
        let output = command(&args).arg(config.path()).output().unwrap();
        let reported = String::from_utf8(output.stderr).unwrap();
        let each = reported
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
        (output.status.code(), each.collect::<Vec<serde_json::Value>>())
    };
    let (code, reported) = lines("127.0.0.1:0", &[("d.yaml", "domain: d\ndescriptors:\n- {kye: k}\n")]);
    assert_eq!(code, Some(1));
    assert_eq!(reported[0]["fields"]["message"], "starting");
    let mistake =
        reported.iter().find(|line| line["fields"]["line"] == 3).unwrap_or_else(|| panic!("{reported:?}"));
    assert_eq!((&mistake["level"], &mistake["fields"]["column"]), (&"ERROR".into(), &4.into()));
    assert!(mistake["fields"]["file"].as_str().unwrap().ends_with("d.yaml"));
    assert_eq!(mistake["fields"]["hint"], "did you mean `key`?");
    assert_eq!(reported.last().unwrap()["fields"]["message"], "the configuration is refused");
    let (code, reported) = lines("192.0.2.1:1", &[("d.yaml", "domain: d\ndescriptors: []\n")]);
    let last = reported.last().unwrap();
    assert_eq!((code, &last["level"]), (Some(70), &"ERROR".into()), "{reported:?}");
    let form = |line: &serde_json::Value| -> String {
        let time = line["timestamp"].as_str().unwrap();
        time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
    };
    for line in &reported {
        assert_eq!(form(line), "0000-00-00T00:00:00.000000Z", "{line}");
    }
}

#[test]
fn explain_shows_no_credential_wherever_it_was_typed() {
    for descriptor in [
        "api_key=secret_1,method=GET,path=/,more=1",
        "remote_address=1,api_key=secret_1",
        "method=GET,api_key=secret_1",
    ] {
        let output =
            command(&["explain", "--config", "config", "--domain", "leadron", descriptor]).output().unwrap();
        let reported = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!reported.contains("secret_1") && reported.contains("api_key=…"), "{reported}");
    }
}

#[test]
fn explain_names_the_entry_that_matched_nothing_behind_an_empty_one() {
    let config = directory(&[
        (
            "d.yaml",
            "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n\
             - {key: user, subject: key, empty: absent, rate_limit: {unit: day, requests_per_unit: 1}}\n\
             - {key: path, value: /a, rate_limit: {unit: day, requests_per_unit: 1}}\n",
        ),
        ("d.subjects.yaml", "subjects: [{id: a, credentials: [{kind: key, value: k}]}]"),
    ]);
    let rule = |descriptor: &str| {
        let output = command(&["explain", "--domain", "d", descriptor, "--config"])
            .arg(config.path())
            .output()
            .unwrap();
        let reported = String::from_utf8(output.stdout).unwrap();
        reported
            .lines()
            .find_map(|line| line.strip_prefix("  rule     "))
            .unwrap_or_else(|| panic!("{reported}"))
            .to_owned()
    };
    assert!(
        rule("user=,path=/b").starts_with("none: `path=/b` matches nothing"),
        "{}",
        rule("user=,path=/b")
    );
    assert_eq!(rule("user="), "none: the entries are empty, and as if they had not been sent");
    assert!(rule("user=,path=/a").starts_with("path=/a "), "{}", rule("user=,path=/a"));
}

#[test]
fn explain_says_the_same_of_each_limit_to_people_and_to_programs() {
    let config = directory(&[(
        "d.yaml",
        "domain: d\ndescriptors:\n- {key: x, rate_limits: [{name: burst, requests_per_unit: 5, unit: second}, \
         {name: daily, requests_per_unit: 100, unit: day}]}\n",
    )]);
    let explain = |more: &[&str]| {
        let args = ["explain", "--domain", "d", "--at", "2026-01-01T00:00:00.2504Z", "x=1", "--config"];
        let output = command(&args).arg(config.path()).args(more).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&explain(&[&["--json"], more].concat())).unwrap()
    };
    let (text, reported) = (explain(&[]), json(&[]));
    for (at, name, numbers, reset) in [
        (0, "burst: 5 per second", "used 1 of 5, 4 left, resets in 0.75s", 750),
        (1, "daily: 100 per day", "used 1 of 100, 99 left, resets in 1d", 86_399_750),
    ] {
        assert!(text.contains(&format!("limit    {name}\n  counter  x=1\n  numbers  {numbers}\n")), "{text}");
        let one = &reported["descriptors"][0]["limits"][at];
        assert_eq!((&one["limit"], &one["counter"]), (&name.into(), &"x=1".into()), "{reported}");
        // 749.6 ms, after which it has reset.
        assert_eq!(one["numbers"]["reset_after_ms"], reset, "{reported}");
    }
    assert_eq!(reported["then"], serde_json::Value::Null);

    // What costs more than there is says nothing about the answer to a usual call.
    let (text, reported) = (explain(&["--hits", "6"]), json(&["--hits", "6"]));
    assert!(text.contains("it costs more than the limit, and can never pass\n"), "{text}");
    let (_, then) = text.split_once("\nthen, for a call that costs 1\n").unwrap_or_else(|| panic!("{text}"));
    assert!(then.contains("overall  O"), "{text}");
    assert_eq!(reported["overall"], "OVER_LIMIT");
    assert_eq!(reported["then"]["descriptors"][0]["limits"][1]["numbers"]["limit"], 100, "{reported}");
}

#[test]
fn the_version_and_the_commit_are_reported_alike_everywhere() {
    let (_, reported, _) = run(&["--version"]);
    let version = env!("CARGO_PKG_VERSION");
    let commit =
        reported.strip_prefix(&format!("spillway {version} (")).and_then(|rest| rest.strip_suffix(")\n"));
    let commit = commit.unwrap_or_else(|| panic!("{reported}"));
    let mut git = std::process::Command::new("git");
    let head = git.current_dir(env!("CARGO_MANIFEST_DIR")).args(["rev-parse", "HEAD"]).output();
    // Sources that are no checkout have none, and a packager may call it what they like.
    if let Ok(head) = head
        && std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists()
        && head.status.success()
        && option_env!("SPILLWAY_COMMIT").is_none()
    {
        assert!(String::from_utf8(head.stdout).unwrap().starts_with(commit), "{reported}");
    }
    let spillway = Spillway::serving("domain: a\ndescriptors: []");
    let first = &spillway.seen[0];
    assert!(first.contains("starting") && first.contains(&format!("commit=\"{commit}\"")), "{first}");
    let info = format!("\nspillway_build_info{{version=\"{version}\",commit=\"{commit}\"}} 1\n");
    assert!(get(spillway.http, "/metrics").contains(&info), "{info}");
}

#[test]
fn a_wrong_command_line_is_reported_as_the_log_would_be() {
    let json = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        let reported = String::from_utf8(output.stderr).unwrap();
        let each = reported
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
        let each: Vec<serde_json::Value> = each.collect();
        assert_eq!((output.status.code(), each.len()), (Some(2), 1), "{reported}");
        assert_eq!(each[0]["level"], "ERROR");
        each[0]["fields"]["message"].as_str().unwrap().to_owned()
    };
    let reported = json(&mut command(&["serve", "--log-format", "json", "--drain-dleay", "5s"]));
    assert_eq!(
        reported,
        "unexpected argument '--drain-dleay' found; tip: a similar argument exists: '--drain-delay'"
    );
    let reported = json(command(&["serve", "--drain-delay=soon"]).env("SPILLWAY_LOG_FORMAT", "JSON"));
    assert!(
        reported.starts_with("invalid value 'soon' for '--drain-delay <TIME>': expected a time"),
        "{reported}"
    );
    let reported = json(command(&["serve", "--log-format=json"]).env("SHADOW_MODE", "maybe"));
    assert!(reported.starts_with("the environment has SHADOW_MODE"), "{reported}");
    let reported = json(command(&["serve"]).env("LOG_FORMAT", "json").env("SPILLWAY_DRAINDELAY", "5s"));
    assert!(reported.contains("did you mean `SPILLWAY_DRAIN_DELAY`?"), "{reported}");
    // No other command has a log, and what was asked for is no error.
    let output = command(&["check"]).env("SPILLWAY_LOG_FORMAT", "json").output().unwrap();
    assert!(output.stderr.starts_with(b"error: "), "{output:?}");
    let output = command(&["serve", "--log-format", "json", "--help"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// As with `${NAME:-}` in a Compose file, whatever the variable is for.
#[test]
fn a_variable_that_is_empty_says_nothing() {
    for (name, ..) in spillway::cli::variables() {
        let output = command(&["serve", "--config", "/nowhere"]).env(&name, "").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && told.contains("cannot read `/nowhere`"), "{name}: {told}");
    }
    // The default holds: `config` beside where it runs, which is there.
    let output =
        command(&["check"]).env("SPILLWAY_MERGE_DOMAINS", "").arg("config/demo.yaml").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let output =
        command(&["explain", "--domain", "demo", "a=b"]).env("SPILLWAY_CONFIG", "").output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("cannot read"));
}

#[test]
fn a_number_of_hits_that_is_none_is_told_in_a_sentence() {
    for (hits, told) in [
        (
            &["--hits", "-1"][..],
            "'-1' for '--hits <N>': a request costs 0 hits or more; write `--hits 0` to look",
        ),
        (&["--hits=-1"], "'-1' for '--hits <N>': a request costs 0 hits or more; write `--hits 0` to look"),
        (&["--hits", "1.5"], "expected a whole number, found `1.5`"),
        (&["--hits", "10,000"], "write the digits alone, `10000`"),
    ] {
        let output = command(&["explain", "--domain", "demo", "a=b"]).args(hits).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.contains(told), "{hits:?}: {text}");
    }
}

#[test]
fn a_wrong_value_is_reported_by_the_variable_that_has_it() {
    let reported = |args: &[&str]| {
        let output = command(args).env("SPILLWAY_DRAIN_DELAY", "soon").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = reported(&["serve"]);
    assert_eq!(code, Some(2));
    assert!(
        text.starts_with("error: invalid value 'soon' for 'SPILLWAY_DRAIN_DELAY': expected a time"),
        "{text}"
    );
    let (_, text) = reported(&["serve", "--drain-delay", "late"]);
    assert!(text.starts_with("error: invalid value 'late' for '--drain-delay <TIME>'"), "{text}");
}

#[test]
fn the_help_of_each_command_ends_with_two_examples_that_run() {
    let program = std::path::PathBuf::from(command(&[]).get_program());
    let here = tempfile::tempdir().unwrap();
    for samples in ["config", "envoy"] {
        let of_ours = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(samples);
        std::os::unix::fs::symlink(of_ours, here.path().join(samples)).unwrap();
    }
    let path = program.parent().unwrap().display();
    for name in ["serve", "check", "explain", "test", "completions", "schema", "env", "migrate"] {
        let (_, help, _) = run(&[name, "--help"]);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{help}"));
        let (examples, last) = examples.split_once("\n\n").unwrap();
        assert!(last.trim_end().ends_with(" described in config/README.md"), "{last}");
        assert_eq!(examples.lines().count(), 2, "{examples}");
        for example in examples.lines() {
            let shell = command(&[]);
            let (any, example) = ("127.0.0.1:0", example.trim());
            let mut typed = std::process::Command::new("sh");
            // A server ends when the test does.
            let line = match example.find("spillway serve") {
                Some(at) => format!("{}exec {}", &example[..at], &example[at..]),
                None => example.to_owned(),
            };
            typed.args(["-c", &format!("PATH='{path}':$PATH; {line}")]).current_dir(here.path());
            for (name, _) in shell.get_envs() {
                typed.env_remove(name);
            }
            typed.env("SPILLWAY_GRPC_ADDR", any).env("SPILLWAY_HTTP_ADDR", any);
            if name == "serve" {
                drop(Spillway::running(&mut typed));
                continue;
            }
            let output = typed.output().unwrap();
            assert!(output.status.success(), "{example}: {output:?}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_written_is_a_failure_and_a_reader_that_left_is_none() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [
        &["schema"][..],
        &["completions", "bash"],
        &["check", "config/demo.yaml"],
        &["--help"],
        &["serve", "-h"],
        &["--version"],
    ] {
        let output = command(args).stdout(full()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{args:?}: {stderr}");
        assert!(stderr.contains("error: cannot write to standard output"), "{args:?}: {stderr}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(command(&["schema"]).stdout(writer).output().unwrap().status.code(), Some(0));
}

/// As a newcomer pastes it: counters begin at nothing here, and the line has what was answered.
#[test]
fn a_line_of_a_log_says_what_was_answered_where_no_counters_are_known() {
    let config = directory(&[(
        "a.yaml",
        "domain: a\ndescriptors: [{key: x, rate_limit: {name: orders, unit: hour, requests_per_unit: 3}}]",
    )]);
    let line = r#""POST /orders HTTP/1.1" 429 RL rl={"descriptors":[{"entries":["x=1"]}],"domain":"a","limit":3,"remaining":0,"rule":"orders","used":3}"#;
    std::fs::write(config.path().join("line"), line).unwrap();
    let mut command = command(&["explain", "--access-log", "line", "--config", "a.yaml"]);
    let output = command.current_dir(config.path()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "note: no counters are known here, so these begin at 0; the line says used 3 of 3 of `orders`, refused\n"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("used 1 of 3"), "{output:?}");
}

#[test]
fn explain_without_a_policy_says_how_to_name_one() {
    let empty = directory(&[]);
    let mut command = command(&["explain", "--domain", "a", "x=1"]);
    let output = command.current_dir(empty.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("name the policies with `--config PATH`"), "{said}");
}
