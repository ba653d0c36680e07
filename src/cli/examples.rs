//! What the help of each command ends with. Every example runs, in the directory of this repository.

pub(super) const SERVE: &str = "\
Examples:
  spillway serve --config config/ --drain-delay 15s --log-format json
  SPILLWAY_CONFIG=config/starter.yaml spillway serve --max-counter-memory 512MiB

Policies are described in config/README.md";

pub(super) const CHECK: &str = "\
Examples:
  spillway check --envoy envoy/envoy.yaml config/
  spillway check --strict --format github config/starter.yaml config/starter.test.yaml

Policies are described in config/README.md";

pub(super) const EXPLAIN: &str = r#"Examples:
  spillway explain --config config/ --domain demo 'remote_address=192.0.2.1'
  echo '[{"entries":["api_key=k"]}]' | spillway explain --domain demo --access-log -

Policies are described in config/README.md"#;

pub(super) const TEST: &str = "\
Examples:
  spillway test config/
  spillway test config/starter.yaml

Policies and their tests are described in config/README.md";

pub(super) const COMPLETIONS: &str = "\
Examples:
  spillway completions bash > spillway.bash
  spillway completions zsh > _spillway

Policies are described in config/README.md";

pub(super) const SCHEMA: &str = "\
Examples:
  spillway schema > policy.schema.json
  spillway schema | grep requests_per_unit

Policies, and how an editor takes the schema, are described in config/README.md";

pub(super) const MIGRATE: &str = "\
Examples:
  spillway migrate config/demo.yaml
  echo '[{namespace: a, max_value: 5, seconds: 9}]' >l.yaml; spillway migrate l.yaml --to p

Policies are described in config/README.md";

pub(super) const ENV: &str = "\
Examples:
  spillway env
  GRPC_PORT=9081 spillway env --set

Policies are described in config/README.md";

pub(super) const STORE: &str = "\
Examples:
  spillway store inspect disk:/var/lib/spillway
  spillway store inspect /var/lib/spillway --domain leaperone 'api_key=sk-1,endpoint=chat'
  spillway store reset /var/lib/spillway --domain leaperone 'api_key=sk-1,endpoint=chat'
  spillway store export /var/lib/spillway > counters.jsonl
  spillway store import disk:/var/lib/spillway-2 < counters.jsonl

A server keeps counters on a disk with --store disk:DIR";

pub(super) const TOP: &str = "\
Examples:
  spillway top
  spillway top spillway.internal:8080 --interval 5s

Busiest keys are shown where the server runs with --heavy-hitters-metrics";
