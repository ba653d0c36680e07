//! What was probably meant by a word that is not known.

use crate::yaml::unseen_in;

/// Longer texts are no slips, and comparing them takes long.
const LONGEST: usize = 128;

/// The one of `known` that is close enough to `typed` to be what was meant. Case does not count.
pub fn likely<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if typed.len() > LONGEST {
        return None;
    }
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (likeness(&typed, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// The one of `known` that is so near to `typed` that it must be a slip: as [`likely`], but stricter, for words of which there may be
/// more than are known. Words that differ in their digits are two: `limit1`, `limit2`.
pub fn near<'k, S: AsRef<str>>(typed: &str, known: &'k [S]) -> Option<&'k str> {
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let typed = typed.to_lowercase();
    let most = (typed.chars().count() / 4).clamp(1, 3);
    let near = known.iter().map(AsRef::as_ref).filter_map(|name| {
        let lower = name.to_lowercase();
        let distance = strsim::damerau_levenshtein(&typed, &lower);
        let are_two = distance > 0 && letters(&typed) == letters(&lower);
        (distance <= most && !are_two).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}

/// How alike two words in lower case are, from 0 to 1.
fn likeness(typed: &str, word: &str) -> f64 {
    // Of short words Jaro-Winkler makes too much of two letters that changed places. A slip of one character is at most four
    // bytes, and looking for it in texts of very different lengths would take long.
    let is_slip =
        word.len() > 2 && typed.len().abs_diff(word.len()) <= 4 && strsim::osa_distance(typed, word) == 1;
    strsim::jaro_winkler(typed, word).max(if is_slip { 0.9 } else { 0.0 })
}

/// A question about the one of `known` that was probably meant by `typed`, or what to do about a character in it that nobody
/// sees.
pub fn did_you_mean<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    unseen_in(typed, known.iter().copied())
        .or_else(|| likely(typed, known).map(|word| format!("did you mean `{word}`?")))
}

/// How many names are listed in a hint.
pub const LISTED: usize = 8;

/// The first of `names`, in a sentence.
pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(LISTED).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn a_slip_is_found_and_what_is_something_else_is_not() {
        let known = ["key", "rate_limit", "requests_per_unit", "unit"];
        for (typed, meant) in [
            ("rate_limt", Some("did you mean `rate_limit`?")),
            ("kye", Some("did you mean `key`?")),
            ("UNIT", Some("did you mean `unit`?")),
            (
                "rate_limit\u{200b}",
                Some("there is a zero-width space (U+200B) in it; type `rate_limit` anew"),
            ),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(typed, known).as_deref(), meant, "{typed:?}");
        }
    }
}
