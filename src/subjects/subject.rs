//! Reading subjects and their credentials.

use super::attributes::Run;
use super::credential::{CredentialId, from_hex, sha256, strip_scheme};
use super::draft::Suspect;
use super::grouped::Grouped;
use super::id::{ID, is_id};
use super::index::{index, kind_place};
use super::problem::{Place, shown};
use super::read::{Read, Reader, is_nothing};
use super::roster::Row;
use super::scalar;
use super::table::Entry;
use super::tiers::Facts;
use super::words::{CREDENTIAL, FACTS, SUBJECT, Word};
use crate::yaml::Token;

/// Whose attributes they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Subject,
    Credential,
}

impl<'t> Reader<'t> {
    /// One item of `subjects`.
    pub(super) fn subject(&mut self, token: &Token<'t>, at: Place) -> Read<()> {
        let number = index(self.draft.subjects.len());
        let (mut row, mut place) = (Row::default(), at);
        let seen = self.mapping(token, at, &SUBJECT, |reader, word| {
            match word {
                Word::Id => {
                    if let Some((id, _, at)) = reader.text("the id of a subject")? {
                        if !is_id(&id) {
                            let message = format!("{} cannot be the id of a subject", shown(&id));
                            reader.problems.add(at, message, Some(ID.to_owned()));
                        }
                        reader.draft.ids.push_str(&id);
                        place = at;
                    }
                }
                Word::Attributes => row.attributes = reader.attributes(Owner::Subject)?,
                Word::BillingAnchor => {
                    row.billing_anchor =
                        reader.single("a point in time", |text, _| scalar::timestamp(text))?;
                }
                Word::TimeZone => row.zone = reader.zone()?,
                Word::Facts => row.facts = reader.facts()?,
                Word::Credentials => {
                    reader.list("credentials", |reader, token, at| reader.credential(token, at, number))?;
                }
                _ => row.enabled = reader.single("true or false", scalar::boolean)?.unwrap_or_default(),
            }
            Ok(())
        })?;
        if seen.is_some_and(|seen| !seen.has(Word::Id)) {
            self.problems.add(at, "a subject without an `id`", None);
        }
        row.id_end = index(self.draft.ids.len());
        self.draft.subjects.push(row);
        self.draft.survey.subjects.push(place);
        Ok(())
    }

    fn credential(&mut self, token: &Token<'t>, at: Place, subject: u32) -> Read<()> {
        let (mut kind, mut hash, mut scheme) = (None, None, None);
        let (mut attributes, mut enabled) = (Run::default(), true);
        let seen = self.mapping(token, at, &CREDENTIAL, |reader, word| {
            match word {
                Word::Kind => kind = reader.text("the kind of a credential")?.map(|(kind, ..)| kind),
                Word::Value => {
                    if let Some((text, _, at)) = reader.text("a credential")? {
                        hash = Some(sha256(text.as_bytes()));
                        scheme = (strip_scheme(text.as_bytes()).len() < text.len()).then_some(at);
                    }
                }
                Word::Sha256 => hash = reader.hash()?,
                Word::Attributes => attributes = reader.attributes(Owner::Credential)?,
                _ => enabled = reader.single("true or false", scalar::boolean)?.unwrap_or_default(),
            }
            Ok(())
        })?;
        let Some(seen) = seen else { return Ok(()) };
        if !seen.has(Word::Kind) {
            let hint = "write where it comes from, like `kind: api_key`".to_owned();
            self.problems.add(at, "a credential without a `kind`", Some(hint));
        }
        match (seen.has(Word::Value), seen.has(Word::Sha256)) {
            (true, true) => {
                let hint = "keep one of them".to_owned();
                self.problems.add(at, "a credential with both `value` and `sha256`", Some(hint));
            }
            (false, false) => {
                let hint = "write `value`, or `sha256` to keep it out of the file".to_owned();
                self.problems.add(at, "a credential with neither `value` nor `sha256`", Some(hint));
            }
            _ => {
                if let (Some(kind), Some(hash)) = (kind, hash) {
                    let id = CredentialId::of_hashed(&kind, &hash);
                    let number = self.draft.survey.credential(&kind, subject, attributes, enabled, at);
                    if let (true, Some(at)) = (enabled, scheme) {
                        self.draft.survey.scheme(&kind, at);
                    }
                    self.draft.credentials.push((
                        Entry { id, subject, attributes, kind: kind_place(number as usize), enabled },
                        at,
                    ));
                }
            }
        }
        Ok(())
    }

