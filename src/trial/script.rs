//! `NAME.test.yaml`, beside `NAME.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::config;
use crate::model::Timestamp;
use crate::subjects::Value;

/// A test of one policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The policy file, beside this one.
    pub policy: String,
    /// Which domain, where the policy file has several.
    #[serde(default)]
    pub domain: Option<String>,
    /// The time from which steps are counted.
    #[serde(deserialize_with = "timestamp")]
    pub start: Timestamp,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Where each step is written; lines are counted from 1.
    #[serde(skip)]
    pub lines: Vec<usize>,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What this shows, for people.
    #[serde(default, rename = "is")]
    pub shows: Option<String>,
    /// When, after the start; by default when the step before was.
    #[serde(default, deserialize_with = "length")]
    pub at: Option<Duration>,
    /// The descriptors of a request.
    #[serde(default)]
    pub send: Option<Send>,
    /// How often it is sent.
    #[serde(default = "once")]
    pub times: u32,
    /// How much later each time; by default at once.
    #[serde(default, deserialize_with = "length")]
    pub every: Option<Duration>,
    /// What it costs; 0 looks without counting.
    #[serde(default)]
    pub hits: Option<u64>,
    /// What becomes of it, every time.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// Response headers of the last time; `~` for one that must not be there.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// All response headers of the last time: these and no others.
    #[serde(default)]
    pub all_headers: Option<BTreeMap<String, String>>,
    /// Headers for the upstream, the last time.
    #[serde(default)]
    pub request_headers: BTreeMap<String, Option<String>>,
    /// The body of the last time, to the byte.
    #[serde(default)]
    pub body: Option<String>,
    /// The rule or limit that the answer tells about.
    #[serde(default)]
    pub rule: Option<String>,
    /// Something about a subject changes before anything is sent.
    #[serde(default)]
    pub set: Option<Change>,
}

/// The descriptors of a request.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`send` takes the entries of a descriptor, or a list of descriptors")]
pub enum Send {
    /// One descriptor: its entries, in order.
    One(serde_yaml::Mapping),
    /// Several.
    Many(Vec<serde_yaml::Mapping>),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It passes.
    Ok,
    /// It is refused.
    OverLimit,
}

/// New attributes of a subject.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Whose.
    pub subject: String,
    /// Which, with their values.
    pub attributes: BTreeMap<String, serde_yaml::Value>,
}

/// Why a script cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It is not what a script is; the message says where.
    #[error("{0}")]
    Malformed(#[from] serde_yaml::Error),
    /// An entry's key or value is a list or a mapping.
    #[error("step {step}: the entries of a descriptor are single values")]
    NotAnEntry {
        /// Which step, from 1.
        step: usize,
    },
    /// Nothing happens in it.
    #[error("there are no steps")]
    NoSteps,
    /// A step that could never fail.
    #[error("step {step} {why}")]
    Idle {
        /// Which step, from 1.
        step: usize,
        /// What is the matter with it.
        why: &'static str,
    },
    /// A new attribute is a list or a mapping.
    #[error("the attribute `{0}` is not a single value")]
    NotAnAttribute(String),
}

impl Script {
    /// The script in a file's text.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script: Self = serde_yaml::from_str(text)?;
        script.lines = config::item_lines(text, "steps");
        if script.steps.is_empty() {
            return Err(ScriptError::NoSteps);
        }
        let mut earlier = Duration::ZERO;
        for (step, number) in script.steps.iter().zip(1..) {
            step.descriptors().ok_or(ScriptError::NotAnEntry { step: number })?;
            if let Some(why) = step.idle() {
                return Err(ScriptError::Idle { step: number, why });
            }
            let at = step.at.unwrap_or(earlier);
            if at < earlier {
                return Err(ScriptError::Idle { step: number, why: "is earlier than the one before it" });
            }
            earlier = at;
        }
        Ok(script)
    }
}

impl Step {
    /// Why it could never fail, if it could not.
    fn idle(&self) -> Option<&'static str> {
        let expects = self.expect.is_some()
            || self.all_headers.is_some()
            || self.body.is_some()
            || self.rule.is_some()
            || !(self.headers.is_empty() && self.request_headers.is_empty());
        match (&self.send, &self.set) {
            (None, None) => Some("neither sends nor sets anything"),
            (None, Some(_)) if expects => Some("expects an answer but sends nothing"),
            (Some(_), _) if self.times == 0 => Some("sends nothing, for its `times` is 0"),
            (Some(_), _) if !expects => {
                Some("expects nothing of the answer; say `expect: ok` or `expect: over_limit`")
            }
            _ => None,
        }
    }

    /// The descriptors to send, each a list of entries; `None` when one of them is malformed.
    pub fn descriptors(&self) -> Option<Vec<Vec<(String, String)>>> {
        let mappings = match &self.send {
            None => return Some(Vec::new()),
            Some(Send::One(one)) => std::slice::from_ref(one),
            Some(Send::Many(many)) => many,
        };
        let entry = |(key, value): (&serde_yaml::Value, &serde_yaml::Value)| Some((text(key)?, text(value)?));
        mappings.iter().map(|mapping| mapping.iter().map(entry).collect()).collect()
    }
}

impl Change {
    /// The attributes as the directory knows them.
    pub fn values(&self) -> Result<Vec<(String, Value)>, ScriptError> {
        let attribute = |(name, value): (&String, &serde_yaml::Value)| {
            let value = match value {
                serde_yaml::Value::Bool(truth) => Some(Value::Bool(*truth)),
                serde_yaml::Value::Number(number) => number.as_i64().map(Value::Number),
                other => text(other).map(|text| Value::Text(text.into())),
            };
            Ok((name.clone(), value.ok_or_else(|| ScriptError::NotAnAttribute(name.clone()))?))
        };
        self.attributes.iter().map(attribute).collect()
    }
}

fn text(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        serde_yaml::Value::Bool(truth) => Some(truth.to_string()),
        serde_yaml::Value::Null => Some(String::new()),
        _ => None,
    }
}

const fn once() -> u32 {
    1
}

fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "0s" {
        return Ok(Some(Duration::ZERO));
    }
    config::duration(&text).map(Some).map_err(D::Error::custom)
}

fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
    u64::try_from(time.as_nanosecond()).map(Timestamp::from_nanos).map_err(D::Error::custom)
}
