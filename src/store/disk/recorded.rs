//! The table of records.

use std::ops::ControlFlow;

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

use crate::store::records::Record;

/// Kind, scope and id, and the value.
const RECORDS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("records");

/// Writes records as part of a commit.
pub(super) fn write(transaction: &WriteTransaction, changes: &[Record]) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    for change in changes {
        let key = (change.kind.name(), change.scope.as_str(), change.id.as_str());
        match &change.value {
            Some(value) => records.insert(key, value.as_slice())?,
            None => records.remove(key)?,
        };
    }
    Ok(())
}

/// Writes all records of one file to another one.
pub(super) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), redb::Error> {
    let (from, mut to) = (from.open_table(RECORDS)?, to.open_table(RECORDS)?);
    for entry in from.range::<(&str, &str, &str)>(..)? {
        let (key, value) = entry?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Shows records from `first` on, as kind, scope, id and value, until `visit` has seen enough.
pub(super) fn read(
    transaction: &ReadTransaction,
    first: (&str, &str, &str),
    mut visit: impl FnMut((&str, &str, &str), &[u8]) -> ControlFlow<()>,
) -> Result<(), redb::Error> {
    let records = match transaction.open_table(RECORDS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        opened => opened?,
    };
    for entry in records.range(first..)? {
        let (key, value) = entry?;
        if visit(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}
