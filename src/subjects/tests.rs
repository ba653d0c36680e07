use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;

const ACME: &str = "\
subjects:
  - id: acme
    attributes: {plan: growth, per_minute: 120, internal: true}
    billing_anchor: 2025-01-31T09:30:00Z
    time_zone: America/New_York
    facts: {spend: 60, first_payment: 2025-01-01T00:00:00Z}
    credentials:
      - {kind: api_key, value: key_acme_1}
      - {kind: api_key, sha256: \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", attributes: {rpm: 10, per_minute: 5}}
      - {kind: source_key, value: src_acme, enabled: false}
  - id: beta
    credentials: [{kind: source_key, value: key_acme_1}]
  - id: gone
    enabled: false
    credentials: [{kind: api_key, value: key_gone}]
tiers:
  attribute: tier
  rules:
    - {tier: 1, spend: 5}
    - {tier: 2, spend: 50, days_since_first_payment: 7}
    - {tier: 3, spend: 60.01}
";

/// 2025-01-01T00:00:00Z, when acme first paid.
const FIRST_PAYMENT: Timestamp = Timestamp::from_secs(1_735_689_600);
const WEEK: u64 = 7 * 24 * 60 * 60;

fn after(secs: u64) -> Timestamp {
    Timestamp::from_secs(FIRST_PAYMENT.as_nanos() / 1_000_000_000 + secs)
}

fn directory(text: &str) -> Directory {
    Directory::parse(text).unwrap()
}

/// The problems of `text`, one a line, as `line:column+length message; hint`.
fn problems(text: &str) -> String {
    let mut shown = String::new();
    for Problem { line, column, length, message, hint } in Directory::parse(text).unwrap_err() {
        let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
        writeln!(shown, "{line}:{column}+{length} {message}{hint}").unwrap();
    }
    shown
}

fn tier(directory: &Directory, id: &str, now: Timestamp) -> Option<i64> {
    directory.subject(id).unwrap().attribute_at("tier", now).and_then(Value::as_number)
}

/// Everything a directory knows, for comparison.
fn reported(directory: &Directory, secrets: &[&str]) -> String {
    let mut reported = format!("{directory:?}\n");
    for id in directory.ids() {
        let subject = directory.subject(id).unwrap();
        let (anchor, zone) = (subject.billing_anchor(), subject.time_zone());
        writeln!(
            reported,
            "{id} {anchor:?} {zone:?} {} {:?}",
            subject.is_enabled(),
            tier(directory, id, after(WEEK))
        )
        .unwrap();
    }
    for secret in secrets {
        let found = directory.resolve("api_key", secret.as_bytes());
        writeln!(reported, "{:?}", found.map(|found| (found.subject.id(), found.attribute("rpm"), found.id)))
            .unwrap();
    }
    reported
}

#[test]
fn a_credential_tells_who_it_is_and_what_they_bought() {
    let directory = directory(ACME);
    let found = directory.resolve("api_key", b"key_acme_1").unwrap();
    assert_eq!(found.subject.id(), "acme");
    assert_eq!(found.attribute("plan"), Some(&Value::from("growth")));
    assert_eq!(found.attribute("per_minute"), Some(&Value::from(120)));
    assert_eq!(found.attribute("internal"), Some(&Value::from(true)));
    assert_eq!(found.attribute("rpm"), None);
    assert_eq!(found.subject.billing_anchor(), Some(Timestamp::from_secs(1_738_315_800)));
    assert_eq!(found.subject.time_zone().unwrap().iana_name(), Some("America/New_York"));
    let beta = directory.subject("beta").unwrap();
    assert_eq!((beta.billing_anchor(), beta.time_zone()), (None, None));
    assert_eq!(directory.resolve("api_key", b"key_acme_2").map(|found| found.id), None);
    assert_eq!(directory.ids().collect::<Vec<_>>(), ["acme", "beta", "gone"]);
    assert_eq!(directory.credentials(), 5);
}

#[test]
fn a_credentials_own_attributes_come_before_those_of_its_subject() {
    let directory = directory(ACME);
    let found = directory.resolve("api_key", b"test").unwrap();
    assert_eq!(found.attribute("rpm"), Some(&Value::from(10)));
    assert_eq!(found.attribute("per_minute"), Some(&Value::from(5)));
    assert_eq!(found.attribute_at("per_minute", FIRST_PAYMENT), Some(&Value::from(5)));
    assert_eq!(found.attribute("plan"), Some(&Value::from("growth")));
}

#[test]
fn the_same_secret_under_two_kinds_is_two_credentials() {
    let directory = directory(ACME);
    let (acme, beta) =
        (directory.resolve("api_key", b"key_acme_1"), directory.resolve("source_key", b"key_acme_1"));
    assert_eq!(acme.unwrap().subject.id(), "acme");
    assert_eq!(beta.unwrap().subject.id(), "beta");
    assert_ne!(acme.unwrap().id, beta.unwrap().id);
    assert!(directory.resolve("other", b"key_acme_1").is_none());
}

#[test]
fn what_is_disabled_resolves_to_nobody() {
    let directory = directory(ACME);
    assert!(directory.resolve("source_key", b"src_acme").is_none());
    assert!(directory.resolve("api_key", b"key_gone").is_none());
    let enabled = ACME.replace("enabled: false", "enabled: true");
    let directory = self::directory(&enabled);
    assert!(directory.resolve("source_key", b"src_acme").is_some());
    assert!(directory.resolve("api_key", b"key_gone").is_some());
}

#[test]
fn a_hash_stands_for_its_credential() {
    let by_value = directory("subjects: [{id: a, credentials: [{kind: k, value: test}]}]");
    let by_hash = directory(
        "subjects: [{id: a, credentials: [{kind: k, sha256: 9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}]}]",
    );
    let (value, hash) = (by_value.resolve("k", b"test").unwrap(), by_hash.resolve("k", b"test").unwrap());
    assert_eq!(value.id, hash.id);
    assert_eq!(value.id, CredentialId::of("k", b"test"));
    let twice = "subjects: [{id: a, credentials: [{kind: k, value: test}, {kind: k, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}]}]";
    assert!(problems(twice).contains("this credential was given to a subject already, at line 1, column 34"));
}

#[test]
fn a_credential_is_the_text_that_was_written() {
    let directory = directory(
        "subjects: [{id: 7, credentials: [{kind: k, value: 0x10}, {kind: k, value: true}, {kind: k, value: \"~\"}]}]",
    );
    for secret in ["0x10", "true", "~"] {
        assert_eq!(directory.resolve("k", secret.as_bytes()).unwrap().subject.id(), "7");
    }
    assert!(directory.resolve("k", b"16").is_none());
}

#[test]
fn the_highest_tier_whose_conditions_all_hold_counts() {
    let directory = directory(ACME);
    assert_eq!(tier(&directory, "acme", FIRST_PAYMENT), Some(1));
    assert_eq!(tier(&directory, "acme", Timestamp::from_nanos(after(WEEK).as_nanos() - 1)), Some(1));
    assert_eq!(tier(&directory, "acme", after(WEEK)), Some(2));
    assert_eq!(tier(&directory, "acme", after(100 * WEEK)), Some(2));
    assert_eq!(tier(&directory, "beta", after(WEEK)), None);
    assert_eq!(
        directory.resolve("api_key", b"test").unwrap().attribute_at("tier", after(WEEK)),
        Some(&Value::from(2))
    );
    let richer = self::directory(&ACME.replace("spend: 60,", "spend: 60.01,"));
    assert_eq!(tier(&richer, "acme", FIRST_PAYMENT), Some(3));
    let poorer = self::directory(&ACME.replace("spend: 60,", "spend: 4.999999,"));
    assert_eq!(tier(&poorer, "acme", after(WEEK)), None);
    let unpaid = self::directory(&ACME.replace(", first_payment: 2025-01-01T00:00:00Z", ""));
    assert_eq!(tier(&unpaid, "acme", after(WEEK)), Some(1));
}

#[test]
fn a_tier_in_the_attributes_is_a_floor() {
    let with =
        |tier: &str| directory(&ACME.replace("plan: growth,", &format!("plan: growth, tier: {tier},")));
    assert_eq!(tier(&with("0"), "acme", FIRST_PAYMENT), Some(1));
    assert_eq!(tier(&with("2"), "acme", FIRST_PAYMENT), Some(2));
    assert_eq!(tier(&with("9"), "acme", after(WEEK)), Some(9));
    assert_eq!(with("9").subject("acme").unwrap().attribute("tier"), Some(&Value::from(9)));
}

/// What it is, what is written instead of what, and the tier.
type Change<'c> = (&'c str, &'c [(&'c str, &'c str)], i64);

#[test]
fn tiers_never_go_down() {
    let now = after(WEEK);
    let before = directory(ACME);
    let changes: Vec<Change<'_>> = vec![
        ("nothing", &[], 2),
        ("spend falls", &[("spend: 60,", "spend: 1,")], 2),
        ("facts are lost", &[("    facts: {spend: 60, first_payment: 2025-01-01T00:00:00Z}\n", "")], 2),
        (
            "rules are stricter",
            &[("spend: 50,", "spend: 55, "), ("spend: 5}", "spend: 51}"), ("_payment: 7", "_payment: 8")],
            2,
        ),
        ("a higher floor is written", &[("plan: growth,", "plan: growth, tier: 9,")], 9),
        ("spend grows", &[("spend: 60,", "spend: 61,")], 3),
        (
            "a lower floor is written",
            &[("spend: 60,", "spend: 1,"), ("plan: growth,", "plan: growth, tier: 1,")],
            2,
        ),
    ];
    for (what, edits, expected) in changes {
        let text = edits.iter().fold(ACME.to_owned(), |text, (from, to)| text.replace(from, to));
        let mut after = directory(&text);
        after.keep_tiers(&before, now);
        assert_eq!(tier(&after, "acme", now), Some(expected), "{what}");
        assert_eq!(tier(&after, "beta", now), None, "{what}");
        let plan = after.resolve("api_key", b"key_acme_1").unwrap().attribute("plan").cloned();
        assert_eq!(plan, Some(Value::from("growth")), "{what}");
        // And once more, from what was kept.
        let mut later = directory(&text);
        later.keep_tiers(&after, now);
        assert_eq!(tier(&later, "acme", now), Some(expected), "{what}, twice");
    }
}

