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
