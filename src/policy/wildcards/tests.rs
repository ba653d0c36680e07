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
        empty_is_absent: false,
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
            let tried = set
                .listed
                .iter()
                .find(|wildcard| wildcard.pattern.matches(text.as_bytes()))
                .map(|found| found.rank);
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

/// A thousand wildcards of one form, and of what a client would make a value to be compared with as many as it can.
struct Unlucky {
    form: &'static str,
    patterns: Vec<String>,
    head: &'static str,
    repeated: &'static str,
}

/// A thousand wildcards that begin in as many ways as `AS` and then some `b` do, each going on in its own way.
fn grid(rest: impl Fn(usize) -> String) -> Vec<String> {
    let begun = |n: usize| format!("{}*{}*", "a".repeat(1 + n % 25), "b".repeat(1 + n / 25));
    (0..1_000).map(|n| begun(n) + &rest(n)).collect()
}

/// As many as a stem of a grid has at most.
const AS: &str = "aaaaaaaaaaaaaaaaaaaaaaaaa";

fn unlucky() -> Vec<Unlucky> {
    let numbered = |form: &str| (0..1_000).map(|n| form.replace('N', &format!("{n:03}"))).collect::<Vec<_>>();
    let long = |length: usize| "a".repeat(length);
    let growing = |most| (1..most).map(long).collect::<Vec<_>>().join("*");
    let mixed = ["/aN*", "*aN", "a*bN", "*aN*", "a*bN*c", "/a/*/a/*/rN", "*a*aa*aN*", "a**N*a"];
    let mixed = mixed.iter().flat_map(|form| numbered(form).into_iter().step_by(8));
    let unlucky = |form, patterns, head, repeated| Unlucky { form, patterns, head, repeated };
    vec![
        unlucky("a*", numbered("/aN*"), "/a99", "x"),
        unlucky("*a", numbered("*aN"), "", "a99"),
        unlucky("a*b", numbered("/a*bN"), "/a", "b99"),
        unlucky("*a*", numbered("*aN*"), "", "a99 "),
        unlucky("a path", numbered("/api/v1/*/rN/*"), "/api/v1/", "r99/"),
        unlucky("a piece that occurs", numbered("/a/*/rN/*"), "/a/", "/r999/"),
        unlucky("pieces that are shared", numbered("/a/*/a/*/rN"), "/", "a/r000/"),
        unlucky("an end that never comes", numbered("/a/*/rN/*/z"), "/a/", "r000/r001/r002/"),
        unlucky("the next piece each time", numbered("*a*bN*cN*z"), "", "b000b001c000c001"),
        unlucky("nested pieces", (1..1_000).map(|n| format!("*{}*b", long(n))).collect(), "", "a"),
        unlucky("growing pieces", (1..45).map(|most| growing(most) + "*b").collect(), "", "a"),
        unlucky("overlaps", (1..1_000).map(|n| format!("*{}*{}*b", long(9), long(n))).collect(), "", "a"),
        unlucky("another piece that never comes each time", grid(|n| format!("x{n}*b")), AS, "b"),
        unlucky("one of two pieces, none of which comes", grid(|n| ["x*b", "y*b"][n % 2].into()), AS, "b"),
        unlucky("a piece or an end that never comes", grid(|n| ["x*b", "a"][n % 2].into()), AS, "b"),
        unlucky("all of these", mixed.collect(), "/a/", "a999b99r99a/"),
        unlucky(
            "nested stems and ends",
            (0..961).map(|n| format!("{}*b{}", long(n / 31), long(n % 31))).collect(),
            "",
            "a",
        ),
    ]
}

/// The work for 60 KB, cut into texts of so many bytes.
fn work(wildcards: &Wildcards, head: &str, repeated: &str, cut: usize) -> u64 {
    let text: Vec<u8> = head.bytes().chain(repeated.bytes().cycle()).take(cut).collect();
    let mut scratch = Scratch::default();
    for _ in 0..60_000 / cut {
        black_box(wildcards.find(&text, &mut scratch).map(|found| found.rank));
    }
    scratch.work
}