#[test]
fn tiers_are_kept_by_id_and_by_attribute() {
    let now = after(WEEK);
    let poor = ACME.replace("spend: 60,", "spend: 1,");
    let mut renamed = directory(&poor.replace("id: acme", "id: acme2"));
    renamed.keep_tiers(&directory(ACME), now);
    assert_eq!(tier(&renamed, "acme2", now), None);
    let mut level = directory(&poor.replace("attribute: tier", "attribute: level"));
    level.keep_tiers(&directory(ACME), now);
    assert_eq!(tier(&level, "acme", now), None);
    assert_eq!(level.subject("acme").unwrap().attribute_at("level", now), None);
}

proptest! {
    /// Whatever a sequence of files says, a tier is never lower than it was.
    #[test]
    fn no_sequence_of_files_lowers_a_tier(
        files in proptest::collection::vec((0_u32..80, 0_u64..10, proptest::option::of(0_i64..5), 1_u32..40), 1..6),
    ) {
        let mut now = FIRST_PAYMENT;
        let mut before = None::<Directory>;
        for (spend, days, floor, step) in files {
            now = now.plus(std::time::Duration::from_secs(days * 86_400));
            let floor = floor.map_or(String::new(), |floor| format!("attributes: {{tier: {floor}}}, "));
            let mut next = directory(&format!(
                "subjects: [{{id: a, {floor}facts: {{spend: {spend}, first_payment: 2025-01-01T00:00:00Z}}}}]\n\
                 tiers: {{attribute: tier, rules: [{{tier: 1, spend: {step}}}, {{tier: 2, spend: {}, days_since_first_payment: 7}}]}}",
                2 * step,
            ));
            if let Some(before) = &before {
                next.keep_tiers(before, now);
                prop_assert!(tier(&next, "a", now) >= tier(before, "a", now));
            }
            before = Some(next);
        }
    }
}

