//! Digits that are grouped by commas inside braces: `{seats: 10,000}` is 10 and a key `000` without a value to YAML.

/// A number that YAML may have taken apart.
pub(crate) struct Grouped {
    /// As it was typed, so far.
    text: String,
    line: usize,
    column: usize,
    groups: usize,
}

impl Grouped {
    /// The number that a group of digits may follow, if a value at a place is one: its text, where it has no quotes.
    pub(crate) fn begin(plain: Option<&str>, (line, column): (usize, usize)) -> Option<Self> {
        let text = plain.filter(|text| (1..=3).contains(&text.len()) && digits(text))?;
        Some(Self { text: text.to_owned(), line, column, groups: 0 })
    }

    /// Whether a key is three digits right behind the comma that ended the number.
    pub(crate) fn is_followed_by(&self, plain: Option<&str>, place: (usize, usize)) -> bool {
        let is_group = plain.is_some_and(|text| text.len() == 3 && digits(text));
        is_group && place == (self.line, self.column + self.text.len() + 1)
    }

    /// Takes in a group, which follows and has no value.
    pub(crate) fn push(&mut self, group: &str) {
        self.text.push(',');
        self.text.push_str(group);
        self.groups += 1;
    }

    /// How many characters it has, what to say and what to do, if YAML took it apart. What `is_secret` is not shown.
    pub(crate) fn finish(self, is_secret: bool) -> Option<(usize, String, String)> {
        let Self { text, groups: 1.., .. } = self else { return None };
        let (number, digits) = if is_secret {
            ("this".to_owned(), "as in `10000`".to_owned())
        } else {
            (format!("`{text}`"), format!("`{}`", text.replace(',', "")))
        };
        let message = format!("{number} is no number inside braces, where a comma ends it");
        Some((text.len(), message, format!("write the digits alone, {digits}")))
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
