use crate::policy_test::Script;

fn parsed(steps: &str) -> Result<Script, String> {
    let text = format!("policy: d.yaml\nstart: 2026-01-01\nsteps:\n{steps}\n");
    Script::read("d.test.yaml", &text).map_err(|error| error.to_string())
}

/// The entries of the first descriptor of the only step.
fn sent(send: &str) -> Vec<(String, String)> {
    let script = parsed(&format!("- {{send: {send}, expect: ok}}")).unwrap_or_else(|wrong| panic!("{wrong}"));
    script.steps[0].send.as_ref().unwrap()[0].clone()
}

fn entries(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_are_sent_as_they_are_written() {
    for text in [
        "1.10",
        "True",
        "0x1F",
        "123456789012345678901",
        "010",
        "1e3",
        "yes",
        "2026-01-01",
        ".5",
        "+1",
        "1_000",
    ] {
        assert_eq!(sent(&format!("{{k: {text}}}")), entries(&[("k", text)]));
    }
    assert_eq!(sent("{k: ''}"), entries(&[("k", "")]));
    assert!(parsed("- {send: {k: ~}, expect: ok}").unwrap_err().contains("write `''` for no text, or `'~'`"));
}

#[test]
fn a_descriptor_may_have_one_key_twice() {
    let twice = entries(&[("generic_key", "orders"), ("generic_key", "write"), ("address", "10.0.0.1")]);
    assert_eq!(sent("{generic_key: orders, generic_key: write, address: 10.0.0.1}"), twice);
    assert_eq!(sent("[[{generic_key: orders}, {generic_key: write}, {address: 10.0.0.1}]]"), twice);
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_is_right() {
    let reported = parsed(
        "- {send: {k: v}, expct: ok}\n- {send: {k: v}, expect: okay}\n- {at: 1x, send: {k: v}, expect: ok}\n\
         - {send: {k: v}, times: 10}\n- {times: 3}\n- {send: {k: v}, hits: '10,000', expect: ok}",
    )
    .unwrap_err();
    for mistake in [
        "unknown word `expct` in a step",
        "did you mean `expect`?",
        "unknown answer `okay`",
        "d.test.yaml:5:26",
        "d.test.yaml:6:8",
        "the step expects nothing of the answer",
        "`times` means nothing in a step that sends nothing",
        "write the digits alone, `10000`",
    ] {
        assert!(reported.contains(mistake), "no «{mistake}» in:\n{reported}");
    }
    let whole = |text: &str| Script::read("d.test.yaml", text).unwrap_err().to_string();
    assert!(whole("domain: d\ndescriptors: []").contains("this is a policy and no test"));
    assert!(whole("").contains("the file holds no test"));
    assert!(whole("\u{feff}polcy: d.yaml\nstart: 2026-13-01\nsteps: []").contains("did you mean `policy`?"));
    assert!(whole("policy: d\nstart: 2026-13-01\nsteps: []").contains("`2026-13-01` is not a point in time"));
}