#[test]
fn an_edit_sets_what_it_names_and_keeps_the_rest() {
    let mut directory = directory(ACME);
    let edit = [("plan".to_owned(), Value::from("scale")), ("seats".to_owned(), Value::from(5))];
    directory.edit("acme", &edit).unwrap();
    directory.edit("beta", &[("plan".to_owned(), Value::from("free"))]).unwrap();
    let acme = directory.resolve("api_key", b"key_acme_1").unwrap();
    assert_eq!(acme.attribute("plan"), Some(&Value::from("scale")));
    assert_eq!(acme.attribute("seats"), Some(&Value::from(5)));
    assert_eq!(acme.attribute("per_minute"), Some(&Value::from(120)));
    assert_eq!(directory.subject("beta").unwrap().attribute("plan"), Some(&Value::from("free")));
    assert_eq!(directory.edit("gamma", &edit), Err(UnknownSubject("gamma".to_owned())));
}

#[test]
fn nothing_that_is_printed_holds_a_credential() {
    let hash = credential::sha256(b"key_acme_1").map(|byte| format!("{byte:02x}")).concat();
    let mut printed = Vec::new();
    let directory = directory(ACME);
    let found = directory.resolve("api_key", b"key_acme_1").unwrap();
    printed.push(format!("{directory:?} {found:?} {:?} {:#?}", found.id, found.subject));
    for wrong in [
        "{kind: api_key, value: key_acme_1, sha256: HASH}",
        "{kind: api_key, value: key_acme_1}, {kind: api_key, value: key_acme_1}",
        "{kind: api_key, value: key_acme_1}, {kind: api_key, sha256: HASH}",
        "{kind: api_key, sha256: key_acme_1}",
        "{kind: api_key, sha256: HASH0}",
        "{kind: api_key, key_acme_1}",
        "{kind: api_key, key_acme_1: x}",
        "{kind: api_key, HASH: x}",
        "{kind: api_key, valeu: key_acme_1}",
        "{kind: api_key, value: [key_acme_1]}",
        "{kind: api_key, value: {key_acme_1: x}}",
        "{kind: {key_acme_1: x}, value: x}",
        "{value: key_acme_1}",
        "{kind: api_key, attributes: {value: [key_acme_1]}}",
        "{kind: api_key, attributes: key_acme_1}",
        "{kind: api_key, value: x, attributes: {key_acme_1: ~}}",
        "{kind: api_key, value: x, attributes: {key_acme_1: 1, key_acme_1: 2}}",
        "{kind: api_key, value: x, enabled: key_acme_1}",
        "key_acme_1",
        "[key_acme_1]",
        "{kind: api_key, value: key_acme_1",
        "{kind: api_key, value: *key_acme_1}",
        "{kind: api_key, value: \"key_acme_1\\y\"}",
        "{kind: api_key, value: !key_acme_1!x y}",
    ] {
        let wrong = wrong.replace("HASH", &hash);
        for text in [
            format!("subjects: [{{id: a, credentials: [{wrong}]}}]"),
            format!("subjects:\n  - id: a\n    credentials:\n      - {wrong}\n"),
            format!("subjects:\n  - id: a\n    credentials: {wrong}\n"),
        ] {
            let found = Directory::parse(&text).unwrap_err();
            assert!(!found.is_empty());
            printed.push(format!("{found:?}"));
        }
    }
    for printed in printed {
        assert!(!printed.contains("key_acme_1"), "{printed}");
        assert!(!printed.to_lowercase().contains(&hash[..16]), "{printed}");
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "\
subjects:
  - id: acme
    atributes: {plan: growth}
    attributes: {plan: [growth], rate: 1.5, sure: yes, plan: x}
    billing_anchor: 2025-02-30T00:00:00Z
    time_zone: America/NewYork
    facts: {spend: -1, first_payment: monday, seats: 4}
    credentials:
      - {kind: api_key, value: key_1}
      - {kind: api_key, sha256: 9f86}
      - {kind: api_key, value: a, sha256: b}
      - {kind: api_key}
      - {value: a}
      - {kind: api_key, valu: key_1}
      - key_1
    enabled: maybe
    enabled: true
  - attributes: {}
    credentials:
      - {kind: api_key, value: key_1}
  - id: acme
    credentials: {kind: api_key, value: key_2}
  - beta
tier: {}
";
    assert_eq!(
        problems(text),
        "\
3:5+9 unknown word `atributes` in a subject; did you mean `attributes`?
4:24+1 expected text, a whole number or true or false, found a list
4:40+3 an attribute is text, a whole number or true or false, not a decimal number; put it in quotes if it is text
4:51+3 an attribute that could be true or false or text; write `true` or `false`, or put it in quotes if it is text
5:21+20 `2025-02-30T00:00:00Z` is not a point in time; write it like `2025-01-31T09:30:00Z`
6:16+15 `America/NewYork` is not a time zone; did you mean `America/New_York`?
7:20+2 expected an amount, found `-1`; write it like `60` or `59.95`, without a sign or a currency
7:39+6 `monday` is not a point in time; write it like `2025-01-31T09:30:00Z`
7:47+5 unknown word `seats` in `facts`; `facts` knows `spend`, `first_payment`
10:33+4 `sha256` is not 64 hexadecimal digits; print it with `printf %s \"$KEY\" | sha256sum`
11:9+1 a credential with both `value` and `sha256`; keep one of them
11:43+1 `sha256` is not 64 hexadecimal digits; print it with `printf %s \"$KEY\" | sha256sum`
12:9+1 a credential with neither `value` nor `sha256`; write `value`, or `sha256` to keep it out of the file
13:9+1 a credential without a `kind`; write where it comes from, like `kind: api_key`
14:9+1 a credential with neither `value` nor `sha256`; write `value`, or `sha256` to keep it out of the file
14:25+4 unknown word in a credential; did you mean `value`?
15:9+5 expected a mapping for a credential, found a single value
16:14+5 expected true or false
17:5+7 `enabled` is given twice
18:5+1 a subject without an `id`
20:9+1 this credential was given to a subject already, at line 9, column 9; a credential belongs to one subject, once
21:9+4 subject `acme` was defined already, at line 2, column 9
22:18+1 expected a list of credentials, found a mapping
23:5+4 expected a mapping for a subject, found a single value
24:1+4 unknown word `tier` in a subjects file; did you mean `tiers`?
"
    );
}

#[test]
fn mistakes_are_the_same_when_the_text_is_not_plain() {
    let plain = ACME.replace("plan: growth", "plan: yes").replace("2025-01-31T", "2025-01-32T");
    let yaml = plain.replace("internal: true", "other: 'it''s'");
    assert_ne!(plain, yaml);
    assert_eq!(problems(&plain), problems(&yaml));
}

#[test]
fn tiers_only_go_up_in_their_rules() {
    let rules = |rules: &str| format!("subjects: []\ntiers: {{attribute: tier, rules: [{rules}]}}");
    for (written, reported) in [
        (
            "{tier: 2, spend: 5}, {tier: 1, spend: 6}",
            "2:55+1 tier 1 stands after tier 2; list each tier once, the lowest first\n",
        ),
        (
            "{tier: 1, spend: 5}, {tier: 1, spend: 6}",
            "2:55+1 tier 1 stands after tier 1; list each tier once, the lowest first\n",
        ),
        (
            "{tier: 1, spend: 5}, {tier: 2, spend: 5}",
            "2:55+1 tier 2 asks no more than tier 1, which nobody has; a higher tier asks for more\n",
        ),
        (
            "{tier: 1, spend: 5}, {tier: 2, spend: 4}",
            "2:55+1 tier 2 asks no more than tier 1, which nobody has; a higher tier asks for more\n",
        ),
        (
            "{tier: 1, spend: 5}, {tier: 2}",
            "2:55+1 tier 2 asks no more than tier 1, which nobody has; a higher tier asks for more\n",
        ),
        ("{tier: -1}", "2:41+2 expected a whole number, found `-1`; it cannot be negative\n"),
        ("{tier: '1'}", "2:41+3 expected a whole number, found `1`; remove the quotes\n"),
        ("{spend: 5}", "2:34+1 a rule without a `tier`\n"),
        ("{tier: 1, spent: 5}", "2:44+5 unknown word `spent` in a tier's rule; did you mean `spend`?\n"),
        ("{tier: 1, days_since_first_payment: 1.5}", "2:70+3 expected a whole number, found `1.5`\n"),
    ] {
        assert_eq!(problems(&rules(written)), reported, "{written}");
    }
    directory(&rules("{tier: 0}, {tier: 1, days_since_first_payment: 30}, {tier: 5, spend: 5}"));
    assert_eq!(
        problems("subjects: []\ntiers: {}\n"),
        "2:8+1 `tiers` without `attribute`\n2:8+1 `tiers` without `rules`\n"
    );
}

#[test]
fn the_tier_is_a_number_and_the_subjects() {
    let text = "\
subjects:
  - id: a
    attributes: {tier: gold, level: gold}
    credentials: [{kind: k, value: v, attributes: {tier: 1, level: 1}}]
tiers: {attribute: tier, rules: []}
";
    assert_eq!(
        problems(text),
        "3:24+4 a tier is a whole number\n4:58+1 the tier belongs to the subject, not to one of its credentials\n"
    );
    directory(&text.replace("tiers: {attribute: tier, rules: []}\n", ""));
}

#[test]
fn what_is_left_out_is_empty_and_what_is_missing_is_reported() {
    for nothing in ["subjects: []", "\u{feff}subjects: []\n"] {
        assert_eq!(directory(nothing).ids().count(), 0, "{nothing:?}");
    }
    // Half a file, more likely, whose customers would have no limits.
    for (half, place) in [("subjects:\n", "1:10+1"), ("subjects: ~\n", "1:11+1")] {
        let reported = "`subjects` lists nobody; write `subjects: []` if nobody is meant\n";
        assert_eq!(problems(half), format!("{place} {reported}"), "{half:?}");
    }
    let text = "subjects:\n- id: a\n  attributes:\n  facts:\n  credentials:\n";
    assert_eq!(directory(text).ids().collect::<Vec<_>>(), ["a"]);
    let missing =
        "a subjects file without `subjects`; list them under `subjects:`, or write `subjects: []` for none\n";
    for text in ["", "# nothing\n", "{}", "---\n", "~\n"] {
        assert_eq!(problems(text), format!("1:1+1 {missing}"), "{text:?}");
    }
    assert_eq!(problems("- id: a\n"), "1:1+1 expected a mapping for a subjects file, found a list\n");
    assert_eq!(problems("subjects: [{id: ~}]"), "1:17+1 expected the id of a subject, found nothing\n");
    assert_eq!(
        problems("subjects: [{id: ''}]"),
        "1:17+2 expected the id of a subject, found a single value\n"
    );
}

#[test]
fn what_is_not_yaml_is_reported_with_what_was_found_before() {
    assert_eq!(
        problems("subjects:\n  - idd: a\n    id: [\n"),
        "2:5+3 unknown word `idd` in a subject; did you mean `id`?\n\
         3:9+1 expected the id of a subject, found a list\n\
         4:1+1 while parsing a flow node: did not find expected node content\n"
    );
    assert_eq!(
        problems("subjects: []\n---\nsubjects: []\n"),
        "2:1+3 a second document, where one is all there can be; make it a file of its own\n"
    );
    assert_eq!(
        problems("subjects: []\n# é\0\nsubject"),
        "2:4+1 the control character U+0000, which no YAML has; save the file as UTF-8 text\n"
    );
}

#[test]
fn an_alias_repeats_what_it_stands_for() {
    let directory = directory(
        "subjects:
  - &a {id: a, attributes: &growth {plan: &plan growth, rpm: 5}, time_zone: &zone Europe/Berlin}
  - {id: b, attributes: *growth, time_zone: *zone}
  - {id: c, attributes: {name: *plan}}
",
    );
    let reported = |id: &str, name: &str| directory.subject(id).unwrap().attribute(name).cloned();
    assert_eq!(reported("b", "plan"), Some(Value::from("growth")));
    assert_eq!(reported("b", "rpm"), Some(Value::from(5)));
    assert_eq!(reported("c", "name"), Some(Value::from("growth")));
    assert_eq!(directory.subject("b").unwrap().time_zone().unwrap().iana_name(), Some("Europe/Berlin"));
    assert_eq!(
        problems("subjects:\n  - &a {id: a}\n  - *a\n"),
        "3:5+2 subject `a` was defined already, at line 2, column 13\n"
    );
    assert_eq!(
        problems("subjects:\n  - {id: a, attributes: {<<: {plan: x}}}\n"),
        "2:26+2 `<<` is not an attribute; merge keys are not read here; write the values out\n"
    );
    assert!(problems("subjects: &a [*a]").contains("an alias inside what it stands for"));
    let mut laughs = "subjects: []\nx:\n- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        writeln!(laughs, "- &a{n} [{}]", format!("*a{}, ", n - 1).repeat(10)).unwrap();
    }
    assert!(problems(&laughs).contains("the aliases stand for more than 100000 values"));
    let nested: Vec<String> = (0..2000).map(|n| format!("&a{n} [")).collect();
    assert!(problems(&nested.concat()).contains("nested deeper than 64 levels"));
}

