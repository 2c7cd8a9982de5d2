//! A process that puts is killed at any moment: the next one finds all files of a put, or none.

use super::*;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the process that is to be killed finds the store; it is this program again.
const FOLDER: &str = "COORD_TEST_KILLED_PUTS";
const ROUNDS: u64 = 40;
const DEADLINE_MS: u64 = 10_000;
/// Files of one put; all have its number in them.
const FILES: usize = 12;

#[test]
fn whenever_a_process_is_killed_each_put_is_there_or_not() {
    if let Ok(folder) = std::env::var(FOLDER) {
        put_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("work");
    drop(Store::create(&path, b"notes").expect("a store"));
    let mut last = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "tests::killed::whenever_a_process_is_killed_each_put_is_there_or_not"])
            .env(FOLDER, &path)
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        // The first is left alone until it has put something, however slow the machine.
        let has_put = || std::fs::read(path.join("current")).is_ok_and(|number| number != b"0");
        (0..DEADLINE_MS).take_while(|_| !has_put()).for_each(|_| std::thread::sleep(Duration::from_millis(1)));
        // Any moment is as good as any other; these are spread over a few puts, and the start of the process.
        std::thread::sleep(Duration::from_millis(5 + round * 3 % 61));
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(Store::recover(folder.path()).expect("recovered"), ["work"]);
        let store = Store::open(&path, &BTreeSet::new()).expect("a store");
        store.verify().expect("what is there is what the list says");
        let put = number_of(&store);
        assert!(put >= last, "put {last} was there, and now it is {put}");
        last = put;
        assert_eq!(names(&path.join("put")), Vec::<String>::new());
        assert_eq!(names(&path.join("g")), [store.current().to_string()]);
    }
    assert!(last > 0, "no put was ever done");
}

/// Which put is there: the same number is in all of its files. The single file is put between two of them.
fn number_of(store: &Store) -> u64 {
    let read = |name: String| -> Option<u64> {
        let text = std::fs::read_to_string(store.files(store.current()).join(name)).ok()?;
        Some(text.trim_start().parse().expect("a number"))
    };
    let number = read("d/file-0".to_owned());
    (1..FILES).for_each(|file| assert_eq!(read(format!("d/file-{file}")), number, "all files of a put, or none"));
    let (number, single) = (number.unwrap_or(0), read("d/single".to_owned()).unwrap_or(0));
    assert!(single == number || single + 1 == number, "{single} was put after {number}");
    number
}

/// One put after the other, until the end.
fn put_for_ever(folder: &Path) -> ! {
    let store = Store::open(folder, &BTreeSet::new()).expect("a store");
    let none = BTreeSet::new();
    let budget = || Budget::new(Vec::new());
    let mut number = number_of(&store);
    loop {
        let text = format!("{number:>10}");
        let single = store.stage_file(b"d/single", 0o644, text.as_bytes(), budget()).expect("staged");
        store.commit(single, &none).expect("a put");
        number += 1;
        // Of another size each time, so that no list fits another put's files.
        let text = format!("{number:>width$}", width = 10 + usize::try_from(number % 7).expect("small"));
        let archive = (0..FILES).fold(tar(), |tar, file| tar.file(format!("d/file-{file}"), text.as_bytes()));
        let staged = store.stage_archive(b"", archive.end().as_slice(), budget()).expect("staged");
        store.commit(staged, &none).expect("a put");
    }
}
