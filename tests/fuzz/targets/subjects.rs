//! The subjects file: any text is a directory or is refused, and no message shows a credential.

use std::collections::BTreeSet;
use std::fmt::Debug;

use spillway::model::Timestamp;
use spillway::subjects::{CredentialId, Directory, Problem, Value};

/// 2025-01-08T00:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_736_294_400);

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Directory::parse(&text);
    match &read {
        Ok(directory) => check(directory, &text),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                has_a_place(problem, &text);
            }
        }
    }
    let _ = Directory::parse_lines(&text);
    no_message_shows_a_credential(&text);
}

fn check(directory: &Directory, text: &str) {
    let ids: BTreeSet<&str> = directory.ids().collect();
    assert_eq!(ids.len(), directory.ids().count(), "an id is there twice");
    for id in &ids {
        assert_eq!(directory.subject(id).expect("an id is a subject's").id(), *id);
    }
    assert!(directory.subject("nobody has this id").is_none());
    for kind in ["api_key", "source_key"] {
        for word in words(text) {
            let Some(found) = directory.resolve(kind, word.as_bytes()) else { continue };
            assert!(found.subject.is_enabled() && ids.contains(found.subject.id()));
            // An id may be what the credential is, as for `kind: business`.
            if !ids.contains(word) && word.len() > 20 {
                assert!(!format!("{found:?}").contains(word));
            }
        }
    }

    // A load that follows another keeps the tiers, and an edit can set anything.
    let mut next = Directory::parse(text).expect("it was read before");
    next.keep_tiers(directory, NOW);
    for at in [Timestamp::EPOCH, NOW, Timestamp::from_nanos(u64::MAX)] {
        assert!(told(&next, text, at).lines().count() >= ids.len());
    }
    if let Some(id) = ids.first() {
        let values = [("tier".to_owned(), Value::from(i64::MIN)), ("plan".to_owned(), Value::from("x"))];
        next.edit(id, &values).expect("the subject is there");
        let subject = next.subject(id).expect("the subject is there");
        assert_eq!(subject.attribute("plan"), Some(&Value::from("x")));
        assert!(subject.attribute_at("tier", NOW).is_some());
        next.keep_tiers(directory, NOW);
    }
}

fn has_a_place(problem: &Problem, text: &str) {
    assert!(problem.line > 0 && problem.column > 0 && problem.length > 0, "{problem:?}");
    // To YAML a carriage return ends a line as well. What is missing may be missed after the last.
    assert!(
        problem.line <= text.split(['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1,
        "{problem:?}"
    );
    assert!(!problem.message.is_empty() && !problem.message.contains(char::is_control), "{problem:?}");
}

/// Everything that a directory knows of what `text` names.
fn told(directory: &Directory, text: &str, now: Timestamp) -> String {
    let words = words(text);
    let mut told = format!("{directory:?}\n");
    let mut line = |it: &dyn Debug| told.push_str(&format!("{it:?}\n"));
    for id in directory.ids().take(20) {
        let subject = directory.subject(id).expect("an id is a subject's");
        line(&(id, subject.billing_anchor(), subject.time_zone(), subject.is_enabled()));
        for name in &words {
            line(&(subject.attribute(name), subject.attribute_at(name, now)));
        }
    }
    for kind in ["api_key", "source_key"] {
        for word in &words {
            let Some(found) = directory.resolve(kind, word.as_bytes()) else { continue };
            line(&(found.subject.id(), found.id == CredentialId::of(kind, word.as_bytes())));
            for name in &words {
                line(&(found.attribute(name), found.attribute_at(name, now)));
            }
        }
    }
    for id in directory.ids().skip(20) {
        line(&id);
    }
    told
}

/// Some of the words that a text is made of.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c)));
    words.filter(|word| !word.is_empty()).take(24).collect()
}

const SECRET: &str = "sk-live-4f9a2c71d0e84b6f";

/// `text` after subjects with credentials that have everything wrong with them.
fn no_message_shows_a_credential(text: &str) {
    if text.contains(&SECRET[..8]) {
        return;
    }
    let text = format!(
        "subjects:
- id: first
  credentials:
  - {{kind: api_key, value: {SECRET}}}
- id: second
  credentials:
  - {{kind: api_key, value: \"{SECRET}\"}}
  - {{kind: api_key, sha256: {SECRET}}}
  - {{kind: api_key, value: [{SECRET}], sha256: {{{SECRET}: {SECRET}}}}}
  - {{value: {SECRET}}}
  - {{kind: api_key, value: {SECRET}, enabled: {{}}}}
  - {{kind: api_key, value: {SECRET}, sha256: {SECRET}}}
{text}"
    );
    let problems = Directory::parse(&text).expect_err("one credential is two subjects'");
    for problem in problems {
        let hint = problem.hint.as_deref().unwrap_or_default();
        assert!(!problem.message.contains(&SECRET[..8]) && !hint.contains(&SECRET[..8]), "{problem:?}");
    }
}
