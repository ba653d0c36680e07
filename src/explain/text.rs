//! An explanation as people read it.

use std::fmt::{Display, Write as _};

use super::{CallExplained, Code, DescriptorExplained, Explanation, LimitExplained};

impl Explanation {
    /// For people; `then` comes last.
    pub fn text(&self) -> String {
        // To the second, as policies and headers tell times of day.
        let at =
            self.at.split_once('.').map_or_else(|| self.at.clone(), |(seconds, _)| format!("{seconds}Z"));
        let mut text = format!("domain {}, at {at}\n", self.domain);
        self.call.write(&mut text);
        if let Some(then) = &self.then {
            text.push_str("\nthen, for a call that costs 1\n");
            then.write(&mut text);
        }
        text
    }
}

impl CallExplained {
    fn write(&self, text: &mut String) {
        self.descriptors.iter().for_each(|descriptor| descriptor.write(text));
        text.push_str(&format!("\noverall  {}\n", self.overall.name()));
        for (name, value) in &self.response_headers {
            text.push_str(&format!("  {name}: {value}\n"));
        }
        for (name, value) in &self.request_headers {
            text.push_str(&format!("  {name}: {value} (for the upstream)\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("\n  {}\n", self.body));
        }
    }
}

impl DescriptorExplained {
    fn write(&self, text: &mut String) {
        text.push_str(&format!("\n{}\n", self.descriptor));
        line(text, "rule", &self.rule);
        self.subject.iter().for_each(|subject| line(text, "subject", subject));
        self.not_charged.iter().for_each(|why| line(text, "limit", why));
        self.limits.iter().for_each(|limit| limit.write(text));
        line(text, "answer", self.answer.name());
    }
}

impl LimitExplained {
    fn write(&self, text: &mut String) {
        line(text, "limit", &self.limit);
        self.counter.iter().for_each(|counter| line(text, "counter", counter));
        line(text, "numbers", &self.numbers);
    }
}

impl Code {
    /// As serialized.
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::OverLimit => "OVER_LIMIT",
        }
    }
}

fn line(text: &mut String, about: &str, what: impl Display) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "  {about:<9}{what}");
}
