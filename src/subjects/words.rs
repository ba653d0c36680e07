//! Every word of a subjects file, and where it may stand.

use super::problem::shown;
use crate::hint::did_you_mean;

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

/// Every kind of mapping, in the order of the reference page.
const SCOPES: [&Scope; 6] = [&ROOT, &SUBJECT, &CREDENTIAL, &FACTS, &TIERS, &RULE];

/// One word of a subjects file, for the reference page. All texts are Markdown.
#[derive(Debug)]
pub struct WordRow {
    /// The word.
    pub name: &'static str,
    /// What it takes.
    pub values: &'static str,
    /// What holds where it is absent. Empty: it must be there.
    pub default: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// Every word of a subjects file, by the kind of mapping that it may stand in.
pub fn language() -> Vec<(&'static str, Vec<WordRow>)> {
    let row = |(name, word): &(&'static str, Word)| {
        let [values, default, meaning] = word.documentation();
        WordRow { name, values, default, meaning }
    };
    SCOPES.map(|scope| (scope.name, scope.words.iter().map(row).collect())).into()
}

/// Whether a subjects file has this word.
pub(crate) fn is_word(text: &str) -> bool {
    SCOPES.iter().any(|scope| scope.words.iter().any(|(name, _)| *name == text))
}

impl Word {
    /// What it takes, what holds where it is absent, and what it says.
    const fn documentation(self) -> [&'static str; 3] {
        match self {
            Self::Subjects => ["a list of subjects", "nobody is known", "the customers, tenants or accounts"],
            Self::Tiers => [
                "a mapping",
                "no tiers",
                "a tier that follows from facts, and that is never lost once it is reached",
            ],
            Self::Id => [
                "text",
                "",
                "what the subject is called in counters, logs and `{{subject}}`; no two are alike",
            ],
            Self::Attributes => [
                "a mapping of names to text, whole numbers or true and false",
                "none",
                "what limits may ask of it: a plan, a number. One on a credential goes before its subject's",
            ],
            Self::BillingAnchor => [
                "a point in time (RFC 3339)",
                "the first of each month, 00:00",
                "when a subscription began: periods begin on its day of each month, or on the month's last, at its time",
            ],
            Self::TimeZone => [
                "a time zone of the IANA database",
                "`UTC`",
                "in which months of the subscription are counted",
            ],
            Self::Facts => ["a mapping", "none", "what tiers follow from"],
            Self::Credentials => {
                ["a list of credentials", "none", "what the subject may show to be known by"]
            }
            Self::Enabled => ["`true`, `false`", "`true`", "with `false` it is as if it were not there"],
            Self::Kind => ["text", "", "which `subject:` in the policy takes it"],
            Self::Value => ["text", "`value` or `sha256` must be there", "the credential itself"],
            Self::Sha256 => [
                "64 hexadecimal digits",
                "`value` or `sha256` must be there",
                "the SHA-256 of the credential, which keeps it out of the file: `printf %s \"$KEY\" | sha256sum`",
            ],
            Self::Spend => [
                "an amount, as in `60` or `59.95`",
                "nothing",
                "what was spent; of a tier, the least that it takes",
            ],
            Self::FirstPayment => ["a point in time (RFC 3339)", "none yet", "when something was first paid"],
            Self::Attribute => ["the name of an attribute", "", "which attribute holds the tier"],
            Self::Rules => [
                "a list of rules, the lowest tier first",
                "",
                "what each tier takes; each must take more than those before it",
            ],
            Self::Tier => ["a whole number", "", "the tier"],
            Self::DaysSinceFirstPayment => {
                ["a whole number", "none", "the least number of days since the first payment"]
            }
        }
    }
}

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
        if typed.len() == 3 && typed.bytes().all(|byte| byte.is_ascii_digit()) {
            return "write the digits of a number alone, as in `10000`; inside braces a comma ends it"
                .to_owned();
        }
        let words = self.words.iter().map(|(name, _)| *name);
        did_you_mean(typed, words.clone()).unwrap_or_else(|| {
            let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
            format!("{} knows {}", self.name, words.join(", "))
        })
    }
}
