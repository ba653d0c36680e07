//! The protobuf files of the rate limit service, for gRPC server reflection.
//!
//! With reflection a client such as grpcurl can call the server without having Envoy's API at
//! hand. The messages served are decoded by hand-written types, so no compiler leaves a
//! descriptor set behind; it is built here, each function standing for the `.proto` file it
//! names.
//!
//! The files describe Envoy's API as far as this server speaks it: names, numbers and types are
//! Envoy's, but options, the other messages of the same files, and `RateLimitResponse.quota`,
//! which Envoy does not implement, are left out.

mod builder;
mod google;

use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

use builder::Kind::{self, Bool, Bytes, Enum, Message, Text, Uint32};
use builder::{enumeration, field, file, message, repeated};
use google::{DURATION, STRUCT, WRAPPERS};

/// The rate limit service and all it refers to, each file after those it imports.
#[must_use]
pub fn descriptor_set() -> FileDescriptorSet {
    FileDescriptorSet {
        file: vec![
            google::duration(),
            google::structs(),
            google::wrappers(),
            ratelimit_unit(),
            base(),
            ratelimit(),
            rls(),
        ],
    }
}

const RLS: &str = "envoy/service/ratelimit/v3/rls.proto";
const RATELIMIT: &str = "envoy/extensions/common/ratelimit/v3/ratelimit.proto";
const RATELIMIT_UNIT: &str = "envoy/type/v3/ratelimit_unit.proto";
const BASE: &str = "envoy/config/core/v3/base.proto";

fn rls() -> FileDescriptorProto {
    const HEADER_VALUE: Kind = Message(".envoy.config.core.v3.HeaderValue");
    const CODE: Kind = Enum(".envoy.service.ratelimit.v3.RateLimitResponse.Code");

    let request = message(
        "RateLimitRequest",
        vec![
            field("domain", 1, Text),
            repeated("descriptors", 2, Message(".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor")),
            field("hits_addend", 3, Uint32),
        ],
    );

    let rate_limit = DescriptorProto {
        enum_type: vec![enumeration("Unit", &UNITS)],
        ..message(
            "RateLimit",
            vec![
                field("name", 3, Text),
                field("requests_per_unit", 1, Uint32),
                field("unit", 2, Enum(".envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit")),
                field("unit_multiplier", 4, Message(".google.protobuf.UInt32Value")),
            ],
        )
    };
    let descriptor_status = message(
        "DescriptorStatus",
        vec![
            field("code", 1, CODE),
            field("current_limit", 2, Message(".envoy.service.ratelimit.v3.RateLimitResponse.RateLimit")),
            field("limit_remaining", 3, Uint32),
            field("duration_until_reset", 4, Message(".google.protobuf.Duration")),
        ],
    );
    let response = DescriptorProto {
        enum_type: vec![enumeration("Code", &[("UNKNOWN", 0), ("OK", 1), ("OVER_LIMIT", 2)])],
        nested_type: vec![rate_limit, descriptor_status],
        ..message(
            "RateLimitResponse",
            vec![
                field("overall_code", 1, CODE),
                repeated(
                    "statuses",
                    2,
                    Message(".envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus"),
                ),
                repeated("response_headers_to_add", 3, HEADER_VALUE),
                repeated("request_headers_to_add", 4, HEADER_VALUE),
                field("raw_body", 5, Bytes),
                field("dynamic_metadata", 6, Message(".google.protobuf.Struct")),
            ],
        )
    };

    let service = ServiceDescriptorProto {
        name: Some("RateLimitService".to_owned()),
        method: vec![MethodDescriptorProto {
            name: Some("ShouldRateLimit".to_owned()),
            input_type: Some(".envoy.service.ratelimit.v3.RateLimitRequest".to_owned()),
            output_type: Some(".envoy.service.ratelimit.v3.RateLimitResponse".to_owned()),
            ..MethodDescriptorProto::default()
        }],
        options: None,
    };

    FileDescriptorProto {
        message_type: vec![request, response],
        service: vec![service],
        ..file(RLS, "envoy.service.ratelimit.v3", &[BASE, RATELIMIT, DURATION, STRUCT, WRAPPERS])
    }
}

