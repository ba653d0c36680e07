//! What a control plane sends in one response: every resource that there is.

use std::collections::HashMap;
use std::hash::Hasher;

use prost::Message;
use prost_types::Any;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::bounds::{MOST_MESSAGES, MOST_RESOURCES, Room};
use super::document;
use super::proto::{RateLimitConfig, Resource, TYPE_URL, WRAPPED};
use crate::config::{Diagnostic, Sources};

/// Tells sets apart, in whatever order their resources come: control planes keep them in tables that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u128);

impl Digest {
    pub(super) fn of(resources: &[Any]) -> Self {
        let each = resources.iter().map(|resource| {
            let mut hasher = SipHasher13::new();
            hasher.write(resource.type_url.as_bytes());
            hasher.write(&[0]);
            hasher.write(&resource.value);
            hasher.finish128().as_u128()
        });
        Self(each.fold(resources.len() as u128, u128::wrapping_add))
    }
}

/// The resources of one response.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Each with the name of the policy that it becomes, by name.
    configs: Vec<(String, RateLimitConfig)>,
}

impl Set {
    /// Reads the resources that `source` sent.
    ///
    /// # Errors
    ///
    /// Which of them are no resources of the type that was asked for.
    pub(super) fn read(source: &str, resources: &[Any]) -> Result<Self, Vec<Diagnostic>> {
        if resources.len() > MOST_RESOURCES {
            return Err(vec![Diagnostic::error(format!("there are more than {MOST_RESOURCES} resources"))]);
        }
        let (mut configs, mut wrong) = (Vec::with_capacity(resources.len()), Vec::new());
        let mut room = Room::default();
        for (number, resource) in resources.iter().enumerate() {
            match config(resource, &mut room) {
                Ok(config) => {
                    let name = if config.name.is_empty() { &config.domain } else { &config.name };
                    configs.push((format!("xds:{source}/{name}"), config));
                }
                Err(why) => wrong.push(Diagnostic::error(format!("resources[{number}]: {why}"))),
            }
            // What comes behind the one that is too much is not to blame.
            if room.was_too_small() {
                break;
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        configs.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self { configs })
    }

    /// The policies that they become.
    pub(super) fn sources(&self) -> Sources {
        Sources::in_memory(
            self.configs.iter().map(|(name, config)| (name.clone(), document::text(config))),
            [],
        )
    }

    /// Has messages about those policies begin with the fields that they are about.
    pub(super) fn with_fields(&self, diagnostics: &mut [Diagnostic]) {
        let by_name: HashMap<&str, &RateLimitConfig> =
            self.configs.iter().map(|(name, config)| (name.as_str(), config)).collect();
        for diagnostic in diagnostics.iter_mut().take(MOST_LOOKED_UP) {
            let Some(place) = diagnostic.excerpt.as_ref().map(|excerpt| &excerpt.place) else { continue };
            let config = by_name.get(&*place.file);
            if let Some(field) = config.and_then(|config| document::field(config, place.line)) {
                diagnostic.message = format!("{field}: {}", diagnostic.message);
            }
        }
    }
}

/// The most messages whose fields are looked up: each takes as long as the resource is.
const MOST_LOOKED_UP: usize = 100;

fn config(resource: &Any, room: &mut Room) -> Result<RateLimitConfig, String> {
    match resource.type_url.as_str() {
        TYPE_URL if room.take(&resource.value).is_none() => Err(format!(
            "with those before it, it has more than {MOST_MESSAGES} descriptors, limits and values of metadata"
        )),
        TYPE_URL => RateLimitConfig::decode(resource.value.as_slice())
            .map_err(|error| format!("it is no `RateLimitConfig`: {error}")),
        WRAPPED => {
            let wrapped = Resource::decode(resource.value.as_slice());
            let wrapped = wrapped.map_err(|error| format!("it is no `Resource`: {error}"))?.resource;
            match wrapped {
                Some(inner) if inner.type_url != WRAPPED => config(&inner, room),
                _ => Err("nothing is wrapped in it".to_owned()),
            }
        }
        other => Err(format!("it is a `{other}`, and `{TYPE_URL}` was asked for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, compile};
    use crate::xds::proto::{RateLimitDescriptor, RateLimitPolicy};

    fn limited(name: &str, domain: &str, unit: i32) -> RateLimitConfig {
        let rate_limit = Some(RateLimitPolicy { unit, requests_per_unit: 5, ..RateLimitPolicy::default() });
        let inner =
            RateLimitDescriptor { key: "inner".to_owned(), rate_limit, ..RateLimitDescriptor::default() };
        let outer = RateLimitDescriptor {
            key: "outer".to_owned(),
            descriptors: vec![inner],
            ..RateLimitDescriptor::default()
        };
        RateLimitConfig { name: name.to_owned(), domain: domain.to_owned(), descriptors: vec![outer] }
    }

    fn any(config: &RateLimitConfig) -> Any {
        Any { type_url: TYPE_URL.to_owned(), value: config.encode_to_vec() }
    }

    #[test]
    fn mistakes_name_the_resource_the_field_and_what_is_right() {
        let resources = [any(&limited("good", "a", 2)), any(&limited("", "b", 0))];
        let set = Set::read("eg:18001", &resources).unwrap();
        let mut wrong = compile(&set.sources(), Options::default()).unwrap_err();
        set.with_fields(&mut wrong);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].message, "descriptors[0].descriptors[0].rate_limit.unit: unknown unit `UNKNOWN`");
        assert_eq!(wrong[0].excerpt.as_ref().unwrap().place.to_string(), "xds:eg:18001/b:8:13");
    }

    #[test]
    fn what_is_no_such_resource_is_refused_by_its_number() {
        let other = Any { type_url: "type.googleapis.com/envoy.Listener".to_owned(), value: Vec::new() };
        let broken = Any { type_url: TYPE_URL.to_owned(), value: vec![0xff] };
        let wrong = Set::read("eg", &[any(&limited("a", "a", 1)), other, broken]).unwrap_err();
        let messages: Vec<&str> = wrong.iter().map(|wrong| wrong.message.as_str()).collect();
        assert_eq!(
            messages[0],
            format!(
                "resources[1]: it is a `type.googleapis.com/envoy.Listener`, and `{TYPE_URL}` was asked for"
            )
        );
        assert!(messages[1].starts_with("resources[2]: it is no `RateLimitConfig`: "), "{messages:?}");
    }

    #[test]
    fn the_one_that_is_too_much_for_the_set_is_named_and_none_behind_it() {
        let much = Any { type_url: TYPE_URL.to_owned(), value: [0x1a, 0].repeat(MOST_MESSAGES) };
        let wrong =
            Set::read("eg", &[any(&limited("a", "a", 1)), much, any(&limited("b", "b", 1))]).unwrap_err();
        let [wrong] = &wrong[..] else { panic!("{}", wrong.len()) };
        assert!(wrong.message.starts_with("resources[1]: with those before it"), "{}", wrong.message);
    }

    #[test]
    fn a_resource_may_be_wrapped_and_an_empty_set_is_one() {
        let wrapped = Resource { resource: Some(any(&limited("a", "a", 1))) };
        let wrapped = Any { type_url: WRAPPED.to_owned(), value: wrapped.encode_to_vec() };
        let set = Set::read("eg", &[wrapped]).unwrap();
        assert_eq!(compile(&set.sources(), Options::default()).unwrap().policy.rules(), 1);
        let empty = Set::read("eg", &[]).unwrap();
        assert_eq!(compile(&empty.sources(), Options::default()).unwrap().policy.rules(), 0);
    }

    #[test]
    fn sets_are_the_same_in_any_order() {
        let (a, b) = (any(&limited("a", "a", 1)), any(&limited("b", "b", 1)));
        let of =
            |resources: &[&Any]| Digest::of(&resources.iter().map(|one| (*one).clone()).collect::<Vec<_>>());
        assert_eq!(of(&[&a, &b]), of(&[&b, &a]));
        assert_ne!(of(&[&a, &b]), of(&[&a]));
        assert_ne!(of(&[&a, &a]), of(&[&a]));
        assert_ne!(of(&[]), of(&[&a]));
    }
}