    fn hash(&mut self) -> Read<Option<[u8; 32]>> {
        self.single("64 hexadecimal digits", |text, _| {
            let hint = || Some("print it with `printf %s \"$KEY\" | sha256sum`".to_owned());
            let hash =
                from_hex(text).ok_or_else(|| ("`sha256` is not 64 hexadecimal digits".to_owned(), hint()))?;
            if hash == sha256(b"") {
                // Else whoever sends an empty header would be this subject.
                return Err((
                    "`sha256` is that of the empty text, which is no credential".to_owned(),
                    hint(),
                ));
            }
            Ok(hash)
        })
    }

    /// Names and single values. Neither is shown where they are a credential's.
    fn attributes(&mut self, owner: Owner) -> Read<Run> {
        let mark = self.draft.attributes.mark();
        let (token, at) = self.next()?;
        if is_nothing(&token) || !self.is_mapping(&token, at, "attributes")? {
            return Ok(Run::default());
        }
        let is_secret = matches!(owner, Owner::Credential);
        // The number before, to which digits behind a comma may belong.
        let mut number: Option<Grouped> = None;
        loop {
            let (key, at) = self.next()?;
            if !number.as_ref().is_some_and(|number| number.is_followed_by(&key, at)) {
                Grouped::finish(number.take(), &mut self.problems, is_secret);
            }
            let name = match &key {
                Token::End => return Ok(self.draft.attributes.run(mark)),
                Token::Scalar { text, plain: true } if text == "<<" => {
                    let hint = "merge keys are not read here; write the values out".to_owned();
                    self.problems.add(at, "`<<` is not an attribute", Some(hint));
                    None
                }
                Token::Scalar { text, .. } => {
                    self.draft.survey.unseen(text, at);
                    Some(self.draft.attributes.name(text))
                }
                _ => {
                    self.refuse(&key, at, "the name of an attribute")?;
                    None
                }
            };
            let (value, value_at) = self.next()?;
            if let (Some(number), true) = (&mut number, is_nothing(&value)) {
                number.push(&key);
                continue;
            }
            Grouped::finish(number.take(), &mut self.problems, is_secret);
            let Some(name) = name else {
                self.skip(&value)?;
                continue;
            };
            let Token::Scalar { text, plain } = &value else {
                self.refuse(&value, value_at, "text, a whole number or true or false")?;
                continue;
            };
            number = Grouped::begin(&value, value_at);
            self.draft.survey.unseen(text, value_at);
            if self.draft.attributes.has(mark, name) {
                self.problems.add(at, "an attribute is given twice", None);
            }
            let value = self.draft.attributes.value(text, *plain);
            let Some(value) = self.note(value_at, value) else { continue };
            let message = match owner {
                Owner::Subject if self.draft.attributes.get(value).as_number().is_some() => None,
                Owner::Subject => Some("a tier is a whole number"),
                Owner::Credential => Some("the tier belongs to the subject, not to one of its credentials"),
            };
            self.draft.suspects.extend(message.map(|message| Suspect { name, at: value_at, message }));
            self.draft.attributes.push(name, value);
        }
    }

    /// One more than the place of the time zone that is named next.
    fn zone(&mut self) -> Read<u32> {
        let Some((name, _, at)) = self.text("a time zone")? else { return Ok(0) };
        if let Some(number) = self.draft.zones.get(&name) {
            return Ok(number);
        }
        let zone = self.note(at, scalar::zone(&name));
        Ok(zone.map_or(0, |zone| self.draft.zones.add(&name, zone)))
    }

    fn facts(&mut self) -> Read<Facts> {
        let mut facts = Facts::default();
        let (token, at) = self.next()?;
        if is_nothing(&token) {
            return Ok(facts);
        }
        self.mapping(&token, at, &FACTS, |reader, word| {
            if word == Word::Spend {
                facts.spend = reader.single("an amount", |text, _| scalar::amount(text))?;
            } else {
                facts.first_payment = reader.single("a point in time", |text, _| scalar::timestamp(text))?;
            }
            Ok(())
        })?;
        Ok(facts)
    }
}
