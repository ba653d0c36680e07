//! Every word of a subjects file, and where it may stand.

use super::problem::shown;

/// A word of a subjects file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Subjects,
    Tiers,
    Id,
    Attributes,
    BillingAnchor,
    TimeZone,
    Facts,
    Credentials,
    Enabled,
    Kind,
    Value,
    Sha256,
    Spend,
    FirstPayment,
    Attribute,
    Rules,
    Tier,
    DaysSinceFirstPayment,
}

/// A kind of mapping: what it is called, and its words.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    pub(super) words: &'static [(&'static str, Word)],
    /// Whether a word of it that is not known may be shown. In a credential it may be the credential itself.
    pub(super) quotes: bool,
}

pub(super) const ROOT: Scope = Scope {
    name: "a subjects file",
    words: &[("subjects", Word::Subjects), ("tiers", Word::Tiers)],
    quotes: true,
};

pub(super) const SUBJECT: Scope = Scope {
    name: "a subject",
    words: &[
        ("id", Word::Id),
        ("attributes", Word::Attributes),
        ("billing_anchor", Word::BillingAnchor),
        ("time_zone", Word::TimeZone),
        ("facts", Word::Facts),
        ("credentials", Word::Credentials),
        ("enabled", Word::Enabled),
    ],
    quotes: true,
};

pub(super) const CREDENTIAL: Scope = Scope {
    name: "a credential",
    words: &[
        ("kind", Word::Kind),
        ("value", Word::Value),
        ("sha256", Word::Sha256),
        ("attributes", Word::Attributes),
        ("enabled", Word::Enabled),
    ],
    quotes: false,
};

pub(super) const FACTS: Scope = Scope {
    name: "`facts`",
    words: &[("spend", Word::Spend), ("first_payment", Word::FirstPayment)],
    quotes: true,
};

pub(super) const TIERS: Scope =
    Scope { name: "`tiers`", words: &[("attribute", Word::Attribute), ("rules", Word::Rules)], quotes: true };

pub(super) const RULE: Scope = Scope {
    name: "a tier's rule",
    words: &[
        ("tier", Word::Tier),
        ("spend", Word::Spend),
        ("days_since_first_payment", Word::DaysSinceFirstPayment),
    ],
    quotes: true,
};

impl Scope {
    /// What to say about `typed`, which is not a word of it.
    pub(super) fn unknown(&self, typed: &str) -> String {
        let typed = if self.quotes { format!(" {}", shown(typed)) } else { String::new() };
        format!("unknown word{typed} in {}", self.name)
    }

    /// What to write instead of `typed`.
    pub(super) fn hint(&self, typed: &str) -> String {
        if typed == "<<" {
            return "merge keys are not read here; write the values out".to_owned();
        }
        let words = self.words.iter().map(|(name, _)| *name);
        did_you_mean(typed, words.clone()).unwrap_or_else(|| {
            let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
            format!("{} knows {}", self.name, words.join(", "))
        })
    }
}

/// «did you mean», when one of `known` is close enough to `typed` to be what was meant.
pub(super) fn did_you_mean<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&typed, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| format!("did you mean `{word}`?"))
}
