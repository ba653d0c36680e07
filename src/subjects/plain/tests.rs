use proptest::prelude::*;

use super::Plain;
use crate::subjects::problem::Place;
use crate::yaml::{Expanded, Token};

/// The tokens of `text` with their places, until the end or until it gives up.
fn plain(text: &str) -> (Vec<String>, bool) {
    let (mut scanner, mut tokens) = (Plain::new(text), Vec::new());
    while let Some((token, at)) = scanner.next() {
        tokens.push(shown(&token, at));
        if matches!(token, Token::Finish) {
            return (tokens, true);
        }
    }
    (tokens, false)
}

fn yaml(text: &str) -> Result<Vec<String>, String> {
    let (mut events, mut tokens) = (Expanded::new(text), Vec::new());
    loop {
        let (token, span) = events.next().map_err(|error| format!("{error:?}"))?;
        tokens.push(shown(&token, span.into()));
        if matches!(token, Token::Finish) {
            return Ok(tokens);
        }
    }
}

/// Nobody asks where something ends, and the real parser counts what follows a quote into its length.
fn shown(token: &Token<'_>, at: Place) -> String {
    match token {
        Token::Scalar { plain: false, .. } => format!("{token:?} at {at}"),
        Token::Scalar { .. } | Token::List | Token::Mapping => {
            format!("{token:?} at {at}, {}", at.length)
        }
        _ => format!("{token:?}"),
    }
}

/// Whether it reads all of `text`.
fn check(text: &str) -> bool {
    let (tokens, finished) = plain(text);
    if finished {
        assert_eq!(Ok(tokens), yaml(text), "{text}");
    }
    finished
}

#[test]
fn reads_what_programs_write_as_yaml_does() {
    for text in [
        "a: 1\n",
        "a: 1",
        "---\na: 1\n",
        "# note\n\na: b c # note\n#\n  # more\nd: 'e # f'\n",
        "a:\n- b\n-   c: d\n    e: f\n- - g\n  - h\ni: j\n",
        "a:\n  - b\n  - c:\n      d: e\n    f: {}\ng: []\n",
        "a: {b: c, d: [e, f,], \"g\":h, \"i\": {j: k}}\n",
        "a: [b, # note\n  c\n\n  # note\n  ]\nd: e\n",
        "{\"a\":[{\"b\":1,\"c\":\"d e\"},\n{\"b\":true}],\n\"f\":[]}\n",
        "{\n  \"a\": [\n    1\n  ]\n}\n",
        "größe: 'ä' # é\nb: {ö: ß, c: d}\n",
        "at: 2025-01-31T09:30:00Z\nzone: America/New_York\nkey: AbC+/=_-.~\nn: -5\nd: .5\n",
        "- a\n- b: c\n",
    ] {
        assert!(check(text), "{text}");
    }
}

#[test]
fn gives_up_where_yaml_is_more_than_that() {
    for text in [
        "",
        "a",
        "a: b: c\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: |\n  b\n",
        "a: b\n  c\n",
        "a: b\n c: d\n",
        "a:\nb: c\n",
        "a: \"b\\n\"\n",
        "a: 'it''s'\n",
        "a: \"b\n  c\"\n",
        "? a\n: b\n",
        "a: b\r\n",
        "a:\tb\n",
        "a: b\n...\n",
        "a: b\n---\n",
        "%YAML 1.2\n---\na: b\n",
        "a: [b\n]\n",
        "a: [b\n",
        "a: {b}\n",
        "a: [b: c]\n",
        "a: [b]: c\n",
        "a: @b\n",
        "a: b #c\n #d\n  e: f\n",
    ] {
        assert!(!check(text), "{text}");
    }
}

fn tame() -> BoxedStrategy<String> {
    prop_oneof![
        3 => "[a-zA-Z0-9_/$+][!$%&()*;<=>?@^_`|~./+a-z0-9-]{0,6}",
        1 => "[a-z]( {1,2}[!$%&()*;<=>?@^_`|~./+a-z0-9'\"-]){0,3}",
        1 => "'[ -&(-~é]{0,6}'",
        1 => "\"[ !#-Z^-~ü]{0,6}\"",
    ]
    .boxed()
}

fn wild() -> BoxedStrategy<String> {
    prop_oneof![
        8 => tame(),
        1 => "[!-~][ -~]{0,8}",
        1 => "[-a&*<:{}\\[\\]\"'|> \\n#!%?,~ö]{0,6}",
    ]
    .boxed()
}

/// Blocks and flows of these scalars, however they can be laid out.
fn value(depth: u32, scalar: fn() -> BoxedStrategy<String>) -> BoxedStrategy<String> {
    if depth == 0 {
        return scalar();
    }
    let inner = value(depth - 1, scalar);
    let pair =
        (scalar(), prop_oneof![8 => Just(": "), 1 => Just(":"), 1 => Just(" : ")], inner.clone()).boxed();
    let separator =
        prop_oneof![4 => Just(", "), 2 => Just(","), 1 => Just(",\n   "), 1 => Just(" # x\n , ")].boxed();
    let flow =
        (proptest::collection::vec(pair.clone(), 0..4), separator.clone()).prop_map(|(pairs, separator)| {
            let pairs: Vec<String> =
                pairs.into_iter().map(|(key, colon, value)| key + colon + &value).collect();
            format!("{{{}}}", pairs.join(separator))
        });
    let list = (proptest::collection::vec(inner.clone(), 0..4), separator)
        .prop_map(|(items, separator)| format!("[{}]", items.join(separator)));
    let indent = |text: &str, by: usize| text.replace('\n', &format!("\n{}", " ".repeat(by)));
    let block =
        (proptest::collection::vec((scalar(), inner.clone(), 0_usize..5), 1..4)).prop_map(move |pairs| {
            let lines: Vec<String> = pairs
                .iter()
                .map(|(key, value, by)| match by {
                    0 => format!("{key}: {value}"),
                    1 => format!("{key}:\n{value}"),
                    by => format!("{key}:\n{}{}", " ".repeat(*by), indent(value, *by)),
                })
                .collect();
            lines.join("\n")
        });
    let items = proptest::collection::vec((inner.clone(), 1_usize..4), 1..4).prop_map(move |items| {
        let lines: Vec<String> = items
            .iter()
            .map(|(value, by)| format!("-{}{}", " ".repeat(*by), indent(value, by + 1)))
            .collect();
        lines.join("\n")
    });
    prop_oneof![1 => scalar(), 1 => flow, 1 => list, 2 => block, 2 => items].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn yields_the_tokens_of_yaml_for_tame_values(text in value(4, tame)) {
        check(&text);
    }

    #[test]
    fn yields_the_tokens_of_yaml_or_gives_up(text in value(3, wild)) {
        check(&text);
    }

    #[test]
    fn yields_the_tokens_of_yaml_or_gives_up_on_any_lines(
        lines in proptest::collection::vec(
            ("( {0,5})(- |- - |-|)", wild(), "(:|: |: \\{|: \\[|,|\\}|\\]| #|)", wild(), "(,|\\}|\\]| # x|)"),
            0..6,
        ),
    ) {
        let lines: Vec<String> = lines.iter().map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}\n")).collect();
        let text = lines.concat();
        check(&text);
    }

    #[test]
    fn yields_the_tokens_of_yaml_or_gives_up_on_any_text(text in "[-a&*<:{}\\[\\]\"'|> \\n#!%?,~.]{0,40}") {
        check(&text);
    }
}
