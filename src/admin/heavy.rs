//! The busiest and the most refused keys of each rule.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::answer::{Answer, ok};
use super::api::Api;
use super::reads::{Rows, wanted};
use crate::telemetry::HeavyHitter;

/// The most keys of a rule in either list.
const MOST_KEYS: usize = 20;

/// The keys of each rule that has some, the rule with the busiest one first.
pub(super) async fn heavy(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let word = wanted.word();
    let mut found = api.metrics.heavy_hitters(api.served.now().wall);
    let has = |text: &str| text.to_lowercase().contains(&word);
    found.retain(|one| wanted.is_in(&one.domain) && (has(&one.rule) || has(&one.key)));
    let rules = by_rule(&found);
    let total = rules.len();
    let rules: Vec<Value> = wanted.rows(rules).collect();
    Ok(ok(&json!({"total": total, "rules": rules})))
}

/// `found` is in the order of hits, and so are the rules.
fn by_rule(found: &[HeavyHitter]) -> Vec<Value> {
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut rules: Vec<Vec<&HeavyHitter>> = Vec::new();
    for one in found {
        let place = *places.entry((&one.domain, &one.rule)).or_insert(rules.len());
        match rules.get_mut(place) {
            Some(keys) => keys.push(one),
            None => rules.push(vec![one]),
        }
    }
    let keys = |keys: &[&HeavyHitter]| -> Vec<Value> {
        let keys = keys.iter().take(MOST_KEYS);
        keys.map(|one| json!({"key": &*one.key, "hits": one.hits, "refused": one.refused})).collect()
    };
    let rule = |of_rule: Vec<&HeavyHitter>| {
        let first = of_rule.first()?;
        let mut refused: Vec<_> = of_rule.iter().copied().filter(|one| one.refused > 0).collect();
        refused.sort_by_key(|one| Reverse(one.refused));
        Some(json!({
            "domain": &*first.domain,
            "rule": &*first.rule,
            "busiest": keys(&of_rule),
            "most_refused": keys(&refused),
        }))
    };
    rules.into_iter().filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(rule: &str, key: &str, hits: u64, refused: u64) -> HeavyHitter {
        HeavyHitter { domain: "d".into(), rule: rule.into(), key: key.into(), hits, refused }
    }

    #[test]
    fn rules_come_in_the_order_of_their_busiest_keys_and_each_has_both_lists() {
        let found =
            [one("b", "k=1", 9, 0), one("a", "k=2", 7, 1), one("b", "k=3", 5, 2), one("b", "k=4", 4, 3)];
        let told = by_rule(&found);
        let lists = |at: usize, list: &str| -> Vec<String> {
            let keys = told[at][list].as_array().unwrap().iter();
            keys.map(|key| format!("{} {} {}", key["key"].as_str().unwrap(), key["hits"], key["refused"]))
                .collect()
        };
        assert_eq!((&told[0]["rule"], &told[1]["rule"], told.len()), (&json!("b"), &json!("a"), 2));
        assert_eq!(lists(0, "busiest"), ["k=1 9 0", "k=3 5 2", "k=4 4 3"]);
        assert_eq!(lists(0, "most_refused"), ["k=4 4 3", "k=3 5 2"]);
        assert_eq!(lists(1, "busiest"), ["k=2 7 1"]);
    }

    #[test]
    fn of_many_keys_the_first_are_told() {
        let found: Vec<_> = (0..50).map(|n| one("a", &format!("k={n}"), 100 - n, 1 + n)).collect();
        let told = by_rule(&found);
        let list = |name: &str| told[0][name].as_array().unwrap().clone();
        assert_eq!((list("busiest").len(), list("most_refused").len()), (MOST_KEYS, MOST_KEYS));
        assert_eq!(
            (&list("busiest")[0]["key"], &list("most_refused")[0]["key"]),
            (&json!("k=0"), &json!("k=49"))
        );
    }
}
