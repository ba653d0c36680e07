//! The protobuf files of Google's which Envoy's API imports; complete, but for their options.

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions, OneofDescriptorProto,
};

use super::builder::Kind::{
    self, Bool, Bytes, Double, Enum, Float, Int32, Int64, Message, Text, Uint32, Uint64,
};
use super::builder::{enumeration, field, file, message, repeated};

pub(super) const DURATION: &str = "google/protobuf/duration.proto";
pub(super) const STRUCT: &str = "google/protobuf/struct.proto";
pub(super) const WRAPPERS: &str = "google/protobuf/wrappers.proto";

pub(super) fn duration() -> FileDescriptorProto {
    let duration = message("Duration", vec![field("seconds", 1, Int64), field("nanos", 2, Int32)]);
    FileDescriptorProto { message_type: vec![duration], ..file(DURATION, "google.protobuf", &[]) }
}

pub(super) fn structs() -> FileDescriptorProto {
    const VALUE: Kind = Message(".google.protobuf.Value");

    // `map<string, Value> fields` is written as the list of entries it is on the wire.
    let entry = DescriptorProto {
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..message("FieldsEntry", vec![field("key", 1, Text), field("value", 2, VALUE)])
    };
    let map = DescriptorProto {
        nested_type: vec![entry],
        ..message("Struct", vec![repeated("fields", 1, Message(".google.protobuf.Struct.FieldsEntry"))])
    };
    let value = DescriptorProto {
        oneof_decl: vec![OneofDescriptorProto { name: Some("kind".to_owned()), options: None }],
        ..message(
            "Value",
            [
                field("null_value", 1, Enum(".google.protobuf.NullValue")),
                field("number_value", 2, Double),
                field("string_value", 3, Text),
                field("bool_value", 4, Bool),
                field("struct_value", 5, Message(".google.protobuf.Struct")),
                field("list_value", 6, Message(".google.protobuf.ListValue")),
            ]
            .map(|member| FieldDescriptorProto { oneof_index: Some(0), ..member })
            .into(),
        )
    };
    let list = message("ListValue", vec![repeated("values", 1, VALUE)]);
    FileDescriptorProto {
        message_type: vec![map, value, list],
        enum_type: vec![enumeration("NullValue", &[("NULL_VALUE", 0)])],
        ..file(STRUCT, "google.protobuf", &[])
    }
}

pub(super) fn wrappers() -> FileDescriptorProto {
    let wrapper = |(name, kind)| message(name, vec![field("value", 1, kind)]);
    FileDescriptorProto {
        message_type: [
            ("DoubleValue", Double),
            ("FloatValue", Float),
            ("Int64Value", Int64),
            ("UInt64Value", Uint64),
            ("Int32Value", Int32),
            ("UInt32Value", Uint32),
            ("BoolValue", Bool),
            ("StringValue", Text),
            ("BytesValue", Bytes),
        ]
        .map(wrapper)
        .into(),
        ..file(WRAPPERS, "google.protobuf", &[])
    }
}
