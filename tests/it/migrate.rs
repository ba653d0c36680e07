//! `spillway migrate`: what is written answers as what was read did.

use std::collections::BTreeMap;
use std::path::Path;

use spillway::config::{self, Options};
use spillway::migrate::migrate;
use spillway::model::Timestamp;
use spillway::policy_test::{InProcessLimiter, Target};

use crate::support::{command, directory};

type Entries = Vec<(String, String)>;

/// A limit as Limitador has it: a request is counted if all of its conditions hold and all of its variables are there.
struct Model {
    limits: Vec<Limit>,
    /// What was counted since when, by the limit's place and its variables' values.
    counters: BTreeMap<(usize, Vec<String>), (u64, u64)>,
}

struct Limit {
    max_value: u64,
    seconds: u64,
    /// The key, whether it has to be that value or any other, and the value.
    conditions: Vec<(&'static str, bool, &'static str)>,
    variables: Vec<&'static str>,
}

impl Model {
    /// Whether it is refused at `now`, in seconds.
    fn send(&mut self, now: u64, entries: &Entries) -> bool {
        let value =
            |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        let mut charged = Vec::new();
        for (at, limit) in self.limits.iter().enumerate() {
            let holds = limit
                .conditions
                .iter()
                .all(|(key, is, wanted)| value(key).is_some_and(|value| (value == *wanted) == *is));
            let by: Option<Vec<String>> =
                limit.variables.iter().map(|key| value(key).map(str::to_owned)).collect();
            if let (true, Some(by)) = (holds, by) {
                charged.push((at, by));
            }
        }
        let count = |model: &Self, key: &(usize, Vec<String>)| match model.counters.get(key) {
            Some((count, until)) if now < *until => (*count, *until),
            _ => (0, now + model.limits[key.0].seconds),
        };
        let over = charged.iter().any(|key| count(self, key).0 >= self.limits[key.0].max_value);
        if !over {
            for key in charged {
                let (before, until) = count(self, &key);
                self.counters.insert(key, (before + 1, until));
            }
        }
        over
    }
}

const LIMITS: &str = r#"
- namespace: shop
  max_value: 4
  seconds: 60
  conditions: ["descriptors[0]['method'] == 'GET'", "descriptors[0]['path'] != '/json'"]
  variables: []
- namespace: shop
  max_value: 2
  seconds: 30
  conditions: ["descriptors[0]['method'] == 'POST'"]
  variables: ["descriptors[0]['user']"]
- {namespace: shop, max_value: 3, seconds: 10, conditions: ["path == '/json'"], variables: [user]}
- {namespace: shop, name: everybody, max_value: 25, seconds: 60, conditions: [], variables: []}
"#;

fn model() -> Model {
    let limit = |max_value,
                 seconds,
                 conditions: &[(&'static str, bool, &'static str)],
                 variables: &[&'static str]| {
        Limit { max_value, seconds, conditions: conditions.to_vec(), variables: variables.to_vec() }
    };
    let limits = vec![
        limit(4, 60, &[("method", true, "GET"), ("path", false, "/json")], &[]),
        limit(2, 30, &[("method", true, "POST")], &["user"]),
        limit(3, 10, &[("path", true, "/json")], &["user"]),
        limit(25, 60, &[], &[]),
    ];
    Model { limits, counters: BTreeMap::new() }
}

#[test]
fn limits_of_limitador_answer_alike_whatever_is_asked() {
    let root = directory(&[("limits.yaml", LIMITS)]);
    let migrated = migrate(&root.path().join("limits.yaml"), Options::default());
    assert_eq!(migrated.files.len(), 1, "{}", config::render(&migrated.found, false));
    let policy = root.path().join(&migrated.files[0].0);
    std::fs::write(&policy, &migrated.files[0].1).unwrap();
    let load = move || config::load(&[&policy], Options::default()).ok().map(|loaded| loaded.policy);
    let mut target = InProcessLimiter::new("shop", Box::new(load)).unwrap();

    let mut model = model();
    let mut seed = 7_u64;
    let mut any = |many: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % many
    };
    let (mut now, mut refused) = (1_800_000_000, 0);
    for _ in 0..3000 {
        now += any(3);
        let mut entries = Entries::new();
        for (key, values) in [
            ("method", ["GET", "POST", "PUT"]),
            ("path", ["/json", "/a", "/b"]),
            ("user", ["ann", "bob", "eve"]),
        ] {
            if let Some(value) = values.get(usize::try_from(any(4)).unwrap()) {
                entries.push((key.to_owned(), (*value).to_owned()));
            }
        }
        // Without an entry there is nothing to follow.
        if entries.is_empty() {
            continue;
        }
        let expected = model.send(now, &entries);
        let at = Timestamp::from_secs(now);
        let over_limit = target.send(at, &[entries.clone()], None).over_limit;
        assert_eq!(over_limit, expected, "{entries:?} at {now}");
        refused += u32::from(over_limit);
    }
    assert!((100..2900).contains(&refused), "{refused} were refused");
}

/// The exit code and both streams, without the directory.
fn run(root: &Path, args: &[&str]) -> (i32, String) {
    let output = command(&["migrate"]).args(args).current_dir(root).output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), told)
}

