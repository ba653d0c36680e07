use std::fmt::Write;

use super::*;

/// What libyaml itself makes of some hundred texts, written by `tests/libyaml/shapes.py`.
const SHAPES: &str = include_str!("../../../tests/libyaml/shapes.json");

/// One text, and what libyaml says of it.
#[derive(serde::Deserialize)]
struct Shape {
    text: String,
    /// None if it is refused.
    events: Option<Vec<serde_json::Value>>,
    /// Line, column and reason; nothing of them where libyaml knows no line.
    refused: Option<Vec<serde_json::Value>>,
}

/// The events of `text` as the table has them: name, line, column, and what else there is to say.
fn events(text: &str) -> Result<Vec<serde_json::Value>, SyntaxError> {
    let (mut events, mut told) = (Events::new(text), Vec::new());
    let mut open = Vec::new();
    loop {
        let (event, span) = events.next()?;
        let (name, value, mark, anchor) = match event {
            Event::Finish => return Ok(told),
            Event::Document => ("DocumentStart", None, "&", 0),
            Event::Scalar { text, plain, anchor } => ("Scalar", Some((text, plain)), "&", anchor),
            Event::Sequence { anchor } => {
                open.push("SequenceEnd");
                ("SequenceStart", None, "&", anchor)
            }
            Event::Mapping { anchor } => {
                open.push("MappingEnd");
                ("MappingStart", None, "&", anchor)
            }
            Event::End => (open.pop().unwrap(), None, "&", 0),
            Event::Alias { anchor } => ("Alias", None, "*", anchor),
        };
        let mut piece: Vec<serde_json::Value> = vec![name.into()];
        // Nobody asks where something ends.
        if !name.ends_with("End") {
            piece.extend([span.line.into(), span.column.into()]);
        }
        if let Some((text, plain)) = value {
            piece.extend([text.into(), plain.into()]);
        }
        if anchor > 0 {
            piece.push(mark.into());
        }
        told.push(piece.into());
    }
}

/// What differs between our events and libyaml's, if anything does.
fn difference(shape: &Shape) -> Option<String> {
    let found = events(&shape.text);
    match (&found, &shape.events, shape.refused.as_deref()) {
        (Ok(found), Some(expected), _) => {
            let named =
                |piece: &serde_json::Value| match piece.as_array().and_then(|all| all.last()?.as_str()) {
                    // The name of an anchor is our number.
                    Some(last) if last.starts_with('&') => {
                        let mut piece = piece.as_array().cloned().unwrap_or_default();
                        *piece.last_mut().unwrap() = "&".into();
                        piece.into()
                    }
                    _ => piece.clone(),
                };
            let expected: Vec<_> = expected.iter().map(named).collect();
            (*found != expected).then(|| format!("{found:?}\n{expected:?}"))
        }
        (Err(error), None, Some([line, column, reason])) => {
            let here = (error.span.line.into(), error.span.column.into());
            let said = error.message.ends_with(reason.as_str().unwrap());
            (!said || here != (line.clone(), column.clone()))
                .then(|| format!("{error:?}\n{line}:{column} {reason}"))
        }
        (Err(_), None, _) => None,
        (found, ..) => Some(format!("{found:?}\n{:?}", shape.refused)),
    }
}

