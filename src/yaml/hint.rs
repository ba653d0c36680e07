//! What to do about a text that is not YAML.

/// What to write instead, where people are known to stumble. `at` is the byte at which it showed; `context` and `problem`
/// are the parser's words.
pub(super) fn hint(text: &str, at: usize, context: &str, problem: &str) -> Option<&'static str> {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    let found = text.get(at..).and_then(|rest| rest.chars().next());
    let is_indentation = line.chars().all(|c| matches!(c, ' ' | '\t' | '-' | '?'));
    if is_indentation && (line.contains('\t') || found == Some('\t')) {
        return Some("indent with spaces: YAML takes a tab for no indentation");
    }
    Some(match problem {
        "found character that cannot start any token" => match found? {
            '\t' => "write spaces where the tab is",
            '@' | '`' | '%' => "put a value that begins with `@`, `%` or a backtick in quotes: `\"@a\"`",
            _ => return None,
        },
        "did not find expected alphabetic or numeric character" if context.ends_with("alias") => {
            "put a value that begins with `*` in quotes: `value: \"*\"`"
        }
        "did not find expected alphabetic or numeric character" => {
            "put a value that begins with `&` in quotes: `value: \"&\"`"
        }
        "mapping values are not allowed in this context" => {
            "indent all words of a mapping alike, and put a value with a colon and a space in it in quotes: `\"a: b\"`"
        }
        "could not find expected ':'" => "write `word: value`, with a space behind the colon",
        "did not find expected key" => "indent all words of a mapping alike",
        "did not find expected '-' indicator" => "indent all items of a list alike, and begin each with `- `",
        "did not find expected ',' or ']'" => {
            "end the list with `]`, with a comma between its items: `[a, b]`"
        }
        "did not find expected ',' or '}'" => {
            "end the mapping with `}`, with a comma between its pairs: `{a: 1, b: 2}`"
        }
        "block sequence entries are not allowed in this context" => "begin a list on a line of its own",
        "found unexpected end of stream" => "end the text with the quote that it begins with",
        "found unknown escape character" => {
            "write `\\\\` for a backslash in double quotes, or use single quotes: `'\\d'`"
        }
        "found undefined tag handle" => "put a value that begins with `!` in quotes: `\"!a\"`",
        _ => return None,
    })
}
