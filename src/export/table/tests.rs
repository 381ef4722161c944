//! What is written comes back.

use std::fs::File;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::export::columns::{Kind as Holds, column, nullable, text};

fn columns() -> Vec<Column> {
    vec![
        column("messages", Holds::messages()),
        text("system"),
        nullable("p", Holds::Float),
        nullable("note", Holds::Text),
        column("labels", Holds::List(Box::new(Holds::Bool))),
        column(
            "history",
            Holds::List(Box::new(Holds::List(Box::new(Holds::Text)))),
        ),
        column("chosen", Holds::message()),
    ]
}

/// Room for a file.
const ROOM: usize = 1 << 20;

fn written(kind: Kind, rows: &[Value]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let mut table = begin(kind, &columns(), File::create(&path).unwrap(), ROOM).unwrap();
    rows.iter().for_each(|row| table.row(row).unwrap());
    table.close().unwrap();
    (folder, path)
}

fn back(kind: Kind, path: &Path) -> Vec<(u64, Result<Value, String>)> {
    read(kind, &columns(), path).unwrap().collect()
}

fn rows() -> impl Strategy<Value = Vec<Value>> {
    let words = || prop_oneof![Just(String::new()), ".{0,30}", "[\",\n\r]{0,6}"];
    let row = (
        prop::collection::vec(words(), 0..4),
        words(),
        prop::option::of(0.0..1.0_f64),
        prop::option::of("[a-z,\"]{1,9}"),
        prop::collection::vec(any::<bool>(), 0..4),
    );
    let row = row.prop_map(|(texts, system, p, note, labels)| {
        let turn = |text: &String| json!({"role": "user", "content": text});
        json!({
            "messages": texts.iter().map(turn).collect::<Vec<_>>(),
            "system": system,
            "p": p,
            "note": note,
            "labels": labels,
            "history": [texts, ["a", "b"]],
            "chosen": {"role": "assistant", "content": system},
        })
    });
    prop::collection::vec(row, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_kind_gives_back_what_it_was_given(rows in rows()) {
        for kind in [Kind::Jsonl, Kind::Csv, Kind::Parquet] {
            let (_folder, path) = written(kind, &rows);
            let found: Vec<_> = back(kind, &path).into_iter().map(|(_, row)| row.unwrap()).collect();
            prop_assert_eq!(&found, &rows, "{:?}", kind);
        }
    }
}

#[test]
fn many_rows_make_several_batches_and_come_back_in_order() {
    let rows: Vec<_> = (0..2_500)
        .map(|number| {
            json!({"messages": [{"role": "user", "content": number.to_string()}], "system": "", "p": null,
                "note": null, "labels": [], "history": [], "chosen": {"role": "assistant", "content": "x"}})
        })
        .collect();
    let (_folder, path) = written(Kind::Parquet, &rows);
    let found: Vec<_> = back(Kind::Parquet, &path)
        .into_iter()
        .map(|(_, row)| row.unwrap())
        .collect();
    assert_eq!(found, rows);
}

#[test]
fn a_group_of_rows_takes_no_more_than_its_room() {
    let word = |number: u64, place: u64| {
        blake3::hash(&[number, place].map(u64::to_le_bytes).concat()).to_hex()
    };
    let text = |number| {
        (0..100)
            .map(|place| word(number, place).to_string())
            .collect::<String>()
    };
    let rows: Vec<_> = (0..1_500)
        .map(|number| {
            json!({"messages": [{"role": "user", "content": text(number)}], "system": "", "p": null, "note": null,
                "labels": [], "history": [], "chosen": {"role": "assistant", "content": "x"}})
        })
        .collect();
    let (_folder, path) = written(Kind::Parquet, &rows);
    let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let groups = file.metadata().row_groups();
    assert!(groups.len() > 4, "{}", groups.len());
    for group in groups {
        assert!(group.compressed_size() <= ROOM as i64, "{group:?}");
    }
    let found = back(Kind::Parquet, &path)
        .into_iter()
        .map(|(_, row)| row.unwrap());
    assert!(found.eq(rows));
}

#[test]
fn rows_that_cannot_be_read_have_a_line_and_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{}\n{oops\n{}").unwrap();
    let found = back(Kind::Jsonl, &path);
    assert_eq!((found.len(), found[1].0), (3, 2));
    assert!(found[1].1.as_ref().unwrap_err().contains("no JSON"));
    std::fs::write(&path, "\u{feff}{}\r\n{}\r\n").unwrap();
    assert!(back(Kind::Jsonl, &path).iter().all(|(_, row)| row.is_ok()));

    std::fs::write(&path, "messages,system\n").unwrap();
    let error = read(Kind::Csv, &columns(), &path).err().unwrap();
    assert!(
        error.contains("the header is not messages,system,p"),
        "{error}"
    );

    let (_folder, path) = written(Kind::Csv, &[]);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("\"[]\",\"\",x,,\"[]\",\"[]\",\"{}\"\n\"[]\"\n");
    std::fs::write(&path, text).unwrap();
    let found = back(Kind::Csv, &path);
    let reasons: Vec<_> = found
        .iter()
        .map(|(line, row)| (*line, row.clone().unwrap_err()))
        .collect();
    assert_eq!(
        reasons,
        [
            (2, "`p` is no number".to_owned()),
            (3, "1 cells in place of 7".to_owned())
        ]
    );
    assert!(read(Kind::Parquet, &columns(), &path).is_err());
}