#[test]
fn what_is_written_is_sound_and_overwrites_nothing() {
    let root = directory(&[("limits.yaml", LIMITS)]);
    let (code, told) = run(root.path(), &["limits.yaml", "--to", "config"]);
    assert!(code == 0 && told.contains("wrote 1 policy file into config"), "{told}");
    assert!(told.contains("has to have `method`, `path`, `user`, in this order"), "{told}");
    let output = command(&["check", "--strict", "config"]).current_dir(root.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let (code, told) = run(root.path(), &["limits.yaml", "--to", "config"]);
    assert!(code != 0 && told.contains("cannot write `config/shop.yaml`"), "{told}");
    // Without a place it is printed.
    let (code, told) = run(root.path(), &["limits.yaml"]);
    assert!(code == 0 && told.contains("\ndomain: shop\n"), "{told}");
}

#[test]
fn all_files_are_written_or_none_is() {
    let limit = |namespace: &str| {
        format!("- {{namespace: {namespace}, max_value: 5, seconds: 60, variables: [user]}}\n")
    };
    let root = directory(&[("limits.yaml", &["a", "b", "c"].map(limit).concat())]);
    std::fs::create_dir(root.path().join("config")).unwrap();
    std::fs::write(root.path().join("config/b.yaml"), "mine").unwrap();
    let names = || {
        let entries = std::fs::read_dir(root.path().join("config")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let (code, told) = run(root.path(), &["limits.yaml", "--to", "config"]);
    assert!(
        code == 1 && told.contains("cannot write `config/b.yaml`") && told.ends_with("nothing is written\n"),
        "{told}"
    );
    assert_eq!(names(), ["b.yaml"]);
    assert_eq!(std::fs::read_to_string(root.path().join("config/b.yaml")).unwrap(), "mine");
    std::fs::remove_file(root.path().join("config/b.yaml")).unwrap();
    let (code, told) = run(root.path(), &["limits.yaml", "--to", "config"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(names(), ["a.yaml", "b.yaml", "c.yaml"]);
}

#[test]
fn what_cannot_be_translated_is_told_and_nothing_is_written() {
    let limit = |conditions: &str, variables: &str| {
        format!(
            "- {{namespace: n, max_value: 5, seconds: 60, conditions: [{conditions}], variables: [{variables}]}}\n"
        )
    };
    for (text, told) in [
        (
            limit("\"descriptors[0]['a'].matches('x')\"", ""),
            "`.matches('x')` is more of CEL than is translated",
        ),
        (limit("\"descriptors[0].a == 'x'\"", "\"descriptors[1].b\""), "needs entries of two descriptors"),
        (limit("\"a == '*'\"", ""), "a `*` in a value stands for any text here"),
        (limit("\"a == ''\"", ""), "an empty value has no descriptor of its own here"),
        (limit("", "").replace("seconds: 60", "seconds: 0"), "`seconds` has to be a whole number from 1"),
        (limit("", "").replace("seconds", "second"), "did you mean `seconds`?"),
        (limit("", "").replace("namespace: n, ", ""), "this limit has no `namespace`"),
        (limit("", "") + &limit("", ""), "this is the limit of line 1 once more"),
    ] {
        let root = directory(&[("limits.yaml", &text)]);
        let (code, said) = run(root.path(), &["limits.yaml", "--to", "config"]);
        assert!(code == 1 && said.contains(told) && said.contains("nothing is written"), "{text}{said}");
        assert!(said.contains("limits.yaml:1:") || said.contains("limits.yaml:2:"), "{said}");
        assert!(!root.path().join("config").exists());
    }
}

/// Thirty keys with two values each would go together in more ways than there is time.
#[test]
fn a_tree_that_would_be_too_large_is_refused_at_once() {
    let one = |at: usize| {
        format!(
            "- {{namespace: n, max_value: 5, seconds: 60, conditions: [\"k{at} == 'v'\"], variables: [k{}]}}\n",
            at + 1
        )
    };
    let limits: String = (0..30).map(one).collect::<Vec<_>>().concat();
    let root = directory(&[("limits.yaml", &limits)]);
    let (code, told) = run(root.path(), &["limits.yaml"]);
    assert!(
        code == 1 && told.contains("31 keys and their values go together in more than 1000 ways"),
        "{told}"
    );
}

#[test]
fn a_configuration_of_envoyproxy_is_reported_on_and_left_alone() {
    let root = directory(&[
        (
            "a.yaml",
            "domain: a\ndescriptors:\n- key: user\n  rate_limit: {unit: month, requests_per_unit: 5}\n- key: user_id\n  \
             rate_limit: {unit: day, requests_per_unit: 5}\n- {key: path, value: '/a*'}\nunit: day\n",
        ),
        ("b", "domain: a\ndescriptors: [{key: path, value: '/a/b*'}]\n"),
    ]);
    let (code, told) = run(root.path(), &[".", "--merge-domains"]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "`user` with the value `id` comes to `user_id` in envoyproxy/ratelimit",
        "`unit` of `month` is 30 days",
        "has wildcards in several files",
        "`unit` means nothing in the top of a policy",
        "works as it is: spillway serve --config .",
    ] {
        assert!(told.contains(part), "no «{part}» in\n{told}");
    }
    let octal = root.path().join("b");
    std::fs::write(
        &octal,
        "domain: b\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 010}}]\n",
    )
    .unwrap();
    let (code, told) = run(root.path(), &["."]);
    assert!(code == 1 && told.contains("`010` is 8 to YAML 1.1 (octal)"), "{told}");
}
