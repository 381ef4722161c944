//! A stress test as text: the pairs as a table, then the prompts of each.

use std::path::Path;

use crate::cli::text::{Table, excerpt, sanitize, terminal_width};
use crate::evaluation::{PairStress, Retrigger};

/// The report. `kept` is the store and the run that hold the chains.
pub fn render(results: &[PairStress], kept: Option<(&Path, String)>) -> String {
    let mut page = table(results);
    for result in results {
        page.push_str(&prompts(result, kept.is_some()));
    }
    if let Some((db, run)) = kept {
        let chains: u64 = results.iter().map(|r| r.chains + r.failed).sum();
        let db = db.display().to_string();
        let db = sanitize(&db);
        page.push_str(&format!(
            "\n{chains} chains are kept as run {run} in {db}; `amend show`, and `amend constitution coverage \
             --run {run}`, with --db {db}, tell more\n"
        ));
    }
    page
}

fn table(results: &[PairStress]) -> String {
    let mut table = Table::new(&[
        "FIRST",
        "SECOND",
        ">BROKEN",
        ">FIRST BREAKS SECOND",
        ">SECOND BREAKS FIRST",
        ">CHAINS",
        ">FAILED",
    ]);
    let of = |cell: Retrigger| format!("{} of {}", cell.fired, cell.asked);
    for result in results {
        table.row(vec![
            result.pair.first.clone(),
            result.pair.second.clone(),
            result
                .share
                .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            of(result.first_breaks_second),
            of(result.second_breaks_first),
            result.chains.to_string(),
            result.failed.to_string(),
        ]);
    }
    table.lines(terminal_width()).join("\n") + "\n"
}

fn prompts(result: &PairStress, kept: bool) -> String {
    let pair = &result.pair;
    let mut page = format!("\n{} and {}\n", pair.first, pair.second);
    for prompt in &result.prompts {
        page.push_str(&format!("  {}\n", excerpt(&prompt.prompt, 110)));
        if kept {
            page.push_str(&format!(
                "    {}  {} first\n    {}  {} first\n",
                prompt.first_leads.0, pair.first, prompt.second_leads.0, pair.second
            ));
        }
    }
    if result.without_prompt > 0 {
        page.push_str(&format!(
            "  {} prompts hold no text\n",
            result.without_prompt
        ));
    }
    page
}