fn ratelimit() -> FileDescriptorProto {
    const ENTRY: Kind = Message(".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry");
    const OVERRIDE: Kind =
        Message(".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.RateLimitOverride");

    let entry = message("Entry", vec![field("key", 1, Text), field("value", 2, Text)]);
    let rate_limit_override = message(
        "RateLimitOverride",
        vec![
            field("requests_per_unit", 1, Uint32),
            field("unit", 2, Enum(".envoy.type.v3.RateLimitUnit")),
            field("unit_multiplier", 3, Message(".google.protobuf.UInt32Value")),
        ],
    );
    let descriptor = DescriptorProto {
        nested_type: vec![entry, rate_limit_override],
        ..message(
            "RateLimitDescriptor",
            vec![
                repeated("entries", 1, ENTRY),
                field("limit", 2, OVERRIDE),
                field("hits_addend", 3, Message(".google.protobuf.UInt64Value")),
                field("is_negative_hits", 4, Bool),
            ],
        )
    };
    FileDescriptorProto {
        message_type: vec![descriptor],
        ..file(RATELIMIT, "envoy.extensions.common.ratelimit.v3", &[RATELIMIT_UNIT, WRAPPERS])
    }
}

/// The units of both `RateLimitUnit` and `RateLimitResponse.RateLimit.Unit`.
const UNITS: [(&str, i32); 8] = [
    ("UNKNOWN", 0),
    ("SECOND", 1),
    ("MINUTE", 2),
    ("HOUR", 3),
    ("DAY", 4),
    ("MONTH", 5),
    ("YEAR", 6),
    ("WEEK", 7),
];

fn ratelimit_unit() -> FileDescriptorProto {
    FileDescriptorProto {
        enum_type: vec![enumeration("RateLimitUnit", &UNITS)],
        ..file(RATELIMIT_UNIT, "envoy.type.v3", &[])
    }
}

