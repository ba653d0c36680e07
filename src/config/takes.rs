//! What a word of the policy language takes.

use super::compile::periods;
use super::scalar;
use super::words::Scope;
use crate::model::Unit;

/// A kind of value. The reference page shows it as text, the schema as a schema.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// Any single value, which is read as text; with what it is, for people.
    Text(&'static str),
    /// True or false.
    Flag,
    /// A whole number.
    Number {
        /// The least that it can be.
        least: u32,
        /// The most that it can be.
        most: u32,
    },
    /// One of several names.
    OneOf(fn() -> Vec<&'static str>),
    /// A unit, in any case.
    Unit,
    /// A length of time, or the name of a period.
    Window,
    /// A number, or a mapping that says where it comes from.
    Requests,
    /// A number for each value of an attribute.
    Numbers,
    /// A mapping of that kind.
    Mapping(Scope),
    /// A list of mappings of that kind.
    List(Scope),
    /// `one`, or a mapping that says by what undeclared endpoints differ.
    Undeclared,
    /// Templates, or names with a list of templates each.
    Endpoints,
    /// What counters belong to, one or several.
    CountBy,
    /// A family of headers, or several.
    Headers,
    /// A dialect, or several.
    Dialects,
    /// Names of headers, each with a template.
    Templates,
    /// Names of attributes, each with a value.
    Attributes,
    /// Any mapping.
    Anything,
}

impl Takes {
    /// What it is, for people, in Markdown.
    pub(super) fn for_people(self) -> String {
        let one_of =
            |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Text(what) => what.to_owned(),
            Self::Flag => one_of(vec!["true", "false"]),
            Self::Number { least: 0, most } => format!("a whole number up to {most}"),
            Self::Number { least, most: u32::MAX } => format!("a whole number from {least}"),
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::OneOf(names) => one_of(names()),
            Self::Unit => one_of(Unit::ALL.map(Unit::name).to_vec()),
            Self::Window => format!(
                "a length in {}, as in `15m` or `1h30m`; {}",
                one_of(scalar::LENGTHS.map(|(unit, _)| unit).to_vec()),
                one_of(periods())
            ),
            Self::Requests => format!("a whole number up to {}, or {}", u32::MAX, a_mapping(Scope::Requests)),
            Self::Numbers => "a mapping of values to whole numbers".to_owned(),
            Self::Mapping(scope) => a_mapping(scope),
            Self::List(scope) => format!("a list of [mappings]({})", anchor(scope)),
            Self::Undeclared => format!("`one`, or {}", a_mapping(Scope::Undeclared)),
            Self::Endpoints => {
                "a list of templates, `METHOD /path`, or of names with a list of templates".to_owned()
            }
            Self::CountBy => {
                "`entries`, `subject`, `credential`, `domain`, the key of an entry, or a list of such"
                    .to_owned()
            }
            Self::Headers => format!("{}, or a list of such", a_mapping(Scope::Headers)),
            Self::Dialects => "a [dialect](#dialects), or a list of dialects".to_owned(),
            Self::Templates => "a mapping of headers to [templates](#templates)".to_owned(),
            Self::Attributes => "a mapping of attributes to values".to_owned(),
            Self::Anything => "a mapping".to_owned(),
        }
    }
}

fn a_mapping(scope: Scope) -> String {
    format!("a [mapping]({})", anchor(scope))
}

/// Where the words of `scope` are on the reference page.
fn anchor(scope: Scope) -> String {
    let place = scope.to_string().replace('`', "").replace(' ', "-");
    format!("#in-{place}")
}
