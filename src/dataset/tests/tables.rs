//! Parquet files, good and bad.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{
    ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;

use super::*;

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

/// A Parquet file of the given schema with one row group for each writer.
fn table(schema: &str, groups: &[&dyn Fn(&mut Group)]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for write in groups {
        let mut group = writer.next_row_group().unwrap();
        write(&mut group);
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Writes the next column of texts; definition and repetition levels as Parquet has them.
fn texts(group: &mut Group, values: &[&[u8]], defined: Option<&[i16]>, repeated: Option<&[i16]>) {
    let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(v.to_vec())).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&values, defined, repeated)
        .unwrap();
    column.close().unwrap();
}

const PROMPTS: &str = "message m {
    optional binary prompt (UTF8);
    required int64 id;
    optional double score;
}";

fn prompts() -> Vec<u8> {
    let first = |group: &mut Group| {
        texts(group, &[b"One?", b"Three?"], Some(&[1, 0, 1]), None);
        let mut ids = group.next_column().unwrap().unwrap();
        ids.typed::<Int64Type>()
            .write_batch(&[1, 2, 3], None, None)
            .unwrap();
        ids.close().unwrap();
        let mut scores = group.next_column().unwrap().unwrap();
        scores
            .typed::<DoubleType>()
            .write_batch(&[0.5, f64::NAN], Some(&[1, 0, 1]), None)
            .unwrap();
        scores.close().unwrap();
    };
    let second = |group: &mut Group| {
        texts(group, &[b"bad \xff", b"Five?"], Some(&[1, 1]), None);
        let mut ids = group.next_column().unwrap().unwrap();
        ids.typed::<Int64Type>()
            .write_batch(&[4, 5], None, None)
            .unwrap();
        ids.close().unwrap();
        let mut scores = group.next_column().unwrap().unwrap();
        scores
            .typed::<DoubleType>()
            .write_batch(&[], Some(&[0, 0]), None)
            .unwrap();
        scores.close().unwrap();
    };
    table(PROMPTS, &[&first, &second])
}

#[test]
fn parquet_rows_are_read_over_row_groups_with_nulls_and_bad_text_skipped() {
    let outcome = read("p.parquet", prompts());
    assert_eq!(outcome.texts(), ["One?", "Three?", "Five?"]);
    let ids: Vec<_> = outcome.prompts.iter().map(|p| p.id.0.as_str()).collect();
    assert_eq!(ids, ["1", "3", "5"]);
    assert_eq!(outcome.prompts[0].metadata["score"], 0.5);
    assert_eq!(outcome.prompts[1].metadata["score"], Value::Null);
    let places: Vec<_> = outcome.skipped.iter().map(|s| s.line).collect();
    assert_eq!(places, [2, 4]);
    assert!(outcome.skipped[0].reason.contains("`prompt` is null"));
    assert!(outcome.skipped[1].reason.contains("bad UTF-8"));
    assert!(outcome.error.is_none());
}

#[test]
fn parquet_conversations_are_lists_of_structs() {
    let schema = "message m {
        optional group messages (LIST) { repeated group list { optional group element {
            optional binary content (UTF8);
            optional binary role (UTF8);
        } } }
    }";
    let write = |group: &mut Group| {
        // Row 1 has two turns and ends with the assistant, row 2 has one, row 3 is an empty list.
        let repeated: &[i16] = &[0, 1, 0, 0];
        let defined: &[i16] = &[4, 4, 4, 1];
        texts(
            group,
            &[b"Hi", b"Hello", b"Why?"],
            Some(defined),
            Some(repeated),
        );
        texts(
            group,
            &[b"user", b"assistant", b"user"],
            Some(defined),
            Some(repeated),
        );
    };
    let outcome = read("p.parquet", table(schema, &[&write]));
    assert_eq!(outcome.texts(), ["Why?"]);
    assert_eq!(outcome.prompts[0].messages, [Message::user("Why?")]);
    assert!(outcome.skipped[0].reason.contains("end with the assistant"));
    assert_eq!(outcome.skipped[1].line, 3);
    assert!(outcome.skipped[1].reason.contains("empty"));
}

