//! The text of `/metrics`, read back.

/// One number with its name and its labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    /// The value of a label; nothing where there is none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// All samples of a text in Prometheus' format. Lines that are none are left out.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.to_owned(), value));
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, char) in text.char_indices() {
        match char {
            'n' if is_escaped => value.push('\n'),
            _ if is_escaped => value.push(char),
            '\\' => {
                is_escaped = true;
                continue;
            }
            '"' => return Some((value, &text[at + 1..])),
            _ => value.push(char),
        }
        is_escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_values_are_read_back() {
        let text =
            "# TYPE a counter\na 1\nb{x=\"1\",y=\"q\\\"},\\\\n\\n\"} 2.5\nc{le=\"+Inf\"} 3 1700000000\n";
        let read: Vec<_> = samples(text).collect();
        let shown: Vec<_> = read.iter().map(|one| (one.name.as_str(), one.value)).collect();
        assert_eq!(shown, [("a", 1.0), ("b", 2.5), ("c", 3.0)]);
        assert_eq!((read[1].label("x"), read[1].label("y")), ("1", "q\"},\\n\n"));
        assert_eq!(read[0].label("x"), "");
    }

    #[test]
    fn lines_that_are_cut_are_left_out() {
        for cut in ["b{x=\"1", "b{x", "b{x=\"1\"", "b{x=\"1\"} ", "b", "", "b nothing"] {
            assert_eq!(sample(cut), None, "{cut}");
        }
    }
}
