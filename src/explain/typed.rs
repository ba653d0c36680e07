//! Descriptors as people type them.

/// The entries of a descriptor, in order.
pub type Typed = Vec<(String, String)>;

/// `key=value,key=value` with `\` before a comma or a backslash that belongs to a value.
///
/// # Errors
///
/// What is no entry, and how one is written.
pub fn typed(descriptor: &str) -> Result<Typed, String> {
    let mut parts = vec![String::new()];
    let mut characters = descriptor.chars();
    while let Some(character) = characters.next() {
        match character {
            // Before anything else it is itself, as in `CORP\alice`.
            '\\' if characters.as_str().starts_with([',', '\\']) => {
                parts.last_mut().into_iter().for_each(|part| part.extend(characters.next()));
            }
            ',' => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(character)),
        }
    }
    let entries = parts.into_iter().map(|part| match part.trim_start().split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{part}` is not an entry; write `key=value,key=value`")),
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::typed;

    #[test]
    fn descriptors_are_typed_as_entries_with_commas_between() {
        let check = |text: &str, entries: &[(&str, &str)]| {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(typed(text), Ok(entries), "{text}");
        };
        check("a=1", &[("a", "1")]);
        check("a=1, endpoint=GET /x?y=z", &[("a", "1"), ("endpoint", "GET /x?y=z")]);
        check(r"a=1\,2,b=\\", &[("a", "1,2"), ("b", r"\")]);
        check("a=,b=2", &[("a", ""), ("b", "2")]);
        assert_eq!(typed("a"), Err("`a` is not an entry; write `key=value,key=value`".to_owned()));
    }
}
