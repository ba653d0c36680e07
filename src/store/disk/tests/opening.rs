//! What is opened, and what is not.

use super::*;

#[test]
fn a_damaged_file_is_refused_or_read_as_it_was() {
    let disk = Disk::default();
    let store = open(&disk);
    for number in 0..50 {
        hit(&store, monthly(number, 5_000, Durability::Exact)).unwrap();
    }
    store.close().unwrap();
    for at in (0..disk.size()).step_by(disk.size() / 300) {
        let broken = disk.after_power_loss(|| false);
        broken.flip(at);
        let Ok(file) = File::with_backend(broken) else { continue };
        let store =
            DiskStore::of(file, Reopen::at_once(|| Err(full())), MemoryStore::default(), 1_000, usize::MAX)
                .unwrap();
        for number in 0..50 {
            let look = monthly(number, 5_000, Durability::Exact);
            let look = Charge { share: Share { hits: Hits::Look, ..look.share }, ..look };
            if let Ok(outcome) = hit(&store, look) {
                assert_eq!(outcome.used, 1, "byte {at}: counter {number} was lost, and nobody was told");
            }
        }
    }
}

#[test]
fn what_is_no_store_is_refused_with_a_sentence_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counters.redb");
    let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000);
    let refused = || open().unwrap_err().to_string().replace(&directory.path().display().to_string(), "DIR");

    for text in ["", "no database", &"x".repeat(200_000)] {
        std::fs::write(&path, text).unwrap();
        let said = refused();
        assert!(
            said.starts_with("the counter store `DIR/counters.redb` is damaged, or is no counter store: "),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::remove_file(&path).unwrap();

    drop(redb::Database::create(&path).unwrap());
    assert!(
        refused().starts_with("`DIR/counters.redb` is a database, but no counter store. "),
        "{}",
        refused()
    );
    std::fs::remove_file(&path).unwrap();

    let store = open().unwrap();
    assert!(refused().starts_with("the counter store `DIR/counters.redb` is open in another process. "));
    store.close().unwrap();

    let newer = redb::Database::open(&path).unwrap();
    let transaction = newer.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, &[u8]>::new("spillway");
    transaction.open_table(about).unwrap().insert("format", [9, 0, 0, 0].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(newer);
    assert!(
        refused().contains("has format 9, and this version of Spillway reads format 1. "),
        "{}",
        refused()
    );
}

#[test]
fn of_several_that_start_in_an_empty_directory_one_has_the_store() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000);
        let opened: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (have, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert!(others.iter().all(|error| matches!(error, Err(OpenError::InUse { .. }))), "{others:?}");
        assert_eq!(have.len(), 1);
        let store = have.into_iter().next().unwrap().unwrap();
        hit(&store, monthly(1, 50_000, Durability::Exact)).unwrap();
        store.close().unwrap();
        let again = open().unwrap();
        assert_eq!(
            (used(&again, monthly(1, 50_000, Durability::Exact)), again.secret()),
            (1, store.secret())
        );
        let mut files: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort_unstable();
        assert_eq!(files, ["counters.last-commit", "counters.redb"]);
    }
}

#[test]
fn a_file_that_has_lost_a_commit_which_the_disk_had_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (path, beside) =
        (directory.path().join("counters.redb"), directory.path().join("counters.last-commit"));
    let lost = || File::open_existing(directory.path()).unwrap().lost_commits();
    let exact = monthly(1, 100, Durability::Exact);
    let count = |hits: u64| {
        let store = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
        for _ in 0..hits {
            hit(&store, exact).unwrap();
        }
        store.close().unwrap();
    };
    count(3);
    assert_eq!(lost(), 0);
    let (earlier, noted_earlier) = (std::fs::read(&path).unwrap(), std::fs::read(&beside).unwrap());
    count(2);
    assert_eq!(lost(), 0);
    // As redb reads it when the last commits do not check: without them.
    let noted = std::fs::read(&beside).unwrap();
    std::fs::write(&path, &earlier).unwrap();
    assert_eq!(lost(), 2);
    count(1);
    assert_eq!(lost(), 0, "it is told once the next commit is made, and not for ever");
    // After a loss of power the note may be older than the file, or torn, or not there: that says nothing.
    for nothing in [&noted_earlier[..], &noted[..10], b""] {
        std::fs::write(&beside, nothing).unwrap();
        assert_eq!(lost(), 0);
    }
    std::fs::remove_file(&beside).unwrap();
    assert_eq!(lost(), 0);
    // Another file is another store.
    std::fs::write(&beside, &noted).unwrap();
    std::fs::remove_file(&path).unwrap();
    count(1);
    assert_eq!(lost(), 0);
}

#[test]
fn a_copy_that_is_not_finished_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let copy = Offline::create(directory.path(), [1; 16]).unwrap();
    copy.put(&[(CellKey { high: 1, low: 1 }, Cell::Empty)]).unwrap();
    assert!(!directory.path().join("counters.redb").exists());
    drop(copy);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let error = Offline::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn what_processes_that_were_killed_have_left_is_removed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
    open().close().unwrap();
    let [left, other, backup] =
        ["counters.new-0123456789abcdef", "counters.new-backup", "counters.redb.backup"]
            .map(|name| directory.path().join(name));
    for path in [&left, &other, &backup] {
        std::fs::write(path, "x").unwrap();
    }
    open().close().unwrap();
    assert_eq!([left, other, backup].map(|path| path.exists()), [false, true, true]);
}

#[test]
fn a_file_that_a_link_leads_to_is_replaced_from_beside_it() {
    let [directory, elsewhere] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (link, file) = (directory.path().join("counters.redb"), elsewhere.path().join("counters.redb"));
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let new = unpublished::Unpublished::beside(&link);
    let target = file.canonicalize().unwrap();
    assert_eq!(new.unnamed().parent(), target.parent());
    std::fs::write(new.unnamed(), "new").unwrap();
    new.replace().unwrap();
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn a_fifo_in_the_place_of_the_note_of_the_last_commit_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("counters.last-commit");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let path = directory.path().to_owned();
    let (done, opened) = std::sync::mpsc::channel();
    // On a thread of its own, which it would hold for good.
    thread::spawn(move || {
        let store = DiskStore::open(&path, MemoryStore::default(), 1_000).unwrap();
        let used = hit(&store, monthly(1, 10, Durability::Exact)).unwrap().used;
        done.send((used, store.close().is_ok()))
    });
    assert_eq!(opened.recv_timeout(Duration::from_secs(10)), Ok((1, true)));
}
