//! What happens to the folder: what is there stays, is replaced or is refused.

use super::*;

#[test]
fn an_export_without_a_row_says_why_and_leaves_the_folder_as_it_was() {
    let place = Place::new(&[CLEAN, FAILED]);
    place.export(&options(Format::TrlSft)).unwrap();
    let before = fs::read(place.out().join(ROWS_FILE)).unwrap();
    let error = place.export(&options(Format::TrlDpo)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("none of 2 chains gives one (1 equal-texts, 1 failed)"),
        "{message}"
    );
    let error = place
        .export(&ExportOptions {
            filter: Filter::parse("stop:context-full").unwrap(),
            ..options(Format::TrlSft)
        })
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("no chain matches `stop:context-full`"),
        "{message}"
    );
    assert_eq!(fs::read(place.out().join(ROWS_FILE)).unwrap(), before);
    assert_eq!(place.names(), WRITTEN);
    let nothing = Place::new(&[FAILED]);
    nothing.export(&options(Format::TrlSft)).unwrap_err();
    // Nor is the folder that it would be in.
    let made = nothing.out().parent().unwrap().exists();
    assert!(!made, "a folder was made for nothing");
}

#[test]
fn files_of_others_are_neither_joined_nor_deleted() {
    let place = Place::new(&[CLEAN]);
    fs::create_dir_all(place.out()).unwrap();
    fs::write(place.out().join("notes.txt"), "mine").unwrap();
    let error = place.export(&options(Format::TrlSft)).unwrap_err();
    assert!(
        error.to_string().contains("did not write: notes.txt"),
        "{error}"
    );
    assert_eq!(place.names(), ["notes.txt"]);
    let force = ExportOptions {
        force: true,
        ..options(Format::TrlSft)
    };
    place.export(&force).unwrap();
    assert_eq!(
        fs::read(place.out().join("notes.txt")).unwrap(),
        b"mine".as_slice()
    );
}

#[test]
fn an_earlier_export_is_replaced_unless_it_was_changed() {
    let place = Place::new(&[CLEAN, REVISED]);
    place.export(&options(Format::TrlSft)).unwrap();
    place.export(&options(Format::TrlDpo)).unwrap();
    assert_eq!(place.lines(ROWS_FILE).len(), 1);
    fs::write(place.out().join(ROWS_FILE), "edited by hand\n").unwrap();
    let error = place.export(&options(Format::TrlSft)).unwrap_err();
    assert!(error.to_string().contains(ROWS_FILE), "{error}");
    fs::remove_file(place.out().join("manifest.json")).unwrap();
    let error = place.export(&options(Format::TrlSft)).unwrap_err();
    assert!(error.to_string().contains(ROWS_FILE), "{error}");
}

#[test]
fn what_a_killed_export_left_is_recognised() {
    let place = Place::new(&[CLEAN, REVISED]);
    place.export(&options(Format::TrlDpo)).unwrap();
    let old = fs::read(place.out().join("manifest.json")).unwrap();
    place.export(&options(Format::TrlSft)).unwrap();
    // As if the process had ended between naming the rows and naming the manifest.
    fs::rename(
        place.out().join("manifest.json"),
        place.out().join(".manifest.json.77.amend-unfinished"),
    )
    .unwrap();
    fs::write(place.out().join("manifest.json"), old).unwrap();
    fs::write(place.out().join(".part-0.77.amend-unfinished"), "{\"mess").unwrap();
    place.export(&options(Format::TrlSft)).unwrap();
    assert_eq!(place.names(), WRITTEN);
}

#[test]
fn a_file_is_no_folder() {
    let place = Place::new(&[CLEAN]);
    fs::create_dir_all(place.out().parent().unwrap()).unwrap();
    fs::write(place.out(), "x").unwrap();
    let error = place.export(&options(Format::TrlSft)).unwrap_err();
    assert!(matches!(error, ExportError::NotAFolder(_)), "{error}");
}