#[test]
fn a_directory_is_shared_between_threads() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    check(&Directory::default());
    assert!(Directory::default().resolve("api_key", b"key_acme_1").is_none());
}

#[test]
fn a_thousand_mistakes_are_enough() {
    let mut text = "subjects:\n".to_owned();
    (0..5000).for_each(|n| writeln!(text, "  - {{id: a{n}, name: x}}").unwrap());
    let found = Directory::parse(&text).unwrap_err();
    assert_eq!(found.len(), 1001);
    assert_eq!(found[1000].message, "1000 mistakes are listed; there may be more");
}

#[test]
fn many_subjects_are_all_found() {
    let mut text = "subjects:\n".to_owned();
    for n in 0..5000 {
        writeln!(text, "- id: s{n}\n  attributes: {{n: {n}, odd: {}}}\n  credentials:", n % 2 == 1).unwrap();
        writeln!(text, "  - {{kind: api_key, value: key_{n}, attributes: {{rpm: {}}}}}", n % 7).unwrap();
    }
    let directory = directory(&text);
    for n in 0..5000 {
        let found = directory.resolve("api_key", format!("key_{n}").as_bytes()).unwrap();
        assert_eq!(found.subject.id(), format!("s{n}"));
        assert_eq!(found.attribute("n"), Some(&Value::from(n)));
        assert_eq!(found.attribute("odd"), Some(&Value::from(n % 2 == 1)));
        assert_eq!(found.attribute("rpm"), Some(&Value::from(n % 7)));
        assert_eq!(directory.subject(&format!("s{n}")).unwrap().id(), format!("s{n}"));
    }
    assert!(directory.resolve("api_key", b"key_5000").is_none());
    assert!(directory.subject("s5000").is_none());
}

