//! What gates decided about a chain, as text.

use std::fmt::Write;

use crate::cli::text::sanitize;
use crate::store::GatedChain;

/// A section below the steps of a chain.
pub fn render(gated: &GatedChain) -> String {
    let state = match (gated.kept, gated.pair, &gated.rejected) {
        (true, true, _) => "text and pair kept",
        (true, false, Some(_)) => "text kept, pair left out",
        (true, false, None) => "text kept, no pair",
        (false, _, _) => "left out",
    };
    let mut out = format!("\ngates\n    {state}: {}", gated.chosen);
    // Writing to a string cannot fail.
    if let Some(rejected) = &gated.rejected {
        let _ = write!(out, " over {rejected} ({})", gated.why);
        let _ = write!(
            out,
            "\n    {:.0} % of words differ",
            100.0 * gated.edit_distance
        );
        if let Some(ratio) = gated.length_ratio {
            let _ = write!(out, ", length × {ratio:.2}");
        }
        if let Some(margin) = gated.margin {
            let _ = write!(out, ", margin {margin:+.2}");
        }
    }
    out.push('\n');
    for finding in &gated.findings {
        let only = match finding.pair_only {
            true => " (pair only)",
            false => "",
        };
        let _ = writeln!(
            out,
            "    {}{only}: {}",
            finding.gate,
            sanitize(&finding.reason)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::GateFinding;

    #[test]
    fn a_decision_is_told_with_its_reasons() {
        let gated = GatedChain {
            chain_id: "c".to_owned(),
            kept: true,
            pair: false,
            chosen: "revision:4".to_owned(),
            rejected: Some("draft".to_owned()),
            why: "judge".to_owned(),
            p: Some(0.52),
            margin: Some(0.04),
            edit_distance: 0.384,
            length_ratio: Some(1.25),
            findings: vec![GateFinding {
                gate: "judge-tie".to_owned(),
                action: "drop".to_owned(),
                pair_only: true,
                reason: "the judge prefers neither (margin +0.04)".to_owned(),
                value: Some(0.04),
            }],
        };
        assert_eq!(
            render(&gated),
            "\ngates\n    text kept, pair left out: revision:4 over draft (judge)\n    \
             38 % of words differ, length × 1.25, margin +0.04\n    \
             judge-tie (pair only): the judge prefers neither (margin +0.04)\n"
        );
        let alone = GatedChain {
            rejected: None,
            findings: Vec::new(),
            ..gated
        };
        assert_eq!(
            render(&alone),
            "\ngates\n    text kept, no pair: revision:4\n"
        );
    }
}
