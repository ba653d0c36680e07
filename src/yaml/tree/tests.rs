use proptest::prelude::*;

use super::*;

fn as_serde(node: Node<'_>) -> serde_yaml::Value {
    match node.kind() {
        Kind::Scalar { text, plain: true } => serde_yaml::from_str(text).unwrap_or_else(|_| text.into()),
        Kind::Scalar { text, plain: false } => text.into(),
        Kind::Sequence(items) => items.map(as_serde).collect(),
        Kind::Mapping(pairs) => {
            serde_yaml::Value::Mapping(pairs.map(|(key, value)| (as_serde(key), as_serde(value))).collect())
        }
    }
}

fn refusal(text: &str) -> String {
    Tree::parse(text).expect_err("it is bounded").message
}

#[test]
fn reads_what_serde_yaml_reads() {
    for text in [
        "a: 1\nb: [x, 'y', \"z\"]\n",
        "- a: &x {k: v, n: 2}\n- b: *x\n",
        "base: &base {unit: minute, n: 1}\nuse:\n  <<: *base\n  n: 2\n",
        "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc:\n  <<: [*a, *b]\n  z: 4\n",
        "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\n",
        "\"quoted key\": yes\n? complex\n: value\n",
        "a: &a [[], {}, [[x]]]\nb: *a\n",
    ] {
        let mut expected: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        expected.apply_merge().unwrap();
        let found: Vec<_> = Tree::parse(text).unwrap().documents().map(as_serde).collect();
        assert_eq!(found, [expected], "{text}");
    }
}

/// `serde_yaml` leaves the inner `<<` in place here.
#[test]
fn what_is_merged_may_have_merged_itself() {
    let tree = Tree::parse("- &a {x: 1}\n- &b {<<: *a, y: 3}\n- {<<: *b, z: [*b, *a]}\n").unwrap();
    let plain = Tree::parse("- {x: 1}\n- {y: 3, x: 1}\n- {z: [{y: 3, x: 1}, {x: 1}], y: 3, x: 1}\n").unwrap();
    let read = |tree: &Tree| tree.documents().map(as_serde).collect::<Vec<_>>();
    assert_eq!(read(&tree), read(&plain));
}

#[test]
fn a_key_that_stands_for_the_merge_key_merges_too() {
    let tree = Tree::parse("[&m <<, {*m : {a: 1}}]").unwrap();
    let Some(Kind::Sequence(mut items)) = tree.documents().next().map(Node::kind) else { panic!("a list") };
    assert_eq!(items.nth(1).map(as_serde), serde_yaml::from_str("a: 1").ok());
}

#[test]
fn knows_where_every_value_stands() {
    // The byte order mark is in no column.
    for text in [
        "a: 1\n---\n# note\nlist:\n  - key: über\n    value:   x\n",
        "\u{feff}a: 1\n---\nl:\n\n  - key: über\n    value:   x\n",
    ] {
        let tree = Tree::parse(text).unwrap();
        let Kind::Mapping(mut pairs) = tree.documents().nth(1).unwrap().kind() else { panic!("no mapping") };
        let Kind::Sequence(mut items) = pairs.next().unwrap().1.kind() else { panic!("not a list") };
        let Kind::Mapping(fields) = items.next().unwrap().kind() else { panic!("not a mapping") };
        let spans: Vec<_> = fields.map(|(_, value)| value.span()).collect();
        let expected = [Span { line: 5, column: 10, length: 4 }, Span { line: 6, column: 14, length: 1 }];
        assert_eq!(spans, expected);
    }
}

#[test]
fn an_alias_stands_where_it_is_written_and_its_members_where_they_are() {
    let tree = Tree::parse("a: &a\n  b: c\nd: *a\n").unwrap();
    let Kind::Mapping(mut pairs) = tree.documents().next().unwrap().kind() else { panic!("not a mapping") };
    let alias = pairs.nth(1).unwrap().1;
    let Kind::Mapping(mut members) = alias.kind() else { panic!("not a mapping") };
    assert_eq!((alias.span().line, members.next().unwrap().1.span().line), (3, 2));
}

#[test]
fn depth_is_counted_through_aliases() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Tree::parse(&nested(64)).is_ok());
    assert_eq!(refusal(&nested(65)), "nested deeper than 64 levels");
    // 32 levels in a list, and an alias to them 31 levels further in: 1 + 31 + 32.
    let twice = |outer| format!("[&a {}, {}*a{}]", nested(32), "[".repeat(outer), "]".repeat(outer));
    assert!(Tree::parse(&twice(31)).is_ok());
    assert_eq!(refusal(&twice(32)), "nested deeper than 64 levels");
    let mut chain = "a0: &a0 x\n".to_owned();
    for n in 1..1500 {
        chain += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert_eq!(refusal(&chain), "nested deeper than 64 levels");
    assert!(Tree::parse(&"[".repeat(100_000)).is_err());
    assert!(Tree::parse(&"- ".repeat(100_000)).is_err());
}

#[test]
fn what_aliases_stand_for_is_bounded() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        laughs += &format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(10));
    }
    assert_eq!(refusal(&laughs), "the aliases stand for more than 100000 values");
    let long = format!("- &a {}\n{}", "x".repeat(1 << 16), "- *a\n".repeat(65));
    assert_eq!(refusal(&long), "the aliases stand for more than 4194304 bytes of text");
    // As many as a person may want.
    let defaults = format!("- &a {{b: c, d: e}}\n{}", "- {<<: *a, f: g}\n".repeat(19_999));
    let tree = Tree::parse(&defaults).unwrap();
    let Kind::Sequence(items) = tree.documents().next().unwrap().kind() else { panic!("not a list") };
    assert_eq!(
        items.map(as_serde).filter(|item| item.as_mapping().is_some_and(|all| all.len() == 3)).count(),
        19_999
    );
}

#[test]
fn merging_takes_time_in_proportion_to_the_text() {
    // Compared pair by pair, these were 25 million comparisons for each of 40 mappings.
    let keys = |letter| (0..2400).map(|n| format!("{letter}{n}: 1")).collect::<Vec<_>>().join(", ");
    let own = keys('j');
    let text = format!("a: &a {{{}}}\nb: [{}]\n", keys('k'), format!("{{<<: *a, {own}}}, ").repeat(20));
    let begun = tokio::time::Instant::now();
    assert!(Tree::parse(&text).is_ok());
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_value_takes_twenty_four_bytes() {
    assert_eq!(size_of::<Value>(), 24);
}

proptest! {
    #[test]
    fn never_panics(text in "[-a&*<:{}\\[\\]\"'|> \\n#!%?,~]{0,60}") {
        if let Ok(tree) = Tree::parse(&text) {
            tree.documents().for_each(|document| drop(as_serde(document)));
        }
    }
}
