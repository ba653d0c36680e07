//! Records in the file, and on their way to it.

use super::*;

fn tier_of(id: &str, tier: Option<&str>) -> Record {
    let value = tier.map(|tier| tier.as_bytes().to_vec());
    Record { kind: RecordKind::ReachedTier, scope: "d".to_owned(), id: id.to_owned(), value }
}

/// The records of domain `d`.
fn known(store: &DiskStore) -> Vec<(String, String)> {
    let mut known = Vec::new();
    let records = store.records().unwrap();
    records
        .each(RecordKind::ReachedTier, "d", &mut |id, value| {
            known.push((id.to_owned(), String::from_utf8(value.to_owned()).unwrap()));
        })
        .unwrap();
    known
}

#[test]
fn records_are_on_the_disk_when_they_are_said_to_be() {
    let mut random = 1_u64;
    let disk = Disk::default();
    let store = open(&disk);
    let records = store.records().unwrap();
    assert_eq!(known(&store), [], "a file without the table has none");
    for step in 0..20_u64 {
        hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap();
        let other = Record { scope: "e".to_owned(), ..tier_of("a", Some("9")) };
        records.apply(vec![tier_of("a", Some(&step.to_string())), tier_of("b", Some("0")), other]).unwrap();
        if step % 2 == 0 {
            records.apply(vec![tier_of("b", None)]).unwrap();
        }
        // Any of what was not synced is there, or is not.
        let after = open(&disk.after_power_loss(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 63 == 0
        }));
        let mut expected = vec![("a".to_owned(), step.to_string())];
        expected.extend((step % 2 == 1).then(|| ("b".to_owned(), "0".to_owned())));
        assert_eq!(known(&after), expected);
    }
    store.close().unwrap();
    let error = records.apply(vec![tier_of("a", None)]).unwrap_err().to_string();
    assert!(error.ends_with("it is closed"), "{error}");
    let error = records.each(RecordKind::ReachedTier, "d", &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.ends_with("it is closed"), "{error}");
    assert_eq!(known(&open(&disk)), [("a".to_owned(), "19".to_owned()), ("b".to_owned(), "0".to_owned())]);
}

#[test]
fn records_of_a_disk_that_is_full_are_refused_and_told_so() {
    let disk = Disk::default();
    let store = open(&disk);
    let records = store.records().unwrap();
    records.apply(vec![tier_of("a", Some("1"))]).unwrap();
    disk.fill();
    let error = records.apply(vec![tier_of("a", Some("2"))]).unwrap_err();
    let told = "whether the counter store `backend` made the change is not known: ";
    assert!(error.to_string().starts_with(told), "{error}");
    // Its commit failed, and the disk has it or not.
    for (left, tier) in [(false, "1"), (true, "2")] {
        assert_eq!(known(&open(&disk.after_power_loss(|| left))), [("a".to_owned(), tier.to_owned())]);
    }
    // What comes later is in no commit.
    let error = records.apply(vec![tier_of("a", Some("3"))]).unwrap_err().to_string();
    assert!(error.contains("has failed: "), "{error}");
}

#[test]
fn whoever_hears_of_a_failed_commit_reads_what_the_file_says_once_it_is_open_again() {
    for (left, tier) in [(false, "1"), (true, "2")] {
        let disk = Disk::default();
        let of_again = disk.clone();
        let store = open_again(&disk, move || Ok(of_again.after_power_loss(|| left)));
        let records = store.records().unwrap();
        records.apply(vec![tier_of("a", Some("1"))]).unwrap();
        disk.fill();
        let error = records.apply(vec![tier_of("a", Some("2"))]).unwrap_err();
        assert!(matches!(error, StoreError::InDoubt { .. }), "{error}");
        // Until a flush succeeds nothing is certain; then what is read is.
        while records.flush().is_err() {
            thread::yield_now();
        }
        assert_eq!(known(&store), [("a".to_owned(), tier.to_owned())]);
    }
}

#[test]
fn records_of_a_newer_version_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
    store.records().unwrap().apply(vec![tier_of("a", Some("1"))]).unwrap();
    store.close().unwrap();
    let database = redb::Database::open(directory.path().join("counters.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(file::ABOUT)
        .unwrap()
        .insert(file::RECORDS_VERSION, 2_u32.to_le_bytes().as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap_err().to_string();
    let expected = "has records of version 2, and this version of Spillway reads version 1. Start the version that wrote them";
    assert!(error.ends_with(expected), "{error}");
}

/// What is written in commits, as long as the disk stands still.
fn with_little_patience(store: &DiskStore) -> DiskRecords {
    DiskRecords::of(Arc::clone(&store.0)).waiting(Duration::from_millis(50))
}

#[test]
fn a_disk_that_stands_still_is_waited_for_a_while_and_what_waited_is_taken_back_or_in_doubt() {
    let disk = Disk::default();
    let store = open(&disk);
    let records = with_little_patience(&store);
    store.records().unwrap().apply(vec![tier_of("a", Some("1"))]).unwrap();
    let still = disk.still();
    let still = still.lock();
    // The first one is in the commit that does not end.
    let error = records.apply(vec![tier_of("a", Some("2"))]).unwrap_err();
    assert!(matches!(error, StoreError::InDoubt { .. }), "{error}");
    for _ in 0..3 {
        let error = records.apply(vec![tier_of("a", Some("3"))]).unwrap_err();
        let told = "the counter store refused: the disk of `backend` has stood still for 50ms";
        assert_eq!(error.to_string(), told);
    }
    assert_eq!(known(&store), [("a".to_owned(), "1".to_owned())], "they are read meanwhile");
    drop(still);
    store.close().unwrap();
    assert_eq!(known(&open(&disk)), [("a".to_owned(), "2".to_owned())]);
}

#[test]
fn what_was_given_back_is_on_the_disk_once_it_was_waited_for() {
    let disk = Disk::default();
    let store = open(&disk);
    let exact = monthly(1, 10, Durability::Exact);
    for used in 1..=4 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    let refund = Charge { share: Share { hits: Hits::refund(4), ..exact.share }, ..exact };
    let still = disk.still();
    let still = still.lock();
    hit(&store, refund).unwrap();
    assert!(with_little_patience(&store).flush().is_err());
    assert_eq!(
        used(&open(&disk.after_power_loss(|| false)), exact),
        4,
        "nobody waits for it but who flushes"
    );
    drop(still);
    store.records().unwrap().flush().unwrap();
    assert_eq!(used(&open(&disk.after_power_loss(|| false)), exact), 0);
}