#[test]
fn parquet_conversations_may_be_json_text() {
    let write = |group: &mut Group| {
        let text = br#"[{"role": "user", "content": "Hi"}]"#;
        texts(group, &[text, b"Hi"], None, None);
    };
    let schema = "message m { required binary messages (UTF8); }";
    let outcome = read("p.parquet", table(schema, &[&write]));
    assert_eq!(outcome.texts(), ["Hi"]);
    assert_eq!(outcome.only_skip().0, 2);
}

#[test]
fn parquet_prompts_of_other_types_are_skipped() {
    let write = |group: &mut Group| {
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&[7], None, None)
            .unwrap();
        column.close().unwrap();
    };
    let outcome = read(
        "p.parquet",
        table("message m { required int64 prompt; }", &[&write]),
    );
    assert!(outcome.only_skip().1.contains("is a number"));
}

#[test]
fn parquet_bytes_that_are_no_text_are_carried_along() {
    let write = |group: &mut Group| {
        texts(group, &[b"One?", b"Two?"], None, None);
        texts(group, &[b"\xff\x00", b"plain"], Some(&[1, 1]), None);
        texts(group, &[b"\x89PNG"], Some(&[2, 0]), None);
        texts(group, &[b"a.png"], Some(&[2, 0]), None);
        let halves = [vec![0_u8, 0x3e], vec![0, 0x41]].map(FixedLenByteArray::from);
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<FixedLenByteArrayType>()
            .write_batch(&halves, None, None)
            .unwrap();
        column.close().unwrap();
    };
    let schema = "message m {
        required binary prompt (UTF8);
        optional binary hash;
        optional group image { optional binary bytes; optional binary path (UTF8); }
        required fixed_len_byte_array (2) half (FLOAT16);
    }";
    let outcome = read("p.parquet", table(schema, &[&write]));
    assert_eq!(outcome.texts(), ["One?", "Two?"], "{:?}", outcome.skipped);
    let metadata = |row: usize| Value::Object(outcome.prompts[row].metadata.clone());
    assert_eq!(
        metadata(0),
        json!({
            "hash": {"base64": "/wA="},
            "image": {"bytes": {"base64": "iVBORw=="}, "path": "a.png"},
            "half": 1.5,
        })
    );
    assert_eq!(
        metadata(1),
        json!({"hash": "plain", "image": null, "half": 2.5})
    );
    // What is to be a text must be one.
    for schema in [
        "message m { required binary prompt; }",
        "message m { required binary prompt (UTF8); }",
    ] {
        let write = |group: &mut Group| texts(group, &[b"One?", b"bad \xff"], None, None);
        let outcome = read("p.parquet", table(schema, &[&write]));
        assert_eq!(outcome.texts(), ["One?"]);
        assert!(
            outcome
                .only_skip()
                .1
                .contains("bad UTF-8 in the column `prompt`")
        );
    }
}

#[test]
fn a_parquet_file_without_the_column_names_those_it_has() {
    let write = |group: &mut Group| texts(group, &[b"x"], None, None);
    let content = table("message m { required binary question (UTF8); }", &[&write]);
    let message = open_error("p.parquet", content);
    assert!(message.contains("found `question`"), "{message}");
}

#[test]
fn what_is_not_parquet_is_refused() {
    for content in [
        b"prompt\nx\n".to_vec(),
        b"PAR1".to_vec(),
        b"PAR1\xff\xff\xff\x7fPAR1".to_vec(),
        prompts()[..prompts().len() / 2].to_vec(),
    ] {
        let message = open_error("p.parquet", content);
        assert!(message.contains("not a Parquet file"), "{message}");
    }
}

#[test]
fn a_damaged_parquet_file_ends_in_an_error_or_in_rows_and_never_in_a_panic() {
    let whole = prompts();
    let mut errors = 0;
    for place in 0..whole.len() {
        for flip in [0xff, 0x01, 0x80] {
            let mut content = whole.clone();
            content[place] ^= flip;
            let file = fixture("p.parquet", content);
            match read_path(&file.path, &ReadOptions::default()) {
                Ok(outcome) => {
                    // No damage makes more rows than there are.
                    assert!(outcome.prompts.len() + outcome.skipped.len() <= 5);
                    errors += usize::from(outcome.error.is_some());
                }
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 100, "{errors} damages were noticed");
}

#[test]
fn an_empty_table_has_no_usable_row() {
    let outcome = read(
        "p.parquet",
        table("message m { required binary prompt (UTF8); }", &[]),
    );
    assert!(outcome.usable.is_err());
}
