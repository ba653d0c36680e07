//! Words to write down a `.proto` file with, as a descriptor.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// The type of a field. Messages and enumerations go by their full name, with a leading dot.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Bytes,
    Double,
    Float,
    Int32,
    Int64,
    Text,
    Uint32,
    Uint64,
    Enum(&'static str),
    Message(&'static str),
}

impl Kind {
    fn type_and_name(self) -> (Type, Option<String>) {
        match self {
            Self::Bool => (Type::Bool, None),
            Self::Bytes => (Type::Bytes, None),
            Self::Double => (Type::Double, None),
            Self::Float => (Type::Float, None),
            Self::Int32 => (Type::Int32, None),
            Self::Int64 => (Type::Int64, None),
            Self::Text => (Type::String, None),
            Self::Uint32 => (Type::Uint32, None),
            Self::Uint64 => (Type::Uint64, None),
            Self::Enum(name) => (Type::Enum, Some(name.to_owned())),
            Self::Message(name) => (Type::Message, Some(name.to_owned())),
        }
    }
}

pub(super) fn file(name: &str, package: &str, imports: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        dependency: imports.iter().map(|&import| import.to_owned()).collect(),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

pub(super) fn message(name: &str, fields: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field: fields, ..DescriptorProto::default() }
}

pub(super) fn field(name: &str, number: i32, kind: Kind) -> FieldDescriptorProto {
    let (kind, type_name) = kind.type_and_name();
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name,
        ..FieldDescriptorProto::default()
    }
}

pub(super) fn repeated(name: &str, number: i32, kind: Kind) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field(name, number, kind) }
}

pub(super) fn enumeration(name: &str, values: &[(&str, i32)]) -> EnumDescriptorProto {
    EnumDescriptorProto {
        name: Some(name.to_owned()),
        value: values
            .iter()
            .map(|&(name, number)| EnumValueDescriptorProto {
                name: Some(name.to_owned()),
                number: Some(number),
                options: None,
            })
            .collect(),
        ..EnumDescriptorProto::default()
    }
}
