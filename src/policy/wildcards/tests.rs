//! Compared with trying one wildcard after the other, and counted.

use std::hint::black_box;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::policy::{Level, Place};

fn wildcard(rank: usize, pattern: Pattern) -> Wildcard {
    let node = Node {
        place: Place { file: Arc::from("p.yaml"), line: rank, column: 1 },
        label: String::new(),
        rule: None,
        children: Level::default(),
        shared: None,
        value_to_metric: false,
        subject: None,
        exempt: Vec::new(),
    };
    Wildcard { rank, pattern, node }
}

fn wildcards<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Wildcards {
    let mut wildcards = Wildcards::default();
    for (rank, pattern) in patterns.into_iter().enumerate() {
        let _ = wildcards.push(wildcard(rank, Pattern::parse(pattern.as_ref()).unwrap()));
    }
    wildcards
}

#[test]
fn a_pattern_is_listed_once() {
    let mut wildcards = wildcards(["a*b", "a**b"]);
    let again = wildcards.push(wildcard(2, Pattern::parse("a**b").unwrap()));
    assert_eq!(again.err().map(|node| node.place.line), Some(1));
}

#[test]
fn those_that_cannot_be_indexed_are_tried_one_by_one() {
    // Each of 20,000 beginnings ends in up to 1,000 others.
    let tails = (1..1_000).map(|length| format!("*{}*", "a".repeat(length)));
    let heads = ('b'..='z').map(|head| format!("*{head}{}*", "a".repeat(1_000)));
    let wildcards = wildcards(heads.chain(tails));
    assert!(wildcards.index().is_none());
    let mut scratch = Scratch::default();
    let found =
        |scratch: &mut _, text: &str| wildcards.find(text.as_bytes(), scratch).map(|found| found.rank);
    assert_eq!(found(&mut scratch, &format!("xc{}", "a".repeat(2_000))), Some(1));
    assert_eq!(found(&mut scratch, "xca"), Some(25));
}

/// Few letters, so that pieces overlap, contain one another and occur in many places.
fn some(pattern: &'static str, most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern, 0..most)
}

/// The same scratch for several sets and texts, as it is used.
fn compare(sets: &[Vec<String>], texts: &[String]) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    let sets: Vec<Wildcards> = sets.iter().map(wildcards).collect();
    for text in texts {
        for set in &sets {
            prop_assert!(set.is_empty() || set.index().is_some());
            let found = set.find(text.as_bytes(), &mut scratch).map(|found| found.rank);
            let tried = set.find_one_by_one(text.as_bytes()).map(|found| found.rank);
            prop_assert_eq!(
                found,
                tried,
                "{:?} of {:?}",
                text,
                set.listed.iter().map(|one| &one.pattern).collect::<Vec<_>>()
            );
        }
    }
    Ok(())
}

/// A thousand wildcards of each form, and what a client would send to make the most of them.
fn unlucky() -> Vec<(&'static str, Vec<String>, String)> {
    let numbered = |form: &str| (0..1_000).map(|n| form.replace('N', &format!("{n:03}"))).collect::<Vec<_>>();
    let long = |length: usize| "a".repeat(length);
    vec![
        ("aN*", numbered("/aN*"), "/a999x".into()),
        ("*aN", numbered("*aN"), "a999".into()),
        ("a*bN", numbered("/a*bN"), "/a999b9".into()),
        ("*aN*", numbered("*aN*"), "a99 ".into()),
        (
            "one after the other",
            numbered("*aN*aN*zN*"),
            (0..300).map(|n| format!("a{n:03}")).collect::<Vec<_>>().concat(),
        ),
        ("a path", numbered("/api/v1/*/rN/*"), "/api/v1/r99/r999".into()),
        ("shared pieces", numbered("/a/*/a/*/rN"), "/a/b/a".into()),
        ("a last piece that fails", numbered("/a/*/rN/*/zN/x"), "/a/b/r001/r002/r003".into()),
        ("nested pieces", (1..1_000).map(|n| format!("*{}*b", long(n))).collect(), long(60)),
        (
            "growing pieces",
            (1..45).map(|most| (1..most).map(long).collect::<Vec<_>>().join("*") + "*b").collect(),
            long(60),
        ),
        (
            "after a long piece",
            (1..1_000).map(|n| format!("*{}*{}*b", long(20), long(n))).collect(),
            long(60),
        ),
        (
            "nested stems and ends",
            (0..961).map(|n| format!("{}*b{}", long(n / 31), long(n % 31))).collect(),
            long(60),
        ),
        (
            "all mixed",
            ["/aN*", "*aN", "a*bN", "*aN*", "a*bN*c", "/a/*/a/*/rN", "*a*aa*aN*", "a**N*a"]
                .iter()
                .flat_map(|form| numbered(form).into_iter().step_by(8))
                .collect(),
            "/a/a/a999b99r99a".into(),
        ),
    ]
}

/// The work for 60 KB, however they are cut into texts.
#[test]
fn the_work_grows_with_the_text_and_not_with_the_wildcards() {
    const BYTES: usize = 60_000;
    for (name, patterns, repeated) in unlucky() {
        let wildcards = wildcards(&patterns);
        let text: Vec<u8> = repeated.bytes().cycle().take(BYTES).collect();
        for cut in [BYTES, 1_000, 60, 10] {
            let mut scratch = Scratch::default();
            text.chunks(cut).for_each(|text| drop(black_box(wildcards.find(text, &mut scratch))));
            let work = scratch.work;
            println!("{name:25} in texts of {cut:6}: {:6.2} a byte", work as f64 / BYTES as f64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_first_that_fits_is_found_as_if_each_were_tried(
        sets in prop::collection::vec(some("[ab*]{0,4}\\*[ab*]{0,4}", 12), 1..3),
        texts in prop::collection::vec("[ab]{0,12}", 1..6),
    ) {
        compare(&sets, &texts)?;
    }

    #[test]
    fn repeated_and_nested_pieces_are_found_where_they_first_occur(
        sets in prop::collection::vec(some("(a{0,5}b?\\*){1,5}(a{0,3}|b)", 30), 1..3),
        texts in prop::collection::vec("(a{0,9}b?){0,6}", 1..6),
    ) {
        compare(&sets, &texts)?;
    }

    #[test]
    fn paths_are_found_as_if_each_were_tried(
        sets in prop::collection::vec(some("/?((a|b|ab|r[0-3])[/*]){0,4}\\*?/r[0-9]/?\\*", 40), 1..3),
        texts in prop::collection::vec("(/(a|b|ab|r[0-9])){0,8}", 1..6),
    ) {
        compare(&sets, &texts)?;
    }
}
