//! Changes that stay while the files beside them change.

use serde_json::{Value, json};

use super::*;
use crate::config::{self, Options, Sources};
use crate::model::Timestamp;
use crate::subjects::credential_sha256;

/// Two kinds of credentials; of those who show a token nobody needs a plan.
const SUBJECTS: &str = "
subjects:
  - {id: acme, attributes: {plan: free}, credentials: [{kind: key, value: k1}]}
  - {id: bob, enabled: false, credentials: [{kind: key, value: k2}]}
  - {id: eve, credentials: [{kind: token, value: t1}]}
";

fn policy(plans: &str) -> Policy {
    let text = format!(
        "{{domain: d, subjects: d.subjects.yaml, descriptors: [{{key: key, subject: key, exempt: {{staff: true}}, rate_limit: \
         {{name: of-plan, requests_per_unit: {{by: plan, values: {plans}}}, per: 1h}}}}, {{key: token, subject: token, \
         rate_limit: {{requests_per_unit: 7, per: 1h}}}}]}}"
    );
    let sources = Sources::in_memory([("d.yaml", text.as_str())], [("d.subjects.yaml", SUBJECTS)]);
    config::compile(&sources, Options::default()).unwrap().policy
}

fn change(words: Value) -> SubjectChange {
    serde_json::from_value(words).unwrap()
}

fn in_memory() -> Recorded {
    Recorded::among(Arc::new(MemoryRecords::default()), false)
}

/// Makes a change of `id` as an operator asks for it.
fn ask(
    policy: &mut Policy,
    records: &Recorded,
    id: &str,
    change: Option<SubjectChange>,
) -> Result<(), String> {
    let amendment = Amendment { domain: "d".to_owned(), id: id.to_owned(), change };
    let (amended, kept) = amend_one(policy, records, &amendment).map_err(|why| why.to_string())?;
    records.put("d", id, kept.as_ref()).unwrap();
    *policy = amended;
    Ok(())
}

/// The plan of whoever shows this credential, if it is anybody's.
fn plan(policy: &Policy, kind: &str, credential: &str) -> Option<String> {
    let directory = policy.domain(b"d").unwrap().directory.as_ref().unwrap();
    let shown = directory.resolve(kind, credential.as_bytes())?;
    let plan = shown.attribute_at("plan", Timestamp::EPOCH);
    Some(plan.map_or_else(String::new, |plan| plan.as_text().into_owned()))
}

#[test]
fn a_plan_that_the_files_have_no_number_for_any_more_is_left_out_and_makes_nobody_unlimited() {
    let (mut before, records) = (policy("{free: 2, pro: 5}"), in_memory());
    ask(&mut before, &records, "acme", Some(change(json!({"attributes": {"plan": "pro"}})))).unwrap();
    assert_eq!(plan(&before, "key", "k1").as_deref(), Some("pro"));
    let created = json!({"created": true, "attributes": {"plan": "pro"},
        "credentials": [{"kind": "key", "sha256": credential_sha256(b"k3")}]});
    ask(&mut before, &records, "new", Some(change(created))).unwrap();

    let mut after = policy("{free: 2, scale: 9}");
    amend(&mut after, &records).unwrap();
    assert_eq!(plan(&after, "key", "k1").as_deref(), Some("free"), "as its file says");
    assert_eq!(plan(&after, "key", "k3"), None, "somebody without a number is nobody");
    let told = |policy: &Policy| {
        let domain = policy.domain(b"d").unwrap();
        let by_files = domain.files_directory.as_ref().unwrap();
        let (_, wrong) = made(domain, by_files, &records.all("d").unwrap().changes);
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&after),
        [
            "limit `of-plan` has no number for `acme` with `plan: pro`",
            "limit `of-plan` has no number for `new` with `plan: pro`"
        ]
    );
    // Another change brings back neither of them, and to keep somebody out is always possible.
    ask(&mut after, &records, "eve", Some(change(json!({"attributes": {"x": 1}})))).unwrap();
    assert_eq!(plan(&after, "key", "k1").as_deref(), Some("free"));
    ask(&mut after, &records, "acme", Some(change(json!({"enabled": false})))).unwrap();
    assert_eq!(plan(&after, "key", "k1"), None);
    let wrong = ask(&mut after, &records, "acme", Some(change(json!({"enabled": true})))).unwrap_err();
    assert_eq!(wrong, "limit `of-plan` has no number for `acme` with `plan: pro`");
    assert_eq!(plan(&after, "key", "k1"), None, "what is left out of a change keeps out all the same");
    let fixed = change(json!({"enabled": true, "attributes": {"plan": "scale"}}));
    ask(&mut after, &records, "acme", Some(fixed)).unwrap();
    assert_eq!(plan(&after, "key", "k1").as_deref(), Some("scale"));
    ask(&mut after, &records, "new", None).unwrap();
    // Where the plan is sold again, the change is made again.
    let mut again = policy("{free: 2, pro: 5, scale: 9}");
    amend(&mut again, &records).unwrap();
    assert_eq!(plan(&again, "key", "k1").as_deref(), Some("scale"));
    assert!(told(&again).is_empty());
}