/// The same content in layouts that are read in different ways.
#[test]
fn the_layout_of_a_file_does_not_matter() {
    let flow = "subjects: [{id: a, attributes: {plan: x y}, billing_anchor: 2025-01-31T09:30:00Z, credentials: \
                [{kind: api_key, value: k1}, {kind: api_key, value: k2, attributes: {rpm: 5}}]}, {id: b, enabled: false}]\n";
    let json = "{\"subjects\": [\n  {\"id\":\"a\",\"attributes\":{\"plan\":\"x y\"},\"billing_anchor\":\"2025-01-31T09:30:00Z\",\n \
                \"credentials\":[{\"kind\":\"api_key\",\"value\":\"k1\"},{\"kind\":\"api_key\",\"value\":\"k2\",\"attributes\":{\"rpm\":5}}]},\n\
                {\"id\":\"b\",\"enabled\":false}\n]}";
    let block = "\
# people
---
subjects:
- id: a
  attributes:
    plan: x y  # theirs
  billing_anchor: 2025-01-31T09:30:00Z

  credentials:
  - kind: api_key
    value: k1
  -   kind: 'api_key'
      value: \"k2\"
      attributes: {rpm: 5,
        }
- id: b
  enabled: false
";
    let yaml =
        block.replace("x y", ">-\n      x\n      y").replace("id: b", "? id\n  : b").replace('\n', "\r\n");
    let secrets = ["k1", "k2", "k3"];
    let expected = reported(&directory(flow), &secrets);
    assert!(expected.contains("Number(5)"), "{expected}");
    for text in [json, block, &yaml] {
        assert_eq!(reported(&directory(text), &secrets), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-a&*<:{}\\[\\]\"'|> \\n#!%?,~\u{feff}\\r\\t\0é]{0,60}") {
        let _ = Directory::parse(&text);
    }

    #[test]
    fn no_text_of_its_words_panics(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("subjects:"), Just("\n  - "), Just("id: "), Just("a"), Just("{"), Just("}"), Just("["), Just("]"),
                Just(", "), Just("credentials: "), Just("kind: k"), Just("value: v"), Just("sha256: x"), Just("&x "),
                Just("*x"), Just("attributes: "), Just("<<: "), Just("tiers: "), Just("rules: "), Just("attribute: t"),
                Just("tier: 1"), Just("spend: 5"), Just("\n"), Just("\n    "), Just("- "), Just("facts: "), Just("é"),
                Just("time_zone: UTC"), Just("billing_anchor: 2025-01-31T09:30:00Z"), Just("enabled: "), Just("\n---\n"),
            ],
            0..40,
        ),
    ) {
        let _ = Directory::parse(&format!("subjects:\n  - {}", pieces.concat()));
        let _ = Directory::parse(&pieces.concat());
    }
}