#[test]
fn the_work_grows_with_the_text_and_not_with_the_wildcards() {
    for Unlucky { form, patterns, head, repeated } in unlucky() {
        let wildcards = wildcards(&patterns);
        assert!(wildcards.index().is_some());
        for cut in [60_000, 1_000, 60] {
            // A unit is a step reached, a wildcard's end looked at, a piece's occurrence or two words of bits: nanoseconds.
            let work = work(&wildcards, head, repeated, cut);
            assert!(work <= 10 * 60_000, "{form}, in texts of {cut}: {work}");
        }
    }
}

/// A policy can be made so that a text has all pieces of all wildcards, and a short one reaches a step for every letter, but
/// the last pieces never come behind the others. Each wildcard is then looked at once at most, and never again for a longer text.
#[test]
fn at_worst_a_text_costs_one_look_at_each_wildcard() {
    let patterns = grid(|_| "a*b".to_owned());
    let wildcards = wildcards(&patterns);
    let text = |length| AS.to_owned() + &"b".repeat(length - AS.len());
    for length in [60, 600, 6_000] {
        let mut scratch = Scratch::default();
        assert!(wildcards.find(text(length).as_bytes(), &mut scratch).is_none());
        let most = 4 * patterns.len() + 4 * length;
        assert!(scratch.work <= most as u64, "{length}: {} of {most}", scratch.work);
    }
}

/// Cut into a thousand short texts, that is a thousand looks at each: all but the first ones are done without.
#[test]
fn a_request_has_a_bound_on_its_work_whatever_its_texts_and_the_wildcards_are() {
    let wildcards = wildcards(grid(|_| "a*b".to_owned()));
    let text = AS.to_owned() + &"b".repeat(40);
    let mut scratch = Scratch::default();
    for _ in 0..2 {
        scratch.begin();
        let exhausted = (0..1_000).filter(|_| {
            assert!(wildcards.find(text.as_bytes(), &mut scratch).is_none());
            scratch.is_exhausted()
        });
        assert!((900..990).contains(&exhausted.count()));
        assert!(scratch.work <= most_work(1_000 * text.len()));
    }
    // The next request has as much, and what it finds is right.
    scratch.begin();
    let found = wildcards.find(format!("{text}ab").as_bytes(), &mut scratch);
    assert_eq!(found.map(|found| found.rank), Some(0));
    assert!(!scratch.is_exhausted());
}

/// A request of a hundred paths, beside more wildcards than anybody has.
#[test]
fn honest_requests_are_far_from_the_bound() {
    let wildcards = wildcards((0..20_000).map(|n| format!("/api/v1/*/r{n}/*")));
    let mut scratch = Scratch::default();
    scratch.begin();
    for n in 0..100 {
        let path = format!("/api/v1/customers/8c5b{n}/r{}/pages/{n}?of=r{n}", 199 * n);
        let found = wildcards.find(path.as_bytes(), &mut scratch).map(|found| found.rank);
        assert_eq!(found, Some(199 * n));
    }
    assert!(scratch.work < 50_000, "{}", scratch.work);
}

/// Beside its bytes, and what may be begun when it is used up.
fn most_work(bytes: usize) -> u64 {
    100_000 + 2 * bytes as u64 + 5_000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Wildcards of few letters with pieces that are shared and nested, and texts in which most of them occur.
    #[test]
    fn no_request_is_found_that_takes_more(
        forms in prop::collection::vec("(a{0,9}b{0,3}\\*){1,5}(a{0,3}|b|x)", 100..1_000),
        texts in prop::collection::vec("(a{0,20}b{0,9}){1,8}", 1..20),
        times in 1_usize..400,
    ) {
        let wildcards = wildcards(&forms);
        let mut scratch = Scratch::default();
        scratch.begin();
        for text in std::iter::repeat_n(&texts, times).flatten() {
            let found = wildcards.find(text.as_bytes(), &mut scratch).map(|found| found.rank);
            if !scratch.is_exhausted() && times == 1 {
                let tried = wildcards.listed.iter().find(|one| one.pattern.matches(text.as_bytes()));
                let tried = tried.map(|tried| tried.rank);
                prop_assert_eq!(found, tried);
            }
        }
        let bytes = times * texts.iter().map(String::len).sum::<usize>();
        prop_assert!(scratch.work <= most_work(bytes), "{} for {bytes} bytes", scratch.work);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

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