#[test]
fn every_shape_is_read_or_refused_where_libyaml_does() {
    let shapes: Vec<Shape> = serde_json::from_str(SHAPES).unwrap();
    assert!(shapes.len() >= 300);
    let mut wrong = String::new();
    for shape in &shapes {
        if let Some(difference) = difference(shape) {
            writeln!(wrong, "{:?}\n{difference}\n", shape.text).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The parser would panic at each comma here that follows a tag. None is put into a text that holds the same signs.
#[test]
fn a_comma_may_follow_a_tag() {
    let scalars = |text: &str| -> Vec<(u64, String)> {
        let found = events(text).unwrap();
        let scalars = found.iter().filter(|piece| piece[0] == "Scalar");
        scalars.map(|piece| (piece[2].as_u64().unwrap(), piece[3].as_str().unwrap().to_owned())).collect()
    };
    assert_eq!(scalars("a: b\nc: [!!str, d]\n")[3..], [(5, String::new()), (12, "d".to_owned())]);
    for text in
        ["look!, there", "\"a !x, b\"", "'[!x, b]'", "- |\n  [!x, b]\n", "[\"!x, b\", !x , !y, 'c !z, d']"]
    {
        let said: String = scalars(text).into_iter().map(|(_, value)| value + ";").collect();
        let expected = text.trim_start_matches("- |\n  ").trim_matches(['"', '\'']);
        let expected = if text.starts_with("[\"") { "!x, b;;;c !z, d" } else { expected };
        assert_eq!(said, format!("{expected};"), "{text}");
    }
    // Comments, and mistakes, are where they were written.
    for (text, column) in
        [("[!x, a, !y, b # c !z, d\n }", 2), ("[!x,!y, }", 9), ("a: !x, b", 6), ("[!!, a]", 4)]
    {
        let error = events(text).unwrap_err();
        assert_eq!(error.span.column, column, "{text}: {}", error.message);
    }
}

/// Whatever stands before a comma: nothing ends the thread, also where libyaml refuses the text.
#[test]
fn no_tag_before_a_comma_ends_a_thread() {
    let parts = [
        "!x,",
        "!,",
        "!!str,",
        "!<a,b>,",
        ",",
        "[",
        "]",
        "{",
        "}",
        ":",
        "?",
        "a",
        "\"b\"",
        "'",
        "\n",
        " ",
        "&c",
        "*c",
        "#",
        "%TAG ! !x,y\n---\n",
        "- ",
        "|",
    ];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::from("[");
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += parts[usize::try_from(state >> 33).unwrap() % parts.len()];
        }
        if let Err(error) = events(&text) {
            assert_ne!(error.message, "what follows here cannot be read", "{text:?}");
        }
    }
}

/// libyaml-safer panics here.
#[test]
fn the_last_line_of_a_block_needs_no_end() {
    for (text, value) in [
        ("a: |\n  x", "x"),
        ("a: |\n  x\n", "x\n"),
        ("a: |\n  x\n  ", "x\n"),
        ("a: >+\n  x\n\n   y", "x\n\n y"),
        ("a: |-\n  x", "x"),
    ] {
        let found = events(text).unwrap();
        assert_eq!(found[3][3], value, "{text:?}");
    }
}

#[test]
fn what_the_parser_compares_with_all_before_is_bounded() {
    let directives = |count: usize| "%TAG !a! x\n".repeat(count) + "---\na: '%TAG'\n";
    assert!(events(&directives(1)).is_ok());
    // The same one twice is refused by libyaml.
    assert_eq!(events(&directives(64)).unwrap_err().span.line, 2);
    let error = events(&directives(65)).unwrap_err();
    assert_eq!((error.span.line, &*error.message), (65, "more than 64 `%TAG` lines"));
}

#[test]
fn where_people_stumble_they_are_told_what_to_write() {
    for (text, place, hint) in [
        ("a:\n\tb: c\n", (2, 1), "indent with spaces"),
        ("a:\n  - b: c\n\t  d: e\n", (3, 1), "indent with spaces"),
        ("a:\n-\tb\n", (2, 2), "with spaces"),
        ("a: *\n", (1, 5), "put a value that begins with `*` in quotes"),
        ("a: *b\n", (1, 4), "put a value that begins with `*` in quotes"),
        ("a: @b\n", (1, 4), "put a value that begins with `@`"),
        ("a: b: c\n", (1, 5), "put a value with a colon and a space"),
        ("a: \"\\d\"\n", (1, 5), "use single quotes"),
        ("a: [b\nc: d\n", (2, 2), "end the list with `]`"),
        ("a: !!binary aGk=\n", (1, 4), "write the text itself"),
        ("a: !!int x\n", (1, 4), "remove the tag"),
        ("a: 1\nb: [!!null 5]\n", (2, 5), "remove the tag"),
        ("a: 1\nb: !!bool\n", (2, 4), "remove the tag"),
        ("!<tag:yaml.org,2002:float> a: b\n", (1, 1), "remove the tag"),
        ("a: b\0\n", (1, 5), "save the file as UTF-8"),
    ] {
        let error = events(text).unwrap_err();
        assert_eq!((error.span.line, error.span.column), place, "{text:?} {error:?}");
        assert!(error.hint.as_ref().is_some_and(|told| told.contains(hint)), "{text:?} {error:?}");
    }
}