#[test]
fn the_hash_of_the_empty_text_is_no_credential() {
    let empty = "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!("subjects: [{{id: a, credentials: [{{kind: key, sha256: {empty}}}]}}]");
    let problems = Directory::parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, "`sha256` is that of the empty text, which is no credential");
}

#[test]
fn digits_that_are_grouped_by_commas_are_reported_with_what_to_write() {
    let reported =
        |attributes: &str| problems(&format!("subjects: [{{id: a, attributes: {{{attributes}}}}}]"));
    let apart = "is no number inside braces, where a comma ends it; write the digits alone,";
    assert_eq!(reported("seats: 10,000"), format!("1:40+6 `10,000` {apart} `10000`\n"));
    assert_eq!(
        reported("seats: 1,000,000, rpm: 5,000"),
        format!("1:40+9 `1,000,000` {apart} `1000000`\n1:56+5 `5,000` {apart} `5000`\n")
    );
    // What stands beside a credential is not shown.
    let credential = "subjects: [{id: a, credentials: [{kind: k, value: v, attributes: {rpm: 10,000}}]}]";
    assert_eq!(problems(credential), format!("1:72+6 this {apart} as in `10000`\n"));
    let facts = "subjects: [{id: a, facts: {spend: 10,000}}]";
    assert_eq!(
        problems(facts),
        "1:38+3 unknown word `000` in `facts`; write the digits of a number alone, as in `10000`; inside braces a comma ends it\n"
    );
    // A name of three digits, with a value.
    let named = directory("subjects: [{id: a, attributes: {seats: 10,000: x, 200: 3}}]");
    let a = named.subject("a").unwrap();
    assert_eq!(a.attribute("seats"), Some(&Value::from(10)));
    assert_eq!(a.attribute("000"), Some(&Value::from("x")));
    assert_eq!(reported("seats: 10, 000"), "1:47+1 an attribute needs a value; leave the attribute out\n");
}
