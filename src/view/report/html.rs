//! A report as one page that needs no server.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::bundle::bundle;
use super::packed::Packed;
use super::{MARKS, ReportError, Scope};
use crate::chain::ChainId;
use crate::store::{
    CallDetail, ChainFacts, ChainRow, Filter, ListRow, PageRequest, RunDetail, RunRow, Sort, Store,
};
use crate::view::assets;
use crate::view::chain::file_name;
use crate::view::{ChainPage, Context, labels};

/// The beginning of the script.
const ENTRY: &str = "main-report.js";
/// Chains that are asked for at once.
const ROWS: u32 = 500;

/// What a report in HTML holds besides chains and constitutions.
pub struct HtmlOptions<'a> {
    /// The messages that the model saw, and what it wrote word by word.
    pub messages: bool,
    /// The command that makes a chain again; empty where there is none. It should name no folder of this machine.
    pub command: &'a dyn Fn(&Store, &RunDetail, &ChainRow) -> String,
}

/// A chain, as `source-report.js` reads it.
#[derive(Serialize)]
struct Line {
    row: ListRow,
    page: ChainPage,
    labels: Value,
    facts: ChainFacts,
    /// By step; only where there are calls, and where they are wanted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    calls: BTreeMap<u32, Vec<CallDetail>>,
}

/// Writes the page, and gives back how many chains it holds.
pub fn html(
    store: &Store,
    scope: &Scope,
    options: &HtmlOptions,
    out: &mut dyn Write,
) -> Result<u64, ReportError> {
    let script = script()?;
    let style = style();
    write_head(out, scope.title, &script, &style)?;
    let (runs, counts) = runs(store, scope)?;
    let mut packed = Packed::new(&mut *out);
    packed.line(&head(store, scope, &runs, &counts)?)?;
    let mut chains = 0;
    loop {
        let page = store.page(&PageRequest {
            filter: scope.filter,
            run: scope.run,
            sort: Sort::default(),
            offset: chains,
            limit: ROWS,
        })?;
        if page.rows.is_empty() {
            break;
        }
        for row in page.rows {
            packed.line(&line(store, row, &runs, options)?)?;
            chains += 1;
        }
    }
    packed.finish()?;
    writeln!(out, "<script>{script}</script>\n</body>\n</html>")?;
    Ok(chains)
}

type Runs = BTreeMap<String, RunDetail>;
/// Chains that match, by run.
type Counts = BTreeMap<String, u64>;

/// The runs of which chains match.
fn runs(store: &Store, scope: &Scope) -> Result<(Runs, Counts), ReportError> {
    let stats = store.run_stats(scope.filter, scope.run)?;
    let (mut runs, mut counts) = (Runs::new(), Counts::new());
    for run in stats.into_iter().filter(|run| run.chains > 0) {
        let detail = store.run(&run.run_id)?;
        counts.insert(run.run_id.clone(), run.chains);
        runs.insert(run.run_id, detail);
    }
    Ok((runs, counts))
}

/// What holds for all pages.
fn head(store: &Store, scope: &Scope, runs: &Runs, counts: &Counts) -> Result<Value, ReportError> {
    let all = store.runs()?.into_iter();
    let shown: Vec<RunRow> = all
        .filter(|run| runs.contains_key(&run.run_id))
        .map(|run| RunRow {
            // Where it is on this machine is nothing to its readers.
            prompts_path: file_name(&run.prompts_path).to_owned(),
            ..run
        })
        .collect();
    let mut titles = Map::new();
    let mut constitutions = Map::new();
    for row in &shown {
        let Some(run) = runs.get(&row.run_id) else {
            continue;
        };
        let principles = run.constitution.principles.iter();
        titles.extend(principles.map(|p| (p.id.clone(), Value::from(p.title.clone()))));
        // Figures of the chains that the report holds.
        let coverage = store.coverage(scope.filter, Some(&row.run_id))?;
        constitutions.insert(
            row.run_id.clone(),
            json!({
                "run": row,
                // Of the report, not of the whole run.
                "chains": counts.get(&row.run_id),
                "constitution": run.constitution,
                "figures": coverage.principles,
            }),
        );
    }
    Ok(json!({
        "info": {
            "version": env!("CARGO_PKG_VERSION"),
            "db": scope.title,
            "report": true,
            "filter": scope.filter.source(),
            "read_only": true,
            "who": "",
            "live": false,
            "runs": shown,
            "keys": Filter::keys(),
            "principles": titles,
        },
        "constitutions": constitutions,
    }))
}

fn line(
    store: &Store,
    row: ListRow,
    runs: &Runs,
    options: &HtmlOptions,
) -> Result<Line, ReportError> {
    let id = ChainId(row.chain_id.clone());
    let chain = store.chain(&id)?;
    let later;
    let run = match runs.get(&row.run_id) {
        Some(run) => run,
        // A run that began after the others were looked up.
        None => {
            later = store.run(&row.run_id)?;
            &later
        }
    };
    let mut calls = BTreeMap::new();
    if options.messages {
        let made = chain.steps.iter().filter(|step| !step.calls.is_empty());
        calls.extend(made.map(|step| (step.ordinal, step.calls.clone())));
    }
    let command = (options.command)(store, run, &chain.row);
    let context = Context {
        run,
        command: &command,
    };
    Ok(Line {
        row,
        page: ChainPage::new(chain, context),
        labels: labels::of(store, &id)?,
        facts: store.facts(&id)?,
        calls,
    })
}

/// All scripts as one.
fn script() -> Result<String, ReportError> {
    let text = |name: &str| assets::find(name).map(|asset| asset.text);
    bundle(ENTRY, &text).map_err(ReportError::Pages)
}

/// All styles as one, in the order in which the viewer has them.
fn style() -> String {
    let styles = assets::assets()
        .iter()
        .filter(|asset| asset.name.ends_with(".css"));
    let texts: Vec<_> = styles.map(|asset| asset.text).collect();
    texts.join("\n")
}

fn write_head(
    out: &mut dyn Write,
    title: &str,
    script: &str,
    style: &str,
) -> Result<(), ReportError> {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let icon = assets::find("icon.svg").map_or("", |icon| icon.text);
    write!(
        out,
        "{mark}{version}\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{script}'; \
         style-src 'sha256-{style_hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>{title}</title>
<link rel=\"icon\" href=\"data:image/svg+xml;base64,{icon}\">
<style>{style}</style>
</head>
<body>
<noscript>This page is made by its script, which is switched off here.</noscript>
<p class=\"unpacking\">Reading …</p>
",
        mark = MARKS[0],
        version = env!("CARGO_PKG_VERSION"),
        script = hash(script),
        style_hash = hash(style),
        title = escape(title),
        icon = STANDARD.encode(icon),
    )?;
    Ok(())
}

/// A text as the content of an element.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