/// As in a file: `override:` is the number of whoever has one, and whoever is exempt needs none.
#[test]
fn whoever_has_a_number_of_their_own_needs_none_of_their_plan() {
    let text = "{domain: d, subjects: d.subjects.yaml, descriptors: [{key: key, subject: key, exempt: {staff: true}, rate_limit: \
        {name: of-plan, requests_per_unit: {by: plan, values: {free: 2}}, override: agreed, per: 1h}}]}";
    let sources = Sources::in_memory([("d.yaml", text)], [("d.subjects.yaml", SUBJECTS)]);
    let mut policy = config::compile(&sources, Options::default()).unwrap().policy;
    let records = in_memory();
    let mut set = |attributes: Value| {
        ask(&mut policy, &records, "acme", Some(change(json!({"attributes": attributes}))))
    };
    let wrong = set(json!({"plan": "custom"})).unwrap_err();
    assert!(wrong.starts_with("`plan` is `custom`, for which the limit `of-plan` has no number"), "{wrong}");
    assert_eq!(set(json!({"plan": "custom", "agreed": 500})), Ok(()));
    assert_eq!(set(json!({"plan": "other", "agreed": null, "staff": true})), Ok(()));
}

#[test]
fn the_limit_is_named_that_has_no_number_and_not_one_that_needs_none() {
    let text = "{domain: d, subjects: d.subjects.yaml, descriptors: [{key: a, subject: key, rate_limit: {name: of-plan, \
        requests_per_unit: {by: plan, values: {free: 2}}, override: agreed, per: 1h}}, {key: b, subject: key, rate_limit: {name: \
        of-region, requests_per_unit: {by: region, values: {eu: 2}}, per: 1h}}]}";
    let subjects = "subjects: [{id: acme, attributes: {plan: free, agreed: 500, region: eu}, credentials: [{kind: key, value: k1}]}]";
    let sources = Sources::in_memory([("d.yaml", text)], [("d.subjects.yaml", subjects)]);
    let mut policy = config::compile(&sources, Options::default()).unwrap().policy;
    let wanted = change(json!({"attributes": {"plan": "custom", "region": "mars"}}));
    let wrong = ask(&mut policy, &in_memory(), "acme", Some(wanted)).unwrap_err();
    assert!(
        wrong.starts_with("`region` is `mars`, for which the limit `of-region` has no number"),
        "{wrong}"
    );
}

#[test]
fn a_subject_has_as_many_attributes_as_requests_can_look_through() {
    let (mut policy, records) = (policy("{free: 2}"), in_memory());
    let many = |from: usize, to: usize| {
        let names: Map<String, Value> = (from..to).map(|name| (format!("a{name}"), json!(1))).collect();
        change(json!({"attributes": names}))
    };
    assert_eq!(ask(&mut policy, &records, "acme", Some(many(0, MOST_ATTRIBUTES))), Ok(()));
    let wrong = ask(&mut policy, &records, "acme", Some(many(300, 301))).unwrap_err();
    let expected = "256 attributes of a subject, and as many of each credential, can be given here; `acme` would have 257";
    assert_eq!(wrong, expected);
    assert_eq!(ask(&mut policy, &records, "acme", Some(many(0, 2))), Ok(()), "those that it has may change");
    assert_eq!(ask(&mut policy, &records, "acme", Some(change(json!({"enabled": false})))), Ok(()));
}

#[test]
fn a_change_is_held_against_what_its_credentials_lead_to() {
    let (mut policy, records) = (policy("{free: 2}"), in_memory());
    let key = |value: &str, own: Value| json!({"credentials": [{"kind": "key", "sha256": credential_sha256(value.as_bytes()), "attributes": own}]});
    let mut answer = |id: &str, words: Value| ask(&mut policy, &records, id, Some(change(words)));
    assert_eq!(answer("eve", json!({"time_zone": "UTC"})), Ok(()), "a token leads to no plan");
    let without = "limit `of-plan` has no number for `eve` without `plan`".to_owned();
    assert_eq!(answer("eve", key("k4", json!({}))), Err(without));
    assert_eq!(answer("eve", key("k4", json!({"staff": true}))), Ok(()), "it never comes to the limit");
    let own = "limit `of-plan` has no number for `acme` with a credential whose own `plan` is not listed";
    assert_eq!(answer("acme", key("k5", json!({"plan": "pro"}))), Err(own.to_owned()));
    let without = "limit `of-plan` has no number for `bob` without `plan`".to_owned();
    assert_eq!(answer("bob", json!({"enabled": true})), Err(without), "the file did not have to say");
    assert_eq!(answer("bob", json!({"enabled": true, "attributes": {"plan": "free"}})), Ok(()));
}