fn base() -> FileDescriptorProto {
    let header_value = message(
        "HeaderValue",
        vec![field("key", 1, Text), field("value", 2, Text), field("raw_value", 3, Bytes)],
    );
    FileDescriptorProto { message_type: vec![header_value], ..file(BASE, "envoy.config.core.v3", &[]) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prost::Message as _;
    use prost_types::FieldDescriptorProto;
    use prost_types::field_descriptor_proto::Type;

    use super::*;

    /// The full names of the types a message brings, each with what it is.
    fn defined(scope: &str, message: &DescriptorProto, into: &mut BTreeMap<String, Type>) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            defined(&name, nested, into);
        }
        for nested in &message.enum_type {
            into.insert(format!("{name}.{}", nested.name()), Type::Enum);
        }
        into.insert(name, Type::Message);
    }

    fn defined_in(file: &FileDescriptorProto) -> BTreeMap<String, Type> {
        let scope = format!(".{}", file.package());
        let mut names = BTreeMap::new();
        for message in &file.message_type {
            defined(&scope, message, &mut names);
        }
        for nested in &file.enum_type {
            names.insert(format!("{scope}.{}", nested.name()), Type::Enum);
        }
        names
    }

    /// The types the fields of a message refer to.
    fn referred(message: &DescriptorProto, into: &mut BTreeMap<String, Type>) {
        for field in &message.field {
            if let Some(name) = &field.type_name {
                into.insert(name.clone(), field.r#type());
            }
        }
        for nested in &message.nested_type {
            referred(nested, into);
        }
    }

    fn referred_in(file: &FileDescriptorProto) -> BTreeMap<String, Type> {
        let mut names = BTreeMap::new();
        for message in &file.message_type {
            referred(message, &mut names);
        }
        for method in file.service.iter().flat_map(|service| &service.method) {
            names.insert(method.input_type().to_owned(), Type::Message);
            names.insert(method.output_type().to_owned(), Type::Message);
        }
        names
    }

    #[test]
    fn the_reflection_service_can_be_built_from_it() {
        let encoded = descriptor_set().encode_to_vec();
        let built = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&encoded)
            .build_v1();
        assert!(built.is_ok());
    }

    #[test]
    fn every_type_is_defined_in_a_file_that_is_imported_and_no_other_is() {
        let set = descriptor_set();
        let mut home = BTreeMap::new();
        for file in &set.file {
            for (name, kind) in defined_in(file) {
                assert!(home.insert(name, (kind, file.name())).is_none());
            }
        }
        for file in &set.file {
            let mut needed = BTreeSet::new();
            for (name, kind) in referred_in(file) {
                let (defined, within) = home
                    .get(&name)
                    .copied()
                    .unwrap_or_else(|| panic!("{} refers to {name}, which is nowhere", file.name()));
                assert_eq!(defined, kind, "{name}");
                needed.insert(within);
            }
            needed.remove(file.name());
            let imported: BTreeSet<_> = file.dependency.iter().map(String::as_str).collect();
            assert_eq!(imported, needed, "{}", file.name());
        }
    }

    #[test]
    fn a_file_comes_after_those_it_imports() {
        let mut seen = BTreeSet::new();
        for file in descriptor_set().file {
            for import in &file.dependency {
                assert!(seen.contains(import), "{} before {import}", file.name());
            }
            assert!(seen.insert(file.name().to_owned()));
        }
    }

    #[test]
    fn no_message_has_a_name_or_a_number_twice() {
        fn check(message: &DescriptorProto) {
            let names: BTreeSet<_> = message.field.iter().map(FieldDescriptorProto::name).collect();
            let numbers: BTreeSet<_> = message.field.iter().map(FieldDescriptorProto::number).collect();
            assert_eq!(names.len(), message.field.len(), "{}", message.name());
            assert_eq!(numbers.len(), message.field.len(), "{}", message.name());
            message.nested_type.iter().for_each(check);
        }
        for file in descriptor_set().file {
            file.message_type.iter().for_each(check);
        }
    }

    /// The numbers of the fields in an encoded message.
    fn numbers(message: &impl prost::Message) -> BTreeSet<u32> {
        use prost::encoding::{DecodeContext, decode_key, skip_field};
        let (encoded, mut numbers) = (message.encode_to_vec(), BTreeSet::new());
        let mut rest = &*encoded;
        while !rest.is_empty() {
            let (number, kind) = decode_key(&mut rest).unwrap();
            skip_field(kind, number, &mut rest, DecodeContext::default()).unwrap();
            numbers.insert(number);
        }
        numbers
    }

    #[test]
    fn fields_have_the_numbers_that_envoy_gives_them() {
        use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
        use envoy_types::pb::envoy::service::ratelimit::v3 as service;
        use service::rate_limit_response as response;

        // Every field is set, so that every number is on the wire.
        let entry = common::rate_limit_descriptor::Entry { key: "k".into(), value: "v".into() };
        let limit = common::rate_limit_descriptor::RateLimitOverride { requests_per_unit: 1, unit: 1 };
        let descriptor = common::RateLimitDescriptor {
            entries: vec![entry.clone()],
            limit: Some(limit),
            hits_addend: Some(envoy_types::pb::google::protobuf::UInt64Value { value: 1 }),
            is_negative_hits: true,
        };
        let request = service::RateLimitRequest {
            domain: "d".into(),
            descriptors: vec![descriptor.clone()],
            hits_addend: 1,
        };
        let current = response::RateLimit { name: "n".into(), requests_per_unit: 1, unit: 1 };
        let status = response::DescriptorStatus {
            code: 1,
            current_limit: Some(current.clone()),
            limit_remaining: 1,
            duration_until_reset: Some(envoy_types::pb::google::protobuf::Duration::default()),
            ..Default::default()
        };
        let answer = service::RateLimitResponse {
            overall_code: 1,
            statuses: vec![status.clone()],
            response_headers_to_add: vec![envoy_types::pb::envoy::config::core::v3::HeaderValue::default()],
            request_headers_to_add: vec![envoy_types::pb::envoy::config::core::v3::HeaderValue::default()],
            raw_body: vec![1],
            dynamic_metadata: Some(envoy_types::pb::google::protobuf::Struct::default()),
            ..Default::default()
        };
        let set = descriptor_set();
        let find = |path: &[&str]| {
            let mut within: Vec<&DescriptorProto> =
                set.file.iter().flat_map(|file| &file.message_type).collect();
            let mut found = None;
            for name in path {
                found = within.iter().copied().find(|message| message.name() == *name);
                within = found.unwrap_or_else(|| panic!("no `{name}`")).nested_type.iter().collect();
            }
            found.unwrap()
        };
        let told = |path: &[&str]| -> BTreeSet<u32> {
            find(path).field.iter().map(|field| u32::try_from(field.number()).unwrap()).collect()
        };
        assert_eq!(told(&["RateLimitDescriptor", "Entry"]), numbers(&entry));
        assert_eq!(told(&["RateLimitDescriptor"]), numbers(&descriptor));
        assert_eq!(told(&["RateLimitRequest"]), numbers(&request));
        // `unit_multiplier` is newer than these messages.
        let newer = |mut numbers: BTreeSet<u32>, unit_multiplier| {
            assert!(numbers.insert(unit_multiplier));
            numbers
        };
        assert_eq!(told(&["RateLimitDescriptor", "RateLimitOverride"]), newer(numbers(&limit), 3));
        assert_eq!(told(&["RateLimitResponse", "RateLimit"]), newer(numbers(&current), 4));
        assert_eq!(told(&["RateLimitResponse", "DescriptorStatus"]), numbers(&status));
        assert_eq!(told(&["RateLimitResponse"]), numbers(&answer));
    }
}
