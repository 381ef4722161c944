use super::*;
use crate::view::assets;

#[test]
fn the_pages_are_put_together_without_anything_that_would_end_their_element() {
    let text = |name: &str| assets::find(name).map(|asset| asset.text);
    let script = bundle::bundle("main-report.js", &text).unwrap();
    for module in ["app.js", "filter.js", "source-report.js", "text.js"] {
        let name = format!("const module_{}", module.replace(['.', '-'], "_"));
        assert!(script.contains(&name), "{module}");
    }
    // What asks a server stays out.
    assert!(!script.contains("fetch("));
    assert!(!script.contains("EventSource"));
    for sign in ["</script", "<!--", "<script"] {
        assert!(!script.contains(sign), "{sign}");
    }
    let left = script
        .lines()
        .find(|line| line.starts_with("import ") || line.starts_with("export "));
    assert_eq!(left, None);
    let styles = assets::assets()
        .iter()
        .filter(|asset| asset.name.ends_with(".css"));
    for style in styles {
        assert!(!style.text.contains("</style"), "{}", style.name);
        assert!(
            !style.text.contains("url("),
            "{} fetches something",
            style.name
        );
        assert!(!style.text.contains("@import"), "{}", style.name);
    }
}
