//! Reading the rules of tiers.

use super::problem::Place;
use super::read::{Read, Reader};
use super::scalar;
use super::tiers::{Rule, Tiers};
use super::value::Value;
use super::words::{RULE, TIERS, Word};
use crate::yaml::Token;

impl<'t> Reader<'t> {
    /// What stands under `tiers`.
    pub(super) fn tiers(&mut self) -> Read<()> {
        let mut tiers = Tiers { attribute: "".into(), rules: Vec::new() };
        let (token, at) = self.next()?;
        let seen = self.mapping(&token, at, &TIERS, |reader, word| match word {
            Word::Attribute => {
                if let Some((name, ..)) = reader.text("the name of an attribute")? {
                    tiers.attribute = name.into();
                }
                Ok(())
            }
            _ => reader.list("tiers", |reader, token, at| reader.rule(token, at, &mut tiers.rules)),
        })?;
        let Some(seen) = seen else { return Ok(()) };
        for (word, name) in [(Word::Attribute, "attribute"), (Word::Rules, "rules")] {
            if !seen.has(word) {
                self.problems.add(at, format!("`tiers` without `{name}`"), None);
            }
        }
        self.draft.tiers = Some(tiers);
        Ok(())
    }

    /// One rule, which must be for a higher tier than the rules before it, and harder to fulfil than each of them.
    fn rule(&mut self, token: &Token<'t>, at: Place, before: &mut Vec<Rule>) -> Read<()> {
        let (mut tier, mut spend, mut days) = (None, None, None);
        let seen = self.mapping(token, at, &RULE, |reader, word| {
            match word {
                Word::Tier => tier = reader.single("a tier", scalar::whole)?,
                Word::Spend => spend = reader.single("an amount", |text, _| scalar::amount(text))?,
                _ => days = reader.single("a number of days", scalar::whole)?,
            }
            Ok(())
        })?;
        let Some(seen) = seen else { return Ok(()) };
        if !seen.has(Word::Tier) {
            self.problems.add(at, "a rule without a `tier`", None);
        }
        // A whole number was read from at most 63 bits.
        let Some(tier) = tier.and_then(|tier| i64::try_from(tier).ok()) else { return Ok(()) };
        let rule = Rule { tier: Value::Number(tier), spend, days };
        if let Some(last) = before.last()
            && last.tier.as_number() >= Some(tier)
        {
            let message = format!("tier {tier} stands after tier {}", last.tier.as_text());
            self.problems.add(at, message, Some("list each tier once, the lowest first".to_owned()));
        } else if let Some(lower) = before.iter().find(|lower| rule.asks_no_more_than(lower)) {
            let message =
                format!("tier {tier} asks no more than tier {}, which nobody has", lower.tier.as_text());
            self.problems.add(at, message, Some("a higher tier asks for more".to_owned()));
        }
        before.push(rule);
        Ok(())
    }
}
